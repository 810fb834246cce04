"""The escalation service: time and attention. Deadlines and reminders, the decision matrix, issue rates, outages."""

import asyncio
from datetime import timedelta
from operator import attrgetter

from chassis.latest import Latest
from chassis.service import open_runtime
from chassis.settings import Settings
from contracts.outages import ALL_WELL, UNHEARD
from engine.programmes import Programmes
from services.escalation.handlers import EscalationHandler
from services.escalation.matrix import Matrix
from services.escalation.rates import Rates
from services.escalation.store import TimerStore
from services.escalation.timers import GRACE, Timers

__all__ = ["serve"]

_GATHER_S = 0.2
"""How long events gather: what follows from them, timers, rules and rates, is nothing that anybody waits for."""


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Run until `stop` is set. Raises SettingsError without a secret, and what the processing loop or the timers cannot go on
    from."""
    settings.require("secret")
    async with open_runtime(settings, "escalation") as runtime:
        store = TimerStore(runtime.database)
        record = Latest(ALL_WELL if settings.sandbox else UNHEARD, attrgetter("number"))
        timers = Timers(
            store,
            runtime.publisher,
            runtime.clock,
            instance=settings.instance,
            grace=timedelta() if settings.sandbox else GRACE,
            record=record,
            health=runtime.health,
        )
        runtime.hearers += [record.hear, timers.hear]
        runtime.metrics.append(timers.metrics)
        programmes = Programmes.shipped_and(settings.programmes)
        matrix = Matrix(runtime.database, programmes, settings.secret)
        rates = Rates(runtime.database, programmes)
        handler = EscalationHandler(timers, store, matrix, rates, programmes)
        if await runtime.begin(stop, matrix.create_indexes, rates.create_indexes):
            await runtime.run(handler, stop, background=(timers.watch_clock, timers.work), gather_s=_GATHER_S)
