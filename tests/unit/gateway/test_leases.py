"""Leases are renewed for as long as the work takes, also where the store is away for a moment."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from pymongo.errors import AutoReconnect

from services.gateway import leases
from services.gateway.leases import lease_end, renewed

NOW = datetime(2026, 3, 31, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "_RENEW_S", 0.001)


def test_a_lease_outlasts_two_renewals_that_are_missed() -> None:
    assert lease_end(NOW) - NOW == timedelta(seconds=6)


def test_leases_of_a_process_fall_due_together_before_any_of_them_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "_RENEW_S", 2.0)
    taken = [1_000 + tenth / 10 for tenth in range(100)]
    due = [leases._due(moment) for moment in taken]
    assert all(1.0 <= at - moment <= 3.0 for at, moment in zip(due, taken, strict=True))
    assert all(at % 2.0 == 0 for at in due)


async def test_it_is_renewed_until_the_work_is_done_though_the_store_is_away_once() -> None:
    tried: list[str] = []
    done = asyncio.Event()

    async def renew() -> None:
        tried.append("x")
        if len(tried) == 2:
            raise AutoReconnect("away")
        if len(tried) == 4:
            done.set()

    async with renewed(renew):
        await done.wait()
    after = len(tried)
    await asyncio.sleep(0.01)
    assert len(tried) == after, "what is done is renewed no more"


async def test_what_the_work_raises_is_raised_and_ends_the_renewals() -> None:
    running = len(asyncio.all_tasks())

    async def renew() -> None: ...

    with pytest.raises(ValueError, match="broken"):
        async with renewed(renew):
            raise ValueError("broken")
    assert len(asyncio.all_tasks()) == running


async def test_a_renewal_that_can_never_work_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    failed = asyncio.Event()

    async def renew() -> None:
        failed.set()
        raise LookupError("no such thing")

    async with renewed(renew):
        await failed.wait()
        await asyncio.sleep(0)
    assert "not renewed any more" in caplog.text
