"""Free TCP ports on the loopback address."""

import random
import socket
from collections.abc import Collection

from deploy.local.errors import StackError

# Below the range from which the kernel takes the ports of outgoing connections (32768 and up on Linux): a client that
# keeps dialling a broker that is down would otherwise, sooner or later, be connected to itself and hold the port.
LOWEST, HIGHEST = 15_000, 31_999


def is_free(port: int) -> bool:
    """Whether a server could listen on `port` of 127.0.0.1 now (a closed connection's TIME_WAIT does not matter)."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port(taken: Collection[int] = ()) -> int:
    """A port nobody listens on and that is not among `taken`, drawn at random so that two stacks rarely meet."""
    for _ in range(200):
        port = random.randint(LOWEST, HIGHEST)  # noqa: S311 - not a secret
        if port not in taken and is_free(port):
            return port
    raise StackError(f"no free port found between {LOWEST} and {HIGHEST} on 127.0.0.1; stop what holds them")
