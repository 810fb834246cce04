"""The consumer of a service: one group over all its topics, Range assignment, explicit commits, pauses instead of losses."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from itertools import chain
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import KafkaError
from faststream import AckPolicy
from faststream.kafka import KafkaBroker
from faststream.kafka.message import KafkaMessage

from chassis.failures import OWNERSHIP_LOST, back_off, retrying
from chassis.loop import Ownership, ProcessingLoop, RawRecord, new_epoch
from chassis.settings import Settings
from chassis.telemetry import Health

__all__ = ["LoopConsumer"]

log = logging.getLogger(__name__)
_broker_log = logging.getLogger("faststream.kafka")
_broker_log.setLevel(logging.WARNING)  # it has a line for every batch
_WATCH_S = 5.0
_STUCK_S = 60.0
_BATCH = 1_000
_POLL_MS = 1_000
_MOST_IN_HAND = 3
"""One batch is written and published, one is decided meanwhile, and one waits decoded."""
_COMMIT_S = 1.0
"""How long what is done waits to be committed: what a crash leaves uncommitted is read again and recognised by its marks."""
_ENDS, _COMMITS = "ends of topics", "commits"
"""What waits of a consumer beside its records, see `Health`."""
_HURRIED_S = 1.0
_PATIENCE_S = 15.0


class LoopConsumer(ConsumerRebalanceListener):
    """Feeds a processing loop from Kafka.

    What is done is committed a moment later, many batches at once: marks make it harmless to read them again. A rebalance waits
    for the batches in hand, so that their offsets are committed before somebody else begins. What the loop calls STOP ends
    `failed` with the error; the process is then restarted and begins from what is durable."""

    def __init__(
        self,
        settings: Settings,
        loop: ProcessingLoop[Any],
        health: Health,
        *,
        take_over: Callable[[frozenset[int]], Awaitable[dict[str, str]]],
        gather_s: float = 0.0,
    ) -> None:
        """`take_over` prepares the owned partitions before their first batch and gives the topics' incarnations. A batch begins
        `gather_s` seconds after the one before it at the earliest: one of one record costs as much as one of many."""
        self._settings = settings
        self._loop = loop
        self._health = health
        self._take_over = take_over
        self._gather_s = gather_s
        self._gathering_until = 0.0
        self._hurried_until = 0.0
        self._hurry = asyncio.Event()
        self._prefix = len(settings.namespace)
        self._in_hand: set[asyncio.Task[None]] = set()
        self._room = asyncio.Semaphore(_MOST_IN_HAND)
        self._assigned: frozenset[TopicPartition] = frozenset()
        self._ownership: Ownership | None = None
        self._owning: asyncio.Task[None] | None = None
        self.positions: dict[tuple[str, int], int] = {}
        """How far each partition is done that this process owns."""
        self._committed: dict[tuple[str, int], int] = {}
        self._committing: asyncio.Task[None] | None = None
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._broker = KafkaBroker(
            settings.kafka_bootstrap,
            apply_types=False,
            graceful_timeout=5.0,
            logger=_broker_log,
        )
        service = loop.handler.service
        self._subscriber = self._broker.subscriber(
            *(settings.prefixed(topic.name) for topic in loop.handler.topics),
            batch=True,
            group_id=settings.prefixed(service),
            group_instance_id=settings.instance or None,
            ack_policy=AckPolicy.MANUAL,
            auto_offset_reset="earliest",
            partition_assignment_strategy=(RangePartitionAssignor,),
            listener=self,
            max_poll_interval_ms=15 * 60 * 1000,
            session_timeout_ms=10_000,
            heartbeat_interval_ms=1_000,
            rebalance_timeout_ms=20_000,
            fetch_max_wait_ms=500,
            max_partition_fetch_bytes=2 * 1024 * 1024,
            parser=self._parse,
            decoder=_records,
            title=service,
            description=f"Everything {service} handles, in one group.",
        )
        self._subscriber(self._handle)
        self._subscriber.get_msg = self._poll

    @property
    def busy(self) -> bool:
        """Whether a batch is in hand or partitions are being taken over."""
        return bool(self._in_hand) or (self._owning is not None and not self._owning.done())

    def owns(self, ownership: Ownership) -> bool:
        """Whether what was owned then is owned still, without a change of hands in between."""
        return ownership is self._ownership

    @property
    def _consumer(self) -> AIOKafkaConsumer:
        consumer = self._subscriber.consumer
        if consumer is None:
            raise RuntimeError("the consumer was not started")
        return consumer

    async def start(self) -> None:
        """Join the group; batches come from now on. Raises KafkaError."""
        await self._broker.start()

    async def stop(self) -> None:
        """End the batches in hand and commit them, unless that takes long: who begins next does them again."""
        self._ownership = None
        if not self.failed.done():
            with suppress(TimeoutError):
                async with asyncio.timeout(_PATIENCE_S):
                    await self._settle()
        if left := {*self._in_hand, *([self._committing] if self._committing else [])}:
            for task in left:
                task.cancel()
            await asyncio.wait(left, timeout=1.0)
        await self._broker.stop()

    async def watch(self) -> None:
        """Compare with the broker now and then: aiokafka can stay alive and stop consuming after a broker's restart
        (aio-libs/aiokafka#1154); a consumer that does not move on then fails the process."""
        stuck_s = 0.0
        before: dict[tuple[str, int], int] = {}
        while True:
            await asyncio.sleep(_WATCH_S)
            if self._ownership is None or not self._assigned:
                continue
            try:
                ends = await asyncio.wait_for(self._consumer.end_offsets(list(self._assigned)), 10)
            except (KafkaError, TimeoutError) as error:
                self._health.waiting(error, _ENDS)
                continue
            self._health.arrived(_ENDS)
            lag = sum(max(0, end - self.positions.get(self._place(tp), 0)) for tp, end in ends.items())
            self._health.lagging(lag)
            moved = self.positions != before
            before = dict(self.positions)
            stuck_s = 0.0 if lag == 0 or moved or self._health.waiting_for or self._in_hand else stuck_s + _WATCH_S
            if stuck_s >= _STUCK_S:
                self._fail(RuntimeError(f"{lag} records to read and none was read for {_STUCK_S:.0f} s"))

    async def on_partitions_revoked(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, revoked: Sequence[TopicPartition]
    ) -> None:
        self._ownership = None  # nothing new is begun
        if self._owning is not None:
            self._owning.cancel()
        try:
            async with asyncio.timeout(_PATIENCE_S):
                await self._settle()
        except TimeoutError:
            log.warning("a batch did not end before its partitions were taken away; the new owner does it again")
        self._assigned = frozenset()
        # Who owns nothing answers for nothing: what the next owner has still to do, its errands too, is not known here.
        self.positions, self._committed = {}, {}

    async def _settle(self) -> None:
        """Wait for the batches in hand and commit what is done."""
        if self._in_hand:
            await asyncio.wait(self._in_hand)
        await self._commit()

    async def on_partitions_assigned(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, assigned: Sequence[TopicPartition]
    ) -> None:
        self._assigned = frozenset(assigned)
        self._owning = asyncio.create_task(self._own(self._assigned))

    def _place(self, partition: TopicPartition) -> tuple[str, int]:
        return partition.topic[self._prefix :], partition.partition

    async def _own(self, assigned: frozenset[TopicPartition]) -> None:
        """Find out where this process begins, then let the service take over. Retried until it succeeds."""
        attempt = 0
        while True:
            try:
                await self._begin(assigned)
                return
            except asyncio.CancelledError:
                raise
            except AssertionError as error:
                self._fail(error)
                return
            except Exception as error:
                attempt += 1
                log.warning("taking over partitions failed, trying again: %r", error)
                self._health.waiting(error)
                await asyncio.sleep(back_off(attempt))

    async def _begin(self, assigned: frozenset[TopicPartition]) -> None:
        self._assert_co_partitioned(assigned)
        consumer = self._consumer
        partitions = sorted(assigned)
        committed = await asyncio.gather(*(consumer.committed(partition) for partition in partitions))
        fresh = [partition for partition, offset in zip(partitions, committed, strict=True) if offset is None]
        beginnings = await consumer.beginning_offsets(fresh) if fresh else {}
        starts = {
            self._place(partition): beginnings[partition] if offset is None else offset
            for partition, offset in zip(partitions, committed, strict=True)
        }
        incarnations = await self._take_over(frozenset(partition.partition for partition in assigned))
        self.positions, self._committed = dict(starts), dict(starts)
        self._ownership = Ownership(new_epoch(self._settings.instance), starts, incarnations)
        self._health.started = True
        self._health.moved()
        log.info("%s owns partitions %s", self._loop.handler.service, sorted(self._ownership.partitions))

    def _assert_co_partitioned(self, assigned: frozenset[TopicPartition]) -> None:
        """Partition n of every topic must have one owner: the Range assignor's promise that keys and timers rest on."""
        of_topic: dict[str, set[int]] = {self._settings.prefixed(topic.name): set() for topic in self._loop.handler.topics}
        for partition in assigned:
            of_topic[partition.topic].add(partition.partition)
        if len({frozenset(partitions) for partitions in of_topic.values()}) > 1:
            raise AssertionError(
                f"the topics of {self._loop.handler.service} are not assigned alike: {of_topic}; use the Range assignor"
            )

    def hurry(self) -> None:
        """Somebody waits until all is done: gather nothing for a moment."""
        self._hurried_until = asyncio.get_running_loop().time() + _HURRIED_S
        self._hurry.set()

    async def _poll(self, consumer: AIOKafkaConsumer) -> tuple[Any, ...]:
        """Stands in for the subscriber's own, which sleeps after an empty poll: whatever came meanwhile would wait for it."""
        await self._gathered()
        fetched = await consumer.getmany(timeout_ms=_POLL_MS, max_records=_BATCH)
        if fetched:
            self._gathering_until = asyncio.get_running_loop().time() + self._gather_s
        return tuple(chain.from_iterable(fetched.values()))

    async def _gathered(self) -> None:
        """Return when the next batch may begin."""
        now = asyncio.get_running_loop().time()
        if now >= self._gathering_until or now < self._hurried_until:
            return
        self._hurry.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._gathering_until - now):
                await self._hurry.wait()

    async def _parse(self, records: tuple[Any, ...]) -> KafkaMessage:
        """A batch as it is, without the text of each record's headers, which nobody reads."""
        return KafkaMessage(records, b"", consumer=self._consumer)

    async def _handle(self, records: tuple[Any, ...]) -> None:
        """Take a batch in hand. Returns when there is room for another one."""
        assigned = self._assigned
        if self.failed.done():
            await asyncio.Event().wait()
        # It is cancelled where partitions change hands meanwhile, which must not end the reading.
        while self._owning is not None and not self._owning.done():
            await asyncio.wait([self._owning])
        await self._room.acquire()
        task = asyncio.create_task(self._process([self._raw(record) for record in records], assigned))
        self._in_hand.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._in_hand.discard(task)
        self._room.release()
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("the consumer stops", exc_info=error)
            self._fail(error)

    async def _process(self, batch: list[RawRecord], assigned: frozenset[TopicPartition]) -> None:
        ownership, positions = self._ownership, self.positions
        if ownership is None or assigned is not self._assigned:
            # Taken away while it was on its way: whoever owns it now reads it again, behind what came before it.
            return
        ends = {(raw.topic, raw.partition): raw.offset + 1 for raw in batch}
        if not await self._loop.process(batch, ownership):
            return
        positions.update(ends)
        self._health.moved()
        if self._committing is None or self._committing.done():
            self._committing = asyncio.create_task(self._commit_soon())

    async def _commit_soon(self) -> None:
        """Commit once for all that is done in a moment; again while more is."""
        try:
            while self.positions != self._committed:
                await asyncio.sleep(_COMMIT_S)
                if not await self._commit():
                    return
        except Exception as error:
            log.exception("the consumer stops")
            self._fail(error)

    async def _commit(self) -> bool:
        """Commit what is done. False: somebody else owns it now."""
        positions, committed = self.positions, self._committed
        due = {place: end for place, end in positions.items() if committed.get(place) != end}
        if not due:
            return True
        offsets = {TopicPartition(self._settings.prefixed(topic), number): end for (topic, number), end in due.items()}
        try:
            await retrying(lambda: self._consumer.commit(offsets), lambda error: self._health.waiting(error, _COMMITS))
        except OWNERSHIP_LOST as lost:
            log.info("offsets were not committed, the new owner does them again: %r", lost)
            return False
        finally:
            self._health.arrived(_COMMITS)
        committed.update(due)
        return True

    def _raw(self, record: Any) -> RawRecord:
        return RawRecord(
            record.topic[self._prefix :], record.partition, record.offset, record.key, record.value, record.headers
        )

    def _fail(self, error: BaseException) -> None:
        self._health.stopped_because = f"{type(error).__name__}: {error}"[:500]
        if not self.failed.done():
            self.failed.set_exception(error)


async def _records(message: KafkaMessage) -> Any:
    """The decoder of the subscriber: the loop decodes each record itself, so that a poison one spoils no other. The message
    keeps what this returns: were it the message, every batch would be a cycle, in memory until a collector comes by."""
    return message.raw_message
