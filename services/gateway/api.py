"""The HTTP application: every route, who asks, and how errors look."""

from litestar import Litestar
from litestar.di import Provide

from services.gateway import form_pages, home, openapi, pages
from services.gateway.context import Gateway, TheGateway
from services.gateway.documented import as_documented
from services.gateway.inbound.mailroom import Mailroom
from services.gateway.options import with_options
from services.gateway.principals import Principal
from services.gateway.problems import on_error
from services.gateway.requests import AnyRequest
from services.gateway.resources import (
    cases,
    decision_rules,
    desk,
    evidence,
    facts,
    form_reports,
    forms,
    history,
    imports,
    inbox,
    issue_rate,
    keys,
    links,
    mass_actions,
    merchants,
    messages,
    orders,
    outcomes,
    payouts,
    problems,
    programmes,
    reports,
    rollouts,
    sandbox,
    usage,
)

__all__ = ["create_app"]


def create_app(gateway: Gateway, mailroom: Mailroom) -> Litestar:
    """The application over one process' gateway."""

    def the_gateway() -> Gateway:
        return gateway

    def the_mailroom() -> Mailroom:
        return mailroom

    # It asks for the gateway, so that Litestar resolves one after the other instead of in a group of tasks per request.
    async def principal_of(request: AnyRequest, gateway: TheGateway) -> Principal:
        return await gateway.principals.of(request)

    modules = [
        home,
        merchants,
        desk,
        forms,
        form_reports,
        keys,
        orders,
        imports,
        facts,
        links,
        reports,
        cases,
        messages,
        history,
        evidence,
        inbox,
        programmes,
        decision_rules,
        rollouts,
        issue_rate,
        mass_actions,
        outcomes,
        payouts,
        usage,
        problems,
        openapi,
        pages,
        form_pages,
    ]
    if gateway.sandbox is not None:
        modules.append(sandbox)
    return Litestar(
        route_handlers=with_options(route for module in modules for route in module.routes),
        dependencies={
            "gateway": Provide(the_gateway, sync_to_thread=False),
            "mailroom": Provide(the_mailroom, sync_to_thread=False),
            "principal": Provide(principal_of),
        },
        before_request=as_documented,
        exception_handlers={Exception: on_error},
        openapi_config=openapi.config(),
        logging_config=None,
        # Bodies are limited where they are read, each by its own bound.
        request_max_body_size=None,
    )
