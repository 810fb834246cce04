"""The gateway service: the external API, the read models behind it and the pages of mail buttons, in one process."""

import asyncio
import socket
from contextlib import suppress

from chassis.barrier import Barrier
from chassis.clock import RealClock
from chassis.service import Runtime, open_runtime
from chassis.settings import Settings, SettingsError
from engine.programmes import Programmes
from services.gateway.api import create_app
from services.gateway.commands import Commands
from services.gateway.context import Gateway
from services.gateway.idempotency import Idempotency
from services.gateway.objects import Objects
from services.gateway.principals import Principals
from services.gateway.projector import Projector
from services.gateway.sandbox import SandboxControl
from services.gateway.server import HttpServer, listening
from services.gateway.store import PointReads, create_indexes
from services.gateway.waiting import Waiting

__all__ = ["serve"]


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Run until `stop` is set. Raises SettingsError where key or secret is missing, and what the processing loop cannot go on
    from."""
    if not settings.secret or not settings.platform_key:
        raise SettingsError("set RECOURSE_SECRET, which signs links, and RECOURSE_PLATFORM_KEY")
    listener = listening(settings.http_host, settings.http_port)
    with listener:
        async with open_runtime(settings, Projector.service) as runtime:
            await create_indexes(runtime.database)
            await _run(settings, runtime, listener, stop)


async def _run(settings: Settings, runtime: Runtime, listener: socket.socket, stop: asyncio.Event) -> None:
    reads = PointReads(runtime.database)
    waiting = Waiting(settings, reads)
    barrier = Barrier(settings, runtime.publisher) if settings.sandbox else None
    control = None if barrier is None else SandboxControl(runtime.database, runtime.publisher, barrier)
    gateway = Gateway(
        settings=settings,
        database=runtime.database,
        reads=reads,
        clock=runtime.clock,
        programmes=Programmes.shipped(),
        principals=Principals(settings, reads),
        idempotency=Idempotency(runtime.database),
        commands=Commands(runtime.database, reads, runtime.publisher, waiting, runtime.clock),
        objects=Objects(settings.evidence_url),
        sandbox=control,
    )
    server = HttpServer(create_app(gateway), listener)
    background = [waiting.listen, server.serve]
    if barrier is not None and control is not None:
        background += [barrier.listen, control.look_after]
        await control.start(settings.clock or RealClock().now())
    try:
        await runtime.run(Projector(), stop, background=background)
    finally:
        if barrier is not None:
            with suppress(Exception):
                await barrier.stop()
