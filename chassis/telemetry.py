"""Health and metrics of a process: `/health` says whether it makes progress, `/metrics` what it did (Prometheus)."""

import json
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

__all__ = ["Health", "MetricsSource", "serve_telemetry"]

_STALLED_S = 30.0


@dataclass(slots=True)
class Health:
    """Progress, not liveness: a process that has records to read and has not moved for half a minute is not healthy.

    `moved` is called with each batch, `lagging` by whoever compares with the broker. Who cannot go on because infrastructure is
    away says so by `waiting` and, once it goes on, by `arrived`: nobody else knows whether it does."""

    started: bool = False
    stopped_because: str = ""
    waits: dict[str, str] = field(default_factory=dict)
    """What cannot go on, and why."""
    lag: int = 0
    last_progress: float = field(default_factory=time.monotonic)
    notes: list[Callable[[], str]] = field(default_factory=list)
    """What an operator should know though the process is well, e.g. that something is not set up; "" for nothing."""

    def moved(self) -> None:
        """A batch was done: what its records waited for is there again."""
        self.arrived()
        self.last_progress = time.monotonic()

    def waiting(self, error: BaseException, what: str = "records") -> None:
        """`what` waits for something that the process cannot reach."""
        self.waits[what] = f"{what} wait: {error!r}"[:300]

    def arrived(self, what: str = "records") -> None:
        """`what` goes on."""
        self.waits.pop(what, None)

    @property
    def waiting_for(self) -> str:
        """Why something of the process cannot go on; "" where all of it can."""
        return "; ".join(self.waits.copy().values())

    def lagging(self, lag: int) -> None:
        """How many records there are to read, as the broker says; with none, standing still is no stall."""
        if lag == 0:
            self.last_progress = time.monotonic()
        self.lag = lag

    def report(self) -> tuple[bool, dict[str, Any]]:
        """Whether all is well, and the body of `/health`."""
        idle = time.monotonic() - self.last_progress
        waiting_for = self.waiting_for
        if self.stopped_because:
            status = "stopped"
        elif not self.started:
            status = "starting"
        elif self.lag > 0 and idle > _STALLED_S:
            status = "stalled"
        elif waiting_for:
            status = "waiting"
        else:
            status = "ok"
        notes = [note for told in self.notes if (note := told())]
        return status == "ok", {
            "status": status,
            "lag": self.lag,
            "seconds_since_progress": round(idle, 1),
            **({"waiting_for": waiting_for} if waiting_for else {}),
            **({"stopped_because": self.stopped_because} if self.stopped_because else {}),
            **({"notes": notes} if notes else {}),
        }


MetricsSource = Callable[[], Iterable[tuple[str, str, str, float]]]
"""Gives (name, kind `counter` or `gauge`, help, value) when asked."""


class _Collector:
    def __init__(self, sources: list[MetricsSource]) -> None:
        self._sources = sources

    def collect(self) -> Iterable[Metric]:
        for source in self._sources:
            for name, kind, text, value in source():
                family = CounterMetricFamily if kind == "counter" else GaugeMetricFamily
                metric = family(f"recourse_{name}", text)
                metric.add_metric([], value)
                yield metric


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Probes are not worth a line."""


def serve_telemetry(health: Health, sources: list[MetricsSource], port: int) -> int:
    """Serve `/health` and `/metrics` on loopback from a thread of their own, so that a blocked loop shows. Returns the port."""
    registry = CollectorRegistry()
    registry.register(_Collector(sources))  # type: ignore[arg-type]
    metrics = make_wsgi_app(registry)

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/health":
            well, body = health.report()
            start_response("200 OK" if well else "503 Service Unavailable", [("Content-Type", "application/json")])
            return [json.dumps(body).encode()]
        if environ["PATH_INFO"] == "/metrics":
            return metrics(environ, start_response)
        start_response("404 Not Found", [("Content-Type", "text/plain")])
        return [b"there is /health and /metrics\n"]

    server = make_server("127.0.0.1", port, app, server_class=_Server, handler_class=_Quiet)
    threading.Thread(target=server.serve_forever, name="telemetry", daemon=True).start()
    return server.server_port
