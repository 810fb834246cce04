"""What the topics say: events without gaps, one effect per command, and nothing that was asked for and never answered."""

from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, field

from chassis.loop import RawRecord
from recourse.verification.orders import Violation

__all__ = ["EventLog"]

_NO_EFFECT = ("command.refused", "command.repeated")


@dataclass(slots=True)
class EventLog:
    """A topic of events, read from its beginning. A record may come again, as it was: the loops publish at least once."""

    topic: str
    whole: Container[int]
    """The partitions that still have their beginning; in the others a key may begin anywhere."""
    records: int = 0
    _last: dict[str, tuple[int, str]] = field(default_factory=dict)
    _effects: dict[str, str] = field(default_factory=dict)

    def read(self, records: Iterable[RawRecord]) -> Iterator[Violation]:
        """Check more records, in their order."""
        for raw in records:
            self.records += 1
            headers = {name: value.decode(errors="replace") for name, value in raw.headers}
            key, event_id = headers.get("ce_subject", ""), headers.get("ce_id", "")
            if "ce_sequence" in headers:
                yield from self._sequence(raw.partition, key, event_id, int(headers["ce_sequence"]))
            kind = headers.get("ce_type", "").removeprefix("recourse.").rpartition(".v")[0]
            command_id = headers.get("ce_commandid")
            if command_id is not None and headers.get("ce_settles") == "true" and kind not in _NO_EFFECT:
                first = self._effects.setdefault(command_id, event_id)
                if first != event_id:
                    yield Violation("one_effect_per_command", key, f"{self.topic}: {command_id} was settled by two events")

    def _sequence(self, partition: int, key: str, event_id: str, sequence: int) -> Iterator[Violation]:
        last = self._last.get(key)
        if last is None:
            if sequence != 1 and partition in self.whole:
                yield Violation("gapless_sequences", key, f"{self.topic} begins with event {sequence}")
        elif sequence == last[0]:
            if event_id != last[1]:
                yield Violation("one_effect_per_command", key, f"{self.topic} has two events {sequence}")
        elif sequence > last[0] + 1:
            yield Violation("gapless_sequences", key, f"{self.topic}: event {sequence} follows {last[0]}")
        if last is None or sequence > last[0]:
            self._last[key] = (sequence, event_id)
