"""A merchant's issue rate (OI-11, NX-10): how it stands, why it was sanctioned, and its appeals."""

from datetime import date
from typing import Annotated, Literal

from pydantic import Field

from contracts.actors import Actor
from contracts.base import Message, Model, Moment

__all__ = [
    "Appeal",
    "AppealIssueRate",
    "AskIssueRate",
    "DecideAppeal",
    "IssueForecast",
    "IssueRate",
    "IssueRateChanged",
    "IssueRateStatus",
    "IssueStatement",
]

IssueRateStatus = Literal["ok", "warning", "sanctioned", "appealed"]
Words = Annotated[str, Field(min_length=1, max_length=10_000)]


class IssueStatement(Model):
    """The statement of reasons that a sanction comes with. `cases` are those that counted when it was made."""

    text: str
    at: Moment
    cases: tuple[str, ...]


class Appeal(Model):
    """A merchant's objection to a sanction and the platform's answer. `upheld`: the cases of the statement count no longer."""

    appeal_id: str
    message: str
    at: Moment
    cases: tuple[str, ...] = ()
    """Those of the statement that it is against."""
    outcome: Literal["upheld", "rejected"] | None = None
    answer: str | None = None
    decided_at: Moment | None = None


class IssueForecast(Model):
    """When the rate is back under the threshold: after so many more orders without a problem, or so many days at the pace of
    the window. None: not within a window's length."""

    orders_to_recover: int
    days: int | None


class IssueRate(Model):
    """How a merchant stands. Of the `orders` placed in the window: `reported` have a case, `counted` one that counts for a
    sanction (not rejected, withdrawn or decided for the merchant), `faults` one in which a fault was found."""

    merchant_id: str
    orders: int = 0
    reported: int = 0
    counted: int = 0
    faults: int = 0
    status: IssueRateStatus = "ok"
    statement: IssueStatement | None = None
    appeals: tuple[Appeal, ...] = ()
    pardoned: tuple[str, ...] = ()
    """Cases that an upheld appeal took out of what counts."""
    forecast: IssueForecast = IssueForecast(orders_to_recover=0, days=0)
    changes_on: date | None = None
    """The day on which, if nothing else happens, the status becomes another one, or begins to hang on the next orders, because
    the window has moved on. None: it does not."""
    at: Moment
    version: int = 0


# Commands to escalation


class AskIssueRate(Message, kind="issue-rate.ask"):
    """Reckon the rate of a merchant as it is now: after an event that touches it, on the day on which it changes by itself, or
    because somebody asks."""

    merchant_id: str


class AppealIssueRate(Message, kind="issue-rate.appeal"):
    """A merchant appeals against the statement of reasons that stands (NX-10)."""

    merchant_id: str
    appeal_id: str
    message: Words
    actor: Actor


class DecideAppeal(Message, kind="issue-rate.decide-appeal"):
    """From the platform: an appeal is upheld, and the statement's cases no longer count, or rejected."""

    merchant_id: str
    appeal_id: str
    outcome: Literal["upheld", "rejected"]
    message: Words
    actor: Actor


# Events of escalation


class IssueRateChanged(Message, kind="issue-rate.changed"):
    """The figures or the status of a merchant changed; what ranks merchants follows `rate.status` (OI-11)."""

    rate: IssueRate
    before: IssueRateStatus
