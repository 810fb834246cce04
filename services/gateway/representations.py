"""What readers are shown of merchants, orders, cases, messages and histories: made from the read models, for one caller."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from contracts.base import format_moment
from contracts.orders import Fact, Order, Standing
from contracts.outages import ALL_WELL, OutagesRecorded
from engine.attention import assignee_of
from engine.casefile import Case, CaseFile, balance, ledger_of
from engine.decide import at_time
from engine.programmes import Programmes
from engine.protection import protection_now
from engine.views import (
    Preview,
    allowed_actions,
    evidence_checklist,
    explained_deadlines,
    label,
    outcome_label,
    refund_status,
    unanswered,
    untold,
)
from services.gateway.guests import said_it, seen
from services.gateway.principals import Principal, acts_until
from services.gateway.projector import Body, file_of
from services.gateway.shops import Shop

__all__ = [
    "Reader",
    "case_shown",
    "entry_shown",
    "locale_for",
    "merchant_shown",
    "message_shown",
    "order_shown",
    "order_version",
    "preview_shown",
    "standing_version",
]


@dataclass(frozen=True, slots=True)
class Reader:
    """Who reads, when, and in which language."""

    principal: Principal
    now: datetime
    locale: str
    programmes: Programmes
    shop: Shop | None = None
    """The merchant's, for whom it concerns and where cases are shown."""
    record: OutagesRecorded = ALL_WELL
    """Of outages: what fell due after it was complete is not shown as passed."""


def locale_for(principal: Principal, order: Mapping[str, Any]) -> str:
    """The language of a caller who names none: the buyer's own, the merchant's for its staff, English for agents."""
    match principal.reads_as:
        case "buyer":
            return order["buyer"].get("locale") or order["merchant_locale"]
        case "merchant":
            return order["merchant_locale"]
        case _:
            return "en"


def merchant_shown(merchant: Mapping[str, Any]) -> dict[str, Any]:
    """A merchant, as its owner and the platform see it."""
    given = {name: value for name, value in merchant.items() if value is not None}
    return {**given, "_links": {"self": {"href": f"/v1/merchants/{merchant['merchant_id']}"}}}


def _facts(body: Body) -> list[dict[str, Any]]:
    """The facts of an order; cases may have flagged one after intake recorded it."""
    judged = {fact["fact_id"]: fact for fact in (body.get("file") or {}).get("facts", ())}
    return [_present(judged.get(fact["fact_id"], fact)) for fact in body["facts"]]


def _present(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def order_version(body: Body) -> int:
    """Counts what changed on the order or in its case file: both only grow."""
    return body["standing"]["version"] + _counted_by_cases(body)


def standing_version(body: Body, if_match: int | None) -> int | None:
    """What intake, which decides over reports and facts, has counted of the version of an order that a caller names. Has cases
    counted on since then, it is a version that intake had before, and refuses."""
    return None if if_match is None else if_match - _counted_by_cases(body)


def _counted_by_cases(body: Body) -> int:
    return body["file"]["sequence"] if body.get("file") else 0


def order_shown(body: Body, reader: Reader) -> dict[str, Any]:
    """An order with its protection at this moment, its payout, its ledger and its cases; for guests as `guests.seen` has it."""
    order = Order.model_validate(body["order"])
    standing = Standing.model_validate(body["standing"])
    file = file_of(body)
    if file is None:
        ledger = ledger_of(order, tuple(Fact.model_validate(fact) for fact in body["facts"]))
    else:
        ledger = at_time(file, reader.now, reader.programmes, reader.record).ledger
    href = f"/v1/orders/{order.order_id}"
    cases = [case_id for case_id in body["standing"]["cases"] if reader.principal.sees_case(case_id)]
    shown = {
        **_present(body["order"]),
        "buyer": _present(body["order"]["buyer"]),
        "lines": [_present(line) for line in body["order"]["lines"]],
        "status": standing.status,
        "protection": {
            **_present(body["standing"]["protection"]),
            "state": protection_now(standing, reader.now),
            "ends_at": body["standing"]["protection"]["ends_at"],
        },
        "payout": _present(body["standing"]["payout"]),
        "ledger": {
            **balance(order.amount, ledger).model_dump(mode="json"),
            "entries": [_entry(entry.model_dump(mode="json")) for entry in ledger],
        },
        "facts": _facts(body),
        "cases": cases,
        "version": order_version(body),
        "_links": {
            "self": {"href": href},
            "merchant": {"href": f"/v1/merchants/{order.merchant_id}"},
            "reports": {"href": f"{href}/reports"},
            "facts": {"href": f"{href}/facts"},
            "links": {"href": f"{href}/links"},
            "cases": [{"href": f"/v1/cases/{case_id}"} for case_id in cases],
        },
    }
    return seen(reader.principal, "order", shown, said=said_it(reader.principal, body["order"]))


def _entry(entry: Mapping[str, Any]) -> dict[str, Any]:
    cause = {name: entry[name] for name in ("case_id", "decision_id", "fact_id") if entry[name] is not None}
    kept = {name: value for name, value in _present(entry).items() if name not in cause}
    return {**kept, "cause": cause}


def _case_parts(body: Body, file: CaseFile, case_id: str, reader: Reader) -> dict[str, Any]:
    """Whose case it is, and how it stands."""
    case = file.cases[case_id]
    order = body["order"]
    programme = reader.programmes.get(case.policy.programme, case.policy.version)
    shown: dict[str, Any] = {
        "case_id": case_id,
        "order_id": order["order_id"],
        "merchant_id": order["merchant_id"],
        "order_number": order["order_number"],
        "order_date": order["placed_at"],
        "order_amount": order["amount"],
        "buyer": {name: value for name, value in order["buyer"].items() if name in ("email", "name") and value is not None},
        "channel": order["channel"],
        "programme": {"id": case.policy.programme, "version": case.policy.version},
        "reason": case.reason,
        "state": case.state,
        "label": label(programme, case, reader.locale),
        "turn": case.turn,
        "attention": case.turn is not None and case.turn == reader.principal.turn,
        "opened_at": format_moment(case.opened_at),
        "updated_at": format_moment(case.updated_at),
        "version": case.version,
        "outcome": case.outcome,
    }
    if assignee := _assignee(body, case, reader):
        shown["assignee"] = assignee
    if case.closed_at is not None:
        shown["closed_at"] = format_moment(case.closed_at)
    if case.decided_by is not None:
        shown["decided_by"] = case.decided_by.model_dump()
    if case.outcome is not None:
        shown["outcome_label"] = outcome_label(programme, case.outcome, reader.locale)
    return shown


def _assignee(body: Body, case: Case, reader: Reader) -> dict[str, Any] | None:
    """Who looks after a case now (RD-08, 09); None where no rule says, and for whom it does not concern."""
    if reader.shop is None:
        return None
    shop, channel = reader.shop, body["order"]["channel"]
    found = assignee_of(shop.desk, shop.timezone, reader.now, case.policy.programme, case.reason, channel)
    return None if found is None else _present(found.model_dump())


def _links(case_id: str, order_id: str) -> dict[str, Any]:
    href = f"/v1/cases/{case_id}"
    return {
        "self": {"href": href},
        "order": {"href": f"/v1/orders/{order_id}"},
        **{name: {"href": f"{href}/{name}"} for name in ("actions", "previews", "messages", "history")},
    }


def case_shown(body: Body, case_id: str, reader: Reader) -> dict[str, Any]:
    """A case of an order, with what its caller can do now. Raises KeyError for a case that is not there.

    It is shown as it stands at this moment: a deadline that has passed has taken effect, even where the event that says so is
    still on its way."""
    stored = file_of(body)
    if stored is None:
        raise KeyError(case_id)
    file = at_time(stored, reader.now, reader.programmes, reader.record)
    case = file.cases[case_id]
    report = body["reports"][case_id]
    refund = refund_status(file, case_id).model_dump(mode="json")
    principal = reader.principal
    until = None if principal.capability is None else acts_until(principal.capability, body)
    labels = reader.shop.labels if reader.shop is not None and principal.role == "merchant" else ()
    actions = (
        allowed_actions(file, case_id, principal.role, reader.now, reader.programmes, reader.locale, labels, reader.record)
        if until is None or reader.now < until
        else ()
    )
    shown = _case_parts(body, file, case_id, reader)
    shown |= {
        "text": report["text"],
        "lines": report["lines"],
        "wish": report["wish"],
        **_present({name: report.get(name) for name in ("contact", "external_id", "amount", "answer_by")}),
        "evidence": [*report["evidence"], *body.get("attached", {}).get(case_id, ())],
        "facts": _facts(body),
        **({"service_contact": dict(reader.shop.contact)} if reader.shop is not None else {}),
        "refund": refund,
        "deadlines": [
            deadline.model_dump(mode="json")
            for deadline in explained_deadlines(file, case_id, reader.programmes, reader.locale)
        ],
        "allowed_actions": [{**action.model_dump(mode="json"), "href": f"/v1/cases/{case_id}/actions"} for action in actions],
        "_links": _links(case_id, body["order"]["order_id"]),
    }
    if unanswered(case):
        shown["unanswered"] = True
    if untold(case):
        shown["untold"] = True
    checklist = evidence_checklist(file, case_id, reader.programmes, reader.locale) if principal.reads_as != "buyer" else ()
    if checklist:
        shown["evidence_checklist"] = [item.model_dump(mode="json") for item in checklist]
    if case.answer is not None:
        shown["answer"] = _present(case.answer.model_dump(mode="json"))
    if case.proposal is not None:
        shown["proposal"] = case.proposal.model_dump(mode="json")
    return seen(principal, "case", shown, said=said_it(principal, body["order"]))


def preview_shown(preview: Preview, principal: Principal) -> dict[str, Any]:
    """What an action would do (NX-04)."""
    shown = preview.model_dump(mode="json")
    return seen(principal, "preview", {**shown, "money": _present(shown["money"])})


def message_shown(message: Mapping[str, Any]) -> dict[str, Any]:
    """A message of the thread."""
    return {
        name: message[name]
        for name in ("message_id", "case_id", "author", "text", "evidence", "internal", "visible_to", "at", "order_sequence")
    }


def entry_shown(entry: Mapping[str, Any], principal: Principal) -> dict[str, Any]:
    """An entry of a case's history. Whom its data is not for gets the digest alone: the chain can be followed, not read."""
    shown = {
        name: entry[name]
        for name in ("sequence", "order_sequence", "type", "at", "actor", "data_digest", "previous_hash", "hash")
    }
    if principal.reads_as in entry["visible_to"]:
        shown |= {"data": entry["data"], "salt": entry["salt"], "version": entry["version"]}
    else:
        shown["redacted"] = True
    return seen(principal, "entry", shown)
