"""Rows of the programmes' tables as tests drive them: steps from a report on, and how the case then stands."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from contracts.cases import ReminderGiven
from engine.calendar import add
from tests.unit.engine.playing import LABELS, ZONE, Play

Step = Callable[[Play], Any]


def act(role: Any, action: str, **fields: Any) -> Step:
    return lambda play: play.act(role, action, **fields)


def silence(play: Play) -> Any:
    return play.wake()


def silent_about(kind: str) -> Step:
    return lambda play: play.wake(play.deadline(kind))


def fact(kind: Any, amount: str | None = None) -> Step:
    return lambda play: play.fact(kind, amount)


def paid(play: Play) -> list[Any]:
    play.pay()
    return []


@dataclass(frozen=True)
class Row:
    """Steps from a report to one row of the table, and how the case then stands."""

    steps: tuple[Step, ...]
    state: str
    turn: str | None = None
    outcome: str | None = None
    money: tuple[str, str] = ("0.00", "0.00")
    """Reserved and executed, once the platform's provider has paid."""
    due: dict[tuple[str, str], str] = field(default_factory=dict)
    """Deadlines set by the last step: (kind, party) → duration."""
    ends: bool = False
    """The protection ends."""
    reason: str = "not_received"
    programme: str = "buyer-protection"
    country: str = "DE"
    report: dict[str, Any] = field(default_factory=dict)
    """What else the report says; who sends it by `role`."""
    platform_pays: str | None = None
    """What the last step asks the payment provider to pay."""


def drive(row: Row) -> Play:
    """Play up to the row."""
    play = Play(country=row.country, labels=LABELS)
    play.report(row.reason, row.programme, **row.report)
    for step in row.steps:
        assert isinstance(step(play), list), step
    return play


def each_row(rows: Mapping[str, tuple[Sequence[str], Row]]) -> pytest.MarkDecorator:
    """A test for each row of a table, by its name, with the rules that it shows."""
    return pytest.mark.parametrize(
        "row", [pytest.param(row, id=name, marks=pytest.mark.rule(*rules)) for name, (rules, row) in rows.items()]
    )


def check(row: Row) -> None:
    """The row leads where it should, sets its deadlines and moves its money, which the platform pays once."""
    play = drive(row)
    last = play.events[-1]
    change = last.change  # type: ignore[attr-defined]
    assert (str(change.refund_due.amount.amount) if change.refund_due else None) == row.platform_pays
    play.pay()
    case = play.case
    assert (case.state, case.turn, case.outcome) == (row.state, row.turn, row.outcome)
    assert play.money[:2] == row.money
    assert {(each.kind, each.party): each.due_at for each in change.deadlines_set} == {
        which: add(last.at, duration, ZONE) for which, duration in row.due.items()
    }
    assert change.protection_ends == row.ends
    assert (case.closed_at is not None) == (row.state in ("resolved", "rejected"))
    assert case.version == len(
        [event for event in play.events if not isinstance(event, ReminderGiven) or event.change.deadlines_ended]
    )
