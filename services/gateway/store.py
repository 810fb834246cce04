"""The gateway's database: read models by order and merchant, append-only threads and histories, outcomes, keys, evidence."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

import orjson

from chassis.store import Collection, Database

__all__ = [
    "BACK_TESTS",
    "COMMANDS",
    "EVIDENCE",
    "HEARTBEATS",
    "HISTORY",
    "IDEMPOTENCY",
    "KEPT_S",
    "KEYS",
    "MASS_ACTIONS",
    "MASS_ITEMS",
    "MASS_TOLD",
    "MERCHANTS",
    "MESSAGES",
    "ORDERS",
    "PENDING",
    "PLATFORM",
    "REVOKED_LINKS",
    "SANDBOX",
    "SANDBOX_MOVES",
    "Document",
    "Gathered",
    "PointReads",
    "create_indexes",
    "wall_clock",
    "whole",
    "with_whole_body",
]

T = TypeVar("T")
R = TypeVar("R")

Document = dict[str, Any]

ORDERS = "orders"
MERCHANTS = "merchants"
MESSAGES = "messages"
HISTORY = "history"
COMMANDS = "commands"
PENDING = "pending"
KEYS = "keys"
REVOKED_LINKS = "revoked_links"
IDEMPOTENCY = "idempotency"
EVIDENCE = "evidence"
SANDBOX = "sandbox"
SANDBOX_MOVES = "sandbox_moves"
"""The commands that moved the sandbox's clock, but for the last one, which stands in the clock's own document."""
HEARTBEATS = "heartbeats"
MASS_ACTIONS = "mass_actions"
MASS_ITEMS = "mass_items"
MASS_TOLD = "mass_told"
"""By which letter a buyer was told what happened to an order in a mass event."""
PLATFORM = "platform"
"""The platform's own tables, a document each."""
BACK_TESTS = "back_tests"

KEPT_S = 48 * 60 * 60
"""How long outcomes and idempotency keys are kept, in seconds of real time."""

_AS_TEXT = ("file", "reports", "attached")


def wall_clock() -> datetime:
    """Real time, for leases and for what the store forgets by itself: the sandbox's clock must not move these."""
    return datetime.now(UTC)


async def create_indexes(database: Database) -> None:
    """What lists and look-ups ask by. An order without a case has none of the case fields, so it costs these nothing."""
    orders = database[ORDERS]
    await orders.create_index([("body.order.placed_at", -1), ("_id", -1)])
    await orders.create_index([("body.order.merchant_id", 1), ("body.order.placed_at", -1), ("_id", -1)])
    await orders.create_index([("body.order.order_number", 1)])
    reported: dict[str, Any] = {"partialFilterExpression": {"body.reported_at": {"$exists": True}}}
    await orders.create_index([("body.reported_at", -1), ("_id", -1)], **reported)
    await orders.create_index([("body.order.merchant_id", 1), ("body.reported_at", -1), ("_id", -1)], **reported)
    await orders.create_index([("body.turns", 1), ("body.reported_at", -1), ("_id", -1)], **reported)
    await orders.create_index([("body.states", 1), ("body.reported_at", -1), ("_id", -1)], **reported)
    await orders.create_index([("body.search", 1)], **reported)
    await database[MERCHANTS].create_index([("body.merchant.created_by", 1)])
    await database[MESSAGES].create_index([("case_id", 1), ("order_sequence", 1)])
    await database[HISTORY].create_index([("case_id", 1), ("sequence", 1)])
    await database[KEYS].create_index([("key_id", 1)])
    await database[KEYS].create_index([("created_at", -1), ("_id", -1)])
    await database[MASS_ACTIONS].create_index([("created_at", -1), ("_id", -1)])
    await database[MASS_ACTIONS].create_index([("status", 1)])
    await database[MASS_ITEMS].create_index([("mass_id", 1), ("status", 1), ("n", 1)])
    await database[MASS_ITEMS].create_index([("mass_id", 1), ("n", 1)])
    await database[MASS_ITEMS].create_index([("letter", 1)])
    await database[MASS_ITEMS].create_index([("name", 1)])
    await database[EVIDENCE].create_index([("order_id", 1)])
    for collection in (COMMANDS, PENDING, IDEMPOTENCY, BACK_TESTS, SANDBOX_MOVES):
        await database[collection].create_index([("forget_at", 1)], expireAfterSeconds=0)


def whole(body: Document) -> Document:
    """A body as its readers know it: an order's case file, reports and evidence are kept as JSON text, for nobody searches in
    them (ADR 39)."""
    return body | {name: orjson.loads(body[name]) for name in _AS_TEXT if name in body}


def with_whole_body(document: Document) -> Document:
    """A document with its body whole, where it has one."""
    return document | {"body": whole(document["body"])} if "body" in document else document


class PointReads:
    """Reads by `_id`. What is asked for while a query is under way goes out together in the next one: a read costs the store
    and the driver far more alone than among others."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._collections: dict[str, Collection] = {}
        self._asked: dict[str, dict[str, list[asyncio.Future[Document | None]]]] = {}
        self._asking: dict[str, asyncio.Task[None]] = {}

    async def get(self, collection: str, document_id: str) -> Document | None:
        """The document, or None. It is shared with others who asked: do not change it."""
        future: asyncio.Future[Document | None] = asyncio.get_running_loop().create_future()
        self._asked.setdefault(collection, {}).setdefault(document_id, []).append(future)
        if collection not in self._asking:
            self._asking[collection] = asyncio.create_task(self._ask(collection))
        return await future

    async def many(self, collection: str, document_ids: Iterable[str]) -> dict[str, Document]:
        """The documents of these ids, by id; what does not exist is absent. One query, and for all of each: leaving out the
        effects that it remembers costs the store more than giving them."""
        ids = list(document_ids)
        if not ids:
            return {}
        known = self._collections.get(collection)
        if known is None:  # made once: making the driver's object costs as much as the query
            known = self._collections[collection] = self._database[collection]
        cursor = known.find({"_id": {"$in": ids}}, batch_size=10_000)
        return {document["_id"]: with_whole_body(document) for document in await cursor.to_list(None)}

    async def _ask(self, collection: str) -> None:
        try:
            while asked := self._asked.pop(collection, None):
                try:
                    found = await self.many(collection, asked)
                except Exception as error:
                    for future in (each for futures in asked.values() for each in futures):
                        if not future.done():
                            future.set_exception(error)
                    continue
                for document_id, futures in asked.items():
                    for future in futures:
                        if not future.done():
                            future.set_result(found.get(document_id))
        finally:
            del self._asking[collection]


class Gathered(Generic[T, R]):
    """Statements of a kind. What is asked for while one is under way goes out together in the next one: a store that syncs its
    log with every commit then does it once for all of them."""

    def __init__(self, do: Callable[[Sequence[T]], Awaitable[Sequence[R]]]) -> None:
        """`do` makes one statement of many and gives what came of each."""
        self._do = do
        self._asked: list[tuple[T, asyncio.Future[R]]] = []
        self._doing: asyncio.Task[None] | None = None

    async def add(self, one: T) -> R:
        """What came of it, when it is done. Raises what the statement raises that it was part of."""
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._asked.append((one, future))
        if self._doing is None:
            self._doing = asyncio.create_task(self._do_all())
        return await future

    async def _do_all(self) -> None:
        try:
            while asked := self._asked:
                self._asked = []
                try:
                    results = await self._do([one for one, _ in asked])
                except Exception as error:
                    for _, future in asked:
                        if not future.done():
                            future.set_exception(error)
                    continue
                for (_, future), result in zip(asked, results, strict=True):
                    if not future.done():
                        future.set_result(result)
        finally:
            self._doing = None
