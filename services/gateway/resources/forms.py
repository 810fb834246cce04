"""A merchant's universal forms: a link for each channel, made, listed and withdrawn (RD-01, 03)."""

from typing import Any

from litestar import Response, delete, get, post
from litestar.params import FromPath

from contracts.capability import FormLink, mint_form
from contracts.desk import Form, FormContent
from contracts.problems import Problem
from services.gateway.answers import Answer, listed, response_of, with_version
from services.gateway.context import Caller, Gateway, TheGateway
from services.gateway.documented import CONDITIONAL, PAGED, documented
from services.gateway.problems import ProblemError
from services.gateway.requests import AnyRequest, json_body, parsed
from services.gateway.resources.desk import change, item_page, item_shown, taken_away
from services.gateway.shops import desk_of
from services.gateway.shown.merchants import Form as ShownForm
from services.gateway.shown.merchants import FormPage

__all__ = ["routes"]


def _shown(gateway: Gateway, merchant_id: str, form: Form) -> dict[str, Any]:
    """A form with its address and token, which are the same whenever it is shown."""
    token = mint_form(gateway.settings.secret, FormLink(merchant_id=merchant_id, form_id=form.form_id))
    return {**item_shown(merchant_id, "forms", form), "url": f"{gateway.settings.base_url}/f/{token}", "token": token}


@post(
    "/v1/merchants/{merchant_id:str}/forms",
    operation_id="createForm",
    summary="A form by link for what was sold over a channel",
    opt=documented(body=FormContent, answers={201: "The form with its link.", 409: "list-full"}, gives=ShownForm, late=True),
)
async def create_form(
    request: AnyRequest, gateway: TheGateway, principal: Caller, merchant_id: FromPath[str]
) -> Response[bytes]:
    """Buyers report through it without an account, also on orders that were never registered. For the platform, the partner of
    the merchant and the merchant's own keys."""
    raw = await json_body(request)

    async def work(command_id: str) -> Answer:
        await gateway.merchant(principal, merchant_id)
        content = parsed(FormContent, raw)
        form = await change(request, gateway, principal, merchant_id, "forms", command_id, content=content)
        if not isinstance(form, Form):
            raise LookupError("a form that was made is there")
        shown = _shown(gateway, merchant_id, form)
        return with_version(201, shown, Location=shown["_links"]["self"]["href"])

    return await gateway.once(request, principal, raw, work)


@get(
    "/v1/merchants/{merchant_id:str}/forms",
    operation_id="listForms",
    summary="The forms of a merchant, the oldest first",
    opt=documented(query=PAGED, answers={200: "Forms with their links."}, gives=FormPage),
)
async def list_forms(
    request: AnyRequest, gateway: TheGateway, principal: Caller, merchant_id: FromPath[str]
) -> Response[bytes]:
    """With their addresses and tokens."""
    page, more = await item_page(request, gateway, principal, merchant_id, "forms")
    return response_of(listed([_shown(gateway, merchant_id, form) for form in page if isinstance(form, Form)], more))


@get(
    "/v1/merchants/{merchant_id:str}/forms/{form_id:str}",
    operation_id="getForm",
    summary="A form of a merchant",
    opt=documented(answers={200: "The form with its link."}, gives=ShownForm),
)
async def get_form(
    gateway: TheGateway, principal: Caller, merchant_id: FromPath[str], form_id: FromPath[str]
) -> Response[bytes]:
    """With its address and token."""
    form = desk_of(await gateway.merchant_body(principal, merchant_id)).item("forms", form_id)
    if not isinstance(form, Form):
        raise ProblemError(Problem.not_found("form"))
    return response_of(with_version(200, _shown(gateway, merchant_id, form)))


@delete(
    "/v1/merchants/{merchant_id:str}/forms/{form_id:str}",
    operation_id="withdrawForm",
    summary="Withdraw a form: its link leads nowhere any more",
    status_code=200,
    opt=documented(headers=CONDITIONAL, answers={204: "It is withdrawn; what was reported through it stays."}, late=True),
)
async def withdraw_form(
    request: AnyRequest, gateway: TheGateway, principal: Caller, merchant_id: FromPath[str], form_id: FromPath[str]
) -> Response[bytes]:
    """At once, in every process."""
    return await taken_away(request, gateway, principal, merchant_id, "forms", form_id)


routes = (create_form, list_forms, get_form, withdraw_form)
