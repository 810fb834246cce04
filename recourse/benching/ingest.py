"""`bench ingest`: intake's real loop, in its own process, against the raw floor, in turns on the same stack.

Both read commands that wait in a topic and are timed from being let go until their last record is written. While commands are
published the process is stopped, so that nobody pays for the producer."""

import dataclasses
import os
import signal
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chassis.kafka import ensure_topics
from chassis.settings import Settings
from contracts.envelope import Record
from contracts.topics import INTAKE_EVENTS, PARTITIONS
from deploy.local import Stack
from deploy.local.ports import free_port
from deploy.local.process import Child, Launch, start
from deploy.local.stack import to_stderr
from recourse.addresses import settings_on
from recourse.benching.counting import (
    Events,
    Statements,
    commands_for,
    count_intake,
    create_topics,
    events_written,
    merchants_for,
    publish_all,
    store_commands,
)
from recourse.benching.floor import FLOOR_IN, FLOOR_OUT
from recourse.sandbox import cpu_seconds
from simulator.generator import generate

__all__ = ["MAY_GROW", "bench_ingest", "share_of_floor"]

MAY_GROW = 0.05
"""By so much of what it was the product's share of the floor's processor time may differ: two quiet runs do."""
_ROUNDS = 9
_WARM_UP = 500


@dataclass(frozen=True, slots=True)
class _Lap:
    per_s: float
    cpu_s_per_1000: float


@dataclass(slots=True)
class _Lane:
    """One of the two that are compared: its process and the topic that shows what it has done."""

    child: Child
    settings: Settings
    events: Events

    async def lap(self, records: Sequence[tuple[str, Record]]) -> _Lap:
        """Let the process work off `records`."""
        before = await self.events.count()
        os.kill(self.child.pid, signal.SIGSTOP)
        try:
            await publish_all(self.settings, records)
        finally:
            cpu, began = cpu_seconds(self.child.pid), time.monotonic()
            os.kill(self.child.pid, signal.SIGCONT)
        await self.events.reach(before + len(records))
        seconds = time.monotonic() - began
        used = cpu_seconds(self.child.pid) - cpu
        return _Lap(len(records) / seconds, used * 1_000 / len(records))


def share_of_floor(result: Mapping[str, Any]) -> float:
    """The product's processor time for the floor's, of a result. Raises ValueError where it has no such figures."""
    try:
        return float(result["cpu_s_per_1000"]) / float(result["floor_cpu_s_per_1000"])
    except (KeyError, TypeError, ZeroDivisionError) as missing:
        raise ValueError(f"this is no result of bench ingest with processor times: {missing!r}") from None


async def bench_ingest(stack: Stack, folder: Path, orders: int, seed: int = 1) -> dict[str, Any]:
    """Measure on a running stack; `orders` for each of the two. The figures are medians over the rounds."""
    settings = settings_on(stack, f"bench-{time.time_ns():x}-", "bench")
    await ensure_topics(settings)
    await create_topics(settings, FLOOR_IN, FLOOR_OUT)
    batch = generate(_WARM_UP + orders, seed).orders
    commands = commands_for(batch)
    metrics = f"http://127.0.0.1:{free_port()}/metrics"
    async with (
        events_written(settings, INTAKE_EVENTS.name, PARTITIONS) as product_events,
        events_written(settings, FLOOR_OUT, PARTITIONS) as floor_events,
    ):
        await publish_all(settings, merchants := merchants_for(batch))
        floor = _start("floor", [sys.executable, "-P", "-m", "recourse.benching.floor"], settings, folder)
        product = _start("intake", [sys.executable, "-P", "-m", "recourse.run", "intake"], settings, folder, metrics)
        try:
            await product_events.reach(len(merchants))
            lanes = {
                "floor": _Lane(floor, settings, floor_events),
                "product": _Lane(product, settings, product_events),
            }
            laps, mongo = await _laps(lanes, commands, orders, metrics)
        finally:
            for child in (floor, product):
                child.stop(5)
    to_stderr("counting statements …")
    statements: Statements = await count_intake(
        dataclasses.replace(settings, namespace=f"bench-{time.time_ns():x}-"), min(orders, 4_000), seed
    )
    floor_per_s = statistics.median(lap.per_s for lap in laps["floor"])
    product_per_s = statistics.median(lap.per_s for lap in laps["product"])
    return {
        "floor_per_s": round(floor_per_s),
        "product_per_s": round(product_per_s),
        "ratio": round(statistics.median(p.per_s / f.per_s for p, f in zip(laps["product"], laps["floor"], strict=True)), 3),
        "mongo_commands_per_1000": mongo,
        "kafka_requests_per_1000": statements.kafka_requests,
        "cpu_s_per_1000": round(statistics.median(lap.cpu_s_per_1000 for lap in laps["product"]), 4),
        "floor_cpu_s_per_1000": round(statistics.median(lap.cpu_s_per_1000 for lap in laps["floor"]), 4),
        "statements_per_1000": {"mongo": statements.mongo, "kafka": statements.kafka},
        "rounds": [
            {"floor_per_s": round(f.per_s), "product_per_s": round(p.per_s)}
            for f, p in zip(laps["floor"], laps["product"], strict=True)
        ],
        "orders": orders,
        "stack": {"broker": str(stack.broker), "store": str(stack.store)},
    }


async def _laps(
    lanes: dict[str, _Lane], commands: Sequence[tuple[str, Record]], orders: int, metrics: str
) -> tuple[dict[str, list[_Lap]], float]:
    """The laps of both, in turns after one to warm up, and the store commands of the product per 1,000 orders."""

    def of(name: str, records: Sequence[tuple[str, Record]]) -> list[tuple[str, Record]]:
        return [(FLOOR_IN, record) for _, record in records] if name == "floor" else list(records)

    for name, lane in lanes.items():
        await lane.lap(of(name, commands[:_WARM_UP]))
    before = sum((await store_commands(metrics)).values())
    laps: dict[str, list[_Lap]] = {name: [] for name in lanes}
    size = orders // _ROUNDS
    for number in range(_ROUNDS):
        share = commands[_WARM_UP + number * size : _WARM_UP + (number + 1) * size]
        # Whoever comes second finds warm caches and a longer log: take turns.
        for name in sorted(lanes, reverse=number % 2 == 1):
            laps[name].append(await lanes[name].lap(of(name, share)))
        to_stderr(
            f"round {number + 1} of {_ROUNDS}: floor {laps['floor'][-1].per_s:.0f}/s, product {laps['product'][-1].per_s:.0f}/s"
        )
    used = sum((await store_commands(metrics)).values()) - before
    return laps, round(used * 1_000 / (size * _ROUNDS), 1)


def _start(name: str, command: list[str], settings: Settings, folder: Path, metrics: str = "") -> Child:
    environment = {
        "RECOURSE_KAFKA_BOOTSTRAP": settings.kafka_bootstrap,
        "RECOURSE_MONGO_URI": settings.mongo_uri,
        "RECOURSE_NAMESPACE": settings.namespace,
        "RECOURSE_KAFKA_IDEMPOTENT": "1" if settings.kafka_idempotent else "0",
        "RECOURSE_SANDBOX": "0",
        "RECOURSE_INSTANCE": f"{name}-1",
    }
    if metrics:
        environment["RECOURSE_HEALTH_PORT"] = metrics.rsplit(":", 1)[1].split("/")[0]
    launch = Launch(name, command, cwd=folder, log=folder / "logs" / f"{name}.log", environment=environment)
    return start(launch, bound=True)
