"""Chaos: the same play twice, once undisturbed and once while services are killed and broker and store restarted at seeded
moments. The two must end alike, and nothing may be lost or done twice."""

import asyncio
import contextlib
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from deploy.local.stack import to_stderr
from recourse.replay import play
from recourse.sandbox import Sandbox
from simulator.orders import Batch
from simulator.player import Played, Progress

__all__ = ["BROKER", "STORE", "Blow", "Disturber", "blows", "compared", "disturbed_play", "kill"]

_PID_WAIT_S = 15.0
BROKER, STORE = "broker", "store"


@dataclass(frozen=True, slots=True)
class Blow:
    """What is hit when the test clock has passed `at`, so many seconds of real time later."""

    at: datetime
    after_s: float
    target: str


def blows(
    batch: Batch, seed: int, names: Sequence[str], kills: int, *, restarts: Sequence[str] = (BROKER, STORE)
) -> list[Blow]:
    """A plan of `kills` over the processes `names`, each hit in turn in a drawn order, and the restarts in between. The moments
    lie between the first order and a month after the last one."""
    draw = random.Random(f"chaos:{seed}")  # noqa: S311 - a reproducible plan
    targets: list[str] = []
    while len(targets) < kills:
        round_of_all = list(names)
        draw.shuffle(round_of_all)
        targets += round_of_all
    targets = targets[:kills]
    for number, restart in enumerate(restarts, 1):
        targets.insert(len(targets) * number // (len(restarts) + 1), restart)
    first = min(order.placed_at for order in batch.orders)
    last = max(order.placed_at for order in batch.orders) + timedelta(days=30)
    moments = sorted(first + (last - first) * draw.random() for _ in targets)
    return [Blow(at, draw.random() * 0.4, target) for at, target in zip(moments, targets, strict=True)]


@dataclass(slots=True)
class Disturber:
    """Carries out a plan while a play reports its progress to `passed`."""

    sandbox: Sandbox
    plan: Sequence[Blow]
    restart: Callable[[str], None]
    """Restarts broker or store hard; blocking."""
    struck: Counter[str] = field(default_factory=Counter)
    _now: datetime | None = None
    _moved: asyncio.Event = field(default_factory=asyncio.Event)

    def passed(self, progress: Progress) -> None:
        """The play has come to a moment: blows that are due by then fall."""
        self._now = progress.now
        self._moved.set()

    async def run(self) -> None:
        """Until the plan is done."""
        for blow in self.plan:
            while self._now is None or self._now < blow.at:
                self._moved.clear()
                await self._moved.wait()
            await asyncio.sleep(blow.after_s)
            if blow.target in (BROKER, STORE):
                await asyncio.to_thread(self.restart, blow.target)
                self.struck[blow.target] += 1
            elif await kill(self.sandbox, blow.target):
                self.struck[blow.target.partition("-")[0]] += 1
            to_stderr(f"{self._now:%Y-%m-%d}: {blow.target} hit")


async def kill(sandbox: Sandbox, name: str) -> bool:
    """SIGKILL a process; one that is just coming back is waited for. False where it does not come."""
    give_up = time.monotonic() + _PID_WAIT_S
    while time.monotonic() < give_up:
        with contextlib.suppress(OSError, ValueError, KeyError):
            os.kill(sandbox.ready()["services"][name]["pid"], signal.SIGKILL)
            return True
        await asyncio.sleep(0.1)
    return False


async def disturbed_play(
    sandbox: Sandbox, batch: Batch, seed: int, plan: Sequence[Blow], restart: Callable[[str], None]
) -> tuple[Played, int, float, Counter[str]]:
    """Play under a plan of blows: as `play`, and how often each service, the broker and the store were hit."""
    disturber = Disturber(sandbox, plan, restart)
    striking = asyncio.create_task(disturber.run())
    try:
        played, mails, seconds = await play(sandbox, batch, seed, disturber.passed)
    finally:
        striking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await striking
    return played, mails, seconds, disturber.struck


def compared(undisturbed: Played, disturbed: Played) -> list[dict[str, Any]]:
    """Where the two plays ended differently, case by case."""
    case_ids = sorted(undisturbed.cases.keys() | disturbed.cases.keys())
    return [
        {"case_id": case_id, "undisturbed": undisturbed.cases.get(case_id), "disturbed": disturbed.cases.get(case_id)}
        for case_id in case_ids
        if undisturbed.cases.get(case_id) != disturbed.cases.get(case_id)
    ]
