"""Firing at random: timers added early and late, clocks that jump, owners that change and crash anywhere."""

import asyncio
import random
from collections.abc import AsyncIterator, Collection, Sequence
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chassis.clock import SandboxClock
from chassis.latest import Latest
from chassis.telemetry import Health
from contracts.base import format_moment
from contracts.envelope import Record, decode
from contracts.outages import ALL_WELL, UNHEARD, OutagesRecorded
from contracts.platform import ClockTick
from services.escalation import timers as timers_module
from services.escalation.pages import Page, Timer, command_of, hour_of, pages_of
from services.escalation.store import BEGINNING, TimerStore
from services.escalation.timers import PATIENCE, Timers

START = datetime(2024, 1, 1, tzinfo=UTC)
PARTITIONS = 3


class Crash(Exception):
    """The process dies here."""


class Memory:
    """A store and a broker that keep what they were told, and let a process crash at every step."""

    def __init__(self, dice: random.Random) -> None:
        self.pages_kept: dict[str, dict[str, Any]] = {}
        self.cursors: dict[int, list[str]] = {}
        self.published: list[tuple[datetime, str, str]] = []
        self.crash_rate = 0.0
        self.statements = 0
        self._dice = dice

    async def _step(self) -> None:
        self.statements += 1
        await asyncio.sleep(0)
        if self._dice.random() < self.crash_rate:
            raise Crash

    async def insert(self, pages: Sequence[Page]) -> None:
        await self._step()
        for page in pages:
            document = page.document()
            self.pages_kept.setdefault(document["_id"], document)
        await self._step()

    async def claim(self, partitions: Collection[int], owner: str) -> dict[int, str]:
        await self._step()
        for partition in partitions:
            self.cursors.setdefault(partition, [BEGINNING, ""])[1] = owner
        return {partition: self.cursors[partition][0] for partition in partitions}

    async def fired(self, partitions: Collection[int], owner: str, until: str) -> bool:
        await self._step()
        mine = [partition for partition in partitions if self.cursors[partition][1] == owner]
        for partition in mine:
            self.cursors[partition][0] = max(self.cursors[partition][0], until)
        await self._step()
        return len(mine) == len(partitions)

    async def pages(self, partitions: Collection[int], first_hour: str, last_hour: str) -> AsyncIterator[Page]:
        await self._step()
        for page_id in sorted(self.pages_kept):
            if first_hour <= page_id < f"{last_hour};" and page_id in self.pages_kept:
                page = Page.of(self.pages_kept[page_id])
                if page.partition in partitions:
                    yield page
                    await self._step()

    async def delete_before(self, partitions: Collection[int], moment: str) -> None:
        await self._step()
        for page_id, document in list(self.pages_kept.items()):
            if page_id < hour_of(moment) and document["partition"] in partitions:
                del self.pages_kept[page_id]

    async def publish(self, records: Sequence[tuple[str, Record]]) -> None:
        for _, record in records:
            if self._dice.random() < self.crash_rate / 3:
                raise Crash
            sent = decode(record.value, record.headers)
            self.published.append((sent.time, sent.key, sent.id))
        await self._step()


def owner_of(
    memory: Memory, clock: SandboxClock, grace: timedelta = timedelta(), record: Latest[OutagesRecorded] | None = None
) -> Timers:
    return Timers(
        cast(TimerStore, memory),
        memory,
        clock,
        instance="i",
        grace=grace,
        record=record or Latest(ALL_WELL, attrgetter("number")),
        health=Health(),
    )


def clock_at(moment: datetime, clock: SandboxClock | None = None) -> SandboxClock:
    clock = clock or SandboxClock()
    clock.tick(ClockTick(generation=clock.generation + 1, now=moment, round=0))
    return clock


def check_in(number: int, at: datetime) -> tuple[int, Timer]:
    return number % PARTITIONS, Timer(format_moment(at), "check_in", f"ord_{number:032x}")


async def fire(timers: Timers) -> None:
    try:
        await timers._fire()
    except Crash:
        timers._forget()  # what a process does that goes on after a failure
        raise


async def play(seed: int) -> None:
    dice = random.Random(seed)
    memory = Memory(dice)
    clock = clock_at(START)
    committed: list[Timer] = []
    uncommitted: list[tuple[int, Timer]] = []
    owner = owner_of(memory, clock)
    former: list[Timers] = []
    await owner.assigned(frozenset(range(PARTITIONS)))
    number = 0
    for _ in range(dice.randrange(4, 14)):
        memory.crash_rate = dice.choice([0.0, 0.0, 0.02, 0.1])
        for _ in range(dice.randrange(4)):
            number += 1
            due = clock.now() + timedelta(minutes=dice.choice([-3000, -90, -20, 0, 1, 30, 59, 61, 200, 1500, 4000]))
            uncommitted.append(check_in(number, due))
        jump = dice.random() < 0.7

        async def consume(added: list[tuple[int, Timer]], by: Timers) -> None:
            pages = pages_of(added)
            await memory.insert(pages)
            await by.added(pages)

        async def advance(jump: bool, by: Timers) -> None:
            if jump:
                clock_at(clock.now() + timedelta(minutes=dice.choice([1, 20, 60, 61, 1500, 9000])), clock)
                assert by.pending() or not by._soon or by._soon[0].at > by._now()
            await fire(by)

        tasks = [consume(list(uncommitted), owner), advance(jump, owner)]
        tasks += [fire(late) for late in former if dice.random() < 0.5]
        dice.shuffle(tasks)
        results = await asyncio.gather(*tasks, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException) and not isinstance(result, Crash):
                raise result
        if any(isinstance(result, Crash) for result in results) or dice.random() < 0.25:
            # A restart, or another instance takes over while this one goes on for a while. Nothing was committed.
            former.append(owner)
            owner = owner_of(memory, clock)
            memory.crash_rate = 0.0
            await owner.assigned(frozenset(range(PARTITIONS)))
            if dice.random() < 0.5:
                former.clear()
        else:
            committed += [timer for _, timer in uncommitted]
            uncommitted = []
    memory.crash_rate = 0.0
    await fire(owner)
    for late in former:
        await fire(late)
    now = format_moment(clock.now())
    sent = {envelope_id for _, _, envelope_id in memory.published}
    for timer in committed:
        _, record = command_of(timer)
        assert (decode(record.value, record.headers).id in sent) == (timer.at <= now), (seed, timer, now)
    assert owner.pending() == 0


def test_no_committed_timer_is_lost_and_none_fires_early() -> None:
    async def play_all() -> None:
        for seed in range(400):
            await play(seed)

    asyncio.run(play_all())


@given(st.lists(st.integers(0, 60 * 24 * 20), min_size=1, max_size=40), st.integers(1, 6))
@settings(max_examples=40, deadline=None)
def test_many_days_at_once_fire_in_the_order_of_time(minutes: list[int], batch: int) -> None:
    async def run() -> None:
        memory = Memory(random.Random(0))
        added = [check_in(number, START + timedelta(minutes=minute)) for number, minute in enumerate(minutes)]
        await memory.insert(pages_of(added))
        owner = owner_of(memory, clock_at(START + timedelta(days=30)))
        await owner.assigned(frozenset(range(PARTITIONS)))
        assert owner.pending() > 0
        await fire(owner)
        for partition in range(PARTITIONS):
            times = [time for time, key, _ in memory.published if int(key[4:], 16) % PARTITIONS == partition]
            assert times == sorted(times)
        hours = [time.replace(minute=0) for time, _, _ in memory.published]
        assert hours == sorted(hours)
        assert len(memory.published) == len(added)
        assert memory.pages_kept == {}
        assert owner.pending() == 0

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timers_module, "_BATCH", batch)
        asyncio.run(run())


async def test_the_rest_of_an_hour_waits_in_memory_and_later_hours_in_the_store() -> None:
    memory = Memory(random.Random(0))
    clock = clock_at(START)
    owner = owner_of(memory, clock)
    assert owner.pending() == 1, "before it owns anything, nothing is known"
    await owner.assigned(frozenset(range(PARTITIONS)))
    await fire(owner)
    pages = pages_of(check_in(minute, START + timedelta(minutes=minute)) for minute in (1, 30, 45, 90))
    await memory.insert(pages)
    await owner.added(pages)
    assert len(owner._soon) == 3
    before = memory.statements
    for minute, fired in ((0, 0), (1, 1), (29, 1), (44, 2), (59, 3)):
        clock_at(START + timedelta(minutes=minute), clock)
        assert owner.pending() == fired - len(memory.published)
        await fire(owner)
        assert (len(memory.published), owner.pending()) == (fired, 0)
    assert memory.statements - before == 3 * 3, "a publication and a cursor for each, no query"
    clock_at(START + timedelta(minutes=60), clock)
    assert owner.pending() == 1, "the hour that begins was not read yet"
    await fire(owner)
    assert owner.pending() == 0
    clock_at(START + timedelta(minutes=90), clock)
    await fire(owner)
    assert len(memory.published) == 4


async def test_what_is_added_late_is_published_before_it_is_committed() -> None:
    memory = Memory(random.Random(0))
    owner = owner_of(memory, clock_at(START))
    await owner.assigned(frozenset(range(PARTITIONS)))
    await fire(owner)
    pages = pages_of([check_in(1, START - timedelta(days=2)), check_in(2, START)])
    await memory.insert(pages)
    await owner.added(pages)
    assert [time for time, _, _ in memory.published] == [START - timedelta(days=2), START]
    await fire(owner)
    assert len(memory.published) == 2


async def test_a_former_owner_stops_and_leaves_the_cursor_alone() -> None:
    memory = Memory(random.Random(0))
    clock = clock_at(START)
    former, owner = owner_of(memory, clock), owner_of(memory, clock)
    await former.assigned(frozenset(range(PARTITIONS)))
    pages = pages_of([check_in(1, START + timedelta(minutes=1))])
    await memory.insert(pages)
    await fire(former)
    await owner.assigned(frozenset(range(PARTITIONS)))
    clock_at(START + timedelta(minutes=2), clock)
    await fire(former)
    assert {cursor for cursor, _ in memory.cursors.values()} == {format_moment(START)}
    assert former.pending() == 1, "it waits for its next assignment"
    await fire(owner)
    assert [envelope_id for _, _, envelope_id in memory.published].count(memory.published[0][2]) == 2
    assert {cursor for cursor, _ in memory.cursors.values()} == {format_moment(clock.now())}
    await fire(former)
    assert len(memory.published) == 2


async def test_the_grace_holds_due_timers_back() -> None:
    memory = Memory(random.Random(0))
    clock = clock_at(START)
    owner = owner_of(memory, clock, timedelta(seconds=5))
    await owner.assigned(frozenset(range(PARTITIONS)))
    await fire(owner)
    pages = pages_of([check_in(1, START + timedelta(seconds=1))])
    await memory.insert(pages)
    await owner.added(pages)
    clock_at(START + timedelta(seconds=5), clock)
    await fire(owner)
    assert memory.published == []
    clock_at(START + timedelta(seconds=6), clock)
    await fire(owner)
    assert len(memory.published) == 1


async def test_what_lies_before_the_cursor_is_late_also_before_anything_was_read() -> None:
    memory = Memory(random.Random(0))
    clock = clock_at(START)
    before = owner_of(memory, clock)
    await before.assigned(frozenset(range(PARTITIONS)))
    await fire(before)
    owner = owner_of(memory, clock)
    await owner.assigned(frozenset(range(PARTITIONS)))
    pages = pages_of([check_in(1, START - timedelta(hours=2))])
    await memory.insert(pages)
    await owner.added(pages)
    assert len(memory.published) == 1


@pytest.mark.rule("NX-08")
async def test_nothing_rings_beyond_the_record_of_outages() -> None:
    memory = Memory(random.Random(0))
    clock = clock_at(START)
    record = Latest(UNHEARD, attrgetter("number"))
    owner = owner_of(memory, clock, record=record)
    await owner.assigned(frozenset(range(PARTITIONS)))
    pages = pages_of(check_in(hour, START + timedelta(hours=hour)) for hour in (1, 2, 30))
    await memory.insert(pages)
    await owner.added(pages)
    clock_at(START + timedelta(days=3), clock)
    await fire(owner)
    assert (memory.published, owner.pending()) == ([], 0), "nobody has said yet who could act"

    record.hear(OutagesRecorded(number=1, complete_until=START + timedelta(hours=1)))
    assert owner.pending() > 0
    await fire(owner)
    assert [time for time, _, _ in memory.published] == [START + timedelta(hours=1)]
    late = pages_of([check_in(4, START + timedelta(hours=3))])
    await memory.insert(late)
    await owner.added(late)
    assert len(memory.published) == 1

    record.hear(OutagesRecorded(number=2, complete_until=START + timedelta(days=3)))
    await fire(owner)
    assert [time - START for time, _, _ in memory.published[1:]] == [timedelta(hours=hour) for hour in (2, 3, 30)]


@pytest.mark.rule("NX-08")
async def test_silence_does_not_wait_for_ever_for_a_record_that_nobody_goes_on_with() -> None:
    memory = Memory(random.Random(0))
    clock = clock_at(START)
    gone = OutagesRecorded(number=1, complete_until=START - timedelta(days=90))
    owner = owner_of(memory, clock, record=Latest(gone, attrgetter("number")))
    pages = pages_of([check_in(1, START - timedelta(days=80)), check_in(2, START + timedelta(hours=1))])
    await memory.insert(pages)
    await owner.assigned(frozenset(range(PARTITIONS)))
    await fire(owner)
    assert memory.published == [], "it has only begun to wait, whatever it finds"
    clock_at(START + PATIENCE, clock)
    await fire(owner)
    assert len(memory.published) == 1
    clock_at(START + PATIENCE + timedelta(hours=1), clock)
    await fire(owner)
    assert len(memory.published) == 2
