"""Reading all stores and topics in pages: memory is bounded by a page, a partition, and the timers that are still to come."""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from chassis.loop import RawRecord
from chassis.settings import Settings
from chassis.store import Collection
from contracts.topics import Topic

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
        yield page
        last = page[-1]["_id"]


async def those(
    collection: Collection, field: str, values: Iterable[Any], projection: Mapping[str, int] | None = None
) -> list[dict[str, Any]]:
    """The documents whose field is one of these."""
    wanted = list(values)
    if not wanted:
        return []
    return await collection.find({field: {"$in": wanted}}, projection, batch_size=10_000).to_list(None)


def grouped(documents: Iterable[dict[str, Any]], field: str) -> dict[str, list[dict[str, Any]]]:
    """Documents by a field."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for document in documents:
        groups.setdefault(document[field], []).append(document)
    return groups


class Log:
    """One partition of a topic: whether it still has its beginning, and its records with their real time in milliseconds."""

    def __init__(self, topic: Topic, partition: int, whole: bool, records: AsyncIterator[list[tuple[RawRecord, int]]]) -> None:
        self.topic = topic
        self.partition = partition
        self.whole = whole
        self.records = records


async def records_of(settings: Settings, topics: Sequence[Topic]) -> AsyncIterator[Log]:
    """The partitions of these topics one after the other, as far as they exist and reach now."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.kafka_bootstrap,
        client_id="recourse-verify",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=4 * 1024 * 1024,
    )
    await consumer.start()
    try:
        existing = await consumer.topics()
        for topic in topics:
            if settings.prefixed(topic.name) not in existing:
                continue
            for number in range(topic.partitions):
                partition = TopicPartition(settings.prefixed(topic.name), number)
                begin = (await consumer.beginning_offsets([partition]))[partition]
                end = (await consumer.end_offsets([partition]))[partition]
                yield Log(topic, number, begin == 0, _until(consumer, partition, topic.name, begin, end))
    finally:
        await consumer.stop()


async def _until(
    consumer: AIOKafkaConsumer, partition: TopicPartition, topic: str, begin: int, end: int
) -> AsyncIterator[list[tuple[RawRecord, int]]]:
    if begin >= end:
        return
    consumer.assign([partition])
    consumer.seek(partition, begin)
    while await consumer.position(partition) < end:
        fetched = await consumer.getmany(timeout_ms=1_000, max_records=5_000)
        yield [
            (RawRecord(topic, record.partition, record.offset, record.key, record.value, record.headers), record.timestamp)
            for records in fetched.values()
            for record in records
        ]
