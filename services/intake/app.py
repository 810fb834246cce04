"""The intake service: merchants, orders with their protection and facts, and reports from every route."""

import asyncio

from chassis.service import open_runtime
from chassis.settings import Settings
from engine.programmes import Programmes
from services.intake.handlers import IntakeHandler

__all__ = ["serve"]


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Run until `stop` is set. Raises what the processing loop cannot go on from."""
    async with open_runtime(settings, IntakeHandler.service) as runtime:
        handler = IntakeHandler(runtime.database, Programmes.shipped_and(settings.programmes))
        if await runtime.begin(stop):
            await runtime.run(handler, stop)
