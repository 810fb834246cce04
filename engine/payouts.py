"""What a merchant is paid for an order: payable, held while a case is open, paid, or netted after a later refund (OI-08)."""

from collections.abc import Iterable, Iterator
from datetime import datetime
from decimal import Decimal
from typing import Literal

from contracts.base import Model, Moment
from contracts.cases import LedgerEntry
from contracts.money import Money
from contracts.orders import Fact, Order
from engine.casefile import entries_of_fact, executions, open_reservations

__all__ = ["Netted", "PayoutItem", "PayoutState", "Settled", "flagged", "payout_of"]

PayoutState = Literal["payable", "held", "paid", "netted"]

_NOTHING = Decimal(0)


class Netted(Model):
    """A refund, or what is left of one, that is to be taken from the merchant's next payout, because the order's own was not
    less by it. Without `case_id`: what the merchant has beyond the order's amount."""

    case_id: str | None = None
    amount: Money


class Settled(Model):
    """What a payout of the merchant was less by. `payout` is the name that whoever paid out gave it."""

    at: Moment
    amount: Money
    payout: str | None = None


class PayoutItem(Model):
    """How the account of an order stands. `amount`: of `payable` and `held` what the merchant still gets for the order; of
    `paid` and `netted` all that was ever paid out for it. `netted` has yet to be taken from the merchant, `settled` was taken
    by payouts before."""

    order_id: str
    state: PayoutState
    amount: Money
    netted: tuple[Netted, ...] = ()
    settled: tuple[Settled, ...] = ()


def payout_of(order: Order, facts: Iterable[Fact], ledger: tuple[LedgerEntry, ...], *, held: bool) -> PayoutItem:
    """How the account of an order stands. The merchant should have the order's amount less what platform and provider refunded
    of it; it has what was paid out less what later payouts were less by. Only sums count, so it does not matter in which order
    they were told. What the platform or the provider has promised is not paid out, and is not taken back before it flows.

    What the merchant refunded itself lessens nothing: that was its own money."""
    facts = _in_its_currency(order, facts)
    taken = [(fact, fact.amount) for fact in facts if fact.kind == "netted" and fact.amount is not None]
    paid_out = _paid_out(order, facts, ledger)
    owed = _has(facts, paid_out) - _should_have(order, ledger)
    if owed > 0:
        state, amount = "netted", sum(paid_out.values(), _NOTHING)
    elif (payable := -owed - _promised(ledger)) > 0 or not paid_out:
        state, amount = "held" if held else "payable", max(payable, _NOTHING)
    else:
        state, amount = "paid", sum(paid_out.values(), _NOTHING)
    return PayoutItem(
        order_id=order.order_id,
        state=state,
        amount=_money(order, amount),
        netted=tuple(_netted(order, ledger, owed)),
        settled=tuple(Settled(at=fact.at, amount=amount, payout=fact.external_id) for fact, amount in taken),
    )


def flagged(order: Order, before: tuple[Fact, ...], ledger: tuple[LedgerEntry, ...], fact: Fact) -> Fact:
    """A fact with what is odd about its money, given the facts before it and the ledger as it was: more refunded than was paid
    (`over_refund`), more paid out than was payable (`over_payout`). It is reckoned with all the same."""
    flags = [flag for entry in entries_of_fact(order, ledger, fact, before) for flag in entry.flags]
    if fact.kind == "paid_out" and fact.amount is not None:
        before = _in_its_currency(order, before)
        payable = _should_have(order, ledger) - _promised(ledger) - _has(before, _paid_out(order, before, ledger))
        if fact.amount.amount > max(payable, _NOTHING):
            flags.append("over_payout")
    return fact.model_copy(update={"flags": tuple(dict.fromkeys((*fact.flags, *flags)))}) if flags else fact


def _paid_out(order: Order, facts: tuple[Fact, ...], ledger: tuple[LedgerEntry, ...]) -> dict[str, Decimal]:
    """What each fact `paid_out` comes to, by fact. One without an amount says that the merchant got what was payable at its
    moment: by the payouts up to then and by what the ledger said before. So it pays nothing where nothing was payable."""
    amounts = {fact.fact_id: fact.amount.amount for fact in facts if fact.kind == "paid_out" and fact.amount is not None}
    unsaid = [fact for fact in facts if fact.kind == "paid_out" and fact.amount is None]
    for fact in sorted(unsaid, key=lambda fact: (fact.at, fact.fact_id)):
        told = [each for each in facts if each.at <= fact.at and (each.kind == "netted" or each.fact_id in amounts)]
        stood = _before(fact.at, ledger)
        due = _should_have(order, stood) - _promised(stood) - _has(told, amounts)
        amounts[fact.fact_id] = max(due, _NOTHING)
    return amounts


def _before(at: datetime, ledger: tuple[LedgerEntry, ...]) -> tuple[LedgerEntry, ...]:
    return tuple(entry for entry in ledger if entry.at < at)


def _has(facts: Iterable[Fact], paid_out: dict[str, Decimal]) -> Decimal:
    """What the merchant has got by these facts and kept; below zero where more was taken from it."""
    has = _NOTHING
    for fact in facts:
        if fact.kind == "paid_out":
            has += paid_out[fact.fact_id]
        elif fact.kind == "netted" and fact.amount is not None:
            has -= fact.amount.amount
    return has


def _refunds(ledger: tuple[LedgerEntry, ...]) -> list[LedgerEntry]:
    """What platform and provider have refunded, oldest first."""
    return sorted((entry for entry in executions(ledger) if entry.executor != "merchant"), key=lambda entry: entry.at)


def _should_have(order: Order, ledger: tuple[LedgerEntry, ...]) -> Decimal:
    """Below zero where more was refunded than was paid: a chargeback may claim more than the order's amount."""
    return order.amount.amount - sum((entry.amount.amount for entry in _refunds(ledger)), _NOTHING)


def _promised(ledger: tuple[LedgerEntry, ...]) -> Decimal:
    """What platform and provider are to refund."""
    return sum((entry.amount.amount for entry in open_reservations(ledger) if entry.executor != "merchant"), _NOTHING)


def _netted(order: Order, ledger: tuple[LedgerEntry, ...], owed: Decimal) -> Iterator[Netted]:
    """What the merchant owes, by the refunds that it comes from; the oldest were made good first."""
    refunds = _refunds(ledger)
    made_good = sum((entry.amount.amount for entry in refunds), _NOTHING) - max(owed, _NOTHING)
    if made_good < 0:
        yield Netted(amount=_money(order, -made_good))
    for entry in refunds:
        covered = min(max(made_good, _NOTHING), entry.amount.amount)
        made_good -= covered
        if covered < entry.amount.amount:
            yield Netted(case_id=entry.case_id, amount=_money(order, entry.amount.amount - covered))


def _in_its_currency(order: Order, facts: Iterable[Fact]) -> tuple[Fact, ...]:
    return tuple(fact for fact in facts if fact.amount is None or fact.amount.currency == order.amount.currency)


def _money(order: Order, amount: Decimal) -> Money:
    return Money(amount=amount, currency=order.amount.currency)
