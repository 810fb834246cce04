"""`recourse dlq`: records that a service could not handle: parked keys and dead letters; look at them, send them again.

A parked record waits in its service's store, and what came later on its key waits behind it. A dead letter could not even
be read; it lies with its original bytes on `<service>.dlq`. Sending again means publishing on the topic it came from: it then
takes the path of every other record. A dead letter that cannot be read by now either stays where it is: it would come back.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from pymongo.errors import PyMongoError

from chassis.kafka import read_all
from chassis.loop import DISCARD_OF, PARKED, REPLAY_OF, RawRecord, envelope_of
from chassis.parking import parked_record
from chassis.settings import Settings, SettingsError
from chassis.store import Database, connect
from contracts.envelope import Unreadable
from contracts.topics import Service, dead_letters_of
from deploy.local import StackError
from recourse.addresses import settings_of
from recourse.failing import failing_clearly

T = TypeVar("T")
REPLAYED = "dead_letters_replayed"
HANDLED_WITHIN = 30.0  # seconds a service has for one record that was sent again
PLACE = ("recourse-topic", "recourse-partition", "recourse-offset", "recourse-reason")

app = typer.Typer(help="Records that a service could not handle.", no_args_is_help=True)

Data = Annotated[Path, typer.Option(help="Folder of `recourse up`; not needed where addresses are in the environment.")]
DEFAULT_DATA = Path(".recourse")
AsJson = Annotated[bool, typer.Option("--json", help="One JSON line instead of text.")]


@dataclass(frozen=True)
class Held:
    """A record that was not handled. `id` says where it lies: a parked record stood at `topic:incarnation:partition:offset` (a
    broker that forgot has other incarnations of its topics), a dead letter at `<service>.dlq:partition:offset`."""

    id: str
    service: str
    reason: str
    raw: RawRecord
    """As it was read; its topic is the one it came from."""
    parked: bool
    behind: int = 0
    """Records of the same key that wait behind this one."""
    replayed: bool = False
    """A dead letter that was sent again already."""

    def unreadable(self) -> str:
        """Why this version of the services cannot read it either; "" where it can."""
        try:
            envelope_of(self.raw, dict(self.raw.headers))
        except Unreadable as why:
            return str(why)
        return ""

    def summary(self) -> dict[str, Any]:
        """A line of the list, as JSON values."""
        return {
            "id": self.id,
            "kind": "parked" if self.parked else "dead_letter",
            "service": self.service,
            "topic": self.raw.topic,
            "key": (self.raw.key or b"").decode(errors="replace"),
            "type": dict(self.raw.headers).get("ce_type", b"").decode(errors="replace"),
            "reason": self.reason,
            **({"behind": self.behind} if self.parked else {"replayed": self.replayed}),
        }

    def whole(self) -> dict[str, Any]:
        """All of it, as JSON values; a body that is no JSON in hex."""
        value = self.raw.value or b""
        try:
            body: Any = json.loads(value)
        except ValueError:
            body = {"unreadable_bytes": value.hex()}
        return {
            **self.summary(),
            "partition": self.raw.partition,
            "offset": self.raw.offset,
            "headers": {name: data.decode(errors="replace") for name, data in self.raw.headers},
            "body": body,
        }


class NoSuchRecord(Exception):
    """Nothing is held under the id that was given."""


@app.command("list")
def list_(data: Data = DEFAULT_DATA, as_json: AsJson = False) -> None:
    """List parked keys, by the first record of each, and dead letters."""
    held = _run(data, _all_held)
    if as_json:
        typer.echo(json.dumps({"items": [one.summary() for one in held]}))
        return
    for one in held:
        after = f", {one.behind} behind it" if one.behind else ", sent again" if one.replayed else ""
        what = "parked" if one.parked else "dead letter"
        typer.echo(f"{one.id}  {what} of {one.service}{after}: {one.reason}")
    if not held:
        typer.echo("nothing is parked and there are no dead letters", err=True)


@app.command()
def show(
    record: Annotated[str, typer.Argument(help="An id from `recourse dlq list`.")],
    data: Data = DEFAULT_DATA,
) -> None:
    """Show one record whole: where it came from, why it is here, headers and body."""
    held = _run(data, _all_held)
    with failing_clearly(NoSuchRecord):
        (one,) = chosen(held, [record])
    typer.echo(json.dumps(one.whole(), indent=2, ensure_ascii=False))


@app.command()
def replay(
    records: Annotated[list[str] | None, typer.Argument(help="Ids from `recourse dlq list`.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All parked keys and all dead letters not yet sent.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without this it only says what it would do.")] = False,
    discard: Annotated[
        bool, typer.Option("--discard", help="Drop a parked record instead of sending it again; its key goes on.")
    ] = False,
    data: Data = DEFAULT_DATA,
) -> None:
    """Send records again; what waits behind a parked one follows in its order. A dry run unless --yes is given.

    Exit 1 when a record failed again, its key stays parked, and when a dead letter still cannot be read, it is not sent.
    """
    if bool(records) == everything:
        raise typer.BadParameter("give ids or --all")
    if discard and everything:
        raise typer.BadParameter("--discard takes ids: each loss is to be meant")

    async def do(shelf: Shelf) -> bool:
        held = await shelf.held()
        todo = chosen(held, records) if records else [one for one in held if not one.replayed]
        if discard and not all(one.parked for one in todo):
            raise NoSuchRecord("only parked records can be discarded; a dead letter holds nothing up")
        unreadable = {one.id: why for one in todo if (why := one.unreadable())}
        for one in todo:
            if one.id in unreadable:
                why = f"this version cannot read it either: {unreadable[one.id]}"
                typer.echo(f"{'' if yes else 'would '}not send {one.id} ({one.service}), {why}", err=True)
                continue
            what = "discard" if discard else "send again"
            follow = f", then the {one.behind} behind it" if one.behind else ""
            typer.echo(f"{'' if yes else 'would '}{what} {one.id} ({one.service}: {one.reason}){follow}", err=True)
        if not yes:
            typer.echo("nothing was done; add --yes to do it", err=True)
            return not unreadable
        outcomes = [await shelf.resume(one, discard=discard) for one in todo if one.id not in unreadable]
        return all(outcomes) and not unreadable

    if not _run(data, do):
        raise typer.Exit(1)


def chosen(held: Sequence[Held], ids: Sequence[str]) -> list[Held]:
    """The records with these ids. Errors: NoSuchRecord, naming the id."""
    by_id = {one.id: one for one in held}
    for wanted in ids:
        if wanted not in by_id:
            raise NoSuchRecord(f"{wanted} is not held; `recourse dlq list` has the ids (of a key only its first record)")
    return [by_id[wanted] for wanted in dict.fromkeys(ids)]


def place_of(raw: RawRecord) -> str:
    """The id of a record: where it stands."""
    return f"{raw.topic}:{raw.partition}:{raw.offset}"


def dead_letter(raw: RawRecord, service: str, *, replayed: bool) -> Held:
    """A record of `<service>.dlq`, as it was before it got there."""
    given = {name: data.decode(errors="replace") for name, data in raw.headers}
    return Held(
        id=place_of(raw),
        service=service,
        reason=given.get("recourse-reason", ""),
        raw=RawRecord(
            topic=given.get("recourse-topic", ""),
            partition=int(given.get("recourse-partition", "-1")),
            offset=int(given.get("recourse-offset", "-1")),
            key=raw.key or None,
            value=raw.value or None,
            headers=[(name, data) for name, data in raw.headers if name not in PLACE],
        ),
        parked=False,
        replayed=replayed,
    )


@dataclass
class Shelf:
    """Reads and resumes what is held, in the stores and on the topics of one stack."""

    settings: Settings
    client: Any
    admin: AIOKafkaAdminClient
    producer: AIOKafkaProducer

    def database(self, service: str) -> Database:
        """The database that a service keeps its parked records in."""
        return self.client[self.settings.prefixed(service)]

    async def held(self) -> list[Held]:
        """The first parked record of each key and all dead letters, by service."""
        found: list[Held] = []
        for service in Service:
            found += await self._parked(service)
            found += await self._dead_letters(service)
        return found

    async def resume(self, held: Held, *, discard: bool) -> bool:
        """Sends a record again and, where it was parked, all that wait behind it; False when one failed again."""
        if not held.parked:
            await self._send(held.raw, [])
            await self.database(held.service)[REPLAYED].replace_one(
                {"_id": held.id}, {"_id": held.id, "at": datetime.now(UTC)}, upsert=True
            )
            typer.echo(f"sent {held.id} again", err=True)
            return True
        key = (held.raw.key or b"").decode()
        head: str | None = held.id
        count = 0
        while head is not None:
            document = await self.database(held.service)[PARKED].find_one({"_id": head})
            if document is not None:
                marker = DISCARD_OF if discard and count == 0 else REPLAY_OF
                offset = await self._send(parked_record(document), [(marker, head.encode())])
                if not await self._resolved(held.service, head, parked_record(document), offset):
                    return False
                count += 1
            head = await self._head(held.service, key)
        typer.echo(f"{key}: {count} records done, the key goes on", err=True)
        return True

    async def _head(self, service: str, key: str) -> str | None:
        first = await self.database(service)[PARKED].find({"key": key}, {"_id": 1}).sort("order", 1).to_list(1)
        return first[0]["_id"] if first else None

    async def _parked(self, service: str) -> list[Held]:
        documents = await self.database(service)[PARKED].find().sort([("key", 1), ("order", 1)]).to_list(None)
        first: dict[str, Any] = {}
        behind: dict[str, int] = {}
        for document in documents:
            if first.setdefault(document["key"], document) is not document:
                behind[document["key"]] = behind.get(document["key"], 0) + 1
        return [
            Held(
                id=document["_id"],
                service=service,
                reason=document["reason"],
                raw=parked_record(document),
                parked=True,
                behind=behind.get(key, 0),
            )
            for key, document in first.items()
        ]

    async def _dead_letters(self, service: str) -> list[Held]:
        topic = dead_letters_of(service)
        replayed = {document["_id"] async for document in self.database(service)[REPLAYED].find({}, {"_id": 1})}
        return [
            dead_letter(raw, service, replayed=place_of(raw) in replayed)
            async for batch in read_all(self.settings, topic)
            for raw in batch
        ]

    async def _send(self, raw: RawRecord, more: Sequence[tuple[str, bytes]]) -> int:
        """Publishes it where it stood; the offset it got."""
        sent = await self.producer.send_and_wait(
            self.settings.prefixed(raw.topic),
            value=raw.value,
            key=raw.key,
            partition=raw.partition,
            headers=[*raw.headers, *more],
        )
        return sent.offset

    async def _resolved(self, service: str, parked_id: str, raw: RawRecord, offset: int) -> bool:
        """Waits until the service has taken the record at `offset`: True if it is parked no more."""
        deadline = time.monotonic() + HANDLED_WITHIN
        while time.monotonic() < deadline:
            # In this order: what is committed was taken off before.
            passed = await self._committed(service, raw) > offset
            if await self.database(service)[PARKED].find_one({"_id": parked_id}, {"_id": 1}) is None:
                return True
            if passed:
                typer.echo(f"{parked_id} failed again and stays parked; see the log of {service}", err=True)
                return False
            await asyncio.sleep(0.1)
        typer.echo(f"{service} has not taken {parked_id} in {HANDLED_WITHIN:.0f} s; is it running?", err=True)
        return False

    async def _committed(self, service: str, raw: RawRecord) -> int:
        """How far the service has come on the record's partition."""
        partition = TopicPartition(self.settings.prefixed(raw.topic), raw.partition)
        group = self.settings.prefixed(service)
        offsets = await self.admin.list_consumer_group_offsets(group, partitions=[partition])
        return offsets[partition].offset if partition in offsets else 0


@asynccontextmanager
async def open_shelf(settings: Settings) -> AsyncIterator[Shelf]:
    """Connects to broker and store, and closes both again."""
    client = connect(settings)
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka_bootstrap)
    producer = AIOKafkaProducer(bootstrap_servers=settings.kafka_bootstrap, acks="all")
    try:
        await admin.start()
        await producer.start()
        yield Shelf(settings, client, admin, producer)
    finally:
        await producer.stop()
        await admin.close()
        client.close()


async def _all_held(shelf: Shelf) -> list[Held]:
    return await shelf.held()


def _run(data: Path, work: Callable[[Shelf], Awaitable[T]]) -> T:
    async def opened() -> T:
        async with open_shelf(settings_of(data)) as shelf:
            return await work(shelf)

    with failing_clearly(SettingsError, StackError, NoSuchRecord, KafkaError, PyMongoError):
        return asyncio.run(opened())
