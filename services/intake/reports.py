"""Reports: what a buyer submits, refused with a reason or accepted in one write with all that follows for the order."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from chassis.handler import Inbound, Step
from contracts.actors import Actor
from contracts.evidence import Evidence
from contracts.ids import case_id_of, child_id, order_of
from contracts.orders import OpenCase, Order, OrderLine, Report, ReportAccepted, ReportContent, Standing, SubmitReport
from contracts.problems import FieldError, Problem
from engine.programmes import Programme, Programmes
from engine.protection import refusal_of, standing_with
from services.intake.answers import may_see, refused, repeated, settled, told, wrong
from services.intake.documents import CaseSpan, OrderFile, State

__all__ = ["submit_report"]

_OF_CLAIMS = ("amount", "answer_by", "external_id")


def submit_report(file: OrderFile | None, inbound: Inbound, command: SubmitReport, programmes: Programmes) -> Step[State]:
    """Accept a report: it is kept, a case is opened, the protection extended and the payout held, in one write (BP-07, 26);
    `satisfied` ends the protection instead. Cases completes the command where a case opens.

    404 for an order that is not there or not the caller's, 403 for a merchant, 422 for an unknown programme or line,
    409 with the refusal of the engine. The same command, or a claim with the same external id, is the same report."""
    envelope = inbound.envelope
    if file is None or not may_see(command.actor, file.partner):
        return Step(file, (refused(envelope, Problem.not_found("order")),))
    if command.actor.role == "merchant":
        return Step(file, (refused(envelope, Problem.forbidden("A merchant does not report on its own orders.")),))
    content = command.content
    order = file.order
    name = content.programme or order.programme
    report_id = child_id("rep", order.order_id, envelope.id, length=8)
    for known in file.reports:
        if known.report_id == report_id or _same_claim(known, content, name):
            return Step(file, (repeated(envelope, _href(file, known.report_id)),))
    programme = _programme(name, file, envelope.time, programmes)
    errors = list(_misfits(order, command))
    if isinstance(programme, FieldError):
        return Step(file, (refused(envelope, Problem.invalid_input(programme, *errors)),))
    if errors:
        return Step(file, (refused(envelope, Problem.invalid_input(*errors)),))
    refusal = refusal_of(content, file.standing, envelope.time, programme)
    if refusal is not None:
        return Step(file, (refused(envelope, Problem.report_refused(*refusal)),))
    report = Report.model_validate(
        {
            **content.__dict__,
            "report_id": report_id,
            "programme": name,
            "evidence": command.evidence,
            "actor": _reporter(command.actor),
            "at": envelope.time,
        }
    )
    if not programme.reasons[report.reason].opens_case:
        return _satisfied(file, inbound, report)
    return _opened(file, inbound, report)


def _opened(file: OrderFile, inbound: Inbound, report: Report) -> Step[State]:
    case = CaseSpan(
        case_id=case_id_of(file.order.order_id, len(file.cases) + 1),
        report_id=report.report_id,
        programme=report.programme,
        reason=report.reason,
        opened_at=report.at,
    )
    opened = OpenCase(case_id=case.case_id, programme=case.programme, reason=case.reason)
    standing = standing_with(file.standing, (*file.standing.open_cases, opened))
    after = file.model_copy(
        update={
            "reports": (*file.reports, report),
            "cases": (*file.cases, case),
            "standing": standing.model_copy(update={"version": file.standing.version + 1}),
        }
    )
    return Step(after, (told(inbound.envelope, _accepted(after, report, case.case_id)),))


def _satisfied(file: OrderFile, inbound: Inbound, report: Report) -> Step[State]:
    protection = file.standing.protection.model_copy(update={"state": "ended", "reason": "satisfied"})
    standing: Standing = file.standing.model_copy(update={"protection": protection, "version": file.standing.version + 1})
    after = file.model_copy(update={"reports": (*file.reports, report), "standing": standing})
    return Step(after, (settled(inbound.envelope, _accepted(after, report, None)),))


def _accepted(file: OrderFile, report: Report, case_id: str | None) -> ReportAccepted:
    return ReportAccepted(report=report, case_id=case_id, order=file.order, facts=file.facts, standing=file.standing)


def _reporter(actor: Actor) -> Actor:
    """A partner or the platform reports in the buyer's name; that it was they is kept."""
    if actor.role in ("partner", "platform") and actor.acts_for is None:
        return actor.model_copy(update={"acts_for": "buyer"})
    return actor


def _same_claim(known: Report, content: ReportContent, programme: str) -> bool:
    return content.external_id is not None and (known.programme, known.reason, known.external_id) == (
        programme,
        content.reason,
        content.external_id,
    )


def _href(file: OrderFile, report_id: str) -> str:
    for case in file.cases:
        if case.report_id == report_id:
            return f"/v1/cases/{case.case_id}"
    return file.href


def _programme(name: str, file: OrderFile, at: datetime, programmes: Programmes) -> Programme | FieldError:
    if name not in file.programmes:
        return wrong("/programme", f"The order's merchant does not offer {name}; use {', '.join(file.programmes)}.")
    try:
        return programmes.in_force(name, at)
    except KeyError:
        return wrong("/programme", f"{name} is not in force yet; use another programme.")


def _misfits(order: Order, command: SubmitReport) -> Iterator[FieldError]:
    content = command.content
    yield from _line_misfits(order.lines, content)
    yield from _evidence_misfits(order.order_id, command.evidence)
    if command.actor.role == "buyer":
        for field in _OF_CLAIMS:
            if getattr(content, field) is not None:
                yield wrong(f"/{field}", "Only a partner's claim has this; leave it out.")
    if content.amount is not None:
        if content.amount.currency != order.amount.currency:
            yield wrong("/amount", f"The order is in {order.amount.currency}; give the amount in it.")
        elif content.amount.amount < 0:
            yield wrong("/amount", "An amount is zero or more.")


def _line_misfits(ordered: Sequence[OrderLine], content: ReportContent) -> Iterator[FieldError]:
    quantities = {line.line_id: line.quantity for line in ordered if line.line_id is not None}
    for index, line in enumerate(content.lines):
        quantity = quantities.get(line.line_id)
        if quantity is None:
            yield wrong(f"/lines/{index}/line_id", f"The order has no line {line.line_id}; use an id of its lines.")
        elif line.quantity > quantity:
            yield wrong(f"/lines/{index}/quantity", f"The order has {quantity} of this line; report at most as many.")


def _evidence_misfits(order_id: str, evidence: Sequence[Evidence]) -> Iterator[FieldError]:
    for index, file in enumerate(evidence):
        if order_of(file.evidence_id) != order_id:
            yield wrong(f"/evidence/{index}", "This file belongs to another order; upload it to this one.")
