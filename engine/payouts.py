"""What a merchant is paid for an order: payable, held while a case is open, paid, or netted after a later refund (OI-08)."""

from collections.abc import Iterable
from decimal import Decimal
from typing import Literal

from contracts.base import Model
from contracts.cases import LedgerEntry
from contracts.money import Money
from contracts.orders import Fact, Order
from engine.casefile import executions, open_reservations

__all__ = ["Netted", "PayoutItem", "payout_of"]


class Netted(Model):
    """A refund that is taken from the merchant's next payout, because the order's own had gone out before it."""

    case_id: str | None = None
    amount: Money


class PayoutItem(Model):
    """How an order's payout stands. `amount`: of `payable` and `held` what the merchant gets for the order, less what the
    platform or the provider refunded or promised; of `paid` and `netted` what was paid out, of which `netted` goes back."""

    order_id: str
    state: Literal["payable", "held", "paid", "netted"]
    amount: Money
    netted: tuple[Netted, ...] = ()


def payout_of(order: Order, facts: Iterable[Fact], ledger: tuple[LedgerEntry, ...], *, held: bool) -> PayoutItem:
    """The payout of an order. What the merchant refunded itself does not lessen it: that was its own money. Of a refund at the
    very moment of the payout, the amount that was paid out tells which came first; else the payout did."""
    paid_out = [fact for fact in facts if fact.kind == "paid_out"]
    refunds = [entry for entry in executions(ledger) if entry.executor != "merchant"]
    if not paid_out:
        promised = [entry for entry in open_reservations(ledger) if entry.executor != "merchant"]
        return PayoutItem(
            order_id=order.order_id, state="held" if held else "payable", amount=_rest(order, [*refunds, *promised])
        )
    at = max(fact.at for fact in paid_out)
    currency = order.amount.currency
    given = [fact.amount.amount for fact in paid_out if fact.amount is not None and fact.amount.currency == currency]
    before = [entry for entry in refunds if entry.at < at]
    up_to = [entry for entry in refunds if entry.at <= at]
    if given and sum(given) <= _rest(order, up_to).amount:
        before = up_to
    # A refund that was let go again afterwards (a claim won after all) is not taken: it is no longer among those that flowed.
    known = {entry.entry_id for entry in before}
    netted = tuple(Netted(case_id=entry.case_id, amount=entry.amount) for entry in refunds if entry.entry_id not in known)
    return PayoutItem(
        order_id=order.order_id,
        state="netted" if netted else "paid",
        amount=Money(amount=sum(given, Decimal(0)), currency=currency) if given else _rest(order, before),
        netted=netted,
    )


def _rest(order: Order, entries: Iterable[LedgerEntry]) -> Money:
    left = order.amount.amount - sum((entry.amount.amount for entry in entries), Decimal(0))
    return Money(amount=max(left, Decimal(0)), currency=order.amount.currency)
