"""Apache Kafka on this machine's Java, fetched once per user with Maven; KRaft, loopback listeners only."""

import base64
import os
import re
import shutil
import subprocess
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.local.cache import cache_dir, locked
from deploy.local.errors import FetchError, StackError
from deploy.local.parts import ProcessPart, Product, Say
from deploy.local.process import Launch, tail
from deploy.local.wire import cluster_view

POM = Path(__file__).with_name("broker") / "pom.xml"


def kafka_version() -> str:
    """The version that the pom asks for."""
    found = re.search(r"<kafka\.version>(.+)</kafka\.version>", POM.read_text())
    if found is None:
        raise StackError(f"{POM} names no kafka.version")
    return found[1]


def jars_dir() -> Path:
    """Where the jars of this version of Kafka are kept, for all checkouts of a user."""
    return cache_dir() / "kafka" / kafka_version() / "lib"


def java() -> str | None:
    """The java command: that of JAVA_HOME, else the first on PATH."""
    home = os.environ.get("JAVA_HOME")
    if home and (Path(home) / "bin" / "java").is_file():
        return str(Path(home) / "bin" / "java")
    return shutil.which("java")


def java_version(output: str) -> int | None:
    """The major version in what `java -version` printed: 17 for "17.0.15", 8 for "1.8.0_402"."""
    found = re.search(r'version "(?:1\.)?(\d+)', output)
    return int(found[1]) if found else None


def installed_java() -> int | None:
    """The major version of the java command; None without one."""
    command = java()
    if command is None:
        return None
    try:
        answer = subprocess.run([command, "-version"], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return java_version(answer.stderr + answer.stdout)


def fetch_jars(say: Say) -> Path:
    """The folder of jars in the user's cache, filled with Maven the first time. Errors: FetchError with Maven's words."""
    lib = jars_dir()
    with locked(lib.parent):
        if lib.is_dir():
            return lib
        maven = shutil.which("mvn")
        if maven is None:
            raise FetchError("Apache Kafka is not in the cache and Maven (mvn) is not installed to fetch it")
        say(f"fetching Apache Kafka {kafka_version()} with Maven (once, about 110 MB) …")
        partial, log = lib.with_name("lib.part"), lib.with_name("maven.log")
        shutil.rmtree(partial, ignore_errors=True)
        command = [maven, "-B", "-q", "-Dstyle.color=never", "-f", str(POM)]
        with log.open("wb") as output:
            done = subprocess.run(
                [*command, "dependency:copy-dependencies", f"-DoutputDirectory={partial}"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                check=False,
            )
        if done.returncode != 0 or not any(partial.glob("kafka_*.jar")):
            raise FetchError(f"Maven could not fetch Apache Kafka; is the network there? Its words ({log}):\n{tail(log)}")
        partial.rename(lib)
    return lib


def new_cluster_id() -> str:
    """A cluster id as Kafka writes them: 22 characters; one that starts with a dash reads as an option."""
    while (text := base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")).startswith("-"):
        pass
    return text


def render_properties(node: int, *, ports: Sequence[int], controller_ports: Sequence[int], log_dir: Path) -> str:
    """`server.properties` of node 1 … n of a cluster whose nodes are all broker and controller on 127.0.0.1."""
    count = len(ports)
    voters = ",".join(f"{n}@127.0.0.1:{port}" for n, port in enumerate(controller_ports, 1))
    replicas = min(3, count)
    listeners = f"PLAINTEXT://127.0.0.1:{ports[node - 1]}"
    settings: dict[str, object] = {
        "process.roles": "broker,controller",
        "node.id": node,
        "controller.quorum.voters": voters,
        "controller.listener.names": "CONTROLLER",
        "listeners": f"{listeners},CONTROLLER://127.0.0.1:{controller_ports[node - 1]}",
        "advertised.listeners": listeners,
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dirs": log_dir,
        # Topics are created with their partition counts before anything runs; a typing error must not make one.
        "auto.create.topics.enable": "false",
        "default.replication.factor": replicas,
        "min.insync.replicas": max(1, replicas - 1),
        "offsets.topic.replication.factor": replicas,
        "offsets.topic.num.partitions": 8,
        "transaction.state.log.replication.factor": replicas,
        "transaction.state.log.min.isr": max(1, replicas - 1),
        "transaction.state.log.num.partitions": 4,
        "share.coordinator.state.topic.replication.factor": replicas,
        "share.coordinator.state.topic.min.isr": max(1, replicas - 1),
        # A group of a machine need not wait for late members, and tests kill members and cannot wait 45 s.
        "group.initial.rebalance.delay.ms": 0,
        "group.min.session.timeout.ms": 1000,
        # After a SIGKILL the broker may only come back when its former self has expired; the default is 9 s.
        "broker.session.timeout.ms": 3000,
        "broker.heartbeat.interval.ms": 500,
        # The defaults suit a server: the cleaner alone would take half of the heap.
        "log.cleaner.dedupe.buffer.size": 16 * 1024 * 1024,
        "num.network.threads": 2,
        "num.io.threads": 4,
        "num.recovery.threads.per.data.dir": 2,
    }
    return "".join(f"{key}={value}\n" for key, value in settings.items())


@dataclass(frozen=True)
class Kafka(ProcessPart):
    """A cluster of one or three nodes under `home`, on fixed ports."""

    home: Path
    logs: Path
    ports: Sequence[int]
    controller_ports: Sequence[int]

    @property
    def product(self) -> Product:
        return Product("kafka", "Apache Kafka", kafka_version())

    @property
    def address(self) -> str:
        return ",".join(f"127.0.0.1:{port}" for port in self.ports)

    def prepare(self, say: Say) -> None:
        lib = fetch_jars(say)
        self.home.mkdir(parents=True, exist_ok=True)
        cluster = self.home / "cluster-id"
        if not cluster.exists():
            cluster.write_text(new_cluster_id())
        for node in range(1, len(self.ports) + 1):
            self._properties(node).write_text(
                render_properties(
                    node,
                    ports=self.ports,
                    controller_ports=self.controller_ports,
                    log_dir=self._data(node),
                )
            )
            if not (self._data(node) / "meta.properties").exists():
                self._format(lib, node, cluster.read_text())

    def launches(self) -> Sequence[Launch]:
        lib = jars_dir()
        return [
            Launch(
                name=f"broker-{node}",
                command=[*_java_command(lib), "kafka.Kafka", str(self._properties(node))],
                cwd=self.home,
                log=self.logs / f"broker-{node}.log",
            )
            for node in range(1, len(self.ports) + 1)
        ]

    def serving(self) -> bool:
        # Each node is asked: one that is not yet registered knows only the others.
        try:
            return all(len(cluster_view("127.0.0.1", port).brokers) == len(self.ports) for port in self.ports)
        except OSError:
            return False

    def _properties(self, node: int) -> Path:
        return self.home / f"node-{node}.properties"

    def _data(self, node: int) -> Path:
        return self.home / f"node-{node}"

    def _format(self, lib: Path, node: int, cluster_id: str) -> None:
        shutil.rmtree(self._data(node), ignore_errors=True)  # what a format that was cut off left behind
        command = ["kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", str(self._properties(node))]
        done = subprocess.run(
            [*_java_command(lib), *command],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        if done.returncode != 0:
            raise StackError(f"Apache Kafka could not format {self._data(node)}:\n{done.stdout}{done.stderr}")


def _java_command(lib: Path) -> list[str]:
    command = java()
    if command is None:
        raise StackError("java is gone from PATH; put it back or choose --stack wheels with another --data folder")
    return [
        command,
        "-Xmx512m",
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
        "-Dorg.slf4j.simpleLogger.log.kafka.server=info",
        "-Dorg.slf4j.simpleLogger.log.org.apache.kafka.coordinator.group=info",
        "-Dorg.slf4j.simpleLogger.showDateTime=true",
        "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSX",
        "-cp",
        f"{lib}/*",
    ]
