"""A real stack: what it keeps over restarts, what it leaves behind, what it says when it cannot start."""

import asyncio
import json
import shutil
import subprocess
import sys
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from pymongo import MongoClient

from deploy.local import Choice, Stack, StackError, attach_stack, start_stack
from deploy.local.process import Child, birth
from deploy.local.stack import read_state
from recourse.addresses import settings_of

TOPIC = "kept"


def quietly(_: str) -> None:
    pass


@pytest.fixture(scope="module")
def own_stack(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack of these tests alone, of the kind of the session's; the last test stops it."""
    choice = Choice.WHEELS if stack.broker.kind == "tansu" else Choice.LOCAL
    if stack.broker.kind not in ("kafka", "tansu"):
        pytest.skip("needs a stack of processes on this machine")
    with start_stack(tmp_path_factory.mktemp("own"), choice, bound=True, say=quietly) as own:
        yield own


async def publish(address: str, values: list[bytes]) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=address, acks="all")
    await producer.start()
    try:
        for value in values:
            await producer.send_and_wait(TOPIC, value, partition=0)
    finally:
        await producer.stop()


async def published(address: str) -> list[bytes]:
    consumer = AIOKafkaConsumer(bootstrap_servers=address)
    await consumer.start()
    try:
        partition = TopicPartition(TOPIC, 0)
        consumer.assign([partition])
        await consumer.seek_to_beginning(partition)
        end = (await consumer.end_offsets([partition]))[partition]
        return [(await consumer.getone()).value or b"" for _ in range(end)]
    finally:
        await consumer.stop()


async def create_topic(address: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=address)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(TOPIC, 1, 1)])
    finally:
        await admin.close()


def test_the_session_stack_answers(stack: Stack) -> None:
    assert stack.serving() == {"broker": True, "store": True}


async def test_acknowledged_data_survives_sigkill_and_restart(own_stack: Stack) -> None:
    if own_stack.broker.kind != "kafka":
        pytest.skip("Tansu keeps its topics in memory only")
    address = own_stack.kafka_bootstrap
    await create_topic(address)
    await publish(address, [b"1", b"2"])
    before = own_stack.pids
    await asyncio.to_thread(own_stack.restart_broker, kill=True)
    assert await published(address) == [b"1", b"2"]
    await publish(address, [b"3"])
    await asyncio.to_thread(own_stack.restart_broker)
    assert await published(address) == [b"1", b"2", b"3"]
    assert own_stack.kafka_bootstrap == address
    assert own_stack.pids["broker-1"] != before["broker-1"]
    assert own_stack.pids["store"] == before["store"]


def test_the_store_keeps_what_it_acknowledged(own_stack: Stack) -> None:
    with MongoClient(own_stack.mongo_uri) as client:
        client.kept.things.insert_many([{"_id": number} for number in range(100)])
    own_stack.restart_store(kill=True)
    with MongoClient(own_stack.mongo_uri) as client:
        assert client.kept.things.count_documents({}) == 100


def test_a_second_start_joins_and_does_not_stop_what_it_found(own_stack: Stack) -> None:
    with start_stack(own_stack.data_dir, say=quietly, environment={}) as joined:
        assert not joined.owned
        assert joined.pids == own_stack.pids
    assert own_stack.serving() == {"broker": True, "store": True}


def test_a_killed_process_is_started_again_by_whoever_keeps_the_stack(own_stack: Stack) -> None:
    own_stack.keep()
    state = read_state(own_stack.data_dir)
    assert state is not None
    state.processes["store"].stop(0)
    assert own_stack.revive() == ["store"]
    assert own_stack.revive() == []
    after = read_state(own_stack.data_dir)
    assert after is not None
    assert after.processes["store"] != state.processes["store"]


def test_a_stale_state_file_harms_nobody(own_stack: Stack) -> None:
    path = own_stack.data_dir / "stack.json"
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
    try:
        state = json.loads(path.read_text())
        stale = {**state, "processes": {"store": {"pid": bystander.pid, "born": "long ago"}}}
        path.write_text(json.dumps(stale))
        attach_stack(own_stack.data_dir, say=quietly).stop()
        assert Child.of(bystander.pid).alive()
    finally:
        bystander.kill()
        bystander.wait()


def test_the_command_line_starts_reports_and_stops(stack: Stack, tmp_path: Path) -> None:
    if stack.broker.kind not in ("kafka", "tansu"):
        pytest.skip("needs a stack of processes on this machine")
    choice = "wheels" if stack.broker.kind == "tansu" else "local"

    def recourse(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "recourse.main", "stack", *arguments, "--data", str(tmp_path / "cli")]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    assert "no stack was ever started" in recourse("status").stderr
    started = recourse("start", "--stack", choice)
    try:
        assert started.returncode == 0, started.stderr
        printed = json.loads(started.stdout)
        assert printed["stack"] == {"broker": str(stack.broker), "store": printed["stack"]["store"]}
        assert recourse("status").returncode == 0
    finally:
        stopped = recourse("stop")
    assert stopped.returncode == 0, stopped.stderr
    assert recourse("status").returncode == 1


def test_too_little_space_is_said_before_anything_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10, 10, 5 * 1024**2))
    with pytest.raises(StackError, match="only 5 MB are free"):
        start_stack(tmp_path, say=quietly)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StackError, match="cannot write to"):
        start_stack(tmp_path / "file" / "data", say=quietly)


def test_a_given_address_without_a_broker_is_named(tmp_path: Path) -> None:
    environment = {"RECOURSE_KAFKA_BOOTSTRAP": "127.0.0.1:1", "RECOURSE_MONGO_URI": "mongodb://127.0.0.1:1"}
    with pytest.raises(StackError, match=r"no Kafka broker answers at RECOURSE_KAFKA_BOOTSTRAP=127.0.0.1:1"):
        start_stack(tmp_path, environment=environment, say=quietly)


def test_given_addresses_are_used_and_left_running(stack: Stack, tmp_path: Path) -> None:
    environment = {"RECOURSE_KAFKA_BOOTSTRAP": stack.kafka_bootstrap, "RECOURSE_MONGO_URI": stack.mongo_uri}
    with start_stack(tmp_path, environment=environment, say=quietly) as given:
        assert given.pids == {}
        assert (given.kafka_bootstrap, given.mongo_uri) == (stack.kafka_bootstrap, stack.mongo_uri)
        with pytest.raises(StackError, match="not ours to restart"):
            given.restart_broker()
    assert stack.serving() == {"broker": True, "store": True}


def test_stop_leaves_no_process_and_start_finds_the_same_addresses(own_stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RECOURSE_KAFKA_BOOTSTRAP", raising=False)
    with MongoClient(own_stack.mongo_uri) as client:
        client.kept.more.insert_one({"_id": 1})
    pids = own_stack.pids
    assert len(pids) == 2
    own_stack.stop()
    assert [birth(pid) for pid in pids.values()] == [None, None]
    assert attach_stack(own_stack.data_dir, say=quietly).serving() == {"broker": False, "store": False}
    with pytest.raises(StackError, match="no answer from the broker and the store"):
        settings_of(own_stack.data_dir)
    with start_stack(own_stack.data_dir, bound=True, say=quietly, environment={}) as again:
        assert (again.kafka_bootstrap, again.mongo_uri) == (own_stack.kafka_bootstrap, own_stack.mongo_uri)
        assert (again.broker, again.store) == (own_stack.broker, own_stack.store)
        with MongoClient(again.mongo_uri) as client:
            assert client.kept.more.count_documents({}) == 1
