"""The rules of the decision matrix (CP-07) as escalation keeps them: one document with every version of every rule."""

from collections.abc import Iterator

from chassis.handler import Emission, Inbound, Step
from contracts.base import Model
from contracts.matrix import (
    DecisionRule,
    DecisionRuleChanged,
    DecisionRuleContent,
    PutDecisionRule,
    WithdrawDecisionRule,
)
from contracts.money import Money
from contracts.problems import FieldError, Problem
from contracts.topics import ESCALATION_EVENTS
from engine.matrix import decided_by_rules
from engine.programmes import Programmes
from services.escalation.answers import refusing, repeating

__all__ = ["RuleTable", "change_rule", "misfits"]

MOST_RULES = 200
"""Rules that can be in force together: every new case is held against each of them."""
MOST_BYTES = 6 * 1024 * 1024
"""Of the whole table, as JSON: a store refuses documents of 16 MiB, and this one also remembers what it told last."""
_REMEMBERED = 8


class RuleTable(Model):
    """Every version of every rule, in the order in which they were made, and the latest commands that made some: one that comes
    again must not make another."""

    versions: tuple[DecisionRule, ...] = ()
    commands: tuple[str, ...] = ()

    def latest(self, rule_id: str) -> DecisionRule | None:
        """The last version of a rule; None for one that was never made or is withdrawn."""
        found = next((rule for rule in reversed(self.versions) if rule.rule_id == rule_id), None)
        return None if found is None or found.withdrawn_at is not None else found

    def standing(self) -> int:
        """How many rules are not withdrawn."""
        return len({rule.rule_id for rule in self.versions} - {rule.rule_id for rule in self.versions if rule.withdrawn_at})


def change_rule(
    table: RuleTable | None, inbound: Inbound, command: PutDecisionRule | WithdrawDecisionRule, programmes: Programmes
) -> Step[RuleTable | None]:
    """Make a rule, its next version, or withdraw it. 403 for anybody but the platform, 404 for a rule that is not there, 412
    for another version than `if_match`, 422 for conditions that contradict themselves or name what no programme knows, 409
    where the table is full."""
    envelope = inbound.envelope
    known = table or RuleTable()
    if command.actor.role != "platform":
        return Step(table, (refusing(inbound, Problem.forbidden("Decision rules are the platform's.")),))
    if envelope.id in known.commands:
        return Step(table, (repeating(inbound, f"/v1/decision-rules/{command.rule_id}"),))
    before = known.latest(command.rule_id)
    new = isinstance(command, PutDecisionRule) and command.new
    if before is None and not new:
        return Step(table, (refusing(inbound, Problem.not_found("decision rule")),))
    if stale := Problem.stale(command.if_match, None if before is None else before.version):
        return Step(table, (refusing(inbound, stale),))
    if isinstance(command, WithdrawDecisionRule):
        assert before is not None
        rule = before.model_copy(update={"withdrawn_at": envelope.time})
        versions = tuple(rule if each is before else each for each in known.versions)
    else:
        if errors := tuple(misfits(command.content, programmes)):
            return Step(table, (refusing(inbound, Problem.invalid_input(*errors)),))
        if new and known.standing() >= MOST_RULES:
            return Step(table, (refusing(inbound, _full()),))
        effective = command.content.effective_from
        rule = DecisionRule.model_validate(
            {
                **command.content.__dict__,
                "rule_id": command.rule_id,
                "version": 1 if before is None else before.version + 1,
                "made_at": envelope.time if before is None else before.made_at,
                "changed_at": envelope.time,
                "in_force_from": envelope.time if effective is None else max(effective, envelope.time),
            }
        )
        versions = (*known.versions, rule)
    after = RuleTable(versions=versions, commands=(*known.commands, envelope.id)[-_REMEMBERED:])
    if len(after.model_dump_json()) > MOST_BYTES:
        return Step(table, (refusing(inbound, _full()),))
    event = DecisionRuleChanged(rule=rule)
    return Step(after, (Emission(ESCALATION_EVENTS, event, envelope.time, command_id=envelope.id, settles=True),))


def _full() -> Problem:
    return Problem(
        type="/problems/too-many-rules",
        title="There are too many decision rules",
        status=409,
        detail=f"At most {MOST_RULES} rules stand together, and all versions together take {MOST_BYTES >> 20} MiB at most.",
    )


def misfits(content: DecisionRuleContent, programmes: Programmes) -> Iterator[FieldError]:
    """Where a rule contradicts itself or names what there is not."""
    wanted = content.conditions
    for name, bound in (("amount_min", wanted.amount_min), ("amount_max", wanted.amount_max)):
        if bound is not None and bound.amount < 0:
            yield _wrong(f"/conditions/{name}/amount", "An amount is zero or more.")
    if wanted.amount_min is not None and wanted.amount_max is not None:
        yield from _range(wanted.amount_min, wanted.amount_max)
    names = programmes.known()
    if content.programme is not None and content.programme not in names:
        yield FieldError(
            pointer="/programme", detail=f"There is no programme {content.programme}; use one of {', '.join(names)}."
        )
        return
    deciding = tuple(name for name in names if any(map(decided_by_rules, programmes.versions(name))))
    if content.programme is not None and content.programme not in deciding:
        detail = f"No rule decides cases of {content.programme}; use one of {', '.join(deciding)}."
        yield FieldError(pointer="/programme", detail=detail)
        return
    asked = deciding if content.programme is None else (content.programme,)
    reasons = {code for name in asked for version in programmes.versions(name) for code in version.reasons}
    for index, reason in enumerate(wanted.reasons or ()):
        if reason not in reasons:
            known = ", ".join(sorted(reasons))
            yield FieldError(
                pointer=f"/conditions/reasons/{index}", detail=f"No case opens for {reason} here; known are {known}."
            )


def _range(least: Money, most: Money) -> Iterator[FieldError]:
    if least.currency != most.currency:
        yield FieldError(
            pointer="/conditions/amount_max/currency", detail=f"amount_min is in {least.currency}; give both in one currency."
        )
    elif least > most:
        yield FieldError(pointer="/conditions/amount_max", detail=f"It lies below amount_min, {least}: no case fits.")


def _wrong(pointer: str, detail: str) -> FieldError:
    return FieldError(pointer=pointer, detail=detail)
