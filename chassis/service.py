"""A service's process: store, publisher, clock, loop, health and background work, started and stopped together."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

from chassis.barrier import follow_clock, follow_platform
from chassis.clock import Clock, RealClock, SandboxClock
from chassis.consumer import LoopConsumer
from chassis.failures import retrying
from chassis.handler import Handler
from chassis.kafka import KafkaPublisher, assert_c_extension, incarnations
from chassis.loop import PARKED, ProcessingLoop
from chassis.parking import MongoParking
from chassis.settings import Settings
from chassis.store import CommandCounter, Database, MongoStore, connect
from chassis.telemetry import Health, MetricsSource, serve_telemetry
from contracts.base import Message

__all__ = ["Runtime", "beside", "open_runtime"]

log = logging.getLogger(__name__)
_CANCEL_AGAIN_S = 1.0
_CLIENT_LOG = "aiokafka"
"""Has an error for every try to reach a broker that is away."""


@dataclass(slots=True)
class Runtime:
    """What a service's wiring is given."""

    service: str
    settings: Settings
    client: Any
    database: Database
    publisher: KafkaPublisher
    clock: Clock
    health: Health
    commands: CommandCounter
    metrics: list[MetricsSource] = field(default_factory=list)
    hearers: list[Callable[[Message], None]] = field(default_factory=list)
    """Who is given what the platform tells every process: at least the last word and all that come."""

    async def begin(self, stop: asyncio.Event, *steps: Callable[[], Awaitable[None]]) -> bool:
        """Take the first steps: serve health and metrics, prepare the store (`steps` are the service's own, its indexes), and
        reach the broker. Where one of the two is away the process waits for it, says so once in its log, and by its health for
        as long. False where `stop` is set before it is there. What a service reads of its settings it reads before: a wrong one
        is told at once."""
        port = serve_telemetry(self.health, self.metrics, self.settings.health_port)
        log.info("%s: health and metrics on port %d", self.service, port)

        async def prepare() -> None:
            await self.database[PARKED].create_index([("key", 1), ("order", 1)])
            for step in steps:
                await step()

        return await self._reached("store", prepare, stop) and await self._reached("broker", self.publisher.start, stop)

    async def _reached(self, what: str, operation: Callable[[], Awaitable[None]], stop: asyncio.Event) -> bool:
        first_steps = f"first steps at the {what}"
        away = asyncio.Event()

        def waiting(error: BaseException) -> None:
            self.health.waiting(error, first_steps)
            if not away.is_set():
                log.warning("%s waits for the %s, which is away: %.200r", self.service, what, error)
            away.set()

        async def stopped() -> None:
            await away.wait()
            await stop.wait()

        trying = asyncio.create_task(retrying(operation, waiting))
        ending = asyncio.create_task(stopped())
        with _unheard(_CLIENT_LOG):
            try:
                await asyncio.wait([trying, ending], return_when=asyncio.FIRST_COMPLETED)
                if not trying.done():
                    return False
            finally:
                await _end_all([trying, ending])
        trying.result()
        self.health.arrived(first_steps)
        if away.is_set():
            log.warning("%s goes on: the %s is there", self.service, what)
        return True

    async def run(
        self,
        handler: Handler[Any],
        stop: asyncio.Event,
        *,
        background: Sequence[Callable[[], Awaitable[None]]] = (),
        gather_s: float = 0.0,
    ) -> None:
        """Run the loop and the background work until `stop` is set, once the service has begun. Raises the first failure of
        either. Nobody waits for what a service with `gather_s` does, so that it lets records gather for so many seconds.

        Background work starts when the sandbox's clock has its first tick, or at once on the real clock."""
        parking = MongoParking(self.database)
        loop = ProcessingLoop(
            handler,
            MongoStore(self.database),
            self.publisher,
            parking,
            still_owner=lambda ownership: consumer.owns(ownership),
            waiting=self.health.waiting,
        )

        async def take_over(partitions: frozenset[int]) -> dict[str, str]:
            await parking.refresh()
            await handler.assigned(partitions)
            return await incarnations(self.settings, self.client, handler.topics)

        consumer = LoopConsumer(self.settings, loop, self.health, take_over=take_over, gather_s=gather_s)
        self.metrics.append(lambda: _loop_metrics(loop, parking, self.health, self.commands))

        tasks = [asyncio.create_task(_until(stop), name="stop")]
        try:
            if isinstance(self.clock, SandboxClock):
                following = self._following(self.clock, handler, consumer, parking)
                tasks.append(asyncio.create_task(following, name="clock"))
                first_tick = asyncio.create_task(self.clock.started(), name="first tick")
                await asyncio.wait([first_tick, *tasks], return_when=asyncio.FIRST_COMPLETED)
                if not first_tick.done():
                    first_tick.cancel()
                    return
            elif self.hearers:
                tasks.append(asyncio.create_task(follow_platform(self.settings, self._heard), name="platform"))
            await consumer.start()
            tasks += [asyncio.create_task(_run(work), name=getattr(work, "__name__", "work")) for work in background]
            tasks.append(asyncio.create_task(consumer.watch(), name="watch"))
            await asyncio.wait([consumer.failed, *tasks], return_when=asyncio.FIRST_COMPLETED)
            if consumer.failed.done():
                consumer.failed.result()
        finally:
            ended = await _end_all(tasks)
            await consumer.stop()
        for result in ended:
            if isinstance(result, Exception):
                raise result

    def _following(
        self, clock: SandboxClock, handler: Handler[Any], consumer: LoopConsumer, parking: MongoParking
    ) -> Coroutine[Any, Any, None]:
        return follow_clock(
            self.settings,
            self.service,
            clock,
            self.publisher,
            heard=self._heard,
            idle=lambda: not consumer.busy,
            positions=lambda: consumer.positions,
            pending=handler.pending,
            parked=lambda: parking.count,
            hurry=consumer.hurry,
        )

    def _heard(self, message: Message) -> None:
        for hearer in self.hearers:
            hearer(message)


@asynccontextmanager
async def open_runtime(settings: Settings, service: str) -> AsyncIterator[Runtime]:
    """What a service needs, connected when it begins, and closed again. Raises SettingsError where the store's address cannot
    be read."""
    assert_c_extension()
    commands = CommandCounter()
    client = connect(settings, commands)
    publisher = KafkaPublisher(settings)
    clock = SandboxClock() if settings.sandbox else RealClock()
    try:
        yield Runtime(
            service=service,
            settings=settings,
            client=client,
            database=client[settings.prefixed(service)],
            publisher=publisher,
            clock=clock,
            health=Health(),
            commands=commands,
        )
    finally:
        await publisher.stop()
        client.close()


@contextmanager
def _unheard(name: str) -> Iterator[None]:
    """A logger says nothing meanwhile: what it has to say is said already, and would be again with every try."""

    def nothing(_: logging.LogRecord) -> bool:
        return False

    logger = logging.getLogger(name)
    logger.addFilter(nothing)
    try:
        yield
    finally:
        logger.removeFilter(nothing)


async def beside(*works: Callable[[], Awaitable[None]]) -> None:
    """Run works beside each other until one ends or this is cancelled. Raises the failure of the one that ended."""
    tasks = [asyncio.create_task(_run(work), name=getattr(work, "__name__", "work")) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        await _end_all(tasks)


async def _end_all(tasks: Sequence[asyncio.Task[None]]) -> list[BaseException | None]:
    """Cancel tasks until each has ended, even while being cancelled; what each failed with.

    Once is not enough: before Python 3.12 `asyncio.wait_for` (libraries use it) loses a cancellation that comes together with
    what it waited for."""
    cancelled = False
    while running := {task for task in tasks if not task.done()}:
        for task in running:
            task.cancel()
        try:
            await asyncio.wait(running, timeout=_CANCEL_AGAIN_S)
        except asyncio.CancelledError:
            cancelled = True
    if cancelled:
        raise asyncio.CancelledError
    return [None if task.cancelled() else task.exception() for task in tasks]


async def _until(stop: asyncio.Event) -> None:
    await stop.wait()


async def _run(work: Callable[[], Awaitable[None]]) -> None:
    await work()


def _loop_metrics(
    loop: ProcessingLoop[Any], parking: MongoParking, health: Health, commands: CommandCounter
) -> Iterable[tuple[str, str, str, float]]:
    counted = loop.counters
    yield "batches", "counter", "Batches processed", counted.batches
    yield "records", "counter", "Records read", counted.records
    yield "steps", "counter", "Records applied", counted.steps
    yield "duplicates", "counter", "Records skipped because they were applied before", counted.duplicates
    yield "writes", "counter", "Documents written", counted.writes
    yield "guards_lost", "counter", "Writes that another owner had overtaken", counted.guards_lost
    yield "appends", "counter", "Documents appended", counted.appends
    yield "published", "counter", "Records published", counted.published
    yield "republished", "counter", "Remembered records published again", counted.republished
    yield "dead_letters", "counter", "Unreadable records", counted.dead_letters
    yield "parked_records", "counter", "Records parked", counted.parked
    yield "parked_keys", "gauge", "Keys that wait for an operator", parking.count
    yield "lag", "gauge", "Records to read", health.lag
    for name, count in sorted(commands.counts.items()):
        yield f"store_{name.lower()}_commands", "counter", f"{name} commands sent to the store", count
