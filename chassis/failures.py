"""What an error means for the record it met: try again, park the key, dead letter, or stop."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from enum import Enum
from typing import TypeVar

from aiokafka.errors import (
    CommitFailedError,
    IllegalGenerationError,
    IllegalStateError,
    KafkaError,
    KafkaTimeoutError,
    RebalanceInProgressError,
    UnknownMemberIdError,
)
from pymongo.errors import BulkWriteError, ConnectionFailure, ExecutionTimeout, OperationFailure, PyMongoError

from contracts.envelope import Unreadable

T = TypeVar("T")

__all__ = ["OWNERSHIP_LOST", "Remedy", "back_off", "classify", "retrying"]

OWNERSHIP_LOST = (CommitFailedError, IllegalGenerationError, IllegalStateError, RebalanceInProgressError, UnknownMemberIdError)
"""Errors of a commit that mean: another owner will do this batch again."""

_TRANSIENT_CODES = frozenset({6, 7, 89, 91, 189, 262, 9001, 10107, 11600, 11602, 13435, 13436})


class Remedy(Enum):
    """RETRY: infrastructure is away, wait for it. PARK: this key waits for an operator. DEAD_LETTER: no message of ours.
    STOP: going on would lose or reorder something; a restart begins from what is durable."""

    RETRY = "retry"
    PARK = "park"
    DEAD_LETTER = "dead_letter"
    STOP = "stop"


def classify(error: BaseException) -> Remedy:
    """The remedy for an error. Infrastructure that is away is never a reason to park or dead-letter a record."""
    match error:
        case Unreadable():
            return Remedy.DEAD_LETTER
        case KafkaTimeoutError():
            return Remedy.STOP
        case ConnectionFailure() | ExecutionTimeout() | KafkaError():
            return Remedy.RETRY
        case BulkWriteError():
            return Remedy.PARK
        case OperationFailure() if error.code in _TRANSIENT_CODES:
            return Remedy.RETRY
        case PyMongoError() | asyncio.CancelledError():
            return Remedy.STOP
        case _:
            return Remedy.PARK


def back_off(attempt: int, *, first_s: float = 0.05, most_s: float = 5.0) -> float:
    """Seconds to wait before attempt `attempt` (from 1): doubled each time, at most `most_s`, half of it random."""
    full = min(most_s, first_s * 2 ** min(attempt - 1, 16))
    return full / 2 + full / 2 * random.random()  # noqa: S311 - spreads who tries again


async def retrying(operation: Callable[[], Awaitable[T]], waiting: Callable[[BaseException], None]) -> T:
    """Run an operation until the infrastructure it needs is there. `waiting` is told each failure, so that health shows it.
    Raises what `classify` does not call RETRY."""
    attempt = 0
    while True:
        try:
            return await operation()
        except Exception as error:
            if classify(error) is not Remedy.RETRY:
                raise
            attempt += 1
            waiting(error)
            await asyncio.sleep(back_off(attempt))
