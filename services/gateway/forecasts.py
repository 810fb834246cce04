"""The forecast of an absence: which deadlines of open cases fall into it, who stands in, and a note to hand over (NX-17)."""

from collections.abc import Iterator
from typing import Any, get_args
from zoneinfo import ZoneInfo

from babel.dates import format_date, format_datetime

from contracts.base import format_moment, parse_moment
from contracts.cases import CaseState, Deadline
from contracts.desk import Absence, Consultant, Desk
from contracts.orders import Merchant
from engine.attention import CaseAtWork, Foreseen, forecast, standing_in
from engine.casefile import CLOSED
from engine.programmes import Programmes, in_language
from services.gateway.context import Gateway
from services.gateway.shops import desk_of
from services.gateway.store import ORDERS, Document, whole
from services.gateway.wording import language_of, words

__all__ = ["forecast_shown"]

_OPEN_STATES = [state for state in get_args(CaseState) if state not in CLOSED]
_SHOWN = 1_000
"""Deadlines that a forecast lists; `total` counts them all."""


async def forecast_shown(gateway: Gateway, body: Document, absence: Absence, locale: str) -> dict[str, Any]:
    """The forecast of an absence of a merchant (its read document), in the language of a reader."""
    merchant, desk = Merchant.model_validate(body["merchant"]), desk_of(body)
    orders: dict[str, Document] = {}
    cases: list[CaseAtWork] = []
    wanted = {"body.order.merchant_id": merchant.merchant_id, "body.states": {"$in": _OPEN_STATES}}
    fields = {"body.order": 1, "body.file": 1}
    async for found in gateway.database[ORDERS].find(wanted, fields, batch_size=1_000):
        order = whole(found["body"])
        for case in _at_work(order):
            cases.append(case)
            orders[case.case_id] = order
    foreseen = forecast(desk, merchant.timezone, absence, cases)
    shown = [_shown(each, orders[each.case.case_id], gateway.programmes, locale) for each in foreseen[:_SHOWN]]
    return {
        "absence_id": absence.absence_id,
        "from": absence.from_.isoformat(),
        "to": absence.to.isoformat(),
        "consultant": _person(desk, absence.consultant_id),
        "deputy": _person(desk, standing_in(desk.absences, absence.consultant_id, absence.from_)[-1]),
        "total": len(foreseen),
        "deadlines": shown,
        "hand_over_note": _note(merchant, desk, absence, shown, len(foreseen), locale),
    }


def _at_work(body: Document) -> Iterator[CaseAtWork]:
    for case_id, case in body["file"]["cases"].items():
        if case["state"] not in CLOSED:
            deadlines = tuple(Deadline.model_validate(each) for each in case["deadlines"] if each["party"] == "merchant")
            programme, reason = case["policy"]["programme"], case["reason"]
            yield CaseAtWork(case_id, programme, reason, body["order"].get("channel"), deadlines)


def _person(desk: Desk, consultant_id: str) -> dict[str, str]:
    consultant = desk.consultant(consultant_id)
    return {"consultant_id": consultant_id, **({} if consultant is None else {"name": consultant.name})}


def _shown(foreseen: Foreseen, body: Document, programmes: Programmes, locale: str) -> dict[str, Any]:
    case, deadline = foreseen.case, foreseen.deadline
    order, policy = body["order"], deadline.policy
    programme = programmes.get(policy.programme, policy.version)
    state = body["file"]["cases"][case.case_id]["state"]
    return {
        "case_id": case.case_id,
        "order_id": order["order_id"],
        "order_number": order["order_number"],
        "programme": case.programme,
        "reason": case.reason,
        "reason_label": in_language(programme.reasons[case.reason].label, locale),
        "state": state,
        "deadline_id": deadline.deadline_id,
        "kind": deadline.kind,
        "label": in_language(programme.deadlines[deadline.kind].label, locale),
        "due_at": format_moment(deadline.due_at),
        "deputy": _named(foreseen.deputy),
        "_links": {"case": {"href": f"/v1/cases/{case.case_id}"}},
    }


def _named(consultant: Consultant) -> dict[str, str]:
    return {"consultant_id": consultant.consultant_id, "name": consultant.name}


def _note(merchant: Merchant, desk: Desk, absence: Absence, shown: list[dict[str, Any]], total: int, locale: str) -> str:
    """What the absent one leaves behind: its own words, then a line for each deadline, soonest first."""
    w, language, zone = words(locale), language_of(locale), ZoneInfo(merchant.timezone)
    away = desk.consultant(absence.consultant_id)
    first, last = (format_date(day, "long", locale=language) for day in (absence.from_, absence.to))
    lines = [w["away"].format(name=away.name if away else absence.consultant_id, first=first, last=last)]
    if absence.note:
        lines += ["", absence.note]
    lines += ["", w["due_meanwhile"] if shown else w["nothing_due"]]
    for each in shown:
        due = format_datetime(parse_moment(each["due_at"]), "short", tzinfo=zone, locale=language)
        lines.append(
            f"- {due}: {each['label']} – {w['order']} {each['order_number']}, {each['reason_label']} ({each['deputy']['name']})"
        )
    if total > len(shown):
        lines.append(w["and_more"].format(count=total - len(shown)))
    return "\n".join(lines)
