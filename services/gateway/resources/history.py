"""The history of a case: every event in its hash chain (NX-13)."""

from typing import Any

from litestar import Response, get
from litestar.params import FromPath

from contracts.base import format_moment, parse_moment
from services.gateway.answers import listed, response_of
from services.gateway.context import Caller, TheGateway
from services.gateway.cursors import cursor, place_of, whole_number
from services.gateway.documented import PAGED, documented, query
from services.gateway.problems import wrong_query
from services.gateway.representations import entry_shown
from services.gateway.requests import AnyRequest
from services.gateway.shown.cases import HistoryPage
from services.gateway.store import HISTORY

__all__ = ["routes"]


@get(
    "/v1/cases/{case_id:str}/history",
    operation_id="listHistory",
    summary="Every event of a case, oldest first, in its hash chain",
    opt=documented(
        query={"as_of": "Only what had happened by this moment (RFC 3339).", **PAGED},
        answers={200: "Events of the case."},
        gives=HistoryPage,
    ),
)
async def list_history(request: AnyRequest, gateway: TheGateway, principal: Caller, case_id: FromPath[str]) -> Response[bytes]:
    """`data` and `salt` are left out of what is not for the caller's eyes; the chain can be followed all the same."""
    given = query(request)
    limit = whole_number("limit", given.get("limit"), 50, 1, 200)
    place = place_of(given.get("cursor"), int)
    await gateway.case(principal, case_id)
    wanted: dict[str, Any] = {"case_id": case_id, "sequence": {"$gt": 0 if place is None else place[0]}}
    if "as_of" in given:
        try:
            wanted["at"] = {"$lte": format_moment(parse_moment(given["as_of"].replace(" ", "+")))}
        except (ValueError, OverflowError):
            raise wrong_query(("as_of", "a time such as 2019-07-15T00:00:00Z")) from None
    found = await gateway.database[HISTORY].find(wanted).sort([("sequence", 1)]).limit(limit + 1).to_list(None)
    more = cursor([found[limit - 1]["sequence"]]) if len(found) > limit else None
    return response_of(listed([entry_shown(entry, principal) for entry in found[:limit]], more))


routes = (list_history,)
