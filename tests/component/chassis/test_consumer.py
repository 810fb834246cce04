"""The consumer on the real broker: offsets follow what is done, a moment later, and at once at the end; records gather."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from chassis.consumer import LoopConsumer
from chassis.handler import Inbound, Step
from chassis.loop import ProcessingLoop
from chassis.parking import MongoParking
from chassis.service import open_runtime
from chassis.store import Append, MongoStore
from contracts.ids import merchant_key
from contracts.topics import INTAKE_COMMANDS, INTAKE_EVENTS, READS, Topic
from deploy.local import Stack
from services.intake.app import serve
from tests.component.running import Running, envelope_of, own_namespace, reading
from tests.unit.intake.trading import PLACED, profile, put


async def committed(running: Running, admin: AIOKafkaAdminClient) -> int:
    """How many of the shop's commands intake says it has done: all on one partition, where it has by far the most."""
    topic = running.settings.prefixed(INTAKE_COMMANDS.name)
    partitions = [TopicPartition(topic, number) for number in range(INTAKE_COMMANDS.partitions)]
    offsets = await admin.list_consumer_group_offsets(running.settings.prefixed("intake"), partitions=partitions)
    return max(0, *(offset.offset for offset in offsets.values()))


async def test_offsets_are_committed_in_a_moment_and_at_the_end(stack: Stack) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=stack.kafka_bootstrap)
    await admin.start()
    try:
        async with own_namespace(stack) as running, reading(running, INTAKE_EVENTS) as events:
            await running.tick(PLACED)
            running.start(serve, "intake-1")
            for number in range(40):
                envelope = envelope_of(put(profile()), merchant_key("shop"), PLACED)
                await running.send(INTAKE_COMMANDS, envelope)
                await events.answer_to(envelope.id)
                if number == 19:
                    give_up = time.monotonic() + 10
                    while await committed(running, admin) < 20:
                        assert time.monotonic() < give_up
                        await asyncio.sleep(0.02)
            await running.stop("intake-1")
            assert await committed(running, admin) == 40
    finally:
        await admin.close()


class _Counting:
    """A handler that counts its records and does nothing."""

    service = "intake"
    topics: tuple[Topic, ...] = READS["intake"]
    gapless: frozenset[str] = frozenset()
    ignored: frozenset[str] = frozenset()

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.seen = 0

    def collection_of(self, key: str) -> None:
        return None

    def load(self, body: dict[str, Any] | None) -> None:
        return None

    def dump(self, state: None) -> dict[str, Any]:
        return {}

    async def prepare(self, batch: Sequence[Inbound]) -> None:
        self.batches.append(len(batch))

    def apply(self, state: None, inbound: Inbound, context: None) -> Step[None]:
        self.seen += 1
        return Step(None)

    def pack(self, appends: Sequence[Append], batch: Mapping[int, tuple[str, int]]) -> Sequence[Append]:
        return appends

    async def appended(self, appends: Sequence[Append]) -> None:
        """Nothing is appended."""

    async def assigned(self, partitions: frozenset[int]) -> None:
        """Nothing is kept."""

    def pending(self) -> Mapping[str, int]:
        return {}


async def _until(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < give_up
        await asyncio.sleep(0.01)


async def _at_once() -> None:
    """A take-over that nothing is to be done for."""


@asynccontextmanager
async def consuming(
    running: Running, gather_s: float = 0.0, prepared: Callable[[], Awaitable[None]] = _at_once
) -> AsyncIterator[tuple[_Counting, LoopConsumer]]:
    """A consumer of a namespace, which begins with what it owns when that is `prepared`."""
    async with open_runtime(running.settings, "intake") as runtime:
        await runtime.begin(asyncio.Event())
        handler = _Counting()
        parking = MongoParking(runtime.database)
        loop = ProcessingLoop(handler, MongoStore(runtime.database), runtime.publisher, parking)

        async def take_over(partitions: frozenset[int]) -> dict[str, str]:
            await prepared()
            return {}

        consumer = LoopConsumer(running.settings, loop, runtime.health, take_over=take_over, gather_s=gather_s)
        await consumer.start()
        try:
            yield handler, consumer
        finally:
            await consumer.stop()


@asynccontextmanager
async def counting(stack: Stack, gather_s: float = 0.0) -> AsyncIterator[tuple[Running, _Counting, LoopConsumer]]:
    async with own_namespace(stack) as running, consuming(running, gather_s) as (handler, consumer):
        yield running, handler, consumer


async def test_records_gather_until_somebody_is_in_a_hurry(stack: Stack) -> None:
    async with counting(stack, gather_s=3_600) as (running, handler, consumer):
        for number in range(5):
            await running.send(INTAKE_COMMANDS, envelope_of(put(profile()), merchant_key(f"shop-{number}"), PLACED))
            if number == 0:
                await _until(lambda: handler.seen == 1)
        await asyncio.sleep(0.5)  # time enough to take them, were it not for the gathering
        assert handler.batches == [1]  # one that comes alone is taken at once, those behind it wait for an hour
        consumer.hurry()
        await _until(lambda: handler.seen == 5)


@pytest.mark.rule("NX-08")
async def test_a_broker_that_was_away_is_not_waited_for_once_it_answers(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where no record comes by which to notice: a gateway that waits beats no more, and everybody's time counts as lost
    (NX-08). A client that reads nothing though there is something, as after some restarts of a broker, fails."""
    monkeypatch.setattr("chassis.consumer._WATCH_S", 0.01)
    monkeypatch.setattr("chassis.consumer._STUCK_S", 0.05)
    async with counting(stack) as (_, _, consumer):
        health = consumer._health
        await _until(lambda: health.started)
        ask, away, more = consumer._consumer.end_offsets, True, 0

        async def ends(partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
            if away:
                raise TimeoutError
            return {partition: end + more for partition, end in (await ask(partitions)).items()}

        monkeypatch.setattr(consumer._consumer, "end_offsets", ends)
        watching = asyncio.create_task(consumer.watch())
        try:
            await _until(lambda: bool(health.waiting_for))
            assert health.report() == (False, {**health.report()[1], "status": "waiting"})
            away = False
            await _until(lambda: health.report()[1]["status"] == "ok")
            away = True
            await _until(lambda: bool(health.waiting_for))
            away, more = False, 1
            await _until(consumer.failed.done)
            with pytest.raises(RuntimeError, match="none was read"):
                consumer.failed.result()
        finally:
            watching.cancel()


async def test_who_owns_nothing_answers_for_nothing(stack: Stack) -> None:
    """While partitions change hands the clock waits: what their next owner has still to do is not known to the one before."""
    async with counting(stack) as (running, handler, consumer):
        await running.send(INTAKE_COMMANDS, envelope_of(put(profile()), merchant_key("shop"), PLACED))
        await _until(lambda: sum(consumer.positions.values()) == 1)
        ownership = consumer._ownership
        assert ownership is not None
        assert consumer.owns(ownership)
        await consumer.on_partitions_revoked([])
        assert (handler.seen, consumer.positions) == (1, {})
        assert not consumer.owns(ownership)


async def test_who_joins_while_another_is_still_taking_over_ends_nobodys_reading(stack: Stack) -> None:
    """What the first had read by then waits for its taking over, which begins anew with fewer partitions."""
    async with own_namespace(stack) as running:
        for number in range(40):
            await running.send(INTAKE_COMMANDS, envelope_of(put(profile()), merchant_key(f"shop-{number}"), PLACED))
        prepared = asyncio.Event()

        async def in_time() -> None:
            await prepared.wait()

        async with consuming(running, prepared=in_time) as (_, first):
            read, poll = asyncio.Event(), first._subscriber.get_msg

            async def polled(consumer: Any) -> Any:
                records = await poll(consumer)
                if records:
                    read.set()
                return records

            first._subscriber.get_msg = polled  # type: ignore[method-assign]
            await asyncio.wait_for(read.wait(), 30)
            async with consuming(running) as (_, second):
                await _until(lambda: second._health.started)
                prepared.set()
                await _until(lambda: sum(first.positions.values()) + sum(second.positions.values()) == 40)
