"""Intake on the real broker and store: what it tells, what it keeps, and that nothing is done twice."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import orjson
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from chassis.service import open_runtime
from contracts.cases import CaseMoved, Change
from contracts.envelope import Envelope
from contracts.ids import merchant_key, order_id_of
from contracts.orders import (
    CommandRefused,
    CommandRepeated,
    MerchantChanged,
    OrderChanged,
    OrderRegistered,
    RegisterOrder,
    ReportAccepted,
    ReportContent,
    SubmitReport,
)
from contracts.rollouts import ROLLOUTS_KEY, OptIn, TellOfRollouts
from contracts.topics import CASES_EVENTS, INTAKE_COMMANDS, INTAKE_EVENTS, Topic
from deploy.local import Stack
from engine.programmes import Programmes
from services.intake.app import serve
from services.intake.handlers import IntakeHandler
from tests.component.running import Reader, Running, envelope_of, own_namespace, reading
from tests.unit.intake.trading import BUYER, PARTNER, PLACED, PLATFORM, content, profile, put

CERTIFIED = {"certified_at": PLACED - timedelta(days=9), "seal_live_at": PLACED - timedelta(days=9)}


@pytest.fixture
async def running(stack: Stack) -> AsyncIterator[Running]:
    async with own_namespace(stack) as running:
        await running.tick(PLACED)
        yield running


@pytest.fixture
async def events(running: Running) -> AsyncIterator[Reader]:
    async with reading(running, INTAKE_EVENTS) as reader:
        yield reader


def registration(number: str, merchant_id: str = "shop", **changes: Any) -> Envelope:
    order = content(merchant_id=merchant_id, order_number=number, **changes)
    return envelope_of(RegisterOrder(content=order, actor=PARTNER), order_id_of(merchant_id, number), PLACED)


async def put_shop(running: Running, events: Reader) -> None:
    key = merchant_key("shop")
    first = envelope_of(put(profile()), key, PLACED)
    second = envelope_of(put(profile(**CERTIFIED), PLATFORM), key, PLACED)
    await running.send(INTAKE_COMMANDS, first, second)
    assert isinstance((await events.answer_to(second.id)).message, MerchantChanged)


@pytest.mark.rule("BP-02", "BP-07", "BP-26")
async def test_an_order_from_its_registration_to_the_end_of_its_case(running: Running, events: Reader) -> None:
    running.start(serve, "intake-1")
    await put_shop(running, events)

    order = registration("1")
    await running.send(INTAKE_COMMANDS, order)
    registered = await events.answer_to(order.id)
    assert isinstance(registered.message, OrderRegistered)
    assert (registered.settles, registered.sequence, registered.key) == (True, 1, order.key)
    assert registered.message.standing.protection.state == "active"

    again = registration("1")
    other = registration("1", protection_days=3)
    await running.send(INTAKE_COMMANDS, again, other)
    assert isinstance((await events.answer_to(again.id)).message, CommandRepeated)
    refused = (await events.answer_to(other.id)).message
    assert isinstance(refused, CommandRefused)
    assert refused.problem.status == 409

    report = SubmitReport(order_id=order.key, content=ReportContent(reason="not_received"), actor=BUYER)
    reported = envelope_of(report, order.key, PLACED + timedelta(days=9))
    await running.send(INTAKE_COMMANDS, reported)
    accepted = await events.answer_to(reported.id)
    assert isinstance(accepted.message, ReportAccepted)
    assert (accepted.settles, accepted.sequence) == (False, 2)
    document = await running.database("intake")["orders"].find_one({"_id": order.key})
    assert document is not None
    assert orjson.loads(document["body"])["standing"]["payout"]["held"] is True

    assert accepted.message.case_id is not None
    moved = CaseMoved(
        case_id=accepted.message.case_id,
        order_id=order.key,
        actor=BUYER,
        at=PLACED + timedelta(days=12),
        case_version=2,
        action="withdraw",
        rule="BP-14",
        change=Change(state="resolved", outcome="withdrawn"),
    )
    ended = envelope_of(moved, order.key, moved.at, source="cases", sequence=1, command_id="withdrawal")
    await running.send(CASES_EVENTS, ended)
    changed = await events.answer_to("withdrawal")
    assert isinstance(changed.message, OrderChanged)
    assert (changed.settles, changed.sequence, changed.message.standing.status) == (True, 3, "completed")


async def test_what_was_read_again_is_not_told_again(running: Running, events: Reader) -> None:
    """The broker hands out a batch twice when its reader died before it said so."""
    running.start(serve, "intake-1")
    await put_shop(running, events)
    orders = [registration(str(number)) for number in range(200)]
    await running.send(INTAKE_COMMANDS, *orders)
    ids = {order.id for order in orders}
    await events.until(lambda all_: ids <= {one.command_id for one in all_})
    await running.stop("intake-1")

    await rewind(running, "intake", INTAKE_COMMANDS)
    last = registration("last")
    running.start(serve, "intake-1")
    await running.send(INTAKE_COMMANDS, last)
    await events.answer_to(last.id)
    told = {one.id: one for one in events.envelopes if isinstance(one.message, OrderRegistered)}
    assert len(told) == 201
    for one in events.envelopes:
        if one.id in told:
            assert (one.sequence, one.message) == (1, told[one.id].message)
    assert not [one for one in events.envelopes if isinstance(one.message, CommandRepeated | CommandRefused)]
    assert await running.database("intake")["orders"].count_documents({}) == 201


async def test_two_instances_share_the_orders_and_one_takes_over(running: Running, events: Reader) -> None:
    running.start(serve, "intake-1")
    running.start(serve, "intake-2")
    await put_shop(running, events)
    orders = [registration(str(number)) for number in range(300)]
    sending = asyncio.create_task(running.send(INTAKE_COMMANDS, *orders[:200]))
    await events.until(lambda all_: any(isinstance(one.message, OrderRegistered) for one in all_))
    await running.stop("intake-2")
    await sending
    await running.send(INTAKE_COMMANDS, *orders[200:])
    ids = {order.id for order in orders}
    told = await events.until(lambda all_: ids <= {one.command_id for one in all_})
    registered = [one for one in told if isinstance(one.message, OrderRegistered)]
    assert {one.id for one in registered} == {one.id for one in {one.key: one for one in registered}.values()}
    assert all(one.sequence == 1 for one in registered)


async def test_registering_needs_no_query_per_order(running: Running, events: Reader) -> None:
    """A batch is one query for documents, one for merchants and one insert, however many orders it has."""
    settings = dataclasses.replace(running.settings, instance="intake-1")
    stop = asyncio.Event()
    async with open_runtime(settings, "intake") as runtime:
        await runtime.begin(stop)
        serving = asyncio.create_task(runtime.run(IntakeHandler(runtime.database, Programmes.shipped()), stop))
        await put_shop(running, events)
        # That roll-outs are asked of for the new shop is no part of it: what comes after on their key is answered after that.
        while not any(isinstance(one.message, TellOfRollouts) for one in await running.all_of(INTAKE_COMMANDS)):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        nothing = envelope_of(OptIn(rollout_id="none", merchant_id="shop", actor=PARTNER), ROLLOUTS_KEY, PLACED)
        await running.send(INTAKE_COMMANDS, nothing)
        await events.answer_to(nothing.id)
        before = dict(runtime.commands.counts)
        orders = [registration(str(number)) for number in range(1_000)]
        await running.send(INTAKE_COMMANDS, *orders)
        ids = {order.id for order in orders}
        await events.until(lambda all_: ids <= {one.command_id for one in all_})
        counts = {name: count - before.get(name, 0) for name, count in runtime.commands.counts.items()}
        stop.set()
        await serving
    batches = counts["insert"]
    assert batches <= 40
    assert (counts["find"], counts.get("update", 0)) == (2 * batches, 0)


async def rewind(running: Running, group: str, topic: Topic) -> None:
    """Let a group that nobody is in read a topic from its beginning again."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=running.settings.kafka_bootstrap,
        group_id=running.settings.prefixed(group),
        enable_auto_commit=False,
    )
    await consumer.start()
    try:
        partitions = [TopicPartition(running.settings.prefixed(topic.name), number) for number in range(topic.partitions)]
        consumer.assign(partitions)
        await consumer.commit(dict.fromkeys(partitions, 0))
    finally:
        await consumer.stop()
