"""What crosses a boundary keeps its meaning: golden schemas and records, compatibility, the envelope."""

import json
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from contracts.asyncapi import asyncapi
from contracts.base import Message
from contracts.envelope import Unreadable, decode
from contracts.registry import MESSAGES, UPCASTERS, type_name
from tests.contract.compatibility import breaking_changes
from tests.contract.examples import EXAMPLES
from tests.contract.golden import GOLDEN, as_json, record_file, record_of, schema_file

BY_KIND = {example.kind: example for example in EXAMPLES}
ADVICE = "an additive change: look at it, then run `python -m tests.contract.golden`"


@pytest.mark.parametrize("message", MESSAGES.values(), ids=lambda message: message.kind)
def test_a_schema_changes_only_by_addition(message: type[Message]) -> None:
    golden = json.loads(schema_file(message).read_text())
    today = message.model_json_schema(mode="serialization")
    assert breaking_changes(golden, today) == []
    assert golden == today, ADVICE


@pytest.mark.parametrize("path", sorted((GOLDEN / "records").glob("*.json")), ids=lambda path: path.stem)
def test_a_record_written_then_is_read_today(path: Path) -> None:
    golden = json.loads(path.read_text())
    headers = [(name, value.encode()) for name, value in golden["headers"].items()]
    envelope = decode(orjson.dumps(golden["body"]), headers)
    version = int(path.stem.rsplit(".v", 1)[1])
    if version == envelope.message.version:
        assert envelope.message == BY_KIND[envelope.message.kind]
        assert as_json(record_of(envelope.message)) == golden
    else:
        assert (envelope.message.kind, version) in UPCASTERS


def test_every_message_and_its_previous_version_has_a_golden_record() -> None:
    expected = {record_file(message).name for message in MESSAGES.values()}
    expected |= {f"{kind}.v{version}.json" for kind, version in UPCASTERS}
    assert {path.name for path in (GOLDEN / "records").glob("*.json")} == expected


def test_type_names_are_unique() -> None:
    assert len({type_name(message) for message in MESSAGES.values()}) == len(EXAMPLES) == len(MESSAGES)


def test_a_reader_tolerates_a_field_it_does_not_know() -> None:
    record = record_of(BY_KIND["order.registered"])
    body = orjson.loads(record.value) | {"added_later": 1}
    assert decode(orjson.dumps(body), record.headers).message == BY_KIND["order.registered"]


@pytest.mark.parametrize(
    ("headers", "value", "reason"),
    [
        ({"ce_specversion": None}, b"{}", "ce_specversion is missing"),
        ({"ce_specversion": b"0.3"}, b"{}", "not 1.0"),
        ({"ce_type": b"recourse.case.opened.v99"}, b"{}", "no message type"),
        ({"ce_type": b"\xff"}, b"{}", "utf-8"),
        ({"ce_time": b"2019-08-01T00:00:00"}, None, "offset"),
        ({"ce_sequence": b"one"}, None, "invalid literal"),
        ({}, b"", "does not fit"),
        ({}, b"{not json", "does not fit"),
        ({}, b"[]", "does not fit"),
        ({}, b'{"order": {"amount": 3}}', "/order"),
    ],
)
def test_what_is_no_message_is_unreadable_and_says_why(
    headers: dict[str, bytes | None], value: bytes | None, reason: str
) -> None:
    record = record_of(BY_KIND["order.registered"])
    given = {name: header for name, header in (dict(record.headers) | headers).items() if header is not None}
    with pytest.raises(Unreadable, match=reason):
        decode(record.value if value is None else value, list(given.items()))


def test_a_record_without_body_is_unreadable() -> None:
    with pytest.raises(Unreadable, match="no body"):
        decode(None, record_of(BY_KIND["order.registered"]).headers)


OLD = {
    "type": "object",
    "properties": {
        "a": {"type": "string", "maxLength": 5},
        "b": {"enum": ["x", "y"], "type": "string"},
        "c": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        "d": {"items": {"$ref": "#/$defs/D"}, "type": "array"},
    },
    "required": ["a"],
    "$defs": {"D": {"type": "object", "properties": {"e": {"type": "string"}}}},
}


def _changed(path: str, value: object) -> dict[str, object]:
    schema = json.loads(json.dumps(OLD))
    place = schema
    *way, last = path.split("/")
    for step in way:
        place = place[step]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return schema


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("properties/a", None),
        ("properties/a/type", "integer"),
        ("properties/a/maxLength", 4),
        ("properties/a/minLength", 1),
        ("properties/a/pattern", "x+"),
        ("properties/b/enum", ["x"]),
        ("properties/c", {"type": "integer"}),
        ("required", ["a", "b"]),
        ("$defs/D/properties/e", {"type": "integer"}),
        ("additionalProperties", False),
    ],
)
def test_a_change_that_is_not_additive_is_found(path: str, value: object) -> None:
    assert breaking_changes(OLD, _changed(path, value)) != []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("properties/z", {"type": "string"}),
        ("properties/a/maxLength", 6),
        ("properties/b/enum", ["x", "y", "z"]),
        ("properties/c", {"anyOf": [{"type": "integer"}, {"type": "null"}, {"type": "string"}]}),
        ("required", []),
        ("$defs/D/properties/f", {"type": "integer"}),
    ],
)
def test_an_additive_change_is_none_that_breaks(path: str, value: object) -> None:
    assert breaking_changes(OLD, _changed(path, value)) == []


def test_the_asyncapi_document_is_the_one_made_from_the_contracts() -> None:
    document = Path(__file__).parents[2] / "docs" / "asyncapi.json"
    assert json.loads(document.read_text()) == json.loads(json.dumps(asyncapi())), (
        "run `python -m contracts.asyncapi > docs/asyncapi.json`"
    )


def test_every_reference_in_the_asyncapi_document_leads_somewhere() -> None:
    document = asyncapi()

    def references(part: object) -> Iterator[str]:
        if isinstance(part, dict):
            if isinstance(part.get("$ref"), str):
                yield part["$ref"]
            for value in part.values():
                yield from references(value)
        elif isinstance(part, list):
            for value in part:
                yield from references(value)

    found = set(references(document))
    assert found
    for reference in found:
        place = document
        for step in reference.removeprefix("#/").split("/"):
            place = place[step]
