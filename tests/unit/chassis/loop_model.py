"""A model of everything that can go wrong around the real processing loop, driven by a seed.

Two input topics; owners with up to three batches in hand at once that are killed between any two awaits, or paused and woken
after others took over; offsets committed late; writes that were applied although the answer was an error; upstream events that
come twice; records that fail until they are repaired, park their key and are replayed. All ports live in memory and pause at
every step; a driver resumes one coroutine at a time, so a run is the same for the same seed. `play` returns what was violated,
in words."""

import itertools
import pickle
import random
from collections import defaultdict
from collections.abc import Coroutine, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any

import orjson
from msgspec.structs import replace
from pymongo.errors import AutoReconnect

from chassis.handler import Emission, Inbound, Step
from chassis.loop import MOST_EFFECTS, REPLAY_OF, Ownership, ProcessingLoop, RawRecord
from chassis.store import Append, Write
from contracts.envelope import Envelope, Record, encode
from contracts.orders import CommandRepeated
from contracts.topics import Topic

__all__ = ["ModelHandler", "World", "play"]

COMMANDS, EVENTS, OUT = Topic("commands", 1), Topic("events", 1), Topic("out", 1)
KEYS = ("a", "b", "c")
NOON = datetime(2019, 7, 15, 12, tzinfo=UTC)
INCARNATION = "i1"
MOST_STEPS = 20_000


class _Pause:
    """An await at which the driver may stop, kill or forget whoever reached it."""

    def __await__(self) -> Generator[None, None, None]:
        yield


PAUSE = _Pause()


async def pause(_seconds: float = 0.0) -> None:
    """Stands in for `asyncio.sleep` while the loop backs off."""
    await PAUSE


class Event:
    """Stands in for `asyncio.Event` where a batch waits for the one before it."""

    def __init__(self) -> None:
        self._is_set = False

    def set(self) -> None:
        self._is_set = True

    async def wait(self) -> None:
        while not self._is_set:
            await PAUSE


@dataclass(frozen=True, slots=True)
class Input:
    """What a record is about. `do` changes the document, `ask` is answered without a change, `nothing` has no effect,
    `fail` raises until it is repaired and then does, `poison` cannot be decoded."""

    kind: str
    key: str
    cause: str


@cache
def _record(kind: str, key: str, cause: str, sequence: int | None) -> Record:
    message = CommandRepeated(href=f"{kind}:{cause}")
    return encode(Envelope(cause, "upstream" if sequence else "caller", key, NOON, message, sequence))


@dataclass(frozen=True, slots=True)
class State:
    applied: tuple[str, ...] = ()
    last: tuple[str, ...] = ()
    """What the write that the state was read from applied."""
    doing: tuple[str, ...] = ()
    events: int = 0


class ModelHandler:
    """Applies inputs to a list per key, tells one or two events for each and appends each event."""

    service = "model"
    topics = (COMMANDS, EVENTS)

    def __init__(self, world: "World") -> None:
        self.world = world
        self.gapless = frozenset({"upstream"}) if world.gapless else frozenset[str]()
        self.ignored = frozenset[str]()
        if world.apart:
            self.apart = True

    def collection_of(self, key: str) -> str:
        return "documents"

    def load(self, body: dict[str, Any] | None) -> State:
        return State() if body is None else State(tuple(body["applied"]), tuple(body["last"]), (), body["events"])

    def dump(self, state: State) -> dict[str, Any]:
        return {"applied": list(state.applied), "last": list(state.doing), "events": state.events}

    async def prepare(self, batch: Sequence[Inbound]) -> frozenset[str]:
        await PAUSE
        return frozenset(body["cause"] for body in self.world.appended.values())

    def apply(self, state: State, inbound: Inbound, context: frozenset[str]) -> Step[State]:
        key, cause = inbound.envelope.key, inbound.envelope.id
        message = inbound.envelope.message
        assert isinstance(message, CommandRepeated)
        kind = message.href.partition(":")[0]
        unknown = set(state.applied) - set(state.last) - set(state.doing) - context
        if unknown:
            self.world.violated(f"{key}: {unknown} were written before the last write and are not durable in the appends")
        if kind == "nothing":
            return Step(state)
        if kind == "ask":
            answer = CommandRepeated(href=f"{cause}={len(state.applied)}")
            return Step(state, (Emission(OUT, answer, NOON, sequenced=False),))
        if kind == "fail" and cause not in self.world.repaired:
            raise ValueError("not repaired yet")
        numbers = range(1 + len(state.applied) % 2)
        return Step(
            State((*state.applied, cause), state.last, (*state.doing, cause), state.events + len(numbers)),
            tuple(Emission(OUT, CommandRepeated(href=f"{cause}/{number}"), NOON) for number in numbers),
            tuple(
                Append("log", {"_id": f"{key}:{state.events + number + 1}", "cause": cause, "number": number})
                for number in numbers
            ),
        )

    def pack(self, appends: Sequence[Append], batch: Mapping[int, tuple[str, int]]) -> Sequence[Append]:
        return appends

    async def appended(self, appends: Sequence[Append]) -> None:
        await PAUSE

    async def assigned(self, partitions: frozenset[int]) -> None:
        await PAUSE

    def pending(self) -> Mapping[str, int]:
        return {}


class World:
    """Broker, store and operator, and what the invariants are about."""

    handler: type[ModelHandler] = ModelHandler

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.generation = 0
        self.log: dict[str, list[RawRecord]] = {COMMANDS.name: [], EVENTS.name: []}
        self.inputs: dict[tuple[str, int], Input] = {}
        self.committed = {COMMANDS.name: 0, EVENTS.name: 0}
        self.documents: dict[str, bytes] = {}
        self.appended: dict[str, dict[str, Any]] = {}
        self.parked: dict[str, tuple[int, str, RawRecord]] = {}
        self.parkings = itertools.count()
        self.repaired: set[str] = set()
        self.out: list[tuple[str, int | None, str, Record]] = []
        self.told: set[str] = set()
        self.dead: set[tuple[str, int, bytes]] = set()
        self.violations: list[str] = []
        self.replays = 0
        self.gapless = self.rng.random() < 0.5
        self.keys = KEYS[: self.rng.randrange(1, 4)]
        self.failing = self.rng.random() < 0.4
        self.flaky = self.rng.choice((0.0, 0.0, 0.1))
        self.unaware = self.rng.random() < 0.5
        """Owners that lost their partitions do not notice by themselves."""
        self.most_effects = self.rng.choice((MOST_EFFECTS, 1))
        self.most_in_hand = self.rng.choice((1, 2, 3))
        self.apart = self.rng.random() < 0.7
        self.coming: list[tuple[str, str, str, str, int | None]] = []
        """Inputs that will be written to their topic later in the run."""
        self._make_inputs()

    def violated(self, what: str) -> None:
        self.violations.append(what)

    # What comes in

    def _make_inputs(self) -> None:
        commands: list[tuple[str, str, str, str, int | None]] = []
        for number in range(self.rng.randrange(1, 10)):
            kinds = ("do",) * 7 + ("ask", "ask", "nothing", "poison") + (("fail",) if self.failing else ())
            commands.append((COMMANDS.name, self.rng.choice(kinds), self.rng.choice(self.keys), f"command-{number}", None))
        events: list[tuple[str, str, str, str, int | None]] = []
        told: list[tuple[str, str, str, str, int | None]] = []
        counts: dict[str, int] = defaultdict(int)
        for number in range(self.rng.randrange(0, 8)):
            key = self.rng.choice(self.keys)
            counts[key] += 1
            kind = "fail" if self.failing and self.rng.random() < 0.1 else "do"
            if not self.gapless and self.rng.random() < 0.2:
                kind = "nothing"
            told.append((EVENTS.name, kind, key, f"event-{number}", counts[key]))
            events.append(told[-1])
            if self.rng.random() < 0.2:  # its producer crashed, and its next owner tells again what it had told
                events += told[self.rng.randrange(len(told)) :]
        while commands or events:
            self.coming.append((commands if not events or (commands and self.rng.random() < 0.5) else events).pop(0))
        for _ in range(self.rng.randrange(len(self.coming) + 1)):
            self.write_next()

    def write_next(self) -> None:
        self._write(*self.coming.pop(0))

    def _write(self, topic: str, kind: str, key: str, cause: str, sequence: int | None) -> None:
        record = _record(kind, key, cause, sequence)
        offset = len(self.log[topic])
        if kind == "poison":
            record = replace(record, value=b"\xff" + cause.encode())
        self.inputs[topic, offset] = Input(kind, key, cause)
        self.log[topic].append(RawRecord(topic, 0, offset, record.key, record.value, record.headers))

    def take(self, positions: Mapping[str, int]) -> list[RawRecord]:
        batch: list[RawRecord] = []
        for topic in self.rng.sample(sorted(self.log), self.rng.choice((1, 1, 2))):
            batch += self.log[topic][positions[topic] : positions[topic] + self.rng.randrange(1, 5)]
        return batch

    @property
    def unread(self) -> int:
        return sum(len(log) - self.committed[topic] for topic, log in self.log.items())

    # What an operator does

    def replay(self) -> None:
        """Repair what failed, and tell a parked key's records again: the first, or all of them."""
        queues: dict[str, list[tuple[int, str, RawRecord]]] = defaultdict(list)
        for parked_id, (order, key, raw) in self.parked.items():
            queues[key].append((order, parked_id, raw))
        queue = sorted(queues[self.rng.choice(sorted(queues))], key=lambda each: each[0])
        self.replays += 1
        for _, parked_id, raw in queue if self.rng.random() < 0.5 else queue[:1]:
            original = self.inputs[raw.topic, raw.offset]
            self.repaired.add(original.cause)
            offset = len(self.log[raw.topic])
            self.inputs[raw.topic, offset] = original
            headers = (*raw.headers, (REPLAY_OF, parked_id.encode()))
            self.log[raw.topic].append(replace(raw, offset=offset, headers=headers))

    # What owners do

    async def own(self) -> None:
        self.generation += 1
        me = self.generation
        await PAUSE
        starts = dict(self.committed)
        parking = _Parking(self)
        parking.refresh()
        ownership = Ownership(
            f"epoch {me}", {(topic, 0): offset for topic, offset in starts.items()}, dict.fromkeys(self.log, INCARNATION)
        )
        loop = ProcessingLoop(
            self.handler(self),
            _Store(self),
            _Publisher(self),
            parking,
            still_owner=lambda owned: self.unaware or me == self.generation,
            most_effects=self.most_effects,
        )
        read, reached = dict(starts), dict(starts)
        in_hand: list[_InHand] = []
        try:
            while True:
                may_begin = len(in_hand) < self.most_in_hand and (me == self.generation or self.unaware)
                if may_begin and (not in_hand or self.rng.random() < 0.2) and (batch := self.take(read)):
                    read |= {raw.topic: raw.offset + 1 for raw in batch}
                    in_hand.append(_InHand(batch, loop.process(batch, ownership)))
                for one in in_hand[:]:
                    # Batches begin in their order, then go on as it comes.
                    if one.has_begun and self.rng.random() < 0.5:
                        continue
                    if (through := one.go_on()) is None:
                        continue
                    in_hand.remove(one)
                    if not through:
                        return
                    if me == self.generation:
                        self._check_durable(one.batch)
                    reached |= {raw.topic: max(reached[raw.topic], raw.offset + 1) for raw in one.batch}
                if not in_hand and me != self.generation:
                    return
                await PAUSE
                if me == self.generation and (not in_hand or self.rng.random() < 0.1):
                    self.committed = dict(reached)
        finally:
            for one in in_hand:
                one.process.close()

    def version_seen_by(self, write: Write) -> int:
        """What the guard of a write is compared with."""
        document = self.documents.get(write.document["_id"])
        return 0 if document is None else pickle.loads(document)["v"]

    # What must hold

    def applied_to(self, key: str) -> tuple[list[str], int]:
        if key not in self.documents:
            return [], 0
        document = pickle.loads(self.documents[key])
        if document["sequence"] != document["body"]["events"]:
            self.violated(f"{key}: the loop counts {document['sequence']} events, the handler {document['body']['events']}")
        return document["body"]["applied"], document["sequence"]

    def _check_durable(self, batch: Iterable[RawRecord]) -> None:
        """Everything that is about to be committed must have had its effects, wait in a parked key or be a dead letter."""
        waiting = {(raw.topic, raw.offset) for _, _, raw in self.parked.values()}
        causes_waiting = {self.inputs[place].cause for place in waiting}
        kept = {body["cause"] for body in self.appended.values()}
        for raw in batch:
            given = self.inputs[raw.topic, raw.offset]
            if given.kind == "poison":
                durable = (raw.topic, raw.offset, raw.value) in self.dead
            elif given.kind == "nothing" or given.cause in causes_waiting:
                durable = True
            else:
                durable = given.cause in self.told
                if given.kind != "ask":
                    durable = durable and given.cause in kept and given.cause in self.applied_to(given.key)[0]
            if not durable:
                self.violated(f"{raw.topic}@{raw.offset} ({given}) was committed and is not durable")

    def check(self) -> None:
        answers: dict[str, set[str]] = defaultdict(set)
        for _, sequence, href, _ in self.out:
            if sequence is None:
                cause, _, seen = href.partition("=")
                answers[cause].add(seen)
        for cause, seen in answers.items():
            if len(seen - {"0"}) > 1:  # before there is a document, nothing can remember that it was told
                self.violated(f"{cause} was answered in different ways: {sorted(seen)}")
            asked = min(place for place, given in self.inputs.items() if given.cause == cause)
            before = {
                given.cause
                for place, given in self.inputs.items()
                if place[0] == asked[0] and place < asked and (given.kind, given.key) == ("do", self.inputs[asked].key)
            }
            if any(int(count) < len(before) for count in seen):
                self.violated(f"{cause} was answered {sorted(seen)} although {sorted(before)} came before it")
        for key in KEYS:
            self._check_key(key)

    def _check_key(self, key: str) -> None:
        applied, events = self.applied_to(key)
        wanted = {given.cause for given in self.inputs.values() if given.key == key and given.kind in ("do", "fail")}
        if sorted(applied) != sorted(wanted):
            self.violated(f"{key}: applied {sorted(applied)}, wanted {sorted(wanted)}")
        for topic in self.log:
            first = {given.cause: place for place, given in reversed(self.inputs.items()) if place[0] == topic}
            order = [first[cause][1] for cause in applied if cause in first]
            if order != sorted(order):
                self.violated(f"{key}: {topic} was applied out of order: {applied}")
        last = 0
        told: dict[int, Record] = {}
        for of, sequence, _, record in self.out:
            if of != key or sequence is None:
                continue
            if told.setdefault(sequence, record) != record:
                self.violated(f"{key}: two different events have the number {sequence}")
            if sequence > last + 1:
                self.violated(f"{key}: event {sequence} came after {last}")
            last = max(last, sequence)
        if last != events:
            self.violated(f"{key}: {last} events were told of {events}")
        for number in range(1, events + 1):
            kept = self.appended.get(f"{key}:{number}")
            href = orjson.loads(told[number].value)["href"] if number in told else None
            if kept is None or f"{kept['cause']}/{kept['number']}" != href:
                self.violated(f"{key}: event {number} is {href}, appended was {kept}")
        if sum(1 for one in self.appended if one.startswith(f"{key}:")) != events:
            self.violated(f"{key}: more was appended than its {events} events")


@dataclass(eq=False, slots=True)
class _InHand:
    """A batch that an owner works on, beside others."""

    batch: list[RawRecord]
    process: Coroutine[Any, Any, bool]
    has_begun: bool = False

    def go_on(self) -> bool | None:
        """One step; the result with the last one."""
        self.has_begun = True
        try:
            self.process.send(None)
        except StopIteration as ended:
            return ended.value
        return None


class _Store:
    """Documents and appends; a write takes its documents one by one, and may answer with an error though it was done."""

    def __init__(self, world: World) -> None:
        self.world = world

    def _stumble(self) -> None:
        if self.world.flaky and self.world.rng.random() < self.world.flaky:
            raise AutoReconnect("the connection was lost")

    async def load(self, wanted: Mapping[str, Iterable[str]]) -> dict[tuple[str, str], dict[str, Any]]:
        await PAUSE
        self._stumble()
        return {
            ("documents", key): pickle.loads(self.world.documents[key])
            for key in wanted["documents"]
            if key in self.world.documents
        }

    async def write(self, writes: Sequence[Write]) -> set[int]:
        lost: set[int] = set()
        for index, write in enumerate(writes):
            await PAUSE
            key = write.document["_id"]
            if self.world.version_seen_by(write) == write.expected_version:
                self.world.documents[key] = pickle.dumps(write.document)
            else:
                lost.add(index)
            self._stumble()
        await PAUSE
        return lost

    async def append(self, appends: Sequence[Append]) -> None:
        for append in appends:
            await PAUSE
            there = self.world.appended.setdefault(append.document["_id"], append.document)
            if there != append.document:
                self.world.violated(f"{append.document} was appended where {there} is")
            self._stumble()
        await PAUSE


class _Publisher:
    def __init__(self, world: World) -> None:
        self.world = world

    async def publish(self, records: Sequence[tuple[str, Record]]) -> None:
        for topic, record in records:
            await PAUSE
            headers = dict(record.headers)
            if topic == OUT.name:
                href = orjson.loads(record.value)["href"]
                sequence = int(headers["ce_sequence"]) if "ce_sequence" in headers else None
                self.world.out.append((record.key.decode(), sequence, href, record))
                self.world.told.add(href.partition("=" if sequence is None else "/")[0])
            else:
                place = (headers["recourse-topic"].decode(), int(headers["recourse-offset"]))
                self.world.dead.add((*place, record.value))
        await PAUSE


class _Parking:
    """Parked keys as `chassis.parking.MongoParking` keeps them: durable records, and the keys of them in each process."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.keys: set[str] = set()

    def refresh(self) -> None:
        self.keys = {key for _, key, _ in self.world.parked.values()}

    def holds(self, key: str) -> bool:
        return key in self.keys

    async def queue(self, key: str) -> list[str]:
        await PAUSE
        return [parked_id for parked_id, (_, of, _) in sorted(self.world.parked.items(), key=lambda it: it[1][0]) if of == key]

    async def park(self, records: Sequence[tuple[str, str, RawRecord, str]]) -> None:
        for parked_id, key, raw, _ in records:
            await PAUSE
            self.world.parked.setdefault(parked_id, (next(self.world.parkings), key, raw))
            self.keys.add(key)

    async def resume(self, key: str, parked_id: str) -> None:
        await PAUSE
        self.world.parked.pop(parked_id, None)
        if not await self.queue(key):
            self.keys.discard(key)


def play(seed: int, world_of: type[World] = World) -> list[str]:
    """One run: owners are killed and paused at random steps until every input had its effect. What was violated."""
    world = world_of(seed)
    rng = world.rng
    live: Coroutine[Any, Any, None] = world.own()
    paused: list[Coroutine[Any, Any, None]] = []
    takeovers, most = 0, rng.randrange(6)
    restless = rng.choice((0.02, 0.05, 0.1))
    for _ in range(MOST_STEPS):
        if world.coming and rng.random() < 0.1:
            world.write_next()
        done = not world.coming and not world.unread
        if done and not world.parked and not paused:
            break
        actor = rng.choice(paused) if paused and (done or rng.random() < 0.3) else live
        try:
            actor.send(None)
        except StopIteration:
            if actor is live:
                live = world.own()
            else:
                paused.remove(actor)
            continue
        chance = rng.random()
        if chance < restless:
            if actor is not live:
                if rng.random() < 0.1:
                    paused.remove(actor)
                    actor.close()
            elif takeovers < most:
                takeovers += 1
                if chance < restless / 2:
                    live.close()  # SIGKILL
                else:
                    paused.append(live)  # SIGSTOP: it may wake
                live = world.own()
        if world.parked and world.unread < 8 and world.replays < 30 and rng.random() < (0.2 if done else 0.05):
            world.replay()
    else:
        world.violated("it does not come to an end")
    for coroutine in (live, *paused):
        coroutine.close()
    world.check()
    return world.violations
