"""Who is told of an event, and as what: the one answer for mails and for previews."""

from contracts.actors import Party
from contracts.base import Model
from contracts.cases import CaseEvent, CaseMoved, CaseOpened, FactAttached, MessagePosted, ReminderGiven
from contracts.notices import NoticeKind
from engine.casefile import CLOSED

__all__ = ["Told", "told_of"]


class Told(Model):
    """A party that gets a notice of this kind."""

    party: Party
    kind: NoticeKind


def told_of(event: CaseEvent) -> tuple[Told, ...]:
    """The notices of an event: nobody is told of what it did itself, unless that ended the case; the platform only where it
    is reminded."""
    match event:
        case CaseOpened():
            return (Told(party="merchant", kind="case_opened"), Told(party="buyer", kind="case_opened"))
        case ReminderGiven():
            return (Told(party=event.deadline.party, kind="reminder"),)
        case MessagePosted() if event.message.internal:
            return ()
        case MessagePosted():
            return _others(event, "message")
        case FactAttached() if event.change.state is not None:
            return _both("progress")
        case CaseMoved():
            return _of_move(event)
        case _:
            return ()


def _both(kind: NoticeKind) -> tuple[Told, ...]:
    return (Told(party="buyer", kind=kind), Told(party="merchant", kind=kind))


def _others(event: CaseEvent, kind: NoticeKind) -> tuple[Told, ...]:
    parties: tuple[Party, ...] = ("buyer", "merchant")
    return tuple(Told(party=party, kind=kind) for party in parties if party != event.actor.role)


def _of_move(event: CaseMoved) -> tuple[Told, ...]:
    change = event.change
    if change.reopened:
        return _others(event, "case_reopened")
    if change.state in CLOSED:
        return _both("decision" if event.actor.role == "platform" else "case_closed")
    if change.answer is not None:
        return _others(event, "answer")
    if change.proposal is not None and not change.proposal.accepted_by:
        return _others(event, "proposal")
    if change.state == "awaiting_evidence" and change.turn is not None:
        return (Told(party=change.turn, kind="evidence_requested"),)
    if change.state is not None or change.proposal_ended is not None or event.message is not None:
        return _others(event, "progress")
    return ()
