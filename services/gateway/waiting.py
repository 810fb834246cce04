"""Waiting for outcomes: a group-less reader of gateway.outcomes wakes whoever waits for a command in this process."""

import asyncio
import logging
from collections.abc import Iterable, Sequence

from chassis.failures import back_off
from chassis.kafka import tail
from chassis.settings import Settings
from contracts.topics import GATEWAY_OUTCOMES
from services.gateway.store import COMMANDS, Document, PointReads

__all__ = ["Waiting"]

log = logging.getLogger(__name__)
_LOOK_S = 0.5
"""How often the store is asked without having been woken: a record may be missed while the broker is away."""
_COMMAND_HEADER = "ce_commandid"


class Waiting:
    """The commands that this process waits for. The outcome itself is always read from the store."""

    def __init__(self, settings: Settings, reads: PointReads) -> None:
        self._settings = settings
        self._reads = reads
        self._awaited: dict[str, asyncio.Event] = {}

    async def listen(self) -> None:
        """Wake waiters. Runs until cancelled."""
        attempt = 0
        while True:
            try:
                async for records in tail(self._settings, GATEWAY_OUTCOMES, from_beginning=False):
                    attempt = 0
                    if not self._awaited:
                        continue
                    for raw in records:
                        for name, value in raw.headers:
                            if name == _COMMAND_HEADER:
                                self._wake(value.decode(errors="replace"))
            except Exception as error:
                attempt += 1
                log.warning("reading outcomes failed, trying again: %r", error)
                await asyncio.sleep(back_off(attempt))

    def _wake(self, command_id: str) -> None:
        event = self._awaited.get(command_id)
        if event is not None:
            event.set()

    def expect(self, command_ids: Iterable[str]) -> "Expected":
        """Begin to listen for these commands; do it before they are published. Use as a context manager."""
        return Expected(self._awaited, self._reads, list(command_ids))


class Expected:
    """Commands that somebody waits for."""

    def __init__(self, awaited: dict[str, asyncio.Event], reads: PointReads, command_ids: Sequence[str]) -> None:
        self._awaited = awaited
        self._reads = reads
        self._events = {command_id: awaited.setdefault(command_id, asyncio.Event()) for command_id in command_ids}

    def __enter__(self) -> "Expected":
        return self

    def __exit__(self, *_: object) -> None:
        for command_id in self._events:
            self._awaited.pop(command_id, None)

    async def outcomes(self, timeout_s: float) -> dict[str, Document]:
        """The outcomes that are there within `timeout_s` seconds, by command id. Returns as soon as all are."""
        loop = asyncio.get_running_loop()
        give_up = loop.time() + timeout_s
        found: dict[str, Document] = {}
        while True:
            missing = [command_id for command_id in self._events if command_id not in found]
            remaining = give_up - loop.time()
            if not missing:
                return found
            await self._woken(missing, min(_LOOK_S, remaining))
            for command_id in missing:
                self._events[command_id].clear()  # before the look: what comes during it leads to another one
            found |= await self._read(missing)
            if loop.time() >= give_up:
                return found

    async def _read(self, command_ids: Sequence[str]) -> dict[str, Document]:
        if len(command_ids) > 1:
            return await self._reads.many(COMMANDS, command_ids)
        outcome = await self._reads.get(COMMANDS, command_ids[0])
        return {} if outcome is None else {command_ids[0]: outcome}

    async def _woken(self, command_ids: Sequence[str], timeout_s: float) -> None:
        """Return when all of them were woken, or after `timeout_s` seconds."""
        try:
            async with asyncio.timeout(max(0.0, timeout_s)):
                for command_id in command_ids:
                    await self._events[command_id].wait()
        except TimeoutError:
            return
