"""The refund ledger of an order: the sum never exceeds what was paid, and nothing is paid twice."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.cases import LedgerEntry
from contracts.orders import Fact
from engine.casefile import balance, entries_of_fact, ledger_of, open_reservations
from tests.unit.engine.playing import PLACED, actor, euros, order


def refunded(amount: int, number: int = 0) -> Fact:
    return Fact(
        kind="refunded",
        at=PLACED,
        amount=euros(amount),
        fact_id=f"fct_{number}",
        source=actor("partner"),
        recorded_at=PLACED + timedelta(hours=number),
    )


def reserved(amount: int, number: int) -> LedgerEntry:
    return LedgerEntry(
        entry_id=f"lge_{number}", kind="reserved", amount=euros(amount), case_id=f"cas_{number}", executor="merchant", at=PLACED
    )


@pytest.mark.rule("NX-06")
@given(paid=st.integers(0, 300), amounts=st.lists(st.integers(1, 200), max_size=6))
def test_an_order_without_a_case_has_what_its_facts_report(paid: int, amounts: list[int]) -> None:
    facts = tuple(refunded(amount, number) for number, amount in enumerate(amounts))
    ledger = ledger_of(order(paid), facts)
    sums = balance(euros(paid), ledger)
    assert sums.executed == euros(sum(amounts))
    assert sums.refundable == euros(max(paid - sum(amounts), 0))
    so_far = 0
    for fact, entry in zip(facts, ledger, strict=True):
        so_far += entry.amount.amount
        assert ("over_refund" in entry.flags) == (so_far > paid)
        assert (entry.fact_id, entry.at, entry.settles) == (fact.fact_id, fact.recorded_at, None)


@pytest.mark.rule("NX-06")
@given(held=st.lists(st.integers(1, 50), max_size=4), amount=st.integers(1, 250), spare=st.integers(0, 50))
def test_a_fact_settles_what_is_reserved_before_it_adds(held: list[int], amount: int, spare: int) -> None:
    paid = sum(held) + spare
    ledger = tuple(reserved(each, number) for number, each in enumerate(held))
    entries = entries_of_fact(order(paid), ledger, refunded(amount), ())
    after = balance(euros(paid), ledger + entries)
    flowed = [entry for entry in entries if entry.kind == "executed"]
    assert sum(entry.amount.amount for entry in flowed) == amount
    assert after.reserved.amount == max(sum(held) - amount, 0)
    assert len({entry.entry_id for entry in entries}) == len(entries)
    assert bool(entries[0].flags) == (amount > paid)
    if amount <= paid:
        assert after.reserved.amount + after.executed.amount <= paid
    if amount in held:
        assert [entry.settles for entry in flowed] == [f"lge_{held.index(amount)}"]


def test_a_settled_reservation_no_longer_stands() -> None:
    ledger = (reserved(40, 0), reserved(30, 1))
    entries = entries_of_fact(order(100), ledger, refunded(30), ())
    assert [entry.entry_id for entry in open_reservations(ledger + entries)] == ["lge_0"]


@pytest.mark.rule("NX-06")
def test_what_a_fact_leaves_of_a_promise_stays_promised() -> None:
    ledger = (reserved(40, 0), reserved(30, 1))
    partly = entries_of_fact(order(100), ledger, refunded(25), ())
    assert [(entry.kind, str(entry.amount.amount), entry.settles) for entry in partly] == [
        ("executed", "25.00", "lge_0"),
        ("reserved", "15.00", None),
    ]
    assert {entry.case_id for entry in partly} == {"cas_0"}
    sums = balance(euros(100), ledger + partly)
    assert (sums.reserved, sums.executed, sums.refundable) == (euros(45), euros(25), euros(30))


@pytest.mark.rule("NX-06")
@pytest.mark.parametrize("confirmed_by", ["buyer", "presumed"])
def test_the_late_proof_of_a_confirmed_refund_moves_nothing_a_second_refund_does(confirmed_by: str) -> None:
    executed = reserved(40, 1).model_copy(
        update={"entry_id": "lge_x", "kind": "executed", "confirmed_by": confirmed_by, "settles": "lge_0"}
    )
    ledger = (reserved(40, 0), executed)
    proof, second = refunded(40, 1), refunded(40, 2)
    assert entries_of_fact(order(100), ledger, proof, ()) == ()
    (entry,) = entries_of_fact(order(100), ledger, second, (proof,))
    assert (entry.amount, entry.fact_id, entry.settles, entry.flags) == (euros(40), second.fact_id, None, ())
    (other,) = entries_of_fact(order(100), ledger, refunded(60, 3), (proof,))
    assert (other.amount, other.flags) == (euros(60), ())


def test_other_facts_and_other_currencies_move_nothing() -> None:
    shipped = refunded(10).model_copy(update={"kind": "shipped"})
    dollars = refunded(10).model_copy(update={"amount": euros(10).model_copy(update={"currency": "USD"})})
    assert ledger_of(order(100), (shipped, dollars, refunded(0))) == ()
