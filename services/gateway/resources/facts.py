"""Facts: what happened to an order in the world (CP-06)."""

from typing import Any

from litestar import Response, post
from litestar.params import FromPath

from contracts.orders import FactContent, RecordFact
from contracts.problems import Problem
from contracts.topics import INTAKE_COMMANDS
from services.gateway.answers import Answer, answer
from services.gateway.context import Caller, TheGateway
from services.gateway.documented import CONDITIONAL, documented
from services.gateway.problems import ProblemError
from services.gateway.projector import Body
from services.gateway.representations import standing_version
from services.gateway.requests import AnyRequest, if_match, json_body, known_id, parsed, preference
from services.gateway.shown.orders import RecordedFact

__all__ = ["routes"]


@post(
    "/v1/orders/{order_id:str}/facts",
    operation_id="recordFact",
    summary="Record what happened to an order",
    opt=documented(
        body=FactContent,
        headers=CONDITIONAL,
        answers={
            201: "The fact, with source and time.",
            200: "The fact of this kind that its `external_id` had brought before.",
            412: "version-mismatch: of the order",
        },
        gives=RecordedFact,
        late=True,
    ),
)
async def record_fact(request: AnyRequest, gateway: TheGateway, principal: Caller, order_id: FromPath[str]) -> Response[bytes]:
    """From the partner, merchant or platform; it is attached to every case of the order.

    `external_id` is the source's own id: with the kind it names the fact, so that sending it again changes nothing. One
    tracking number may name what was shipped, what was delivered and what came back: these are three facts."""
    raw = await json_body(request)
    known_id("ord", order_id, "order")

    async def work(command_id: str) -> Answer:
        body = await gateway.order(principal, order_id)
        principal.require("platform", "partner", "merchant")
        if principal.capability is not None:
            raise ProblemError(Problem.forbidden("Facts are recorded with a key, not with a link."))
        content = parsed(FactContent, raw)
        command = RecordFact(
            order_id=order_id,
            content=content,
            if_match=standing_version(body, if_match(request)),
            given=principal.was_given(body["order"]["merchant_id"]),
            actor=principal.actor(),
        )
        outcome = await gateway.commands.ask(INTAKE_COMMANDS, order_id, command, command_id, preference(request))

        def is_it(fact: dict[str, Any]) -> bool:
            return fact["fact_id"] == outcome["fact_id"]

        def attached(body: Body) -> bool:
            return any(map(is_it, body["facts"])) and (not body.get("file") or any(map(is_it, body["file"]["facts"])))

        body = await gateway.seen(order_id, attached)
        known = [*(body.get("file") or {}).get("facts", ()), *body["facts"]]
        fact = next(fact for fact in known if is_it(fact))
        shown = {name: value for name, value in fact.items() if value is not None}
        return answer(
            200 if outcome["kind"] == "command.repeated" else 201,
            {**shown, "order_id": order_id, "_links": {"order": {"href": f"/v1/orders/{order_id}"}}},
        )

    return await gateway.once(request, principal, raw, work)


routes = (record_fact,)
