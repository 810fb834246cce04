"""Every row of the table of order issues, driven as retailer, brand and platform would, silence included."""

from typing import Any

import pytest

from contracts.cases import RuleRef
from engine.calendar import add
from engine.programmes import Programmes
from engine.views import label, refund_status
from tests.unit.engine.playing import ZONE, Play, euros, fences, pointers, problem
from tests.unit.engine.rows import Row, Step, act, check, each_row, fact, silence

POLICY = Programmes.shipped().get("order-issues", 1)
SOLUTION = {("solution", "merchant"): "P5D"}
REACT = {("buyer_reaction", "buyer"): "P14D"}


def row(*steps: Step, state: str, turn: str | None = None, reason: str = "damaged", **more: Any) -> Row:
    return Row(steps, state, turn, reason=reason, programme="order-issues", **more)


START = act("merchant", "start")
CONTACT = act("merchant", "contact", message="Would a discount do?")
REPLACE = act("merchant", "replace", message="A new one", return_instructions="Keep the box", tracking_code="T1")
REFUND = act("merchant", "refund")
PART = act("merchant", "refund", message="Half", refund_amount=euros(40))
RESOLVE = act("buyer", "resolve")
DISAGREE = act("buyer", "disagree", message="It is still broken")
SOLVE = act("platform", "solve", message="Settled")

ROWS: dict[str, tuple[tuple[str, ...], Row]] = {
    **{
        f"report {reason}": (("OI-01", "OI-02"), row(state="submitted", turn="merchant", due=SOLUTION, reason=reason))
        for reason in ("damaged", "defective", "missing_items", "wrong_goods")
    },
    **{
        f"report {reason}": (("OI-02", "OI-07"), row(state="under_review", turn="platform", reason=reason))
        for reason in ("late", "invoice_wrong", "other")
    },
    "started": (("OI-09",), row(START, state="in_progress", turn="merchant")),
    "started again": (("OI-09",), row(CONTACT, START, state="in_progress", turn="merchant")),
    "contacted": (("OI-05",), row(CONTACT, state="in_progress", turn="merchant", due=SOLUTION)),
    "contacted while in progress": (("OI-05",), row(START, CONTACT, state="in_progress", turn="merchant", due=SOLUTION)),
    "replaced": (("OI-05",), row(REPLACE, state="awaiting_buyer", turn="buyer", due=REACT)),
    "replaced while in progress": (("OI-05",), row(START, REPLACE, state="awaiting_buyer", turn="buyer", due=REACT)),
    "refunded": (
        ("OI-05",),
        row(REFUND, state="awaiting_buyer", turn="buyer", due=REACT, money=("0.00", "100.00"), platform_pays="100.00"),
    ),
    "refunded in part": (
        ("OI-05",),
        row(START, PART, state="awaiting_buyer", turn="buyer", due=REACT, money=("0.00", "40.00"), platform_pays="40.00"),
    ),
    "brand silent": (("OI-10",), row(silence, state="under_review", turn="platform")),
    "brand silent while in progress": (("OI-10",), row(START, silence, state="under_review", turn="platform")),
    "resolved after a replacement": (("OI-06",), row(REPLACE, RESOLVE, state="resolved", outcome="replaced")),
    "resolved after a refund": (
        ("OI-06",),
        row(REFUND, RESOLVE, state="resolved", outcome="refunded", money=("0.00", "100.00")),
    ),
    "resolved after a partial refund": (
        ("OI-06",),
        row(PART, RESOLVE, state="resolved", outcome="partially_refunded", money=("0.00", "40.00")),
    ),
    "resolved by talking": (("OI-05", "OI-06"), row(CONTACT, RESOLVE, state="resolved", outcome="satisfied")),
    "not agreed": (("OI-10",), row(REPLACE, DISAGREE, state="under_review", turn="platform")),
    "retailer silent about a replacement": (("OI-06",), row(REPLACE, silence, state="resolved", outcome="replaced")),
    "retailer silent about a refund": (
        ("OI-06",),
        row(REFUND, silence, state="resolved", outcome="refunded", money=("0.00", "100.00")),
    ),
    "retailer silent about a partial refund": (
        ("OI-06",),
        row(PART, silence, state="resolved", outcome="partially_refunded", money=("0.00", "40.00")),
    ),
    "solved": (("OI-07", "OI-10"), row(SOLVE, state="resolved", outcome="solved", reason="late")),
    "solved by a refund": (
        ("OI-10",),
        row(
            silence,
            act("platform", "solve", message="All of it", refund_amount=euros(100)),
            state="resolved",
            outcome="refunded",
            money=("0.00", "100.00"),
            platform_pays="100.00",
        ),
    ),
    "solved by a partial refund": (
        ("OI-10",),
        row(
            silence,
            act("platform", "solve", message="A part", refund_amount=euros(30)),
            state="resolved",
            outcome="partially_refunded",
            money=("0.00", "30.00"),
            platform_pays="30.00",
        ),
    ),
    "rejected": (
        ("OI-09",),
        row(act("platform", "reject", message="It was on time"), state="rejected", outcome="rejected", reason="late"),
    ),
    "taken over": (("OI-10",), row(REPLACE, act("platform", "take_over"), state="under_review", turn="platform")),
    "withdrawn": (("OI-01",), row(START, act("buyer", "withdraw"), state="resolved", outcome="withdrawn")),
    "reopened": (
        ("OI-10",),
        row(REPLACE, RESOLVE, act("platform", "reopen"), state="under_review", turn="platform"),
    ),
    "decided by a rule": (
        ("CP-07",),
        row(
            lambda play: play.act(
                "system", "decide", rule=RuleRef(rule_id="small", version=2), outcome="refund", message="By the rule"
            ),
            state="resolved",
            outcome="decided_refund",
            money=("0.00", "100.00"),
            platform_pays="100.00",
        ),
    ),
}


@each_row(ROWS)
def test_row(row: Row) -> None:
    check(row)


def issue(reason: str = "damaged") -> Play:
    play = Play()
    play.report(reason, "order-issues")
    return play


@pytest.mark.rule("OI-05")
def test_work_in_progress_keeps_the_brands_deadline_and_contact_restarts_it() -> None:
    play = issue()
    first = play.deadline("solution")
    assert [add(moment, "P2D", ZONE) for moment in first.remind_at] == [first.due_at]
    play.wait("P1D")
    play.act("merchant", "start")
    assert fences(*play.case.deadlines) == fences(first)
    play.wait("P1D")
    play.act("merchant", "contact", message="Hello")
    (second,) = play.case.deadlines
    assert second.deadline_id != first.deadline_id
    assert second.due_at == add(play.now, "P5D", ZONE)
    assert play.wake(first) == []


@pytest.mark.rule("OI-07")
@pytest.mark.parametrize("reason", ["late", "invoice_wrong", "other"])
def test_the_brand_sees_what_the_platform_handles_and_has_no_action(reason: str) -> None:
    play = issue(reason)
    assert play.allowed("merchant") == {}
    assert {"solve", "reject", "take_over", "note"} == set(play.allowed("platform"))
    assert label(POLICY, play.case, "en") == "Handled by the platform"
    assert isinstance(play.write("merchant", "May we help?"), list)
    assert problem(play.act("merchant", "refund")).status == 409


@pytest.mark.rule("OI-09")
def test_statuses_have_their_labels_and_only_the_platform_rejects() -> None:
    play = issue()
    shown = [label(POLICY, play.case, "en")]
    for step in (START, REPLACE, DISAGREE):
        step(play)
        shown.append(label(POLICY, play.case, "de"))
    assert shown == ["Submitted", "In Bearbeitung", "In Bearbeitung", "Plattform prüft"]
    assert POLICY.actions["reject"].by == ("platform",)
    assert {POLICY.states["resolved"].label["en"], POLICY.states["rejected"].label["en"]} == {"Resolved", "Rejected"}


@pytest.mark.rule("OI-01", "OI-08", "NX-06")
def test_several_issues_share_one_ledger() -> None:
    play = Play()
    first = play.report("damaged", "order-issues")
    second = play.report("missing_items", "order-issues")
    play.act("merchant", "refund", case=first, refund_amount=euros(70))
    schema = play.allowed("merchant", second)["refund"].fields["properties"]["refund_amount"]
    assert (schema["default"]["amount"], schema["x-maximum"]["amount"]) == ("30.00", "30.00")
    assert pointers(play.act("merchant", "refund", case=second, refund_amount=euros(31))) == ["/refund_amount"]
    play.act("merchant", "refund", case=second)
    assert play.money == ("100.00", "0.00", "0.00")
    play.pay()
    assert play.money == ("0.00", "100.00", "0.00")
    play.act("buyer", "resolve", case=first)
    play.act("buyer", "resolve", case=second)
    assert play.file is not None
    assert [case.outcome for case in play.file.cases.values()] == ["partially_refunded", "refunded"]


@pytest.mark.rule("OI-05", "NX-06")
def test_what_the_platform_is_paying_is_neither_released_nor_paid_twice() -> None:
    play = issue()
    play.act("merchant", "refund", refund_amount=euros(40))
    assert play.file is not None
    due = play.events[-1].change.refund_due  # type: ignore[attr-defined]
    (reserved,) = play.file.ledger
    assert (due.decision_id, due.amount, due.executor) == (reserved.decision_id, euros(40), "platform")
    play.act("buyer", "disagree", message="Not enough")
    bounds = play.allowed("platform")["solve"].fields["properties"]["refund_amount"]
    assert bounds["x-maximum"]["amount"] == "60.00"
    play.act("platform", "reject", message="It is")
    assert play.money == ("40.00", "0.00", "60.00")
    version = play.case.version
    play.pay()
    play.pay()
    assert play.money == ("0.00", "40.00", "60.00")
    assert (play.case.state, play.case.version) == ("rejected", version + 1)
    assert (play.file.ledger[-1].confirmed_by, play.file.ledger[-1].settles) == ("provider", reserved.entry_id)
    assert refund_status(play.file, play.case.case_id).executed == euros(40)


@pytest.mark.rule("NX-06")
def test_a_fact_does_not_settle_what_the_platform_is_paying() -> None:
    play = issue()
    play.act("merchant", "refund", refund_amount=euros(60))
    fact("refunded", "60")(play)
    assert play.money == ("60.00", "60.00", "0.00")
    assert play.file is not None
    assert play.file.ledger[-1].flags == ("over_refund",)
    play.pay()
    assert play.money == ("0.00", "120.00", "0.00")
