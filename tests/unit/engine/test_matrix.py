"""The decision matrix: which rule a case meets, what its caps leave, and what trying a rule on past cases shows."""

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.actors import SYSTEM
from contracts.cases import CaseOpened, PolicyRef
from contracts.matrix import DecisionRule, DecisionRuleContent, RuleCaps
from contracts.money import Money
from contracts.orders import Fact
from engine.matrix import HISTORY, BackTest, Opening, asks_history, granted, in_force, matched, meets, opening_of, slots_of
from engine.programmes import Programmes
from tests.unit.escalation.opening import case_opened

AT = datetime(2021, 3, 1, 12, tzinfo=UTC)


def eur(amount: str | int) -> Money:
    return Money(amount=Decimal(amount).quantize(Decimal("0.01")), currency="EUR")


def opening(number: int = 1, **more: Any) -> Opening:
    known = Opening(
        case_id=f"cas_{number:032x}_1",
        at=AT,
        programme="buyer-protection",
        reason="not_received",
        merchant_id="shop",
        buyer="b",
        amount=eur(20),
        left=eur(20),
        day="2021-03-01",
        decidable=True,
    )
    return replace(known, **({"left": more["amount"]} if "amount" in more else {}) | more)


def content(**more: Any) -> DecisionRuleContent:
    return DecisionRuleContent.model_validate({"name": "Small", "decision": "refund", **more})


def rule(
    rule_id: str = "drl_1", version: int = 1, *, at: datetime = AT, withdrawn_at: datetime | None = None, **more: Any
) -> DecisionRule:
    given = content(**more)
    return DecisionRule(
        **given.model_dump(),
        rule_id=rule_id,
        version=version,
        made_at=AT,
        changed_at=at,
        in_force_from=at,
        withdrawn_at=withdrawn_at,
    )


@pytest.mark.rule("CP-07")
@pytest.mark.parametrize(
    ("conditions", "case", "fits"),
    [
        ({}, {}, True),
        ({}, {"decidable": False}, False),
        ({"amount_max": eur(20)}, {}, True),
        ({"amount_max": eur("19.99")}, {}, False),
        ({"amount_min": eur(20)}, {}, True),
        ({"amount_min": eur("20.01")}, {}, False),
        ({"amount_max": Money(amount=Decimal("999.00"), currency="PLN")}, {}, False),
        ({"amount_min": Money(amount=Decimal("1.00"), currency="PLN")}, {}, False),
        ({"reasons": ["no_refund", "not_received"]}, {}, True),
        ({"reasons": ["no_refund"]}, {}, False),
        ({"merchants": ["shop"]}, {}, True),
        ({"merchants": ["other"]}, {}, False),
    ],
)
def test_all_conditions_that_are_given_must_hold(conditions: dict[str, Any], case: dict[str, Any], fits: bool) -> None:
    assert meets(content(conditions=conditions), opening(**case), 0) is fits


@pytest.mark.rule("CP-07")
def test_a_rule_may_be_about_one_programme_and_about_the_buyer_s_earlier_cases() -> None:
    assert not meets(content(programme="returns-desk"), opening(), 0)
    assert meets(content(programme="buyer-protection"), opening(), 0)
    shy = content(conditions={"buyer_cases_max": 1})
    assert [meets(shy, opening(), earlier) for earlier in (0, 1, 2)] == [True, True, False]
    assert asks_history(shy)
    assert not asks_history(content())


@pytest.mark.rule("CP-07")
def test_the_first_rule_that_fits_decides_by_priority_then_by_age() -> None:
    rules = [
        rule("drl_later", priority=2),
        rule("drl_exempt", priority=1, decision="no_automatic", conditions={"merchants": ["shop"]}),
        rule("drl_first", priority=0, conditions={"amount_max": eur(10)}),
    ]
    asked = in_force(rules, AT)
    assert [each.rule_id for each in asked] == ["drl_first", "drl_exempt", "drl_later"]
    assert [matched(asked, opening(**case), 0).rule_id for case in ({}, {"amount": eur(5)}, {"merchant_id": "x"})] == [  # type: ignore[union-attr]
        "drl_exempt",
        "drl_first",
        "drl_later",
    ]
    assert matched((), opening(), 0) is None


@pytest.mark.rule("CP-07")
def test_a_version_is_in_force_from_its_moment_until_the_next_one_or_its_withdrawal() -> None:
    hour = timedelta(hours=1)
    versions = [
        rule(version=1),
        rule(version=2, at=AT + 5 * hour),
        rule("drl_2", withdrawn_at=AT + 3 * hour),
        rule("drl_2", version=2, at=AT + 6 * hour, withdrawn_at=None),
    ]

    def then(hours: int) -> list[tuple[str, int]]:
        return [(each.rule_id, each.version) for each in in_force(versions, AT + hours * hour)]

    assert then(-1) == []
    assert then(0) == [("drl_1", 1), ("drl_2", 1)]
    assert then(3) == [("drl_1", 1)]
    assert then(5) == [("drl_1", 2)]
    assert then(6) == [("drl_1", 2)], "what was withdrawn does not come back"


@pytest.mark.rule("CP-07")
def test_a_refund_takes_one_of_each_cap_or_none_at_all() -> None:
    caps = RuleCaps(per_buyer_day=1, per_merchant_day=2, per_day=3)
    taken: Counter[str] = Counter()
    assert slots_of(caps, opening()) == {"day": 3, "merchant:shop": 2, "buyer:b": 1}
    assert granted(caps, opening(), taken)
    assert not granted(caps, opening(2), taken)
    assert taken == {"day": 1, "merchant:shop": 1, "buyer:b": 1}
    assert granted(caps, opening(3, buyer="c"), taken)
    assert not granted(caps, opening(4, buyer="d"), taken), "the merchant's share is spent"
    assert granted(caps, opening(5, buyer="d", merchant_id="other"), taken)
    assert not granted(caps, opening(6, buyer="e", merchant_id="third"), taken), "the day's share is spent"
    assert not granted(RuleCaps(per_day=0), opening(), Counter())
    assert granted(RuleCaps(), opening(), Counter())


@pytest.mark.rule("NX-18")
def test_a_back_test_counts_what_the_rule_would_have_done_and_what_it_costs() -> None:
    test = BackTest(content(conditions={"amount_max": eur(50)}, caps={"per_day": 2}), since=AT, until=AT + timedelta(days=2))
    cases = [
        opening(1, at=AT - timedelta(seconds=1)),
        opening(2),
        opening(3, amount=eur(60)),
        opening(4, amount=eur("30.50")),
        opening(5),
        opening(6, day="2021-03-02", at=AT + timedelta(days=1)),
        opening(7, at=AT + timedelta(days=2)),
    ]
    for case in cases:
        test.add(case)
    result = test.result()
    assert (result.cases, result.matched, result.decided, result.capped) == (5, 4, 3, 1)
    assert result.costs == (eur("70.50"),)
    assert [(each.case_id[-3], each.decision) for each in test.tried] == [
        ("2", "refund"),
        ("4", "refund"),
        ("5", "capped"),
        ("6", "refund"),
    ]


@pytest.mark.rule("NX-18")
def test_a_back_test_knows_the_buyer_s_cases_from_before_its_span() -> None:
    test = BackTest(content(conditions={"buyer_cases_max": 0}), since=AT)
    for case in (
        opening(1, at=AT - HISTORY),
        opening(2, at=AT),
        opening(3, at=AT + HISTORY, buyer="other"),
        opening(4, at=AT + HISTORY),
        opening(5, at=AT + HISTORY),
    ):
        test.add(case)
    assert [each.case_id[-3] for each in test.tried] == ["2", "3", "4"], "a case of 365 days ago counts no more"


@pytest.mark.rule("NX-18")
def test_a_back_test_refunds_an_order_once() -> None:
    """As live: a full refund leaves nothing for a later case of the same order. A capped one leaves all of it."""
    again = {"case_id": f"cas_{1:032x}_2"}
    test = BackTest(content())
    for case in (opening(1), opening(1, **again), opening(2)):
        test.add(case)
    assert [each.case_id[-3:] for each in test.tried] == ["1_1", "2_1"]
    assert test.result().costs == (eur(40),)
    capped = BackTest(content(caps={"per_merchant_day": 0}))
    for case in (opening(1), opening(1, **again)):
        capped.add(case)
    assert capped.capped == 2


@pytest.mark.rule("NX-18")
def test_costs_are_by_currency_the_rule_s_own_first() -> None:
    pln = Money(amount=Decimal("5.00"), currency="PLN")
    anything = BackTest(content())
    for case in (opening(1, amount=pln), opening(2)):
        anything.add(case)
    assert anything.result().costs == (eur(20), pln)
    assert BackTest(content(conditions={"amount_min": pln})).result().costs == (Money.zero("PLN"),)
    assert BackTest(content()).result().costs == ()
    exempt = BackTest(content(decision="no_automatic"))
    exempt.add(opening())
    assert [each.decision for each in exempt.tried] == ["no_automatic"]
    assert (exempt.result().matched, exempt.result().decided, exempt.result().costs) == (1, 0, ())


@pytest.mark.rule("CP-07")
def test_only_where_the_platform_decides_can_a_rule_decide() -> None:
    event = case_opened(1).message
    assert isinstance(event, CaseOpened)

    def decidable(programme: str, version: int = 1) -> bool:
        policy = PolicyRef(programme=programme, version=version)
        return opening_of(event.model_copy(update={"policy": policy}), "b", Programmes.shipped()).decidable

    assert decidable("buyer-protection")
    assert decidable("order-issues")
    assert not decidable("claims"), "the provider decides"
    assert not decidable("buyer-protection", 99), "not known here"
    told = opening_of(event, "b", Programmes.shipped())
    assert (told.day, told.merchant_id, told.amount) == ("2024-01-10", "shop", eur(20))
    refunded = Fact(kind="refunded", at=AT, amount=eur(5), fact_id="fct_1", source=SYSTEM, recorded_at=AT)
    part = opening_of(event.model_copy(update={"facts": (refunded,)}), "b", Programmes.shipped())
    assert (part.amount, part.left, part.decidable) == (eur(20), eur(15), True), "what a refund would still cost"
    whole = refunded.model_copy(update={"amount": eur(20)})
    assert not opening_of(event.model_copy(update={"facts": (whole,)}), "b", Programmes.shipped()).decidable
    nothing_paid = event.model_copy(update={"order": event.order.model_copy(update={"amount": eur(0)})})
    assert not opening_of(nothing_paid, "b", Programmes.shipped()).decidable, "there is nothing to refund"
    by_form = event.model_copy(update={"report": event.report.model_copy(update={"proved": False})})
    assert not opening_of(by_form, "b", Programmes.shipped()).decidable, "anybody may fill it in"
    unsaid = event.model_copy(update={"report": event.report.model_copy(update={"proved": None})})
    assert not opening_of(unsaid, "b", Programmes.shipped()).decidable, "what nobody has said is not proved"
    claimed = event.model_copy(update={"refundable_at_once": eur(0)})
    assert not opening_of(claimed, "b", Programmes.shipped()).decidable, "another case asks for it"
    late = case_opened(2, at=datetime(2024, 1, 10, 23, 30, tzinfo=UTC)).message
    assert isinstance(late, CaseOpened)
    assert opening_of(late, "b", Programmes.shipped()).day == "2024-01-11", "a day in the merchant's zone"


OPENINGS = st.lists(
    st.builds(
        lambda number, minutes, merchant, buyer, cents, reason: opening(
            number,
            at=AT + timedelta(minutes=minutes),
            day=(AT + timedelta(minutes=minutes)).date().isoformat(),
            merchant_id=merchant,
            buyer=buyer,
            amount=eur(Decimal(cents) / 100),
            reason=reason,
        ),
        st.integers(1, 10**6),
        st.integers(0, 60 * 24 * 4),
        st.sampled_from("mno"),
        st.sampled_from("abcd"),
        st.integers(0, 6_000),
        st.sampled_from(["not_received", "no_refund"]),
    ),
    unique_by=lambda case: case.case_id,
    max_size=40,
).map(lambda cases: sorted(cases, key=lambda case: (case.at, case.case_id)))
CAP = st.none() | st.integers(0, 4)
RULES = st.builds(
    lambda most, reasons, history, buyer, merchant, day: content(
        conditions={"amount_max": most, "reasons": reasons, "buyer_cases_max": history},
        caps={"per_buyer_day": buyer, "per_merchant_day": merchant, "per_day": day},
    ),
    st.none() | st.integers(0, 60).map(eur),
    st.none() | st.just(("no_refund",)),
    st.none() | st.integers(0, 2),
    CAP,
    CAP,
    CAP,
)


@pytest.mark.rule("CP-07", "NX-18")
@given(OPENINGS, RULES)
@settings(max_examples=300, deadline=None)
def test_caps_always_hold_and_nothing_is_capped_without_need(cases: list[Opening], asked: DecisionRuleContent) -> None:
    test = BackTest(asked)
    for case in cases:
        test.add(case)
    by_id = {case.case_id: case for case in cases}
    refunded = [by_id[each.case_id] for each in test.tried if each.decision == "refund"]
    caps = asked.caps
    for cap, of in (
        (caps.per_day, lambda case: case.day),
        (caps.per_merchant_day, lambda case: (case.day, case.merchant_id)),
        (caps.per_buyer_day, lambda case: (case.day, case.buyer)),
    ):
        counts = Counter(map(of, refunded))
        assert cap is None or all(count <= cap for count in counts.values())
    for each in test.tried:
        case = by_id[each.case_id]
        if each.decision == "capped":
            before = [
                other for other in refunded if other.day == case.day and (other.at, other.case_id) < (case.at, case.case_id)
            ]
            assert any(
                cap is not None and sum(map(same, before)) >= cap
                for cap, same in (
                    (caps.per_day, lambda other: True),
                    (caps.per_merchant_day, lambda other, case=case: other.merchant_id == case.merchant_id),
                    (caps.per_buyer_day, lambda other, case=case: other.buyer == case.buyer),
                )
            )
    result = test.result()
    assert result.decided + result.capped == result.matched <= result.cases == len(cases)
    assert sum((cost.amount for cost in result.costs), Decimal(0)) == sum((case.amount.amount for case in refunded), Decimal(0))


@pytest.mark.rule("NX-18")
@given(OPENINGS, RULES, st.integers(0, 60 * 24 * 4))
@settings(max_examples=200, deadline=None)
def test_conditions_do_not_depend_on_where_the_span_begins(
    cases: list[Opening], asked: DecisionRuleContent, minutes: int
) -> None:
    free = asked.model_copy(update={"caps": RuleCaps()})
    since = AT + timedelta(minutes=minutes)
    whole, later = BackTest(free), BackTest(free, since=since)
    for case in cases:
        whole.add(case)
        later.add(case)
    by_id = {case.case_id: case for case in cases}
    assert later.tried == [each for each in whole.tried if by_id[each.case_id].at >= since]
