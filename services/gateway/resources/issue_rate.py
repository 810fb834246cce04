"""A merchant's issue rate (OI-11, NX-10): both rates, the statement of reasons, the forecast, and appeals."""

import uuid
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from litestar import Response, get, post
from litestar.params import FromPath
from pydantic import Field

from contracts.base import Message, Model
from contracts.ids import made_id, merchant_key
from contracts.issue_rate import AppealIssueRate, AskIssueRate, DecideAppeal
from contracts.problems import Problem
from contracts.topics import ESCALATION_COMMANDS
from engine.issue_rate import THRESHOLD, WARNING_AT, WINDOW_DAYS, share
from services.gateway.answers import Answer, answer, response_of, with_version
from services.gateway.commands import Promised
from services.gateway.context import Caller, Gateway, TheGateway
from services.gateway.documented import documented
from services.gateway.problems import ProblemError, unavailable
from services.gateway.requests import AnyRequest, Preference, json_body, parsed, preference
from services.gateway.shown.merchants import Appeal, IssueRate
from services.gateway.store import MERCHANTS

__all__ = ["routes"]

_PATH = "/v1/merchants/{merchant_id:str}/issue-rate"
_WAIT_S = 5.0
_COUNTS = ("orders", "reported", "counted", "faults")


class AppealRequest(Model):
    """Why the merchant objects to its statement of reasons."""

    message: Annotated[str, Field(min_length=1, max_length=10_000)]


class AppealDecision(Model):
    """The platform's answer to an appeal."""

    outcome: Literal["upheld", "rejected"]
    message: Annotated[str, Field(min_length=1, max_length=10_000)]


@get(
    _PATH,
    operation_id="getIssueRate",
    summary="The share of a merchant's orders that were reported with a problem",
    opt=documented(answers={200: "The rate."}, gives=IssueRate),
)
async def get_rate(gateway: TheGateway, principal: Caller, merchant_id: FromPath[str]) -> Response[bytes]:
    """Reckoned as it is now. For the platform, the partner of the merchant and the merchant itself."""
    await gateway.merchant(principal, merchant_id)
    try:
        await _ask(Preference(_WAIT_S, ""), gateway, merchant_id, AskIssueRate(merchant_id=merchant_id), str(uuid.uuid4()))
    except Promised:
        raise unavailable("The rate is being reckoned. Ask again in a moment.") from None
    return response_of(with_version(200, await _rate(gateway, merchant_id)))


@post(
    _PATH + "/appeals",
    operation_id="appealIssueRate",
    summary="Appeal against the statement of reasons",
    opt=documented(
        body=AppealRequest,
        answers={201: "The appeal; `status` is `appealed`.", 409: "appeal-not-open"},
        gives=Appeal,
        late=True,
    ),
)
async def appeal(request: AnyRequest, gateway: TheGateway, principal: Caller, merchant_id: FromPath[str]) -> Response[bytes]:
    """For the merchant, and its partner in its name. The sanction stands until the platform decides."""
    principal.require("merchant", "partner")
    await gateway.merchant(principal, merchant_id)
    raw = await json_body(request)

    async def work(command_id: str) -> Answer:
        wanted = parsed(AppealRequest, raw)
        appeal_id = made_id("apl", "appeal", command_id)
        command = AppealIssueRate(merchant_id=merchant_id, appeal_id=appeal_id, message=wanted.message, actor=principal.actor())
        await _ask(preference(request), gateway, merchant_id, command, command_id)
        shown = await _appeal(gateway, merchant_id, appeal_id)
        return answer(201, shown, Location=f"{_href(merchant_id)}/appeals/{appeal_id}")

    return await gateway.once(request, principal, raw, work)


@get(
    _PATH + "/appeals/{appeal_id:str}",
    operation_id="getAppeal",
    summary="An appeal and its answer",
    opt=documented(answers={200: "The appeal."}, gives=Appeal),
)
async def get_appeal(
    gateway: TheGateway, principal: Caller, merchant_id: FromPath[str], appeal_id: FromPath[str]
) -> Response[bytes]:
    """For the platform, the partner of the merchant and the merchant itself."""
    await gateway.merchant(principal, merchant_id)
    return response_of(answer(200, await _appeal(gateway, merchant_id, appeal_id)))


@post(
    _PATH + "/appeals/{appeal_id:str}/decisions",
    operation_id="decideAppeal",
    summary="Decide an appeal",
    description="For the platform.",
    opt=documented(
        body=AppealDecision, answers={201: "The appeal as it was decided.", 409: "appeal-not-open"}, gives=Appeal, late=True
    ),
)
async def decide_appeal(
    request: AnyRequest, gateway: TheGateway, principal: Caller, merchant_id: FromPath[str], appeal_id: FromPath[str]
) -> Response[bytes]:
    """Upheld: the statement's cases count no longer, and the merchant is restored if it is then under the threshold."""
    principal.require("platform")
    await gateway.merchant(principal, merchant_id)
    raw = await json_body(request)

    async def work(command_id: str) -> Answer:
        wanted = parsed(AppealDecision, raw)
        command = DecideAppeal(
            merchant_id=merchant_id,
            appeal_id=appeal_id,
            outcome=wanted.outcome,
            message=wanted.message,
            actor=principal.actor(),
        )
        await _ask(preference(request), gateway, merchant_id, command, command_id)
        return answer(201, await _appeal(gateway, merchant_id, appeal_id))

    return await gateway.once(request, principal, raw, work)


async def _ask(prefer: Preference, gateway: Gateway, merchant_id: str, command: Message, command_id: str) -> None:
    await gateway.commands.ask(ESCALATION_COMMANDS, merchant_key(merchant_id), command, command_id, prefer)


def _href(merchant_id: str) -> str:
    return f"/v1/merchants/{merchant_id}/issue-rate"


async def _kept(gateway: Gateway, merchant_id: str) -> dict[str, Any]:
    """Raises 404 for a merchant whose rate nobody has asked for yet."""
    found = await gateway.reads.get(MERCHANTS, merchant_key(merchant_id))
    rate = None if found is None else found["body"].get("issue_rate")
    if rate is None:
        raise ProblemError(Problem.not_found("issue rate"))
    return rate


async def _rate(gateway: Gateway, merchant_id: str) -> dict[str, Any]:
    """The rate as a resource."""
    rate = await _kept(gateway, merchant_id)
    orders = rate["orders"]
    return {
        "merchant_id": merchant_id,
        **{name: rate[name] for name in _COUNTS},
        "reported_rate": share(rate["reported"], orders),
        "sanction_rate": share(rate["counted"], orders),
        "fault_rate": share(rate["faults"], orders),
        "threshold": THRESHOLD,
        "warning_at": WARNING_AT,
        "window_days": WINDOW_DAYS,
        "status": rate["status"],
        **({"statement": rate["statement"]} if rate["statement"] is not None else {}),
        "forecast": rate["forecast"],
        "appeals": [_appeal_shown(each) for each in rate["appeals"]],
        "version": rate["version"],
        "_links": {"self": {"href": _href(merchant_id)}},
    }


async def _appeal(gateway: Gateway, merchant_id: str, appeal_id: str) -> dict[str, Any]:
    """Raises 404."""
    for each in (await _kept(gateway, merchant_id))["appeals"]:
        if each["appeal_id"] == appeal_id:
            return _appeal_shown(each) | {"_links": {"self": {"href": f"{_href(merchant_id)}/appeals/{appeal_id}"}}}
    raise ProblemError(Problem.not_found("appeal"))


def _appeal_shown(appeal: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in appeal.items() if value is not None}


routes = (get_rate, appeal, get_appeal, decide_appeal)
