"""The decision matrix (CP-07, NX-18): rules by which small cases are decided at once, and trying a rule on past cases."""

from typing import Annotated, Literal

from pydantic import Field

from contracts.actors import Actor
from contracts.base import GivenMoment, Message, Model, Moment
from contracts.cases import RuleRef
from contracts.money import Money
from contracts.texts import Code, VisibleName

__all__ = [
    "RULES_KEY",
    "TRIALS_KEY",
    "BackTestContent",
    "BackTestDone",
    "BackTestPart",
    "BackTestResult",
    "DecisionRule",
    "DecisionRuleChanged",
    "DecisionRuleContent",
    "PutDecisionRule",
    "RuleCaps",
    "RuleConditions",
    "RunBackTest",
    "TriedCase",
    "WithdrawDecisionRule",
]

RULES_KEY = "plt:decision-rules"
"""The record key of all rules: one document, so that they are numbered and changed one after the other."""

TRIALS_KEY = "plt:back-tests"
"""The record key of back-tests; they change nothing, so there is no document."""

Count = Annotated[int, Field(ge=0, le=1_000_000_000, strict=True)]


class RuleConditions(Model):
    """All that are given must hold. The amount is what was paid for the order; a rule about amounts fits its currency alone."""

    amount_max: Money | None = None
    """At most this, itself included."""
    amount_min: Money | None = None
    """At least this, itself included."""
    reasons: Annotated[tuple[Code, ...], Field(min_length=1, max_length=100)] | None = None
    merchants: Annotated[tuple[Code, ...], Field(min_length=1, max_length=1_000)] | None = None
    buyer_cases_max: Count | None = None
    """At most as many cases of the same buyer's e-mail address in the 365 days before this one, at whichever merchant."""


class RuleCaps(Model):
    """How many refunds the rule gives at most. A day is a day in the merchant's zone; a new version goes on counting."""

    per_buyer_day: Count | None = None
    per_merchant_day: Count | None = None
    per_day: Count | None = None


class DecisionRuleContent(Model):
    """A rule of the decision matrix. The first one that fits a new case decides, the lowest `priority` first; rules of equal
    priority in the order in which they were made."""

    name: VisibleName
    programme: Code | None = None
    """Without it, any programme in which the platform decides."""
    conditions: RuleConditions = RuleConditions()
    decision: Literal["refund", "no_automatic"]
    """`refund`: all that is refundable, at once; beyond a cap the case goes its ordinary way. `no_automatic`: the case goes its
    ordinary way, whatever later rules say."""
    caps: RuleCaps = RuleCaps()
    effective_from: GivenMoment | None = None
    """In force from then on, never before it was made; at once by default. The version before stays in force until then."""
    priority: Annotated[int, Field(ge=-1_000_000, le=1_000_000, strict=True)] = 0


class DecisionRule(DecisionRuleContent):
    """One version of a rule, which never changes. `withdrawn_at` is set on the last one of a rule that was taken away."""

    rule_id: str
    version: int
    made_at: Moment
    """When the rule was first made."""
    changed_at: Moment
    """When this version was made."""
    in_force_from: Moment
    withdrawn_at: Moment | None = None


class BackTestContent(Model):
    """A rule, given whole or by its id (then its latest version), and the span of openings to try it on: `from` included, `to`
    excluded; without them, all that is known."""

    rule: DecisionRuleContent | None = None
    rule_id: Code | None = None
    from_: Annotated[GivenMoment | None, Field(alias="from")] = None
    to: GivenMoment | None = None


class TriedCase(Model):
    """What a rule would have done about a case that it fits."""

    case_id: str
    decision: Literal["refund", "no_automatic", "capped"]


class BackTestResult(Model):
    """Cases that opened in the span, those that the rule fits, those it would have refunded, those beyond a cap, and what the
    refunds would have cost, by currency."""

    cases: int
    matched: int
    decided: int
    capped: int
    costs: tuple[Money, ...]
    decisions_left_out: int = 0
    """Of the cases that it fits, those that are counted but not listed."""


# Commands to escalation


class PutDecisionRule(Message, kind="decision-rule.put"):
    """Make a rule (`new`), or the next version of one."""

    rule_id: str
    content: DecisionRuleContent
    new: bool
    if_match: int | None = None
    actor: Actor


class WithdrawDecisionRule(Message, kind="decision-rule.withdraw"):
    """Take a rule away: it decides nothing any more. Its versions stay, as decisions name them."""

    rule_id: str
    if_match: int | None = None
    actor: Actor


class RunBackTest(Message, kind="back-test.run"):
    """Try a rule on past cases; changes nothing."""

    back_test_id: str
    rule: DecisionRuleContent | None = None
    rule_id: str | None = None
    since: Moment | None = None
    until: Moment | None = None
    actor: Actor


# Events of escalation


class DecisionRuleChanged(Message, kind="decision-rule.changed"):
    """A version was made, or the rule withdrawn."""

    rule: DecisionRule


class BackTestPart(Message, kind="back-test.part"):
    """Some of the decisions of a back-test, in the order in which the cases opened. The result follows the last part."""

    back_test_id: str
    number: int
    """From 0."""
    decisions: tuple[TriedCase, ...]


class BackTestDone(Message, kind="back-test.done"):
    """The result of a back-test; its decisions came before it, in so many `parts`."""

    back_test_id: str
    tried: RuleRef | None = None
    """Where it is a rule that exists: which version was tried."""
    result: BackTestResult
    parts: int
