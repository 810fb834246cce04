"""What a guest sees: whoever reported by a form, where number and address of an order are all that was asked (RD-03, NX-15).

A guest has a link to the one case of its report and sees that case: what was reported, what was said, how it stands and until
when. Of the order behind it a guest sees what its own report said, and nothing else: no lines, money, facts, protection, names
or other cases. What is listed here is shown, all else is left out, so that what a resource shows tomorrow is not shown to
guests before somebody lists it. The buyer, who reads the mails of the order's own address, has the order's link."""

from collections.abc import Mapping
from typing import Any

from contracts.problems import Problem
from services.gateway.principals import Principal
from services.gateway.problems import ProblemError

__all__ = ["require_filters_seen", "said_it", "seen"]

Shown = dict[str, Any]
_Kept = dict[str, "bool | _Kept"]

_DEADLINE: _Kept = {
    **dict.fromkeys(("deadline_id", "party", "kind", "label", "due_at", "extended_by", "rule", "policy"), True),
    "on_silence": {"action": True, "state": True, "outcome": True, "text": True},
}
_SEEN: Mapping[str, _Kept] = {
    "order": {
        **dict.fromkeys(("order_id", "merchant_id", "merchant_name", "order_number", "cases", "version"), True),
        "_links": {"self": True, "cases": True},
    },
    "case": {
        **dict.fromkeys(
            (
                *("case_id", "order_id", "merchant_id", "order_number", "programme", "reason", "state", "label", "turn"),
                *("attention", "opened_at", "updated_at", "closed_at", "version", "outcome", "outcome_label"),
                *("text", "lines", "wish", "contact", "evidence", "service_contact", "allowed_actions", "_links"),
            ),
            True,
        ),
        "buyer": {"email": True},
        "answer": {"refund": True, "message": True, "at": True},
        "refund": {"variant": True},
        "deadlines": _DEADLINE,
    },
    "preview": {"state": True, "turn": True, "outcome": True, "messages": True, "deadlines": _DEADLINE},
    "entry": dict.fromkeys(
        ("sequence", "order_sequence", "type", "at", "actor", "data_digest", "previous_hash", "hash", "redacted"), True
    ),
}
_SAID: Mapping[str, _Kept] = {
    "order": {"channel": True, "amount": True, "placed_at": True, "origin": True},
    "case": {
        **{"channel": True, "order_date": True, "order_amount": True},
        "answer": {"refund_amount": True},
        "refund": {"proposed": True, "decided": True, "executed": True},
    },
}
"""What is seen beside that where the order is known from this guest's report alone."""
_HIDDEN_FILTERS = {"q": "names", "status": "the standing of orders"}
_OPEN_ENTRIES = frozenset({"case.message-posted"})
"""Events whose data holds nothing but what stands in the thread."""


def said_it(principal: Principal, order: Mapping[str, Any]) -> bool:
    """Whether an order was made from the very report that this guest sent: the first one on it."""
    case_id = (principal.capability.case_id or "") if principal.capability is not None else ""
    return order.get("origin") == "reported" and case_id.endswith("_1")


def seen(principal: Principal, kind: str, shown: Shown, *, said: bool = False) -> Shown:
    """What the caller is shown of a resource: all of it, unless the caller is a guest. `kind`: order, case, preview or entry
    of a history; `said`: see `said_it`."""
    if not principal.is_guest:
        return shown
    if kind == "entry" and shown["type"] in _OPEN_ENTRIES:
        return shown
    kept = _merged(_SEEN[kind], _SAID.get(kind, {})) if said else _SEEN[kind]
    reduced = _only(shown, kept)
    if kind == "entry":
        reduced["redacted"] = True
    for deadline, whole in zip(reduced.get("deadlines", ()), shown.get("deadlines", ()), strict=False):
        if whole["on_silence"]["money"]:  # then its sentence names the amount
            deadline["on_silence"].pop("text")
    return reduced


def require_filters_seen(principal: Principal, given: Mapping[str, str]) -> None:
    """Raises 403 where a guest would find things by what it is not shown: asked often enough, a filter tells it all."""
    for name, what in _HIDDEN_FILTERS.items():
        if principal.is_guest and name in given:
            raise ProblemError(Problem.forbidden(f"`{name}` looks at {what}, which this link does not show."))


def _merged(kept: _Kept, more: _Kept) -> _Kept:
    both = dict(kept)
    for name, part in more.items():
        known = both.get(name)
        both[name] = _merged(known, part) if isinstance(known, dict) and isinstance(part, dict) else part
    return both


def _only(shown: Any, kept: "bool | _Kept") -> Any:
    if kept is True or not isinstance(kept, dict):
        return shown
    if isinstance(shown, list):
        return [_only(each, kept) for each in shown]
    if not isinstance(shown, dict):
        return shown
    return {name: _only(shown[name], part) for name, part in kept.items() if name in shown}
