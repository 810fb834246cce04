"""What cases does with each record: ask the engine, seal what it decided, tell it and keep it."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson
from msgspec import Struct
from msgspec.structs import replace

from chassis.bounded import Bounded
from chassis.handler import Emission, Inbound, Step
from chassis.latest import Latest
from chassis.store import Append, Database
from contracts.cases import (
    CaseEvent,
    CaseMoved,
    Change,
    ConfirmExecution,
    DeadlineReached,
    ExtendDeadline,
    MessagePosted,
    PostMessage,
    ReminderReached,
    TakeAction,
)
from contracts.notices import NoticeDelayed, NoticeFailed, NoticeSent
from contracts.orders import CommandRefused, CommandRepeated, FactRecorded, ReportAccepted
from contracts.outages import ALL_WELL, OutagesRecorded
from contracts.problems import Problem
from contracts.topics import CASES_EVENTS, READS
from engine.casefile import CLOSED, CaseFile
from engine.decide import Refusal, decide, evolve
from engine.programmes import Programmes
from services.cases.sealing import data_of, new_salt, seal
from services.cases.store import FILES, PAYMENTS, done_among, history_entry, payment_due, thread_entry

__all__ = ["CasesHandler", "Docket", "Found"]

_HEARD = (
    ReportAccepted
    | ExtendDeadline
    | FactRecorded
    | TakeAction
    | PostMessage
    | DeadlineReached
    | ReminderReached
    | ConfirmExecution
    | NoticeSent
    | NoticeFailed
    | NoticeDelayed
)
_ASKED = TakeAction | PostMessage
_TOLD = NoticeSent | NoticeFailed | NoticeDelayed
_UNNUMBERED = _ASKED | _TOLD
"""What may come again at another place and has no number to be recognised by: its id is remembered."""
_REFUSALS_KEPT = 8
_REMEMBERED = 256
"""Dockets that are remembered by their text, of some 20 kB each: of what was written in the last few seconds."""


class Docket(Struct, frozen=True):
    """An order's case file with what a repeated command is recognised by.

    The history knows every command that was done, except those of the latest write: their entries may still be on their way.
    So the document names these itself (`done`); `doing` are the ones since it was read. A refusal is kept for a while too:
    its command must not be done by a later copy after its sender was told no."""

    file: CaseFile | None = None
    done: tuple[str, ...] = ()
    doing: tuple[str, ...] = ()
    refused: tuple[tuple[str, Problem], ...] = ()

    def has_done(self, command_id: str) -> bool:
        """Whether a command was done in the latest write, or since the file was read."""
        return command_id in self.doing or command_id in self.done

    def refusal_of(self, command_id: str) -> Problem | None:
        """Why a command was refused, as long as that is kept; None where it was not."""
        return next((problem for refused, problem in self.refused if refused == command_id), None)

    def refusing(self, command_id: str, problem: Problem) -> "Docket":
        """The docket that remembers one more refusal."""
        return replace(self, refused=(*self.refused, (command_id, problem))[-_REFUSALS_KEPT:])


class Found(Struct, frozen=True):
    """What a batch needs beside its files: which of its commands were done before, and the record of outages."""

    done: frozenset[str] = frozenset()
    record: OutagesRecorded = ALL_WELL


class CasesHandler:
    """The shell around `engine.decide`. Keys are order ids; a document exists once something was reported on the order."""

    service = "cases"
    topics = READS["cases"]
    # Most events of intake concern orders that nothing was reported on and leave no trace here, so their numbers are not
    # followed; what a case needs of the order comes whole with each report.
    gapless: frozenset[str] = frozenset()
    ignored: frozenset[str] = frozenset(
        {"merchant.changed", "order.registered", "check-in.asked", "order.changed", "command.refused", "command.repeated"}
    )

    def __init__(
        self,
        database: Database,
        programmes: Programmes,
        *,
        record: Latest[OutagesRecorded],
        offer: Callable[[Sequence[Mapping[str, Any]]], None],
        own: Callable[[frozenset[int]], Any],
        due: Callable[[], int],
    ) -> None:
        """`record`: of outages. The cashier's ends: what to pay, which partitions it pays for, and how much is not done."""
        self._database = database
        self._programmes = programmes
        self._record = record
        self._offer = offer
        self._own = own
        self._due = due
        self._written: Bounded[str, Docket] = Bounded(_REMEMBERED)

    def collection_of(self, key: str) -> str | None:
        return FILES if key.startswith("ord_") else None

    def load(self, body: str | None) -> Docket:
        if body is None:
            return Docket()
        if (written := self._written.get(body)) is not None:
            return written
        kept = orjson.loads(body)
        return Docket(
            file=CaseFile.model_validate(kept),
            done=tuple(kept["done"]),
            refused=tuple((refused, Problem.model_validate(problem)) for refused, problem in kept["refused"]),
        )

    def dump(self, state: Docket) -> str:
        if state.file is None:
            raise ValueError("an order without a case has no file to write")
        body = state.file.model_dump(mode="json")
        body["done"] = list(state.doing)
        body["refused"] = [[refused, problem.model_dump(mode="json")] for refused, problem in state.refused]
        text = orjson.dumps(body).decode()
        # What reading it would make of it: it is mostly needed again within seconds.
        self._written[text] = Docket(file=state.file, done=state.doing, refused=state.refused)
        return text

    async def prepare(self, batch: Sequence[Inbound]) -> Found:
        """The commands of the batch that were done before: a gateway that takes over a key publishes its command again. And the
        record of outages, as far at least as the timers knew it that rang (NX-08): it may be heard a moment later here."""
        messages = [inbound.envelope.message for inbound in batch]
        known = [each.recorded_until for each in messages if isinstance(each, DeadlineReached | ReminderReached)]
        until = max((each for each in known if each is not None), default=None)
        record = await self._record.once(
            lambda heard: until is None or heard.complete_until is None or until <= heard.complete_until
        )
        asked = {inbound.envelope.id for inbound in batch if isinstance(inbound.envelope.message, _UNNUMBERED)}
        return Found(await done_among(self._database, asked), record)

    def apply(self, state: Docket, inbound: Inbound, context: Found) -> Step[Docket]:
        envelope = inbound.envelope
        command = envelope.message
        if not isinstance(command, _HEARD):
            return Step(state)
        if isinstance(command, _TOLD) and state.has_done(envelope.id):
            return Step(state)
        if isinstance(command, _TOLD) and envelope.id in context.done:
            # Somebody else may have put it down after we read the file, and not told of it: the write finds that out (ADR 40).
            return Step(replace(state))
        if isinstance(command, _ASKED):
            if envelope.id in context.done or state.has_done(envelope.id):
                return Step(state, (_answer(envelope.id, CommandRepeated(href=_href(command)), envelope.time),))
            if (problem := state.refusal_of(envelope.id)) is not None:
                return Step(state, (_answer(envelope.id, CommandRefused(problem=problem), envelope.time),))
        # A report's caller waits for the case under the id of the command that intake accepted.
        cause = envelope.command_id if isinstance(command, ReportAccepted) and envelope.command_id else envelope.id
        decided = decide(state.file, command, envelope.time, cause, self._programmes, context.record)
        if isinstance(decided, Refusal):
            kept = state if state.file is None else state.refusing(cause, decided.problem)
            return Step(kept, (_answer(cause, CommandRefused(problem=decided.problem), envelope.time),))
        if not decided:
            return Step(state)
        if isinstance(command, _UNNUMBERED):
            state = replace(state, doing=(*state.doing, cause))
        asked = isinstance(command, _ASKED | ReportAccepted)
        own = cause if asked or isinstance(command, _UNNUMBERED) else None
        return _record(state, decided, own, inbound.partition, answers=asked)

    def pack(self, appends: Sequence[Append], batch: Mapping[int, tuple[str, int]]) -> Sequence[Append]:
        return appends

    async def appended(self, appends: Sequence[Append]) -> None:
        self._offer([append.document for append in appends if append.collection == PAYMENTS])

    async def assigned(self, partitions: frozenset[int]) -> None:
        await self._own(partitions)

    def pending(self) -> Mapping[str, int]:
        return {"payments": self._due()}


def _record(state: Docket, decided: Sequence[CaseEvent], cause: str | None, partition: int, *, answers: bool) -> Step[Docket]:
    """Seal each event to its case's chain and put it down: in the file, the history, the thread, on the topic, and what the
    platform is to pay among the payments.

    The last event is the command's own, and the answer to whoever waits for it; those before it are reminders and deadlines
    that were due by then, caused by nobody."""
    file = state.file
    emissions: list[Emission] = []
    appends: list[Append] = []
    for number, event in enumerate(decided, start=1):
        own = cause if number == len(decided) else None
        command_id = own if answers else None
        case = None if file is None else file.cases.get(event.case_id)
        data = data_of(event)
        sealed = seal(
            data,
            kind=event.kind,
            sequence=1 if case is None else case.sequence + 1,
            previous_hash=None if case is None else case.head,
            salt=new_salt(),
        )
        event = event.model_copy(update={"seal": sealed})
        file = evolve(file, event)
        emissions.append(
            Emission(
                CASES_EVENTS,
                event,
                event.at,
                command_id=command_id,
                settles=command_id is not None and not _order_follows(event),
            )
        )
        # The file counts its events as the topic does: every sequenced event on it is one of the file's.
        appends.append(history_entry(event, data, sealed, file.sequence, own))
        if isinstance(event, CaseMoved | MessagePosted) and event.message is not None:
            appends.append(thread_entry(event, event.message, file.sequence))
        change: Change | None = getattr(event, "change", None)
        if change is not None and change.refund_due is not None:
            appends.append(payment_due(change.refund_due, event, file.order, partition))
    return Step(replace(state, file=file), tuple(emissions), tuple(appends))


def _order_follows(event: CaseEvent) -> bool:
    """Whether intake changes the order on this event: the caller then waits for that, and reads both as they then are."""
    return isinstance(event, CaseMoved) and (event.change.state in CLOSED or event.change.reopened)


def _answer(command_id: str, message: CommandRefused | CommandRepeated, at: datetime) -> Emission:
    return Emission(CASES_EVENTS, message, at, command_id=command_id, settles=True, sequenced=False)


def _href(command: TakeAction | PostMessage) -> str:
    return f"/v1/cases/{command.case_id}"
