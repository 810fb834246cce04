"""Has the platform's refunds paid in the background, each once, and tells the case.

What is to pay stands in the store; the queue here only names it. An attempt is written down before it is made, so that whoever
comes after a crash asks the provider what became of it before trying again. A refusal, or an answer that leaves it open, is
taken up again later by the stack's clock; a provider that is away is waited for. The confirmation is published before the
payment is marked: a crash in between sends the same command again, which then changes nothing."""

import asyncio
import contextlib
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from chassis.clock import Clock
from chassis.errands import Errands, done_at
from chassis.failures import back_off, retrying
from chassis.kafka import KafkaPublisher
from chassis.service import beside
from contracts.base import parse_moment
from contracts.cases import ConfirmExecution
from contracts.envelope import Envelope, Record, encode
from contracts.ids import derived
from contracts.topics import CASES_COMMANDS
from services.cases.provider import Accepted, PaymentOrder, PaymentProvider, Refused, Reply, Unknown, Unreachable
from services.cases.store import PaymentStore

__all__ = ["RETRY_AFTER", "Cashier"]

log = logging.getLogger(__name__)

_HANDS = 4
_LOADED = 16

RETRY_AFTER = (
    timedelta(minutes=1),
    timedelta(minutes=5),
    timedelta(minutes=15),
    timedelta(minutes=30),
    timedelta(hours=1),
)
"""When an attempt that did not pay is followed by the next, unless the provider says; the last of these again and again: what
was decided stays owed. For as long as the last of these a request that got no answer may yet be executed, though the provider
has not heard of it: until then what is not to be paid any more is asked after."""


@dataclass(slots=True)
class _Counters:
    executed: int = 0
    refused: int = 0
    unknown: int = 0
    unreachable: int = 0


@dataclass(slots=True)
class Cashier:
    """The queue of one process' payments. `work` runs until cancelled. Without a provider nothing is paid: payments stay in the
    store and their reservations in the ledger, until a process with a provider owns them."""

    store: PaymentStore
    publisher: KafkaPublisher
    clock: Clock
    provider: PaymentProvider | None
    counters: _Counters = field(default_factory=_Counters)
    away: str = ""
    """Why the provider cannot be reached, if so."""
    _errands: Errands = field(init=False)

    def __post_init__(self) -> None:
        self._errands = Errands(self.clock)

    # What the loop tells

    def offer(self, payments: Iterable[Mapping[str, Any]]) -> None:
        """Pay these; one that is in hand already is not taken twice."""
        if self.provider is not None:
            for payment in payments:
                self._errands.take(payment["_id"], payment["partition"])

    async def own(self, partitions: frozenset[int]) -> None:
        """Pay for these partitions from now on: forget the queue of others, take up what is unpaid of these."""
        self._errands.own(partitions)
        if self.provider is not None and partitions:
            self._errands.take_up(await retrying(lambda: self.store.unpaid(partitions), _waiting))

    def due(self) -> int:
        """Payments that are to be made now: queued, in flight, or paid and not yet told. One that waits for a later attempt is
        not counted until its moment comes."""
        return self._errands.due()

    def waiting(self) -> int:
        """Payments that wait for a later attempt."""
        return self._errands.waiting()

    # The work

    async def work(self) -> None:
        """Pay, confirm, and retry. Raises the first failure of any."""
        await beside(self._errands.retry, *[self._pay] * _HANDS)

    async def _pay(self) -> None:
        while True:
            ids = await self._errands.some(_LOADED)
            payments = await retrying(lambda ids=ids: self.store.begin(ids, self.clock.now()), _waiting)
            still = {payment["_id"] for payment in payments}
            for payment_id in ids:
                if payment_id not in still:
                    self._errands.done(payment_id)
            if self.provider is not None and payments:
                provider = self.provider
                replies = await asyncio.gather(*(self._attempt(provider, payment) for payment in payments))
                await self._settle(list(zip(payments, replies, strict=True)))

    async def _attempt(self, provider: PaymentProvider, payment: dict[str, Any]) -> Reply | None:
        """What came of a payment, however long the provider is away; None once another process pays for its partition. Who is
        tired of waiting pays by hand: whether it is still to be paid is asked anew each time."""
        order = PaymentOrder.model_validate(payment["order"])
        asked_before = payment["tries"] > 0
        away = 0
        while self._errands.owns(payment["partition"]):
            try:
                if payment["ends_as"]:
                    reply = await self._looked_up(provider, payment)
                else:
                    reply = await _executed(provider, order, asked_before)
            except Unreachable as error:
                # What was asked before it went away stays open; asking again before the next attempt does no harm either.
                asked_before = True
                away += 1
                self._unreachable(error)
                await asyncio.sleep(back_off(away))
                payment["ends_as"] = await retrying(lambda: self.store.ask_again(payment, self.clock.now()), _waiting)
                continue
            self.away = ""
            return reply
        self._errands.done(payment["_id"])
        return None

    async def _looked_up(self, provider: PaymentProvider, payment: Mapping[str, Any]) -> Reply:
        """What became of attempts at a refund that is not to be paid any more. That the provider has not heard of it proves
        nothing soon after a request that got no answer. Raises Unreachable."""
        told = await provider.lookup(payment["_id"])
        if told is not None:
            return told
        if "tried_at" in payment and self.clock.now() - parse_moment(payment["tried_at"]) < RETRY_AFTER[-1]:
            return Unknown("the provider has not heard of it yet")
        return Refused("never paid")

    def _unreachable(self, error: Unreachable) -> None:
        self.counters.unreachable += 1
        if not self.away:
            log.warning("the payment provider cannot be reached, refunds wait: %s", error)
        self.away = str(error)

    async def _settle(self, outcomes: Sequence[tuple[Mapping[str, Any], Reply | None]]) -> None:
        """Tell the cases of what was paid, mark it, and put off the rest."""
        records: list[tuple[str, Record]] = []
        paid: dict[str, tuple[str, datetime]] = {}
        for payment, reply in outcomes:
            if isinstance(reply, Accepted):
                # Another clock may run apart from ours: nothing flows before it was decided, nor after it is told.
                told_at = done_at(payment, self.clock)
                at = min(max(reply.at or told_at, parse_moment(payment["created_at"])), told_at)
                paid[payment["_id"]] = (reply.reference, at)
                records.append((CASES_COMMANDS.name, _confirmation(payment, reply.reference, at, told_at)))
            elif isinstance(reply, Refused) and payment["ends_as"]:
                await retrying(lambda ended=payment: self.store.end(ended["_id"], ended["ends_as"]), _waiting)
                self._errands.done(payment["_id"])
            elif reply is not None:
                await self._postpone(payment, reply)
        if records:
            await self.publisher.publish(records)
            await retrying(lambda: self.store.settle(paid), _waiting)
        for payment_id in paid:
            self._errands.done(payment_id)
        self.counters.executed += len(paid)

    async def _postpone(self, payment: Mapping[str, Any], reply: Refused | Unknown) -> None:
        if isinstance(reply, Refused):
            self.counters.refused += 1
            log.warning("%s was refused by the payment provider; it will be asked again", payment["_id"])
        else:
            self.counters.unknown += 1
        wanted = reply.after if isinstance(reply, Unknown) else None
        retry_at = self.clock.now() + (wanted or RETRY_AFTER[min(payment["tries"], len(RETRY_AFTER) - 1)])
        await retrying(lambda: self.store.postpone(payment["_id"], retry_at, reply), _waiting)
        self._errands.put_off(payment["_id"], payment["partition"], retry_at)


async def _executed(provider: PaymentProvider, order: PaymentOrder, asked_before: bool) -> Reply:
    """Have a refund paid: one request an attempt. What may have been asked for already is looked up before, what got no answer
    after it; where the provider has not heard of that one yet it still may, so the next attempt comes later. Raises
    Unreachable, where nothing was asked for."""
    told = await provider.lookup(order.decision_id) if asked_before else None
    if told is not None and not isinstance(told, Refused):
        return told
    reply = await provider.refund(order)
    if not isinstance(reply, Unknown) or reply.after is not None:
        return reply
    with contextlib.suppress(Unreachable):
        return await provider.lookup(order.decision_id) or reply
    return reply


def _confirmation(payment: Mapping[str, Any], reference: str, at: datetime, told_at: datetime) -> Record:
    order_id = payment["order"]["order_id"]
    message = ConfirmExecution(case_id=payment["case_id"], decision_id=payment["_id"], reference=reference, at=at)
    return encode(Envelope(derived("refund", payment["_id"]), "cases", order_id, told_at, message))


def _waiting(error: BaseException) -> None:
    log.warning("the store cannot be reached, refunds wait: %s", error)
