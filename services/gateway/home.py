"""The front door: who opens the bare address is told what this is and where things are."""

from typing import Any

from litestar import Response, get
from litestar.datastructures.headers import Accept

from services.gateway.answers import answer, response_of
from services.gateway.context import TheGateway
from services.gateway.documented import documented
from services.gateway.page import html_answer, rendered
from services.gateway.requests import AnyRequest
from services.gateway.shown.values import HTML, Links, Shown

__all__ = ["routes"]

_TITLE = "Recourse"
_VARIES = {"Vary": "Accept"}


class Home(Shown):
    """Where to begin."""

    title: str
    _links: Links


def _places(*, sandbox: bool) -> Links:
    found: Links = {
        "self": {"href": "/"},
        "openapi": {"href": "/openapi.json"},
        "programmes": {"href": "/v1/programmes"},
    }
    if sandbox:
        found |= {
            "clock": {"href": "/v1/sandbox/clock"},
            "mails": {"href": "/v1/sandbox/mails"},
            "payments": {"href": "/v1/sandbox/payments"},
        }
    return found


@get(
    "/",
    operation_id="showHome",
    summary="Where things are",
    opt=documented(
        headers=("Accept",),
        answers={200: "Links to begin with; a page of them for `Accept: text/html`."},
        public=True,
        page=True,
        gives={"application/json": Home, **HTML},
    ),
)
async def show_home(request: AnyRequest, gateway: TheGateway) -> Response[Any]:
    """Open to everybody. A browser is shown a page, any other client links."""
    sandbox = gateway.sandbox is not None
    types = ["application/json", "text/html"]
    if Accept(request.headers.get("accept", "*/*")).best_match(types, types[0]) == "text/html":
        return html_answer(200, rendered("home.html", "en", title=_TITLE, sandbox=sandbox), _VARIES)
    return response_of(answer(200, {"title": _TITLE, "_links": _places(sandbox=sandbox)}, **_VARIES))


routes = (show_home,)
