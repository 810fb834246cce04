"""Sends notices by SMTP in the background, and proves it.

What is to send stands in the store; the queue here only names it. A server that is away is waited for, a mail that it puts off
(4xx) is tried again later by the stack's clock, a recipient that it refuses (5xx) has failed. After a mail was accepted its
event is published before its notice is marked: a crash in between sends the same Message-ID and the same event again."""

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from chassis.clock import Clock
from chassis.errands import Errands, done_at
from chassis.failures import retrying
from chassis.kafka import KafkaPublisher
from chassis.service import beside
from contracts.envelope import Envelope, Record, encode
from contracts.ids import derived
from contracts.notices import NoticeDelayed, NoticeFailed, NoticeProof, NoticeSent
from contracts.orders import Merchant
from contracts.topics import NOTIFICATIONS_EVENTS, PARTITIONS
from services.notifications.bounces import came_back, is_bounce, is_of_earlier_try
from services.notifications.corrections import addressed_id, is_search, missed_in, told_again
from services.notifications.desks import attention_addresses, handed_over, needs_desk
from services.notifications.letters import addresses_of
from services.notifications.mailer import Mailer
from services.notifications.smtp import Connection, Reply, SmtpServer
from services.notifications.store import QUEUED, NoticeStore

__all__ = ["RETRY_AFTER", "Postman"]

log = logging.getLogger(__name__)

_CONNECTIONS = 4
_LOADED = 200
_WRITTEN = 32
"""Mails written one after the other before the first of them is sent: written in between, each costs twice as much, because
a processor has then forgotten how. They take some 10 ms together."""
_IDLE_S = 20.0
_GATHER_S = 1.0
"""How long proofs are gathered: what is told and marked together costs every service that hears of it once."""
_GATHER_LOOK_S = 0.01
"""How often it is looked, while somebody waits for all mails to be done, whether one is still under way."""
_UNKNOWN_MERCHANT_S = 0.5
_UNPROVED_S = 0.5
_LATE = timedelta(hours=1)
"""A notice of a deadline that is not handed over for so long is told of as delayed: its party has not been told (NX-08)."""
_LATE_LOOK_S = 60.0

RETRY_AFTER = (
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=6),
    timedelta(hours=24),
)
"""When a mail that the server put off is tried again; after the last of these it has failed."""


@dataclass(slots=True)
class _Counters:
    sent: int = 0
    failed: int = 0
    postponed: int = 0
    refused_connections: int = 0


@dataclass(frozen=True, slots=True)
class _Ready:
    """A notice to an address, and its mail."""

    notice: dict[str, Any]
    content: bytes


@dataclass(slots=True)
class Postman:
    """The queue, its connections and the book of proofs of one process. `work` runs until cancelled."""

    store: NoticeStore
    publisher: KafkaPublisher
    clock: Clock
    mailer: Mailer
    server: SmtpServer
    connections: int = _CONNECTIONS
    counters: _Counters = field(default_factory=_Counters)
    away: str = ""
    """Why the mail server cannot be reached, if so."""
    _away_since: float = 0.0
    _errands: Errands = field(init=False)
    _new: dict[str, dict[str, Any]] = field(default_factory=dict)
    _awaited: asyncio.Event = field(default_factory=asyncio.Event)
    _ready: asyncio.Queue[_Ready] = field(default_factory=lambda: asyncio.Queue(maxsize=_WRITTEN))
    _done: asyncio.Queue[tuple[Mapping[str, Any], Reply]] = field(default_factory=asyncio.Queue)

    def __post_init__(self) -> None:
        self._errands = Errands(self.clock)

    # What the loop tells

    def offer(self, notices: Iterable[dict[str, Any]], new: frozenset[str] = frozenset()) -> None:
        """Send these; one that is in hand already is not taken twice. `new` names those that need not be looked up in the
        store before: nobody has sent them."""
        for notice in notices:
            if self._errands.take(notice["_id"], notice["partition"]) and notice["_id"] in new:
                self._new[notice["_id"]] = notice

    async def own(self, partitions: frozenset[int]) -> None:
        """Send for these partitions from now on: forget the queue of others, take up what is unsent of these."""
        self._errands.own(partitions)
        self._new = {notice_id: notice for notice_id, notice in self._new.items() if notice_id in self._errands}
        if partitions:
            self._errands.take_up(await retrying(lambda: self.store.unsent(partitions), _waiting))

    def unsent(self) -> int:
        """Mails not done: queued, in flight, or accepted and not yet proved. One that waits for a later try is not counted
        until its moment comes."""
        return self._errands.due()

    def pending(self) -> int:
        """`unsent`, for somebody who waits until there are none: proofs are then written at once."""
        self._awaited.set()
        return self.unsent()

    def _reached(self) -> None:
        self.away = ""

    def _unreachable(self, error: BaseException) -> None:
        self.counters.refused_connections += 1
        if not self.away:
            log.warning("the mail server cannot be reached, mails wait: %s", error)
            self._away_since = time.monotonic()
        self.away = str(error) or type(error).__name__

    # The work

    async def work(self) -> None:
        """Load, send, prove, retry, and tell of delays, each beside the others. Raises the first failure of any."""
        await beside(self._load, self._prove, self._errands.retry, self._watch_delays, *[self._send] * self.connections)

    async def _load(self) -> None:
        while True:
            ids = await self._errands.some(_LOADED)
            notices = [self._new.pop(notice_id) for notice_id in ids if notice_id in self._new]
            new = {notice["_id"] for notice in notices}
            if asked := [notice_id for notice_id in ids if notice_id not in new]:
                notices += await retrying(lambda asked=asked: self.store.load(asked), _waiting)
            still = {notice["_id"] for notice in notices}
            for notice_id in ids:
                if notice_id not in still:
                    self._errands.done(notice_id)
            await self._tell_bounces([notice for notice in notices if is_bounce(notice)])
            notices = [notice for notice in notices if not is_bounce(notice)]
            merchant_ids = {notice["merchant_id"] for notice in notices}
            merchants = await retrying(lambda wanted=merchant_ids: self.store.merchants(wanted), _waiting) if notices else {}
            staff = await self._of_desks(notices, merchants)
            ready: list[tuple[dict[str, Any], Merchant]] = []
            many: list[dict[str, Any]] = []
            for notice in notices:
                merchant = merchants.get(notice["merchant_id"])
                if merchant is None:
                    self._ask_again(notice, _UNKNOWN_MERCHANT_S)
                elif is_search(notice):
                    await self._tell_again(notice, merchant)
                elif notice["to"] is not None:
                    ready.append((notice, merchant))
                elif len(addresses := staff.get(notice["_id"]) or _addresses(notice, merchant)) == 1:
                    ready.append(({**notice, "to": addresses[0]}, merchant))
                else:
                    many.append(notice)
            await self._address(many, merchants, staff)
            for first in range(0, len(ready), _WRITTEN):
                for mail in self._write(ready[first : first + _WRITTEN]):
                    await self._ready.put(mail)

    def _write(self, notices: Sequence[tuple[dict[str, Any], Merchant]]) -> list[_Ready]:
        """The mails of these notices, each with the merchant that it tells of. One that cannot be written has failed."""
        written: list[_Ready] = []
        for notice, merchant in notices:
            try:
                written.append(_Ready(notice, self.mailer.write(notice, merchant)))
            except Exception as error:
                log.exception("%s cannot be written", notice["_id"])
                self._done.put_nowait((notice, Reply(554, f"not written: {type(error).__name__}: {error}", "")))
        return written

    async def _of_desks(
        self, notices: Sequence[dict[str, Any]], merchants: Mapping[str, Merchant]
    ) -> dict[str, tuple[str, ...]]:
        """Tell hand-over notices of their cases, and give the staff's addresses of those notices that are for it, by id."""
        mine = [notice for notice in notices if needs_desk(notice) and notice["merchant_id"] in merchants]
        if not mine:
            return {}
        desks = await retrying(lambda: self.store.desks({notice["merchant_id"] for notice in mine}), _waiting)
        staff: dict[str, tuple[str, ...]] = {}
        for notice in mine:
            merchant, desk = merchants[notice["merchant_id"]], desks[notice["merchant_id"]]
            if notice["kind"] == "handover":
                files = await retrying(lambda wanted=merchant.merchant_id: self.store.files(wanted), _waiting)
                circular = notice["circular"]
                notice["circular"] = {**circular, "about": handed_over(merchant, desk, circular["about"], files)}
            else:
                staff[notice["_id"]] = attention_addresses(merchant, desk, done_at(notice, self.clock))
        return staff

    async def _tell_again(self, search: Mapping[str, Any], merchant: Merchant) -> None:
        """Write once more to a merchant's present addresses what it was not told of the deadlines that stand."""
        if search["order_id"] is None:
            files = await retrying(lambda: self.store.files(merchant.merchant_id), _waiting)
        else:
            file = await retrying(lambda: self.store.file(search["order_id"]), _waiting)
            files = [] if file is None else [file]
        desks = await retrying(lambda: self.store.desks({merchant.merchant_id}), _waiting)
        again: list[dict[str, Any]] = []
        for missed in missed_in(files):
            written = await retrying(lambda order_id=missed.order_id: self.store.of_order(order_id), _waiting)
            notice = next((written[each] for each in missed.notice_ids if each in written), None)
            if notice is not None:
                staff = attention_addresses(merchant, desks[merchant.merchant_id], done_at(search, self.clock))
                to = staff if notice["audience"] == "attention" else _addresses(notice, merchant)
                again += told_again(search, missed, notice, written.values(), to)
        await retrying(lambda: self.store.address([search], again), _waiting)
        self.offer(again)
        self._errands.done(search["_id"])

    async def _tell_bounces(self, bounces: Sequence[Mapping[str, Any]]) -> None:
        """Tell of each mail that came back, as of one that was refused, unless it was tried again since. What is still to be
        sent, by what is known here, is waited for: its proof is on its way, or that it was put off."""
        if not bounces:
            return
        notices = await retrying(lambda: self.store.named({each["bounced"]["notice_id"] for each in bounces}), _waiting)
        looked_into: list[str] = []
        proofs: dict[str, NoticeProof] = {}
        for bounce in bounces:
            notice = notices.get(bounce["bounced"]["notice_id"])
            if notice is not None and not is_of_earlier_try(bounce["bounced"], notice):
                if notice["state"] == QUEUED:
                    self._ask_again(bounce, _UNPROVED_S)
                    continue
                if notice["state"] == "sent":
                    proofs[notice["_id"]] = came_back(notice, bounce["bounced"])
            looked_into.append(bounce["_id"])
        await self._tell(notices, proofs)
        await retrying(lambda: self.store.looked_into(looked_into), _waiting)
        for bounce_id in looked_into:
            self._errands.done(bounce_id)

    def _ask_again(self, notice: Mapping[str, Any], wait_s: float) -> None:
        """What it needs is not known here yet: another partition is behind, or another mail."""
        asyncio.get_running_loop().call_later(wait_s, self._errands.again, notice["_id"])

    async def _address(
        self,
        notices: Sequence[dict[str, Any]],
        merchants: Mapping[str, Merchant],
        staff: Mapping[str, tuple[str, ...]],
    ) -> None:
        """Make of each merchant's notice one for each of its addresses, of which there are several."""
        if not notices:
            return
        addressed = [
            {**notice, "_id": addressed_id(notice, address), "to": address, "state": QUEUED}
            for notice in notices
            for address in staff.get(notice["_id"]) or _addresses(notice, merchants[notice["merchant_id"]])
        ]
        await retrying(lambda: self.store.address(notices, addressed), _waiting)
        self.offer(addressed)
        for notice in notices:
            self._errands.done(notice["_id"])

    async def _send(self) -> None:
        """One connection, opened when there is something to send and closed when there has been nothing for a while."""
        connection = Connection(self.server, self.mailer.sender, self._reached, self._unreachable)
        try:
            while True:
                try:
                    ready = self._ready.get_nowait()
                except asyncio.QueueEmpty:
                    try:
                        async with asyncio.timeout(_IDLE_S):
                            ready = await self._ready.get()
                    except TimeoutError:
                        await connection.close()
                        continue
                notice = ready.notice
                if not self._errands.owns(notice["partition"]):
                    self._errands.done(notice["_id"])  # its new owner has read it from the store
                    continue
                self._done.put_nowait((notice, await connection.deliver(notice["to"], ready.content)))
        finally:
            connection.drop()

    async def _prove(self) -> None:
        """Tell of what was sent and mark it, many at once."""
        while True:
            outcomes = [await self._done.get()]
            with suppress(TimeoutError):
                async with asyncio.timeout(_GATHER_S):
                    await self._awaited.wait()
                    while len(self._errands) > self._done.qsize() + 1:  # noqa: ASYNC110 - mails end one by one
                        await asyncio.sleep(_GATHER_LOOK_S)
            self._awaited.clear()
            while not self._done.empty():
                outcomes.append(self._done.get_nowait())
            await self._settle(outcomes)

    async def _settle(self, outcomes: Sequence[tuple[Mapping[str, Any], Reply]]) -> None:
        notices: dict[str, Mapping[str, Any]] = {}
        proofs: dict[str, NoticeProof] = {}
        for notice, reply in outcomes:
            if 400 <= reply.code < 500 and notice["tries"] < len(RETRY_AFTER):
                await self._postpone(notice, reply)
                continue
            words = f"{reply.code} {reply.text}"
            state = "sent" if reply.code < 400 else "failed"
            proof = _proof(notice, state, reply.server, words, done_at(notice, self.clock))
            notices[notice["_id"]], proofs[notice["_id"]] = notice, proof
        await self._tell(notices, proofs)
        for notice_id, proof in proofs.items():
            self._errands.done(notice_id)
            if proof.state == "sent":
                self.counters.sent += 1
            else:
                self.counters.failed += 1
                # The code alone: a server's words name the address.
                log.warning("%s was refused with %s", notice_id, proof.server_reply.partition(" ")[0])

    async def _tell(self, notices: Mapping[str, Mapping[str, Any]], proofs: Mapping[str, NoticeProof]) -> None:
        """Tell the cases of these notices, by id, what became of them, then mark them."""
        told = [notices[notice_id] for notice_id in proofs if notices[notice_id]["case_id"] is not None]
        if told:
            await self.publisher.publish([(NOTIFICATIONS_EVENTS.name, _event(each, proofs[each["_id"]])) for each in told])
        if proofs:
            await retrying(lambda: self.store.settle(proofs), _waiting)

    async def _watch_delays(self) -> None:
        """Tell of what waits while the mail server is away: by real time, which a jump of the sandbox's clock is not."""
        while True:
            await asyncio.sleep(_LATE_LOOK_S)
            if self.away and time.monotonic() - self._away_since >= _LATE.total_seconds():
                owned = [number for number in range(PARTITIONS) if self._errands.owns(number)]
                while late := await retrying(lambda owned=owned: self.store.late(owned, _LOADED), _waiting):
                    await retrying(lambda late=late: self._tell_delays(late, self.away), _waiting)

    async def _tell_delays(self, notices: Sequence[Mapping[str, Any]], why: str) -> None:
        now = self.clock.now()
        merchants = await self.store.merchants({notice["merchant_id"] for notice in notices})
        records: list[tuple[str, Record]] = []
        for notice in notices:
            merchant = merchants.get(notice["merchant_id"])
            to = notice["to"] or ", ".join(_addresses(notice, merchant) if merchant is not None else ())
            records.append((NOTIFICATIONS_EVENTS.name, _event(notice, _proof({**notice, "to": to}, "delayed", "", why, now))))
        await self.publisher.publish(records)
        await self.store.told_late([notice["_id"] for notice in notices])

    async def _postpone(self, notice: Mapping[str, Any], reply: Reply) -> None:
        wait = RETRY_AFTER[notice["tries"]]
        retry_at = self.clock.now() + wait
        words = f"{reply.code} {reply.text}"
        if wait >= _LATE and notice["case_id"] is not None and "deadline_id" in notice and "late" not in notice:
            await retrying(lambda: self._tell_delays([notice], words), _waiting)
        await retrying(lambda: self.store.postpone(notice["_id"], retry_at, words), _waiting)
        self.counters.postponed += 1
        self._errands.put_off(notice["_id"], notice["partition"], retry_at)


def _addresses(notice: Mapping[str, Any], merchant: Merchant) -> tuple[str, ...]:
    return addresses_of(merchant.notify, merchant.service_contact, notice["audience"])


def _proof(
    notice: Mapping[str, Any], state: Literal["sent", "failed", "delayed"], server: str, reply: str, at: datetime
) -> NoticeProof:
    return NoticeProof(
        notice_id=notice["_id"],
        kind=notice["kind"],
        party=notice["party"],
        to=notice["to"],
        state=state,
        server=server,
        server_reply=reply,
        at=at,
        # Its own time is nothing that the platform is given back.
        deadline_id=None if notice["party"] == "platform" else notice.get("deadline_id"),
    )


def _event(notice: Mapping[str, Any], proof: NoticeProof) -> Record:
    told = {"sent": NoticeSent, "failed": NoticeFailed, "delayed": NoticeDelayed}[proof.state]
    message = told(order_id=notice["order_id"], case_id=notice["case_id"], notice=proof)
    return encode(
        Envelope(
            id=derived("notice", proof.notice_id, proof.state),
            source="notifications",
            key=notice["order_id"],
            time=proof.at,
            message=message,
        )
    )


def _waiting(error: BaseException) -> None:
    log.warning("the store cannot be reached, mails wait: %s", error)
