"""Merchants and their keys."""

from litestar import Response, delete, get, post, put
from litestar.params import FromPath

from contracts.base import Model, format_moment
from contracts.ids import merchant_key
from contracts.orders import MerchantChanged, MerchantProfile, PutMerchant
from contracts.problems import Problem
from contracts.texts import VisibleName
from contracts.topics import INTAKE_COMMANDS
from services.gateway.answers import Answer, answer, listed, response_of, with_version
from services.gateway.context import Caller, TheGateway
from services.gateway.cursors import cursor, place_of, whole_number
from services.gateway.documented import CONDITIONAL, PAGED, documented, query
from services.gateway.lists import own_merchants
from services.gateway.problems import ProblemError, wrong_query
from services.gateway.representations import merchant_shown
from services.gateway.requests import MERCHANT_ID, AnyRequest, if_match, json_body, parsed, preference
from services.gateway.resources.keys import keep_key
from services.gateway.shown.merchants import MadeKey, Merchant, MerchantPage
from services.gateway.store import KEYS, MERCHANTS, wall_clock

__all__ = ["routes"]


class KeyRequest(Model):
    """A key for a merchant's own systems or staff."""

    name: VisibleName
    """What it is for, for those who revoke it one day."""


@get(
    "/v1/merchants/{merchant_id:str}",
    operation_id="getMerchant",
    summary="A merchant and what it has agreed",
    opt=documented(answers={200: "The merchant."}, gives=Merchant),
)
async def get_merchant(
    request: AnyRequest, gateway: TheGateway, principal: Caller, merchant_id: FromPath[str]
) -> Response[bytes]:
    """For the platform, the partner that created it and the merchant's own keys."""
    return response_of(with_version(200, merchant_shown(await gateway.merchant(principal, merchant_id))))


@get(
    "/v1/merchants",
    operation_id="listMerchants",
    summary="The merchants that the caller may see, by id",
    opt=documented(query=PAGED, answers={200: "Merchants."}, gives=MerchantPage),
)
async def list_merchants(request: AnyRequest, gateway: TheGateway, principal: Caller) -> Response[bytes]:
    """All for the platform; for a partner its own and those that it was given; for staff the shops of its key (BP-20)."""
    given = query(request)
    limit = whole_number("limit", given.get("limit"), 50, 1, 200)
    place = place_of(given.get("cursor"), str)
    wanted = own_merchants(principal)
    if place is not None:
        wanted = {"$and": [wanted, {"_id": {"$gt": place[0]}}]}
    cursor_ = gateway.database[MERCHANTS].find(wanted, {"body.merchant": 1}).sort([("_id", 1)]).limit(limit + 1)
    found = await cursor_.to_list(None)
    more = cursor([found[limit - 1]["_id"]]) if len(found) > limit else None
    return response_of(listed([merchant_shown(document["body"]["merchant"]) for document in found[:limit]], more))


@put(
    "/v1/merchants/{merchant_id:str}",
    operation_id="putMerchant",
    summary="Create a merchant or replace what it has agreed",
    opt=documented(
        body=MerchantProfile,
        headers=CONDITIONAL,
        answers={200: "The merchant as it now is.", 201: "The merchant was created.", 412: "version-mismatch"},
        gives=Merchant,
        late=True,
    ),
)
async def put_merchant(
    request: AnyRequest, gateway: TheGateway, principal: Caller, merchant_id: FromPath[str]
) -> Response[bytes]:
    """For the platform and the partner that created it: one that was given the merchant reads it. Only the platform sets
    `certified_at` and `seal_live_at` (BP-02)."""
    principal.require("platform", "partner")
    if not MERCHANT_ID.fullmatch(merchant_id):
        raise wrong_query(("merchant_id", "letters, digits and _ . : @ - with a letter or digit first, 100 at most"))
    raw = await json_body(request)
    profile = parsed(MerchantProfile, raw)

    async def work(command_id: str) -> Answer:
        key = merchant_key(merchant_id)
        command = PutMerchant(
            merchant_id=merchant_id,
            profile=profile,
            if_match=if_match(request),
            given=principal.was_given(merchant_id),
            actor=principal.actor(),
        )
        outcome = await gateway.commands.ask(INTAKE_COMMANDS, key, command, command_id, preference(request))
        found = await gateway.reads.get(MERCHANTS, key)
        if found is None:
            raise ProblemError(Problem.not_found("merchant"))
        merchant = found["body"]["merchant"]
        created = merchant["version"] == 1 and outcome["kind"] == MerchantChanged.kind
        return with_version(201 if created else 200, merchant_shown(merchant), Location=f"/v1/merchants/{merchant_id}")

    return await gateway.once(request, principal, raw, work)


@post(
    "/v1/merchants/{merchant_id:str}/keys",
    operation_id="createMerchantKey",
    summary="A new key of a merchant, shown once",
    opt=documented(body=KeyRequest, answers={201: "The key, which is not kept and not shown again."}, gives=MadeKey),
)
async def create_key(
    request: AnyRequest, gateway: TheGateway, principal: Caller, merchant_id: FromPath[str]
) -> Response[bytes]:
    """For the platform, the partner that created the merchant, and the merchant itself."""
    raw = await json_body(request)

    async def work(command_id: str) -> Answer:
        principal.require("platform", "partner", "merchant")
        await gateway.merchant(principal, merchant_id)
        wanted = parsed(KeyRequest, raw)
        made = await keep_key(gateway, command_id, wanted.name, "merchant", [merchant_id])
        return answer(201, made, Location=f"/v1/merchants/{merchant_id}/keys/{made['key_id']}")

    return await gateway.once(request, principal, raw, work, keep=False)


@delete(
    "/v1/merchants/{merchant_id:str}/keys/{key_id:str}",
    operation_id="revokeMerchantKey",
    summary="Revoke a key of a merchant",
    status_code=204,
    opt=documented(answers={204: "The key opens nothing any more."}),
)
async def revoke_key(
    request: AnyRequest, gateway: TheGateway, principal: Caller, merchant_id: FromPath[str], key_id: FromPath[str]
) -> Response[None]:
    """At once, in every process. Revoking it again changes nothing. Keys of several shops are the platform's to revoke."""
    principal.require("platform", "partner", "merchant")
    await gateway.merchant(principal, merchant_id)
    revoked = await gateway.database[KEYS].update_one(
        {"key_id": key_id, "merchants": [merchant_id], "role": {"$in": [None, "merchant"]}},
        {"$set": {"revoked_at": format_moment(wall_clock())}},
    )
    if not revoked.matched_count:
        raise ProblemError(Problem.not_found("key"))
    return Response(None, status_code=204)


routes = (list_merchants, get_merchant, put_merchant, create_key, revoke_key)
