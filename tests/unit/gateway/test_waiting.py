"""Waiting for outcomes: woken when all are there, by this process or another one, not lost when a wake-up is."""

import asyncio
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from chassis.handler import Inbound
from chassis.settings import Settings
from contracts.base import Message
from contracts.envelope import Envelope
from contracts.orders import CommandRefused, CommandRepeated
from contracts.problems import Problem
from contracts.topics import GATEWAY_OUTCOMES, INTAKE_EVENTS
from services.gateway import waiting as waiting_module
from services.gateway.projector import Projector
from services.gateway.store import PointReads
from services.gateway.waiting import Waiting

SETTINGS = Settings(kafka_bootstrap="", mongo_uri="")


class _Kept:
    """Outcomes as the store has them."""

    def __init__(self) -> None:
        self.outcomes: dict[str, Any] = {}
        self.asked = 0

    async def get(self, collection: str, document_id: str) -> Any:
        self.asked += 1
        return self.outcomes.get(document_id)

    async def many(self, collection: str, document_ids: Any) -> dict[str, Any]:
        self.asked += 1
        return {name: self.outcomes[name] for name in document_ids if name in self.outcomes}


def waiting_over(kept: _Kept) -> Waiting:
    return Waiting(SETTINGS, cast("PointReads", kept))


async def test_the_store_is_asked_once_all_are_settled() -> None:
    kept = _Kept()
    waiting = waiting_over(kept)
    with waiting.expect(["a", "b"]) as expected:
        asking = asyncio.create_task(expected.outcomes(5))
        await asyncio.sleep(0)
        for name in ("b", "a"):
            kept.outcomes[name] = {"_id": name}
            waiting.wake(name)
        assert set(await asking) == {"a", "b"}
    assert kept.asked == 1


async def test_who_is_told_the_outcome_does_not_ask_for_it() -> None:
    kept = _Kept()
    waiting = waiting_over(kept)
    with waiting.expect(["a", "b"]) as expected:
        asking = asyncio.create_task(expected.outcomes(5))
        await asyncio.sleep(0)
        for name in ("b", "a"):
            waiting.wake(name, {"status": "done", "key": name})
        assert await asking == {"a": {"status": "done", "key": "a"}, "b": {"status": "done", "key": "b"}}
    assert kept.asked == 0


async def test_who_is_not_woken_looks_by_himself_long_before_his_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting_module, "_LOOK_S", 0.01)
    kept = _Kept()
    waiting = waiting_over(kept)
    kept.outcomes["a"] = {"_id": "a"}
    with waiting.expect(["a"]) as expected:
        assert set(await expected.outcomes(3600)) == {"a"}


async def test_what_is_not_there_in_time_is_left_out() -> None:
    kept = _Kept()
    waiting = waiting_over(kept)
    with waiting.expect(["a", "b"]) as expected:
        kept.outcomes["a"] = {"_id": "a"}
        waiting.wake("a")
        assert set(await expected.outcomes(0.05)) == {"a"}
    waiting.wake("b")
    with waiting.expect(["b"]) as first, waiting.expect(["b"]) as second:
        kept.outcomes["b"] = {"_id": "b"}
        waiting.wake("b")
        assert set(await second.outcomes(1)) == {"b"}
        assert set(await first.outcomes(1)) == {"b"}


def answered(message: Message, command_id: str) -> Inbound:
    """What intake says of a command."""
    at = datetime(2019, 8, 1, tzinfo=UTC)
    envelope = Envelope(id=f"of-{command_id}", source="intake", key="ord_1", time=at, message=message, command_id=command_id)
    return Inbound(envelope, INTAKE_EVENTS.name, 0, 1)


async def test_who_waits_where_the_outcome_is_written_is_woken_there_and_others_over_the_topic() -> None:
    kept = _Kept()
    waiting = waiting_over(kept)
    projector = Projector(waiting)
    refused = CommandRefused(problem=Problem.not_found("merchant"))
    with waiting.expect(["here"]) as expected:
        here = projector.apply(projector.load(None), answered(refused, "here"), None)
        elsewhere = projector.apply(projector.load(None), answered(refused, "elsewhere"), None)
        assert here.emissions == ()
        assert [each.topic for each in elsewhere.emissions] == [GATEWAY_OUTCOMES]
        await projector.appended([*here.appends, *elsewhere.appends])
        outcome = (await expected.outcomes(5))["here"]
    assert (outcome["status"], outcome["problem"]["status"], kept.asked) == ("refused", 404, 0)


async def test_of_a_command_that_came_again_the_first_outcome_is_read() -> None:
    kept = _Kept()
    waiting = waiting_over(kept)
    projector = Projector(waiting)
    kept.outcomes["a"] = {"_id": "a", "kind": "order.registered"}
    with waiting.expect(["a"]) as expected:
        repeated = projector.apply(projector.load(None), answered(CommandRepeated(href="/v1/orders/ord_1"), "a"), None)
        await projector.appended(repeated.appends)
        assert (await expected.outcomes(5))["a"]["kind"] == "order.registered"
