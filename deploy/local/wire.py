"""One question to a Kafka broker, without a client library: who is in the cluster?

A listening port is not yet a broker that serves: until it is registered, clients are told of nobody.
"""

import socket
import struct
from dataclasses import dataclass

METADATA, METADATA_VERSION = 3, 4
_ANSWER_S = 2.0


@dataclass(frozen=True)
class ClusterView:
    """A cluster as one of its brokers tells it."""

    cluster_id: str
    brokers: tuple[int, ...]
    """Node ids of the brokers that serve."""


def cluster_view(host: str, port: int) -> ClusterView:
    """Asks for the cluster's metadata without any topic. Errors: OSError when nobody answers in two seconds."""
    header = struct.pack(">hhih", METADATA, METADATA_VERSION, 1, -1)
    request = header + struct.pack(">i?", 0, False)
    with socket.create_connection((host, port), timeout=_ANSWER_S) as connection:
        connection.sendall(struct.pack(">i", len(request)) + request)
        (length,) = struct.unpack(">i", _read(connection, 4))
        return parse_metadata(_read(connection, length))


def _read(connection: socket.socket, length: int) -> bytes:
    data = b""
    while len(data) < length:
        part = connection.recv(length - len(data))
        if not part:
            raise ConnectionError("the broker closed the connection")
        data += part
    return data


def parse_metadata(data: bytes) -> ClusterView:
    """Reads the body of an answer, after its length."""
    position = 8  # correlation id, throttle time

    def number(form: str) -> int:
        nonlocal position
        (value,) = struct.unpack_from(form, data, position)
        position += struct.calcsize(form)
        return value

    def text() -> str:
        nonlocal position
        length = number(">h")
        if length < 0:
            return ""
        position += length
        return data[position - length : position].decode()

    brokers: list[int] = []
    for _ in range(number(">i")):
        brokers.append(number(">i"))
        text()  # host
        number(">i")  # port
        text()  # rack
    return ClusterView(cluster_id=text(), brokers=tuple(sorted(brokers)))
