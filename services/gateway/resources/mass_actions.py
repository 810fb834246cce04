"""Mass actions (NX-09): group work with progress and a result per item."""

from typing import Any

from litestar import Response, get, post
from litestar.params import FromPath

from contracts.ids import made_id
from contracts.problems import Problem
from services.gateway.answers import Answer, answer, listed, response_of
from services.gateway.context import Caller, Gateway, TheGateway
from services.gateway.cursors import cursor, place_of, whole_number
from services.gateway.documented import PAGED, documented, query
from services.gateway.lists import before, newest_first
from services.gateway.mass_selection import MassActionContent
from services.gateway.principals import Principal
from services.gateway.problems import ProblemError, field_error, wrong_query
from services.gateway.requests import AnyRequest, json_body, parsed
from services.gateway.shown.platform import MassAction, MassActionItemPage, MassActionPage
from services.gateway.store import MASS_ACTIONS, MASS_ITEMS, Document

__all__ = ["routes"]

_PATH = "/v1/mass-actions"
_FOR_WHOM = "For the platform."
_STATUSES = ("waiting", "done", "skipped", "failed")


async def _shown(gateway: Gateway, mass_id: str) -> dict[str, Any]:
    """Raises 404."""
    shown = await gateway.mass.shown(mass_id)
    if shown is None:
        raise ProblemError(Problem.not_found("mass action"))
    return shown


@post(
    _PATH,
    operation_id="createMassAction",
    summary="Treat many orders or cases as a group (NX-09)",
    description=_FOR_WHOM,
    status_code=202,
    opt=documented(body=MassActionContent, answers={202: "The action, which is under way."}, gives=MassAction),
)
async def create(request: AnyRequest, gateway: TheGateway, principal: Caller) -> Response[bytes]:
    """The same selection again is a new action, in which what is finished is skipped and nobody is told twice."""
    principal.require("platform")
    raw = await json_body(request)

    async def work(command_id: str) -> Answer:
        content = parsed(MassActionContent, raw)
        await _require_known(gateway, principal, content)
        mass_id = made_id("mas", "mass-action", command_id)
        await gateway.mass.create(mass_id, content, principal.actor())
        return answer(202, await _shown(gateway, mass_id), Location=f"{_PATH}/{mass_id}")

    return await gateway.once(request, principal, raw, work)


async def _require_known(gateway: Gateway, principal: Principal, content: MassActionContent) -> None:
    """Raises 422 for a merchant or an action that there is not."""
    merchant_id = content.selection.merchant_id
    if merchant_id is not None:
        try:
            await gateway.merchant(principal, merchant_id)
        except ProblemError:
            raise field_error("/selection/merchant_id", f"There is no merchant {merchant_id}.") from None
    if content.decide is not None:
        programmes = gateway.programmes
        known = {
            name
            for programme in programmes.known()
            for version in programmes.versions(programme)
            for name, action in version.actions.items()
            if "platform" in action.by
        }
        if content.decide["action"] not in known:
            raise field_error("/decide/action", f"The platform's actions are {', '.join(sorted(known))}.")


@get(
    _PATH,
    operation_id="listMassActions",
    summary="Mass actions, newest first",
    description=_FOR_WHOM,
    opt=documented(query=PAGED, answers={200: "Mass actions."}, gives=MassActionPage),
)
async def list_actions(request: AnyRequest, gateway: TheGateway, principal: Caller) -> Response[bytes]:
    """With their progress."""
    principal.require("platform")
    given = query(request)
    limit = whole_number("limit", given.get("limit"), 50, 1, 200)
    place = place_of(given.get("cursor"), str, str)
    wanted = {} if place is None else before("created_at", place)
    found = await newest_first(gateway.database[MASS_ACTIONS], wanted, "created_at", limit + 1)
    page = found[:limit]
    last = cursor([page[-1]["created_at"], page[-1]["_id"]]) if len(found) > limit else None
    return response_of(listed([await _shown(gateway, each["_id"]) for each in page], last))


@get(
    _PATH + "/{mass_id:str}",
    operation_id="getMassAction",
    summary="A mass action and its progress",
    description=_FOR_WHOM,
    opt=documented(answers={200: "The action."}, gives=MassAction),
)
async def get_action(gateway: TheGateway, principal: Caller, mass_id: FromPath[str]) -> Response[bytes]:
    """`done`, `failed` and `skipped` count items; `waiting` are those to come."""
    principal.require("platform")
    return response_of(answer(200, await _shown(gateway, mass_id)))


@get(
    _PATH + "/{mass_id:str}/items",
    operation_id="listMassActionItems",
    summary="The items of a mass action with their results",
    description=_FOR_WHOM,
    opt=documented(
        query={**PAGED, "status": "Only those that are waiting, done, skipped or failed."},
        answers={200: "Items with their results."},
        gives=MassActionItemPage,
    ),
)
async def list_items(request: AnyRequest, gateway: TheGateway, principal: Caller, mass_id: FromPath[str]) -> Response[bytes]:
    """In the order in which they are worked on."""
    principal.require("platform")
    given = query(request)
    await _shown(gateway, mass_id)
    limit = whole_number("limit", given.get("limit"), 50, 1, 200)
    wanted: dict[str, Any] = {"mass_id": mass_id}
    if (status := given.get("status")) is not None:
        if status not in _STATUSES:
            raise wrong_query(("status", f"one of {', '.join(_STATUSES)}"))
        wanted["status"] = status
    if (place := place_of(given.get("cursor"), int)) is not None:
        wanted["n"] = {"$gt": place[0]}
    found = await gateway.database[MASS_ITEMS].find(wanted).sort("n", 1).limit(limit + 1).to_list(limit + 1)
    page = found[:limit]
    return response_of(listed([_item(each) for each in page], cursor([page[-1]["n"]]) if len(found) > limit else None))


def _item(item: Document) -> dict[str, Any]:
    return {name: item[name] for name in ("order_id", "case_id", "status", "told", "problem") if item.get(name) is not None}


@post(
    _PATH + "/{mass_id:str}/stops",
    operation_id="stopMassAction",
    summary="Interrupt a mass action",
    description=_FOR_WHOM,
    status_code=200,
    opt=documented(answers={200: "The action; `status` is `stopped` unless it was done."}, gives=MassAction),
)
async def stop(request: AnyRequest, gateway: TheGateway, principal: Caller, mass_id: FromPath[str]) -> Response[bytes]:
    """What is done stays done. Asking for the same selection again goes on with the rest."""
    principal.require("platform")

    async def work(command_id: str) -> Answer:
        await _shown(gateway, mass_id)
        await gateway.mass.stop(mass_id)
        return answer(200, await _shown(gateway, mass_id))

    return await gateway.once(request, principal, b"", work)


routes = (create, list_actions, get_action, list_items, stop)
