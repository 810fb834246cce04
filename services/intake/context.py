"""What intake knows beside the document of a key when it decides: read once for a whole batch."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from contracts.cases import Rollout
from contracts.ids import derived
from contracts.orders import Merchant

__all__ = ["Context", "claim_id"]


@dataclass(frozen=True, slots=True)
class Context:
    """`merchants` by id, as this service's own store has them. `rollouts` say which version of a programme is in force for whom
    (BP-24). `claims` has, by `claim_id`, the order on which each claim of the batch came in first (CP-03)."""

    merchants: Mapping[str, Merchant] = field(default_factory=dict)
    rollouts: tuple[Rollout, ...] = ()
    claims: Mapping[str, str] = field(default_factory=dict)


def claim_id(merchant_id: str, programme: str, reason: str, external_id: str) -> str:
    """The identity of what somebody outside claims from a merchant, whatever order it is reported on."""
    return f"clm_{derived('claim', merchant_id, programme, reason, external_id)}"
