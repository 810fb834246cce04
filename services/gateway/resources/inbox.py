"""The team's inbox: mails that found no case of their own, until an agent puts them somewhere or sets them aside (CP-04)."""

import asyncio
from typing import Annotated, Any, Literal

from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from pydantic import Field, model_validator

from contracts.actors import Actor
from contracts.base import Model, format_moment
from contracts.orders import Code
from contracts.problems import Problem
from services.gateway.answers import Answer, answer, listed, response_of
from services.gateway.context import Caller, Gateway, TheGateway
from services.gateway.cursors import cursor, place_of, whole_number
from services.gateway.documented import PAGED, documented, query
from services.gateway.inbound.mailroom import Mailroom, Taken
from services.gateway.principals import Principal
from services.gateway.problems import ProblemError, field_error, unavailable, wrong_query
from services.gateway.requests import AnyRequest, json_body, known_id, parsed
from services.gateway.shown.platform import InboxItem, InboxPage
from services.gateway.store import Document, wall_clock

__all__ = ["TheMailroom", "routes"]

TheMailroom = NamedDependency[Mailroom]
"""What a route is given as `mailroom`."""

_STATES = ("open", "done")
_WHY = (
    "Only those of this kind: no_case, unknown_address, foreign_sender, unproven_sender, address_expired, too_many, empty, "
    "unreadable, not_taken, automatic, failed; done from the start: auto_reply, bounce, loop."
)


class Assignment(Model):
    """Where a mail belongs: into a case in a party's name, or to an order as its buyer's report."""

    case_id: Annotated[str, Field(max_length=100)] | None = None
    order_id: Annotated[str, Field(max_length=100)] | None = None
    party: Literal["buyer", "merchant"] | None = None
    """In whose name it is put into the case."""
    reason: Code | None = None
    """What is reported on the order, as the form's answers have it (BP-07)."""

    @model_validator(mode="after")
    def _one_place(self) -> "Assignment":
        if (self.case_id is None) == (self.order_id is None):
            raise ValueError("give either case_id and party, or order_id and reason")
        if (self.case_id is None) != (self.party is None) or (self.order_id is None) != (self.reason is None):
            raise ValueError("a case goes with party, an order with reason")
        return self


class Dismissal(Model):
    """Why a mail is nothing to act on."""

    note: Annotated[str, Field(max_length=2_000)] | None = None


def item_shown(mail: Document) -> dict[str, Any]:
    """An item, as the team sees it."""
    item = mail["item"]
    shown = {
        "item_id": mail["_id"],
        **{name: item[name] for name in ("why", "state", "from", "subject", "text", "attachments", "left_out")},
        "received_at": mail["received_at"],
        "size": mail["size"],
        "recipients": mail["recipients"],
        **{name: mail[name] for name in ("case_id", "order_id", "sender") if mail.get(name)},
        **{name: item[name] for name in ("detail", "ended") if item.get(name)},
        "_links": {
            "self": {"href": f"/v1/inbox/{mail['_id']}"},
            "content": {"href": f"/v1/inbox/{mail['_id']}/content"},
        },
    }
    if item["why"] == "unproven_sender" and item["state"] == "open":
        shown["suggested"] = _suggested(mail)
    if mail.get("order_id"):
        shown["_links"]["order"] = {"href": f"/v1/orders/{mail['order_id']}"}
    if mail.get("case_id"):
        shown["_links"]["case"] = {"href": f"/v1/cases/{mail['case_id']}"}
    return shown


def _suggested(mail: Document) -> dict[str, str]:
    """The assignment of a mail whose buyer and order were found, and whose sender nobody has proved: into its case, else a
    report for the reason that goes straight to the team (BP-07)."""
    if mail.get("case_id"):
        return {"case_id": mail["case_id"], "party": "buyer"}
    return {"order_id": mail["order_id"], "reason": "other"}


async def _item(mailroom: Mailroom, principal: Principal, item_id: str) -> Document:
    """The mail of an item. Raises 403, 404."""
    principal.require("platform")
    found = await mailroom.mails.get(item_id) if len(item_id) <= 100 else None
    if found is None or "item" not in found:
        raise ProblemError(Problem.not_found("item"))
    return found


@get(
    "/v1/inbox",
    operation_id="listInbox",
    summary="Mails that the platform's team has to look at, the oldest first",
    opt=documented(
        query={
            **PAGED,
            "state": "Only those in this state: open or done.",
            "why": _WHY,
            "case_id": "Only those about this case.",
        },
        answers={200: "Mails of the inbox."},
        gives=InboxPage,
    ),
)
async def list_inbox(request: AnyRequest, principal: Caller, mailroom: TheMailroom) -> Response[bytes]:
    """For agents. `case_id` and `order_id` are what the mail seems to be about; nobody vouches for its sender. `suggested` is
    the body of the assignment that it asks for, where that is clear."""
    principal.require("platform")
    given = query(request)
    state = given.get("state")
    if state is not None and state not in _STATES:
        raise wrong_query(("state", f"one of {', '.join(_STATES)}"))
    limit = whole_number("limit", given.get("limit"), 50, 1, 200)
    wanted = {
        **({"item.state": state} if state else {}),
        **({"item.why": given["why"]} if "why" in given else {}),
        **({"case_id": given["case_id"]} if "case_id" in given else {}),
    }
    found = await mailroom.mails.items(wanted, place_of(given.get("cursor"), str, str), limit + 1)
    more = cursor([found[limit - 1]["arrived_at"], found[limit - 1]["_id"]]) if len(found) > limit else None
    return response_of(listed([item_shown(mail) for mail in found[:limit]], more))


@get(
    "/v1/inbox/{item_id:str}",
    operation_id="getInboxItem",
    summary="A mail of the team's inbox",
    opt=documented(answers={200: "The mail."}, gives=InboxItem),
)
async def get_item(request: AnyRequest, principal: Caller, mailroom: TheMailroom, item_id: FromPath[str]) -> Response[bytes]:
    """For agents."""
    return response_of(answer(200, item_shown(await _item(mailroom, principal, item_id))))


@get(
    "/v1/inbox/{item_id:str}/content",
    operation_id="getInboxContent",
    summary="A mail as it arrived",
    opt=documented(answers={200: "The mail, to be saved."}, gives={"message/rfc822": bytes}),
)
async def get_content(
    request: AnyRequest, gateway: TheGateway, principal: Caller, mailroom: TheMailroom, item_id: FromPath[str]
) -> Response[bytes]:
    """Byte for byte, with what was cut as history; never shown inside a page of ours. Also of a mail that became a message or
    a report by itself: its author's id is `mail:` and this id."""
    principal.require("platform")
    mail = await mailroom.mails.get(item_id) if len(item_id) <= 100 else None
    if mail is None:
        raise ProblemError(Problem.not_found("mail"))
    try:
        content = await gateway.objects.get_mail(mail["mail_id"])
    except FileNotFoundError:
        raise unavailable("The mail cannot be read at the moment.") from None
    return Response(
        content,
        media_type="message/rfc822",
        headers={
            "Content-Disposition": f'attachment; filename="{mail["_id"]}.eml"',
            "X-Content-Type-Options": "nosniff",
            "Content-Security-Policy": "sandbox; default-src 'none'",
            "Cache-Control": "private, no-store",
        },
    )


@post(
    "/v1/inbox/{item_id:str}/assignments",
    operation_id="assignInboxItem",
    summary="Put a mail where it belongs",
    opt=documented(
        body=Assignment,
        answers={
            201: "The mail: done, with where it went.",
            409: "item-ended: another agent was first; or the report's refusal.",
        },
        gives=InboxItem,
        late=True,
    ),
)
async def assign_item(
    request: AnyRequest, gateway: TheGateway, principal: Caller, mailroom: TheMailroom, item_id: FromPath[str]
) -> Response[bytes]:
    """In a case: a message of the party, with its files, and with the agent who put it there. On an order: a report of its
    buyer, for one of the reasons of its form."""
    raw = await json_body(request)

    async def work(command_id: str) -> Answer:
        mail = await _item(mailroom, principal, item_id)
        wanted = parsed(Assignment, raw)
        return await _assigned(gateway, mailroom, principal, mail, wanted)

    return await gateway.once(request, principal, raw, work)


async def _assigned(gateway: Gateway, mailroom: Mailroom, principal: Principal, mail: Document, wanted: Assignment) -> Answer:
    body = await _place(gateway, principal, wanted)
    target = {name: value for name, value in wanted.model_dump(mode="json").items() if value is not None}
    taken = await asyncio.to_thread(Taken.of, await mailroom.read(mail))
    if taken.is_empty:
        raise field_error("", "there is neither text nor evidence in this mail; dismiss it, or write in the case yourself")
    if not await mailroom.mails.direct(mail["_id"], target):
        raise _ended(mail)
    cause = f"{mail['_id']}:{mail['item'].get('refused', 0)}"
    try:
        if wanted.case_id is not None and wanted.party is not None:
            actor = Actor(role="platform", id=principal.name, acts_for=wanted.party)
            outcome = await mailroom.post(cause, taken, body, wanted.case_id, wanted.party, actor)
        else:
            actor = Actor(role="platform", id=principal.name, acts_for="buyer")
            outcome = await mailroom.report(cause, taken, body, str(wanted.reason), actor, proved=True)
    except ProblemError as refused:
        if refused.problem.status < 500:
            await mailroom.mails.undirect(mail["_id"], target)
        raise
    where = {**target, **{name: outcome[name] for name in ("case_id", "message_id") if outcome.get(name)}}
    return await _closed(gateway, mailroom, principal, mail, target, {"how": "assigned", **where})


async def _place(gateway: Gateway, principal: Principal, wanted: Assignment) -> dict[str, Any]:
    """The order's read document. Raises 422 for a case or order that is not there."""
    try:
        if wanted.case_id is not None:
            return await gateway.case(principal, wanted.case_id)
        order_id, _ = known_id("ord", wanted.order_id or "", "order")
        return await gateway.order(principal, order_id)
    except ProblemError as missing:
        if missing.problem.status != 404:
            raise
        place = "case" if wanted.case_id is not None else "order"
        raise field_error(f"/{place}_id", f"there is no such {place}") from None


@post(
    "/v1/inbox/{item_id:str}/dismissals",
    operation_id="dismissInboxItem",
    summary="Set a mail aside",
    opt=documented(
        body=Dismissal, answers={201: "The mail: done.", 409: "item-ended: another agent was first."}, gives=InboxItem
    ),
)
async def dismiss_item(
    request: AnyRequest, gateway: TheGateway, principal: Caller, mailroom: TheMailroom, item_id: FromPath[str]
) -> Response[bytes]:
    """It is kept, and nothing comes of it."""
    raw = await json_body(request)

    async def work(command_id: str) -> Answer:
        mail = await _item(mailroom, principal, item_id)
        wanted = parsed(Dismissal, raw)
        note = {"note": wanted.note} if wanted.note else {}
        return await _closed(gateway, mailroom, principal, mail, None, {"how": "dismissed", **note})

    return await gateway.once(request, principal, raw, work)


async def _closed(
    gateway: Gateway,
    mailroom: Mailroom,
    principal: Principal,
    mail: Document,
    target: dict[str, Any] | None,
    ended: dict[str, Any],
) -> Answer:
    """End an item, or find that the very same ended it before."""
    by = {"by": principal.name, "at": format_moment(gateway.clock.now())}
    closed = await mailroom.mails.close(mail["_id"], target, {"ended": {**ended, **by}, "ended_at": wall_clock()})
    after = await mailroom.mails.get(mail["_id"])
    if after is None:
        raise ProblemError(Problem.not_found("item"))
    before = after["item"].get("ended") or {}
    same = all(before.get(name) == value for name, value in (target or {"how": "dismissed"}).items())
    if not closed and not same:
        raise _ended(after)
    return answer(201, item_shown(after), Location=f"/v1/inbox/{mail['_id']}")


def _ended(mail: Document) -> ProblemError:
    return ProblemError(
        Problem(
            type="/problems/item-ended",
            title="This mail was dealt with",
            status=409,
            detail="Another agent has put it somewhere or set it aside, or is doing so. Read the item again.",
            extra={"item_id": mail["_id"]},
        )
    )


routes = (list_inbox, get_item, get_content, assign_item, dismiss_item)
