"""The order in which broker and store are chosen, each on its own."""

import pytest

from deploy.local.choice import BrokerKind, Choice, Machine, Selection, StoreKind, choose
from deploy.local.errors import StackError

PYTHON_ONLY = Machine(tansu=True, secantusd_py=True)
JVM = Machine(java=17, maven=True, tansu=True, secantusd_py=True)
EVERYTHING = Machine(
    kafka_address="k:9092",
    mongo_address="mongodb://m",
    docker=True,
    java=21,
    maven=True,
    kafka_jars=True,
    secantusd_rs=True,
    tansu=True,
    secantusd_py=True,
)


@pytest.mark.parametrize(
    ("choice", "machine", "broker", "store"),
    [
        (Choice.AUTO, EVERYTHING, BrokerKind.GIVEN, StoreKind.GIVEN),
        (Choice.DOCKER, EVERYTHING, BrokerKind.DOCKER, StoreKind.DOCKER),
        (Choice.LOCAL, EVERYTHING, BrokerKind.KAFKA, StoreKind.SECANTUSD_RS),
        (Choice.WHEELS, EVERYTHING, BrokerKind.TANSU, StoreKind.SECANTUSD_PY),
        (Choice.AUTO, Machine(docker=True, java=17, maven=True), BrokerKind.DOCKER, StoreKind.DOCKER),
        (Choice.AUTO, JVM, BrokerKind.KAFKA, StoreKind.SECANTUSD_PY),
        (Choice.LOCAL, JVM, BrokerKind.KAFKA, StoreKind.SECANTUSD_PY),
        (Choice.AUTO, PYTHON_ONLY, BrokerKind.TANSU, StoreKind.SECANTUSD_PY),
        (
            Choice.AUTO,
            Machine(kafka_address="k:9092", secantusd_py=True),
            BrokerKind.GIVEN,
            StoreKind.SECANTUSD_PY,
        ),
        (
            Choice.AUTO,
            Machine(mongo_address="mongodb://m", java=17, kafka_jars=True),
            BrokerKind.KAFKA,
            StoreKind.GIVEN,
        ),
        (
            Choice.AUTO,
            Machine(java=11, maven=True, tansu=True, secantusd_rs=True),
            BrokerKind.TANSU,
            StoreKind.SECANTUSD_RS,
        ),
        (Choice.AUTO, Machine(java=17, tansu=True, secantusd_py=True), BrokerKind.TANSU, StoreKind.SECANTUSD_PY),
    ],
)
def test_order(choice: Choice, machine: Machine, broker: BrokerKind, store: StoreKind) -> None:
    assert choose(choice, machine) == Selection(broker, store)


def test_three_brokers_pass_docker_and_wheel_over() -> None:
    machine = Machine(docker=True, java=17, maven=True, tansu=True, secantusd_py=True)
    assert choose(Choice.AUTO, machine, brokers=3).broker is BrokerKind.KAFKA


@pytest.mark.parametrize(
    ("choice", "machine", "brokers", "words"),
    [
        (Choice.DOCKER, PYTHON_ONLY, 1, "no Docker engine answers"),
        (Choice.LOCAL, PYTHON_ONLY, 1, "no Java and no Maven"),
        (Choice.LOCAL, Machine(java=11, maven=True), 1, "Java 11 and Maven"),
        (Choice.WHEELS, Machine(java=17, maven=True), 1, "wheel broker is not installed"),
        (Choice.AUTO, Machine(), 1, "no broker can be started"),
        (Choice.AUTO, Machine(java=17, maven=True), 1, "no store can be started"),
        (Choice.AUTO, PYTHON_ONLY, 3, "3 brokers need Apache Kafka"),
    ],
)
def test_what_is_missing_is_named(choice: Choice, machine: Machine, brokers: int, words: str) -> None:
    with pytest.raises(StackError, match=words):
        choose(choice, machine, brokers=brokers)


def test_a_data_folder_keeps_to_what_wrote_it() -> None:
    better = Machine(java=17, maven=True, secantusd_rs=True, tansu=True, secantusd_py=True)
    held = choose(Choice.AUTO, better, held_broker=BrokerKind.TANSU, held_store=StoreKind.SECANTUSD_PY)
    assert held == Selection(BrokerKind.TANSU, StoreKind.SECANTUSD_PY)


def test_a_data_folder_of_something_else_is_refused() -> None:
    with pytest.raises(StackError, match="written by the broker tansu, which the asked-for stack does not use"):
        choose(Choice.LOCAL, EVERYTHING, held_broker=BrokerKind.TANSU)
    with pytest.raises(StackError, match="written by the store secantusd-rs, which is not available now"):
        choose(Choice.AUTO, JVM, held_store=StoreKind.SECANTUSD_RS)
