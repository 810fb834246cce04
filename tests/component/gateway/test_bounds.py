"""What is large or strange but allowed goes through; what is not is a problem of the client's, never a 500."""

import json
from typing import Any

import pytest

from services.gateway.problems import EXPLAINED
from tests.component.gateway.platform import Client, Platform, eur, order_body


async def test_the_largest_order_and_report_go_all_the_way(platform: Platform) -> None:
    merchant_id, staff = await platform.shop()
    lines = [{"line_id": str(number), "title": "ü" * 450, "quantity": 1, "unit_price": eur("1.00")} for number in range(1_000)]
    body = order_body(merchant_id, lines=lines)
    raw = json.dumps(body, ensure_ascii=False).encode()
    assert 900_000 < len(raw) < 1024 * 1024
    made = await platform.partner.ask("POST", "/v1/orders", content=raw, headers={"Content-Type": "application/json"})
    assert made.status_code == 201, made.text[:500]
    order = made.json()
    report = {"reason": "not_received", "text": "ü" * 10_000}
    case_id = (await platform.partner.made(f"/v1/orders/{order['order_id']}/reports", report))["case_id"]
    answered = await staff.act(case_id, "answer", refund="yes", message="ü" * 10_000)
    assert answered.status_code == 200, answered.text[:500]
    longer = {**body, "order_number": "x", "lines": lines + lines[:200]}
    too_long = await platform.partner.post("/v1/orders", longer)
    assert too_long.status_code == 413


@pytest.mark.parametrize(
    "fields",
    [
        {"action": "answer"},
        {"action": 7},
        {"action": "answer", "refund": "maybe", "message": "x"},
        {"action": "answer", "refund": "yes", "message": ""},
        {"action": "answer", "refund": "yes", "message": "x" * 10_001},
        {"action": "answer", "refund": "yes", "message": "x", "refund_amount": 12},
        {"action": "answer", "refund": "yes", "message": "x", "refund_amount": {"amount": 12.5, "currency": "EUR"}},
        {"action": "answer", "refund": "yes", "message": "x", "refund_amount": {"amount": "1", "currency": "USD"}},
        {"action": "answer", "refund": "yes", "message": "x", "evidence": ["evd_1"]},
        {"action": "answer", "refund": "yes", "message": "x", "evidence": "evd_1"},
        {"action": "answer", "refund": "yes", "message": "x", "evidence": [None]},
        {"action": "answer", "refund": "yes", "message": "x", "surprise": {"$set": 1}},
        {"action": "answer", "refund": ["yes"], "message": "x"},
        {"action": "answer", "refund": "yes", "message": "x", "refund_amount": {"amount": "1", "currency": "EUR", "$": 1}},
        {"refund": "yes"},
    ],
)
async def test_actions_that_do_not_fit_are_pointed_at(
    platform: Platform, fields: dict[str, Any], strange: tuple[str, Any]
) -> None:
    case_id, staff = strange
    for path in ("actions", "previews"):
        answer = await staff.post(f"/v1/cases/{case_id}/{path}", fields)
        assert answer.status_code == 422, answer.text
        assert answer.json()["errors"][0]["pointer"].startswith("/")
        assert answer.headers["content-type"] == "application/problem+json"


@pytest.fixture(scope="module")
async def strange(platform: Platform) -> tuple[str, Any]:
    case, staff, _ = await platform.reported()
    return case["case_id"], staff


@pytest.mark.parametrize("raw", [b'{"action": "note", "text": NaN}', b"{", b"[]", b'"x"', b"\xff", b"[" * 5_000, b""])
async def test_bodies_that_cannot_be_read(platform: Platform, strange: tuple[str, Any], raw: bytes) -> None:
    case_id, staff = strange
    path = f"/v1/cases/{case_id}/actions"
    answer = await staff.ask("POST", path, content=raw, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422), answer.text
    assert answer.json()["instance"] == path


async def test_strange_texts_are_kept_as_they_are(platform: Platform) -> None:
    merchant_id, staff = await platform.shop()
    number = 'x"\u202e/../é🙂 $where'
    order = await platform.order(merchant_id, order_number=number)
    assert order["order_number"] == number
    found = await staff.get("/v1/orders", order_number=number)
    assert [each["order_id"] for each in found["items"]] == [order["order_id"]]
    report = f"/v1/orders/{order['order_id']}/reports"
    case_id = (await platform.partner.made(report, {"reason": "not_received", "text": "One line\nand\tanother"}))["case_id"]
    case = f"/v1/cases/{case_id}"
    assert (await staff.get(case))["text"] == "One line\nand\tanother"
    unseen: tuple[tuple[Client, str, Any, str], ...] = (
        (platform.partner, "/v1/orders", order_body(merchant_id, order_number="x\u0000"), "/order_number"),
        (platform.partner, report, {"reason": "no_refund", "text": "\u0000"}, "/text"),
        (staff, f"{case}/messages", {"text": "\u001b[2J"}, "/text"),
        (staff, f"{case}/actions", {"action": "answer", "refund": "no", "message": "x\u0000"}, "/message"),
    )
    for who, path, body, pointer in unseen:
        refused = await who.post(path, body)
        assert (refused.status_code, [error["pointer"] for error in refused.json()["errors"]]) == (422, [pointer]), path


async def test_problems_explain_themselves(platform: Platform) -> None:
    for name in EXPLAINED:
        page = await platform.nobody.ask("GET", f"/problems/{name}")
        assert page.status_code == 200
        assert "What to do" in page.text
    assert (await platform.nobody.ask("GET", "/problems/none")).status_code == 404
    document = (await platform.nobody.ask("GET", "/openapi.json")).json()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert operation["operationId"], (method, path)
            assert operation["summary"], (method, path)
    order = document["components"]["schemas"]["OrderRequest"]
    assert order["additionalProperties"] is False


async def test_wrong_methods_and_types(platform: Platform) -> None:
    answer = await platform.agent.ask("PATCH", "/v1/orders")
    assert (answer.status_code, answer.json()["type"]) == (405, "/problems/method-not-allowed")
    assert {"GET", "HEAD", "POST"} <= set(answer.headers["allow"].split(", "))
    merchant_id, staff = await platform.shop()
    read, head = [await staff.ask(method, f"/v1/merchants/{merchant_id}") for method in ("GET", "HEAD")]
    assert (head.status_code, head.content) == (200, b"")
    assert [head.headers[name] for name in ("etag", "content-length")] == [
        read.headers[name] for name in ("etag", "content-length")
    ]
    assert (await platform.agent.ask("POST", "/v1/orders", content=b"{}")).status_code == 415
    huge = await platform.agent.post("/v1/orders", {"x": "y" * (1024 * 1024)})
    assert huge.status_code == 413
