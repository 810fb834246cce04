"""Cases: the commands that cases decides and the events it tells. One accepted command is one event with all it changed."""

from typing import Any, Literal

from contracts.actors import Actor, Party
from contracts.base import Message, Model, Moment
from contracts.evidence import Evidence
from contracts.money import Money
from contracts.notices import NoticeProof
from contracts.orders import Fact, Order, Report

__all__ = [
    "Answer",
    "CaseEvent",
    "CaseMoved",
    "CaseOpened",
    "CaseState",
    "Change",
    "Consequence",
    "Deadline",
    "DeadlineEnded",
    "DeadlineReached",
    "FactAttached",
    "LedgerEntry",
    "MessageDraft",
    "MessagePosted",
    "NoticeRecorded",
    "Outcome",
    "PolicyRef",
    "PostMessage",
    "Proposal",
    "ReminderGiven",
    "ReminderReached",
    "Seal",
    "TakeAction",
    "Variant",
]

CaseState = Literal[
    "submitted",
    "in_progress",
    "awaiting_return",
    "awaiting_buyer",
    "under_review",
    "awaiting_evidence",
    "resolved",
    "rejected",
]

Outcome = Literal[
    "refunded",
    "partially_refunded",
    "no_refund_accepted",
    "no_reaction",
    "replaced",
    "satisfied",
    "settled",
    "solved",
    "withdrawn",
    "decided_refund",
    "decided_partial_refund",
    "decided_no_refund",
    "rejected",
    "accepted",
    "won",
    "lost",
]

Variant = Literal["full", "partial", "none"]


class PolicyRef(Model):
    """The programme and version that a case is pinned to (NX-07)."""

    programme: str
    version: int


class LedgerEntry(Model):
    """One entry of the order's refund ledger (NX-06); `entry_id` is made from its cause, so a repeat is the same entry.

    `reserved`: money will flow. `executed`: it flowed; with `settles` it consumes that reservation (what is left of
    it, if anything, is released with it or reserved anew beside it). `released`: the reservation `settles` no longer stands."""

    entry_id: str
    kind: Literal["reserved", "executed", "released"]
    amount: Money
    case_id: str | None = None
    decision_id: str | None = None
    fact_id: str | None = None
    executor: Literal["platform", "merchant", "provider"]
    confirmed_by: Literal["buyer", "fact", "provider", "presumed"] | None = None
    settles: str | None = None
    at: Moment
    flags: tuple[str, ...] = ()
    """over_refund: a fact reported more than was left."""


class Consequence(Model):
    """What silence leads to (NX-01). `money` is what silence would move, by kind, e.g. {"executed": …}."""

    action: str
    state: CaseState | None = None
    """None where silence changes no state."""
    outcome: Outcome | None = None
    money: dict[Literal["reserved", "executed", "released"], Money] = {}


class Deadline(Model):
    """A due moment for one party, with its consequence of silence. `generation` grows when it is set anew; together with
    the id it fences timers."""

    deadline_id: str
    generation: int = 1
    kind: str
    """The programme's name of it, e.g. `merchant_answer`."""
    party: Party
    due_at: Moment
    remind_at: tuple[Moment, ...] = ()
    rule: str
    policy: PolicyRef
    on_silence: Consequence


class DeadlineEnded(Model):
    deadline_id: str
    generation: int
    how: Literal["met", "passed", "cancelled"]


class Answer(Model):
    """The merchant's formal response (BP-11, 12)."""

    refund: Literal["yes", "yes_after_return", "no"]
    refund_amount: Money | None = None
    variant: Variant
    message: str
    at: Moment


class Proposal(Model):
    """The platform's suggestion to both parties; `accepted_by` grows until it is settled."""

    proposal_id: str
    refund_amount: Money
    message: str
    at: Moment
    accepted_by: tuple[Party, ...] = ()


class MessageDraft(Model):
    """A text in the thread; `message_id` is made from its command. `visible_to` leaves out a party for internal remarks."""

    message_id: str
    author: Actor
    text: str
    evidence: tuple[Evidence, ...] = ()
    internal: bool = False
    visible_to: tuple[Party, ...] = ("buyer", "merchant", "platform")
    at: Moment


class Change(Model):
    """What one transition changed. A field that is None (or empty) was left as it was; `turn` is given with every change
    of state. `evolve` applies it without a rule of its own."""

    state: CaseState | None = None
    turn: Party | None = None
    """Whose turn it is from now on; read only where `state` is given; None then means nobody's."""
    outcome: Outcome | None = None
    answer: Answer | None = None
    proposal: Proposal | None = None
    """The proposal as it is from now on."""
    proposal_ended: Literal["settled", "declined", "lapsed", "superseded"] | None = None
    marks: dict[str, str] = {}
    """Remembered circumstances of the case that guards ask for, e.g. {"return_sent": "2019-07-15T…"}."""
    deadlines_set: tuple[Deadline, ...] = ()
    deadlines_ended: tuple[DeadlineEnded, ...] = ()
    ledger: tuple[LedgerEntry, ...] = ()
    protection_ends: bool = False
    """The order's protection ends with this case (BP-26)."""
    reopened: bool = False


# Commands to cases


class TakeAction(Message, kind="case.act"):
    """A party's action on a case; `fields` are the action's own, as the programme's form defines them."""

    case_id: str
    action: str
    fields: dict[str, Any] = {}
    evidence: tuple[Evidence, ...] = ()
    """What `fields.evidence` names, resolved by the gateway."""
    if_match: int | None = None
    actor: Actor


class PostMessage(Message, kind="case.write"):
    """Everyone may write at any time, also after the end (RD-05)."""

    case_id: str
    text: str
    evidence: tuple[Evidence, ...] = ()
    actor: Actor


class DeadlineReached(Message, kind="deadline.reached"):
    """From escalation. Without effect where the deadline's id and generation no longer stand."""

    case_id: str
    deadline_id: str
    generation: int
    due_at: Moment


class ReminderReached(Message, kind="reminder.reached"):
    """From escalation, before a deadline; fenced in the same way."""

    case_id: str
    deadline_id: str
    generation: int
    remind_at: Moment


# Events of cases


class Seal(Model):
    """The place of an event in its case's hash chain (NX-13): `data_digest` = SHA-256 of salt and canonical JSON of the
    event's data, `hash` = SHA-256 of canonical JSON of {sequence, type, at, actor, data_digest, previous_hash}."""

    sequence: int
    salt: str
    data_digest: str
    previous_hash: str
    hash: str


class CaseEvent(Message):
    """What every event of a case says. `version` of the case after it; notices leave it as it was."""

    case_id: str
    order_id: str
    actor: Actor
    at: Moment
    case_version: int
    seal: Seal | None = None
    """Set by the cases service when the event is recorded."""


class CaseOpened(CaseEvent, kind="case.opened"):
    policy: PolicyRef
    report: Report
    order: Order
    facts: tuple[Fact, ...] = ()
    change: Change
    case_version: int = 1


class CaseMoved(CaseEvent, kind="case.moved"):
    """An action, a fact or silence moved the case. `action` is the party's action, `silence` or `fact`."""

    action: str
    kind_of_deadline: str | None = None
    """For `silence`: the deadline that passed."""
    rule: str
    fields: dict[str, Any] = {}
    change: Change
    message: MessageDraft | None = None


class MessagePosted(CaseEvent, kind="case.message-posted"):
    """A message or an internal remark (`note`)."""

    message: MessageDraft


class FactAttached(CaseEvent, kind="case.fact-attached"):
    """A fact of the order reached the case (CP-06); one event for each case of the order, the ledger's entries with the
    first of them."""

    fact: Fact
    change: Change = Change()


class ReminderGiven(CaseEvent, kind="case.reminder-given"):
    """A party (or, for the platform's own target, a lead) is to be reminded of a deadline."""

    deadline: Deadline
    """As it stands from now on: this reminder is no longer among its `remind_at`."""
    change: Change = Change()
    """What the end of a deadline that only reminds changed."""


class NoticeRecorded(CaseEvent, kind="case.notice-recorded"):
    """A notice about the case was accepted by a server or refused (NX-08 builds on it)."""

    notice: NoticeProof
