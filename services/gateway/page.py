"""What every plain page has: its headers, its look, and how a refusal reads. No JavaScript, nothing that leaks the address."""

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from litestar import Response

from contracts.problems import FieldError, Problem
from services.gateway.answers import Answer
from services.gateway.problems import as_problem
from services.gateway.requests import AnyRequest
from services.gateway.wording import language_of, words

__all__ = ["HEADERS", "html_answer", "in_words", "place_in_words", "problem_of", "rendered", "words_of_error"]

_TEMPLATES = Path(__file__).parent / "templates"
_CSS = (_TEMPLATES / "page.css").read_text("utf-8")
_CSS_HASH = base64.b64encode(hashlib.sha256(_CSS.encode()).digest()).decode()
_ENVIRONMENT = Environment(loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined)
HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Robots-Tag": "noindex, nofollow",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_CSS_HASH}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
}


def rendered(template: str, locale: str, **context: Any) -> str:
    """A page from its template; `language`, the style and the words `w` of the locale are given."""
    page = _ENVIRONMENT.get_template(template)
    return page.render(language=language_of(locale), css=_CSS, w=words(locale), **context)


def html_answer(status: int, page: str, headers: Mapping[str, str] | None = None) -> Response[str]:
    """A page as an answer."""
    return Response(page, status_code=status, media_type="text/html", headers={**(headers or {}), **HEADERS})


def in_words(request: AnyRequest, error: Exception) -> Response[str]:
    """A refusal as a page of its own."""
    met = as_problem(error)
    accepted = request.headers.get("accept-language", "en").split(",")[0]
    w = words(accepted)
    unknown = met.problem.status in (401, 404)
    page = rendered(
        "words.html",
        accepted,
        title=w["unknown_link"] if unknown else met.problem.title,
        text=w["unknown_link_text"] if unknown else met.problem.detail,
    )
    return html_answer(404 if met.problem.status == 401 else met.problem.status, page, met.headers)


def problem_of(given: Answer) -> Problem:
    """The problem that an answer of the API is."""
    body = orjson.loads(given.body)
    known = {name: body[name] for name in ("type", "title", "status", "detail", "errors") if name in body}
    return Problem.model_validate(known)


def words_of_error(wrong: Problem) -> dict[str, Any]:
    """A refusal as a page shows it above its forms."""
    return {"detail": wrong.detail, "errors": [place_in_words(each) for each in wrong.errors]}


def place_in_words(error: FieldError) -> str:
    """A wrong place of a form, and what to do there."""
    place = error.pointer.strip("/").replace("/", " ")
    return f"{place}: {error.detail}" if place else error.detail
