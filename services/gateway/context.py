"""What every route is given: the store's read models as its caller may see them, and the way to have something done."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from litestar import Response
from litestar.di import NamedDependency

from chassis.bounded import Bounded
from chassis.clock import Clock
from chassis.settings import Settings
from chassis.store import Database
from contracts.evidence import Evidence
from contracts.ids import merchant_key
from contracts.problems import FieldError, Problem
from contracts.rollouts import ROLLOUTS_KEY
from engine.programmes import Programme, Programmes
from services.gateway.answers import Answer, response_of
from services.gateway.commands import Commands, Promised
from services.gateway.idempotency import Idempotency, Work
from services.gateway.mass import MassActions
from services.gateway.objects import Objects
from services.gateway.outages import Outages
from services.gateway.principals import Principal, Principals, require_acting
from services.gateway.problems import ProblemError, unavailable
from services.gateway.projector import Body, rollouts_of
from services.gateway.representations import Reader, locale_for
from services.gateway.requests import AnyRequest, idempotency_key, if_match, known_id, locale_of
from services.gateway.sandbox import SandboxControl
from services.gateway.shops import Shop, shop_of
from services.gateway.store import EVIDENCE, MERCHANTS, ORDERS, PLATFORM, Document, PointReads

__all__ = ["Caller", "Gateway", "TheGateway", "evidence_of"]

_OWNERS_REMEMBERED = 20_000
_SEEN_WITHIN_S = 2.0
_FIRST_LOOK_S = 0.002
_LONGEST_LOOK_S = 0.1
"""Looks come at growing distances between these, in seconds: for who waited long they are rare."""


@dataclass(slots=True)
class Gateway:
    """One process' gateway. `sandbox` is None outside the sandbox."""

    settings: Settings
    database: Database
    reads: PointReads
    clock: Clock
    programmes: Programmes
    principals: Principals
    idempotency: Idempotency
    commands: Commands
    objects: Objects
    outages: Outages
    mass: MassActions
    sandbox: SandboxControl | None
    _owners: Bounded[str, str] = field(default_factory=lambda: Bounded(_OWNERS_REMEMBERED))

    # What a caller may see

    async def owner_of(self, merchant_id: str) -> str | None:
        """Who created a merchant, which never changes; None where there is none yet."""
        known = self._owners.get(merchant_id)
        if known is not None:
            return known
        found = await self.reads.get(MERCHANTS, merchant_key(merchant_id))
        if found is None:
            return None
        owner: str = found["body"]["merchant"]["created_by"]
        self._owners[merchant_id] = owner
        return owner

    async def merchant(self, principal: Principal, merchant_id: str) -> dict[str, Any]:
        """A merchant that the caller may see: the platform, who created it or was given it, and its own staff. Raises 404."""
        return (await self.merchant_body(principal, merchant_id))["merchant"]

    async def merchant_body(self, principal: Principal, merchant_id: str) -> Body:
        """The read document of a merchant that the caller may see. Raises 404."""
        found = await self.reads.get(MERCHANTS, merchant_key(merchant_id))
        body: Body | None = None if found is None else found["body"]
        if body is not None and principal.sees_merchant(merchant_id, body["merchant"]["created_by"]):
            return body
        raise ProblemError(Problem.not_found("merchant"))

    async def order(self, principal: Principal, order_id: str) -> Body:
        """The read document of an order that the caller may see. Raises 404."""
        found = await self.reads.get(ORDERS, order_id)
        body: Body | None = None if found is None else found["body"]
        if body is None or "standing" not in body:
            raise ProblemError(Problem.not_found("order"))
        owner = await self.owner_of(body["order"]["merchant_id"]) if principal.role == "partner" else None
        if not principal.sees_order(body, owner):
            raise ProblemError(Problem.not_found("order"))
        return body

    async def case(self, principal: Principal, case_id: str) -> Body:
        """The read document of the order of a case that the caller may see. Raises 404."""
        _, order_id = known_id("cas", case_id, "case")
        try:
            body = await self.order(principal, order_id)
        except ProblemError:
            raise ProblemError(Problem.not_found("case")) from None
        if not principal.sees_case(case_id):
            raise ProblemError(Problem.not_found("case"))

        def opened(body: Body) -> bool:
            return case_id in (body.get("file") or {}).get("cases", {})

        if not opened(body) and case_id in (body.get("standing") or {}).get("cases", ()):
            # Intake has opened it, and a repeated report may have been answered with its address; cases is on its way to it.
            body = await self.seen(order_id, opened)
            if not opened(body):
                raise unavailable("The case is being opened. Ask again in a moment.")
        if not opened(body):
            raise ProblemError(Problem.not_found("case"))
        return body

    def require_acting(self, principal: Principal, body: Body) -> None:
        """Raises 403 where the caller's link only reads by now."""
        require_acting(principal, body, self.clock.now())

    async def seen(self, order_id: str, condition: Callable[[Body], bool], within_s: float = _SEEN_WITHIN_S) -> Body:
        """The order's read document once `condition` holds. A command is settled by the event of one topic; what the
        other topic says of it may be a hair behind. Gives what there is after `within_s` seconds: the outcome is certain."""
        loop = asyncio.get_running_loop()
        give_up = loop.time() + within_s
        pause_s = _FIRST_LOOK_S
        while True:
            found = await self.reads.get(ORDERS, order_id)
            if found is not None and (condition(found["body"]) or loop.time() >= give_up):
                return found["body"]
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_LOOK_S)

    async def nameable(self, principal: Principal, order_id: str, evidence_ids: Sequence[str]) -> dict[str, Evidence]:
        """What of these evidence ids the caller may name, by id: what is on this order, and was not uploaded by the other side:
        nobody shows around what is not theirs."""
        found = await self.reads.many(EVIDENCE, evidence_ids)
        return {
            evidence_id: evidence_of(kept)
            for evidence_id, kept in found.items()
            if kept["order_id"] == order_id
            and (principal.role == "platform" or kept["uploaded_as"] == principal.reads_as)
            and (not principal.is_guest or kept["uploaded_by"]["id"] == principal.name)
        }

    async def evidence(self, principal: Principal, order_id: str, evidence_ids: Sequence[str]) -> tuple[Evidence, ...]:
        """What evidence ids name. Raises 422 with a pointer for one that the caller may not name."""
        found = await self.nameable(principal, order_id, evidence_ids)
        wrong = [
            FieldError(pointer=f"/evidence/{index}", detail="you have no such evidence on this order; upload it first")
            for index, evidence_id in enumerate(evidence_ids)
            if evidence_id not in found
        ]
        if wrong:
            raise ProblemError(Problem.invalid_input(*wrong))
        return tuple(found[evidence_id] for evidence_id in evidence_ids)

    def reader(self, request: AnyRequest, principal: Principal, order: Mapping[str, Any], shop: Shop | None = None) -> Reader:
        """For whom something of an order is shown; `shop` is the order's, where its cases are shown."""
        locale = locale_of(request, locale_for(principal, order))
        return Reader(principal, self.clock.now(), locale, self.programmes, shop, self.outages.record)

    async def shops(self, principal: Principal, merchant_ids: Iterable[str]) -> dict[str, Shop]:
        """The shops of these merchants, by id: how they are reached for everybody, their desks for all but buyers."""
        found = await asyncio.gather(*(self._shop(principal, each) for each in set(merchant_ids)))
        return {merchant_id: shop for merchant_id, shop in found if shop is not None}

    async def shop(self, principal: Principal, order: Mapping[str, Any]) -> Shop | None:
        """The shop of an order, as far as the caller may know of it."""
        return (await self._shop(principal, order["merchant_id"]))[1]

    async def _shop(self, principal: Principal, merchant_id: str) -> tuple[str, Shop | None]:
        found = await self.reads.get(MERCHANTS, merchant_key(merchant_id))
        return merchant_id, None if found is None else shop_of(found["body"], with_desk=principal.reads_as != "buyer")

    async def in_force(self, name: str, merchant: Mapping[str, Any]) -> Programme:
        """The version of a programme with which a case of a merchant would be opened now (BP-24). Raises KeyError for an
        unknown programme or one not yet in force."""
        found = await self.reads.get(PLATFORM, ROLLOUTS_KEY)
        rollouts = () if found is None else rollouts_of(found["body"])
        return self.programmes.in_force(name, self.clock.now(), rollouts, merchant["merchant_id"], merchant["locale"])

    # Having something done

    async def once(
        self, request: AnyRequest, principal: Principal, content: bytes, work: Work, *, keep: bool = True
    ) -> Response[bytes]:
        """Do a change's work once per Idempotency-Key (see `Idempotency.once`). `content` and the version that If-Match names
        make two requests the same. An outcome that is late becomes 202."""
        return response_of(await self.done_once(request, principal, content, work, idempotency_key(request), keep=keep))

    async def done_once(
        self,
        request: AnyRequest,
        principal: Principal,
        content: bytes,
        work: Work,
        key: str | None,
        *,
        keep: bool = True,
        patient: bool = False,
    ) -> Answer:
        """As `once`, under a key from elsewhere; gives the answer itself. `patient`: see `Idempotency.once`."""

        async def promising(command_id: str) -> Answer:
            try:
                return await work(command_id)
            except Promised as promised:
                return await self.commands.promise(principal, promised)

        path = request.url.path
        version = if_match(request)
        return await self.idempotency.once(
            principal=principal.name,
            route=f"{request.method} {path}",
            key=key,
            content=content if version is None else b"%s\n%d" % (content, version),
            instance=path,
            work=promising,
            keep=keep,
            patient=patient,
        )


def evidence_of(document: Document) -> Evidence:
    """The reference to a kept file."""
    return Evidence(
        evidence_id=document["_id"],
        sha256=document["sha256"],
        size=document["size"],
        media_type=document["media_type"],
        name=document["name"],
        kind=document.get("kind"),
    )


TheGateway = NamedDependency[Gateway]
"""What a route is given as `gateway`."""
Caller = NamedDependency[Principal]
"""What a route is given as `principal`; asking for it requires a key or link."""
