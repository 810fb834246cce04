"""`recourse run`: services alone, in this process, against addresses given; what a container runs."""

import asyncio
import dataclasses
import gc
import importlib
import logging
import signal
import socket
from typing import Annotated, Protocol, cast

import typer
import uvloop

from chassis.settings import Settings, SettingsError
from contracts.topics import Service
from engine.programmes import ProgrammeError, Programmes
from recourse.failing import failing_clearly

log = logging.getLogger(__name__)


class App(Protocol):
    """What the module `services.<name>.app` offers."""

    async def serve(self, settings: Settings, stop: asyncio.Event) -> None:
        """Runs until `stop` is set, then puts everything in order and returns."""
        ...


def run(
    services: Annotated[list[Service], typer.Argument(help="The services to run in this process.")],
) -> None:
    """Run services against RECOURSE_KAFKA_BOOTSTRAP and RECOURSE_MONGO_URI until SIGTERM or Ctrl-C."""
    with failing_clearly(SettingsError, ProgrammeError):
        settings = Settings.from_environment()
        Programmes.shipped_and(settings.programmes)
    logging.basicConfig(level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    chosen = list(dict.fromkeys(services))
    # One process loads the code of its own services only: importing all of them costs memory in each.
    apps = {service: cast(App, importlib.import_module(f"services.{service}.app")) for service in chosen}
    _settle_the_collector()
    with failing_clearly(SettingsError), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        failed = runner.run(_serve({service: (apps[service], own) for service, own in _shares(settings, chosen)}))
    if failed:
        raise typer.Exit(1)


def _settle_the_collector() -> None:
    """What is loaded by now stays for good, and the batches in hand are no garbage: a collector that looks at both again and
    again takes a quarter of a service's time. What is done with is free at once but for cycles, and of those a service makes a
    few objects a request and none a batch: the collector comes when many more are new than the batches in hand can be."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(500_000, 10, 10)


def _shares(settings: Settings, services: list[Service]) -> list[tuple[Service, Settings]]:
    """The settings of each service: with several in one process each has an instance name and a health port.

    Without a given name the host's makes the difference: that of a container or pod is its own and outlives a restart.
    """
    host = socket.gethostname()
    if len(services) == 1:
        return [(services[0], dataclasses.replace(settings, instance=settings.instance or f"{services[0]}-{host}"))]
    return [
        (
            service,
            dataclasses.replace(
                settings,
                instance=f"{service}-{settings.instance or host}",
                health_port=settings.health_port + place if settings.health_port else 0,
            ),
        )
        for place, service in enumerate(services)
    ]


async def _serve(apps: dict[Service, tuple[App, Settings]]) -> bool:
    """Runs all until a signal comes or one ends by itself, which stops the others; True if one failed. Raises SettingsError
    for a setting that one of them cannot do without or cannot read."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)

    async def one(service: Service, app: App, settings: Settings) -> bool:
        try:
            await app.serve(settings, stop)
        except SettingsError:
            raise
        except Exception:
            log.exception("%s failed", service)
            return True
        else:
            if not stop.is_set():
                log.error("%s ended by itself", service)
            return not stop.is_set()
        finally:
            stop.set()

    ended = await asyncio.gather(*(one(service, *share) for service, share in apps.items()), return_exceptions=True)
    for error in ended:
        if isinstance(error, BaseException):
            raise error
    return any(ended)


if __name__ == "__main__":
    # Without the frames of pretty exceptions, which a log file only makes harder to read.
    alone = typer.Typer(pretty_exceptions_enable=False, add_completion=False)
    alone.command()(run)
    alone()
