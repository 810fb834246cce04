"""Reading an export: every line is orders or is skipped with a reason, and local times become moments."""

import gzip
import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from simulator.orders import HOUSE_MERCHANT, Batch, read_export


def line(**changes: Any) -> dict[str, Any]:
    return {
        "order_id": "o1",
        "buyer_id": "b1",
        "status": "delivered",
        "purchased_at": "2017-05-10 12:00:00",
        "shipped_at": "2017-05-11 08:30:00",
        "delivered_at": "2017-05-20 15:00:00",
        "promised_at": "2017-05-18 00:00:00",
        "currency": "BRL",
        "amount": "100.00",
        "seller_ids": ["s1"],
        "items": [{"n": 1, "product_id": "p1", "seller_id": "s1", "price": "90.00", "freight": "10.00"}],
        "payments": [],
        "reviews": [],
    } | changes


def read(tmp_path: Path, *lines: dict[str, Any] | str, most: int | None = None) -> Batch:
    path = tmp_path / "orders.jsonl"
    path.write_text("".join((text if isinstance(text, str) else json.dumps(text)) + "\n" for text in lines))
    return read_export(path, most)


def test_an_order_with_its_times_in_utc(tmp_path: Path) -> None:
    (order,) = read(tmp_path, line()).orders
    assert order.placed_at == datetime(2017, 5, 10, 15, tzinfo=UTC)
    assert order.promised_by == datetime(2017, 5, 18, 3, tzinfo=UTC)
    assert order.came_late
    assert [(fact.kind, fact.at) for fact in order.facts()] == [
        ("shipped", datetime(2017, 5, 11, 11, 30, tzinfo=UTC)),
        ("delivered", datetime(2017, 5, 20, 18, tzinfo=UTC)),
    ]
    assert order.body()["amount"] == {"amount": "100.00", "currency": "BRL"}
    assert order.body()["lines"][0]["unit_price"]["amount"] == "90.00"


def test_local_time_follows_the_summer_time_of_the_zone(tmp_path: Path) -> None:
    (order,) = read(tmp_path, line(purchased_at="2017-12-10 12:00:00")).orders
    assert order.placed_at == datetime(2017, 12, 10, 14, tzinfo=UTC)


def test_the_protection_ends_at_the_same_local_time(tmp_path: Path) -> None:
    (order,) = read(tmp_path, line(purchased_at="2017-10-01 12:00:00")).orders
    assert order.placed_at == datetime(2017, 10, 1, 15, tzinfo=UTC)
    assert order.protected_until == datetime(2017, 10, 31, 14, tzinfo=UTC)


def test_several_sellers_are_several_orders_with_their_own_goods(tmp_path: Path) -> None:
    items = [
        {"n": 1, "product_id": "p1", "seller_id": "s1", "price": "10.00", "freight": "1.50"},
        {"n": 2, "product_id": "p2", "seller_id": "s2", "price": "20.00", "freight": "2.00"},
        {"n": 3, "product_id": "p3", "seller_id": "s1", "price": "30.00", "freight": "0.50"},
    ]
    first, second = read(tmp_path, line(seller_ids=["s1", "s2"], items=items)).orders
    assert (first.merchant.merchant_id, first.amount, len(first.lines)) == ("s1", Decimal("42.00"), 2)
    assert (second.merchant.merchant_id, second.amount, len(second.lines)) == ("s2", Decimal("22.00"), 1)
    assert first.order_number == second.order_number == "o1"


def test_without_items_and_seller_it_is_the_house_s_order_of_the_whole_amount(tmp_path: Path) -> None:
    (order,) = read(tmp_path, line(seller_ids=[], items=[])).orders
    assert order.merchant.merchant_id == HOUSE_MERCHANT
    assert order.amount == Decimal("100.00")
    assert "lines" not in order.body()
    (order,) = read(tmp_path, line(seller_ids=[], items=[{"n": 1, "product_id": "p1", "price": "10.00"}])).orders
    assert (order.merchant.merchant_id, len(order.lines)) == (HOUSE_MERCHANT, 1)


def test_a_line_never_delivered_is_an_order_all_the_same(tmp_path: Path) -> None:
    (order,) = read(tmp_path, line(status="canceled", shipped_at=None, delivered_at=None)).orders
    assert order.cancelled
    assert order.facts() == ()


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        ("{not json", "no JSON"),
        ("", "an empty line"),
        ("[1]", "no JSON object"),
        (line(order_id=None), "order_id is missing"),
        (line(purchased_at=None), "purchased_at is missing"),
        (line(purchased_at="yesterday"), "purchased_at is no time"),
        (line(amount="much"), "amount is no amount"),
        (line(amount=12.5), "amount is no amount"),
        (line(amount="-1.00"), "amount is no amount"),
        (line(purchased_at="9999-12-31 23:59:59"), "purchased_at is no time"),
        (line(delivered_at="0001-01-01 00:00:00"), "delivered_at is no time"),
        (line(seller_ids="s1"), "seller_ids is no list of texts"),
        (line(seller_ids=[None]), "seller_ids is no list of texts"),
        (line(items=[1]), "items is no list of objects"),
        (line(items={"n": 1}), "items is no list of objects"),
        (line(reviews=[[]]), "reviews is no list of objects"),
        (line(reviews=[{"score": "good"}]), "score is no number"),
    ],
)
def test_an_unusable_line_is_skipped_with_its_reason(tmp_path: Path, bad: dict[str, Any] | str, why: str) -> None:
    batch = read(tmp_path, line(order_id="before"), bad, line(order_id="after"))
    assert [order.order_number for order in batch.orders] == ["before", "after"]
    (skipped,) = batch.skipped
    assert skipped.line == 2
    assert why in skipped.why
    assert batch.lines == 3


def test_the_same_order_again_is_skipped(tmp_path: Path) -> None:
    batch = read(tmp_path, line(), line())
    assert len(batch.orders) == 1
    assert batch.skipped[0].why == "the same order as line 1"


def test_a_limit_bounds_orders_and_all_lines_are_counted(tmp_path: Path) -> None:
    batch = read(tmp_path, *(line(order_id=f"o{number}") for number in range(5)), most=2)
    assert (len(batch.orders), batch.lines, batch.skipped) == (2, 5, [])


def test_a_packed_file_is_read_as_well(tmp_path: Path) -> None:
    path = tmp_path / "orders.jsonl.gz"
    path.write_bytes(gzip.compress(json.dumps(line()).encode()))
    assert len(read_export(path).orders) == 1


@pytest.mark.parametrize("packed", [False, True])
def test_a_byte_order_mark_before_the_first_line_is_no_part_of_it(tmp_path: Path, packed: bool) -> None:
    path = tmp_path / "orders.jsonl"
    content = "\N{BOM}".encode() + json.dumps(line()).encode()
    path.write_bytes(gzip.compress(content) if packed else content)
    batch = read_export(path)
    assert (len(batch.orders), batch.skipped) == (1, [])


def test_a_packed_file_that_is_cut_off_says_so(tmp_path: Path) -> None:
    path = tmp_path / "orders.jsonl.gz"
    path.write_bytes(gzip.compress(json.dumps(line()).encode())[:-20])
    with pytest.raises(OSError, match="no whole gzip file"):
        read_export(path)
