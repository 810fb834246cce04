"""A broker and a store that somebody else runs, at addresses from the environment."""

from collections.abc import Sequence
from dataclasses import dataclass

from deploy.local.errors import StackError
from deploy.local.parts import ProcessPart, Product, Say
from deploy.local.process import Launch
from deploy.local.store import answers, server_version
from deploy.local.tansu import CLUSTER_ID
from deploy.local.wire import ClusterView, cluster_view


@dataclass(frozen=True)
class GivenBroker(ProcessPart):
    """Brokers that somebody else starts and stops."""

    address: str
    """`host:port,…` as clients take it."""

    @property
    def product(self) -> Product:
        view = self._view()
        wheel = view is not None and view.cluster_id == CLUSTER_ID
        return Product("given", "Tansu (wheel)" if wheel else "Kafka", f"at {self.address}")

    def prepare(self, say: Say) -> None:
        if not self.serving():
            raise StackError(f"no Kafka broker answers at RECOURSE_KAFKA_BOOTSTRAP={self.address}; start it or unset it")

    def launches(self) -> Sequence[Launch]:
        return []

    def serving(self) -> bool:
        view = self._view()
        return view is not None and bool(view.brokers)

    def _view(self) -> ClusterView | None:
        for server in self.address.split(","):
            host, _, port = server.strip().rpartition(":")
            try:
                return cluster_view(host.strip("[]"), int(port))
            except ValueError as error:
                raise StackError(f"RECOURSE_KAFKA_BOOTSTRAP={self.address} is not host:port[,host:port…]") from error
            except OSError:
                continue
        return None


@dataclass(frozen=True)
class GivenStore(ProcessPart):
    """A store that somebody else starts and stops."""

    address: str
    """A mongodb:// URI."""

    @property
    def product(self) -> Product:
        return Product("given", "MongoDB", f"{server_version(self.address) or ''} (address given)".strip())

    def prepare(self, say: Say) -> None:
        if not self.serving():
            raise StackError("no store answers at RECOURSE_MONGO_URI; start it, correct the address or unset it")

    def launches(self) -> Sequence[Launch]:
        return []

    def serving(self) -> bool:
        return answers(self.address)
