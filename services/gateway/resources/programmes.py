"""Programmes: their policies as data, and the state machines that they make (NX-02, NX-07)."""

from contextlib import suppress
from typing import Any

from litestar import Response, get
from litestar.params import FromPath

from contracts.base import format_moment
from contracts.problems import Problem
from engine.machine import state_machine
from engine.programmes import Programme
from services.gateway.answers import answer, listed, response_of
from services.gateway.context import Caller, Gateway, TheGateway
from services.gateway.cursors import cursor, place_of, whole_number
from services.gateway.documented import PAGED, documented, query
from services.gateway.problems import ProblemError
from services.gateway.requests import AnyRequest
from services.gateway.shown.platform import Programme as ShownProgramme
from services.gateway.shown.platform import ProgrammePage, StateMachine

__all__ = ["routes"]

_VERSION = {"version": "Another version than the one in force."}


def _chosen(gateway: Gateway, name: str, version: str | None) -> Programme:
    """The version asked for, else the one in force now. Raises 404."""
    try:
        if version is not None:
            return gateway.programmes.get(name, whole_number("version", version, 1, 1, 1_000_000))
        return gateway.programmes.in_force(name, gateway.clock.now())
    except KeyError:
        raise ProblemError(Problem.not_found("programme in this version")) from None


def _shown(gateway: Gateway, programme: Programme) -> dict[str, Any]:
    name = programme.programme
    return {
        "id": name,
        **programme.model_dump(mode="json", by_alias=True, exclude={"programme", "transitions"}),
        "versions": [
            {
                "version": each.version,
                "effective_from": format_moment(each.effective_from) if each.effective_from else None,
            }
            for each in gateway.programmes.versions(name)
        ],
        "_links": {
            "self": {"href": f"/v1/programmes/{name}?version={programme.version}"},
            "state-machine": {"href": f"/v1/programmes/{name}/state-machine?version={programme.version}"},
        },
    }


@get(
    "/v1/programmes",
    operation_id="listProgrammes",
    summary="All programmes, each in the version in force",
    opt=documented(query=PAGED, answers={200: "Programmes."}, gives=ProgrammePage),
)
async def list_programmes(request: AnyRequest, gateway: TheGateway, principal: Caller) -> Response[bytes]:
    """Reasons, states, actions with their forms, deadlines and labels; `versions` with their dates."""
    given = query(request)
    limit = whole_number("limit", given.get("limit"), 50, 1, 200)
    place = place_of(given.get("cursor"), str)
    known = list(gateway.programmes.known())
    in_force: list[Programme] = []
    for name in known[known.index(place[0]) + 1 if place is not None and place[0] in known else 0 :]:
        with suppress(KeyError):  # not yet in force
            in_force.append(gateway.programmes.in_force(name, gateway.clock.now()))
    more = cursor([in_force[limit - 1].programme]) if len(in_force) > limit else None
    return response_of(listed([_shown(gateway, programme) for programme in in_force[:limit]], more))


@get(
    "/v1/programmes/{name:str}",
    operation_id="getProgramme",
    summary="A programme's policy",
    opt=documented(query=_VERSION, answers={200: "The programme."}, gives=ShownProgramme),
)
async def get_programme(request: AnyRequest, gateway: TheGateway, principal: Caller, name: FromPath[str]) -> Response[bytes]:
    """In the version in force, unless another is asked for."""
    programme = _chosen(gateway, name, query(request).get("version"))
    return response_of(answer(200, _shown(gateway, programme), ETag=f'"{programme.version}"'))


@get(
    "/v1/programmes/{name:str}/state-machine",
    operation_id="getStateMachine",
    summary="States, who may do what, guards, effects and deadlines",
    opt=documented(query=_VERSION, answers={200: "The state machine, from the table that decides."}, gives=StateMachine),
)
async def get_state_machine(
    request: AnyRequest, gateway: TheGateway, principal: Caller, name: FromPath[str]
) -> Response[bytes]:
    """In the version in force, unless another is asked for."""
    programme = _chosen(gateway, name, query(request).get("version"))
    return response_of(answer(200, state_machine(programme), ETag=f'"{programme.version}"'))


routes = (list_programmes, get_programme, get_state_machine)
