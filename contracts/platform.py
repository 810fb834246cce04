"""What the whole stack shares: the test clock, the progress that its barrier compares, and outcomes that wake a waiter."""

from typing import Any, Literal

from contracts.base import Message, Model, Moment

__all__ = ["ClockTick", "CommandSettled", "PartitionPosition", "Progress"]


class ClockTick(Message, kind="clock.tick"):
    """The sandbox's clock. `generation` grows with each move, `round` with each question of the barrier: every process
    answers each round with its Progress."""

    generation: int
    now: Moment
    round: int


class PartitionPosition(Model):
    """`position`: the next offset that this owner is not done with; what is done may be committed a moment later."""

    topic: str
    partition: int
    position: int


class Progress(Message, kind="clock.progress"):
    """One process' answer to a round of the barrier."""

    service: str
    instance: str
    generation: int
    round: int
    positions: tuple[PartitionPosition, ...]
    pending: dict[str, int]
    """Work in hand that no topic shows: {"timers": …, "mails": …}; all zero when idle."""
    parked: int
    """Keys that wait for an operator; reported, never waited for."""


class CommandSettled(Message, kind="command.settled"):
    """The projector has written a command's outcome and the read model: a waiting gateway process may answer."""

    command_id: str
    status: Literal["done", "refused"]
    outcome: dict[str, Any] | None = None
    """What it has written, {status, kind, key, href?, problem?, …ids}, so that the waiter need not read it."""
