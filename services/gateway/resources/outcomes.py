"""Commands that were promised: what became of them."""

from litestar import Response, get
from litestar.params import FromPath

from services.gateway.answers import answer, response_of
from services.gateway.context import Caller, TheGateway
from services.gateway.documented import documented
from services.gateway.requests import AnyRequest
from services.gateway.shown.values import Command

__all__ = ["routes"]


@get(
    "/v1/commands/{command_id:str}",
    operation_id="getCommand",
    summary="What became of a request that was answered with 202",
    opt=documented(answers={200: "How it stands."}, gives=Command),
)
async def get_command(
    request: AnyRequest, gateway: TheGateway, principal: Caller, command_id: FromPath[str]
) -> Response[bytes]:
    """For whoever sent it, for 48 hours."""
    return response_of(answer(200, await gateway.commands.state(principal, command_id)))


routes = (get_command,)
