"""Waiting for outcomes: woken when all are there, not lost when a wake-up is."""

import asyncio
from typing import Any, cast

from chassis.settings import Settings
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


async def test_a_lost_wake_up_costs_half_a_second() -> None:
    kept = _Kept()
    waiting = waiting_over(kept)
    kept.outcomes["a"] = {"_id": "a"}
    with waiting.expect(["a"]) as expected:
        began = asyncio.get_running_loop().time()
        assert set(await expected.outcomes(5)) == {"a"}
        assert asyncio.get_running_loop().time() - began < 1


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
