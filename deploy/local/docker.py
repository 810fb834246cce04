"""Broker and store as containers, from deploy/compose.yaml, where a Docker engine answers."""

import hashlib
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.local.errors import StackError
from deploy.local.parts import Product, Say
from deploy.local.process import Launch
from deploy.local.store import answers
from deploy.local.wire import cluster_view

COMPOSE_FILE = Path(__file__).parents[1] / "compose.yaml"


def engine_answers() -> bool:
    """Whether a Docker engine answers and its compose plugin is installed."""
    if shutil.which("docker") is None:
        return False
    try:
        for command in (["docker", "info"], ["docker", "compose", "version"]):
            if subprocess.run(command, capture_output=True, timeout=10, check=False).returncode != 0:
                return False
    except (OSError, subprocess.TimeoutExpired):
        return False
    return True


def image_of(service: str) -> tuple[str, str]:
    """Name and tag of a service's image in the compose file."""
    lines = iter(COMPOSE_FILE.read_text().splitlines())
    for line in lines:
        if line.rstrip() == f"  {service}:":
            break
    for line in lines:
        if line.strip().startswith("image:"):
            name, _, tag = line.split("image:", 1)[1].strip().partition(":")
            return name, tag
    raise StackError(f"{COMPOSE_FILE} has no image for {service}")


@dataclass(frozen=True)
class Compose:
    """One compose project, named after the data folder so that two stacks do not meet; its volumes keep the data."""

    data_dir: Path
    kafka_port: int
    mongo_port: int

    @property
    def project(self) -> str:
        return "recourse-" + hashlib.sha256(str(self.data_dir.resolve()).encode()).hexdigest()[:10]

    @property
    def environment(self) -> Mapping[str, str]:
        return {"RECOURSE_KAFKA_PORT": str(self.kafka_port), "RECOURSE_MONGO_PORT": str(self.mongo_port)}

    def run(self, *arguments: str) -> None:
        """`docker compose …` for this project. Errors: StackError with what Docker said."""
        done = subprocess.run(
            ["docker", "compose", "-f", str(COMPOSE_FILE), "-p", self.project, *arguments],
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise StackError(f"docker compose {' '.join(arguments)} failed:\n{done.stdout}{done.stderr}")


@dataclass(frozen=True)
class DockerPart:
    """One service of the project: `kafka` or `mongo`."""

    compose: Compose
    service: str

    @property
    def product(self) -> Product:
        name = {"kafka": "Apache Kafka", "mongo": "MongoDB"}[self.service]
        return Product("docker", f"{name} (Docker)", image_of(self.service)[1])

    @property
    def address(self) -> str:
        if self.service == "kafka":
            return f"127.0.0.1:{self.compose.kafka_port}"
        # Without the journal an acknowledged write can be lost when the store is killed.
        return f"mongodb://127.0.0.1:{self.compose.mongo_port}/?directConnection=true&journal=true"

    def prepare(self, say: Say) -> None:
        self.compose.run("pull", "--quiet", "--policy", "missing", self.service)

    def launches(self) -> Sequence[Launch]:
        return []

    def serving(self) -> bool:
        if self.service == "mongo":
            return answers(self.address)
        try:
            return len(cluster_view("127.0.0.1", self.compose.kafka_port).brokers) == 1
        except OSError:
            return False

    def up(self) -> None:
        self.compose.run("up", "--detach", self.service)

    def down(self, *, kill: bool) -> None:
        self.compose.run("kill" if kill else "stop", self.service)
