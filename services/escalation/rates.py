"""Issue rates at work (OI-11, NX-10): what is kept of orders and cases, and how a merchant's document follows from it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from chassis.handler import Emission, Inbound, Step
from chassis.store import Append, Database, MongoStore
from contracts.base import Message, format_moment
from contracts.cases import CaseEvent, CaseOpened, Change
from contracts.ids import derived, merchant_key
from contracts.issue_rate import Appeal, AppealIssueRate, AskIssueRate, DecideAppeal, IssueRate, IssueRateChanged
from contracts.notices import TellMerchant
from contracts.orders import OrderRegistered
from contracts.problems import Problem
from contracts.topics import ESCALATION_COMMANDS, ESCALATION_EVENTS, NOTIFICATIONS_COMMANDS
from engine.issue_rate import SAMPLE, THRESHOLD, Issue, Window, first_day, near_sample, reckoned, share
from engine.programmes import Programmes
from services.escalation.answers import refusing, repeating
from services.escalation.pages import page_of_rate
from services.escalation.store import PAGES

__all__ = ["RATES", "RateFindings", "Rates", "asked_by", "follow_rate"]

RATES = "rates"
_ORDERS = "rated_orders"
_ISSUES = "rated_issues"
_ENDS = "rated_ends"
_MOST_APPEALS = 50
"""Appeals that a merchant's document keeps."""
_OF_RATES = AskIssueRate | AppealIssueRate | DecideAppeal


@dataclass(frozen=True, slots=True)
class RateFindings:
    """What a batch needs for rates: of each merchant to reckon what there is from the window of the earliest question on; the
    last question about it, which answers those before it, and the latest moment that any of them asks about; which cases tell
    of a problem; whose case a moved case is; and merchants whose orders matter, because their share is too high or only too
    few orders keep it from counting."""

    windows: Mapping[str, Window] = field(default_factory=dict)
    last_asked: Mapping[str, tuple[str, datetime]] = field(default_factory=dict)
    problems: frozenset[str] = frozenset()
    merchant_of: Mapping[str, str] = field(default_factory=dict)
    watched: frozenset[str] = frozenset()


class Rates:
    """What rates are reckoned from, insert-only: a line per order, per problem that was reported and per end (or return) of a
    case. Writing one again changes nothing, so that nothing is counted twice."""

    def __init__(self, database: Database, programmes: Programmes) -> None:
        self._database = database
        self._store = MongoStore(database)
        self._programmes = programmes

    async def create_indexes(self) -> None:
        """By merchant and day of the order."""
        await self._database[_ORDERS].create_index([("merchant", 1), ("day", 1)])
        await self._database[_ISSUES].create_index([("merchant", 1), ("day", 1)])
        await self._database[_ENDS].create_index([("case", 1)])

    async def find(self, batch: Sequence[Inbound]) -> RateFindings:
        """Keep what the batch tells of orders and problems, then read what its rates need: a statement for each kind of record,
        and three for all merchants that are asked about."""
        messages = [inbound.envelope.message for inbound in batch]
        problems = frozenset(each.case_id for each in messages if isinstance(each, CaseOpened) and self._is_problem(each))
        await self._store.append([line for message in messages for line in _lines(message, problems)])
        ended = {message.case_id for message in messages if isinstance(message, CaseEvent) and _end_of(message)}
        selling = {message.order.merchant_id for message in messages if isinstance(message, OrderRegistered)}
        since: dict[str, datetime] = {}
        last_asked: dict[str, tuple[str, datetime]] = {}
        for inbound in batch:
            envelope, message = inbound.envelope, inbound.envelope.message
            if isinstance(message, _OF_RATES):
                since[message.merchant_id] = min(since.get(message.merchant_id, envelope.time), envelope.time)
            if isinstance(message, AskIssueRate):
                _, latest = last_asked.get(message.merchant_id, ("", envelope.time))
                last_asked[message.merchant_id] = envelope.id, max(latest, envelope.time)
        return RateFindings(
            windows=await self._windows(since),
            last_asked=last_asked,
            problems=problems,
            merchant_of=await self._merchants_of(ended) if ended else {},
            watched=await self._watched(selling) if selling else frozenset(),
        )

    def _is_problem(self, event: CaseOpened) -> bool:
        """Whether a case reports a problem of its merchant on an order that is known (OI-11). One of a programme that is not
        known here (yet) does."""
        if event.order.origin != "registered":
            return False
        try:
            reason = self._programmes.get(event.policy.programme, event.policy.version).reason(event.report.reason)
        except KeyError:
            return True
        return reason is None or reason.is_problem

    async def _windows(self, since: Mapping[str, datetime]) -> dict[str, Window]:
        """What there is of merchants from the first day of the window on that ends with a moment each, in three statements for
        all. It has no last day: the rate may stand at a later day than the question."""
        if not since:
            return {}
        wanted = {"$or": [{"merchant": each, "day": {"$gte": first_day(at).isoformat()}} for each, at in since.items()]}
        place = {"merchant": "$merchant", "day": "$day"}
        grouped = self._database[_ORDERS].aggregate([{"$match": wanted}, {"$group": {"_id": place, "count": {"$sum": 1}}}])
        orders: dict[str, dict[date, int]] = {}
        for found in await grouped.to_list(None):
            orders.setdefault(found["_id"]["merchant"], {})[date.fromisoformat(found["_id"]["day"])] = found["count"]
        kept = await self._database[_ISSUES].find(wanted, batch_size=10_000).to_list(None)
        ends = await self._outcomes([issue["_id"] for issue in kept]) if kept else {}
        issues: dict[str, list[Issue]] = {}
        for issue in kept:
            told = Issue(issue["_id"], issue["order"], date.fromisoformat(issue["day"]), ends.get(issue["_id"]))
            issues.setdefault(issue["merchant"], []).append(told)
        return {each: Window(orders.get(each, {}), tuple(issues.get(each, ()))) for each in since}

    async def _outcomes(self, case_ids: Sequence[str]) -> dict[str, str | None]:
        """The latest outcome of each case that has ended; None for one that was reopened since."""
        latest: dict[str, tuple[int, str | None]] = {}
        for end in await self._database[_ENDS].find({"case": {"$in": case_ids}}, batch_size=10_000).to_list(None):
            latest[end["case"]] = max(latest.get(end["case"], (0, None)), (end["version"], end["outcome"]), key=_version)
        return {case_id: outcome for case_id, (_, outcome) in latest.items()}

    async def _merchants_of(self, case_ids: Collection[str]) -> dict[str, str]:
        found = await self._database[_ISSUES].find({"_id": {"$in": list(case_ids)}}, {"merchant": 1}).to_list(None)
        return {issue["_id"]: issue["merchant"] for issue in found}

    async def _watched(self, merchant_ids: Collection[str]) -> frozenset[str]:
        keys = [merchant_key(merchant_id) for merchant_id in merchant_ids]
        too_few = {"body.orders": {"$lt": SAMPLE}, "body.counted": {"$gt": 0}}
        wanted = {"_id": {"$in": keys}, "$or": [{"body.status": {"$ne": "ok"}}, too_few]}
        found = await self._database[RATES].find(wanted, {"body.merchant_id": 1}, batch_size=10_000).to_list(None)
        return frozenset(rate["body"]["merchant_id"] for rate in found)


def _version(end: tuple[int, str | None]) -> int:
    return end[0]


def _end_of(event: CaseEvent) -> Change | None:
    """What an event that ends a case, or opens it again, changed; None for any other."""
    change: Change | None = getattr(event, "change", None)
    return change if change is not None and (change.outcome is not None or change.reopened) else None


def _lines(message: Message, problems: Collection[str]) -> list[Append]:
    """What is kept of an event. The day of an order is that of its placing, in UTC."""
    match message:
        case OrderRegistered(order=order) if order.origin == "registered":
            line: dict[str, Any] = {"_id": order.order_id, "merchant": order.merchant_id, "day": _day(order.placed_at)}
            return [Append(_ORDERS, line)]
        case CaseOpened(order=order) if message.case_id in problems:
            line = {
                "_id": message.case_id,
                "order": order.order_id,
                "merchant": order.merchant_id,
                "day": _day(order.placed_at),
            }
            return [Append(_ISSUES, line)]
        case CaseEvent() if (change := _end_of(message)) is not None:
            line = {
                "_id": f"{message.case_id}:{message.case_version}",
                "case": message.case_id,
                "version": message.case_version,
                # What a rule decided counts, but nobody has found a fault.
                "outcome": change.outcome if getattr(message, "decided_by", None) is None else "settled",
            }
            return [Append(_ENDS, line)]
        case _:
            return []


def _day(placed_at: datetime) -> str:
    return format_moment(placed_at)[:10]


def asked_by(inbound: Inbound, findings: RateFindings) -> tuple[Emission, ...]:
    """The question that an event raises: how its merchant stands now. An order alone can only better a share, or make it
    count at all."""
    match inbound.envelope.message:
        case CaseOpened(order=order, case_id=case_id):
            merchant_id: str | None = order.merchant_id if case_id in findings.problems else None
        case CaseEvent(case_id=case_id):
            merchant_id = findings.merchant_of.get(case_id)
        case OrderRegistered(order=order) if order.merchant_id in findings.watched:
            merchant_id = order.merchant_id
        case _:
            merchant_id = None
    if merchant_id is None:
        return ()
    ask = AskIssueRate(merchant_id=merchant_id)
    return (Emission(ESCALATION_COMMANDS, ask, inbound.envelope.time, sequenced=False, key=merchant_key(merchant_id)),)


def follow_rate(
    known: IssueRate | None, inbound: Inbound, command: AskIssueRate | AppealIssueRate | DecideAppeal, findings: RateFindings
) -> Step[IssueRate | None]:
    """Reckon, appeal or decide an appeal. What events asked is reckoned once for a merchant and batch, and nothing is told
    while the status stays and its orders matter no more than before; what somebody asked is answered with the figures of the
    moment. A rate never goes back in time: a question of an earlier day than that for which it was reckoned last, or than
    another of its batch, is answered as of the later one. The day on which the status changes by itself is a timer. 403, 404
    and 409 for appeals that are not the caller's, not there or not open."""
    envelope = inbound.envelope
    asked = envelope.source == "gateway"
    last_id, latest = findings.last_asked.get(command.merchant_id, ("", envelope.time))
    if not asked and last_id != envelope.id:
        return Step(known)
    before = known or IssueRate(merchant_id=command.merchant_id, at=envelope.time)
    after: IssueRate | Problem | None = before
    if isinstance(command, AppealIssueRate):
        after = _appealed(before, command, envelope.time)
    elif isinstance(command, DecideAppeal):
        after = _decided(before, command, envelope.time)
    if isinstance(after, Problem):
        return Step(known, (refusing(inbound, after),))
    if after is None:
        return Step(known, (repeating(inbound, f"{_href(command)}/appeals/{_appeal_of(command)}"),))
    at = max(before.at, latest if last_id == envelope.id else envelope.time)
    after = reckoned(after, command.merchant_id, findings.windows[command.merchant_id], at)
    timers: tuple[Append, ...] = ()
    if after.changes_on is not None and after.changes_on != before.changes_on:
        timers = (Append(PAGES, page_of_rate(inbound.partition, command.merchant_id, after.changes_on).document()),)
    if _same(after, before) or (not asked and after.status == before.status and near_sample(after) == near_sample(before)):
        # The figures stay as they were told; the day is kept, so that no later question is answered for one before it.
        if known is None or (at.date(), after.changes_on) != (before.at.date(), before.changes_on):
            known = before.model_copy(update={"changes_on": after.changes_on, "at": at})
        return Step(known, (repeating(inbound, _href(command)),) if asked else (), timers)
    after = after.model_copy(update={"version": before.version + 1})
    event = IssueRateChanged(rate=after, before=before.status)
    told = Emission(ESCALATION_EVENTS, event, at, command_id=envelope.id if asked else None, settles=asked)
    return Step(after, (told, *_notice(after, before)), timers)


def _notice(after: IssueRate, before: IssueRate) -> tuple[Emission, ...]:
    """The mail to the merchant about a new status. That it has appealed it knows. Its id is made from merchant and version: a
    timer that is sent again asks under the id that it had, and what follows may by then be another status."""
    if after.status in (before.status, "appealed"):
        return ()
    restored = before.status in ("sanctioned", "appealed") and after.status == "warning"
    about = {
        "status": "ok" if restored else after.status,
        "share": str(share(after.counted, after.orders)),
        "threshold": str(THRESHOLD),
        "statement": after.statement.text if after.statement else "",
    }
    notice = TellMerchant(merchant_id=after.merchant_id, notice="issue_rate", about=about)
    notice_id = derived("issue-rate", after.merchant_id, str(after.version))
    return (Emission(NOTIFICATIONS_COMMANDS, notice, after.at, sequenced=False, id=notice_id),)


def _same(after: IssueRate, before: IssueRate) -> bool:
    return before.version > 0 and after.model_copy(update={"at": before.at, "changes_on": before.changes_on}) == before


def _appealed(rate: IssueRate, command: AppealIssueRate, at: datetime) -> IssueRate | Problem | None:
    if any(appeal.appeal_id == command.appeal_id for appeal in rate.appeals):
        return None
    if rate.status != "sanctioned":
        return _no_appeal("There is no sanction to appeal against.")
    if len(rate.appeals) >= _MOST_APPEALS:
        return _no_appeal(f"This merchant has appealed {_MOST_APPEALS} times; write to the platform's team.")
    cases = rate.statement.cases if rate.statement else ()
    appeal = Appeal(appeal_id=command.appeal_id, message=command.message, at=at, cases=cases)
    return rate.model_copy(update={"status": "appealed", "appeals": (*rate.appeals, appeal)})


def _decided(rate: IssueRate, command: DecideAppeal, at: datetime) -> IssueRate | Problem | None:
    """An upheld appeal takes the statement's cases out of what counts; a rejected one leaves the sanction as it was."""
    appeal = next((appeal for appeal in rate.appeals if appeal.appeal_id == command.appeal_id), None)
    if appeal is None:
        return Problem.not_found("appeal")
    if appeal.outcome is not None:
        if (appeal.outcome, appeal.answer) == (command.outcome, command.message):
            return None
        return _no_appeal("This appeal has been decided.")
    decided = appeal.model_copy(update={"outcome": command.outcome, "answer": command.message, "decided_at": at})
    appeals = tuple(decided if each is appeal else each for each in rate.appeals)
    changed: dict[str, Any] = {"appeals": appeals}
    if rate.status == "appealed" and all(each.outcome is not None for each in appeals):
        changed["status"] = "sanctioned"
    if command.outcome == "upheld":
        changed["pardoned"] = tuple(sorted({*rate.pardoned, *appeal.cases}))
        if rate.statement is not None and set(rate.statement.cases) <= set(changed["pardoned"]):
            changed["statement"] = None
    return rate.model_copy(update=changed)


def _no_appeal(detail: str) -> Problem:
    return Problem(type="/problems/appeal-not-open", title="This appeal is not open", status=409, detail=detail)


def _href(command: AskIssueRate | AppealIssueRate | DecideAppeal) -> str:
    return f"/v1/merchants/{command.merchant_id}/issue-rate"


def _appeal_of(command: AskIssueRate | AppealIssueRate | DecideAppeal) -> str:
    return "" if isinstance(command, AskIssueRate) else command.appeal_id
