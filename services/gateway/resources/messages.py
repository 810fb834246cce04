"""The thread of a case: three parties, everyone may write at any time (RD-05, BP-21)."""

from typing import Annotated, Any

from litestar import Response, get, post
from litestar.params import FromPath
from pydantic import Field

from contracts.base import Model
from contracts.cases import PostMessage
from contracts.ids import order_of
from contracts.problems import Problem
from contracts.topics import CASES_COMMANDS
from services.gateway.answers import Answer, answer, listed, response_of
from services.gateway.buckets import Buckets
from services.gateway.context import Caller, Gateway, TheGateway
from services.gateway.cursors import cursor, place_of, whole_number
from services.gateway.documented import CONDITIONAL, PAGED, documented, query
from services.gateway.principals import Principal
from services.gateway.problems import ProblemError, too_many
from services.gateway.projector import Body
from services.gateway.representations import message_shown
from services.gateway.requests import AnyRequest, if_match, json_body, parsed, preference
from services.gateway.resources.reports import EvidenceIds
from services.gateway.shown.cases import Message, MessagePage
from services.gateway.store import MESSAGES

__all__ = ["MessageRequest", "routes", "thread", "write"]

_GUESTS = Buckets(60, 1 / 30)
"""By link: each message makes mails to the other side, and anybody becomes a guest by filling in a form."""


class MessageRequest(Model):
    """A message to the other parties of a case."""

    text: Annotated[str, Field(min_length=1, max_length=10_000)]
    evidence: EvidenceIds = ()


@get(
    "/v1/cases/{case_id:str}/messages",
    operation_id="listMessages",
    summary="The thread of a case, oldest first",
    opt=documented(query=PAGED, answers={200: "Messages."}, gives=MessagePage),
)
async def list_messages(request: AnyRequest, gateway: TheGateway, principal: Caller, case_id: FromPath[str]) -> Response[bytes]:
    """Internal remarks are shown to their own side and the platform only."""
    given = query(request)
    limit = whole_number("limit", given.get("limit"), 50, 1, 200)
    place = place_of(given.get("cursor"), int)
    await gateway.case(principal, case_id)
    found = await thread(gateway, principal, case_id, after=0 if place is None else int(place[0]), limit=limit + 1)
    more = cursor([found[limit - 1]["order_sequence"]]) if len(found) > limit else None
    return response_of(listed([message_shown(message) for message in found[:limit]], more))


async def thread(
    gateway: Gateway, principal: Principal, case_id: str, *, after: int = 0, limit: int | None = None
) -> list[dict[str, Any]]:
    """The messages of a case that the caller may read, oldest first, from after an `order_sequence` on."""
    wanted = {"case_id": case_id, "order_sequence": {"$gt": after}, "visible_to": principal.reads_as}
    found = gateway.database[MESSAGES].find(wanted).sort([("order_sequence", 1)])
    return await (found if limit is None else found.limit(limit)).to_list(None)


@post(
    "/v1/cases/{case_id:str}/messages",
    operation_id="postMessage",
    summary="Write in the thread of a case",
    opt=documented(
        body=MessageRequest,
        headers=CONDITIONAL,
        answers={
            201: "The message.",
            412: "version-mismatch: of the case",
            429: "rate-limited: for guests",
        },
        gives=Message,
        late=True,
    ),
)
async def post_message(request: AnyRequest, gateway: TheGateway, principal: Caller, case_id: FromPath[str]) -> Response[bytes]:
    """The other parties are told by mail."""
    raw = await json_body(request)

    async def work(command_id: str) -> Answer:
        body = await gateway.case(principal, case_id)
        return await write(request, gateway, principal, body, case_id, parsed(MessageRequest, raw), command_id)

    return await gateway.once(request, principal, raw, work)


async def write(
    request: AnyRequest,
    gateway: Gateway,
    principal: Principal,
    body: Body,
    case_id: str,
    wanted: MessageRequest,
    command_id: str,
) -> Answer:
    """Have a message posted in a case that the caller sees; `body` is its order's read document."""
    gateway.require_acting(principal, body)
    wait_s = _GUESTS.take(principal.name) if principal.is_guest else 0.0
    if wait_s:
        raise too_many("Much was written with this link just now.", wait_s)
    order_id = order_of(case_id)
    evidence = await gateway.evidence(principal, order_id, wanted.evidence)
    command = PostMessage(
        case_id=case_id, text=wanted.text, evidence=evidence, if_match=if_match(request), actor=principal.actor()
    )
    outcome = await gateway.commands.ask(CASES_COMMANDS, order_id, command, command_id, preference(request))
    message_id = outcome.get("message_id")
    message = None if message_id is None else await gateway.reads.get(MESSAGES, message_id)
    if message is None:
        raise ProblemError(Problem.not_found("message"))
    return answer(201, message_shown(message))


routes = (list_messages, post_message)
