"""Every topic with its partitions and retention. The number of partitions is fixed when a topic is created: timers and keys
are bound to it."""

from dataclasses import dataclass
from enum import StrEnum

__all__ = [
    "CASES_COMMANDS",
    "CASES_EVENTS",
    "ESCALATION_COMMANDS",
    "ESCALATION_EVENTS",
    "GATEWAY_OUTCOMES",
    "INTAKE_COMMANDS",
    "INTAKE_EVENTS",
    "NOTIFICATIONS_COMMANDS",
    "NOTIFICATIONS_EVENTS",
    "PARTITIONS",
    "PLATFORM_CLOCK",
    "PLATFORM_PROGRESS",
    "READS",
    "TOPICS",
    "Service",
    "Topic",
    "dead_letters_of",
]

PARTITIONS = 12
_DAY_MS = 24 * 60 * 60 * 1000


class Service(StrEnum):
    """The services of the product, each with `serve` in its `services.<name>.app`."""

    INTAKE = "intake"
    CASES = "cases"
    ESCALATION = "escalation"
    NOTIFICATIONS = "notifications"
    GATEWAY = "gateway"


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic. `retention_ms` bounds how long personal data stays in transport; -1 keeps for ever. A compacted topic
    carries no personal data."""

    name: str
    partitions: int = PARTITIONS
    retention_ms: int = 7 * _DAY_MS
    compacted: bool = False


INTAKE_COMMANDS = Topic("intake.commands")
INTAKE_EVENTS = Topic("intake.events")
CASES_COMMANDS = Topic("cases.commands")
CASES_EVENTS = Topic("cases.events")
ESCALATION_COMMANDS = Topic("escalation.commands")
ESCALATION_EVENTS = Topic("escalation.events")
NOTIFICATIONS_COMMANDS = Topic("notifications.commands")
NOTIFICATIONS_EVENTS = Topic("notifications.events")
GATEWAY_OUTCOMES = Topic("gateway.outcomes", partitions=1, retention_ms=_DAY_MS)
PLATFORM_CLOCK = Topic("platform.clock", partitions=1, retention_ms=-1, compacted=True)
PLATFORM_PROGRESS = Topic("platform.progress", partitions=1, retention_ms=_DAY_MS)


READS: dict[str, tuple[Topic, ...]] = {
    "intake": (INTAKE_COMMANDS, CASES_EVENTS),
    "cases": (CASES_COMMANDS, INTAKE_EVENTS, NOTIFICATIONS_EVENTS),
    "escalation": (ESCALATION_COMMANDS, INTAKE_EVENTS, CASES_EVENTS),
    "notifications": (NOTIFICATIONS_COMMANDS, INTAKE_EVENTS, CASES_EVENTS),
    "gateway": (INTAKE_EVENTS, CASES_EVENTS, ESCALATION_EVENTS),
}
"""What each service consumes, as one group over all its topics."""


def dead_letters_of(service: str) -> Topic:
    """Records that `service` could not decode, with their original bytes and the reason."""
    return Topic(f"{service}.dlq", partitions=1, retention_ms=7 * _DAY_MS)


TOPICS: tuple[Topic, ...] = (
    INTAKE_COMMANDS,
    INTAKE_EVENTS,
    CASES_COMMANDS,
    CASES_EVENTS,
    ESCALATION_COMMANDS,
    ESCALATION_EVENTS,
    NOTIFICATIONS_COMMANDS,
    NOTIFICATIONS_EVENTS,
    GATEWAY_OUTCOMES,
    PLATFORM_CLOCK,
    PLATFORM_PROGRESS,
    *(dead_letters_of(service) for service in Service),
)
