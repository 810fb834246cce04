"""What a merchant is paid for an order: payable, held while a case is open, paid, or netted after a later refund (OI-08)."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Literal

from contracts.base import Model, Moment
from contracts.cases import LedgerEntry
from contracts.money import Money
from contracts.orders import Fact, Order
from engine.casefile import open_reservations

__all__ = ["Netted", "PayoutItem", "PayoutState", "Settled", "payout_of"]

PayoutState = Literal["payable", "held", "paid", "netted"]

_NOTHING = Decimal(0)
_EVER = datetime.max.replace(tzinfo=UTC)
_REFUND, _TAKEN, _PAID = range(3)
"""What moves an account, in the order in which it counts at one moment."""


class Netted(Model):
    """A refund, or what is left of one, that is to be taken from the merchant's next payout, because the order's own had gone
    out before it."""

    case_id: str | None = None
    amount: Money


class Settled(Model):
    """What a payout of the merchant was less by. `payout` is the name that whoever paid out gave it."""

    at: Moment
    amount: Money
    payout: str | None = None


class PayoutItem(Model):
    """How an order's payout stands. `amount`: of `payable` and `held` what the merchant gets for the order, less what the
    platform or the provider refunded or promised; of `paid` and `netted` what was paid out. `netted` has yet to be taken from
    it, `settled` was taken by payouts before; what they took of a refund that turned out not to have flowed is payable."""

    order_id: str
    state: PayoutState
    amount: Money
    netted: tuple[Netted, ...] = ()
    settled: tuple[Settled, ...] = ()


def payout_of(order: Order, facts: Iterable[Fact], ledger: tuple[LedgerEntry, ...], *, held: bool) -> PayoutItem:
    """The payout of an order. What the merchant refunded itself does not lessen it: that was its own money. Of a refund at the
    very moment of the payout, the amount that was paid out tells which came first; else the payout did. What was paid out is
    lessened no more: from then on there is an account of what the merchant owes."""
    told = [fact for fact in facts if fact.amount is None or fact.amount.currency == order.amount.currency]
    paid_out = [fact for fact in told if fact.kind == "paid_out"]
    taken = [(fact, fact.amount) for fact in told if fact.kind == "netted" and fact.amount is not None]
    refunds = [entry for entry in ledger if entry.kind == "executed" and entry.executor != "merchant"]
    undone = {entry.settles: entry.at for entry in ledger if entry.kind == "released" and entry.settles is not None}
    waiting: PayoutState = "held" if held else "payable"

    def item(state: PayoutState, amount: Decimal, netted: Iterable[Netted] = ()) -> PayoutItem:
        return PayoutItem(
            order_id=order.order_id,
            state=state,
            amount=_money(order, amount),
            netted=tuple(netted),
            settled=tuple(Settled(at=fact.at, amount=amount, payout=fact.external_id) for fact, amount in taken),
        )

    if not paid_out:
        promised = [entry for entry in open_reservations(ledger) if entry.executor != "merchant"]
        standing = [entry for entry in refunds if entry.entry_id not in undone]
        return item(waiting, _rest(order, [*standing, *promised]) + sum((amount.amount for _, amount in taken), _NOTHING))
    begun = min((fact.at for fact, _ in taken), default=None)
    parts = [fact for fact in paid_out if begun is None or fact.at <= begun] or paid_out
    lessened = _lessened(order, parts, refunds, undone)
    later = [entry for entry in refunds if entry not in lessened]
    owed, given = _account(
        [
            *((entry.at, _REFUND, entry.amount.amount) for entry in later),
            *((undone[entry.entry_id], _REFUND, -entry.amount.amount) for entry in refunds if entry.entry_id in undone),
            *((fact.at, _TAKEN, -amount.amount) for fact, amount in taken),
            *((fact.at, _PAID, None if fact.amount is None else fact.amount.amount) for fact in paid_out),
        ]
    )
    if owed < 0:
        return item(waiting, -owed)
    standing = [entry for entry in later if entry.entry_id not in undone]
    return item("netted" if owed else "paid", _rest(order, lessened) if given is None else given, _left(order, standing, owed))


def _lessened(
    order: Order, paid_out: Sequence[Fact], refunds: Sequence[LedgerEntry], undone: Mapping[str, datetime]
) -> list[LedgerEntry]:
    """The refunds that stood when the order was paid out, in however many parts: it was less by them."""
    at = max(fact.at for fact in paid_out)
    amounts = [fact.amount.amount for fact in paid_out if fact.amount is not None]
    stood = [entry for entry in refunds if entry.at <= at and undone.get(entry.entry_id, _EVER) > at]
    if amounts and sum(amounts) <= _rest(order, stood):
        return stood
    return [entry for entry in stood if entry.at < at]


def _account(moves: Iterable[tuple[datetime, int, Decimal | None]]) -> tuple[Decimal, Decimal | None]:
    """What the merchant owes in the end (below zero: what it is owed), and what it was paid for the order, where all of that is
    known. What is paid while it is owed something makes that good first; an amount that is not known, all of it."""
    owed, given = _NOTHING, Decimal(0)
    known = True
    for _, what, amount in sorted(moves, key=lambda move: move[:2]):
        if what != _PAID:
            owed += amount or _NOTHING
            continue
        missing = max(-owed, _NOTHING)
        made_good = missing if amount is None else min(amount, missing)
        owed += made_good
        given += _NOTHING if amount is None else amount - made_good
        known = known and amount is not None
    return owed, given if known else None


def _left(order: Order, refunds: Iterable[LedgerEntry], owed: Decimal) -> Iterator[Netted]:
    """What is still to be taken of refunds; the oldest were taken first."""
    refunds = tuple(refunds)
    taken = sum((entry.amount.amount for entry in refunds), _NOTHING) - owed
    for entry in refunds:
        covered = min(taken, entry.amount.amount)
        taken -= covered
        if covered < entry.amount.amount:
            yield Netted(case_id=entry.case_id, amount=_money(order, entry.amount.amount - covered))


def _rest(order: Order, entries: Iterable[LedgerEntry]) -> Decimal:
    return max(order.amount.amount - sum((entry.amount.amount for entry in entries), _NOTHING), _NOTHING)


def _money(order: Order, amount: Decimal) -> Money:
    return Money(amount=amount, currency=order.amount.currency)
