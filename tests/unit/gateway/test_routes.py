"""What holds for every route of the API, asked of the application itself: nothing that a client says is ignored."""

import ast
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest_asyncio
from litestar.testing import RequestFactory

from services.gateway.api import create_app
from services.gateway.context import Gateway
from services.gateway.documented import PAGED, query
from services.gateway.heads import with_head
from services.gateway.problems import EXPLAINED

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


_FIXED = ("type", "status")
ROUTES = sorted(api_routes(), key=lambda each: each[:2])


@pytest_asyncio.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=cast("Any", with_head(cast("Any", APP))))
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


async def test_a_parameter_without_a_value_counts_as_left_out(client: httpx.AsyncClient) -> None:
    asked = {(path, name) for method, path, opt in ROUTES if method == "GET" for name in opt["query"]}
    assert len(asked) > 30
    for path, name in asked:
        left_out = await client.get(path)
        for spelling in (f"{name}=", name):
            answer = await client.get(f"{path}?{spelling}")
            assert (answer.status_code, answer.content) == (left_out.status_code, left_out.content), path
    assert query(RequestFactory().get("/", query_params={"after": "", "limit": "5"})) == {"limit": "5"}


def raised() -> Iterator[tuple[str, int]]:
    """(type, status) of every problem that the code makes."""
    root = Path(__file__).parents[3]
    for file in (file for folder in ("contracts", "engine", "services") for file in (root / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Problem":
                given = {keyword.arg: ast.literal_eval(keyword.value) for keyword in node.keywords if keyword.arg in _FIXED}
                yield given["type"], given["status"]


def test_every_problem_has_a_page_that_explains_it() -> None:
    explained = {(f"/problems/{name}", each.status) for name, each in EXPLAINED.items()}
    assert set(raised()) == explained


async def test_a_body_that_is_compressed_is_refused_as_such(client: httpx.AsyncClient) -> None:
    for method, path, _ in ROUTES:
        answer = await client.request(method, path, headers={"Content-Encoding": "gzip"})
        assert (answer.status_code, answer.json()["type"]) == (415, "/problems/unsupported-media-type"), (method, path)
        assert answer.headers["accept-encoding"] == "identity"
    page = await client.get("/problems/not-found", headers={"Content-Encoding": "identity"})
    assert page.status_code == 200


async def test_head_is_answered_as_get_is_without_the_content(client: httpx.AsyncClient) -> None:
    page, head = await client.get("/problems/not-found"), await client.head("/problems/not-found")
    assert (head.status_code, head.headers, head.content) == (200, page.headers, b"")
    assert int(head.headers["content-length"]) == len(page.content) > 0
    gets = {path for method, path, _ in ROUTES if method == "GET"}
    for path in sorted({path for _, path, _ in ROUTES}):
        head = await client.head(path, params={"foo": "1"})
        assert (head.status_code, head.content) == (422 if path in gets else 405, b""), path
        allowed = (await client.patch(path)).headers["allow"].split(", ")
        assert ("HEAD" in allowed) == ("GET" in allowed) == (path in gets), path


async def test_options_names_every_method_of_an_address(client: httpx.AsyncClient) -> None:
    addresses = {path: {method for method, other, _ in ROUTES if other == path} for _, path, _ in ROUTES}
    assert any(len(methods) > 1 for methods in addresses.values())
    for path, methods in addresses.items():
        told, refused = await client.options(path), await client.patch(path)
        assert (told.status_code, told.content) == (204, b""), path
        allowed = set(told.headers["allow"].split(", "))
        assert allowed == set(refused.headers["allow"].split(", ")), path
        assert allowed - {"HEAD", "OPTIONS"} == methods, path


def shown_by(opt: Any) -> Mapping[str, Any]:
    """The fields of what a route answers, where that is an object."""
    return getattr(opt["gives"].get("application/json"), "__annotations__", {})


def test_every_list_is_read_page_by_page() -> None:
    lists = [(path, opt["query"]) for method, path, opt in ROUTES if method == "GET" and "next" in shown_by(opt)]
    assert len(lists) > 15
    for path, known in lists:
        assert {name: known.get(name) for name in PAGED} == PAGED, path
    for method, path, opt in ROUTES:
        assert method != "GET" or ("items" in shown_by(opt)) == ("next" in shown_by(opt)), path


async def test_a_page_is_shown_whatever_stands_behind_its_address(client: httpx.AsyncClient) -> None:
    page = await client.get("/problems/not-found?utm_source=mail&utm_source=mail")
    assert page.status_code == 200


def newcomer(*, sandbox: bool) -> httpx.AsyncClient:
    gateway = Gateway.__new__(Gateway)
    gateway.sandbox = cast("Any", object()) if sandbox else None  # no more of it is asked for
    app = create_app(gateway, SimpleNamespace())  # pyright: ignore[reportArgumentType]
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=cast("Any", app)), base_url="http://gateway")


async def test_the_bare_address_tells_a_newcomer_where_things_are() -> None:
    browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
    async with newcomer(sandbox=True) as client:
        page = await client.get("/", params={"utm_source": "mail"}, headers={"Accept": browser})
        assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert (page.headers["vary"], "default-src 'none'" in page.headers["content-security-policy"]) == ("Accept", True)
        assert "<script" not in page.text
        assert {"/v1/sandbox/mails", "README.md", "ready.json"} <= set(re.findall(r"[\w./]*\w", page.text))
        linked = re.findall(r'href="([^"]+)"', page.text)
        assert "/openapi.json" in linked
        for href in linked:
            assert (await client.get(href)).status_code == 200, href
        for accept in ("application/json", "*/*", "application/json, text/plain, */*", "image/png"):
            told = await client.get("/", headers={"Accept": accept})
            assert (told.status_code, told.headers["content-type"], told.headers["vary"]) == (200, "application/json", "Accept")
            links = {link["href"] for link in told.json()["_links"].values()}
            assert {"/openapi.json", "/v1/sandbox/mails"} <= links <= {route.path for route in APP.routes}


async def test_outside_the_sandbox_nobody_is_sent_to_it() -> None:
    async with newcomer(sandbox=False) as client:
        for accept in ("application/json", "text/html"):
            told = await client.get("/", headers={"Accept": accept})
            assert (told.status_code, "sandbox" in told.text) == (200, False)


async def test_a_condition_on_what_has_no_version_is_refused(client: httpx.AsyncClient) -> None:
    for method, path, opt in ROUTES:
        if method != "GET" and "If-Match" not in opt["headers"]:
            answer = await client.request(method, path, headers={"If-Match": '"3"'})
            assert (answer.status_code, answer.json()["type"]) == (412, "/problems/version-mismatch"), (method, path)
