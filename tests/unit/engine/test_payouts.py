"""What a merchant is paid for an order, and what is taken back from it (OI-08)."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from contracts.actors import Actor
from contracts.cases import LedgerEntry
from contracts.money import Money
from contracts.orders import Buyer, Fact, Order
from engine.payouts import PayoutItem, payout_of

NOON = datetime(2021, 3, 1, 12, tzinfo=UTC)


def eur(amount: str) -> Money:
    return Money(amount=Decimal(amount), currency="EUR")


def hour(number: int) -> datetime:
    return NOON + timedelta(hours=number)


ORDER = Order(
    merchant_id="shop",
    order_number="1",
    buyer=Buyer(email="b@x.example"),
    amount=eur("80.00"),
    placed_at=NOON,
    protection_activated=True,
    order_id="ord_1",
    programme="order-issues",
    timezone="Europe/Berlin",
    merchant_name="Shop",
    merchant_locale="de",
    registered_at=NOON,
)


def entry(
    kind: Any, amount: str, at: int, *, name: str = "", executor: Any = "platform", settles: str | None = None
) -> LedgerEntry:
    return LedgerEntry(
        entry_id=name or f"{kind} {amount} {at}",
        kind=kind,
        amount=eur(amount),
        case_id="cas_1",
        executor=executor,
        settles=settles,
        at=hour(at),
    )


def paid_out(at: int, amount: str | None = None) -> Fact:
    return Fact(
        kind="paid_out",
        at=hour(at),
        amount=None if amount is None else eur(amount),
        fact_id=f"fct_{at}",
        source=Actor(role="partner", id="partner"),
        recorded_at=hour(at),
    )


def shown(item: PayoutItem) -> tuple[str, str, list[str]]:
    return item.state, str(item.amount.amount), [str(each.amount.amount) for each in item.netted]


@pytest.mark.rule("OI-08")
@pytest.mark.parametrize(
    ("facts", "ledger", "held", "expected"),
    [
        ((), (), False, ("payable", "80.00", [])),
        ((), (), True, ("held", "80.00", [])),
        # what the platform paid or is to pay lessens it, what the merchant pays does not
        ((), (entry("reserved", "30.00", 1),), True, ("held", "50.00", [])),
        (
            (),
            (entry("reserved", "30.00", 1, name="r"), entry("executed", "30.00", 2, settles="r")),
            False,
            ("payable", "50.00", []),
        ),
        ((), (entry("executed", "30.00", 1, executor="merchant"),), False, ("payable", "80.00", [])),
        ((), (entry("executed", "30.00", 1, executor="provider"),), False, ("payable", "50.00", [])),
        (
            (),
            (entry("reserved", "30.00", 1, name="r"), entry("released", "30.00", 2, settles="r")),
            False,
            ("payable", "80.00", []),
        ),
        ((), (entry("executed", "90.00", 1, executor="provider"),), False, ("payable", "0.00", [])),
        # paid out, and what flowed after that
        ((paid_out(2),), (), False, ("paid", "80.00", [])),
        ((paid_out(2, "72.00"),), (), False, ("paid", "72.00", [])),
        ((paid_out(2),), (entry("executed", "30.00", 1),), False, ("paid", "50.00", [])),
        ((paid_out(2),), (entry("executed", "30.00", 3),), False, ("netted", "80.00", ["30.00"])),
        ((paid_out(2, "72.00"),), (entry("executed", "30.00", 3),), True, ("netted", "72.00", ["30.00"])),
        (
            (paid_out(2),),
            (entry("executed", "10.00", 1), entry("executed", "30.00", 3), entry("executed", "5.00", 4)),
            False,
            ("netted", "70.00", ["30.00", "5.00"]),
        ),
        ((paid_out(2),), (entry("reserved", "30.00", 3),), True, ("paid", "80.00", [])),
        ((paid_out(2),), (entry("executed", "30.00", 3, executor="merchant"),), False, ("paid", "80.00", [])),
        (
            (paid_out(2),),
            (entry("executed", "30.00", 3, name="lost", executor="provider"), entry("released", "30.00", 4, settles="lost")),
            False,
            ("paid", "80.00", []),
        ),
        # at the very same moment
        ((paid_out(2),), (entry("executed", "30.00", 2),), False, ("netted", "80.00", ["30.00"])),
        ((paid_out(2, "80.00"),), (entry("executed", "30.00", 2),), False, ("netted", "80.00", ["30.00"])),
        ((paid_out(2, "50.00"),), (entry("executed", "30.00", 2),), False, ("paid", "50.00", [])),
        # in parts
        ((paid_out(1, "40.00"), paid_out(3, "40.00")), (entry("executed", "10.00", 4),), False, ("netted", "80.00", ["10.00"])),
    ],
)
def test_payouts(
    facts: tuple[Fact, ...], ledger: tuple[LedgerEntry, ...], held: bool, expected: tuple[str, str, list[str]]
) -> None:
    item = payout_of(ORDER, facts, ledger, held=held)
    assert shown(item) == expected
    assert all(each.case_id == "cas_1" for each in item.netted)
