"""What the sandbox's own servers share: a book of what they took, on disk, and JSON over HTTP on loopback."""

import contextlib
import json
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

__all__ = ["HOST", "Book", "JsonHandler", "Refused", "Silence", "Told", "serve_json", "text_of"]

HOST = "127.0.0.1"
_BODY_LIMIT = 64 * 1024
_LOOK_S = 0.1
"""How often a server looks whether it is to end, in seconds."""


def text_of(moment: datetime) -> str:
    """UTC with milliseconds, as the product writes moments."""
    moment = moment.astimezone(UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


class Book:
    """One SQLite file: one writing connection under a lock, readers open their own."""

    def __init__(self, path: Path, schema: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._writing = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._lock = threading.Lock()
        # NORMAL: a commit survives the death of this process; only a power cut could take back the last ones.
        self._writing.execute("PRAGMA journal_mode=WAL")
        self._writing.execute("PRAGMA synchronous=NORMAL")
        self._writing.executescript(schema)

    def close(self) -> None:
        self._writing.close()

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


class Refused(Exception):
    """A request that cannot be answered; says the status and why."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


class Silence(Exception):
    """The caller is to hear nothing."""


Told = tuple[int, Any, dict[str, str]]
"""Status, JSON body and further headers of an answer."""


class JsonHandler(BaseHTTPRequestHandler):
    """Answers with JSON. A server says what in `_get` and `_post`, which may raise Refused or Silence."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body leave in one segment
    disable_nagle_algorithm = True
    timeout = 60

    def _get(self) -> Told:
        raise NotImplementedError

    def _post(self) -> Told:
        raise NotImplementedError

    def do_GET(self) -> None:
        self._answer(self._get)

    def do_POST(self) -> None:
        self._answer(self._post)

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are not worth a line."""

    def _body(self) -> bytes:
        """Raises Refused for one that is too long."""
        length = int(self.headers.get("Content-Length") or 0)
        if not 0 <= length <= _BODY_LIMIT:
            self.close_connection = True
            raise Refused(413, "the body is too long")
        return self.rfile.read(length)

    def _answer(self, make: Callable[[], Told]) -> None:
        try:
            status, body, headers = make()
        except Refused as refused:
            status, body, headers = refused.status, {"detail": str(refused)}, {}
        except Silence:
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


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is its own affair; anything else belongs in the log."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


def serve_json(handler: type[JsonHandler], port: int, **given: object) -> ThreadingHTTPServer:
    """Serve from threads of their own, each handler with what is `given` as attributes. Raises OSError for a taken port."""
    server = _Server((HOST, port), type("Http", (handler,), given))
    threading.Thread(target=server.serve_forever, args=(_LOOK_S,), name="http", daemon=True).start()
    return server
