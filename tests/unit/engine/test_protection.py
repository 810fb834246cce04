"""The guarantee on an order: eligibility, length, check-in, and what a report may do."""

from datetime import timedelta
from typing import Any

import pytest

from contracts.orders import OpenCase, ReportContent
from engine.calendar import add
from engine.programmes import Programmes
from engine.protection import eligibility, ended, protection_now, refusal_of, standing_with
from tests.unit.engine.playing import PLACED, ZONE, content, merchant, standing

POLICY = Programmes.shipped().get("buyer-protection", 2)
OPEN = OpenCase(case_id="cas_1", programme="buyer-protection", reason="not_received")
ENDS = PLACED + timedelta(days=30)
DAY = timedelta(days=1)


@pytest.mark.rule("BP-02")
@pytest.mark.parametrize(
    ("shop", "bought", "reason"),
    [
        ({"certified_at": None}, {}, "not_certified"),
        ({"certified_at": PLACED + DAY}, {}, "not_certified"),
        ({"seal_live_at": None}, {}, "seal_not_live"),
        ({"seal_live_at": PLACED + DAY}, {}, "seal_not_live"),
        ({}, {"protection_activated": False}, "not_activated"),
        ({"insolvent_at": PLACED}, {}, "insolvency_declared"),
    ],
)
def test_not_protected(shop: dict[str, Any], bought: dict[str, Any], reason: str) -> None:
    protection = eligibility(merchant(**shop), content(**bought), PLACED, POLICY)
    assert (protection.state, protection.reason, protection.ends_at, protection.check_in_at) == ("none", reason, None, None)


@pytest.mark.rule("BP-02", "BP-05")
def test_protected_by_default_and_asked_after_23_days() -> None:
    at_the_moment = merchant(certified_at=PLACED, seal_live_at=PLACED)
    protection = eligibility(at_the_moment, content(), PLACED, POLICY)
    assert (protection.state, protection.ends_at) == ("active", add(PLACED, "P30D", ZONE))
    assert protection.check_in_at == add(PLACED, "P23D", ZONE)


@pytest.mark.rule("BP-03")
def test_covered_is_that_the_merchant_becomes_insolvent() -> None:
    """Whoever bought before is protected, however late the order is told of."""
    insolvent = merchant(insolvent_at=PLACED + DAY)
    assert eligibility(insolvent, content(), PLACED + 2 * DAY, POLICY).state == "active"
    assert eligibility(insolvent, content(placed_at=PLACED + DAY), PLACED + DAY, POLICY).reason == "insolvency_declared"


@pytest.mark.rule("BP-04", "BP-05")
@pytest.mark.parametrize(
    ("shop_days", "order_days", "days", "check_in"),
    [(None, None, 30, 23), (60, None, 60, 53), (60, 14, 14, 7), (None, 8, 8, 1), (None, 7, 7, 1), (None, 3, 3, 1)],
)
def test_individual_durations(shop_days: int | None, order_days: int | None, days: int, check_in: int) -> None:
    protection = eligibility(merchant(protection_days=shop_days), content(protection_days=order_days), PLACED, POLICY)
    assert protection.ends_at == add(PLACED, f"P{days}D", ZONE)
    assert protection.check_in_at == add(PLACED, f"P{check_in}D", ZONE)


@pytest.mark.rule("BP-05")
def test_a_check_in_that_is_past_is_not_sent() -> None:
    assert eligibility(merchant(), content(), add(PLACED, "P23D", ZONE), POLICY).check_in_at is None
    assert eligibility(merchant(), content(), add(PLACED, "P22D", ZONE), POLICY).check_in_at is not None


@pytest.mark.rule("BP-05")
def test_nobody_is_asked_when_the_protection_has_ended() -> None:
    """Of one day there is no moment for it: the earliest is the end."""
    assert eligibility(merchant(), content(protection_days=1), PLACED, POLICY).check_in_at is None
    assert eligibility(merchant(), content(protection_days=2), PLACED, POLICY).check_in_at == add(PLACED, "P1D", ZONE)


@pytest.mark.rule("BP-26")
def test_an_open_case_extends_the_protection() -> None:
    assert protection_now(standing(), ENDS - DAY) == "active"
    assert protection_now(standing(), ENDS) == "expired"
    assert protection_now(standing(open_cases=(OPEN,)), ENDS + DAY) == "active"
    assert protection_now(standing("ended", open_cases=(OPEN,)), PLACED) == "ended"
    assert protection_now(standing("none", None), PLACED) == "none"


def refused(reason: str, **more: Any) -> str | None:
    state = more.pop("state", standing())
    refusal = refusal_of(ReportContent(reason=reason), state, more.pop("at", PLACED), POLICY, **more)
    return refusal[0] if refusal else None


@pytest.mark.rule("BP-07")
def test_reports_that_are_accepted() -> None:
    for reason in ("not_received", "no_refund", "other", "satisfied"):
        assert refused(reason) is None
    assert refused("merchant_insolvent", merchant_insolvent=True) is None
    assert refused("no_refund", state=standing(open_cases=(OPEN,)), at=ENDS + DAY) is None


@pytest.mark.rule("BP-07")
def test_reports_that_are_refused() -> None:
    assert refused("unheard_of") == "reason_unknown"
    assert refused("merchant_insolvent") == "merchant_not_insolvent"
    assert refused("not_received", state=standing(open_cases=(OPEN,))) == "already_open"
    assert refused("satisfied", state=standing(open_cases=(OPEN,))) == "already_open"
    for reason in ("not_received", "satisfied"):
        assert refused(reason, state=standing("none", None)) == "not_protected"
        assert refused(reason, state=standing("ended")) == "protection_ended"
        assert refused(reason, at=ENDS) == "protection_expired"


@pytest.mark.rule("BP-26", "NX-06")
def test_a_standing_follows_its_open_cases() -> None:
    reported = standing_with(standing(), (OPEN,))
    assert (reported.status, reported.payout.held, reported.cases) == ("reported_problem", True, ("cas_1",))
    closed = standing_with(reported, ())
    assert (closed.status, closed.payout.held, closed.protection.state) == ("completed", False, "active")
    after = standing_with(reported, (), PLACED + timedelta(days=40))
    assert (after.protection.state, after.protection.reason) == ("ended", "case_outcome")
    assert after.protection.ends_at == PLACED + timedelta(days=40)
    reopened = standing_with(after, (OPEN,))
    assert standing_with(reopened, (), PLACED + timedelta(days=50)).protection == after.protection
    assert standing_with(standing(), ()).status == "open"


@pytest.mark.rule("BP-07", "BP-05", "BP-26")
@pytest.mark.parametrize(("day", "asked"), [(3, False), (23, True), (40, True)])
def test_an_ended_protection_says_when_it_did(day: int, asked: bool) -> None:
    active = eligibility(merchant(), content(), PLACED, POLICY)
    at = add(PLACED, f"P{day}D", ZONE)
    protection = ended(active, "satisfied", at)
    assert (protection.state, protection.reason, protection.ends_at) == ("ended", "satisfied", at)
    assert protection.check_in_at == (active.check_in_at if asked else None)
