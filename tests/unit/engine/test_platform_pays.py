"""The platform's own refunds in the ledger: told by its provider, or by hand, and counted once (NX-06)."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.actors import Role
from contracts.cases import CaseOpened, ConfirmExecution, RuleRef, TakeAction
from contracts.envelope import Envelope
from contracts.orders import FactRecorded
from engine.casefile import CaseFile, LedgerEntry, balance, executions, open_reservations
from engine.decide import Refusal, decide, evolve
from engine.programmes import Programmes
from engine.views import explained_deadlines, preview, refund_status
from tests.unit.cases.reporting import REPORTED, Reported, actor
from tests.unit.engine.playing import Play, euros, pointers, problem

PROGRAMMES = Programmes.shipped()
ALL = {"amount": "9999.00", "currency": "EUR"}


class Book:
    """An order with a case that the platform decided: 40 of 100, or as much as is said, are reserved and to be paid."""

    def __init__(self, decided: str = "40.00") -> None:
        self.order = Reported()
        self.file: CaseFile | None = None
        self.take(self.order.report(reason="other"))
        amount = {"amount": decided, "currency": "EUR"}
        told = self.take(
            self.order.act("platform", "decide", REPORTED, outcome="partial_refund", refund_amount=amount, message="Yes.")
        )
        self.due = told[-1].change.refund_due

    def take(self, envelope: Envelope) -> list[Any]:
        events = decide(self.file, envelope.message, envelope.time, envelope.id, PROGRAMMES)  # type: ignore[arg-type]
        assert not isinstance(events, Refusal)
        for event in events:
            self.file = evolve(self.file, event)
        return events

    def confirm(self, reference: str = "pay_1") -> list[Any]:
        message = ConfirmExecution(
            case_id=self.order.case(), decision_id=self.due.decision_id, reference=reference, at=REPORTED
        )
        return self.take(Envelope("confirm", "cases", self.order.order_id, REPORTED + timedelta(hours=1), message))

    def refunded(self, amount: str, external_id: str | None, role: Role = "platform", fact_id: str = "fct_1") -> list[Any]:
        given = {"amount": {"amount": amount, "currency": "EUR"}, "external_id": external_id}
        envelope = self.order.fact("refunded", REPORTED + timedelta(hours=2), **given)
        assert isinstance(envelope.message, FactRecorded)
        fact = envelope.message.fact.model_copy(update={"source": actor(role), "fact_id": fact_id})
        message = envelope.message.model_copy(update={"fact": fact})
        return self.take(Envelope(fact_id, "intake", self.order.order_id, envelope.time, message))

    @property
    def ledger(self) -> tuple[LedgerEntry, ...]:
        assert self.file is not None
        return self.file.ledger

    def sums(self) -> tuple[str, str]:
        sums = balance(self.order.order.amount, self.ledger)
        return str(sums.reserved.amount), str(sums.executed.amount)


@pytest.mark.rule("NX-06")
def test_a_confirmation_settles_the_reservation_once() -> None:
    book = Book()
    assert book.sums() == ("40.00", "0.00")
    assert len(book.confirm()) == 1
    assert book.confirm("pay_2") == []
    assert book.sums() == ("0.00", "40.00")
    executed = book.ledger[-1]
    assert (executed.reference, executed.confirmed_by, executed.flags) == ("pay_1", "provider", ())


@pytest.mark.rule("NX-06")
def test_a_fact_of_the_platform_that_names_the_decision_says_that_it_was_paid_by_hand() -> None:
    book = Book()
    book.refunded("40.00", book.due.decision_id)
    assert book.sums() == ("0.00", "40.00")
    executed = book.ledger[-1]
    assert (executed.executor, executed.confirmed_by, executed.decision_id) == ("platform", "fact", book.due.decision_id)
    assert executed.flags == ()


@pytest.mark.rule("NX-06")
@pytest.mark.parametrize(
    ("amount", "external_id", "role"),
    [
        ("40.00", None, "merchant"),
        ("40.00", "bank", "platform"),
        ("40.00", "decision", "merchant"),
        ("30.00", "decision", "platform"),
    ],
)
def test_no_other_fact_settles_what_the_platform_is_to_pay(amount: str, external_id: str | None, role: Role) -> None:
    book = Book()
    book.refunded(amount, book.due.decision_id if external_id == "decision" else external_id, role)
    assert book.sums() == ("40.00", amount)
    assert len(open_reservations(book.ledger)) == 1


@pytest.mark.rule("NX-06")
def test_a_fact_under_the_provider_s_reference_tells_nothing_new() -> None:
    book = Book()
    book.confirm("pay_1")
    before = book.ledger
    book.refunded("40.00", "pay_1", "partner")
    assert book.ledger == before
    book.refunded("40.00", "pay_2", "partner", "fct_2")
    assert book.sums() == ("0.00", "80.00")


@pytest.mark.rule("NX-06")
@pytest.mark.parametrize("amount", ["40.00", "60.00"])
def test_a_fact_of_the_provider_s_payment_that_comes_before_its_confirmation_counts_no_second_time(amount: str) -> None:
    """Of 60 the fact seemed to be more than was left, as it looked like a refund of the merchant beside the platform's."""
    book = Book(amount)
    book.refunded(amount, "pay_1", "partner")
    assert book.sums() == (amount, amount)
    assert ("over_refund" in book.ledger[-1].flags) == (amount == "60.00")
    book.confirm("pay_1")
    (flowed,) = executions(book.ledger)
    assert (flowed.executor, flowed.confirmed_by, flowed.reference, flowed.flags) == ("platform", "provider", "pay_1", ())
    assert book.sums() == ("0.00", amount)
    assert book.confirm("pay_1") == []
    book.refunded("10.00", "bank", "partner", "fct_2")
    assert executions(book.ledger)[-1].flags == ()


def owing(*promised: int, confirmed: int = 0) -> tuple[Play, LedgerEntry]:
    """An order of 100 of which the platform is to pay 40, and merchants have promised the rest in other cases."""
    play = Play(paid=100)
    if confirmed:
        play.report("not_received")
        play.act("merchant", "answer", refund="yes", message="Yes.", refund_amount=euros(confirmed))
        play.act("buyer", "react", reaction="received")
    for amount in promised:
        play.report("complaint", "returns-desk")
        play.act("merchant", "accept", resolution="refund", message="Yes.", refund_amount=euros(amount))
    play.report("damaged", "order-issues")
    play.act("merchant", "refund", refund_amount=euros(40))
    assert play.file is not None
    return play, next(entry for entry in open_reservations(play.file.ledger) if entry.executor == "platform")


def paid(play: Play, owed: LedgerEntry) -> None:
    play.send(ConfirmExecution(case_id=owed.case_id or "", decision_id=owed.decision_id or "", reference="pay_1", at=play.now))


@pytest.mark.rule("NX-06")
def test_a_promise_that_the_platform_s_own_payment_seemed_to_keep_stands_again() -> None:
    play, owed = owing(40)
    play.fact("refunded", 40, external_id="pay_1")
    assert play.money == ("40.00", "40.00", "20.00"), "the merchant seems to have kept its word"
    paid(play, owed)
    assert play.file is not None
    (promise,) = open_reservations(play.file.ledger)
    assert (promise.case_id, promise.executor, promise.amount) == (next(iter(play.file.cases)), "merchant", euros(40))
    assert play.money == ("40.00", "40.00", "20.00"), "it was the platform that has paid"
    play.fact("refunded", 40, external_id="bank")
    assert play.money == ("0.00", "80.00", "20.00")
    assert [entry.executor for entry in executions(play.file.ledger)] == ["platform", "merchant"]


@pytest.mark.rule("NX-06")
def test_a_promise_whose_case_has_ended_meanwhile_does_not_stand_again() -> None:
    play = Play(paid=100)
    promising = play.report("not_received")
    play.act("merchant", "answer", refund="yes", message="Yes.", refund_amount=euros(40))
    play.report("damaged", "order-issues")
    play.act("merchant", "refund", refund_amount=euros(40))
    assert play.file is not None
    owed = open_reservations(play.file.ledger)[-1]
    play.fact("refunded", 40, external_id="pay_1")
    play.act("buyer", "withdraw", promising)
    paid(play, owed)
    assert play.money == ("0.00", "40.00", "60.00")


@pytest.mark.rule("NX-06")
def test_a_fact_of_the_platform_s_payment_proves_no_refund_of_the_merchant() -> None:
    for early in (True, False):
        play, owed = owing(confirmed=40)
        assert play.money == ("40.00", "40.00", "20.00")
        for comes_first in (early, not early):
            if comes_first:
                play.fact("refunded", 40, external_id="pay_1")
            else:
                paid(play, owed)
        assert play.money == ("0.00", "80.00", "20.00")
        play.fact("refunded", 40, external_id="bank")
        assert play.money == ("0.00", "80.00", "20.00"), "this is its proof"


TOLD = st.lists(st.tuples(st.sampled_from(["pay_1", "bank"]), st.sampled_from([10, 20, 40, 55])), max_size=4)


@pytest.mark.rule("NX-06")
@given(told=TOLD, promised=st.sampled_from([(), (40,), (20, 30), (10, 20, 30)]), confirmed=st.booleans(), data=st.data())
def test_whether_fact_or_confirmation_was_heard_first_makes_no_difference(
    told: list[tuple[str, int]], promised: tuple[int, ...], confirmed: bool, data: st.DataObject
) -> None:
    """Facts under the payment's reference and others, and the provider's word at any place among them."""
    confirmed = confirmed and not promised
    seen = []
    for place in (0, data.draw(st.integers(0, len(told)))):
        play, owed = owing(*promised, confirmed=40 if confirmed else 0)
        for number, (reference, amount) in enumerate(told):
            if number == place:
                paid(play, owed)
            external_id = reference if reference == "pay_1" else f"bank {number}"
            play.fact("refunded", amount, f"fct_{number}", external_id=external_id)
        paid(play, owed)
        assert play.file is not None
        flagged = any(entry.flags for entry in executions(play.file.ledger))
        seen.append((play.money, flagged))
    assert seen[0] == seen[1]


@pytest.mark.rule("NX-06")
def test_what_flowed_twice_is_recorded_and_flagged() -> None:
    book = Book()
    book.refunded("40.00", book.due.decision_id)
    (told,) = book.confirm()
    assert told.change.ledger[0].flags == ("over_refund",)
    assert told.change.ledger[0].settles is None
    assert book.sums() == ("0.00", "80.00")
    assert book.confirm() == []


@pytest.mark.rule("NX-06", "CP-03")
def test_what_the_provider_has_paid_on_a_claim_the_platform_does_not_pay_again() -> None:
    play = Play(paid=40)
    play.report("damaged", "order-issues")
    play.act("merchant", "refund")
    (owed,) = open_reservations(play.file.ledger)  # type: ignore[union-attr]
    assert (owed.executor, play.money) == ("platform", ("40.00", "0.00", "0.00"))
    play.report("chargeback", "claims", "partner", answer_by=play.now + timedelta(days=9))
    play.act("merchant", "accept_claim")
    assert play.money == ("0.00", "40.00", "0.00")
    # Paid in the meantime all the same: it is told of and flagged, not left out.
    play.send(ConfirmExecution(case_id=owed.case_id or "", decision_id=owed.decision_id or "", reference="pay_1", at=play.now))
    last = play.file.ledger[-1]  # type: ignore[union-attr]
    assert (last.kind, last.flags, play.money[1]) == ("executed", ("over_refund",), "80.00")


@pytest.mark.rule("NX-06", "CP-03")
@pytest.mark.parametrize("reacts", [True, False])
def test_what_a_claim_has_brought_no_merchant_owes_any_more(reacts: bool) -> None:
    play = Play(paid=40)
    case_id = play.report()
    play.act("merchant", "answer", refund="yes", message="Yes.")
    play.report("chargeback", "claims", "partner", answer_by=play.now + timedelta(days=9))
    play.act("merchant", "accept_claim")
    assert play.file is not None
    assert play.money == ("0.00", "40.00", "0.00")
    assert not any(entry.flags for entry in play.file.ledger)
    case = play.file.cases[case_id]
    (told,) = explained_deadlines(play.file, case_id, play.programmes)
    assert told.on_silence.money == {}, "the promise was let go of when the claim brought the money"
    assert "40" not in told.on_silence.text
    if reacts:
        play.act("buyer", "react", case=case_id, reaction="received")
    else:
        play.wake(case.deadlines[0], case)
    assert play.file.cases[case_id].state == "resolved"
    assert play.money == ("0.00", "40.00", "0.00")


def by_rule(play: Play, case_id: str) -> Any:
    return play.act("system", "decide", case_id, rule=RuleRef(rule_id="drl_1", version=1), outcome="refund", message="At once.")


@pytest.mark.rule("CP-07", "CP-03", "NX-06")
def test_no_rule_decides_while_a_claim_on_the_order_is_out() -> None:
    """What its provider moves it moves whatever the ledger says: the platform would pay beside it, and nobody decided that."""
    play = Play(paid=80)
    claim = play.report("chargeback", "claims", "partner", amount=euros(30), answer_by=play.now + timedelta(days=9))
    case_id = play.report("not_received")
    assert isinstance(play.events[-1], CaseOpened)
    assert play.events[-1].refundable_at_once == euros(0)
    assert problem(by_rule(play, case_id)).status == 409
    play.act("buyer", "withdraw", claim)
    assert problem(by_rule(play, case_id)).status == 409, "the buyer's word is not the provider's"
    play.act("partner", "record_outcome", claim, outcome="lost")
    by_rule(play, case_id)
    assert play.money == ("50.00", "30.00", "0.00"), "all that is left"


@pytest.mark.rule("CP-07", "NX-06")
def test_no_rule_decides_over_a_proposal_that_others_may_accept() -> None:
    play = Play(paid=80)
    reviewed = play.report("other")
    play.act("platform", "propose", message="Half of it?", refund_amount=euros(40))
    case_id = play.report("damaged", "order-issues")
    assert problem(by_rule(play, case_id)).status == 409
    play.act("buyer", "decline_proposal", reviewed)
    by_rule(play, case_id)
    assert play.money == ("80.00", "0.00", "0.00")


@pytest.mark.rule("CP-07", "NX-06")
def test_what_others_promised_or_took_a_rule_leaves_alone() -> None:
    play = Play(paid=80)
    play.report("complaint", "returns-desk")
    play.act("merchant", "accept", resolution="refund", message="Yes.", refund_amount=euros(30))
    case_id = play.report("not_received")
    assert isinstance(play.events[-1], CaseOpened)
    assert play.events[-1].refundable_at_once == euros(50)
    by_rule(play, case_id)
    assert play.money == ("80.00", "0.00", "0.00")


@pytest.mark.rule("NX-03", "BP-12", "OI-05")
def test_nothing_is_refunded_only_where_nothing_was_paid() -> None:
    for paid in (80, 0):
        play = Play(paid=paid)
        if paid:
            play.fact("refunded", paid)
        play.report("no_refund")
        answers = play.allowed("merchant")["answer"].fields["properties"]["refund"]["enum"]
        assert answers == (["no"] if paid else ["yes", "yes_after_return", "no"])
        said = play.act("merchant", "answer", refund="yes", message="Yes.")
        assert pointers(said) == ["/refund"] if paid else not isinstance(said, Refusal)
        play.report("damaged", "order-issues")
        assert ("refund" in play.allowed("merchant")) == (not paid)
        play.report("complaint", "returns-desk")
        accepted = play.act("merchant", "accept", resolution="refund", message="Yes.")
        assert pointers(accepted) == ["/resolution"] if paid else not isinstance(accepted, Refusal)
        play.report("other")
        decisions = play.allowed("platform")["decide"].fields["properties"]["outcome"]["enum"]
        assert decisions == (["no_refund"] if paid else ["refund", "no_refund"])


@pytest.mark.rule("NX-06", "CP-03")
def test_of_promises_what_still_fits_beside_a_claim_stands() -> None:
    """The older promise stands whole, of the newer one what is left; each stays its own case's."""
    play = Play(paid=100)
    older = play.report("not_received")
    play.act("merchant", "answer", refund="yes", message="Yes.", refund_amount=euros(30))
    newer = play.report("complaint", "returns-desk")
    play.act("merchant", "accept", resolution="refund", message="Yes.", refund_amount=euros(60))
    play.report("chargeback", "claims", "partner", amount=euros(50), answer_by=play.now + timedelta(days=9))
    play.act("merchant", "accept_claim")
    assert play.file is not None
    assert [(entry.case_id, entry.amount) for entry in open_reservations(play.file.ledger)] == [
        (older, euros(30)),
        (newer, euros(20)),
    ]
    assert play.money == ("50.00", "50.00", "0.00")
    assert refund_status(play.file, newer).decided == euros(20)


@pytest.mark.rule("NX-04", "NX-06", "CP-03")
@pytest.mark.parametrize(("paid_before", "over"), [(True, euros(40)), (False, None)])
def test_the_preview_of_a_claim_says_by_how_much_too_much_would_flow(paid_before: bool, over: Any) -> None:
    play = Play(paid=40)
    play.report("damaged", "order-issues")
    if paid_before:
        play.act("merchant", "refund")
        play.pay()
    play.report("chargeback", "claims", "partner", answer_by=play.now + timedelta(days=9))
    command = TakeAction(case_id=play.case.case_id, action="accept_claim", actor=actor("merchant"))
    seen = preview(play.file, command, play.now, play.programmes)  # type: ignore[arg-type]
    assert not isinstance(seen, Refusal)
    assert (seen.money.executed, seen.money.over_refund) == (euros(40), over)


@pytest.mark.rule("RD-03", "NX-03", "NX-04", "NX-06")
@pytest.mark.parametrize(
    ("programme", "reason", "steps", "role", "action", "fields"),
    [
        (
            "returns-desk",
            "complaint",
            [("platform", "take_over", {})],
            "platform",
            "solve",
            {"message": "ok", "refund_amount": ALL},
        ),
        ("order-issues", "damaged", [], "merchant", "refund", {}),
        ("order-issues", "late", [], "platform", "solve", {"message": "ok", "refund_amount": ALL}),
        ("buyer-protection", "other", [], "platform", "decide", {"outcome": "refund", "message": "ok"}),
        (
            "buyer-protection",
            "other",
            [
                ("platform", "propose", {"message": "ok", "refund_amount": ALL}),
                ("buyer", "accept_proposal", {}),
            ],
            "merchant",
            "accept_proposal",
            {},
        ),
    ],
)
def test_of_an_order_that_it_has_never_seen_the_platform_pays_nothing(
    programme: str, reason: str, steps: list[tuple[Role, str, dict[str, Any]]], role: Role, action: str, fields: dict[str, Any]
) -> None:
    """The amount is what somebody wrote into a form. Whoever decides it, the merchant refunds: the form and the preview say so,
    nothing is given to the payment provider, and the merchant's own word, told as a fact, is what confirms it."""
    for origin, executor in (("registered", "platform"), ("reported", "merchant")):
        play = Play(paid=9999, origin=origin)  # type: ignore[arg-type]
        play.report(reason, programme)
        for who, what, said in steps:
            play.act(who, what, **said)
        offered = play.allowed(role)[action].fields["properties"].get("refund_amount", {})
        assert offered.get("x-executor") == (executor if offered else None)
        command = TakeAction(case_id=play.case.case_id, action=action, fields=fields, actor=actor(role))
        seen = preview(play.file, command, play.now, play.programmes)  # type: ignore[arg-type]
        assert not isinstance(seen, Refusal)
        flows_at_once = euros(9999) if executor == "platform" else euros(0)
        assert (seen.money.executor, seen.money.reserved, seen.money.executed) == (executor, euros(9999), flows_at_once)
        play.act(role, action, **fields)
        (event,) = play.events[-1:]
        assert bool(event.change.refund_due) == (executor == "platform")  # type: ignore[union-attr]
        assert {entry.executor for entry in play.file.ledger} == {executor}  # type: ignore[union-attr]
        shown = refund_status(play.file, play.case.case_id)  # type: ignore[arg-type]
        assert (shown.decided, shown.executed) == (euros(9999), euros(0))
        play.fact("refunded", 9999)
        assert refund_status(play.file, play.case.case_id).executed == flows_of(executor)  # type: ignore[arg-type]


def flows_of(executor: str) -> Any:
    """What a merchant's fact confirms of a case: its own refund; of the platform's, nothing."""
    return euros(9999 if executor == "merchant" else 0)
