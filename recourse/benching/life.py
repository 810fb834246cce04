"""`bench life`: orders through their whole life, against the floor of that life: as many requests, mails, records and store
statements as it took, but with nothing in them, by the same libraries on the same machine."""

import asyncio
import json
import os
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiosmtplib import SMTP
from motor.motor_asyncio import AsyncIOMotorClient

from chassis.settings import Settings
from contracts.envelope import Record
from contracts.topics import PARTITIONS, TOPICS
from deploy.local import Choice, attach_stack, start_stack
from deploy.local.ports import free_port
from deploy.local.process import Child, Launch, start
from deploy.local.stack import to_stderr
from recourse.addresses import settings_on
from recourse.benching.counting import create_topics, events_written, publish_all, records_read, store_commands
from recourse.benching.floor import FLOOR_OUT
from recourse.replay import measured_play, starting_clock
from recourse.sandbox import Sandbox, cpu_seconds, own_sandbox
from simulator.client import Api
from simulator.orders import Batch

__all__ = ["Counts", "bench_life", "life_floor"]

_AT_ONCE = 16
_BODY = json.dumps({"text": "x" * 1_000}).encode()
_MAIL = b"Subject: x\r\n\r\n" + (b"x" * 74 + b"\r\n") * 80
_DOCUMENT = {"v": 1, "body": "x" * 1_500}
_WRITES = ("insert", "update")
_PATIENCE_S = 30.0


@dataclass(frozen=True, slots=True)
class Counts:
    """What a life asked of the parts."""

    requests: int
    mails: int
    records: int
    readings: int
    """Records read, by all services together."""
    statements: Counter[str]
    """Commands to the store, by name."""

    def per_order(self, orders: int) -> dict[str, float]:
        counted = {
            "requests": self.requests,
            "mails": self.mails,
            "records": self.records,
            "readings": self.readings,
            "statements": self.statements.total(),
        }
        return {name: round(count / orders, 2) for name, count in counted.items()}


async def bench_life(folder: Path, batch: Batch, seed: int, stack: Choice) -> dict[str, Any]:
    """Live and measure, each on a stack of its own under `folder`. Milliseconds of processor time an order."""
    with own_sandbox(folder / "life", starting_clock(batch), stack=stack) as sandbox:
        played, mails, seconds, spent = await measured_play(sandbox, batch, seed)
        counts = await _counted(sandbox, played.requests, mails)
    to_stderr("the floor: as many requests, mails, records and statements with nothing in them …")
    (folder / "floor").mkdir(parents=True, exist_ok=True)
    with start_stack(folder / "floor", stack, bound=True) as running:
        floor = await life_floor(settings_on(running), running.pids.values(), counts, folder / "floor")
    ms = {name: round(used * 1_000 / played.orders, 2) for name, used in spent.items()}
    floor_ms = {name: round(used * 1_000 / played.orders, 2) for name, used in floor.items()}
    cores = len(os.sched_getaffinity(0))
    return {
        "orders": played.orders,
        "cases": len(played.cases),
        "seconds": round(seconds, 2),
        "orders_per_s": round(played.orders / seconds, 1),
        "per_order": counts.per_order(played.orders),
        "cpu_ms": ms,
        "cpu_ms_per_order": round(sum(ms.values()), 2),
        "floor_cpu_ms": floor_ms,
        "floor_cpu_ms_per_order": round(sum(floor_ms.values()), 2),
        "floor_per_s": round(cores * 1_000 / sum(floor_ms.values()), 1),
        "share_of_floor": round(sum(ms.values()) / sum(floor_ms.values()), 2),
        "cores": cores,
        "stack": {"broker": str(running.broker), "store": str(running.store)},
    }


async def _counted(sandbox: Sandbox, requests: int, mails: int) -> Counts:
    """What the services and the broker say of the life so far."""
    statements: Counter[str] = Counter()
    readings = 0
    for service in sandbox.ready()["services"].values():
        for name, count in (await store_commands(service["metrics"])).items():
            statements[name if name in _WRITES else "find"] += int(count)
        readings += await records_read(service["metrics"])
    if sandbox.data is None:
        raise ValueError("only a sandbox of one's own can be measured")
    settings = settings_on(attach_stack(sandbox.data))
    records = 0
    for topic in TOPICS:
        async with events_written(settings, topic.name, topic.partitions) as written:
            records += await written.count()
    return Counts(requests, mails, records, readings, statements)


async def life_floor(settings: Settings, pids: Iterable[int], counts: Counts, folder: Path) -> dict[str, float]:
    """Seconds of processor time that each kind of thing takes bare: of client, server and, by their `pids`, broker and store.

    Raises TimeoutError where the servers do not start; their log is under `folder`."""
    http_port, smtp_port = free_port(), free_port()
    command = [sys.executable, "-P", "-m", "recourse.benching.bare", str(http_port), str(smtp_port)]
    bare = start(Launch("bare", command, cwd=folder, log=folder / "logs" / "bare.log", environment={}), bound=True)
    parts = (bare.pid, os.getpid(), *pids)
    work: Mapping[str, Callable[[], Awaitable[None]]] = {
        "requests": lambda: _requests(f"http://127.0.0.1:{http_port}", counts.requests),
        "mails": lambda: _mails(smtp_port, counts.mails),
        "records": lambda: _records(settings, counts.records, counts.readings),
        "statements": lambda: _statements(settings, counts.statements),
    }
    await create_topics(settings, FLOOR_OUT)
    used: dict[str, float] = {}
    try:
        await _answers(bare, http_port)
        for name, do in work.items():
            before = sum(map(cpu_seconds, parts))
            await do()
            used[name] = sum(map(cpu_seconds, parts)) - before
            to_stderr(f"  {name}: {used[name]:.1f} s of processor time")
    finally:
        bare.stop(5)
    return used


async def _answers(bare: Child, port: int) -> None:
    """Return when the bare servers listen. Raises TimeoutError."""
    async with asyncio.timeout(_PATIENCE_S):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                if not bare.alive():
                    raise TimeoutError("the bare servers did not start; see bare.log") from None
                await asyncio.sleep(0.1)
            else:
                writer.close()
                return


async def _shared(count: int, work: Callable[[Iterator[int]], Awaitable[None]]) -> None:
    """Share so many things out: some work at once, each takes the next one until none is left."""
    left = iter(range(count))

    async def some() -> None:
        await work(left)

    async with asyncio.TaskGroup() as group:
        for _ in range(_AT_ONCE):
            group.create_task(some())


async def _requests(url: str, count: int) -> None:
    async with Api([url], concurrency=_AT_ONCE) as api:

        async def ask(left: Iterator[int]) -> None:
            for _ in left:
                answer = await api.request("POST", "key", "/", body=_BODY)
                if answer.body != _BODY:
                    raise RuntimeError(f"the bare web server said {answer.problem}")

        await _shared(count, ask)


async def _mails(port: int, count: int) -> None:
    async def send(left: Iterator[int]) -> None:
        async with SMTP(hostname="127.0.0.1", port=port, start_tls=False) as connection:
            for _ in left:
                await connection.sendmail("a@bare.example", ["b@bare.example"], _MAIL)

    await _shared(count, send)


async def _records(settings: Settings, count: int, readings: int) -> None:
    records = [Record(b"%d" % number, _BODY, (), number % PARTITIONS) for number in range(count)]
    await publish_all(settings, [(FLOOR_OUT, record) for record in records])
    consumer = AIOKafkaConsumer(
        settings.prefixed(FLOOR_OUT),
        bootstrap_servers=settings.kafka_bootstrap,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    await consumer.start()
    try:
        while readings > 0:
            got = sum(map(len, (await consumer.getmany(timeout_ms=200, max_records=1_000)).values()))
            readings -= got
            if not got:
                await consumer.seek_to_beginning()
    finally:
        await consumer.stop()


async def _statements(settings: Settings, statements: Mapping[str, int]) -> None:
    client: AsyncIOMotorClient[dict[str, Any]] = AsyncIOMotorClient(settings.mongo_uri)
    collection = client[settings.prefixed("floor")]["life"]
    asked: Mapping[str, Callable[[int], Awaitable[Any]]] = {
        "insert": lambda number: collection.insert_one({"_id": number, **_DOCUMENT}),
        "update": lambda _: collection.replace_one({"_id": 0}, _DOCUMENT),
        "find": lambda _: collection.find_one({"_id": 0}),
    }

    async def ask(left: Iterator[int], one: Callable[[int], Awaitable[Any]]) -> None:
        for number in left:
            await one(number)

    try:
        for name, one in asked.items():
            await _shared(statements[name], partial(ask, one=one))
    finally:
        client.close()
