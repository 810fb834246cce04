"""One broker and one store on this machine: start, look up again, restart on the same data and ports, stop."""

import json
import os
import shutil
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Self

from deploy.local import docker, kafka, store, tansu
from deploy.local.cache import locked
from deploy.local.choice import BrokerKind, Choice, Machine, Selection, StoreKind, choose
from deploy.local.errors import FetchError, StackError
from deploy.local.given import GivenBroker, GivenStore
from deploy.local.parts import Part, Product, Say
from deploy.local.ports import free_port, is_free
from deploy.local.process import Child, Launch, start, tail

STATE_FILE = "stack.json"
START_TIMEOUT = 120.0  # seconds; a JVM needs 4 on an idle machine, far more beside a compiler
FREE_SPACE = 1024**3  # bytes: an empty stack takes 150 MB, a broker without space corrupts nothing but stops


def to_stderr(line: str) -> None:
    """The usual place for progress: standard output belongs to results."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def survey(environment: Mapping[str, str] | None = None) -> Machine:
    """Looks at the environment (default: this process's) and at what is installed."""
    values = os.environ if environment is None else environment
    return Machine(
        kafka_address=values.get("RECOURSE_KAFKA_BOOTSTRAP") or None,
        mongo_address=values.get("RECOURSE_MONGO_URI") or None,
        docker=docker.engine_answers(),
        java=kafka.installed_java(),
        maven=shutil.which("mvn") is not None,
        kafka_jars=kafka.jars_dir().is_dir(),
        secantusd_rs=store.native_binary().is_file(),
        tansu=tansu.tansu_installed(),
        secantusd_py=store.wheel_installed(),
    )


@dataclass(frozen=True)
class State:
    """What `stack.json` keeps: everything needed to find, stop or start again the stack of a data folder."""

    broker: Product
    store: Product
    kafka_bootstrap: str
    mongo_uri: str
    brokers: int
    ports: Mapping[str, int] = field(default_factory=dict)
    """By name of listener: broker-1, controller-1, store, …; kept for the next start."""
    processes: Mapping[str, Child] = field(default_factory=dict)
    """By name of launch; empty when stopped. A pid alone proves nothing: see Child."""
    keeper: Child | None = None
    """The supervisor that restarts a process that dies, if there is one."""


def read_state(data_dir: Path) -> State | None:
    """The state file of a data folder; None where no stack was ever started. Errors: StackError if it is damaged."""
    path = data_dir / STATE_FILE
    try:
        raw = json.loads(path.read_text())
        return State(
            broker=Product(**raw["broker"]),
            store=Product(**raw["store"]),
            kafka_bootstrap=raw["kafka_bootstrap"],
            mongo_uri=raw["mongo_uri"],
            brokers=raw["brokers"],
            ports=raw["ports"],
            processes={name: Child(**child) for name, child in raw["processes"].items()},
            keeper=Child(**raw["keeper"]) if raw["keeper"] else None,
        )
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StackError(f"{path} cannot be read ({error}); move the folder away or choose another --data") from error


def write_state(data_dir: Path, state: State) -> None:
    """Keeps the state of a data folder's stack."""
    write_json(data_dir / STATE_FILE, asdict(state))


def write_json(path: Path, value: object, *, mode: int = 0o644) -> None:
    """Replaces the file in one step, so that a reader never sees half of it."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    with open(os.open(partial, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, mode), "w") as file:
        file.write(json.dumps(value, indent=2) + "\n")
    partial.replace(path)


class Stack:
    """A running broker and store. As a context manager it stops on leaving what it started, and only that."""

    def __init__(self, data_dir: Path, state: State, broker: Part, store: Part, *, say: Say, bound: bool, owned: bool) -> None:
        self.data_dir = data_dir
        self.owned = owned
        """Whether this handle started the processes, rather than finding them running."""
        self._state = state
        self._parts = {"broker": broker, "store": store}
        self._say = say
        self._bound = bound

    @property
    def kafka_bootstrap(self) -> str:
        """`host:port[,host:port]` of the brokers."""
        return self._state.kafka_bootstrap

    @property
    def mongo_uri(self) -> str:
        """The store's address, as drivers take it."""
        return self._state.mongo_uri

    @property
    def broker(self) -> Product:
        """What serves as the broker."""
        return self._state.broker

    @property
    def store(self) -> Product:
        """What serves as the store."""
        return self._state.store

    @property
    def brokers(self) -> int:
        """How many brokers the cluster has."""
        return self._state.brokers

    @property
    def pids(self) -> dict[str, int]:
        """Pids by name: `broker-1` …, `store`; none for what runs elsewhere."""
        return {name: child.pid for name, child in self._state.processes.items()}

    def serving(self) -> dict[str, bool]:
        """Whether `broker` and `store` answer now."""
        return {name: part.serving() for name, part in self._parts.items()}

    def start(self) -> None:
        """Starts what is not running and waits until both answer. Errors: StackError with the last words of a log."""
        for role in self._parts:
            self._announce("starting", role)
        began = time.monotonic()
        if self._foreign_keeper() is None:
            for part in self._parts.values():
                part.up()
            self._launch_missing()
        self._await(began, "broker", "store")

    def revive(self) -> list[str]:
        """Starts processes that have died, without waiting; returns their names."""
        return self._launch_missing()

    def restart_broker(self, *, kill: bool = False, node: int = 1) -> None:
        """Stops a broker (`kill`: by SIGKILL) and starts it on the same data and port; returns when it serves."""
        self._restart("broker", f"broker-{node}", kill)

    def restart_store(self, *, kill: bool = False) -> None:
        """The same for the store."""
        self._restart("store", "store", kill)

    def keep(self) -> None:
        """Records this process as the one that restarts what dies; whoever else kills a process waits for that."""
        self._save(replace(self._state, keeper=Child.of(os.getpid())))

    def stop(self) -> None:
        """Stops both; the data stays. Nothing is left running, and pids that are not ours any more are left alone.

        Errors: StackError while a supervisor keeps it: it would only start it again.
        """
        keeper = self._foreign_keeper()
        if keeper is not None:
            raise StackError(f"this stack is kept by `recourse up` (process {keeper.pid}); stop that (kill {keeper.pid})")
        launches = self._launches()
        # The broker first: it still has offsets to write down, and nothing of it needs the store.
        for name, child in self._state.processes.items():
            grace = launches[name].grace if name in launches else 15.0
            child.stop(grace)
        for part in self._parts.values():
            part.down(kill=False)
        self._save(replace(self._state, processes={}, keeper=None))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.owned:
            self.stop()

    def prepare(self) -> None:
        """Downloads, configures and formats what the start needs; repeatable. Errors: StackError."""
        for part in self._parts.values():
            part.prepare(self._say)

    def _launches(self) -> dict[str, Launch]:
        return {launch.name: launch for part in self._parts.values() for launch in part.launches()}

    def _launch_missing(self) -> list[str]:
        started: dict[str, Child] = {}
        for name, launch in self._launches().items():
            child = self._state.processes.get(name)
            if child is None or not child.alive():
                started[name] = start(launch, bound=self._bound)
                # At once, so that a start cut off in the middle leaves nothing that `stop` does not know.
                self._save(replace(self._state, processes={**self._state.processes, **started}))
        return list(started)

    def _restart(self, role: str, name: str, kill: bool) -> None:
        part = self._parts[role]
        launch = self._launches().get(name)
        self._announce("restarting", role)
        began = time.monotonic()
        if launch is None:
            if part.product.kind == "given":
                raise StackError(f"the {role} at a given address is not ours to restart")
            part.down(kill=kill)
            part.up()
        else:
            self._refresh()
            before = self._state.processes[name]
            before.stop(0 if kill else launch.grace)
            if self._foreign_keeper() is not None:
                self._await_successor(name, before)
            else:
                self._launch_missing()
        self._await(began, role)

    def _foreign_keeper(self) -> Child | None:
        keeper = self._state.keeper
        return keeper if keeper is not None and keeper.pid != os.getpid() and keeper.alive() else None

    def _await_successor(self, name: str, before: Child) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        while self._state.processes.get(name) == before:
            if time.monotonic() > deadline:
                raise StackError(f"the supervisor of {self.data_dir} did not restart {name}")
            time.sleep(0.05)
            self._refresh()

    def _await(self, began: float, *roles: str) -> None:
        waiting = list(roles)
        while True:
            for role in [role for role in waiting if self._parts[role].serving()]:
                waiting.remove(role)
                if self._parts[role].product.kind != "given":
                    self._say(f"{self._parts[role].product} up in {time.monotonic() - began:.1f} s")
            if not waiting:
                return
            for name, launch in self._launches().items():
                child = self._state.processes.get(name)
                if child is not None and not child.alive():
                    raise StackError(f"{name} ended while starting; the end of {launch.log}:\n{tail(launch.log)}")
            if time.monotonic() - began > START_TIMEOUT:
                logs = self.data_dir / "logs"
                raise StackError(f"no answer from {' and '.join(waiting)} in {START_TIMEOUT:.0f} s; see {logs}")
            time.sleep(0.1)

    def _announce(self, verb: str, role: str) -> None:
        product = self._parts[role].product
        self._say(f"using {role} {product}" if product.kind == "given" else f"{verb} {product} …")

    def _refresh(self) -> None:
        self._state = read_state(self.data_dir) or self._state

    def _save(self, state: State) -> None:
        self._state = state
        write_state(self.data_dir, state)


def start_stack(
    data_dir: Path,
    choice: Choice = Choice.AUTO,
    *,
    brokers: int = 1,
    bound: bool = False,
    environment: Mapping[str, str] | None = None,
    say: Say = to_stderr,
) -> Stack:
    """Starts broker and store with their data under `data_dir`, or finds them running there.

    `bound`: they end with this process, even when it is killed. Order of choice: addresses in RECOURSE_KAFKA_BOOTSTRAP
    and RECOURSE_MONGO_URI of `environment` (default: this process's), Docker, Apache Kafka on Java with the native
    store, wheels. Errors: StackError.
    """
    if brokers not in (1, 3):
        raise StackError(f"{brokers} brokers: a stack has 1 or 3")
    data_dir = data_dir.absolute()
    with locked(data_dir):
        held = read_state(data_dir)
        if held is not None and any(child.alive() for child in held.processes.values()):
            return _join(data_dir, held, say=say, bound=bound)
        _check_space(data_dir)
        selection, machine = _select(choice, survey(environment), brokers, held)
        stack = _assemble(data_dir, selection, machine, held, brokers, say=say, bound=bound)
        try:
            stack.prepare()
        except FetchError as error:
            if choice is not Choice.AUTO or held is not None:
                raise
            say(f"{error}\ntaking the wheels instead")
            selection, machine = _select(choice, replace(machine, java=None), brokers, held)
            stack = _assemble(data_dir, selection, machine, held, brokers, say=say, bound=bound)
            stack.prepare()
        try:
            stack.start()
        except BaseException:
            stack.stop()
            raise
        return stack


def attach_stack(data_dir: Path, *, say: Say = to_stderr) -> Stack:
    """A handle on the stack of a data folder, running or stopped. Errors: StackError where none was ever started."""
    data_dir = data_dir.absolute()
    held = read_state(data_dir)
    if held is None:
        raise StackError(f"no stack was ever started in {data_dir}; `recourse stack start --data {data_dir}` does it")
    return _handle(data_dir, held, say=say, bound=False, owned=False)


def _join(data_dir: Path, held: State, *, say: Say, bound: bool) -> Stack:
    stack = _handle(data_dir, held, say=say, bound=bound, owned=False)
    say(f"already running in {data_dir}: {held.broker} and {held.store}")
    if not all(stack.serving().values()):
        stack.start()
    return stack


def _handle(data_dir: Path, held: State, *, say: Say, bound: bool, owned: bool) -> Stack:
    selection = Selection(BrokerKind(held.broker.kind), StoreKind(held.store.kind))
    addresses = Machine(kafka_address=held.kafka_bootstrap, mongo_address=held.mongo_uri)
    broker, store_part = _parts(data_dir, selection, addresses, held.ports, held.brokers)
    return Stack(data_dir, held, broker, store_part, say=say, bound=bound, owned=owned)


def _select(choice: Choice, machine: Machine, brokers: int, held: State | None) -> tuple[Selection, Machine]:
    if held is not None and held.broker.kind == BrokerKind.KAFKA and held.brokers != brokers:
        raise StackError(f"this data folder holds a cluster of {held.brokers}; start that or choose another --data")
    selection = choose(
        choice,
        machine,
        brokers=brokers,
        # An address binds nobody: the data lies elsewhere.
        held_broker=BrokerKind(held.broker.kind) if held and held.broker.kind != BrokerKind.GIVEN else None,
        held_store=StoreKind(held.store.kind) if held and held.store.kind != StoreKind.GIVEN else None,
    )
    return selection, machine


def _assemble(
    data_dir: Path,
    selection: Selection,
    machine: Machine,
    held: State | None,
    brokers: int,
    *,
    say: Say,
    bound: bool,
) -> Stack:
    ports = _ports(held.ports if held else {}, brokers)
    broker, store_part = _parts(data_dir, selection, machine, ports, brokers)
    state = State(
        broker=broker.product,
        store=store_part.product,
        kafka_bootstrap=broker.address,
        mongo_uri=store_part.address,
        brokers=brokers,
        ports=ports,
    )
    return Stack(data_dir, state, broker, store_part, say=say, bound=bound, owned=True)


def _ports(held: Mapping[str, int], brokers: int) -> dict[str, int]:
    """Those of the last start where they are still free: addresses that somebody noted keep their meaning."""
    names = [f"{kind}-{node}" for node in range(1, brokers + 1) for kind in ("broker", "controller")]
    ports: dict[str, int] = {}
    for name in [*names, "store"]:
        before = held.get(name)
        ports[name] = before if before and is_free(before) else free_port(ports.values())
    return ports


def _parts(data_dir: Path, selection: Selection, machine: Machine, ports: Mapping[str, int], brokers: int) -> tuple[Part, Part]:
    logs = data_dir / "logs"
    compose = docker.Compose(data_dir, ports["broker-1"], ports["store"])
    match selection.broker:
        case BrokerKind.GIVEN:
            broker: Part = GivenBroker(machine.kafka_address or "")
        case BrokerKind.DOCKER:
            broker = docker.DockerPart(compose, "kafka")
        case BrokerKind.KAFKA:
            nodes = range(1, brokers + 1)
            broker = kafka.Kafka(
                home=data_dir / "kafka",
                logs=logs,
                ports=tuple(ports[f"broker-{node}"] for node in nodes),
                controller_ports=tuple(ports[f"controller-{node}"] for node in nodes),
            )
        case BrokerKind.TANSU:
            broker = tansu.Tansu(home=data_dir / "tansu", logs=logs, port=ports["broker-1"])
    match selection.store:
        case StoreKind.GIVEN:
            store_part: Part = GivenStore(machine.mongo_address or "")
        case StoreKind.DOCKER:
            store_part = docker.DockerPart(compose, "mongo")
        case StoreKind.SECANTUSD_RS | StoreKind.SECANTUSD_PY as kind:
            store_part = store.Secantus(kind, home=data_dir / kind, logs=logs, port=ports["store"])
    return broker, store_part


def _check_space(data_dir: Path) -> None:
    free = shutil.disk_usage(data_dir).free
    if free < FREE_SPACE:
        raise StackError(
            f"only {free // 1024**2} MB are free where {data_dir} lies, a stack needs {FREE_SPACE // 1024**2}; free "
            "some space or choose --data on another disk"
        )
