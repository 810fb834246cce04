"""A web server and a mail server that do nothing with what they get, as a process: what HTTP and SMTP cost by
themselves, by the libraries that the product uses."""

import asyncio
import sys

import uvicorn
import uvloop
from aiosmtpd.smtp import SMTP, Envelope, Session
from litestar import Litestar, MediaType, Request, post
from litestar.datastructures import State

__all__ = ["main"]


class _Taken:
    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        return "250 taken"


@post("/", media_type=MediaType.JSON, status_code=200)
async def _echo(request: Request[None, None, State]) -> bytes:
    return await request.body()


async def _serve(http_port: int, smtp_port: int) -> None:
    """Until the process is ended."""
    mail = await asyncio.get_running_loop().create_server(lambda: SMTP(_Taken(), hostname="bare"), "127.0.0.1", smtp_port)
    web = uvicorn.Server(
        uvicorn.Config(
            Litestar([_echo], openapi_config=None),
            port=http_port,
            http="httptools",
            ws="none",
            lifespan="off",
            access_log=False,
            log_config=None,
        )
    )
    async with mail:
        await web.serve()


def main() -> None:
    """`python -m recourse.benching.bare HTTP_PORT SMTP_PORT`, both on loopback."""
    http_port, smtp_port = (int(port) for port in sys.argv[1:])
    uvloop.run(_serve(http_port, smtp_port))


if __name__ == "__main__":
    main()
