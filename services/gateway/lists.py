"""Lists: which documents a caller may see of those asked for, newest first, page by page."""

from typing import Any

from chassis.store import Collection
from contracts.ids import merchant_key
from services.gateway.context import Gateway
from services.gateway.cursors import Place
from services.gateway.principals import Principal
from services.gateway.store import MERCHANTS, Document, with_whole_body

__all__ = ["Filter", "before", "newest_first", "own_merchants", "scope_of"]

Filter = dict[str, Any]


async def scope_of(gateway: Gateway, principal: Principal, merchant_id: str | None) -> Filter | None:
    """The filter that keeps to what the caller may see, of one merchant where given; None: that is nothing."""
    if principal.capability is not None:
        only = {"_id": principal.capability.order_id}
        return only if merchant_id is None else only | {"body.order.merchant_id": merchant_id}
    match principal.role:
        case "platform":
            return {} if merchant_id is None else {"body.order.merchant_id": merchant_id}
        case "merchant":
            mine = set(principal.merchants)
        case _ if merchant_id is not None:
            owner = await gateway.owner_of(merchant_id)
            mine = {merchant_id} if principal.sees_merchant(merchant_id, owner) else set[str]()
        case _:
            fields = {"body.merchant.merchant_id": 1}
            found = await gateway.database[MERCHANTS].find(own_merchants(principal), fields).to_list(None)
            mine = {document["body"]["merchant"]["merchant_id"] for document in found}
    if merchant_id is not None:
        mine &= {merchant_id}
    if not mine:
        return None
    return {"body.order.merchant_id": mine.pop() if len(mine) == 1 else {"$in": sorted(mine)}}


def own_merchants(principal: Principal) -> Filter:
    """The filter of merchants that keeps to those whom the caller sees: of all of them what `Principal.sees_merchant` says of
    one. A link sees none."""
    if principal.role == "platform":
        return {}
    named: Filter = {"_id": {"$in": [merchant_key(merchant_id) for merchant_id in sorted(principal.merchants)]}}
    if principal.role == "partner":
        return {"$or": [named, {"body.merchant.created_by": principal.created_as}]}
    return named


def before(field: str, place: Place) -> Filter:
    """What comes after a place in a list that is newest first; equal moments are told apart by id."""
    moment, document_id = place[:2]
    return {field: {"$lte": moment}, "$or": [{field: {"$lt": moment}}, {"_id": {"$lt": document_id}}]}


async def newest_first(collection: Collection, wanted: Filter, field: str, limit: int) -> list[Document]:
    """At most `limit` documents, by a moment and then by id, both falling."""
    found = collection.find(wanted, {"effects": 0, "marks": 0}).sort([(field, -1), ("_id", -1)]).limit(limit)
    return [with_whole_body(document) for document in await found.to_list(None)]
