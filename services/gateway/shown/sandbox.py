"""What the sandbox shows of itself: its clock, the mails that arrived, the payments that were made."""

from typing import Annotated, Literal, NotRequired

from pydantic import Field

from contracts.money import Money
from services.gateway.shown.values import Moment, Page, Shown

__all__ = ["BouncingAddress", "Clock", "DeclaredOutage", "MailPage", "PaymentPage", "SetPaymentMode"]

Mode = Literal["ok", "fail", "timeout", "late"]


class Clock(Shown):
    """The sandbox's time. `ready`: all that the last move caused is done."""

    now: Moment
    status: Literal["advancing", "ready"]


class MailLink(Shown):
    """A link of a mail's page; one with `rel` act ends in the capability token."""

    rel: str
    url: str


class Mail(Shown):
    """A mail that arrived by SMTP."""

    mail_id: str
    kind: str
    to: str
    reply_to: str
    message_id: str
    """Its Message-ID."""
    subject: str
    text: str
    html: str
    sent_at: Moment
    case_id: NotRequired[str]
    order_id: NotRequired[str]
    links: list[MailLink]
    duplicates: NotRequired[int]
    """How often it arrived again."""


class MailPage(Page):
    """Mails, oldest first."""

    items: list[Mail]


class BouncingAddress(Shown):
    """An address that refuses its mails from now on."""

    email: str


class DeclaredOutage(Shown):
    """Time in which nobody could act: deadlines that run in it end later by as much."""

    outage_id: str
    from_: Annotated[Moment, Field(alias="from")]
    until: Moment


class Payment(Shown):
    """A payment, under the decision that it is for. `requests` counts how often it was asked for: it was paid once."""

    reference: str
    decision_id: str
    order_id: str
    order_number: str
    merchant_id: str
    amount: Money
    state: Literal["executed", "pending"]
    executed_at: Moment
    """When it is through, or will be."""
    requests: int


class PaymentPage(Page):
    """Payments, oldest first, and how the provider behaves now."""

    items: list[Payment]
    mode: Mode


class SetPaymentMode(Shown):
    """How the provider behaves from now on."""

    mode: Mode
