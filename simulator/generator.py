"""Realistic orders from a seed: several countries, currencies and channels; some come late, some never."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TypeVar

from contracts.money import digits_of
from simulator.orders import Batch, PlayedLine, PlayedMerchant, PlayedOrder, programmes_of

__all__ = ["FIRST_DAY", "generate"]

T = TypeVar("T")

FIRST_DAY = datetime(2019, 7, 1, tzinfo=UTC)
"""Two weeks before the five-day policy comes into force (BP-18): generated orders run on both."""
_ORDERS_A_DAY = 12
_MOST_DAYS = 60


@dataclass(frozen=True, slots=True)
class _Market:
    country: str
    currency: str
    locale: str
    timezone: str
    weight: int
    unit: Decimal
    """What a small article costs about."""


_MARKETS = (
    _Market("DE", "EUR", "de", "Europe/Berlin", 34, Decimal(18)),
    _Market("AT", "EUR", "de", "Europe/Vienna", 8, Decimal(18)),
    _Market("FR", "EUR", "fr", "Europe/Paris", 8, Decimal(18)),
    _Market("GB", "GBP", "en", "Europe/London", 18, Decimal(16)),
    _Market("US", "USD", "en", "America/New_York", 12, Decimal(20)),
    _Market("PL", "PLN", "pl", "Europe/Warsaw", 10, Decimal(75)),
    _Market("JP", "JPY", "ja", "Asia/Tokyo", 6, Decimal(2400)),
    _Market("CH", "CHF", "de", "Europe/Zurich", 4, Decimal(20)),
)
_SHOPS = (
    "Lantern",
    "Harbour",
    "Meadow",
    "Copper",
    "Juniper",
    "Atlas",
    "Willow",
    "Granite",
    "Saffron",
    "Orchard",
    "Quill",
    "Tundra",
)
_TRADES = ("Shoes", "Books", "Bikes", "Kitchen", "Toys", "Audio", "Garden", "Outdoor")
_ARTICLES = {
    "Shoes": ("Trail runners", "Leather boots", "Canvas sneakers", "House slippers"),
    "Books": ("Field guide to mosses", "Bread at home", "A short history of rope", "Night trains"),
    "Bikes": ("Chain, 10 speed", "Front light", "Saddle bag", "Winter tyres, pair"),
    "Kitchen": ("Cast iron pan", "Espresso cups, four", "Bread knife", "Kettle"),
    "Toys": ("Wooden railway", "Puzzle, 1000 pieces", "Kite", "Marble run"),
    "Audio": ("Headphones", "Bookshelf speaker", "Turntable belt", "Aux cable"),
    "Garden": ("Secateurs", "Tomato seeds", "Watering can", "Hammock"),
    "Outdoor": ("Two-person tent", "Head torch", "Dry bag", "Camping stove"),
}
_FIRST_NAMES = (
    "Ada",
    "Jonas",
    "Mira",
    "Piotr",
    "Camille",
    "Kenji",
    "Rosa",
    "Theo",
    "Lena",
    "Omar",
    "Ines",
    "Hugo",
    "Nora",
    "Emil",
)
_LAST_NAMES = ("Berg", "Novak", "Sato", "Lang", "Moreau", "Clark", "Weiss", "Kowalska", "Hale", "Brandt", "Okafor", "Lind")
_CHANNELS = (("own_shop", 55), ("amazon", 20), ("ebay", 15), ("allegro", 10))
_CARRIERS = ("DHL", "DPD", "UPS", "GLS")
_REVIEWS = {
    1: ("Nothing arrived and nobody answers.", "Weeks late, and not even an apology.", "Never again."),
    2: ("Far too late for the birthday it was meant for.", "It came in the end, but how long that took."),
    3: ("Fine, once it was there.", "Good article, poor delivery."),
    4: ("Good, a little slow.", "As described."),
    5: ("All went well.", "Fast and friendly.", ""),
}


def generate(count: int, seed: int) -> Batch:
    """`count` orders, oldest first. About one in ten comes late and one in fourteen never, more than in life, so that a small
    play shows something."""
    draw = random.Random(f"orders:{seed}")  # noqa: S311 - a reproducible play, not a secret
    merchants = _merchants(draw, max(4, min(400, count // 12)))
    days = min(_MOST_DAYS, max(5, count // _ORDERS_A_DAY))
    moments = sorted(FIRST_DAY + timedelta(seconds=draw.randrange(days * 86_400)) for _ in range(count))
    orders = [_order(draw, number, moment, *draw.choice(merchants)) for number, moment in enumerate(moments, 1)]
    return Batch(orders=orders, lines=count)


def _merchants(draw: random.Random, count: int) -> Sequence[tuple[PlayedMerchant, _Market, str]]:
    merchants: list[tuple[PlayedMerchant, _Market, str]] = []
    for number in range(1, count + 1):
        market = _weighted(draw, [(market, market.weight) for market in _MARKETS])
        trade = draw.choice(_TRADES)
        name = f"{draw.choice(_SHOPS)} {trade}"
        merchant_id = f"{name.lower().replace(' ', '-')}-{number}"
        merchant = PlayedMerchant(
            merchant_id=merchant_id,
            name=name,
            country=market.country,
            locale=market.locale,
            timezone=market.timezone,
            protection_days=_weighted(draw, [(None, 80), (60, 12), (14, 8)]),
            protected=draw.random() >= 0.03,
            programmes=programmes_of(merchant_id),
        )
        merchants.append((merchant, market, trade))
    return merchants


def _order(
    draw: random.Random, number: int, placed_at: datetime, merchant: PlayedMerchant, market: _Market, trade: str
) -> PlayedOrder:
    lines = tuple(_line(draw, position, market, trade) for position in range(1, draw.choice((1, 1, 1, 2, 2, 3)) + 1))
    goods = sum((line.unit_price * line.quantity for line in lines), Decimal(0))
    first, last = draw.choice(_FIRST_NAMES), draw.choice(_LAST_NAMES)
    promised_by = (placed_at + timedelta(days=draw.randint(3, 9))).replace(hour=22, minute=0, second=0)
    fate = _weighted(draw, [("in_time", 82), ("late", 11), ("never_shipped", 3), ("lost", 3), ("cancelled", 1)])
    shipped_at = delivered_at = None
    if fate in ("in_time", "late", "lost"):
        shipped_at = placed_at + timedelta(hours=draw.randint(5, 60))
    if fate == "in_time":
        delivered_at = min(promised_by, placed_at + timedelta(hours=draw.randint(62, 200)))
    elif fate == "late":
        delivered_at = promised_by + timedelta(hours=draw.randint(20, 600))
    score = _weighted(draw, _SCORES["good" if fate == "in_time" else "late" if fate == "late" else "never"])
    return PlayedOrder(
        merchant=merchant,
        order_number=f"{placed_at:%y%m%d}-{number:06d}",
        buyer_email=f"{first}.{last}.{number}@buyers.example".lower(),
        buyer_name=f"{first} {last}",
        buyer_locale=market.locale if draw.random() < 0.85 else "en",
        channel=_weighted(draw, _CHANNELS),
        currency=market.currency,
        amount=_rounded(goods + market.unit / 4, market.currency),
        placed_at=placed_at,
        lines=lines,
        promised_by=promised_by,
        shipped_at=shipped_at,
        delivered_at=delivered_at,
        carrier=draw.choice(_CARRIERS),
        tracking_code=f"{draw.randrange(10**12):012d}",
        paid_out_at=delivered_at + timedelta(days=14) if delivered_at is not None and draw.random() < 0.3 else None,
        cancelled=fate == "cancelled",
        protection_activated=draw.random() >= 0.03,
        protection_days=_weighted(draw, [(None, 95), (45, 5)]),
        score=score,
        review="" if score is None else draw.choice(_REVIEWS[score]),
        line=number,
    )


_SCORES: dict[str, Sequence[tuple[int | None, int]]] = {
    "good": ((5, 60), (4, 20), (3, 8), (2, 3), (1, 4), (None, 5)),
    "late": ((5, 12), (4, 18), (3, 25), (2, 15), (1, 25), (None, 5)),
    "never": ((3, 5), (2, 15), (1, 70), (None, 10)),
}


def _line(draw: random.Random, position: int, market: _Market, trade: str) -> PlayedLine:
    title = draw.choice(_ARTICLES[trade])
    return PlayedLine(
        line_id=str(position),
        sku=f"{trade[:3].upper()}-{draw.randrange(1000, 9999)}",
        title=title,
        quantity=draw.choice((1, 1, 1, 2)),
        unit_price=_rounded(market.unit * Decimal(draw.randint(40, 900)) / 100, market.currency),
    )


def _rounded(amount: Decimal, currency: str) -> Decimal:
    return amount.quantize(Decimal(1).scaleb(-digits_of(currency)))


def _weighted(draw: random.Random, choices: Sequence[tuple[T, int]]) -> T:
    return draw.choices([value for value, _ in choices], [weight for _, weight in choices])[0]
