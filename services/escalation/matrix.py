"""The decision matrix at work (CP-07, NX-18): what a batch's new cases meet, and rules tried on past cases."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from chassis.handler import Emission, Inbound
from chassis.store import Database, KnownDocument
from contracts.actors import Actor
from contracts.base import Message
from contracts.cases import CaseOpened, RuleRef, TakeAction
from contracts.ids import derived
from contracts.matrix import RULES_KEY, BackTestDone, BackTestPart, DecisionRule, DecisionRuleContent, RunBackTest
from contracts.problems import Problem
from contracts.topics import CASES_COMMANDS, ESCALATION_EVENTS
from engine.matrix import HISTORY, BackTest, asks_history, in_force, matched, opening_of
from engine.programmes import Programmes
from services.escalation.answers import refusing
from services.escalation.caps import Caps
from services.escalation.openings import Openings, buyer_of
from services.escalation.rules import RuleTable, misfits
from services.escalation.store import TABLES

__all__ = ["Findings", "Matrix", "Trial", "decision_of", "told_of_trial"]

_PART = 2_000
"""Decisions that one record carries: a few hundred kB, below what a broker takes."""

_SAYS: Mapping[str, str] = {
    "en": "Your case was decided at once: you get a full refund.",
    "de": "Ihr Fall wurde sofort entschieden: Sie erhalten eine volle Erstattung.",
    "it": "Il suo caso è stato deciso subito: riceverà un rimborso completo.",
    "pl": "Sprawa została rozstrzygnięta od razu: otrzymają Państwo pełny zwrot pieniędzy.",
    "nl": "Over uw zaak is meteen beslist: u krijgt een volledige terugbetaling.",
    "fr": "Votre dossier a été tranché immédiatement : vous serez intégralement remboursé.",
    "es": "Su caso se ha resuelto de inmediato: recibirá un reembolso completo.",
    "pt": "O seu caso foi decidido de imediato: receberá um reembolso total.",
}
"""What the decision tells the buyer, in its language."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A back-test that was run: what was tried, and how it went; a problem where it could not be."""

    test: BackTest | None = None
    rule: DecisionRule | None = None
    problem: Problem | None = None


@dataclass(frozen=True, slots=True)
class Findings:
    """What a batch needs beside its documents: the rule that refunds a case, by case, and the back-tests, by command."""

    refunds: Mapping[str, DecisionRule] = field(default_factory=dict)
    trials: Mapping[str, Trial] = field(default_factory=dict)


class Matrix:
    """Holds new cases against the rules in force, and past ones against a rule that is tried."""

    def __init__(self, database: Database, programmes: Programmes, secret: str) -> None:
        """`secret` keys the digests of buyers: with another one their earlier cases are not found again."""
        self.openings = Openings(database)
        self.caps = Caps(database)
        self._rules = KnownDocument(database, TABLES, RULES_KEY, RuleTable.model_validate, RuleTable())
        self._programmes = programmes
        self._secret = secret

    async def create_indexes(self) -> None:
        await self.openings.create_indexes()
        await self.caps.create_indexes()

    async def find(self, batch: Sequence[Inbound]) -> Findings:
        """Keep the batch's new cases and find out which of them a rule refunds within its caps; run its back-tests. The same
        batch again, or cut differently, gives the same."""
        opened = [inbound.envelope.message for inbound in batch if isinstance(inbound.envelope.message, CaseOpened)]
        trials = [inbound for inbound in batch if isinstance(inbound.envelope.message, RunBackTest)]
        if not opened and not trials:
            return Findings()
        table = await self._rules.read()
        return Findings(
            refunds=await self._refunds(opened, table) if opened else {},
            trials={inbound.envelope.id: await self._try(inbound.envelope.message, table) for inbound in trials},
        )

    async def _refunds(self, opened: Sequence[CaseOpened], table: RuleTable) -> dict[str, DecisionRule]:
        openings = [opening_of(event, buyer_of(self._secret, event.order.buyer.email), self._programmes) for event in opened]
        await self.openings.keep(openings)
        # The rules of the moment at which a case opened, so that a case that comes again meets the same ones.
        rules = {opening.at: in_force(table.versions, opening.at) for opening in openings}
        curious = [opening for opening in openings if any(asks_history(rule) for rule in rules[opening.at])]
        earlier = await self.openings.earlier_cases(curious) if curious else {}
        met = [(matched(rules[each.at], each, earlier.get(each.case_id, 0)), each) for each in openings]
        asked = [(rule, opening) for rule, opening in met if rule is not None and rule.decision == "refund"]
        given = await self.caps.give(asked) if asked else frozenset[str]()
        return {opening.case_id: rule for rule, opening in asked if opening.case_id in given}

    async def _try(self, command: Message, table: RuleTable) -> Trial:
        assert isinstance(command, RunBackTest)
        kept: DecisionRule | None = None
        rule: DecisionRuleContent | None = command.rule
        if command.rule_id is not None:
            rule = kept = table.latest(command.rule_id)
            if kept is None:
                return Trial(problem=Problem.not_found("decision rule"))
        assert rule is not None
        if command.rule is not None and (errors := tuple(misfits(rule, self._programmes))):
            below = (error.model_copy(update={"pointer": f"/rule{error.pointer}"}) for error in errors)
            return Trial(problem=Problem.invalid_input(*below))
        test = BackTest(rule, since=command.since, until=command.until)
        begin = command.since
        if begin is not None and asks_history(rule):
            begin -= HISTORY
        async for opening in self.openings.between(begin, command.until):
            test.add(opening)
        return Trial(test=test, rule=kept)


def decision_of(event: CaseOpened, rule: DecisionRule) -> Emission:
    """The command that refunds a case in the name of a rule. Its id is the case's, so that it is done once however often it is
    sent."""
    locale = (event.order.buyer.locale or event.order.merchant_locale).replace("_", "-").split("-")[0]
    command = TakeAction(
        case_id=event.case_id,
        action="decide",
        fields={"outcome": "refund", "message": _SAYS.get(locale, _SAYS["en"])},
        actor=Actor(role="system", id="matrix"),
        decided_by=RuleRef(rule_id=rule.rule_id, version=rule.version),
    )
    decision_id = derived("automatic-decision", event.case_id)
    return Emission(CASES_COMMANDS, command, event.at, sequenced=False, id=decision_id)


def told_of_trial(inbound: Inbound, command: RunBackTest, trial: Trial) -> tuple[Emission, ...]:
    """The result of a back-test, its decisions in parts before it."""
    envelope = inbound.envelope
    if trial.problem is not None or trial.test is None:
        return (refusing(inbound, trial.problem or Problem.not_found("decision rule")),)
    tried, trial_id, rule = trial.test.tried, command.back_test_id, trial.rule
    parts = [
        BackTestPart(back_test_id=trial_id, number=number, decisions=tuple(tried[start : start + _PART]))
        for number, start in enumerate(range(0, len(tried), _PART))
    ]
    done = BackTestDone(
        back_test_id=trial_id,
        tried=None if rule is None else RuleRef(rule_id=rule.rule_id, version=rule.version),
        result=trial.test.result(),
        parts=len(parts),
    )
    told = tuple(Emission(ESCALATION_EVENTS, part, envelope.time, sequenced=False) for part in parts)
    return (
        *told,
        Emission(ESCALATION_EVENTS, done, envelope.time, command_id=envelope.id, settles=True, sequenced=False),
    )
