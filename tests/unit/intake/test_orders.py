"""Orders: registered once, with facts, check-in, and the standing that follows from cases."""

from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.actors import Actor
from contracts.cases import Change
from contracts.orders import (
    CheckInAsked,
    CommandRepeated,
    FactContent,
    FactRecorded,
    OrderChanged,
    OrderRegistered,
    RegisterOrder,
    ReportAccepted,
)
from tests.unit.intake.trading import (
    BUYER,
    MERCHANT,
    ORDER_ID,
    OTHER_PARTNER,
    PARTNER,
    PLACED,
    PLATFORM,
    Trade,
    content,
    merchant,
    pointers,
)

EUR = {"currency": "EUR"}
RESOLVED = Change(state="resolved", outcome="no_reaction")
REFUNDED = Change(state="resolved", outcome="refunded", protection_ends=True)
REOPENED = Change(state="under_review", turn="platform", reopened=True)


def fact(kind: str, **more: Any) -> FactContent:
    return FactContent.model_validate({"kind": kind, "at": PLACED, **more})


def registered(**changes: Any) -> Trade:
    trade = Trade()
    assert isinstance(trade.register(**changes), OrderRegistered)
    return trade


@pytest.mark.rule("BP-02", "BP-04", "BP-05")
def test_a_registered_order_is_protected_for_30_days_and_asked_about_after_23() -> None:
    trade = Trade()
    (emission,) = trade.tell(RegisterOrder(content=content(), actor=PARTNER), id_="c1")
    told = emission.message
    assert isinstance(told, OrderRegistered)
    assert (emission.settles, emission.sequenced, emission.command_id) == (True, True, "c1")
    assert (told.order.order_id, told.order.programme, told.order.timezone) == (ORDER_ID, "buyer-protection", "Europe/Berlin")
    protection = told.standing.protection
    assert (protection.state, protection.ends_at) == ("active", PLACED + timedelta(days=30))
    assert protection.check_in_at == PLACED + timedelta(days=23)
    assert (told.standing.status, told.standing.version, told.standing.payout.held) == ("open", 1, False)


@pytest.mark.rule("BP-02")
@pytest.mark.parametrize(
    ("of_merchant", "of_order", "reason"),
    [
        ({"certified_at": None}, {}, "not_certified"),
        ({"certified_at": PLACED + timedelta(seconds=1)}, {}, "not_certified"),
        ({"seal_live_at": None}, {}, "seal_not_live"),
        ({}, {"protection_activated": False}, "not_activated"),
    ],
)
def test_an_order_without_protection_says_why(of_merchant: dict[str, Any], of_order: dict[str, Any], reason: str) -> None:
    trade = Trade(merchants={"shop": merchant(**of_merchant)})
    told = trade.register(**of_order)
    assert isinstance(told, OrderRegistered)
    assert (told.standing.protection.state, told.standing.protection.reason) == ("none", reason)


@pytest.mark.rule("BP-04")
@pytest.mark.parametrize(("merchants", "orders", "days"), [(60, None, 60), (60, 14, 14), (None, 90, 90)])
def test_merchant_and_order_may_have_durations_of_their_own(merchants: int | None, orders: int | None, days: int) -> None:
    trade = Trade(merchants={"shop": merchant(protection_days=merchants)})
    told = trade.register(protection_days=orders, placed_at=datetime(2024, 3, 1, 9, 30, tzinfo=UTC))
    assert isinstance(told, OrderRegistered)
    ends_at = told.standing.protection.ends_at
    assert ends_at is not None
    assert round((ends_at - told.order.placed_at) / timedelta(days=1)) == days


def test_the_same_order_again_is_the_same_order_and_other_content_is_refused() -> None:
    facts = (fact("shipped", tracking_code="T1"), fact("refunded", external_id="r1", amount={"amount": "5", **EUR}))
    trade = registered(facts=facts)
    trade.now += timedelta(days=3)
    again = RegisterOrder(content=content(), facts=facts, actor=PARTNER)
    assert trade.repeated(again) == f"/v1/orders/{ORDER_ID}"
    assert trade.repeated(RegisterOrder(content=content(programme="buyer-protection"), facts=facts, actor=PLATFORM))
    trade.tell(trade.fact("delivered"))
    assert trade.repeated(again) == f"/v1/orders/{ORDER_ID}"
    for other in (
        RegisterOrder(content=content(amount={"amount": "100.01", **EUR}), facts=facts, actor=PARTNER),
        RegisterOrder(content=content(protection_activated=False), facts=facts, actor=PARTNER),
        RegisterOrder(content=content(lines=[]), facts=facts, actor=PARTNER),
        RegisterOrder(content=content(), facts=facts[:1], actor=PARTNER),
        RegisterOrder(content=content(), facts=(facts[0], fact("delivered")), actor=PARTNER),
    ):
        problem = trade.problem(other)
        assert (problem.status, problem.type) == (409, "/problems/order-exists")


def test_a_foreign_partner_learns_nothing_of_an_order() -> None:
    trade = registered()
    problem = trade.problem(RegisterOrder(content=content(), actor=OTHER_PARTNER))
    assert (problem.status, pointers(problem)) == (422, ["/merchant_id"])
    for command in (trade.fact("shipped", OTHER_PARTNER), trade.reporting(actor=OTHER_PARTNER)):
        assert trade.problem(command).status == 404


@pytest.mark.parametrize("actor", [BUYER, MERCHANT])
def test_other_roles_do_not_register_orders(actor: Actor) -> None:
    assert Trade().problem(RegisterOrder(content=content(), actor=actor)).status == 403


@pytest.mark.parametrize(
    ("changes", "facts", "expected"),
    [
        ({"programme": "returns-desk"}, (), ["/programme"]),
        ({"amount": {"amount": "-0.01", **EUR}}, (), ["/amount/amount"]),
        (
            {"lines": [{"title": "x", "quantity": 1, "unit_price": {"amount": "1", "currency": "USD"}}]},
            (),
            ["/lines/0/unit_price/currency"],
        ),
        ({"lines": [{"title": "x", "quantity": 1, "unit_price": {"amount": "-1", **EUR}}]}, (), ["/lines/0/unit_price/amount"]),
        (
            {"lines": [{"line_id": "a", "title": "x", "quantity": 1, "unit_price": {"amount": "1", **EUR}}] * 2},
            (),
            ["/lines/1/line_id"],
        ),
        ({}, (fact("shipped"), fact("refunded")), ["/facts/1/amount"]),
        ({}, (fact("refunded", amount={"amount": "1", "currency": "JPY"}),), ["/facts/0/amount/currency"]),
        (
            {"programme": "x", "amount": {"amount": "1", "currency": "JPY"}},
            (),
            ["/programme", "/lines/0/unit_price/currency", "/lines/1/unit_price/currency"],
        ),
    ],
)
def test_what_does_not_fit_is_pointed_at(changes: dict[str, Any], facts: tuple[FactContent, ...], expected: list[str]) -> None:
    trade = Trade()
    problem = trade.problem(RegisterOrder(content=content(**changes), facts=facts, actor=PARTNER))
    assert (problem.status, pointers(problem)) == (422, expected)
    assert trade.state is None


def test_an_unknown_merchant_is_pointed_at() -> None:
    problem = Trade(merchants={}).problem(RegisterOrder(content=content(), actor=PLATFORM))
    assert (problem.status, pointers(problem)) == (422, ["/merchant_id"])


def test_zero_is_an_amount() -> None:
    registered(amount={"amount": "0", **EUR}, lines=[])


@pytest.mark.rule("CP-06")
def test_a_fact_is_kept_with_source_and_time() -> None:
    trade = registered()
    trade.now += timedelta(days=1)
    (emission,) = trade.tell(trade.fact("shipped", carrier="DHL", tracking_code="T1", at=PLACED), id_="c1")
    told = emission.message
    assert isinstance(told, FactRecorded)
    assert emission.settles
    assert (told.fact.at, told.fact.recorded_at, told.fact.source) == (PLACED, trade.now, PARTNER)
    assert told.standing.version == 2
    assert trade.file.facts == (told.fact,)
    trade.repeated(trade.fact("shipped", carrier="DHL", tracking_code="T1", at=PLACED), id_="c1")


@pytest.mark.rule("CP-06")
def test_the_same_external_id_is_the_same_fact_of_its_kind() -> None:
    """A tracking number stays the same when what it names is delivered; so does the id of a payout that is netted later."""
    trade = registered(facts=(fact("shipped", external_id="p-1"),))
    trade.repeated(trade.fact("shipped", external_id="p-1", note="again"))
    assert isinstance(trade.ask(trade.fact("delivered", external_id="p-1")), FactRecorded)
    trade.repeated(trade.fact("delivered", external_id="p-1"))
    again = trade.ask(trade.fact("shipped", external_id="p-1"))
    assert isinstance(again, CommandRepeated)
    assert again.fact_id == trade.file.facts[0].fact_id


@pytest.mark.parametrize(
    ("actor", "fields", "wrong"),
    [
        (BUYER, {"kind": "refunded", "amount": {"amount": "1", **EUR}}, None),
        (PARTNER, {"kind": "refunded"}, "/amount"),
        (MERCHANT, {"kind": "refunded", "amount": {"amount": "1", "currency": "USD"}}, "/amount/currency"),
        (PARTNER, {"kind": "refunded", "amount": {"amount": "-1", **EUR}}, "/amount/amount"),
        (PARTNER, {"kind": "netted"}, "/amount"),
        (MERCHANT, {"kind": "netted", "amount": {"amount": "1", **EUR}}, None),
        (MERCHANT, {"kind": "paid_out", "amount": {"amount": "0.01", **EUR}}, None),
        (MERCHANT, {"kind": "paid_out"}, None),
    ],
)
def test_a_fact_that_does_not_fit_is_refused(actor: Actor, fields: dict[str, Any], wrong: str | None) -> None:
    """At its place; None: whoever tells it may not."""
    problem = registered().problem(registered().fact(actor=actor, **fields))
    assert problem.status == (403 if wrong is None else 422)
    assert pointers(problem) == ([] if wrong is None else [wrong])


def test_facts_and_reports_are_about_the_order_that_their_sender_has_read() -> None:
    trade = Trade()
    trade.register()
    fact = trade.fact("shipped", external_id="parcel").model_copy(update={"if_match": 1})
    assert isinstance(trade.ask(fact), FactRecorded)
    trade.repeated(fact)  # it has changed the version itself
    report = trade.reporting()
    for late in (trade.fact("delivered").model_copy(update={"if_match": 1}), report.model_copy(update={"if_match": 1})):
        stale = trade.problem(late)
        assert (stale.status, stale.type) == (412, "/problems/version-mismatch")
    report = report.model_copy(update={"if_match": 2})
    assert isinstance(trade.ask(report, id_="r-1"), ReportAccepted)
    trade.repeated(report, id_="r-1")


def test_facts_and_reports_need_their_order() -> None:
    trade = Trade()
    assert trade.problem(trade.fact("shipped")).status == 404
    assert trade.problem(trade.reporting()).status == 404


@pytest.mark.rule("NX-06")
def test_more_refunded_than_paid_is_flagged() -> None:
    trade = registered()
    first = trade.ask(trade.fact("refunded", amount={"amount": "60", **EUR}))
    second = trade.ask(trade.fact("refunded", amount={"amount": "60", **EUR}))
    assert isinstance(first, FactRecorded)
    assert isinstance(second, FactRecorded)
    assert (first.fact.flags, second.fact.flags) == ((), ("over_refund",))


def test_a_payout_while_held_is_flagged() -> None:
    trade = registered()
    trade.report()
    told = trade.ask(trade.fact("paid_out"))
    assert isinstance(told, FactRecorded)
    assert told.fact.flags == ("paid_out_while_held",)


@pytest.mark.rule("OI-08")
def test_more_paid_out_than_was_payable_is_flagged_and_told_again_it_is_one_fact() -> None:
    trade = registered()
    told = [trade.ask(trade.fact("paid_out", amount={"amount": amount, **EUR})) for amount in ("60", "40", "0.01")]
    assert [each.fact.flags for each in told if isinstance(each, FactRecorded)] == [(), (), ("over_payout",)]
    again = registered()
    payout = again.fact("paid_out", amount={"amount": "100", **EUR}, external_id="bank-1")
    assert isinstance(again.ask(payout), FactRecorded)
    again.repeated(payout)


@pytest.mark.rule("CP-06")
def test_what_is_to_come_is_no_fact_yet() -> None:
    """A source's clock may be a day ahead."""
    trade = registered()
    soon, late = trade.now + timedelta(days=1), trade.now + timedelta(days=1, seconds=1)
    assert isinstance(trade.ask(trade.fact("delivered", at=soon)), FactRecorded)
    problem = trade.problem(trade.fact("delivered", at=late))
    assert (problem.status, pointers(problem)) == (422, ["/at"])
    told = (fact("shipped", at=soon), fact("delivered", at=late))
    problem = Trade().problem(RegisterOrder(content=content(), facts=told, actor=PARTNER))
    assert (problem.status, pointers(problem)) == (422, ["/facts/1/at"])


@pytest.mark.rule("BP-26")
def test_the_end_of_the_last_case_releases_the_payout_and_completes_the_order() -> None:
    trade = registered()
    trade.report("not_received")
    trade.report("no_refund")
    (first,) = trade.case_moves(1, RESOLVED, command_id="act-1")
    told = first.message
    assert isinstance(told, OrderChanged)
    assert (told.standing.status, told.standing.payout.held) == ("reported_problem", True)
    (second,) = trade.case_moves(2, RESOLVED, command_id="act-2")
    told = second.message
    assert isinstance(told, OrderChanged)
    assert (told.standing.status, told.standing.payout.held, told.standing.open_cases) == ("completed", False, ())
    assert told.standing.protection.state == "active"
    assert len(told.standing.cases) == 2
    assert (second.command_id, second.settles, told.standing.version) == ("act-2", True, 5)


@pytest.mark.rule("BP-26")
def test_a_full_refund_received_ends_the_protection_for_good() -> None:
    trade = registered()
    trade.report()
    (ended,) = trade.case_moves(1, REFUNDED)
    assert isinstance(ended.message, OrderChanged)
    assert not ended.settles
    protection = ended.message.standing.protection
    assert (protection.state, protection.reason) == ("ended", "case_outcome")
    assert (protection.ends_at, protection.check_in_at) == (trade.file.cases[0].closed_at, None)
    (reopened,) = trade.case_moves(1, REOPENED, command_id="act")
    assert isinstance(reopened.message, OrderChanged)
    standing = reopened.message.standing
    assert (standing.status, standing.payout.held, standing.protection.state) == ("reported_problem", True, "ended")
    assert [case.reason for case in standing.open_cases] == ["not_received"]


def test_what_moves_a_case_without_ending_it_changes_no_order() -> None:
    trade = registered()
    trade.report()
    before = trade.state
    assert trade.case_moves(1, Change(state="under_review", turn="platform"), command_id="act") == []
    assert trade.state is before


@pytest.mark.rule("BP-05")
def test_the_buyer_is_asked_once() -> None:
    trade = registered()
    (asked,) = trade.check_in()
    assert isinstance(asked.message, CheckInAsked)
    assert asked.time == PLACED + timedelta(days=23)
    assert asked.message.standing.version == 1
    assert trade.check_in() == []


@pytest.mark.rule("BP-05")
def test_a_moment_that_is_not_the_orders_asks_nobody() -> None:
    assert registered().check_in(PLACED + timedelta(days=22)) == []


@pytest.mark.rule("BP-26")
def test_nobody_is_asked_once_the_protection_has_ended() -> None:
    trade = registered()
    due_at = trade.file.standing.protection.check_in_at
    trade.report("satisfied")
    assert trade.check_in(due_at) == []


DUE = PLACED + timedelta(days=23)


@pytest.mark.rule("BP-26")
@pytest.mark.parametrize(
    ("ended_after_days", "change", "asked"),
    [
        (20, RESOLVED, True),
        (20, REFUNDED, False),
        (23, RESOLVED, True),
        (25, RESOLVED, False),
        (25, REFUNDED, False),
    ],
)
@pytest.mark.parametrize("case_first", [True, False])
def test_whether_the_buyer_is_asked_depends_on_when_a_case_was_open_not_on_who_tells_first(
    ended_after_days: int, change: Change, asked: bool, case_first: bool
) -> None:
    trade = registered()
    trade.now = PLACED + timedelta(days=10)
    trade.report()
    ended_at = PLACED + timedelta(days=ended_after_days)
    told = [] if case_first else trade.check_in(DUE)
    told += trade.case_moves(1, change, at=ended_at)
    told += trade.check_in(DUE) if case_first else []
    assert [type(one.message) for one in told] == ([OrderChanged, CheckInAsked] if asked else [OrderChanged])
    assert trade.check_in(DUE) == []


@given(st.permutations([("case", 1, 12), ("case", 2, 24), ("check_in", 0, 23)]), st.booleans())
@settings(max_examples=30, deadline=None)
def test_two_cases_and_a_check_in_come_to_the_same_in_any_order(
    order: list[tuple[str, int, int]], second_ends_early: bool
) -> None:
    trade = registered()
    trade.now = PLACED + timedelta(days=5)
    trade.report("not_received")
    trade.report("no_refund")
    told = []
    for what, number, day in order:
        if what == "check_in":
            told += trade.check_in(DUE)
        else:
            day = 20 if number == 2 and second_ends_early else day
            told += trade.case_moves(number, RESOLVED, at=PLACED + timedelta(days=day))
    assert any(isinstance(one.message, CheckInAsked) for one in told) is second_ends_early


def test_a_command_that_was_refused_stays_refused() -> None:
    trade = registered()
    trade.report()
    first = trade.problem(trade.reporting(), id_="c1")
    assert first.status == 409
    trade.case_moves(1, RESOLVED)
    assert trade.problem(trade.reporting(), id_="c1") == first
    assert isinstance(trade.report(), ReportAccepted)


@pytest.mark.parametrize("order", list(permutations(["fact", "report", "end"])))
def test_versions_count_what_a_reader_sees(order: tuple[str, ...]) -> None:
    trade = registered()
    for what in order:
        match what:
            case "fact":
                trade.tell(trade.fact("shipped"))
            case "report":
                trade.report()
            case _ if trade.file.cases:
                trade.case_moves(1, RESOLVED)
    sequenced = [one for one in trade.told if one.sequenced]
    assert trade.file.standing.version == len(sequenced)
