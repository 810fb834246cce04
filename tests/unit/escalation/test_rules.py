"""The table of rules: made, replaced and withdrawn, each command once; contradictions are refused where they stand."""

from datetime import timedelta
from typing import Any

import pytest

from chassis.handler import Inbound
from contracts.actors import Actor
from contracts.envelope import Envelope
from contracts.matrix import DecisionRuleChanged
from contracts.orders import CommandRefused, CommandRepeated
from engine.matrix import in_force
from engine.programmes import Programmes
from services.escalation import rules as rules_module
from services.escalation.rules import RuleTable, change_rule, misfits
from tests.unit.escalation.opening import AT, content, put_rule, withdraw_rule

PROGRAMMES = Programmes.shipped()


def play(*envelopes: Envelope, table: RuleTable | None = None) -> tuple[RuleTable | None, list[Any]]:
    """The table after these commands, and what each was answered with."""
    answers: list[Any] = []
    for envelope in envelopes:
        step = change_rule(table, Inbound(envelope, "escalation.commands", 0, 0), envelope.message, PROGRAMMES)  # type: ignore[arg-type]
        table = step.state
        (emission,) = step.emissions
        assert emission.settles
        assert emission.command_id == envelope.id
        answers.append(emission.message)
    return table, answers


@pytest.mark.rule("CP-07")
def test_put_makes_a_version_and_the_old_one_stays() -> None:
    later = AT + timedelta(days=1)
    table, answers = play(
        put_rule(content()),
        put_rule(content(name="Larger", effective_from=AT + timedelta(days=2)), "put-2", at=later, new=False, if_match=1),
    )
    assert table is not None
    assert [(each.version, each.name, each.in_force_from) for each in table.versions] == [
        (1, "Small", AT),
        (2, "Larger", AT + timedelta(days=2)),
    ]
    assert all(isinstance(each, DecisionRuleChanged) for each in answers)
    assert answers[1].rule.made_at == AT
    assert answers[1].rule.changed_at == later
    assert [each.version for each in in_force(table.versions, later)] == [1]


@pytest.mark.rule("CP-07")
def test_a_rule_never_reaches_back() -> None:
    table, _ = play(put_rule(content(effective_from=AT - timedelta(days=9))))
    assert table is not None
    assert table.versions[0].in_force_from == AT


def test_a_command_that_comes_again_makes_no_second_version() -> None:
    table, answers = play(put_rule(content()), put_rule(content()))
    assert table is not None
    assert len(table.versions) == 1
    assert isinstance(answers[1], CommandRepeated)


@pytest.mark.rule("CP-07")
def test_what_is_withdrawn_is_gone_but_its_versions_stay() -> None:
    table, answers = play(
        put_rule(content()), withdraw_rule("w-1"), withdraw_rule("w-2"), put_rule(content(), "p-2", new=False)
    )
    assert table is not None
    assert table.latest("drl_1") is None
    assert table.standing() == 0
    assert table.versions[0].withdrawn_at == AT
    assert [each.problem.status for each in answers[2:]] == [404, 404]
    assert in_force(table.versions, AT) == ()


def test_versions_are_matched_and_only_the_platform_makes_rules() -> None:
    partner = Actor(role="partner", id="partner")
    table, answers = play(
        put_rule(content()),
        put_rule(content(), "p-2", new=False, if_match=2),
        withdraw_rule("w-1", if_match=3),
        put_rule(content(), "p-3", rule_id="drl_2", actor=partner),
        put_rule(content(), "p-4", rule_id="drl_9", new=False),
    )
    assert [each.problem.status for each in answers[1:]] == [412, 412, 403, 404]
    assert table is not None
    assert len(table.versions) == 1


def test_the_table_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules_module, "MOST_RULES", 2)
    table, answers = play(*(put_rule(content(), f"p-{number}", rule_id=f"drl_{number}") for number in range(3)))
    assert isinstance(answers[2], CommandRefused)
    assert answers[2].problem.status == 409
    _, answers = play(withdraw_rule("w", rule_id="drl_0"), put_rule(content(), "p-4", rule_id="drl_4"), table=table)
    assert isinstance(answers[1], DecisionRuleChanged)
    monkeypatch.setattr(rules_module, "MOST_BYTES", 100)
    _, answers = play(put_rule(content()))
    assert answers[0].problem.type == "/problems/too-many-rules"


@pytest.mark.rule("CP-07")
@pytest.mark.parametrize(
    ("rule", "pointers"),
    [
        ({"programme": "nothing"}, ["/programme"]),
        ({"programme": "claims"}, ["/programme"]),
        ({"conditions": {"reasons": ["chargeback"]}}, ["/conditions/reasons/0"]),
        ({"conditions": {"reasons": ["not_received", "too_loud"]}}, ["/conditions/reasons/1"]),
        ({"programme": "buyer-protection", "conditions": {"reasons": ["not_received"]}}, []),
        ({"conditions": {"amount_max": {"amount": "-1.00", "currency": "EUR"}}}, ["/conditions/amount_max/amount"]),
        (
            {
                "conditions": {
                    "amount_min": {"amount": "2.00", "currency": "EUR"},
                    "amount_max": {"amount": "1.00", "currency": "EUR"},
                }
            },
            ["/conditions/amount_max"],
        ),
        (
            {
                "conditions": {
                    "amount_min": {"amount": "2.00", "currency": "EUR"},
                    "amount_max": {"amount": "9.00", "currency": "PLN"},
                }
            },
            ["/conditions/amount_max/currency"],
        ),
    ],
)
def test_a_contradiction_is_named_where_it_stands(rule: dict[str, Any], pointers: list[str]) -> None:
    assert [error.pointer for error in misfits(content(**rule), PROGRAMMES)] == pointers
