"""Guards: what a row of a programme's table may ask for before it is taken."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from contracts.actors import Role
from contracts.cases import StatusLabel
from contracts.money import Money, digits_of
from engine.calendar import add
from engine.casefile import Case, CaseFile, available_to, variant_of
from engine.programmes import Programme, Transition, When

__all__ = ["GUARDS", "Situation", "fits", "open_rows", "row_for", "smallest"]


@dataclass(frozen=True, slots=True)
class Situation:
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
    if row.amount == "partial" and now.available <= smallest(now.file.order.amount.currency):
        return False
    return fits(now, row.when)


def open_rows(now: Situation, action: str) -> tuple[Transition, ...]:
    """The rows that this actor's action can take now; none: the action is not open. No rule refunds where nothing was paid, or
    nothing is left of it: such a case goes the ordinary way."""
    if now.role == "system" and not now.available.amount:
        return ()
    return tuple(row for row in now.programme.rows("action", action, now.case.state) if _fits(now, row))


def row_for(now: Situation, trigger: str, name: str, state: str | None) -> Transition | None:
    """The first row that fits a fact or a silence."""
    return next((row for row in now.programme.rows(trigger, name, state) if _fits(now, row)), None)  # type: ignore[arg-type]
