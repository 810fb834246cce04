"""The processing loop under kills, pauses, lost answers and parked keys: nothing lost, nothing twice, nothing out of order."""

import asyncio
import os
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

import chassis.failures
import chassis.loop
from chassis.loop import ProcessingLoop
from chassis.store import Write
from tests.unit.chassis.loop_model import Event, World, pause, play

RUNS = int(os.environ.get("RECOURSE_MODEL_RUNS", "3000"))
"""How many seeds; 30,000 take about a minute."""
RUNS_TO_NOTICE = 1_500
"""Within so many a broken loop must have been caught."""


@pytest.fixture(autouse=True)
def _no_real_time(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The loop backs off and waits in steps of the model; what it logs about parked keys is not read."""
    monkeypatch.setattr(chassis.loop, "asyncio", SimpleNamespace(Event=Event, sleep=pause))
    monkeypatch.setattr(chassis.failures, "asyncio", SimpleNamespace(sleep=pause, CancelledError=asyncio.CancelledError))
    chassis.loop.log.disabled = True
    yield
    chassis.loop.log.disabled = False


def test_nothing_is_lost_done_twice_or_reordered() -> None:
    for seed in range(RUNS):
        assert play(seed) == [], f"seed {seed}"


def _caught() -> bool:
    """Whether some run shows a violation. Breaking the loop may break a run altogether: that is noticed as well."""
    return any(play(seed) for seed in range(RUNS_TO_NOTICE))


def test_the_model_notices_effects_that_are_not_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chassis.loop, "_effects_may_be_lost", lambda document, heard, records: False)
    assert _caught()


def test_the_model_notices_a_new_owner_that_trusts_the_former_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Effects made again for repeated input only: a crash is then noticed too late, after the next write."""
    monkeypatch.setattr(
        chassis.loop,
        "_effects_may_be_lost",
        lambda document, heard, records: any(heard.marked(inbound) for inbound in records),
    )
    assert _caught()


def test_the_model_notices_an_answer_lost_by_the_same_owner(monkeypatch: pytest.MonkeyPatch) -> None:
    """Effects made again for another epoch only: a write that was applied though it failed then tells nobody."""
    original = chassis.loop._effects_may_be_lost
    monkeypatch.setattr(
        chassis.loop,
        "_effects_may_be_lost",
        lambda document, heard, records: document["epoch"] != heard.ownership.epoch and original(document, heard, records),
    )
    assert _caught()


def test_the_model_notices_missing_marks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chassis.loop._Heard, "marked", lambda heard, inbound: False)
    assert _caught()


def test_the_model_notices_replays_that_count_as_new(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chassis.loop, "_origin", lambda inbound, ownership: inbound.offset)
    assert _caught()


def test_the_model_notices_a_write_without_its_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    def unguarded(world: World, write: Write) -> int:
        return write.expected_version

    monkeypatch.setattr(World, "version_seen_by", unguarded)
    assert _caught()


def test_the_model_notices_a_lost_guard_that_is_not_redone(monkeypatch: pytest.MonkeyPatch) -> None:
    original = ProcessingLoop._write

    async def careless(self: ProcessingLoop[object], plans: object, ownership: object) -> set[str]:
        await original(self, plans, ownership)  # type: ignore[arg-type]
        return set()

    monkeypatch.setattr(ProcessingLoop, "_write", careless)
    assert _caught()


def test_the_model_notices_keys_that_are_parked_before_their_effects_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """As it was once: parking and un-parking right after the write."""
    write, after_key = ProcessingLoop._write, ProcessingLoop._after_key

    async def write_and_park(self: ProcessingLoop[object], plans: dict[str, object], ownership: object) -> set[str]:
        lost = await write(self, plans, ownership)  # type: ignore[arg-type]
        for key, arguments in self.after.items():  # type: ignore[attr-defined]
            if key in plans and key not in lost:
                await after_key(self, key, arguments[0], plans[key], *arguments[1:])  # type: ignore[arg-type]
        return lost

    original = ProcessingLoop._round

    async def round_(self: ProcessingLoop[object], by_key: dict[str, object], *arguments: object) -> object:
        self.after = {key: (records, *arguments[:2]) for key, records in by_key.items()}  # type: ignore[attr-defined]
        return await original(self, by_key, *arguments)  # type: ignore[arg-type]

    async def nothing(self: ProcessingLoop[object], *arguments: object) -> None:
        return None

    monkeypatch.setattr(ProcessingLoop, "_round", round_)
    monkeypatch.setattr(ProcessingLoop, "_write", write_and_park)
    monkeypatch.setattr(ProcessingLoop, "_after_key", nothing)
    assert _caught()


def _break_turns(monkeypatch: pytest.MonkeyPatch, **broken: object) -> None:
    for name, method in broken.items():
        monkeypatch.setattr(chassis.loop._Turn, name, method)


async def _at_once(self: object, keys: object) -> None:
    """Waits for nothing."""


async def _always(self: chassis.loop._Turn) -> bool:
    self._writing.set()
    return True


def test_the_model_notices_a_batch_that_is_decided_before_the_last_one_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    _break_turns(monkeypatch, may_read=_at_once)
    assert _caught()


def test_the_model_notices_a_batch_that_is_decided_while_its_keys_are_written(monkeypatch: pytest.MonkeyPatch) -> None:
    async def blindly(self: chassis.loop._Turn, keys: object) -> None:
        await may_read(self, frozenset())

    may_read = chassis.loop._Turn.may_read
    _break_turns(monkeypatch, may_read=blindly)
    assert _caught()


def test_the_model_notices_a_batch_that_is_written_before_the_last_one_is_published(monkeypatch: pytest.MonkeyPatch) -> None:
    _break_turns(monkeypatch, may_write=_always)
    assert _caught()


def test_the_model_notices_a_batch_that_is_decided_before_a_key_of_the_last_one_is_parked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(chassis.loop, "_goes_on", lambda plan, records: False)
    assert _caught()


def test_the_model_notices_offsets_committed_past_a_batch_that_is_not_through(monkeypatch: pytest.MonkeyPatch) -> None:
    async def process(self: ProcessingLoop[object], *arguments: object) -> bool:
        await original(self, *arguments)  # type: ignore[arg-type]
        return True

    original = ProcessingLoop.process
    monkeypatch.setattr(ProcessingLoop, "process", process)
    _break_turns(monkeypatch, may_write=_always)
    assert _caught()
