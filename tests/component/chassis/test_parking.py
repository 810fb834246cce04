"""Parked keys on a real store: the order of a key's records is that in which they came, and nobody's clock changes it."""

import uuid

import pytest

from chassis.loop import RawRecord
from chassis.parking import MongoParking
from chassis.settings import Settings
from chassis.store import connect
from deploy.local import Stack


def parked(number: int, key: str) -> tuple[str, str, RawRecord, str]:
    return f"{key} {number}", key, RawRecord("intake.commands", 0, number, key.encode(), b"{}", []), "it cannot be handled"


async def test_what_comes_later_stands_behind_whatever_the_clock_says(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """Partitions change hands between machines whose clocks differ."""
    client = connect(Settings(kafka_bootstrap=stack.kafka_bootstrap, mongo_uri=stack.mongo_uri))
    database = client[f"parking-{uuid.uuid4().hex[:8]}"]
    try:
        await MongoParking(database).park([parked(1, "a"), parked(2, "a"), parked(1, "b")])
        behind = MongoParking(database)
        await behind.refresh()
        monkeypatch.setattr("chassis.parking.time.time_ns", lambda: 1)
        await behind.park([parked(3, "a"), parked(2, "b"), parked(4, "a")])
        await behind.park([parked(1, "a"), parked(5, "a")])
        assert await behind.queue("a") == [f"a {number}" for number in range(1, 6)]
        assert await behind.queue("b") == ["b 1", "b 2"]
        assert behind.count == 2
    finally:
        await client.drop_database(database.name)
        client.close()
