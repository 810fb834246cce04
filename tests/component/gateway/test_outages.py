"""The heartbeat of the gateway in real time (NX-08): a gap is an outage, recorded before the next beat, by one name."""

import uuid
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta

import pytest

from chassis.clock import RealClock
from chassis.settings import Settings
from chassis.store import Database, connect
from chassis.telemetry import Health
from contracts.envelope import Record, decode
from contracts.outages import RecordOutage
from contracts.topics import PARTITIONS
from deploy.local import Stack
from services.gateway.outages import OUTAGE, Outages

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

    def outages(self) -> list[RecordOutage]:
        messages = [decode(record.value, record.headers).message for record in self.records]
        return [message for message in messages if isinstance(message, RecordOutage)]


@pytest.fixture
async def database(stack: Stack) -> AsyncIterator[Database]:
    client = connect(Settings(kafka_bootstrap=stack.kafka_bootstrap, mongo_uri=stack.mongo_uri))
    name = f"outages-{uuid.uuid4().hex[:8]}"
    yield client[name]
    await client.drop_database(name)
    client.close()


def watcher(database: Database, broker: Broker) -> Outages:
    return Outages(database, broker, RealClock(), Health())  # type: ignore[arg-type]


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
    assert {record.partition for record in broker.records} == set(range(PARTITIONS))
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
