"""Errands: once each, for owned partitions, and later by the stack's clock."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from chassis.clock import SandboxClock
from chassis.errands import Errands
from contracts.base import format_moment
from contracts.platform import ClockTick

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


class Watch(SandboxClock):
    """A test's clock, at noon until it is moved."""

    def __init__(self) -> None:
        super().__init__()
        self.move(NOON)

    def move(self, now: datetime) -> None:
        self.tick(ClockTick(generation=self.generation + 1, now=now, round=0))


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def errands(watch: Watch) -> Errands:
    errands = Errands(watch)
    errands.own(frozenset({1, 2}))
    return errands


async def test_each_is_taken_once_in_its_order(errands: Errands) -> None:
    assert [errands.take(name, 1) for name in ("a", "b", "a", "c")] == [True, True, False, True]
    assert await errands.some(2) == ["a", "b"]
    assert not errands.take("a", 1)  # in hand
    assert await errands.some(2) == ["c"]
    assert (len(errands), errands.due()) == (3, 3)
    errands.done("a")
    assert "a" not in errands
    assert errands.take("a", 1)


async def test_whoever_waits_is_woken(errands: Errands) -> None:
    waiting = asyncio.create_task(errands.some(5))
    await asyncio.sleep(0)
    errands.take("a", 1)
    assert await asyncio.wait_for(waiting, 5) == ["a"]


async def test_what_is_queued_for_others_is_forgotten_and_what_is_in_hand_is_not(errands: Errands, watch: Watch) -> None:
    for name, partition in (("held", 1), ("lost", 1), ("kept", 2)):
        errands.take(name, partition)
    assert await errands.some(1) == ["held"]
    errands.put_off("later", 1, NOON)
    errands.own(frozenset({2}))
    assert ("held" in errands, "lost" in errands, "kept" in errands) == (True, False, True)
    assert errands.waiting() == 0
    assert await errands.some(5) == ["kept"]
    assert (errands.owns(1), errands.owns(2)) == (False, True)


async def test_what_a_former_owner_left_is_taken_up(errands: Errands) -> None:
    later = format_moment(NOON + MINUTE)
    errands.take_up([{"_id": "now", "partition": 1}, {"_id": "later", "partition": 2, "retry_at": later}])
    assert await errands.some(5) == ["now"]
    assert (errands.waiting(), errands.due()) == (1, 1)


async def test_what_was_put_off_is_due_at_its_moment_and_queued_then(errands: Errands, watch: Watch) -> None:
    errands.take("a", 1)
    await errands.some(1)
    errands.put_off("a", 1, NOON + MINUTE)
    assert ("a" in errands, errands.due(), errands.waiting()) == (False, 0, 1)
    retrying = asyncio.create_task(errands.retry())
    try:
        await asyncio.sleep(0)
        assert errands.due() == 0
        watch.move(NOON + MINUTE)
        assert errands.due() == 1
        assert await asyncio.wait_for(errands.some(1), 5) == ["a"]
        assert (errands.due(), errands.waiting()) == (1, 0)
    finally:
        retrying.cancel()


async def test_what_is_in_hand_can_be_queued_again_unless_it_is_somebody_elses(errands: Errands) -> None:
    for name, partition in (("mine", 2), ("theirs", 1), ("ended", 2)):
        errands.take(name, partition)
    await errands.some(5)
    errands.done("ended")
    errands.own(frozenset({2}))
    for name in ("mine", "theirs", "ended"):
        errands.again(name)
    assert await errands.some(5) == ["mine"]
    assert len(errands) == 1
