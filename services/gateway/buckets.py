"""Token buckets: how much of something one source may send, in this process, by real time."""

import time
from collections.abc import Callable

from chassis.bounded import Bounded

__all__ = ["Buckets"]


class Buckets:
    """A bucket for each name holds `burst` tokens and gets `per_second` back; those that were not asked for longest are
    forgotten, full as they are by then."""

    def __init__(
        self, burst: float, per_second: float, *, most: int = 10_000, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._burst = burst
        self._per_second = per_second
        self._now = now
        self._levels = Bounded[str, tuple[float, float]](most)

    def take(self, name: str) -> float:
        """Take a token; 0.0, or the seconds after which there will be one."""
        now = self._now()
        level, at = self._levels.get(name, (self._burst, now))
        level = min(self._burst, level + (now - at) * self._per_second)
        taken = level >= 1
        self._levels[name] = (level - 1 if taken else level, now)
        return 0.0 if taken else (1 - level) / self._per_second
