"""A payment of the platform in an order's ledger: what it settles, and what was heard of it before it was confirmed (NX-06)."""

from datetime import datetime
from typing import Any

from contracts.cases import LedgerEntry
from contracts.ids import child_id
from contracts.money import Money
from engine.casefile import CaseFile, balance, entries_of_fact, executions, open_reservations

__all__ = ["entries_of_payment"]


def entries_of_payment(file: CaseFile, decision_id: str, reference: str, at: datetime) -> tuple[LedgerEntry, ...]:
    """The entries that the provider's word makes that a decision's refund flowed at a moment; none where nothing was reserved
    for it, or where it was told before. It settles its reservation; where that was paid by hand or let go of meanwhile, it has
    flowed all the same, which is flagged.

    A fact may have told of this very payment already, before anybody could know it for that. What it was taken for is taken
    back: promises of merchants that it had settled stand again, where their cases still mean them and as far as they still
    fit, and later facts that it had an effect on are read once more. So the sums are the same, whichever was heard first."""
    order, ledger = file.order, file.ledger
    decided = ("reserved", "platform", decision_id)
    reserved = next((entry for entry in ledger if (entry.kind, entry.executor, entry.decision_id) == decided), None)
    payment_id = child_id("lge", order.order_id, decision_id, "executed")
    if reserved is None or any(entry.entry_id == payment_id for entry in ledger):
        return ()
    stands = reserved in open_reservations(ledger)
    payment = reserved.model_copy(
        update={
            "entry_id": payment_id,
            "kind": "executed",
            "confirmed_by": "provider",
            "reference": reference,
            "settles": reserved.entry_id if stands else None,
            "at": at,
            "flags": () if stands else ("over_refund",),
        }
    )

    def after(entry: LedgerEntry, kind: str, **changes: Any) -> LedgerEntry:
        """What follows from another entry now that the payment is known."""
        entry_id = child_id("lge", order.order_id, payment_id, entry.entry_id, kind)
        cleared = {"kind": kind, "confirmed_by": None, "settles": None, "flags": ()}
        return entry.model_copy(update={**cleared, **changes, "entry_id": entry_id})

    early, since = _told_early(file, reference)
    entries = [payment, *(after(entry, "released", settles=entry.entry_id) for entry in (*early, *since))]
    for entry in (*early, *since):
        left = balance(order.amount, (*ledger, *entries)).refundable
        if left.amount and _still_meant(file, entry):
            entries.append(after(entry, "reserved", amount=min(entry.amount, left)))
    unread: dict[str | None, Money] = {}
    for entry in since:
        unread[entry.fact_id] = unread.get(entry.fact_id, Money.zero(entry.amount.currency)) + entry.amount
    for fact in file.facts:
        if fact.fact_id in unread:
            told = fact.model_copy(update={"amount": unread.pop(fact.fact_id)})
            others = tuple(each for each in file.facts if each is not fact and each.fact_id not in unread)
            for entry in entries_of_fact(order, (*ledger, *entries), told, others):
                entries.append(
                    after(entry, entry.kind, confirmed_by=entry.confirmed_by, settles=entry.settles, flags=entry.flags)
                )
    return tuple(entries)


def _told_early(file: CaseFile, reference: str) -> tuple[list[LedgerEntry], list[LedgerEntry]]:
    """What the facts under a payment's reference were taken for; and of what was heard since the first of them that which
    found no promise, or seemed to be more than was left. By hand the platform pays under the decision's id; that is another
    payment, whatever its reference."""
    refunds = [fact for fact in file.facts if fact.kind == "refunded"]
    first = next((number for number, fact in enumerate(refunds) if fact.external_id == reference), len(refunds))
    own = {fact.fact_id: fact.external_id == reference for fact in refunds[first:]}
    told = [entry for entry in executions(file.ledger) if entry.fact_id in own and entry.executor == "merchant"]
    since = (entry for entry in told if not own[entry.fact_id or ""])
    return (
        [entry for entry in told if own[entry.fact_id or ""]],
        [entry for entry in since if entry.settles is None or (entry.flags and _still_meant(file, entry))],
    )


def _still_meant(file: CaseFile, settled_by: LedgerEntry) -> bool:
    """Whether the promise that an entry has settled would stand without it: its case has made no other since, and has not
    ended, but by this promise itself."""
    case = file.cases.get(settled_by.case_id or "")
    if settled_by.settles is None or case is None:
        return False
    promise = ("reserved", "merchant", case.case_id, None)
    latest = [entry for entry in file.ledger if (entry.kind, entry.executor, entry.case_id, entry.fact_id) == promise][-1]
    if case.closed_at is not None and (latest.decision_id is None or latest.at < case.closed_at):
        return False
    return latest in file.ledger[: file.ledger.index(settled_by)]
