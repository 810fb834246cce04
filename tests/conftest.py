"""One real broker and store per test session, and a line that says which they were."""

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import hypothesis
import pytest
from testcontainers.compose import DockerCompose

from deploy.local import Choice, Stack, StackError, start_stack
from deploy.local.docker import COMPOSE_FILE, engine_answers
from deploy.local.ports import free_port

NEEDS_STACK = ("component", "e2e", "chaos")
USED = pytest.StashKey[str]()

# No test depends on how fast the machine is: an example may take as long as it takes.
hypothesis.settings.register_profile("recourse", deadline=None)
hypothesis.settings.load_profile("recourse")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--stack",
        choices=[choice.value for choice in Choice],
        default=Choice.AUTO.value,
        help="what the broker and the store of the session are taken from",
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if item.path.relative_to(here).parts[0] in NEEDS_STACK:
            item.add_marker("stack")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    terminalreporter.write_line(config.stash.get(USED, "stack: not needed by these tests"))


@pytest.fixture(scope="session")
def stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The session's broker and store, empty, with a data folder of their own.

    Taken from RECOURSE_KAFKA_BOOTSTRAP and RECOURSE_MONGO_URI where given, from testcontainers where a Docker engine
    answers, else started on this machine. Tests that share it use a namespace each.
    """
    choice = Choice(request.config.getoption("--stack"))
    with _environment(choice) as environment:
        folder = tmp_path_factory.mktemp("stack")
        try:
            started = start_stack(folder, choice, bound=True, environment=environment)
        except StackError as error:
            pytest.exit(f"the stack of the tests cannot be started: {error}", returncode=3)
        with started:
            request.config.stash[USED] = f"stack: broker {started.broker}, store {started.store}"
            if os.environ.get("RECOURSE_REQUIRE_REAL_BROKER") == "1" and "Tansu" in started.broker.name:
                pytest.exit(
                    f"{started.broker} is not Apache Kafka, which this run requires (Java and Maven are here)",
                    returncode=4,
                )
            yield started


@contextlib.contextmanager
def _environment(choice: Choice) -> Iterator[Mapping[str, str]]:
    """The environment in which the stack is chosen; with containers of the session's own where there is Docker."""
    given = "RECOURSE_KAFKA_BOOTSTRAP" in os.environ or "RECOURSE_MONGO_URI" in os.environ
    if choice is not Choice.AUTO or given or not engine_answers():
        yield os.environ
        return
    kafka, mongo = free_port(), free_port()
    os.environ |= {"RECOURSE_KAFKA_PORT": str(kafka), "RECOURSE_MONGO_PORT": str(mongo)}  # for the compose file
    with DockerCompose(str(COMPOSE_FILE.parent), compose_file_name=COMPOSE_FILE.name, services=["kafka", "mongo"], wait=True):
        yield {
            **os.environ,
            "RECOURSE_KAFKA_BOOTSTRAP": f"127.0.0.1:{kafka}",
            "RECOURSE_MONGO_URI": f"mongodb://127.0.0.1:{mongo}/?directConnection=true&journal=true",
        }
