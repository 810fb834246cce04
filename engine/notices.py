"""Who is told of an event, and as what: the one answer for mails and for previews."""

from contracts.actors import Actor, Party
from contracts.base import Model
from contracts.cases import CaseEvent, CaseMoved, CaseOpened, FactAttached, MessagePosted, ReminderGiven
from contracts.notices import NoticeKind

__all__ = ["Told", "told_of"]

_WITH_MAILBOX: tuple[Party, ...] = ("merchant", "buyer")


class Told(Model):
    """A party that gets a notice of this kind."""

    party: Party
    kind: NoticeKind


def told_of(event: CaseEvent) -> tuple[Told, ...]:
    """The notices of an event. Buyer and merchant are told of each opening, end and return of a case, and otherwise of what
    others did; the platform, which works in the cases, is only reminded of what it let pass (BP-19)."""
    match event:
        case CaseOpened():
            return _both("case_opened")
        case ReminderGiven():
            return (Told(party=event.deadline.party, kind="reminder"),)
        case MessagePosted() if not event.message.internal:
            return _others(event.message.author, "message")
        case FactAttached() if event.change.state is not None:
            return _both("progress")
        case CaseMoved():
            return _of_move(event)
    return ()


def _both(kind: NoticeKind) -> tuple[Told, ...]:
    return tuple(Told(party=party, kind=kind) for party in _WITH_MAILBOX)


def _others(author: Actor, kind: NoticeKind) -> tuple[Told, ...]:
    return tuple(told for told in _both(kind) if told.party != (author.acts_for or author.role))


def _of_move(event: CaseMoved) -> tuple[Told, ...]:
    change = event.change
    if change.reopened:
        return _both("case_reopened")
    if change.outcome is not None:
        return _both("decision" if event.actor.role == "platform" or event.decided_by else "case_closed")
    if change.attention:
        return (Told(party="merchant", kind="attention"),)
    if change.answer is not None:
        return (Told(party="buyer", kind="answer"),)
    if change.proposal is not None and not change.proposal.accepted_by:
        return _both("proposal")
    seen = change.state or change.proposal or change.proposal_ended or change.ledger or event.message
    told = _others(event.actor, "progress") if seen else ()
    if change.state == "awaiting_evidence" and change.turn is not None:
        return tuple(Told(party=each.party, kind="evidence_requested") if each.party == change.turn else each for each in told)
    return told
