"""Payouts: what merchants are paid for their orders, what is held, and what is netted from the next payout (OI-08)."""

from typing import Any

from litestar import Response, get

from contracts.orders import Fact, Order
from contracts.problems import Problem
from engine.casefile import ledger_of
from engine.decide import at_time
from engine.payouts import payout_of
from services.gateway.answers import listed, response_of
from services.gateway.context import Caller, Gateway, TheGateway
from services.gateway.cursors import cursor, place_of, whole_number
from services.gateway.documented import PAGED, documented, query
from services.gateway.lists import Filter, before, newest_first, scope_of
from services.gateway.problems import ProblemError
from services.gateway.projector import Body, file_of
from services.gateway.requests import AnyRequest
from services.gateway.store import ORDERS

__all__ = ["routes"]


@get(
    "/v1/payouts",
    operation_id="listPayouts",
    summary="Payouts by order, newest order first (OI-08)",
    opt=documented(
        query={"merchant_id": "Only those of this merchant.", **PAGED},
        answers={200: "{items: [{order_id, state: payable|held|paid|netted, amount, netted: [{case_id, amount}]}], next}"},
    ),
)
async def list_payouts(request: AnyRequest, gateway: TheGateway, principal: Caller) -> Response[bytes]:
    """For the platform, partners and merchants, of the orders that they may see. An order is `held` while a case on it is
    open; `netted` names refunds that flowed after it was paid out and are taken from the merchant's next payout. `amount` of a
    payable or held order is what the merchant gets for it; of a paid or netted one, what was paid out."""
    principal.require("platform", "partner", "merchant")
    if principal.capability is not None:
        raise ProblemError(Problem.forbidden("Payouts are read with a key, not with a link."))
    given = query(request)
    limit = whole_number("limit", given.get("limit"), 50, 1, 200)
    place = place_of(given.get("cursor"), str, str)
    # Of an order that only its buyer reported nobody here has the money.
    wanted: Filter = {"body.standing": {"$exists": True}, "body.order.origin": {"$ne": "reported"}}
    scope = await scope_of(gateway, principal, given.get("merchant_id"))
    if scope is None:
        return response_of(listed([], None))
    wanted |= scope
    if place is not None:
        wanted |= before("body.order.placed_at", place)
    found = await newest_first(gateway.database[ORDERS], wanted, "body.order.placed_at", limit + 1)
    items = [_shown(document["body"], gateway) for document in found[:limit]]
    more = cursor([found[limit - 1]["body"]["order"]["placed_at"], found[limit - 1]["_id"]]) if len(found) > limit else None
    return response_of(listed(items, more))


def _shown(body: Body, gateway: Gateway) -> dict[str, Any]:
    order = Order.model_validate(body["order"])
    facts = tuple(Fact.model_validate(fact) for fact in body["facts"])
    file = file_of(body)
    ledger = ledger_of(order, facts) if file is None else at_time(file, gateway.clock.now(), gateway.programmes).ledger
    item = payout_of(order, facts, ledger, held=body["standing"]["payout"]["held"])
    return {
        **item.model_dump(mode="json", exclude_none=True),
        "merchant_id": order.merchant_id,
        "order_number": order.order_number,
        "_links": {"order": {"href": f"/v1/orders/{order.order_id}"}},
    }


routes = (list_payouts,)
