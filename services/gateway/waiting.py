"""Waiting for outcomes: who waits for a command in this process is woken by the projector where that is in this process too,
and by a group-less reader of gateway.outcomes where another one keeps the order."""

import asyncio
import logging
from collections.abc import Iterable
from contextlib import suppress

from chassis.failures import back_off
from chassis.kafka import tail
from chassis.loop import RawRecord
from chassis.settings import Settings
from contracts.envelope import Unreadable, decode
from contracts.platform import CommandSettled
from contracts.topics import GATEWAY_OUTCOMES
from services.gateway.store import COMMANDS, Document, PointReads

__all__ = ["Waiting"]

log = logging.getLogger(__name__)
_LOOK_S = 0.5
"""After how long the store is asked without having been woken, then at growing distances: a record may be missed while the
broker is away."""
_COMMAND_HEADER = "ce_commandid"


class Waiting:
    """The commands that this process waits for. An outcome stands in the store before anybody is woken."""

    def __init__(self, settings: Settings, reads: PointReads) -> None:
        self._settings = settings
        self._reads = reads
        self._awaited: dict[str, Expected] = {}

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
                        self._wake_by(raw)
            except Exception as error:
                attempt += 1
                log.warning("reading outcomes failed, trying again: %r", error)
                await asyncio.sleep(back_off(attempt))

    def _wake_by(self, raw: RawRecord) -> None:
        command_id = next((value.decode(errors="replace") for name, value in raw.headers if name == _COMMAND_HEADER), "")
        if command_id in self._awaited:
            with suppress(Unreadable):
                settled = decode(raw.value, raw.headers).message
                if isinstance(settled, CommandSettled):
                    self.wake(command_id, settled.outcome)

    def awaits(self, command_id: str) -> bool:
        """Whether somebody waits for a command in this process."""
        return command_id in self._awaited

    def wake(self, command_id: str, outcome: Document | None = None) -> None:
        """A command was settled; without `outcome`, as an older process says it, that is read from the store."""
        expected = self._awaited.pop(command_id, None)
        if expected is not None:
            expected.settled(command_id, outcome)

    def expect(self, command_ids: Iterable[str]) -> "Expected":
        """Begin to listen for these commands; do it before they are published. Use as a context manager."""
        return Expected(self._awaited, self._reads, command_ids)


class Expected:
    """Commands that somebody waits for. Where two wait for the same one, the first looks into the store now and then."""

    def __init__(self, awaited: "dict[str, Expected]", reads: PointReads, command_ids: Iterable[str]) -> None:
        self._awaited = awaited
        self._reads = reads
        self._missing = set(command_ids)
        self._unsettled = set(self._missing)
        self._told: dict[str, Document] = {}
        self._all_settled = asyncio.Event()
        awaited.update(dict.fromkeys(self._missing, self))

    def __enter__(self) -> "Expected":
        return self

    def __exit__(self, *_: object) -> None:
        for command_id in self._unsettled:
            if self._awaited.get(command_id) is self:
                del self._awaited[command_id]

    def settled(self, command_id: str, outcome: Document | None) -> None:
        """One of them has its outcome in the store."""
        self._unsettled.discard(command_id)
        if outcome is not None:
            self._told[command_id] = outcome
        if not self._unsettled:
            self._all_settled.set()

    async def outcomes(self, timeout_s: float) -> dict[str, Document]:
        """The outcomes that are there within `timeout_s` seconds, by command id. Returns as soon as all are."""
        loop = asyncio.get_running_loop()
        give_up = loop.time() + timeout_s
        look_s = _LOOK_S
        found: dict[str, Document] = {}
        while self._missing:
            try:
                async with asyncio.timeout(max(0.0, min(look_s, give_up - loop.time()))):
                    await self._all_settled.wait()
            except TimeoutError:
                look_s *= 2
            self._all_settled.clear()
            here, self._told = self._told, {}
            self._missing -= here.keys()
            if self._missing:
                here |= await self._read()
                self._missing -= here.keys()
            found |= here
            if loop.time() >= give_up:
                break
        return found

    async def _read(self) -> dict[str, Document]:
        if len(self._missing) > 1:
            return await self._reads.many(COMMANDS, self._missing)
        (command_id,) = self._missing
        outcome = await self._reads.get(COMMANDS, command_id)
        return {} if outcome is None else {command_id: outcome}
