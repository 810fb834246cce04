"""What each route says about itself: the body it takes and the query parameters it knows, for checking and for OpenAPI."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from services.gateway.problems import wrong_query
from services.gateway.requests import AnyRequest

__all__ = ["PAGED", "documented", "query"]

PAGED: Mapping[str, str] = {
    "limit": "How many items at most: 1 to 200, 50 by default.",
    "cursor": "`next` of the page before.",
}


def documented(
    *,
    body: type[BaseModel] | None = None,
    content_type: str = "application/json",
    query: Mapping[str, str] | None = None,
    headers: tuple[str, ...] = (),
    answers: Mapping[int, str] | None = None,
    public: bool = False,
) -> dict[str, Any]:
    """The `opt` of a route. `query` has the parameters with a sentence each, `headers` the request headers beyond the usual,
    `answers` the statuses; `public` where no key is needed."""
    return {
        "body": body,
        "content_type": content_type,
        "query": dict(query or {}),
        "headers": headers,
        "answers": dict(answers or {}),
        "public": public,
    }


def query(request: AnyRequest) -> dict[str, str]:
    """The query parameters. Raises 422 for one that the route does not know, or that is given twice."""
    known: Mapping[str, str] = request.route_handler.opt.get("query", {})
    given: dict[str, str] = {}
    wrong: list[tuple[str, str]] = []
    for name, value in request.query_params.multi_items():
        if name not in known:
            wrong.append((name, f"there is no such parameter here; known are {', '.join(known) or 'none'}"))
        elif name in given:
            wrong.append((name, "give it once"))
        given[name] = value
    if wrong:
        raise wrong_query(*wrong)
    return {name: value for name, value in given.items() if value != ""}
