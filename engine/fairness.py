"""Lost time (NX-08): what of a deadline its party could not use, and when the deadline then ends. Pure.

How a deadline ends follows from all that is known of it, never from the order in which it was heard: its party has had as
much usable time as it was given. Time that several causes share was lost once."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from contracts.actors import Actor
from contracts.base import format_duration, parse_duration
from contracts.cases import Deadline, ExtendDeadline, Extension, Telling
from contracts.notices import NoticeProof
from contracts.outages import OutagesRecorded

__all__ = ["Lost", "given_back", "known_by", "lost_by", "lost_in", "told_by"]

_UNTOLD = "untold"
"""The cause of time in which a party had not been told: it is found anew from what became of the notices."""
_UNTOLD_AT_MOST = timedelta(days=30)
_UNTOLD_AHEAD = timedelta(days=1)
"""Nobody knows when a party that has not been told will be: its lost time is reckoned a day ahead, and anew when something is
heard or the deadline falls due."""
_TOLD_IN_TIME = timedelta(hours=1)
"""A party that another notice reaches so soon has lost nothing by one that did not."""
_TELLINGS = 20
"""Notices that a deadline keeps as arrived, and as not: so many are enough to say when its party was told."""
_TOLD = frozenset({"sent", "acted"})
_SECOND = timedelta(seconds=1)


@dataclass(frozen=True, order=True, slots=True)
class Lost:
    """Time in which a party could not act. Ordered by when it began."""

    since: datetime
    until: datetime
    cause_id: str
    reason: Literal["outage", "bounce"]

    def together(self, other: "Lost | None") -> "Lost":
        """All that one cause has taken, where it was told twice: an outage whose recorder was interrupted is recorded again,
        and then it has lasted longer."""
        if other is None:
            return self
        return Lost(min(self.since, other.since), max(self.until, other.until), self.cause_id, self.reason)


def lost_in(record: OutagesRecorded) -> tuple[Lost, ...]:
    """The outages of a record."""
    return tuple(Lost(each.lost_from, each.lost_until, each.outage_id, "outage") for each in record.outages)


def lost_by(command: ExtendDeadline) -> Lost:
    """What a command says was lost."""
    return Lost(command.lost_from, command.lost_until, command.cause_id, command.reason)


def given_back(deadline: Deadline, since: datetime, lost: Iterable[Lost], at: datetime) -> Deadline | None:
    """A deadline that runs since a moment, with all time given back that its party has lost: what it was extended by before,
    what `lost` says, and, as far as is known `at` a moment, by notices that did not arrive. None where it ends as it did.
    Reminders up to then are over."""
    # Extensions of a version that did not keep when the time was lost stay as they are.
    kept = tuple(each for each in deadline.extended_by if each.lost_from is None or each.lost_until is None)
    due_at = deadline.due_at
    known: dict[str, Lost] = {}
    for each in deadline.extended_by:
        if each.lost_from is not None and each.lost_until is not None:
            due_at -= parse_duration(each.duration)
            if each.cause_id != _UNTOLD:
                known[each.cause_id] = Lost(each.lost_from, each.lost_until, each.cause_id, each.reason)
    for new in lost:
        known[new.cause_id] = new.together(known.get(new.cause_id))
    untold = _untold(deadline, since, at)
    added: list[Extension] = []
    used_from = since
    for each in sorted([*known.values(), *untold]):
        begin = max(each.since, used_from)
        if begin < due_at and begin < each.until and all(each.cause_id != other.cause_id for other in kept):
            span = -(-(each.until - begin) // _SECOND) * _SECOND  # in whole seconds, as durations are written
            added.append(
                Extension(
                    reason=each.reason,
                    duration=format_duration(span),
                    cause_id=each.cause_id,
                    lost_from=each.since,
                    lost_until=each.until,
                )
            )
            due_at, used_from = due_at + span, each.until
    by = due_at - deadline.due_at
    if not by:
        return None
    return deadline.model_copy(
        update={
            "generation": deadline.generation + 1,
            "due_at": due_at,
            "remind_at": tuple(moment + by for moment in deadline.remind_at if moment + by > at),
            "extended_by": (*kept, *added),
        }
    )


def told_by(deadline: Deadline, notice: NoticeProof) -> Deadline:
    """The deadline with what became of a notice of it. One that did not arrive was not sent, whichever was heard first; that it
    was delayed stays known when it is sent after all."""
    if notice.deadline_id != deadline.deadline_id or notice.party != deadline.party:
        return deadline
    known = {(each.notice_id, each.state == "delayed"): each for each in deadline.tellings}
    name = (notice.notice_id, notice.state == "delayed")
    if name not in known or known[name].state == "sent":
        known[name] = Telling.made_of(notice_id=notice.notice_id, state=notice.state, at=notice.at)
    return _told(deadline, known.values())


def known_by(deadline: Deadline, actor: Actor, at: datetime) -> Deadline:
    """The deadline after somebody acted in its case: a party knows of it from its first act on, whatever becomes of its
    notices; but of the time that it was given as one that does not know of it, nothing is taken back."""
    if (actor.acts_for or actor.role) != deadline.party or any(each.state == "acted" for each in deadline.tellings):
        return deadline
    return _told(deadline, (*deadline.tellings, Telling(notice_id="", state="acted", at=max(at, _given_until(deadline, at)))))


def _told(deadline: Deadline, tellings: Iterable[Telling]) -> Deadline:
    told = sorted((each for each in tellings if each.state in _TOLD), key=lambda each: (each.at, each.notice_id))
    missed = [each for each in tellings if each.state not in _TOLD]
    return deadline.model_copy(
        update={"tellings": (*missed[:_TELLINGS], *told[:_TELLINGS]), "told_at": told[0].at if told else None}
    )


def _untold(deadline: Deadline, since: datetime, at: datetime) -> tuple[Lost, ...]:
    """The time in which a party had not been told, where a notice did not arrive or came late: until the first one that
    arrived or the party's own act, else a day on from now; thirty days at most. That mails are delayed is an outage of ours."""
    missed = {each.state for each in deadline.tellings} - _TOLD
    until = min(deadline.told_at or max(at + _UNTOLD_AHEAD, _given_until(deadline, at)), since + _UNTOLD_AT_MOST)
    if not missed or until - since < _TOLD_IN_TIME:
        return ()
    return (Lost(since, until, _UNTOLD, "bounce" if "failed" in missed else "outage"),)


def _given_until(deadline: Deadline, at: datetime) -> datetime:
    """Up to when the deadline was extended as one that its party had not been told of; `at` where it was not."""
    given = (each.lost_until for each in deadline.extended_by if each.cause_id == _UNTOLD)
    return next((until for until in given if until is not None), at)
