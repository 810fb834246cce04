"""Orders: registered once, with facts, a check-in and the standing that follows from their cases."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from chassis.handler import Emission, Inbound, Step
from contracts.actors import Actor
from contracts.base import format_moment
from contracts.cases import CaseEvent, Change
from contracts.ids import child_id, order_id_of, reported_order_id
from contracts.money import Money
from contracts.orders import (
    CheckInAsked,
    CheckInReached,
    Fact,
    FactContent,
    FactRecorded,
    Merchant,
    OpenCase,
    Order,
    OrderChanged,
    OrderContent,
    OrderRegistered,
    Payout,
    RecordFact,
    RegisterOrder,
    Standing,
)
from contracts.problems import FieldError, Problem
from contracts.topics import INTAKE_EVENTS
from engine.casefile import CLOSED, ledger_of
from engine.payouts import flagged
from engine.programmes import Programme, Programmes
from engine.protection import eligibility, standing_with
from services.intake.answers import may_see, order_full, refused, repeated, settled, wrong
from services.intake.documents import OrderFile, State

__all__ = ["ask_check_in", "follow_case", "record_fact", "register_order", "registered"]

MOST_FACTS = 200
"""Facts of one order: parcels and part refunds by the dozen fit, a feed that never ends does not."""
_CLOCKS_DIFFER_BY = timedelta(days=1)
"""So far ahead of ours a source's clock may be, or its idea of its time zone."""
_NOT_HELD = Payout(held=False)
_CONTENT = tuple(name for name in OrderContent.model_fields if name != "programme")
_FACT_CONTENT = tuple(FactContent.model_fields)


def register_order(
    file: OrderFile | None,
    inbound: Inbound,
    command: RegisterOrder,
    merchants: Mapping[str, Merchant],
    programmes: Programmes,
) -> Step[State]:
    """Register an order under the identity of merchant and order number (BP-02, 04, 05), or, reported by its buyer alone, of
    merchant, number and address (RD-03).

    The same content again is the same order, other content is 409. 403 for who is neither partner nor platform; 422 for a
    merchant that is unknown or not the caller's, a programme that it does not offer, and money that does not fit."""
    envelope = inbound.envelope
    content = command.content
    if command.reported:
        if file is not None:  # whatever a later report says of it
            return Step(file, (repeated(envelope, file.href),))
    elif command.actor.role not in ("partner", "platform"):
        return Step(file, (refused(envelope, Problem.forbidden("Orders are registered by a partner or the platform.")),))
    if file is not None and may_see(command.actor, file.partner, command.given):
        if _same(file, command):
            return Step(file, (repeated(envelope, file.href),))
        return Step(file, (refused(envelope, _order_exists(file)),))
    merchant = merchants.get(content.merchant_id)
    if merchant is None or not may_see(command.actor, merchant.created_by, command.given):
        unknown = wrong("/merchant_id", f"There is no merchant {content.merchant_id} that you may use; PUT it first.")
        return Step(file, (refused(envelope, Problem.invalid_input(unknown)),))
    if envelope.key != _identity(command):
        raise LookupError(f"{envelope.key} is not the id of order {content.order_number} of {content.merchant_id}")
    programme = _programme(content, merchant, programmes, offered=command.reported)
    errors = list(_misfits(command, envelope.time))
    if isinstance(programme, FieldError):
        return Step(file, (refused(envelope, Problem.invalid_input(programme, *errors)),))
    if errors:
        return Step(file, (refused(envelope, Problem.invalid_input(*errors)),))
    # What it is made of was validated as it came in; millions of orders need not pay for it twice.
    order = Order.made_of(
        **content.__dict__
        | {
            "order_id": envelope.key,
            "programme": programme.programme,
            "timezone": merchant.timezone,
            "merchant_name": merchant.name,
            "merchant_locale": merchant.locale,
            "merchant_country": merchant.country,
            "origin": "reported" if command.reported else "registered",
            "registered_at": envelope.time,
        }
    )
    facts: tuple[Fact, ...] = ()
    for number, fact in enumerate(command.facts):
        facts = (*facts, _fact(order, facts, False, fact, command.actor, envelope.time, ("registered", str(number))))
    protection = eligibility(merchant, content, envelope.time, programme)
    standing = Standing(status="open", protection=protection, payout=_NOT_HELD, version=1)
    after = OrderFile(
        order=order,
        partner=merchant.created_by,
        programmes=_offered(merchant, programme),
        facts=facts,
        registered_facts=len(facts),
        standing=standing,
    )
    return Step(after, registered(after, envelope.id, envelope.time), recallable=True)


def _identity(command: RegisterOrder) -> str:
    content = command.content
    if command.reported:
        return reported_order_id(content.merchant_id, content.order_number, content.buyer.email)
    return order_id_of(content.merchant_id, content.order_number)


def registered(file: OrderFile, command_id: str, at: datetime) -> tuple[Emission, ...]:
    """What is told of an order that was just registered; nothing but the order itself is needed to say it again."""
    event = OrderRegistered.made_of(order=file.order, facts=file.facts, standing=file.standing)
    return (Emission(INTAKE_EVENTS, event, at, command_id=command_id, settles=True),)


def record_fact(file: OrderFile | None, inbound: Inbound, command: RecordFact) -> Step[State]:
    """Keep a fact with its source and time (CP-06). The same kind and external id again is the same fact.

    404 for an order that is not there or not the caller's, 403 for a buyer, and for a merchant that says what it was paid or
    what that was less by, 412 for another version of the order than `if_match`, 422 for a moment to come, and for money that
    flowed without an amount or in another currency."""
    envelope = inbound.envelope
    if file is None or not may_see(command.actor, file.partner, command.given):
        return Step(file, (refused(envelope, Problem.not_found("order")),))
    if command.actor.role == "buyer":
        return Step(file, (refused(envelope, Problem.forbidden("Facts come from the partner, merchant or platform.")),))
    order = file.order
    content = command.content
    if content.kind in ("paid_out", "netted") and command.actor.role == "merchant":
        by_payer = "What a merchant was paid, and what that was less by, is told by who pays it out."
        return Step(file, (refused(envelope, Problem.forbidden(by_payer)),))
    fact = _fact(order, file.facts, file.standing.payout.held, content, command.actor, envelope.time, (envelope.id,))
    for known in file.facts:
        if known.fact_id == fact.fact_id or _same_source(known, content):
            return Step(file, (repeated(envelope, file.href, known.fact_id),))
    if stale := Problem.stale(command.if_match, file.standing.version):
        return Step(file, (refused(envelope, stale),))
    if errors := list(_fact_misfits(content, order.amount, envelope.time, "")):
        return Step(file, (refused(envelope, Problem.invalid_input(*errors)),))
    if len(file.facts) >= MOST_FACTS:
        return Step(file, (refused(envelope, order_full(f"An order keeps {MOST_FACTS} facts.")),))
    standing = file.standing.model_copy(update={"version": file.standing.version + 1})
    after = file.model_copy(update={"facts": (*file.facts, fact), "standing": standing})
    return Step(after, (settled(envelope, FactRecorded(order_id=order.order_id, fact=fact, standing=standing)),))


def ask_check_in(file: OrderFile | None, inbound: Inbound, command: CheckInReached) -> Step[State]:
    """Ask the buyer whether all went well (BP-05), once, and only while the protection is active and no case was open at
    that moment (BP-26). A moment that is not the order's is stale."""
    if file is None:
        raise LookupError(f"a check-in of {command.order_id}, which was never registered")
    if file.check_in is not None or command.due_at != file.standing.protection.check_in_at:
        return Step(file)
    if _may_ask(file, command.due_at):
        return _asked(file, command.due_at, ())
    if any(case.closed_at is None and case.covers(command.due_at) for case in file.cases):
        return Step(file.model_copy(update={"check_in": "waiting"}))
    return Step(file)


def follow_case(file: OrderFile | None, inbound: Inbound, event: CaseEvent) -> Step[State]:
    """Payout, status and protection follow a case that ended or was reopened (BP-26, OI-08); other events change nothing.

    The event of the order completes the command that cases left open for it."""
    change: Change | None = getattr(event, "change", None)
    if change is None or not (change.state in CLOSED or change.reopened or change.protection_ends):
        return Step(file)
    if file is None:
        raise LookupError(f"{event.case_id} belongs to an order that was never registered")
    envelope = inbound.envelope
    is_open = change.state not in CLOSED
    cases = tuple(
        case.model_copy(update={"closed_at": None if is_open else event.at}) if case.case_id == event.case_id else case
        for case in file.cases
    )
    open_cases = tuple(
        OpenCase(case_id=case.case_id, programme=case.programme, reason=case.reason) for case in cases if case.closed_at is None
    )
    standing = standing_with(file.standing, open_cases, event.at if change.protection_ends else None)
    standing = standing.model_copy(update={"version": file.standing.version + 1})
    after = file.model_copy(update={"cases": cases, "standing": standing})
    changed = Emission(
        INTAKE_EVENTS,
        OrderChanged(order_id=file.order.order_id, case_id=event.case_id, standing=standing),
        envelope.time,
        command_id=envelope.command_id,
        settles=envelope.command_id is not None and not envelope.settles,
    )
    check_in_at = standing.protection.check_in_at
    if after.check_in == "waiting" and check_in_at is not None and _may_ask(after, check_in_at):
        return _asked(after, check_in_at, (changed,))
    return Step(after, (changed,))


def _may_ask(file: OrderFile, at: datetime) -> bool:
    protection = file.standing.protection
    if protection.state != "active" or protection.ends_at is None or at >= protection.ends_at:
        return False
    return not any(case.covers(at) for case in file.cases)


def _asked(file: OrderFile, at: datetime, before: tuple[Emission, ...]) -> Step[State]:
    """The order's version stays: a reader sees nothing new."""
    asked = Emission(INTAKE_EVENTS, CheckInAsked(order=file.order, standing=file.standing), at)
    return Step(file.model_copy(update={"check_in": "asked"}), (*before, asked))


def _programme(content: OrderContent, merchant: Merchant, programmes: Programmes, *, offered: bool) -> Programme | FieldError:
    name = content.programme or merchant.programmes[0]
    if name not in merchant.programmes and not offered:
        return wrong("/programme", f"{content.merchant_id} does not offer {name}; use {', '.join(merchant.programmes)}.")
    try:
        return programmes.in_force(name, content.placed_at)
    except KeyError:
        return wrong("/programme", f"{name} was not in force yet when the order was placed; use another programme.")


def _offered(merchant: Merchant, programme: Programme) -> tuple[str, ...]:
    """What may be reported under; a form's programme too, whatever else the merchant has agreed (RD-11)."""
    name = programme.programme
    return merchant.programmes if name in merchant.programmes else (*merchant.programmes, name)


def _misfits(command: RegisterOrder, now: datetime) -> Iterator[FieldError]:
    """Where money, lines and facts contradict the order."""
    content = command.content
    paid = content.amount
    if paid.amount < 0:
        yield wrong("/amount/amount", "An order's amount is zero or more.")
    line_ids: set[str] = set()
    for index, line in enumerate(content.lines):
        if line.unit_price.currency != paid.currency:
            yield wrong(f"/lines/{index}/unit_price/currency", f"The order is in {paid.currency}; give every price in it.")
        elif line.unit_price.amount < 0:
            said = "A price is zero or more; what is authoritative is the order's amount."
            yield wrong(f"/lines/{index}/unit_price/amount", said)
        if line.line_id is not None:
            if line.line_id in line_ids:
                yield wrong(f"/lines/{index}/line_id", f"{line.line_id} is another line's id; give each line its own.")
            line_ids.add(line.line_id)
    for index, fact in enumerate(command.facts):
        yield from _fact_misfits(fact, paid, now, f"/facts/{index}")


def _fact_misfits(fact: FactContent, paid: Money, now: datetime, place: str) -> Iterator[FieldError]:
    if fact.at > now + _CLOCKS_DIFFER_BY:
        yield wrong(f"{place}/at", f"A fact has happened: it is {format_moment(now)} here; give the moment when it did.")
    if fact.amount is None:
        if fact.kind == "refunded":
            yield wrong(f"{place}/amount", "A refund needs the amount that was refunded.")
        elif fact.kind == "netted":
            yield wrong(f"{place}/amount", "Give the amount that the payout was less by.")
    elif fact.amount.currency != paid.currency:
        yield wrong(f"{place}/amount/currency", f"The order is in {paid.currency}; give the amount in it.")
    elif fact.amount.amount < 0:
        yield wrong(f"{place}/amount/amount", "An amount is zero or more.")


def _fact(
    order: Order, known: Sequence[Fact], held: bool, content: FactContent, source: Actor, at: datetime, cause: tuple[str, ...]
) -> Fact:
    """The fact as it is kept, flagged where it is odd: paid out while a case held the payout, more refunded than paid, or more
    paid out than was payable, as far as facts alone tell: cases knows of refunds as well and flags what they show."""
    if content.external_id is not None:
        cause = (content.kind, content.external_id)
    fact = Fact.model_validate(
        {
            **content.__dict__,
            "fact_id": child_id("fct", order.order_id, *cause),
            "source": source,
            "recorded_at": at,
            "flags": ("paid_out_while_held",) if content.kind == "paid_out" and held else (),
        }
    )
    if fact.kind not in ("refunded", "paid_out"):
        return fact
    return flagged(order, tuple(known), ledger_of(order, tuple(known)), fact)


def _same_source(known: Fact, content: FactContent) -> bool:
    return content.external_id is not None and (known.kind, known.external_id) == (content.kind, content.external_id)


def _same(file: OrderFile, command: RegisterOrder) -> bool:
    """Whether the order is registered again with the content it has. One that names no programme asks for the pinned one."""
    order, content = file.order, command.content
    facts = file.facts[: file.registered_facts]
    return (
        content.programme in (None, order.programme)
        and all(getattr(content, name) == getattr(order, name) for name in _CONTENT)
        and len(facts) == len(command.facts)
        and all(
            getattr(told, name) == getattr(kept, name)
            for told, kept in zip(command.facts, facts, strict=True)
            for name in _FACT_CONTENT
        )
    )


def _order_exists(file: OrderFile) -> Problem:
    return Problem(
        type="/problems/order-exists",
        title="The order exists with other content",
        status=409,
        detail=f"{file.href} has this merchant and order number. Read it; what happened since is told by facts.",
        extra={"order_id": file.order.order_id},
    )
