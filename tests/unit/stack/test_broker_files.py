"""What is written for Apache Kafka, what is read from Java, Maven's file and the wire."""

import re
import struct
from pathlib import Path

import pytest
import yaml

from deploy.local.docker import COMPOSE_FILE, Compose, DockerPart, image_of
from deploy.local.kafka import java_version, kafka_version, new_cluster_id, render_properties
from deploy.local.wire import ClusterView, parse_metadata


def properties(text: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in text.splitlines())


def test_one_node() -> None:
    made = properties(render_properties(1, ports=[15001], controller_ports=[15002], log_dir=Path("/data/node-1")))
    assert made["listeners"] == "PLAINTEXT://127.0.0.1:15001,CONTROLLER://127.0.0.1:15002"
    assert made["advertised.listeners"] == "PLAINTEXT://127.0.0.1:15001"
    assert made["controller.quorum.voters"] == "1@127.0.0.1:15002"
    assert made["auto.create.topics.enable"] == "false"
    assert made["group.initial.rebalance.delay.ms"] == "0"
    assert (made["offsets.topic.replication.factor"], made["min.insync.replicas"]) == ("1", "1")


def test_three_nodes_replicate_and_survive_one() -> None:
    made = properties(render_properties(2, ports=[1, 2, 3], controller_ports=[4, 5, 6], log_dir=Path("/data/node-2")))
    assert made["node.id"] == "2"
    assert made["listeners"] == "PLAINTEXT://127.0.0.1:2,CONTROLLER://127.0.0.1:5"
    assert made["controller.quorum.voters"] == "1@127.0.0.1:4,2@127.0.0.1:5,3@127.0.0.1:6"
    assert (made["default.replication.factor"], made["min.insync.replicas"]) == ("3", "2")


def test_nothing_listens_beyond_this_machine() -> None:
    made = render_properties(1, ports=[1], controller_ports=[2], log_dir=Path("/data"))
    assert re.findall(r"//([^:,]+):", made) == ["127.0.0.1"] * 3


@pytest.mark.parametrize(
    ("printed", "major"),
    [
        ('openjdk version "17.0.15" 2025-04-15', 17),
        ('openjdk version "21" 2023-09-19', 21),
        ('java version "1.8.0_402"', 8),
        ("Error: could not find java.dll", None),
    ],
)
def test_java_versions(printed: str, major: int | None) -> None:
    assert java_version(printed) == major


def test_cluster_ids_are_no_options() -> None:
    for _ in range(300):
        assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]{21}", new_cluster_id())


def test_metadata_of_a_cluster() -> None:
    def text(value: str) -> bytes:
        return struct.pack(">h", len(value)) + value.encode()

    nodes = b"".join(struct.pack(">i", n) + text("127.0.0.1") + struct.pack(">ih", 9092 + n, -1) for n in (2, 1))
    answer = struct.pack(">iii", 1, 0, 2) + nodes + text("cluster") + struct.pack(">ii", 1, 0)
    assert parse_metadata(answer) == ClusterView("cluster", (1, 2))


def test_docker_runs_the_same_broker_as_java() -> None:
    assert image_of("kafka") == ("apache/kafka", kafka_version())
    assert image_of("mongo")[0] == "mongo"


def test_containers_publish_on_loopback_only() -> None:
    services = yaml.safe_load(COMPOSE_FILE.read_text())["services"]
    ports = {name: service["ports"] for name, service in services.items()}
    assert ports.keys() == {"kafka", "mongo"}
    assert all(published and all(port.startswith("127.0.0.1:") for port in published) for published in ports.values())


def test_two_data_folders_are_two_compose_projects(tmp_path: Path) -> None:
    one, other = (Compose(tmp_path / name, 15001, 15002) for name in ("one", "other"))
    assert one.project != other.project
    assert DockerPart(one, "kafka").address == "127.0.0.1:15001"
