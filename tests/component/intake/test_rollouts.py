"""Roll-outs on the real broker and store: every merchant is told once, page by page, also where a process goes in between."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from contracts.ids import merchant_key
from contracts.notices import TellMerchant
from contracts.rollouts import ROLLOUTS_KEY, MakeRollout, RolloutContent
from contracts.topics import INTAKE_COMMANDS, INTAKE_EVENTS, NOTIFICATIONS_COMMANDS
from deploy.local import Stack
from services.escalation.app import serve as serve_escalation
from services.intake import store
from services.intake.app import serve
from tests.component.running import Reader, Running, envelope_of, own_namespace, reading
from tests.unit.intake.trading import PARTNER, PLACED, PLATFORM, profile, put

SHOPS = 130


@pytest.fixture
async def running(stack: Stack) -> AsyncIterator[Running]:
    async with own_namespace(stack) as running:
        await running.tick(PLACED)
        yield running


def told(reader: Reader) -> list[tuple[str, str]]:
    return [(one.message.merchant_id, one.id) for one in reader.envelopes if isinstance(one.message, TellMerchant)]


@pytest.mark.rule("BP-24")
async def test_every_merchant_is_told_once_at_its_moment(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "_PAGE", 25)
    running.start(serve, "intake-1")
    running.start(serve, "intake-2")
    running.start(serve_escalation, "escalation-1")
    content = RolloutContent(
        programme="buyer-protection", version=1, locales=("it",), effective_at=PLACED + timedelta(days=20), announce_days=5
    )
    shops = [
        envelope_of(
            put(profile(locale="it" if number % 2 else "de"), PARTNER, f"shop-{number}"), merchant_key(f"shop-{number}"), PLACED
        )
        for number in range(SHOPS)
    ]
    async with reading(running, INTAKE_EVENTS) as events, reading(running, NOTIFICATIONS_COMMANDS) as mails:
        await running.send(INTAKE_COMMANDS, *shops)
        wanted = {one.id for one in shops}
        await events.until(lambda all_: wanted <= {one.command_id for one in all_}, timeout_s=40)
        made = envelope_of(MakeRollout(rollout_id="rlo_1", content=content, actor=PLATFORM), ROLLOUTS_KEY, PLACED, "make")
        await running.send(INTAKE_COMMANDS, made)
        await events.answer_to("make")
        async with asyncio.timeout(20):
            while await running.database("escalation")["pages"].count_documents({}) == 0:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        await running.tick(PLACED + timedelta(days=14, hours=23))
        await running.stop("intake-2")
        assert told(mails) == []
        await running.tick(PLACED + timedelta(days=15))
        await events.until(lambda all_: any(one.message.kind == "rollout.announced" for one in all_))
        italian = {f"shop-{number}" for number in range(SHOPS) if number % 2}
        await mails.until(lambda all_: len({merchant_id for merchant_id, _ in told(mails)}) == len(italian))
        assert {merchant_id for merchant_id, _ in told(mails)} == italian
        assert len(set(told(mails))) == len(italian), "each under one id"
