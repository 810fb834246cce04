"""Outages (NX-08): the record of them, told to everybody who keeps deadlines, and the heartbeat of the gateway in real time
by which they are noticed.

A gateway that can take commands writes a heartbeat. A gap between two of them is time in which nobody could act, whether
gateways, broker or store were away; the first process that beats again records it before it beats. With each heartbeat the
whole record is told, and that it is complete up to that moment: until then nobody decides over a deadline that fell due."""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from operator import attrgetter

from pymongo.errors import DuplicateKeyError

from chassis.clock import Clock
from chassis.kafka import KafkaPublisher
from chassis.latest import Latest
from chassis.store import Database
from chassis.telemetry import Health
from contracts.base import format_moment, parse_moment
from contracts.envelope import Envelope, encode
from contracts.ids import derived
from contracts.outages import Outage, OutagesRecorded, RecordOutage
from contracts.topics import ESCALATION_COMMANDS, PARTITIONS, PLATFORM_CLOCK
from services.gateway.store import HEARTBEATS, Document

__all__ = ["OUTAGE", "Outages"]

log = logging.getLogger(__name__)
_BEAT = "gateway"
_EVERY_S = 5.0
"""In seconds of real time. By as much a deadline may be decided over late, and an act still count that came after it."""
_KEPT = timedelta(days=366)
_KEY = "outages"
OUTAGE = timedelta(minutes=5)
"""A shorter gap is a restart, which costs nobody a deadline."""


class Outages:
    """Records outages, and watches for them outside the sandbox, whose clock says nothing about real time.

    The record is one document, which gateways write by turns: `number` counts who took a turn, `at` is the last heartbeat,
    `outages` are those of the last year, `ahead` those of a sandbox that are not over yet. It is told before it is written:
    whoever dies in between has written no heartbeat, and the next one finds the same gap."""

    def __init__(
        self, database: Database, publisher: KafkaPublisher, clock: Clock, health: Health, first: OutagesRecorded
    ) -> None:
        """`first`: what is known of outages before the record was heard."""
        self._beats = database[HEARTBEATS]
        self._publisher = publisher
        self._clock = clock
        self._health = health
        self.heard = Latest(first, attrgetter("number"))

    @property
    def record(self) -> OutagesRecorded:
        """The record as this process has heard it."""
        return self.heard.value

    # In the sandbox

    async def declare(self, outage: Outage) -> None:
        """Record an outage that is over. Declaring it again changes nothing."""
        await self._tell((outage,))
        await self._note(over=(outage,))

    async def begin(self, outage: Outage) -> None:
        """From now on nobody can act: the record is not complete until `end` finds that the outage is over."""
        await self._note(ahead=(outage,))

    async def end(self, now: datetime) -> bool:
        """Record what is over by now of that which had begun; whether there was any."""
        kept = await self._read()
        over = tuple(outage for each in kept["ahead"] if (outage := Outage.model_validate(each)).lost_until <= now)
        if over:
            await self._tell(over)
            await self._note(over=over)
        return bool(over)

    async def _note(self, *, over: Sequence[Outage] = (), ahead: Sequence[Outage] = ()) -> None:
        ids = {outage.outage_id for outage in (*over, *ahead)}
        while True:
            kept = await self._read()
            changed = {
                name: [each for each in kept[name] if each["outage_id"] not in ids] + [_plain(each) for each in new]
                for name, new in (("outages", over), ("ahead", ahead))
            }
            if await self._write({**kept, **changed}):
                return

    # In real time

    async def watch(self) -> None:
        """Beat, and record each gap. Runs until cancelled."""
        while True:
            if not self._health.waiting_for:
                try:
                    await self.beat(datetime.now(UTC))
                except Exception as error:
                    log.warning("the heartbeat waits: %r", error)
            await asyncio.sleep(_EVERY_S)

    async def beat(self, now: datetime) -> None:
        """One heartbeat at a real moment. What lies between it and the one before is recorded where it is an outage."""
        kept = await self._read()
        last = kept.get("at")
        outages = [each for each in kept["outages"] if parse_moment(each["lost_until"]) > now - _KEPT]
        if last is not None and (since := parse_moment(last)) + OUTAGE <= now:
            log.warning("nobody could act from %s to %s: deadlines that ran then end later", since, now)
            gap = Outage(outage_id=derived("gap", last), lost_from=since, lost_until=now)
            await self._tell((gap,))
            outages.append(_plain(gap))
        # Another gateway that took its turn meanwhile has beaten as well.
        await self._write({**kept, "outages": outages, "at": max(format_moment(now), last or "")})

    # The record

    async def _read(self) -> Document:
        kept = await self._beats.find_one({"_id": _BEAT})
        if kept is None:
            with suppress(DuplicateKeyError):
                await self._beats.insert_one({"_id": _BEAT})
        return {"number": None, "outages": [], "ahead": [], **(kept or {})}

    async def _write(self, changed: Document) -> bool:
        """Take a turn: tell the record, then write it. False where somebody else took one since it was read."""
        number = (changed["number"] or 0) + 1
        turn = await self._beats.update_one({"_id": _BEAT, "number": changed["number"]}, {"$set": {"number": number}})
        if not turn.matched_count:
            return False
        begun = [each["lost_from"] for each in changed["ahead"]]
        complete_until = min(begun) if begun else changed.get("at")
        record = OutagesRecorded(
            number=number,
            outages=tuple(Outage.model_validate(each) for each in changed["outages"]),
            complete_until=None if complete_until is None else parse_moment(complete_until),
        )
        envelope = Envelope(
            id=derived("outages", str(number)), source="gateway", key=_KEY, time=self._clock.now(), message=record
        )
        await self._publisher.publish([(PLATFORM_CLOCK.name, encode(envelope))])
        content = {name: value for name, value in changed.items() if name not in ("_id", "number")}
        written = await self._beats.update_one({"_id": _BEAT, "number": number}, {"$set": content})
        return bool(written.matched_count)

    async def _tell(self, outages: Sequence[Outage]) -> None:
        """Tell whoever owns each partition, so that deadlines show at once what was added to them."""
        records = []
        for outage in outages:
            for partition in range(PARTITIONS):
                envelope = Envelope(
                    id=derived("outage", outage.outage_id, str(partition)),
                    source="gateway",
                    key=f"out:{outage.outage_id}:{partition}",
                    time=self._clock.now(),
                    message=RecordOutage(**dict(outage), partition=partition),
                )
                records.append((ESCALATION_COMMANDS.name, encode(envelope, partition)))
        await self._publisher.publish(records)


def _plain(outage: Outage) -> Document:
    return outage.model_dump(mode="json")
