"""Cases on the real broker and store: what it tells, what it keeps, and that nothing is done twice or lost."""

import asyncio
import hashlib
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterable
from typing import Any

import pytest
import rfc8785

from chassis.kafka import KafkaPublisher
from chassis.store import MongoStore
from contracts.cases import CaseEvent, CaseMoved, CaseOpened, MessagePosted
from contracts.envelope import Envelope
from contracts.orders import CommandRefused, CommandRepeated
from contracts.topics import CASES_COMMANDS, CASES_EVENTS, INTAKE_EVENTS, NOTIFICATIONS_EVENTS
from deploy.local import Stack
from engine.casefile import CaseFile
from engine.decide import evolve
from services.cases.app import serve
from tests.component.running import Reader, Running, own_namespace, reading
from tests.unit.cases.reporting import REPORTED, Reported, day


@pytest.fixture
async def running(stack: Stack) -> AsyncIterator[Running]:
    async with own_namespace(stack) as running:
        await running.tick(REPORTED)
        yield running


@pytest.fixture
async def events(running: Running) -> AsyncIterator[Reader]:
    async with reading(running, CASES_EVENTS) as reader:
        yield reader


async def answers(events: Reader, *commands: Envelope) -> list[Envelope]:
    """The event that settles or ends each of these commands."""
    return [await events.answer_to(one.command_id or one.id) for one in commands]


def sequenced(envelopes: Iterable[Envelope], order_id: str) -> list[Envelope]:
    """An order's events without repeats; each repeat must be the very event."""
    by_number: dict[int, Envelope] = {}
    for one in envelopes:
        if one.key == order_id and one.sequence is not None:
            assert by_number.setdefault(one.sequence, one) == one
    assert sorted(by_number) == list(range(1, len(by_number) + 1))
    return [by_number[number] for number in sorted(by_number)]


async def history_of(running: Running, order_id: str) -> list[dict[str, Any]]:
    found = await running.database("cases")["history"].find({"_id": {"$regex": f"^{order_id}:"}}).to_list(None)
    return sorted(found, key=lambda entry: entry["order_sequence"])


async def file_of(running: Running, order_id: str) -> CaseFile:
    document = await running.database("cases")["files"].find_one({"_id": order_id})
    assert document is not None
    return CaseFile.model_validate_json(document["body"])


def chain_is_whole(entries: list[dict[str, Any]]) -> None:
    """Recompute every case's chain from what its history holds, as an outsider would, with another JSON library."""
    previous: dict[str, str] = {}
    numbers: Counter[str] = Counter()
    for entry in entries:
        case_id = entry["case_id"]
        numbers[case_id] += 1
        assert entry["sequence"] == numbers[case_id]
        digest = hashlib.sha256(entry["salt"].encode() + rfc8785.dumps(entry["data"])).hexdigest()
        covered = {
            "sequence": entry["sequence"],
            "type": entry["type"],
            "at": entry["at"],
            "actor": entry["actor"],
            "data_digest": digest,
            "previous_hash": previous.get(case_id, ""),
        }
        assert entry["data_digest"] == digest
        assert entry["previous_hash"] == previous.get(case_id, "")
        assert entry["hash"] == hashlib.sha256(rfc8785.dumps(covered)).hexdigest()
        previous[case_id] = entry["hash"]


async def consistent(running: Running, topic: list[Envelope], order_id: str) -> list[dict[str, Any]]:
    """Topic, file, history and thread of an order tell the same; its history."""
    told = sequenced(topic, order_id)
    entries = await history_of(running, order_id)
    chain_is_whole(entries)
    assert [entry["order_sequence"] for entry in entries] == [one.sequence for one in told]
    file: CaseFile | None = None
    written: list[str] = []
    for one, entry in zip(told, entries, strict=True):
        assert isinstance(one.message, CaseEvent)
        assert one.message.model_dump(mode="json", exclude={"seal"}) == entry["data"]
        assert one.message.seal is not None
        assert one.message.seal.hash == entry["hash"]
        file = evolve(file, one.message)
        if isinstance(one.message, CaseMoved | MessagePosted) and one.message.message:
            written.append(one.message.message.text)
    assert file == await file_of(running, order_id)
    thread = await running.database("cases")["messages"].find({"order_id": order_id}).sort("order_sequence", 1).to_list(None)
    assert [message["text"] for message in thread] == written
    return entries


async def ended(running: Running, instance: str) -> None:
    """Wait for a service that ends by itself. Raises what it failed with."""
    task, _ = running._services.pop(instance)
    await asyncio.wait_for(task, 30)


@pytest.mark.rule("BP-07", "BP-11", "BP-14", "BP-21", "NX-13")
async def test_a_case_from_its_report_to_its_end(running: Running, events: Reader) -> None:
    running.start(serve, "cases-1")
    order = Reported()
    report, answer = order.report(), order.answer_yes(day(1))
    letter, reaction = order.write("buyer", "Thank you!", day(2)), order.act("buyer", "react", day(2), reaction="received")
    await running.send(INTAKE_EVENTS, report)
    (opened,) = await answers(events, report)
    assert isinstance(opened.message, CaseOpened)
    assert opened.settles
    await running.send(CASES_COMMANDS, answer, letter, reaction)
    answered, posted, ended = await answers(events, answer, letter, reaction)
    assert (answered.settles, posted.settles, ended.settles) == (True, True, False)
    assert isinstance(ended.message, CaseMoved)
    assert (ended.message.change.state, ended.message.change.outcome) == ("resolved", "refunded")
    assert ended.time == day(2)

    entries = await consistent(running, events.envelopes, order.order_id)
    assert [(entry["type"], entry["version"]) for entry in entries] == [
        ("case.opened", 1),
        ("case.moved", 2),
        ("case.message-posted", 3),
        ("case.moved", 4),
    ]
    file = await file_of(running, order.order_id)
    assert file.cases[order.case()].head == entries[-1]["hash"]
    assert [(one.kind, one.amount.amount, one.confirmed_by) for one in file.ledger] == [
        ("reserved", 100, None),
        ("executed", 100, "buyer"),
    ]


@pytest.mark.rule("NX-13")
async def test_a_notice_enters_the_history_and_leaves_the_version(running: Running, events: Reader) -> None:
    running.start(serve, "cases-1")
    order = Reported()
    await running.send(INTAKE_EVENTS, order.report())
    await events.until(lambda all_: len(all_) == 1)
    await running.send(NOTIFICATIONS_EVENTS, order.notice("failed", "550 no such user"))
    await events.until(lambda all_: len(all_) == 2)
    entries = await consistent(running, events.envelopes, order.order_id)
    assert [(entry["type"], entry["version"]) for entry in entries] == [("case.opened", 1), ("case.notice-recorded", 1)]


@pytest.mark.rule("CP-06", "BP-18")
async def test_facts_and_silence_reach_the_case(running: Running, events: Reader) -> None:
    running.start(serve, "cases-1")
    order = Reported()
    late = order.write("merchant", "Sorry, we were closed.", day(9))
    await running.send(INTAKE_EVENTS, order.report(), order.fact("shipped", day(1), tracking_code="T1"))
    await events.until(lambda all_: len(all_) == 2)
    await running.send(CASES_COMMANDS, late)
    await answers(events, late)
    entries = await consistent(running, events.envelopes, order.order_id)
    happened = ["case.opened", "case.fact-attached", "case.reminder-given", "case.moved", "case.message-posted"]
    assert [entry["type"] for entry in entries] == happened
    silence = entries[3]
    assert (silence["data"]["action"], silence["at"], silence.get("command_id")) == (
        "silence",
        "2019-08-06T09:30:00.000Z",
        None,
    )
    assert entries[4]["command_id"] == late.id


async def test_a_command_that_comes_again_is_answered_and_not_done_again(running: Running, events: Reader) -> None:
    """A gateway that takes over a key publishes its command anew: in the same batch, right after, or much later."""
    order = Reported()
    letter = order.write("buyer", "Hello", day(1))
    await running.send(INTAKE_EVENTS, order.report())
    running.start(serve, "cases-1")
    await events.until(lambda all_: len(all_) == 1)
    await running.stop("cases-1")
    await running.send(CASES_COMMANDS, letter, letter)
    running.start(serve, "cases-2")
    await events.until(lambda all_: len(all_) == 3)
    await running.send(CASES_COMMANDS, letter)
    await events.until(lambda all_: len(all_) == 4)
    await running.send(CASES_COMMANDS, order.write("buyer", "Hello again", day(1)), letter)
    await events.until(lambda all_: len(all_) == 6)
    repeated = [one for one in events.envelopes if isinstance(one.message, CommandRepeated)]
    assert [(one.command_id, one.settles, one.sequence) for one in repeated] == [(letter.id, True, None)] * 3
    entries = await consistent(running, events.envelopes, order.order_id)
    assert len(entries) == 3


async def test_refusals_are_told_and_change_nothing(running: Running, events: Reader) -> None:
    running.start(serve, "cases-1")
    order = Reported()
    await running.send(INTAKE_EVENTS, order.report())
    await events.until(lambda all_: len(all_) == 1)
    wrong = [
        order.act("buyer", "answer", day(1), refund="no", message="I am not the merchant"),
        order.act("buyer", "react", day(1), reaction="received"),
        order.act("merchant", "answer", day(1), refund="perhaps", message="Well"),
        order.act("merchant", "answer", day(1), case=7, refund="no", message="Which case?"),
        order.answer_yes(day(1), amount="100.01"),
        order.act("merchant", "fly", day(1)),
        order.write("buyer", " ", day(1)),
        Reported("never reported").write("buyer", "Hello", day(1)),
    ]
    await running.send(CASES_COMMANDS, *wrong)
    told = await answers(events, *wrong)
    assert all(isinstance(one.message, CommandRefused) and one.settles and one.sequence is None for one in told)
    statuses = [one.message.problem.status for one in told if isinstance(one.message, CommandRefused)]
    assert statuses == [403, 409, 422, 404, 422, 409, 422, 404]
    assert len(await consistent(running, events.envelopes, order.order_id)) == 1


@pytest.mark.parametrize("step", ["append", "publish"])
async def test_a_kill_after_the_write_loses_and_repeats_nothing(
    running: Running, events: Reader, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """The file is written; before its history is appended, or before its events are told, the process is gone."""
    order = Reported()
    report, answer, letter = order.report(), order.answer_yes(day(1)), order.write("buyer", "Hm", day(1))
    running.start(serve, "cases-1")
    await running.send(INTAKE_EVENTS, report)
    await answers(events, report)

    class Killed(Exception):
        """Ends the process in the middle of its batch."""

    publish = KafkaPublisher.publish

    async def no_append(self: MongoStore, appends: Any) -> None:
        raise Killed

    async def no_event(self: KafkaPublisher, records: Any) -> None:
        if any(topic == CASES_EVENTS.name for topic, _ in records):
            raise Killed
        await publish(self, records)

    with monkeypatch.context() as patch:
        if step == "append":
            patch.setattr(MongoStore, "append", no_append)
        else:
            patch.setattr(KafkaPublisher, "publish", no_event)
        await running.send(CASES_COMMANDS, answer)
        with pytest.raises(Killed):
            await ended(running, "cases-1")
    assert (await file_of(running, order.order_id)).cases[order.case()].version == 2
    assert len(sequenced(events.envelopes, order.order_id)) == 1

    running.start(serve, "cases-2")
    await running.send(CASES_COMMANDS, answer, letter)
    await answers(events, answer, letter)
    await events.until(lambda all_: any(isinstance(one.message, CommandRepeated) for one in all_))
    entries = await consistent(running, events.envelopes, order.order_id)
    assert [entry["type"] for entry in entries] == ["case.opened", "case.moved", "case.message-posted"]


async def test_two_instances_share_the_work_and_take_over(running: Running, events: Reader) -> None:
    running.start(serve, "cases-1")
    running.start(serve, "cases-2")
    orders = [Reported(f"{number}") for number in range(40)]
    await running.send(INTAKE_EVENTS, *(order.report() for order in orders))
    await events.until(lambda all_: len(all_) == len(orders))
    for round_ in range(1, 4):
        letters = [order.write("buyer", f"Letter {round_}", day(1)) for order in orders for _ in range(3)]
        await running.send(CASES_COMMANDS, *letters)
        if round_ == 2:
            await running.stop("cases-1")
        if round_ == 3:
            running.start(serve, "cases-1")
    await running.send(CASES_COMMANDS, *(order.answer_yes(day(2)) for order in orders))
    wanted = {order.order_id: 1 + 9 + 1 for order in orders}

    def all_there(all_: list[Envelope]) -> bool:
        numbers: dict[str, set[int]] = defaultdict(set)
        for one in all_:
            if one.sequence is not None:
                numbers[one.key].add(one.sequence)
        return {key: len(found) for key, found in numbers.items()} == wanted

    await events.until(all_there, timeout_s=60)
    assert not [one for one in events.envelopes if isinstance(one.message, CommandRefused)]
    for order in orders:
        await consistent(running, events.envelopes, order.order_id)


@pytest.mark.rule("RD-05")
async def test_a_flood_of_long_letters_fills_no_document(running: Running, events: Reader) -> None:
    """150 letters of 40 kB waiting: thread and history have them all, the file stays far from the store's 16 MiB."""
    order = Reported()
    running.start(serve, "cases-1")
    await running.send(INTAKE_EVENTS, order.report())
    await events.until(lambda all_: len(all_) == 1)
    await running.stop("cases-1")
    letters = [order.write("buyer", "\N{SLOTH}" * 9_990 + f"{number:03}", day(1)) for number in range(150)]
    await running.send(CASES_COMMANDS, *letters)
    running.start(serve, "cases-2")
    await events.until(lambda all_: len(all_) == 151, timeout_s=60)
    entries = await consistent(running, events.envelopes, order.order_id)
    assert len(entries) == 151
    (size,) = (
        await running.database("cases")["files"].aggregate([{"$project": {"size": {"$bsonSize": "$$ROOT"}}}]).to_list(None)
    )
    assert size["size"] < 8_000_000
