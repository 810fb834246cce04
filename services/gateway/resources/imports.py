"""Imports of orders and facts: NDJSON, one a line."""

from typing import Any, cast

from litestar import post
from litestar.types import ASGIApp, Receive, Scope, Send
from litestar.types import Message as ASGIMessage

from contracts.base import Message
from contracts.ids import order_id_of
from contracts.orders import Code, FactContent, RecordFact
from contracts.problems import Problem
from contracts.topics import INTAKE_COMMANDS, Topic
from services.gateway.context import Caller, Gateway, TheGateway
from services.gateway.documented import documented
from services.gateway.idempotency import command_id_of
from services.gateway.imports import IMPORT_LIMIT, Import, Importer, Spool, read_into
from services.gateway.principals import Principal
from services.gateway.problems import ProblemError, too_large, unsupported
from services.gateway.requests import AnyRequest, idempotency_key, media_type_of, parsed
from services.gateway.resources.orders import OrderRequest, registration
from services.gateway.shown.orders import ImportedLine
from services.gateway.store import Document

__all__ = ["FactImporter", "FactLine", "OrderImporter", "routes"]

_TAKEN = ("application/x-ndjson", "application/ndjson", "application/jsonl")
_ANSWER = "What became of each line, in their order."
_LINES = {"application/x-ndjson": ImportedLine}


class FactLine(FactContent):
    """A fact with the order that it belongs to."""

    merchant_id: Code
    order_number: Code


class OrderImporter:
    """A line is an order."""

    topic: Topic = INTAKE_COMMANDS

    def __init__(self, principal: Principal) -> None:
        self._principal = principal

    def command(self, line: bytes) -> tuple[str, Message]:
        return registration(parsed(OrderRequest, line), self._principal)

    def result(self, key: str, outcome: Document) -> dict[str, Any]:
        return {"status": 200 if outcome["kind"] == "command.repeated" else 201, "order_id": key}


class FactImporter:
    """A line is a fact of an order that merchant and number name."""

    topic: Topic = INTAKE_COMMANDS

    def __init__(self, principal: Principal) -> None:
        self._principal = principal
        self._actor = principal.actor()

    def command(self, line: bytes) -> tuple[str, Message]:
        wanted = parsed(FactLine, line)
        if self._principal.role == "merchant" and wanted.merchant_id not in self._principal.merchants:
            raise ProblemError(Problem.not_found("order"))
        order_id = order_id_of(wanted.merchant_id, wanted.order_number)
        given = self._principal.was_given(wanted.merchant_id)
        return order_id, RecordFact(order_id=order_id, content=wanted, given=given, actor=self._actor)

    def result(self, key: str, outcome: Document) -> dict[str, Any]:
        status = 200 if outcome["kind"] == "command.repeated" else 201
        return {"status": status, "order_id": key, "fact_id": outcome["fact_id"]}


def _import(request: AnyRequest, gateway: Gateway, principal: Principal, importer: Importer) -> ASGIApp:
    """The application that does an import. Raises 413, 415."""
    if media_type_of(request) not in _TAKEN:
        raise unsupported("Send one JSON object a line with `Content-Type: application/x-ndjson`.")
    length = request.headers.get("content-length", "")
    announced = int(length) if length.isdigit() else None
    if announced is not None and announced > IMPORT_LIMIT:
        raise too_large("An import may have 64 MiB at most. Send it in parts.")
    key = idempotency_key(request)
    common = (importer, gateway.commands, gateway.database, principal.name)
    if key is None:
        return cast("ASGIApp", Import(*common, announced=announced))
    route = f"{request.method} {request.url.path}"

    async def once(scope: Scope, receive: Receive, send: Send) -> None:
        spool = Spool()
        await read_into(spool, receive)
        if spool.cut_off:
            # What came is done, under the ids that the whole will have: its client has to send it again.
            cause = command_id_of(principal.name, route, key)
            await Import(*common, announced=announced, spool=spool, cause=cause)(scope, receive, send)
            return
        held = gateway.idempotency.held(principal=principal.name, route=route, key=key, content=spool.digest())
        ends: list[ASGIMessage] = []

        async def send_but_the_end(message: ASGIMessage) -> None:
            if message["type"] == "http.response.body" and not message["more_body"]:
                ends.append(message)
            else:
                await send(message)

        async with held as cause:
            await Import(*common, announced=announced, spool=spool, cause=cause)(scope, receive, send_but_the_end)
        # Only now: a client that has its answer and sends the same again must not be told that it is still running.
        for end in ends:
            await send(end)

    return cast("ASGIApp", once)


@post(
    "/v1/order-imports",
    operation_id="importOrders",
    summary="Register many orders, one a line",
    status_code=200,
    opt=documented(
        body=OrderRequest,
        content_type="application/x-ndjson",
        answers={200: _ANSWER},
        gives={"application/x-ndjson": ImportedLine},
    ),
)
async def import_orders(request: AnyRequest, gateway: TheGateway, principal: Caller) -> ASGIApp:
    """To 64 MiB, streamed. One bad line fails alone, a blank line is skipped, a byte order mark before the first line too."""
    principal.require("platform", "partner")
    return _import(request, gateway, principal, OrderImporter(principal))


@post(
    "/v1/fact-imports",
    operation_id="importFacts",
    summary="Record many facts, one a line",
    status_code=200,
    opt=documented(
        body=FactLine, content_type="application/x-ndjson", answers={200: _ANSWER}, gives={"application/x-ndjson": ImportedLine}
    ),
)
async def import_facts(request: AnyRequest, gateway: TheGateway, principal: Caller) -> ASGIApp:
    """Each line names `merchant_id` and `order_number` beside the fact's own fields."""
    principal.require("platform", "partner", "merchant")
    if principal.capability is not None:
        raise ProblemError(Problem.forbidden("Facts are imported with a key, not with a link."))
    return _import(request, gateway, principal, FactImporter(principal))


routes = (import_orders, import_facts)
