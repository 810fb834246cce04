"""What a reader is shown of a case: allowed actions, previews, explained deadlines, labels, how its refund stands."""

from datetime import datetime
from typing import Any, Literal
from zoneinfo import ZoneInfo

from babel import Locale, UnknownLocaleError
from babel.dates import format_datetime
from babel.numbers import format_currency

from contracts.actors import Party, Role
from contracts.base import Duration, Model, Moment
from contracts.cases import CaseState, Deadline, Executor, Outcome, PolicyRef, StatusLabel, TakeAction, Variant
from contracts.ids import child_id
from contracts.money import Money
from contracts.orders import OpenCase, Payout, Standing
from contracts.outages import ALL_WELL, OutagesRecorded
from engine.casefile import Case, CaseFile, balance, executions, flowing, is_whole, variant_of
from engine.decide import Refusal, at_time, consequence_of, decide, evolve, moved
from engine.forms import schema
from engine.guards import Situation, open_rows, row_for
from engine.notices import Told, told_of
from engine.programmes import Programme, Programmes, in_language
from engine.protection import ProtectionState, protection_now, standing_with

__all__ = [
    "AllowedAction",
    "ChecklistItem",
    "ExplainedConsequence",
    "ExplainedDeadline",
    "Preview",
    "PreviewMoney",
    "PreviewProtection",
    "RefundStatus",
    "allowed_actions",
    "evidence_checklist",
    "explained_deadlines",
    "label",
    "moment_text",
    "money_text",
    "open_cases_of",
    "outcome_label",
    "preview",
    "refund_status",
    "unanswered",
    "untold",
]


class AllowedAction(Model):
    """An action that is open to the caller (NX-03). `fields` is a JSON Schema with the bounds of the moment."""

    action: str
    label: str
    fields: dict[str, Any]


class ExplainedConsequence(Model):
    """What silence leads to, with a sentence for a reader (NX-01)."""

    action: str
    state: CaseState | None = None
    outcome: Outcome | None = None
    money: dict[Literal["reserved", "executed", "released"], Money] = {}
    text: str


class ExplainedExtension(Model):
    """Time that was added to a deadline because its party could not act in it (NX-08)."""

    reason: Literal["outage", "bounce"]
    duration: Duration


class ExplainedDeadline(Model):
    """A deadline with the policy and rule it comes from and what silence means, as the case is now (NX-01). `answer_by`: by
    when somebody outside asks for it, where a report said so; `text` says that of a deadline which ends later than that."""

    deadline_id: str
    party: Party
    kind: str
    label: str
    due_at: Moment
    extended_by: tuple[ExplainedExtension, ...] = ()
    answer_by: Moment | None = None
    text: str = ""
    rule: str
    policy: PolicyRef
    on_silence: ExplainedConsequence


class ChecklistItem(Model):
    """What a case needs to be proved by, and whether it is there (CP-03)."""

    kind: str
    level: Literal["required", "one_of", "optional"]
    satisfied: bool
    label: str


class PreviewMoney(Model):
    """What the action itself would move, by kind, and what of the order would be refundable afterwards. What the platform is
    to pay counts as executed: it flows without anybody's further doing. `executor`: who pays what would be reserved."""

    reserved: Money
    executed: Money
    released: Money
    refundable: Money
    executor: Executor | None = None
    over_refund: Money | None = None
    """By how much more would then have flowed than was paid, where it would."""


class PreviewProtection(Model):
    """The protection of the order as the action would leave it (BP-26)."""

    state: ProtectionState
    ends_at: Moment | None = None


class Preview(Model):
    """The case as an action would leave it (NX-04). `protection` is None where the order's standing was not given."""

    state: CaseState
    turn: Party | None
    outcome: Outcome | None
    deadlines: tuple[ExplainedDeadline, ...]
    money: PreviewMoney
    messages: tuple[Told, ...]
    payout: Payout
    protection: PreviewProtection | None


class RefundStatus(Model):
    """How the refund of a case stands; every amount agrees with the order's ledger (NX-06).

    `variant`: of an open case what its merchant answered, as it comes to now; of an ended one what flows by it.
    `proposed`: the platform's proposal while one stands, else the merchant's answer. `decided`: the sum of what was finally
    decided for this case and stands: by the platform, by both in agreement, by a rule, by a merchant whose refund the platform
    pays or whose word ends the case, or by the body outside that decides a claim; zero where it was decided that there is
    none, None where nothing was decided. `executed`: what flowed for this case. `refundable`: what is left of the order."""

    variant: Variant | None
    proposed: Money | None
    decided: Money | None
    executed: Money
    refundable: Money


def _programme(case: Case, programmes: Programmes) -> Programme:
    return programmes.get(case.policy.programme, case.policy.version)


def allowed_actions(
    file: CaseFile,
    case_id: str,
    role: Role,
    at: datetime,
    programmes: Programmes,
    locale: str = "en",
    labels: tuple[StatusLabel, ...] = (),
    record: OutagesRecorded = ALL_WELL,
) -> tuple[AllowedAction, ...]:
    """The actions open to a role at a moment (NX-03); what is not listed would be refused. Deadlines that have passed by
    then, by the record of outages, count as passed. `labels` are the merchant's own. Raises KeyError for a case that is not
    in the file."""
    file = at_time(file, at, programmes, record)
    case = file.cases[case_id]
    now = Situation(file, case, _programme(case, programmes), role, max(at, file.at), labels)
    return tuple(
        AllowedAction(action=name, label=in_language(action.label, locale), fields=schema(action, rows, now, locale))
        for name, action in now.programme.actions.items()
        if role in action.by and (rows := open_rows(now, name))
    )


def preview(
    file: CaseFile,
    command: TakeAction,
    at: datetime,
    programmes: Programmes,
    standing: Standing | None = None,
    locale: str = "en",
    record: OutagesRecorded = ALL_WELL,
) -> Preview | Refusal:
    """What an action would do, without doing it (NX-04). `standing` is the order's, for the protection."""
    cause = child_id("pre", file.order.order_id, command.case_id, command.action)
    events = decide(file, command, at, cause, programmes, record)
    if isinstance(events, Refusal):
        return events
    for event in events:
        file = evolve(file, event)
    case, last = file.cases[command.case_id], events[-1]
    change = getattr(last, "change", None)
    zero = Money.zero(file.order.amount.currency)
    sums = moved(change.ledger) if change else {}
    due = change.refund_due.amount if change and change.refund_due else zero
    protection, left = None, balance(file.order.amount, file.ledger)
    over = left.executed + left.reserved - left.paid
    if standing is not None:
        ends = any(each.change.protection_ends for each in events if hasattr(each, "change"))  # type: ignore[attr-defined]
        after = standing_with(standing, open_cases_of(file), last.at if ends else None)
        protection = PreviewProtection(state=protection_now(after, last.at), ends_at=after.protection.ends_at)
    return Preview(
        state=case.state,
        turn=case.turn,
        outcome=case.outcome,
        deadlines=explained_deadlines(file, case.case_id, programmes, locale),
        money=PreviewMoney(
            reserved=sums.get("reserved", zero),
            executed=sums.get("executed", zero) + due,
            released=sums.get("released", zero),
            refundable=left.refundable,
            over_refund=over if sums and over.amount > 0 else None,
            executor=next((entry.executor for entry in change.ledger if entry.kind == "reserved"), None) if change else None,
        ),
        messages=told_of(last),
        payout=Payout(held=True, reason="open_case") if file.open_cases else Payout(held=False),
        protection=protection,
    )


def explained_deadlines(
    file: CaseFile, case_id: str, programmes: Programmes, locale: str = "en"
) -> tuple[ExplainedDeadline, ...]:
    """The standing deadlines of a case, soonest first, each with its consequence of silence (NX-01)."""
    case = file.cases[case_id]
    programme = _programme(case, programmes)
    return tuple(
        _explained(Situation(file, case, programme, "system", deadline.due_at), deadline, locale)
        for deadline in sorted(case.deadlines, key=lambda deadline: (deadline.due_at, deadline.deadline_id))
    )


def _explained(now: Situation, deadline: Deadline, locale: str) -> ExplainedDeadline:
    consequence = consequence_of(now, deadline.kind, deadline.due_at)
    row = row_for(now, "silence", deadline.kind, None)
    answered = now.case.answer.refund_amount if now.case.answer else None
    amount = next(iter(consequence.money.values()), answered or Money.zero(now.file.order.amount.currency))
    text = in_language(row.text, locale) if row else ""
    terms = now.programme.deadlines[deadline.kind]
    answer_by = now.case.answer_by if terms.until is not None else None
    beyond = ""
    if answer_by is not None and answer_by < deadline.due_at:
        named = moment_text(answer_by, ZoneInfo(now.file.order.timezone), locale)
        beyond = in_language(terms.beyond, locale).replace("{answer_by}", named)
    return ExplainedDeadline(
        deadline_id=deadline.deadline_id,
        party=deadline.party,
        kind=deadline.kind,
        label=in_language(terms.label, locale),
        due_at=deadline.due_at,
        extended_by=tuple(ExplainedExtension(reason=each.reason, duration=each.duration) for each in deadline.extended_by),
        answer_by=answer_by,
        text=beyond,
        rule=deadline.rule,
        policy=deadline.policy,
        on_silence=ExplainedConsequence(**consequence.model_dump(), text=text.replace("{amount}", money_text(amount, locale))),
    )


def money_text(amount: Money, locale: str) -> str:
    """An amount as readers of a language write it; an unknown locale reads English."""
    return format_currency(amount.amount, amount.currency, locale=_formats(locale))


def moment_text(moment: datetime, zone: ZoneInfo, locale: str) -> str:
    """A moment in a time zone as readers of a language write it; an unknown locale reads English."""
    return format_datetime(moment, "long", locale=_formats(locale), tzinfo=zone)


def _formats(locale: str) -> Locale:
    """How a locale writes; an unknown one as English does."""
    try:
        return Locale.parse(locale.replace("-", "_"))
    except (UnknownLocaleError, ValueError):
        return Locale("en")


def label(programme: Programme, case: Case, locale: str) -> str:
    """The state of a case in its merchant's own words (RD-06), else in the programme's."""
    if case.label is not None:
        return in_language(case.label.text, locale)
    terms = programme.states[case.state]
    return in_language(terms.label_for.get(case.reason, terms.label), locale)


def unanswered(case: Case) -> bool:
    """Whether the case went on because its merchant was silent to somebody outside."""
    return "unanswered" in case.marks


def untold(case: Case) -> bool:
    """Whether a deadline of the case passed whose party, as it turned out later, had not been told of it (NX-08)."""
    return "untold" in case.marks


def evidence_checklist(file: CaseFile, case_id: str, programmes: Programmes, locale: str = "en") -> tuple[ChecklistItem, ...]:
    """What a case of this reason is proved by, and what of it is there: files of a kind, and facts of the order (CP-06)."""
    case = file.cases[case_id]
    reason = _programme(case, programmes).reason(case.reason)
    return tuple(
        ChecklistItem(
            kind=kind,
            level=item.level,
            satisfied=kind in case.evidence_kinds
            or any(fact.kind in item.facts and (not item.needs or getattr(fact, item.needs)) for fact in file.facts),
            label=in_language(item.label, locale),
        )
        for kind, item in (reason.evidence if reason else {}).items()
    )


def outcome_label(programme: Programme, outcome: Outcome, locale: str) -> str:
    """The outcome of a case in the programme's words."""
    return in_language(programme.outcomes[outcome], locale)


def open_cases_of(file: CaseFile) -> tuple[OpenCase, ...]:
    """The open cases of a file as an order's standing lists them."""
    return tuple(
        OpenCase(case_id=case.case_id, programme=case.policy.programme, reason=case.reason) for case in file.open_cases
    )


_RULINGS: frozenset[Outcome] = frozenset(
    {
        "settled",
        "solved",
        "accepted",
        "rejected",
        "won",
        "lost",
        "decided_refund",
        "decided_partial_refund",
        "decided_no_refund",
    }
)
"""Outcomes by which somebody decided about the refund; without an amount, that there is none."""
_FULL: frozenset[Outcome] = frozenset({"refunded", "decided_refund"})


def refund_status(file: CaseFile, case_id: str) -> RefundStatus:
    """How the refund of a case stands."""
    case = file.cases[case_id]
    zero = Money.zero(file.order.amount.currency)
    own = flowing(file.ledger, case_id)
    decisions = [entry.amount for entry in own if entry.decision_id is not None]
    offered = case.answer.refund_amount if case.answer else None
    return RefundStatus(
        variant=_variant(file, case, flows=bool(own)),
        proposed=case.proposal.refund_amount if case.proposal else offered,
        decided=sum(decisions, zero) if decisions or case.outcome in _RULINGS else None,
        executed=sum((entry.amount for entry in executions(file.ledger) if entry.case_id == case_id), zero),
        refundable=balance(file.order.amount, file.ledger).refundable,
    )


def _variant(file: CaseFile, case: Case, *, flows: bool) -> Variant | None:
    if case.is_open:
        return variant_of(file, case)
    if case.outcome in _FULL:
        return "full"
    if not flows:
        return "none"
    return "full" if is_whole(file, case.case_id) else "partial"
