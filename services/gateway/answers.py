"""Answers as they are sent and, for repeated requests, kept."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
from litestar import Response

from services.gateway.problems import MEDIA_TYPE, ProblemError, body_of

__all__ = ["Answer", "answer", "listed", "refusal", "response_of", "with_version"]


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, body and headers of an answer."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    media_type: str = "application/json"


def answer(status: int, body: Any, **headers: str) -> Answer:
    """A JSON answer; `etag="3"` becomes the header `ETag: 3`, underscores become hyphens."""
    return Answer(status, orjson.dumps(body), {name.replace("_", "-"): value for name, value in headers.items()})


def with_version(status: int, body: Mapping[str, Any], **headers: str) -> Answer:
    """A resource's answer: its ETag is its `version`."""
    return answer(status, body, ETag=f'"{body["version"]}"', **headers)


def listed(items: list[Any], next_cursor: str | None, **more: Any) -> Answer:
    """A page of a list; `more` is said beside its items."""
    return answer(200, {"items": items, **({"next": next_cursor} if next_cursor else {}), **more})


def refusal(error: ProblemError, instance: str) -> Answer:
    """A problem as an answer."""
    return Answer(error.problem.status, body_of(error.problem, instance), error.headers, MEDIA_TYPE)


def response_of(given: Answer) -> Response[bytes]:
    """What Litestar sends. Answers hold personal data: nobody on the way keeps them."""
    headers = {"Cache-Control": "private, no-store", **given.headers}
    return Response(given.body, status_code=given.status, headers=headers, media_type=given.media_type)
