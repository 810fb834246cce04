"""Verifying everything: every order in every service, every topic, every notice, every timer that is to come."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from chassis.loop import PARKED
from chassis.settings import Settings
from chassis.store import Database, connect
from contracts.base import format_moment
from contracts.envelope import Unreadable, decode
from contracts.platform import ClockTick
from contracts.topics import (
    CASES_COMMANDS,
    CASES_EVENTS,
    ESCALATION_EVENTS,
    INTAKE_COMMANDS,
    INTAKE_EVENTS,
    NOTIFICATIONS_EVENTS,
    PLATFORM_CLOCK,
    Service,
    dead_letters_of,
)
from deploy.local.payments import FILE, PaymentBook
from engine.programmes import Programmes
from recourse.verification.orders import OrderView, Violation, check_order
from recourse.verification.reading import Log, grouped, in_pages, records_of, those
from recourse.verification.topics import EventLog

__all__ = ["Verifier", "verify_all"]

_SHOWN = 200
_OUTCOMES_KEPT_MS = 47 * 60 * 60 * 1000
_SECOND_LOOKS = 3
_SECOND_LOOK_S = 1.0
_HEAVY: tuple[str, ...] = ("effects", "marks")
_END_STATES = ("sent", "failed", "addressed")


async def verify_all(settings: Settings, paid: Path | None = None) -> dict[str, Any]:
    """Check all invariants on the stack that `settings` names; `paid` is the folder of a sandbox's payment provider.

    Returns `{checked: {what: count}, violations: [{check, of, detail}], now}`; of many violations the first 200, and `more`."""
    client = connect(settings)
    try:
        return await Verifier(settings, client, paid).run()
    finally:
        client.close()


class Verifier:
    """One pass over all stores and topics."""

    def __init__(self, settings: Settings, client: Any, paid: Path | None = None) -> None:
        """Raises ProgrammeError where the operator's own programmes cannot be read."""
        self._settings = settings
        self._paid = paid
        self._programmes = Programmes.shipped_and(settings.programmes)
        self._databases: dict[str, Database] = {service: client[settings.prefixed(service)] for service in Service}
        self._checked: Counter[str] = Counter()
        self._violations: list[Violation] = []
        self._timers: set[tuple[Any, ...]] = set()
        """What the timer pages must still hold."""
        self._now = ""

    async def run(self) -> dict[str, Any]:
        self._now = await self._clock()
        doubtful: list[str] = []
        async for page in in_pages(self._databases["intake"]["orders"], leave_out=_HEAVY):
            for view in await self._views(page):
                found = list(check_order(view, self._now, self._programmes))
                self._count(view)
                if found:
                    doubtful.append(view.order_id)
                self._expect_timers(view)
        await self._look_again(doubtful)
        await self._orphans()
        await self._merchants()
        await self._payments()
        await self._caps()
        await self._event_topics()
        await self._commands()
        await self._acknowledged()
        await self._notices()
        await self._mails()
        await self._timer_pages()
        await self._set_aside()
        shown = [{"check": one.check, "of": one.of, "detail": one.detail} for one in self._violations[:_SHOWN]]
        more = len(self._violations) - len(shown)
        return {
            "checked": dict(sorted(self._checked.items())),
            "violations": shown,
            "now": self._now,
            **({"more": more} if more else {}),
        }

    def _found(self, check: str, of: str, detail: str) -> None:
        self._violations.append(Violation(check, of, detail))

    async def _clock(self) -> str:
        """The sandbox's time; the real one where no sandbox ever ran here."""
        now: str | None = None
        async for log in records_of(self._settings, [PLATFORM_CLOCK]):
            async for records in log.records:
                for raw, _ in records:
                    try:
                        message = decode(raw.value, raw.headers).message
                    except Unreadable:
                        continue
                    if isinstance(message, ClockTick):
                        now = format_moment(message.now)
        if now is not None:
            return now
        clock = await self._databases["gateway"]["sandbox"].find_one({"_id": "clock"})
        return str(clock["now"]) if clock is not None else format_moment(datetime.now(UTC))

    # Orders

    async def _views(self, page: Sequence[dict[str, Any]]) -> list[OrderView]:
        """Everything about the orders of a page."""
        gateway, cases = self._databases["gateway"], self._databases["cases"]
        ids = [document["_id"] for document in page]
        without = dict.fromkeys(_HEAVY, 0)
        read, files = await asyncio.gather(
            those(gateway["orders"], "_id", ids, without), those(cases["files"], "_id", ids, without)
        )
        read_by_id = {document["_id"]: document for document in read}
        files_by_id = {document["_id"]: document for document in files}
        case_ids = {case_id for document in files for case_id in document["body"]["cases"]}
        case_ids |= {span["case_id"] for document in page for span in document["body"]["cases"]}
        decisions = {
            entry["decision_id"]
            for document in files
            for entry in document["body"]["ledger"]
            if entry.get("executor") == "platform" and entry.get("decision_id")
        }
        history, read_history, messages, read_messages, payments = await asyncio.gather(
            those(cases["history"], "case_id", case_ids),
            those(gateway["history"], "case_id", case_ids, {"data": 0}),
            those(cases["messages"], "case_id", case_ids, {"message_id": 1, "order_id": 1}),
            those(gateway["messages"], "case_id", case_ids, {"message_id": 1, "order_id": 1}),
            those(cases["payments"], "_id", decisions),
        )
        payments_by_order: dict[str, list[dict[str, Any]]] = {}
        for payment in payments:
            payments_by_order.setdefault(payment["order"]["order_id"], []).append(payment)
        by_order = [_by_order(history), _by_order(read_history)]
        threads = [grouped(documents, "order_id") for documents in (messages, read_messages)]
        return [
            OrderView(
                order_id=document["_id"],
                intake=document,
                gateway=read_by_id.get(document["_id"]),
                cases=files_by_id.get(document["_id"]),
                history=by_order[0].get(document["_id"][4:], ()),
                read_history=by_order[1].get(document["_id"][4:], ()),
                messages=frozenset(message["message_id"] for message in threads[0].get(document["_id"], ())),
                read_messages=frozenset(message["message_id"] for message in threads[1].get(document["_id"], ())),
                payments=payments_by_order.get(document["_id"], ()),
            )
            for document in page
        ]

    def _count(self, view: OrderView) -> None:
        self._checked["orders"] += 1
        self._checked["history_events"] += len(view.history)
        self._checked["messages"] += len(view.messages)
        if view.cases is not None:
            self._checked["cases"] += len(view.cases["body"]["cases"])
            self._checked["ledger_entries"] += len(view.cases["body"]["ledger"])

    async def _look_again(self, order_ids: Sequence[str]) -> None:
        """On a stack that is at work one service may just be behind another: what is still wrong a moment later is wrong."""
        left = list(order_ids)
        for attempt in range(_SECOND_LOOKS):
            last = attempt == _SECOND_LOOKS - 1
            if left:
                await asyncio.sleep(_SECOND_LOOK_S)
            wrong: list[str] = []
            for begin in range(0, len(left), 500):
                chunk = left[begin : begin + 500]
                documents = await those(self._databases["intake"]["orders"], "_id", chunk, dict.fromkeys(_HEAVY, 0))
                for view in await self._views(documents):
                    found = list(check_order(view, self._now, self._programmes))
                    if found:
                        wrong.append(view.order_id)
                    if last:
                        self._violations += found
            left = wrong

    def _expect_timers(self, view: OrderView) -> None:
        if view.intake is None:
            return
        check_in_at = view.intake["body"]["standing"]["protection"].get("check_in_at")
        if check_in_at is not None and check_in_at > self._now:
            self._timers.add((check_in_at, "check_in", view.order_id))
        for case_id, case in () if view.cases is None else view.cases["body"]["cases"].items():
            for deadline in case["deadlines"]:
                fence = (view.order_id, case_id, deadline["deadline_id"], deadline["generation"])
                self._timers.update((at, "reminder", *fence) for at in deadline["remind_at"] if at > self._now)
                if deadline["due_at"] > self._now:
                    self._timers.add((deadline["due_at"], "deadline", *fence))

    async def _orphans(self) -> None:
        """Orders that another service knows and intake does not."""
        for service, collection in (("gateway", "orders"), ("cases", "files")):
            async for ids in _ids(self._databases[service], collection):
                known = await those(self._databases["intake"]["orders"], "_id", ids, {"_id": 1})
                for order_id in set(ids) - {document["_id"] for document in known}:
                    self._found("no_order_lost", order_id, f"{service} knows it, intake does not")

    async def _merchants(self) -> None:
        async for page in in_pages(self._databases["intake"]["merchants"], leave_out=_HEAVY):
            ids = [document["_id"] for document in page]
            shown = {one["_id"]: one for one in await those(self._databases["gateway"]["merchants"], "_id", ids)}
            for document in page:
                self._checked["merchants"] += 1
                read = shown.get(document["_id"])
                if read is None or read["body"].get("merchant") != document["body"]["merchant"]:
                    self._found("services_agree", document["_id"], "intake's merchant is not the one that is shown")

    async def _payments(self) -> None:
        """What is or was to be paid was decided, and a sandbox's provider has paid just what is marked as executed."""
        cases = self._databases["cases"]
        book = PaymentBook(self._paid) if self._paid is not None and (self._paid / FILE).exists() else None
        async for page in in_pages(cases["payments"]):
            self._checked["payments"] += len(page)
            orders = {payment["order"]["order_id"] for payment in page}
            files = {one["_id"]: one for one in await those(cases["files"], "_id", orders, {"body": 1})}
            for payment in page:
                ledger = files.get(payment["order"]["order_id"], {"body": {"ledger": ()}})["body"]["ledger"]
                if not any(entry.get("decision_id") == payment["_id"] for entry in ledger):
                    self._found("refunds_paid_once", payment["_id"], "it is to be paid and nobody decided it")
                if book is not None and payment["state"] == "executed":
                    paid = book.find(payment["_id"])
                    amount = payment["order"]["amount"]
                    told = (payment["reference"], amount["amount"], amount["currency"])
                    if paid is None or (paid.reference, paid.amount, paid.currency) != told:
                        self._found("refunds_paid_once", payment["_id"], f"marked as {told}, the provider paid {paid}")
        after = 0
        while book is not None and (page := book.payments(after=after, limit=500, order_id=None, decision_id=None)):
            known = {one["_id"] for one in await those(cases["payments"], "_id", {one.decision_id for one in page}, {"_id": 1})}
            for paid in page:
                if paid.decision_id not in known:
                    self._found("refunds_paid_once", paid.decision_id, "the provider paid it and nobody knows of it")
            after = page[-1].number
        if book is not None:
            book.close()

    # Topics

    async def _caps(self) -> None:
        """What the rules' counters say was given is what was put down or is remembered, each order once (CP-07)."""
        escalation = self._databases["escalation"]
        given: dict[str, set[str]] = {}
        async for page in in_pages(escalation["given"], size=2_000):
            for refund in page:
                given.setdefault(refund["slots"][0].partition("|")[0], set()).add(refund["_id"])
        async for page in in_pages(escalation["caps"]):
            for counter in page:
                orders = given.pop(counter["_id"], set()) | {each["_id"] for each in counter["latest"]}
                self._checked["automatic_refunds"] += len(orders)
                if len(orders) != counter["total"]:
                    self._found("caps_counted_once", counter["_id"], f"it counts {counter['total']}, given were {len(orders)}")
        for counter_id in given:
            self._found("caps_counted_once", counter_id, "refunds were given that no counter counts")

    async def _event_topics(self) -> None:
        async for log in records_of(self._settings, [INTAKE_EVENTS, CASES_EVENTS, ESCALATION_EVENTS, NOTIFICATIONS_EVENTS]):
            events = EventLog(log.topic.name, log.whole)
            async for records in log.records:
                self._violations += events.read(raw for raw, _ in records)
            self._checked["events"] += events.records

    async def _commands(self) -> None:
        """Every command that a gateway published has an outcome."""
        outcomes = self._databases["gateway"]["commands"]
        since = time.time() * 1000 - _OUTCOMES_KEPT_MS
        async for log in records_of(self._settings, [INTAKE_COMMANDS, CASES_COMMANDS]):
            async for asked in _asked(log, since):
                self._checked["commands"] += len(asked)
                answered = {one["_id"] for one in await those(outcomes, "_id", asked, {"_id": 1})}
                for command_id in asked.keys() - answered:
                    self._found("no_command_lost", asked[command_id], f"{log.topic.name}: {command_id} has no outcome")

    async def _acknowledged(self) -> None:
        """What a caller was told is done is there."""
        intake, cases = self._databases["intake"], self._databases["cases"]
        async for page in in_pages(self._databases["gateway"]["commands"], size=2_000):
            done = [outcome for outcome in page if outcome["status"] == "done"]
            self._checked["acknowledged"] += len(done)
            orders = {outcome["key"] for outcome in done if outcome["key"].startswith("ord_")}
            kept = {one["_id"] for one in await those(intake["orders"], "_id", orders, {"_id": 1})}
            for order_id in orders - kept:
                self._found("no_order_lost", order_id, "a caller was told that it was done; intake has no such order")
            case_ids = {outcome["case_id"] for outcome in done if outcome.get("case_id")}
            begun = {one["case_id"] for one in await those(cases["history"], "case_id", case_ids, {"case_id": 1})}
            for case_id in case_ids - begun:
                self._found("no_case_lost", case_id, "a caller was told of it; cases has no history of it")

    # Notices, timers, and what waits for an operator

    async def _notices(self) -> None:
        """Every notice has an end, and every one about a case stands in its history just once; one that was sent may have come
        back later, which stands there too."""
        history = self._databases["cases"]["history"]
        async for page in in_pages(self._databases["notifications"]["notices"], leave_out=("letter",)):
            self._checked["notices"] += len(page)
            for notice in page:
                if notice["state"] not in _END_STATES and not notice.get("retry_at"):
                    self._found(
                        "notice_has_an_end", notice["_id"], f"{notice['kind']} to {notice['party']} is {notice['state']}"
                    )
            ended = {one["_id"]: one for one in page if one.get("case_id") and one["state"] in ("sent", "failed")}
            case_ids = {one["case_id"] for one in ended.values()}
            wanted = {"case_id": {"$in": list(case_ids)}, "type": "case.notice-recorded"}
            entries = await history.find(wanted, {"data.notice": 1}).to_list(None) if case_ids else []
            notices = [entry["data"]["notice"] for entry in entries]
            told = Counter((notice["notice_id"], notice["state"]) for notice in notices)
            for notice_id, notice in ended.items():
                times = told[notice_id, notice["state"]]
                if times != 1 or told[notice_id, "failed"] > 1:
                    times = f"the history of {notice['case_id']} has it {times} times"
                    detail = f"{notice['kind']} was {notice['state']}; {times}"
                    self._found("one_effect_per_command", notice_id, detail)

    async def _mails(self) -> None:
        """Every mail that was acknowledged is where it belongs, and what became a message is in its thread (CP-04)."""
        gateway = self._databases["gateway"]
        in_hand = format_moment(datetime.now(UTC) - timedelta(minutes=1))
        async for page in in_pages(gateway["mails"]):
            self._checked["mails_taken"] += len(page)
            written = {mail["message_id"]: mail["_id"] for mail in page if mail.get("message_id")}
            kept = {one["_id"] for one in await those(gateway["messages"], "_id", written, {"_id": 1})}
            for message_id in written.keys() - kept:
                self._found("no_mail_lost", written[message_id], f"it became {message_id}, which is in no thread")
            for mail in page:
                if mail["state"] != "done" and mail["arrived_at"] < in_hand:
                    self._found("no_mail_lost", mail["_id"], f"it is {mail['state']} since {mail['arrived_at']}")

    async def _timer_pages(self) -> None:
        self._checked["timers"] = len(self._timers)
        async for page in in_pages(self._databases["escalation"]["pages"], size=100):
            for document in page:
                self._timers.difference_update(tuple(entry) for entry in document["entries"])
        for timer in sorted(self._timers)[:_SHOWN]:
            self._found("no_timer_lost", str(timer[2]), f"nothing will fire {timer[1]} at {timer[0]}")

    async def _set_aside(self) -> None:
        for service, database in self._databases.items():
            parked = await database[PARKED].distinct("key")
            self._checked["parked_keys"] += len(parked)
            for key in parked[:_SHOWN]:
                self._found(
                    "nothing_parked", key, f"{service} has records of it that wait for an operator: `recourse dlq list`"
                )
        self._checked["dead_letters"] += await self._dead_letters()

    async def _dead_letters(self) -> int:
        consumer = AIOKafkaConsumer(bootstrap_servers=self._settings.kafka_bootstrap, enable_auto_commit=False)
        await consumer.start()
        try:
            existing = await consumer.topics()
            names = [self._settings.prefixed(dead_letters_of(service).name) for service in Service]
            partitions = [TopicPartition(name, 0) for name in names if name in existing]
            if not partitions:
                return 0
            begins, ends = await consumer.beginning_offsets(partitions), await consumer.end_offsets(partitions)
            return sum(ends[partition] - begins[partition] for partition in partitions)
        finally:
            await consumer.stop()


def _by_order(history: Iterable[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Events by the 32 hex digits of their order, which every case id contains."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for event in history:
        groups.setdefault(event["case_id"][4:36], []).append(event)
    return groups


async def _ids(database: Database, collection: str) -> AsyncIterator[list[str]]:
    last = ""
    while True:
        found = await database[collection].find({"_id": {"$gt": last}}, {"_id": 1}).sort("_id", 1).limit(2_000).to_list(None)
        if not found:
            return
        yield [document["_id"] for document in found]
        last = found[-1]["_id"]


async def _asked(log: Log, since_ms: float) -> AsyncIterator[dict[str, str]]:
    """The commands of gateways in a log, with their keys, as far as their outcomes are still kept."""
    async for records in log.records:
        asked: dict[str, str] = {}
        for raw, written_ms in records:
            headers = {name: value.decode(errors="replace") for name, value in raw.headers}
            if headers.get("ce_source") == "gateway" and written_ms >= since_ms:
                asked[headers.get("ce_id", "")] = headers.get("ce_subject", "")
        if asked:
            yield asked
