"""The OpenAPI document: Litestar's own, with the bodies, parameters, answers and problems that each route says it has."""

from collections.abc import Iterator, Mapping
from typing import Any

import orjson
from litestar import Litestar, Response, get
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from services.gateway.documented import documented
from services.gateway.requests import AnyRequest

__all__ = ["config", "described", "routes"]

_REFUSALS = ("400", "401", "403", "404", "409", "412", "413", "415", "422", "503")
_PROBLEM: dict[str, Any] = {
    "type": "object",
    "description": "RFC 9457. `type` is a path that serves its own explanation.",
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "instance": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "pointer": {"type": "string", "description": "A JSON Pointer into the body."},
                    "parameter": {"type": "string", "description": "The name of a parameter."},
                    "detail": {"type": "string"},
                },
            },
        },
    },
    "required": ["type", "title", "status", "detail"],
}


def config() -> OpenAPIConfig:
    """What Litestar makes its document from."""
    return OpenAPIConfig(
        title="Recourse",
        version="1",
        description=(
            "A way back for every online order: orders with protection, reports, cases, evidence. Times are RFC 3339 in UTC, "
            "durations ISO 8601, money is a decimal string with its currency; unknown fields in a request are refused."
        ),
        path="/openapi",
        render_plugins=[_Render()],
        create_examples=False,
    )


class _Render(JsonRenderPlugin):
    """Serves the document with what the routes add to it."""

    def render(self, request: AnyRequest, openapi_schema: dict[str, Any]) -> bytes:
        return orjson.dumps(described(request.app))


def described(app: Litestar) -> dict[str, Any]:
    """The document as JSON values."""
    document: dict[str, Any] = app.openapi_schema.to_schema()
    handlers = dict(_handlers(app))
    models = {opt["body"] for opt in handlers.values() if opt.get("body") is not None}
    schemas = _schemas(models)
    components = document.setdefault("components", {})
    components["schemas"] = {**components.get("schemas", {}), **schemas, "Problem": _PROBLEM}
    components["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer", "description": "A platform, partner or merchant key, or a link's token."}
    }
    for operations in document.get("paths", {}).values():
        for operation in operations.values():
            if isinstance(operation, dict) and operation.get("operationId") in handlers:
                _describe(operation, handlers[operation["operationId"]])
    return document


def _handlers(app: Litestar) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for route in app.routes:
        for handler in getattr(route, "route_handlers", ()):
            if isinstance(handler.operation_id, str):
                yield handler.operation_id, handler.opt


def _schemas(models: set[type[BaseModel]]) -> dict[str, Any]:
    """The request models by name. What is refused at run time is refused here too: fields that a model does not have."""
    _, found = models_json_schema(
        [(model, "validation") for model in sorted(models, key=lambda model: model.__name__)],
        ref_template="#/components/schemas/{model}",
    )
    schemas: dict[str, Any] = found.get("$defs", {})
    for schema in schemas.values():
        if schema.get("type") == "object":
            schema.setdefault("additionalProperties", False)
    return schemas


def _describe(operation: dict[str, Any], opt: Mapping[str, Any]) -> None:
    method_has_body = opt.get("body") is not None or opt.get("content_type") == "multipart/form-data"
    if method_has_body:
        operation["requestBody"] = {"required": True, "content": {opt["content_type"]: {"schema": _body(opt)}}}
    parameters = operation.setdefault("parameters", [])
    for name, text in opt.get("query", {}).items():
        parameters.append({"name": name, "in": "query", "description": text, "schema": {"type": "string"}})
    headers = [*opt.get("headers", ()), *(("Idempotency-Key", "Prefer") if method_has_body else ())]
    parameters += [{"name": name, "in": "header", "schema": {"type": "string"}} for name in headers]
    if not parameters:
        del operation["parameters"]
    if not opt.get("public"):
        operation["security"] = [{"bearer": []}]
    answered: dict[str, Any] = {
        str(status): {"description": text, "content": {} if status == 204 else {"application/json": {"schema": {}}}}
        for status, text in opt.get("answers", {}).items()
    }
    problem = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    for status in _REFUSALS:
        text = answered.get(status, {}).get("description", "A problem.")
        answered[status] = {"description": text, "content": problem}
    operation["responses"] = answered


def _body(opt: Mapping[str, Any]) -> dict[str, Any]:
    if opt.get("body") is None:
        return {
            "type": "object",
            "properties": {"file": {"type": "string", "format": "binary"}, "order_id": {"type": "string"}},
            "required": ["file", "order_id"],
            "additionalProperties": False,
        }
    return {"$ref": f"#/components/schemas/{opt['body'].__name__}"}


@get(
    "/openapi.json",
    operation_id="getOpenApi",
    summary="This document",
    opt=documented(answers={200: "OpenAPI 3.1"}, public=True),
)
async def get_openapi(request: AnyRequest) -> Response[bytes]:
    """Open to everybody."""
    return Response(orjson.dumps(described(request.app)), media_type="application/json")


routes = (get_openapi,)
