"""What every payment provider must do, run over each there is; and what one behind HTTP makes of servers that do not."""

import asyncio
import json
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, Protocol

import pytest

from contracts.money import Money
from deploy.local import payments
from deploy.local.payments import PaymentBook, serve_http
from deploy.local.ports import free_port
from services.cases.provider import Accepted, HttpPaymentProvider, PaymentOrder, PaymentProvider, Refused, Unknown, Unreachable
from tests.unit.payments.in_memory import InMemoryProvider

NOON = datetime(2021, 3, 1, 12, 0, 0, 500_000, tzinfo=UTC)


class Bench(Protocol):
    """A provider under test, with what stands outside the seam: the time, how it behaves, and what it paid."""

    provider: PaymentProvider
    now: datetime

    def behave(self, mode: str) -> None: ...
    def paid(self) -> list[tuple[str, str]]: ...


class HttpBench:
    def __init__(self, folder: Path) -> None:
        self.now = NOON
        self.book = PaymentBook(folder)
        self.server = serve_http(self.book, free_port())
        self.provider = HttpPaymentProvider(f"http://127.0.0.1:{self.server.server_port}/", lambda: self.now)

    def behave(self, mode: str) -> None:
        self.book.behave(mode)

    def paid(self) -> list[tuple[str, str]]:
        return [(one.decision_id, one.amount) for one in self.book.payments(after=0, limit=99, order_id=None, decision_id=None)]

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.book.close()


class MemoryBench:
    def __init__(self) -> None:
        self.now = NOON
        self.provider = InMemoryProvider(lambda: self.now)

    def behave(self, mode: str) -> None:
        self.provider.mode = mode

    def paid(self) -> list[tuple[str, str]]:
        return [(one.decision_id, str(one.amount.amount)) for one, _ in self.provider.payments.values()]

    def close(self) -> None:
        """Nothing to close."""


@pytest.fixture(params=["http", "memory"])
def bench(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setattr(payments, "SILENT_S", 0.05)
    made = HttpBench(tmp_path) if request.param == "http" else MemoryBench()
    yield made
    made.close()


def order(decision_id: str = "dec_1", amount: str = "12.30") -> PaymentOrder:
    money = Money.model_validate({"amount": amount, "currency": "EUR"})
    return PaymentOrder(decision_id=decision_id, amount=money, order_id="ord_1", order_number="Ä-1/2", merchant_id="shop")


@pytest.mark.rule("NX-06")
async def test_a_refund_is_accepted_once_under_its_decision(bench: Bench) -> None:
    first = await bench.provider.refund(order())
    assert isinstance(first, Accepted)
    assert first.reference
    assert [await bench.provider.refund(order()) for _ in range(5)] == [first] * 5
    assert await bench.provider.lookup("dec_1") == first
    assert bench.paid() == [("dec_1", "12.30")]
    other = await bench.provider.refund(order("dec_2", "1.00"))
    assert isinstance(other, Accepted)
    assert other.reference != first.reference


async def test_a_decision_with_another_amount_is_not_the_same_payment(bench: Bench) -> None:
    await bench.provider.refund(order())
    assert isinstance(await bench.provider.refund(order(amount="12.31")), Refused)
    assert bench.paid() == [("dec_1", "12.30")]


async def test_a_refused_refund_has_not_flowed_and_may_go_better_later(bench: Bench) -> None:
    bench.behave("fail")
    assert isinstance(await bench.provider.refund(order()), Refused)
    assert await bench.provider.lookup("dec_1") is None
    assert bench.paid() == []
    bench.behave("ok")
    assert isinstance(await bench.provider.refund(order()), Accepted)
    bench.behave("fail")
    assert isinstance(await bench.provider.refund(order()), Accepted)  # what was paid stays paid


@pytest.mark.rule("NX-06")
async def test_a_time_out_says_nothing_and_a_lookup_tells(bench: Bench) -> None:
    bench.behave("timeout")
    assert isinstance(await bench.provider.refund(order()), Unknown)
    told = await bench.provider.lookup("dec_1")
    assert isinstance(told, Accepted)
    bench.behave("ok")
    assert await bench.provider.refund(order()) == told
    assert bench.paid() == [("dec_1", "12.30")]


async def test_a_late_refund_is_under_way_for_a_minute_of_the_stack_s_clock(bench: Bench) -> None:
    bench.behave("late")
    told = await bench.provider.refund(order())
    assert isinstance(told, Unknown)
    assert told.after == timedelta(minutes=1)
    bench.behave("ok")
    bench.now = NOON + timedelta(seconds=59)
    assert isinstance(await bench.provider.lookup("dec_1"), Unknown)
    assert isinstance(await bench.provider.refund(order()), Unknown)
    bench.now = NOON + timedelta(minutes=1)
    accepted = await bench.provider.lookup("dec_1")
    assert isinstance(accepted, Accepted)
    assert await bench.provider.refund(order()) == accepted


async def test_nobody_knows_a_decision_that_was_never_paid(bench: Bench) -> None:
    assert await bench.provider.lookup("dec_9") is None


async def test_many_at_once_pay_each_decision_once(bench: Bench) -> None:
    replies = await asyncio.gather(*(bench.provider.refund(order(f"dec_{number % 5}")) for number in range(40)))
    assert all(isinstance(reply, Accepted) for reply in replies)
    assert sorted(decision for decision, _ in bench.paid()) == [f"dec_{number}" for number in range(5)]


# What only a provider behind HTTP has to bear


def test_an_address_of_another_kind_is_refused() -> None:
    for url in ("ftp://x.example", "payments.example:80", "http://"):
        with pytest.raises(ValueError, match="payment provider's address"):
            HttpPaymentProvider(url, lambda: NOON)


async def test_a_provider_that_is_away_is_unreachable() -> None:
    provider = HttpPaymentProvider(f"http://127.0.0.1:{free_port()}", lambda: NOON)
    with pytest.raises(Unreachable):
        await provider.refund(order())
    with pytest.raises(Unreachable):
        await provider.lookup("dec_1")


@pytest.mark.parametrize(
    ("status", "headers", "body", "refund", "lookup"),
    [
        (200, {}, {"reference": "r"}, Accepted("r"), Accepted("r")),
        (
            201,
            {},
            {"reference": "r", "executed_at": "2021-03-01T13:00:00+01:00"},
            Accepted("r", NOON.replace(microsecond=0)),
            Accepted("r", NOON.replace(microsecond=0)),
        ),
        (200, {}, {"reference": "r", "executed_at": "yesterday"}, Accepted("r"), Accepted("r")),
        (200, {}, {"reference": ""}, Unknown, Unknown),
        (200, {}, {"reference": "r" * 201}, Unknown, Unknown),
        (200, {}, b"<html>", Unknown, Unknown),
        (200, {}, b"[1]", Unknown, Unknown),
        (
            202,
            {"Retry-After": "90"},
            {},
            Unknown("under way", timedelta(seconds=90)),
            Unknown("under way", timedelta(seconds=90)),
        ),
        (202, {"Retry-After": "soon"}, {}, Unknown("under way"), Unknown("under way")),
        (302, {"Location": "http://127.0.0.1:1/"}, {}, Unknown, Unknown),
        (401, {}, {"detail": "no key"}, Refused("401 no key"), Unknown("401 no key")),
        (402, {}, {}, Refused("answered 402"), Refused("answered 402")),
        (404, {}, {}, Refused("answered 404"), None),
        (409, {}, {}, Unknown, Unknown),
        (429, {}, {}, Refused, Unknown),
        (500, {}, b"oops", Unknown("answered 500"), Unknown("answered 500")),
        (503, {"Retry-After": "5"}, {}, Unknown("answered 503", timedelta(seconds=5)), Unknown),
    ],
)
async def test_what_an_answer_means(status: int, headers: dict[str, str], body: Any, refund: Any, lookup: Any) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    seen: list[dict[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def _tell(self) -> None:
            seen.append({name.lower(): value for name, value in self.headers.items()} | {"path": self.path})
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = _tell

        def log_message(self, format: str, *args: Any) -> None:
            """Silent."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        provider = HttpPaymentProvider(f"http://me:p%40ss@127.0.0.1:{server.server_port}/v2/", lambda: NOON)
        for asked, expected in ((await provider.refund(order()), refund), (await provider.lookup("dec/1"), lookup)):
            assert isinstance(asked, expected) if isinstance(expected, type) else asked == expected
    finally:
        server.shutdown()
        server.server_close()
    posted, got = seen
    assert (posted["path"], got["path"]) == ("/v2/refunds", "/v2/refunds/dec%2F1")
    assert posted["idempotency-key"] == "dec_1"
    assert posted["authorization"] == got["authorization"] == "Basic bWU6cEBzcw=="
    assert posted["date"] == "Mon, 01 Mar 2021 12:00:00 GMT"


async def _breaks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readline()
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Le")
    writer.close()


async def _stays_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
    writer.close()


async def _drips(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    for _ in range(12):
        writer.write(b" ")
        await asyncio.sleep(0.05)
    writer.close()


@pytest.mark.parametrize("serve", [_breaks, _stays_silent, _drips])
async def test_no_whole_answer_is_no_answer(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]],
) -> None:
    serving: list[asyncio.Task[None]] = []

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.append(asyncio.ensure_future(serve(reader, writer)))

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    provider = HttpPaymentProvider(f"http://127.0.0.1:{port}", lambda: NOON, timeout_s=0.2)
    async with asyncio.timeout(2):
        assert isinstance(await provider.refund(order()), Unknown)
        assert isinstance(await provider.lookup("dec_1"), Unknown)
    server.close()
    await asyncio.gather(*serving)


async def test_many_that_get_no_answer_are_each_asked_before_they_are_given_up() -> None:
    asked: list[bytes] = []

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readline())
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    provider = HttpPaymentProvider(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", lambda: NOON, timeout_s=0.1)
    replies = await asyncio.gather(*(provider.refund(order(f"dec_{number}")) for number in range(40)))
    assert all(isinstance(reply, Unknown) for reply in replies)
    for _ in range(500):  # the server has its turn when the clients have had theirs
        if len(asked) == 40:
            break
        await asyncio.sleep(0.01)
    assert asked == [b"POST /refunds HTTP/1.1\r\n"] * 40
    server.close()


def test_the_sandbox_s_book_survives_a_restart(tmp_path: Path) -> None:
    book = PaymentBook(tmp_path)
    book.behave("late")
    asked = order().model_dump(mode="json")
    paid = book.pay(asked, NOON)
    assert paid is not None
    book.close()
    book = PaymentBook(tmp_path)
    assert book.mode == "late"
    assert book.find("dec_1") == paid
    again = book.pay(asked, NOON + timedelta(days=1))
    assert again is not None
    assert (again.reference, again.executes_at, again.requests) == (paid.reference, paid.executes_at, 2)
    book.close()


async def test_the_sandbox_s_server_refuses_what_it_cannot_take(tmp_path: Path) -> None:
    book = PaymentBook(tmp_path)
    server = serve_http(book, free_port())

    def ask(method: str, path: str, content: bytes = b"", *headers: str) -> int:
        with socket.create_connection(("127.0.0.1", server.server_port), timeout=5) as connection:
            head = [f"{method} {path} HTTP/1.1", "Host: x", "Connection: close", f"Content-Length: {len(content)}", *headers]
            connection.sendall("\r\n".join(head).encode() + b"\r\n\r\n" + content)
            return int(connection.makefile("rb").readline().split()[1])

    try:
        whole = json.dumps(order().model_dump(mode="json")).encode()
        for status, *asked in (
            (200, "GET", "/health"),
            (200, "GET", "/payments?limit=1"),
            (404, "GET", "/other"),
            (404, "POST", "/other", b"{}"),
            (422, "GET", "/payments?after=x"),
            (422, "GET", "/payments?limit=0"),
            (422, "POST", "/mode", b'{"mode": "loud"}'),
            (422, "POST", "/mode", b"{"),
            (422, "POST", "/refunds", b"{}", "Idempotency-Key: dec_1"),
            (422, "POST", "/refunds", whole, "Idempotency-Key: dec_2"),
            (422, "POST", "/refunds", whole),
            (201, "POST", "/refunds", whole, "Idempotency-Key: dec_1"),
        ):
            assert await asyncio.to_thread(ask, *asked) == status, asked  # type: ignore[arg-type]
    finally:
        server.shutdown()
        server.server_close()
        book.close()
