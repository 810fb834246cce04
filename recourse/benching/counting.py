"""Counts what a service asks of the broker and the store per 1,000 orders: counts do not depend on how fast a machine is, so
tests can pin them."""

import asyncio
import contextlib
import dataclasses
import re
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.conn import AIOKafkaConnection

from chassis.kafka import KafkaPublisher, ensure_topics
from chassis.settings import Settings
from contracts.actors import Actor
from contracts.envelope import Envelope, Record, encode
from contracts.ids import derived, merchant_key, order_id_of
from contracts.orders import MerchantProfile, OrderContent, PutMerchant, RegisterOrder
from contracts.topics import INTAKE_COMMANDS, INTAKE_EVENTS, PARTITIONS
from deploy.local.ports import free_port
from services.intake.app import serve
from simulator.generator import generate
from simulator.orders import PlayedOrder

__all__ = [
    "Statements",
    "commands_for",
    "count_intake",
    "create_topics",
    "events_written",
    "kafka_requests",
    "merchants_for",
    "publish_all",
    "records_read",
    "store_commands",
]

PATIENCE_S = 120.0
_OFTEN_S, _SELDOM_S = 0.005, 0.05
"""Between two looks at how far a topic is."""
_STORE_COMMANDS = re.compile(r"^recourse_store_(?P<name>\w+?)_commands(?:_total)? (?P<count>[\d.e+]+)$", re.M)
_RECORDS = re.compile(r"^recourse_records(?:_total)? (?P<count>[\d.e+]+)$", re.M)
_BY_ORDERS = ("Fetch", "Produce", "OffsetCommit")
"""Requests that orders cause; the others are caused by time, by the group and by the start of a client."""


@dataclass(frozen=True, slots=True)
class Statements:
    """What 1,000 orders cost in statements, by name."""

    mongo: dict[str, float]
    kafka: dict[str, float]

    @property
    def mongo_commands(self) -> float:
        """Commands to the store, of all kinds, per 1,000 orders."""
        return round(sum(self.mongo.values()), 1)

    @property
    def kafka_requests(self) -> float:
        """Requests to the broker, of all kinds, per 1,000 orders."""
        return round(sum(self.kafka.values()), 1)


def merchants_for(orders: Sequence[PlayedOrder]) -> list[tuple[str, Record]]:
    """The commands that put the merchants of these orders."""
    actor = Actor(role="platform", id="bench")
    merchants = {order.merchant.merchant_id: order.merchant for order in orders}
    certified_at = min(order.placed_at for order in orders)
    return [
        _record(
            merchant_key(merchant_id),
            PutMerchant(
                merchant_id=merchant_id,
                profile=MerchantProfile.model_validate(merchant.profile(certified_at if merchant.protected else None)),
                actor=actor,
            ),
        )
        for merchant_id, merchant in merchants.items()
    ]


def commands_for(orders: Sequence[PlayedOrder]) -> list[tuple[str, Record]]:
    """The commands that register these orders, as the gateway publishes them."""
    actor = Actor(role="partner", id="bench")
    return [
        _record(
            order_id_of(order.merchant.merchant_id, order.order_number),
            RegisterOrder(content=OrderContent.model_validate(order.body()), actor=actor),
        )
        for order in orders
    ]


def _record(key: str, message: Any) -> tuple[str, Record]:
    now = datetime.now(UTC)
    envelope = Envelope(id=derived("bench", key), source="gateway", key=key, time=now, message=message)
    return INTAKE_COMMANDS.name, encode(envelope)


async def create_topics(settings: Settings, *names: str) -> None:
    """Topics of a bench's own, as wide as the product's."""
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka_bootstrap)
    await admin.start()
    try:
        # -1: the broker's default; without the empty assignments aiokafka refuses it.
        await admin.create_topics([NewTopic(settings.prefixed(name), PARTITIONS, -1, replica_assignments={}) for name in names])
    finally:
        await admin.close()


async def publish_all(settings: Settings, records: Sequence[tuple[str, Record]]) -> None:
    """Publish and wait for the confirmations."""
    publisher = KafkaPublisher(settings)
    await publisher.start()
    try:
        await publisher.publish(records)
    finally:
        await publisher.stop()


@contextlib.asynccontextmanager
async def events_written(settings: Settings, topic: str, partitions: int) -> AsyncIterator["Events"]:
    """A look at how many records a topic has."""
    consumer = AIOKafkaConsumer(bootstrap_servers=settings.kafka_bootstrap, enable_auto_commit=False, client_id="bench")
    await consumer.start()
    try:
        yield Events(consumer, [TopicPartition(settings.prefixed(topic), number) for number in range(partitions)])
    finally:
        await consumer.stop()


@dataclass(frozen=True, slots=True)
class Events:
    """The records of a topic, counted by its end offsets."""

    consumer: AIOKafkaConsumer
    partitions: list[TopicPartition]

    async def count(self) -> int:
        """Records on all partitions by now."""
        ends = await self.consumer.end_offsets(self.partitions)
        return sum(ends.values())

    async def reach(self, wanted: int) -> None:
        """Return when there are `wanted` records. Raises TimeoutError with the count after two minutes.

        Each look takes the broker's time from what is measured, so the next one comes when, at the pace so far, half of the
        rest is done: the end is met within milliseconds by a dozen looks."""
        loop = asyncio.get_running_loop()
        began, before = loop.time(), await self.count()
        count = before
        while count < wanted:
            passed = loop.time() - began
            if passed > PATIENCE_S:
                raise TimeoutError(f"{count} of {wanted} records after {PATIENCE_S:.0f} s")
            pause = _SELDOM_S if count == before else passed * (wanted - count) / (count - before) / 2
            await asyncio.sleep(min(max(pause, _OFTEN_S), _SELDOM_S))
            count = await self.count()


async def store_commands(metrics_url: str) -> dict[str, float]:
    """The commands that a service has sent to the store so far, by name, from its `/metrics`."""
    text = await asyncio.to_thread(_read, metrics_url)
    return {match["name"]: float(match["count"]) for match in _STORE_COMMANDS.finditer(text)}


async def records_read(metrics_url: str) -> int:
    """How many records a service's loop has read so far, from its `/metrics`."""
    match = _RECORDS.search(await asyncio.to_thread(_read, metrics_url))
    return 0 if match is None else int(float(match["count"]))


def _read(url: str) -> str:
    with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - our own http address
        return answer.read().decode()


@contextlib.contextmanager
def kafka_requests() -> Iterator[Counter[str]]:
    """Count what this process sends to the broker, but for the bench's own clients."""
    counts: Counter[str] = Counter()
    send = AIOKafkaConnection.send

    def counted(self: AIOKafkaConnection, request: Any, expect_response: bool = True) -> Any:
        name = type(request).__name__.split("Request")[0]
        if self._client_id != "bench" and name in _BY_ORDERS:
            counts[name] += 1
        return send(self, request, expect_response=expect_response)

    AIOKafkaConnection.send = counted
    try:
        yield counts
    finally:
        AIOKafkaConnection.send = send


async def count_intake(settings: Settings, orders: int = 2_000, seed: int = 1) -> Statements:
    """Run intake in this process over `orders` waiting commands and count its statements, per 1,000 orders.

    `settings` names a namespace of its own. Raises TimeoutError where the orders do not come through."""
    own = dataclasses.replace(settings, instance="intake-1", sandbox=False)
    bench = dataclasses.replace(settings, instance="bench")
    await ensure_topics(settings)
    batch = generate(orders, seed).orders
    merchants = merchants_for(batch)
    stop = asyncio.Event()
    with kafka_requests() as kafka:
        async with events_written(bench, INTAKE_EVENTS.name, INTAKE_EVENTS.partitions) as events:
            await publish_all(bench, merchants)
            service = asyncio.create_task(serve(own, stop))
            await _reach(events, len(merchants), service)
            stop.set()
            await service
            # All wait when it starts again: batches are then as large as under load.
            await publish_all(bench, commands_for(batch))
            stop.clear()
            kafka.clear()
            again = dataclasses.replace(own, health_port=free_port())
            service = asyncio.create_task(serve(again, stop))
            await _reach(events, len(merchants) + len(batch), service)
            mongo = await store_commands(f"http://127.0.0.1:{again.health_port}/metrics")
            stop.set()
            await service
    factor = 1_000 / orders
    return Statements(
        mongo={name: round(count * factor, 1) for name, count in sorted(mongo.items())},
        kafka={name: round(count * factor, 1) for name, count in sorted(kafka.items())},
    )


async def _reach(events: Events, wanted: int, service: "asyncio.Task[None]") -> None:
    """Wait for the events, or for the failure of the service that makes them."""
    reached = asyncio.create_task(events.reach(wanted))
    await asyncio.wait([reached, service], return_when=asyncio.FIRST_COMPLETED)
    if service.done():
        reached.cancel()
        service.result()
        raise RuntimeError("the service ended by itself")
    await reached
