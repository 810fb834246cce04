"""The case file of an order: its cases and its one refund ledger, as far as decisions need them."""

from collections import Counter
from collections.abc import Iterable
from decimal import Decimal
from typing import Literal

from contracts.actors import Party
from contracts.base import Model, Moment
from contracts.cases import (
    Answer,
    CaseState,
    Deadline,
    Executor,
    LedgerEntry,
    Outcome,
    PolicyRef,
    Proposal,
    RuleRef,
    StatusLabel,
    Variant,
)
from contracts.ids import child_id
from contracts.money import Money
from contracts.orders import Fact, Order

__all__ = [
    "CLOSED",
    "Balance",
    "Case",
    "CaseFile",
    "available_to",
    "balance",
    "entries_of_fact",
    "executed_amount",
    "executions",
    "flowing",
    "is_whole",
    "ledger_of",
    "open_reservations",
    "payer_of",
    "promised",
    "promises_of",
    "unproved",
    "variant_of",
]

CLOSED: frozenset[str] = frozenset({"resolved", "rejected"})
"""The states in which a case has ended."""


class Case(Model):
    """One case, without its messages and history."""

    case_id: str
    number: int
    """The n-th case of the order, from 1."""
    policy: PolicyRef
    """Pinned when the case opened (NX-07)."""
    reason: str
    state: CaseState
    turn: Party | None = None
    outcome: Outcome | None = None
    label: StatusLabel | None = None
    """The merchant's own label for the state."""
    decided_by: RuleRef | None = None
    """The rule that decided it in nobody's name."""
    answer: Answer | None = None
    """The merchant's latest answer."""
    proposal: Proposal | None = None
    """The platform's proposal while it stands."""
    deadlines: tuple[Deadline, ...] = ()
    """Those that stand."""
    lapsed: tuple[Deadline, ...] = ()
    """The latest that their parties let pass: a notice of one may come back yet."""
    marks: dict[str, str] = {}
    """Circumstances that guards ask for."""
    claimed: Money | None = None
    """What the report claims, where it says."""
    answer_by: Moment | None = None
    """The date that the report names for the answer."""
    evidence_kinds: tuple[str, ...] = ()
    """What the files prove that were attached so far."""
    opened_at: Moment
    updated_at: Moment
    closed_at: Moment | None = None
    version: int
    """What a reader sees: the ETag. Notices and reminders leave it as it is."""
    sequence: int
    """Events of this case so far: its history without gaps."""
    head: str | None = None
    """Hash of the last sealed event."""

    @property
    def is_open(self) -> bool:
        """Whether it has not ended."""
        return self.state not in CLOSED


class CaseFile(Model):
    """Everything that cases decides about one order."""

    order: Order
    facts: tuple[Fact, ...] = ()
    ledger: tuple[LedgerEntry, ...] = ()
    cases: dict[str, Case] = {}
    """By case id, oldest first."""
    at: Moment
    """The time of the last event: time in a file never runs backwards."""
    sequence: int
    """Events of the order so far."""

    @property
    def open_cases(self) -> tuple[Case, ...]:
        """The cases that have not ended, oldest first."""
        return tuple(case for case in self.cases.values() if case.is_open)


class Balance(Model):
    """How an order's money stands (NX-06). `refundable` = paid − reserved − executed, never below zero."""

    paid: Money
    reserved: Money
    executed: Money
    refundable: Money


def open_reservations(ledger: Iterable[LedgerEntry]) -> tuple[LedgerEntry, ...]:
    """Reservations that nothing has settled or released yet, oldest first."""
    entries = tuple(ledger)
    settled = {entry.settles for entry in entries if entry.settles is not None}
    return tuple(entry for entry in entries if entry.kind == "reserved" and entry.entry_id not in settled)


def executions(ledger: Iterable[LedgerEntry]) -> tuple[LedgerEntry, ...]:
    """What flowed and was not found later not to have flowed, oldest first."""
    entries = tuple(ledger)
    reversed_ones = {entry.settles for entry in entries if entry.kind == "released"}
    return tuple(entry for entry in entries if entry.kind == "executed" and entry.entry_id not in reversed_ones)


def executed_amount(ledger: Iterable[LedgerEntry]) -> Decimal:
    """The sum that has flowed back."""
    return sum((entry.amount.amount for entry in executions(ledger)), Decimal(0))


def payer_of(order: Order, executor: Executor) -> Executor:
    """Who pays of this order what a programme has `executor` pay. An order that is known from its buyer's report alone never
    brought the platform any money, and its amount is what somebody wrote: whatever is refunded of it, the merchant refunds."""
    return "merchant" if executor == "platform" and order.origin == "reported" else executor


def promises_of(file: CaseFile, case_id: str) -> tuple[LedgerEntry, ...]:
    """What a case has promised and may still take back. What the platform is to pay is not among it: its payment provider may
    be at it already."""
    return tuple(entry for entry in open_reservations(file.ledger) if entry.case_id == case_id and entry.executor != "platform")


def promised(file: CaseFile, case_id: str) -> Money:
    """What a case has promised and may still flow: never more than has not flowed yet of what was paid."""
    paid = file.order.amount
    standing = sum((entry.amount.amount for entry in promises_of(file, case_id)), Decimal(0))
    return Money(amount=max(min(standing, paid.amount - executed_amount(file.ledger)), Decimal(0)), currency=paid.currency)


def flowing(ledger: Iterable[LedgerEntry], case_id: str) -> tuple[LedgerEntry, ...]:
    """What flows to the buyer by a case: what has flowed, then what still stands reserved."""
    entries = tuple(ledger)
    return tuple(entry for entry in (*executions(entries), *open_reservations(entries)) if entry.case_id == case_id)


def is_whole(file: CaseFile, case_id: str) -> bool:
    """Whether the refund of a case leaves nothing: what flows by it and what flowed by no case come to all that was paid, less
    what cases had taken whose money came before. What other cases take later makes this one's refund no greater."""
    cases = list(dict.fromkeys(entry.case_id for entry in file.ledger if entry.case_id is not None))
    before = cases[: cases.index(case_id)] if case_id in cases else cases
    counted = {case_id, None, *before}
    standing = (*executions(file.ledger), *open_reservations(file.ledger))
    return sum((each.amount.amount for each in standing if each.case_id in counted), Decimal(0)) >= file.order.amount.amount


def variant_of(file: CaseFile, case: Case) -> Variant | None:
    """Whether the merchant's answer refunds all, a part or nothing, as things are now: a partial one is full once the rest has
    flowed as well (BP-14, BP-15). None without an answer."""
    if case.answer is None:
        return None
    return "full" if case.answer.variant == "partial" and is_whole(file, case.case_id) else case.answer.variant


def balance(paid: Money, ledger: tuple[LedgerEntry, ...]) -> Balance:
    """The sums over a ledger, which is in the currency of `paid`."""
    reserved = sum((entry.amount.amount for entry in open_reservations(ledger)), Decimal(0))
    executed = executed_amount(ledger)
    return Balance(
        paid=paid,
        reserved=Money(amount=reserved, currency=paid.currency),
        executed=Money(amount=executed, currency=paid.currency),
        refundable=Money(amount=max(paid.amount - reserved - executed, Decimal(0)), currency=paid.currency),
    )


def available_to(file: CaseFile, case_id: str) -> Money:
    """What a refund of this case may come to: what is refundable and what the case itself has promised, which a new refund
    takes the place of."""
    paid, own = file.order.amount, promises_of(file, case_id)
    reserved = sum((entry.amount.amount for entry in open_reservations(file.ledger) if entry not in own), Decimal(0))
    left = paid.amount - executed_amount(file.ledger) - reserved
    return Money(amount=max(left, Decimal(0)), currency=paid.currency)


def entries_of_fact(
    order: Order, ledger: tuple[LedgerEntry, ...], fact: Fact, before: tuple[Fact, ...]
) -> tuple[LedgerEntry, ...]:
    """The entries that a fact `refunded` makes, given the facts `before` it.

    It settles what is reserved (a reservation of just this amount first, then the oldest), so that no promise is paid twice;
    what is left of a promise stays reserved, what is left of the fact stands alone. What the platform pays is told by its own
    provider, and by no fact but one of the platform's that names the decision as its external id: paid by hand. A fact under
    the provider's reference is a payment that was told before; where the provider tells of it later, `entries_of_payment`
    takes back what the fact was taken for. A refund that the buyer confirmed or that was presumed, of just this amount, is
    this very refund, whose proof came late: nothing flows again. More than was left is flagged `over_refund`, never dropped.
    A fact in another currency cannot be reckoned and gives none."""
    paid = order.amount
    if fact.kind != "refunded" or fact.amount is None or fact.amount.currency != paid.currency or not fact.amount.amount:
        return ()
    if fact.external_id is not None and any(entry.reference == fact.external_id for entry in executions(ledger)):
        return ()
    reserved = open_reservations(ledger)
    by_hand = [entry for entry in reserved if _paid_by_hand(entry, fact)]
    due = sum((entry.amount.amount for entry in reserved if entry.executor == "platform" and entry not in by_hand), Decimal(0))
    promised = by_hand or sorted(
        (entry for entry in reserved if entry.executor != "platform"), key=lambda entry: entry.amount != fact.amount
    )
    if not (promised and promised[0].amount == fact.amount) and unproved(ledger, before)[fact.amount]:
        return ()
    flags = ("over_refund",) if executed_amount(ledger) + due + fact.amount.amount > paid.amount else ()
    left = fact.amount.amount
    entries: list[LedgerEntry] = []

    def put_down(kind: Literal["executed", "reserved"], amount: Decimal, reservation: LedgerEntry | None) -> None:
        entries.append(
            LedgerEntry(
                entry_id=child_id("lge", order.order_id, fact.fact_id, kind, str(len(entries))),
                kind=kind,
                amount=Money(amount=amount, currency=paid.currency),
                case_id=reservation.case_id if reservation else None,
                decision_id=reservation.decision_id if reservation else None,
                fact_id=fact.fact_id,
                executor=reservation.executor if reservation else "merchant",
                confirmed_by="fact" if kind == "executed" else None,
                settles=reservation.entry_id if reservation and kind == "executed" else None,
                at=fact.recorded_at,
                flags=flags if kind == "executed" else (),
            )
        )

    for reservation in promised:
        if left:
            flowed = min(left, reservation.amount.amount)
            put_down("executed", flowed, reservation)
            if flowed < reservation.amount.amount:
                put_down("reserved", reservation.amount.amount - flowed, reservation)
            left -= flowed
    if left:
        put_down("executed", left, None)
    return tuple(entries)


def _paid_by_hand(reservation: LedgerEntry, fact: Fact) -> bool:
    return (
        reservation.executor == "platform"
        and fact.source.role == "platform"
        and (fact.external_id, fact.amount) == (reservation.decision_id, reservation.amount)
    )


def unproved(ledger: tuple[LedgerEntry, ...], facts: tuple[Fact, ...]) -> Counter[Money]:
    """The merchant's refunds that the buyer confirmed or that were presumed, by amount, as often as no fact has proved one. A
    fact that stands for no entry was such a proof, unless it tells of one of the provider's payments."""
    standing = executions(ledger)
    told = {entry.fact_id for entry in standing}
    payments = {entry.reference for entry in standing if entry.reference is not None}
    proved = (
        fact.amount
        for fact in facts
        if fact.kind == "refunded" and fact.amount and fact.fact_id not in told and fact.external_id not in payments
    )
    confirmed = (
        entry.amount for entry in standing if entry.executor == "merchant" and entry.confirmed_by in ("buyer", "presumed")
    )
    return Counter(confirmed) - Counter(proved)


def ledger_of(order: Order, facts: tuple[Fact, ...]) -> tuple[LedgerEntry, ...]:
    """The ledger of an order without a case: refunds that its facts report."""
    ledger: tuple[LedgerEntry, ...] = ()
    for number, fact in enumerate(facts):
        ledger += entries_of_fact(order, ledger, fact, facts[:number])
    return ledger
