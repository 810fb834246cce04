"""Firing: who owns a partition publishes its timers when they are due, in the order of their moments.

A timer fires at least once, always as the same command: its receiver drops the repetitions. It is never forgotten, because

* a cursor, moved only after the broker has confirmed, says per partition up to when all has fired; whoever takes over a
  partition reads its pages from there on;
* a timer that is added when its moment has been taken already is published before the record that set it is committed;
* a former owner can still publish, which does no harm, but no longer move a cursor.

A timer rings when it is due and the record of outages is complete up to its moment (NX-08): whoever is told of a deadline then
knows of all time in which its party could not act."""

import asyncio
import heapq
import logging
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from chassis.clock import Clock
from chassis.failures import Remedy, back_off, classify
from chassis.latest import Latest
from chassis.loop import Publisher, new_epoch
from chassis.telemetry import Health
from contracts.base import Message, format_moment
from contracts.outages import OutagesRecorded
from services.escalation.pages import LAST_OF_HOUR, Page, Timer, command_of, hour_of
from services.escalation.store import TimerStore

__all__ = ["GRACE", "PATIENCE", "Timers"]

log = logging.getLogger(__name__)

GRACE = timedelta(seconds=5)
"""How long a due timer is held back on the real clock. What a party did before the moment counts first, and what we received
just before it may still be on its way through the gateway and the broker. In the sandbox nothing is on its way when the clock
moves, so there is none."""

PATIENCE = timedelta(days=30)
"""How long timers wait for the record where nobody goes on with it: silence does not wait for ever."""

_LOOK_S = 1.0
"""How often the real clock is looked at."""

_BATCH = 2_000
"""Timers published together."""


class Timers:
    """The timers of the partitions that this process owns.

    In memory is only what is left of the hour that has begun (`_window`) and of hours before it; later hours stay in the
    store until they begin. `_taken` is the moment up to which timers are fired or being fired."""

    def __init__(
        self,
        store: TimerStore,
        publisher: Publisher,
        clock: Clock,
        *,
        instance: str,
        grace: timedelta,
        record: Latest[OutagesRecorded],
        health: Health,
    ) -> None:
        self._store = store
        self._publisher = publisher
        self._clock = clock
        self._instance = instance
        self._grace = grace
        self._record = record
        self._waits_since: datetime | None = None
        self._health = health
        self._owned: frozenset[int] = frozenset()
        self._owner = ""
        self._claimed = asyncio.Event()
        self._cursors: dict[int, str] = {}
        self._taken = ""
        self._window = ""
        self._soon: list[Timer] = []
        self._reading = False
        self._in_hand = 0
        self._pages_behind = False
        self._wake = asyncio.Event()
        self.fired = 0

    async def assigned(self, partitions: frozenset[int]) -> None:
        """Own these partitions from now on, and no others."""
        owner = self._owner = new_epoch(self._instance)
        self._owned = frozenset()
        self._claimed.clear()
        self._forget()
        cursors = await self._store.claim(partitions, owner)
        if self._owner != owner:
            return
        self._cursors = cursors
        self._taken = ""
        self._pages_behind = True
        self._waits_since = self._waits_since or self._clock.now()
        self._owned = partitions
        self._claimed.set()
        self._wake.set()

    async def added(self, pages: Sequence[Page]) -> None:
        """Take note of pages that were just stored; publish at once what is due already."""
        if not pages:
            return
        await self._claimed.wait()
        late: list[Timer] = []
        for page in pages:
            if page.partition not in self._owned:
                continue  # its new owner reads the records again that set these timers
            taken = max(self._taken, self._cursors[page.partition])
            late += (timer for timer in page.timers if timer.at <= taken)
            if page.hour <= self._window:
                self._pages_behind = True
                for timer in page.timers:
                    if timer.at > taken:
                        heapq.heappush(self._soon, timer)
        if late:
            await self._publish(late)

    def pending(self) -> int:
        """Timers that are due at the present moment and not published; at least 1 while that is not known."""
        if not self._claimed.is_set():
            return 1
        if not self._owned:
            return 0
        now = self._now()
        due = self._in_hand
        if self._soon and self._soon[0].at <= now:
            due += sum(timer.at <= now for timer in self._soon)
        return max(due, int(self._reading or hour_of(now) > self._window))

    def metrics(self) -> Iterable[tuple[str, str, str, float]]:
        """(name, kind, help, value) of each figure."""
        yield "timers_fired", "counter", "Timers published, repetitions included", self.fired
        yield "timers_soon", "gauge", "Timers of the present hour in memory", len(self._soon)
        complete = self._record.value.complete_until
        age = 0.0 if complete is None else (self._clock.now() - complete).total_seconds()
        yield "timers_record_age_seconds", "gauge", "Since when nobody has said that parties can act: timers wait", age

    async def watch_clock(self) -> None:
        """Look at the clock whenever it has jumped, and now and then. Runs until cancelled."""
        while True:
            await self._clock.moved(_LOOK_S)
            self._wake.set()

    async def work(self) -> None:
        """Fire what is due whenever woken. Runs until cancelled; waits where broker or store are away."""
        attempt = 0
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                await self._fire()
                attempt = 0
                self._health.arrived("timers")
            except Exception as error:
                if classify(error) is not Remedy.RETRY:
                    raise
                attempt += 1
                self._health.waiting(error, "timers")
                self._forget()
                self._wake.set()
                await asyncio.sleep(back_off(attempt))

    def hear(self, message: Message) -> None:
        """Look again when the record has gone on."""
        if isinstance(message, OutagesRecorded):
            self._wake.set()

    def _now(self) -> str:
        """The moment up to which timers ring. Patience is counted from when this process began to wait: what it finds in the
        store when it starts may be much older than what it has heard by then."""
        now = self._clock.now()
        until = now - self._grace
        complete = self._record.value.complete_until
        if complete is not None:
            waits_since = max(complete, self._waits_since or now)
            until = min(until, complete if now - waits_since < PATIENCE else max(complete, now - PATIENCE))
        return format_moment(until)

    def _forget(self) -> None:
        """Read again from the cursors on."""
        self._soon = []
        self._window = ""

    async def _fire(self) -> None:
        """Publish every timer up to now, oldest first, also where that is many days at once."""
        if not self._owned:
            return
        owner, until = self._owner, self._now()
        # From here on, what is added up to `until` is published by whoever adds it: the pages may have been read by then.
        self._taken = max(self._taken, until)
        due: list[Timer] = []
        while self._soon and self._soon[0].at <= until:
            due.append(heapq.heappop(self._soon))
        if hour_of(until) > self._window:
            await self._fire_pages(owner, due, until)
        elif due:
            await self._publish(due)
            await self._move_cursors(owner, until)

    async def _fire_pages(self, owner: str, due: list[Timer], until: str) -> None:
        """Fire what is in memory and in the pages up to the present hour; keep the rest of that hour in memory."""
        read_before = self._window
        self._window = hour_of(until)
        self._reading = True
        fired = False
        try:
            first = f"{read_before};" if read_before else hour_of(min(self._cursors.values()))
            place = ("", -1)
            async for page in self._store.pages(self._owned, first, self._window):
                if self._owner != owner:
                    return
                if len(due) >= _BATCH and (page.hour, page.partition) != place:
                    await self._publish(due)
                    due, fired = [], True
                    # Only a whole hour is behind: its pages come partition by partition.
                    if page.hour != place[0] and not await self._move_cursors(owner, f"{place[0]}{LAST_OF_HOUR}"):
                        return
                place = (page.hour, page.partition)
                self._pages_behind = True
                fired_before = self._cursors[page.partition]
                for timer in page.timers:
                    if timer.at > until:
                        heapq.heappush(self._soon, timer)
                    elif timer.at > fired_before:
                        due.append(timer)
            if self._owner != owner:
                return
            if due:
                await self._publish(due)
            # The cursor is moved before pages are deleted also where nothing fired: that shows that they are still ours. A
            # new owner may have added a page in an hour that was read here before.
            if (due or fired or self._pages_behind) and not await self._move_cursors(owner, until):
                return
            if self._pages_behind:
                self._pages_behind = False
                await self._store.delete_before(self._owned, until)
        finally:
            if self._owner == owner:
                self._reading = False

    async def _publish(self, timers: Iterable[Timer]) -> None:
        """In order of moments; one that was both read and added goes out once."""
        recorded_until = self._record.value.complete_until
        commands = [command_of(timer, recorded_until) for timer in sorted(set(timers))]
        self._in_hand += len(commands)
        try:
            await self._publisher.publish(commands)
        finally:
            self._in_hand -= len(commands)
        self.fired += len(commands)

    async def _move_cursors(self, owner: str, until: str) -> bool:
        """False where the partitions are not ours any more."""
        if self._owner != owner:
            return False
        if not await self._store.fired(self._owned, owner, until):
            log.info("timers of partitions taken over by another process are left to it")
            if self._owner == owner:
                # The assignment that says what is left comes next; what is added meanwhile waits for it.
                self._owned = frozenset()
                self._claimed.clear()
            return False
        if self._owner != owner:
            return False
        self._cursors = {partition: max(cursor, until) for partition, cursor in self._cursors.items()}
        return True
