"""Holds answers against the OpenAPI document: whatever a client of the tests is answered is as its route says."""

import re
from collections.abc import Iterator, Mapping
from functools import cache
from types import SimpleNamespace
from typing import Any, cast

import httpx
import jsonschema_rs
import orjson

from services.gateway.api import create_app
from services.gateway.openapi import described

__all__ = ["DOCUMENT", "closed", "require_as_described"]

DOCUMENT = described(create_app(cast("Any", SimpleNamespace(sandbox=object())), cast("Any", None)))
"""As every gateway of a sandbox serves it."""
_METHODS = ("get", "put", "post", "delete")


def closed(schema: Any) -> Any:
    """A schema that takes no fields but those that it names: clients tolerate new ones, and we document ours."""
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {name: closed(each) for name, each in schema.items()}
    return {"additionalProperties": False, **inner} if isinstance(inner.get("properties"), dict) else inner


def operations() -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """(method, path, operation) of each route."""
    for path, found in DOCUMENT["paths"].items():
        for method in _METHODS:
            if method in found:
                yield method, path, found[method]


@cache
def _routes() -> list[tuple[str, re.Pattern[str], Mapping[str, Any]]]:
    """Those with the fewest parameters first, as the router tries them."""
    by_parameters = sorted(operations(), key=lambda each: each[1].count("{"))
    return [(method, re.compile(re.sub(r"\{[^}]*\}", "[^/]+", path)), operation) for method, path, operation in by_parameters]


@cache
def _operation(method: str, path: str) -> Mapping[str, Any] | None:
    found = (operation for of, pattern, operation in _routes() if of == method and pattern.fullmatch(path))
    return next(found, None)


@cache
def _components() -> Any:
    return closed(DOCUMENT["components"])


@cache
def _validator(operation_id: str, status: str, media_type: str) -> jsonschema_rs.Draft202012Validator:
    content = next(each for *_, each in operations() if each["operationId"] == operation_id)["responses"][status]["content"]
    schema = {**content[media_type]["schema"], "components": _components()}
    return jsonschema_rs.Draft202012Validator(schema, validate_formats=True, formats={"decimal": _is_decimal})


def _is_decimal(text: str) -> bool:
    return re.fullmatch(r"-?\d+(\.\d+)?", text) is not None


def require_as_described(response: httpx.Response) -> None:
    """Raises AssertionError for an answer of the API whose status, media type or body its route does not tell of."""
    method, path, status = response.request.method.lower(), response.request.url.path, str(response.status_code)
    operation = _operation(method, path)
    if operation is None:  # 404, 405, and whoever asks with HEAD or OPTIONS
        return
    said = f"{method} {path}: {status}"
    media_type = response.headers.get("content-type", "").partition(";")[0]
    assert status in operation["responses"], f"{said} is not told of"
    content = operation["responses"][status].get("content", {})
    if not content and not response.content:
        return
    assert media_type in content, f"{said} is {media_type}, told of are {', '.join(content)}"
    if media_type.endswith("json"):
        for line in response.content.splitlines() if media_type == "application/x-ndjson" else [response.content]:
            _require(operation, status, media_type, line, said)


def _require(operation: Mapping[str, Any], status: str, media_type: str, content: bytes, said: str) -> None:
    shown = orjson.loads(content)
    wrong = [
        f"/{'/'.join(map(str, error.instance_path))}: {error.message}"
        for error in _validator(operation["operationId"], status, media_type).iter_errors(shown)
    ]
    assert not wrong, (said, wrong)
