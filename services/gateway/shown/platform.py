"""What the platform keeps, as it is shown: programmes, decision rules, roll-outs, mass actions, the team's inbox."""

from typing import Annotated, Any, Literal, NotRequired

from pydantic import Field

from contracts.actors import Party, Role
from contracts.base import Duration
from contracts.cases import CaseState, Outcome, RuleRef
from contracts.matrix import TriedCase
from contracts.money import Money
from engine.programmes import Action, Calendar, DeadlineTerms, ProtectionTerms, Reason, StateTerms, Trigger
from services.gateway.inbound.routing import Why
from services.gateway.shown.values import Links, Moment, Page, Shown, Texts

__all__ = [
    "BackTest",
    "DecisionRule",
    "DecisionRulePage",
    "InboxItem",
    "InboxPage",
    "MassAction",
    "MassActionItemPage",
    "MassActionPage",
    "OptIn",
    "OptInPage",
    "Programme",
    "ProgrammePage",
    "Rollout",
    "RolloutImpact",
    "RolloutPage",
    "StateMachine",
]


class ProgrammeVersion(Shown):
    """A version and since when it is in force; None: from the beginning."""

    version: int
    effective_from: Moment | None


class Programme(Shown):
    """A programme's policy in one version (NX-07)."""

    id: str
    version: int
    effective_from: Moment | None
    label: Texts
    protection: ProtectionTerms | None
    calendars: dict[str, Calendar]
    reasons: dict[str, Reason]
    states: dict[CaseState, StateTerms]
    outcomes: dict[Outcome, Texts]
    actions: dict[str, Action]
    deadlines: dict[str, DeadlineTerms]
    versions: list[ProgrammeVersion]
    """All of them."""
    _links: Links


class ProgrammePage(Page):
    """Programmes, each in the version in force."""

    items: list[Programme]


class MachineState(Shown):
    """A state, whose turn it is in it, and the deadlines that it sets."""

    state: CaseState
    label: Texts
    open: bool
    label_for: dict[str, Texts]
    """Another label for cases of a reason."""
    turn: Party | None
    waits_for: Literal["provider"] | None
    deadlines: list[str]


class MachineReason(Reason):
    """What may be reported, by its code."""

    reason: str


class MachineAction(Action):
    """What a party can do, by its name."""

    action: str


class OtherTime(Shown):
    """Another duration for the cases that the guards fit."""

    when: dict[str, Any]
    after: Duration


class MachineDeadline(Shown):
    """A due moment, by its kind; what does not apply to it is left out."""

    kind: str
    label: Texts
    party: NotRequired[Literal["buyer", "merchant", "platform", "turn"]]
    """`turn`: whoever's turn it is when it is set."""
    parties: NotRequired[list[Party]]
    """One deadline for each of them."""
    after: Duration
    after_field: NotRequired[str]
    """The action's field that may say another duration."""
    where: NotRequired[list[OtherTime]]
    until: NotRequired[Literal["answer_by"]]
    beyond: NotRequired[Texts]
    calendar: NotRequired[str]
    remind_before: NotRequired[list[Duration]]
    rule: str


class MachineTransition(Shown):
    """A row of the table that decides: what triggers it, who and in which states, under which guards, and what it does."""

    trigger: Trigger
    name: str | list[str]
    """Of the action, the deadline that nobody met, or the fact; of a report its reasons."""
    by: list[Role]
    from_: Annotated[list[CaseState], Field(alias="from")]
    given: dict[str, list[str]]
    """Values of the action's choices that take this row."""
    guards: dict[str, Any]
    amount: Literal["full", "partial", "any", "up_to"] | None
    to: CaseState | None
    """None: the case stays where it is."""
    turn: str | None
    """A party, or `{field}`: the action's choice that names one."""
    outcome: Outcome | None
    deadlines: list[str]
    keeps: list[str]
    ends: list[str]
    meets: list[str]
    effects: dict[str, Any]
    consequence: str | None
    text: Texts
    """For silence: what it means, to a reader."""
    rule: str


class StateMachine(Shown):
    """States, who may do what, guards, effects and deadlines (NX-02)."""

    programme: str
    version: int
    effective_from: Moment | None
    states: list[MachineState]
    reasons: list[MachineReason]
    actions: list[MachineAction]
    deadlines: list[MachineDeadline]
    transitions: list[MachineTransition]


class DecisionRuleConditions(Shown):
    """All that are given must hold."""

    amount_max: NotRequired[Money]
    amount_min: NotRequired[Money]
    reasons: NotRequired[list[str]]
    merchants: NotRequired[list[str]]
    buyer_cases_max: NotRequired[int]
    """At most as many cases of the same buyer in the 365 days before."""


class DecisionRuleCaps(Shown):
    """How many refunds the rule gives at most."""

    per_buyer_day: NotRequired[int]
    per_merchant_day: NotRequired[int]
    per_day: NotRequired[int]


class DecisionRule(Shown):
    """One version of a rule of the decision matrix (CP-07), which never changes."""

    rule_id: str
    version: int
    name: str
    programme: NotRequired[str]
    conditions: DecisionRuleConditions
    decision: Literal["refund", "no_automatic"]
    caps: DecisionRuleCaps
    effective_from: NotRequired[Moment]
    priority: int
    made_at: Moment
    """When the rule was first made."""
    changed_at: Moment
    """When this version was made."""
    in_force_from: Moment
    withdrawn_at: NotRequired[Moment]
    _links: Links


class DecisionRulePage(Page):
    """Rules in their latest version, in the order in which they are asked."""

    items: list[DecisionRule]


class BackTest(Shown):
    """What a rule would have done about past cases (NX-18): of all `cases` in the span those that it fits, those it would have
    refunded, and those beyond a cap."""

    back_test_id: str
    tried: NotRequired[RuleRef]
    """Of a rule that exists: which version was tried."""
    cases: int
    matched: int
    decided: int
    capped: int
    costs: list[Money]
    """What the refunds would have cost, by currency."""
    cost: Money | None
    """The first of them: a rule about amounts has one currency."""
    decisions: list[TriedCase]
    """Of the cases that the rule fits."""
    decisions_left_out: NotRequired[int]
    """Those that are counted but not listed."""
    _links: Links


class Rollout(Shown):
    """A version of a programme for some merchants from a moment on (BP-24)."""

    rollout_id: str
    programme: str
    version: int
    merchants: NotRequired[list[str]]
    """Whom it is for, where not for all; told to the platform alone."""
    locales: NotRequired[list[str]]
    """Languages of the merchants that it is for."""
    effective_at: Moment
    announce_days: int
    made_at: Moment
    announce_at: Moment
    announced_at: NotRequired[Moment]
    """When every merchant had been told."""
    opted_in: NotRequired[int]
    """How many take it earlier; told to the platform alone."""
    _links: Links


class RolloutPage(Page):
    """Roll-outs, oldest first."""

    items: list[Rollout]


class MerchantImpact(Shown):
    """What a roll-out touches at one merchant."""

    merchant_id: str
    open_cases: int
    unaffected: int


class RolloutImpact(Shown):
    """What a roll-out touches (NX-07): open cases of the programme at the merchants that it is meant for, those of them that do
    not run on this version because of it, and the number of these merchants."""

    open_cases: int
    unaffected: int
    merchants: int
    by_merchant: list[MerchantImpact]
    """Those with the most open cases."""
    _links: Links


class OptIn(Shown):
    """A merchant takes a roll-out earlier, `from` a moment."""

    rollout_id: str
    merchant_id: str
    from_: Annotated[Moment, Field(alias="from")]
    at: Moment
    _links: Links


class OptInPage(Page):
    """Opt-ins, in the order in which their roll-outs were made."""

    items: list[OptIn]


class MassSelection(Shown):
    """Which orders: all that is given holds."""

    merchant_id: str | None
    carrier: str | None
    order_ids: list[str] | None
    from_: Annotated[Moment | None, Field(alias="from")]
    to: Moment | None


class MassAction(Shown):
    """Group work with its progress (NX-09): of `total` items so many are `waiting`, `done`, `failed` or `skipped`."""

    mass_action_id: str
    kind: Literal["insolvency", "carrier_failure", "reroute", "decide"]
    selection: MassSelection
    decide: dict[str, Any] | None
    """An action of the platform, with its fields."""
    insolvent: bool | None
    message: str | None
    throttle_per_s: int | None
    status: Literal["running", "done", "stopped"]
    total: int
    waiting: int
    done: int
    failed: int
    skipped: int
    created_at: Moment
    _links: Links


class MassActionPage(Page):
    """Mass actions, newest first."""

    items: list[MassAction]


class ItemProblem(Shown):
    """Why nothing was done: of a skipped item a sentence, of a failed one the problem of its action."""

    type: NotRequired[str]
    title: NotRequired[str]
    status: NotRequired[int]
    detail: str
    errors: NotRequired[list[dict[str, Any]]]
    extra: NotRequired[dict[str, Any]]


class MassActionItem(Shown):
    """An order, or a case of it, and what became of it."""

    order_id: str
    case_id: NotRequired[str]
    status: Literal["waiting", "done", "skipped", "failed"]
    told: NotRequired[bool]
    """Whether a mail of this action names the order to its buyer, where the action tells buyers."""
    problem: NotRequired[ItemProblem]


class MassActionItemPage(Page):
    """Items, in the order in which they are worked on."""

    items: list[MassActionItem]


class InboxAttachment(Shown):
    """A file of a mail; its type by its bytes, None where it is none that is taken as evidence."""

    name: str
    size: int
    media_type: str | None


class InboxEnd(Shown):
    """What an agent did with a mail, and where it went."""

    how: Literal["assigned", "dismissed"]
    by: str
    at: Moment
    case_id: NotRequired[str]
    party: NotRequired[Literal["buyer", "merchant"]]
    order_id: NotRequired[str]
    reason: NotRequired[str]
    message_id: NotRequired[str]
    note: NotRequired[str]


class SuggestedAssignment(Shown):
    """The body of the assignment that a mail asks for, where that is clear."""

    case_id: NotRequired[str]
    party: NotRequired[Literal["buyer"]]
    order_id: NotRequired[str]
    reason: NotRequired[str]


class InboxItem(Shown):
    """A mail that found no case of its own (CP-04). `case_id` and `order_id` are what it seems to be about; nobody vouches for
    its sender."""

    item_id: str
    why: Why
    detail: NotRequired[str]
    state: Literal["open", "done"]
    from_: Annotated[str, Field(alias="from")]
    """As the mail says it."""
    sender: NotRequired[str]
    """The address in it."""
    recipients: list[str]
    subject: str
    text: str
    attachments: list[InboxAttachment]
    left_out: list[str]
    """Names of attachments that were not read."""
    received_at: Moment
    size: int
    case_id: NotRequired[str]
    order_id: NotRequired[str]
    suggested: NotRequired[SuggestedAssignment]
    ended: NotRequired[InboxEnd]
    _links: Links


class InboxPage(Page):
    """Mails, oldest first."""

    items: list[InboxItem]
