"""Whose attention a case needs among the merchant's staff: assignment, deputies, what an absence will bring (RD-08, 09, NX-17).

Nothing of this is stored: it follows from the desk and the moment, so that an absence begins and ends by itself."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from contracts.cases import Assignee, Deadline
from contracts.desk import Absence, AbsenceContent, AssignmentRule, Consultant, Desk

__all__ = [
    "CaseAtWork",
    "Foreseen",
    "assignee_of",
    "clash_of",
    "deputies",
    "forecast",
    "leads",
    "loop_of",
    "rule_for",
    "standing_in",
]


@dataclass(frozen=True, slots=True)
class CaseAtWork:
    """An open case as far as assignment and forecast need it; `deadlines` are those that stand."""

    case_id: str
    programme: str
    reason: str
    channel: str | None
    deadlines: tuple[Deadline, ...] = ()


@dataclass(frozen=True, slots=True)
class Foreseen:
    """A deadline that falls into an absence, and who will be there to keep it."""

    case: CaseAtWork
    deadline: Deadline
    deputy: Consultant


def rule_for(rules: Iterable[AssignmentRule], programme: str, reason: str, channel: str | None) -> AssignmentRule | None:
    """The most specific rule that fits a case (RD-08). Among rules that name as many things, one that names the reason comes
    before one that names the channel, and that before one that names the programme; among equals the oldest counts."""
    best: AssignmentRule | None = None
    most: tuple[int, bool, bool] = (-1, False, False)
    for rule in rules:
        if not (_fits(rule.programme, programme) and _fits(rule.reason, reason) and _fits(rule.channel, channel)):
            continue
        named = sum(each is not None for each in (rule.programme, rule.reason, rule.channel))
        specific = (named, rule.reason is not None, rule.channel is not None)
        if specific > most:
            best, most = rule, specific
    return best


def _fits(wanted: str | None, given: str | None) -> bool:
    return wanted is None or (given is not None and wanted.casefold() == given.casefold())


def standing_in(absences: Iterable[AbsenceContent], consultant_id: str, day: date) -> tuple[str, ...]:
    """The consultants from the one named to the one who is there on a day: each stands in for the one before (RD-09)."""
    away = {absence.consultant_id: absence.deputy_id for absence in absences if absence.from_ <= day <= absence.to}
    chain = [consultant_id]
    while (deputy := away.get(chain[-1])) is not None and deputy not in chain:
        chain.append(deputy)
    return tuple(chain)


def deputies(absences: Sequence[AbsenceContent], absence: AbsenceContent) -> dict[str, tuple[date, date]]:
    """Who is there in the place of an absent consultant, and the first and last day on which they are: the deputy, and while
    that one is away too, whoever then stands in. `absences` are all of the desk."""
    # Who is there changes only when somebody goes or comes back.
    begins = {absence.from_}
    for each in absences:
        begins |= {day for day in (each.from_, each.to + timedelta(days=1)) if absence.from_ < day <= absence.to}
    days = sorted(begins)
    ends = [*(day - timedelta(days=1) for day in days[1:]), absence.to]
    there: dict[str, tuple[date, date]] = {}
    for first, last in zip(days, ends, strict=True):
        deputy = standing_in(absences, absence.consultant_id, first)[-1]
        there[deputy] = (there.get(deputy, (first, last))[0], last)
    return there


def assignee_of(desk: Desk, timezone: str, at: datetime, programme: str, reason: str, channel: str | None) -> Assignee | None:
    """Who looks after a case at a moment: whom the rules name, or who stands in for them on that day in the merchant's zone.
    None where no rule fits."""
    rule = rule_for(desk.rules, programme, reason, channel)
    if rule is None:
        return None
    chain = standing_in(desk.absences, rule.consultant_id, _day(at, timezone))
    consultant = desk.consultant(chain[-1])
    if consultant is None:
        return None
    deputy_for = rule.consultant_id if len(chain) > 1 else None
    return Assignee(consultant_id=consultant.consultant_id, name=consultant.name, deputy_for=deputy_for)


def leads(desk: Desk, timezone: str, at: datetime) -> tuple[Consultant, ...]:
    """Who looks after what no rule gives to anybody: the consultants without a rule of their own, or who stands in for them.
    Empty where every consultant has one."""
    ruled = {rule.consultant_id for rule in desk.rules}
    day = _day(at, timezone)
    there = dict.fromkeys(
        standing_in(desk.absences, each.consultant_id, day)[-1] for each in desk.consultants if each.consultant_id not in ruled
    )
    return tuple(consultant for each in there if (consultant := desk.consultant(each)) is not None)


def loop_of(absences: Sequence[AbsenceContent], new: AbsenceContent) -> tuple[str, ...] | None:
    """The consultants who would stand in for each other in a circle on some day, beginning with the one who is away; None
    where somebody is always there. `absences` are the others, which have no loop among themselves."""
    # Who is away changes on first days only to the worse, so one of them shows every loop.
    days = {new.from_} | {each.from_ for each in absences if new.from_ <= each.from_ <= new.to}
    for day in sorted(days):
        chain = standing_in(absences, new.deputy_id, day)
        if new.consultant_id in chain:
            return (new.consultant_id, *chain[: chain.index(new.consultant_id)])
    return None


def clash_of(absences: Iterable[Absence], new: AbsenceContent) -> Absence | None:
    """Another absence of the same consultant that shares a day with this one: there would be two deputies."""
    return next(
        (
            each
            for each in absences
            if each.consultant_id == new.consultant_id and each.from_ <= new.to and new.from_ <= each.to
        ),
        None,
    )


def forecast(desk: Desk, timezone: str, absence: Absence, cases: Iterable[CaseAtWork]) -> tuple[Foreseen, ...]:
    """The merchant's deadlines that fall into an absence and would be the absent one's, soonest first (NX-17): of its own cases
    and of those in which it stands in for somebody else who is away on that day. The deputy is who is there on the day."""
    found: list[Foreseen] = []
    for case in cases:
        rule = rule_for(desk.rules, case.programme, case.reason, case.channel)
        if rule is None:
            continue
        for deadline in case.deadlines:
            day = _day(deadline.due_at, timezone)
            if deadline.party != "merchant" or not absence.from_ <= day <= absence.to:
                continue
            chain = standing_in(desk.absences, rule.consultant_id, day)
            deputy = desk.consultant(chain[-1])
            if absence.consultant_id in chain[:-1] and deputy is not None:
                found.append(Foreseen(case, deadline, deputy))
    return tuple(sorted(found, key=lambda each: (each.deadline.due_at, each.case.case_id, each.deadline.deadline_id)))


def _day(at: datetime, timezone: str) -> date:
    return at.astimezone(ZoneInfo(timezone)).date()
