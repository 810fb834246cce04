"""Escalation on the real broker and store: timers fire at their moments, whoever owns them, also after a kill."""

import asyncio
import dataclasses
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from contracts.base import format_moment
from contracts.cases import Change, DeadlineReached, ReminderReached
from contracts.envelope import Envelope
from contracts.ids import case_id_of, order_id_of
from contracts.orders import CheckInReached, OrderRegistered, Protection
from contracts.outages import OutagesRecorded
from contracts.topics import CASES_COMMANDS, CASES_EVENTS, INTAKE_COMMANDS, INTAKE_EVENTS, PLATFORM_CLOCK
from services.escalation import app
from services.escalation.app import serve
from services.escalation.pages import Page, Timer, pages_of
from services.escalation.store import BEGINNING, TimerStore
from tests.component.running import Reader, Running, envelope_of, reading
from tests.unit.escalation.test_pages import AT, deadline, example, moved


@pytest.fixture
async def commands(running: Running) -> AsyncIterator[Reader]:
    async with reading(running, INTAKE_COMMANDS) as reader:
        yield reader


def registered(number: int, days: float) -> Envelope:
    """An order whose check-in is some days from now."""
    order_id = order_id_of("shop", str(number))
    told = example(OrderRegistered)
    assert isinstance(told, OrderRegistered)
    protection = Protection(state="active", ends_at=AT + timedelta(days=90), check_in_at=AT + timedelta(days=days))
    told = OrderRegistered(
        order=told.order.model_copy(update={"order_id": order_id}),
        standing=told.standing.model_copy(update={"protection": protection}),
    )
    return envelope_of(told, order_id, AT, source="intake", sequence=1)


def case_moved(number: int, sequence: int, *deadlines: int, generation: int = 1) -> Envelope:
    order_id = order_id_of("shop", str(number))
    change = Change(deadlines_set=tuple(deadline(day, day - 1, generation=generation) for day in deadlines))
    event = moved(change)
    event = event.model_copy(update={"order_id": order_id, "case_id": case_id_of(order_id, 1)})
    return envelope_of(event, order_id, AT, source="cases", sequence=sequence)


def check_ins(envelopes: list[Envelope]) -> dict[str, Envelope]:
    return {one.id: one for one in envelopes if isinstance(one.message, CheckInReached)}


def due_of(order: Envelope) -> datetime:
    assert isinstance(order.message, OrderRegistered)
    due_at = order.message.standing.protection.check_in_at
    assert due_at is not None
    return due_at


def moments(envelopes: list[Envelope]) -> dict[str, datetime]:
    return {one.key: one.time for one in check_ins(envelopes).values()}


def start_process(running: Running) -> subprocess.Popen[bytes]:
    """Escalation in a process of its own, to be killed."""
    settings = running.settings
    environment = {
        **os.environ,
        "RECOURSE_KAFKA_BOOTSTRAP": settings.kafka_bootstrap,
        "RECOURSE_SECRET": settings.secret,
        "RECOURSE_MONGO_URI": settings.mongo_uri,
        "RECOURSE_NAMESPACE": settings.namespace,
        "RECOURSE_KAFKA_IDEMPOTENT": "1" if settings.kafka_idempotent else "0",
        "RECOURSE_SANDBOX": "1",
    }
    return subprocess.Popen([sys.executable, "-m", "recourse.run", "escalation"], env=environment)


async def pages_kept(running: Running) -> list[Page]:
    return [Page.of(document) for document in await running.database("escalation")["pages"].find().to_list(None)]


async def owners(running: Running) -> list[str]:
    """Who owns the timers of each partition."""
    cursors = await running.database("escalation")["cursors"].find().to_list(None)
    return [cursor["owner"] for cursor in cursors]


async def until_kept(running: Running, timers: int) -> None:
    async with asyncio.timeout(20):
        while sum(len(page.timers) for page in await pages_kept(running)) < timers:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


@pytest.mark.rule("BP-05", "NX-01", "NX-05")
async def test_check_ins_reminders_and_deadlines_come_when_the_clock_reaches_them(running: Running, commands: Reader) -> None:
    running.start(serve, "escalation-1")
    await running.send(INTAKE_EVENTS, registered(1, 23), registered(2, 23.5))
    await running.send(CASES_EVENTS, case_moved(3, 1, 5), case_moved(3, 2, 7, generation=2))
    await until_kept(running, 6)
    async with reading(running, CASES_COMMANDS) as cases:
        await running.tick(AT + timedelta(days=4, hours=1))
        await cases.until(lambda all_: len(all_) >= 1)
        await running.tick(AT + timedelta(days=23, hours=1))
        told = await cases.until(lambda all_: len(all_) >= 4)
        assert [(type(one.message), one.time - AT) for one in told] == [
            (ReminderReached, timedelta(days=4)),
            (DeadlineReached, timedelta(days=5)),
            (ReminderReached, timedelta(days=6)),
            (DeadlineReached, timedelta(days=7)),
        ]
        last = told[-1].message
        assert isinstance(last, DeadlineReached)
        assert (last.generation, last.case_id, last.due_at) == (2, case_id_of(told[-1].key, 1), AT + timedelta(days=7))
    asked = await commands.until(lambda all_: len(all_) >= 1)
    assert [(one.key, one.time, one.source) for one in asked] == [
        (order_id_of("shop", "1"), AT + timedelta(days=23), "escalation")
    ]
    await running.tick(AT + timedelta(days=24))
    assert len(await commands.until(lambda all_: len(all_) >= 2)) == 2
    async with asyncio.timeout(10):
        while await pages_kept(running):  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_a_timer_that_comes_late_fires_at_once(running: Running, commands: Reader) -> None:
    running.start(serve, "escalation-1")
    await running.send(INTAKE_EVENTS, registered(1, 1))
    await until_kept(running, 1)
    await running.tick(AT + timedelta(days=2))
    await commands.until(lambda all_: len(all_) == 1)
    await running.send(INTAKE_EVENTS, registered(2, 1.5), registered(3, 0.1))
    late = await commands.until(lambda all_: len(all_) == 3)
    assert {one.time - AT for one in late[1:]} == {timedelta(days=0.1), timedelta(days=1.5)}


async def test_two_instances_split_the_timers_and_one_takes_over(running: Running, commands: Reader) -> None:
    running.start(serve, "escalation-1")
    running.start(serve, "escalation-2")
    async with asyncio.timeout(20):
        while len(set(await owners(running))) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    orders = [registered(number, 1 + number / 24) for number in range(200)]
    await running.send(INTAKE_EVENTS, *orders)
    await until_kept(running, 200)
    await running.tick(AT + timedelta(days=5))
    await commands.until(lambda all_: len(check_ins(all_)) == 97)
    assert len(set(await owners(running))) == 2
    await running.stop("escalation-2")
    await running.tick(AT + timedelta(days=30))
    told = await commands.until(lambda all_: len(check_ins(all_)) == 200)
    assert moments(told) == {one.key: due_of(one) for one in orders}


async def test_a_kill_while_firing_loses_nothing(running: Running, commands: Reader) -> None:
    count = 3_000
    orders = [registered(number, 1 + number / 1_000) for number in range(count)]
    process = start_process(running)
    try:
        await running.send(INTAKE_EVENTS, *orders)
        await until_kept(running, count)
        await running.tick(AT + timedelta(days=30))
        await commands.until(lambda all_: len(all_) >= 500)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process = start_process(running)
        told = await commands.until(lambda all_: len(check_ins(all_)) == count, timeout_s=40)
    finally:
        process.kill()
        process.wait()
    assert moments(told) == {one.key: due_of(one) for one in orders}


async def test_the_store_hands_over_cursors_and_reads_pages_by_the_span(running: Running) -> None:
    store = TimerStore(running.database("escalation"))
    assert await store.claim(range(3), "a") == dict.fromkeys(range(3), BEGINNING)
    until = format_moment(AT)
    assert await store.fired(range(3), "a", until)
    assert await store.claim([1, 2, 3], "b") == {1: until, 2: until, 3: BEGINNING}
    assert not await store.fired(range(3), "a", format_moment(AT + timedelta(days=1)))
    assert await store.claim([1], "c") == {1: until}
    assert await store.claim([0], "c") == {0: format_moment(AT + timedelta(days=1))}, "this one was still a's"

    timers = [
        (number % 4, Timer(format_moment(AT + timedelta(hours=number)), "check_in", f"ord_{number:032x}"))
        for number in range(48)
    ]
    collection = running.database("escalation")["pages"]
    await collection.insert_many([page.document() for page in pages_of(timers)])
    found = [page async for page in store.pages([0, 2], "2024-01-10T12", "2024-01-11T05")]
    assert [timer for page in found for timer in page.timers] == [
        timer for partition, timer in timers if partition in (0, 2) and "2024-01-10T12" <= timer.at < "2024-01-11T06"
    ]
    await store.delete_before([0, 2], "2024-01-11T05:10:00.000Z")
    left = sorted(timer for page in await pages_kept(running) for timer in page.timers)
    assert left == [timer for partition, timer in timers if partition in (1, 3) or timer.at >= "2024-01-11T05"]


async def test_on_the_real_clock_timers_are_held_back_a_little(
    running: Running, commands: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "GRACE", timedelta(seconds=0.5))
    running.settings = dataclasses.replace(running.settings, sandbox=False)
    for number in (1, 2):  # told before anybody listens: the last word counts
        record = OutagesRecorded(number=number, complete_until=datetime.now(UTC) + timedelta(hours=number))
        await running.send(PLATFORM_CLOCK, envelope_of(record, "outages", AT, source="gateway"))
    running.start(app.serve, "escalation-1")
    due = datetime.now(UTC) + timedelta(seconds=1.5)
    await running.send(INTAKE_EVENTS, registered(1, (due - AT) / timedelta(days=1)))
    (told,) = await commands.until(lambda all_: len(all_) == 1)
    assert timedelta(seconds=0.5) <= datetime.now(UTC) - told.time < timedelta(seconds=4)
