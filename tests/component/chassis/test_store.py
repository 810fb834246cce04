"""The loop's store on a real one: guards show which document lost, and a bulk costs one commit."""

import uuid
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from pymongo.errors import OperationFailure

from chassis.settings import Settings
from chassis.store import Append, CommandCounter, Database, MongoStore, Write, connect
from deploy.local import Stack


@pytest.fixture
def counter() -> CommandCounter:
    return CommandCounter()


@pytest.fixture
async def database(stack: Stack, counter: CommandCounter) -> AsyncIterator[Database]:
    client = connect(Settings(kafka_bootstrap=stack.kafka_bootstrap, mongo_uri=stack.mongo_uri), counter)
    name = f"store-{uuid.uuid4().hex[:8]}"
    yield client[name]
    await client.drop_database(name)
    client.close()


def written(names: Sequence[str], version: int, content: str) -> list[Write]:
    return [Write("orders", {"_id": name, "v": version + 1, "content": content}, version) for name in names]


async def contents(store: MongoStore, *names: str) -> dict[str, Any]:
    return {name: document["content"] for (_, name), document in (await store.load({"orders": names})).items()}


async def test_new_documents_are_one_insert(database: Database, counter: CommandCounter) -> None:
    store = MongoStore(database)

    assert await store.write(written("abc", 0, "first")) == set()

    assert counter.counts == {"insert": 1}
    assert await contents(store, "a", "b", "c", "d") == {"a": "first", "b": "first", "c": "first"}


async def test_replacements_share_a_commit(database: Database, counter: CommandCounter) -> None:
    store = MongoStore(database)
    await store.write(written("abc", 0, "first"))
    counter.counts.clear()

    assert await store.write(written("abc", 1, "second")) == set()

    assert counter.counts == {"update": 1, "commitTransaction": 1}
    assert await contents(store, "a", "b", "c") == dict.fromkeys("abc", "second")


async def test_one_replacement_needs_no_transaction(database: Database, counter: CommandCounter) -> None:
    store = MongoStore(database)
    await store.write(written("a", 0, "first"))
    counter.counts.clear()

    assert await store.write(written("a", 1, "second")) == set()

    assert counter.counts == {"update": 1}


async def test_who_lost_is_named_and_the_others_are_written(database: Database) -> None:
    store = MongoStore(database)
    await store.write(written("abc", 0, "first"))
    await store.write(written("b", 1, "another owner's"))

    lost = await store.write([*written("abc", 1, "second"), *written("cd", 0, "new")])

    assert lost == {1, 3}
    assert await contents(store, *"abcd") == {"a": "second", "b": "another owner's", "c": "second", "d": "new"}


async def test_a_session_is_begun_once_and_again_after_somebody_lost(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = MongoStore(database)
    await store.write(written("ab", 0, "first"))
    begin, begun = database.client.start_session, 0

    async def counting() -> Any:
        nonlocal begun
        begun += 1
        return await begin()

    monkeypatch.setattr(database.client, "start_session", counting, raising=False)

    assert await store.write(written("ab", 1, "second")) == set()
    assert await store.write(written("ab", 2, "third")) == set()
    assert begun == 1
    assert await store.write(written("ab", 1, "late")) == {0, 1}
    assert await store.write(written("ab", 3, "fourth")) == set()
    assert begun == 2
    assert await contents(store, "a", "b") == {"a": "fourth", "b": "fourth"}


async def test_a_store_without_transactions_is_asked_for_one_once(
    database: Database, counter: CommandCounter, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = MongoStore(database)
    await store.write(written("abc", 0, "first"))
    asked = 0

    async def none_here() -> Any:
        nonlocal asked
        asked += 1
        raise OperationFailure("Transaction numbers are only allowed on a replica set member or mongos", 20)

    monkeypatch.setattr(database.client, "start_session", none_here, raising=False)
    counter.counts.clear()

    assert await store.write(written("abc", 1, "second")) == set()
    assert await store.write(written("abc", 2, "third")) == set()

    assert asked == 1
    assert counter.counts == {"update": 2}
    assert await contents(store, "a", "b", "c") == dict.fromkeys("abc", "third")


async def test_an_append_again_changes_nothing(database: Database) -> None:
    store = MongoStore(database)
    await store.append([Append("orders", {"_id": "a", "content": "first"})])

    await store.append([Append("orders", {"_id": name, "content": "again"}) for name in "ab"])

    assert await contents(store, "a", "b") == {"a": "first", "b": "again"}
