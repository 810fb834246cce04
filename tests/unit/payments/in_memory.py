"""A payment provider in memory, for tests of those who use one; held to the same suite as the others."""

from collections.abc import Callable
from datetime import datetime, timedelta

from services.cases.provider import Accepted, PaymentOrder, Refused, Reply, Unknown, Unreachable

__all__ = ["InMemoryProvider"]


class InMemoryProvider:
    """`mode` ok, fail, timeout, late as the sandbox's; `lost`: the request times out and never got there; `away`: nobody
    listens; `mute`: neither requests nor questions are answered, though refunds are paid."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self.mode = "ok"
        self.payments: dict[str, tuple[PaymentOrder, datetime]] = {}
        self.asked: list[str] = []
        """Every call, e.g. `refund dec_1`."""
        self._now = now

    async def refund(self, order: PaymentOrder) -> Reply:
        self._called("refund", order.decision_id)
        if self.mode == "lost":
            return Unknown("no answer")
        known = self.payments.get(order.decision_id)
        if known is not None and known[0] != order:
            return Refused("this key was used for another payment")
        if known is None:
            if self.mode == "fail":
                return Refused("the payments fail")
            executes_at = self._now() + (timedelta(minutes=1) if self.mode == "late" else timedelta())
            self.payments[order.decision_id] = (order, executes_at)
        return Unknown("no answer") if self.mode in ("timeout", "mute") else self._state(order.decision_id)

    async def lookup(self, decision_id: str) -> Reply | None:
        self._called("lookup", decision_id)
        if self.mode == "mute":
            return Unknown("no answer")
        return self._state(decision_id) if decision_id in self.payments else None

    def _called(self, what: str, decision_id: str) -> None:
        if self.mode == "away":
            raise Unreachable("nobody listens")
        self.asked.append(f"{what} {decision_id}")

    def _state(self, decision_id: str) -> Reply:
        left = self.payments[decision_id][1] - self._now()
        return Unknown("under way", left) if left > timedelta() else Accepted(f"pay {decision_id}")
