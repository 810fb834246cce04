"""A merchant's desk: consultants, rules, absences, status labels and forms, put down and taken away (RD-03, 06, 08, 09)."""

from collections.abc import Iterator
from datetime import date
from typing import Any
from urllib.parse import quote

from chassis.handler import Emission, Inbound, Step
from contracts.base import Model
from contracts.desk import (
    CONTENTS,
    Absence,
    AbsenceContent,
    ChangeDesk,
    Desk,
    DeskList,
    LabelContent,
    RuleContent,
)
from contracts.ids import merchant_key
from contracts.notices import TellMerchant
from contracts.orders import MerchantChanged
from contracts.problems import FieldError, Problem
from contracts.topics import NOTIFICATIONS_COMMANDS
from engine.attention import clash_of, deputies, loop_of
from engine.programmes import Programmes
from services.intake.answers import may_see, refused, repeated, settled, wrong
from services.intake.documents import MerchantFile, State, remember

__all__ = ["change_desk"]

_MOST_ITEMS = 200
_MOST_BYTES = 512 * 1024
"""The whole desk travels with every change of the merchant; a record holds 1 MiB."""
_NAMES: dict[DeskList, str] = {
    "consultants": "consultant",
    "assignment-rules": "assignment rule",
    "absences": "absence",
    "status-labels": "status label",
    "forms": "form",
}


def change_desk(file: MerchantFile | None, inbound: Inbound, command: ChangeDesk, programmes: Programmes) -> Step[State]:
    """Put, replace or take away one item of the desk.

    403 for a role that has no desk, 404 for a merchant or item that is not there or not the caller's, 412 for another version
    than If-Match names, 422 for what does not fit the rest of the desk, 409 for a consultant who is still needed and for one
    more than a list holds."""
    envelope = inbound.envelope
    if command.actor.role not in ("platform", "partner", "merchant"):
        return Step(file, (refused(envelope, Problem.forbidden("A desk is for the merchant, its partner and the platform.")),))
    if file is None or not may_see(command.actor, file.merchant.created_by, command.given):
        return Step(file, (refused(envelope, Problem.not_found("merchant")),))
    href = f"/v1/merchants/{quote(command.merchant_id, safe='')}/{command.list_name}/{command.item_id}"
    known = file.desk.item(command.list_name, command.item_id)
    if envelope.id in file.commands or (command.new and known is not None):
        return Step(file, (repeated(envelope, href),))
    if known is None and not command.new:
        return Step(file, (refused(envelope, Problem.not_found(_NAMES[command.list_name])),))
    if stale := Problem.stale(command.if_match, None if known is None else known.version):
        return Step(file, (refused(envelope, stale),))
    content = None if command.content is None else CONTENTS[command.list_name].model_validate(command.content)
    if errors := tuple(_misfits(file.desk, command, content, programmes)):
        return Step(file, (refused(envelope, Problem.invalid_input(*errors)),))
    desk = file.desk.with_item(command.list_name, command.item_id, content)
    if problem := _needed(file.desk, command) or _too_much(desk, command):
        return Step(file, (refused(envelope, problem),))
    after = file.model_copy(update={"desk": desk, "commands": remember(file.commands, envelope.id)})
    changed = settled(envelope, MerchantChanged(merchant=file.merchant, desk=desk, href=href))
    mails = (
        Emission(NOTIFICATIONS_COMMANDS, mail, envelope.time, sequenced=False, key=merchant_key(command.merchant_id))
        for mail in _handed_over(file.desk, desk, command)
    )
    return Step(after, (changed, *mails))


def _handed_over(before: Desk, after: Desk, command: ChangeDesk) -> Iterator[TellMerchant]:
    """The mails to who stands in, of each absence and its days, when that is not what they know already: the absence is new or
    another one, or somebody else's makes them stand in for it (RD-09)."""
    if command.list_name != "absences":
        return
    known = {each.absence_id: each for each in before.absences}
    for absence in after.absences:
        was = known.get(absence.absence_id)
        same = was is not None and _for_deputy(was) == _for_deputy(absence)
        knowing = deputies(before.absences, absence) if same else {}
        for deputy_id, days in deputies(after.absences, absence).items():
            if knowing.get(deputy_id) != days:
                yield _handover(after, command.merchant_id, absence, deputy_id, days)


def _handover(desk: Desk, merchant_id: str, absence: Absence, deputy_id: str, days: tuple[date, date]) -> TellMerchant:
    absent, deputy = desk.consultant(absence.consultant_id), desk.consultant(deputy_id)
    if absent is None or deputy is None:
        raise LookupError("an absence names consultants of the desk")
    about = {
        "name": deputy.name,
        "deputy": deputy_id,
        "absent": absent.name,
        "from": days[0].isoformat(),
        "to": days[1].isoformat(),
        "note": absence.note or "",
        "absence": absence.model_dump_json(),
    }
    return TellMerchant(merchant_id=merchant_id, notice="handover", about=about, to=deputy.email, locale=deputy.locale)


def _for_deputy(absence: Absence) -> dict[str, Any]:
    return absence.model_dump(exclude={"version"})


def _misfits(desk: Desk, command: ChangeDesk, content: Model | None, programmes: Programmes) -> Iterator[FieldError]:
    match content:
        case RuleContent():
            yield from _unknown(desk, "/consultant_id", content.consultant_id)
            yield from _unknown_kinds(content, programmes)
        case AbsenceContent():
            yield from _absence_misfits(desk, command.item_id, content)
        case LabelContent():
            if any(each.code == content.code and each.label_id != command.item_id for each in desk.labels):
                yield wrong("/code", f"{content.code} is another label's code; give each label its own.")


def _unknown(desk: Desk, pointer: str, consultant_id: str) -> Iterator[FieldError]:
    if desk.consultant(consultant_id) is None:
        yield wrong(pointer, f"The merchant has no consultant {consultant_id}; use the id of one.")


def _unknown_kinds(rule: RuleContent, programmes: Programmes) -> Iterator[FieldError]:
    known = programmes.known()
    if rule.programme is not None and rule.programme not in known:
        yield wrong("/programme", f"There is no programme {rule.programme}; use one of {', '.join(known)}.")
        return
    if rule.reason is None:
        return
    names = known if rule.programme is None else (rule.programme,)
    reasons = dict.fromkeys(reason for name in names for version in programmes.versions(name) for reason in version.reasons)
    if rule.reason not in reasons:
        yield wrong("/reason", f"There is no reason {rule.reason}; use one of {', '.join(reasons)}.")


def _absence_misfits(desk: Desk, absence_id: str, absence: AbsenceContent) -> Iterator[FieldError]:
    unknown = [
        *_unknown(desk, "/consultant_id", absence.consultant_id),
        *_unknown(desk, "/deputy_id", absence.deputy_id),
    ]
    yield from unknown
    if absence.to < absence.from_:
        yield wrong("/to", "An absence ends on the day on which it begins, or later.")
        return
    others = [each for each in desk.absences if each.absence_id != absence_id]
    if clash := clash_of(others, absence):
        yield wrong(
            "/from", f"The consultant is away from {clash.from_} to {clash.to} already ({clash.absence_id}); change that."
        )
    elif not unknown and (loop := loop_of(others, absence)):
        names = [consultant.name for each in loop if (consultant := desk.consultant(each)) is not None]
        circle = " → ".join([*names, names[0]])
        yield wrong("/deputy_id", f"Nobody would be there: {circle}. Choose a deputy who is not away on these days.")


def _needed(desk: Desk, command: ChangeDesk) -> Problem | None:
    """Why a consultant cannot go: rules and absences name them."""
    if command.list_name != "consultants" or command.content is not None:
        return None
    uses = [f"assignment-rules/{rule.rule_id}" for rule in desk.rules if rule.consultant_id == command.item_id]
    uses += [
        f"absences/{absence.absence_id}"
        for absence in desk.absences
        if command.item_id in (absence.consultant_id, absence.deputy_id)
    ]
    if not uses:
        return None
    return Problem(
        type="/problems/in-use",
        title="It is still needed",
        status=409,
        detail=f"{len(uses)} rules or absences name this consultant; change or delete them first.",
        extra={"used_by": uses},
    )


def _too_much(desk: Desk, command: ChangeDesk) -> Problem | None:
    if command.content is None:
        return None
    if len(desk.items(command.list_name)) <= _MOST_ITEMS and len(desk.model_dump_json().encode()) <= _MOST_BYTES:
        return None
    return Problem(
        type="/problems/list-full",
        title="The list is full",
        status=409,
        detail=f"A list holds {_MOST_ITEMS} items, all lists of a merchant 512 KiB; delete what is no longer needed.",
    )
