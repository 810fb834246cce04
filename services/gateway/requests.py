"""Reading requests: bodies with limits, strict models with JSON Pointers, ids in paths, preferences, conditions."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from litestar import Request
from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from contracts.ids import ID_PATTERN
from contracts.problems import FieldError, Problem, pointer_of
from contracts.texts import GIVEN_NOW
from services.gateway.problems import ProblemError, too_large, unreadable, unsupported, wrong_query

__all__ = [
    "JSON_LIMIT",
    "MERCHANT_ID",
    "AnyRequest",
    "Preference",
    "field_errors",
    "idempotency_key",
    "if_match",
    "json_body",
    "known_id",
    "limited_body",
    "locale_of",
    "media_type_of",
    "parsed",
    "preference",
    "require_readable",
]

AnyRequest = Request[Any, Any, Any]
M = TypeVar("M", bound=BaseModel)

JSON_LIMIT = 1024 * 1024
"""The most bytes of a JSON body."""
MERCHANT_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:@-]{0,99}")
_KEY = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,253}[\x21-\x7e])?")
_ETAG = re.compile(r'"(\d{1,18})"')  # a weak one equals nothing: RFC 9110 compares strongly here
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_MAY_BE_CONTROL = (b"\\u00", b"\\b", b"\\f", b"\x7f")
"""What JSON can hold a control character in; nearly no body has any of it."""
_MOST_ERRORS = 100
_LONGEST_WAIT_S = 30
_WAIT_S = 5.0


def media_type_of(request: AnyRequest) -> str:
    """The content type in lower case, without parameters; empty where there is none."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def limited_body(request: AnyRequest, limit: int) -> bytes:
    """The whole body. Raises 413 as soon as it is known to be longer than `limit` bytes, 400 where the client went away."""
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > limit:
        raise too_large(f"The body may have {limit} bytes at most.")
    chunks: list[bytes] = []
    size = 0
    while True:
        event = await request.receive()
        if event["type"] != "http.request":
            raise unreadable("The request ended before its body did.")
        chunk = event["body"]
        size += len(chunk)
        if size > limit:
            raise too_large(f"The body may have {limit} bytes at most.")
        chunks.append(chunk)
        if not event["more_body"]:
            return b"".join(chunks)


async def json_body(request: AnyRequest) -> bytes:
    """The bytes of a JSON body. Raises 415 for another content type, 413."""
    given = media_type_of(request)
    if given != "application/json" and not (given.startswith("application/") and given.endswith("+json")):
        raise unsupported("Send JSON with `Content-Type: application/json`.")
    return await limited_body(request, JSON_LIMIT)


_SAID_BETTER: Mapping[str, str] = {
    "extra_forbidden": "there is no such field here; remove it",
    "missing": "this field is required",
    "model_type": "give an object",
    "timezone_aware": "a time needs an offset, such as 2019-07-15T00:00:00Z",
}


def field_errors(invalid: ValidationError) -> tuple[FieldError, ...]:
    """Each wrong place of the input, at most 100 of them."""
    return tuple(
        FieldError(
            pointer=pointer_of(*error["loc"]),
            detail=_SAID_BETTER.get(error["type"]) or error["msg"].removeprefix("Value error, "),
        )
        for error in invalid.errors(include_url=False, include_context=False, include_input=False)[:_MOST_ERRORS]
    )


def parsed(model: type[M], raw: bytes) -> M:
    """The body as a model; fields that the model does not have are refused. Raises 400 for no JSON, 422 with pointers."""
    try:
        wanted = model.__pydantic_validator__.validate_json(raw, extra="forbid", context=GIVEN_NOW)
    except ValidationError as invalid:
        first = invalid.errors(include_url=False, include_context=False, include_input=False)[0]
        if first["type"] == "json_invalid":
            raise unreadable(f"The body is no JSON: {first['msg'].removeprefix('Invalid JSON: ')}.") from None
        raise ProblemError(Problem.invalid_input(*field_errors(invalid))) from None
    require_readable(raw)
    return wanted


def require_readable(raw: bytes) -> None:
    """Raises 422 for a text of a JSON body that nobody can have typed: control characters other than tabs and line breaks."""
    if not any(part in raw for part in _MAY_BE_CONTROL):
        return
    wrong: list[FieldError] = []
    left: list[tuple[tuple[int | str, ...], Any]] = [((), from_json(raw))]
    while left:
        place, value = left.pop()
        match value:
            case str() if _CONTROL.search(value):
                wrong.append(FieldError(pointer=pointer_of(*place), detail="give it without control characters"))
            case dict():
                left += [((*place, name), each) for name, each in value.items()]
            case list():
                left += [((*place, index), each) for index, each in enumerate(value)]
            case _:
                pass
    if wrong:
        raise ProblemError(Problem.invalid_input(*wrong[:_MOST_ERRORS]))


def known_id(prefix: str, text: str, what: str) -> tuple[str, str]:
    """The id and the id of its order. Raises 404 where it has not the form of such an id."""
    match = ID_PATTERN.fullmatch(text) if len(text) <= 100 else None
    if match is None or match["prefix"] != prefix or (match["rest"] is None) != (prefix == "ord"):
        raise ProblemError(Problem.not_found(what))
    return text, f"ord_{match['order']}"


@dataclass(frozen=True, slots=True)
class Preference:
    """What `Prefer` (RFC 7240) asks for: seconds to wait for an outcome, 0 for none. `applied`: what the answer says of it."""

    wait_s: float
    applied: str


def preference(request: AnyRequest) -> Preference:
    """Preferences that are not understood are ignored, as RFC 7240 has it; the longest wait is 30 s."""
    header = request.headers.get("prefer", "").lower()
    if not header:
        return Preference(_WAIT_S, "")
    for part in header.split(","):
        name, _, value = part.strip().partition("=")
        if name == "respond-async":
            return Preference(0.0, "respond-async")
        if name == "wait" and value.strip('"').isdecimal():
            wait_s = min(int(value.strip('"')[:6]), _LONGEST_WAIT_S)
            return Preference(float(wait_s), f"wait={wait_s}")
    return Preference(_WAIT_S, "")


def idempotency_key(request: AnyRequest) -> str | None:
    """The Idempotency-Key, with or without the quotes of a structured field. Raises 422 for one of another form."""
    given = request.headers.get("idempotency-key")
    if given is None:
        return None
    if len(given) > 2 and given[0] == given[-1] == '"':
        given = given[1:-1]
    if not _KEY.fullmatch(given):
        raise wrong_query(("Idempotency-Key", "1 to 255 printable ASCII characters, e.g. a UUID"))
    return given


def if_match(request: AnyRequest) -> int | None:
    """The version that If-Match names, for the command to take along to whoever decides; None for none and for `*`. Raises 412
    for an ETag that no version has. Only a route that says it takes the header is asked with one: see `documented`."""
    given = request.headers.get("if-match", "").strip()
    if given in ("", "*"):
        return None
    match = _ETAG.fullmatch(given)
    if match is None:
        raise ProblemError(Problem.version_mismatch('If-Match takes one ETag as it was read, such as "3".'))
    return int(match[1])


def locale_of(request: AnyRequest, default: str) -> str:
    """The first language of Accept-Language, else `default`."""
    first = request.headers.get("accept-language", "").split(",")[0].partition(";")[0].strip()
    return first if re.fullmatch(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*", first) else default
