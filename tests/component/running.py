"""Services of a namespace of their own, run in the test's process on the session's broker and store."""

import asyncio
import dataclasses
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient

from chassis.barrier import publish_tick
from chassis.kafka import KafkaPublisher, ensure_topics, read_all, tail
from chassis.settings import Settings
from chassis.store import Database, connect
from contracts.base import Message
from contracts.envelope import Envelope, decode, encode
from contracts.platform import ClockTick
from contracts.topics import TOPICS, Topic
from deploy.local import Stack

Serve = Callable[[Settings, asyncio.Event], Awaitable[None]]


class Running:
    """A namespace with its topics. Its clock is the sandbox's and stands where `tick` put it."""

    def __init__(self, settings: Settings, publisher: KafkaPublisher, client: Any) -> None:
        self.settings = settings
        self.publisher = publisher
        self.client = client
        self._generation = 0
        self._services: dict[str, tuple[asyncio.Task[None], asyncio.Event]] = {}

    def database(self, service: str) -> Database:
        return self.client[self.settings.prefixed(service)]

    async def tick(self, now: datetime) -> None:
        self._generation += 1
        await publish_tick(self.publisher, ClockTick(generation=self._generation, now=now, round=0))

    def start(self, serve: Serve, instance: str, *, static: bool = False) -> None:
        """A `static` member of its group keeps its partitions for a while after it is gone; others give them back at once."""
        stop = asyncio.Event()
        settings = dataclasses.replace(self.settings, instance=instance if static else "")

        async def run() -> None:
            await serve(settings, stop)

        self._services[instance] = (asyncio.create_task(run(), name=instance), stop)

    async def stop(self, instance: str) -> None:
        """Raises what the service failed with."""
        task, stop = self._services.pop(instance)
        stop.set()
        await asyncio.wait_for(task, 30)

    async def stop_all(self) -> None:
        for instance in list(self._services):
            await self.stop(instance)

    async def send(self, topic: Topic, *envelopes: Envelope) -> None:
        await self.publisher.publish([(topic.name, encode(envelope)) for envelope in envelopes])

    async def all_of(self, topic: Topic) -> list[Envelope]:
        """What a topic holds now."""
        return [decode(raw.value, raw.headers) async for records in read_all(self.settings, topic) for raw in records]


class Reader:
    """What arrives on a topic from now on, to be waited for."""

    def __init__(self) -> None:
        self.envelopes: list[Envelope] = []
        self._arrived = asyncio.Event()

    async def follow(self, settings: Settings, topic: Topic, ready: asyncio.Event) -> None:
        async for records in tail(settings, topic, from_beginning=True):
            ready.set()
            self.envelopes += (decode(raw.value, raw.headers) for raw in records)
            self._arrived.set()

    async def until(self, done: Callable[[list[Envelope]], bool], timeout_s: float = 20.0) -> list[Envelope]:
        """All envelopes, once `done` says so of them. Raises TimeoutError."""
        async with asyncio.timeout(timeout_s):
            while not done(self.envelopes):
                self._arrived.clear()
                await self._arrived.wait()
        return self.envelopes

    async def answer_to(self, command_id: str) -> Envelope:
        """The first event that a command caused."""
        found = await self.until(lambda all_: any(one.command_id == command_id for one in all_))
        return next(one for one in found if one.command_id == command_id)


@asynccontextmanager
async def reading(running: Running, topic: Topic) -> AsyncIterator[Reader]:
    reader, ready = Reader(), asyncio.Event()
    task = asyncio.create_task(reader.follow(running.settings, topic, ready))
    try:
        await asyncio.wait_for(ready.wait(), 20)
        yield reader
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def own_namespace(stack: Stack) -> AsyncIterator[Running]:
    """A namespace of this test alone; its services are stopped at the end."""
    settings = Settings(
        kafka_bootstrap=stack.kafka_bootstrap,
        mongo_uri=stack.mongo_uri,
        kafka_idempotent=stack.broker.kind != "tansu",
        namespace=f"t{uuid.uuid4().hex[:8]}-",
        sandbox=True,
        secret="of-the-tests",
    )
    await ensure_topics(settings)
    publisher = KafkaPublisher(settings)
    await publisher.start()
    client = connect(settings)
    running = Running(settings, publisher, client)
    try:
        yield running
    finally:
        await running.stop_all()
        await publisher.stop()
        client.close()
        await _delete_topics(settings)


async def _delete_topics(settings: Settings) -> None:
    """Every partition takes of the broker's memory, and a session has thousands of them where nobody clears away."""
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka_bootstrap)
    await admin.start()
    try:
        await admin.delete_topics([settings.prefixed(topic.name) for topic in TOPICS])
    finally:
        await admin.close()


def envelope_of(message: Message, key: str, at: datetime, envelope_id: str | None = None, **more: Any) -> Envelope:
    """A message as somebody sends it."""
    return Envelope(
        id=envelope_id or str(uuid.uuid4()), source=more.pop("source", "gateway"), key=key, time=at, message=message, **more
    )
