"""What readers are shown: previews that come true, deadlines that explain themselves, labels, how a refund stands."""

from typing import Any

import pytest

from contracts.cases import TakeAction
from contracts.money import Money
from engine.decide import Refusal
from engine.programmes import Programmes
from engine.views import Preview, explained_deadlines, label, outcome_label, preview, refund_status
from tests.unit.engine.playing import Play, actor, euros, standing

SHIPPED = Programmes.shipped()


def preview_of(play: Play, role: Any, action: str, **fields: Any) -> Preview:
    assert play.file is not None
    fields = {name: value.model_dump(mode="json") if isinstance(value, Money) else value for name, value in fields.items()}
    command = TakeAction(case_id=play.case.case_id, action=action, fields=fields, actor=actor(role))
    found = preview(play.file, command, play.now, play.programmes, standing())
    assert not isinstance(found, Refusal), found
    return found


@pytest.mark.rule("NX-04", "NX-06")
def test_a_preview_of_a_decision() -> None:
    play = Play()
    play.report()
    play.act("merchant", "answer", refund="yes", message="Some", refund_amount=euros(40))
    play.act("buyer", "react", reaction="disagree")
    before = play.file
    seen = preview_of(play, "platform", "decide", outcome="partial_refund", refund_amount=euros(70), message="Fair")
    assert play.file == before
    assert (seen.state, seen.turn, seen.outcome, seen.deadlines) == ("resolved", None, "decided_partial_refund", ())
    money = seen.money
    assert [str(each.amount) for each in (money.reserved, money.executed, money.released, money.refundable)] == [
        "70.00",
        "70.00",
        "40.00",
        "30.00",
    ]
    assert {(told.party, told.kind) for told in seen.messages} == {("buyer", "decision"), ("merchant", "decision")}
    assert seen.payout.held is False
    assert seen.protection is not None
    assert seen.protection.state == "active"


@pytest.mark.rule("NX-04")
@pytest.mark.parametrize(
    ("role", "action", "fields"),
    [
        ("merchant", "answer", {"refund": "yes", "message": "All of it"}),
        ("merchant", "answer", {"refund": "yes_after_return", "message": "Send it"}),
        ("merchant", "answer", {"refund": "no", "message": "It comes"}),
        ("buyer", "withdraw", {}),
        ("platform", "take_over", {}),
        ("merchant", "note", {"text": "Hm"}),
    ],
)
def test_a_preview_comes_true(role: Any, action: str, fields: dict[str, Any]) -> None:
    play = Play()
    play.report()
    seen = preview_of(play, role, action, **fields)
    play.act(role, action, **fields)
    case = play.case
    assert play.file is not None
    assert (seen.state, seen.turn, seen.outcome) == (case.state, case.turn, case.outcome)
    told = explained_deadlines(play.file, case.case_id, SHIPPED)
    assert [(each.kind, each.due_at) for each in seen.deadlines] == [(each.kind, each.due_at) for each in told]
    assert seen.payout.held == case.is_open
    assert str(seen.money.refundable.amount) == play.money[2]


@pytest.mark.rule("NX-04", "BP-26")
def test_a_preview_tells_what_becomes_of_the_protection() -> None:
    play = Play()
    play.report()
    play.act("merchant", "answer", refund="yes", message="All of it")
    seen = preview_of(play, "buyer", "react", reaction="received")
    assert seen.protection is not None
    assert seen.protection.state == "ended"


@pytest.mark.rule("NX-04")
def test_a_preview_of_what_is_refused_is_that_refusal() -> None:
    play = Play()
    play.report()
    assert play.file is not None
    command = TakeAction(case_id=play.case.case_id, action="react", fields={"reaction": "received"}, actor=actor("buyer"))
    refused = preview(play.file, command, play.now, SHIPPED)
    assert isinstance(refused, Refusal)
    assert refused.problem.status == 409


@pytest.mark.rule("NX-01", "BP-17", "BP-22")
def test_a_deadline_explains_itself() -> None:
    play = Play()
    play.report()
    play.act("merchant", "answer", refund="yes", message="Some", refund_amount=euros(40))
    assert play.file is not None
    (told,) = explained_deadlines(play.file, play.case.case_id, SHIPPED, "de-DE")
    assert (told.party, told.kind, told.rule) == ("buyer", "buyer_reaction", "BP-13")
    assert (told.policy.programme, told.policy.version) == ("buyer-protection", 2)
    silence = told.on_silence
    assert (silence.action, silence.state, silence.outcome) == ("close", "resolved", "no_reaction")
    assert {kind: str(amount) for kind, amount in silence.money.items()} == {"executed": "40.00 EUR"}
    assert "40,00\N{NO-BREAK SPACE}€ gilt als erhalten" in silence.text
    (english,) = explained_deadlines(play.file, play.case.case_id, SHIPPED, "pl")
    assert "counts as received" in english.on_silence.text
    assert english.label == "Buyer's reaction"
    (unheard_of,) = explained_deadlines(play.file, play.case.case_id, SHIPPED, "tlh")
    assert "€40.00" in unheard_of.on_silence.text


@pytest.mark.rule("NX-01")
def test_the_consequence_is_told_as_the_case_is_now() -> None:
    play = Play()
    play.report()
    play.act("merchant", "answer", refund="yes", message="All of it")
    play.fact("refunded", 100)
    assert play.file is not None
    (told,) = explained_deadlines(play.file, play.case.case_id, SHIPPED)
    assert told.on_silence.money == {}
    assert play.deadline("buyer_reaction").on_silence.money == {"executed": euros(100)}


@pytest.mark.rule("NX-03")
def test_silence_that_nobody_has_told_yet_already_counts() -> None:
    play = Play()
    play.report()
    play.act("merchant", "answer", refund="no", message="It comes")
    assert set(play.allowed("buyer")) == {"react", "withdraw"}
    play.wait("P21D")
    assert set(play.allowed("buyer")) == set()
    assert set(play.allowed("platform")) == {"reopen", "note"}


def test_labels() -> None:
    play = Play()
    play.report()
    policy = SHIPPED.get("buyer-protection", 2)
    assert label(policy, play.case, "de") == "Antwort des Händlers steht aus"
    assert label(policy, play.case, "fr") == "Waiting for the merchant's answer"
    assert outcome_label(policy, "settled", "de") == "Einvernehmlich gelöst"
    assert play.allowed("merchant")["answer"].label == "Answer"


@pytest.mark.rule("NX-06")
def test_how_a_refund_stands() -> None:
    play = Play()
    play.report()
    assert play.file is not None
    first = refund_status(play.file, play.case.case_id)
    assert (first.variant, first.proposed, first.decided) == (None, None, None)
    play.act("merchant", "answer", refund="yes", message="Some", refund_amount=euros(40))
    offered = refund_status(play.file, play.case.case_id)
    assert (offered.variant, offered.proposed, str(offered.refundable)) == ("partial", euros(40), "60.00 EUR")
    play.act("buyer", "react", reaction="disagree")
    play.act("platform", "decide", outcome="refund", message="All")
    ruled = refund_status(play.file, play.case.case_id)
    assert (ruled.decided, ruled.executed, ruled.refundable) == (euros(100), euros(0), euros(0))
    play.pay()
    assert refund_status(play.file, play.case.case_id).executed == euros(100)


def test_how_a_refused_refund_stands() -> None:
    play = Play()
    play.report("other")
    play.act("platform", "decide", outcome="no_refund", message="No")
    assert play.file is not None
    assert refund_status(play.file, play.case.case_id).decided == euros(0)
