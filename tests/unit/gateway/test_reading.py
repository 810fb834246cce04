"""Reading requests: pointers, ids, cursors, lines, forms and what a file is."""

import asyncio
from typing import Any

import orjson
import pytest

from contracts.base import Model
from contracts.desk import ConsultantContent
from contracts.matrix import DecisionRuleContent
from contracts.orders import MerchantProfile
from contracts.problems import FieldError, pointer_of
from services.gateway.cursors import cursor, place_of, whole_number
from services.gateway.forms import fields_of, filled
from services.gateway.imports import LINE_LIMIT, Lines, Spool
from services.gateway.problems import ProblemError
from services.gateway.requests import known_id, parsed
from services.gateway.resources.keys import PrincipalKey
from services.gateway.resources.merchants import KeyRequest
from services.gateway.resources.messages import MessageRequest
from services.gateway.resources.orders import OrderRequest
from services.gateway.resources.reports import ReportRequest
from services.gateway.uploads import media_type_of_bytes, safe_name

ORDER = "ord_" + "0" * 32


def test_pointers_are_those_of_rfc_6901() -> None:
    assert pointer_of() == ""
    assert pointer_of("lines", 0, "quantity") == "/lines/0/quantity"
    assert pointer_of("a/b", "m~n") == "/a~1b/m~0n"


@pytest.mark.parametrize(
    ("raw", "pointer"),
    [
        (b'{"a/b": 1}', "/a~1b"),
        (b'{"buyer": {"email": "a@b.example", "age": 3}}', "/buyer/age"),
        (b'{"lines": [{"title": "x", "quantity": 1}]}', "/lines/0/unit_price"),
        (b'{"amount": {"amount": 1.5, "currency": "EUR"}}', "/amount/amount"),
        (b'{"amount": {"amount": "1.005", "currency": "EUR"}}', "/amount/amount"),
        (b'{"facts": [{"amount": {"amount": "1.5", "currency": "JPY"}}]}', "/facts/0/amount/amount"),
        (b'{"facts": [{"kind": "lost", "at": "2021-01-01T00:00:00Z"}]}', "/facts/0/kind"),
        (b'{"placed_at": "2021-01-01T00:00:00"}', "/placed_at"),
        (b"[]", ""),
    ],
)
def test_what_does_not_fit_is_pointed_at(raw: bytes, pointer: str) -> None:
    with pytest.raises(ProblemError) as refused:
        parsed(OrderRequest, raw)
    assert refused.value.problem.status == 422
    errors: tuple[FieldError, ...] = refused.value.problem.errors
    assert pointer in [error.pointer for error in errors]
    assert all(error.detail and "http" not in error.detail for error in errors)


def test_a_text_holds_no_control_characters_but_tabs_and_line_breaks() -> None:
    for escaped in ("\\u0000", "\\u001B", "\\b", "\\f", "\\u007f", "\x7f"):
        with pytest.raises(ProblemError) as refused:
            parsed(MessageRequest, f'{{"evidence": ["evd_1"], "text": "a{escaped}b"}}'.encode())
        assert [error.pointer for error in refused.value.problem.errors] == ["/text"], escaped
    for kept in ("\\n\\t\\r", "C:\\\\bin\\\\u0000", "\\u0020\\u00e9", "\\u202e"):
        assert parsed(MessageRequest, f'{{"text": "a{kept}b"}}'.encode()).text.startswith("a")
    with pytest.raises(ProblemError) as refused:
        parsed(MessageRequest, b'{"text": "x", "evidence": ["\\u0000"]}')
    assert [error.pointer for error in refused.value.problem.errors] == ["/evidence/0"]


def test_a_report_whose_text_is_blank_is_taken() -> None:
    """Real buyers send such reviews; what they report is in its reason."""
    assert parsed(ReportRequest, b'{"reason": "not_received", "text": " \\n"}').text == " \n"


@pytest.mark.parametrize("blank", [" ", " \t\n", "\N{NO-BREAK SPACE}\N{IDEOGRAPHIC SPACE}", "\N{ZERO WIDTH SPACE}"])
@pytest.mark.parametrize("model", [MerchantProfile, ConsultantContent, DecisionRuleContent, KeyRequest, PrincipalKey])
def test_a_name_that_cannot_be_done_without_is_seen(model: type[Model], blank: str) -> None:
    with pytest.raises(ProblemError) as refused:
        parsed(model, orjson.dumps({"name": blank}))
    assert "/name" in [error.pointer for error in refused.value.problem.errors]


def test_a_name_may_have_blanks_and_one_that_was_taken_before_stays_readable() -> None:
    assert parsed(KeyRequest, b'{"name": " Kim\\t"}').name == " Kim\t"
    assert ConsultantContent.model_validate_json('{"name": " ", "email": "kim@shop.example"}').name == " "


def test_an_order_number_is_of_one_line() -> None:
    for wrong in ("a\nb", "a\tb", "a\r"):
        with pytest.raises(ProblemError) as refused:
            parsed(OrderRequest, orjson.dumps({"order_number": wrong}))
        assert "/order_number" in [error.pointer for error in refused.value.problem.errors]


def test_what_is_no_json_is_unreadable() -> None:
    for raw in (b"", b"{", b"\xff", b"[" * 10_000, b'{"a": "\\ud800"}'):
        with pytest.raises(ProblemError) as refused:
            parsed(OrderRequest, raw)
        assert refused.value.problem.status == 400


@pytest.mark.parametrize(
    ("prefix", "text"),
    [("ord", "nothing"), ("ord", ORDER + "_1"), ("cas", ORDER), ("ord", ORDER + "\n"), ("ord", "x" * 500), ("evd", "evd_1")],
)
def test_ids_of_another_form_name_nothing(prefix: str, text: str) -> None:
    with pytest.raises(ProblemError) as refused:
        known_id(prefix, text, "thing")
    assert refused.value.problem.status == 404


def test_ids_lead_to_their_order() -> None:
    assert known_id("ord", ORDER, "order") == (ORDER, ORDER)
    assert known_id("cas", f"cas_{'0' * 32}_12", "case")[1] == ORDER


def test_cursors_come_back_as_they_were_given() -> None:
    place = ["2021-01-01T00:00:00.000Z", ORDER, 3]
    assert place_of(cursor(place), str, str, int) == place
    assert place_of(None, str) is None
    for wrong in ("", "x", "é", cursor(["a"]), cursor([1, 2, 3]), cursor(place)[:-3]):
        with pytest.raises(ProblemError):
            place_of(wrong, str, str, int)


def test_numbers_among_parameters() -> None:
    assert whole_number("limit", None, 50, 1, 200) == 50
    assert whole_number("limit", "200", 50, 1, 200) == 200
    for wrong in ("0", "201", "-1", "1.5", "x", "٣", "9" * 400):
        with pytest.raises(ProblemError):
            whole_number("limit", wrong, 50, 1, 200)


@pytest.mark.parametrize(
    ("content", "media_type"),
    [
        (b"%PDF-1.4\n%%EOF\n", "application/pdf"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + b"\0" * 30, "image/png"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01" + b"\0" * 40, "image/jpeg"),
        (b"\xff\xd8\xff\xdb\x00\x43" + b"\0" * 80, "image/jpeg"),
        (b"GIF89a\x01\0\x01\0" + b"\0" * 10, "image/gif"),
        (b"RIFF\x24\0\0\0WEBPVP8 " + b"\0" * 30, "image/webp"),
        (b"RIFF\x24\0\0\0WAVEfmt " + b"\0" * 30, None),
        (b"#!/bin/sh\n", None),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", None),
        (b"<html>", None),
        (b"MZ\x90\0" + b"\0" * 100, None),
        (b"PK\x03\x04" + b"\0" * 50, None),
        (b"junk %PDF-1.4", None),
        (b"", None),
    ],
)
def test_a_file_is_what_its_bytes_say(content: bytes, media_type: str | None) -> None:
    assert media_type_of_bytes(content) == media_type


def test_file_names_are_names() -> None:
    assert safe_name("../../etc/passwd") == "passwd"
    assert safe_name("C:\\Users\\x\\Beleg ü.pdf") == "Beleg ü.pdf"
    assert safe_name("a\r\nSet-Cookie: x.pdf") == "aSet-Cookie: x.pdf"
    assert safe_name("..") == "file"
    assert len(safe_name("x" * 999 + ".pdf")) == 200


@pytest.mark.parametrize("size", [1, 2, 7, 10_000])
def test_lines_are_numbered_however_they_arrive(size: int) -> None:
    content = b"one\n\n  \r\ntwo\r\nlast"
    lines = Lines()
    found: list[tuple[int, bytes | None]] = []
    for begin in range(0, len(content), size):
        found += lines.feed(content[begin : begin + size])
    assert found == [(1, b"one"), (4, b"two")]
    assert lines.end(cut_off=False) == [(5, b"last")]


@pytest.mark.parametrize("size", [1, 2, 10_000])
def test_a_byte_order_mark_before_the_first_line_is_no_part_of_it(size: int) -> None:
    mark = "\N{BOM}".encode()
    lines = Lines()
    content = mark + b"one\n" + mark + b"two\n"
    found = [line for begin in range(0, len(content), size) for line in lines.feed(content[begin : begin + size])]
    assert found == [(1, b"one"), (2, mark + b"two")]


def test_a_line_that_is_too_long_fails_alone_and_half_a_line_is_none() -> None:
    lines = Lines()
    found = lines.feed(b"x" * LINE_LIMIT + b"\n" + b"x" * (LINE_LIMIT + 1) + b"\nnext\nhal")
    assert [(number, line and len(line)) for number, line in found] == [(1, LINE_LIMIT), (2, None), (3, 4)]
    assert lines.end(cut_off=True) == []


async def test_a_spool_gives_what_it_was_given_and_forgets_it() -> None:
    spool = Spool()
    reading = asyncio.create_task(spool.read())
    await asyncio.sleep(0)
    spool.write(b"abc")
    assert await reading == b"abc"
    spool.write(b"d" * 3_000_000)
    spool.end(cut_off=False)
    digest = spool.digest()
    parts = []
    while part := await spool.read():
        parts.append(part)
    assert b"".join(parts) == b"d" * 3_000_000
    assert digest != spool.digest()
    spool.close()


SCHEMA: dict[str, Any] = {
    "properties": {
        "refund": {"title": "Refund?", "enum": ["yes", "no"], "x-labels": {"yes": "Yes", "no": "No"}},
        "message": {"title": "Message", "type": "string", "maxLength": 10_000},
        "refund_amount": {
            "title": "Amount",
            "type": "object",
            "properties": {"amount": {}, "currency": {"const": "EUR"}},
            "default": {"amount": "80.00", "currency": "EUR"},
        },
        "evidence": {"title": "Documents", "type": "array"},
    },
    "required": ["refund", "message", "refund_amount"],
    "allOf": [
        {
            "if": {"properties": {"refund": {"enum": ["no"]}}, "required": ["refund"]},
            "then": {"properties": {"refund_amount": False}},
        }
    ],
}


def test_forms_are_made_from_the_schema_and_read_back() -> None:
    fields = {field.name: field for field in fields_of(SCHEMA, {"message": "kept"})}
    assert [field.kind for field in fields.values()] == ["choice", "long", "amount", "files"]
    assert fields["refund_amount"].value == "80.00"
    assert fields["message"].value == "kept"
    assert fields["refund"].choices == (("yes", "Yes"), ("no", "No"))
    given = {"refund": "yes", "message": " x ", "refund_amount": "1.079,50", "surprise": "1"}
    assert filled(SCHEMA, given, ["evd_1"]) == {
        "refund": "yes",
        "message": "x",
        "refund_amount": {"amount": "1079.50", "currency": "EUR"},
        "evidence": ["evd_1"],
    }
    assert filled(SCHEMA, {"refund": "no", "refund_amount": "80.00"}, []) == {"refund": "no"}
