"""Orders, their protection and the merchants that sell them: what intake owns and tells."""

from typing import Annotated, Literal

from pydantic import Field

from contracts.actors import Actor
from contracts.base import GivenMoment, Message, Model, Moment
from contracts.desk import Desk
from contracts.evidence import Evidence
from contracts.money import Money
from contracts.problems import Problem
from contracts.texts import Code, Country, Email, Locale, Name, VisibleName

__all__ = [
    "AskClaim",
    "Buyer",
    "CheckInAsked",
    "CheckInReached",
    "CommandRefused",
    "CommandRepeated",
    "Contact",
    "DeclareInsolvency",
    "Fact",
    "FactContent",
    "FactKind",
    "FactRecorded",
    "Merchant",
    "MerchantChanged",
    "MerchantProfile",
    "NotifyAddress",
    "OpenCase",
    "Order",
    "OrderChanged",
    "OrderContent",
    "OrderLine",
    "OrderRegistered",
    "OrderStatus",
    "Payout",
    "Protection",
    "ProtectionReason",
    "PutMerchant",
    "RecordFact",
    "RegisterOrder",
    "Report",
    "ReportAccepted",
    "ReportContent",
    "ReportedLine",
    "ReturnInfoAged",
    "ServiceContact",
    "Standing",
    "SubmitReport",
]

Days = Annotated[int, Field(ge=1, le=3650, strict=True)]


class NotifyAddress(Model):
    """An address of the merchant's contract (BP-09): told of new cases only, or of everything."""

    kind: Literal["new_case", "all"]
    email: Email


class ServiceContact(Model):
    """How a buyer reaches the merchant (CP-01)."""

    email: Email
    phone: Code | None = None
    url: Annotated[str, Field(max_length=500, pattern=r"^https?://\S+$")] | None = None


class MerchantProfile(Model):
    """What a merchant has agreed. Protected only when certified and its seal is live (BP-02)."""

    name: VisibleName
    programmes: Annotated[tuple[Code, ...], Field(min_length=1, max_length=20)]
    """The first one is the default of its orders."""
    locale: Locale
    country: Country
    timezone: Code | None = None
    """An IANA zone; by default the one of the country."""
    certified_at: GivenMoment | None = None
    seal_live_at: GivenMoment | None = None
    protection_days: Days | None = None
    notify: Annotated[tuple[NotifyAddress, ...], Field(max_length=50)] = ()
    service_contact: ServiceContact
    return_policy_url: Annotated[str, Field(max_length=500, pattern=r"^https?://\S+$")] | None = None


class Merchant(MerchantProfile):
    """A merchant as intake keeps it: `timezone` is resolved, `created_by` is the partner (or platform) that made it."""

    merchant_id: str
    timezone: Code  # pyright: ignore[reportGeneralTypeIssues, reportIncompatibleVariableOverride]
    created_by: str
    insolvent_at: Moment | None = None
    """When the platform declared it insolvent (BP-25)."""
    return_info_at: Moment | None = None
    """When its return information was last confirmed, which every PUT of the profile does (CP-05)."""
    return_info_reminded_at: Moment | None = None
    version: int


class Buyer(Model):
    """The buyer's contact. Personal data: never on a compacted topic."""

    email: Email
    name: Name | None = None
    locale: Locale | None = None
    phone: Code | None = None


class OrderLine(Model):
    """One position of an order, as the shop numbers and prices it; `line_id` is what a report names it by."""

    line_id: Code | None = None
    sku: Code | None = None
    title: Annotated[str, Field(min_length=1, max_length=500)]
    quantity: Annotated[int, Field(ge=1, le=1_000_000, strict=True)]
    unit_price: Money


FactKind = Literal["shipped", "delivered", "returned", "refunded", "paid_out", "netted", "cancelled"]
"""`paid_out`: the merchant was paid for the order, in all or, where it has an amount, that much of it; fees that were kept back
count as paid. `netted`: a later payout of the merchant was less by what was refunded of this one (OI-08)."""


class FactContent(Model):
    """Something that happened to an order in the world (CP-06), as its source tells it."""

    kind: FactKind
    at: GivenMoment
    external_id: Code | None = None
    carrier: Code | None = None
    tracking_code: Code | None = None
    amount: Money | None = None
    note: Annotated[str, Field(max_length=2_000)] | None = None


class Fact(FactContent):
    """A recorded fact. `flags`: over_refund, over_payout (more was paid out than was payable), paid_out_while_held."""

    fact_id: str
    source: Actor
    recorded_at: Moment
    flags: tuple[str, ...] = ()


class OrderContent(Model):
    """An order as a partner registers it. `amount` is authoritative; lines need not add up; zero is allowed."""

    merchant_id: Code
    order_number: Code
    channel: Code | None = None
    programme: Code | None = None
    buyer: Buyer
    amount: Money
    lines: Annotated[tuple[OrderLine, ...], Field(max_length=1_000)] = ()
    placed_at: GivenMoment
    promised_by: GivenMoment | None = None
    protection_activated: Annotated[bool, Field(strict=True)]
    protection_days: Days | None = None


class Order(OrderContent):
    """A registered order: programme, merchant's zone and languages are pinned here, so that later changes of the merchant
    do not reach back."""

    order_id: str
    programme: Code  # pyright: ignore[reportGeneralTypeIssues, reportIncompatibleVariableOverride]
    timezone: Code
    merchant_name: Name
    merchant_locale: Locale
    merchant_country: Country | None = None
    """Where law differs by country, the merchant's counts."""
    origin: Literal["registered", "reported"] = "registered"
    """`reported`: known from its buyer's report alone, for the merchant to match (RD-03)."""
    registered_at: Moment


ProtectionReason = Literal[
    "not_certified", "seal_not_live", "not_activated", "insolvency_declared", "satisfied", "case_outcome"
]
"""Why there is no protection, or what ended it."""


class Protection(Model):
    """The guarantee on an order (BP-02 to 05, 26). Expiry is derived: `active` past `ends_at` with no open case is
    expired; it is never written."""

    state: Literal["active", "ended", "none"]
    reason: ProtectionReason | None = None
    ends_at: Moment | None = None
    """When it ends unless something ends it before; of one that has ended, when it did. None where there never was one."""
    check_in_at: Moment | None = None
    """When the buyer is asked whether all went well; None when that moment was past at registration or the end came first."""


class Payout(Model):
    """Held while any case on the order is open."""

    held: bool
    reason: Literal["open_case"] | None = None


class OpenCase(Model):
    """A case of the order that has not ended, as intake needs it to refuse a second one for the same reason."""

    case_id: str
    programme: str
    reason: str


OrderStatus = Literal["open", "reported_problem", "completed"]


class Standing(Model):
    """How an order stands after an event: readers copy it as it is."""

    status: OrderStatus
    protection: Protection
    payout: Payout
    open_cases: tuple[OpenCase, ...] = ()
    cases: tuple[str, ...] = ()
    """Every case of the order, ended ones included, oldest first."""
    version: int
    """The order's version: its ETag."""


class Contact(Model):
    """How a buyer wants to be reached about its report (RD-02), where that is not the order's own address."""

    email: Email
    phone: Code | None = None


class ReportedLine(Model):
    """How many of a line are reported."""

    line_id: Code
    quantity: Annotated[int, Field(ge=1, strict=True)]


class ReportContent(Model):
    """What a buyer submits (BP-07, 08). `amount`, `answer_by` and `external_id` come with claims from a partner."""

    reason: Code
    programme: Code | None = None
    text: Annotated[str, Field(max_length=10_000)] | None = None
    lines: Annotated[tuple[ReportedLine, ...], Field(max_length=1_000)] = ()
    contact: Contact | None = None
    wish: Annotated[str, Field(max_length=2_000)] | None = None
    amount: Money | None = None
    answer_by: GivenMoment | None = None
    external_id: Code | None = None


class Report(ReportContent):
    """An accepted report."""

    report_id: str
    programme: Code  # pyright: ignore[reportGeneralTypeIssues, reportIncompatibleVariableOverride]
    evidence: tuple[Evidence, ...] = ()
    actor: Actor
    proved: bool | None = None
    """As in `SubmitReport`; None where it was not said yet."""
    at: Moment


# Commands to intake


class PutMerchant(Message, kind="merchant.put"):
    """Replace a merchant's profile. Refused for a partner that did not create it, or that sets what only the platform
    sets (`certified_at`, `seal_live_at`)."""

    merchant_id: str
    profile: MerchantProfile
    if_match: int | None = None
    """The version of the merchant that its sender has read."""
    given: bool = False
    """The actor is a partner that was given the merchant, as the gateway knows from its key; so too in the commands below."""
    actor: Actor


class DeclareInsolvency(Message, kind="merchant.declare-insolvency"):
    """From the platform: its protected buyers may claim from now on (BP-25); with `insolvent` false, not any more."""

    merchant_id: str
    insolvent: bool = True
    actor: Actor


class ReturnInfoAged(Message, kind="return-info.aged"):
    """From escalation: nobody has confirmed a merchant's return information for a year (CP-05). Without effect where it was
    confirmed after `since`."""

    merchant_id: str
    since: Moment


class RegisterOrder(Message, kind="order.register"):
    """`reported`: what a buyer's report says of an order that nobody has registered (RD-03). It has an identity of its own, so
    that nobody takes an order number away from the merchant by reporting on it."""

    content: OrderContent
    facts: tuple[FactContent, ...] = ()
    reported: bool = False
    given: bool = False
    actor: Actor


class RecordFact(Message, kind="fact.record"):
    """Put down what happened to an order. The same kind and `external_id` again is the same fact."""

    order_id: str
    content: FactContent
    if_match: int | None = None
    """The version of the order's standing that its sender has read; so too in `SubmitReport`."""
    given: bool = False
    actor: Actor


class SubmitReport(Message, kind="report.submit"):
    """A report on an order: accepted, it opens a case or ends the protection; refused, the problem says why (BP-07)."""

    order_id: str
    merchant_id: str | None = None
    """Of the order, as the gateway knows it: what the report needs of its merchant is read with the batch."""
    content: ReportContent
    evidence: tuple[Evidence, ...] = ()
    form_id: str | None = None
    """The merchant's form that it came through (RD-01). Whoever offers a form offers its programme (RD-11)."""
    order: OrderContent | None = None
    """What a report by form says of an order that nobody has registered (RD-03). Where it is not here yet, it is registered as
    reported when the report is accepted; a refused report leaves nothing."""
    if_match: int | None = None
    given: bool = False
    actor: Actor
    proved: bool | None = None
    """Whether the reporter is proved to be the buyer or to speak for it: by the order's own link, as partner or platform, by a
    mail whose sender's domain vouches for it. Whoever fills in a form or writes under an address need not be."""


class AskClaim(Message, kind="claim.ask"):
    """To the order that a claim came in on first: answer a later report of the same claim on another order (CP-03). Sent under
    the later report's id, which it settles."""

    order_id: str
    programme: str
    reason: str
    external_id: str


class CheckInReached(Message, kind="check-in.reached"):
    """From escalation: the moment to ask the buyer has come (BP-05)."""

    order_id: str
    due_at: Moment


# Events of intake


class MerchantChanged(Message, kind="merchant.changed"):
    """The whole merchant and its whole desk, as they are from now on. `href` names what the command was about, where that is a
    part of the desk."""

    merchant: Merchant
    desk: Desk = Desk()
    href: str | None = None


class OrderRegistered(Message, kind="order.registered"):
    """An order is known from now on, with what had happened to it by then and the protection that it got (BP-02)."""

    order: Order
    facts: tuple[Fact, ...] = ()
    standing: Standing


class FactRecorded(Message, kind="fact.recorded"):
    """Something happened to an order (CP-06), and how the order stands with it."""

    order_id: str
    fact: Fact
    standing: Standing


class ReportAccepted(Message, kind="report.accepted"):
    """A report that opens `case_id`, or, where that is None, one that only ends the protection (`satisfied`).

    Carries all that cases needs to open its file."""

    report: Report
    case_id: str | None
    policy_version: int | None = None
    """The version of the programme in force for this merchant when it reported, where a roll-out says which (BP-24)."""
    order: Order
    facts: tuple[Fact, ...] = ()
    standing: Standing


class CheckInAsked(Message, kind="check-in.asked"):
    """The buyer is to be asked whether all went well (BP-05)."""

    order: Order
    standing: Standing


class OrderChanged(Message, kind="order.changed"):
    """A case of the order ended or was reopened; its payout, status and protection follow (BP-26, OI-08)."""

    order_id: str
    case_id: str
    standing: Standing


# Answers that change nothing; both have no sequence and always settle their command.


class CommandRefused(Message, kind="command.refused"):
    """The command was not carried out; `problem` is what its sender is answered."""

    problem: Problem


class CommandRepeated(Message, kind="command.repeated"):
    """The command asks for what already is: `href` names the resource, `fact_id` the fact of it where it asks for one."""

    href: str
    fact_id: str | None = None
