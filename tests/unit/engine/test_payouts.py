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
from engine.payouts import PayoutItem, flagged, payout_of

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
        ((paid_out(2), netted(4, "30.00"), paid_out(6, "30.00")), (LOST, WON_AFTER_ALL), ("paid", "110.00", [])),
        ((paid_out(2, "80.00"), netted(4, "30.00"), paid_out(6, "30.00")), (LOST, WON_AFTER_ALL), ("paid", "110.00", [])),
        ((paid_out(2, "80.00"), netted(4, "30.00"), paid_out(6)), (LOST, WON_AFTER_ALL), ("paid", "110.00", [])),
        ((paid_out(2, "80.00"), netted(4, "30.00"), paid_out(6, "10.00")), (LOST, WON_AFTER_ALL), ("payable", "20.00", [])),
        (
            (paid_out(2, "80.00"), netted(4, "30.00"), paid_out(6, "30.00")),
            (LOST, WON_AFTER_ALL, entry("executed", "7.00", 8)),
            ("netted", "110.00", ["7.00"]),
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
        ((), (entry("executed", "80.00", 1, executor="provider"),), False, ("payable", "0.00", [])),
        # a chargeback of more than the order's amount is the merchant's, before a payout as after it
        ((), (entry("executed", "95.00", 1, executor="provider"),), False, ("netted", "0.00", ["15.00"])),
        ((), (entry("executed", "95.00", 1, executor="provider"),), True, ("netted", "0.00", ["15.00"])),
        ((paid_out(2),), (entry("executed", "95.00", 1, executor="provider"),), False, ("netted", "0.00", ["15.00"])),
        ((paid_out(2),), (entry("executed", "95.00", 3, executor="provider"),), False, ("netted", "80.00", ["95.00"])),
        ((netted(2, "15.00"),), (entry("executed", "95.00", 1, executor="provider"),), False, ("payable", "0.00", [])),
        # paid out, and what flowed after that
        ((paid_out(2),), (), False, ("paid", "80.00", [])),
        ((paid_out(2, "72.00"),), (), False, ("payable", "8.00", [])),
        ((paid_out(2),), (entry("executed", "30.00", 1),), False, ("paid", "50.00", [])),
        ((paid_out(2),), (entry("executed", "30.00", 3),), False, ("netted", "80.00", ["30.00"])),
        ((paid_out(2, "72.00"),), (entry("executed", "30.00", 3),), True, ("netted", "72.00", ["22.00"])),
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
        # what is promised is not paid out; who was paid all the same owes it when it has flowed
        ((paid_out(2),), (entry("reserved", "30.00", 1),), True, ("paid", "50.00", [])),
        ((paid_out(2, "40.00"),), (entry("reserved", "40.00", 1),), False, ("paid", "40.00", [])),
        ((paid_out(2, "80.00"),), (entry("reserved", "30.00", 1),), True, ("paid", "80.00", [])),
        # in parts
        ((paid_out(1, "40.00"),), (), False, ("payable", "40.00", [])),
        ((paid_out(1, "40.00"),), (), True, ("held", "40.00", [])),
        ((paid_out(1, "40.00"), paid_out(3)), (entry("executed", "10.00", 2),), False, ("paid", "70.00", [])),
        ((paid_out(1, "40.00"),), (entry("executed", "50.00", 2),), False, ("netted", "40.00", ["10.00"])),
        # a further payout wipes out no debt: what is more than was due is owed as well
        (
            (paid_out(1, "80.00"), paid_out(3, "0.01")),
            (entry("executed", "30.00", 2),),
            False,
            ("netted", "80.01", ["0.01", "30.00"]),
        ),
        (
            (paid_out(1, "80.00"), paid_out(3, "5.00")),
            (entry("executed", "30.00", 2),),
            False,
            ("netted", "85.00", ["5.00", "30.00"]),
        ),
        (
            (paid_out(1, "80.00"), paid_out(3, "80.00")),
            (entry("executed", "30.00", 2),),
            False,
            ("netted", "160.00", ["80.00", "30.00"]),
        ),
        ((paid_out(1, "80.00"), paid_out(3)), (entry("executed", "30.00", 2),), False, ("netted", "80.00", ["30.00"])),
        ((paid_out(1), paid_out(3)), (entry("executed", "30.00", 2),), False, ("netted", "80.00", ["30.00"])),
        ((paid_out(1, "40.00"), paid_out(3, "40.00")), (entry("executed", "10.00", 4),), False, ("netted", "80.00", ["10.00"])),
    ],
)
def test_payouts(
    facts: tuple[Fact, ...], ledger: tuple[LedgerEntry, ...], held: bool, expected: tuple[str, str, list[str]]
) -> None:
    item = payout_of(ORDER, facts, ledger, held=held)
    assert shown(item) == expected
    beyond = sum((fact.amount.amount for fact in facts if fact.amount and fact.kind == "paid_out"), Decimal(0)) - Decimal(80)
    assert [each.case_id for each in item.netted] == [None] * (beyond > 0) + ["cas_1"] * (len(item.netted) - (beyond > 0))


MOMENTS = st.integers(1, 20)
CENTS = st.integers(1, 12_000)


@st.composite
def accounts(draw: st.DrawFn) -> tuple[list[Fact], list[LedgerEntry]]:
    """Payouts, nettings and refunds at any moments; some refunds have not flowed after all."""
    facts = [
        fact(at, f"{Decimal(cents) / 100:.2f}")
        for number, (fact, at, cents) in enumerate(
            draw(st.lists(st.tuples(st.sampled_from([paid_out, netted]), MOMENTS, CENTS), max_size=5))
        )
    ]
    facts += [paid_out(at) for at in draw(st.lists(MOMENTS, max_size=2))]
    facts = [fact.model_copy(update={"fact_id": f"fct_{number}"}) for number, fact in enumerate(facts)]
    ledger: list[LedgerEntry] = []
    for number, (at, cents, executor, undone) in enumerate(
        draw(
            st.lists(
                st.tuples(MOMENTS, CENTS, st.sampled_from(["platform", "provider", "merchant"]), st.booleans()), max_size=4
            )
        )
    ):
        amount = f"{Decimal(cents) / 100:.2f}"
        ledger.append(entry("executed", amount, at, name=f"r{number}", executor=executor))
        if undone:
            ledger.append(entry("released", amount, at + 1, settles=f"r{number}"))
    return facts, sorted(ledger, key=lambda each: each.at)


@pytest.mark.rule("OI-08", "CP-06")
@given(account=accounts(), data=st.data())
def test_the_account_adds_up_whatever_came_first(account: tuple[list[Fact], list[LedgerEntry]], data: st.DataObject) -> None:
    """What the merchant was paid and kept, less what it owes, plus what is payable, is what it should have. The order in which
    facts were told changes nothing, nor does another one without an amount that tells of what was known."""
    facts, ledger = account
    item = payout_of(ORDER, facts, tuple(ledger), held=False)
    owed = sum((each.amount.amount for each in item.netted), Decimal(0))
    payable = item.amount.amount if item.state == "payable" else Decimal(0)
    undone = {each.settles for each in ledger}
    flowed = [each for each in ledger if each.kind == "executed" and each.entry_id not in undone]
    refunded = sum((each.amount.amount for each in flowed if each.executor != "merchant"), Decimal(0))
    if all(fact.amount is not None for fact in facts):
        signed = [(1 if fact.kind == "paid_out" else -1, fact.amount.amount) for fact in facts if fact.amount is not None]
        assert sum((sign * amount for sign, amount in signed), Decimal(0)) - owed + payable == Decimal(80) - refunded
    assert not (owed and payable)
    assert (item.state == "netted") == (owed > 0)
    if item.state in ("paid", "netted"):
        kept = item.amount.amount - sum((each.amount.amount for each in item.settled), Decimal(0))
        assert kept - owed == Decimal(80) - refunded

    shuffled = payout_of(ORDER, data.draw(st.permutations(facts)), tuple(ledger), held=False)
    assert shown(shuffled) == shown(item)

    # A payout that names no amount pays what is payable, once; it forgives nobody anything.
    late = paid_out(30).model_copy(update={"fact_id": "fct_late"})
    after = payout_of(ORDER, [*facts, late], tuple(ledger), held=False)
    assert after.netted == item.netted
    assert after.state == ("netted" if owed else "paid")
    again = payout_of(ORDER, [*facts, late, late.model_copy(update={"fact_id": "fct_later"})], tuple(ledger), held=False)
    assert shown(again) == shown(after)


@pytest.mark.rule("OI-08")
@pytest.mark.parametrize(
    ("before", "ledger", "fact", "flags"),
    [
        ((), (), paid_out(1, "80.00"), ()),
        ((), (), paid_out(1), ()),
        ((), (), paid_out(1, "80.01"), ("over_payout",)),
        ((paid_out(1, "40.00"),), (), paid_out(2, "40.00"), ()),
        ((paid_out(1, "80.00"),), (), paid_out(2, "0.01"), ("over_payout",)),
        ((paid_out(1),), (), paid_out(2, "0.01"), ("over_payout",)),
        ((paid_out(1),), (), paid_out(2), ()),
        ((), (LOST,), paid_out(4, "80.00"), ("over_payout",)),
        ((), (LOST,), paid_out(4, "50.00"), ()),
        ((), (entry("reserved", "30.00", 1),), paid_out(4, "80.00"), ("over_payout",)),
        ((paid_out(1), netted(4, "30.00")), (LOST, WON_AFTER_ALL), paid_out(6, "30.00"), ()),
    ],
)
def test_a_payout_above_what_is_due_is_flagged(
    before: tuple[Fact, ...], ledger: tuple[LedgerEntry, ...], fact: Fact, flags: tuple[str, ...]
) -> None:
    assert flagged(ORDER, before, ledger, fact).flags == flags
