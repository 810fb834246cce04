"""Sandboxes of the whole product for e2e tests: real services, two processes each, on the session's broker and store."""

import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from deploy.local import Stack
from tests.e2e.world import World

Start = Callable[..., World]


@pytest.fixture(scope="session")
def start_world(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Start a sandbox of its own: `start_world(clock="2019-07-01T08:00:00Z", instances=1, environment={})`."""
    running: list[subprocess.Popen[bytes]] = []

    def start(*, clock: str, instances: int = 1, environment: Mapping[str, str] | None = None) -> World:
        folder = tmp_path_factory.mktemp("world")
        namespace = f"e2e-{uuid.uuid4().hex[:6]}-"
        command = [sys.executable, "-m", "recourse.main", "up", "--sandbox", "--clock", clock, "--data", str(folder)]
        process = subprocess.Popen(
            [*command, "--instances", str(instances)],
            stdout=subprocess.PIPE,
            stderr=(folder / "up.log").open("wb"),
            env=os.environ
            | {
                "RECOURSE_KAFKA_BOOTSTRAP": stack.kafka_bootstrap,
                "RECOURSE_MONGO_URI": stack.mongo_uri,
                "RECOURSE_NAMESPACE": namespace,
                **(environment or {}),
            },
        )
        running.append(process)
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, _tail(folder)
        return World(json.loads(line), namespace)

    yield start
    for process in running:
        process.send_signal(signal.SIGTERM)
    for process in running:
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()


def _tail(folder: Path) -> str:
    logs = sorted(folder.glob("*.log")) + sorted(folder.glob("logs/*.log"))
    return "\n".join(f"== {log.name}\n{log.read_text(errors='replace')[-3_000:]}" for log in logs)


@pytest.fixture(scope="session")
def world(start_world: Start) -> World:
    """The sandbox that most tests share; each with shops, orders and addresses of its own. Its clock only goes forward."""
    return start_world(clock="2021-02-20T10:00:00Z", instances=2)
