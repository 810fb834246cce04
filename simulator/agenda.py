"""What is to happen and when: the agenda of a play, and the choice of the next moment of the test clock."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Generic, TypeVar

__all__ = ["Agenda", "Pace"]

T = TypeVar("T")
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Pace:
    """How far the clock goes at once: whole days, more of them where little happens in one, so that a long sparse export is
    not a thousand barriers. The same agenda gives the same steps."""

    enough: int = 400
    """So many entries are worth a step."""
    most_days: int = 5


@dataclass(slots=True)
class Agenda(Generic[T]):
    """Entries by the day at whose end they are due at the latest. Days are counted from `start`.

    An entry with `by` must happen before that moment: it is taken early where the clock's next step would pass it."""

    start: datetime
    _days: dict[int, list[tuple[datetime, datetime | None, T]]] = field(default_factory=dict)

    def add(self, at: datetime, entry: T, by: datetime | None = None) -> None:
        """Put down what is to happen at `at`, or at `by` where that comes first."""
        at = at if by is None else min(at, by)
        self._days.setdefault(self._day(at), []).append((at, by, entry))

    def __len__(self) -> int:
        return sum(map(len, self._days.values()))

    def next_step(self, now: datetime, pace: Pace) -> datetime | None:
        """The clock's next moment after `now`; None when nothing is left."""
        today = self._day(now)
        later = sorted(day for day in self._days if day > today)
        if not later:
            return None if not self._days else self.start + (today + 1) * _DAY
        step = later[0]
        count = 0
        for day in later:
            if day - today > pace.most_days and day != step:
                break
            step = day
            count += len(self._days[day])
            if count >= pace.enough:
                break
        return self.start + step * _DAY

    def take(self, now: datetime, until: datetime) -> list[T]:
        """Take out what is due at `now`, and what would be too late at `until`, in the order of its time."""
        taken: list[tuple[datetime, T]] = []
        for day in [day for day in self._days if self.start + (day - 1) * _DAY < until]:
            left: list[tuple[datetime, datetime | None, T]] = []
            for at, by, entry in self._days[day]:
                if at <= now or (by is not None and by <= until):
                    taken.append((at, entry))
                else:
                    left.append((at, by, entry))
            if left:
                self._days[day] = left
            else:
                del self._days[day]
        return [entry for _, entry in sorted(taken, key=lambda pair: pair[0])]

    def _day(self, moment: datetime) -> int:
        return -((self.start - moment) // _DAY)
