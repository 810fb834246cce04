"""What intake keeps: one document per order, with everything reported on it, one per merchant, one of all roll-outs."""

from collections.abc import Mapping
from datetime import datetime
from typing import Literal, TypeVar

from contracts.base import Model, Moment
from contracts.cases import Rollout
from contracts.desk import Desk
from contracts.orders import Fact, Merchant, Order, Report, Standing
from contracts.problems import Problem
from contracts.rollouts import KeptRollout

__all__ = ["CaseSpan", "MerchantFile", "OrderFile", "RefusedCommand", "RolloutTable", "State", "as_rollout", "remember"]

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


class RolloutTable(Model):
    """Every roll-out in the order in which they were made, and by roll-out the merchants that take it earlier.

    They stand here and not with the merchant: who opts in is judged by the roll-out, and a report then asks one document."""

    rollouts: tuple[KeptRollout, ...] = ()
    opted_in: dict[str, dict[str, Moment]] = {}
    begun: tuple[str, ...] = ()
    """Roll-outs whose announcement has begun: for who comes to be meant from then on, it goes out by itself."""
    commands: tuple[str, ...] = ()
    """The latest that changed something: a copy that comes later is recognised."""

    def get(self, rollout_id: str) -> KeptRollout | None:
        return next((each for each in self.rollouts if each.rollout_id == rollout_id), None)

    def in_engine_terms(self) -> tuple[Rollout, ...]:
        """As the engine reckons with them."""
        return tuple(as_rollout(each, self.opted_in.get(each.rollout_id, {})) for each in self.rollouts)


def as_rollout(content: KeptRollout, opted_in: Mapping[str, datetime]) -> Rollout:
    """A roll-out as the engine reckons with it."""
    return Rollout(
        programme=content.programme,
        version=content.version,
        merchants=content.merchants or (),
        locales=content.locales or (),
        effective_at=content.effective_at,
        opted_in=dict(opted_in),
    )


State = OrderFile | MerchantFile | RolloutTable | None
"""The state of a key; None before its document exists."""


def remember(remembered: tuple[T, ...], new: T) -> tuple[T, ...]:
    """The latest few, with a new one."""
    return (*remembered, new)[-_REMEMBERED:]
