"""The escalation service: time. It tells intake and cases when a check-in, a reminder or a deadline is due."""

import asyncio
from datetime import timedelta

from chassis.service import open_runtime
from chassis.settings import Settings
from services.escalation.handlers import EscalationHandler
from services.escalation.store import TimerStore
from services.escalation.timers import GRACE, Timers

__all__ = ["serve"]


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Run until `stop` is set. Raises what the processing loop or the timers cannot go on from."""
    async with open_runtime(settings, "escalation") as runtime:
        timers = Timers(
            TimerStore(runtime.database),
            runtime.publisher,
            runtime.clock,
            instance=settings.instance,
            grace=timedelta() if settings.sandbox else GRACE,
            waiting=runtime.health.waiting,
        )
        runtime.metrics.append(timers.metrics)
        await runtime.run(EscalationHandler(timers), stop, background=(timers.watch_clock, timers.work))
