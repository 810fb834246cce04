"""The barrier of the sandbox's clock: time has been moved when everything that it caused is done.

The gateway asks in rounds; every process answers a round, once idle, with how far it is done. All is done when every
partition of every service stands at the end that its topic had before the round, and the ends have not moved since."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, TopicPartition

from chassis.clock import SandboxClock
from chassis.failures import retrying
from chassis.kafka import KafkaPublisher, tail
from chassis.loop import RawRecord
from chassis.settings import Settings
from contracts.base import Message
from contracts.envelope import Envelope, Unreadable, decode, encode
from contracts.ids import derived
from contracts.platform import ClockTick, PartitionPosition, Progress
from contracts.topics import PLATFORM_CLOCK, PLATFORM_PROGRESS, READS

__all__ = ["Barrier", "BarrierResult", "follow_clock", "follow_platform", "publish_tick"]

_IDLE_WAIT_S = 0.25
_ROUND_WAIT_S = 1.0
CLOCK_KEY = "clock"


async def publish_tick(publisher: KafkaPublisher, tick: ClockTick) -> None:
    """Tell every process the time and the round."""
    envelope = Envelope(
        id=derived("tick", str(tick.generation), str(tick.round)),
        source="gateway",
        key=CLOCK_KEY,
        time=tick.now,
        message=tick,
    )
    await publisher.publish([(PLATFORM_CLOCK.name, encode(envelope))])


async def follow_platform(settings: Settings, heard: Callable[[Message], None]) -> None:
    """Hear what every process is told outside of a sandbox: the last word and all that come. Runs until cancelled."""
    async for records in tail(settings, PLATFORM_CLOCK, from_beginning=False, with_last=True):
        for message in _readable(records):
            heard(message)


def _readable(records: Sequence[RawRecord]) -> list[Message]:
    """What another version tells its own processes is no business of this one."""
    messages: list[Message] = []
    for raw in records:
        with suppress(Unreadable):
            messages.append(decode(raw.value, raw.headers).message)
    return messages


async def follow_clock(
    settings: Settings,
    service: str,
    clock: SandboxClock,
    publisher: KafkaPublisher,
    *,
    heard: Callable[[Message], None],
    idle: Callable[[], bool],
    positions: Callable[[], Mapping[tuple[str, int], int]],
    pending: Callable[[], Mapping[str, int]],
    parked: Callable[[], int],
    hurry: Callable[[], None],
) -> None:
    """Keep this process' clock, hear what comes with it before it moves on, and answer each round of the barrier. Runs until
    cancelled."""
    answered = (0, 0)
    replaying = True
    async for records in tail(settings, PLATFORM_CLOCK, from_beginning=True):
        messages = _readable(records)
        for message in messages:
            heard(message)
        ticks = [message for message in messages if isinstance(message, ClockTick)]
        for tick in ticks:
            clock.tick(tick)
        if not ticks:
            continue
        last = ticks[-1]
        if (last.generation, last.round) <= answered or last.generation < clock.generation:
            continue
        answered = (last.generation, last.round)
        if last.round == 0 and replaying:
            continue
        replaying = False
        hurry()
        waited_s = 0.0
        while not (idle() and not any(pending().values())) and waited_s < _IDLE_WAIT_S:
            await asyncio.sleep(0.004)
            waited_s += 0.004
        answer = Progress(
            service=service,
            instance=settings.instance or service,
            generation=clock.generation,
            round=last.round,
            positions=tuple(
                PartitionPosition(topic=topic, partition=number, position=position)
                for (topic, number), position in positions().items()
            ),
            pending=dict(pending()),
            parked=parked(),
        )
        envelope = Envelope(
            id=derived("progress", answer.instance, str(answer.generation), str(answer.round)),
            source=service,
            key=answer.instance,
            time=clock.now(),
            message=answer,
        )
        await publisher.publish([(PLATFORM_PROGRESS.name, encode(envelope))])


@dataclass(frozen=True, slots=True)
class BarrierResult:
    """`blocked_by` says, for people, what was not done in time; `parked` counts keys that wait for an operator."""

    ready: bool
    blocked_by: tuple[str, ...]
    parked: int


class Barrier:
    """The asking side, in the gateway process that moves the clock. `listen` runs in the background."""

    def __init__(self, settings: Settings, publisher: KafkaPublisher) -> None:
        self._settings = settings
        self._publisher = publisher
        self._answers: dict[str, Progress] = {}
        self._answered = asyncio.Event()
        self._consumer: AIOKafkaConsumer | None = None
        self._partitions = [
            TopicPartition(settings.prefixed(topic.name), number)
            for topic in {topic for topics in READS.values() for topic in topics}
            for number in range(topic.partitions)
        ]

    async def listen(self) -> None:
        """Collect the answers of all processes. Runs until cancelled."""
        async for records in tail(self._settings, PLATFORM_PROGRESS, from_beginning=False):
            for raw in records:
                try:
                    message = decode(raw.value, raw.headers).message
                except Unreadable:
                    continue
                if isinstance(message, Progress):
                    self._answers[message.instance] = message
            self._answered.set()

    async def stop(self) -> None:
        """Let go of the connection that the topics' ends are asked by."""
        if self._consumer is not None:
            await self._consumer.stop()

    async def settle(self, tick: ClockTick, timeout_s: float) -> BarrierResult:
        """Ask rounds after `tick` until all is done or `timeout_s` seconds have passed."""
        loop = asyncio.get_running_loop()
        give_up = loop.time() + timeout_s
        round_number = tick.round
        ends = await self._ends()
        while True:
            round_number += 1
            asked = tick.model_copy(update={"round": round_number})
            await publish_tick(self._publisher, asked)
            blocked = await self._await_answers(asked, ends, min(give_up, loop.time() + _ROUND_WAIT_S))
            ends, before = await self._ends(), ends
            if not blocked and ends == before:
                parked = sum(answer.parked for answer in self._current(asked))
                return BarrierResult(True, (), parked)
            if loop.time() > give_up:
                parked = sum(answer.parked for answer in self._current(asked))
                return BarrierResult(False, tuple(blocked) or ("topics keep growing",), parked)
            if blocked:
                await asyncio.sleep(0.005)

    def _current(self, asked: ClockTick) -> list[Progress]:
        return [
            answer for answer in self._answers.values() if (answer.generation, answer.round) == (asked.generation, asked.round)
        ]

    async def _await_answers(self, asked: ClockTick, ends: Mapping[tuple[str, int], int], until: float) -> list[str]:
        """Wait until every partition of every service was answered for; what is still in the way then."""
        loop = asyncio.get_running_loop()
        while True:
            self._answered.clear()
            missing, blocked = self._compare(self._current(asked), ends)
            if not missing:
                return blocked
            try:
                await asyncio.wait_for(self._answered.wait(), max(0.001, until - loop.time()))
            except TimeoutError:
                return missing + blocked

    def _compare(self, answers: list[Progress], ends: Mapping[tuple[str, int], int]) -> tuple[list[str], list[str]]:
        missing: list[str] = []
        blocked: list[str] = []
        for service, topics in READS.items():
            positions = {
                (position.topic, position.partition): position.position
                for answer in answers
                if answer.service == service
                for position in answer.positions
            }
            wanted = [(topic.name, number) for topic in topics for number in range(topic.partitions)]
            unanswered = [place for place in wanted if place not in positions]
            if unanswered:
                missing.append(f"{service}: nobody answers for {len(unanswered)} of {len(wanted)} partitions")
                continue
            behind = sum(max(0, ends[place] - positions[place]) for place in wanted)
            if behind:
                blocked.append(f"{service}: {behind} records to read")
        blocked += [
            f"{answer.instance}: {count} {what} to do" for answer in answers for what, count in answer.pending.items() if count
        ]
        return missing, blocked

    async def _ends(self) -> dict[tuple[str, int], int]:
        async def ask() -> dict[TopicPartition, int]:
            if self._consumer is None:
                consumer = AIOKafkaConsumer(bootstrap_servers=self._settings.kafka_bootstrap, enable_auto_commit=False)
                await consumer.start()
                self._consumer = consumer
            return await self._consumer.end_offsets(self._partitions)

        prefix = len(self._settings.namespace)
        ends = await retrying(ask, lambda error: None)
        return {(partition.topic[prefix:], partition.partition): end for partition, end in ends.items()}
