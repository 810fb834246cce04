"""The issue rate: what counts, warning and sanction, statement, recovery."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.issue_rate import IssueRate
from engine.issue_rate import SAMPLE, WINDOW_DAYS, Issue, Window, first_day, near_sample, reckoned, share

NOW = datetime(2026, 3, 31, 12, tzinfo=UTC)
TODAY = NOW.date()
OUTCOMES = (None, "refunded", "no_reaction", "withdrawn", "rejected", "decided_no_refund", "decided_refund", "settled", "won")


def issues(count: int, outcome: str | None = None, *, first: int = 0, day: date = TODAY) -> tuple[Issue, ...]:
    return tuple(Issue(f"cas_{number}", f"ord_{number}", day, outcome) for number in range(first, first + count))


def rate(orders: int, found: Sequence[Issue], known: IssueRate | None = None) -> IssueRate:
    return reckoned(known, "acme", Window({TODAY: orders}, tuple(found)), NOW)


@pytest.mark.rule("OI-11")
@pytest.mark.parametrize(
    ("orders", "counted", "status"),
    [
        (100, 0, "ok"),
        (100, 3, "ok"),
        (100, 4, "warning"),
        (100, 5, "warning"),
        (100, 6, "sanctioned"),
        (SAMPLE - 1, 19, "ok"),
        (SAMPLE, 1, "warning"),
        (SAMPLE, 2, "sanctioned"),
    ],
)
def test_warned_at_four_percent_and_sanctioned_above_five(orders: int, counted: int, status: str) -> None:
    assert rate(orders, issues(counted)).status == status


@pytest.mark.rule("NX-10")
@pytest.mark.parametrize("outcome", ["withdrawn", "rejected", "decided_no_refund", "no_refund_accepted", "won"])
def test_what_was_decided_for_the_merchant_is_shown_and_does_not_count(outcome: str) -> None:
    stands = rate(100, issues(30, outcome))
    assert (stands.reported, stands.counted, stands.faults, stands.status) == (30, 0, 0, "ok")


@pytest.mark.rule("NX-10")
def test_faults_are_told_from_reports() -> None:
    stands = rate(100, [*issues(2, "decided_refund"), *issues(1, "settled", first=2), *issues(1, None, first=3)])
    assert (stands.reported, stands.counted, stands.faults) == (4, 4, 2)


def test_an_order_with_several_cases_is_one_order() -> None:
    twice = [Issue(f"cas_{number}", "ord_1", TODAY, None) for number in range(9)]
    assert rate(100, twice).counted == 1


@pytest.mark.rule("OI-11", "NX-10")
def test_the_statement_is_made_at_the_crossing_and_ends_with_the_sanction() -> None:
    crossed = rate(100, issues(6))
    assert crossed.statement is not None
    assert crossed.statement.cases == tuple(f"cas_{number}" for number in range(6))
    assert "6.0 %" in crossed.statement.text

    worse = rate(100, issues(9), crossed)
    assert worse.statement == crossed.statement

    restored = rate(200, issues(9), worse)
    assert (restored.status, restored.statement) == ("warning", None)


@pytest.mark.rule("NX-10")
def test_pardoned_cases_do_not_count() -> None:
    crossed = rate(100, issues(6))
    assert crossed.statement is not None
    pardoned = crossed.model_copy(update={"pardoned": crossed.statement.cases, "status": "sanctioned"})
    assert rate(100, issues(6), pardoned).status == "ok"
    assert rate(100, issues(12), pardoned).status == "sanctioned"


@pytest.mark.rule("NX-10")
def test_an_appeal_waits_while_the_rate_is_over_and_is_moot_when_it_is_not() -> None:
    appealed = rate(100, issues(6)).model_copy(update={"status": "appealed"})
    assert rate(100, issues(7), appealed).status == "appealed"
    assert rate(200, issues(7), appealed).status == "ok"


@pytest.mark.rule("NX-10")
def test_the_forecast_names_orders_and_days() -> None:
    early, late = first_day(NOW), first_day(NOW) + timedelta(days=9)
    window = Window({early: 50, late: 50}, (*issues(4, day=early), *issues(4, first=4, day=late)))
    forecast = reckoned(None, "acme", window, NOW).forecast
    assert forecast.orders_to_recover == 60
    # The day after, the first fifty orders and four cases are out; ten days on, the last four.
    assert forecast.days == 10


@given(
    st.lists(st.tuples(st.integers(0, WINDOW_DAYS - 1), st.sampled_from(OUTCOMES)), max_size=60),
    st.integers(0, 400),
)
def test_figures_hold_together(found: list[tuple[int, str | None]], others: int) -> None:
    cases = tuple(
        Issue(f"cas_{number}", f"ord_{number}", first_day(NOW) + timedelta(days=day), outcome)
        for number, (day, outcome) in enumerate(found)
    )
    orders: dict[date, int] = {TODAY: others}
    for case in cases:
        orders[case.day] = orders.get(case.day, 0) + 1
    stands = reckoned(None, "acme", Window(orders, cases), NOW)
    assert stands.faults <= stands.counted <= stands.reported <= stands.orders
    assert (stands.status == "sanctioned") == (stands.statement is not None) == (stands.forecast.orders_to_recover > 0)
    if stands.forecast.orders_to_recover:
        more = {**orders, TODAY: orders[TODAY] + stands.forecast.orders_to_recover}
        assert reckoned(stands, "acme", Window(more, cases), NOW).status == "warning"
        more[TODAY] -= 1
        assert reckoned(stands, "acme", Window(more, cases), NOW).status == "sanctioned"


@pytest.mark.rule("OI-11")
def test_good_orders_that_leave_the_window_bring_a_merchant_over_the_line() -> None:
    old, late = first_day(NOW) + timedelta(days=4), TODAY
    stands = reckoned(None, "acme", Window({old: 60, late: 20}, issues(2, day=late)), NOW)
    assert (stands.status, stands.changes_on) == ("ok", TODAY + timedelta(days=5))
    assert reckoned(None, "acme", Window({late: 20}, issues(2, day=late)), NOW).status == "sanctioned"
    assert reckoned(None, "acme", Window({old: 60, late: 20}, ()), NOW).changes_on is None


@pytest.mark.rule("OI-11")
@given(
    st.dictionaries(st.integers(0, WINDOW_DAYS - 1), st.integers(1, 20), max_size=8),
    st.lists(st.tuples(st.integers(0, WINDOW_DAYS - 1), st.sampled_from(OUTCOMES)), max_size=6),
)
def test_a_status_stays_until_the_day_on_which_it_changes(others: dict[int, int], found: list[tuple[int, str | None]]) -> None:
    begin = first_day(NOW)
    cases = tuple(Issue(f"cas_{n}", f"ord_{n}", begin + timedelta(days=day), end) for n, (day, end) in enumerate(found))
    orders = {begin + timedelta(days=day): count for day, count in others.items()}
    for case in cases:
        orders[case.day] = orders.get(case.day, 0) + 1

    def on(day: date, known: IssueRate | None = None) -> IssueRate:
        at = datetime(day.year, day.month, day.day, tzinfo=UTC)
        return reckoned(known, "acme", Window(orders, cases), at)

    now = on(TODAY)
    before = (now.status, near_sample(now))
    first = next(
        (
            day
            for later in range(1, WINDOW_DAYS + 1)
            if ((then := on(day := TODAY + timedelta(days=later), now)).status, near_sample(then)) != before
        ),
        None,
    )
    assert now.changes_on == first


@pytest.mark.rule("OI-11")
def test_what_was_placed_before_or_after_the_window_does_not_count() -> None:
    gone, later = first_day(NOW) - timedelta(days=1), TODAY + timedelta(days=1)
    window = Window({gone: 9, first_day(NOW): 40, later: 9}, (*issues(1, day=gone), *issues(2, first=1, day=later)))
    stands = reckoned(None, "acme", window, NOW)
    assert (stands.orders, stands.reported, stands.counted) == (40, 0, 0)


def test_a_share_has_four_digits() -> None:
    assert (share(1, 3), share(0, 0)) == (0.3333, 0.0)
