"""Reading all stores and topics in pages: memory is bounded by a page, the keys of a topic, and the timers still to come."""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition

from chassis.loop import RawRecord
from chassis.settings import Settings
from chassis.store import Collection
from contracts.topics import Topic
from services.gateway.store import whole

__all__ = ["Log", "grouped", "in_pages", "records_of", "those"]

PAGE = 500
Document = Mapping[str, Any]


async def in_pages(
    collection: Collection, *, leave_out: Sequence[str] = (), size: int = PAGE
) -> AsyncIterator[list[dict[str, Any]]]:
    """Every document by `_id`, a page at a time, without fields that are not wanted."""
    last: object = None
    projection = dict.fromkeys(leave_out, 0) or None
    while True:
        query: dict[str, Any] = {} if last is None else {"_id": {"$gt": last}}
        page = await collection.find(query, projection).sort("_id", 1).limit(size).to_list(None)
        if not page:
            return
        yield _with_bodies(page)
        last = page[-1]["_id"]


async def those(
    collection: Collection, field: str, values: Iterable[Any], projection: Mapping[str, int] | None = None
) -> list[dict[str, Any]]:
    """The documents whose field is one of these."""
    wanted = list(values)
    if not wanted:
        return []
    return _with_bodies(await collection.find({field: {"$in": wanted}}, projection, batch_size=10_000).to_list(None))


def _with_bodies(documents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The documents, with the bodies read that are kept as text, or of which a part is."""
    for document in documents:
        match document.get("body"):
            case str() as text:
                document["body"] = orjson.loads(text)
            case {"file": str(), "reports": str()} as body:
                document["body"] = whole(body)
            case _:
                pass
    return documents


def grouped(documents: Iterable[dict[str, Any]], field: str) -> dict[str, list[dict[str, Any]]]:
    """Documents by a field."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for document in documents:
        groups.setdefault(document[field], []).append(document)
    return groups


@dataclass(frozen=True, slots=True)
class Log:
    """A topic as it stands: which partitions still have their beginning, and its records, in order per partition, with their
    real time in milliseconds."""

    topic: Topic
    whole: frozenset[int]
    records: AsyncIterator[list[tuple[RawRecord, int]]]


async def records_of(settings: Settings, topics: Sequence[Topic]) -> AsyncIterator[Log]:
    """These topics one after the other, as far as they exist and reach now."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.kafka_bootstrap,
        client_id="recourse-verify",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        # Nothing is waited for: what is read is there already, and a fetch that waits holds up the next topic.
        fetch_max_wait_ms=5,
        max_partition_fetch_bytes=2 * 1024 * 1024,
    )
    await consumer.start()
    try:
        existing = await consumer.topics()
        for topic in topics:
            name = settings.prefixed(topic.name)
            if name not in existing:
                continue
            partitions = [TopicPartition(name, number) for number in range(topic.partitions)]
            begins = await consumer.beginning_offsets(partitions)
            ends = await consumer.end_offsets(partitions)
            whole = frozenset(partition.partition for partition in partitions if begins[partition] == 0)
            yield Log(topic, whole, _until(consumer, topic.name, begins, ends))
    finally:
        await consumer.stop()


async def _until(
    consumer: AIOKafkaConsumer, topic: str, begins: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]
) -> AsyncIterator[list[tuple[RawRecord, int]]]:
    left = {partition for partition, begin in begins.items() if begin < ends[partition]}
    if not left:
        return
    consumer.assign(sorted(left))
    for partition in left:
        consumer.seek(partition, begins[partition])
    while left:
        fetched = await consumer.getmany(*left, timeout_ms=1_000, max_records=5_000)
        yield [
            (RawRecord(topic, record.partition, record.offset, record.key, record.value, record.headers), record.timestamp)
            for records in fetched.values()
            for record in records
        ]
        left = {partition for partition in left if await consumer.position(partition) < ends[partition]}
