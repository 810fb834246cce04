"""Time: the real clock, and the sandbox's that stands still until it is moved."""

import asyncio
from contextlib import suppress
from datetime import UTC, datetime
from typing import Protocol

from contracts.platform import ClockTick

__all__ = ["Clock", "RealClock", "SandboxClock"]


class Clock(Protocol):
    """Where every service takes its time from."""

    def now(self) -> datetime:
        """UTC, in milliseconds."""
        ...

    def when_done(self, due: datetime) -> datetime:
        """When something was done that fell due at `due` and is done by now, told as soon as it is."""
        ...

    async def moved(self, timeout_s: float) -> None:
        """Return when time has jumped, or after `timeout_s` seconds of real time."""
        ...


class RealClock:
    """The wall clock. Nothing moves it."""

    def now(self) -> datetime:
        now = datetime.now(UTC)
        return now.replace(microsecond=now.microsecond // 1000 * 1000)

    def when_done(self, due: datetime) -> datetime:
        return self.now()

    async def moved(self, timeout_s: float) -> None:
        await asyncio.sleep(timeout_s)


class SandboxClock:
    """Frozen between ticks. It has no time until the first tick was read: services start after it.

    A move passes through every moment up to its end, and time stands until all that falls due on the way is done: so that was
    done when it fell due, however far the move went and however long its doing took."""

    def __init__(self) -> None:
        self._tick: ClockTick | None = None
        self._jump = asyncio.Event()
        self._first = asyncio.Event()

    @property
    def generation(self) -> int:
        """Which move it stands after; 0 before the first tick."""
        return 0 if self._tick is None else self._tick.generation

    def now(self) -> datetime:
        if self._tick is None:
            raise RuntimeError("the sandbox's clock was read before its first tick")
        return self._tick.now

    def when_done(self, due: datetime) -> datetime:
        return due

    def tick(self, tick: ClockTick) -> None:
        """Take over a tick; an older generation is ignored, the clock never goes back."""
        if tick.generation < self.generation:
            return
        jumped = self._tick is None or tick.now != self._tick.now
        self._tick = tick
        self._first.set()
        if jumped:
            self._jump.set()
            self._jump = asyncio.Event()

    async def started(self) -> None:
        """Return when the first tick was read."""
        await self._first.wait()

    async def moved(self, timeout_s: float) -> None:
        jump = self._jump
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):  # before Python 3.12 `wait_for` may lose a cancellation
                await jump.wait()
