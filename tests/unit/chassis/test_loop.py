"""The processing loop, one situation at a time: lost guards, poison, parked keys and their replay, refusals, limits."""

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from aiokafka.errors import KafkaTimeoutError
from msgspec.structs import replace
from pymongo.errors import AutoReconnect

from chassis.handler import Emission, Inbound, Step
from chassis.loop import DISCARD_OF, REPLAY_OF, Effects, Ownership, ProcessingLoop, RawRecord, TooMuchPoison
from chassis.store import Append, Write
from contracts.envelope import Envelope, Record, decode, encode
from contracts.orders import CommandRepeated
from contracts.topics import Topic

IN, OUT = Topic("in.put", 1), Topic("out", 1)
NOON = datetime(2019, 7, 15, 12, tzinfo=UTC)
OWNED = Ownership("epoch 1", {(IN.name, 0): 0}, {IN.name: "i1"})


def raw(offset: int, key: str, text: str, *, headers: Mapping[str, str] = {}, sequence: int | None = None) -> RawRecord:
    record = encode(Envelope(f"id-{offset}", "elsewhere", key, NOON, CommandRepeated(href=text), sequence))
    more = [(name, value.encode()) for name, value in headers.items()]
    return RawRecord(IN.name, 0, offset, record.key, record.value, [*record.headers, *more])


class Diary:
    """Writes down texts by key. `no …` is refused without a change, `bad …` raises while `fails`."""

    service = "diary"
    topics = (IN,)

    def __init__(self, gapless: Iterable[str] = ()) -> None:
        self.gapless = frozenset(gapless)
        self.ignored = frozenset[str]()
        self.fails = True
        self.batches: list[list[str]] = []

    def collection_of(self, key: str) -> str:
        return "pages"

    def load(self, body: dict[str, Any] | None) -> tuple[str, ...]:
        return tuple(body["texts"]) if body else ()

    def dump(self, state: tuple[str, ...]) -> dict[str, Any]:
        return {"texts": list(state)}

    async def prepare(self, batch: Sequence[Inbound]) -> None:
        self.batches.append([inbound.envelope.id for inbound in batch])

    def apply(self, state: tuple[str, ...], inbound: Inbound, context: None) -> Step[tuple[str, ...]]:
        message = inbound.envelope.message
        assert isinstance(message, CommandRepeated)
        text = message.href
        if text.startswith("bad") and self.fails:
            raise ValueError("this cannot be written")
        if text.startswith("no"):
            return Step(state, (Emission(OUT, CommandRepeated(href=f"no {len(state)}"), NOON, sequenced=False),))
        page = Append("copies", {"_id": f"{inbound.envelope.key}:{len(state) + 1}", "text": text})
        return Step((*state, text), (Emission(OUT, CommandRepeated(href=text), NOON),), (page,))

    def pack(self, appends: Sequence[Append], batch: Mapping[int, tuple[str, int]]) -> Sequence[Append]:
        return appends

    async def appended(self, appends: Sequence[Append]) -> None:
        """Nobody waits."""

    async def assigned(self, partitions: frozenset[int]) -> None:
        """Nothing to prepare."""

    def pending(self) -> Mapping[str, int]:
        return {}


@dataclass
class Memory:
    """Store, publisher and parked keys in memory; `log` is what was asked of them, in order."""

    documents: dict[str, dict[str, Any]] = field(default_factory=dict)
    copies: dict[str, str] = field(default_factory=dict)
    out: list[tuple[str, Record]] = field(default_factory=list)
    parked: dict[str, tuple[str, RawRecord, str]] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)
    meddle: dict[str, int] = field(default_factory=dict)
    """How often somebody else writes a key's document just before we do."""
    lost_answers: int = 0
    """How many writes are done and answered with an error."""

    async def load(self, wanted: Mapping[str, Iterable[str]]) -> dict[tuple[str, str], dict[str, Any]]:
        self.log.append("load")
        return {("pages", key): self.documents[key] for key in wanted["pages"] if key in self.documents}

    async def write(self, writes: Sequence[Write]) -> set[int]:
        self.log.append("write")
        lost: set[int] = set()
        for index, write in enumerate(writes):
            key = write.document["_id"]
            if self.meddle.get(key, 0):
                self.meddle[key] -= 1
                self.documents[key] = _written_by_another(key, self.documents.get(key))
            if self.documents.get(key, {"v": 0})["v"] == write.expected_version:
                self.documents[key] = write.document
            else:
                lost.add(index)
        if self.lost_answers:
            self.lost_answers -= 1
            raise AutoReconnect("the answer was lost")
        return lost

    async def append(self, appends: Sequence[Append]) -> None:
        self.log.append("append")
        for append in appends:
            self.copies.setdefault(append.document["_id"], append.document["text"])

    async def publish(self, records: Sequence[tuple[str, Record]]) -> None:
        self.log.append("publish")
        self.out += records

    def holds(self, key: str) -> bool:
        return key in {of for of, _, _ in self.parked.values()}

    async def queue(self, key: str) -> list[str]:
        return [parked_id for parked_id, (of, _, _) in self.parked.items() if of == key]

    async def park(self, records: Sequence[tuple[str, str, RawRecord, str]]) -> None:
        self.log.append("park")
        for parked_id, key, record, reason in records:
            self.parked.setdefault(parked_id, (key, record, reason))

    async def resume(self, key: str, parked_id: str) -> None:
        self.log.append("resume")
        self.parked.pop(parked_id, None)

    def told(self, key: str) -> list[tuple[int | None, str]]:
        envelopes = [decode(record.value, record.headers) for topic, record in self.out if topic == OUT.name]
        return [(one.sequence, _text(one)) for one in envelopes if one.key == key]

    def replays(self, offset: int) -> list[RawRecord]:
        """Everything that is parked, as `recourse dlq replay` sends it again from `offset` on."""
        return [
            replace(record, offset=offset + number, headers=[*record.headers, (REPLAY_OF, parked_id.encode())])
            for number, (parked_id, (_, record, _)) in enumerate(self.parked.items())
        ]


def _text(envelope: Envelope) -> str:
    assert isinstance(envelope.message, CommandRepeated)
    return envelope.message.href


def _written_by_another(key: str, document: dict[str, Any] | None) -> dict[str, Any]:
    before = document or {"_id": key, "v": 0, "marks": {}, "seen": {}, "sequence": 0, "body": {"texts": []}}
    texts = [*before["body"]["texts"], "theirs"]
    return before | {
        "v": before["v"] + 1,
        "epoch": "another",
        "sequence": before["sequence"] + 1,
        "effects": Effects().packed(),
        "body": {"texts": texts},
    }


@pytest.fixture
def memory() -> Memory:
    return Memory()


@pytest.fixture
def diary() -> Diary:
    return Diary()


@pytest.fixture
def loop(diary: Diary, memory: Memory) -> ProcessingLoop[tuple[str, ...]]:
    return ProcessingLoop(diary, memory, memory, memory)


Loop = ProcessingLoop[tuple[str, ...]]


async def test_a_batch_is_one_query_one_write_one_append_one_publish(loop: Loop, memory: Memory) -> None:
    batch = [raw(number, f"k{number % 50}", f"t{number}") for number in range(500)]
    assert await loop.process(batch, OWNED)
    assert memory.log == ["load", "write", "append", "publish"]
    assert len(memory.documents) == 50
    assert memory.told("k7") == [(number + 1, f"t{7 + 50 * number}") for number in range(10)]
    assert memory.copies["k7:2"] == "t57"


async def test_the_next_batch_is_decided_while_one_is_published_and_written_after_it(loop: Loop, memory: Memory) -> None:
    publish, may_publish = memory.publish, asyncio.Event()

    async def slow(records: Sequence[tuple[str, Record]]) -> None:
        await may_publish.wait()
        await publish(records)

    memory.publish = slow  # type: ignore[method-assign]
    batches = [asyncio.create_task(loop.process([raw(offset, "a", f"t{offset}")], OWNED)) for offset in range(2)]
    await asyncio.sleep(0.01)
    assert (memory.log, loop.counters.steps) == (["load", "write", "append"], 2)
    may_publish.set()
    assert await asyncio.gather(*batches) == [True, True]
    assert memory.log == ["load", "write", "append", "publish", "write", "append", "publish"]
    assert memory.told("a") == [(1, "t0"), (2, "t1")]
    assert loop.counters.guards_lost == 0


async def test_what_was_written_is_not_read_again_until_somebody_else_may_have_written(loop: Loop, memory: Memory) -> None:
    later = replace(OWNED, epoch="epoch 2", starts={(IN.name, 0): 3})
    for offset, (text, ownership) in enumerate([("x", OWNED), ("y", OWNED), ("z", OWNED), ("late", later)]):
        assert await loop.process([raw(offset, "a", text)], ownership)
    assert [what for what in memory.log if what in ("load", "write")] == ["load", "write", "write", "write", "load", "write"]
    assert memory.told("a") == [(1, "x"), (2, "y"), (3, "z"), (4, "late")]


async def test_what_is_known_of_a_document_ends_with_its_guard(loop: Loop, memory: Memory) -> None:
    assert await loop.process([raw(0, "a", "x")], OWNED)
    memory.documents["a"] = _written_by_another("a", memory.documents["a"])
    assert await loop.process([raw(1, "a", "y")], OWNED)
    assert memory.documents["a"]["body"]["texts"] == ["x", "theirs", "y"]
    assert loop.counters.guards_lost == 1


class Apart(Diary):
    apart = True


@pytest.mark.parametrize(("diary", "meanwhile"), [(Apart(), ["load"]), (Diary(), [])])
async def test_a_batch_of_other_keys_is_decided_while_one_is_written(
    memory: Memory, diary: Diary, meanwhile: list[str]
) -> None:
    loop = ProcessingLoop(diary, memory, memory, memory)
    write, may_write = memory.write, asyncio.Event()

    async def slow(writes: Sequence[Write]) -> set[int]:
        memory.log.append("writing")
        await may_write.wait()
        return await write(writes)

    memory.write = slow  # type: ignore[method-assign]
    batches = [asyncio.create_task(loop.process([raw(number, key, "x")], OWNED)) for number, key in enumerate("abc")]
    await asyncio.sleep(0.01)
    assert memory.log == ["load", "writing", *meanwhile]
    may_write.set()
    assert await asyncio.gather(*batches) == [True] * 3
    assert [memory.told(key) for key in "abc"] == [[(1, "x")]] * 3


async def test_no_batch_takes_effect_after_one_that_failed_until_the_next_assignment(loop: Loop, memory: Memory) -> None:
    publish = memory.publish

    async def away(records: Sequence[tuple[str, Record]]) -> None:
        raise KafkaTimeoutError

    memory.publish = away  # type: ignore[method-assign]
    first = asyncio.create_task(loop.process([raw(0, "a", "x")], OWNED))
    second = asyncio.create_task(loop.process([raw(1, "a", "y"), raw(2, "b", "z")], OWNED))
    with pytest.raises(KafkaTimeoutError):
        await first
    memory.publish = publish  # type: ignore[method-assign]
    assert not await second
    assert not await loop.process([raw(3, "b", "later")], OWNED)
    assert memory.documents.keys() == {"a"}
    assert memory.out == []
    again = [raw(0, "a", "x"), raw(1, "a", "y"), raw(2, "b", "z"), raw(3, "b", "later")]
    assert await loop.process(again, replace(OWNED, epoch="epoch 2"))
    assert [memory.told(key) for key in "ab"] == [[(1, "x"), (2, "y")], [(1, "z"), (2, "later")]]


async def test_a_batch_behind_one_that_parks_a_key_waits_to_see_it_parked(loop: Loop, memory: Memory) -> None:
    first = asyncio.create_task(loop.process([raw(0, "a", "bad")], OWNED))
    second = asyncio.create_task(loop.process([raw(1, "a", "x")], OWNED))
    assert await first
    assert await second
    assert list(memory.parked) == ["in.put:i1:0:0", "in.put:i1:0:1"]
    assert memory.documents == {}


async def test_only_the_document_that_lost_its_guard_is_done_again(loop: Loop, memory: Memory, diary: Diary) -> None:
    memory.meddle = {"b": 1}
    assert await loop.process([raw(0, "a", "x"), raw(1, "b", "y"), raw(2, "c", "z")], OWNED)
    assert memory.documents["b"]["body"]["texts"] == ["theirs", "y"]
    assert [memory.documents[key]["v"] for key in "abc"] == [1, 2, 1]
    assert diary.batches == [["id-0", "id-1", "id-2"], ["id-1"]]
    assert memory.told("a") == [(1, "x")]
    assert memory.told("b") == [(2, "y")]
    assert loop.counters.guards_lost == 1


async def test_a_lost_guard_of_a_lost_partition_ends_the_batch(diary: Diary, memory: Memory) -> None:
    memory.meddle = {"b": 1}
    loop = ProcessingLoop(diary, memory, memory, memory, still_owner=lambda ownership: False)
    assert not await loop.process([raw(0, "a", "x"), raw(1, "b", "y")], OWNED)
    assert memory.told("b") == []
    assert memory.documents["b"]["body"]["texts"] == ["theirs"]


async def test_a_write_whose_answer_was_lost_is_not_done_twice(loop: Loop, memory: Memory) -> None:
    memory.lost_answers = 1
    assert await loop.process([raw(0, "a", "x")], OWNED)
    assert memory.documents["a"]["body"]["texts"] == ["x"]
    assert memory.told("a") == [(1, "x")]
    assert memory.copies == {"a:1": "x"}


async def test_a_repeated_record_has_its_effects_made_again(loop: Loop, memory: Memory) -> None:
    assert await loop.process([raw(0, "a", "x")], OWNED)
    out, copies = list(memory.out), dict(memory.copies)
    memory.out.clear()
    memory.copies.clear()
    assert await loop.process([raw(0, "a", "x")], OWNED)
    assert (memory.out, memory.copies) == (out, copies)
    assert memory.documents["a"]["v"] == 1
    assert (loop.counters.duplicates, loop.counters.republished) == (1, 1)


async def test_a_refusal_is_told_once(loop: Loop, memory: Memory) -> None:
    """Redelivered after another record changed the document, it is not decided anew: its first answer is repeated."""
    await loop.process([raw(0, "a", "x")], OWNED)
    await loop.process([raw(1, "a", "no"), raw(2, "a", "y")], OWNED)
    answer = memory.told("a")[1:]
    assert answer == [(None, "no 1"), (2, "y")]
    memory.out.clear()
    await loop.process([raw(1, "a", "no"), raw(2, "a", "y")], replace(OWNED, epoch="epoch 2"))
    assert memory.told("a") == answer


async def test_an_event_that_was_seen_has_no_effect_wherever_it_stands(memory: Memory) -> None:
    loop = ProcessingLoop(Diary(gapless=("elsewhere",)), memory, memory, memory)
    await loop.process([raw(0, "a", "one", sequence=1), raw(1, "a", "two", sequence=2), raw(2, "a", "one", sequence=1)], OWNED)
    await loop.process([raw(3, "a", "two", sequence=2), raw(4, "a", "three", sequence=3)], OWNED)
    assert memory.documents["a"]["body"]["texts"] == ["one", "two", "three"]
    assert not memory.parked


async def test_an_event_after_a_gap_holds_its_key(memory: Memory) -> None:
    loop = ProcessingLoop(Diary(gapless=("elsewhere",)), memory, memory, memory)
    await loop.process(
        [raw(0, "a", "one", sequence=1), raw(1, "a", "three", sequence=3), raw(2, "b", "one", sequence=1)], OWNED
    )
    assert memory.documents["a"]["body"]["texts"] == ["one"]
    assert memory.documents["b"]["body"]["texts"] == ["one"]
    ((key, _, reason),) = memory.parked.values()
    assert key == "a"
    assert "one is missing" in reason


async def test_poison_is_a_dead_letter_with_its_bytes_and_place(loop: Loop, memory: Memory) -> None:
    poison = RawRecord(IN.name, 0, 1, b"a", b"\xff\x00not json", [("ce_specversion", b"1.0"), ("strange", b"\xfe")])
    wrong_key = replace(raw(2, "a", "x"), key=b"b")
    assert await loop.process([raw(0, "a", "x"), poison, wrong_key, raw(3, "a", "y")], OWNED)
    assert memory.documents["a"]["body"]["texts"] == ["x", "y"]
    letters = [record for topic, record in memory.out if topic == "diary.dlq"]
    assert [(letter.key, letter.value) for letter in letters] == [(b"a", poison.value), (b"b", wrong_key.value)]
    headers = dict(letters[0].headers)
    assert (headers["strange"], headers["recourse-topic"]) == (b"\xfe", b"in.put")
    assert (headers["recourse-partition"], headers["recourse-offset"]) == (b"0", b"1")
    assert headers["recourse-reason"]
    assert memory.log[0] == "publish", "a dead letter is confirmed before anything else, so before the offset moves"


async def test_a_key_that_fails_waits_and_the_others_go_on(loop: Loop, memory: Memory, diary: Diary) -> None:
    await loop.process([raw(0, "a", "x"), raw(1, "a", "bad"), raw(2, "b", "y"), raw(3, "a", "z")], OWNED)
    await loop.process([raw(4, "a", "later"), raw(5, "b", "more")], OWNED)
    assert memory.documents["a"]["body"]["texts"] == ["x"]
    assert memory.documents["b"]["body"]["texts"] == ["y", "more"]
    assert [(parked_id, reason) for parked_id, (_, _, reason) in memory.parked.items()] == [
        ("in.put:i1:0:1", "ValueError: this cannot be written"),
        ("in.put:i1:0:3", "waits behind a parked record of its key"),
        ("in.put:i1:0:4", "waits behind a parked record of its key"),
    ]
    diary.fails = False
    await loop.process(memory.replays(offset=6), OWNED)
    assert memory.documents["a"]["body"]["texts"] == ["x", "bad", "z", "later"]
    assert not memory.parked
    await loop.process([raw(9, "a", "after")], OWNED)
    assert memory.told("a") == [(1, "x"), (2, "bad"), (3, "z"), (4, "later"), (5, "after")]


async def test_a_replay_that_fails_again_stays_parked_with_all_behind_it(loop: Loop, memory: Memory) -> None:
    await loop.process([raw(0, "a", "bad"), raw(1, "a", "z")], OWNED)
    await loop.process([*memory.replays(offset=2), raw(4, "a", "new")], OWNED)
    assert list(memory.parked) == ["in.put:i1:0:0", "in.put:i1:0:1", "in.put:i1:0:4"]
    assert "a" not in memory.documents


async def test_a_replay_out_of_turn_or_of_nothing_is_no_input(loop: Loop, memory: Memory, diary: Diary) -> None:
    await loop.process([raw(0, "a", "bad"), raw(1, "a", "z")], OWNED)
    diary.fails = False
    first, second = memory.replays(offset=2)
    await loop.process([replace(second, offset=2)], OWNED)
    assert "a" not in memory.documents
    await loop.process([replace(first, offset=3), replace(first, offset=4), replace(second, offset=5)], OWNED)
    await loop.process([replace(second, offset=6), replace(first, offset=7)], OWNED)
    assert memory.documents["a"]["body"]["texts"] == ["bad", "z"]


async def test_what_was_applied_before_the_failed_record_is_not_applied_by_its_replay(
    loop: Loop, memory: Memory, diary: Diary
) -> None:
    """Parked, but killed before the commit: the record before the failed one comes again while its key is parked."""
    batch = [raw(0, "a", "x"), raw(1, "a", "bad")]
    await loop.process(batch, OWNED)
    await loop.process(batch, replace(OWNED, epoch="epoch 2"))
    diary.fails = False
    await loop.process(memory.replays(offset=2), replace(OWNED, epoch="epoch 2"))
    assert memory.documents["a"]["body"]["texts"] == ["x", "bad"]
    assert memory.told("a") == [(1, "x"), (1, "x"), (2, "bad")]
    assert not memory.parked


async def test_parking_and_resuming_come_after_publishing(loop: Loop, memory: Memory, diary: Diary) -> None:
    await loop.process([raw(0, "a", "x"), raw(1, "a", "bad")], OWNED)
    assert memory.log[-2:] == ["publish", "park"]
    diary.fails = False
    await loop.process(memory.replays(offset=2), OWNED)
    assert memory.log[-2:] == ["publish", "resume"]


async def test_a_discarded_record_lets_its_key_go_on(loop: Loop, memory: Memory) -> None:
    await loop.process([raw(0, "a", "bad")], OWNED)
    discard = raw(1, "a", "bad", headers={DISCARD_OF: "in.put:i1:0:0"})
    await loop.process([discard, raw(2, "a", "y")], OWNED)
    assert not memory.parked
    assert memory.documents["a"]["body"]["texts"] == ["y"]


async def test_too_much_poison_stops_the_consumer(loop: Loop) -> None:
    good = [raw(number, "a", "x") for number in range(120)]
    poison = [RawRecord(IN.name, 0, 1_000 + number, b"a", b"{", []) for number in range(100)]
    assert await loop.process([*good, *poison], OWNED)
    with pytest.raises(TooMuchPoison, match="could not be handled"):
        await loop.process([replace(record, offset=record.offset + 100) for record in poison], OWNED)


async def test_many_keys_that_fail_stop_the_consumer(loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, logger="chassis.loop")
    with pytest.raises(TooMuchPoison):
        await loop.process([raw(number, f"k{number}", "bad") for number in range(250)], OWNED)


async def test_a_document_remembers_no_more_than_it_may(diary: Diary, memory: Memory) -> None:
    loop = ProcessingLoop(diary, memory, memory, memory, most_effects=10_000)
    texts = [f"{number:02}" + "x" * 3_000 for number in range(20)]
    sizes: list[int] = []
    write = memory.write

    async def measured(writes: Sequence[Write]) -> set[int]:
        remembered = [Effects.unpacked(one.document["effects"]).records for one in writes]
        sizes.extend(sum(len(record.value) for _, record in records) for records in remembered)
        return await write(writes)

    memory.write = measured  # type: ignore[method-assign]
    batch = [raw(number, "a", text) for number, text in enumerate(texts)]
    assert await loop.process([*batch, raw(20, "b", "short")], OWNED)
    assert memory.documents["a"]["body"]["texts"] == texts
    assert [sequence for sequence, _ in memory.told("a")] == list(range(1, 21))
    assert memory.told("b") == [(1, "short")]
    assert max(sizes) < 14_000
    assert len(sizes) == 6


async def test_marks_of_a_broker_that_forgot_count_for_nothing(loop: Loop, memory: Memory) -> None:
    await loop.process([raw(5, "a", "x")], OWNED)
    await loop.process([raw(0, "a", "y")], Ownership("epoch 2", {(IN.name, 0): 0}, {IN.name: "i2"}))
    assert memory.documents["a"]["body"]["texts"] == ["x", "y"]
    assert memory.told("a") == [(1, "x"), (1, "x"), (2, "y")]


async def test_waiting_for_the_store_shows_and_loses_nothing(diary: Diary, memory: Memory) -> None:
    waited: list[BaseException] = []
    loop = ProcessingLoop(diary, memory, memory, memory, waiting=waited.append)
    memory.lost_answers = 3
    async with asyncio.timeout(10):
        assert await loop.process([raw(0, "a", "x"), raw(1, "b", "y")], OWNED)
    assert [type(error) for error in waited] == [AutoReconnect] * 3
    assert [memory.told(key) for key in "ab"] == [[(1, "x")], [(1, "y")]]


class Register(Diary):
    """A diary whose first entry of a key says itself what was told of it; entries are not copied."""

    def apply(self, state: tuple[str, ...], inbound: Inbound, context: None) -> Step[tuple[str, ...]]:
        step = super().apply(state, inbound, context)
        return Step(step.state, step.emissions, recallable=not state and step.state is not state)

    def recall(self, state: tuple[str, ...], command_id: str, at: datetime) -> tuple[Emission, ...]:
        assert (command_id, at) == ("id-0", NOON)
        return (Emission(OUT, CommandRepeated(href=state[0]), at),)


@pytest.mark.parametrize("texts", [["a"], ["a", "b"], ["a", "no"]])
async def test_what_a_new_document_told_is_recalled_from_it_to_the_letter(memory: Memory, texts: list[str]) -> None:
    batch = [raw(offset, "key", text) for offset, text in enumerate(texts)]
    await ProcessingLoop(Register(), memory, memory, memory).process(batch, OWNED)
    told, memory.out = memory.out, []
    assert (Effects.unpacked(memory.documents["key"]["effects"]).recall is not None) is (len(texts) == 1)
    again = ProcessingLoop(Register(), memory, memory, memory)
    await again.process(batch, replace(OWNED, epoch="epoch 2"))
    assert memory.out == told
    assert memory.documents["key"]["body"]["texts"] == [text for text in texts if text != "no"]


async def test_what_a_handler_ignores_is_passed_over_undecoded(memory: Memory) -> None:
    diary = Diary()
    diary.ignored = frozenset({"command.repeated"})
    damaged = replace(raw(1, "key", "b"), value=b"\xff")
    await ProcessingLoop(diary, memory, memory, memory).process([raw(0, "key", "a"), damaged], OWNED)
    assert (memory.out, memory.documents, diary.batches) == ([], {}, [])
