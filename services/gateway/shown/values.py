"""What answers of all kinds are made of: moments, links, pages of lists, promised commands, problems."""

from typing import Annotated, Literal, NotRequired

from pydantic import ConfigDict, WithJsonSchema
from typing_extensions import TypedDict

from engine.protection import Refused

__all__ = [
    "HTML",
    "Command",
    "Day",
    "Link",
    "LinkToCase",
    "Links",
    "Moment",
    "Page",
    "Problem",
    "Shown",
    "Texts",
]

HTML = {"text/html": str}
"""What a page for people is answered as."""

Moment = Annotated[str, WithJsonSchema({"type": "string", "format": "date-time"})]
"""A time in UTC with milliseconds."""
Day = Annotated[str, WithJsonSchema({"type": "string", "format": "date"})]
"""A day in the merchant's zone."""
Texts = dict[str, str]
"""A text by language."""


class Shown(TypedDict):
    """An object in an answer: a field that is NotRequired is there or left out, and None only where its type says so."""

    # Read by pydantic; type checkers know fields alone.
    __pydantic_config__ = ConfigDict(use_attribute_docstrings=True)  # pyright: ignore[reportGeneralTypeIssues]


class Link(Shown):
    """Where a related resource is."""

    href: str


Links = dict[str, Link]
"""By relation; `self` is the resource's own place."""


class Page(Shown):
    """A page of a list."""

    next: NotRequired[str]
    """The `cursor` of the next page; left out on the last one."""


class LinkToCase(Shown):
    """A link that reads a case and acts on it."""

    url: str
    token: str


class WrongPlace(Shown):
    """A place in the input that does not fit: a JSON Pointer into the body, and what to do there."""

    pointer: str
    parameter: NotRequired[str]
    """The name of a parameter or header; `pointer` is as if all of them were one object."""
    detail: str


class Problem(Shown):
    """RFC 9457. `type` is a path that serves its own explanation."""

    type: str
    title: str
    status: int
    detail: str
    """What to do."""
    instance: NotRequired[str]
    """The path of the request; left out of a problem that stands within an answer."""
    errors: NotRequired[list[WrongPlace]]
    """Of invalid-input."""
    allowed_actions: NotRequired[list[str]]
    """Of action-not-allowed: what is open instead."""
    refusal: NotRequired[Refused]
    """Of report-refused: why, in one word."""
    order_id: NotRequired[str]
    """Of order-exists: the order that has the number."""
    used_by: NotRequired[list[str]]
    """Of in-use: what names it."""
    item_id: NotRequired[str]
    """Of item-ended."""
    now: NotRequired[Moment]
    """Of clock-backwards: where the clock stands."""
    blocked_by: NotRequired[list[str]]
    """Of a sandbox's clock that waits: what is not done."""


class CommandResult(Shown):
    """What a command has made or changed."""

    href: str


class Command(Shown):
    """What became of a request whose outcome was not there within the wait."""

    command_id: str
    status: Literal["pending", "done", "refused"]
    result: NotRequired[CommandResult]
    """Of one that is done."""
    problem: NotRequired[Problem]
    """Of one that was refused: what it would have been answered with."""
