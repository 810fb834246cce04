"""Orders as the simulator plays them, and the reader of a real export: an order per line and seller, no line lost."""

import gzip
import hashlib
import zlib
from codecs import BOM_UTF8
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

import orjson
from pydantic import TypeAdapter

from contracts.base import GivenMoment, format_moment

T = TypeVar("T")

__all__ = [
    "HOUSE_MERCHANT",
    "Batch",
    "PlayedFact",
    "PlayedLine",
    "PlayedMerchant",
    "PlayedOrder",
    "Skipped",
    "programmes_of",
    "read_export",
]

HOUSE_MERCHANT = "house"
"""The merchant of orders that name no seller."""
EXPORT_ZONE = ZoneInfo("America/Sao_Paulo")
"""The zone of an export's naive local times."""
_GIVEN: TypeAdapter[datetime] = TypeAdapter(GivenMoment)


@dataclass(frozen=True, slots=True)
class PlayedMerchant:
    """A shop and what it has agreed; certified and with its seal live unless `protected` is false (BP-02)."""

    merchant_id: str
    name: str
    country: str
    locale: str
    timezone: str
    protection_days: int | None = None
    protected: bool = True
    programmes: tuple[str, ...] = ("buyer-protection",)
    """What it offers; the first is that of its orders."""

    def profile(self, certified_at: datetime | None) -> dict[str, Any]:
        """The body of `PUT /v1/merchants/{merchant_id}`; certified, and with its seal live, from a moment on or not yet."""
        domain = f"{self.merchant_id[:24]}.merchants.example"
        body: dict[str, Any] = {
            "name": self.name,
            "programmes": list(self.programmes),
            "locale": self.locale,
            "country": self.country,
            "timezone": self.timezone,
            "notify": [{"kind": "new_case", "email": f"cases@{domain}"}, {"kind": "all", "email": f"desk@{domain}"}],
            "service_contact": {"email": f"service@{domain}"},
        }
        if certified_at is not None:
            body |= {"certified_at": format_moment(certified_at), "seal_live_at": format_moment(certified_at)}
        if self.protection_days is not None:
            body["protection_days"] = self.protection_days
        return body


@dataclass(frozen=True, slots=True)
class PlayedLine:
    """A line of an order; `unit_price` in the order's currency."""

    line_id: str
    sku: str
    title: str
    quantity: int
    unit_price: Decimal


@dataclass(frozen=True, slots=True)
class PlayedFact:
    """Something that happened to the order (CP-06); its `external_id` makes sending it again harmless."""

    kind: str
    at: datetime
    external_id: str
    carrier: str | None = None
    tracking_code: str | None = None

    def body(self) -> dict[str, Any]:
        """As POST /v1/orders/{order_id}/facts takes it."""
        body: dict[str, Any] = {"kind": self.kind, "at": format_moment(self.at), "external_id": self.external_id}
        if self.carrier is not None:
            body["carrier"] = self.carrier
        if self.tracking_code is not None:
            body["tracking_code"] = self.tracking_code
        return body


@dataclass(frozen=True, slots=True)
class PlayedOrder:
    """One order at one merchant with what became of it. Times are UTC; amounts in the currency's digits.

    `cancelled`: the shop could not or would not deliver. `score` (1–5) and `review` say how content the buyer was at last."""

    merchant: PlayedMerchant
    order_number: str
    buyer_email: str
    currency: str
    amount: Decimal
    placed_at: datetime
    buyer_name: str | None = None
    buyer_locale: str | None = None
    channel: str | None = None
    lines: tuple[PlayedLine, ...] = ()
    promised_by: datetime | None = None
    shipped_at: datetime | None = None
    delivered_at: datetime | None = None
    carrier: str | None = None
    tracking_code: str | None = None
    paid_out_at: datetime | None = None
    cancelled: bool = False
    protection_activated: bool = True
    protection_days: int | None = None
    score: int | None = None
    review: str = ""
    line: int = 0

    @property
    def key(self) -> str:
        """What names this order among all that are played, whatever the order of play."""
        return f"{self.merchant.merchant_id}/{self.order_number}"

    @property
    def days(self) -> int:
        """The length of its protection (BP-04)."""
        return self.protection_days or self.merchant.protection_days or 30

    @property
    def protected_until(self) -> datetime:
        """The end of the protection: the same local time, `days` days after the order was placed."""
        zone = ZoneInfo(self.merchant.timezone)
        local = self.placed_at.astimezone(zone).replace(tzinfo=None) + timedelta(days=self.days)
        return local.replace(tzinfo=zone).astimezone(UTC)

    @property
    def is_protected(self) -> bool:
        """Whether the platform will protect it (BP-02)."""
        return self.merchant.protected and self.protection_activated and self.merchant.programmes[0] == "buyer-protection"

    @property
    def came_late(self) -> bool:
        """Whether it arrived after the promised day; one that never came is not late but missing."""
        return self.delivered_at is not None and self.promised_by is not None and self.delivered_at > self.promised_by

    def facts(self) -> tuple[PlayedFact, ...]:
        """What happened to it, each at its time."""
        happened = (
            ("shipped", self.shipped_at, self.carrier, self.tracking_code),
            ("delivered", self.delivered_at, None, None),
            ("paid_out", self.paid_out_at, None, None),
        )
        return tuple(
            PlayedFact(kind, at, f"{self.key}/{kind}"[-100:], carrier, tracking)
            for kind, at, carrier, tracking in happened
            if at is not None
        )

    def body(self) -> dict[str, Any]:
        """The body of `POST /v1/orders`, without facts."""
        buyer: dict[str, Any] = {"email": self.buyer_email}
        if self.buyer_name is not None:
            buyer["name"] = self.buyer_name
        if self.buyer_locale is not None:
            buyer["locale"] = self.buyer_locale
        body: dict[str, Any] = {
            "merchant_id": self.merchant.merchant_id,
            "order_number": self.order_number,
            "buyer": buyer,
            "amount": self.money(self.amount),
            "placed_at": format_moment(self.placed_at),
            "protection_activated": self.protection_activated,
        }
        if self.channel is not None:
            body["channel"] = self.channel
        if self.lines:
            body["lines"] = [
                {
                    "line_id": line.line_id,
                    "sku": line.sku,
                    "title": line.title,
                    "quantity": line.quantity,
                    "unit_price": self.money(line.unit_price),
                }
                for line in self.lines
            ]
        if self.promised_by is not None:
            body["promised_by"] = format_moment(self.promised_by)
        if self.protection_days is not None:
            body["protection_days"] = self.protection_days
        return body

    def money(self, amount: Decimal) -> dict[str, str]:
        """An amount in the order's currency, as the API takes it."""
        return {"amount": format(amount, "f"), "currency": self.currency}


@dataclass(frozen=True, slots=True)
class Skipped:
    """A line that is no order, and why."""

    line: int
    why: str


@dataclass(slots=True)
class Batch:
    """What a source gave: every line is an order (or several) or skipped."""

    orders: list[PlayedOrder] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    lines: int = 0


def read_export(path: Path, most_orders: int | None = None) -> Batch:
    """The orders of an export (JSON lines, gzip or plain), oldest first as they stand; at most `most_orders` of them, while
    all lines are counted. A line that cannot be used is skipped with the reason. Raises OSError, also for a packed file that
    is cut off or damaged: nobody knows which lines are missing."""
    batch = Batch()
    merchants: dict[str, PlayedMerchant] = {}
    seen: dict[str, int] = {}
    for number, text in enumerate(_lines(path), 1):
        batch.lines = number
        if most_orders is not None and len(batch.orders) >= most_orders:
            continue
        try:
            orders = list(_orders_of_line(text, number, merchants))
        except _Unusable as unusable:
            batch.skipped.append(Skipped(number, str(unusable)))
            continue
        repeated = next((seen[order.key] for order in orders if order.key in seen), None)
        if repeated is not None:
            batch.skipped.append(Skipped(number, f"the same order as line {repeated}"))
            continue
        seen.update((order.key, number) for order in orders)
        batch.orders += orders if most_orders is None else orders[: most_orders - len(batch.orders)]
    return batch


class _Unusable(Exception):
    """Why a line is no order."""


def _lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as plain:
        packed = plain.read(2) == b"\x1f\x8b"
    with gzip.open(path) if packed else path.open("rb") as file:
        try:
            if file.read(len(BOM_UTF8)) != BOM_UTF8:  # which some programs begin a file with
                file.seek(0)
            yield from file
        except (EOFError, zlib.error) as damaged:
            raise OSError(f"{path} is no whole gzip file: {damaged}") from damaged


def _orders_of_line(text: bytes, number: int, merchants: dict[str, PlayedMerchant]) -> Iterator[PlayedOrder]:
    """One order for each seller of a line. Raises _Unusable."""
    try:
        raw = orjson.loads(text)
    except orjson.JSONDecodeError as wrong:
        raise _Unusable(f"no JSON: {wrong}" if text.strip() else "an empty line") from None
    if not isinstance(raw, dict):
        raise _Unusable("no JSON object")
    order_number = _text(raw, "order_id")
    currency = _text(raw, "currency")
    placed_at = _moment(raw, "purchased_at")
    if placed_at is None:
        raise _Unusable("purchased_at is missing")
    whole = _amount(raw.get("amount"), "amount")
    items = _several(raw, "items", dict)
    named = _several(raw, "seller_ids", str) or [_text(item, "seller_id") for item in items if item.get("seller_id")]
    sellers = list(dict.fromkeys(named))
    score, review = _review(_several(raw, "reviews", dict))
    promised_by, delivered_at = _moment(raw, "promised_at"), _moment(raw, "delivered_at")
    cancelled = raw.get("status") in ("canceled", "unavailable") and delivered_at is None
    buyer = str(raw.get("buyer_id") or raw.get("customer_id") or order_number)
    for seller in sellers or [HOUSE_MERCHANT]:
        merchant = merchants.setdefault(seller, _merchant(seller))
        own = [item for item in items if len(sellers) < 2 or item.get("seller_id") == seller]
        lines = tuple(_line(item) for item in own)
        amount = whole
        if len(sellers) > 1:
            amount = sum(
                (line.unit_price + _amount(item.get("freight", "0"), "freight") for line, item in zip(lines, own, strict=True)),
                Decimal(0),
            )
        yield PlayedOrder(
            merchant=merchant,
            order_number=order_number,
            buyer_email=f"buyer-{buyer}@buyers.example",
            buyer_locale="pt-BR",
            currency=currency,
            amount=amount,
            placed_at=placed_at,
            lines=lines,
            promised_by=promised_by,
            shipped_at=_moment(raw, "shipped_at"),
            delivered_at=delivered_at,
            cancelled=cancelled,
            score=score,
            review=review,
            line=number,
        )


def _merchant(seller: str) -> PlayedMerchant:
    name = "The marketplace's own shop" if seller == HOUSE_MERCHANT else f"Shop {seller[:8]}"
    return PlayedMerchant(
        seller, name, country="BR", locale="pt-BR", timezone=EXPORT_ZONE.key, programmes=programmes_of(seller)
    )


_MIX = ("buyer-protection",) * 6 + ("order-issues",) * 2 + ("returns-desk",) * 2


def programmes_of(merchant_id: str) -> tuple[str, ...]:
    """The programmes of a shop, the first for its orders: most protect their buyers, some are marketplaces for retailers, some
    have a returns desk; claims come in for all. Follows from the shop's name alone."""
    first = _MIX[int.from_bytes(hashlib.sha256(merchant_id.encode()).digest()[:4]) % len(_MIX)]
    return tuple(dict.fromkeys((first, *_MIX, "claims")))


def _line(item: Mapping[str, Any]) -> PlayedLine:
    product = str(item.get("product_id") or "product")
    return PlayedLine(
        line_id=str(item.get("n") or product),
        sku=product,
        title=f"Article {product[:8]}",
        quantity=1,
        unit_price=_amount(item.get("price"), "price"),
    )


def _review(reviews: Sequence[Mapping[str, Any]]) -> tuple[int | None, str]:
    """The latest review's score, and its words."""
    if not reviews:
        return None, ""
    last = max(reviews, key=lambda review: str(review.get("answered_at") or review.get("created_at") or ""))
    words = " — ".join(str(part) for part in (last.get("title"), last.get("message")) if part)
    score = last.get("score")
    if score is not None and not isinstance(score, int):
        raise _Unusable("score is no number")
    return score, words


def _text(raw: Mapping[str, Any], name: str) -> str:
    value = raw.get(name)
    if not isinstance(value, str) or not value:
        raise _Unusable(f"{name} is missing")
    return value


def _several(raw: Mapping[str, Any], name: str, kind: type[T]) -> list[T]:
    """A list of one kind of values; none where it is missing."""
    values = raw.get(name) or []
    if not isinstance(values, list) or not all(isinstance(value, kind) for value in values):
        raise _Unusable(f"{name} is no list of {'texts' if kind is str else 'objects'}")
    return values


def _amount(value: object, name: str) -> Decimal:
    try:
        amount = Decimal(value) if isinstance(value, str) else None
    except InvalidOperation:
        amount = None
    if amount is None or not amount.is_finite() or amount < 0:
        raise _Unusable(f"{name} is no amount")
    return amount


def _moment(raw: Mapping[str, Any], name: str) -> datetime | None:
    """A naive local time of the export as UTC; None where there is none."""
    value = raw.get(name)
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(value)
        moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=EXPORT_ZONE)
        _GIVEN.validate_python(moment)
    except (TypeError, ValueError, OverflowError):
        raise _Unusable(f"{name} is no time") from None
    return moment.astimezone(UTC)
