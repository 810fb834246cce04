"""Cases as they are shown: how they stand, what their reader can do, what an action would do, thread and history."""

from typing import Any, Literal, NotRequired

from contracts.actors import Actor, Party
from contracts.cases import CaseState, Executor, Outcome, PolicyRef, Proposal, RuleRef, Variant
from contracts.evidence import Evidence
from contracts.money import Money
from contracts.orders import Payout, ReportedLine
from engine.notices import Told
from engine.views import (
    AllowedAction,
    ChecklistItem,
    ExplainedDeadline,
    ExplainedExtension,
    PreviewProtection,
    RefundStatus,
)
from services.gateway.shown.orders import ShownFact
from services.gateway.shown.values import Links, Moment, Page, Shown

__all__ = ["Case", "CasePage", "GuestCase", "GuestPreview", "HistoryPage", "Message", "MessagePage", "Preview"]

Answered = Literal["yes", "yes_after_return", "no", "replacement"]


class OpenAction(AllowedAction):
    """An action that is open to the reader (NX-03). `fields` is a JSON Schema with the bounds of the moment; POST them, with
    the name as `action`, to `href`."""

    href: str


class CaseBuyer(Shown):
    """Who reported."""

    email: str
    name: NotRequired[str]


class CaseProgramme(Shown):
    """The programme and version that the case is pinned to (NX-07)."""

    id: str
    version: int


class CaseAssignee(Shown):
    """The consultant who looks after a case (RD-08, 09); `deputy_for` names whom a deputy stands in for."""

    consultant_id: str
    name: str
    deputy_for: NotRequired[str]


class CaseContact(Shown):
    """How the buyer wants to be reached about its report."""

    email: str
    phone: str | None


class ShopContact(Shown):
    """How a buyer reaches the merchant (CP-01, 05, 08)."""

    name: str
    email: str
    phone: NotRequired[str]
    url: NotRequired[str]
    return_policy_url: NotRequired[str]


class CaseAnswer(Shown):
    """The merchant's latest answer (BP-11, 12, OI-05)."""

    refund: Answered
    refund_amount: NotRequired[Money]
    variant: Variant
    message: str
    at: Moment


class CaseSeen(Shown):
    """What everybody sees of a case that it may see at all."""

    case_id: str
    order_id: str
    merchant_id: str
    order_number: str
    programme: CaseProgramme
    reason: str
    state: CaseState
    label: str
    """The state in words, in the reader's language."""
    turn: Party | None
    attention: bool
    """It is the reader's turn."""
    opened_at: Moment
    updated_at: Moment
    closed_at: NotRequired[Moment]
    version: int
    outcome: Outcome | None
    outcome_label: NotRequired[str]
    text: str | None
    lines: list[ReportedLine]
    wish: str | None
    contact: NotRequired[CaseContact]
    evidence: list[Evidence]
    service_contact: NotRequired[ShopContact]
    allowed_actions: list[OpenAction]
    _links: Links


class Case(CaseSeen):
    """A case as it stands at this moment, with what its reader can do now."""

    order_date: Moment
    order_amount: Money
    buyer: CaseBuyer
    channel: str | None
    assignee: NotRequired[CaseAssignee]
    """For all but buyers, where a rule of the merchant names somebody."""
    decided_by: NotRequired[RuleRef]
    external_id: NotRequired[str]
    amount: NotRequired[Money]
    """What the report claims, where it says."""
    answer_by: NotRequired[Moment]
    """By when somebody outside asks for the answer."""
    facts: list[ShownFact]
    refund: RefundStatus
    deadlines: list[ExplainedDeadline]
    unanswered: NotRequired[Literal[True]]
    """The merchant let the time for its answer pass."""
    untold: NotRequired[Literal[True]]
    """The party whose turn it is could not be told."""
    evidence_checklist: NotRequired[list[ChecklistItem]]
    """For all but buyers (CP-03)."""
    answer: NotRequired[CaseAnswer]
    proposal: NotRequired[Proposal]
    """The platform's, while it stands."""


class GuestBuyer(Shown):
    """The address of the order, which a guest has given."""

    email: str


class GuestAnswer(Shown):
    """The merchant's latest answer; its amount where the order is known from the guest's report alone."""

    refund: Answered
    refund_amount: NotRequired[Money]
    message: str
    at: Moment


class GuestRefund(Shown):
    """How the refund stands; its amounts where the order is known from the guest's report alone."""

    variant: Variant | None
    proposed: NotRequired[Money | None]
    decided: NotRequired[Money | None]
    executed: NotRequired[Money]


class GuestConsequence(Shown):
    """What silence leads to; the sentence is left out where it would name an amount."""

    action: str
    state: CaseState | None
    outcome: Outcome | None
    text: NotRequired[str]


class GuestDeadline(Shown):
    """A deadline with the policy and rule it comes from, and what silence means (NX-01)."""

    deadline_id: str
    party: Party
    kind: str
    label: str
    due_at: Moment
    extended_by: list[ExplainedExtension]
    rule: str
    policy: PolicyRef
    on_silence: GuestConsequence


class GuestCase(CaseSeen):
    """A case as the guest sees it who has reported it by a form (RD-03). What else is here, its own report said."""

    buyer: GuestBuyer
    answer: NotRequired[GuestAnswer]
    refund: GuestRefund
    deadlines: list[GuestDeadline]
    channel: NotRequired[str | None]
    order_date: NotRequired[Moment]
    order_amount: NotRequired[Money]


class CaseCounts(Shown):
    """How many cases there are over all pages, by how far they have come (RD-10)."""

    all: int
    reported: int
    running: int
    finished: int


class CasePage(Page):
    """Cases, those of the latest reported order first."""

    items: list[Case | GuestCase]
    counts: NotRequired[CaseCounts]
    """Where they were asked for."""


class PreviewedMoney(Shown):
    """What the action would move, and what of the order would be refundable afterwards."""

    reserved: Money
    executed: Money
    released: Money
    refundable: Money
    executor: NotRequired[Executor]
    """Who pays what would be reserved."""
    over_refund: NotRequired[Money]
    """By how much more would then have flowed than was paid."""


class Preview(Shown):
    """The case as the action would leave it (NX-04)."""

    state: CaseState
    turn: Party | None
    outcome: Outcome | None
    deadlines: list[ExplainedDeadline]
    money: PreviewedMoney
    messages: list[Told]
    payout: Payout
    protection: PreviewProtection


class GuestPreview(Shown):
    """The case as the action would leave it, as far as a guest sees it."""

    state: CaseState
    turn: Party | None
    outcome: Outcome | None
    deadlines: list[GuestDeadline]
    messages: list[Told]


class Message(Shown):
    """A message of the thread; an internal remark is not visible to all."""

    message_id: str
    case_id: str
    author: Actor
    text: str
    evidence: list[Evidence]
    internal: bool
    visible_to: list[Party]
    at: Moment
    order_sequence: int


class MessagePage(Page):
    """The thread, oldest first."""

    items: list[Message]


class HistoryEntry(Shown):
    """An event of a case in its hash chain (NX-13): `hash` is the SHA-256 of the canonical JSON (RFC 8785) of sequence, type,
    at, actor, data_digest and previous_hash; `data_digest` that of `salt` and the canonical JSON of `data`."""

    sequence: int
    """Gapless in the case, from 1."""
    order_sequence: int
    type: str
    at: Moment
    actor: Actor
    data_digest: str
    previous_hash: str | None
    hash: str
    data: NotRequired[dict[str, Any]]
    """What changed; with its salt and the version that the case had then, for whom it is meant."""
    salt: NotRequired[str]
    version: NotRequired[int]
    redacted: NotRequired[Literal[True]]
    """`data` is not for this reader."""


class HistoryPage(Page):
    """Events, oldest first."""

    items: list[HistoryEntry]
