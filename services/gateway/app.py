"""The gateway service: every way in (API, pages, forms, mails by SMTP), the read models behind it, and mass actions."""

import asyncio
import socket
from collections.abc import Mapping
from contextlib import ExitStack, suppress

from chassis.barrier import Barrier
from chassis.clock import RealClock
from chassis.service import Runtime, open_runtime
from chassis.settings import Settings
from contracts.outages import ALL_WELL, UNHEARD
from engine.programmes import Programmes
from services.gateway.api import create_app
from services.gateway.commands import Commands
from services.gateway.context import Gateway
from services.gateway.heads import with_head
from services.gateway.idempotency import Idempotency
from services.gateway.inbound.listener import Listener
from services.gateway.inbound.mailroom import Mailroom
from services.gateway.inbound.store import MailStore
from services.gateway.mass import MassActions
from services.gateway.objects import Objects
from services.gateway.outages import Outages
from services.gateway.principals import Principals
from services.gateway.projector import Projector
from services.gateway.sandbox import SandboxControl
from services.gateway.server import HttpServer, listening
from services.gateway.store import PointReads, create_indexes
from services.gateway.waiting import Waiting

__all__ = ["serve"]


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Run until `stop` is set. Raises SettingsError where key or secret is missing or the place of evidence cannot be read, and
    what the processing loop cannot go on from."""
    settings.require("secret", "platform_key")
    with ExitStack() as sockets:
        listener = sockets.enter_context(listening(settings.http_host, settings.http_port))
        inbound = None
        if settings.inbound_port:
            inbound = sockets.enter_context(listening(settings.inbound_host, settings.inbound_port))
        async with open_runtime(settings, Projector.service) as runtime:
            await _run(settings, runtime, listener, inbound, stop)


async def _run(
    settings: Settings, runtime: Runtime, listener: socket.socket, inbound: socket.socket | None, stop: asyncio.Event
) -> None:
    reads = PointReads(runtime.database)
    waiting = Waiting(settings, reads)
    barrier = Barrier(settings, runtime.publisher) if settings.sandbox else None
    control = None if barrier is None else SandboxControl(runtime.database, runtime.publisher, barrier)
    commands = Commands(runtime.database, reads, runtime.publisher, waiting, runtime.clock)
    mass = MassActions(runtime.database, reads, commands, runtime.clock)
    first = UNHEARD if barrier is None else ALL_WELL
    outages = Outages(runtime.database, runtime.publisher, runtime.clock, runtime.health, first)
    runtime.hearers.append(outages.heard.hear)
    gateway = Gateway(
        settings=settings,
        database=runtime.database,
        reads=reads,
        clock=runtime.clock,
        programmes=Programmes.shipped_and(settings.programmes),
        principals=Principals(settings, reads),
        idempotency=Idempotency(runtime.database),
        commands=commands,
        objects=settings.read("evidence_url", Objects),
        outages=outages,
        mass=mass,
        sandbox=control,
    )
    mailroom = Mailroom(gateway, MailStore(runtime.database), settings.inbound_authserv)
    runtime.metrics.append(mailroom.metrics)
    server = HttpServer(with_head(create_app(gateway, mailroom)), listener)
    background = [waiting.listen, server.serve, mailroom.work, mass.work]
    if inbound is not None:
        background.append(Listener(mailroom, inbound, f"inbound.{mailroom.domain}").serve)
    if barrier is not None and control is not None:
        background += [barrier.listen, control.look_after]
    else:
        background.append(outages.watch)
    if not await runtime.begin(stop, lambda: create_indexes(runtime.database), mailroom.mails.create_indexes):
        return
    if control is not None:
        await control.start(settings.clock or RealClock().now())

    def in_hand() -> Mapping[str, int]:
        return {"mails": mailroom.pending(), "mass_actions": mass.pending()}

    try:
        await runtime.run(Projector(waiting, in_hand=in_hand), stop, background=background)
    finally:
        if barrier is not None:
            with suppress(Exception):
                await barrier.stop()
