"""The heart of the product: what a command does to an order's cases (`decide`) and how a file then is (`evolve`).

Both are pure. The time is the command's. Before a command is decided, every reminder and deadline due by then takes effect
at its own moment, so that nobody gains by a slow machine. What programmes differ in is their tables, never this code."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from contracts.actors import SYSTEM, Actor, Party, Role
from contracts.base import format_moment
from contracts.cases import (
    Answer,
    CaseEvent,
    CaseMoved,
    CaseOpened,
    Change,
    ConfirmExecution,
    Consequence,
    Deadline,
    DeadlineEnded,
    DeadlineExtended,
    DeadlineReached,
    ExtendDeadline,
    FactAttached,
    LedgerEntry,
    MessageDraft,
    MessagePosted,
    NoticeRecorded,
    PolicyRef,
    PostMessage,
    Proposal,
    RefundDue,
    RefundExecuted,
    ReminderGiven,
    ReminderReached,
    StatusLabel,
    TakeAction,
)
from contracts.evidence import Evidence
from contracts.ids import child_id
from contracts.money import Money
from contracts.notices import NoticeDelayed, NoticeFailed, NoticeSent
from contracts.orders import FactRecorded, ReportAccepted
from contracts.outages import ALL_WELL, OutagesRecorded
from contracts.problems import FieldError, Problem
from engine.calendar import add, before
from engine.casefile import (
    CLOSED,
    Case,
    CaseFile,
    entries_of_fact,
)
from engine.fairness import given_back, known_by, lost_by, lost_in, told_by
from engine.forms import Filled, fill, text_error
from engine.guards import Situation, fits, open_rows, refundable_at_once, row_for
from engine.payments import entries_of_payment
from engine.payouts import flagged
from engine.programmes import Programme, Programmes, Transition
from engine.refunds import entries_of_row

__all__ = ["Command", "Refusal", "allowed_names", "at_time", "consequence_of", "decide", "evolve", "moved"]

Command = (
    ReportAccepted
    | FactRecorded
    | TakeAction
    | PostMessage
    | DeadlineReached
    | ReminderReached
    | NoticeSent
    | NoticeFailed
    | NoticeDelayed
    | ConfirmExecution
    | ExtendDeadline
)

_PARTIES: tuple[Party, ...] = ("buyer", "merchant", "platform")
_PAYMENTS = Actor(role="system", id="payments")
_LAPSED = 3
"""Deadlines that a case keeps after they passed: the latest."""
_UNCHANGED = Change()


@dataclass(frozen=True)
class Refusal:
    """The command changes nothing; the problem says why and what to do."""

    problem: Problem


def decide(
    file: CaseFile | None,
    command: Command,
    at: datetime,
    command_id: str,
    programmes: Programmes,
    record: OutagesRecorded = ALL_WELL,
) -> list[CaseEvent] | Refusal:
    """The events that a command received at `at` causes, in order: first one for each reminder and deadline that was due,
    last its own. No events: it is stale or has been seen. A refusal changes nothing, not even what time would have.

    `file` is None before the order's first case. `at` earlier than the file's last event counts as that moment. A deadline
    that fell due when `record` was not complete any more is not decided over: the command is as if it came in time (NX-08).
    Ids of all that is made derive from `command_id`, or from what else caused it, so that a repeat makes the same."""
    if file is None:
        if isinstance(command, ReportAccepted):
            return _open(None, command, at, command_id, programmes)
        return Refusal(Problem.not_found("case")) if isinstance(command, TakeAction | PostMessage) else []
    at = max(at, file.at)
    if isinstance(command, DeadlineReached | ReminderReached) and not _stands(file, command, at):
        return []
    until = _counted(at, record)
    if isinstance(command, DeadlineReached | ReminderReached):  # it rang when the record was complete
        until = max(until, min(at, command.due_at if isinstance(command, DeadlineReached) else command.remind_at))
    file, passed = _pass_time(file, until, programmes, record, command if isinstance(command, ExtendDeadline) else None)
    match command:
        case ReportAccepted():
            decided = _open(file, command, at, command_id, programmes)
        case FactRecorded():
            decided = _attach(file, command, at, programmes)
        case TakeAction():
            decided = _act(file, command, at, command_id, programmes)
        case PostMessage():
            decided = _write(file, command, at, command_id)
        case NoticeSent() | NoticeFailed() | NoticeDelayed():
            decided = _record(file, command, at, record)
        case ExtendDeadline():
            decided = _extend(file, command, at, record)
        case ConfirmExecution():
            decided = _confirm(file, command, at)
        case DeadlineReached() | ReminderReached():  # they only woke us: time has passed
            decided = []
    return decided if isinstance(decided, Refusal) else passed + decided


def evolve(file: CaseFile | None, event: CaseEvent) -> CaseFile:
    """The file after an event. Applies and judges nothing; ledger entries and facts that it has are not added again."""
    if isinstance(event, CaseOpened):
        file = file or CaseFile(order=event.order, at=event.at, sequence=0)
        for fact in event.facts:
            if all(known.fact_id != fact.fact_id for known in file.facts):
                entries = entries_of_fact(file.order, file.ledger, fact, file.facts)
                file = file.model_copy(update={"facts": (*file.facts, fact), "ledger": file.ledger + entries})
        case = _opened(event)
    elif file is None:
        raise ValueError(f"{event.case_id} has not been opened")
    else:
        case = file.cases[event.case_id]
    case = case.model_copy(update=_case_after(case, event))
    change: Change | None = getattr(event, "change", None)
    after: dict[str, Any] = {
        "cases": {**file.cases, case.case_id: case},
        "at": max(file.at, event.at),
        "sequence": file.sequence + 1,
    }
    if change is not None and change.ledger:
        known = {entry.entry_id for entry in file.ledger}
        after["ledger"] = file.ledger + tuple(entry for entry in change.ledger if entry.entry_id not in known)
    if isinstance(event, FactAttached) and all(fact.fact_id != event.fact.fact_id for fact in file.facts):
        after["facts"] = (*file.facts, event.fact)
    return file.model_copy(update=after)


def _opened(event: CaseOpened) -> Case:
    state = event.change.state
    if state is None:
        raise ValueError(f"{event.case_id} was opened without a state")
    return Case(
        case_id=event.case_id,
        number=int(event.case_id.rsplit("_", 1)[1]),
        policy=event.policy,
        reason=event.report.reason,
        claimed=event.report.amount,
        answer_by=event.report.answer_by,
        evidence_kinds=_kinds(event.report.evidence),
        state=state,
        opened_at=event.at,
        updated_at=event.at,
        version=0,
        sequence=0,
    )


def _kinds(evidence: Iterable[Evidence]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(each.kind for each in evidence if each.kind is not None))


def _case_after(case: Case, event: CaseEvent) -> dict[str, Any]:
    after: dict[str, Any] = {"version": event.case_version, "sequence": case.sequence + 1}
    if event.seal is not None:
        after |= {"sequence": event.seal.sequence, "head": event.seal.hash}
    if event.case_version != case.version:
        after["updated_at"] = event.at
    deadlines = {deadline.deadline_id: deadline for deadline in case.deadlines}
    if isinstance(event, ReminderGiven):
        deadlines[event.deadline.deadline_id] = event.deadline
    message: MessageDraft | None = getattr(event, "message", None)
    if message is not None and message.evidence:
        after["evidence_kinds"] = tuple(dict.fromkeys((*case.evidence_kinds, *_kinds(message.evidence))))
    change: Change | None = getattr(event, "change", None)
    if change is not None:
        for ended in change.deadlines_ended:
            deadline = deadlines.pop(ended.deadline_id, None)
            if deadline is not None and ended.how == "passed" and deadline.party != "platform":
                after["lapsed"] = (deadline, *case.lapsed)[:_LAPSED]
        deadlines |= {deadline.deadline_id: deadline for deadline in change.deadlines_set}
        if change.state is not None:
            after |= {"state": change.state, "turn": change.turn, "label": change.label}
            after |= {"closed_at": event.at if change.state in CLOSED else None}
        if change.reopened:
            after |= {"outcome": None, "decided_by": None}
        if change.outcome is not None:
            after |= {"outcome": change.outcome, "decided_by": getattr(event, "decided_by", None)}
        if change.answer is not None:
            after["answer"] = change.answer
        if change.proposal is not None or change.proposal_ended is not None:
            after["proposal"] = change.proposal
        if change.marks:
            after["marks"] = case.marks | change.marks
    if isinstance(event, CaseMoved | MessagePosted):
        deadlines = {deadline_id: known_by(deadline, event.actor, event.at) for deadline_id, deadline in deadlines.items()}
    elif isinstance(event, NoticeRecorded):
        deadlines = {deadline_id: told_by(deadline, event.notice) for deadline_id, deadline in deadlines.items()}
        after["lapsed"] = tuple(told_by(deadline, event.notice) for deadline in case.lapsed)
    after["deadlines"] = tuple(deadlines.values())
    return after


# Time


def at_time(file: CaseFile, at: datetime, programmes: Programmes, record: OutagesRecorded = ALL_WELL) -> CaseFile:
    """The file as it is at a moment: deadlines that have passed by then have taken effect, told or not, as far as the record of
    outages says that they have."""
    return _pass_time(file, _counted(at, record), programmes, record)[0]


def _counted(at: datetime, record: OutagesRecorded) -> datetime:
    """Up to when silence counts at a moment: who could act since then is not known yet."""
    return at if record.complete_until is None else min(at, record.complete_until)


def _pass_time(
    file: CaseFile,
    until: datetime,
    programmes: Programmes,
    record: OutagesRecorded,
    command: ExtendDeadline | None = None,
) -> tuple[CaseFile, list[CaseEvent]]:
    """Let every reminder and deadline due by a moment take effect, each at its own moment, in their order over all cases: what
    happened does not depend on which timer, notice or party was heard first. A deadline is given back what its party has lost
    before it takes effect: nobody is punished for time in which it could not act (NX-08). `command` tells of more such time."""
    events: list[CaseEvent] = []
    while due := [
        (when, when == deadline.due_at, deadline.deadline_id, case, deadline)
        for case in file.cases.values()
        for deadline in case.deadlines
        for when in (*deadline.remind_at, deadline.due_at)
        if when <= until
    ]:
        when, passed, _, case, deadline = min(due, key=lambda each: each[:3])
        at = max(when, file.at)  # what somebody did while the deadline was not decided over came first
        if not passed:
            event: CaseEvent = _remind(file, case, deadline, when, at, programmes)
        elif (longer := _longer(case, deadline, at, record, command)) is not None:
            event = DeadlineExtended(**_head(_Place(file, case, at), SYSTEM), change=Change(deadlines_set=(longer,)))
        else:
            event = _silence(file, case, deadline, at, programmes)
        file = evolve(file, event)
        events.append(event)
    return file, events


def _longer(
    case: Case,
    deadline: Deadline,
    at: datetime,
    record: OutagesRecorded,
    command: ExtendDeadline | None = None,
) -> Deadline | None:
    """The deadline with what its party has lost given back; None where it ends as it did. What somebody outside has set as
    its end is given back as well: up to when we wait is ours to say."""
    lost = lost_in(record)
    if command is not None and command.case_id == case.case_id and command.deadline_id in (None, deadline.deadline_id):
        lost += (lost_by(command),)
    return given_back(deadline, deadline.set_at or case.opened_at, lost, at)


def _silence(file: CaseFile, case: Case, deadline: Deadline, at: datetime, programmes: Programmes) -> CaseEvent:
    now = Situation(file, case, _programme(case, programmes), "system", at)
    row = _silent_row(now, deadline.kind)
    change = _change(now, row, {}, deadline.deadline_id, deadline)
    if row.effects.remind:
        event: CaseEvent = ReminderGiven(**_head(now, SYSTEM), deadline=deadline, change=change)
    else:
        event = CaseMoved(**_head(now, SYSTEM), action="silence", kind_of_deadline=deadline.kind, rule=row.rule, change=change)
    return _with_deadlines(now, event, row, {}, deadline.deadline_id)


def _silent_row(now: Situation, kind: str) -> Transition:
    row = row_for(now, "silence", kind, None)
    if row is None:  # a programme is validated to have one that always fits
        raise LookupError(f"{now.programme.programme} does not say what silence means for {kind}")
    return row


def _stands(file: CaseFile, command: DeadlineReached | ReminderReached, at: datetime) -> bool:
    """Whether the deadline that a timer woke for is still the same, and a reminder due and not yet given."""
    case = file.cases.get(command.case_id)
    for deadline in case.deadlines if case else ():
        if (deadline.deadline_id, deadline.generation) == (command.deadline_id, command.generation):
            return isinstance(command, DeadlineReached) or (command.remind_at in deadline.remind_at and command.remind_at <= at)
    return False


def _remind(file: CaseFile, case: Case, deadline: Deadline, when: datetime, at: datetime, programmes: Programmes) -> CaseEvent:
    now = Situation(file, case, _programme(case, programmes), "system", at)
    remaining = tuple(moment for moment in deadline.remind_at if moment != when)
    fresh = {"remind_at": remaining, "on_silence": consequence_of(now, deadline.kind, deadline.due_at)}
    return ReminderGiven(**_head(now, SYSTEM, counts=False), deadline=deadline.model_copy(update=fresh))


# What the parties do


def _open(
    file: CaseFile | None, command: ReportAccepted, at: datetime, command_id: str, programmes: Programmes
) -> list[CaseEvent] | Refusal:
    report, case_id = command.report, command.case_id
    if case_id is None or (file is not None and case_id in file.cases):
        return []
    try:
        if command.policy_version is not None:
            programme = programmes.get(report.programme, command.policy_version)
        else:
            programme = programmes.in_force(report.programme, report.at)
        row = programme.rows("report", report.reason)[0]
    except LookupError:
        return Refusal(Problem.report_refused("reason_unknown", f"{report.programme} knows no reason {report.reason}."))
    if row.to is None:  # a programme is validated to open a case somewhere
        raise LookupError(f"{report.reason} opens no case")
    opened = CaseOpened(
        case_id=case_id,
        order_id=command.order.order_id,
        actor=report.actor,
        at=at,
        policy=PolicyRef(programme=programme.programme, version=programme.version),
        report=report,
        order=command.order,
        facts=command.facts,
        change=Change(state=row.to, turn=row.turn or programme.states[row.to].turn),
    )
    after = evolve(file, opened)
    event = opened.model_copy(update={"refundable_at_once": refundable_at_once(after, case_id, programmes)})
    now = Situation(after, after.cases[case_id], programme, report.actor.role, at)
    return [_with_deadlines(now, event, row, {}, command_id, after)]


def _act(
    file: CaseFile, command: TakeAction, at: datetime, command_id: str, programmes: Programmes
) -> list[CaseEvent] | Refusal:
    case = file.cases.get(command.case_id)
    if case is None:
        return Refusal(Problem.not_found("case"))
    now = Situation(file, case, _programme(case, programmes), command.actor.role, at, command.labels)
    action = now.programme.actions.get(command.action)
    by = programmes.takers(command.action) if action is None else action.by
    if by and now.role not in by:
        return Refusal(Problem.forbidden(f"{command.action} is for {' and '.join(by)}, not for {now.role}."))
    if now.role == "system" and command.decided_by is None:
        return Refusal(Problem.forbidden("Nobody decides without a rule; name it in decided_by."))
    if stale := Problem.stale(command.if_match, case.version):
        return Refusal(stale)
    if now.role == "system" and not refundable_at_once(file, case.case_id, programmes).amount:
        return Refusal(Problem.action_not_allowed(command.action, ()))
    rows = open_rows(now, command.action)
    if action is None or not rows:
        return Refusal(Problem.action_not_allowed(command.action, allowed_names(now)))
    filled = fill(action, rows, now, command.fields, command.evidence)
    if not isinstance(filled, Filled):
        return Refusal(Problem.invalid_input(*filled))
    row, values = filled.row, filled.values
    evidence = tuple(each for each in command.evidence if each.evidence_id in values.get("evidence", ()))
    if row.effects.remark:
        remark = _message(now, command.actor, values["text"], evidence, command_id, internal=True)
        return [MessagePosted(**_head(now, command.actor), message=remark)]
    text = values.get("message", "")
    event = CaseMoved(
        **_head(now, command.actor),
        action=command.action,
        rule=row.rule,
        decided_by=command.decided_by,
        fields={name: _plain(value) for name, value in values.items() if name not in ("message", "evidence")},
        change=_change(now, row, values, command_id),
        message=_message(now, command.actor, text, evidence, command_id) if text or evidence else None,
    )
    return [_with_deadlines(now, event, row, values, command_id)]


def allowed_names(now: Situation) -> tuple[str, ...]:
    """The actions that are open to this role now (NX-03)."""
    return tuple(name for name, action in now.programme.actions.items() if now.role in action.by and open_rows(now, name))


def _write(file: CaseFile, command: PostMessage, at: datetime, command_id: str) -> list[CaseEvent] | Refusal:
    case = file.cases.get(command.case_id)
    if case is None:
        return Refusal(Problem.not_found("case"))
    if command.actor.role not in _PARTIES:
        return Refusal(Problem.forbidden("Messages of a case are between buyer, merchant and platform."))
    if stale := Problem.stale(command.if_match, case.version):
        return Refusal(stale)
    if wrong := text_error(command.text):
        return Refusal(Problem.invalid_input(FieldError(pointer="/text", detail=wrong)))
    now = _Place(file, case, at)
    message = _message(now, command.actor, command.text, command.evidence, command_id)
    return [MessagePosted(**_head(now, command.actor), message=message)]


# What the world tells


def _attach(file: CaseFile, command: FactRecorded, at: datetime, programmes: Programmes) -> list[CaseEvent]:
    """Every case of the order gets the fact; its ledger entries go with the first."""
    fact = command.fact
    if any(known.fact_id == fact.fact_id for known in file.facts):
        return []
    entries = entries_of_fact(file.order, file.ledger, fact, file.facts)
    fact = flagged(file.order, file.facts, file.ledger, fact)
    events: list[CaseEvent] = []
    for case_id in file.cases:
        case = file.cases[case_id]
        now = Situation(file, case, _programme(case, programmes), "system", at)
        row = row_for(now, "fact", fact.kind, case.state)
        change = _change(now, row, {}, fact.fact_id) if row else _UNCHANGED
        if entries:
            change, entries = change.model_copy(update={"ledger": entries + change.ledger}), ()
        event: CaseEvent = FactAttached(**_head(now, fact.source), fact=fact, change=change)
        if row:
            event = _with_deadlines(now, event, row, {}, fact.fact_id)
        file = evolve(file, event)
        events.append(event)
    return events


def _record(
    file: CaseFile,
    command: NoticeSent | NoticeFailed | NoticeDelayed,
    at: datetime,
    record: OutagesRecorded,
) -> list[CaseEvent]:
    """A notice enters the history. A deadline that its party was not told of runs on, for so long as it may take to tell the
    party after all; then it runs anew from that moment. One that had passed by then stays so: the case is marked, for the
    platform to look at, because money may have moved since (NX-08)."""
    case, notice = file.cases.get(command.case_id), command.notice
    if case is None:
        return []
    change = _UNCHANGED
    for deadline in case.deadlines:
        if (told := told_by(deadline, notice)) is not deadline:
            longer = _longer(case, told, at, record)
            change = Change(deadlines_set=(longer,)) if longer is not None else _UNCHANGED
    for deadline in case.lapsed:
        told = told_by(deadline, notice)
        if told is not deadline and "untold" not in case.marks and _longer(case, told, at, record) is not None:
            change = Change(marks={"untold": format_moment(at)})
    head = _head(_Place(file, case, at), SYSTEM, counts=change is not _UNCHANGED)
    return [NoticeRecorded(**head, notice=notice, change=change)]


def _confirm(file: CaseFile, command: ConfirmExecution, at: datetime) -> list[CaseEvent]:
    """The platform's payment has flowed: it settles the reservation of its decision, once, also after the end of the case. One
    that was paid by hand meanwhile has then flowed twice, which is recorded and flagged."""
    case = file.cases.get(command.case_id)
    entries = entries_of_payment(file, command.decision_id, command.reference, min(command.at, at))
    if case is None or not entries:
        return []
    return [
        RefundExecuted(
            **_head(_Place(file, case, at), _PAYMENTS),
            decision_id=command.decision_id,
            amount=entries[0].amount,
            reference=command.reference,
            change=Change(ledger=entries),
        )
    ]


def _extend(file: CaseFile, command: ExtendDeadline, at: datetime, record: OutagesRecorded) -> list[CaseEvent]:
    """Add lost time to the deadlines that are still to come (NX-08); those that ended within it got it when time passed."""
    case = file.cases.get(command.case_id)
    if case is None:
        return []
    longer = [each for deadline in case.deadlines if (each := _longer(case, deadline, at, record, command)) is not None]
    if not longer:
        return []
    return [DeadlineExtended(**_head(_Place(file, case, at), SYSTEM), change=Change(deadlines_set=tuple(longer)))]


# One row of a table, applied


class _Place(Struct, frozen=True):
    """Where and when an event happens."""

    file: CaseFile
    case: Case
    at: datetime


def _programme(case: Case, programmes: Programmes) -> Programme:
    return programmes.get(case.policy.programme, case.policy.version)


def _head(now: Situation | _Place, actor: Actor, counts: bool = True) -> dict[str, Any]:
    """What every event says. `counts`: a reader sees the case changed."""
    return {
        "case_id": now.case.case_id,
        "order_id": now.file.order.order_id,
        "actor": actor,
        "at": now.at,
        "case_version": now.case.version + counts,
    }


def _message(
    now: Situation | _Place, author: Actor, text: str, evidence: tuple[Evidence, ...], cause: str, internal: bool = False
) -> MessageDraft:
    """A message in the thread; an internal remark is for its author's own side and the platform."""
    return MessageDraft(
        message_id=child_id("msg", now.file.order.order_id, cause),
        author=author,
        text=text,
        evidence=evidence,
        internal=internal,
        visible_to=tuple(party for party in _PARTIES if not internal or party in (author.role, "platform")),
        at=now.at,
    )


def _plain(value: Any) -> Any:
    """A value of a form as the history keeps it: a label by its code."""
    if isinstance(value, StatusLabel):
        return value.code
    return value.model_dump(mode="json") if isinstance(value, Money) else value


def _change(now: Situation, row: Transition, values: dict[str, Any], cause: str, passed: Deadline | None = None) -> Change:
    """What a row changes, except for the deadlines that it sets."""
    case, effects = now.case, row.effects
    turn = row.turn or values.get(row.turn_field or "") or (now.programme.states[row.to].turn if row.to else None)
    proposal, proposal_ended = _proposal(now, row, values, cause)
    ledger = entries_of_row(now, row, values, cause)
    due = next((entry for entry in ledger if entry.kind == "reserved" and entry.executor == "platform"), None)
    return Change(
        state=row.to,
        turn=turn,
        outcome=row.outcome,
        answer=_answer(now, effects.answer, values) if effects.answer else None,
        proposal=proposal,
        proposal_ended=proposal_ended,
        marks={effects.mark: format_moment(now.at)} if effects.mark else {},
        deadlines_ended=tuple(
            DeadlineEnded(deadline_id=each.deadline_id, generation=each.generation, how=how)
            for each in case.deadlines
            if (how := _end_of(each, row, now.role, passed))
        ),
        ledger=ledger,
        refund_due=RefundDue(decision_id=due.decision_id, amount=due.amount) if due and due.decision_id else None,
        label=next((value for value in values.values() if isinstance(value, StatusLabel)), None),
        attention=effects.attention,
        protection_ends=effects.protection_ends,
        reopened=effects.reopen,
    )


def _end_of(deadline: Deadline, row: Transition, role: Role, passed: Deadline | None) -> Any:
    """How a standing deadline ends by this row; None: it stands on."""
    if passed is not None and deadline.deadline_id == passed.deadline_id:
        return "passed"
    own = deadline.party == role
    if deadline.kind in row.keeps:
        return None
    if row.to is not None or deadline.kind in row.ends:
        return "met" if own else "cancelled"
    return "met" if own and deadline.kind in row.meets else None


def _answer(now: Situation, named: Any, values: dict[str, Any]) -> Answer:
    amount: Money | None = values.get("refund_amount")
    variant = "none" if amount is None else "full" if amount == now.available else "partial"
    refund = values["refund"] if named is True else named
    return Answer(refund=refund, refund_amount=amount, variant=variant, message=values.get("message", ""), at=now.at)


def _proposal(now: Situation, row: Transition, values: dict[str, Any], cause: str) -> tuple[Proposal | None, Any]:
    """The proposal from now on, and how the one before ended. Leaving the state ends it as well."""
    standing = now.case.proposal
    match row.effects.proposal:
        case "made":
            made = Proposal(
                proposal_id=child_id("prp", now.file.order.order_id, cause),
                refund_amount=values["refund_amount"],
                message=values["message"],
                at=now.at,
            )
            return made, "superseded" if standing else None
        case "accepted" if standing and now.role in ("buyer", "merchant"):
            return standing.model_copy(update={"accepted_by": (*standing.accepted_by, now.role)}), None
        case "settled" | "declined" | "lapsed" as how:
            return None, how
    return None, "superseded" if standing and row.to is not None else None


def _with_deadlines(
    now: Situation, event: Any, row: Transition, values: dict[str, Any], cause: str, after: CaseFile | None = None
) -> CaseEvent:
    """The event with the deadlines that its row sets; what their silence means is judged by the file after it."""
    kinds = row.deadlines
    if kinds is None:
        kinds = now.programme.states[row.to].deadlines if row.to else ()
    if not kinds:
        return event
    file = after or evolve(now.file, event)
    then = replace(now, file=file, case=file.cases[now.case.case_id], role="system")
    deadlines = tuple(_deadlines(then, kinds, values, cause))
    return event.model_copy(update={"change": event.change.model_copy(update={"deadlines_set": deadlines})})


def _deadlines(then: Situation, kinds: Iterable[str], values: dict[str, Any], cause: str) -> Iterable[Deadline]:
    order, case = then.file.order, then.case
    for kind in kinds:
        terms = then.programme.deadlines[kind]
        other = next((each.after for each in terms.where if fits(then, each.when)), terms.after)
        duration = values.get(terms.after_field or "") or other
        calendar = then.programme.calendars[terms.calendar].working if terms.calendar else None
        due_at = add(then.at, duration, order.timezone, calendar)
        if terms.until is not None and case.answer_by is not None:
            due_at = max(case.answer_by, then.at)
        reminders = sorted(before(due_at, ahead, order.timezone) for ahead in terms.remind_before)
        for party in terms.parties or (case.turn if terms.party == "turn" else terms.party,):
            if party is None:
                continue
            yield Deadline(
                deadline_id=child_id("dln", order.order_id, case.case_id, kind, party, cause),
                kind=kind,
                party=party,
                set_at=then.at,
                due_at=due_at,
                remind_at=tuple(moment for moment in reminders if moment > then.at),
                rule=terms.rule,
                policy=case.policy,
                on_silence=consequence_of(then, kind, due_at),
            )


def consequence_of(now: Situation, kind: str, due_at: datetime) -> Consequence:
    """What silence about a deadline would lead to as the case is now (NX-01)."""
    now = replace(now, role="system", at=due_at)
    row = _silent_row(now, kind)
    return Consequence(
        action=row.consequence or kind,
        state=row.to,
        outcome=row.outcome,
        money=moved(entries_of_row(now, row, {}, kind)),
    )


def moved(entries: Iterable[LedgerEntry]) -> dict[Any, Money]:
    """Sums of ledger entries by kind."""
    sums: dict[Any, Money] = {}
    for entry in entries:
        sums[entry.kind] = sums[entry.kind] + entry.amount if entry.kind in sums else entry.amount
    return sums
