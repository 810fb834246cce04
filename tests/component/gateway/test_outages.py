"""The record of outages (NX-08): a gap between heartbeats is one, recorded before the next beat, by one name; with each
heartbeat the whole record is told, and up to when it is complete."""

import uuid
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import pytest

from chassis.clock import RealClock
from chassis.settings import Settings
from chassis.store import Database, connect
from chassis.telemetry import Health
from contracts.base import Message
from contracts.envelope import Record, decode
from contracts.outages import ALL_WELL, UNHEARD, Outage, OutagesRecorded, RecordOutage
from contracts.topics import PARTITIONS
from deploy.local import Stack
from services.gateway.outages import OUTAGE, Outages

M = TypeVar("M", bound=Message)
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


class Broker:
    """Takes records, or is away."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.away = False

    async def publish(self, records: Sequence[tuple[str, Record]]) -> None:
        if self.away:
            raise ConnectionError("the broker is away")
        self.records += [record for _, record in records]

    def told(self, kind: type[M]) -> list[M]:
        messages = [decode(record.value, record.headers).message for record in self.records]
        return [message for message in messages if isinstance(message, kind)]

    def outages(self) -> list[RecordOutage]:
        return self.told(RecordOutage)

    def record(self) -> OutagesRecorded:
        """The one that counts, whichever came last."""
        return max(self.told(OutagesRecorded), key=lambda each: each.number)


@pytest.fixture
async def database(stack: Stack) -> AsyncIterator[Database]:
    client = connect(Settings(kafka_bootstrap=stack.kafka_bootstrap, mongo_uri=stack.mongo_uri))
    name = f"outages-{uuid.uuid4().hex[:8]}"
    yield client[name]
    await client.drop_database(name)
    client.close()


def watcher(database: Database, broker: Broker, first: OutagesRecorded = UNHEARD) -> Outages:
    return Outages(database, broker, RealClock(), Health(), first)  # type: ignore[arg-type]


@pytest.mark.rule("NX-08")
async def test_a_gap_is_told_to_every_partition_and_a_short_one_to_nobody(database: Database) -> None:
    broker = Broker()
    outages = watcher(database, broker)
    await outages.beat(NOON)
    await outages.beat(NOON + OUTAGE - timedelta(seconds=1))
    assert broker.outages() == []

    last = NOON + OUTAGE - timedelta(seconds=1)
    await outages.beat(last + 90 * MINUTE)
    told = broker.outages()
    assert [outage.partition for outage in told] == list(range(PARTITIONS))
    assert {record.partition for record in broker.records} - {None} == set(range(PARTITIONS))
    assert {(outage.lost_from, outage.lost_until) for outage in told} == {(last, last + 90 * MINUTE)}


@pytest.mark.rule("NX-08")
async def test_two_that_see_the_same_gap_name_one_outage(database: Database) -> None:
    broker = Broker()
    first, second = watcher(database, broker), watcher(database, broker)
    await first.beat(NOON)
    broker.away = True
    with pytest.raises(ConnectionError):
        await first.beat(NOON + 60 * MINUTE)
    broker.away = False
    await second.beat(NOON + 61 * MINUTE)
    await first.beat(NOON + 62 * MINUTE)
    assert len({outage.outage_id for outage in broker.outages()}) == 1
    assert {outage.lost_until for outage in broker.outages()} == {NOON + 61 * MINUTE}


@pytest.mark.rule("NX-08")
async def test_with_each_beat_the_record_is_complete_up_to_it(database: Database) -> None:
    broker = Broker()
    outages = watcher(database, broker)
    await outages.beat(NOON)
    assert (broker.record().complete_until, broker.record().outages) == (NOON, ())
    await outages.beat(NOON + 90 * MINUTE)
    gap = broker.record().outages[0]
    assert (gap.lost_from, gap.lost_until) == (NOON, NOON + 90 * MINUTE)
    assert broker.record().complete_until == NOON + 90 * MINUTE
    await watcher(database, broker).beat(NOON + 91 * MINUTE)
    assert broker.record().outages == (gap,)
    assert broker.record().complete_until == NOON + 91 * MINUTE
    assert outages.record == UNHEARD
    outages.heard.hear(broker.record())
    assert outages.record.outages == (gap,)
    await outages.beat(NOON + timedelta(days=400))
    (years_gap,) = broker.record().outages
    assert years_gap.lost_from == NOON + 91 * MINUTE


@pytest.mark.rule("NX-08")
async def test_whoever_dies_between_telling_and_writing_has_not_beaten(database: Database) -> None:
    """The next one finds the same gap, which has lasted longer by then."""

    class Dying(Broker):
        async def publish(self, records: Sequence[tuple[str, Record]]) -> None:
            await super().publish(records)
            if self.told(OutagesRecorded):
                raise ConnectionError("the process dies")

    broker, dying = Broker(), Dying()
    await watcher(database, broker).beat(NOON)
    with pytest.raises(ConnectionError):
        await watcher(database, dying).beat(NOON + 60 * MINUTE)
    await watcher(database, broker).beat(NOON + 61 * MINUTE)
    (before,), (after,) = dying.record().outages, broker.record().outages
    assert before.outage_id == after.outage_id
    assert (after.lost_from, after.lost_until) == (NOON, NOON + 61 * MINUTE)
    assert broker.record().number > dying.record().number


@pytest.mark.rule("NX-08")
async def test_in_the_sandbox_an_outage_is_recorded_when_it_is_over(database: Database) -> None:
    broker = Broker()
    outages = watcher(database, broker, ALL_WELL)
    past = Outage(outage_id="past", lost_from=NOON - 60 * MINUTE, lost_until=NOON)
    ahead = Outage(outage_id="ahead", lost_from=NOON, lost_until=NOON + 60 * MINUTE)
    for _ in range(2):
        await outages.declare(past)
        await outages.begin(ahead)
    assert (broker.record().complete_until, broker.record().outages) == (NOON, (past,))
    assert not await outages.end(NOON + 59 * MINUTE)
    assert {outage.outage_id for outage in broker.outages()} == {"past"}
    assert await outages.end(NOON + 60 * MINUTE)
    assert (broker.record().complete_until, broker.record().outages) == (None, (past, ahead))
    assert {outage.outage_id for outage in broker.outages()} == {"past", "ahead"}
    assert not await outages.end(NOON + 61 * MINUTE)
