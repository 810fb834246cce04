"""Refunds of the platform on the real broker and store: paid by the sandbox's provider, each once, whatever happens to whom."""

import asyncio
import dataclasses
import json
import urllib.request
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from chassis.kafka import KafkaPublisher
from contracts.base import format_moment
from contracts.envelope import Envelope
from contracts.topics import CASES_COMMANDS, CASES_EVENTS, INTAKE_EVENTS
from deploy.local import Stack
from deploy.local.payments import PaymentBook, serve_http
from deploy.local.ports import free_port
from engine.casefile import open_reservations
from services.cases.app import serve
from services.cases.provider import HttpPaymentProvider, PaymentOrder, Unknown
from services.cases.store import PaymentStore
from tests.component.cases.test_cases import consistent, file_of
from tests.component.running import Reader, Running, own_namespace, reading
from tests.unit.cases.reporting import REPORTED, Reported, actor


class Till:
    """The sandbox's provider, which can go away and come back with what it paid."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.port = free_port()
        self.open()

    def open(self) -> None:
        self.book = PaymentBook(self._folder)
        self._server = serve_http(self.book, self.port)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self.book.close()

    def paid(self) -> dict[str, tuple[str, int]]:
        """What was paid by decision, and how often it was asked for."""
        found = self.book.payments(after=0, limit=999, order_id=None, decision_id=None)
        assert len({one.decision_id for one in found}) == len(found)
        return {one.decision_id: (one.amount, one.requests) for one in found}


@pytest.fixture
async def till(tmp_path: Path) -> AsyncIterator[Till]:
    made = Till(tmp_path)
    yield made
    made.close()


@pytest.fixture
async def running(stack: Stack, till: Till) -> AsyncIterator[Running]:
    async with own_namespace(stack) as running:
        running.settings = dataclasses.replace(running.settings, payments_url=f"http://127.0.0.1:{till.port}")
        await running.tick(REPORTED)
        yield running


@pytest.fixture
async def events(running: Running) -> AsyncIterator[Reader]:
    async with reading(running, CASES_EVENTS) as reader:
        yield reader


def decided(order: Reported, amount: str = "100.00") -> tuple[Envelope, Envelope]:
    """A report, and the platform's decision on it."""
    report = order.report(reason="other")
    money = {"amount": amount, "currency": "EUR"}
    outcome = "refund" if amount == "100.00" else "partial_refund"
    decide = order.act("platform", "decide", REPORTED, outcome=outcome, message="So it is.", refund_amount=money)
    return report, decide


async def decide(running: Running, events: Reader, order: Reported, amount: str = "100.00") -> None:
    report, decision = decided(order, amount)
    await running.send(INTAKE_EVENTS, report)
    await events.answer_to(str(report.command_id))
    await running.send(CASES_COMMANDS, decision)
    await events.answer_to(decision.id)


async def executed(events: Reader, order: Reported, timeout_s: float = 20.0) -> Envelope:
    """The event that says that the order's refund has flowed."""

    def told(envelopes: list[Envelope]) -> bool:
        return any(one.message.kind == "case.refund-executed" and one.key == order.order_id for one in envelopes)

    found = await events.until(told, timeout_s)
    return next(one for one in found if one.message.kind == "case.refund-executed" and one.key == order.order_id)


async def payment_of(running: Running, order: Reported) -> dict[str, Any]:
    found = await running.database("cases")["payments"].find({"order.order_id": order.order_id}).to_list(None)
    (payment,) = found
    return payment


async def paid_by_hand(running: Running, events: Reader, order: Reported) -> dict[str, Any]:
    """An agent says that the order's refund was paid by hand; returns what is kept of the payment."""
    payment = await payment_of(running, order)
    told = order.fact("refunded", REPORTED, amount=payment["order"]["amount"], external_id=payment["_id"])
    fact = told.message.fact.model_copy(update={"source": actor("platform")})  # type: ignore[attr-defined]
    await running.send(INTAKE_EVENTS, structs.replace(told, message=told.message.model_copy(update={"fact": fact})))
    await events.until(lambda all_: any((one.message.kind, one.key) == ("case.fact-attached", order.order_id) for one in all_))
    return payment


async def until(done: Callable[[], Any], timeout_s: float = 20.0) -> Any:
    async with asyncio.timeout(timeout_s):
        while not (found := await done()):  # noqa: ASYNC110 - a store tells nobody
            await asyncio.sleep(0.01)
        return found


async def one_payment(running: Running, events: Reader, till: Till, order: Reported, amount: str = "100.00") -> None:
    """One payment at the provider, one executed entry with its reference, nothing left to flow; stores and topic agree."""
    payment = await payment_of(running, order)
    assert till.paid()[payment["_id"]][0] == amount
    file = await file_of(running, order.order_id)
    entries = [entry for entry in file.ledger if entry.kind == "executed"]
    assert [(format(entry.amount.amount, "f"), entry.executor, entry.confirmed_by) for entry in entries] == [
        (amount, "platform", "provider")
    ]
    paid = till.book.find(payment["_id"])
    assert paid is not None
    assert entries[0].reference == paid.reference == payment["reference"]
    assert entries[0].decision_id == payment["_id"]
    assert open_reservations(file.ledger) == ()
    told = await consistent(running, events.envelopes, order.order_id)
    assert [entry["type"] for entry in told].count("case.refund-executed") == 1


@pytest.mark.rule("NX-06")
async def test_a_decision_is_paid_and_the_ledger_says_so(running: Running, events: Reader, till: Till) -> None:
    running.start(serve, "cases-1")
    order = Reported()
    await decide(running, events, order, "40.00")
    told = await executed(events, order)
    assert told.sequence is not None
    assert not told.settles
    await until(lambda: _marked(running, order))
    await one_payment(running, events, till, order, "40.00")


async def _marked(running: Running, order: Reported) -> bool:
    return (await payment_of(running, order))["state"] == "executed"


@pytest.mark.rule("NX-06")
async def test_a_refusal_is_tried_again_by_the_test_clock(running: Running, events: Reader, till: Till) -> None:
    till.book.behave("fail")
    running.start(serve, "cases-1")
    order = Reported()
    await decide(running, events, order)

    async def postponed() -> bool:
        return "retry_at" in await payment_of(running, order)

    await until(postponed)
    assert till.paid() == {}
    (reservation,) = open_reservations((await file_of(running, order.order_id)).ledger)
    assert reservation.executor == "platform"
    till.book.behave("ok")
    await running.tick(REPORTED + timedelta(seconds=59))
    await asyncio.sleep(0.2)
    assert till.paid() == {}
    await running.tick(REPORTED + timedelta(minutes=1))
    await executed(events, order)
    await until(lambda: _marked(running, order))
    await one_payment(running, events, till, order)


@pytest.mark.rule("NX-06")
async def test_a_late_payment_is_confirmed_when_it_has_gone_through(running: Running, events: Reader, till: Till) -> None:
    till.book.behave("late")
    running.start(serve, "cases-1")
    order = Reported()
    await decide(running, events, order)

    async def postponed() -> bool:
        return "retry_at" in await payment_of(running, order)

    await until(postponed)
    assert len(open_reservations((await file_of(running, order.order_id)).ledger)) == 1
    await running.tick(REPORTED + timedelta(minutes=1))
    told = await executed(events, order)
    assert told.time == REPORTED + timedelta(minutes=1)
    await until(lambda: _marked(running, order))
    await one_payment(running, events, till, order)


@pytest.mark.rule("NX-06")
@pytest.mark.parametrize("mode", ["ok", "timeout"])
@pytest.mark.parametrize("place", ["before the provider is asked", "before the confirmation", "before the mark"])
async def test_a_crash_anywhere_is_one_payment_and_one_entry(
    running: Running, events: Reader, till: Till, monkeypatch: pytest.MonkeyPatch, place: str, mode: str
) -> None:
    till.book.behave(mode)
    order, blows = Reported(), 0
    publish, begin, settle = KafkaPublisher.publish, PaymentStore.begin, PaymentStore.settle

    def die_once() -> None:
        nonlocal blows
        blows += 1
        if blows == 1:
            raise ConnectionRefusedError(place)

    async def dying_publish(self: KafkaPublisher, records: Any) -> None:
        confirms = self is not running.publisher and any(topic == CASES_COMMANDS.name for topic, _ in records)
        if place == "before the confirmation" and confirms:
            die_once()
        await publish(self, records)

    async def dying_begin(self: PaymentStore, payment_ids: Any, now: Any) -> Any:
        found = await begin(self, payment_ids, now)
        if place == "before the provider is asked" and found:
            die_once()
        return found

    async def dying_settle(self: PaymentStore, paid: Any) -> None:
        if place == "before the mark":
            die_once()
        await settle(self, paid)

    monkeypatch.setattr(KafkaPublisher, "publish", dying_publish)
    monkeypatch.setattr(PaymentStore, "begin", dying_begin)
    monkeypatch.setattr(PaymentStore, "settle", dying_settle)
    running.start(serve, "cases-1")
    report, decision = decided(order)
    await running.send(INTAKE_EVENTS, report)
    await events.answer_to(str(report.command_id))
    await running.send(CASES_COMMANDS, decision)
    task, _ = running._services.pop("cases-1")
    with pytest.raises(ConnectionRefusedError, match=place):
        await asyncio.wait_for(task, 30)
    running.start(serve, "cases-2")
    await executed(events, order, 30)
    await until(lambda: _marked(running, order))
    await one_payment(running, events, till, order)
    assert blows <= 2


@pytest.mark.rule("NX-06")
async def test_a_provider_that_dies_and_comes_back(running: Running, events: Reader, till: Till) -> None:
    till.book.behave("timeout")
    running.start(serve, "cases-1")
    orders = [Reported(str(number)) for number in range(12)]
    await asyncio.gather(*(decide(running, events, order) for order in orders))
    till.close()
    await asyncio.sleep(0.3)
    till.open()
    await asyncio.gather(*(executed(events, order, 60) for order in orders))
    for order in orders:
        await until(lambda order=order: _marked(running, order))
        await one_payment(running, events, till, order)


@pytest.mark.rule("NX-06")
async def test_a_hundred_tries_of_a_provider_that_times_out_and_answers_late(
    running: Running, events: Reader, till: Till, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What must be seen: one payment, one ledger entry. Each try is a new owner that knows of no earlier one."""
    monkeypatch.setattr("deploy.local.payments.SILENT_S", 0.02)
    till.book.behave("fail")
    running.start(serve, "cases-0", static=False)
    order = Reported()
    await decide(running, events, order)

    async def postponed() -> bool:
        return "retry_at" in await payment_of(running, order)

    await until(postponed)
    payments = running.database("cases")["payments"]
    payment = await payment_of(running, order)
    now = REPORTED
    for number in range(100):
        till.book.behave(("timeout", "late", "ok")[number % 3])
        # As after a crash at any moment: to be paid, and asked for as if nobody ever had.
        again = {"$set": {"state": "due", "tries": 0}, "$unset": {"retry_at": "", "reference": "", "executed_at": ""}}
        await payments.update_one({"_id": payment["_id"]}, again)
        if number % 20 == 0:
            await running.stop(f"cases-{number // 20}")
            running.start(serve, f"cases-{number // 20 + 1}")
        await running.send(CASES_COMMANDS, order.write("buyer", "?", now, f"nudge {number}"))
        await events.answer_to(f"nudge {number}")
        now += timedelta(minutes=1)
        await running.tick(now)
    await running.stop("cases-5")
    running.start(serve, "cases-6")
    await executed(events, order)
    await until(lambda: _marked(running, order))
    await one_payment(running, events, till, order)
    assert till.paid()[payment["_id"]][1] > 1


@pytest.mark.rule("NX-06")
@pytest.mark.parametrize("mode", ["fail", "late"])
async def test_what_was_paid_by_hand_is_not_paid_again(running: Running, events: Reader, till: Till, mode: str) -> None:
    """An agent pays, and says so with a fact under the decision's id. The provider has refused for days; or it was at it, and
    then money has flowed twice, which is recorded and flagged."""
    till.book.behave(mode)
    running.start(serve, "cases-1")
    order = Reported()
    await decide(running, events, order)

    async def postponed() -> bool:
        return "retry_at" in await payment_of(running, order)

    await until(postponed)
    payment = await paid_by_hand(running, events, order)
    till.book.behave("ok")
    await running.tick(REPORTED + timedelta(days=3))

    async def ended() -> bool:
        return (await payment_of(running, order))["state"] == ("by_hand" if mode == "fail" else "executed")

    await until(ended)
    if mode == "late":
        await executed(events, order)
    ledger = (await file_of(running, order.order_id)).ledger
    by_hand, *twice = [entry for entry in ledger if entry.kind == "executed"]
    assert (by_hand.confirmed_by, by_hand.decision_id, by_hand.flags) == ("fact", payment["_id"], ())
    assert [(entry.confirmed_by, entry.flags) for entry in twice] == [("provider", ("over_refund",))] * (mode == "late")
    assert len(till.paid()) == len(twice)
    assert open_reservations(ledger) == ()


@pytest.mark.rule("NX-06")
async def test_a_request_without_an_answer_may_be_executed_after_it_was_paid_by_hand(
    running: Running, events: Reader, till: Till, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One look at a provider that has not heard of it is not the end: what comes of the request is recorded and flagged."""
    held: list[Callable[[], Any]] = []

    async def on_its_way(self: HttpPaymentProvider, asked: PaymentOrder) -> Unknown:
        held.append(lambda: refund(self, asked))
        return Unknown("no answer")

    refund = HttpPaymentProvider.refund
    monkeypatch.setattr(HttpPaymentProvider, "refund", on_its_way)
    running.start(serve, "cases-1")
    arriving, lost = Reported("arriving"), Reported("lost")
    for order in (arriving, lost):
        await decide(running, events, order)

        async def tried(times: int, order: Reported = order) -> bool:
            payment = await payment_of(running, order)
            return payment["tries"] == times and "retry_at" in payment

        await until(lambda tried=tried: tried(1))
        await paid_by_hand(running, events, order)
    await running.tick(REPORTED + timedelta(minutes=1))

    async def looked() -> bool:
        payments = [await payment_of(running, order) for order in (arriving, lost)]
        later = format_moment(REPORTED + timedelta(minutes=6))
        return all(payment["retry_at"] == later and payment["state"] == "due" for payment in payments)

    await until(looked)
    await held[0]()
    await running.tick(REPORTED + timedelta(hours=1))
    await executed(events, arriving)
    await until(lambda: _marked(running, arriving))

    async def ended() -> bool:
        return (await payment_of(running, lost))["state"] == "by_hand"

    await until(ended)
    ledger = (await file_of(running, arriving.order_id)).ledger
    assert [(entry.confirmed_by, entry.flags) for entry in ledger if entry.kind == "executed"] == [
        ("fact", ()),
        ("provider", ("over_refund",)),
    ]
    assert len(held) == 2


async def test_without_a_provider_health_says_what_waits(running: Running, events: Reader, till: Till) -> None:
    with_provider = running.settings
    port = free_port()
    running.settings = dataclasses.replace(with_provider, payments_url="", health_port=port)
    running.start(serve, "cases-1")
    order = Reported()
    await decide(running, events, order)

    def health() -> dict[str, Any]:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
            return json.load(answer)

    told = await asyncio.to_thread(health)
    assert told["status"] == "ok"
    assert "RECOURSE_PAYMENTS_URL" in told["notes"][0]
    assert len(open_reservations((await file_of(running, order.order_id)).ledger)) == 1
    await running.stop("cases-1")
    running.settings = with_provider
    running.start(serve, "cases-2")
    await executed(events, order)
    await until(lambda: _marked(running, order))
    await one_payment(running, events, till, order)
