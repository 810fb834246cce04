"""Guards: what a row of a programme's table may ask for before it is taken."""

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import cache
from typing import Any

from msgspec import Struct

from contracts.actors import Role
from contracts.cases import StatusLabel
from contracts.money import Money, digits_of
from engine.calendar import add
from engine.casefile import Case, CaseFile, available_to, flowing, promised, variant_of
from engine.programmes import Programme, Programmes, Transition, When

__all__ = ["GUARDS", "Situation", "fits", "open_rows", "refundable_at_once", "row_for", "smallest"]


class Situation(Struct, frozen=True):
    """One case, somebody who may do something about it, and when."""

    file: CaseFile
    case: Case
    programme: Programme
    role: Role
    at: datetime
    labels: tuple[StatusLabel, ...] = ()
    """The merchant's own status labels, where they are known."""

    @property
    def available(self) -> Money:
        """What a refund of the case may come to: what is left of the order, and what the case has promised itself."""
        return available_to(self.file, self.case.case_id)


def _others_accepted(now: Situation, wanted: bool) -> bool:
    agreeing = {*now.case.proposal.accepted_by, now.role} if now.case.proposal else set()
    return (agreeing >= {"buyer", "merchant"}) == wanted


GUARDS: Mapping[str, Callable[[Situation, Any], bool]] = {
    "reason": lambda now, reasons: now.case.reason in reasons,
    "country": lambda now, countries: now.file.order.merchant_country in countries,
    "by": lambda now, roles: now.role in roles,
    "answer": lambda now, answers: now.case.answer is not None and now.case.answer.refund in answers,
    "variant": lambda now, variants: variant_of(now.file, now.case) in variants,
    "outcome": lambda now, outcomes: now.case.outcome in outcomes,
    "promised": lambda now, wanted: bool(promised(now.file, now.case.case_id).amount) == wanted,
    "answered": lambda now, wanted: (now.case.answer is not None) == wanted,
    "mark": lambda now, mark: mark in now.case.marks,
    "no_mark": lambda now, mark: mark not in now.case.marks,
    "fact": lambda now, kind: any(fact.kind == kind for fact in now.file.facts),
    "own_turn": lambda now, wanted: (now.case.turn == now.role) == wanted,
    "proposal": lambda now, wanted: (now.case.proposal is not None) == wanted,
    "accepted": lambda now, wanted: (now.case.proposal is not None and now.role in now.case.proposal.accepted_by) == wanted,
    "others_accepted": _others_accepted,
    "proposal_payable": lambda now, wanted: (
        (now.case.proposal is not None and now.case.proposal.refund_amount <= now.available) == wanted
    ),
    "closed_within": lambda now, duration: (
        now.case.closed_at is not None and now.at <= add(now.case.closed_at, duration, now.file.order.timezone)
    ),
}
"""Predicates by the name of their field in `engine.programmes.When`."""


@cache
def smallest(currency: str) -> Money:
    """The smallest amount of a currency, such as 0.01 EUR."""
    return Money.model_validate({"amount": f"{10 ** -digits_of(currency):.{digits_of(currency)}f}", "currency": currency})


def fits(now: Situation, when: When) -> bool:
    """Whether all guards hold."""
    return all(GUARDS[name](now, value) for name, value in when.guards)


def _fits(now: Situation, row: Transition) -> bool:
    return _payable(now, row) and fits(now, row.when)


def _payable(now: Situation, row: Transition) -> bool:
    """Whether there is what a row refunds. A refund of nothing is one only where nothing was paid."""
    match row.amount:
        case "partial":
            return now.available > smallest(now.file.order.amount.currency)
        case "full" | "any":
            return bool(now.available.amount or not now.file.order.amount.amount)
        case _:
            return True


def open_rows(now: Situation, action: str) -> tuple[Transition, ...]:
    """The rows that this actor's action can take now; none: the action is not open."""
    return tuple(row for row in now.programme.rows("action", action, now.case.state) if _fits(now, row))


def row_for(now: Situation, trigger: str, name: str, state: str | None) -> Transition | None:
    """The first row that fits a fact or a silence."""
    return next((row for row in now.programme.rows(trigger, name, state) if _fits(now, row)), None)  # type: ignore[arg-type]


def refundable_at_once(file: CaseFile, case_id: str, programmes: Programmes) -> Money:
    """What a rule may refund a case by itself (CP-07): all that is available to it, or nothing while another case of the order
    asks for some of that. Nobody has decided then who gets it, and what a claim's provider moves it moves whatever the ledger
    says."""
    if any(_asks(file, other, programmes) for other in file.cases.values() if other.case_id != case_id):
        return Money.zero(file.order.amount.currency)
    return available_to(file, case_id)


def _asks(file: CaseFile, case: Case, programmes: Programmes) -> bool:
    """Whether a case asks for an amount beyond what flows by it or is reserved for it: its claim, as long as somebody outside
    may still pay it, or what is proposed."""
    if _may_flow(file, case, programmes):
        asked = case.claimed or file.order.amount
    elif case.is_open:
        asked = case.proposal.refund_amount if case.proposal else case.claimed
    else:
        return False
    counted = sum((entry.amount for entry in flowing(file.ledger, case.case_id)), Money.zero(file.order.amount.currency))
    return asked is not None and asked > counted


def _may_flow(file: CaseFile, case: Case, programmes: Programmes) -> bool:
    """Whether something that can happen to a case now makes money flow that the ledger has not reserved."""
    programme = programmes.get(case.policy.programme, case.policy.version)
    return any(
        row.effects.flow is not None
        for name, action in programme.actions.items()
        for role in action.by
        for row in open_rows(Situation(file, case, programme, role, file.at), name)
    )
