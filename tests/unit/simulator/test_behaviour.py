"""Behaviour is drawn per order: the same seed gives the same lives, whatever else is played and in whatever order."""

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

from contracts.money import digits_of
from simulator.behaviour import Act, CaseView, Look, Move, next_move, report_of, share_of, temper_of
from simulator.generator import generate
from simulator.orders import PlayedOrder

ORDERS = generate(400, seed=7).orders


def view(order: PlayedOrder, state: str, turn: str | None, now: datetime, **more: object) -> CaseView:
    due = {} if turn in (None, "platform") else {turn: now + timedelta(days=5 if state == "submitted" else 14)}
    fields: dict[str, object] = {
        "outcome": None,
        "answer": None,
        "variant": None,
        "proposal": False,
        "accepted_by": (),
        "due": due,
    } | more
    fields = {"programme": "buyer-protection", "reason": "not_received"} | fields
    return CaseView(case_id="cas_x_1", state=state, turn=turn, available=order.amount, **fields)  # type: ignore[arg-type]


def test_generated_orders_are_the_same_for_a_seed_and_differ_between_seeds() -> None:
    assert generate(400, seed=7).orders == ORDERS
    assert generate(400, seed=8).orders != ORDERS


def test_generated_orders_show_what_has_to_be_handled() -> None:
    orders = generate(600, seed=1).orders
    assert {order.currency for order in orders} >= {"EUR", "JPY", "PLN", "GBP"}
    assert all(-int(order.amount.as_tuple().exponent) == digits_of(order.currency) for order in orders)
    assert any(order.came_late for order in orders)
    assert any(order.delivered_at is None for order in orders)
    assert any(not order.is_protected for order in orders)
    assert {order.buyer_locale for order in orders} >= {"de", "en"}
    assert [order.placed_at for order in orders] == sorted(order.placed_at for order in orders)


def test_draws_do_not_depend_on_other_orders() -> None:
    forwards = [(temper_of(order, 3), report_of(order, 3)) for order in ORDERS]
    backwards = [(temper_of(order, 3), report_of(order, 3)) for order in reversed(ORDERS)]
    assert forwards == backwards[::-1]
    assert forwards != [(temper_of(order, 4), report_of(order, 4)) for order in ORDERS]


def test_who_got_nothing_or_too_late_reports_before_the_last_day_of_the_protection() -> None:
    assert {order.delivered_at is None or order.came_late for order in ORDERS} == {True, False}
    for order in ORDERS:
        plan = report_of(order, 1)
        problem = order.delivered_at is None or order.came_late
        if problem:
            assert plan is not None
            assert plan.reason != "satisfied"
            assert order.placed_at <= plan.at <= plan.by == order.protected_until - timedelta(days=1)
        elif plan is not None:
            assert plan.reason == "satisfied"


def test_a_late_promise_does_not_miss_the_protection() -> None:
    order = replace(ORDERS[0], delivered_at=None, promised_by=ORDERS[0].placed_at + timedelta(days=90), protection_days=30)
    plan = report_of(order, 1)
    assert plan is not None
    assert plan.at == plan.by == order.protected_until - timedelta(days=1)


def test_every_state_has_somebody_who_goes_on_or_a_deadline_that_does() -> None:
    now = ORDERS[0].placed_at + timedelta(days=20)
    kinds: set[str] = set()
    for order in ORDERS:
        temper = temper_of(order, 2)
        for state, turn, more in (
            ("submitted", "merchant", {}),
            ("awaiting_buyer", "buyer", {"answer": "no", "variant": "none"}),
            ("awaiting_buyer", "buyer", {"answer": "yes", "variant": "full"}),
            ("awaiting_buyer", "buyer", {"answer": "yes", "variant": "partial"}),
            ("awaiting_return", "buyer", {"answer": "yes_after_return", "variant": "full"}),
            ("awaiting_return", "merchant", {"answer": "yes_after_return", "variant": "full"}),
            ("awaiting_evidence", "buyer", {}),
            ("under_review", "platform", {}),
            ("under_review", "platform", {"proposal": True, "due": {"buyer": now + timedelta(days=7)}}),
        ):
            case = view(order, state, turn, now, **more)
            step = next_move(order, temper, case, now, 1)
            assert step == next_move(order, temper, case, now, 1)
            if step is None:
                assert case.due, (state, turn)
                continue
            assert step.at >= now
            if isinstance(step, Move):
                assert step.by is None or step.at < step.by
                kinds |= {deed.action for deed in step.deeds if isinstance(deed, Act)}
            else:
                assert isinstance(step, Look)
                assert not case.due or step.at > max(case.due.values())
    assert kinds >= {
        "answer",
        "react",
        "return_sent",
        "confirm_return",
        "provide_evidence",
        "request_evidence",
        "propose",
        "accept_proposal",
        "decline_proposal",
        "decide",
        "withdraw",
    }


def test_a_case_that_does_not_end_is_decided_at_last() -> None:
    order = ORDERS[0]
    now = order.placed_at + timedelta(days=20)
    step = next_move(order, temper_of(order, 1), view(order, "under_review", "platform", now), now, 99)
    assert isinstance(step, Move)
    assert [deed.action for deed in step.deeds if isinstance(deed, Act)] == ["decide"]


def test_a_share_has_the_digits_of_its_currency() -> None:
    assert share_of(Decimal("10.01"), 50, "EUR") == Decimal("5.00")
    assert share_of(Decimal("999"), 50, "JPY") == Decimal("499")


def test_nobody_plans_with_money_that_another_case_has_taken() -> None:
    shown = {
        "case_id": "cas_x_2",
        "programme": {"id": "buyer-protection", "version": 1},
        "reason": "not_received",
        "state": "under_review",
        "turn": "platform",
        "order_amount": {"amount": "80.00", "currency": "EUR"},
        "refund": {"executed": {"amount": "0.00"}, "refundable": {"amount": "0.00"}},
    }
    for order in ORDERS[:50]:
        move = next_move(order, temper_of(order, 1), CaseView.of(shown), order.placed_at, 9)
        assert isinstance(move, Move)
        act = move.deeds[-1]
        assert isinstance(act, Act)
        assert (act.action, act.fields["outcome"]) == ("decide", "no_refund")
