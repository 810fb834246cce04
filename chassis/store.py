"""The document store: the only module that knows the driver (Motor), with calls that PyMongo's async client shares."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Generic, TypeVar

from motor.motor_asyncio import AsyncIOMotorClient, AsyncIOMotorClientSession, AsyncIOMotorCollection, AsyncIOMotorDatabase
from msgspec import Struct
from pymongo import InsertOne, ReplaceOne, UpdateOne
from pymongo.errors import BulkWriteError, ConfigurationError, OperationFailure
from pymongo.monitoring import CommandListener, CommandStartedEvent

from chassis.settings import Settings, SettingsError

__all__ = [
    "Append",
    "Collection",
    "CommandCounter",
    "Database",
    "KnownDocument",
    "MongoStore",
    "Write",
    "connect",
    "counted",
    "inserted",
]

T = TypeVar("T")

Database = AsyncIOMotorDatabase[dict[str, Any]]
Collection = AsyncIOMotorCollection[dict[str, Any]]

_Operation = InsertOne[dict[str, Any]] | ReplaceOne[dict[str, Any]] | UpdateOne

_DUPLICATE_KEY = 11000
_NO_TRANSACTIONS = (20, 263)
"""What a server answers that has none: one that stands alone, or a collection that cannot take part."""
_WORTH_A_TRANSACTION = 2


class CommandCounter(CommandListener):
    """Counts the commands that a process sends to the store, by name (find, insert, update …)."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}

    def started(self, event: CommandStartedEvent) -> None:
        self.counts[event.command_name] = self.counts.get(event.command_name, 0) + 1

    def succeeded(self, event: object) -> None:
        """Only starts are counted."""

    def failed(self, event: object) -> None:
        """Only starts are counted."""


def connect(settings: Settings, *listeners: CommandListener) -> "AsyncIOMotorClient[dict[str, Any]]":
    """A client with bounded waits, so that a store that is away shows at once. Raises SettingsError for an address that cannot
    be read."""
    try:
        return AsyncIOMotorClient(
            settings.mongo_uri,
            serverSelectionTimeoutMS=3_000,
            connectTimeoutMS=3_000,
            socketTimeoutMS=60_000,
            maxPoolSize=20,
            retryWrites=False,
            retryReads=False,
            event_listeners=list(listeners),
        )
    except (ConfigurationError, ValueError) as wrong:
        raise SettingsError(f"RECOURSE_MONGO_URI: {wrong}") from None


async def counted(collection: Collection, wanted: Mapping[str, Any], field: str) -> dict[Any, int]:
    """How many documents there are by the value of a field."""
    grouped = collection.aggregate([{"$match": wanted}, {"$group": {"_id": f"${field}", "count": {"$sum": 1}}}])
    return {found["_id"]: found["count"] for found in await grouped.to_list(None)}


async def inserted(collection: Collection, documents: Sequence[dict[str, Any]]) -> set[int]:
    """Insert what is not there yet, in one statement; the indexes of the documents whose `_id` exists."""
    try:
        await collection.insert_many(documents, ordered=False)
    except BulkWriteError as failed:
        return set(_duplicates(failed))
    return set()


class KnownDocument(Generic[T]):
    """A document of the processing loop that is needed again and again and seldom changes."""

    def __init__(
        self, database: Database, collection: str, document_id: str, parse: Callable[[dict[str, Any]], T], missing: T
    ) -> None:
        """`parse` makes of its body what is needed; `missing` stands for that until it exists."""
        self._database = database
        self._name = collection
        self._wanted = {"_id": document_id}
        self._parse = parse
        self._known = (0, missing)

    async def read(self) -> T:
        """As it is now. One query, and another one when it has changed."""
        version, content = self._known
        collection = self._database[self._name]
        stored = await collection.find_one(self._wanted, {"v": 1})
        if stored is not None and stored["v"] != version:
            found = await collection.find_one(self._wanted, {"v": 1, "body": 1})
            if found is not None:
                content = self._parse(found["body"])
                self._known = (found["v"], content)
        return content


class Write(Struct, frozen=True, gc=False):
    """A document's new content, guarded by the version it was made from (0: it must not exist yet)."""

    collection: str
    document: dict[str, Any]
    expected_version: int


class Append(Struct, frozen=True, gc=False):
    """A document that is written once and never changed; its `_id` is derived, so that writing it again changes nothing."""

    collection: str
    document: dict[str, Any]


class MongoStore:
    """One service's database, as the processing loop uses it: a query, a bulk write and an append per batch."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._collections: dict[str, Collection] = {}
        self._transactions = True
        self._sessions: list[AsyncIOMotorClientSession] = []

    def _collection(self, name: str) -> Collection:
        """The driver's object of a collection, made once: making it costs as much as the query."""
        found = self._collections.get(name)
        if found is None:
            found = self._collections[name] = self.database[name]
        return found

    async def load(self, wanted: Mapping[str, Iterable[str]]) -> dict[tuple[str, str], dict[str, Any]]:
        """The documents of these ids, by (collection, id); what does not exist is absent. One query a collection."""
        found: dict[tuple[str, str], dict[str, Any]] = {}
        for collection, ids in wanted.items():
            cursor = self._collection(collection).find({"_id": {"$in": list(ids)}}, batch_size=10_000)
            for document in await cursor.to_list(None):
                found[collection, document["_id"]] = document
        return found

    async def write(self, writes: Sequence[Write]) -> set[int]:
        """Write what still has its expected version; the indexes of the others are returned. One bulk a collection.

        A guard that does not match turns the upsert into an insert of an existing `_id`: the duplicate names its index."""
        lost: set[int] = set()
        by_collection: dict[str, list[int]] = {}
        for index, write in enumerate(writes):
            by_collection.setdefault(write.collection, []).append(index)
        for collection, indexes in by_collection.items():
            operations = [_operation(writes[index]) for index in indexes]
            lost.update(indexes[position] for position in await self.bulk(collection, operations))
        return lost

    async def bulk(self, name: str, operations: Sequence[_Operation]) -> list[int]:
        """Write to a collection in one bulk; the positions whose `_id` exists.

        Replacements and updates are tried in one transaction first: a store that syncs its log with every commit then does it
        once a bulk and not once a document. A loser ends that transaction for all; the bulk without one tells who it was."""
        collection = self._collection(name)
        changes = sum(not isinstance(operation, InsertOne) for operation in operations)
        if self._transactions and changes >= _WORTH_A_TRANSACTION:
            try:
                await self._together(collection, operations)
                return []
            except BulkWriteError as failed:
                _duplicates(failed)
            except OperationFailure as refused:
                if refused.code in _NO_TRANSACTIONS:
                    self._transactions = False
                elif not refused.has_error_label("TransientTransactionError"):
                    raise
        try:
            await collection.bulk_write(operations, ordered=False)
        except BulkWriteError as failed:
            return _duplicates(failed)
        return []

    async def _together(self, collection: Collection, operations: Sequence[_Operation]) -> None:
        """Write in one transaction. Its session is kept for the next one, for to begin and to end one costs the driver as much
        as the transaction; one in which something went wrong is not used again."""
        session = self._sessions.pop() if self._sessions else await self.database.client.start_session()
        try:
            async with session.start_transaction():
                await collection.bulk_write(operations, ordered=False, session=session)
        except BaseException:
            await session.end_session()
            raise
        self._sessions.append(session)

    async def append(self, appends: Sequence[Append]) -> None:
        """Insert what is not there yet. One insert a collection."""
        by_collection: dict[str, list[dict[str, Any]]] = {}
        for append in appends:
            by_collection.setdefault(append.collection, []).append(append.document)
        for collection, documents in by_collection.items():
            await inserted(self._collection(collection), documents)


def _operation(write: Write) -> _Operation:
    if write.expected_version == 0:
        return InsertOne(write.document)
    guard = {"_id": write.document["_id"], "v": write.expected_version}
    return ReplaceOne(guard, write.document, upsert=True)


def _duplicates(failed: BulkWriteError) -> list[int]:
    """The indexes of operations whose `_id` exists. Raises the error where anything else went wrong."""
    errors = failed.details.get("writeErrors", [])
    if failed.details.get("writeConcernErrors") or any(error["code"] != _DUPLICATE_KEY for error in errors):
        raise failed
    return [error["index"] for error in errors]
