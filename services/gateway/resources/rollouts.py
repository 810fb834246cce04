"""Roll-outs of policy versions (BP-24), what one touches (NX-07), and merchants that take one earlier."""

from collections.abc import Collection, Mapping
from typing import Any, get_args

from litestar import Response, get, post
from litestar.params import FromPath

from contracts.base import parse_moment
from contracts.cases import CaseState, Rollout
from contracts.ids import made_id
from contracts.problems import Problem
from contracts.rollouts import ROLLOUTS_KEY, MakeRollout, OptIn, OptInContent, RolloutContent
from contracts.topics import INTAKE_COMMANDS
from engine.casefile import CLOSED
from engine.programmes import meant_for
from services.gateway.answers import Answer, answer, listed, response_of
from services.gateway.context import Caller, Gateway, TheGateway
from services.gateway.cursors import cursor, place_of, whole_number
from services.gateway.documented import PAGED, documented, query
from services.gateway.lists import own_merchants
from services.gateway.principals import Principal
from services.gateway.problems import ProblemError
from services.gateway.requests import AnyRequest, json_body, parsed, preference
from services.gateway.shown.platform import OptIn as ShownOptIn
from services.gateway.shown.platform import OptInPage, RolloutImpact, RolloutPage
from services.gateway.shown.platform import Rollout as ShownRollout
from services.gateway.store import MERCHANTS, ORDERS, PLATFORM, whole

__all__ = ["routes"]

Merchant = Mapping[str, Any]

_PATH = "/v1/rollouts"
_OPEN = sorted({*get_args(CaseState)} - CLOSED)
_MOST_NAMED = 200
"""Merchants that an impact names one by one, those with the most open cases first."""


def _rollout_id(command_id: str) -> str:
    """The id of the roll-out that a command makes: the same command makes the same one."""
    return made_id("rlo", "rollout", command_id)


async def _kept(gateway: Gateway) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, dict[str, str]]]]:
    """Every roll-out by its id, in the order in which they were made; and by roll-out, who opted in."""
    found = await gateway.reads.get(PLATFORM, ROLLOUTS_KEY)
    return ({}, {}) if found is None else (found["body"]["rollouts"], found["body"]["opt_ins"])


def _shown(rollout: Mapping[str, Any], opted_in: Collection[str], *, whole: bool) -> dict[str, Any]:
    """A roll-out as a resource; `whole` for the platform, others are not told which merchants it is for."""
    given = {name: value for name, value in rollout.items() if value is not None and (whole or name != "merchants")}
    href = f"{_PATH}/{rollout['rollout_id']}"
    if whole:
        given["opted_in"] = len(opted_in)
    return {**given, "_links": {"self": {"href": href}, **({"impact": {"href": f"{href}/impact"}} if whole else {})}}


def _concerns(rollout: Mapping[str, Any], merchant: Merchant) -> bool:
    """Whether a roll-out is meant for a merchant and it offers the programme."""
    known = Rollout.model_validate({**rollout, "merchants": rollout["merchants"] or (), "locales": rollout["locales"] or ()})
    offered = rollout["programme"] in merchant["programmes"]
    return offered and meant_for(known, merchant["merchant_id"], merchant["locale"])


async def _merchants(gateway: Gateway, wanted: dict[str, Any]) -> list[Merchant]:
    fields = {f"body.merchant.{name}": 1 for name in ("merchant_id", "programmes", "locale")}
    found = await gateway.database[MERCHANTS].find(wanted, fields, batch_size=10_000).to_list(None)
    return [document["body"]["merchant"] for document in found]


async def _own(gateway: Gateway, principal: Principal) -> list[Merchant] | None:
    """The caller's merchants; None for the platform, which sees every roll-out."""
    return None if principal.role == "platform" else await _merchants(gateway, own_merchants(principal))


def _sees(own: list[Merchant] | None, rollout: Mapping[str, Any]) -> bool:
    return own is None or any(_concerns(rollout, merchant) for merchant in own)


@post(
    _PATH,
    operation_id="createRollout",
    summary="Roll a version of a programme out to merchants on a date (BP-24)",
    description="For the platform.",
    opt=documented(
        body=RolloutContent, answers={201: "The roll-out.", 409: "too-many-rollouts"}, gives=ShownRollout, late=True
    ),
)
async def create_rollout(request: AnyRequest, gateway: TheGateway, principal: Caller) -> Response[bytes]:
    """Each of them is told by mail `announce_days` before, or at once. Cases opened before keep their version."""
    principal.require("platform")
    raw = await json_body(request)

    async def work(command_id: str) -> Answer:
        content = parsed(RolloutContent, raw)
        rollout_id = _rollout_id(command_id)
        command = MakeRollout(rollout_id=rollout_id, content=content, actor=principal.actor())
        await gateway.commands.ask(INTAKE_COMMANDS, ROLLOUTS_KEY, command, command_id, preference(request))
        return answer(201, await _one(gateway, principal, rollout_id), Location=f"{_PATH}/{rollout_id}")

    return await gateway.once(request, principal, raw, work)


async def _one(gateway: Gateway, principal: Principal, rollout_id: str) -> dict[str, Any]:
    """Raises 404."""
    rollouts, opt_ins = await _kept(gateway)
    rollout = rollouts.get(rollout_id)
    if rollout is None or not _sees(await _own(gateway, principal), rollout):
        raise ProblemError(Problem.not_found("roll-out"))
    return _shown(rollout, opt_ins.get(rollout_id, ()), whole=principal.role == "platform")


@get(
    _PATH,
    operation_id="listRollouts",
    summary="Roll-outs, the oldest first",
    description="For the platform; for merchants and partners those that concern a merchant of theirs.",
    opt=documented(query=PAGED, answers={200: "Roll-outs."}, gives=RolloutPage),
)
async def list_rollouts(request: AnyRequest, gateway: TheGateway, principal: Caller) -> Response[bytes]:
    """In the order in which they were made."""
    principal.require("platform", "partner", "merchant")
    given = query(request)
    limit = whole_number("limit", given.get("limit"), 50, 1, 200)
    place = place_of(given.get("cursor"), str)
    rollouts, opt_ins = await _kept(gateway)
    own = await _own(gateway, principal)
    ids = list(rollouts)
    begin = ids.index(place[0]) + 1 if place is not None and place[0] in rollouts else 0
    seen = [rollout_id for rollout_id in ids[begin:] if _sees(own, rollouts[rollout_id])]
    items = [
        _shown(rollouts[rollout_id], opt_ins.get(rollout_id, ()), whole=principal.role == "platform")
        for rollout_id in seen[:limit]
    ]
    return response_of(listed(items, cursor([seen[limit - 1]]) if len(seen) > limit else None))


@get(
    _PATH + "/{rollout_id:str}",
    operation_id="getRollout",
    summary="A roll-out",
    description="For the platform, and for whom it concerns.",
    opt=documented(answers={200: "The roll-out; `announced_at` once every merchant was told."}, gives=ShownRollout),
)
async def get_rollout(gateway: TheGateway, principal: Caller, rollout_id: FromPath[str]) -> Response[bytes]:
    """Roll-outs do not change; another one takes their place."""
    return response_of(answer(200, await _one(gateway, principal, rollout_id)))


@get(
    _PATH + "/{rollout_id:str}/impact",
    operation_id="getRolloutImpact",
    summary="What a roll-out touches (NX-07)",
    description="For the platform.",
    opt=documented(answers={200: "What it touches."}, gives=RolloutImpact),
)
async def rollout_impact(gateway: TheGateway, principal: Caller, rollout_id: FromPath[str]) -> Response[bytes]:
    """A case keeps the version with which it was opened: what was opened before the roll-out began for its merchant is
    unaffected, whichever version that is; before the date that is every open case."""
    principal.require("platform")
    rollouts, opt_ins = await _kept(gateway)
    rollout = rollouts.get(rollout_id)
    if rollout is None:
        raise ProblemError(Problem.not_found("roll-out"))
    meant = {
        merchant["merchant_id"]: {"merchant_id": merchant["merchant_id"], "open_cases": 0, "unaffected": 0}
        for merchant in await _merchants(gateway, _who(rollout))
        if _concerns(rollout, merchant)
    }
    await _count(gateway, rollout, opt_ins.get(rollout_id, {}), meant)
    counted = sorted(meant.values(), key=lambda each: (-each["open_cases"], each["merchant_id"]))
    shown = {
        "open_cases": sum(each["open_cases"] for each in counted),
        "unaffected": sum(each["unaffected"] for each in counted),
        "merchants": len(counted),
        "by_merchant": counted[:_MOST_NAMED],
        "_links": {"self": {"href": f"{_PATH}/{rollout_id}/impact"}, "rollout": {"href": f"{_PATH}/{rollout_id}"}},
    }
    return response_of(answer(200, shown))


def _who(rollout: Mapping[str, Any]) -> dict[str, Any]:
    named = rollout["merchants"]
    return {"body.merchant.merchant_id": {"$in": named}} if named else {"body.merchant.programmes": rollout["programme"]}


async def _count(
    gateway: Gateway,
    rollout: Mapping[str, Any],
    opted_in: Mapping[str, Mapping[str, str]],
    meant: Mapping[str, dict[str, Any]],
) -> None:
    """Count the open cases of the programme at these merchants."""
    effective_at = parse_moment(rollout["effective_at"])
    since = dict.fromkeys(meant, effective_at)
    since |= {merchant_id: min(effective_at, parse_moment(each["since"])) for merchant_id, each in opted_in.items()}
    wanted: dict[str, Any] = {"body.states": {"$in": _OPEN}, "body.reported_at": {"$exists": True}}
    if rollout["merchants"]:
        wanted["body.order.merchant_id"] = {"$in": sorted(meant)}
    fields = {"body.order.merchant_id": 1, "body.file": 1}
    async for document in gateway.database[ORDERS].find(wanted, fields, batch_size=1_000):
        merchant_id = document["body"]["order"]["merchant_id"]
        if merchant_id not in meant:
            continue
        for case in whole(document["body"])["file"]["cases"].values():
            policy = case["policy"]
            if policy["programme"] == rollout["programme"] and case["state"] not in CLOSED:
                by_it = policy["version"] == rollout["version"] and parse_moment(case["opened_at"]) >= since[merchant_id]
                meant[merchant_id]["open_cases"] += 1
                meant[merchant_id]["unaffected"] += not by_it


@post(
    "/v1/merchants/{merchant_id:str}/opt-ins",
    operation_id="optIn",
    summary="Take a roll-out earlier (BP-24)",
    description="For the platform, the partner of the merchant and the merchant's own keys.",
    opt=documented(
        body=OptInContent,
        answers={201: "The opt-in.", 200: "It was taken already.", 409: "too-many-rollouts"},
        gives=ShownOptIn,
        late=True,
    ),
)
async def opt_in(request: AnyRequest, gateway: TheGateway, principal: Caller, merchant_id: FromPath[str]) -> Response[bytes]:
    """At once, or `from` a moment before the roll-out's own; until then it can be changed by another one."""
    raw = await json_body(request)

    async def work(command_id: str) -> Answer:
        await gateway.merchant(principal, merchant_id)
        content = parsed(OptInContent, raw)
        command = OptIn(
            rollout_id=content.rollout_id,
            merchant_id=merchant_id,
            since=content.from_,
            given=principal.was_given(merchant_id),
            actor=principal.actor(),
        )
        outcome = await gateway.commands.ask(INTAKE_COMMANDS, ROLLOUTS_KEY, command, command_id, preference(request))
        _, opt_ins = await _kept(gateway)
        chosen = opt_ins[content.rollout_id][merchant_id]
        shown = _opt_in_shown(content.rollout_id, merchant_id, chosen)
        return answer(200 if outcome["kind"] == "command.repeated" else 201, shown)

    return await gateway.once(request, principal, raw, work)


def _opt_in_shown(rollout_id: str, merchant_id: str, chosen: Mapping[str, str]) -> dict[str, Any]:
    links = {"rollout": {"href": f"{_PATH}/{rollout_id}"}}
    return {"rollout_id": rollout_id, "merchant_id": merchant_id, "from": chosen["since"], "at": chosen["at"], "_links": links}


@get(
    "/v1/merchants/{merchant_id:str}/opt-ins",
    operation_id="listOptIns",
    summary="The roll-outs that a merchant takes earlier",
    description="For the platform, the partner of the merchant and the merchant's own keys.",
    opt=documented(query=PAGED, answers={200: "Opt-ins."}, gives=OptInPage),
)
async def list_opt_ins(
    request: AnyRequest, gateway: TheGateway, principal: Caller, merchant_id: FromPath[str]
) -> Response[bytes]:
    """In the order in which the roll-outs were made."""
    given = query(request)
    limit = whole_number("limit", given.get("limit"), 50, 1, 200)
    place = place_of(given.get("cursor"), str)
    await gateway.merchant(principal, merchant_id)
    rollouts, opt_ins = await _kept(gateway)
    ids = [rollout_id for rollout_id in rollouts if merchant_id in opt_ins.get(rollout_id, {})]
    begin = ids.index(str(place[0])) + 1 if place is not None and place[0] in ids else 0
    page = ids[begin : begin + limit]
    items = [_opt_in_shown(rollout_id, merchant_id, opt_ins[rollout_id][merchant_id]) for rollout_id in page]
    return response_of(listed(items, cursor([page[-1]]) if begin + limit < len(ids) else None))


routes = (create_rollout, list_rollouts, get_rollout, rollout_impact, opt_in, list_opt_ins)
