"""The desk of a merchant: consultants, assignment rules, absences with their forecast, status labels (RD-06, 08, 09, NX-17)."""

from dataclasses import dataclass
from typing import Any

from litestar import Response, delete, get, post, put
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from contracts.base import Model
from contracts.desk import CONTENTS, Absence, ChangeDesk, Desk, DeskItem, DeskList, desk_item_id
from contracts.ids import merchant_key
from contracts.problems import Problem
from contracts.topics import INTAKE_COMMANDS
from services.gateway.answers import Answer, answer, listed, response_of, with_version
from services.gateway.context import Caller, Gateway, TheGateway
from services.gateway.cursors import cursor, place_of, whole_number
from services.gateway.documented import CONDITIONAL, PAGED, documented, query
from services.gateway.forecasts import forecast_shown
from services.gateway.principals import Principal
from services.gateway.problems import ProblemError
from services.gateway.requests import AnyRequest, if_match, json_body, locale_of, parsed, preference
from services.gateway.shops import desk_of
from services.gateway.shown import merchants as shown

__all__ = ["change", "item_page", "item_shown", "routes", "taken_away"]

_FOR_WHOM = "For the platform, the partner of the merchant and the merchant's own keys."


def item_shown(merchant_id: str, name: DeskList, item: DeskItem) -> dict[str, Any]:
    """An item of the desk as a resource."""
    given = {field: value for field, value in item.model_dump(mode="json").items() if value is not None}
    return {**given, "_links": {"self": {"href": _href(merchant_id, name, given[Desk.id_field(name)])}}}


def _href(merchant_id: str, name: DeskList, item_id: str) -> str:
    return f"/v1/merchants/{merchant_id}/{name}/{item_id}"


async def item_page(
    request: AnyRequest, gateway: Gateway, principal: Principal, merchant_id: str, name: DeskList
) -> tuple[list[DeskItem], str | None]:
    """A page of a list, oldest first, and the cursor of the next one."""
    given = query(request)
    limit = whole_number("limit", given.get("limit"), 50, 1, 200)
    place = place_of(given.get("cursor"), str, int)
    desk = desk_of(await gateway.merchant_body(principal, merchant_id))
    items, field, begin = desk.items(name), Desk.id_field(name), 0
    if place is not None:
        # After the item that the page before ended with; where that was deleted, after as many as were shown.
        ids = [getattr(item, field) for item in items]
        begin = ids.index(place[0]) + 1 if place[0] in ids else int(place[1])
    page = list(items[begin : begin + limit])
    more = begin + limit < len(items)
    return page, cursor([getattr(page[-1], field), begin + limit]) if more else None


async def change(
    request: AnyRequest,
    gateway: Gateway,
    principal: Principal,
    merchant_id: str,
    name: DeskList,
    command_id: str,
    *,
    item_id: str | None = None,
    content: Model | None = None,
) -> DeskItem | None:
    """Have an item put (without `item_id`: made) or, without `content`, taken away; the item as it then is. Raises 404 and the
    problem of a refusal."""
    await gateway.merchant(principal, merchant_id)
    wanted = item_id or desk_item_id(name, command_id)
    command = ChangeDesk(
        merchant_id=merchant_id,
        list_name=name,
        item_id=wanted,
        content=None if content is None else content.model_dump(mode="json"),
        new=item_id is None,
        if_match=None if item_id is None else if_match(request),
        given=principal.was_given(merchant_id),
        actor=principal.actor(),
    )
    await gateway.commands.ask(INTAKE_COMMANDS, merchant_key(merchant_id), command, command_id, preference(request))
    if content is None:
        return None
    item = desk_of(await gateway.merchant_body(principal, merchant_id)).item(name, wanted)
    if item is None:  # somebody was quick to take it away again
        raise ProblemError(Problem.not_found("item"))
    return item


@dataclass(frozen=True, slots=True)
class _List:
    """A list of the desk as its routes name it: `noun` for people, `operation` in ids of operations; and the types of what it
    shows, an `item` and a `page`."""

    name: DeskList
    noun: str
    operation: str
    item: type
    page: type

    @property
    def path(self) -> str:
        return f"/v1/merchants/{{merchant_id:str}}/{self.name}"

    @property
    def item_path(self) -> str:
        return f"{self.path}/{{item_id:str}}"


def _creating(of: _List) -> HTTPRouteHandler:
    model = CONTENTS[of.name]

    @post(
        of.path,
        operation_id=f"create{of.operation}",
        summary=f"A new {of.noun}",
        description=_FOR_WHOM,
        opt=documented(body=model, answers={201: f"The {of.noun} with its id.", 409: "list-full"}, gives=of.item, late=True),
    )
    async def create(
        request: AnyRequest, gateway: TheGateway, principal: Caller, merchant_id: FromPath[str]
    ) -> Response[bytes]:
        raw = await json_body(request)

        async def work(command_id: str) -> Answer:
            await gateway.merchant(principal, merchant_id)
            content = parsed(model, raw)
            item = await change(request, gateway, principal, merchant_id, of.name, command_id, content=content)
            shown = item_shown(merchant_id, of.name, _there(item))
            return with_version(201, shown, Location=shown["_links"]["self"]["href"])

        return await gateway.once(request, principal, raw, work)

    return create


def _listing(of: _List) -> HTTPRouteHandler:
    @get(
        of.path,
        operation_id=f"list{of.operation}s",
        summary=f"Every {of.noun}, the oldest first",
        description=_FOR_WHOM,
        opt=documented(query=PAGED, answers={200: "A page of them."}, gives=of.page),
    )
    async def listing(
        request: AnyRequest, gateway: TheGateway, principal: Caller, merchant_id: FromPath[str]
    ) -> Response[bytes]:
        page, more = await item_page(request, gateway, principal, merchant_id, of.name)
        return response_of(listed([item_shown(merchant_id, of.name, item) for item in page], more))

    return listing


def _reading(of: _List) -> HTTPRouteHandler:
    @get(
        of.item_path,
        operation_id=f"get{of.operation}",
        summary=f"One {of.noun}",
        description=_FOR_WHOM,
        opt=documented(answers={200: f"The {of.noun}."}, gives=of.item),
    )
    async def read(
        gateway: TheGateway, principal: Caller, merchant_id: FromPath[str], item_id: FromPath[str]
    ) -> Response[bytes]:
        item = desk_of(await gateway.merchant_body(principal, merchant_id)).item(of.name, item_id)
        if item is None:
            raise ProblemError(Problem.not_found(of.noun))
        return response_of(with_version(200, item_shown(merchant_id, of.name, item)))

    return read


def _replacing(of: _List) -> HTTPRouteHandler:
    model = CONTENTS[of.name]

    @put(
        of.item_path,
        operation_id=f"put{of.operation}",
        summary=f"Replace a {of.noun}",
        description=_FOR_WHOM,
        opt=documented(
            body=model,
            headers=CONDITIONAL,
            answers={200: f"The {of.noun} as it now is.", 412: "version-mismatch"},
            gives=of.item,
            late=True,
        ),
    )
    async def replace(
        request: AnyRequest, gateway: TheGateway, principal: Caller, merchant_id: FromPath[str], item_id: FromPath[str]
    ) -> Response[bytes]:
        raw = await json_body(request)

        async def work(command_id: str) -> Answer:
            await gateway.merchant(principal, merchant_id)
            content = parsed(model, raw)
            item = await change(request, gateway, principal, merchant_id, of.name, command_id, item_id=item_id, content=content)
            return with_version(200, item_shown(merchant_id, of.name, _there(item)))

        return await gateway.once(request, principal, raw, work)

    return replace


def _removing(of: _List) -> HTTPRouteHandler:
    @delete(
        of.item_path,
        operation_id=f"delete{of.operation}",
        summary=f"Take a {of.noun} away",
        description=_FOR_WHOM,
        status_code=200,
        opt=documented(headers=CONDITIONAL, answers={204: "It is gone.", 409: "in-use", 412: "version-mismatch"}, late=True),
    )
    async def remove(
        request: AnyRequest, gateway: TheGateway, principal: Caller, merchant_id: FromPath[str], item_id: FromPath[str]
    ) -> Response[bytes]:
        return await taken_away(request, gateway, principal, merchant_id, of.name, item_id)

    return remove


def _there(item: DeskItem | None) -> DeskItem:
    if item is None:
        raise LookupError("an item that was put is there")
    return item


async def taken_away(
    request: AnyRequest, gateway: Gateway, principal: Principal, merchant_id: str, name: DeskList, item_id: str
) -> Response[bytes]:
    """Take an item away: 204."""

    async def work(command_id: str) -> Answer:
        await change(request, gateway, principal, merchant_id, name, command_id, item_id=item_id)
        return Answer(204, b"")

    return await gateway.once(request, principal, b"", work)


@get(
    "/v1/merchants/{merchant_id:str}/absences/{item_id:str}/forecast",
    operation_id="forecastAbsence",
    summary="What an absence will bring: the deadlines that fall into it, with the deputy and a hand-over note (NX-17)",
    opt=documented(answers={200: "The forecast."}, gives=shown.AbsenceForecast),
)
async def forecast_absence(
    request: AnyRequest, gateway: TheGateway, principal: Caller, merchant_id: FromPath[str], item_id: FromPath[str]
) -> Response[bytes]:
    """Deadlines of the shop's open cases that would be the absent consultant's, as the rules and absences are now."""
    body = await gateway.merchant_body(principal, merchant_id)
    absence = desk_of(body).item("absences", item_id)
    if not isinstance(absence, Absence):
        raise ProblemError(Problem.not_found("absence"))
    locale = locale_of(request, body["merchant"]["locale"])
    return response_of(answer(200, await forecast_shown(gateway, body, absence, locale)))


_LISTS = (
    _List("consultants", "consultant", "Consultant", shown.Consultant, shown.ConsultantPage),
    _List("assignment-rules", "assignment rule", "AssignmentRule", shown.AssignmentRule, shown.AssignmentRulePage),
    _List("absences", "absence", "Absence", shown.Absence, shown.AbsencePage),
    _List("status-labels", "status label", "StatusLabel", shown.StatusLabelItem, shown.StatusLabelPage),
)
_ROUTES = (_creating, _listing, _reading, _replacing, _removing)
routes = (*(route(of) for of in _LISTS for route in _ROUTES), forecast_absence)
