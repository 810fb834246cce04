"""Kafka: topics as the contracts list them, a publisher that keeps order, readers without a group."""

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import TopicAlreadyExistsError, for_code
from aiokafka.partitioner import DefaultPartitioner
from aiokafka.producer.message_accumulator import BatchBuilder

from chassis.loop import RawRecord
from chassis.settings import Settings, SettingsError
from chassis.store import Database, connect
from contracts.envelope import Record
from contracts.topics import TOPICS, Topic

__all__ = ["KafkaPublisher", "assert_c_extension", "ensure_topics", "incarnations", "read_all", "tail"]

log = logging.getLogger(__name__)
_LARGEST_RECORD = 4 * 1024 * 1024
"""Bytes. A request's body is 1 MiB at most, and an event has little more than the order, its facts and one report."""
_LINGER_MS = 2
_DELIVERY_MS = 300_000
"""How long a record may wait for the broker. Long, because a record given up while a later one of its key went out would be a
gap; past it the process stops and begins again from what is durable."""
_PARTITIONER = DefaultPartitioner()
_LAYOUT = 4
"""How documents are laid out (ADR 39 is what changed last): another version's are not read, and not guessed at."""


def assert_c_extension() -> None:
    """Refuse to run on aiokafka's slow pure Python path. Raises RuntimeError."""
    from aiokafka.record import default_records  # noqa: PLC0415 - asked once, to look at what was chosen

    if default_records.DefaultRecordBatchBuilder.__module__ != "aiokafka.record._crecords.default_records":
        raise RuntimeError("aiokafka runs without its C extension; install a wheel for this platform")


def _platform(settings: Settings, client: object) -> Database:
    return client[settings.prefixed("platform")]  # type: ignore[index]


async def ensure_topics(settings: Settings) -> None:
    """Create the topics that are missing, as the contracts list them, and name each new one's incarnation in the store.

    Raises SettingsError where an existing topic has another number of partitions, and where the store has the documents of a
    version that laid them out differently."""
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka_bootstrap)
    client = connect(settings)
    await admin.start()
    try:
        platform = _platform(settings, client)
        await _require_layout(platform)
        for topic in TOPICS:
            response = await admin.create_topics([_new_topic(settings, topic)])
            for _, code, *rest in response.topic_errors:  # type: ignore[attr-defined]
                if code == TopicAlreadyExistsError.errno:
                    continue
                if code:
                    raise for_code(code)(f"topic {settings.prefixed(topic.name)}: {rest}")
                await platform["incarnations"].replace_one(
                    {"_id": topic.name}, {"_id": topic.name, "incarnation": uuid.uuid4().hex[:12]}, upsert=True
                )
        described = await admin.describe_topics([settings.prefixed(topic.name) for topic in TOPICS])
        partitions = {one["topic"]: len(one["partitions"]) for one in described}
        for topic in TOPICS:
            # 0: created a moment ago, the broker that was asked does not know it yet.
            if partitions.get(settings.prefixed(topic.name)) not in (topic.partitions, 0, None):
                raise SettingsError(
                    f"topic {settings.prefixed(topic.name)} has another number of partitions than {topic.partitions}: "
                    "keys and timers are bound to it; use another namespace or move the data"
                )
    finally:
        await admin.close()
        client.close()


async def _require_layout(platform: Database) -> None:
    """Note the layout in a store that nobody has used yet. Raises SettingsError for one that was used with another."""
    was_used = await platform["incarnations"].find_one({}) is not None
    noted = await platform["layout"].find_one({"_id": "documents"})
    if noted is None and not was_used:
        await platform["layout"].replace_one({"_id": "documents"}, {"_id": "documents", "number": _LAYOUT}, upsert=True)
    elif noted is None or noted["number"] != _LAYOUT:
        raise SettingsError(
            "the data in the store was written by a version that lays it out differently, and this one cannot read it; "
            "take another --data folder or namespace, or go on with that version"
        )


def _new_topic(settings: Settings, topic: Topic) -> NewTopic:
    configs = {
        "cleanup.policy": "compact" if topic.compacted else "delete",
        # Whatever the producer may send fits: an order of a thousand long lines is more than a broker's own default.
        "max.message.bytes": str(_LARGEST_RECORD),
    }
    if topic.retention_ms >= 0:
        configs["retention.ms"] = str(topic.retention_ms)
    # -1: the broker's default; without the empty assignments aiokafka refuses it.
    return NewTopic(settings.prefixed(topic.name), topic.partitions, -1, replica_assignments={}, topic_configs=configs)


async def incarnations(settings: Settings, client: object, topics: Sequence[Topic]) -> dict[str, str]:
    """Which incarnation of each topic the broker holds."""
    found = await _platform(settings, client)["incarnations"].find().to_list(None)
    known = {document["_id"]: document["incarnation"] for document in found}
    return {topic.name: known.get(topic.name, "") for topic in topics}


class KafkaPublisher:
    """Publishes in order per key: records are handed over one after the other and confirmed together."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._producer: AIOKafkaProducer | None = None

    async def start(self) -> None:
        """Connect. Raises KafkaError where no broker answers; it can be tried again then."""
        producer = AIOKafkaProducer(
            bootstrap_servers=self._settings.kafka_bootstrap,
            client_id=self._settings.instance or "recourse",
            acks="all",
            enable_idempotence=self._settings.kafka_idempotent,
            linger_ms=_LINGER_MS,
            max_batch_size=256 * 1024,
            max_request_size=_LARGEST_RECORD,
            request_timeout_ms=_DELIVERY_MS,
            retry_backoff_ms=50,
        )
        try:
            await producer.start()
        except BaseException:
            await producer.stop()
            raise
        self._producer = producer

    async def stop(self) -> None:
        """Send what was handed over and disconnect."""
        if self._producer is not None:
            await self._producer.stop()

    async def publish(self, records: Sequence[tuple[str, Record]]) -> None:
        """Return when the broker has confirmed all of them. Raises KafkaTimeoutError when it does not for minutes.

        Many are handed over as ready batches, one confirmation each: by single records their futures would cost more than they.
        One alone may share its batch with what others publish at the same time."""
        producer = self._producer
        if producer is None:
            raise RuntimeError("the publisher was not started")
        if len(records) == 1:
            ((topic, record),) = records
            name, headers = self._settings.prefixed(topic), list(record.headers)
            await producer.send_and_wait(name, record.value, record.key or None, record.partition, headers=headers)
            return
        by_place: dict[tuple[str, int], list[Record]] = {}
        for topic, record in records:
            name, partition = self._settings.prefixed(topic), record.partition
            if partition is None:
                partition = _partition_of(record.key, sorted(await producer.partitions_for(name)))
            by_place.setdefault((name, partition), []).append(record)
        confirmations = [
            await producer.send_batch(batch, name, partition=partition)
            for (name, partition), placed in by_place.items()
            for batch in _batches(producer, placed)
        ]
        await asyncio.gather(*confirmations)


def _partition_of(key: bytes, partitions: list[int]) -> int:
    """Where a key belongs, as every producer finds it."""
    return partitions[0] if len(partitions) == 1 else _PARTITIONER(key or None, partitions, partitions)


def _batches(producer: AIOKafkaProducer, records: Sequence[Record]) -> Iterator[BatchBuilder]:
    """The records of one partition, in order, in as few batches as they fit in."""
    batch = producer.create_batch()
    for record in records:
        key, headers = record.key or None, list(record.headers)
        if batch.append(key=key, value=record.value, headers=headers, timestamp=None) is None:
            yield batch
            batch = producer.create_batch()
            batch.append(key=key, value=record.value, headers=headers, timestamp=None)
    batch.close()
    yield batch


async def tail(
    settings: Settings, topic: Topic, *, from_beginning: bool, with_last: bool = False
) -> AsyncIterator[list[RawRecord]]:
    """Every record of a topic from now on (or from its beginning), without a consumer group: each process reads all of it.
    `with_last`: from the last one of each partition on."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.kafka_bootstrap,
        client_id=settings.instance or "recourse",
        enable_auto_commit=False,
        auto_offset_reset="earliest" if from_beginning else "latest",
        fetch_max_wait_ms=500,
        metadata_max_age_ms=30_000,
    )
    name = settings.prefixed(topic.name)
    consumer.assign([TopicPartition(name, partition) for partition in range(topic.partitions)])
    await consumer.start()
    try:
        if not from_beginning:
            await consumer.seek_to_end()
            for partition in consumer.assignment():
                end = await consumer.position(partition)
                if with_last and end:
                    consumer.seek(partition, end - 1)
        yield []
        while True:
            fetched = await consumer.getmany(timeout_ms=1_000, max_records=2_000)
            records = [_raw(topic.name, record) for partition in fetched.values() for record in partition]
            if records:
                yield records
    finally:
        await consumer.stop()


async def read_all(settings: Settings, topic: Topic) -> AsyncIterator[list[RawRecord]]:
    """What a topic holds now, from its beginning to its end, then return."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.kafka_bootstrap, enable_auto_commit=False, auto_offset_reset="earliest"
    )
    partitions = [TopicPartition(settings.prefixed(topic.name), partition) for partition in range(topic.partitions)]
    consumer.assign(partitions)
    await consumer.start()
    try:
        ends = await consumer.end_offsets(partitions)
        while any([await consumer.position(partition) < ends[partition] for partition in partitions]):
            fetched = await consumer.getmany(timeout_ms=1_000, max_records=2_000)
            yield [_raw(topic.name, record) for records in fetched.values() for record in records]
    finally:
        await consumer.stop()


def _raw(topic: str, record: object) -> RawRecord:
    return RawRecord(topic, record.partition, record.offset, record.key, record.value, record.headers)  # type: ignore[attr-defined]
