"""Notices: who was told what, and the proof of it."""

from typing import Literal

from contracts.actors import Party
from contracts.base import Message, Model, Moment
from contracts.texts import Email, Locale

__all__ = [
    "NoticeBounced",
    "NoticeDelayed",
    "NoticeFailed",
    "NoticeKind",
    "NoticeProof",
    "NoticeSent",
    "OrderNamed",
    "SendLink",
    "TellBuyer",
    "TellMerchant",
]

NoticeKind = Literal[
    "check_in",
    "case_opened",
    "answer",
    "message",
    "reminder",
    "evidence_requested",
    "proposal",
    "decision",
    "case_closed",
    "case_reopened",
    "progress",
    "attention",
    "link",
    "issue_rate",
    "policy_change",
    "handover",
    "mass_event",
    "return_info_reminder",
]


class NoticeProof(Model):
    """One mail to one address. `server` and `server_reply` are what accepted or refused it, `at` when; of one that is
    `delayed`, why it is still to send."""

    notice_id: str
    kind: NoticeKind
    party: Party
    to: str
    state: Literal["sent", "failed", "delayed"]
    server: str
    server_reply: str
    at: Moment
    deadline_id: str | None = None
    """The deadline that this notice told of, if any: its proof decides about fairness (NX-08)."""


class SendLink(Message, kind="link.send"):
    """To notifications: mail the buyer of an order its link (asked for by order number and e-mail)."""

    order_id: str
    order_number: str
    merchant_id: str
    merchant_name: str
    email: str
    name: str | None = None
    locale: str


class NoticeBounced(Message, kind="notice.bounced", version=2):
    """To notifications: a mail that a server had accepted came back, with what it says of that, and when that was heard."""

    order_id: str
    notice_id: str
    reply: str
    at: Moment


class TellMerchant(Message, kind="merchant.tell"):
    """To notifications: mail a merchant about its shop rather than a case. `about` is what the kind of notice speaks of, as
    texts; moments and days in their forms of the contracts. Goes to the merchant's `all` addresses unless `to` names another
    one, a consultant's, then in `locale`."""

    merchant_id: str
    notice: NoticeKind
    about: dict[str, str] = {}
    to: Email | None = None
    locale: Locale | None = None


class OrderNamed(Model):
    """An order as its buyer knows it."""

    order_number: str
    merchant_name: str


class TellBuyer(Message, kind="buyer.tell"):
    """To notifications: mail the buyer of an order about an event that concerns many (NX-09). `text` is the platform's own;
    `others` are further orders of this buyer that it concerns."""

    order_id: str
    order_number: str
    merchant_id: str
    merchant_name: str
    email: str
    name: str | None = None
    locale: str
    event: Literal["insolvency", "insolvency_withdrawn", "carrier_failure"]
    text: str | None = None
    others: tuple[OrderNamed, ...] = ()


class NoticeSent(Message, kind="notice.sent"):
    """A mail about a case was accepted by a server."""

    order_id: str
    case_id: str
    notice: NoticeProof


class NoticeFailed(Message, kind="notice.failed"):
    """A mail about a case was refused for good."""

    order_id: str
    case_id: str
    notice: NoticeProof


class NoticeDelayed(Message, kind="notice.delayed"):
    """A mail that tells of a deadline cannot be handed over for an hour or longer: its server is away, or puts it off. It goes
    on being tried. A merchant's mail may have no address yet; `notice_id` is then that of the notice that its addresses are
    to be told."""

    order_id: str
    case_id: str
    notice: NoticeProof
