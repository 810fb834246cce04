"""Reports: what a buyer submits, refused with a reason or accepted in one write with all that follows for the order."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from chassis.handler import Emission, Inbound, Step
from contracts.actors import Actor
from contracts.evidence import Evidence
from contracts.ids import case_id_of, child_id, order_of
from contracts.orders import (
    AskClaim,
    CommandRefused,
    CommandRepeated,
    Merchant,
    OpenCase,
    Order,
    OrderContent,
    OrderLine,
    OrderRegistered,
    RegisterOrder,
    Report,
    ReportAccepted,
    ReportContent,
    Standing,
    SubmitReport,
)
from contracts.problems import FieldError, Problem
from contracts.topics import INTAKE_COMMANDS
from engine.programmes import Programme, Programmes, Reason
from engine.protection import ended, refusal_of, standing_with
from services.intake.answers import may_see, order_full, refused, repeated, settled, told, wrong
from services.intake.context import Context, claim_id
from services.intake.documents import CaseSpan, OrderFile, State
from services.intake.orders import register_order

__all__ = ["answer_claim", "claim_wanted", "submit_report"]

_OF_CLAIMS = ("amount", "answer_by", "external_id")
_MOST_CASES = 50
_MOST_REPORTED = 4 * 1024 * 1024
"""Bytes of the reports of one order: they stand in its document, which a store bounds at 16 MiB."""


def submit_report(
    file: OrderFile | None, inbound: Inbound, command: SubmitReport, programmes: Programmes, context: Context
) -> Step[State]:
    """Accept a report: it is kept, a case is opened, the protection extended and the payout held, in one write (BP-07, 26);
    `satisfied` ends the protection instead. Cases completes the command where a case opens. A report by form on an order that
    nobody has registered brings the order with it (RD-03).

    404 for an order that is not there or not the caller's, 403 for a merchant and for whom the reason is not, 412 for another
    version of the order than `if_match`, 422 for an unknown programme or line, 409 with the refusal of the engine or where the
    order has too many. The same command, or a claim with the same external id at this merchant, is the same report (CP-03)."""
    envelope = inbound.envelope
    if file is None and command.order is not None:
        return _with_its_order(inbound, command, command.order, programmes, context)
    if file is None or not may_see(command.actor, file.partner, command.given):
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
    if stale := Problem.stale(command.if_match, file.standing.version):
        return Step(file, (refused(envelope, stale),))
    merchant = context.merchants.get(order.merchant_id)
    programme = _programme(name, file, merchant, command, inbound, programmes, context)
    errors = list(_misfits(order, command, inbound))
    if isinstance(programme, FieldError):
        return Step(file, (refused(envelope, Problem.invalid_input(programme, *errors)),))
    if errors:
        return Step(file, (refused(envelope, Problem.invalid_input(*errors)),))
    reason = programme.reason(content.reason)
    if reason is not None and command.actor.role not in reason.by:
        detail = f"{content.reason} is reported by {' or '.join(reason.by)}, not by {command.actor.role}."
        return Step(file, (refused(envelope, Problem.forbidden(detail)),))
    insolvent = merchant is not None and merchant.insolvent_at is not None
    refusal = refusal_of(content, file.standing, envelope.time, programme, merchant_insolvent=insolvent)
    if refusal is not None or reason is None:
        return Step(file, (refused(envelope, Problem.report_refused(*(refusal or ("reason_unknown", "")))),))
    if len(file.cases) >= _MOST_CASES or sum(len(known.model_dump_json()) for known in file.reports) > _MOST_REPORTED:
        return Step(file, (refused(envelope, order_full(f"An order keeps {_MOST_CASES} cases; write in one of them.")),))
    if content.external_id is not None:
        claim = claim_id(order.merchant_id, name, content.reason, content.external_id)
        holder = context.claims.get(claim)
        if holder is None:  # it was wrong in itself a moment ago, when the claims of this batch were looked for
            return Step(file, (refused(envelope, Problem.not_found("order")),))
        if holder != order.order_id:
            return Step(file, (_asking(inbound, holder, name, content.reason, content.external_id),))
    report = Report.model_validate(
        {
            **content.__dict__,
            "report_id": report_id,
            "programme": name,
            "evidence": command.evidence,
            "actor": _reporter(command.actor, reason),
            "proved": command.proved,
            "at": envelope.time,
        }
    )
    if not reason.opens_case:
        return _satisfied(file, inbound, report, programme)
    return _opened(file, inbound, report, programme)


def _with_its_order(
    inbound: Inbound, command: SubmitReport, order: OrderContent, programmes: Programmes, context: Context
) -> Step[State]:
    """Register the order that a report names and accept the report, or do neither."""
    made = register_order(
        None, inbound, RegisterOrder(content=order, reported=True, actor=command.actor), context.merchants, programmes
    )
    if not isinstance(made.state, OrderFile):
        return made
    step = submit_report(made.state, inbound, command, programmes, context)
    if not isinstance(step.state, OrderFile) or not step.state.reports:
        return Step(None, step.emissions)
    event = OrderRegistered(order=made.state.order, facts=made.state.facts, standing=made.state.standing)
    return Step(step.state, (told(inbound.envelope, event), *step.emissions))


def claim_wanted(
    file: OrderFile, inbound: Inbound, command: SubmitReport, programmes: Programmes, context: Context
) -> str | None:
    """The claim that a report brings, where nothing but another case or the claim itself may stand in its way; None: it is
    refused whatever becomes of others, or known on this order."""
    content = command.content
    if content.external_id is None:
        return None
    order = file.order
    claim = claim_id(order.merchant_id, content.programme or order.programme, content.reason, content.external_id)
    as_holder = replace(context, claims={claim: order.order_id})
    for emission in submit_report(file, inbound, command, programmes, as_holder).emissions:
        match emission.message:
            case CommandRefused(problem=problem) if problem.type != "/problems/report-refused":
                return None
            case CommandRepeated():
                return None
            case _:
                pass
    return claim


def _asking(inbound: Inbound, holder: str, programme: str, reason: str, external_id: str) -> Emission:
    """Have the order that holds a claim answer in our place: its own report of it is decided before."""
    ask = AskClaim(order_id=holder, programme=programme, reason=reason, external_id=external_id)
    envelope = inbound.envelope
    return Emission(INTAKE_COMMANDS, ask, envelope.time, sequenced=False, key=holder, id=envelope.id)


def answer_claim(file: OrderFile | None, inbound: Inbound, command: AskClaim) -> Step[State]:
    """Name the case of a claim that came in again on another order; 409 where it was refused here."""
    if file is None:
        raise LookupError(f"{command.order_id} holds a claim and was never registered")
    for known in file.reports:
        if (known.programme, known.reason, known.external_id) == (command.programme, command.reason, command.external_id):
            return Step(file, (repeated(inbound.envelope, _href(file, known.report_id)),))
    detail = f"{command.external_id} was reported on {command.order_id} first and refused there; report it there again."
    return Step(file, (refused(inbound.envelope, Problem.report_refused("already_open", detail)),))


def _opened(file: OrderFile, inbound: Inbound, report: Report, programme: Programme) -> Step[State]:
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
    return Step(after, (told(inbound.envelope, _accepted(after, report, case.case_id, programme)),))


def _satisfied(file: OrderFile, inbound: Inbound, report: Report, programme: Programme) -> Step[State]:
    protection = ended(file.standing.protection, "satisfied", report.at)
    standing: Standing = file.standing.model_copy(update={"protection": protection, "version": file.standing.version + 1})
    after = file.model_copy(update={"reports": (*file.reports, report), "standing": standing})
    return Step(after, (settled(inbound.envelope, _accepted(after, report, None, programme)),))


def _accepted(file: OrderFile, report: Report, case_id: str | None, programme: Programme) -> ReportAccepted:
    return ReportAccepted(
        report=report,
        case_id=case_id,
        policy_version=programme.version,
        order=file.order,
        facts=file.facts,
        standing=file.standing,
    )


def _reporter(actor: Actor, reason: Reason) -> Actor:
    """A partner or the platform reports in the buyer's name, and that it was they is kept; what no buyer reports is in nobody
    else's name."""
    if actor.role not in ("partner", "platform"):
        return actor
    return actor.model_copy(update={"acts_for": "buyer" if "buyer" in reason.by else None})


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


def _programme(
    name: str,
    file: OrderFile,
    merchant: Merchant | None,
    command: SubmitReport,
    inbound: Inbound,
    programmes: Programmes,
    context: Context,
) -> Programme | FieldError:
    """What the merchant offered when the order was registered, or offers now, in the version in force for the merchant as it
    is now (BP-24). A form offers its own (RD-11)."""
    offered = dict.fromkeys((*file.programmes, *(merchant.programmes if merchant is not None else ())))
    if name not in offered and command.form_id is None:
        return wrong("/programme", f"The order's merchant does not offer {name}; use {', '.join(offered)}.")
    try:
        locale = file.order.merchant_locale if merchant is None else merchant.locale
        return programmes.in_force(name, inbound.envelope.time, context.rollouts, file.order.merchant_id, locale)
    except KeyError:
        return wrong("/programme", f"{name} is not in force yet; use another programme.")


def _misfits(order: Order, command: SubmitReport, inbound: Inbound) -> Iterator[FieldError]:
    content = command.content
    yield from _line_misfits(order.lines, content)
    yield from _evidence_misfits(order.order_id, command.evidence)
    if command.actor.role == "buyer":
        for field in _OF_CLAIMS:
            if getattr(content, field) is not None:
                yield wrong(f"/{field}", "Only a partner's claim has this; leave it out.")
    if content.answer_by is not None and content.answer_by <= inbound.envelope.time:
        yield wrong("/answer_by", "This moment has passed; give the one by which an answer is still taken, or leave it out.")
    if content.amount is not None:
        if content.amount.currency != order.amount.currency:
            yield wrong("/amount/currency", f"The order is in {order.amount.currency}; give the amount in it.")
        elif content.amount.amount < 0:
            yield wrong("/amount/amount", "An amount is zero or more.")


def _line_misfits(ordered: Sequence[OrderLine], content: ReportContent) -> Iterator[FieldError]:
    quantities = {line.line_id: line.quantity for line in ordered if line.line_id is not None}
    named: set[str] = set()
    for index, line in enumerate(content.lines):
        quantity = quantities.get(line.line_id)
        if quantity is None:
            yield wrong(f"/lines/{index}/line_id", f"The order has no line {line.line_id}; use an id of its lines.")
        elif line.line_id in named:
            yield wrong(f"/lines/{index}/line_id", f"{line.line_id} is named before; name each line once, with its quantity.")
        elif line.quantity > quantity:
            yield wrong(f"/lines/{index}/quantity", f"The order has {quantity} of this line; report at most as many.")
        named.add(line.line_id)


def _evidence_misfits(order_id: str, evidence: Sequence[Evidence]) -> Iterator[FieldError]:
    for index, file in enumerate(evidence):
        if order_of(file.evidence_id) != order_id:
            yield wrong(f"/evidence/{index}", "This file belongs to another order; upload it to this one.")
