"""What escalation does with each event: put down the moments that it sets. No key has a document here."""

from collections.abc import Mapping, Sequence
from typing import Any

from chassis.handler import Inbound, Step
from chassis.store import Append
from contracts.topics import READS, Topic
from services.escalation.pages import Page, pages_of, timers_of
from services.escalation.store import PAGES
from services.escalation.timers import Timers

__all__ = ["EscalationHandler"]


class EscalationHandler:
    """Timers of events, gathered into pages a batch at a time."""

    service: str = "escalation"
    topics: tuple[Topic, ...] = READS["escalation"]
    # Without a document nothing is known of earlier events; a repeated one sets the same timers again.
    gapless: frozenset[str] = frozenset()
    ignored: frozenset[str] = frozenset(
        {
            "merchant.changed",
            "fact.recorded",
            "check-in.asked",
            "order.changed",
            "case.message-posted",
            "command.refused",
            "command.repeated",
        }
    )

    def __init__(self, timers: Timers) -> None:
        self._timers = timers

    def collection_of(self, key: str) -> str | None:
        return None

    def load(self, body: dict[str, Any] | None) -> None:
        """There is no state."""

    def dump(self, state: None) -> dict[str, Any]:
        return {}

    async def prepare(self, batch: Sequence[Inbound]) -> None:
        """An event says all that is needed."""

    def apply(self, state: None, inbound: Inbound, context: None) -> Step[None]:
        timers = timers_of(inbound.envelope.message)
        return Step(None, (), tuple(Append(PAGES, {"partition": inbound.partition, "timer": timer}) for timer in timers))

    def pack(self, appends: Sequence[Append], batch: Mapping[int, tuple[str, int]]) -> Sequence[Append]:
        """The batch's timers as pages."""
        pages = pages_of((append.document["partition"], append.document["timer"]) for append in appends)
        return [Append(PAGES, page.document()) for page in pages]

    async def appended(self, appends: Sequence[Append]) -> None:
        await self._timers.added([Page.of(append.document) for append in appends])

    async def assigned(self, partitions: frozenset[int]) -> None:
        await self._timers.assigned(partitions)

    def pending(self) -> Mapping[str, int]:
        return {"timers": self._timers.pending()}
