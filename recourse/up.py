"""`recourse up`: broker, store, the sandbox's mail server and payment provider, and all services under one supervisor."""

import asyncio
import json
import os
import secrets
import signal
import sys
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

import typer

from chassis.kafka import ensure_topics
from chassis.settings import Settings, SettingsError
from contracts.base import parse_moment
from contracts.mailboxes import reply_domain
from contracts.topics import Service
from deploy.local import Choice, Stack, StackError, start_stack
from deploy.local.cache import locked
from deploy.local.choice import BrokerKind
from deploy.local.ports import free_port, is_free
from deploy.local.process import Launch
from deploy.local.stack import to_stderr, write_json
from engine.programmes import ProgrammeError, Programmes
from recourse.failing import failing_clearly
from recourse.instances import ONE_OF_EACH, Instances, InstancesOption, service_names
from recourse.supervisor import Kept, Supervisor

FIRST_GATEWAY = "gateway-1.http"
"""The port in the links of mails: the same whether one gateway runs or several."""
READY_FILE, OWN_FILE = "ready.json", "up.json"
_MEMORY = {"MALLOC_ARENA_MAX": "2", "MALLOC_TRIM_THRESHOLD_": "1048576", "MALLOC_MMAP_THRESHOLD_": "131072"}
"""Gives what a batch took back to the machine, and no arena to each thread of the store's driver: 30 MB less a service."""


def up(
    sandbox: Annotated[
        bool, typer.Option("--sandbox", help="A test clock that can be moved, mails and payments that stay here.")
    ] = False,
    clock: Annotated[str | None, typer.Option(help="Where the sandbox's clock starts, e.g. 2019-07-15T00:00:00Z.")] = None,
    data: Annotated[Path, typer.Option(help="Folder that keeps data, logs and keys.")] = Path(".recourse"),
    port: Annotated[int | None, typer.Option(min=1, max=65_535, help="Port of the API; a free one if not given.")] = None,
    stack: Annotated[Choice, typer.Option(help="What broker and store are taken from.")] = Choice.AUTO,
    instances: InstancesOption = ONE_OF_EACH,
) -> None:
    """Run everything here until Ctrl-C; prints one JSON line when all is ready."""
    with failing_clearly(StackError, SettingsError, ProgrammeError):
        Programmes.shipped_and(os.environ.get("RECOURSE_PROGRAMMES", ""))
        if clock is not None:
            check_clock(clock, sandbox=sandbox)
        if not sandbox and not os.environ.get("RECOURSE_SMTP_URL"):
            raise SettingsError("set RECOURSE_SMTP_URL to the server that sends the mails, or take --sandbox")
        stops = Stops()
        with locked(data, ".up.lock", wait=False):
            own = Own.load(data)
            own.claim_ports(instances, sandbox=sandbox, port=port)
            own.save(data)
            (data / READY_FILE).unlink(missing_ok=True)
            with start_stack(data, stack, bound=True) as running:
                stops.armed = True
                plan = Plan(data.absolute(), own, running, sandbox=sandbox, clock=clock, instances=instances)
                _keep(plan, stops)


def check_clock(text: str, *, sandbox: bool) -> None:
    """Errors: SettingsError for a moment that is none, or for one outside the sandbox."""
    if not sandbox:
        raise SettingsError("--clock needs --sandbox: outside it the clock is the real one")
    try:
        parse_moment(text)
    except ValueError as error:
        raise SettingsError(f"--clock {text}: {error}") from error


class Stops:
    """SIGTERM, SIGINT and SIGHUP: the first asks for a clean stop, a second one for a quick one.

    Until it is `armed` a signal interrupts whatever is going on, such as a download.
    """

    def __init__(self) -> None:
        self.armed = False
        self.asked = threading.Event()
        self._count = 0
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._note)

    def impatient(self) -> bool:
        """Whether a quick stop was asked for."""
        return self._count > 1

    def _note(self, *_: object) -> None:
        if not self.armed:
            raise KeyboardInterrupt
        self._count += 1
        self.asked.set()


@dataclass
class Own:
    """What has to be the same after a restart: keys in scripts, the secret and the address in links of mails."""

    keys: dict[str, str] = field(default_factory=dict)
    secret: str = ""
    ports: dict[str, int] = field(default_factory=dict)

    @classmethod
    def load(cls, data: Path) -> "Own":
        """From the data folder; new keys where there are none yet. Errors: StackError for a damaged file."""
        path = data / OWN_FILE
        try:
            own = cls(**json.loads(path.read_text())) if path.exists() else cls()
        except (OSError, ValueError, TypeError) as error:
            raise StackError(f"{path} cannot be read ({error}); move it away: keys and links change then") from error
        for role in ("platform", "partner"):
            own.keys.setdefault(role, f"{role}_{secrets.token_urlsafe(24)}")
        own.secret = own.secret or secrets.token_urlsafe(32)
        return own

    def save(self, data: Path) -> None:
        """Keeps it in the data folder, for its owner's eyes only."""
        write_json(data / OWN_FILE, asdict(self), mode=0o600)

    def claim_ports(self, instances: Instances, *, sandbox: bool, port: int | None) -> None:
        """A port for everything that listens: that of the last time where it is free. Errors: StackError if `port`
        is taken."""
        names = [f"{name}.health" for name in service_names(instances)]
        gateways = range(1, instances[Service.GATEWAY] + 1)
        names += [f"gateway-{number}.{what}" for number in gateways for what in ("http", "smtp")]
        names += ["mailsink.smtp", "mailsink.http", "payments.http"] if sandbox else []
        if port is not None:
            if not is_free(port):
                raise StackError(f"port {port} is in use; stop what holds it, give another --port or leave it out")
            self.ports = {name: held for name, held in self.ports.items() if held != port} | {FIRST_GATEWAY: port}
        for name in names:
            before = self.ports.get(name)
            if before is None or not is_free(before):
                self.ports[name] = free_port(self.ports.values())


@dataclass(frozen=True)
class Plan:
    """What runs, with which environment, at which address."""

    data: Path
    own: Own
    stack: Stack
    sandbox: bool
    clock: str | None
    instances: Instances

    @property
    def names(self) -> list[str]:
        """The service processes: `cases`, or `cases-1` … of several."""
        return service_names(self.instances)

    @property
    def gateways(self) -> list[str]:
        """Those of them that are gateways."""
        return [name for name in self.names if name.startswith(Service.GATEWAY)]

    @property
    def base_url(self) -> str:
        """What the links in mails begin with: the first gateway."""
        return self.url(FIRST_GATEWAY)

    @property
    def smtp_url(self) -> str:
        """Where mails are sent: the sandbox's own server, else the one of the environment."""
        if self.sandbox:
            return f"smtp://127.0.0.1:{self.own.ports['mailsink.smtp']}"
        return os.environ["RECOURSE_SMTP_URL"]

    @property
    def payments_url(self) -> str:
        """Who pays refunds: the sandbox's own provider, else the one of the environment, if any."""
        if self.sandbox:
            return self.url("payments.http")
        return os.environ.get("RECOURSE_PAYMENTS_URL", "")

    def http_port(self, gateway: str) -> str:
        """The name of a gateway's port."""
        return FIRST_GATEWAY if gateway == Service.GATEWAY else f"{gateway}.http"

    def inbound(self, gateway: str) -> str:
        """Where a gateway takes mails: `host:port`."""
        number = gateway.partition("-")[2] or "1"
        return f"127.0.0.1:{self.own.ports[f'gateway-{number}.smtp']}"

    def url(self, port_name: str) -> str:
        """The address behind the name of a port, see `Own.claim_ports`."""
        return f"http://127.0.0.1:{self.own.ports[port_name]}"

    def environment(self, name: str) -> dict[str, str]:
        """The settings of one service process."""
        service = name.partition("-")[0]
        values = {
            "KAFKA_BOOTSTRAP": self.stack.kafka_bootstrap,
            "KAFKA_IDEMPOTENT": "0" if self.stack.broker.kind == BrokerKind.TANSU else "1",
            "MONGO_URI": self.stack.mongo_uri,
            "INSTANCE": f"{name}-1" if name == service else name,
            "HEALTH_PORT": str(self.own.ports[f"{name}.health"]),
            "SANDBOX": "1" if self.sandbox else "0",
            "BASE_URL": self.base_url,
            "SMTP_URL": self.smtp_url,
            "SECRET": self.own.secret,
            "PAYMENTS_URL": self.payments_url,
            "PROGRAMMES": str(Path(folder).absolute()) if (folder := os.environ.get("RECOURSE_PROGRAMMES")) else "",
            "EVIDENCE_URL": (self.data / "evidence").as_uri(),
        }
        if service == Service.GATEWAY:
            values |= {
                "HTTP_PORT": str(self.own.ports[self.http_port(name)]),
                "INBOUND_PORT": self.inbound(name).rpartition(":")[2],
                "PLATFORM_KEY": self.own.keys["platform"],
                "PARTNER_KEY": self.own.keys["partner"],
            }
            if self.sandbox:
                values["MAILSINK_URL"] = self.url("mailsink.http")
            if self.clock is not None:
                values["CLOCK"] = self.clock
        return {f"RECOURSE_{key}": value for key, value in values.items()} | _MEMORY

    def settings(self) -> Settings:
        """Those of the supervisor itself, for creating topics."""
        return Settings.from_environment({**os.environ, **self.environment(self.names[0])})

    def kept(self) -> list[Kept]:
        """Every process that the supervisor keeps running, in the order of their start."""
        services = [
            Kept(
                Launch(
                    name=name,
                    # -P: nothing in the data folder may pass for a module. Not by `recourse run`, which would load the
                    # code of all verbs into each service.
                    command=[sys.executable, "-P", "-m", "recourse.run", name.partition("-")[0]],
                    cwd=self.data,
                    log=self.data / "logs" / f"{name}.log",
                    environment=self.environment(name),
                ),
                health=f"{self.url(f'{name}.health')}/health",
            )
            for name in self.names
        ]
        return [*self._outside(), *services]

    def _outside(self) -> list[Kept]:
        """What stands for the world outside in the sandbox: its mail server and its payment provider."""
        return [self._mailsink(), self._payments()] if self.sandbox else []

    def _mailsink(self) -> Kept:
        ports = self.own.ports
        options = ["--smtp-port", str(ports["mailsink.smtp"]), "--http-port", str(ports["mailsink.http"])]
        settings = self.settings()
        options += ["--own-domain", reply_domain(settings.reply_domain, settings.mail_from)]
        options += [option for gateway in self.gateways for option in ("--inbound", self.inbound(gateway))]
        command = [sys.executable, "-P", "-m", "deploy.local.mailsink", *options, "--data", str(self.data / "mails")]
        launch = Launch("mailsink", command, cwd=self.data, log=self.data / "logs" / "mailsink.log")
        return Kept(launch, health=f"{self.url('mailsink.http')}/health")

    def _payments(self) -> Kept:
        options = ["--port", str(self.own.ports["payments.http"]), "--data", str(self.data / "payments")]
        command = [sys.executable, "-P", "-m", "deploy.local.payments", *options]
        launch = Launch("payments", command, cwd=self.data, log=self.data / "logs" / "payments.log")
        return Kept(launch, health=f"{self.url('payments.http')}/health")

    def ready(self, pids: Mapping[str, int]) -> dict[str, object]:
        """The content of ready.json."""
        services = {
            name: {
                "pid": pids[name],
                "health": f"{self.url(f'{name}.health')}/health",
                "metrics": f"{self.url(f'{name}.health')}/metrics",
                **(
                    {"url": self.url(self.http_port(name)), "inbound_smtp": f"smtp://{self.inbound(name)}"}
                    if name in self.gateways
                    else {}
                ),
            }
            for name in self.names
        }
        return {
            "base_url": self.base_url,
            "kafka": self.stack.kafka_bootstrap,
            "mongo": self.stack.mongo_uri,
            "smtp": self.smtp_url,
            "inbound_smtp": f"smtp://{self.inbound(self.gateways[0])}",
            "stack": {"broker": str(self.stack.broker), "store": str(self.stack.store)},
            "services": services,
            "keys": self.own.keys,
        }


def _keep(plan: Plan, stops: Stops) -> None:
    """Starts everything of the plan and keeps it running until a stop is asked for."""
    if plan.stack.owned:
        plan.stack.keep()
    (plan.data / "evidence").mkdir(exist_ok=True)
    asyncio.run(ensure_topics(plan.settings()))
    supervisor = Supervisor(plan.kept(), say=to_stderr, stop=stops.asked)
    to_stderr(f"starting {', '.join(plan.names)} …")
    try:
        if supervisor.start():
            _announce(plan, supervisor, first=True)
            while not stops.asked.wait(0.2):
                if supervisor.tend():
                    _announce(plan, supervisor)
                if plan.stack.owned:
                    _tend_stack(plan)
    finally:
        to_stderr("stopping …")
        (plan.data / READY_FILE).unlink(missing_ok=True)
        supervisor.stop(impatient=stops.impatient)


def _announce(plan: Plan, supervisor: Supervisor, *, first: bool = False) -> None:
    ready = plan.ready(supervisor.pids)
    write_json(plan.data / READY_FILE, ready, mode=0o600)
    if first:
        typer.echo(json.dumps(ready))
        sys.stdout.flush()
        to_stderr(f"ready at {plan.base_url} (keys in {plan.data / READY_FILE}); Ctrl-C stops everything")


def _tend_stack(plan: Plan) -> None:
    try:
        revived = plan.stack.revive()
    except StackError as error:
        to_stderr(str(error))
        return
    if revived:
        to_stderr(f"{', '.join(revived)} had ended; started again")
    if plan.stack.broker.kind == BrokerKind.TANSU and any(name.startswith("broker") for name in revived):
        # It keeps its topics in memory only: without them nothing could go on.
        plan.stack.start()
        asyncio.run(ensure_topics(plan.settings()))
