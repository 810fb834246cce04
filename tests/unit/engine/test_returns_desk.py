"""Every row of the table of the returns desk, driven as customer, seller and platform would, silence included."""

from typing import Any

import pytest

from contracts.cases import CaseMoved, RuleRef
from engine.calendar import add
from engine.notices import told_of
from engine.programmes import Programmes
from engine.views import explained_deadlines, label, refund_status
from tests.unit.engine.playing import LABELS, ZONE, Play, euros, fences, pointers, problem
from tests.unit.engine.rows import Row, Step, act, check, each_row, fact, silence

POLICY = Programmes.shipped().get("returns-desk", 1)


def reply(duration: str = "P14D") -> dict[tuple[str, str], str]:
    return {("reply", "merchant"): duration}


def late(duration: str = "P14D") -> dict[tuple[str, str], str]:
    return {("late_reply", "merchant"): duration}


def row(*steps: Step, state: str, turn: str | None = None, reason: str = "complaint", **more: Any) -> Row:
    return Row(steps, state, turn, reason=reason, programme="returns-desk", **more)


def accept(resolution: str, amount: str | None = None) -> Step:
    more = {"refund_amount": euros(amount)} if amount else {}
    return act("merchant", "accept", resolution=resolution, message="All right", **more)


START = act("merchant", "start")
PHOTOS = act("merchant", "set_status", status="photos")
REJECT = act("merchant", "reject", message="Worn out", evidence=["report.pdf"])

ROWS: dict[str, tuple[tuple[str, ...], Row]] = {
    "report complaint": (("RD-01",), row(state="submitted", turn="merchant", due=reply())),
    "report complaint in Poland": (("RD-01",), row(state="submitted", turn="merchant", due=reply(), country="PL")),
    "report complaint in Slovakia": (("RD-01",), row(state="submitted", turn="merchant", due=reply("P30D"), country="SK")),
    "report withdrawal": (("RD-01",), row(state="submitted", turn="merchant", due=reply(), reason="withdrawal")),
    "report withdrawal in Slovakia": (
        ("RD-01",),
        row(state="submitted", turn="merchant", due=reply(), reason="withdrawal", country="SK"),
    ),
    "report missing item": (("RD-01",), row(state="submitted", turn="merchant", due=reply("P5D"), reason="missing_item")),
    "report other": (("RD-01",), row(state="submitted", turn="merchant", due=reply("P5D"), reason="other")),
    "started": (("RD-06",), row(START, state="in_progress", turn="merchant")),
    "started after a question": (("RD-06",), row(PHOTOS, START, state="in_progress", turn="merchant")),
    "label for submitted": (
        ("RD-06",),
        row(START, act("merchant", "set_status", status="again"), state="submitted", turn="merchant"),
    ),
    "label for in progress": (
        ("RD-06",),
        row(act("merchant", "set_status", status="workshop"), state="in_progress", turn="merchant"),
    ),
    "label for awaiting buyer": (("RD-06",), row(PHOTOS, state="awaiting_buyer", turn="buyer")),
    "state without a label": (
        ("RD-06",),
        row(act("merchant", "set_status", status="awaiting_buyer"), state="awaiting_buyer", turn="buyer"),
    ),
    "informed": (("RD-06",), row(act("merchant", "inform", message="It arrived"), state="submitted", turn="merchant")),
    "accepted with a refund of all": (
        ("RD-06",),
        row(accept("refund"), state="resolved", outcome="accepted", money=("100.00", "0.00")),
    ),
    "accepted with a refund of a part": (
        ("RD-06",),
        row(START, accept("refund", "30"), state="resolved", outcome="accepted", money=("30.00", "0.00")),
    ),
    "accepted and refunded, as a fact tells": (
        ("RD-06", "NX-06"),
        row(accept("refund"), fact("refunded", "100"), state="resolved", outcome="accepted", money=("0.00", "100.00")),
    ),
    **{
        f"accepted with {resolution}": (("RD-06",), row(PHOTOS, accept(resolution), state="resolved", outcome="accepted"))
        for resolution in ("replacement", "repair", "resend", "other")
    },
    "accepted with a discount": (
        ("RD-06",),
        row(accept("other", "20"), state="resolved", outcome="accepted", money=("20.00", "0.00")),
    ),
    "rejected": (("RD-06",), row(REJECT, state="rejected", outcome="rejected")),
    "silence on a complaint where it means yes": (
        ("RD-06",),
        row(silence, state="resolved", outcome="accepted", country="PL"),
    ),
    "other silence": (("RD-06", "RD-07"), row(silence, state="submitted", turn="merchant", due=late())),
    "silence on a withdrawal in Poland": (
        ("RD-06",),
        row(silence, state="submitted", turn="merchant", due=late(), country="PL", reason="withdrawal"),
    ),
    "other silence while waiting for the customer": (
        ("RD-06",),
        row(PHOTOS, silence, state="awaiting_buyer", turn="buyer", due=late("P5D"), reason="other"),
    ),
    "silence after as long again": (("RD-06",), row(silence, silence, state="under_review", turn="platform")),
    "late acceptance": (("RD-06",), row(silence, accept("repair"), state="resolved", outcome="accepted")),
    "solved": (
        ("RD-06",),
        row(silence, silence, act("platform", "solve", message="Done"), state="resolved", outcome="solved"),
    ),
    "solved by a refund": (
        ("RD-06",),
        row(
            act("platform", "take_over"),
            act("platform", "solve", message="Done", refund_amount=euros(100)),
            state="resolved",
            outcome="refunded",
            money=("0.00", "100.00"),
            platform_pays="100.00",
        ),
    ),
    "solved by a partial refund": (
        ("RD-06",),
        row(
            act("platform", "take_over"),
            act("platform", "solve", message="Done", refund_amount=euros(1)),
            state="resolved",
            outcome="partially_refunded",
            money=("0.00", "1.00"),
            platform_pays="1.00",
        ),
    ),
    "rejected by the platform": (
        ("RD-06",),
        row(
            act("platform", "take_over"),
            act("platform", "reject", message="No"),
            state="rejected",
            outcome="rejected",
        ),
    ),
    "taken over": (("RD-06",), row(PHOTOS, act("platform", "take_over"), state="under_review", turn="platform")),
    "withdrawn": (("RD-05",), row(START, act("buyer", "withdraw"), state="resolved", outcome="withdrawn")),
    "reopened": (
        ("RD-05",),
        row(
            accept("refund"),
            act("platform", "reopen", message="Not paid"),
            state="under_review",
            turn="platform",
            money=("100.00", "0.00"),
        ),
    ),
    "reopened and rejected": (
        ("NX-06",),
        row(
            accept("refund"),
            act("platform", "reopen"),
            act("platform", "reject", message="No"),
            state="rejected",
            outcome="rejected",
        ),
    ),
    "decided by a rule": (
        ("CP-07",),
        row(
            PHOTOS,
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


def complaint(**more: Any) -> Play:
    play = Play(labels=LABELS, **more)
    play.report("complaint", "returns-desk")
    return play


@pytest.mark.rule("RD-06")
def test_a_sellers_own_labels_are_its_choices_and_shown_in_its_words() -> None:
    play = complaint()
    field = play.allowed("merchant")["set_status"].fields["properties"]["status"]
    assert field["enum"] == ["workshop", "photos", "again", "submitted", "in_progress", "awaiting_buyer"]
    assert field["x-labels"]["workshop"] == "At the workshop"
    assert field["x-labels"]["again"] == "Wieder da"
    play.act("merchant", "set_status", status="workshop")
    assert (label(POLICY, play.case, "de"), label(POLICY, play.case, "en")) == ("In der Werkstatt", "At the workshop")
    event = play.events[-1]
    assert isinstance(event, CaseMoved)
    assert (event.fields, event.change.label) == ({"status": "workshop"}, LABELS[0])
    play.act("merchant", "start")
    assert label(POLICY, play.case, "en") == "In progress"
    assert pointers(play.act("merchant", "set_status", status="lunch")) == ["/status"]
    assert pointers(play.act("merchant", "set_status", status=["workshop"])) == ["/status"]
    assert pointers(play.act("merchant", "set_status")) == ["/status"]
    plain = Play()
    plain.report("complaint", "returns-desk")
    assert plain.allowed("merchant")["set_status"].fields["properties"]["status"]["enum"] == list(field["enum"][3:])
    assert pointers(plain.act("merchant", "set_status", status="workshop")) == ["/status"]


@pytest.mark.rule("RD-06", "NX-01")
def test_whatever_the_status_says_the_decision_is_due() -> None:
    play = complaint()
    first = play.deadline("reply")
    for step in (START, PHOTOS, act("merchant", "set_status", status="again")):
        play.wait("P1D")
        step(play)
        assert fences(*play.case.deadlines) == fences(first)
    (told,) = explained_deadlines(play.file, play.case.case_id, play.programmes)  # type: ignore[arg-type]
    assert (told.on_silence.action, told.on_silence.state) == ("raise_attention", None)
    play.wake()
    event = play.events[-1]
    assert isinstance(event, CaseMoved)
    assert (event.kind_of_deadline, event.change.attention) == ("reply", True)
    assert [(each.party, each.kind) for each in told_of(event)] == [("merchant", "attention")]
    (second,) = play.case.deadlines
    assert (second.kind, second.due_at) == ("late_reply", add(first.due_at, "P14D", ZONE))
    PHOTOS(play)
    assert fences(*play.case.deadlines) == fences(second)
    (told,) = explained_deadlines(play.file, play.case.case_id, play.programmes)  # type: ignore[arg-type]
    assert (told.on_silence.action, told.on_silence.state) == ("escalate", "under_review")


@pytest.mark.rule("RD-06")
def test_where_the_law_says_so_silence_on_a_complaint_is_a_yes() -> None:
    play = complaint(country="PL")
    (told,) = explained_deadlines(play.file, play.case.case_id, play.programmes)  # type: ignore[arg-type]
    assert (told.on_silence.action, told.on_silence.state, told.on_silence.outcome) == ("accept", "resolved", "accepted")


@pytest.mark.rule("RD-06", "NX-06")
def test_what_accepting_takes() -> None:
    play = complaint()
    assert pointers(play.act("merchant", "accept", resolution="repair", message="Yes", refund_amount=euros(5))) == [
        "/refund_amount"
    ]
    assert pointers(play.act("merchant", "accept", resolution="refund", message="Yes", refund_amount=euros(101))) == [
        "/refund_amount"
    ]
    assert pointers(play.act("merchant", "accept", resolution="hug", message="Yes")) == ["/resolution"]
    schema = play.allowed("merchant")["accept"].fields
    assert schema["properties"]["refund_amount"]["default"]["amount"] == "100.00"
    assert [each["if"]["properties"] for each in schema["allOf"]] == [
        {"resolution": {"enum": ["replacement", "repair", "resend"]}}
    ]
    play.act("merchant", "accept", resolution="refund", message="Yes", refund_amount=euros(40))
    assert play.file is not None
    shown = refund_status(play.file, play.case.case_id)
    assert (shown.variant, shown.proposed, shown.executed) == ("partial", euros(40), euros(0))
    assert play.file.ledger[-1].executor == "merchant"


@pytest.mark.rule("RD-06")
def test_while_the_platform_reviews_the_seller_only_remarks() -> None:
    play = complaint()
    play.act("platform", "take_over")
    assert set(play.allowed("merchant")) == {"note"}
    assert problem(play.act("merchant", "reject", message="No")).status == 409
    assert set(play.allowed("platform")) == {"solve", "reject", "take_over", "note"}
