"""Cases: the commands that cases decides and the events it tells. One accepted command is one event with all it changed."""

from typing import Any, Literal

from contracts.actors import Actor, Party
from contracts.base import Duration, Message, Model, Moment
from contracts.evidence import Evidence
from contracts.money import Money
from contracts.notices import NoticeProof
from contracts.orders import Fact, Order, Report

__all__ = [
    "Answer",
    "Assignee",
    "CaseEvent",
    "CaseMoved",
    "CaseOpened",
    "CaseState",
    "Change",
    "ConfirmExecution",
    "Consequence",
    "Deadline",
    "DeadlineEnded",
    "DeadlineExtended",
    "DeadlineReached",
    "Executor",
    "ExtendDeadline",
    "Extension",
    "FactAttached",
    "LedgerEntry",
    "MessageDraft",
    "MessagePosted",
    "NoticeRecorded",
    "Outcome",
    "PolicyRef",
    "PostMessage",
    "Proposal",
    "RefundDue",
    "RefundExecuted",
    "ReminderGiven",
    "ReminderReached",
    "Rollout",
    "RuleRef",
    "Seal",
    "StatusLabel",
    "TakeAction",
    "Telling",
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


class Rollout(Model):
    """A version of a programme for some merchants from a moment on (BP-24): without `merchants` or `locales`, for all of them.
    For whom a roll-out of a version is meant, that moment stands in the place of the version's own date."""

    programme: str
    version: int
    merchants: tuple[str, ...] = ()
    locales: tuple[str, ...] = ()
    """Languages of merchants: `de` is meant for `de-AT` too."""
    effective_at: Moment
    opted_in: dict[str, Moment] = {}
    """Merchants that chose to have it earlier, and from when."""


Executor = Literal["platform", "merchant", "provider"]
"""Who moves the money of a ledger entry."""


class LedgerEntry(Model):
    """One entry of the order's refund ledger (NX-06); `entry_id` is made from its cause, so a repeat is the same entry.

    `reserved`: money will flow. `executed`: it flowed; with `settles` it consumes that reservation (what is left of
    it, if anything, is released with it or reserved anew beside it). `released`: what `settles` names no longer counts, a
    reservation that was let go or an execution that turned out not to have happened."""

    entry_id: str
    kind: Literal["reserved", "executed", "released"]
    amount: Money
    case_id: str | None = None
    decision_id: str | None = None
    fact_id: str | None = None
    executor: Executor
    confirmed_by: Literal["buyer", "fact", "provider", "presumed"] | None = None
    reference: str | None = None
    """The payment provider's own name of the payment."""
    settles: str | None = None
    at: Moment
    flags: tuple[str, ...] = ()
    """over_refund: more flowed than was left."""


class RefundDue(Model):
    """A refund that the platform is to pay now. `decision_id` is the idempotency key of the payment (NX-06); the reservation
    of the same decision stands until `ConfirmExecution`, whatever becomes of the case."""

    decision_id: str
    amount: Money
    executor: Literal["platform"] = "platform"


class Consequence(Model):
    """What silence leads to (NX-01). `money` is what silence would move, by kind, e.g. {"executed": …}."""

    action: str
    state: CaseState | None = None
    """None where silence changes no state."""
    outcome: Outcome | None = None
    money: dict[Literal["reserved", "executed", "released"], Money] = {}


class Extension(Model):
    """Time that a party could not use and that was added to its deadline (NX-08). `cause_id` is the outage or the bounce.

    It was lost from `lost_from` to `lost_until`; `duration` is what of that was added: what the deadline ran of it and no
    earlier extension has given back already."""

    reason: Literal["outage", "bounce"]
    duration: Duration
    cause_id: str = ""
    lost_from: Moment | None = None
    lost_until: Moment | None = None


class Telling(Model):
    """What became of one notice of a deadline, and when: a server accepted it (`sent`), or it was refused or came back
    (`failed`), also where that was heard first. That it was `delayed` before stands beside either. Without a notice: the party
    itself `acted` in the case, so that it knew."""

    notice_id: str
    state: Literal["sent", "failed", "delayed", "acted"]
    at: Moment


class Deadline(Model):
    """A due moment for one party, with its consequence of silence. `generation` grows when it is set anew or extended;
    together with the id it fences timers."""

    deadline_id: str
    generation: int = 1
    kind: str
    """The programme's name of it, e.g. `merchant_answer`."""
    party: Party
    set_at: Moment | None = None
    """Since when it runs."""
    due_at: Moment
    """Its end, extensions included."""
    remind_at: tuple[Moment, ...] = ()
    extended_by: tuple[Extension, ...] = ()
    told_at: Moment | None = None
    """When its party was first told of it: a server accepted a notice that has not come back, or the party acted."""
    tellings: tuple[Telling, ...] = ()
    """What became of the notices that tell its party of it."""
    rule: str
    policy: PolicyRef
    on_silence: Consequence


class DeadlineEnded(Model):
    """A deadline that stands no more: its party acted (`met`) or was silent (`passed`), or the case went on without it
    (`cancelled`)."""

    deadline_id: str
    generation: int
    how: Literal["met", "passed", "cancelled"]


class Answer(Model):
    """The merchant's formal response (BP-11, 12, OI-05)."""

    refund: Literal["yes", "yes_after_return", "no", "replacement"]
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


class StatusLabel(Model):
    """A merchant's own name for a state of its cases (RD-06). `text` is by language."""

    code: str
    text: dict[str, str]
    state: Literal["submitted", "in_progress", "awaiting_buyer"]


class Assignee(Model):
    """The consultant who looks after a case (RD-08, 09); `deputy_for` names whom a deputy stands in for."""

    consultant_id: str
    name: str
    deputy_for: str | None = None


class RuleRef(Model):
    """The rule, and its version, that decided in nobody's name (CP-07)."""

    rule_id: str
    version: int


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
    """New ones, and extended ones with their id and the next generation."""
    deadlines_ended: tuple[DeadlineEnded, ...] = ()
    ledger: tuple[LedgerEntry, ...] = ()
    refund_due: RefundDue | None = None
    label: StatusLabel | None = None
    """The merchant's own label that the case bears from now on; a move without one takes it off."""
    attention: bool = False
    """The merchant's lead is to look at the case."""
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
    labels: tuple[StatusLabel, ...] = ()
    """The merchant's own status labels as they are now, for an action that takes one."""
    decided_by: RuleRef | None = None
    """The rule in whose name the system acts; it acts in no other."""
    actor: Actor


class PostMessage(Message, kind="case.write"):
    """Everyone may write at any time, also after the end (RD-05)."""

    case_id: str
    text: str
    evidence: tuple[Evidence, ...] = ()
    if_match: int | None = None
    actor: Actor


class DeadlineReached(Message, kind="deadline.reached"):
    """From escalation. Without effect where the deadline's id and generation no longer stand."""

    case_id: str
    deadline_id: str
    generation: int
    due_at: Moment
    recorded_until: Moment | None = None
    """Up to when the record of outages was complete when the timer rang: whoever decides over the deadline knows as much."""


class ReminderReached(Message, kind="reminder.reached"):
    """From escalation, before a deadline; fenced in the same way."""

    case_id: str
    deadline_id: str
    generation: int
    remind_at: Moment
    recorded_until: Moment | None = None


class ConfirmExecution(Message, kind="refund.confirm"):
    """From the cashier of cases: the refund of a decision has flowed. Without effect where it was confirmed before."""

    case_id: str
    decision_id: str
    reference: str
    at: Moment
    """When the provider says that it flowed."""


class ExtendDeadline(Message, kind="deadline.extend"):
    """A party could not act from `lost_from` to `lost_until`: what of it a deadline ran is added to the deadline (NX-08).
    Without `deadline_id`, to every standing deadline of the case. Time that two causes share counts once, and so does the
    same cause; told with another time, it is all of both."""

    case_id: str
    deadline_id: str | None = None
    reason: Literal["outage", "bounce"]
    cause_id: str
    lost_from: Moment
    lost_until: Moment


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
    """What every event of a case says. `case_version` is the version of the case after it; notices leave it as it was."""

    case_id: str
    order_id: str
    actor: Actor
    at: Moment
    case_version: int
    seal: Seal | None = None
    """Set by the cases service when the event is recorded."""


class CaseOpened(CaseEvent, kind="case.opened"):
    """A report opened a case: with all that its reader needs of the order, its facts and the policy it is pinned to (NX-07)."""

    policy: PolicyRef
    report: Report
    order: Order
    facts: tuple[Fact, ...] = ()
    refundable_at_once: Money | None = None
    """What a rule may refund by itself (CP-07): all that is left of the order for this case, or nothing while another case of
    it asks for some of that. None where it was not said yet."""
    change: Change
    case_version: int = 1


class CaseMoved(CaseEvent, kind="case.moved"):
    """An action, a fact or silence moved the case. `action` is the party's action, `silence` or `fact`."""

    action: str
    kind_of_deadline: str | None = None
    """For `silence`: the deadline that passed."""
    rule: str
    decided_by: RuleRef | None = None
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


class RefundExecuted(CaseEvent, kind="case.refund-executed"):
    """The payment provider has executed a decision's refund; the case may have ended long before."""

    decision_id: str
    amount: Money
    reference: str
    change: Change


class DeadlineExtended(CaseEvent, kind="case.deadline-extended"):
    """Standing deadlines end later, or, where a bounce was made good, not as late as it seemed (NX-08)."""

    change: Change


class NoticeRecorded(CaseEvent, kind="case.notice-recorded"):
    """A notice about the case was accepted by a server, refused or delayed. Where a deadline was not told of, or is told of at
    last, `change` moves it (NX-08)."""

    notice: NoticeProof
    change: Change = Change()
