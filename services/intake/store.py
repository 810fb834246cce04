"""Intake's database: the collections of its documents, and what a batch of orders and reports needs of them."""

from collections.abc import Collection, Mapping

from pymongo.errors import BulkWriteError

from chassis.store import Database
from contracts.ids import merchant_key
from contracts.orders import Merchant
from services.intake.documents import OrderFile

__all__ = ["CLAIMS", "MERCHANTS", "ORDERS", "hold_claims", "merchants_among", "orders_among"]

ORDERS = "orders"
MERCHANTS = "merchants"
CLAIMS = "claims"
"""{_id: claim id, order_id}: the order that a claim came in on first (CP-03)."""
_DUPLICATE_KEY = 11000


async def merchants_among(database: Database, merchant_ids: Collection[str]) -> dict[str, Merchant]:
    """The merchants of these ids, by id; one query, none for no ids. Who is not there is absent."""
    if not merchant_ids:
        return {}
    wanted = {"_id": {"$in": [merchant_key(merchant_id) for merchant_id in merchant_ids]}}
    found = await database[MERCHANTS].find(wanted, {"body.merchant": 1}, batch_size=10_000).to_list(None)
    merchants = (Merchant.model_validate(document["body"]["merchant"]) for document in found)
    return {merchant.merchant_id: merchant for merchant in merchants}


async def orders_among(database: Database, order_ids: Collection[str]) -> dict[str, OrderFile]:
    """The orders of these ids, by id; one query. Who is not there is absent."""
    found = await database[ORDERS].find({"_id": {"$in": list(order_ids)}}, {"body": 1}).to_list(None)
    return {document["_id"]: OrderFile.model_validate(document["body"]) for document in found}


async def hold_claims(database: Database, wanted: Mapping[str, str]) -> dict[str, str]:
    """Which order holds each claim, by claim id, after each of `wanted` has tried to. Who holds one holds it for good."""
    if not wanted:
        return {}
    documents = [{"_id": claim, "order_id": order_id} for claim, order_id in wanted.items()]
    try:
        await database[CLAIMS].insert_many(documents, ordered=False)
    except BulkWriteError as failed:
        if any(error["code"] != _DUPLICATE_KEY for error in failed.details.get("writeErrors", ())):
            raise
    found = await database[CLAIMS].find({"_id": {"$in": list(wanted)}}).to_list(None)
    return {document["_id"]: document["order_id"] for document in found}
