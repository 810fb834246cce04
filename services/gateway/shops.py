"""What readers need of a merchant beside an order: its contact, its desk and its zone, from the merchant's read document."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from contracts.cases import StatusLabel
from contracts.desk import Desk

__all__ = ["Shop", "desk_of", "shop_of"]


@dataclass(frozen=True, slots=True)
class Shop:
    """A merchant's desk, with the zone in which its days are reckoned."""

    desk: Desk
    timezone: str
    contact: Mapping[str, Any] = field(default_factory=dict)
    """How its buyers reach it: {name, email, phone?, url?, return_policy_url?} (CP-01, 05, 08)."""

    @property
    def labels(self) -> tuple[StatusLabel, ...]:
        """Its own status labels (RD-06), as actions take them."""
        return tuple(StatusLabel(code=each.code, text=dict(each.text), state=each.state) for each in self.desk.labels)


def desk_of(body: Mapping[str, Any]) -> Desk:
    """The desk in a merchant's read document; an empty one where nobody has put anything there."""
    return Desk.model_validate(body.get("desk") or {})


def shop_of(body: Mapping[str, Any], *, with_desk: bool = True) -> Shop:
    """The shop of a merchant's read document; without its desk for buyers, who are not told who sits there."""
    merchant = body["merchant"]
    contact = {
        "name": merchant["name"],
        **merchant["service_contact"],
        "return_policy_url": merchant.get("return_policy_url"),
    }
    given = {name: value for name, value in contact.items() if value is not None}
    return Shop(desk_of(body) if with_desk else Desk(), merchant["timezone"], given)
