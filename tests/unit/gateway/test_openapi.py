"""The OpenAPI document tells of every answer, in schemas that have one name each; what the tests are answered is held against
it by `tests.described`."""

from collections.abc import Iterator
from typing import Any

import jsonschema_rs

from services.gateway.shown.values import Problem
from tests.described import DOCUMENT, closed, operations

SCHEMAS: dict[str, Any] = DOCUMENT["components"]["schemas"]


def answers() -> Iterator[tuple[str, str, Any]]:
    """(operation and status, media type, schema) of what each route says it answers."""
    for _, _, operation in operations():
        for status, response in operation["responses"].items():
            for media_type, content in response.get("content", {}).items():
                yield f"{operation['operationId']} {status}", media_type, content["schema"]


def within(schema: Any) -> Iterator[Any]:
    yield schema
    for each in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
        yield from within(each)


def test_every_route_tells_what_it_answers() -> None:
    for _, _, operation in operations():
        for status, response in operation["responses"].items():
            assert response["content"] or status in ("204", "303"), (operation["operationId"], status)
    for name, media_type, schema in answers():
        if media_type == "application/problem+json":
            assert schema == {"$ref": "#/components/schemas/Problem"}, name
        elif media_type == "application/json" and name != "getOpenApi 200":
            assert all("$ref" in each for each in schema.get("anyOf", [schema])), name
        else:
            assert schema, name


def test_a_schema_says_something_of_every_field() -> None:
    for name, schema in SCHEMAS.items():
        for part in within(schema):
            for field, told in (part.get("properties", {}) if isinstance(part, dict) else {}).items():
                assert told, f"{name}.{field}"


def test_the_schemas_are_valid_and_refer_to_each_other() -> None:
    jsonschema_rs.meta.validate({"$schema": "https://json-schema.org/draft/2020-12/schema", "$defs": SCHEMAS})
    for part in within(DOCUMENT):
        if isinstance(part, dict) and isinstance(part.get("$ref"), str):
            assert part["$ref"].removeprefix("#/components/schemas/") in SCHEMAS


def test_every_schema_has_a_name_of_its_own_and_is_of_use() -> None:
    """Two types of one name would get names made of their modules."""
    assert not [name for name in SCHEMAS if "-" in name or "_" in name]
    contents = [
        content for *_, operation in operations() for content in operation.get("requestBody", {}).get("content", {}).values()
    ]
    assert named([contents, [schema for *_, schema in answers()]]) == set(SCHEMAS)


def named(schemas: Any) -> set[str]:
    """The names that schemas lead to."""
    found, left = set[str](), [schemas]
    while left:
        for part in within(left.pop()):
            name = part["$ref"].rpartition("/")[2] if isinstance(part, dict) and isinstance(part.get("$ref"), str) else None
            if name is not None and name not in found:
                found.add(name)
                left.append(SCHEMAS[name])
    return found


def test_what_is_left_out_is_not_null_and_what_is_null_is_there() -> None:
    merchant = SCHEMAS["Merchant"]
    assert "certified_at" not in merchant["required"]
    assert merchant["properties"]["certified_at"]["format"] == "date-time"
    case = SCHEMAS["Case"]
    assert "outcome" in case["required"]
    assert {"type": "null"} in case["properties"]["outcome"]["anyOf"]
    deadline = SCHEMAS["ExplainedDeadline"]
    assert set(deadline["required"]) == set(deadline["properties"]), "it is dumped whole"


def test_an_answer_with_a_field_that_nobody_documented_is_found() -> None:
    schema = {"$ref": "#/components/schemas/Clock", "components": closed(DOCUMENT["components"])}
    clock = {"now": "2021-03-01T10:00:00.000Z", "status": "ready"}
    assert jsonschema_rs.is_valid(schema, clock)
    assert not jsonschema_rs.is_valid(schema, {**clock, "more": 1})
    assert jsonschema_rs.is_valid({**schema, "components": DOCUMENT["components"]}, {**clock, "more": 1})


def test_a_problem_may_have_all_that_problems_have() -> None:
    assert set(SCHEMAS["Problem"]["required"]) == Problem.__required_keys__ == {"type", "title", "status", "detail"}
