"""Intake's database: the collections of its documents, and what a batch of orders and reports needs of them."""

from collections.abc import Collection, Mapping
from typing import Any

from chassis.store import Database, KnownDocument, inserted
from contracts.cases import Rollout
from contracts.ids import merchant_key
from contracts.orders import Merchant
from contracts.rollouts import ROLLOUTS_KEY
from services.intake.context import MerchantPage
from services.intake.documents import OrderFile, RolloutTable

__all__ = ["CLAIMS", "MERCHANTS", "ORDERS", "PLATFORM", "Merchants", "Rollouts", "hold_claims", "orders_among"]

ORDERS = "orders"
MERCHANTS = "merchants"
CLAIMS = "claims"
"""{_id: claim id, order_id}: the order that a claim came in on first (CP-03)."""
PLATFORM = "platform"
"""The platform's own tables, a document each."""
_PAGE = 1_000
"""Merchants that are told of a roll-out in one step."""


class Merchants:
    """The merchants as this service's own store has them. The next batch asks for many of the same, which seldom changed."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._before: dict[str, tuple[dict[str, Any], Merchant]] = {}

    async def among(self, merchant_ids: Collection[str]) -> dict[str, Merchant]:
        """The merchants of these ids, by id; one query, none for no ids. Who is not there is absent."""
        if not merchant_ids:
            return {}
        wanted = {"_id": {"$in": [merchant_key(merchant_id) for merchant_id in merchant_ids]}}
        found = await self._database[MERCHANTS].find(wanted, {"body.merchant": 1}, batch_size=10_000).to_list(None)
        merchants: dict[str, tuple[dict[str, Any], Merchant]] = {}
        for document in found:
            stored = document["body"]["merchant"]
            before, merchant = self._before.get(stored["merchant_id"], (None, None))
            if merchant is None or before != stored:
                merchant = Merchant.model_validate(stored)
            merchants[merchant.merchant_id] = stored, merchant
        self._before = merchants
        return {merchant_id: merchant for merchant_id, (_, merchant) in merchants.items()}


async def orders_among(database: Database, order_ids: Collection[str]) -> dict[str, OrderFile]:
    """The orders of these ids, by id; one query. Who is not there is absent."""
    found = await database[ORDERS].find({"_id": {"$in": list(order_ids)}}, {"body": 1}).to_list(None)
    return {document["_id"]: OrderFile.model_validate_json(document["body"]) for document in found}


async def hold_claims(database: Database, wanted: Mapping[str, str]) -> dict[str, str]:
    """Which order holds each claim, by claim id, after each of `wanted` has tried to. Who holds one holds it for good."""
    if not wanted:
        return {}
    await inserted(database[CLAIMS], [{"_id": claim, "order_id": order_id} for claim, order_id in wanted.items()])
    found = await database[CLAIMS].find({"_id": {"$in": list(wanted)}}).to_list(None)
    return {document["_id"]: document["order_id"] for document in found}


class Rollouts:
    """The table of roll-outs as this service's own store has it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._kept = KnownDocument(database, PLATFORM, ROLLOUTS_KEY, _with_engine_terms, (RolloutTable(), ()))

    async def table(self) -> RolloutTable:
        """As it is now."""
        return (await self._kept.read())[0]

    async def in_engine_terms(self) -> tuple[Rollout, ...]:
        """All roll-outs as the engine reckons with them."""
        return (await self._kept.read())[1]

    async def page(self, programme: str, after: str) -> MerchantPage:
        """The next merchants that offer a programme, in the order of their ids. One query."""
        wanted = {"_id": {"$gt": merchant_key(after)}, "body.merchant.programmes": programme}
        found = self._database[MERCHANTS].find(wanted, {"body.merchant": 1}, batch_size=_PAGE + 1).sort("_id", 1)
        documents = await found.limit(_PAGE + 1).to_list(None)
        merchants = tuple(Merchant.model_validate(document["body"]["merchant"]) for document in documents[:_PAGE])
        return MerchantPage(merchants, more=len(documents) > _PAGE)


def _with_engine_terms(body: dict[str, Any]) -> tuple[RolloutTable, tuple[Rollout, ...]]:
    table = RolloutTable.model_validate(body)
    return table, table.in_engine_terms()
