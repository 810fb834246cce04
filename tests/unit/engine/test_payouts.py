"""What a merchant is paid for an order, and what is taken back from it (OI-08)."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

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


def netted(at: int, amount: str) -> Fact:
    fact = paid_out(at, amount)
    return fact.model_copy(update={"kind": "netted", "fact_id": f"fct_n{at}", "external_id": f"payout-{at}"})


def shown(item: PayoutItem) -> tuple[str, str, list[str]]:
    return item.state, str(item.amount.amount), [str(each.amount.amount) for each in item.netted]


LOST = entry("executed", "30.00", 3, name="lost", executor="provider")
WON_AFTER_ALL = entry("released", "30.00", 5, settles="lost")


@pytest.mark.rule("OI-08")
@pytest.mark.parametrize(
    ("facts", "ledger", "expected"),
    [
        # once taken it is not taken again
        ((paid_out(2), netted(4, "30.00")), (LOST,), ("paid", "80.00", [])),
        # in parts, the oldest refund first
        ((paid_out(2), netted(6, "20.00")), (LOST, entry("executed", "5.00", 4)), ("netted", "80.00", ["10.00", "5.00"])),
        ((paid_out(2), netted(6, "20.00"), netted(7, "15.00")), (LOST, entry("executed", "5.00", 4)), ("paid", "80.00", [])),
        # what is refunded later is taken anew
        ((paid_out(2), netted(4, "30.00")), (LOST, entry("executed", "5.00", 9)), ("netted", "80.00", ["5.00"])),
        # what was taken of a refund that turned out not to have flowed is owed, until it is paid
        ((paid_out(2), netted(4, "30.00")), (LOST, WON_AFTER_ALL), ("payable", "30.00", [])),
        ((paid_out(2), netted(4, "30.00"), paid_out(6, "30.00")), (LOST, WON_AFTER_ALL), ("paid", "80.00", [])),
        ((paid_out(2, "80.00"), netted(4, "30.00"), paid_out(6, "30.00")), (LOST, WON_AFTER_ALL), ("paid", "80.00", [])),
        ((paid_out(2, "80.00"), netted(4, "30.00"), paid_out(6)), (LOST, WON_AFTER_ALL), ("paid", "80.00", [])),
        ((paid_out(2, "80.00"), netted(4, "30.00"), paid_out(6, "10.00")), (LOST, WON_AFTER_ALL), ("payable", "20.00", [])),
        (
            (paid_out(2, "80.00"), netted(4, "30.00"), paid_out(6, "30.00")),
            (LOST, WON_AFTER_ALL, entry("executed", "7.00", 8)),
            ("netted", "80.00", ["7.00"]),
        ),
        # a payout that was less by such a refund was too small
        ((paid_out(4, "50.00"),), (LOST, WON_AFTER_ALL), ("payable", "30.00", [])),
        ((paid_out(4, "50.00"), paid_out(6, "30.00")), (LOST, WON_AFTER_ALL), ("paid", "80.00", [])),
        # too much by mistake, before or after the order was paid out
        ((paid_out(2), netted(4, "40.00")), (LOST,), ("payable", "10.00", [])),
        ((netted(4, "40.00"),), (), ("payable", "120.00", [])),
        # the second half of a payout is no repayment
        ((paid_out(2, "40.00"), netted(4, "30.00"), paid_out(6, "40.00")), (LOST,), ("paid", "80.00", [])),
    ],
)
def test_what_was_netted_is_settled_and_shown(
    facts: tuple[Fact, ...], ledger: tuple[LedgerEntry, ...], expected: tuple[str, str, list[str]]
) -> None:
    item = payout_of(ORDER, facts, ledger, held=False)
    assert shown(item) == expected
    taken = [fact for fact in facts if fact.kind == "netted"]
    assert [(each.at, each.amount, each.payout) for each in item.settled] == [
        (fact.at, fact.amount, fact.external_id) for fact in taken
    ]


@pytest.mark.rule("OI-08")
@given(
    moves=st.lists(
        st.tuples(st.sampled_from(["refund", "reverse", "net", "repay"]), st.integers(1, 4000)), min_size=1, max_size=12
    )
)
def test_whoever_settles_what_the_statement_says_gets_even(moves: list[tuple[str, int]]) -> None:
    """Refunds come and go; each payout takes what is netted, or pays what is owed: in sum the merchant has what it is due."""
    ledger: list[LedgerEntry] = []
    facts: list[Fact] = [paid_out(1, "80.00")]
    has = Decimal(80)
    for at, (what, cents) in enumerate(moves, start=2):
        item = payout_of(ORDER, facts, tuple(ledger), held=False)
        standing = [
            each for each in ledger if each.kind == "executed" and all(other.settles != each.entry_id for other in ledger)
        ]
        if what == "refund":
            ledger.append(entry("executed", f"{Decimal(cents) / 100:.2f}", at, name=f"r{at}"))
        elif what == "reverse" and standing:
            ledger.append(entry("released", str(standing[0].amount.amount), at, settles=standing[0].entry_id))
        elif what == "net" and item.state == "netted":
            taken = sum((each.amount.amount for each in item.netted), Decimal(0))
            facts.append(netted(at, str(taken)))
            has -= taken
        elif what == "repay" and item.state == "payable":
            facts.append(paid_out(at, str(item.amount.amount)))
            has += item.amount.amount
    end = payout_of(ORDER, facts, tuple(ledger), held=False)
    has += end.amount.amount if end.state == "payable" else -sum((each.amount.amount for each in end.netted), Decimal(0))
    flowed = [each for each in ledger if each.kind == "executed" and all(other.settles != each.entry_id for other in ledger)]
    assert has == Decimal(80) - sum((each.amount.amount for each in flowed), Decimal(0))


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
