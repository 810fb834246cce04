"""The cases service: decides every command on the cases of an order, and keeps file, ledger, thread and history."""

import asyncio

from chassis.service import open_runtime
from chassis.settings import Settings
from engine.programmes import Programmes
from services.cases.handlers import CasesHandler
from services.cases.store import create_indexes

__all__ = ["serve"]


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Run until `stop` is set. Raises what the processing loop cannot go on from."""
    async with open_runtime(settings, CasesHandler.service) as runtime:
        await create_indexes(runtime.database)
        await runtime.run(CasesHandler(runtime.database, Programmes.shipped()), stop)
