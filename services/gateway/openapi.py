"""The OpenAPI document: Litestar's own, with the bodies, parameters, answers and problems that each route says it has."""

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import GenericAlias
from typing import Any

import orjson
from litestar import Litestar, Response, get
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode

from services.gateway.documented import documented
from services.gateway.requests import AnyRequest
from services.gateway.shown.values import Command, Problem

__all__ = ["config", "described", "routes"]

_REFUSALS = ("400", "401", "403", "404", "409", "412", "413", "415", "422", "503")
_PLACE = "#/components/schemas/{model}"
_LATE = "The outcome was not there within the wait; ask for it at the `Location`."


def config() -> OpenAPIConfig:
    """What Litestar makes its document from."""
    return OpenAPIConfig(
        title="Recourse",
        version="1",
        description=(
            "A way back for every online order: orders with protection, reports, cases, evidence. Times are RFC 3339 in UTC, "
            "durations ISO 8601, money is a decimal string with its currency; unknown fields in a request are refused. "
            "Answers may get new fields, and new values where a field has a list of them."
        ),
        path="/openapi",
        render_plugins=[_Render()],
        create_examples=False,
    )


class _Render(JsonRenderPlugin):
    """Serves the document with what the routes add to it."""

    def render(self, request: AnyRequest, openapi_schema: dict[str, Any]) -> bytes:
        return _rendered(request.app)


@lru_cache(maxsize=1)
def _rendered(app: Litestar) -> bytes:
    return orjson.dumps(described(app))


def described(app: Litestar) -> dict[str, Any]:
    """The document as JSON values. Raises ValueError where what is asked for has the name of another thing that is answered."""
    document: dict[str, Any] = app.openapi_schema.to_schema()
    handlers = dict(_handlers(app))
    asked = _schemas((opt["body"] for opt in handlers.values() if opt["body"] is not None), "validation")
    given = (type_ for opt in handlers.values() for type_ in opt["gives"].values())
    answered = _schemas((*given, Command, Problem), "serialization")
    # Money is answered as it is asked for: it has one name, and one schema.
    if differing := [name for name, schema in asked.named.items() if answered.named.get(name, schema) != schema]:
        raise ValueError(f"asked for otherwise than answered, under one name: {', '.join(differing)}")
    for schema in asked.named.values():
        if schema.get("type") == "object":
            # What is refused at run time is refused here too: fields that a request does not have.
            schema.setdefault("additionalProperties", False)
    components = document.setdefault("components", {})
    components["schemas"] = {**components.get("schemas", {}), **answered.named, **asked.named}
    components["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer", "description": "A platform, partner or merchant key, or a link's token."}
    }
    for operations in document.get("paths", {}).values():
        for operation in operations.values():
            if isinstance(operation, dict) and operation.get("operationId") in handlers:
                _describe(operation, handlers[operation["operationId"]], asked.of, answered.of)
    return document


def _handlers(app: Litestar) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for route in app.routes:
        for handler in getattr(route, "route_handlers", ()):
            if isinstance(handler.operation_id, str):
                yield handler.operation_id, handler.opt


class _Generator(GenerateJsonSchema):
    """Schemas of what is dumped whole, as every answer is: a field with a default is there, and its default is no news."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def field_is_required(self, field: Any, total: bool) -> bool:
        if self.mode == "serialization" and field["type"] == "model-field":
            return True
        return super().field_is_required(field, total)

    def default_schema(self, schema: Any) -> dict[str, Any]:
        return self.generate_inner(schema["schema"]) if self.mode == "serialization" else super().default_schema(schema)


@dataclass(frozen=True, slots=True)
class _Schemas:
    """Schemas `of` types, mostly references to the `named` ones."""

    of: Mapping[Any, dict[str, Any]]
    named: dict[str, dict[str, Any]]


def _schemas(types: Iterable[Any], mode: JsonSchemaMode) -> _Schemas:
    each = tuple(dict.fromkeys(types))
    whole: Any = GenericAlias(tuple, each)  # as one type: what several of them share is looked at once
    found = TypeAdapter(whole).json_schema(mode=mode, schema_generator=_Generator, ref_template=_PLACE)
    return _Schemas(dict(zip(each, found["prefixItems"], strict=True)), found["$defs"])


def _describe(operation: dict[str, Any], opt: Mapping[str, Any], asked: Mapping[Any, Any], answered: Mapping[Any, Any]) -> None:
    method_has_body = opt.get("body") is not None or opt.get("content_type") == "multipart/form-data"
    if method_has_body:
        operation["requestBody"] = {"required": True, "content": {opt["content_type"]: {"schema": _body(opt, asked)}}}
    parameters = operation.setdefault("parameters", [])
    for name, text in opt.get("query", {}).items():
        parameters.append({"name": name, "in": "query", "description": text, "schema": {"type": "string"}})
    headers = [*opt.get("headers", ()), *(("Idempotency-Key", "Prefer") if method_has_body else ())]
    parameters += [{"name": name, "in": "header", "schema": {"type": "string"}} for name in headers]
    if not parameters:
        del operation["parameters"]
    if not opt.get("public"):
        operation["security"] = [{"bearer": []}]
    shown = {media: {"schema": answered[type_]} for media, type_ in opt["gives"].items()}
    responses: dict[str, Any] = {
        str(status): {"description": text, "content": shown if status < 300 and status != 204 else {}}
        for status, text in opt["answers"].items()
    }
    if opt["late"]:
        responses["202"] = {"description": _LATE, "content": {"application/json": {"schema": answered[Command]}}}
    refused = {"application/problem+json": {"schema": answered[Problem]}}
    if opt["page"]:
        refused["text/html"] = {"schema": {"type": "string"}}
    for status in (*_REFUSALS, *(status for status in responses if status >= "400")):
        text = responses.get(status, {}).get("description", "A problem.")
        responses[status] = {"description": text, "content": refused}
    operation["responses"] = responses


def _body(opt: Mapping[str, Any], asked: Mapping[Any, Any]) -> dict[str, Any]:
    if opt.get("body") is None:
        return {
            "type": "object",
            "properties": {"file": {"type": "string", "format": "binary"}, "order_id": {"type": "string"}},
            "required": ["file", "order_id"],
            "additionalProperties": False,
        }
    return asked[opt["body"]]


@get(
    "/openapi.json",
    operation_id="getOpenApi",
    summary="This document",
    opt=documented(answers={200: "OpenAPI 3.1"}, gives=dict[str, Any], public=True),
)
async def get_openapi(request: AnyRequest) -> Response[bytes]:
    """Open to everybody."""
    # Made once, which takes long enough for others to wait for.
    return Response(await asyncio.to_thread(_rendered, request.app), media_type="application/json")


routes = (get_openapi,)
