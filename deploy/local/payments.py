"""The sandbox's payment provider: pays each idempotency key once, and fails, times out or answers late when told to.

`python -m deploy.local.payments --port P --data DIR`, on loopback. What was paid is in a database before it is answered. It
keeps no clock: `Date` of a request says what time it is, so that the test clock decides when a late payment is through."""

import argparse
import contextlib
import json
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

__all__ = ["FILE", "MODES", "Conflict", "Paid", "PaymentBook", "main", "serve_http"]

HOST = "127.0.0.1"
FILE = "payments.sqlite3"
MODES = ("ok", "fail", "timeout", "late")
LATE = timedelta(minutes=1)
SILENT_S = 1.0
"""How long a time-out keeps its caller waiting before the connection ends without a word."""
_BODY_LIMIT = 64 * 1024
_PAGE = 200
_MOST = 1_000
_FIELDS = ("order_id", "order_number", "merchant_id")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS payments (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    decision_id TEXT NOT NULL UNIQUE,
    order_id TEXT NOT NULL,
    order_number TEXT NOT NULL,
    merchant_id TEXT NOT NULL,
    amount TEXT NOT NULL,
    currency TEXT NOT NULL,
    executes_at TEXT NOT NULL,
    requests INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS payments_by_order ON payments (order_id, number);
CREATE TABLE IF NOT EXISTS refusals (decision_id TEXT PRIMARY KEY, requests INTEGER NOT NULL DEFAULT 1);
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""
_COLUMNS = "number, decision_id, order_id, order_number, merchant_id, amount, currency, executes_at, requests"


class Conflict(Exception):
    """The key belongs to another payment."""


class Paid(NamedTuple):
    """A payment: executed from `executes_at` on, which is later than now only where it is late. `requests` counts how often it
    was asked for, refusals included."""

    number: int
    decision_id: str
    order_id: str
    order_number: str
    merchant_id: str
    amount: str
    currency: str
    executes_at: str
    requests: int

    @property
    def reference(self) -> str:
        return f"pay_{self.number:012d}"

    def is_executed(self, now: datetime) -> bool:
        return self.executes_at <= _text(now)

    def shown(self, now: datetime | None) -> dict[str, Any]:
        """As it is listed; without a time, what its state is stays open."""
        state = {} if now is None else {"state": "executed" if self.is_executed(now) else "pending"}
        return {
            "reference": self.reference,
            "decision_id": self.decision_id,
            **{name: getattr(self, name) for name in _FIELDS},
            "amount": {"amount": self.amount, "currency": self.currency},
            **state,
            "executed_at": self.executes_at,
            "requests": self.requests,
        }


def _text(moment: datetime) -> str:
    moment = moment.astimezone(UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


class PaymentBook:
    """What was paid, in one SQLite file: one writing connection under a lock, readers open their own."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / FILE
        self._writing = sqlite3.connect(self._path, check_same_thread=False, isolation_level=None)
        self._lock = threading.Lock()
        # NORMAL: a commit survives the death of this process; only a power cut could take back the last ones.
        self._writing.execute("PRAGMA journal_mode=WAL")
        self._writing.execute("PRAGMA synchronous=NORMAL")
        self._writing.executescript(_SCHEMA)
        found = self._writing.execute("SELECT value FROM settings WHERE name = 'mode'").fetchone()
        self._mode = MODES[0] if found is None else str(found[0])

    def close(self) -> None:
        self._writing.close()

    @property
    def mode(self) -> str:
        return self._mode

    def behave(self, mode: str) -> None:
        """From now on, and after a restart too. Raises ValueError for a mode that there is not."""
        if mode not in MODES:
            raise ValueError(f"mode is one of {', '.join(MODES)}")
        with self._transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO settings VALUES ('mode', ?)", (mode,))
        self._mode = mode

    def pay(self, order: Mapping[str, Any], now: datetime) -> Paid | None:
        """Pay a key for the first time, or find what it paid; None where the mode refuses it. Raises Conflict."""
        amount = order["amount"]
        values = (*(order[name] for name in _FIELDS), amount["amount"], amount["currency"])
        with self._transaction() as connection:
            connection.execute("UPDATE payments SET requests = requests + 1 WHERE decision_id = ?", (order["decision_id"],))
            known = _found(connection, order["decision_id"])
            if known is not None:
                if values != (known.order_id, known.order_number, known.merchant_id, known.amount, known.currency):
                    raise Conflict
                return known
            if self._mode == "fail":
                connection.execute(
                    "INSERT INTO refusals (decision_id) VALUES (?) ON CONFLICT DO UPDATE SET requests = requests + 1",
                    (order["decision_id"],),
                )
                return None
            executes_at = now + LATE if self._mode == "late" else now
            connection.execute(
                "INSERT INTO payments"
                " (decision_id, order_id, order_number, merchant_id, amount, currency, executes_at, requests)"
                " SELECT ?, ?, ?, ?, ?, ?, ?, 1 + coalesce(sum(requests), 0) FROM refusals WHERE decision_id = ?",
                (order["decision_id"], *values, _text(executes_at), order["decision_id"]),
            )
            return _found(connection, order["decision_id"])

    def find(self, decision_id: str) -> Paid | None:
        with self._reading() as connection:
            return _found(connection, decision_id)

    def payments(self, *, after: int, limit: int, order_id: str | None, decision_id: str | None) -> list[Paid]:
        """Oldest first; at most one more than `limit`, which says that there are more."""
        given = {"order_id": order_id, "decision_id": decision_id}
        filters = [(column, value) for column, value in given.items() if value]
        where = " AND ".join([f"{column} = ?" for column, _ in filters] + ["number > ?"])
        query = f"SELECT {_COLUMNS} FROM payments WHERE {where} ORDER BY number LIMIT ?"  # noqa: S608 - our own column names
        with self._reading() as connection:
            found = connection.execute(query, (*(value for _, value in filters), after, limit + 1)).fetchall()
        return [Paid(*row) for row in found]

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._writing.execute("BEGIN IMMEDIATE")
            try:
                yield self._writing
                self._writing.execute("COMMIT")
            except BaseException:
                if self._writing.in_transaction:
                    self._writing.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        connection = sqlite3.connect(self._path)
        try:
            yield connection
        finally:
            connection.close()


def _found(connection: sqlite3.Connection, decision_id: str) -> Paid | None:
    query = f"SELECT {_COLUMNS} FROM payments WHERE decision_id = ?"  # noqa: S608 - our own column names
    row = connection.execute(query, (decision_id,)).fetchone()
    return None if row is None else Paid(*row)


class _Refused(Exception):
    """A request that cannot be answered; says the status and why."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


class _Silence(Exception):
    """The caller is to hear nothing."""


_Told = tuple[int, dict[str, Any], dict[str, str]]


class _Http(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body leave in one segment
    disable_nagle_algorithm = True
    timeout = 60
    book: PaymentBook

    def do_GET(self) -> None:
        self._answered(self._get)

    def do_POST(self) -> None:
        self._answered(self._post)

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are not worth a line."""

    def _get(self) -> _Told:
        place = urlsplit(self.path)
        if place.path.startswith("/refunds/"):
            return self._lookup(unquote(place.path.removeprefix("/refunds/")))
        match place.path:
            case "/health":
                return 200, {"status": "ok"}, {}
            case "/payments":
                return 200, self._listed({name: values[-1] for name, values in parse_qs(place.query).items()}), {}
        raise _Refused(404, "there are /refunds, /payments, /mode and /health")

    def _post(self) -> _Told:
        body = self._body()
        match urlsplit(self.path).path:
            case "/refunds":
                return self._refund(body)
            case "/mode":
                mode = body.get("mode")
                if mode not in MODES:
                    raise _Refused(422, f"mode is one of {', '.join(MODES)}")
                self.book.behave(mode)
                return 200, {"mode": mode}, {}
        raise _Refused(404, "there are /refunds, /payments, /mode and /health")

    def _body(self) -> dict[str, Any]:
        length = int(self.headers.get("Content-Length") or 0)
        if not 0 <= length <= _BODY_LIMIT:
            self.close_connection = True
            raise _Refused(413, "the body is too long")
        try:
            body = json.loads(self.rfile.read(length))
        except ValueError:
            body = None
        if not isinstance(body, dict):
            raise _Refused(422, "the body is no JSON object")
        return body

    def _now(self) -> datetime:
        """The time by the caller's clock, which may be the sandbox's."""
        with contextlib.suppress(TypeError, ValueError):
            return parsedate_to_datetime(self.headers.get("Date", "")).astimezone(UTC)
        return datetime.now(UTC)

    def _refund(self, body: dict[str, Any]) -> _Told:
        key, amount = self.headers.get("Idempotency-Key"), body.get("amount")
        whole = isinstance(amount, dict) and all(isinstance(amount.get(name), str) for name in ("amount", "currency"))
        if not whole or not all(isinstance(body.get(name), str) for name in (*_FIELDS, "decision_id")):
            raise _Refused(422, f"give decision_id, amount, {', '.join(_FIELDS)}")
        if key != body["decision_id"]:
            raise _Refused(422, "Idempotency-Key is the decision_id")
        now, mode = self._now(), self.book.mode
        try:
            paid = self.book.pay(body, now)
        except Conflict:
            raise _Refused(422, "this key was used for another payment") from None
        if paid is None:
            raise _Refused(402, "the sandbox's payments fail")
        if mode == "timeout":
            time.sleep(SILENT_S)
            raise _Silence
        return self._state(paid, now, 201)

    def _lookup(self, decision_id: str) -> _Told:
        paid = self.book.find(decision_id)
        if paid is None:
            raise _Refused(404, "nobody asked for this payment")
        return self._state(paid, self._now(), 200)

    def _state(self, paid: Paid, now: datetime, status: int) -> _Told:
        if paid.is_executed(now):
            return status, {"status": "executed", "reference": paid.reference, "executed_at": paid.executes_at}, {}
        left = datetime.fromisoformat(paid.executes_at) - now
        return 202, {"status": "pending"}, {"Retry-After": str(max(1, -int(-left.total_seconds() // 1)))}

    def _listed(self, query: Mapping[str, str]) -> dict[str, Any]:
        after, limit = query.get("after", "0").removeprefix("pay_"), query.get("limit", str(_PAGE))
        if not (after.isascii() and after.isdigit() and len(after) <= 18):
            raise _Refused(422, "after is a reference such as pay_000000000001")
        if not (limit.isascii() and limit.isdigit() and len(limit) <= 4 and 1 <= int(limit) <= _MOST):
            raise _Refused(422, f"limit is 1 to {_MOST}")
        found = self.book.payments(
            after=int(after), limit=int(limit), order_id=query.get("order_id"), decision_id=query.get("decision_id")
        )
        page = found[: int(limit)]
        now = self._now() if self.headers.get("Date") else None
        next_page = {"next": page[-1].reference} if len(found) > len(page) else {}
        return {"mode": self.book.mode, "items": [paid.shown(now) for paid in page], **next_page}

    def _answered(self, make: Any) -> None:
        try:
            status, body, headers = make()
        except _Refused as refused:
            status, body, headers = refused.status, {"detail": str(refused)}, {}
        except _Silence:
            self.close_connection = True
            return
        payload = json.dumps(body, ensure_ascii=False).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(payload)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(payload)


class _HttpServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is its own affair; anything else belongs in the log."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


def serve_http(book: PaymentBook, port: int) -> ThreadingHTTPServer:
    """Serve `/refunds`, `/payments`, `/mode` and `/health` from threads of their own. Raises OSError for a taken port."""
    server = _HttpServer((HOST, port), type("Http", (_Http,), {"book": book}))
    threading.Thread(target=server.serve_forever, args=(0.1,), name="http", daemon=True).start()
    return server


def main() -> None:
    """Run until SIGTERM or Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m deploy.local.payments", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--data", type=Path, required=True, help=f"the folder of {FILE}")
    given = parser.parse_args()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        book = PaymentBook(given.data)
        server = serve_http(book, given.port)
    except OSError as error:
        sys.exit(f"the payment provider cannot start: {error}")
    stop.wait()
    server.shutdown()
    server.server_close()
    book.close()


if __name__ == "__main__":
    main()
