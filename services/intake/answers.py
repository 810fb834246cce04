"""How intake answers a command: the event it caused, a refusal, or that what it asks for already is."""

from chassis.handler import Emission
from contracts.actors import Actor
from contracts.base import Message
from contracts.envelope import Envelope
from contracts.orders import CommandRefused, CommandRepeated
from contracts.problems import FieldError, Problem
from contracts.topics import INTAKE_EVENTS

__all__ = ["may_see", "order_full", "refused", "repeated", "settled", "told", "wrong"]


def told(envelope: Envelope, event: Message) -> Emission:
    """The event of a command that somebody else completes, or that nobody waits for."""
    return Emission(INTAKE_EVENTS, event, envelope.time, command_id=envelope.id)


def settled(envelope: Envelope, event: Message) -> Emission:
    """The event that completes a command."""
    return Emission(INTAKE_EVENTS, event, envelope.time, command_id=envelope.id, settles=True)


def refused(envelope: Envelope, problem: Problem) -> Emission:
    return _unchanged(envelope, CommandRefused(problem=problem))


def repeated(envelope: Envelope, href: str, fact_id: str | None = None) -> Emission:
    return _unchanged(envelope, CommandRepeated(href=href, fact_id=fact_id))


def _unchanged(envelope: Envelope, answer: Message) -> Emission:
    return Emission(INTAKE_EVENTS, answer, envelope.time, command_id=envelope.id, settles=True, sequenced=False)


def wrong(pointer: str, detail: str) -> FieldError:
    """A place in the input and what to do there."""
    return FieldError(pointer=pointer, detail=detail)


def order_full(detail: str) -> Problem:
    """409: the order has as much of it as one order keeps."""
    return Problem(type="/problems/order-full", title="This order takes no more of it", status=409, detail=detail)


def may_see(actor: Actor, partner: str, given: bool = False) -> bool:
    """Whether a caller may see what belongs to a merchant that `partner` created, or that it was `given`. Only partners are
    told apart here: what a merchant's key and a link reach is fixed where they are checked, before a command is sent."""
    return given or actor.role != "partner" or actor.id == partner
