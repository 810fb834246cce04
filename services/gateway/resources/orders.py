"""Orders: registered, read, listed."""

from typing import Annotated, Any

from litestar import Response, get, post
from litestar.params import FromPath
from pydantic import AfterValidator, Field

from contracts.ids import order_id_of
from contracts.orders import FactContent, OrderContent, RegisterOrder
from contracts.texts import Code
from contracts.topics import INTAKE_COMMANDS
from services.gateway.answers import Answer, listed, response_of, with_version
from services.gateway.context import Caller, Gateway, TheGateway
from services.gateway.cursors import cursor, place_of, whole_number
from services.gateway.documented import PAGED, documented, query
from services.gateway.guests import require_filters_seen
from services.gateway.lists import Filter, before, newest_first, scope_of
from services.gateway.principals import Principal
from services.gateway.problems import wrong_query
from services.gateway.projector import Body
from services.gateway.representations import order_shown
from services.gateway.requests import AnyRequest, json_body, known_id, parsed, preference
from services.gateway.shown.orders import GuestOrder, Order, OrderPage
from services.gateway.store import ORDERS

__all__ = ["OrderRequest", "registration", "routes"]

_STATUSES = ("open", "reported_problem", "completed")


def _one_line(text: str) -> str:
    if not set(text).isdisjoint("\t\n\r"):
        raise ValueError("give it in one line")
    return text


class OrderRequest(OrderContent):
    """An order to register, with what is known to have happened to it."""

    order_number: Annotated[Code, AfterValidator(_one_line)]
    facts: Annotated[tuple[FactContent, ...], Field(max_length=100)] = ()


def registration(wanted: OrderRequest, principal: Principal) -> tuple[str, RegisterOrder]:
    """The id that the order has or gets, and the command."""
    order_id = order_id_of(wanted.merchant_id, wanted.order_number)
    given = principal.was_given(wanted.merchant_id)
    return order_id, RegisterOrder(content=wanted, facts=wanted.facts, given=given, actor=principal.actor())


@post(
    "/v1/orders",
    operation_id="registerOrder",
    summary="Register an order",
    opt=documented(
        body=OrderRequest,
        answers={201: "The order.", 200: "The order, which was registered before with this content.", 409: "order-exists"},
        gives=Order,
        late=True,
    ),
)
async def register_order(request: AnyRequest, gateway: TheGateway, principal: Caller) -> Response[bytes]:
    """Once by merchant and order number. For the platform and the merchant's partner."""
    raw = await json_body(request)

    async def work(command_id: str) -> Answer:
        principal.require("platform", "partner")
        wanted = parsed(OrderRequest, raw)
        order_id, command = registration(wanted, principal)
        outcome = await gateway.commands.ask(INTAKE_COMMANDS, order_id, command, command_id, preference(request))
        body = await gateway.order(principal, order_id)
        status = 200 if outcome["kind"] == "command.repeated" else 201
        shown = order_shown(body, gateway.reader(request, principal, body["order"]))
        return with_version(status, shown, Location=f"/v1/orders/{order_id}")

    return await gateway.once(request, principal, raw, work)


@get(
    "/v1/orders/{order_id:str}",
    operation_id="getOrder",
    summary="An order with protection, payout, ledger, facts and cases",
    opt=documented(answers={200: "The order."}, gives=Order | GuestOrder),
)
async def get_order(request: AnyRequest, gateway: TheGateway, principal: Caller, order_id: FromPath[str]) -> Response[bytes]:
    """For the platform, the merchant and its partner, and the bearer of a link of the order."""
    known_id("ord", order_id, "order")
    body = await gateway.order(principal, order_id)
    return response_of(with_version(200, order_shown(body, gateway.reader(request, principal, body["order"]))))


@get(
    "/v1/orders",
    operation_id="listOrders",
    summary="Orders, newest first",
    opt=documented(
        query={
            "merchant_id": "Only those of this merchant.",
            "order_number": "Only those with exactly this number.",
            "status": f"One of {', '.join(_STATUSES)}.",
            **PAGED,
        },
        answers={200: "Orders that the caller may see."},
        gives=OrderPage,
    ),
)
async def list_orders(request: AnyRequest, gateway: TheGateway, principal: Caller) -> Response[bytes]:
    """Those that the caller may see."""
    given = query(request)
    limit = whole_number("limit", given.get("limit"), 50, 1, 200)
    place = place_of(given.get("cursor"), str, str)
    require_filters_seen(principal, given)
    wanted: Filter = {"body.standing": {"$exists": True}}
    if "status" in given:
        if given["status"] not in _STATUSES:
            raise wrong_query(("status", f"one of {', '.join(_STATUSES)}"))
        wanted["body.standing.status"] = given["status"]
    if "order_number" in given:
        wanted["body.order.order_number"] = given["order_number"]
    scope = await scope_of(gateway, principal, given.get("merchant_id"))
    if scope is None:
        return response_of(listed([], None))
    wanted |= scope
    if place is not None:
        wanted |= before("body.order.placed_at", place)
    found = await newest_first(gateway.database[ORDERS], wanted, "body.order.placed_at", limit + 1)
    items = [_shown(document["body"], request, gateway, principal) for document in found[:limit]]
    more = cursor([found[limit - 1]["body"]["order"]["placed_at"], found[limit - 1]["_id"]]) if len(found) > limit else None
    return response_of(listed(items, more))


def _shown(body: Body, request: AnyRequest, gateway: Gateway, principal: Principal) -> dict[str, Any]:
    return order_shown(body, gateway.reader(request, principal, body["order"]))


routes = (register_order, get_order, list_orders)
