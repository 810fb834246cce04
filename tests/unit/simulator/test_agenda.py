"""The agenda: nothing before its time, nothing after its last moment, and long empty stretches in one step."""

from datetime import UTC, datetime, timedelta

from simulator.agenda import Agenda, Pace
from simulator.generator import generate
from simulator.player import shifted

START = datetime(2019, 7, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def test_entries_are_taken_when_due_and_in_their_order() -> None:
    agenda: Agenda[str] = Agenda(START)
    agenda.add(START + DAY * 0.8, "second")
    agenda.add(START + DAY * 0.5, "first")
    agenda.add(START + DAY * 1.5, "later")
    assert agenda.next_step(START, Pace(enough=1)) == START + DAY
    assert agenda.take(START, START + DAY) == []
    assert agenda.take(START + DAY, START + 2 * DAY) == ["first", "second"]
    assert len(agenda) == 1


def test_an_entry_with_a_last_moment_is_taken_before_a_step_that_would_pass_it() -> None:
    agenda: Agenda[str] = Agenda(START)
    agenda.add(START + DAY * 1.2, "answer", by=START + DAY * 2.5)
    agenda.add(START + DAY * 3, "anything")
    assert agenda.take(START, START + 2 * DAY) == []
    assert agenda.take(START, START + 3 * DAY) == ["answer"]


def test_an_entry_planned_for_after_its_last_moment_is_taken_before_that() -> None:
    agenda: Agenda[str] = Agenda(START)
    agenda.add(START + DAY * 8, "too late", by=START + DAY * 2.5)
    agenda.add(START + DAY * 5, "anything")
    assert agenda.next_step(START, Pace(enough=1)) == START + 3 * DAY
    assert agenda.take(START, START + 3 * DAY) == ["too late"]


def test_steps_grow_where_little_happens_and_jump_over_empty_days() -> None:
    agenda: Agenda[int] = Agenda(START)
    for day in range(1, 10):
        agenda.add(START + DAY * day, day)
    agenda.add(START + DAY * 100, 100)
    assert agenda.next_step(START, Pace(enough=2, most_days=5)) == START + 2 * DAY
    assert agenda.next_step(START, Pace(enough=50, most_days=5)) == START + 5 * DAY
    agenda.take(START + 20 * DAY, START + 20 * DAY)
    assert agenda.next_step(START + 20 * DAY, Pace()) == START + 100 * DAY
    agenda.take(START + 100 * DAY, START + 101 * DAY)
    assert agenda.next_step(START + 100 * DAY, Pace()) is None


def test_a_sandbox_whose_clock_is_ahead_moves_all_times_by_whole_days() -> None:
    batch = generate(20, seed=1)
    moved, days = shifted(batch, batch.orders[0].placed_at + timedelta(days=400, hours=3))
    assert days == 401
    for before, after in zip(batch.orders, moved.orders, strict=True):
        assert after.placed_at - before.placed_at == timedelta(days=401)
        assert (after.delivered_at is None) == (before.delivered_at is None)
    assert shifted(batch, batch.orders[0].placed_at - timedelta(days=3)) == (batch, 0)
