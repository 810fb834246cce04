"""The shell around the engine: what is settled, sealed, kept, and recognised as repeated."""

import asyncio
from collections.abc import Iterable
from operator import attrgetter
from typing import Any

import orjson
import pytest

from chassis.handler import Emission, Inbound, Step
from chassis.latest import Latest
from contracts.cases import (
    CaseMoved,
    CaseOpened,
    DeadlineExtended,
    DeadlineReached,
    FactAttached,
    MessagePosted,
    NoticeRecorded,
)
from contracts.envelope import Envelope
from contracts.orders import CommandRefused, CommandRepeated, OrderChanged
from contracts.outages import ALL_WELL, Outage, OutagesRecorded
from engine.programmes import Programmes
from services.cases.handlers import CasesHandler, Docket, Found
from services.cases.store import HISTORY, MESSAGES
from tests.unit.cases.reporting import Reported, day


class Desk:
    """Takes envelopes through the handler; `write` stands for the document's write and reading it again."""

    def __init__(self) -> None:
        self.offered: list[Any] = []
        self.owned: list[frozenset[int]] = []
        self.record = Latest(ALL_WELL, attrgetter("number"))
        self.handler = CasesHandler(
            None,  # type: ignore[arg-type]
            Programmes.shipped(),
            record=self.record,
            offer=self.offered.extend,
            own=self._own,
            due=lambda: len(self.offered),
        )
        self.state = Docket()
        self.known: set[str] = set()
        self.history: list[dict[str, Any]] = []
        self.messages: list[dict[str, Any]] = []

    async def _own(self, partitions: frozenset[int]) -> None:
        self.owned.append(partitions)

    def take(self, envelope: Envelope) -> tuple[Emission, ...]:
        step: Step[Docket] = self.handler.apply(
            self.state, Inbound(envelope, "any", 0, 0), Found(frozenset(self.known), self.record.value)
        )
        self.state = step.state
        self.history += [append.document for append in step.appends if append.collection == HISTORY]
        self.messages += [append.document for append in step.appends if append.collection == MESSAGES]
        return step.emissions

    def take_all(self, *envelopes: Envelope) -> list[Emission]:
        return [emission for envelope in envelopes for emission in self.take(envelope)]

    def write(self) -> None:
        text = self.handler.dump(self.state)
        self.state = self.handler.load(text)
        assert self.state == Desk().handler.load(text), "what is remembered is what another process would read"

    def written(self) -> dict[str, Any]:
        return orjson.loads(self.handler.dump(self.state))


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
def order() -> Reported:
    return Reported()


def kinds(emissions: Iterable[Emission]) -> list[tuple[str, str | None, bool]]:
    return [(emission.message.kind, emission.command_id, emission.settles) for emission in emissions]


def test_each_command_is_settled_by_its_own_event(desk: Desk, order: Reported) -> None:
    report, answer, letter = order.report(), order.answer_yes(day(1)), order.write("buyer", "Thanks", day(1))
    assert kinds(desk.take_all(report, answer, letter)) == [
        ("case.opened", report.command_id, True),
        ("case.moved", answer.id, True),
        ("case.message-posted", letter.id, True),
    ]


@pytest.mark.rule("BP-26")
def test_the_end_and_the_reopening_of_a_case_are_settled_by_intake(desk: Desk, order: Reported) -> None:
    desk.take_all(order.report(), order.answer_yes(day(1)))
    end = order.act("buyer", "react", day(2), reaction="received")
    again = order.act("platform", "reopen", day(3), message="A mistake.")
    review = order.act("platform", "decide", day(3), outcome="no_refund", message="No.")
    assert kinds(desk.take_all(end, again, review)) == [
        ("case.moved", end.id, False),
        ("case.moved", again.id, False),
        ("case.moved", review.id, False),
    ]


@pytest.mark.rule("BP-18")
def test_a_deadline_passed_on_the_way_belongs_to_no_command(desk: Desk, order: Reported) -> None:
    letter = order.write("buyer", "Hello?", day(9))
    opened, reminder, silence, written = desk.take_all(order.report(), letter)
    assert isinstance(opened.message, CaseOpened)
    assert isinstance(silence.message, CaseMoved)
    assert (silence.message.action, silence.command_id, silence.settles) == ("silence", None, False)
    assert (reminder.message.kind, reminder.command_id, reminder.time) == ("case.reminder-given", None, day(3))
    assert silence.time == day(5)
    assert (written.command_id, written.settles) == (letter.id, True)
    assert [entry.get("command_id") for entry in desk.history] == [opened.command_id, None, None, letter.id]


def test_a_timer_settles_nothing_and_a_stale_one_does_nothing(desk: Desk, order: Reported) -> None:
    (opened,) = desk.take(order.report())
    assert isinstance(opened.message, CaseOpened)
    (deadline,) = opened.message.change.deadlines_set
    reached = DeadlineReached(
        case_id=order.case(), deadline_id=deadline.deadline_id, generation=deadline.generation, due_at=deadline.due_at
    )
    timer = Envelope("timer", "escalation", order.order_id, day(6), reached)
    assert kinds(desk.take(timer)) == [("case.reminder-given", None, False), ("case.moved", None, False)]
    before = desk.state
    assert desk.take(timer) == ()
    assert desk.state is before


def test_what_is_none_of_its_business_leaves_no_trace(desk: Desk, order: Reported) -> None:
    changed = OrderChanged(order_id=order.order_id, case_id=order.case(), standing=order.standing)
    fact = order.fact("shipped", day(-1))
    assert desk.take_all(fact, order.by_intake(changed, day(0))) == []
    assert desk.state.file is None
    desk.take(order.report())
    before = desk.state
    assert desk.take(order.by_intake(changed, day(0))) == ()
    assert desk.state is before


@pytest.mark.rule("CP-06")
def test_a_fact_reaches_every_case_and_settles_nothing(desk: Desk, order: Reported) -> None:
    desk.take_all(order.report(), order.report(reason="no_refund", number=2))
    told = desk.take(order.fact("delivered", day(1)))
    assert [type(emission.message) for emission in told] == [FactAttached, FactAttached]
    assert [(emission.command_id, emission.settles) for emission in told] == [(None, False)] * 2


def test_a_notice_is_history_and_no_new_version(desk: Desk, order: Reported) -> None:
    desk.take(order.report())
    sent = order.notice("sent", "250 OK")
    (told,) = desk.take(sent)
    assert isinstance(told.message, NoticeRecorded)
    assert (told.message.case_version, told.command_id, told.settles) == (1, None, False)
    assert desk.take(sent) == ()  # told again after a crash
    assert [entry["sequence"] for entry in desk.history] == [1, 2]


@pytest.mark.parametrize("where", ["batch", "last write", "history"])
def test_a_repeated_command_is_answered_and_not_done_again(desk: Desk, order: Reported, where: str) -> None:
    desk.take(order.report())
    desk.write()
    letter = order.write("buyer", "Hello", day(1), command_id="c-1")
    desk.take(letter)
    if where != "batch":
        desk.write()
    if where == "history":
        desk.known.add("c-1")
        desk.take(order.write("buyer", "Another", day(1)))
        desk.write()
    before = len(desk.history)
    (repeated,) = desk.take(letter)
    assert repeated.message == CommandRepeated(href=f"/v1/cases/{order.case()}")
    assert (repeated.command_id, repeated.settles, repeated.sequenced) == ("c-1", True, False)
    assert len(desk.history) == before


def test_a_file_names_the_commands_of_its_latest_write_alone(desk: Desk, order: Reported) -> None:
    desk.take(order.report())
    letters = [order.write("buyer", "Hello", day(1), command_id=f"c-{number}") for number in range(3)]
    for batch, names in ((letters[:2], ["c-0", "c-1"]), (letters[2:], ["c-2"]), ([order.fact("shipped", day(1))], [])):
        desk.write()
        desk.take_all(*batch)
        assert desk.written()["done"] == names


def test_a_notice_that_the_history_alone_knows_is_put_to_the_write_s_guard(desk: Desk, order: Reported) -> None:
    """Another process may have put it down without telling of it: its file is then not the one that we know."""
    desk.take(order.report())
    desk.write()
    desk.known.add("n")
    before = desk.state
    assert desk.take(order.notice("sent", "250 OK")) == ()
    assert desk.state is not before
    assert len(desk.history) == 1


def test_a_refused_command_is_not_done_by_a_later_copy(desk: Desk, order: Reported) -> None:
    react = order.act("buyer", "react", day(1), reaction="received", command_id="c-1")
    (_, refused) = desk.take_all(order.report(), react)
    assert isinstance(refused.message, CommandRefused)
    assert refused.message.problem.status == 409
    desk.write()
    desk.take(order.answer_yes(day(2)))  # now it would be allowed
    desk.write()
    (again,) = desk.take(react)
    assert again.message == refused.message
    assert (again.command_id, again.settles, again.sequenced) == ("c-1", True, False)


def test_refusals_do_not_fill_a_file(desk: Desk, order: Reported) -> None:
    desk.take(order.report())
    sizes: list[int] = []
    for _ in range(30):
        desk.take(order.act("buyer", "react", day(1), reaction="received"))
        desk.write()
        sizes.append(len(str(desk.handler.dump(desk.state))))
    assert sizes[-1] <= sizes[10] + 10
    assert len(desk.history) == 1


def test_messages_do_not_fill_a_file(desk: Desk, order: Reported) -> None:
    desk.take(order.report())
    desk.write()
    empty = len(str(desk.handler.dump(desk.state)))
    for number in range(50):
        desk.take(order.write("buyer", "Please answer me. " * 20, day(1), command_id=f"{number:02}"))
        desk.write()
    assert len(str(desk.handler.dump(desk.state))) < empty + 500
    assert len(desk.messages) == 50


@pytest.mark.parametrize("role", ["merchant", "buyer", "platform"])
def test_a_case_that_is_not_there_is_a_404(desk: Desk, order: Reported, role: Any) -> None:
    (before,) = desk.take(order.write(role, "Hello", day(1)))
    assert isinstance(before.message, CommandRefused)
    assert before.message.problem.status == 404
    assert desk.state == Docket()
    desk.take(order.report())
    (after,) = desk.take(order.act(role, "withdraw", day(1), case=2))
    assert isinstance(after.message, CommandRefused)
    assert after.message.problem.status == 404


def test_the_chain_runs_per_case_and_the_numbers_over_the_order(desk: Desk, order: Reported) -> None:
    desk.take_all(
        order.report(),
        order.report(reason="no_refund", number=2),
        order.answer_yes(day(1), amount="10.00"),
        order.write("buyer", "And the other one?", day(1), case=2),
    )
    assert [entry["order_sequence"] for entry in desk.history] == [1, 2, 3, 4]
    assert [(entry["case_id"], entry["sequence"]) for entry in desk.history] == [
        (order.case(1), 1),
        (order.case(2), 1),
        (order.case(1), 2),
        (order.case(2), 2),
    ]
    first, second, third, fourth = desk.history
    assert (first["previous_hash"], second["previous_hash"]) == ("", "")
    assert (third["previous_hash"], fourth["previous_hash"]) == (first["hash"], second["hash"])
    assert len({entry["salt"] for entry in desk.history}) == 4
    assert [message["_id"] for message in desk.messages] == [f"{order.order_id}:3", f"{order.order_id}:4"]
    assert isinstance(desk.state.file and desk.state.file.cases[order.case()].head, str)


def test_what_is_told_carries_its_seal(desk: Desk, order: Reported) -> None:
    (opened, written) = desk.take_all(order.report(), order.write("merchant", "We look into it.", day(1)))
    assert isinstance(opened.message, CaseOpened)
    assert isinstance(written.message, MessagePosted)
    for emission, entry in zip((opened.message, written.message), desk.history, strict=True):
        assert emission.seal is not None
        assert emission.seal.model_dump() == {name: entry[name] for name in type(emission.seal).model_fields}
        assert emission.model_dump(mode="json", exclude={"seal"}) == entry["data"]


@pytest.mark.rule("NX-08")
async def test_a_timer_is_heard_with_the_record_that_it_rang_by(desk: Desk, order: Reported) -> None:
    """The record may come to this process a moment later than to the one that keeps the timers: it is waited for."""
    opened = desk.take(order.report())[0].message
    assert isinstance(opened, CaseOpened)
    (deadline,) = opened.change.deadlines_set
    desk.record.hear(OutagesRecorded(number=1, complete_until=day(1)))
    rings = DeadlineReached(
        case_id=order.case(),
        deadline_id=deadline.deadline_id,
        generation=1,
        due_at=deadline.due_at,
        recorded_until=day(6),
    )
    inbound = Inbound(order.command(rings, deadline.due_at), "any", 0, 0)
    preparing = asyncio.ensure_future(desk.handler.prepare([inbound]))
    await asyncio.sleep(0)
    assert not preparing.done()
    outage = Outage(outage_id="out", lost_from=day(4), lost_until=day(6))
    desk.record.hear(OutagesRecorded(number=3, outages=(outage,), complete_until=day(6)))
    desk.record.hear(OutagesRecorded(number=2, complete_until=day(5)))
    found = await preparing
    *_, extended = desk.handler.apply(desk.state, inbound, found).emissions
    assert isinstance(extended.message, DeadlineExtended)
    assert extended.message.change.deadlines_set[0].due_at == deadline.due_at + (day(6) - day(4))
