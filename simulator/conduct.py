"""How people behave in each programme: what is reported on an order and how, and what happens next in a case.

Buyer protection is in `simulator.behaviour`; here are order issues, the returns desk and claims, drawn in the same way: per
order and from the seed, so that the same seed gives the same lives in any order of play."""

import random
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from contracts.base import format_moment
from simulator import behaviour
from simulator.behaviour import (
    Act,
    CaseView,
    Deed,
    Look,
    Move,
    RecordFact,
    Temper,
    Write,
    days_from,
    draw_of,
    share_of,
    weighted,
)
from simulator.orders import PlayedOrder

__all__ = ["CLAIMS", "Report", "next_move", "reports_of"]

BUYER_PROTECTION, ORDER_ISSUES, RETURNS_DESK, CLAIMS = "buyer-protection", "order-issues", "returns-desk", "claims"
_MOST_MOVES = 14


@dataclass(frozen=True, slots=True)
class Report:
    """A report: from `at` on, and before `by`. `by_form`: through the shop's form and without account; `mistyped`: under an
    order number that nobody has registered; `partner`: from outside, not by the buyer. `fields` go with it as they are."""

    programme: str
    reason: str
    text: str
    at: datetime
    by: datetime | None
    with_evidence: bool = False
    by_form: bool = False
    mistyped: bool = False
    partner: bool = False
    fields: tuple[tuple[str, Any], ...] = ()


def reports_of(order: PlayedOrder, seed: int) -> list[Report]:
    """What is reported on an order: by its buyer in the programme that the shop has first, and maybe a claim from outside."""
    reports: list[Report] = []
    match order.merchant.programmes[0]:
        case "order-issues":
            reports += _issue(order, draw_of(seed, order, "issue"))
        case "returns-desk":
            reports += _objection(order, draw_of(seed, order, "objection"))
        case _:
            plan = behaviour.report_of(order, seed)
            if plan is not None:
                reports.append(Report(BUYER_PROTECTION, plan.reason, plan.text, plan.at, plan.by, plan.with_evidence))
    if CLAIMS in order.merchant.programmes:
        reports += _claim(order, draw_of(seed, order, "claim"))
    return reports


def _issue(order: PlayedOrder, draw: random.Random) -> list[Report]:
    """A retailer looks into its parcel, or waits for one."""
    unhappy = order.score is not None and order.score <= 2
    if order.delivered_at is None or order.came_late:
        at = (order.promised_by or order.placed_at + timedelta(days=14)) + days_from(draw, 1, 4)
        reason, text = "late", order.review or "It should have been here by now."
    elif unhappy:
        at = order.delivered_at + days_from(draw, 0, 3)
        kinds = (("damaged", 35), ("defective", 20), ("missing_items", 20), ("wrong_goods", 15), ("other", 10))
        reason, text = weighted(draw, kinds), order.review or "This is not as ordered."
    elif draw.random() < 0.03:
        at = order.delivered_at + days_from(draw, 1, 5)
        reason, text = "invoice_wrong", "The invoice names another address."
    else:
        return []
    return [Report(ORDER_ISSUES, reason, text, at, None, with_evidence=draw.random() < 0.4)]


def _objection(order: PlayedOrder, draw: random.Random) -> list[Report]:
    """A customer sends the form that the confirmation links to, or comes by the order's own link."""
    if order.delivered_at is None:
        return []
    kinds: tuple[tuple[str | None, int], ...] = (("withdrawal", 3), (None, 97))
    if order.score is not None and order.score <= 3:
        kinds = (("complaint", 50), ("missing_item", 15), ("withdrawal", 15), ("other", 10), (None, 10))
    reason = weighted(draw, kinds)
    if reason is None:
        return []
    at = order.delivered_at + days_from(draw, 0, 6)
    by_form = draw.random() < 0.7
    mistyped = by_form and draw.random() < 0.15
    text = order.review or "I would like to send it back."
    return [Report(RETURNS_DESK, reason, text, at, None, draw.random() < 0.3, by_form=by_form, mistyped=mistyped)]


def _claim(order: PlayedOrder, draw: random.Random) -> list[Report]:
    """A few of those whose goods never came go to their bank or marketplace, through which it comes in from the partner."""
    lost = order.delivered_at is None
    if order.amount == 0 or draw.random() >= (0.15 if lost else 0.004):
        return []
    at = order.placed_at + timedelta(days=draw.randint(18, 26))
    reason = weighted(draw, (("chargeback", 70), ("marketplace_guarantee", 30)))
    fields: list[tuple[str, Any]] = [("external_id", f"{reason}/{order.key}"[-100:])]
    if draw.random() < 0.8:
        fields.append(("answer_by", format_moment(at + timedelta(days=draw.randint(8, 14)))))
    if draw.random() < 0.5:
        fields.append(("amount", order.money(order.amount)))
    return [Report(CLAIMS, reason, "The cardholder did not get the goods.", at, None, partner=True, fields=tuple(fields))]


def next_move(order: PlayedOrder, temper: Temper, case: CaseView, now: datetime, moves: int) -> Move | Look | None:
    """What happens next in a case after `moves` moves so far. None: nobody will do anything more, time ends the case or it has
    ended."""
    if case.programme == BUYER_PROTECTION:
        return behaviour.next_move(order, temper, case, now, moves)
    if not case.is_open:
        return None
    draw = draw_of(temper.seed, order, f"{case.programme}:{moves}:{case.state}")
    if case.state == "under_review" and case.turn == "platform":
        return _ruling(order, case, now, draw)
    if moves > _MOST_MOVES:
        return None
    match case.programme:
        case "order-issues":
            return _of_issue(order, temper, case, now, draw)
        case "returns-desk":
            return _of_objection(order, temper, case, now, draw)
        case _:
            return _of_claim(temper, case, now, draw)


def _ruling(order: PlayedOrder, case: CaseView, now: datetime, draw: random.Random) -> Move:
    """The platform's team solves it, with money or without, or rejects it."""
    fields: dict[str, Any] = {"message": "We have looked into it with both of you."}
    part = share_of(case.available, 30, order.currency)
    match weighted(draw, (("nothing", 40), ("part", 25), ("all", 20), ("reject", 15))):
        case "reject":
            return Move("platform", now + days_from(draw, 1, 4), None, (Act("reject", {"message": "All was as ordered."}),))
        case "part" if 0 < part < case.available:
            fields["refund_amount"] = order.money(part)
        case "all" if case.available > 0:
            fields["refund_amount"] = order.money(case.available)
        case _:
            pass
    return Move("platform", now + days_from(draw, 1, 4), None, (Act("solve", fields),))


def _silent(case: CaseView, now: datetime, draw: random.Random) -> Look:
    return Look(case.due.get("merchant", now + timedelta(days=7)) + days_from(draw, 1, 2))


def _of_issue(order: PlayedOrder, temper: Temper, case: CaseView, now: datetime, draw: random.Random) -> Move | Look | None:
    due = case.due.get("merchant")
    if case.state == "awaiting_buyer":
        if temper.buyer_silent:
            return None
        act = Act("disagree", {"message": order.review[:2000] or "That does not help me."})
        if draw.random() < 0.8:
            act = Act("resolve", {})
        return Move("buyer", now + days_from(draw, 2, 9), case.due.get("buyer"), (act,))
    if case.state == "in_progress" and temper.merchant == "no" and not temper.buyer_silent and draw.random() < 0.5:
        return Move("buyer", now + days_from(draw, 1, 2), due, (Write("That is fine for me."), Act("resolve", {})))
    part = share_of(case.available, draw.randint(10, 60), order.currency)
    deeds: tuple[Deed, ...]
    match temper.merchant:
        case "silent":
            return _silent(case, now, draw)
        case "no" if case.state == "submitted":
            deeds = (Act("contact", {"message": "Would you keep it for a discount?"}),)
        case "yes" if case.available > 0:
            deeds = (Act("refund", {}),)
        case "partial" if 0 < part < case.available:
            deeds = (Act("start", {}), Act("refund", {"refund_amount": order.money(part), "message": "A part back."}))
        case _:
            deeds = (Act("replace", {"message": "A new one is on its way.", "tracking_code": f"N{draw.randrange(10**9):09d}"}),)
    return Move("merchant", now + days_from(draw, 0, 3), due, deeds)


def _of_objection(order: PlayedOrder, temper: Temper, case: CaseView, now: datetime, draw: random.Random) -> Move | Look | None:
    due = case.due.get("merchant")
    if temper.withdraws:
        return Move("buyer", now + days_from(draw, 1, 2), due, (Act("withdraw", {}),))
    if temper.merchant == "silent":
        return _silent(case, now, draw)
    if case.state == "submitted" and "merchant" in temper.writes:
        deeds: tuple[Deed, ...] = (Act("start", {}), Act("inform", {"message": "We are looking into it."}))
        return Move("merchant", now + days_from(draw, 0, 2), due, deeds)
    at = now + days_from(draw, 1, 3)
    message = {"message": "This is our decision."}
    if temper.merchant == "no":
        return Move("merchant", at, due, (Act("reject", message, with_evidence=temper.shows_evidence),))
    if case.available == 0 or case.reason == "missing_item":
        resolution = "resend" if case.reason == "missing_item" else "repair"
        return Move("merchant", at, due, (Act("accept", {"resolution": resolution, **message}),))
    amount = case.available if temper.merchant != "partial" else share_of(case.available, 50, order.currency) or case.available
    deeds = (Act("accept", {"resolution": "refund", "refund_amount": order.money(amount), **message}),)
    if draw.random() < 0.6:
        deeds = (*deeds, RecordFact("refunded", amount))
    return Move("merchant", at, due, deeds)


def _of_claim(temper: Temper, case: CaseView, now: datetime, draw: random.Random) -> Move | Look | None:
    if case.state == "submitted":
        due = case.due.get("merchant")
        if temper.merchant == "silent":
            return _silent(case, now, draw)
        act = Act("accept_claim", {})
        if case.refunded:  # nobody pays twice
            act = Act("defend", {"message": "The buyer gets this money back already; here is the proof."}, with_evidence=True)
        elif temper.merchant in ("no", "partial") or draw.random() < 0.4:
            act = Act("defend", {"message": "Here is what we have."}, with_evidence=True)
        return Move("merchant", now + days_from(draw, 0, 3), due, (act,))
    proved = case.refunded and not case.unanswered
    outcome = "won" if draw.random() < (0.95 if proved else 0.35) else "lost"
    by = weighted(draw, (("partner", 85), ("platform", 15)))
    return Move(by, now + days_from(draw, 5, 20), None, (Act("record_outcome", {"outcome": outcome}),))
