"""Problems (RFC 9457): how every refusal of the API looks, and the pages under /problems/ that explain each type."""

import html
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from aiokafka.errors import KafkaTimeoutError
from litestar import Request, Response
from litestar.exceptions import HTTPException, MethodNotAllowedException, NotFoundException, ValidationException

from chassis.failures import Remedy, classify
from contracts.problems import FieldError, Problem

__all__ = [
    "EXPLAINED",
    "Explanation",
    "ProblemError",
    "as_problem",
    "body_of",
    "explanation_page",
    "field_error",
    "internal",
    "link_expired",
    "on_error",
    "reused_key",
    "running_key",
    "too_large",
    "too_many",
    "unauthorized",
    "unavailable",
    "unreadable",
    "unsupported",
    "wrong_query",
]

log = logging.getLogger(__name__)
MEDIA_TYPE = "application/problem+json"


class ProblemError(Exception):
    """A request that is refused; raised anywhere below a route and answered as it stands."""

    def __init__(self, problem: Problem, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(f"{problem.status} {problem.type}: {problem.detail}")
        self.problem = problem
        self.headers = dict(headers or {})


def unreadable(detail: str) -> ProblemError:
    """400: the request cannot be read at all."""
    return ProblemError(Problem(type="/problems/unreadable", title="The request cannot be read", status=400, detail=detail))


def wrong_query(*errors: tuple[str, str]) -> ProblemError:
    """422 for query parameters and headers: (name, what to do) each. Each is pointed at as if they were one object."""
    problem = Problem.invalid_input()
    return ProblemError(
        problem.model_copy(
            update={
                "detail": "Correct the parameters that `errors` names and send the request again.",
                "extra": {"errors": [{"pointer": f"/{name}", "parameter": name, "detail": detail} for name, detail in errors]},
            }
        )
    )


def unauthorized(detail: str) -> ProblemError:
    """401: nobody knows who is asking."""
    return ProblemError(
        Problem(type="/problems/unauthorized", title="A key or link is needed", status=401, detail=detail),
        {"WWW-Authenticate": "Bearer"},
    )


def link_expired() -> ProblemError:
    """403: a link that may be read with but no longer acts."""
    return ProblemError(
        Problem(
            type="/problems/link-expired",
            title="This link no longer acts",
            status=403,
            detail="You can still read everything with it. Ask for a new link to write or act.",
        )
    )


def too_large(detail: str) -> ProblemError:
    """413."""
    return ProblemError(Problem(type="/problems/too-large", title="The request is too large", status=413, detail=detail))


def unsupported(detail: str, *, encoding: bool = False) -> ProblemError:
    """415. `encoding`: for how the content is encoded, not for what it is."""
    return ProblemError(
        Problem(type="/problems/unsupported-media-type", title="This content is not taken", status=415, detail=detail),
        {"Accept-Encoding": "identity"} if encoding else None,
    )


def reused_key() -> ProblemError:
    """422: an Idempotency-Key with another body than before."""
    return ProblemError(
        Problem(
            type="/problems/idempotency-key-reused",
            title="The Idempotency-Key belongs to another request",
            status=422,
            detail="This key was sent before with another body. Take a new key for a new request.",
        )
    )


def running_key() -> ProblemError:
    """409: an Idempotency-Key whose first request is still on its way."""
    return ProblemError(
        Problem(
            type="/problems/request-running",
            title="The first request is still running",
            status=409,
            detail="A request with this Idempotency-Key is being carried out. Send it again in a moment for its answer.",
        ),
        {"Retry-After": "1"},
    )


def too_many(detail: str, retry_after_s: float) -> ProblemError:
    """429: more than one source may send. It is told whole seconds, after which there is surely room."""
    return ProblemError(
        Problem(type="/problems/rate-limited", title="Too many requests", status=429, detail=detail),
        {"Retry-After": str(math.ceil(retry_after_s))},
    )


def unavailable(detail: str, **extra: Any) -> ProblemError:
    """503: something that the answer needs is away for now."""
    return ProblemError(
        Problem(type="/problems/unavailable", title="Not available for the moment", status=503, detail=detail, extra=extra),
        {"Retry-After": "2"},
    )


def internal() -> ProblemError:
    """500: our own mistake; the log has it."""
    return ProblemError(
        Problem(
            type="/problems/internal",
            title="Something went wrong here",
            status=500,
            detail="This is our mistake, not yours; it has been recorded. Try again later.",
        )
    )


def body_of(problem: Problem, instance: str) -> bytes:
    """The JSON of a problem; `instance` is the path of the request that met it."""
    body: dict[str, Any] = {
        "type": problem.type,
        "title": problem.title,
        "status": problem.status,
        "detail": problem.detail,
        "instance": instance,
    }
    if problem.errors:
        body["errors"] = [error.model_dump() for error in problem.errors]
    return orjson.dumps(body | problem.extra)


def as_problem(error: Exception) -> ProblemError:
    """The problem that an error is to the client; what is our own mistake goes to the log."""
    match error:
        case ProblemError():
            return error
        case NotFoundException():
            return ProblemError(Problem.not_found("resource at this address"))
        case MethodNotAllowedException():
            return ProblemError(
                Problem(
                    type="/problems/method-not-allowed",
                    title="The method is not for this address",
                    status=405,
                    detail="The `Allow` header of this answer lists what is.",
                ),
                error.headers,
            )
        case ValidationException():
            extra: list[Any] = error.extra if isinstance(error.extra, list) else []
            return wrong_query(*((str(one.get("key", "")), str(one.get("message", ""))) for one in extra))
        case HTTPException() if error.status_code == 413:
            return too_large("Send less at once.")
        case HTTPException() if error.status_code < 500:
            return unreadable(str(error.detail))
    # A broker that takes too long stops a service's loop; to a client it is away.
    if isinstance(error, TimeoutError | KafkaTimeoutError) or classify(error) is Remedy.RETRY:
        log.warning("infrastructure is away: %r", error)
        return unavailable("A part of the platform cannot be reached. Try again in a moment, with the same Idempotency-Key.")
    log.error("a request failed", exc_info=error)
    return internal()


def on_error(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Litestar's handler of every exception: the problem it is, never a stack trace."""
    met = as_problem(error)
    return Response(
        body_of(met.problem, request.url.path),
        status_code=met.problem.status,
        media_type=MEDIA_TYPE,
        headers={**met.headers, "Cache-Control": "no-store"},
    )


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a type of problem means and what to do about it."""

    title: str
    status: int
    means: str
    do: str


EXPLAINED: Mapping[str, Explanation] = {
    "invalid-input": Explanation(
        "The input does not fit",
        422,
        "The request was read, but a value in it is missing, unknown, of the wrong form or out of its bounds. `errors` lists "
        "each place: a JSON Pointer into the body, or the name of a parameter.",
        "Correct these places and send the request again. Fields that the API does not know are refused, not ignored.",
    ),
    "unreadable": Explanation(
        "The request cannot be read", 400, "The body is no JSON, or a header cannot be understood.", "See `detail`."
    ),
    "unauthorized": Explanation(
        "A key or link is needed",
        401,
        "The request bears no key or token, or one that is not known here or was revoked.",
        "Send `Authorization: Bearer` with a platform, partner or merchant key, or with the token of a link.",
    ),
    "forbidden": Explanation(
        "Not for this role", 403, "Your role may never do this, in whatever state the case is.", "Ask whom `detail` names."
    ),
    "link-expired": Explanation(
        "This link no longer acts",
        403,
        "A buyer's link acts until 60 days after the end of the protection or until its own date, a merchant's button until "
        "its case has ended. Reading goes on.",
        "Ask for a new link.",
    ),
    "not-found": Explanation(
        "Not found",
        404,
        "There is no such thing, or you may not know that there is.",
        "Check the id, and that the key you send may see it.",
    ),
    "method-not-allowed": Explanation(
        "The method is not for this address", 405, "The address exists, the method on it does not.", "See the `Allow` header."
    ),
    "action-not-allowed": Explanation(
        "This action is not open now",
        409,
        "Your role can do this in another state of the case, or in a case of another programme; or there is no such action.",
        "Read the case; `allowed_actions` says what is open to you now.",
    ),
    "order-exists": Explanation(
        "Another order has this number",
        409,
        "The merchant has an order of this number with other content; an order is registered once.",
        "Read the existing order. Send facts to add what happened since.",
    ),
    "order-full": Explanation(
        "This order takes no more of it",
        409,
        "An order keeps 50 cases, 200 facts and four megabytes of reports: more than anybody needs, and a bound all the same.",
        "Go on in what is there: write in one of the cases.",
    ),
    "report-refused": Explanation(
        "The report was refused",
        409,
        "No case was opened. `refusal` says why: not_protected, protection_ended, protection_expired, already_open (write in "
        "the open case), reason_unknown or merchant_not_insolvent.",
        "See `detail` for what is possible instead.",
    ),
    "appeal-not-open": Explanation(
        "This appeal is not open",
        409,
        "There is no sanction to appeal against, it is appealed against already or was too often, or this appeal was decided.",
        "Read the issue rate: `status`, `statement` and `appeals` say how it stands.",
    ),
    "in-use": Explanation(
        "It is still needed",
        409,
        "Other resources name this one; `used_by` lists them.",
        "Change or delete those first.",
    ),
    "list-full": Explanation(
        "The list is full",
        409,
        "A list under a merchant holds 200 items, all its lists together 512 KiB.",
        "Delete what is no longer needed.",
    ),
    "too-many-rules": Explanation(
        "There are too many decision rules",
        409,
        "Every new case is held against every rule, so their number and size are bounded.",
        "Withdraw rules that are no longer needed, or put more into one.",
    ),
    "too-many-rollouts": Explanation(
        "There are too many roll-outs",
        409,
        "Every report asks all roll-outs and opt-ins which version is in force, so their number is bounded.",
        "Roll a version out to more merchants at once.",
    ),
    "request-running": Explanation(
        "The first request is still running",
        409,
        "A request with the same Idempotency-Key is being carried out.",
        "Send it again in a moment: the first answer is repeated then.",
    ),
    "clock-backwards": Explanation(
        "The clock does not go back",
        409,
        "The sandbox's clock is later already than the time asked for.",
        "Read it with GET /v1/sandbox/clock and ask for a later time.",
    ),
    "item-ended": Explanation(
        "This mail was dealt with",
        409,
        "Another agent has put the mail into a case or set it aside, or is doing so.",
        "Read the item again.",
    ),
    "version-mismatch": Explanation(
        "The resource has changed",
        412,
        "If-Match names a version that is no longer the current one.",
        "Read the resource again, decide again, and send the new ETag.",
    ),
    "too-large": Explanation(
        "The request is too large",
        413,
        "JSON bodies are taken to 1 MiB, evidence to 10 MiB, imports to 64 MiB.",
        "Send less at once.",
    ),
    "unsupported-media-type": Explanation(
        "This content is not taken",
        415,
        "The content type is not the one this address takes, or a file is none of PDF, JPEG, PNG, GIF and WebP, whatever its "
        "name.",
        "See `detail`.",
    ),
    "idempotency-key-reused": Explanation(
        "The Idempotency-Key belongs to another request",
        422,
        "The key was sent before with another body.",
        "Take a new key for a new request.",
    ),
    "rate-limited": Explanation(
        "Too many requests", 429, "You have sent more than your share.", "Wait for as long as `Retry-After` says."
    ),
    "internal": Explanation("Something went wrong here", 500, "This is our mistake; it has been recorded.", "Try again later."),
    "unavailable": Explanation(
        "Not available for the moment",
        503,
        "A part of the platform cannot be reached, or is not done yet.",
        "Try again after `Retry-After` seconds, with the same Idempotency-Key: nothing is done twice.",
    ),
}
"""By the last part of the type's path."""


def explanation_page(name: str) -> str:
    """The page of a type of problem. Raises KeyError for one that nobody has."""
    known = EXPLAINED[name]
    title = html.escape(known.title)
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{title}</title><h1>{title}</h1><p><code>/problems/{html.escape(name)}</code>, HTTP {known.status}</p>"
        f"<h2>What it means</h2><p>{html.escape(known.means)}</p><h2>What to do</h2><p>{html.escape(known.do)}</p></html>"
    )


def field_error(pointer: str, detail: str) -> ProblemError:
    """422 with one pointer."""
    return ProblemError(Problem.invalid_input(FieldError(pointer=pointer, detail=detail)))
