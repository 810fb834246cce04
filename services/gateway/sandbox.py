"""The sandbox's clock: its truth is one document, and a move of it ends when all that it caused is done."""

import asyncio
import logging
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

from pymongo.errors import DuplicateKeyError

from chassis.barrier import Barrier, publish_tick
from chassis.failures import retrying
from chassis.kafka import KafkaPublisher
from chassis.store import Database, inserted
from contracts.base import format_moment, parse_moment
from contracts.platform import ClockTick
from contracts.problems import Problem
from services.gateway.problems import ProblemError, unavailable
from services.gateway.store import KEPT_S, SANDBOX, SANDBOX_MOVES, Document, wall_clock

__all__ = ["ClockState", "SandboxControl"]

log = logging.getLogger(__name__)
_CLOCK = "clock"
_LEASE_S = 5.0
_RENEW_S = 1.5
_LOOK_S = 0.02
_WAIT_S = 120.0
"""How long a client waits for all that a move causes, in seconds of real time."""


@dataclass(frozen=True, slots=True)
class ClockState:
    """The sandbox's time, and whether all that the last move caused is done."""

    now: datetime
    ready: bool

    def shown(self) -> dict[str, str]:
        """As the API shows it."""
        return {"now": format_moment(self.now), "status": "ready" if self.ready else "advancing"}


class _TakenOver(Exception):
    """Another gateway brings the move to its end."""


class SandboxControl:
    """Moves the clock. Moves of several gateways come one after the other: the document names whose turn it is, with a lease,
    and somebody else brings a move to its end whose gateway died.

    The document names the command of the last move as well. Before the next one takes its place there, it is put among the
    moves, and stays for as long as a key that it may be asked for with again: at every moment a command that has moved the
    clock is found in one of the two."""

    def __init__(
        self,
        database: Database,
        publisher: KafkaPublisher,
        barrier: Barrier,
        *,
        wait_s: float = _WAIT_S,
        real_time: Callable[[], datetime] = wall_clock,
    ) -> None:
        self._documents = database[SANDBOX]
        self._moves = database[SANDBOX_MOVES]
        self._publisher = publisher
        self._barrier = barrier
        self._wait_s = wait_s
        self._real_time = real_time

    async def start(self, beginning: datetime) -> None:
        """Tell every process the time: the one that is kept, or `beginning` for a new sandbox."""

        async def ensure() -> Document:
            new = {
                "now": format_moment(beginning),
                "generation": 1,
                "ready": True,
                "owner": "",
                "leased_until": self._real_time(),
            }
            with suppress(DuplicateKeyError):
                await self._documents.insert_one({"_id": _CLOCK, **new})
            return await self._read()

        kept = await retrying(ensure, lambda error: log.warning("the sandbox's clock waits for the store: %r", error))
        await publish_tick(self._publisher, _tick(kept))

    async def state(self) -> ClockState:
        """How the clock stands."""
        kept = await self._read()
        return ClockState(parse_moment(kept["now"]), kept["ready"])

    async def move(self, to: Callable[[datetime], datetime], command_id: str) -> ClockState:
        """Move the clock to `to(now)` and return when all that it caused is done.

        Raises 409 for a time that has passed, 503 naming what is not done in time. The same command moves it once."""
        loop = asyncio.get_running_loop()
        give_up = loop.time() + self._wait_s
        while True:
            kept = await self._read()
            if kept.get("command_id") == command_id or await self._moves.find_one({"_id": command_id}) is not None:
                return await self._await_ready(command_id, give_up)
            if kept["ready"]:
                now = parse_moment(kept["now"])
                later = to(now)
                if later < now:
                    raise _backwards(now)
                if await self._begin(kept, later, command_id):
                    break
            elif loop.time() >= give_up:
                raise _blocked(kept)
            else:
                await asyncio.sleep(_LOOK_S)
        await self._bring_to_end(give_up - loop.time())
        return await self._await_ready(command_id, give_up)

    async def look_after(self) -> None:
        """Bring moves to their end that nobody looks after. Runs until cancelled."""
        while True:
            await asyncio.sleep(_RENEW_S)
            try:
                kept = await self._read()
                if not kept["ready"] and self._is_left(kept):
                    log.info("going on with a move of the sandbox's clock that was left behind")
                    await self._bring_to_end(self._wait_s)
            except Exception as error:
                log.warning("looking after the sandbox's clock: %r", error)

    async def _read(self) -> Document:
        kept = await self._documents.find_one({"_id": _CLOCK})
        if kept is None:
            raise LookupError("the sandbox's clock was not started")
        return kept

    async def _begin(self, kept: Document, later: datetime, command_id: str) -> bool:
        """Put down a move, for whoever settles it. False where another one came first."""
        if "command_id" in kept:
            forget_at = self._real_time() + timedelta(seconds=KEPT_S)
            await inserted(self._moves, [{"_id": kept["command_id"], "forget_at": forget_at}])
        moved = await self._documents.update_one(
            {"_id": _CLOCK, "generation": kept["generation"], "ready": True},
            {
                "$set": {
                    "before": kept["now"] if later > parse_moment(kept["now"]) else None,
                    "now": format_moment(later),
                    "generation": kept["generation"] + 1,
                    "ready": False,
                    "command_id": command_id,
                    "owner": "",
                    "leased_until": self._real_time(),
                    "blocked_by": [],
                }
            },
        )
        return moved.matched_count == 1

    def _is_left(self, kept: Document) -> bool:
        """Whether nobody holds the lease of a move any more."""
        leased_until: datetime = kept["leased_until"]
        now = self._real_time()
        return leased_until.replace(tzinfo=leased_until.tzinfo or now.tzinfo) <= now

    async def _bring_to_end(self, timeout_s: float) -> None:
        """Settle the move under a lease of its own; nothing where somebody else does, or has taken it over from here because
        this process stood still for too long. A new generation each time, so that answers to the rounds of one who died are not
        taken for answers to ours."""
        owner = uuid.uuid4().hex
        kept = await self._read()
        if kept["ready"] or not self._is_left(kept):
            return
        generation = kept["generation"] + 1
        as_read = {name: kept[name] for name in ("generation", "owner", "leased_until")}
        claimed = await self._documents.update_one(
            {"_id": _CLOCK, **as_read, "ready": False},
            {
                "$set": {
                    "owner": owner,
                    "generation": generation,
                    "leased_until": self._real_time() + timedelta(seconds=_LEASE_S),
                }
            },
        )
        if not claimed.matched_count:
            return
        settling = asyncio.create_task(self._move_on(owner, kept, generation, timeout_s))
        try:
            while not (await asyncio.wait([settling], timeout=_RENEW_S))[0]:
                await self._still_own(owner, leased_until=self._real_time() + timedelta(seconds=_LEASE_S))
            result = settling.result()
        except _TakenOver:
            log.warning("a move of the sandbox's clock was taken over by another gateway: this one stood still for too long")
            return
        except BaseException:
            await asyncio.shield(self._update(owner, leased_until=self._real_time()))
            raise
        finally:
            settling.cancel()
        if result:
            await self._update(owner, blocked_by=list(result), leased_until=self._real_time())
        else:
            await self._update(owner, ready=True, blocked_by=[])

    async def _move_on(self, owner: str, kept: Document, generation: int, timeout_s: float) -> tuple[str, ...]:
        """Let what is on its way arrive at the moment at which it was sent, then move. What is in the way; else nothing."""
        if kept.get("before") is not None:
            if blocked := await self._settle(_tick(kept | {"generation": generation}), timeout_s):
                return blocked
            generation += 1
            await self._still_own(owner, generation=generation, before=None)
        return await self._settle(_tick(kept | {"generation": generation, "before": None}), timeout_s)

    async def _settle(self, tick: ClockTick, timeout_s: float) -> tuple[str, ...]:
        """What is in the way after `timeout_s` seconds; nothing when all is done."""
        await publish_tick(self._publisher, tick)
        result = await self._barrier.settle(tick, timeout_s)
        if result.parked:
            log.warning("%d keys are parked; the clock goes on without them", result.parked)
        return () if result.ready else result.blocked_by

    async def _still_own(self, owner: str, **changed: object) -> None:
        """Write as `owner`. Raises _TakenOver where somebody else is by now: every process answers their generation alone, and
        time is theirs to move on."""
        if not await self._update(owner, **changed):
            raise _TakenOver

    async def _update(self, owner: str, **changed: object) -> bool:
        return bool((await self._documents.update_one({"_id": _CLOCK, "owner": owner}, {"$set": changed})).matched_count)

    async def _await_ready(self, command_id: str, give_up: float) -> ClockState:
        loop = asyncio.get_running_loop()
        while True:
            kept = await self._read()
            if kept["ready"] or kept.get("command_id") != command_id:
                return ClockState(parse_moment(kept["now"]), True)
            if loop.time() >= give_up:
                raise _blocked(kept)
            await self._bring_to_end(give_up - loop.time())
            await asyncio.sleep(_LOOK_S)


def _tick(kept: Document) -> ClockTick:
    """The time at which everybody is: where a move begins, until what was on its way there has arrived."""
    return ClockTick(generation=kept["generation"], now=parse_moment(kept.get("before") or kept["now"]), round=0)


def _backwards(now: datetime) -> ProblemError:
    return ProblemError(
        Problem(
            type="/problems/clock-backwards",
            title="The clock does not go back",
            status=409,
            detail=f"It is {format_moment(now)} already; ask for that time or a later one.",
            extra={"now": format_moment(now)},
        )
    )


def _blocked(kept: Document) -> ProblemError:
    blocked = list(kept.get("blocked_by") or ["the move before this one is not done"])
    return unavailable(
        f"The clock stands at {kept['now']}, but not all that this caused is done: {'; '.join(blocked)}.",
        blocked_by=blocked,
        now=kept["now"],
    )
