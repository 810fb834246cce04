"""The HTTP server inside the service's process: started and stopped with everything else."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

__all__ = ["HttpServer", "listening"]


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals belong to whoever runs the service."""
        yield


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens, so that clients wait for the server instead of being refused. Raises OSError."""
    listener = socket.create_server((host, port), backlog=1024, reuse_port=False)
    listener.setblocking(False)
    return listener


class HttpServer:
    """Serves an ASGI application on a socket until it is cancelled; requests in hand are then given some seconds."""

    def __init__(self, app: Any, listener: socket.socket) -> None:
        config = uvicorn.Config(
            app,
            loop="none",
            http="httptools",
            ws="none",
            lifespan="off",
            interface="asgi3",
            access_log=False,
            log_config=None,
            server_header=False,
            date_header=True,
            proxy_headers=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=5,
            backlog=1024,
        )
        self._server = _Server(config)
        self._listener = listener

    async def serve(self) -> None:
        """Run until cancelled."""
        serving = asyncio.create_task(self._server.serve(sockets=[self._listener]))
        try:
            await asyncio.shield(serving)
        except asyncio.CancelledError:
            self._server.should_exit = True
            await serving
            raise
