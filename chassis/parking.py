"""Parked keys: a key whose record failed waits, and its later records behind it, until an operator replays or discards them."""

import time
from collections.abc import Sequence
from typing import Any

from bson import Binary

from chassis.loop import PARKED, RawRecord
from chassis.store import Append, Database, MongoStore

__all__ = ["MongoParking", "parked_record"]


class MongoParking:
    """Parked records in the service's own database, in the order they came. Every process knows all parked keys of its service;
    `refresh` reads them anew when partitions change hands."""

    def __init__(self, database: Database) -> None:
        self._store = MongoStore(database)
        self._collection = database[PARKED]
        self._keys: set[str] = set()

    @property
    def count(self) -> int:
        """Keys that wait for an operator."""
        return len(self._keys)

    async def refresh(self) -> None:
        """Read the parked keys anew: another process may have parked or freed some."""
        self._keys = set(await self._collection.distinct("key"))

    def holds(self, key: str) -> bool:
        """Whether a key is parked, as far as this process knows."""
        return key in self._keys

    async def queue(self, key: str) -> list[str]:
        """The ids of the parked records of a key, in the order they came."""
        found = await self._collection.find({"key": key}, {"_id": 1}).sort("order", 1).to_list(None)
        return [document["_id"] for document in found]

    async def park(self, records: Sequence[tuple[str, str, RawRecord, str]]) -> None:
        """Park (id, key, record, reason), each behind what is parked already, whatever the clock of whoever parked that said.
        Parking the same record again changes nothing."""
        keys = list({key for _, key, _, _ in records})
        last = await self._collection.find({"key": {"$in": keys}}, {"order": 1}).sort("order", -1).to_list(1)
        order = max([time.time_ns(), *(document["order"] + 1 for document in last)])
        await self._store.append([Append(PARKED, _document(*record, order + index)) for index, record in enumerate(records)])
        self._keys.update(keys)

    async def resume(self, key: str, parked_id: str) -> None:
        """A parked record was handled or discarded; with the last one the key is free."""
        await self._collection.delete_one({"_id": parked_id, "key": key})
        if await self._collection.find_one({"key": key}, {"_id": 1}) is None:
            self._keys.discard(key)


def _document(parked_id: str, key: str, raw: RawRecord, reason: str, order: int) -> dict[str, Any]:
    return {
        "_id": parked_id,
        "key": key,
        "order": order,
        "topic": raw.topic,
        "value": Binary(raw.value or b""),
        "headers": [[name, Binary(value)] for name, value in raw.headers],
        "reason": reason[:2_000],
    }


def parked_record(document: dict[str, Any]) -> RawRecord:
    """The record of a parked document, as it was read."""
    _, partition, offset = document["_id"].rsplit(":", 2)
    return RawRecord(
        topic=document["topic"],
        partition=int(partition),
        offset=int(offset),
        key=document["key"].encode(),
        value=bytes(document["value"]),
        headers=[(name, bytes(value)) for name, value in document["headers"]],
    )
