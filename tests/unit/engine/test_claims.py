"""Every row of the table of claims, driven as merchant, partner and platform would, silence included."""

from datetime import timedelta
from typing import Any

import pytest

from engine.programmes import Programmes
from engine.views import evidence_checklist, explained_deadlines, label, unanswered
from tests.unit.engine.playing import LABELS, REPORTED, Play, euros, pointers, problem
from tests.unit.engine.rows import Row, Step, act, check, each_row, silence

POLICY = Programmes.shipped().get("claims", 1)
CLAIM: dict[str, Any] = {
    "role": "partner",
    "amount": euros(60),
    "answer_by": REPORTED + timedelta(days=9),
    "external_id": "cb-1",
}
ANSWER = {("claim_answer", "merchant"): "P9D"}


def row(*steps: Step, state: str, turn: str | None = None, reason: str = "chargeback", **more: Any) -> Row:
    return Row(steps, state, turn, reason=reason, programme="claims", report=CLAIM, **more)


def ruled(outcome: str, role: str = "partner") -> Step:
    return act(role, "record_outcome", outcome=outcome)


DEFEND = act("merchant", "defend", evidence=["proof_of_delivery:signed.pdf"], message="It was delivered")
ACCEPT = act("merchant", "accept_claim")

ROWS: dict[str, tuple[tuple[str, ...], Row]] = {
    "report chargeback": (("CP-03",), row(state="submitted", turn="merchant", due=ANSWER)),
    "report marketplace guarantee": (
        ("CP-03",),
        row(state="submitted", turn="merchant", due=ANSWER, reason="marketplace_guarantee"),
    ),
    "defended": (("CP-03",), row(DEFEND, state="under_review")),
    "accepted": (("CP-03", "NX-06"), row(ACCEPT, state="resolved", outcome="accepted", money=("0.00", "60.00"))),
    "merchant silent": (("CP-03",), row(silence, state="under_review")),
    "won": (("CP-03",), row(DEFEND, ruled("won"), state="resolved", outcome="won")),
    "lost": (
        ("CP-03", "NX-06"),
        row(DEFEND, ruled("lost", "platform"), state="resolved", outcome="lost", money=("0.00", "60.00")),
    ),
    "lost before an answer": (("CP-03",), row(ruled("lost"), state="resolved", outcome="lost", money=("0.00", "60.00"))),
    "won although unanswered": (("CP-03",), row(silence, ruled("won"), state="resolved", outcome="won")),
    "taken over": (("CP-03",), row(act("platform", "take_over"), state="under_review", turn="platform")),
    "withdrawn": (("CP-03",), row(DEFEND, act("buyer", "withdraw"), state="resolved", outcome="withdrawn")),
    "reopened": (
        ("CP-03",),
        row(ruled("lost"), act("platform", "reopen"), state="under_review", money=("0.00", "60.00")),
    ),
    "lost twice": (
        ("CP-03", "NX-06"),
        row(ruled("lost"), act("platform", "reopen"), ruled("lost"), state="resolved", outcome="lost", money=("0.00", "60.00")),
    ),
    "won after all": (
        ("CP-03", "NX-06"),
        row(ruled("lost"), act("platform", "reopen"), ruled("won"), state="resolved", outcome="won"),
    ),
}


@each_row(ROWS)
def test_row(row: Row) -> None:
    check(row)


def claim(reason: str = "chargeback", paid: int = 100, **more: Any) -> Play:
    play = Play(paid=paid, labels=LABELS)
    play.report(reason, "claims", **{**CLAIM, **more})
    return play


@pytest.mark.rule("CP-03")
def test_the_date_to_answer_by_is_the_providers() -> None:
    play = claim()
    (deadline,) = play.case.deadlines
    assert deadline.due_at == CLAIM["answer_by"]
    (told,) = explained_deadlines(play.file, play.case.case_id, play.programmes)  # type: ignore[arg-type]
    assert (told.on_silence.action, told.on_silence.state) == ("leave_unanswered", "under_review")
    past = claim(answer_by=REPORTED - timedelta(days=1))
    assert past.case.deadlines[0].due_at == REPORTED
    past.wake()
    assert past.case.state == "under_review"
    unsaid = claim(answer_by=None)
    assert unsaid.case.deadlines[0].due_at == REPORTED + timedelta(days=7)


@pytest.mark.rule("CP-03")
def test_with_the_provider_it_is_nobodys_turn() -> None:
    play = claim()
    DEFEND(play)
    assert (play.case.turn, play.case.deadlines) == (None, ())
    assert POLICY.states["under_review"].waits_for == "provider"
    assert label(POLICY, play.case, "en") == "With the provider"
    assert not unanswered(play.case)
    assert set(play.allowed("merchant")) == {"note"}
    assert set(play.allowed("partner")) == {"record_outcome"}
    silent = claim()
    silent.wake()
    assert unanswered(silent.case)


@pytest.mark.rule("CP-03")
def test_who_may_do_what() -> None:
    play = claim()
    assert POLICY.reasons["chargeback"].by == ("partner", "platform")
    assert set(play.allowed("merchant")) == {"defend", "accept_claim", "note"}
    assert set(play.allowed("buyer")) == {"withdraw"}
    assert pointers(play.act("merchant", "defend", message="Look")) == ["/evidence"]
    assert pointers(play.act("merchant", "defend", message="Look", evidence=[])) == ["/evidence"]
    assert problem(play.act("merchant", "record_outcome", outcome="won")).status == 403
    assert pointers(play.act("partner", "record_outcome", outcome="drawn")) == ["/outcome"]


@pytest.mark.rule("CP-03", "CP-06")
def test_the_checklist_knows_files_and_facts() -> None:
    play = claim()

    def there() -> dict[str, bool]:
        assert play.file is not None
        return {each.kind: each.satisfied for each in evidence_checklist(play.file, play.case.case_id, play.programmes)}

    assert play.file is not None
    levels = {each.kind: each.level for each in evidence_checklist(play.file, play.case.case_id, play.programmes, "de")}
    assert levels == {
        "tracking": "one_of",
        "proof_of_delivery": "one_of",
        "invoice": "required",
        "correspondence": "optional",
        "refund_policy": "optional",
    }
    assert not any(there().values())
    play.fact("shipped")
    assert not there()["tracking"]
    play.fact("shipped", tracking_code="T1")
    assert there()["tracking"]
    play.fact("delivered")
    assert there()["proof_of_delivery"]
    play.act("merchant", "defend", evidence=["invoice:4711.pdf", "anything.pdf"], message="See here")
    assert there() == {
        "tracking": True,
        "proof_of_delivery": True,
        "invoice": True,
        "correspondence": False,
        "refund_policy": False,
    }
    other = Play()
    other.report()
    assert other.file is not None
    assert evidence_checklist(other.file, other.case.case_id, other.programmes) == ()


@pytest.mark.rule("CP-03", "NX-06")
def test_a_claim_shares_the_ledger_and_excess_is_flagged() -> None:
    play = claim(paid=100)
    assert play.money == ("0.00", "0.00", "100.00")
    play.report("not_received")
    play.act("merchant", "answer", refund="yes", message="Here", refund_amount=euros(70))
    first = play.file.cases[next(iter(play.file.cases))]  # type: ignore[union-attr]
    play.act("partner", "record_outcome", case=first.case_id, outcome="lost")
    assert play.file is not None
    (entry,) = [each for each in play.file.ledger if each.case_id == first.case_id]
    assert (entry.kind, entry.executor, entry.confirmed_by, entry.settles) == ("executed", "provider", "provider", None)
    assert (entry.flags, play.money) == ((), ("40.00", "60.00", "0.00")), "of the promise stands what is left"
    play.act("buyer", "react", reaction="received")
    play.report("marketplace_guarantee", "claims", "partner", amount=euros(60), answer_by=CLAIM["answer_by"])
    play.act("merchant", "accept_claim")
    assert play.file.ledger[-1].flags == ("over_refund",)
    assert play.money == ("0.00", "160.00", "0.00")


@pytest.mark.rule("CP-03", "NX-06")
@pytest.mark.parametrize(("outcome", "executed"), [("lost", "60.00"), ("won", "0.00")])
def test_what_came_of_a_claim_that_the_buyer_took_back_is_recorded_once(outcome: str, executed: str) -> None:
    """A buyer's word is not the provider's. The end stays as it was, the ledger follows the money."""
    play = claim()
    play.act("buyer", "withdraw")
    assert set(play.allowed("partner")) == {"record_outcome"}
    assert "record_outcome" not in play.allowed("merchant")
    play.act("partner", "record_outcome", outcome=outcome)
    assert (play.case.state, play.case.outcome, play.money[1]) == ("resolved", "withdrawn", executed)
    assert play.file is not None
    assert all((entry.executor, entry.case_id) == ("provider", play.case.case_id) for entry in play.file.ledger)
    assert problem(play.act("partner", "record_outcome", outcome="lost")).status == 409
    ended = claim()
    ruled("won")(ended)
    assert problem(ended.act("partner", "record_outcome", outcome="lost")).status == 409


@pytest.mark.rule("CP-03", "NX-06")
def test_a_claim_without_an_amount_is_about_the_order() -> None:
    play = claim(amount=None)
    ACCEPT(play)
    assert play.money == ("0.00", "100.00", "0.00")
    assert play.file is not None
    assert play.file.ledger[-1].flags == ()
