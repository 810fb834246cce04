"""Imports: NDJSON streamed in and out, each line a command of its own, many on their way at once, answers in order.

The request is always read, whatever its client does with the answer: what has arrived and not been worked on waits in memory,
beyond a megabyte on disk, 64 MiB in all. So neither side can block the other, and what a client sent before it was cut off is
done. Lines are worked on only as fast as their answers are taken."""

import asyncio
import hashlib
import tempfile
import uuid
from codecs import BOM_UTF8
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol

import orjson
from litestar.types import Receive, Scope, Send

from chassis.store import Database
from contracts.base import Message
from contracts.envelope import Record
from contracts.ids import derived
from contracts.problems import Problem
from contracts.topics import Topic
from services.gateway.commands import Commands, pending, place_of
from services.gateway.problems import ProblemError, as_problem, too_large
from services.gateway.store import KEPT_S, PENDING, Document, wall_clock

__all__ = ["IMPORT_LIMIT", "LINE_LIMIT", "Import", "Importer", "Lines", "Spool", "read_into"]

IMPORT_LIMIT = 64 * 1024 * 1024
"""The most bytes of an import."""
LINE_LIMIT = 1024 * 1024
"""The most bytes of a line."""
_IN_MEMORY = 1024 * 1024
_CHUNK = 256 * 1024
_WINDOW = 200
"""Lines that are sent together."""
_WINDOWS = 6
"""Windows on their way at once."""
_OUTCOMES_S = 30.0
"""How long a window waits for its outcomes, in seconds."""
_ANSWERS = 16


class Importer(Protocol):
    """What a kind of import makes of a line."""

    topic: Topic

    def command(self, line: bytes) -> tuple[str, Message]:
        """The key and the command. Raises ProblemError."""
        ...

    def result(self, key: str, outcome: Document) -> dict[str, Any]:
        """Status and members of the line's answer, from the outcome of an accepted command."""
        ...


class Spool:
    """Bytes that arrived and were not read yet. One writes, one reads."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115 - closed by `close`
        self._written = 0
        self._read = 0
        self._more = asyncio.Event()
        self.ended = False
        self.cut_off = False
        """The client went away before the end."""

    def write(self, chunk: bytes) -> None:
        """Put down what has arrived."""
        self._file.seek(self._written)
        self._file.write(chunk)
        self._written += len(chunk)
        self._more.set()

    def end(self, *, cut_off: bool) -> None:
        """Nothing more arrives."""
        self.ended, self.cut_off = True, cut_off
        self._more.set()

    async def read(self) -> bytes:
        """What is there, a part of it where that is much; nothing at the end."""
        while self._read == self._written and not self.ended:
            self._more.clear()
            await self._more.wait()
        self._file.seek(self._read)
        chunk = self._file.read(min(_CHUNK, self._written - self._read))
        self._read += len(chunk)
        if self._read == self._written:  # begin anew, so that what was read takes no room
            self._file.seek(0)
            self._file.truncate()
            self._read = self._written = 0
        return chunk

    def digest(self) -> bytes:
        """SHA-256 of all that is there, which stays to be read."""
        self._file.seek(self._read)
        hashed = hashlib.sha256()
        while chunk := self._file.read(_CHUNK):
            hashed.update(chunk)
        return hashed.digest()

    def close(self) -> None:
        """Give the room back."""
        self._file.close()


class Lines:
    """Splits bytes into numbered lines. A blank line counts and is left out; of a line that is too long, None is kept. The mark
    that some programs begin a UTF-8 file with is no part of its first line."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._too_long = False
        self._number = 0

    def feed(self, chunk: bytes) -> list[tuple[int, bytes | None]]:
        """The lines that this completes."""
        parts = chunk.split(b"\n")
        found: list[tuple[int, bytes | None]] = []
        for part in parts[:-1]:
            self._add(part)
            self._complete(found)
        self._add(parts[-1])
        return found

    def end(self, *, cut_off: bool) -> list[tuple[int, bytes | None]]:
        """The last line, where it has no line feed. One that was cut off is no line."""
        found: list[tuple[int, bytes | None]] = []
        if not cut_off and (self._rest or self._too_long):
            self._complete(found)
        return found

    def _add(self, part: bytes) -> None:
        if self._too_long or len(self._rest) + len(part) > LINE_LIMIT:
            self._too_long = True
            self._rest.clear()
        else:
            self._rest += part

    def _complete(self, found: list[tuple[int, bytes | None]]) -> None:
        self._number += 1
        line = bytes(self._rest)
        line = (line.removeprefix(BOM_UTF8) if self._number == 1 else line).strip()
        if self._too_long:
            found.append((self._number, None))
        elif line:
            found.append((self._number, line))
        self._rest.clear()
        self._too_long = False


@dataclass(frozen=True, slots=True)
class _Sent:
    """A window of lines: answers that are known already, and commands to send."""

    numbers: list[int]
    known: dict[int, dict[str, Any]]
    commands: list[tuple[int, str, Record]]
    """(line, command id, record)"""


class Import:
    """One import, as an ASGI application: it reads the request and writes the answer at the same time."""

    def __init__(
        self,
        importer: Importer,
        commands: Commands,
        database: Database,
        principal: str,
        *,
        announced: int | None,
        spool: Spool | None = None,
        cause: str | None = None,
        window: int = _WINDOW,
    ) -> None:
        """`announced` is the length that the client named. `spool` holds the whole request where it was read before. `cause`
        names an Idempotency-Key's request: its lines then have the same command ids again."""
        self._importer = importer
        self._commands = commands
        self._database = database
        self._principal = principal
        self._announced = announced
        self._whole = spool is not None
        self._spool = spool or Spool()
        self._cause = cause or str(uuid.uuid4())
        self._window = window

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        reading = None if self._whole else asyncio.create_task(read_into(self._spool, receive))
        answers: asyncio.Queue[bytes | None] = asyncio.Queue(_ANSWERS)
        working = asyncio.create_task(self._work(answers))
        try:
            if reading is not None and self._announced is None:
                await reading  # only its end shows whether it is too long, which is a status of its own
            await send(
                {
                    "type": "http.response.start",
                    "status": 200,
                    "headers": [(b"content-type", b"application/x-ndjson"), (b"cache-control", b"private, no-store")],
                }
            )
            while (chunk := await answers.get()) is not None:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            if reading is not None:
                await reading
            await working
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            for task in (reading, working):
                if task is not None:
                    task.cancel()
            await asyncio.gather(*(task for task in (reading, working) if task is not None), return_exceptions=True)
            self._spool.close()

    async def _work(self, answers: asyncio.Queue[bytes | None]) -> None:
        """Send window after window; put their answers in order, then None."""
        on_their_way: asyncio.Queue[asyncio.Task[bytes] | None] = asyncio.Queue(_WINDOWS)
        turn = asyncio.Lock()

        async def send_all() -> None:
            async for window in self._windows():
                await on_their_way.put(asyncio.create_task(self._answered(self._read(window), turn)))
            await on_their_way.put(None)

        sending = asyncio.create_task(send_all())
        try:
            while (task := await on_their_way.get()) is not None:
                await answers.put(await task)
            await sending
        finally:
            sending.cancel()
            await answers.put(None)

    async def _windows(self) -> AsyncIterator[list[tuple[int, bytes | None]]]:
        lines = Lines()
        while chunk := await self._spool.read():
            found = lines.feed(chunk)
            for begin in range(0, len(found), self._window):
                yield found[begin : begin + self._window]
        if found := lines.end(cut_off=self._spool.cut_off):
            yield found

    def _read(self, window: Sequence[tuple[int, bytes | None]]) -> _Sent:
        """The commands of the lines that can be read."""
        sent = _Sent([number for number, _ in window], {}, [])
        for number, line in window:
            try:
                if line is None:
                    raise too_large("A line may have 1 MiB at most.")
                key, command = self._importer.command(line)
            except ProblemError as error:
                sent.known[number] = _refused(error.problem)
                continue
            command_id = derived(self._cause, str(number))
            # As bytes at once: thousands are on their way, and models are ten times larger.
            sent.commands.append((number, command_id, self._commands.record(key, command, command_id)))
        return sent

    async def _answered(self, sent: _Sent, turn: asyncio.Lock) -> bytes:
        """Publish a window's commands, when it is their turn, and write its answer when they are done."""
        results = dict(sent.known)
        if sent.commands:
            try:
                commands = [(command_id, record) for _, command_id, record in sent.commands]
                outcomes = await self._commands.ask_many(self._importer.topic, commands, _OUTCOMES_S, turn)
            except Exception as error:
                problem = as_problem(error).problem
                results |= {number: _refused(problem) for number, *_ in sent.commands}
            else:
                results |= await self._results(sent, outcomes)
        return b"".join(orjson.dumps({"line": number, **results[number]}) + b"\n" for number in sent.numbers)

    async def _results(self, sent: _Sent, outcomes: dict[str, Document]) -> dict[int, dict[str, Any]]:
        results: dict[int, dict[str, Any]] = {}
        late: list[str] = []
        for number, command_id, record in sent.commands:
            outcome = outcomes.get(command_id)
            if outcome is None:
                late.append(command_id)
                results[number] = {**pending(command_id), "status": 202, "href": place_of(command_id)}
            elif outcome["status"] == "refused":
                results[number] = _refused(Problem.model_validate(outcome["problem"]))
            else:
                results[number] = self._importer.result(record.key.decode(), outcome)
        if late:
            forget_at = wall_clock() + timedelta(seconds=KEPT_S)
            await self._database[PENDING].insert_many(
                [{"_id": command_id, "principal": self._principal, "forget_at": forget_at} for command_id in late],
                ordered=False,
            )
        return results


def _refused(problem: Problem) -> dict[str, Any]:
    shown = {
        "type": problem.type,
        "title": problem.title,
        "status": problem.status,
        "detail": problem.detail,
        **({"errors": [error.model_dump() for error in problem.errors]} if problem.errors else {}),
        **problem.extra,
    }
    return {"status": problem.status, "problem": shown}


async def read_into(spool: Spool, receive: Receive) -> None:
    """Read a request to its end. Raises 413 where it is too long."""
    size = 0
    while True:
        event = await receive()
        if event["type"] != "http.request":
            spool.end(cut_off=True)
            return
        chunk = event["body"]
        size += len(chunk)
        if size > IMPORT_LIMIT:
            spool.end(cut_off=True)
            raise too_large(
                "An import may have 64 MiB at most. Send it in parts: lines that were done already are not done twice."
            )
        if chunk:
            spool.write(chunk)
        if not event["more_body"]:
            spool.end(cut_off=False)
            return
