"""What `recourse replay` says where there is nothing to play on."""

import http.server
import threading
from collections.abc import Iterator

import pytest
from typer.testing import CliRunner

import recourse.replay as module
from deploy.local.ports import free_port
from recourse.main import app


class _Page(http.server.BaseHTTPRequestHandler):
    """Answers every GET, as a web site does that knows no sandbox."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<h1>Welcome</h1>")

    def log_message(self, format: str, *args: object) -> None:
        """Nobody reads it."""


@pytest.fixture
def site() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Page)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def said(url: str) -> str:
    result = CliRunner().invoke(app, ["replay", "--url", url, "--key", "x", "--orders", "1", "--json"])
    assert (result.exit_code, result.stdout) == (2, ""), result.exception
    (line,) = result.stderr.splitlines()
    return line


@pytest.mark.parametrize("url", [f"http://127.0.0.1:{free_port()}", "127.0.0.1:8080", "ftp://sandbox.example"])
def test_a_sandbox_that_does_not_answer_is_told_soon_and_in_a_line(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ANSWERS_S", 0.2)
    assert said(url).startswith(f"recourse: no sandbox answers at {url}; ")


def test_what_answers_and_is_no_sandbox_is_told_in_a_line(site: str) -> None:
    assert said(site) == f"recourse: {site} is no sandbox: what answers there knows no test clock"
