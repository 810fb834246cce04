"""How escalation answers a command that changes nothing."""

from chassis.handler import Emission, Inbound
from contracts.base import Message
from contracts.orders import CommandRefused, CommandRepeated
from contracts.problems import Problem
from contracts.topics import ESCALATION_EVENTS

__all__ = ["refusing", "repeating"]


def refusing(inbound: Inbound, problem: Problem) -> Emission:
    """It is refused, for this reason."""
    return _answer(inbound, CommandRefused(problem=problem))


def repeating(inbound: Inbound, href: str) -> Emission:
    """What it asks for is there already, at `href`."""
    return _answer(inbound, CommandRepeated(href=href))


def _answer(inbound: Inbound, message: Message) -> Emission:
    envelope = inbound.envelope
    return Emission(ESCALATION_EVENTS, message, envelope.time, command_id=envelope.id, settles=True, sequenced=False)
