"""Intake's database: the collections of its documents, and the merchants that a batch of orders needs."""

from collections.abc import Collection

from chassis.store import Database
from contracts.ids import merchant_key
from contracts.orders import Merchant

__all__ = ["MERCHANTS", "ORDERS", "merchants_among"]

ORDERS = "orders"
MERCHANTS = "merchants"


async def merchants_among(database: Database, merchant_ids: Collection[str]) -> dict[str, Merchant]:
    """The merchants of these ids, by id; one query, none for no ids. Who is not there is absent."""
    if not merchant_ids:
        return {}
    wanted = {"_id": {"$in": [merchant_key(merchant_id) for merchant_id in merchant_ids]}}
    found = await database[MERCHANTS].find(wanted, {"body.merchant": 1}, batch_size=10_000).to_list(None)
    merchants = (Merchant.model_validate(document["body"]["merchant"]) for document in found)
    return {merchant.merchant_id: merchant for merchant in merchants}
