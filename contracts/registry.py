"""Every message by its type name, and how an older version becomes today's."""

from collections.abc import Callable
from typing import Any

import orjson

from contracts import cases, notices, orders, platform
from contracts.base import Message

__all__ = ["MESSAGES", "UPCASTERS", "UnknownMessage", "message_type", "type_name", "upcast"]


class UnknownMessage(ValueError):
    """A type name that no message here has, or a version that is neither today's nor the one before."""


MESSAGES: dict[str, type[Message]] = {
    message.kind: message
    for message in (
        orders.PutMerchant,
        orders.RegisterOrder,
        orders.RecordFact,
        orders.SubmitReport,
        orders.CheckInReached,
        orders.MerchantChanged,
        orders.OrderRegistered,
        orders.FactRecorded,
        orders.ReportAccepted,
        orders.CheckInAsked,
        orders.OrderChanged,
        orders.CommandRefused,
        orders.CommandRepeated,
        cases.TakeAction,
        cases.PostMessage,
        cases.DeadlineReached,
        cases.ReminderReached,
        cases.CaseOpened,
        cases.CaseMoved,
        cases.MessagePosted,
        cases.FactAttached,
        cases.ReminderGiven,
        cases.NoticeRecorded,
        notices.SendLink,
        notices.NoticeSent,
        notices.NoticeFailed,
        platform.ClockTick,
        platform.Progress,
        platform.CommandSettled,
    )
}

Upcaster = Callable[[dict[str, Any]], dict[str, Any]]

UPCASTERS: dict[tuple[str, int], Upcaster] = {}
"""(kind, N-1) → a pure function that turns the body of version N-1 into one of version N."""


def type_name(message: type[Message]) -> str:
    """The CloudEvents type: `recourse.case.opened.v1`."""
    return f"recourse.{message.kind}.v{message.version}"


_BY_NAME: dict[str, tuple[type[Message], int]] = {
    f"recourse.{kind}.v{version}": (message, version)
    for kind, message in MESSAGES.items()
    for version in (message.version, message.version - 1)
    if version == message.version or (kind, version) in UPCASTERS
}


def message_type(name: str) -> tuple[type[Message], int]:
    """Model and version of a type name. Raises UnknownMessage."""
    try:
        return _BY_NAME[name]
    except KeyError:
        raise UnknownMessage(f"{name} is no message type that this version reads") from None


def upcast(message: type[Message], version: int, body: bytes) -> Message:
    """Read a body of version N-1 as today's model. Raises UnknownMessage, pydantic.ValidationError, ValueError."""
    return message.model_validate(UPCASTERS[message.kind, version](orjson.loads(body)))
