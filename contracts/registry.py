"""Every message by its type name, and how an older version becomes today's."""

from collections.abc import Callable
from typing import Any

import orjson

from contracts import cases, desk, issue_rate, matrix, notices, orders, outages, platform, rollouts, topics
from contracts.base import Message
from contracts.topics import Topic

__all__ = ["CARRIES", "MESSAGES", "UPCASTERS", "UnknownMessage", "message_type", "type_name", "upcast"]


class UnknownMessage(ValueError):
    """A type name that no message here has, or a version that is neither today's nor the one before."""


CARRIES: dict[Topic, tuple[type[Message], ...]] = {
    topics.INTAKE_COMMANDS: (
        orders.PutMerchant,
        desk.ChangeDesk,
        orders.ReturnInfoAged,
        orders.RegisterOrder,
        orders.RecordFact,
        orders.SubmitReport,
        orders.AskClaim,
        orders.DeclareInsolvency,
        orders.CheckInReached,
        rollouts.MakeRollout,
        rollouts.OptIn,
        rollouts.AnnounceRollout,
        rollouts.TellOfRollouts,
    ),
    topics.INTAKE_EVENTS: (
        orders.MerchantChanged,
        orders.OrderRegistered,
        orders.FactRecorded,
        orders.ReportAccepted,
        orders.CheckInAsked,
        orders.OrderChanged,
        rollouts.RolloutMade,
        rollouts.MerchantOptedIn,
        rollouts.RolloutAnnounced,
        orders.CommandRefused,
        orders.CommandRepeated,
    ),
    topics.CASES_COMMANDS: (
        cases.TakeAction,
        cases.PostMessage,
        cases.DeadlineReached,
        cases.ReminderReached,
        cases.ConfirmExecution,
        cases.ExtendDeadline,
    ),
    topics.CASES_EVENTS: (
        cases.CaseOpened,
        cases.CaseMoved,
        cases.MessagePosted,
        cases.FactAttached,
        cases.ReminderGiven,
        cases.NoticeRecorded,
        cases.RefundExecuted,
        cases.DeadlineExtended,
        orders.CommandRefused,
        orders.CommandRepeated,
    ),
    topics.ESCALATION_COMMANDS: (
        matrix.PutDecisionRule,
        matrix.WithdrawDecisionRule,
        matrix.RunBackTest,
        issue_rate.AskIssueRate,
        issue_rate.AppealIssueRate,
        issue_rate.DecideAppeal,
        outages.RecordOutage,
    ),
    topics.ESCALATION_EVENTS: (
        matrix.DecisionRuleChanged,
        matrix.BackTestPart,
        matrix.BackTestDone,
        issue_rate.IssueRateChanged,
        orders.CommandRefused,
        orders.CommandRepeated,
    ),
    topics.NOTIFICATIONS_COMMANDS: (notices.SendLink, notices.TellMerchant, notices.TellBuyer, notices.NoticeBounced),
    topics.NOTIFICATIONS_EVENTS: (notices.NoticeSent, notices.NoticeFailed, notices.NoticeDelayed),
    topics.GATEWAY_OUTCOMES: (platform.CommandSettled,),
    topics.PLATFORM_CLOCK: (platform.ClockTick, outages.OutagesRecorded),
    topics.PLATFORM_PROGRESS: (platform.Progress,),
}
"""Which messages each topic carries."""

MESSAGES: dict[str, type[Message]] = {message.kind: message for carried in CARRIES.values() for message in carried}

Upcaster = Callable[[dict[str, Any]], dict[str, Any]]


def _bounced_by_name(body: dict[str, Any]) -> dict[str, Any]:
    """The first version bore the whole proof of its notice, which its reader has itself."""
    notice = body["notice"]
    return {
        "order_id": body["order_id"],
        "notice_id": notice["notice_id"],
        "reply": notice["server_reply"],
        "at": notice["at"],
    }


UPCASTERS: dict[tuple[str, int], Upcaster] = {("notice.bounced", 1): _bounced_by_name}
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
