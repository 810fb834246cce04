"""What escalation does with each record: puts down the moments that events set, keeps the platform's tables, decides new
cases that a rule is for, watches the issue rates, and tells deadlines of outages."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chassis.handler import Inbound, Step
from chassis.store import Append
from contracts.cases import CaseOpened
from contracts.ids import merchant_key
from contracts.issue_rate import AppealIssueRate, AskIssueRate, DecideAppeal, IssueRate
from contracts.matrix import RULES_KEY, PutDecisionRule, RunBackTest, WithdrawDecisionRule
from contracts.outages import RecordOutage
from contracts.topics import READS, Topic
from engine.programmes import Programmes
from services.escalation.matrix import Findings, Matrix, decision_of, told_of_trial
from services.escalation.outages import Affected, affected_by, told_of_outage
from services.escalation.pages import Page, Timer, pages_of, timers_of
from services.escalation.rates import RATES, RateFindings, Rates, asked_by, follow_rate
from services.escalation.rules import RuleTable, change_rule
from services.escalation.store import PAGES, TABLES, TimerStore
from services.escalation.timers import Timers

__all__ = ["EscalationHandler", "Found"]


State = RuleTable | IssueRate | None
"""The state of a key: the platform's tables and the merchants' issue rates have documents here, orders have none."""

_MERCHANT_PREFIX = merchant_key("")


@dataclass(frozen=True, slots=True)
class Found:
    """What a batch needs beside its documents."""

    matrix: Findings
    rates: RateFindings
    outages: Mapping[str, Affected]


class EscalationHandler:
    """Timers of events, gathered into pages a batch at a time; the decision matrix; issue rates; outages."""

    service: str = "escalation"
    topics: tuple[Topic, ...] = READS["escalation"]
    # Without a document nothing is known of an order's earlier events; a repeated one sets the same timers again.
    gapless: frozenset[str] = frozenset()
    ignored: frozenset[str] = frozenset(
        {
            "fact.recorded",
            "check-in.asked",
            "order.changed",
            "case.message-posted",
            "command.refused",
            "command.repeated",
        }
    )

    def __init__(self, timers: Timers, store: TimerStore, matrix: Matrix, rates: Rates, programmes: Programmes) -> None:
        self._timers = timers
        self._store = store
        self._matrix = matrix
        self._rates = rates
        self._programmes = programmes

    def collection_of(self, key: str) -> str | None:
        return TABLES if key == RULES_KEY else RATES if key.startswith(_MERCHANT_PREFIX) else None

    def load(self, body: dict[str, Any] | None) -> State:
        if body is None:
            return None
        return IssueRate.model_validate(body) if "merchant_id" in body else RuleTable.model_validate(body)

    def dump(self, state: State) -> dict[str, Any]:
        if state is None:
            raise ValueError("there is nothing to keep")
        return state.model_dump(mode="json")

    async def prepare(self, batch: Sequence[Inbound]) -> Found:
        """What the matrix says about the batch's new cases and back-tests, the orders and cases behind its rates, and the cases
        that its outages touch."""
        return Found(await self._matrix.find(batch), await self._rates.find(batch), await affected_by(batch, self._store))

    def apply(self, state: State, inbound: Inbound, context: Found) -> Step[State]:
        message = inbound.envelope.message
        match message:
            case PutDecisionRule() | WithdrawDecisionRule():
                table = state if isinstance(state, RuleTable) else None
                return change_rule(table, inbound, message, self._programmes)
            case AskIssueRate() | AppealIssueRate() | DecideAppeal():
                rate = state if isinstance(state, IssueRate) else None
                return follow_rate(rate, inbound, message, context.rates)
            case RecordOutage():
                return Step(state, told_of_outage(inbound, message, context.outages[inbound.envelope.id]))
            case RunBackTest():
                return Step(state, told_of_trial(inbound, message, context.matrix.trials[inbound.envelope.id]))
            case CaseOpened() if (rule := context.matrix.refunds.get(message.case_id)) is not None:
                return Step(state, (decision_of(message, rule), *asked_by(inbound, context.rates)), _timers_set(inbound))
            case _:
                return Step(state, asked_by(inbound, context.rates), _timers_set(inbound))

    def pack(self, appends: Sequence[Append], batch: Mapping[int, tuple[str, int]]) -> Sequence[Append]:
        """The batch's timers as pages."""
        pages = pages_of(timer for append in appends for timer in _timers_in(append))
        return [Append(PAGES, page.document()) for page in pages]

    async def appended(self, appends: Sequence[Append]) -> None:
        await self._timers.added([Page.of(append.document) for append in appends])

    async def assigned(self, partitions: frozenset[int]) -> None:
        await self._timers.assigned(partitions)

    def pending(self) -> Mapping[str, int]:
        return {"timers": self._timers.pending()}


def _timers_in(append: Append) -> Iterator[tuple[int, Timer]]:
    """The timers of an append with their partition: a single one, or a page where a document remembers it."""
    if "timer" in append.document:
        yield append.document["partition"], append.document["timer"]
    else:
        page = Page.of(append.document)
        yield from ((page.partition, timer) for timer in page.timers)


def _timers_set(inbound: Inbound) -> tuple[Append, ...]:
    timers = timers_of(inbound.envelope.message)
    return tuple(Append(PAGES, {"partition": inbound.partition, "timer": timer}) for timer in timers)
