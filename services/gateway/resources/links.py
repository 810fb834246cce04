"""Links for buyers: made for an order confirmation, or mailed to whoever asks with the right address (NX-15)."""

from datetime import timedelta
from typing import Annotated, Literal

from litestar import Response, delete, post
from litestar.params import FromPath
from pydantic import AfterValidator, Field

from contracts.base import Duration, Model, format_moment, parse_duration
from contracts.capability import Capability, mint
from contracts.envelope import Envelope, encode
from contracts.ids import ID_PATTERN, child_id, derived, order_of
from contracts.notices import SendLink
from contracts.problems import Problem
from contracts.texts import Code, Email, address_key
from contracts.topics import NOTIFICATIONS_COMMANDS
from services.gateway.answers import Answer, answer
from services.gateway.buckets import Buckets
from services.gateway.context import Caller, Gateway, TheGateway
from services.gateway.documented import CONDITIONAL, documented
from services.gateway.principals import Principal, acts_until
from services.gateway.problems import ProblemError, too_many
from services.gateway.representations import order_version
from services.gateway.requests import AnyRequest, if_match, json_body, known_id, parsed
from services.gateway.shown.orders import MadeLink, RequestedLink
from services.gateway.store import ORDERS, REVOKED_LINKS, wall_clock

__all__ = ["routes"]

_LONGEST = timedelta(days=3660)
_MOST_ORDERS = 10
_LONGEST_ID = 100
_ONE_MAIL_PER_S = 600
_REQUESTS = Buckets(30, 1 / 60)
"""By order number and address: for who has lost the link it is more than enough, for who tries one out it is not."""
_ANYBODY = Principal("buyer", "anybody")
"""Who asks without a key: sees nothing and does nothing but this."""


def _some_time(text: str) -> str:
    if not timedelta(0) < parse_duration(text) <= _LONGEST:
        raise ValueError("more than nothing and at most ten years")
    return text


class LinkRequest(Model):
    """A link for the order's buyer; without `expires_in` it acts until 60 days after the protection's end."""

    for_: Annotated[Literal["buyer"], Field(alias="for")]
    expires_in: Annotated[Duration, AfterValidator(_some_time)] | None = None


class LinkMail(Model):
    """A buyer who has lost the link."""

    order_number: Code
    email: Annotated[Email, Field(max_length=254)]


@post(
    "/v1/orders/{order_id:str}/links",
    operation_id="createLink",
    summary="A link with which the buyer reads and acts, for the order confirmation",
    opt=documented(
        body=LinkRequest, headers=CONDITIONAL, answers={201: "The link.", 412: "version-mismatch: of the order"}, gives=MadeLink
    ),
)
async def create_link(request: AnyRequest, gateway: TheGateway, principal: Caller, order_id: FromPath[str]) -> Response[bytes]:
    """For the platform, the merchant and its partner."""
    raw = await json_body(request)
    known_id("ord", order_id, "order")

    async def work(command_id: str) -> Answer:
        body = await gateway.order(principal, order_id)
        principal.require("platform", "partner", "merchant")
        if principal.capability is not None:  # it would outlive the one case of a merchant's button, and act as the buyer
            raise ProblemError(Problem.forbidden("Links are made with a key, not with a link."))
        if stale := Problem.stale(if_match(request), order_version(body)):
            raise ProblemError(stale)
        wanted = parsed(LinkRequest, raw)
        expires_at = None if wanted.expires_in is None else gateway.clock.now() + parse_duration(wanted.expires_in)
        capability = Capability(
            link_id=child_id("lnk", order_id, command_id),
            order_id=order_id,
            role="buyer",
            expires_at=expires_at,
        )
        token = mint(gateway.settings.secret, capability)
        until = acts_until(capability, body)
        shown = {
            "link_id": capability.link_id,
            "url": f"{gateway.settings.base_url}/l/{token}",
            "token": token,
            "expires_at": None if until is None else format_moment(until),
        }
        return answer(201, shown)

    return await gateway.once(request, principal, raw, work)


@delete(
    "/v1/links/{link_id:str}",
    operation_id="revokeLink",
    summary="Revoke a link: from now on it neither reads nor acts (NX-15)",
    status_code=204,
    opt=documented(answers={204: "The link opens nothing any more."}),
)
async def revoke_link(request: AnyRequest, gateway: TheGateway, principal: Caller, link_id: FromPath[str]) -> Response[None]:
    """For the platform, the merchant of the order and its partner. At once, in every process; also for links of mails, which
    are named after their notice. Revoking it again changes nothing."""
    match = ID_PATTERN.fullmatch(link_id) if len(link_id) <= _LONGEST_ID else None
    if match is None or match["prefix"] not in ("lnk", "ntc"):
        raise ProblemError(Problem.not_found("link"))
    order_id = order_of(link_id)
    try:
        await gateway.order(principal, order_id)
    except ProblemError:
        raise ProblemError(Problem.not_found("link")) from None
    if principal.capability is not None:
        raise ProblemError(Problem.forbidden("Links are revoked with a key, not with a link."))
    revoked = {"_id": link_id, "order_id": order_id, "by": principal.name, "at": format_moment(wall_clock())}
    await gateway.database[REVOKED_LINKS].replace_one({"_id": link_id}, revoked, upsert=True)
    return Response(None, status_code=204)


@post(
    "/v1/link-requests",
    operation_id="requestLink",
    summary="Have the link of an order mailed to its buyer",
    status_code=202,
    opt=documented(
        body=LinkMail,
        answers={
            202: "Always: nobody learns from the answer whether there is such an order.",
            429: "rate-limited: whether there is one or not",
        },
        public=True,
        gives=RequestedLink,
    ),
)
async def request_link(request: AnyRequest, gateway: TheGateway) -> Response[bytes]:
    """Open to everybody. The mail goes to the order's own address only, and once in ten minutes."""
    raw = await json_body(request)

    async def work(command_id: str) -> Answer:
        wanted = parsed(LinkMail, raw)
        if wait_s := _REQUESTS.take(f"{wanted.order_number}\n{address_key(wanted.email)}"):
            raise too_many("This link was asked for very often just now.", wait_s)
        await _mail(gateway, wanted)
        return answer(202, {"status": "accepted"})

    return await gateway.once(request, _ANYBODY, raw, work)


async def _mail(gateway: Gateway, wanted: LinkMail) -> None:
    cursor = gateway.database[ORDERS].find({"body.order.order_number": wanted.order_number}, {"body.order": 1})
    found = await cursor.limit(1_000).to_list(None)
    orders = [document["body"]["order"] for document in found]
    mine = [order for order in orders if address_key(order["buyer"]["email"]) == address_key(wanted.email)]
    now = gateway.clock.now()
    window = str(int(wall_clock().timestamp()) // _ONE_MAIL_PER_S)
    envelopes = [
        Envelope(
            id=derived("link-request", order["order_id"], window),
            source="gateway",
            key=order["order_id"],
            time=now,
            message=SendLink(
                order_id=order["order_id"],
                order_number=order["order_number"],
                merchant_id=order["merchant_id"],
                merchant_name=order["merchant_name"],
                email=order["buyer"]["email"],
                name=order["buyer"]["name"],
                locale=order["buyer"]["locale"] or order["merchant_locale"],
            ),
        )
        for order in mine[:_MOST_ORDERS]
    ]
    if envelopes:
        await gateway.commands.publish([(NOTIFICATIONS_COMMANDS.name, encode(envelope)) for envelope in envelopes])


routes = (create_link, revoke_link, request_link)
