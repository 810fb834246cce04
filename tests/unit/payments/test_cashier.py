"""The cashier: one payment and one confirmation for each decision, whatever the provider does and whoever dies."""

import asyncio
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from chassis.clock import SandboxClock
from contracts.base import format_moment
from contracts.cases import ConfirmExecution
from contracts.envelope import Record, decode
from contracts.ids import child_id, order_id_of
from contracts.platform import ClockTick
from services.cases import cashier as module
from services.cases.cashier import RETRY_AFTER, Cashier
from services.cases.provider import PaymentOrder, Refused, Unknown
from tests.unit.payments.in_memory import InMemoryProvider

NOON = datetime(2021, 3, 1, 12, 0, tzinfo=UTC)
ORDER = order_id_of("shop", "1")


def payment(name: str = "1", partition: int = 3) -> dict[str, Any]:
    decision_id = child_id("dec", ORDER, name)
    return {
        "_id": decision_id,
        "partition": partition,
        "state": "due",
        "case_id": f"cas_{ORDER[4:]}_1",
        "created_at": format_moment(NOON),
        "tries": 0,
        "order": {
            "decision_id": decision_id,
            "amount": {"amount": "80.00", "currency": "EUR"},
            "order_id": ORDER,
            "order_number": "1",
            "merchant_id": "shop",
        },
    }


class Shelf:
    """The store of payments, in memory: what survives a process."""

    def __init__(self) -> None:
        self.kept: dict[str, dict[str, Any]] = {}
        self.over: dict[str, str] = {}
        """Whose reservation no longer stands, and what becomes of these."""

    async def unpaid(self, partitions: Collection[int]) -> list[dict[str, Any]]:
        return [dict(one) for one in self.kept.values() if one["state"] == "due" and one["partition"] in partitions]

    async def begin(self, payment_ids: Sequence[str], now: datetime) -> list[dict[str, Any]]:
        for one in payment_ids:
            if one in self.over and not self.kept[one]["tries"]:
                await self.end(one, self.over[one])
        found = [{**self.kept[one], "ends_as": self.over.get(one)} for one in payment_ids if self.kept[one]["state"] == "due"]
        for one in found:
            self.kept[one["_id"]]["tries"] += 1
            await self.ask_again(one, now)
        return found

    async def ask_again(self, payment: Mapping[str, Any], now: datetime) -> str | None:
        if payment["_id"] not in self.over:
            self.kept[payment["_id"]]["tried_at"] = format_moment(now)
        return self.over.get(payment["_id"])

    async def end(self, payment_id: str, state: str) -> None:
        self.kept[payment_id]["state"] = state

    async def settle(self, paid: Mapping[str, tuple[str, datetime]]) -> None:
        for payment_id, (reference, at) in paid.items():
            self.kept[payment_id] |= {"state": "executed", "reference": reference, "executed_at": format_moment(at)}

    async def postpone(self, payment_id: str, retry_at: datetime, reply: Refused | Unknown) -> None:
        if self.kept[payment_id]["state"] == "due":
            self.kept[payment_id] |= {"retry_at": format_moment(retry_at), "last_reply": reply.detail}
            if isinstance(reply, Refused):
                del self.kept[payment_id]["tried_at"]


class Broker:
    """Takes what is published; `fail` makes a process die there."""

    def __init__(self) -> None:
        self.told: list[tuple[str, ConfirmExecution]] = []
        self.fail = False

    async def publish(self, records: Sequence[tuple[str, Record]]) -> None:
        for topic, record in records:
            assert topic == "cases.commands"
            envelope = decode(record.value, record.headers)
            assert isinstance(envelope.message, ConfirmExecution)
            assert envelope.key == ORDER
            self.told.append((envelope.id, envelope.message))
        if self.fail:
            raise ConnectionError("killed")


class World:
    """A shelf, a broker, a provider and a clock, and processes that come and go."""

    def __init__(self) -> None:
        self.clock = SandboxClock()
        self.generation = 0
        self.shelf, self.broker = Shelf(), Broker()
        self.tick(NOON)
        self.provider = InMemoryProvider(self.clock.now)

    def tick(self, now: datetime) -> None:
        self.generation += 1
        self.clock.tick(ClockTick(generation=self.generation, now=now, round=0))

    def advance(self, by: timedelta) -> None:
        self.tick(self.clock.now() + by)

    def put(self, *payments: dict[str, Any]) -> list[dict[str, Any]]:
        """What the loop has appended, and offers."""
        for one in payments:
            self.shelf.kept.setdefault(one["_id"], one)
        return list(payments)

    def process(self, **more: Any) -> Cashier:
        made = {"provider": self.provider, **more}
        return Cashier(store=self.shelf, publisher=self.broker, clock=self.clock, **made)  # type: ignore[arg-type]

    @property
    def confirmed(self) -> dict[str, int]:
        """Confirmations by decision, each id once: what the engine makes an entry of."""
        ids = {envelope_id: message.decision_id for envelope_id, message in self.broker.told}
        return {decision: list(ids.values()).count(decision) for decision in ids.values()}


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def soon_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A provider that is away is asked again after milliseconds."""
    monkeypatch.setattr(module, "back_off", lambda attempt: 0.005)


@contextmanager
def working(cashier: Cashier) -> Iterator["asyncio.Task[None]"]:
    task = asyncio.create_task(cashier.work())
    try:
        yield task
    finally:
        task.cancel()


async def until(done: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not done():  # noqa: ASYNC110 - what it waits for has no event
            await asyncio.sleep(0.001)


async def idle(cashier: Cashier) -> None:
    await until(lambda: cashier.due() == 0)


@pytest.mark.rule("NX-06")
async def test_a_refund_is_paid_and_confirmed_with_the_provider_s_reference(world: World) -> None:
    cashier, one = world.process(), payment()
    await cashier.own(frozenset({3}))
    with working(cashier):
        cashier.offer(world.put(one))
        assert cashier.due() == 1
        await idle(cashier)
    (told,) = world.broker.told
    message = told[1]
    assert (message.case_id, message.decision_id) == (one["case_id"], one["_id"])
    assert (message.reference, message.at) == (f"pay {one['_id']}", NOON)
    assert world.provider.asked == [f"refund {one['_id']}"]
    assert world.shelf.kept[one["_id"]]["state"] == "executed"


@pytest.mark.rule("NX-05", "NX-06")
async def test_on_the_test_clock_a_refund_flowed_when_it_fell_due(world: World) -> None:
    """However far the move went that it fell due in; one that is tried again flowed then."""
    world.advance(timedelta(days=30))
    cashier, one, two = world.process(), payment(), payment("2")
    two["retry_at"] = format_moment(NOON + timedelta(minutes=1))
    await cashier.own(frozenset({3}))
    with working(cashier):
        cashier.offer(world.put(one, two))
        await idle(cashier)
    assert {message.decision_id: message.at for _, message in world.broker.told} == {
        one["_id"]: NOON,
        two["_id"]: NOON + timedelta(minutes=1),
    }


@pytest.mark.rule("NX-06")
async def test_a_time_out_is_looked_up_before_anything_else(world: World) -> None:
    world.provider.mode = "timeout"
    cashier, one = world.process(), payment()
    await cashier.own(frozenset({3}))
    with working(cashier):
        cashier.offer(world.put(one))
        await idle(cashier)
    assert world.provider.asked == [f"refund {one['_id']}", f"lookup {one['_id']}"]
    assert world.confirmed == {one["_id"]: 1}


@pytest.mark.rule("NX-06")
@pytest.mark.parametrize("ends_as", ["recalled", "by_hand"])
@pytest.mark.parametrize("mode", ["fail", "timeout"])
async def test_what_is_not_to_be_paid_any_more_after_a_try_is_asked_after_and_not_for(
    world: World, mode: str, ends_as: str
) -> None:
    """The ledger has let it go, or somebody has paid by hand: by then the provider may have paid as well."""
    state = "executed" if mode == "timeout" else ends_as
    world.provider.mode = mode  # type: ignore[assignment]
    cashier, one = world.process(), payment()
    if mode == "timeout":
        await world.provider.refund(PaymentOrder.model_validate(one["order"]))
    one["tries"] = 1
    world.provider.asked.clear()
    world.shelf.over[one["_id"]] = ends_as
    await cashier.own(frozenset({3}))
    with working(cashier):
        cashier.offer(world.put(one))
        await idle(cashier)
    assert world.provider.asked == [f"lookup {one['_id']}"]
    assert world.shelf.kept[one["_id"]]["state"] == state
    assert world.confirmed == ({one["_id"]: 1} if state == "executed" else {})


@pytest.mark.rule("NX-06")
@pytest.mark.parametrize("ends_as", ["recalled", "by_hand"])
@pytest.mark.parametrize("arrives", [True, False])
async def test_a_request_that_got_no_answer_is_asked_after_for_an_hour(world: World, ends_as: str, arrives: bool) -> None:
    """That the provider has not heard of it proves nothing at first; and looking does not make the request any younger."""
    world.provider.mode = "lost"
    cashier, one = world.process(), payment()
    await cashier.own(frozenset({3}))
    with working(cashier):
        cashier.offer(world.put(one))
        await idle(cashier)
        world.shelf.over[one["_id"]] = ends_as
        for looks, wait in enumerate(RETRY_AFTER[:4], start=1):
            world.advance(wait)
            await until(lambda looks=looks: cashier.counters.unknown == 1 + looks and cashier.due() == 0)
            assert world.shelf.kept[one["_id"]]["state"] == "due"
        if arrives:
            world.provider.mode = "ok"
            await world.provider.refund(PaymentOrder.model_validate(one["order"]))
        world.advance(RETRY_AFTER[-1])
        await until(lambda: cashier.waiting() == 0 and cashier.due() == 0)
    requests = [asked for asked in world.provider.asked if asked.startswith("refund")]
    assert len(requests) == 1 + arrives
    assert world.shelf.kept[one["_id"]]["state"] == ("executed" if arrives else ends_as)
    assert world.confirmed == ({one["_id"]: 1} if arrives else {})


@pytest.mark.rule("NX-06")
async def test_the_hour_begins_with_the_request_however_long_the_provider_was_away_before(
    world: World, soon_again: None
) -> None:
    world.provider.mode = "away"
    cashier, one = world.process(), payment()
    await cashier.own(frozenset({3}))
    with working(cashier):
        cashier.offer(world.put(one))
        await until(lambda: cashier.counters.unreachable > 1)
        world.advance(timedelta(hours=2))
        seen = cashier.counters.unreachable
        await until(lambda: cashier.counters.unreachable > seen + 1)
        world.provider.mode = "lost"
        await idle(cashier)
        world.shelf.over[one["_id"]] = "by_hand"
        world.advance(RETRY_AFTER[0])
        await until(lambda: cashier.counters.unknown == 2 and cashier.due() == 0)
    assert world.shelf.kept[one["_id"]]["state"] == "due"


@pytest.mark.rule("NX-06")
async def test_what_was_refused_before_it_was_paid_by_hand_ends_with_the_next_look(world: World) -> None:
    world.provider.mode = "fail"
    cashier, one = world.process(), payment()
    await cashier.own(frozenset({3}))
    with working(cashier):
        cashier.offer(world.put(one))
        await idle(cashier)
        world.shelf.over[one["_id"]] = "by_hand"
        world.advance(RETRY_AFTER[0])
        await until(lambda: cashier.waiting() == 0 and cashier.due() == 0)
    assert world.shelf.kept[one["_id"]]["state"] == "by_hand"


@pytest.mark.rule("NX-06")
@pytest.mark.parametrize("ends_as", ["recalled", "by_hand"])
async def test_what_is_not_to_be_paid_any_more_before_any_try_is_not_even_asked_after(world: World, ends_as: str) -> None:
    cashier, one = world.process(), payment()
    world.shelf.over[one["_id"]] = ends_as
    await cashier.own(frozenset({3}))
    with working(cashier):
        cashier.offer(world.put(one))
        await idle(cashier)
    assert world.provider.asked == []
    assert world.shelf.kept[one["_id"]]["state"] == ends_as


@pytest.mark.rule("NX-06")
async def test_a_request_that_the_provider_has_not_heard_of_is_made_again_a_minute_later(world: World) -> None:
    """It may be on its way to it: one that is made again at once is paid twice by whoever executes late and keeps no keys."""
    world.provider.mode = "lost"
    cashier, one = world.process(), payment()
    await cashier.own(frozenset({3}))
    with working(cashier):
        cashier.offer(world.put(one))
        await idle(cashier)
        assert [asked.split()[0] for asked in world.provider.asked] == ["refund", "lookup"]
        assert cashier.waiting() == 1
        world.provider.mode = "ok"
        world.advance(RETRY_AFTER[0])
        await until(lambda: cashier.waiting() == 0 and cashier.due() == 0)
    assert [asked.split()[0] for asked in world.provider.asked[2:]] == ["lookup", "refund"]
    assert world.confirmed == {one["_id"]: 1}


@pytest.mark.rule("NX-06")
async def test_a_refusal_is_retried_by_the_stack_s_clock_and_what_was_decided_stays_owed(world: World) -> None:
    world.provider.mode = "fail"
    cashier, one = world.process(), payment()
    await cashier.own(frozenset({3}))
    with working(cashier):
        cashier.offer(world.put(one))
        await idle(cashier)
        for tries, wait in enumerate((*RETRY_AFTER, RETRY_AFTER[-1], RETRY_AFTER[-1]), start=1):
            asked = len(world.provider.asked)
            world.advance(wait - timedelta(milliseconds=1))
            await asyncio.sleep(0.01)
            assert len(world.provider.asked) == asked, tries
            assert (cashier.due(), cashier.waiting()) == (0, 1)
            world.advance(timedelta(milliseconds=1))
            await until(lambda tries=tries: cashier.counters.refused > tries)
        assert world.shelf.kept[one["_id"]]["last_reply"] == "the payments fail"
        world.provider.mode = "ok"
        world.advance(RETRY_AFTER[-1])
        await until(lambda: cashier.waiting() == 0 and cashier.due() == 0)
    assert world.confirmed == {one["_id"]: 1}


async def test_a_late_answer_is_asked_for_when_the_provider_says(world: World) -> None:
    world.provider.mode = "late"
    cashier, one = world.process(), payment()
    await cashier.own(frozenset({3}))
    with working(cashier):
        cashier.offer(world.put(one))
        await idle(cashier)
        world.advance(timedelta(seconds=59))
        await asyncio.sleep(0.01)
        assert world.confirmed == {}
        world.advance(timedelta(seconds=1))
        assert cashier.due() == 1
        await until(lambda: cashier.waiting() == 0 and cashier.due() == 0)
    assert world.confirmed == {one["_id"]: 1}
    assert len(world.provider.payments) == 1
    assert world.broker.told[0][1].at == NOON + timedelta(minutes=1)


async def test_a_provider_that_is_away_is_waited_for(world: World, soon_again: None) -> None:
    world.provider.mode = "away"
    cashier, one = world.process(), payment()
    await cashier.own(frozenset({3}))
    with working(cashier):
        cashier.offer(world.put(one))
        await until(lambda: cashier.counters.unreachable > 3)
        assert cashier.away
        assert cashier.due() == 1  # it is to be done now: the test clock waits for it
        world.provider.mode = "ok"
        await idle(cashier)
        assert not cashier.away
    assert world.confirmed == {one["_id"]: 1}


@pytest.mark.rule("NX-06")
async def test_what_was_paid_by_hand_while_the_provider_was_away_is_not_paid_again(world: World, soon_again: None) -> None:
    world.provider.mode = "away"
    cashier, one = world.process(), payment()
    await cashier.own(frozenset({3}))
    with working(cashier):
        cashier.offer(world.put(one))
        await until(lambda: cashier.counters.unreachable > 1)
        world.shelf.over[one["_id"]] = "by_hand"
        seen = cashier.counters.unreachable
        await until(lambda: cashier.counters.unreachable > seen + 1)
        world.provider.mode = "ok"
        await idle(cashier)
    assert world.provider.asked == [f"lookup {one['_id']}"]
    assert (world.provider.payments, world.confirmed) == ({}, {})
    assert world.shelf.kept[one["_id"]]["state"] == "by_hand"


@pytest.mark.rule("NX-06")
@pytest.mark.parametrize("mode", ["timeout", "ok", "mute"])
async def test_whoever_comes_after_a_crash_asks_before_paying(world: World, mode: str) -> None:
    """The first process dies after the provider paid: before or while it confirms. The next finds the payment."""
    world.provider.mode = mode
    world.broker.fail = True
    first, one = world.process(), payment()
    await first.own(frozenset({3}))
    with working(first) as task:
        first.offer(world.put(one))
        await until(lambda: task.done() or first.waiting() == 1)
    world.broker.fail = False
    world.provider.mode = "ok"
    world.provider.asked.clear()
    world.advance(timedelta(days=1))
    second = world.process()
    await second.own(frozenset({3}))
    with working(second):
        await idle(second)
    assert world.provider.asked == [f"lookup {one['_id']}"]
    assert len(world.provider.payments) == 1
    assert world.confirmed == {one["_id"]: 1}


@pytest.mark.rule("NX-06")
async def test_a_hundred_tries_are_one_payment_and_one_confirmation(world: World) -> None:
    """What must be seen: a provider that times out, answers late, and is asked a hundred times."""
    one = payment()
    world.put(one)
    modes = ["mute", "lost", "fail", "mute", "late"]
    for number in range(100):
        world.provider.mode = modes[number % len(modes)] if number < 99 else "timeout"
        if number % 7 == 0:  # a crash between acceptance and mark
            world.shelf.kept[one["_id"]] |= {"state": "due"}
        cashier = world.process()
        await cashier.own(frozenset({3}))
        with working(cashier):
            await idle(cashier)
            world.advance(timedelta(days=2))
            await until(lambda cashier=cashier: cashier.waiting() == 0 or cashier.due() == 0)
    cashier = world.process()
    await cashier.own(frozenset({3}))
    with working(cashier):
        await idle(cashier)
    assert world.shelf.kept[one["_id"]]["tries"] >= 20
    assert len(world.provider.payments) == 1
    assert world.confirmed == {one["_id"]: 1}


async def test_two_owners_at_once_pay_once(world: World) -> None:
    """While partitions change hands both may believe to own one."""
    world.provider.mode = "timeout"
    cashiers, one = [world.process(), world.process()], payment()
    for cashier in cashiers:
        await cashier.own(frozenset({3}))
    with working(cashiers[0]), working(cashiers[1]):
        world.put(one)
        for cashier in cashiers:
            cashier.offer([one])
        for cashier in cashiers:
            await idle(cashier)
    assert len(world.provider.payments) == 1
    assert world.confirmed == {one["_id"]: 1}


async def test_partitions_change_hands_with_what_is_unpaid(world: World) -> None:
    world.provider.mode = "fail"
    mine, other = payment("1", 3), payment("2", 4)
    cashier = world.process()
    await cashier.own(frozenset({3, 4}))
    with working(cashier):
        cashier.offer(world.put(mine, other))
        await until(lambda: cashier.waiting() == 2)
        await cashier.own(frozenset({4}))
        assert cashier.waiting() == 1
        world.provider.mode = "ok"
        world.advance(RETRY_AFTER[0])
        await until(lambda: cashier.waiting() == 0 and cashier.due() == 0)
    assert world.confirmed == {other["_id"]: 1}
    await cashier.own(frozenset())
    assert (cashier.due(), cashier.waiting()) == (0, 0)


async def test_many_are_paid_beside_each_other(world: World) -> None:
    cashier = world.process()
    await cashier.own(frozenset({3}))
    with working(cashier):
        cashier.offer(world.put(*(payment(str(number)) for number in range(200))))
        await idle(cashier)
    assert len(world.confirmed) == 200
    assert cashier.counters.executed == 200


async def test_without_a_provider_nothing_is_due_and_nothing_is_lost(world: World) -> None:
    idle_cashier, one = world.process(provider=None), payment()
    await idle_cashier.own(frozenset({3}))
    idle_cashier.offer(world.put(one))
    assert idle_cashier.due() == 0
    assert world.shelf.kept[one["_id"]]["state"] == "due"
    cashier = world.process()
    await cashier.own(frozenset({3}))
    with working(cashier):
        await idle(cashier)
    assert world.confirmed == {one["_id"]: 1}
