"""Who asks: platform, partner, merchant, or the bearer of a link; and what each may see and do."""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from chassis.settings import Settings
from contracts.actors import Actor, Party
from contracts.base import parse_moment
from contracts.capability import Capability, InvalidToken, read
from contracts.orders import Standing
from contracts.problems import Problem
from engine.casefile import CLOSED
from services.gateway.problems import ProblemError, link_expired, unauthorized
from services.gateway.requests import AnyRequest
from services.gateway.store import KEYS, REVOKED_LINKS, Document, PointReads

__all__ = ["Principal", "Principals", "acts_until", "key_digest", "new_key", "require_acting"]

Asking = Literal["platform", "partner", "merchant", "buyer"]
_ACTS_AFTER_PROTECTION = timedelta(days=60)
_WITHOUT_PROTECTION = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Principal:
    """Who a request comes from. `name` is unique among principals and names them in idempotency keys."""

    role: Asking
    name: str
    merchants: frozenset[str] = frozenset()
    """The shops of a merchant key; those that a partner was given beside the ones that it created."""
    capability: Capability | None = None
    """Set for the bearer of a link."""

    @property
    def reads_as(self) -> Party:
        """Whose eyes it has: a partner stands beside the merchants it looks after."""
        return "merchant" if self.role == "partner" else self.role

    @property
    def turn(self) -> Party | None:
        """Whose turn is this caller's turn."""
        return None if self.role == "partner" else self.role

    @property
    def created_as(self) -> str:
        """How merchants remember who made them."""
        return self.name

    def actor(self, *, for_buyer: bool = False) -> Actor:
        """The author of its commands; `for_buyer` where a partner or agent reports in the buyer's name."""
        acts_for = "buyer" if for_buyer and self.role in ("partner", "platform") else None
        return Actor(role=self.role, id=self.name, acts_for=acts_for)

    def require(self, *roles: Asking) -> None:
        """Raises 403 where the role may never do this."""
        if self.role not in roles:
            raise ProblemError(Problem.forbidden(f"This is for {' and '.join(roles)}, not for {self.role}."))

    def was_given(self, merchant_id: str) -> bool:
        """Whether it is a partner that looks after a merchant which it need not have created; intake is told so."""
        return self.role == "partner" and merchant_id in self.merchants

    def sees_merchant(self, merchant_id: str, owner: str | None) -> bool:
        """Whether it may know this merchant; `owner` is who created it. A link shows an order, not its merchant."""
        if self.capability is not None:
            return False
        match self.role:
            case "platform":
                return True
            case "partner":
                return owner == self.created_as or merchant_id in self.merchants
            case _:
                return merchant_id in self.merchants

    def sees_order(self, body: Mapping[str, Any], owner: str | None) -> bool:
        """Whether it may know this order; `owner` is who created the order's merchant."""
        order = body["order"]
        if self.capability is not None:
            return self.capability.order_id == order["order_id"]
        return self.sees_merchant(order["merchant_id"], owner)

    @property
    def is_guest(self) -> bool:
        """Whether it came by a form that anybody can fill in: it sees its own case, and nothing of the order behind it."""
        return self.role == "buyer" and self.capability is not None and self.capability.case_id is not None

    def sees_case(self, case_id: str) -> bool:
        """Whether it may know this case of an order that it sees: a merchant's button shows its one case."""
        return self.capability is None or self.capability.case_id in (None, case_id)


def new_key(secret: str, cause: str, role: str = "merchant") -> tuple[str, str]:
    """(key id, key) of a new key. Made from its cause, so that a repeated request shows the same key again without anybody
    having kept it."""
    material = hmac.new(secret.encode(), f"{role}-key\n{cause}".encode(), hashlib.sha256).hexdigest()
    key_id = hashlib.sha256(f"key\n{cause}".encode()).hexdigest()[:16]
    return f"key_{key_id}", f"{role}_{material}"


def key_digest(key: str) -> str:
    """What is kept of a key."""
    return hashlib.sha256(key.encode()).hexdigest()


class Principals:
    """Tells principals by their bearer tokens. The platform's and the partner's keys are compared without the store."""

    def __init__(self, settings: Settings, reads: PointReads) -> None:
        self._secret = settings.secret
        self._reads = reads
        known = (
            (settings.platform_key, Principal("platform", "platform")),
            (settings.partner_key, Principal("partner", "partner")),
        )
        self._fixed = [(key.encode(), principal) for key, principal in known if key]

    async def of(self, request: AnyRequest) -> Principal:
        """The principal of a request. Raises 401."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise unauthorized("Send `Authorization: Bearer` with a key, or with the token of a link.")
        return await self.of_token(token.strip())

    async def of_token(self, token: str) -> Principal:
        """The principal of a key or link's token. Raises 401."""
        given = token.encode(errors="replace")
        for key, principal in self._fixed:
            if hmac.compare_digest(key, given):
                return principal
        if "." in token:
            return await self.of_link(token)
        found = await self._reads.get(KEYS, key_digest(token))
        if found is None or found.get("revoked_at") is not None:
            raise unauthorized("This key is not known here or was revoked.")
        return _of_key(found)

    async def of_link(self, token: str) -> Principal:
        """The principal of a link's token. Raises 401, also for a link that was revoked, in whichever process."""
        try:
            capability = read(self._secret, token)
        except InvalidToken as invalid:
            raise unauthorized(str(invalid).capitalize() + ".") from None
        if await self._reads.get(REVOKED_LINKS, capability.link_id) is not None:
            raise unauthorized("This link was revoked; ask for a new one.")
        return Principal(capability.role, f"{capability.role}:{capability.link_id}", capability=capability)


def _of_key(kept: Document) -> Principal:
    """The principal of a key. The staff of one shop has the shop's name, whichever of its keys it uses."""
    role, shops = kept.get("role") or "merchant", kept["merchants"]
    name = shops[0] if role == "merchant" and len(shops) == 1 else kept["key_id"]
    return Principal(role, f"{role}:{name}", frozenset(shops))


def acts_until(capability: Capability, body: Mapping[str, Any]) -> datetime | None:
    """Until when a link acts on its order, as it stands now; None: without a date (a case is open).

    A buyer's: its own date, else 60 days after the protection's end, which an open case puts off (BP-26). A merchant's: the
    end of its case, or its own date where that is earlier."""
    own = capability.expires_at
    cases: Mapping[str, Mapping[str, Any]] = (body.get("file") or {}).get("cases", {})
    if capability.role == "merchant":
        case = cases.get(capability.case_id or "")
        closed = case["closed_at"] if case and case["state"] in CLOSED else None
        ends = [moment for moment in (own, parse_moment(closed) if closed else None) if moment is not None]
        return min(ends, default=None)
    if own is not None:
        return own
    standing = Standing.model_validate(body["standing"])
    if standing.open_cases:
        return None
    ended = [parse_moment(case["closed_at"]) for case in cases.values() if case.get("closed_at")]
    protected_until = standing.protection.ends_at or parse_moment(body["order"]["placed_at"]) + _WITHOUT_PROTECTION
    return max([protected_until, *ended]) + _ACTS_AFTER_PROTECTION


def require_acting(principal: Principal, body: Mapping[str, Any], at: datetime) -> None:
    """Raises 403 link-expired where the caller's link only reads by now; `at` is the stack's clock."""
    if principal.capability is None:
        return
    until = acts_until(principal.capability, body)
    if until is not None and at >= until:
        raise link_expired()
