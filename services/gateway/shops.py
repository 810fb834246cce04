"""What readers need of a merchant beside an order: its desk and its zone, from the merchant's read document."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from contracts.cases import StatusLabel
from contracts.desk import Desk

__all__ = ["Shop", "desk_of", "shop_of"]


@dataclass(frozen=True, slots=True)
class Shop:
    """A merchant's desk, with the zone in which its days are reckoned."""

    desk: Desk
    timezone: str

    @property
    def labels(self) -> tuple[StatusLabel, ...]:
        """Its own status labels (RD-06), as actions take them."""
        return tuple(StatusLabel(code=each.code, text=dict(each.text), state=each.state) for each in self.desk.labels)


def desk_of(body: Mapping[str, Any]) -> Desk:
    """The desk in a merchant's read document; an empty one where nobody has put anything there."""
    return Desk.model_validate(body.get("desk") or {})


def shop_of(body: Mapping[str, Any]) -> Shop:
    """The shop of a merchant's read document."""
    return Shop(desk_of(body), body["merchant"]["timezone"])
