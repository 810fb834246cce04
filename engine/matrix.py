"""The decision matrix (CP-07, NX-18), pure: which rule a case meets when it opens, and whether its caps have room.

Live decisions and back-tests ask the same two functions, `matched` and `granted`; they differ in where the buyer's earlier
cases and the refunds already given are counted."""

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from contracts.cases import CaseOpened
from contracts.ids import order_of
from contracts.matrix import BackTestResult, DecisionRule, DecisionRuleContent, RuleCaps, TriedCase
from contracts.money import Money
from engine.casefile import balance, ledger_of
from engine.programmes import Programme, Programmes

__all__ = [
    "HISTORY",
    "BackTest",
    "Opening",
    "asks_history",
    "decided_by_rules",
    "granted",
    "in_force",
    "matched",
    "meets",
    "opening_of",
    "slots_of",
]

HISTORY = timedelta(days=365)
"""How far back the cases of a buyer count."""

MOST_LISTED = 20_000
"""Cases that a back-test lists one by one; the others are counted."""


@dataclass(frozen=True, slots=True)
class Opening:
    """A case as it opened, as far as rules ask. `buyer` stands for the buyer's e-mail address without being it; `day` is the
    day in the merchant's zone; `amount` was paid for the order, `left` is what of it may be refunded at once. `decidable`: a
    rule may decide this case."""

    case_id: str
    at: datetime
    programme: str
    reason: str
    merchant_id: str
    buyer: str
    amount: Money
    left: Money
    day: str
    decidable: bool


def opening_of(event: CaseOpened, buyer: str, programmes: Programmes) -> Opening:
    """The opening that an event tells of. Not for rules to decide is a case of a programme that is not known here (yet) or that
    an outside body decides, one on an order that is known from its report alone, one whose reporter nobody has proved, and one
    of whose order nothing may be refunded at once: it is refunded, or another case asks for it."""
    try:
        ruled = decided_by_rules(programmes.get(event.policy.programme, event.policy.version))
    except KeyError:
        ruled = False
    left = event.refundable_at_once
    if left is None:
        left = balance(event.order.amount, ledger_of(event.order, event.facts)).refundable
    return Opening(
        case_id=event.case_id,
        at=event.at,
        programme=event.policy.programme,
        reason=event.report.reason,
        merchant_id=event.order.merchant_id,
        buyer=buyer,
        amount=event.order.amount,
        left=left,
        day=_day(event.at, event.order.timezone),
        decidable=ruled and event.order.origin == "registered" and left.amount > 0 and event.report.proved is True,
    )


def decided_by_rules(programme: Programme) -> bool:
    """Whether the platform may decide cases of a programme by a rule."""
    action = programme.actions.get("decide")
    return action is not None and "system" in action.by


@lru_cache(maxsize=256)
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


def _day(at: datetime, timezone: str) -> str:
    return at.astimezone(_zone(timezone)).date().isoformat()


def in_force(versions: Iterable[DecisionRule], at: datetime) -> tuple[DecisionRule, ...]:
    """The rules in force at a moment, each in its version of then, in the order in which they are asked."""
    current: dict[str, DecisionRule] = {}
    withdrawn: set[str] = set()
    for each in versions:
        if each.withdrawn_at is not None and each.withdrawn_at <= at:
            withdrawn.add(each.rule_id)
        known = current.get(each.rule_id)
        if each.in_force_from <= at and (known is None or each.version > known.version):
            current[each.rule_id] = each
    asked = (rule for rule_id, rule in current.items() if rule_id not in withdrawn)
    return tuple(sorted(asked, key=lambda rule: (rule.priority, rule.made_at, rule.rule_id)))


def asks_history(rule: DecisionRuleContent) -> bool:
    """Whether the rule asks for the buyer's earlier cases."""
    return rule.conditions.buyer_cases_max is not None


def meets(rule: DecisionRuleContent, opening: Opening, buyer_cases: int) -> bool:
    """Whether a case fits a rule. `buyer_cases`: those of the same buyer in the 365 days before it."""
    wanted = rule.conditions
    least, most, amount = wanted.amount_min, wanted.amount_max, opening.amount
    return (
        opening.decidable
        and rule.programme in (None, opening.programme)
        and (wanted.reasons is None or opening.reason in wanted.reasons)
        and (wanted.merchants is None or opening.merchant_id in wanted.merchants)
        and (least is None or (least.currency == amount.currency and least <= amount))
        and (most is None or (most.currency == amount.currency and amount <= most))
        and (wanted.buyer_cases_max is None or buyer_cases <= wanted.buyer_cases_max)
    )


def matched(rules: Sequence[DecisionRule], opening: Opening, buyer_cases: int) -> DecisionRule | None:
    """The rule that decides: the first one that fits, in the order of `in_force`."""
    return next((rule for rule in rules if meets(rule, opening, buyer_cases)), None)


def slots_of(caps: RuleCaps, opening: Opening) -> Mapping[str, int]:
    """What a refund takes one of on its day, with how many of it there are: {"day": 10, "merchant:…": 3, "buyer:…": 1}."""
    limits = (
        ("day", caps.per_day),
        (f"merchant:{opening.merchant_id}", caps.per_merchant_day),
        (f"buyer:{opening.buyer}", caps.per_buyer_day),
    )
    return {slot: limit for slot, limit in limits if limit is not None}


def granted(caps: RuleCaps, opening: Opening, taken: MutableMapping[str, int]) -> bool:
    """Take one of each slot, or none where one is full. `taken` counts those of the rule on the case's day."""
    slots = slots_of(caps, opening)
    if any(taken.get(slot, 0) >= limit for slot, limit in slots.items()):
        return False
    for slot in slots:
        taken[slot] = taken.get(slot, 0) + 1
    return True


@dataclass(slots=True)
class BackTest:
    """One rule alone on past cases, given in the order in which they opened, from 365 days before the span on. Cases outside
    the span only count as their buyer's earlier ones."""

    rule: DecisionRuleContent
    since: datetime | None = None
    until: datetime | None = None
    cases: int = 0
    decided: int = 0
    capped: int = 0
    matched: int = 0
    tried: list[TriedCase] = field(default_factory=list)
    _costs: dict[str, Money] = field(default_factory=dict)
    _taken: dict[str, Counter[str]] = field(default_factory=dict)
    _earlier: dict[str, deque[datetime]] = field(default_factory=dict)
    _refunded: set[str] = field(default_factory=set)
    """Orders of which the rule has left nothing."""

    def add(self, opening: Opening) -> None:
        """Try the rule on the next case."""
        buyer_cases = self._buyer_cases(opening) if asks_history(self.rule) else 0
        if (self.since is not None and opening.at < self.since) or (self.until is not None and opening.at >= self.until):
            return
        self.cases += 1
        order_id = order_of(opening.case_id)
        if order_id in self._refunded or not meets(self.rule, opening, buyer_cases):
            return
        self.matched += 1
        decision = self.rule.decision
        if decision == "refund":
            if granted(self.rule.caps, opening, self._taken.setdefault(opening.day, Counter())):
                self.decided += 1
                self._refunded.add(order_id)
                spent = self._costs.get(opening.left.currency)
                self._costs[opening.left.currency] = opening.left if spent is None else spent + opening.left
            else:
                self.capped += 1
                decision = "capped"
        if len(self.tried) < MOST_LISTED:
            self.tried.append(TriedCase(case_id=opening.case_id, decision=decision))

    def result(self) -> BackTestResult:
        """What the rule would have done."""
        return BackTestResult(
            cases=self.cases,
            matched=self.matched,
            decided=self.decided,
            capped=self.capped,
            costs=tuple(self._currencies()),
            decisions_left_out=self.matched - len(self.tried),
        )

    def _currencies(self) -> Iterator[Money]:
        """The rule's own currency first, zero where nothing was spent in it; then the others by name."""
        wanted = self.rule.conditions
        own = next((bound.currency for bound in (wanted.amount_max, wanted.amount_min) if bound is not None), None)
        if own is not None:
            yield self._costs.get(own, Money.zero(own))
        for currency in sorted(self._costs):
            if currency != own:
                yield self._costs[currency]

    def _buyer_cases(self, opening: Opening) -> int:
        """The buyer's cases of the year before this one, which is counted from now on."""
        earlier = self._earlier.setdefault(opening.buyer, deque())
        while earlier and earlier[0] <= opening.at - HISTORY:
            earlier.popleft()
        count = len(earlier)
        earlier.append(opening.at)
        return count
