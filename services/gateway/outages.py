"""Outages (NX-08): told to everybody who keeps deadlines, and noticed by the heartbeat of the gateway in real time.

A gateway that can take commands writes a heartbeat. A gap between two of them is time in which nobody could act, whether
gateways, broker or store were away; the first process that beats again records it before it beats."""

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from typing import Any

from chassis.clock import Clock
from chassis.kafka import KafkaPublisher
from chassis.store import Database
from chassis.telemetry import Health
from contracts.base import format_moment, parse_moment
from contracts.envelope import Envelope, encode
from contracts.ids import derived
from contracts.outages import RecordOutage
from contracts.topics import ESCALATION_COMMANDS, PARTITIONS
from services.gateway.store import HEARTBEATS

__all__ = ["OUTAGE", "Outages"]

log = logging.getLogger(__name__)
_BEAT = "gateway"
_EVERY_S = 15.0
OUTAGE = timedelta(minutes=5)
"""A shorter gap is a restart, which costs nobody a deadline."""


class Outages:
    """Records outages, and watches for them outside the sandbox, whose clock says nothing about real time."""

    def __init__(self, database: Database, publisher: KafkaPublisher, clock: Clock, health: Health) -> None:
        self._beats = database[HEARTBEATS]
        self._publisher = publisher
        self._clock = clock
        self._health = health

    async def record(self, outage_id: str, lost_from: datetime, lost_until: datetime) -> None:
        """Tell whoever owns each partition. Recording an outage again changes nothing."""
        records = []
        for partition in range(PARTITIONS):
            outage = RecordOutage(outage_id=outage_id, lost_from=lost_from, lost_until=lost_until, partition=partition)
            envelope = Envelope(
                id=derived("outage", outage_id, str(partition)),
                source="gateway",
                key=f"out:{outage_id}:{partition}",
                time=self._clock.now(),
                message=outage,
            )
            records.append((ESCALATION_COMMANDS.name, encode(envelope, partition)))
        await self._publisher.publish(records)

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
        last: dict[str, Any] | None = await self._beats.find_one({"_id": _BEAT})
        if last is not None and (since := parse_moment(last["at"])) + OUTAGE <= now:
            log.warning("nobody could act from %s to %s: deadlines that ran then end later", since, now)
            await self.record(derived("gap", last["at"]), since, now)
        await self._beats.update_one({"_id": _BEAT}, {"$max": {"at": format_moment(now)}}, upsert=True)
