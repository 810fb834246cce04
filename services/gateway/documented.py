"""What each route says about itself: the body it takes and the query parameters it knows, for checking and for OpenAPI."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from contracts.problems import Problem
from services.gateway.problems import ProblemError, unsupported, wrong_query
from services.gateway.requests import AnyRequest, if_match

__all__ = ["CONDITIONAL", "PAGED", "as_documented", "documented", "query"]

PAGED: Mapping[str, str] = {
    "limit": "How many items at most: 1 to 200, 50 by default.",
    "cursor": "`next` of the page before.",
}
CONDITIONAL = ("If-Match",)
"""The `headers` of a change of something that has a version: what is below an order or a case is a change of that."""


def documented(
    *,
    body: type[BaseModel] | None = None,
    content_type: str = "application/json",
    query: Mapping[str, str] | None = None,
    headers: tuple[str, ...] = (),
    answers: Mapping[int, str] | None = None,
    gives: Any = None,
    late: bool = False,
    public: bool = False,
    page: bool = False,
) -> dict[str, Any]:
    """The `opt` of a route. `query` has the parameters with a sentence each, `headers` the request headers beyond the usual,
    `answers` the statuses. `gives`: the type of what an answer of success shows, by media type where that is not JSON; `late`
    where the outcome may not be there within the wait, so that 202 promises it. `public` where no key is needed. A `page` is
    for people, whose mail programs and search engines add parameters of their own to its address."""
    return {
        "body": body,
        "content_type": content_type,
        "query": dict(query or {}),
        "headers": headers,
        "answers": dict(answers or {}),
        "gives": gives if isinstance(gives, Mapping) else {"application/json": gives} if gives is not None else {},
        "late": late,
        "public": public,
        "page": page,
    }


async def as_documented(request: AnyRequest) -> None:
    """Before any route: what it does not know is refused, never ignored. Raises 412 for a condition on what has no version, 415
    for a body that is compressed, 422 for a query parameter that the route does not say it takes, or that is given twice."""
    opt = request.route_handler.opt
    if "query" not in opt:  # OPTIONS, and Litestar's own
        return
    if request.method != "GET" and "If-Match" not in opt["headers"] and if_match(request) is not None:
        raise ProblemError(Problem.version_mismatch("What this address changes has no version; leave If-Match out."))
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise unsupported("Send the body as it is, without Content-Encoding.", encoding=True)
    if request.scope["query_string"] and not opt["page"]:
        _require_known(request, opt["query"])


def _require_known(request: AnyRequest, known: Mapping[str, str]) -> None:
    given: set[str] = set()
    wrong: list[tuple[str, str]] = []
    for name, _ in request.query_params.multi_items():
        if name not in known:
            wrong.append((name, f"there is no such parameter here; known are {', '.join(known) or 'none'}"))
        elif name in given:
            wrong.append((name, "give it once"))
        given.add(name)
    if wrong:
        raise wrong_query(*wrong)


def query(request: AnyRequest) -> dict[str, str]:
    """The query parameters that were given a value; `as_documented` has let no others through. One without a value counts as
    left out: clients' libraries write it so where their caller has none."""
    return {name: value for name, value in request.query_params.items() if value}
