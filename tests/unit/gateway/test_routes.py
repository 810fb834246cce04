"""What holds for every route of the API, asked of the application itself: nothing that a client says is ignored."""

from collections.abc import AsyncIterator, Iterator
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest_asyncio

from services.gateway.api import create_app

APP = create_app(SimpleNamespace(sandbox=object()), SimpleNamespace())  # pyright: ignore[reportArgumentType]
"""Over a gateway that no request gets to."""


def api_routes() -> Iterator[tuple[str, str, Any]]:
    """(method, a path, what is said about it) of each route under /v1."""
    for route in APP.routes:
        for handler in getattr(route, "route_handlers", ()):
            for method in handler.http_methods - {"OPTIONS"}:
                if route.path.startswith("/v1/"):
                    path = "/".join("x" if part.startswith("{") else part for part in route.path.split("/"))
                    yield method, path, handler.opt


ROUTES = sorted(api_routes(), key=lambda each: each[:2])


@pytest_asyncio.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=cast("Any", APP))
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as made:
        yield made


def test_there_are_routes_to_ask() -> None:
    assert len(ROUTES) > 80


async def test_a_parameter_that_a_route_does_not_say_it_takes_is_refused(client: httpx.AsyncClient) -> None:
    for method, path, opt in ROUTES:
        answer = await client.request(method, path, params={"foo": "1"})
        assert answer.status_code == 422, (method, path)
        assert [error["parameter"] for error in answer.json()["errors"]] == ["foo"], (method, path)
        for name in opt["query"]:
            twice = await client.request(method, f"{path}?{name}=1&{name}=2")
            assert (twice.status_code, twice.json()["errors"][0]["parameter"]) == (422, name), (method, path)


async def test_a_page_is_shown_whatever_stands_behind_its_address(client: httpx.AsyncClient) -> None:
    page = await client.get("/problems/not-found?utm_source=mail&utm_source=mail")
    assert page.status_code == 200


async def test_a_condition_on_what_has_no_version_is_refused(client: httpx.AsyncClient) -> None:
    for method, path, opt in ROUTES:
        if method != "GET" and "If-Match" not in opt["headers"]:
            answer = await client.request(method, path, headers={"If-Match": '"3"'})
            assert (answer.status_code, answer.json()["type"]) == (412, "/problems/version-mismatch"), (method, path)
