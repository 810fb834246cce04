"""What a service gives to the processing loop: pure steps over the documents of keys."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Generic, Literal, Protocol, TypeVar, runtime_checkable

from msgspec import Struct

from chassis.store import Append
from contracts.base import Message
from contracts.envelope import Envelope
from contracts.topics import Topic

__all__ = ["Apart", "Emission", "Handler", "Inbound", "Recalling", "Step"]

S = TypeVar("S")
S_co = TypeVar("S_co", covariant=True)
R = TypeVar("R", contravariant=True)


class Inbound(Struct, frozen=True, gc=False):
    """A record that was read: its envelope and where it stood. `topic` is the name without the namespace."""

    envelope: Envelope
    topic: str
    partition: int
    offset: int
    replay_of: str | None = None
    """The parked record that this one repeats."""
    discard_of: str | None = None
    """The parked record that this one takes off its key, undone; no handler sees it."""


class Emission(Struct, frozen=True, gc=False):
    """A message to publish. `sequenced` events are counted per key; answers that change nothing and commands to other
    services are not. `key` is the record's own key unless given."""

    topic: Topic
    message: Message
    time: datetime
    command_id: str | None = None
    settles: bool = False
    sequenced: bool = True
    key: str | None = None
    id: str | None = None
    """Set where the id must not depend on the record that caused it (a timer's)."""


class Step(Struct, Generic[S_co], frozen=True, gc=False):
    """What one record did. Returning the very state it was given means: no write. Emissions and appends of a step with a write
    are remembered in the document until the next write, so that a crash cannot lose them."""

    state: S_co
    emissions: tuple[Emission, ...] = ()
    appends: tuple[Append, ...] = ()
    recallable: bool = False
    """The emissions of this step, which made a new document, follow from its state: `Recalling.recall` makes them again, so
    that they need not be remembered."""


class Handler(Protocol[S]):
    """A service's part of the loop. Everything but `prepare` and `appended` is pure and synchronous."""

    service: str
    topics: tuple[Topic, ...]
    gapless: frozenset[str]
    """Producing services whose every event this one reads: an event that skips one is parked instead of applied."""

    ignored: frozenset[str]
    """Kinds of message that it has no use for: passed over before they are decoded. None that a gapless source tells."""

    def collection_of(self, key: str) -> str | None:
        """The collection of the document that a key names; None where the service keeps none for it."""
        ...

    def load(self, body: Any) -> S:
        """The state in a document's body, which `dump` made; of no document for None."""
        ...

    def dump(self, state: S) -> dict[str, Any] | str:
        """The body to store: JSON-like values where somebody searches in it, otherwise their JSON text, which costs a store
        half as much to take and to give back: it need not look into it."""
        ...

    async def prepare(self, batch: Sequence[Inbound]) -> Any:
        """What the whole batch needs beside its documents, in as few queries as possible; given to each `apply`.

        Asked after the documents were read, and again when some are read anew: what a document's writes but the last one
        appended is durable by then."""
        ...

    def apply(self, state: S, inbound: Inbound, context: Any) -> Step[S]:
        """Decide one record. May raise: the record and what follows on its key are then parked.

        To pass it over, changing and telling nothing, must follow from state and record alone: a document that is known in
        memory is then not put to its guard (ADR 40)."""
        ...

    def pack(self, appends: Sequence[Append], batch: Mapping[int, tuple[str, int]]) -> Sequence[Append]:
        """Rearrange what a batch appends, e.g. entries into pages; `batch` has each partition's first (topic, offset)."""
        ...

    async def appended(self, appends: Sequence[Append]) -> None:
        """Told after a batch is durable and published, before its offsets are committed. Includes what a former owner may
        have appended already."""
        ...

    async def assigned(self, partitions: frozenset[int]) -> None:
        """Told which partitions are owned from now on, before their first batch."""
        ...

    def pending(self) -> Mapping[str, int]:
        """Work in hand that no topic shows: {"timers": n, "mails": n}; zeros when idle."""
        ...


@runtime_checkable
class Recalling(Protocol[R]):
    """A handler whose new documents say themselves what was told of them. Worth it where most documents are written once: the
    event would be stored twice."""

    def recall(self, state: R, command_id: str, at: datetime) -> tuple[Emission, ...]:
        """The emissions of the step that made a document, from its state, and the id and time of the command."""
        ...


@runtime_checkable
class Apart(Protocol):
    """A handler that decides keys apart: what its `prepare` finds for a record beside the record's own key is only what its
    sender was told of before. Its next batch may then be prepared while one of other keys is written; that of any other
    handler finds all that the batch before has written and appended."""

    apart: Literal[True]
