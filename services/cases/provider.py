"""The seam to whoever moves the money: what a payment provider is asked, what it may answer, and one asked over HTTP."""

import asyncio
import base64
import contextlib
import socket
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import format_datetime
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Any, Protocol
from urllib.parse import quote, unquote, urlsplit

import orjson

from contracts.base import Model, parse_moment
from contracts.money import Money

__all__ = [
    "Accepted",
    "HttpPaymentProvider",
    "PaymentOrder",
    "PaymentProvider",
    "Refused",
    "Reply",
    "Unknown",
    "Unreachable",
]

_TIMEOUT_S = 5.0
_AT_ONCE = 8
_REPLY_LIMIT = 64 * 1024
_REFERENCE_LIMIT = 200
_DETAIL_LIMIT = 300
_UNDECIDED = frozenset({408, 409, 425})
"""Statuses below 500 that leave open what became of a request."""


class Unreachable(Exception):
    """The provider did not get the request: nobody listens there. Nothing has flowed because of it."""


class PaymentOrder(Model):
    """A refund to pay, with the order that it belongs to."""

    decision_id: str
    """The idempotency key of the payment (NX-06): whatever happens, the provider pays it once."""
    amount: Money
    order_id: str
    order_number: str
    merchant_id: str


@dataclass(frozen=True, slots=True)
class Accepted:
    """The refund has flowed, under the provider's own `reference`; `at` is when, where the provider says it."""

    reference: str
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """The provider did not pay and will not on account of this attempt. Another attempt may go better."""

    detail: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """It may have flowed, or still be going to: ask for it before trying again. `after` is when the provider wants to be asked
    again, where it says so."""

    detail: str
    after: timedelta | None = None


Reply = Accepted | Refused | Unknown


class PaymentProvider(Protocol):
    """Who executes refunds of the platform. Both calls raise Unreachable, and nothing else for what the provider does."""

    async def refund(self, order: PaymentOrder) -> Reply:
        """Have a refund paid. The same decision asked again is the same payment."""
        ...

    async def lookup(self, decision_id: str) -> Reply | None:
        """What became of a refund; None where the provider has never heard of it."""
        ...


class HttpPaymentProvider:
    """A provider behind `http[s]://[user:password@]host[:port][/path]`.

    `POST …/refunds` with `Idempotency-Key: <decision id>` and a PaymentOrder: 200 or 201 `{reference, executed_at?}`; 202 while
    it is under way, with `Retry-After` in seconds; another 4xx: refused; the rest, a broken answer or none in time: unknown.
    `GET …/refunds/<decision id>` answers in the same words, 404 where it never heard of it. `Date` bears the stack's time.

    One connection a request, in a thread of its own few: refunds are rare, and a client library would cost every process of
    cases more memory than all of them."""

    def __init__(self, url: str, now: Callable[[], datetime], *, timeout_s: float = _TIMEOUT_S) -> None:
        """Raises ValueError for another kind of address."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("the payment provider's address is http[s]://[user:password@]host[:port][/path]")
        self._kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        self._host, self._port = parts.hostname, parts.port
        self._path = parts.path.rstrip("/")
        self._authorization: dict[str, str] = {}
        if parts.username is not None:
            credentials = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
            self._authorization = {"Authorization": f"Basic {base64.b64encode(credentials).decode()}"}
        self._now = now
        self._timeout_s = timeout_s
        self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="payments")
        self._free = asyncio.Semaphore(_AT_ONCE)

    async def refund(self, order: PaymentOrder) -> Reply:
        content = orjson.dumps(order.model_dump(mode="json"))
        headers = {"Idempotency-Key": order.decision_id, "Content-Type": "application/json"}
        answered = await self._ask("POST", "/refunds", content, headers)
        return answered if isinstance(answered, Unknown) else _read(*answered)

    async def lookup(self, decision_id: str) -> Reply | None:
        answered = await self._ask("GET", f"/refunds/{quote(decision_id, safe='')}")
        if isinstance(answered, Unknown):
            return answered
        status, headers, body = answered
        if status == 404:
            return None
        # A question that was not understood says nothing about the payment that it asks for.
        return _read(status, headers, body) if status < 400 or status == 402 else Unknown(_told(status, body))

    async def _ask(
        self, method: str, path: str, content: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Mapping[str, str], bytes] | Unknown:
        """Status, headers and body; Unknown where none came. Raises Unreachable."""
        await self._free.acquire()
        given = {"Date": format_datetime(self._now(), usegmt=True), **self._authorization, **(headers or {})}
        connection = self._kind(self._host, self._port, timeout=self._timeout_s)
        loop = asyncio.get_running_loop()
        asking = loop.run_in_executor(self._threads, self._asked, connection, method, path, content, given)
        asking.add_done_callback(lambda _: self._free.release())
        # Each read has its limit; a server that sends a byte now and then needs one for all of them.
        done, _ = await asyncio.wait([asking], timeout=2 * self._timeout_s)
        if not done:
            with contextlib.suppress(OSError, AttributeError):
                connection.sock.shutdown(socket.SHUT_RDWR)
        try:
            return await asking
        except (OSError, HTTPException) as broken:
            return Unknown(f"no answer: {type(broken).__name__}: {broken}"[:_DETAIL_LIMIT])

    def _asked(
        self, connection: HTTPConnection, method: str, path: str, content: bytes | None, headers: Mapping[str, str]
    ) -> tuple[int, Mapping[str, str], bytes]:
        try:
            try:
                connection.connect()
            except OSError as error:
                raise Unreachable(f"{type(error).__name__}: {error}") from error
            connection.request(method, f"{self._path}{path}", content, dict(headers))
            found: HTTPResponse = connection.getresponse()
            return found.status, {name.lower(): value for name, value in found.getheaders()}, found.read(_REPLY_LIMIT)
        finally:
            connection.close()


def _read(status: int, headers: Mapping[str, str], body: bytes) -> Reply:
    if status in (200, 201):
        return _accepted(body) or Unknown("the answer is not {reference, executed_at?}")
    if status == 202:
        return Unknown("under way", _after(headers))
    if 400 <= status < 500 and status not in _UNDECIDED:
        return Refused(_told(status, body))
    return Unknown(_told(status, body), _after(headers))


def _accepted(body: bytes) -> Accepted | None:
    said = _json(body)
    reference, executed_at = said.get("reference"), said.get("executed_at")
    if not isinstance(reference, str) or not reference or len(reference) > _REFERENCE_LIMIT:
        return None
    at = None
    if isinstance(executed_at, str):
        with contextlib.suppress(ValueError):
            at = parse_moment(executed_at)
    return Accepted(reference, at)


def _after(headers: Mapping[str, str]) -> timedelta | None:
    seconds = headers.get("retry-after", "")
    return timedelta(seconds=int(seconds[:9])) if seconds.isascii() and seconds.isdigit() else None


def _told(status: int, body: bytes) -> str:
    detail = _json(body).get("detail")
    return f"{status} {detail}"[:_DETAIL_LIMIT] if isinstance(detail, str) and detail else f"answered {status}"


def _json(body: bytes) -> Mapping[str, Any]:
    try:
        said = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return said if isinstance(said, dict) else {}
