"""What intake keeps: one document per order, with everything reported on it, and one per merchant."""

from typing import Literal, TypeVar

from contracts.base import Model, Moment
from contracts.desk import Desk
from contracts.orders import Fact, Merchant, Order, Report, Standing
from contracts.problems import Problem

__all__ = ["CaseSpan", "MerchantFile", "OrderFile", "RefusedCommand", "State", "remember"]

T = TypeVar("T")

_REMEMBERED = 8
"""Commands that a document remembers to recognise a later copy of them: a gateway that takes over a request from one that
died publishes its command again, at most a few commands later."""


class CaseSpan(Model):
    """A case of the order as intake knows it: what it is about and from when to when it was open."""

    case_id: str
    report_id: str
    programme: str
    reason: str
    opened_at: Moment
    closed_at: Moment | None = None

    def covers(self, moment: Moment) -> bool:
        """Whether the case was open at a moment."""
        return self.opened_at <= moment and (self.closed_at is None or moment < self.closed_at)


class RefusedCommand(Model):
    """A refusal that was told. The same command again gets the same answer, whatever has changed since."""

    command_id: str
    problem: Problem


class OrderFile(Model):
    """An order with what happened to it. What the merchant had agreed is pinned when the order is registered."""

    order: Order
    partner: str
    """Who created the merchant: the one partner that may see the order."""
    programmes: tuple[str, ...]
    """The merchant's programmes at registration: what a report may name."""
    facts: tuple[Fact, ...] = ()
    """The first `registered_facts` came with the registration."""
    registered_facts: int = 0
    reports: tuple[Report, ...] = ()
    cases: tuple[CaseSpan, ...] = ()
    """Every case, oldest first."""
    check_in: Literal["waiting", "asked"] | None = None
    """`waiting`: its moment came while a case was open. Should that case turn out to have ended before the moment, the
    buyer is asked after all, so that it does not matter which of the two intake hears of first."""
    standing: Standing
    refused: tuple[RefusedCommand, ...] = ()

    @property
    def href(self) -> str:
        return f"/v1/orders/{self.order.order_id}"


class MerchantFile(Model):
    """A merchant with its desk and the latest commands that changed it: an older one that comes again must not undo a newer
    one."""

    merchant: Merchant
    desk: Desk = Desk()
    commands: tuple[str, ...] = ()


State = OrderFile | MerchantFile | None
"""The state of a key; None before its document exists."""


def remember(remembered: tuple[T, ...], new: T) -> tuple[T, ...]:
    """The latest few, with a new one."""
    return (*remembered, new)[-_REMEMBERED:]
