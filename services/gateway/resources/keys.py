"""Keys of all roles, made, listed and revoked by the platform; a key may be for several shops (BP-20)."""

from typing import Annotated, Any, Literal

from litestar import Response, delete, get, post
from litestar.params import FromPath
from pydantic import Field, model_validator

from contracts.base import Model, format_moment, wrong_at
from contracts.ids import merchant_key
from contracts.problems import FieldError, Problem
from contracts.texts import Code, VisibleName
from services.gateway.answers import Answer, answer, listed, response_of
from services.gateway.context import Caller, Gateway, TheGateway
from services.gateway.cursors import cursor, place_of, whole_number
from services.gateway.documented import PAGED, documented, query
from services.gateway.lists import before, newest_first
from services.gateway.principals import key_digest, new_key
from services.gateway.problems import ProblemError
from services.gateway.requests import AnyRequest, json_body, parsed
from services.gateway.shown.merchants import KeyPage, MadeKey
from services.gateway.store import KEYS, MERCHANTS, Document, wall_clock

__all__ = ["keep_key", "routes"]


class PrincipalKey(Model):
    """A key for a partner, for the staff of one or several shops, or for agents of the platform."""

    name: VisibleName
    """Who or what it is for, for those who revoke it one day."""
    role: Literal["platform", "partner", "merchant"]
    merchants: Annotated[tuple[Code, ...], Field(max_length=500)] = ()
    """The shops of a merchant key; those that a partner is given beside the ones that it creates with this key."""

    @model_validator(mode="after")
    def _shops_fit_the_role(self) -> "PrincipalKey":
        if self.role == "merchant" and not self.merchants:
            raise wrong_at(("merchants",), "a merchant key names its shops in `merchants`")
        if self.role == "platform" and self.merchants:
            raise wrong_at(("merchants",), "a platform key sees every shop; leave `merchants` out")
        return self


async def keep_key(gateway: Gateway, command_id: str, name: str, role: str, merchants: list[str]) -> dict[str, Any]:
    """Make the key of a command, which is the same when the command comes again; {key_id, key, name, role, merchants}."""
    key_id, key = new_key(gateway.settings.secret, command_id, role)
    digest = key_digest(key)
    if await gateway.database[KEYS].find_one({"_id": digest}) is None:
        kept = {
            "_id": digest,
            "key_id": key_id,
            "name": name,
            "role": role,
            "merchants": merchants,
            "created_at": format_moment(gateway.clock.now()),
            "revoked_at": None,
        }
        await gateway.database[KEYS].replace_one({"_id": digest}, kept, upsert=True)
    return {"key_id": key_id, "key": key, "name": name, "role": role, "merchants": merchants}


def _shown(kept: Document) -> dict[str, Any]:
    """A key as it is listed: the key itself is not kept."""
    shown = {"role": "merchant", **{name: value for name, value in kept.items() if name != "_id" and value is not None}}
    return {**shown, "_links": {"self": {"href": f"/v1/keys/{kept['key_id']}"}}}


@post(
    "/v1/keys",
    operation_id="createKey",
    summary="A new key, shown once",
    opt=documented(body=PrincipalKey, answers={201: "The key, which is not kept and not shown again."}, gives=MadeKey),
)
async def create_key(request: AnyRequest, gateway: TheGateway, principal: Caller) -> Response[bytes]:
    """For the platform. A merchant key sees all cases of its shops together, or of one by `merchant_id`."""
    raw = await json_body(request)

    async def work(command_id: str) -> Answer:
        principal.require("platform")
        wanted = parsed(PrincipalKey, raw)
        known = await gateway.reads.many(MERCHANTS, {merchant_key(merchant_id) for merchant_id in wanted.merchants})
        unknown = [
            FieldError(pointer=f"/merchants/{index}", detail=f"There is no merchant {merchant_id}; put it first.")
            for index, merchant_id in enumerate(wanted.merchants)
            if merchant_key(merchant_id) not in known
        ]
        if unknown:
            raise ProblemError(Problem.invalid_input(*unknown))
        merchants = list(dict.fromkeys(wanted.merchants))
        made = await keep_key(gateway, command_id, wanted.name, wanted.role, merchants)
        return answer(201, made, Location=f"/v1/keys/{made['key_id']}")

    return await gateway.once(request, principal, raw, work, keep=False)


@get(
    "/v1/keys",
    operation_id="listKeys",
    summary="All keys that were made, the newest first; revoked ones have `revoked_at`",
    opt=documented(query=PAGED, answers={200: "Keys, without the keys themselves."}, gives=KeyPage),
)
async def list_keys(request: AnyRequest, gateway: TheGateway, principal: Caller) -> Response[bytes]:
    """For the platform. The two keys that it was started with are none of these."""
    principal.require("platform")
    given = query(request)
    limit = whole_number("limit", given.get("limit"), 50, 1, 200)
    place = place_of(given.get("cursor"), str, str)
    wanted = {} if place is None else before("created_at", place)
    found = await newest_first(gateway.database[KEYS], wanted, "created_at", limit + 1)
    more = cursor([found[limit - 1]["created_at"], found[limit - 1]["_id"]]) if len(found) > limit else None
    return response_of(listed([_shown(kept) for kept in found[:limit]], more))


@delete(
    "/v1/keys/{key_id:str}",
    operation_id="revokeKey",
    summary="Revoke a key",
    status_code=204,
    opt=documented(answers={204: "The key opens nothing any more."}),
)
async def revoke_key(request: AnyRequest, gateway: TheGateway, principal: Caller, key_id: FromPath[str]) -> Response[None]:
    """For the platform. At once, in every process; revoking it again changes nothing."""
    principal.require("platform")
    known = await gateway.database[KEYS].find_one({"key_id": key_id})
    if known is None:
        raise ProblemError(Problem.not_found("key"))
    if known["revoked_at"] is None:
        await gateway.database[KEYS].update_one({"key_id": key_id}, {"$set": {"revoked_at": format_moment(wall_clock())}})
    return Response(None, status_code=204)


routes = (create_key, list_keys, revoke_key)
