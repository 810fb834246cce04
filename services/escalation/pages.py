"""Timers by the page: which moments an event sets, and how they are kept until they are due.

A page holds timers of one partition that are due in one hour, with their exact moments. It is written once and deleted
whole when its hour has passed."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from hashlib import blake2b
from typing import Any, Literal, NamedTuple

import orjson

from contracts.base import Message, format_moment, parse_moment
from contracts.cases import CaseEvent, Change, DeadlineReached, ReminderReached
from contracts.envelope import Envelope, Record, encode
from contracts.ids import derived, merchant_key
from contracts.issue_rate import AskIssueRate
from contracts.orders import CheckInReached, MerchantChanged, OrderRegistered, ReturnInfoAged
from contracts.rollouts import ROLLOUTS_KEY, AnnounceRollout, RolloutMade
from contracts.topics import CASES_COMMANDS, ESCALATION_COMMANDS, INTAKE_COMMANDS

__all__ = ["LAST_OF_HOUR", "Page", "Timer", "command_of", "hour_of", "page_of_rate", "pages_of", "timers_of"]

PAGE_ENTRIES = 1_000
"""Most entries of a page: a store's document has a limit, and a page is read whole."""

LAST_OF_HOUR = ":59:59.999Z"

_RETURN_INFO_AGES = timedelta(days=365)

Kind = Literal["check_in", "deadline", "reminder", "announcement", "return_info", "issue_rate"]


class Timer(NamedTuple):
    """A moment at which a service is to be told. `at` is first, as text that sorts as time, so that timers sort by moment.

    `deadline_id` and `generation` are the fence: whoever is told drops what no longer stands. A check-in has none. Of an
    announcement `order_id` is the key of all roll-outs and `deadline_id` the roll-out's; of a merchant's return information
    they are the merchant's key and the moment when it was confirmed. That of an issue rate has the merchant's key alone: told
    too early, the rate is what it was."""

    at: str
    kind: Kind
    order_id: str
    case_id: str = ""
    deadline_id: str = ""
    generation: int = 0


@dataclass(frozen=True, slots=True)
class Page:
    """Timers of a partition that are due in one hour, in order."""

    partition: int
    hour: str
    timers: tuple[Timer, ...]

    def document(self) -> dict[str, Any]:
        """`_id` begins with the hour, so that the pages of a span of time are one range, oldest first, without another
        index. It ends with a digest of the content: writing a page again changes nothing, and no page takes the place of a
        different one, however the records of a batch were cut after a crash."""
        entries = [list(timer[:3]) if timer.kind == "check_in" else list(timer) for timer in self.timers]
        digest = blake2b(orjson.dumps(entries), digest_size=12).hexdigest()
        return {"_id": f"{self.hour}:{self.partition:03d}:{digest}", "partition": self.partition, "entries": entries}

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> "Page":
        """From how it is kept, see `document`."""
        timers = tuple(Timer(*entry) for entry in document["entries"])
        return cls(document["partition"], hour_of(document["_id"]), timers)


def hour_of(moment: str) -> str:
    """The hour of a moment, `2019-07-15T00`; also that of a page's id."""
    return moment[:13]


def timers_of(message: Message) -> Iterator[Timer]:
    """The moments that an event sets: an order's check-in (BP-05), a case's deadlines and the reminders before them, the
    announcement of a roll-out (BP-24), the age of a merchant's return information (CP-05)."""
    if isinstance(message, OrderRegistered):
        check_in_at = message.standing.protection.check_in_at
        if check_in_at is not None:
            yield Timer(format_moment(check_in_at), "check_in", message.order.order_id)
    elif isinstance(message, MerchantChanged):
        merchant = message.merchant
        if merchant.return_policy_url is not None and merchant.return_info_at is not None:
            since = max(merchant.return_info_at, merchant.return_info_reminded_at or merchant.return_info_at)
            key, confirmed = merchant_key(merchant.merchant_id), format_moment(merchant.return_info_at)
            yield Timer(format_moment(since + _RETURN_INFO_AGES), "return_info", key, "", confirmed)
    elif isinstance(message, RolloutMade):
        rollout = message.rollout
        yield Timer(format_moment(rollout.announce_at), "announcement", ROLLOUTS_KEY, "", rollout.rollout_id)
    elif isinstance(message, CaseEvent):
        change: Change | None = getattr(message, "change", None)
        for deadline in change.deadlines_set if change is not None else ():
            fence = (message.order_id, message.case_id, deadline.deadline_id, deadline.generation)
            for remind_at in deadline.remind_at:
                yield Timer(format_moment(remind_at), "reminder", *fence)
            yield Timer(format_moment(deadline.due_at), "deadline", *fence)


def page_of_rate(partition: int, merchant_id: str, day: date) -> Page:
    """The page that has a merchant's issue rate reckoned when a day, one of UTC, begins (OI-11)."""
    at = format_moment(datetime.combine(day, time(), UTC))
    return Page(partition, hour_of(at), (Timer(at, "issue_rate", merchant_key(merchant_id)),))


def pages_of(timers: Iterable[tuple[int, Timer]]) -> list[Page]:
    """Timers with their partitions as pages: by due hour and partition, in order of moments, at most `PAGE_ENTRIES` each."""
    by_page: dict[tuple[str, int], list[Timer]] = {}
    for partition, timer in timers:
        by_page.setdefault((hour_of(timer.at), partition), []).append(timer)
    pages: list[Page] = []
    for (hour, partition), found in sorted(by_page.items()):
        found.sort()
        pages += (
            Page(partition, hour, tuple(found[start : start + PAGE_ENTRIES])) for start in range(0, len(found), PAGE_ENTRIES)
        )
    return pages


def command_of(timer: Timer, recorded_until: datetime | None = None) -> tuple[str, Record]:
    """Topic and record of the command that a timer is. It happens at its moment, and has one id however often it is sent.
    `recorded_until`: up to when the record of outages is complete, for whoever decides over a deadline."""
    at = parse_moment(timer.at)
    topic, message = _message(timer, at, recorded_until)
    envelope = Envelope(
        id=derived("timer", timer.kind, timer.order_id, timer.deadline_id, str(timer.generation), timer.at),
        source="escalation",
        key=timer.order_id,
        time=at,
        message=message,
    )
    return topic, encode(envelope)


def _message(timer: Timer, at: datetime, recorded_until: datetime | None) -> tuple[str, Message]:
    fence: dict[str, Any] = {
        "case_id": timer.case_id,
        "deadline_id": timer.deadline_id,
        "generation": timer.generation,
        "recorded_until": recorded_until,
    }
    match timer.kind:
        case "check_in":
            return INTAKE_COMMANDS.name, CheckInReached(order_id=timer.order_id, due_at=at)
        case "deadline":
            return CASES_COMMANDS.name, DeadlineReached(**fence, due_at=at)
        case "return_info":
            merchant_id = timer.order_id.removeprefix(merchant_key(""))
            return INTAKE_COMMANDS.name, ReturnInfoAged(merchant_id=merchant_id, since=parse_moment(timer.deadline_id))
        case "issue_rate":
            return ESCALATION_COMMANDS.name, AskIssueRate(merchant_id=timer.order_id.removeprefix(merchant_key("")))
        case "announcement":
            return INTAKE_COMMANDS.name, AnnounceRollout(rollout_id=timer.deadline_id)
        case "reminder":
            return CASES_COMMANDS.name, ReminderReached(**fence, remind_at=at)
