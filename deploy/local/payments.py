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
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

from deploy.local.stand_in import Book, JsonHandler, Refused, Silence, Told, serve_json, text_of

__all__ = ["FILE", "MODES", "Conflict", "Paid", "PaymentBook", "main", "serve_http"]

FILE = "payments.sqlite3"
MODES = ("ok", "fail", "timeout", "late")
LATE = timedelta(minutes=1)
SILENT_S = 1.0
"""How long a time-out keeps its caller waiting before the connection ends without a word."""
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
        """The provider's own name of the payment."""
        return f"pay_{self.number:012d}"

    def is_executed(self, now: datetime) -> bool:
        """Whether it is through at a moment."""
        return self.executes_at <= text_of(now)

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


class PaymentBook(Book):
    """What was paid."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / FILE, _SCHEMA)
        found = self._writing.execute("SELECT value FROM settings WHERE name = 'mode'").fetchone()
        self._mode = MODES[0] if found is None else str(found[0])

    @property
    def mode(self) -> str:
        """How it behaves now, one of MODES."""
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
                (order["decision_id"], *values, text_of(executes_at), order["decision_id"]),
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


def _found(connection: sqlite3.Connection, decision_id: str) -> Paid | None:
    query = f"SELECT {_COLUMNS} FROM payments WHERE decision_id = ?"  # noqa: S608 - our own column names
    row = connection.execute(query, (decision_id,)).fetchone()
    return None if row is None else Paid(*row)


class _Http(JsonHandler):
    book: PaymentBook

    def _get(self) -> Told:
        place = urlsplit(self.path)
        if place.path.startswith("/refunds/"):
            return self._lookup(unquote(place.path.removeprefix("/refunds/")))
        match place.path:
            case "/health":
                return 200, {"status": "ok"}, {}
            case "/payments":
                return 200, self._listed({name: values[-1] for name, values in parse_qs(place.query).items()}), {}
        raise Refused(404, "there are /refunds, /payments, /mode and /health")

    def _post(self) -> Told:
        body = self._json()
        match urlsplit(self.path).path:
            case "/refunds":
                return self._refund(body)
            case "/mode":
                mode = body.get("mode")
                if mode not in MODES:
                    raise Refused(422, f"mode is one of {', '.join(MODES)}")
                self.book.behave(mode)
                return 200, {"mode": mode}, {}
        raise Refused(404, "there are /refunds, /payments, /mode and /health")

    def _json(self) -> dict[str, Any]:
        try:
            body = json.loads(self._body())
        except ValueError:
            body = None
        if not isinstance(body, dict):
            raise Refused(422, "the body is no JSON object")
        return body

    def _now(self) -> datetime:
        """The time by the caller's clock, which may be the sandbox's."""
        with contextlib.suppress(TypeError, ValueError):
            return parsedate_to_datetime(self.headers.get("Date", "")).astimezone(UTC)
        return datetime.now(UTC)

    def _refund(self, body: dict[str, Any]) -> Told:
        key, amount = self.headers.get("Idempotency-Key"), body.get("amount")
        whole = isinstance(amount, dict) and all(isinstance(amount.get(name), str) for name in ("amount", "currency"))
        if not whole or not all(isinstance(body.get(name), str) for name in (*_FIELDS, "decision_id")):
            raise Refused(422, f"give decision_id, amount, {', '.join(_FIELDS)}")
        if key != body["decision_id"]:
            raise Refused(422, "Idempotency-Key is the decision_id")
        now, mode = self._now(), self.book.mode
        try:
            paid = self.book.pay(body, now)
        except Conflict:
            raise Refused(422, "this key was used for another payment") from None
        if paid is None:
            raise Refused(402, "the sandbox's payments fail")
        if mode == "timeout":
            time.sleep(SILENT_S)
            raise Silence
        return self._state(paid, now, 201)

    def _lookup(self, decision_id: str) -> Told:
        paid = self.book.find(decision_id)
        if paid is None:
            raise Refused(404, "nobody asked for this payment")
        return self._state(paid, self._now(), 200)

    def _state(self, paid: Paid, now: datetime, status: int) -> Told:
        if paid.is_executed(now):
            return status, {"status": "executed", "reference": paid.reference, "executed_at": paid.executes_at}, {}
        left = datetime.fromisoformat(paid.executes_at) - now
        return 202, {"status": "pending"}, {"Retry-After": str(max(1, -int(-left.total_seconds() // 1)))}

    def _listed(self, query: Mapping[str, str]) -> dict[str, Any]:
        after, limit = query.get("after", "0").removeprefix("pay_"), query.get("limit", str(_PAGE))
        if not (after.isascii() and after.isdigit() and len(after) <= 18):
            raise Refused(422, "after is a reference such as pay_000000000001")
        if not (limit.isascii() and limit.isdigit() and len(limit) <= 4 and 1 <= int(limit) <= _MOST):
            raise Refused(422, f"limit is 1 to {_MOST}")
        found = self.book.payments(
            after=int(after), limit=int(limit), order_id=query.get("order_id"), decision_id=query.get("decision_id")
        )
        page = found[: int(limit)]
        now = self._now() if self.headers.get("Date") else None
        next_page = {"next": page[-1].reference} if len(found) > len(page) else {}
        return {"mode": self.book.mode, "items": [paid.shown(now) for paid in page], **next_page}


def serve_http(book: PaymentBook, port: int) -> ThreadingHTTPServer:
    """Serve `/refunds`, `/payments`, `/mode` and `/health` from threads of their own. Raises OSError for a taken port."""
    return serve_json(_Http, port, book=book)


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
