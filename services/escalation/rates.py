"""Issue rates at work (OI-11, NX-10): what is kept of orders and cases, and how a merchant's document follows from it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from chassis.handler import Emission, Inbound, Step
from chassis.store import Append, Database, MongoStore, counted
from contracts.base import Message, format_moment
from contracts.cases import CaseMoved, CaseOpened
from contracts.ids import merchant_key
from contracts.issue_rate import Appeal, AppealIssueRate, AskIssueRate, DecideAppeal, IssueRate, IssueRateChanged
from contracts.notices import TellMerchant
from contracts.orders import OrderRegistered
from contracts.problems import Problem
from contracts.topics import ESCALATION_COMMANDS, ESCALATION_EVENTS, NOTIFICATIONS_COMMANDS
from engine.issue_rate import THRESHOLD, Issue, Window, first_day, reckoned, share
from services.escalation.answers import refusing, repeating

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
    """What a batch needs for rates: the windows of merchants to reckon, whose case a moved case is, and merchants whose
    orders matter because their share is too high."""

    windows: Mapping[str, Window] = field(default_factory=dict)
    merchant_of: Mapping[str, str] = field(default_factory=dict)
    watched: frozenset[str] = frozenset()


class Rates:
    """What rates are reckoned from, insert-only: a line per order, per case and per end (or return) of a case. Writing one
    again changes nothing, so that nothing is counted twice."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._store = MongoStore(database)

    async def create_indexes(self) -> None:
        """By merchant and day of the order."""
        await self._database[_ORDERS].create_index([("merchant", 1), ("day", 1)])
        await self._database[_ISSUES].create_index([("merchant", 1), ("day", 1)])
        await self._database[_ENDS].create_index([("case", 1)])

    async def find(self, batch: Sequence[Inbound]) -> RateFindings:
        """Keep what the batch tells of orders and cases, then read what its rates need: a statement for each kind of record."""
        await self._store.append([append for inbound in batch for append in _lines(inbound.envelope.message)])
        messages = [inbound.envelope.message for inbound in batch]
        ended = {message.case_id for message in messages if isinstance(message, CaseMoved) and _is_end(message)}
        selling = {message.order.merchant_id for message in messages if isinstance(message, OrderRegistered)}
        asked_at = {
            message.merchant_id: inbound.envelope.time
            for inbound in batch
            if isinstance(message := inbound.envelope.message, _OF_RATES)
        }
        return RateFindings(
            windows={merchant_id: await self._window(merchant_id, at) for merchant_id, at in asked_at.items()},
            merchant_of=await self._merchants_of(ended) if ended else {},
            watched=await self._watched(selling) if selling else frozenset(),
        )

    async def _window(self, merchant_id: str, at: datetime) -> Window:
        since = {"merchant": merchant_id, "day": {"$gte": first_day(at).isoformat(), "$lte": at.date().isoformat()}}
        by_day = await counted(self._database[_ORDERS], since, "day")
        orders = {date.fromisoformat(day): count for day, count in by_day.items()}
        issues = await self._database[_ISSUES].find(since, batch_size=10_000).to_list(None)
        ends = await self._outcomes([issue["_id"] for issue in issues]) if issues else {}
        return Window(
            orders,
            tuple(
                Issue(issue["_id"], issue["order"], date.fromisoformat(issue["day"]), ends.get(issue["_id"]))
                for issue in issues
            ),
        )

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
        wanted = {"_id": {"$in": keys}, "body.status": {"$ne": "ok"}}
        found = await self._database[RATES].find(wanted, {"body.merchant_id": 1}, batch_size=10_000).to_list(None)
        return frozenset(rate["body"]["merchant_id"] for rate in found)


def _version(end: tuple[int, str | None]) -> int:
    return end[0]


def _is_end(event: CaseMoved) -> bool:
    return event.change.outcome is not None or event.change.reopened


def _lines(message: Message) -> list[Append]:
    """What is kept of an event. The day of an order is that of its placing, in UTC."""
    match message:
        case OrderRegistered(order=order) if order.origin == "registered":
            line: dict[str, Any] = {"_id": order.order_id, "merchant": order.merchant_id, "day": _day(order.placed_at)}
            return [Append(_ORDERS, line)]
        case CaseOpened(order=order) if order.origin == "registered":
            line = {
                "_id": message.case_id,
                "order": order.order_id,
                "merchant": order.merchant_id,
                "day": _day(order.placed_at),
            }
            return [Append(_ISSUES, line)]
        case CaseMoved() if _is_end(message):
            line = {
                "_id": f"{message.case_id}:{message.case_version}",
                "case": message.case_id,
                "version": message.case_version,
                # What a rule decided counts, but nobody has found a fault.
                "outcome": message.change.outcome if message.decided_by is None else "settled",
            }
            return [Append(_ENDS, line)]
        case _:
            return []


def _day(placed_at: datetime) -> str:
    return format_moment(placed_at)[:10]


def asked_by(inbound: Inbound, findings: RateFindings) -> tuple[Emission, ...]:
    """The question that an event raises: how its merchant stands now. An order alone can only better a share."""
    match inbound.envelope.message:
        case CaseOpened(order=order) if order.origin == "registered":
            merchant_id: str | None = order.merchant_id
        case CaseMoved(case_id=case_id):
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
    """Reckon, appeal or decide an appeal. What an event asked changes nothing while the status stays; what somebody asked is
    answered with the figures of the moment. 403, 404 and 409 for appeals that are not the caller's, not there or not open."""
    envelope = inbound.envelope
    asked = envelope.source == "gateway"
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
    after = reckoned(after, command.merchant_id, findings.windows[command.merchant_id], envelope.time)
    if _same(after, before) or (not asked and after.status == before.status):
        return Step(known, (repeating(inbound, _href(command)),) if asked else ())
    after = after.model_copy(update={"version": before.version + 1})
    event = IssueRateChanged(rate=after, before=before.status)
    told = Emission(ESCALATION_EVENTS, event, envelope.time, command_id=envelope.id if asked else None, settles=asked)
    return Step(after, (told, *_notice(after, before, envelope.time)))


def _notice(after: IssueRate, before: IssueRate, at: datetime) -> tuple[Emission, ...]:
    """The mail to the merchant about a new status. That it has appealed it knows."""
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
    return (Emission(NOTIFICATIONS_COMMANDS, notice, at, sequenced=False),)


def _same(after: IssueRate, before: IssueRate) -> bool:
    return before.version > 0 and after.model_copy(update={"at": before.at}) == before


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
