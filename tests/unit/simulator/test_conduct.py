"""People in every programme: drawn per order, and there is always somebody or something that goes on."""

from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta

from engine.programmes import Programmes
from simulator.behaviour import Act, CaseView, Look, Move, temper_of
from simulator.conduct import next_move, reports_of
from simulator.generator import generate
from simulator.orders import PlayedOrder

ORDERS = generate(800, seed=11).orders
STATES = {
    "order-issues": ("submitted", "in_progress", "awaiting_buyer", "under_review"),
    "returns-desk": ("submitted", "in_progress", "under_review"),
    "claims": ("submitted", "under_review"),
}


def test_reports_come_in_every_programme_and_are_the_same_for_a_seed() -> None:
    reports = [report for order in ORDERS for report in reports_of(order, 1)]
    assert reports == [report for order in ORDERS for report in reports_of(order, 1)]
    assert {report.programme for report in reports} == {"buyer-protection", *STATES}
    assert any(report.by_form and report.mistyped for report in reports)
    assert any(report.by_form and not report.mistyped for report in reports)
    for report in reports:
        terms = Programmes.shipped().versions(report.programme)[-1].reasons[report.reason]
        assert ("partner" if report.partner else "buyer") in terms.by
        assert report.by is None or report.at <= report.by


def view(order: PlayedOrder, programme: str, state: str, now: datetime) -> CaseView:
    terms = Programmes.shipped().versions(programme)[-1].states[state]  # type: ignore[index]
    due = {terms.turn: now + timedelta(days=5)} if terms.turn in ("merchant", "buyer") else {}
    return CaseView(
        case_id="cas_x_1",
        programme=programme,
        reason="other",
        state=state,
        turn=terms.turn,
        outcome=None,
        answer=None,
        variant=None,
        available=order.amount,
        proposal=False,
        accepted_by=(),
        due=due,
    )


def test_a_merchant_that_has_refunded_defends_and_mostly_wins() -> None:
    now = ORDERS[0].placed_at + timedelta(days=20)
    outcomes: Counter[str] = Counter()
    for order in ORDERS:
        temper = temper_of(order, 2)
        asked = replace(view(order, "claims", "submitted", now), refunded=True)
        step = next_move(order, temper, asked, now, 1)
        if isinstance(step, Move):
            assert [deed.action for deed in step.deeds if isinstance(deed, Act)] == ["defend"]
        for proved, silent in ((True, False), (True, True), (False, False)):
            with_provider = replace(view(order, "claims", "under_review", now), refunded=proved, unanswered=silent, turn=None)
            told = next_move(order, temper, with_provider, now, 1)
            assert isinstance(told, Move)
            (deed,) = told.deeds
            assert isinstance(deed, Act)
            outcomes[f"{deed.fields['outcome']} {proved} {silent}"] += 1
    assert outcomes["won True False"] > 10 * outcomes["lost True False"]
    assert outcomes["lost True True"] > outcomes["won True True"]
    assert outcomes["lost False False"] > outcomes["won False False"]


def test_what_was_refunded_already_shows_on_a_claim() -> None:
    shown = {
        "case_id": "cas_x_2",
        "programme": {"id": "claims", "version": 1},
        "reason": "chargeback",
        "state": "submitted",
        "turn": "merchant",
        "order_amount": {"amount": "80.00", "currency": "EUR"},
        "refund": {"executed": {"amount": "0.00"}, "refundable": {"amount": "50.00"}},
    }
    assert CaseView.of(shown).refunded
    assert not CaseView.of(shown | {"amount": {"amount": "50.00", "currency": "EUR"}}).refunded
    assert CaseView.of(shown | {"unanswered": True}).unanswered


def test_every_state_of_every_programme_goes_on() -> None:
    now = ORDERS[0].placed_at + timedelta(days=20)
    taken: set[str] = set()
    for order in ORDERS:
        temper = temper_of(order, 2)
        for programme, states in STATES.items():
            for state in states:
                case = view(order, programme, state, now)
                step = next_move(order, temper, case, now, 1)
                assert step == next_move(order, temper, case, now, 1)
                if step is None:
                    assert case.due, (programme, state)
                elif isinstance(step, Move):
                    taken |= {deed.action for deed in step.deeds if isinstance(deed, Act)}
                    assert step.at >= now
                else:
                    assert isinstance(step, Look)
    assert taken >= {"start", "contact", "replace", "refund", "resolve", "disagree", "solve", "reject", "accept", "inform"}
    assert taken >= {"defend", "accept_claim", "record_outcome", "withdraw"}
