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
from services.gateway.cursors import Place, cursor, place_of, whole_number
from services.gateway.documented import PAGED, documented, query
from services.gateway.lists import Filter, before, newest_first, scope_of
from services.gateway.problems import ProblemError, wrong_query
from services.gateway.projector import Body, file_of
from services.gateway.requests import AnyRequest
from services.gateway.shown.orders import PayoutPage
from services.gateway.store import ORDERS

__all__ = ["routes"]

_REPORTED: Filter = {"body.reported_at": {"$exists": True}}
_PAID_AN_AMOUNT: Filter = {"body.facts": {"$elemMatch": {"kind": "paid_out", "amount": {"$ne": None}}}}
_AMONG: dict[str, Filter] = {
    # Of what was paid out as a whole only what had a case, or was netted without one, can be owed again.
    "payable": {
        "body.standing.payout.held": False,
        "$or": [{"body.facts.kind": {"$ne": "paid_out"}}, _PAID_AN_AMOUNT, {"body.facts.kind": "netted"}, _REPORTED],
    },
    "held": {"body.standing.payout.held": True},
    "paid": {"body.facts.kind": "paid_out"},
    "netted": {"$or": [_REPORTED, {"body.facts.flags": "over_payout"}]},
}
"""The orders among which those of a state are."""
_LOOKED_AT = 100
_MOST_READS = 20
"""So many orders at once, and so often at most, are looked through for those of a state; the next page goes on from there."""


@get(
    "/v1/payouts",
    operation_id="listPayouts",
    summary="Payouts by order, newest order first (OI-08)",
    opt=documented(
        query={
            "merchant_id": "Only those of this merchant.",
            "state": "Only those that are payable, held, paid or netted. A page may then have fewer items than its limit.",
            **PAGED,
        },
        answers={200: "How the account of each order stands."},
        gives=PayoutPage,
    ),
)
async def list_payouts(request: AnyRequest, gateway: TheGateway, principal: Caller) -> Response[bytes]:
    """For the platform, partners and merchants, of the orders that they may see. An order is `held` while a case on it is
    open; `netted` names refunds that its payouts were not less by and that are to be taken from the merchant's next payout; an
    entry without a case is what the merchant has beyond the order's amount. Whoever pays that out says so by a fact `netted`
    with the amount and, as `external_id`, the payout: it then stands under `settled` and is not taken again. `amount` of a
    payable or held order is what the merchant still gets for it; of a paid or netted one, all that was paid out. So the next
    payout is the sum of what is payable less the sum of what is netted.

    An order may be paid out in parts: a fact `paid_out` with an amount says how much (fees that were kept back count as paid),
    one without an amount that the merchant got what was payable at its moment. More than was payable is flagged `over_payout`
    and owed by the merchant. Neither fact is a merchant's to tell."""
    principal.require("platform", "partner", "merchant")
    if principal.capability is not None:
        raise ProblemError(Problem.forbidden("Payouts are read with a key, not with a link."))
    given = query(request)
    limit = whole_number("limit", given.get("limit"), 50, 1, 200)
    state = given.get("state")
    if state is not None and state not in _AMONG:
        raise wrong_query(("state", f"one of {', '.join(_AMONG)}"))
    place = place_of(given.get("cursor"), str, str)
    # Of an order that only its buyer reported nobody here has the money.
    wanted: Filter = {"body.standing": {"$exists": True}, "body.order.origin": {"$ne": "reported"}}
    scope = await scope_of(gateway, principal, given.get("merchant_id"))
    if scope is None:
        return response_of(listed([], None))
    items, following = await _page(gateway, wanted | scope, place, limit, state)
    return response_of(listed(items, None if following is None else cursor(following)))


async def _page(
    gateway: Gateway, wanted: Filter, place: Place | None, limit: int, state: str | None
) -> tuple[list[dict[str, Any]], Place | None]:
    """At most `limit` items after a place, and the place after which to go on; None: these were the last. Which state an order
    is in shows only when it is looked at."""
    items: list[dict[str, Any]] = []
    among = wanted | (_AMONG[state] if state is not None else {})
    at_once = limit if state is None else _LOOKED_AT
    for _ in range(_MOST_READS):
        after = among if place is None else {"$and": [among, before("body.order.placed_at", place)]}
        found = await newest_first(gateway.database[ORDERS], after, "body.order.placed_at", at_once + 1)
        for number, document in enumerate(found):
            if len(items) == limit or number == at_once:
                break
            place = [document["body"]["order"]["placed_at"], document["_id"]]
            item = _shown(document["body"], gateway)
            if state in (None, item["state"]):
                items.append(item)
        else:
            return items, None
        if len(items) == limit:
            break
    return items, place


def _shown(body: Body, gateway: Gateway) -> dict[str, Any]:
    order = Order.model_validate(body["order"])
    facts = tuple(Fact.model_validate(fact) for fact in body["facts"])
    file = file_of(body)
    ledger = (
        ledger_of(order, facts)
        if file is None
        else at_time(file, gateway.clock.now(), gateway.programmes, gateway.outages.record).ledger
    )
    item = payout_of(order, facts, ledger, held=body["standing"]["payout"]["held"])
    return {
        **item.model_dump(mode="json", exclude_none=True),
        "merchant_id": order.merchant_id,
        "order_number": order.order_number,
        "_links": {"order": {"href": f"/v1/orders/{order.order_id}"}},
    }


routes = (list_payouts,)
