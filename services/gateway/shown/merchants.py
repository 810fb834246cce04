"""Merchants as they are shown: what they have agreed, their keys, their desk, their forms, their usage and their issue rate."""

from typing import Annotated, Literal, NotRequired

from pydantic import Field

from contracts.cases import CaseState
from contracts.issue_rate import IssueForecast, IssueRateStatus, IssueStatement
from contracts.orders import NotifyAddress
from services.gateway.shown.values import Day, Links, LinkToCase, Moment, Page, Problem, Shown, Texts

__all__ = [
    "Absence",
    "AbsenceForecast",
    "AbsencePage",
    "Appeal",
    "AssignmentRule",
    "AssignmentRulePage",
    "Consultant",
    "ConsultantPage",
    "Form",
    "FormPage",
    "FormReportOutcome",
    "FormReported",
    "IssueRate",
    "KeyPage",
    "MadeKey",
    "Merchant",
    "MerchantPage",
    "StatusLabelItem",
    "StatusLabelPage",
    "Usage",
]

Role = Literal["platform", "partner", "merchant"]


class MerchantContact(Shown):
    """How a buyer reaches the merchant (CP-01)."""

    email: str
    phone: str | None
    url: str | None


class Merchant(Shown):
    """A merchant and what it has agreed. Its orders are protected from when it is certified and its seal is live (BP-02)."""

    merchant_id: str
    name: str
    programmes: list[str]
    """The first one is the default of its orders."""
    locale: str
    country: str
    timezone: str
    certified_at: NotRequired[Moment]
    seal_live_at: NotRequired[Moment]
    protection_days: NotRequired[int]
    notify: list[NotifyAddress]
    service_contact: MerchantContact
    return_policy_url: NotRequired[str]
    created_by: str
    insolvent_at: NotRequired[Moment]
    """When the platform declared it insolvent (BP-25)."""
    return_info_at: NotRequired[Moment]
    """When its return information was last confirmed, which every PUT does (CP-05)."""
    return_info_reminded_at: NotRequired[Moment]
    version: int
    _links: Links


class MerchantPage(Page):
    """Merchants, by id."""

    items: list[Merchant]


class MadeKey(Shown):
    """A new key. `key` is shown this once, and not kept."""

    key_id: str
    key: str
    name: str
    role: Role
    merchants: list[str]


class Key(Shown):
    """A key that was made."""

    key_id: str
    name: str
    role: Role
    merchants: list[str]
    created_at: Moment
    revoked_at: NotRequired[Moment]
    _links: Links


class KeyPage(Page):
    """Keys, newest first."""

    items: list[Key]


class DeskItem(Shown):
    """What stands in a list of a merchant's desk."""

    version: int
    _links: Links


class Consultant(DeskItem):
    """Somebody of the merchant's staff (RD-08)."""

    consultant_id: str
    name: str
    email: str
    locale: NotRequired[str]


class AssignmentRule(DeskItem):
    """Whose cases of a kind are (RD-08); what is left out fits every case."""

    rule_id: str
    programme: NotRequired[str]
    reason: NotRequired[str]
    channel: NotRequired[str]
    consultant_id: str


class Absence(DeskItem):
    """A consultant is away from one day to another, both included, and somebody stands in (RD-09)."""

    absence_id: str
    consultant_id: str
    from_: Annotated[Day, Field(alias="from")]
    to: Day
    deputy_id: str
    note: NotRequired[str]


class StatusLabelItem(DeskItem):
    """The merchant's own word for a state of its cases (RD-06)."""

    label_id: str
    code: str
    text: Texts
    state: Literal["submitted", "in_progress", "awaiting_buyer"]


class Form(DeskItem):
    """A form by link for what was sold over one channel (RD-03)."""

    form_id: str
    channel: str
    locale: NotRequired[str]
    url: str
    token: str


class ConsultantPage(Page):
    """Consultants, oldest first."""

    items: list[Consultant]


class AssignmentRulePage(Page):
    """Assignment rules, oldest first."""

    items: list[AssignmentRule]


class AbsencePage(Page):
    """Absences, oldest first."""

    items: list[Absence]


class StatusLabelPage(Page):
    """Status labels, oldest first."""

    items: list[StatusLabelItem]


class FormPage(Page):
    """Forms, oldest first."""

    items: list[Form]


class Person(Shown):
    """A consultant; the name is left out of one who was taken away since."""

    consultant_id: str
    name: NotRequired[str]


class ForeseenDeadline(Shown):
    """A deadline that falls into an absence, and who will have it."""

    case_id: str
    order_id: str
    order_number: str
    programme: str
    reason: str
    reason_label: str
    state: CaseState
    deadline_id: str
    kind: str
    label: str
    due_at: Moment
    deputy: Person
    _links: Links


class AbsenceForecast(Shown):
    """What an absence will bring (NX-17). `total` counts all deadlines, where more fall into it than are listed."""

    absence_id: str
    from_: Annotated[Day, Field(alias="from")]
    to: Day
    consultant: Person
    deputy: Person
    total: int
    deadlines: list[ForeseenDeadline]
    hand_over_note: str


class FormReported(Shown):
    """An accepted report by form, and the link of who sent it to its case."""

    report_id: str
    case_id: str
    link: LinkToCase


class FormReportResult(FormReported):
    """An accepted report by form, and its case."""

    href: str


class FormReportOutcome(Shown):
    """What became of a report by form whose outcome was not there within the wait."""

    command_id: str
    status: Literal["pending", "done", "refused"]
    result: NotRequired[FormReportResult]
    problem: NotRequired[Problem]


class UsageLine(Shown):
    """A report that opened a case, whatever became of it."""

    case_id: str
    order_id: str
    order_number: str
    programme: str
    reason: str
    channel: str | None
    reported_at: Moment


class Usage(Shown):
    """What a merchant used in a month of its time zone (RD-11)."""

    merchant_id: str
    month: str
    """Such as 2026-03."""
    reports: int
    cases_by_programme: dict[str, int]
    lines: list[UsageLine]
    _links: Links


class Appeal(Shown):
    """A merchant's objection to a sanction, and the platform's answer (NX-10)."""

    appeal_id: str
    message: str
    at: Moment
    cases: list[str]
    """Those of the statement that it is against."""
    outcome: NotRequired[Literal["upheld", "rejected"]]
    answer: NotRequired[str]
    decided_at: NotRequired[Moment]
    _links: NotRequired[Links]
    """Left out within the issue rate."""


class IssueRate(Shown):
    """The share of a merchant's orders that were reported with a problem (OI-11): of the `orders` placed in the window
    `reported` have a case, `counted` one that counts for a sanction, `faults` one in which a fault was found. Rates are shares:
    0.05 is 5 %."""

    merchant_id: str
    orders: int
    reported: int
    counted: int
    faults: int
    reported_rate: float
    sanction_rate: float
    fault_rate: float
    threshold: float
    warning_at: float
    window_days: int
    status: IssueRateStatus
    statement: NotRequired[IssueStatement]
    """Why it is sanctioned (NX-10)."""
    forecast: IssueForecast
    appeals: list[Appeal]
    version: int
    _links: Links
