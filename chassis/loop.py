"""The processing loop: consume → apply → publish → commit, once for all services.

A document remembers, in the write that an input caused, that input's offset (its mark), the epoch of its owner and the effects
of the write: records to publish and documents to append. A crash before the commit means redelivery; what is at or below its
mark is not applied again, its remembered effects are made again instead. A new owner that meets a document of another epoch,
with a mark not below the offset where it itself began, makes the remembered effects first, before anything new.

Batches overlap in what changes nothing: while one is written and published, the next is read and decided; it is written when
the one before is through, because its writes forget the effects that the documents remember."""

import asyncio
import logging
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, Protocol, TypeVar

from msgspec import Struct, msgpack

from chassis.bounded import Bounded
from chassis.failures import Remedy, classify, retrying
from chassis.handler import Apart, Emission, Handler, Inbound, Recalling, Step
from chassis.store import Append, Write
from contracts.envelope import Envelope, Record, Unreadable, decode, encode
from contracts.ids import derived
from contracts.topics import PARTITIONS, dead_letters_of

__all__ = [
    "DISCARD_OF",
    "REPLAY_OF",
    "Counters",
    "Effects",
    "Ownership",
    "ParkedKeys",
    "ProcessingLoop",
    "Publisher",
    "RawRecord",
    "Store",
    "TooMuchPoison",
    "envelope_of",
    "new_epoch",
]

log = logging.getLogger(__name__)
S = TypeVar("S")

REPLAY_OF = "recourse-replay-of"
DISCARD_OF = "recourse-discard-of"
PARKED = "parked"
BEHIND = "waits behind a parked record of its key"
_VERSION = b"0123456789"
_UNDISTURBED = 100
"""Records that are decided before the process looks whether something else is to do, some 10 ms."""
_MOST_RECENT = 1_000
"""Documents that are kept in memory after they were written, of some 10 kB each."""
MOST_EFFECTS = 1024 * 1024
"""Bytes of published records from which a document takes no further input in the same write: it remembers them, what was
appended with them is about twice as much again, and a store refuses documents of 16 MiB."""


class TooMuchPoison(Exception):
    """So many records of late could not be handled that this version, not they, is likely wrong: the consumer stops."""


class RawRecord(Struct, frozen=True, gc=False):
    """A record as it was read; `topic` is the name without the namespace."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]


class Ownership(Struct, frozen=True):
    """What this process owns since the last assignment.

    `epoch` names the assignment. `starts` has, per (topic, partition), the offset where it began. `incarnations` tells a topic
    from one of the same name on a broker that forgot: marks of another incarnation count for nothing."""

    epoch: str
    starts: Mapping[tuple[str, int], int]
    incarnations: Mapping[str, str]

    @property
    def partitions(self) -> frozenset[int]:
        return frozenset(partition for _, partition in self.starts)


class Store(Protocol):
    """The documents and appends of a service; see `chassis.store.MongoStore`."""

    async def load(self, wanted: Mapping[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
        """The documents of these ids (by collection), by (collection, id)."""
        ...

    async def write(self, writes: Sequence[Write]) -> set[int]:
        """Write each whose guard holds; the indexes of the others."""
        ...

    async def append(self, appends: Sequence[Append]) -> None:
        """Insert what is not there yet."""
        ...


class ParkedKeys(Protocol):
    """Keys that wait for an operator, durably; see `chassis.parking.MongoParking`."""

    def holds(self, key: str) -> bool:
        """Whether a key is parked."""
        ...

    async def queue(self, key: str) -> list[str]:
        """The ids of its parked records, in the order they came."""
        ...

    async def park(self, records: Sequence[tuple[str, str, RawRecord, str]]) -> None:
        """Put (id, key, record, reason) behind what is parked; again changes nothing."""
        ...

    async def resume(self, key: str, parked_id: str) -> None:
        """Take a record off; with its last one a key is free."""
        ...


class Publisher(Protocol):
    """Publishes records in order per key and returns when all are confirmed; see `chassis.kafka.KafkaPublisher`."""

    async def publish(self, records: Sequence[tuple[str, Record]]) -> None:
        """Publish (topic, record) each."""
        ...


@dataclass(slots=True)
class Counters:
    """What the loop did, for metrics and for tests that count statements."""

    batches: int = 0
    records: int = 0
    steps: int = 0
    writes: int = 0
    guards_lost: int = 0
    appends: int = 0
    published: int = 0
    republished: int = 0
    duplicates: int = 0
    dead_letters: int = 0
    parked: int = 0


class Effects(Struct, frozen=True, gc=False, omit_defaults=True):
    """What a document's last write caused, as the document remembers it: what was published and appended, or the id and time of
    the command from which its handler makes that anew. Packed, for it is seldom read: the store then need not take it apart
    with each reading and writing of the document."""

    records: list[tuple[str, Record]] = []
    appends: list[Append] = []
    recall: tuple[str, datetime] | None = None

    def packed(self) -> bytes:
        """As a document keeps it."""
        return _packed(self)

    @classmethod
    def unpacked(cls, stored: bytes) -> "Effects":
        """The inverse of `packed`."""
        return _EFFECTS.decode(stored)


_packed = msgpack.Encoder().encode
_EFFECTS = msgpack.Decoder(Effects)


class _Plan(Struct, gc=False):
    """What the records of one key come to, given the document as it was read."""

    before: list[tuple[str, Record]] = []
    before_appends: list[Append] = []
    write: Write | None = None
    records: list[tuple[str, Record]] = []
    appends: list[Append] = []
    failed_at: int | None = None
    failure: str = ""
    left_at: int | None = None


class _Recent:
    """The documents that an owner wrote last, so that it need not read them for the next record of their keys, which often
    comes at once. One that is not true any more loses its guard, and is read anew. A new epoch begins with nothing, as somebody
    else may have written in between."""

    def __init__(self) -> None:
        self._epoch = ""
        self._kept: Bounded[str, dict[str, Any]] = Bounded(_MOST_RECENT)

    def of(self, epoch: str, keys: Iterable[str]) -> dict[str, dict[str, Any]]:
        """What is known in an epoch of the documents of these keys, by key."""
        if epoch != self._epoch:
            self._epoch = epoch
            self._kept.clear()
        return {key: known for key in keys if (known := self._kept.get(key)) is not None}

    def wrote(self, epoch: str, key: str, document: dict[str, Any]) -> None:
        """A document was written."""
        if epoch == self._epoch:
            self._kept[key] = document

    def forget(self, key: str) -> None:
        """A document is another one than was known."""
        self._kept.pop(key, None)


class _Turn:
    """How far a batch is, for the one behind it."""

    def __init__(self, epoch: str, before: "_Turn | None") -> None:
        self.through = False
        self._epoch = epoch
        self._before = before
        self._keys: Set[str] | None = None
        self._writing = asyncio.Event()
        self._written = asyncio.Event()
        self._ended = asyncio.Event()

    async def may_read(self, keys: Set[str] | None) -> None:
        """Return when the batch before is written and appended; with `keys`, which are decided apart from others, when it is
        about to be written and has other keys. All batches before that one are through."""
        self._keys = keys
        before = self._before
        if before is not None:
            await before._writing.wait()
            if keys is None or before._keys is None or not keys.isdisjoint(before._keys):
                await before._written.wait()

    async def may_write(self) -> bool:
        """Return when the batch before is through, or False: it failed, and going on would commit its offsets."""
        before = self._before
        if before is not None:
            await before._ended.wait()
            if not before.through and before._epoch == self._epoch:
                return False
        self._writing.set()
        return True

    def written(self) -> None:
        self._written.set()

    def ended(self, *, through: bool) -> None:
        self.through = through
        self._before = None
        self._writing.set()
        self._written.set()
        self._ended.set()


class ProcessingLoop(Generic[S]):
    """Takes batches of raw records through a handler. All it touches is a port, so that a model can crash it anywhere."""

    def __init__(
        self,
        handler: Handler[S],
        store: Store,
        publisher: Publisher,
        parked: ParkedKeys,
        *,
        still_owner: Callable[[Ownership], bool] = lambda ownership: True,
        waiting: Callable[[BaseException], None] = lambda error: None,
        most_effects: int = MOST_EFFECTS,
    ) -> None:
        self.handler = handler
        self.counters = Counters()
        self._store = store
        self._publisher = publisher
        self._parked = parked
        self._still_owner = still_owner
        self._waiting = waiting
        self._most_effects = most_effects
        self._dead_letters = dead_letters_of(handler.service)
        self._lately: list[bool] = []
        self._last: _Turn | None = None
        self._recent = _Recent()
        self._apart = isinstance(handler, Apart)
        self._ignored = frozenset(f"recourse.{kind}.v".encode() for kind in handler.ignored)

    async def process(self, batch: Sequence[RawRecord], ownership: Ownership) -> bool:
        """Apply a batch. True: it is durable and published, its offsets may be committed. False: somebody else owns it now, or
        a batch before it failed.

        The next batch may be given before this one is through; batches take effect in the order of the calls.
        Raises TooMuchPoison, and whatever `classify` calls STOP."""
        self._last = turn = _Turn(ownership.epoch, self._last)
        self.counters.batches += 1
        self.counters.records += len(batch)
        through = False
        try:
            inbounds, raw_of = await self._decode(batch)
            await turn.may_read({inbound.envelope.key for inbound in inbounds} if self._apart else None)
            todo = await self._set_aside_parked(inbounds, raw_of, ownership)
            while todo:
                left = await self._round(todo, raw_of, ownership, turn)
                if left is None:
                    return False
                todo = left
            through = await turn.may_write()
        finally:
            turn.ended(through=through)
        return through

    async def _round(
        self,
        by_key: Mapping[str, list[Inbound]],
        raw_of: Mapping[tuple[str, int, int], RawRecord],
        ownership: Ownership,
        turn: _Turn,
    ) -> dict[str, list[Inbound]] | None:
        """Write, append and publish what the records of these keys come to; what a document could not take with this write is
        left for the next round. None: somebody else owns it now."""
        done: dict[str, _Plan] = {}
        again: list[Append] = []
        todo = dict(by_key)
        while todo:
            plans = await self._plan(todo, ownership)
            if not await turn.may_write():
                return None
            remembered_appends = [append for plan in plans.values() for append in plan.before_appends]
            remembered = [record for plan in plans.values() for record in plan.before]
            if remembered_appends:
                await retrying(lambda appends=remembered_appends: self._store.append(appends), self._waiting)
                again += remembered_appends
            if remembered:
                self.counters.republished += len(remembered)
                await self._publisher.publish(remembered)
            lost = await self._write(plans, ownership)
            done |= {key: plan for key, plan in plans.items() if key not in lost}
            todo = {key: todo[key] for key in lost}
            if todo and not self._still_owner(ownership):
                return None
        first: dict[int, tuple[str, int]] = {}
        for records_of_key in by_key.values():
            for inbound in records_of_key:
                first.setdefault(inbound.partition, (inbound.topic, inbound.offset))
        packed = self.handler.pack([append for plan in done.values() for append in plan.appends], first)
        if packed:
            self.counters.appends += len(packed)
            await retrying(lambda: self._store.append(packed), self._waiting)
        if not any(_goes_on(plan, by_key[key]) for key, plan in done.items()):
            turn.written()
        records = [record for plan in done.values() for record in plan.records]
        if records:
            self.counters.published += len(records)
            await self._publisher.publish(records)
        await self.handler.appended([*again, *packed])
        # Only now: while a key is parked nobody asks its document for effects that a crash kept back.
        for key, plan in done.items():
            await self._after_key(key, by_key[key], plan, raw_of, ownership)
        return {key: by_key[key][plan.left_at :] for key, plan in done.items() if plan.left_at is not None}

    async def _decode(self, batch: Sequence[RawRecord]) -> tuple[list[Inbound], dict[tuple[str, int, int], RawRecord]]:
        inbounds: list[Inbound] = []
        raw_of: dict[tuple[str, int, int], RawRecord] = {}
        dead: list[tuple[str, Record]] = []
        for number, raw in enumerate(batch):
            if number % _UNDISTURBED == _UNDISTURBED - 1:
                await asyncio.sleep(0)
            headers = dict(raw.headers)
            if self._ignored and headers.get("ce_type", b"").rstrip(_VERSION) in self._ignored:
                continue
            try:
                envelope = envelope_of(raw, headers)
            except Unreadable as unreadable:
                dead.append((self._dead_letters.name, _dead_letter(raw, str(unreadable))))
                log.warning("%s/%d@%d is unreadable: %s", raw.topic, raw.partition, raw.offset, unreadable)
                continue
            of_parked = _text(headers.get(REPLAY_OF)), _text(headers.get(DISCARD_OF))
            inbounds.append(Inbound(envelope, raw.topic, raw.partition, raw.offset, *of_parked))
            raw_of[raw.topic, raw.partition, raw.offset] = raw
        self._note_health(len(inbounds), len(dead))
        if dead:
            self.counters.dead_letters += len(dead)
            await self._publisher.publish(dead)
        return inbounds, raw_of

    async def _set_aside_parked(
        self, inbounds: Sequence[Inbound], raw_of: Mapping[tuple[str, int, int], RawRecord], ownership: Ownership
    ) -> dict[str, list[Inbound]]:
        """The records by key; those of a parked key are parked behind it, unless they replay its records from the first on."""
        by_key: dict[str, list[Inbound]] = {}
        behind: list[Inbound] = []
        queues: dict[str, list[str]] = {}
        for inbound in inbounds:
            key = inbound.envelope.key
            if inbound.discard_of is not None or inbound.replay_of is not None or self._parked.holds(key):
                if key not in queues:
                    queues[key] = await retrying(lambda key=key: self._parked.queue(key), self._waiting)
                queue = queues[key]
                if inbound.discard_of is not None:
                    if inbound.discard_of in queue:
                        queue.remove(inbound.discard_of)
                        await retrying(lambda key=key, one=inbound.discard_of: self._parked.resume(key, one), self._waiting)
                    continue
                if inbound.replay_of is not None:
                    if not queue or queue[0] != inbound.replay_of:
                        continue
                    queue.pop(0)
                elif queue:
                    behind.append(inbound)
                    queue.append(_parked_id(inbound, ownership))
                    continue
            by_key.setdefault(key, []).append(inbound)
        if behind:
            await self._park([(inbound, BEHIND) for inbound in behind], raw_of, ownership)
        return by_key

    async def _park(
        self,
        failed: Sequence[tuple[Inbound, str]],
        raw_of: Mapping[tuple[str, int, int], RawRecord],
        ownership: Ownership,
    ) -> None:
        self.counters.parked += len(failed)
        to_park = [
            (_parked_id(inbound, ownership), inbound.envelope.key, raw_of[_place(inbound)], reason)
            for inbound, reason in failed
        ]
        await retrying(lambda: self._parked.park(to_park), self._waiting)

    async def _plan(self, todo: Mapping[str, list[Inbound]], ownership: Ownership) -> dict[str, _Plan]:
        """Read the documents of these keys and decide their records. Changes nothing outside."""
        known = self._recent.of(ownership.epoch, todo)
        wanted: dict[str, list[str]] = {}
        for key in todo:
            if key not in known and (collection := self.handler.collection_of(key)) is not None:
                wanted.setdefault(collection, []).append(key)
        if wanted:
            loaded = await retrying(lambda: self._store.load(wanted), self._waiting)
            known |= {key: document for (_, key), document in loaded.items()}
        # After the documents, so that it knows at least what they know: all but the last write of each is then durable.
        batch = [inbound for records in todo.values() for inbound in records]
        context = await retrying(lambda: self.handler.prepare(batch), self._waiting)
        plans: dict[str, _Plan] = {}
        for number, (key, records) in enumerate(todo.items()):
            if number % _UNDISTURBED == _UNDISTURBED - 1:
                await asyncio.sleep(0)
            plans[key] = self._plan_key(key, self.handler.collection_of(key), known.get(key), records, context, ownership)
        return plans

    def _plan_key(
        self,
        key: str,
        collection: str | None,
        document: dict[str, Any] | None,
        records: Sequence[Inbound],
        context: Any,
        ownership: Ownership,
    ) -> _Plan:
        """Decide the records of one key, one after the other: skip those that were applied before, stop at the first that
        fails or that the document has no room for, and make one write of all that changed."""
        plan = _Plan()
        heard = _Heard.of(document, ownership)
        if document is not None and _effects_may_be_lost(document, heard, records):
            plan.before, plan.before_appends = self._remembered(key, document)

        size = 0
        recall: tuple[str, datetime] | None = None
        told: int = 0 if document is None else document["sequence"]
        state = before = self.handler.load(None if document is None else document["body"])
        for index, inbound in enumerate(records):
            if heard.knows(inbound):
                self.counters.duplicates += 1
                continue
            try:
                heard.require_next(inbound.envelope, self.handler.gapless)
                step: Step[S] = self.handler.apply(state, inbound, context)
            except Exception as error:
                if classify(error) is not Remedy.PARK:
                    raise
                log.exception("%s/%d@%d failed; its key %s is parked", inbound.topic, inbound.partition, inbound.offset, key)
                plan.failed_at, plan.failure = index, f"{type(error).__name__}: {error}"
                break
            self.counters.steps += 1
            cause = inbound.envelope
            for number, emission in enumerate(step.emissions):
                told += emission.sequenced
                record = self._record(emission, cause.id, cause.key, number, told, inbound.partition)
                plan.records.append((emission.topic.name, record))
                size += len(record.value)
            plan.appends += step.appends
            recall = (cause.id, cause.time) if step.recallable and index == 0 and document is None else None
            state = step.state
            heard.note(inbound)
            if size > self._most_effects and index + 1 < len(records):
                plan.left_at = index + 1
                break
        # A refusal is marked too: it was told, so a redelivery after another topic's record must not decide it anew. And
        # of a source whose every event is read, each one counts, or the next would look like a gap.
        changed = state is not before
        if document is not None and not changed:
            seen = document["seen"]
            changed = bool(plan.records) or any(heard.seen.get(source) != seen.get(source) for source in self.handler.gapless)
        if collection is not None and changed:
            version = 0 if document is None else document["v"]
            effects = Effects(plan.records, plan.appends) if recall is None or plan.appends else Effects(recall=recall)
            content = {
                "_id": key,
                "v": version + 1,
                "epoch": ownership.epoch,
                "marks": heard.marks,
                "seen": heard.seen,
                "sequence": told,
                "effects": effects.packed(),
                "body": self.handler.dump(state),
            }
            plan.write = Write(collection, content, version)
        return plan

    def _remembered(self, key: str, document: Mapping[str, Any]) -> tuple[list[tuple[str, Record]], list[Append]]:
        """The records and appends that the document's last write caused."""
        effects = Effects.unpacked(document["effects"])
        if effects.recall is None:
            return effects.records, effects.appends
        handler = self.handler
        if not isinstance(handler, Recalling):
            raise TypeError(f"{handler.service} cannot recall what it told of {key}")
        cause_id, at = effects.recall
        emissions = handler.recall(handler.load(document["body"]), cause_id, at)
        records = [
            (emission.topic.name, self._record(emission, cause_id, key, number, number + 1))
            for number, emission in enumerate(emissions)
        ]
        return records, []

    def _record(
        self, emission: Emission, cause_id: str, key: str, number: int, sequence: int, partition: int | None = None
    ) -> Record:
        """`partition` is the cause's: where it was read, there its key belongs on every topic of as many partitions."""
        placed = emission.key is None and emission.topic.partitions == PARTITIONS
        return encode(
            Envelope(
                id=emission.id or derived(cause_id, self.handler.service, emission.message.kind, str(number)),
                source=self.handler.service,
                key=emission.key or key,
                time=emission.time,
                message=emission.message,
                sequence=sequence if emission.sequenced else None,
                command_id=emission.command_id,
                settles=emission.settles,
            ),
            partition if placed else None,
        )

    async def _write(self, plans: Mapping[str, _Plan], ownership: Ownership) -> set[str]:
        """Write every plan's document; the keys whose guard did not match."""
        keys = [key for key, plan in plans.items() if plan.write is not None]
        writes = [write for plan in plans.values() if (write := plan.write) is not None]
        if not writes:
            return set()
        lost = {keys[index] for index in await retrying(lambda: self._store.write(writes), self._waiting)}
        for key, write in zip(keys, writes, strict=True):
            if key in lost:
                self._recent.forget(key)
            else:
                self._recent.wrote(ownership.epoch, key, write.document)
        self.counters.writes += len(writes) - len(lost)
        self.counters.guards_lost += len(lost)
        return lost

    async def _after_key(
        self,
        key: str,
        records: Sequence[Inbound],
        plan: _Plan,
        raw_of: Mapping[tuple[str, int, int], RawRecord],
        ownership: Ownership,
    ) -> None:
        """Park a key at its failed record; take replayed records off their parked key."""
        for inbound in records[: plan.left_at if plan.failed_at is None else plan.failed_at]:
            if inbound.replay_of is not None:
                await retrying(lambda parked_id=inbound.replay_of: self._parked.resume(key, parked_id), self._waiting)
        if plan.failed_at is None:
            return
        failed = records[plan.failed_at :]
        # A replay that failed again is parked as it was, and what was replayed behind it too.
        await self._park(
            [(inbound, plan.failure if inbound is failed[0] else BEHIND) for inbound in failed if inbound.replay_of is None],
            raw_of,
            ownership,
        )
        self._note_failed()

    def _note_health(self, good: int, bad: int) -> None:
        self._lately += [False] * min(good, 1_000) + [True] * min(bad, 1_000)
        del self._lately[:-1_000]
        self._assert_healthy()

    def _note_failed(self) -> None:
        """A record that was counted as good when it was decoded could not be handled."""
        if False in self._lately:
            self._lately[len(self._lately) - 1 - self._lately[::-1].index(False)] = True
        self._assert_healthy()

    def _assert_healthy(self) -> None:
        """Stop where more than half of the last 1,000 records (from 200 on) could not be handled."""
        if len(self._lately) >= 200 and sum(self._lately) * 2 > len(self._lately):
            raise TooMuchPoison(
                f"{sum(self._lately)} of the last {len(self._lately)} records could not be handled; see `recourse dlq list`"
            )


def new_epoch(instance: str) -> str:
    """A name for an assignment that no other one has."""
    return f"{instance}:{time.time_ns()}:{uuid.uuid4().hex[:8]}"


def _place(inbound: Inbound) -> tuple[str, int, int]:
    return inbound.topic, inbound.partition, inbound.offset


def _field(topic: str) -> str:
    """A topic's name as a field of a document: dots would be a path."""
    return topic.replace(".", "-")


def _parked_id(inbound: Inbound, ownership: Ownership) -> str:
    """Where a record stood: `topic:incarnation:partition:offset`. A broker that forgot has other topics."""
    return f"{inbound.topic}:{ownership.incarnations.get(inbound.topic, '')}:{inbound.partition}:{inbound.offset}"


def _origin(inbound: Inbound, ownership: Ownership) -> int:
    """The offset that a record is marked by. A replay is the parked record again: wherever a copy of it is met (parked twice,
    replayed twice, read by a former owner that wakes up), it is applied once. Its key moves on in that order."""
    if inbound.replay_of is not None:
        topic, incarnation, _, offset = inbound.replay_of.rsplit(":", 3)
        if topic == inbound.topic and incarnation == ownership.incarnations.get(topic, ""):
            return int(offset)
    return inbound.offset


class _Heard(Struct, gc=False):
    """How far a document has heard: its mark of each topic, as [incarnation, offset], and the last number of each source."""

    marks: dict[str, list[Any]]
    seen: dict[str, int]
    ownership: Ownership

    @classmethod
    def of(cls, document: Mapping[str, Any] | None, ownership: Ownership) -> "_Heard":
        if document is None:
            return cls({}, {}, ownership)
        return cls(dict(document["marks"]), dict(document["seen"]), ownership)

    def marked(self, inbound: Inbound) -> bool:
        """Whether a record is at or below the mark of its topic."""
        mark = self.marks.get(_field(inbound.topic))
        if mark is None or mark[0] != self.ownership.incarnations.get(inbound.topic, ""):
            return False
        return _origin(inbound, self.ownership) <= mark[1]

    def knows(self, inbound: Inbound) -> bool:
        """Whether a record was applied before, here or, published again, at another place."""
        sequence = inbound.envelope.sequence
        return self.marked(inbound) or (sequence is not None and sequence <= self.seen.get(inbound.envelope.source, 0))

    def require_next(self, envelope: Envelope, gapless: Set[str]) -> None:
        """Raises LookupError for an event that skips one, of a source whose every event is read."""
        if envelope.sequence is None or envelope.source not in gapless:
            return
        last = self.seen.get(envelope.source, 0)
        if envelope.sequence != last + 1:
            raise LookupError(f"{envelope.source} event {envelope.sequence} came after {last}: one is missing")

    def note(self, inbound: Inbound) -> None:
        """A record was applied."""
        topic, envelope = inbound.topic, inbound.envelope
        self.marks[_field(topic)] = [self.ownership.incarnations.get(topic, ""), _origin(inbound, self.ownership)]
        if envelope.sequence is not None:
            self.seen[envelope.source] = envelope.sequence


def _effects_may_be_lost(document: Mapping[str, Any], heard: _Heard, records: Sequence[Inbound]) -> bool:
    """Whether a crash may have come between the document's last write and its effects."""
    if any(heard.marked(inbound) for inbound in records):
        return True
    ownership = heard.ownership
    if document["epoch"] == ownership.epoch:
        return False
    # While its key was parked, offsets were committed past records that a former owner, not knowing, may have applied since.
    if any(inbound.replay_of is not None for inbound in records):
        return True
    partition = records[0].partition
    for topic, incarnation in ownership.incarnations.items():
        mark = heard.marks.get(_field(topic))
        if mark is None:
            continue
        if mark[0] != incarnation or mark[1] >= ownership.starts.get((topic, partition), 0):
            return True
    return False


def _goes_on(plan: _Plan, records: Sequence[Inbound]) -> bool:
    """Whether a key has more to do after its write than telling its effects: to be parked or freed, or to be written again."""
    return plan.failed_at is not None or plan.left_at is not None or any(inbound.replay_of is not None for inbound in records)


def envelope_of(raw: RawRecord, headers: Mapping[str, bytes]) -> Envelope:
    """What a record says; `headers` are its own, by name. Raises Unreadable: such a record goes to the dead letters."""
    envelope = decode(raw.value, headers)
    if raw.key != envelope.key.encode():
        raise Unreadable("the record's key is not its ce_subject")
    return envelope


def _text(header: bytes | None) -> str | None:
    return None if header is None else header.decode(errors="replace")


def _dead_letter(raw: RawRecord, reason: str) -> Record:
    """The original bytes and headers, with where they stood and why they are here."""
    own = (
        ("recourse-topic", raw.topic.encode()),
        ("recourse-partition", str(raw.partition).encode()),
        ("recourse-offset", str(raw.offset).encode()),
        ("recourse-reason", reason.encode()[:2_000]),
    )
    return Record(raw.key or b"", raw.value or b"", (*raw.headers, *own))
