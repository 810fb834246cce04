"""Errands: what a service has to do once outside its loop (send a mail, pay a refund), for the partitions that it owns.

What is to be done stands in the store, one document each; here it is only named. Who gets a partition takes up what its former
owner left; who loses one lets go of what it has not begun. What did not go well is put off by the stack's clock."""

import asyncio
import heapq
from collections import deque
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from chassis.clock import Clock
from contracts.base import parse_moment

__all__ = ["Errands", "done_at"]

_LOOK_S = 5.0
"""How long a clock that does not move is waited for before it is looked at again, in seconds."""


def done_at(errand: Mapping[str, Any], clock: Clock) -> datetime:
    """When an errand that is done by now was done, by the stack's clock: it fell due when its cause happened (`created_at`),
    or, where it was put off, when it is tried again (`retry_at`)."""
    return clock.when_done(parse_moment(errand.get("retry_at") or errand["created_at"]))


class Errands:
    """The errands of one process, by id: queued, in hand, or put off until a moment."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._partitions: frozenset[int] = frozenset()
        self._known: dict[str, int] = {}
        """The partition of what is queued or in hand."""
        self._queue: deque[str] = deque()
        self._later: list[tuple[datetime, str, int]] = []
        self._wake = asyncio.Event()

    def __contains__(self, errand_id: object) -> bool:
        """Whether it is queued or in hand."""
        return errand_id in self._known

    def __len__(self) -> int:
        """How many are queued or in hand."""
        return len(self._known)

    def owns(self, partition: int) -> bool:
        """Whether what a partition has to do is to be done here."""
        return partition in self._partitions

    def own(self, partitions: frozenset[int]) -> None:
        """Have these partitions from now on: forget what is queued for others, and all that was put off. What is in hand is
        brought to its end."""
        self._partitions = partitions
        for errand_id in self._queue:
            if self._known[errand_id] not in partitions:
                del self._known[errand_id]
        self._queue = deque(errand_id for errand_id in self._queue if errand_id in self._known)
        self._later = []

    def take_up(self, documents: Iterable[Mapping[str, Any]]) -> None:
        """What a former owner left: `{_id, partition}`, with `retry_at` where it was put off."""
        for document in documents:
            if "retry_at" in document:
                self._wait(parse_moment(document["retry_at"]), document["_id"], document["partition"])
            else:
                self.take(document["_id"], document["partition"])

    def take(self, errand_id: str, partition: int) -> bool:
        """Queue it; False where it is known already."""
        if errand_id in self._known:
            return False
        self._known[errand_id] = partition
        self._enqueue(errand_id)
        return True

    def again(self, errand_id: str) -> None:
        """Queue what is in hand once more, unless its partition is somebody else's by now."""
        if self._known.get(errand_id) in self._partitions:
            self._enqueue(errand_id)
        else:
            self.done(errand_id)

    def put_off(self, errand_id: str, partition: int, until: datetime) -> None:
        """Lay down what is in hand until a moment of the stack's clock."""
        self._wait(until, errand_id, partition)
        self.done(errand_id)

    def done(self, errand_id: str) -> None:
        """It is no longer to be done here."""
        self._known.pop(errand_id, None)

    def due(self) -> int:
        """What is to be done now: queued, in hand, or put off until a moment that has come."""
        now = self._clock.now() if self._later else None
        return len(self._known) + sum(until <= now for until, _, _ in self._later if now is not None)

    def waiting(self) -> int:
        """What was put off."""
        return len(self._later)

    async def some(self, most: int) -> list[str]:
        """Take what is queued in hand, at most so many; waits until there is one."""
        while not self._queue:
            self._wake.clear()
            await self._wake.wait()
        return [self._queue.popleft() for _ in range(min(most, len(self._queue)))]

    async def retry(self) -> None:
        """Queue what was put off when its moment comes. Runs until cancelled."""
        while True:
            while self._later and self._later[0][0] <= self._clock.now():
                _, errand_id, partition = heapq.heappop(self._later)
                self.take(errand_id, partition)
            await self._clock.moved(_LOOK_S)

    def _enqueue(self, errand_id: str) -> None:
        self._queue.append(errand_id)
        self._wake.set()

    def _wait(self, until: datetime, errand_id: str, partition: int) -> None:
        heapq.heappush(self._later, (until, errand_id, partition))
