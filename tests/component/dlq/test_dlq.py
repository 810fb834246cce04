"""`recourse dlq` against a real loop: a key that failed goes on in order, a dead letter is sent again."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from chassis.handler import Inbound, Step
from chassis.kafka import KafkaPublisher, ensure_topics
from chassis.service import Runtime, open_runtime
from chassis.settings import Settings
from chassis.store import Append
from contracts.envelope import Envelope, encode
from contracts.orders import CheckInReached
from contracts.topics import INTAKE_COMMANDS, Topic, dead_letters_of
from deploy.local import Stack
from recourse.dlq import PLACE
from tests.contract.examples import AT, ORDER_ID

KEY = ORDER_ID


class Notebook:
    """A handler that writes down the ids of what it gets and fails while it is told to."""

    service = "intake"
    topics = (INTAKE_COMMANDS,)
    gapless: frozenset[str] = frozenset()
    ignored: frozenset[str] = frozenset()

    def __init__(self) -> None:
        self.fails_on: set[str] = set()

    def collection_of(self, key: str) -> str | None:
        return "notes"

    def load(self, body: dict[str, Any] | None) -> tuple[str, ...]:
        return tuple(body["ids"]) if body else ()

    def dump(self, state: tuple[str, ...]) -> dict[str, Any]:
        return {"ids": list(state)}

    async def prepare(self, batch: Sequence[Inbound]) -> None:
        return None

    def apply(self, state: tuple[str, ...], inbound: Inbound, context: Any) -> Step[tuple[str, ...]]:
        if inbound.envelope.id in self.fails_on:
            raise ValueError("cannot be written down")
        return Step((*state, inbound.envelope.id))

    def pack(self, appends: Sequence[Append], batch: Mapping[int, tuple[str, int]]) -> Sequence[Append]:
        return appends

    async def appended(self, appends: Sequence[Append]) -> None:
        return None

    async def assigned(self, partitions: frozenset[int]) -> None:
        return None

    def pending(self) -> Mapping[str, int]:
        return {}


@pytest.fixture
async def settings(stack: Stack, request: pytest.FixtureRequest) -> Settings:
    made = Settings(
        kafka_bootstrap=stack.kafka_bootstrap,
        mongo_uri=stack.mongo_uri,
        namespace=f"dlq{abs(hash(request.node.name)) % 10_000}-",
        instance="notebook-1",
        kafka_idempotent=stack.broker.kind != "tansu",
    )
    await ensure_topics(made)
    return made


@asynccontextmanager
async def running(settings: Settings, notebook: Notebook) -> AsyncIterator[Runtime]:
    stop = asyncio.Event()
    async with open_runtime(settings, "intake") as runtime:
        await runtime.begin(stop)
        task = asyncio.create_task(runtime.run(notebook, stop))
        try:
            yield runtime
        finally:
            stop.set()
            await task


async def commands(settings: Settings, *ids: str, topic: Topic = INTAKE_COMMANDS) -> None:
    publisher = KafkaPublisher(settings)
    await publisher.start()
    try:
        for one in ids:
            message = CheckInReached(order_id=KEY, due_at=AT)
            await publisher.publish([(topic.name, encode(Envelope(one, "test", KEY, AT, message)))])
    finally:
        await publisher.stop()


async def until(runtime: Runtime, collection: str, count: int) -> list[dict[str, Any]]:
    async with asyncio.timeout(60):
        while True:
            found = await runtime.database[collection].find().sort("order", 1).to_list(None)
            if len(found) == count:
                return found
            await asyncio.sleep(0.05)


async def notes(runtime: Runtime, count: int) -> list[str]:
    async with asyncio.timeout(60):
        while True:
            document = await runtime.database["notes"].find_one({"_id": KEY})
            if document and len(document["body"]["ids"]) == count:
                return document["body"]["ids"]
            await asyncio.sleep(0.05)


async def dlq(settings: Settings, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "RECOURSE_KAFKA_BOOTSTRAP": settings.kafka_bootstrap,
        "RECOURSE_MONGO_URI": settings.mongo_uri,
        "RECOURSE_NAMESPACE": settings.namespace,
    }
    command = [sys.executable, "-m", "recourse.main", "dlq", *arguments]
    return await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False, env=environment)


async def listed(settings: Settings) -> list[dict[str, Any]]:
    done = await dlq(settings, "list", "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["items"]


async def test_a_parked_key_goes_on_in_order(settings: Settings) -> None:
    notebook = Notebook()
    notebook.fails_on = {"b"}
    async with running(settings, notebook) as runtime:
        await commands(settings, "a", "b", "c", "d")
        await until(runtime, "parked", 3)
        (head,) = await listed(settings)
        assert (head["kind"], head["service"], head["key"], head["behind"]) == ("parked", "intake", KEY, 2)
        assert "cannot be written down" in head["reason"]

        shown = json.loads((await dlq(settings, "show", head["id"])).stdout)
        assert shown["body"]["order_id"] == KEY
        assert shown["headers"]["ce_id"] == "b"

        dry = await dlq(settings, "replay", head["id"])
        assert dry.returncode == 0
        assert "would send again" in dry.stderr
        assert len(await until(runtime, "parked", 3)) == 3

        again = await dlq(settings, "replay", head["id"], "--yes")
        assert again.returncode == 1
        assert "failed again and stays parked" in again.stderr
        assert len(await until(runtime, "parked", 3)) == 3

        notebook.fails_on = set()
        done = await dlq(settings, "replay", head["id"], "--yes")
        assert done.returncode == 0, done.stderr
        await until(runtime, "parked", 0)
        assert await notes(runtime, 4) == ["a", "b", "c", "d"]
        assert await listed(settings) == []


async def test_a_discarded_record_lets_its_key_go_on(settings: Settings) -> None:
    notebook = Notebook()
    notebook.fails_on = {"b"}
    async with running(settings, notebook) as runtime:
        await commands(settings, "a", "b", "c")
        await until(runtime, "parked", 2)
        (head,) = await listed(settings)
        done = await dlq(settings, "replay", head["id"], "--discard", "--yes")
        assert done.returncode == 0, done.stderr
        assert await notes(runtime, 2) == ["a", "c"]


async def test_a_dead_letter_keeps_its_bytes_and_is_not_sent_round_in_circles(settings: Settings) -> None:
    async with running(settings, Notebook()) as runtime:
        producer = AIOKafkaProducer(bootstrap_servers=settings.kafka_bootstrap)
        await producer.start()
        await producer.send_and_wait(settings.prefixed(INTAKE_COMMANDS.name), b"\xff\x00", key=b"k", headers=[("a", b"1")])
        await producer.stop()
        await commands(settings, "after")
        await notes(runtime, 1)
        (letter,) = await listed(settings)
        assert (letter["kind"], letter["topic"], letter["replayed"]) == ("dead_letter", INTAKE_COMMANDS.name, False)
        shown = json.loads((await dlq(settings, "show", letter["id"])).stdout)
        assert shown["body"] == {"unreadable_bytes": "ff00"}
        assert shown["headers"] == {"a": "1"}
        for arguments in (["--all"], [letter["id"], "--yes"]):
            done = await dlq(settings, "replay", *arguments)
            assert done.returncode == 1
            assert f"not send {letter['id']} (intake), this version cannot read it either: " in done.stderr
            assert letter["reason"] in done.stderr
        await commands(settings, "later")
        await notes(runtime, 2)
        assert await listed(settings) == [letter]


async def test_a_dead_letter_that_can_be_read_by_now_is_sent_again(settings: Settings) -> None:
    """As a service of an older version left it, which did not know such messages yet."""
    record = encode(Envelope("a", "test", KEY, AT, CheckInReached(order_id=KEY, due_at=AT)))
    place = (INTAKE_COMMANDS.name.encode(), b"3", b"7", b"no such message")
    headers = [*record.headers, *zip(PLACE, place, strict=True)]
    async with running(settings, Notebook()) as runtime:
        producer = AIOKafkaProducer(bootstrap_servers=settings.kafka_bootstrap)
        await producer.start()
        topic = settings.prefixed(dead_letters_of("intake").name)
        await producer.send_and_wait(topic, record.value, key=record.key, headers=headers)
        await producer.stop()
        done = await dlq(settings, "replay", "--all", "--yes")
        assert done.returncode == 0, done.stderr
        assert await notes(runtime, 1) == ["a"]
        assert [letter["replayed"] for letter in await listed(settings)] == [True]


async def test_nothing_held_and_wrong_ids(settings: Settings) -> None:
    assert "nothing is parked" in (await dlq(settings, "list")).stderr
    wrong = await dlq(settings, "show", "intake.commands:0:99")
    assert wrong.returncode == 2
    assert "is not held" in wrong.stderr
