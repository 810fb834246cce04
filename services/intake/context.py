"""What intake knows beside the document of a key when it decides: read once for a whole batch."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from contracts.cases import Rollout
from contracts.ids import derived
from contracts.orders import Merchant

__all__ = ["Context", "MerchantPage", "claim_id"]


@dataclass(frozen=True, slots=True)
class MerchantPage:
    """Merchants in the order of their ids, and whether there are more after them."""

    merchants: tuple[Merchant, ...]
    more: bool


@dataclass(frozen=True, slots=True)
class Context:
    """`merchants` by id, as this service's own store has them. `rollouts` say which version of a programme is in force for whom
    (BP-24). `claims` has, by `claim_id`, the order on which each claim of the batch came in first (CP-03). `pages` has, by
    command, the merchants that an announcement is for next."""

    merchants: Mapping[str, Merchant] = field(default_factory=dict)
    rollouts: tuple[Rollout, ...] = ()
    claims: Mapping[str, str] = field(default_factory=dict)
    pages: Mapping[str, MerchantPage] = field(default_factory=dict)


def claim_id(merchant_id: str, programme: str, reason: str, external_id: str) -> str:
    """The identity of what somebody outside claims from a merchant, whatever order it is reported on."""
    return f"clm_{derived('claim', merchant_id, programme, reason, external_id)}"
