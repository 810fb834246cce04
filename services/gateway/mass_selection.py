"""What a mass action is asked for: which orders, and the places and items that this comes to (NX-09, BP-03, BP-25).

Pure: the same request finds the same places under the same names, so that what was done once is known."""

import hashlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import orjson
from pydantic import Field, model_validator

from contracts.base import GivenMoment, Model, format_moment, parse_moment, wrong_at
from contracts.texts import Code
from services.gateway.projector import Body
from services.gateway.store import Document

__all__ = [
    "TELLS",
    "MassActionContent",
    "Place",
    "Selection",
    "insolvencies",
    "items_of",
    "marker_of",
    "orders_among",
    "place_in",
    "places_of",
]

TELLS = ("insolvency", "carrier_failure")
"""The kinds of action that tell buyers."""
_NAMED = 500
"""Items that share a letter: a record holds 1 MiB, and nobody reads more. Who has more orders gets several."""
_ENDED_WAY = ("delivered", "returned", "cancelled")
"""Facts after which nothing of an order is awaited from a carrier."""


class Selection(Model):
    """Which orders: all that is given must hold. `from` and `to` bound when an order was placed; with a carrier, when it was
    shipped."""

    merchant_id: Code | None = None
    carrier: Code | None = None
    order_ids: Annotated[tuple[Code, ...], Field(min_length=1, max_length=10_000)] | None = None
    from_: Annotated[GivenMoment | None, Field(alias="from")] = None
    to: GivenMoment | None = None


class MassActionContent(Model):
    """`insolvency`: the merchant is declared insolvent, the buyers of its protected orders are told that they can claim, its
    open cases go to review; with `insolvent` false the declaration is taken back and those who were told of it are told so;
    cases stay where they are. `carrier_failure`: the buyers of what the carrier has not delivered are told, open cases go to
    review. `reroute`: open cases go to review. `decide`: open cases are decided alike."""

    kind: Literal["insolvency", "carrier_failure", "reroute", "decide"]
    selection: Selection
    decide: dict[str, Any] | None = None
    """An action of the platform, `{action, …its fields}`, for every open case of the selection."""
    insolvent: Annotated[bool, Field(strict=True)] | None = None
    """Of an insolvency: false takes it back (BP-25)."""
    message: Annotated[str, Field(min_length=1, max_length=10_000)] | None = None
    """What buyers are told in addition, or what the cases say."""
    throttle_per_s: Annotated[int, Field(ge=1, le=10_000, strict=True)] | None = None

    @model_validator(mode="after")
    def _fits(self) -> "MassActionContent":
        chosen = self.selection
        if (self.decide is not None) != (self.kind == "decide"):
            raise wrong_at(("decide",), "`decide` belongs to the kind decide, and to no other")
        if self.decide is not None and not isinstance(self.decide.get("action"), str):
            raise wrong_at(("decide", "action"), "`decide` names an action of the platform, and has its fields")
        if self.kind == "insolvency" and (chosen.merchant_id is None or chosen.carrier is not None):
            place = "merchant_id" if chosen.merchant_id is None else "carrier"
            raise wrong_at(("selection", place), "an insolvency is that of a merchant: select by merchant_id, not by carrier")
        if self.insolvent is not None and self.kind != "insolvency":
            raise wrong_at(("insolvent",), "`insolvent` belongs to the kind insolvency, and to no other")
        if self.takes_back and (chosen.order_ids is not None or chosen.from_ is not None or chosen.to is not None):
            raise wrong_at(("selection",), "an insolvency is taken back as a whole: select by merchant_id alone")
        if self.kind == "carrier_failure" and chosen.carrier is None:
            raise wrong_at(("selection", "carrier"), "select by carrier")
        if chosen.merchant_id is None and chosen.carrier is None and chosen.order_ids is None:
            raise wrong_at(("selection",), "select by merchant_id, carrier or order_ids")
        return self

    @property
    def takes_back(self) -> bool:
        """Whether an insolvency that was declared is taken back."""
        return self.insolvent is False

    def occasion(self, episode: int, body: Body) -> str | None:
        """What happened to an order, whatever is selected beside it: its buyer is told of it once. An insolvency happens to
        the merchant; `episode` counts how often it was said that it is insolvent, and that it is not: what is said again later
        is something new. A carrier fails with a shipment: its next failure, with another one, is something new. None where
        the carrier has nothing of the order on its way any more."""
        chosen, order_id = self.selection, body["order"]["order_id"]
        if self.kind != "carrier_failure":
            return self.insolvency(order_id, episode)
        shipped = _under_way(chosen, body["facts"])
        return None if shipped is None else _text([self.kind, chosen.carrier, order_id, shipped])

    def insolvency(self, order_id: str | None, episode: int) -> str:
        """What was said of the merchant, to the buyer of an order; None: of any, as it was put while one marker stood for all
        orders of a buyer."""
        return _text([self.kind, self.selection.merchant_id, order_id, episode])


@dataclass(frozen=True, slots=True)
class Place:
    """Where an action does something: at an open case of an order, or at the order itself. `name` says what is done there about
    what happened: done under this name, it stays done. `buyer` and `marker`, where buyers are told: whose order it is, and the
    marker that says which letter tells them of it."""

    order_id: str
    case_id: str | None
    name: str
    buyer: str = ""
    marker: str = ""


def insolvencies(content: MassActionContent) -> dict[str, Any]:
    """The actions that say of the same merchant that it is insolvent, or not."""
    return {"content.kind": "insolvency", "content.selection.merchant_id": content.selection.merchant_id}


def orders_among(content: MassActionContent) -> dict[str, Any]:
    """Orders among which the selection is; `places_of` looks closer."""
    chosen = content.selection
    wanted: dict[str, Any] = {"body.standing": {"$exists": True}}
    if chosen.merchant_id is not None:
        wanted["body.order.merchant_id"] = chosen.merchant_id
    if chosen.order_ids is not None:
        wanted["_id"] = {"$in": list(chosen.order_ids)}
    if chosen.carrier is not None:
        wanted["body.facts.carrier"] = chosen.carrier
    elif chosen.from_ is not None or chosen.to is not None:
        span = {"$gte": format_moment(chosen.from_)} if chosen.from_ is not None else {}
        span |= {"$lt": format_moment(chosen.to)} if chosen.to is not None else {}
        wanted["body.order.placed_at"] = span
    if content.kind in ("reroute", "decide"):
        wanted["body.reported_at"] = {"$exists": True}
    return wanted


def places_of(content: MassActionContent, episode: int, body: Body, now: str) -> Iterable[Place]:
    """The places of an order in a selection: its open cases, else the order itself where its buyer is to be told."""
    standing = body["standing"]
    if content.selection.carrier is not None and _under_way(content.selection, body["facts"]) is None:
        return []
    if cases := [case["case_id"] for case in standing["open_cases"]]:
        return [place_in(content, episode, body, case_id) for case_id in cases]
    protection = standing["protection"]
    protected = protection["state"] == "active" and protection["ends_at"] is not None and protection["ends_at"] > now
    told = content.kind == "carrier_failure" or (content.kind == "insolvency" and protected)
    return [place_in(content, episode, body, None)] if told else []


def place_in(content: MassActionContent, episode: int, body: Body, case_id: str | None) -> Place:
    """The place at an open case of an order; None: at the order itself."""
    order_id = body["order"]["order_id"]
    occasion = content.occasion(episode, body) if content.kind in TELLS else None
    what = [content.kind, content.decide, occasion, case_id or order_id]
    name = hashlib.sha256(orjson.dumps(what, option=orjson.OPT_SORT_KEYS)).hexdigest()
    if occasion is None:
        return Place(order_id, case_id, name)
    return Place(order_id, case_id, name, _buyer(body), marker_of(occasion, body))


def _under_way(chosen: Selection, facts: Sequence[Body]) -> str | None:
    """When what a carrier still has of an order was shipped with it, within the selection's bounds: the last time, if several.
    None: nothing is awaited from it."""
    if any(fact["kind"] in _ENDED_WAY for fact in facts):
        return None
    shipped = [
        parse_moment(fact["at"]) for fact in facts if fact["kind"] == "shipped" and fact.get("carrier") == chosen.carrier
    ]
    within = [at for at in shipped if (chosen.from_ is None or at >= chosen.from_) and (chosen.to is None or at < chosen.to)]
    return format_moment(max(within)) if within else None


def items_of(
    mass_id: str, content: MassActionContent, places: Sequence[Place], finished: Collection[str]
) -> Iterator[Document]:
    """The items of an action; the places of a buyer come one after the other, and share letters."""
    first = 0
    for number, place in enumerate(places):
        if place.buyer != places[first].buyer:
            first = number
        item: Document = {
            "_id": f"{mass_id}:{place.case_id or place.order_id}",
            "mass_id": mass_id,
            "name": place.name,
            "n": number,
            "order_id": place.order_id,
            "case_id": place.case_id,
            "status": "waiting",
        }
        tells = content.kind in TELLS
        if tells:
            item |= {"letter": f"{mass_id}:{place.buyer}:{(number - first) // _NAMED}", "marker": place.marker}
        if place.name in finished:
            item |= {"status": "skipped", "problem": {"detail": "An earlier action has done this."}}
            item |= {"told": False} if tells else {}
        yield item


def _address(body: Body) -> str:
    return body["order"]["buyer"]["email"].strip().casefold()


def _buyer(body: Body) -> str:
    """Whose order it is: the same for all orders with an address, and no address."""
    return hashlib.sha256(_address(body).encode()).hexdigest()


def marker_of(occasion: str, body: Body) -> str:
    """The marker of an order's buyer that was told of an occasion."""
    return hashlib.sha256(f"{occasion}\n{_address(body)}".encode()).hexdigest()


def _text(what: Sequence[Any]) -> str:
    return orjson.dumps(what).decode()
