"""A client of the public API as a careful partner writes one: keep-alive, bounded, an Idempotency-Key on every POST, the same
request again after a lost connection or a 503, and a 202 followed to its end."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import aiohttp
import orjson

from chassis.failures import back_off

__all__ = ["Answer", "Api", "GaveUp", "Upload", "described"]

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 1.0
_TRY_AGAIN = frozenset({429, 502, 503, 504})
_PROMISED = ("/v1/commands/", "/v1/forms/")
"""Where a 202 says what became of one command."""
_LOST = (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, TimeoutError)


class GaveUp(Exception):
    """The platform did not answer in all the time that was given to it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: the status and the body as it was read."""

    status: int
    body: bytes

    @property
    def well(self) -> bool:
        """Whether it is no problem."""
        return self.status < 400

    def json(self) -> Any:
        """The body; None for none. Raises ValueError for what is no JSON."""
        return orjson.loads(self.body) if self.body else None

    @property
    def problem(self) -> str:
        """The problem in one line, for people."""
        try:
            content = self.json()
        except orjson.JSONDecodeError:
            content = None
        if not isinstance(content, dict):
            return f"{self.status} {self.body[:200]!r}"
        return f"{self.status} {described(content)}"


def described(problem: Mapping[str, Any]) -> str:
    """A problem in one line: its type, what to do, and the places that are wrong."""
    errors = "; ".join(f"{error.get('pointer')}: {error.get('detail')}" for error in problem.get("errors") or ())
    return f"{problem.get('type')}: {problem.get('detail')} {errors}".strip()


@dataclass(frozen=True, slots=True)
class Upload:
    """A file for `POST /v1/evidence`."""

    order_id: str
    name: str
    media_type: str
    content: bytes


@dataclass(slots=True)
class Api:
    """Requests to one or more processes of the gateway, in turn; at most `concurrency` at once.

    `patience_s` is how long one request is tried again before GaveUp."""

    urls: Sequence[str]
    concurrency: int = 24
    patience_s: float = 180.0
    requests: int = 0
    retries: int = 0
    _session: aiohttp.ClientSession | None = None
    _gate: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(24))
    _turn: int = 0

    async def __aenter__(self) -> Self:
        self._gate = asyncio.Semaphore(self.concurrency)
        connector = aiohttp.TCPConnector(limit=self.concurrency + 8, keepalive_timeout=30)
        # No total limit: an import may take as long as its lines need.
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=60)
        self._session = aiohttp.ClientSession(connector=connector, timeout=timeout)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def get(self, token: str, path: str, **query: Any) -> Answer:
        """GET as the bearer of `token`. Raises GaveUp, as all of these do, where no gateway answers for long."""
        return await self.request("GET", token, path, query={name: str(value) for name, value in query.items()})

    async def put(self, token: str, path: str, body: Mapping[str, Any]) -> Answer:
        """PUT, which is the same however often it is sent."""
        return await self.request("PUT", token, path, body=orjson.dumps(body))

    async def post(self, token: str, path: str, body: Mapping[str, Any], key: str) -> Answer:
        """POST under the Idempotency-Key `key`."""
        return await self.request("POST", token, path, body=orjson.dumps(body), key=key)

    async def upload(self, token: str, upload: Upload, key: str) -> Answer:
        """POST a file as evidence."""
        return await self.request("POST", token, "/v1/evidence", upload=upload, key=key)

    async def lines(self, token: str, path: str, lines: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """POST NDJSON; one result for each line. The whole is sent again when an answer was cut off and lines that the
        platform could not take now are sent again: a line is its own identity, so nothing happens twice. Raises GaveUp."""
        results: list[dict[str, Any]] = [{} for _ in lines]
        waiting = list(range(len(lines)))
        pauses = _Pauses(self.patience_s)
        while waiting:
            body = b"".join(orjson.dumps(lines[index]) + b"\n" for index in waiting)
            answer = await self.request("POST", token, path, body=body, media_type="application/x-ndjson")
            told = [orjson.loads(line) for line in answer.body.splitlines() if line.strip()] if answer.well else []
            again: list[int] = []
            for index, result in zip(waiting, told, strict=False):
                results[index] = result
                if result.get("status") in {202, *_TRY_AGAIN}:
                    again.append(index)
            again += waiting[len(told) :]
            if not answer.well and answer.status not in _TRY_AGAIN:
                raise GaveUp(f"{path} refused an import: {answer.problem}")
            if again:
                await pauses.wait(f"{path}: {len(again)} lines were not taken, the first said {results[again[0]]}")
            waiting = again
        return results

    async def request(
        self,
        method: str,
        token: str,
        path: str,
        *,
        body: bytes | None = None,
        upload: Upload | None = None,
        key: str | None = None,
        query: Mapping[str, str] | None = None,
        media_type: str = "application/json",
    ) -> Answer:
        """Ask until there is an answer; a 202 is followed until its command is done. Raises GaveUp."""
        headers = {"Authorization": f"Bearer {token}"}
        if key is not None:
            headers["Idempotency-Key"] = key
        if body is not None:
            headers["Content-Type"] = media_type
        pauses = _Pauses(self.patience_s)
        while True:
            try:
                async with self._gate:
                    answer, location = await self._once(method, path, headers, body, upload, query)
            except _LOST as lost:
                self.retries += 1
                await pauses.wait(f"{method} {path}: {lost!r}")
                continue
            if answer.status in _TRY_AGAIN or (answer.status == 409 and b"/problems/request-running" in answer.body):
                self.retries += 1
                await pauses.wait(f"{method} {path}: {answer.problem}")
                continue
            if answer.status == 202 and location is not None and any(place in location for place in _PROMISED):
                return await self._follow(token, location, pauses)
            return answer

    async def _once(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes | None,
        upload: Upload | None,
        query: Mapping[str, str] | None,
    ) -> tuple[Answer, str | None]:
        if self._session is None:
            raise RuntimeError("the client is used as a context manager")
        self._turn += 1
        self.requests += 1
        url = path if path.startswith("http") else self.urls[self._turn % len(self.urls)] + path
        data: Any = body if upload is None else _form(upload)
        async with self._session.request(method, url, headers=headers, data=data, params=query) as response:
            return Answer(response.status, await response.read()), response.headers.get("Location")

    async def _follow(self, token: str, location: str, pauses: "_Pauses") -> Answer:
        """The end of a command that was not done within the wait."""
        path = location[location.index("/v1/") :]
        while True:
            answer = await self.request("GET", token, path)
            command = answer.json() if answer.well else {}
            match command.get("status"):
                case "done":
                    result = command.get("result") or {}
                    href = result.get("href")
                    if "link" in result:  # of a form, whose sender has no other right to read
                        return Answer(201, orjson.dumps(result))
                    return Answer(200, answer.body) if href is None else await self.request("GET", token, href)
                case "refused":
                    problem = command.get("problem") or {}
                    return Answer(int(problem.get("status", 409)), orjson.dumps(problem))
                case _:
                    await pauses.wait(f"{path}: {command.get('status') or answer.problem}")


def _form(upload: Upload) -> aiohttp.FormData:
    form = aiohttp.FormData()
    form.add_field("order_id", upload.order_id)
    form.add_field("file", upload.content, filename=upload.name, content_type=upload.media_type)
    return form


@dataclass(slots=True)
class _Pauses:
    """Growing pauses, until patience ends."""

    patience_s: float
    _waited_s: float = 0.0
    _attempt: int = 0

    async def wait(self, why: str) -> None:
        """Raises GaveUp with `why` when patience has ended."""
        if self._waited_s > self.patience_s:
            raise GaveUp(f"gave up after {self._waited_s:.0f} s of waiting: {why}")
        self._attempt += 1
        pause_s = back_off(self._attempt, first_s=_FIRST_PAUSE_S, most_s=_LONGEST_PAUSE_S)
        self._waited_s += pause_s
        await asyncio.sleep(pause_s)
