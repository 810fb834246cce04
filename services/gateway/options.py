"""OPTIONS of every address (RFC 9110): the methods of all its handlers, as its 405 names them."""

from collections import defaultdict
from collections.abc import Iterable

from litestar import Response
from litestar.enums import HttpMethod
from litestar.handlers import HTTPRouteHandler

__all__ = ["with_options"]


def with_options(handlers: Iterable[HTTPRouteHandler]) -> list[HTTPRouteHandler]:
    """The handlers, after one for OPTIONS of each of their addresses. Litestar makes its own where it finds none, and that one
    goes on naming the methods of the first handler it met."""
    given = list(handlers)
    methods: dict[str, set[str]] = defaultdict(lambda: {HttpMethod.OPTIONS.value})
    for handler in given:
        for path in handler.paths:
            methods[path] |= handler.http_methods
    return [*(_options(path, ", ".join(sorted(allowed))) for path, allowed in methods.items()), *given]


def _options(path: str, allow: str) -> HTTPRouteHandler:
    @HTTPRouteHandler(path, http_method=HttpMethod.OPTIONS, status_code=204, include_in_schema=False)
    async def options() -> Response[None]:
        return Response(None, status_code=204, headers={"Allow": allow})

    return options
