"""Why a command was refused, in the terms of RFC 9457: the gateway serves it as it stands."""

from typing import Any

from contracts.base import Model

__all__ = ["FieldError", "Problem", "pointer_of"]


def pointer_of(*place: str | int) -> str:
    """The JSON Pointer (RFC 6901) of a place: names of members and indexes of items, from the outside in."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in place)


class FieldError(Model):
    """One wrong place in the input: a JSON Pointer and what to do there."""

    pointer: str
    detail: str


class Problem(Model):
    """`type` is a path under `/problems/`; `extra` holds members such as `refusal` or `allowed_actions`."""

    type: str
    title: str
    status: int
    detail: str
    errors: tuple[FieldError, ...] = ()
    extra: dict[str, Any] = {}

    @staticmethod
    def invalid_input(*errors: FieldError) -> "Problem":
        """422: the input was read and does not fit; each error points at its place."""
        return Problem(
            type="/problems/invalid-input",
            title="The input does not fit",
            status=422,
            detail="Correct the fields that `errors` points at and send the request again.",
            errors=errors,
        )

    @staticmethod
    def not_found(what: str) -> "Problem":
        """404: it does not exist, or the caller may not know that it does."""
        return Problem(
            type="/problems/not-found",
            title="Not found",
            status=404,
            detail=f"There is no {what} that you may see. Check the id.",
        )

    @staticmethod
    def forbidden(detail: str) -> "Problem":
        """403: the caller's role may never do this."""
        return Problem(type="/problems/forbidden", title="Not for this role", status=403, detail=detail)

    @staticmethod
    def action_not_allowed(action: str, allowed: tuple[str, ...]) -> "Problem":
        """409: the right role in the wrong state; names what is allowed instead (NX-03)."""
        listed = ", ".join(allowed) or "nothing"
        return Problem(
            type="/problems/action-not-allowed",
            title="This action is not open now",
            status=409,
            detail=f"{action} is not open to you in this state of the case; open now: {listed}.",
            extra={"allowed_actions": list(allowed)},
        )

    @staticmethod
    def version_mismatch(detail: str) -> "Problem":
        """412: what the caller's condition names is not there."""
        return Problem(type="/problems/version-mismatch", title="The resource has changed", status=412, detail=detail)

    @staticmethod
    def stale(if_match: int | None, version: int | None) -> "Problem | None":
        """412 where a change is asked for of another version than the resource has; None where it is of this one, or of
        whichever there is. `version` is None for a resource that is not there yet. Whoever decides over the change asks this,
        after it has recognised a command that it did before: that one has changed the version itself."""
        if if_match is None or if_match == version:
            return None
        return Problem.version_mismatch("If-Match names a version that is not the current one. Read it again, then decide.")

    @staticmethod
    def report_refused(refusal: str, detail: str) -> "Problem":
        """409: a report that opens no case; `refusal` says why in one word."""
        return Problem(
            type="/problems/report-refused",
            title="The report was refused",
            status=409,
            detail=detail,
            extra={"refusal": refusal},
        )
