"""Reports: refused with a reason, or accepted with all that follows for the order."""

from datetime import timedelta
from typing import Any

import pytest

from contracts.actors import Actor
from contracts.evidence import Evidence
from contracts.ids import case_id_of, child_id
from contracts.orders import OrderRegistered, ReportAccepted, SubmitReport
from tests.unit.intake.trading import BUYER, MERCHANT, ORDER_ID, PARTNER, PLACED, PLATFORM, Trade, merchant, pointers


@pytest.fixture
def trade() -> Trade:
    trade = Trade()
    assert isinstance(trade.register(), OrderRegistered)
    trade.now = PLACED + timedelta(days=10)
    return trade


def evidence(order_id: str = ORDER_ID) -> Evidence:
    return Evidence(
        evidence_id=child_id("evd", order_id, "1"), sha256="0" * 64, size=1, media_type="image/png", name="photo.png"
    )


@pytest.mark.rule("BP-07", "BP-08", "BP-26")
@pytest.mark.parametrize("reason", ["not_received", "no_refund", "other"])
def test_a_report_opens_a_case_and_holds_the_payout_in_one_write(trade: Trade, reason: str) -> None:
    files = (evidence(),)
    (emission,) = trade.tell(trade.reporting(reason, text="Where is it?", evidence=files), id_="c1")
    told = emission.message
    assert isinstance(told, ReportAccepted)
    assert (told.case_id, emission.settles, emission.command_id) == (case_id_of(ORDER_ID, 1), False, "c1")
    assert (told.report.text, told.report.evidence, told.report.at, told.report.actor) == (
        "Where is it?",
        files,
        trade.now,
        BUYER,
    )
    standing = told.standing
    assert (standing.status, standing.payout.held, standing.payout.reason) == ("reported_problem", True, "open_case")
    assert (standing.cases, standing.version) == ((told.case_id,), 2)
    assert trade.file.reports == (told.report,)
    assert trade.repeated(trade.reporting(reason, text="Where is it?"), id_="c1") == f"/v1/cases/{told.case_id}"


@pytest.mark.rule("BP-07")
def test_satisfied_ends_the_protection_at_once(trade: Trade) -> None:
    (emission,) = trade.tell(trade.reporting("satisfied"), id_="c1")
    told = emission.message
    assert isinstance(told, ReportAccepted)
    assert (told.case_id, emission.settles) == (None, True)
    assert (told.standing.status, told.standing.payout.held) == ("open", False)
    assert (told.standing.protection.state, told.standing.protection.reason) == ("ended", "satisfied")
    assert (told.standing.protection.ends_at, told.standing.protection.check_in_at) == (told.report.at, None)
    assert trade.repeated(trade.reporting("satisfied"), id_="c1") == f"/v1/orders/{ORDER_ID}"
    assert trade.problem(trade.reporting("satisfied")).extra["refusal"] == "protection_ended"


@pytest.mark.rule("BP-26")
def test_a_case_extends_the_protection_past_its_end(trade: Trade) -> None:
    trade.report("not_received")
    trade.now = PLACED + timedelta(days=40)
    assert isinstance(trade.report("no_refund"), ReportAccepted)


@pytest.mark.parametrize(
    ("days", "before", "reason", "refusal"),
    [
        (10, (), "late", "reason_unknown"),
        (10, (), "merchant_insolvent", "merchant_not_insolvent"),
        (31, (), "not_received", "protection_expired"),
        (31, (), "satisfied", "protection_expired"),
        (10, ("satisfied",), "not_received", "protection_ended"),
        (10, ("not_received",), "not_received", "already_open"),
        (10, ("not_received",), "satisfied", "already_open"),
    ],
)
def test_a_refused_report_says_why(trade: Trade, days: int, before: tuple[str, ...], reason: str, refusal: str) -> None:
    for earlier in before:
        trade.report(earlier)
    trade.now = PLACED + timedelta(days=days)
    standing = trade.file.standing
    problem = trade.problem(trade.reporting(reason))
    assert (problem.status, problem.type, problem.extra) == (409, "/problems/report-refused", {"refusal": refusal})
    assert trade.file.standing == standing


def test_an_order_without_protection_takes_no_report() -> None:
    trade = Trade(merchants={"shop": merchant(certified_at=None)})
    trade.register()
    assert trade.problem(trade.reporting()).extra["refusal"] == "not_protected"


@pytest.mark.parametrize(
    ("actor", "acts_for"),
    [
        (BUYER, None),
        (PARTNER, "buyer"),
        (PLATFORM, "buyer"),
        (Actor(role="partner", id="partner-1", acts_for="buyer"), "buyer"),
    ],
)
def test_partner_and_platform_report_in_the_buyers_name(trade: Trade, actor: Actor, acts_for: str | None) -> None:
    told = trade.report(actor=actor)
    assert isinstance(told, ReportAccepted)
    assert (told.report.actor.role, told.report.actor.acts_for) == (actor.role, acts_for)


@pytest.mark.rule("CP-07")
@pytest.mark.parametrize("proved", [True, False, None])
def test_a_report_says_whether_its_reporter_is_proved(trade: Trade, proved: bool | None) -> None:
    told = trade.report(proved=proved)
    assert isinstance(told, ReportAccepted)
    assert told.report.proved is proved


def test_a_merchant_does_not_report(trade: Trade) -> None:
    assert trade.problem(trade.reporting(actor=MERCHANT)).status == 403


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"programme": "returns-desk"}, ["/programme"]),
        ({"lines": [{"line_id": "9", "quantity": 1}]}, ["/lines/0/line_id"]),
        ({"lines": [{"line_id": "1", "quantity": 1}, {"line_id": "1", "quantity": 3}]}, ["/lines/1/line_id"]),
        ({"lines": [{"line_id": "1", "quantity": 30}]}, ["/lines/0/quantity"]),
        ({"evidence": (evidence(), evidence("ord_" + "0" * 32))}, ["/evidence/1"]),
        ({"amount": {"amount": "1", "currency": "EUR"}, "external_id": "x"}, ["/amount", "/external_id"]),
        ({"actor": PARTNER, "amount": {"amount": "1", "currency": "USD"}}, ["/amount/currency"]),
        ({"actor": PARTNER, "amount": {"amount": "-1", "currency": "EUR"}}, ["/amount/amount"]),
    ],
)
def test_what_does_not_fit_is_pointed_at(trade: Trade, more: dict[str, Any], expected: list[str]) -> None:
    problem = trade.problem(trade.reporting(**more))
    assert (problem.status, pointers(problem)) == (422, expected)


def test_a_report_may_name_lines_of_the_order(trade: Trade) -> None:
    assert isinstance(trade.report(lines=[{"line_id": "1", "quantity": 2}]), ReportAccepted)


def test_a_claim_with_the_same_external_id_is_the_same_report(trade: Trade) -> None:
    told = trade.report(actor=PARTNER, external_id="claim-1")
    assert isinstance(told, ReportAccepted)
    assert trade.repeated(trade.reporting(actor=PARTNER, external_id="claim-1")) == f"/v1/cases/{told.case_id}"


def test_reports_of_one_order_have_ids_of_their_own(trade: Trade) -> None:
    first, second = trade.report("not_received"), trade.report("no_refund")
    assert isinstance(first, ReportAccepted)
    assert isinstance(second, ReportAccepted)
    assert first.report.report_id != second.report.report_id
    assert second.case_id == case_id_of(ORDER_ID, 2)
    assert isinstance(trade.reporting(), SubmitReport)
