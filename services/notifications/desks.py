"""What mails need of a merchant's desk when they are sent: who is to look at a case, and what a deputy gets (RD-09, NX-17)."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

import orjson

from contracts.base import format_moment
from contracts.cases import Deadline
from contracts.desk import Absence, Desk
from contracts.orders import Merchant
from engine.attention import CaseAtWork, forecast, leads, rule_for
from engine.casefile import CLOSED
from services.notifications.letters import addresses_of

__all__ = ["attention_addresses", "handed_over", "needs_desk"]

_LISTED = 50
"""Deadlines that a mail lists; it counts all cases."""


def needs_desk(notice: Mapping[str, Any]) -> bool:
    """Whether a notice cannot be sent without knowing the merchant's desk."""
    return notice["kind"] == "handover" or (notice["audience"] == "attention" and notice["to"] is None)


def attention_addresses(merchant: Merchant, desk: Desk, at: datetime) -> tuple[str, ...]:
    """Who is to look at a case that nobody answered: the consultants without a rule of their own, else the contract's `all`."""
    staff = dict.fromkeys(consultant.email for consultant in leads(desk, merchant.timezone, at))
    return tuple(staff) or addresses_of(merchant.notify, merchant.service_contact, "all")


def handed_over(merchant: Merchant, desk: Desk, about: Mapping[str, str], files: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """What the notice of an absence says of the cases that are handed over: how many are open (`cases`), and which of their
    deadlines fall to the deputy that it is for (`due`, JSON [[moment, order number]]). `files` are the case files of the
    merchant's orders."""
    absence = Absence.model_validate(orjson.loads(about["absence"]))
    others = tuple(each for each in desk.absences if each.absence_id != absence.absence_id)
    desk = desk.model_copy(update={"absences": (*others, absence)})
    numbers: dict[str, str] = {}
    cases: list[CaseAtWork] = []
    for file in files:
        for case in _open_cases(file):
            numbers[case.case_id] = file["order"]["order_number"]
            cases.append(case)
    own = [
        case
        for case in cases
        if (rule := rule_for(desk.rules, case.programme, case.reason, case.channel)) is not None
        and rule.consultant_id == absence.consultant_id
    ]
    due = [
        [format_moment(each.deadline.due_at), numbers[each.case.case_id]]
        for each in forecast(desk, merchant.timezone, absence, cases)
        if each.deputy.consultant_id == about.get("deputy", each.deputy.consultant_id)
    ]
    return {**about, "cases": str(len(own)), "due": orjson.dumps(due[:_LISTED]).decode()}


def _open_cases(file: Mapping[str, Any]) -> Iterator[CaseAtWork]:
    for case in file["cases"].values():
        if case["state"] not in CLOSED:
            deadlines = tuple(Deadline.model_validate(each) for each in case["deadlines"])
            programme = case["policy"]["programme"]
            yield CaseAtWork(case["case_id"], programme, case["reason"], file["order"]["channel"], deadlines)
