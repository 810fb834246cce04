"""What clients may send wrongly: the right problem with a pointer, nothing lost, nothing changed, never a 500."""

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from aiokafka import AIOKafkaProducer

from tests.e2e.world import Party, Shop, World, eur

Body = dict[str, Any]


@pytest.fixture(scope="module")
def shop(world: World) -> Shop:
    return world.shop()


def without(body: Body, *path: str) -> Body:
    copy = json.loads(json.dumps(body))
    place = copy
    for step in path[:-1]:
        place = place[step]
    del place[path[-1]]
    return copy


def changed(path: str, value: Any) -> Callable[[Body], Body]:
    def change(body: Body) -> Body:
        copy = json.loads(json.dumps(body))
        place: Any = copy
        *way, last = path.strip("/").split("/")
        for step in way:
            place = place[int(step)] if step.isdigit() else place[step]
        place[last] = value
        return copy

    return change


BAD_ORDERS: list[tuple[str, Callable[[Body], Body], str]] = [
    ("amount is a number", changed("/amount", 12.5), "/amount"),
    ("amount's amount is a number", changed("/amount/amount", 12.5), "/amount"),
    ("negative money", changed("/amount/amount", "-1.00"), "/amount"),
    ("over-precise money", changed("/amount/amount", "1.005"), "/amount"),
    ("money in words", changed("/amount/amount", "ten"), "/amount"),
    ("money as an exponent", changed("/amount/amount", "1e2"), "/amount"),
    ("money not a number", changed("/amount/amount", "NaN"), "/amount"),
    ("unknown currency", changed("/amount/currency", "XYZ"), "/amount"),
    ("fractions of yen", changed("/amount", {"amount": "1.5", "currency": "JPY"}), "/amount"),
    ("line in another currency", changed("/lines/0/unit_price/currency", "USD"), "/lines/0/unit_price"),
    ("negative price", changed("/lines/0/unit_price/amount", "-1.00"), "/lines/0/unit_price"),
    ("quantity zero", changed("/lines/0/quantity", 0), "/lines/0/quantity"),
    ("quantity a text", changed("/lines/0/quantity", "2"), "/lines/0/quantity"),
    ("quantity a fraction", changed("/lines/0/quantity", 1.5), "/lines/0/quantity"),
    ("line without title", lambda body: body | {"lines": [without(body["lines"][0], "title")]}, "/lines/0/title"),
    ("unknown field", changed("/colour", "red"), "/colour"),
    ("unknown field inside", changed("/buyer/age", 7), "/buyer/age"),
    ("no e-mail address", changed("/buyer/email", "nobody"), "/buyer/email"),
    ("a header in the address", changed("/buyer/email", "a@b.example\nBcc: c@d.example"), "/buyer/email"),
    ("no buyer", lambda body: without(body, "buyer"), "/buyer"),
    ("time without offset", changed("/placed_at", "2021-01-01T00:00:00"), "/placed_at"),
    ("time as a number", changed("/placed_at", 1609459200), "/placed_at"),
    ("time that is none", changed("/placed_at", "2021-02-30T00:00:00Z"), "/placed_at"),
    ("time before all calendars", changed("/placed_at", "0001-01-01T00:00:00+05:00"), "/placed_at"),
    ("time after all calendars", changed("/placed_at", "9999-12-31T00:00:00Z"), "/placed_at"),
    ("money in other digits", changed("/amount/amount", "\u0661\u0662"), "/amount"),
    ("activation as a text", changed("/protection_activated", "yes"), "/protection_activated"),
    ("protection of no days", changed("/protection_days", 0), "/protection_days"),
    ("empty order number", changed("/order_number", ""), "/order_number"),
    ("endless order number", changed("/order_number", "9" * 1_000), "/order_number"),
    ("unknown merchant", changed("/merchant_id", "nobody"), "/merchant_id"),
    ("a programme the merchant has not", changed("/programme", "claims"), "/programme"),
    ("fact without amount", changed("/facts", [{"kind": "refunded", "at": "2021-01-01T00:00:00Z"}]), "/facts/0/amount"),
    ("unknown fact", changed("/facts", [{"kind": "lost", "at": "2021-01-01T00:00:00Z"}]), "/facts/0/kind"),
]


@pytest.mark.parametrize(("change", "pointer"), [case[1:] for case in BAD_ORDERS], ids=[case[0] for case in BAD_ORDERS])
def test_a_bad_order_is_refused_with_a_pointer(world: World, shop: Shop, change: Callable[[Body], Body], pointer: str) -> None:
    body = change(world.order_body(shop))
    problem = world.platform.post("/v1/orders", body).problem(422, "invalid-input")
    assert any(error["pointer"].startswith(pointer) for error in problem["errors"]), problem["errors"]
    assert all(error["detail"] for error in problem["errors"])
    if isinstance(number := body.get("order_number"), str) and number:
        assert world.platform.get("/v1/orders", order_number=number[:100])["items"] == []


RAW: list[tuple[str, str, bytes, str, int]] = [
    ("not JSON", "/v1/orders", b"{", "application/json", 400),
    ("nothing", "/v1/orders", b"", "application/json", 400),
    ("no UTF-8", "/v1/orders", b'{"a": "\xff"}', "application/json", 400),
    ("a list", "/v1/orders", b"[]", "application/json", 422),
    ("null", "/v1/orders", b"null", "application/json", 422),
    ("nested without end", "/v1/orders", b"[" * 100_000, "application/json", 400),
    ("a form", "/v1/orders", b"a=b", "application/x-www-form-urlencoded", 415),
    ("text", "/v1/orders", b"{}", "text/plain", 415),
    ("an import as JSON", "/v1/order-imports", b"{}", "application/json", 415),
]


@pytest.mark.parametrize(("path", "content", "kind", "status"), [case[1:] for case in RAW], ids=[case[0] for case in RAW])
def test_what_cannot_be_read_is_a_problem(world: World, path: str, content: bytes, kind: str, status: int) -> None:
    world.platform.request("POST", path, content=content, headers={"Content-Type": kind}).problem(status)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/orders/ord_nothing", 404),
        ("GET", "/v1/orders/ord_" + "0" * 32, 404),
        ("GET", "/v1/orders/%00", 404),
        ("GET", "/v1/cases/cas_" + "0" * 32 + "_1", 404),
        ("GET", "/v1/cases/..%2f..", 404),
        ("GET", "/v1/evidence/evd_1", 404),
        ("GET", "/v1/merchants/nobody", 404),
        ("GET", "/v1/commands/none", 404),
        ("GET", "/v1/nothing", 404),
        ("PATCH", "/v1/orders", 405),
        ("GET", "/v1/orders?limit=0", 422),
        ("GET", "/v1/orders?limit=1000", 422),
        ("GET", "/v1/orders?limit=many", 422),
        ("GET", "/v1/orders?cursor=forged", 422),
        ("GET", "/v1/cases?state=lost", 422),
        ("GET", "/v1/cases?q=" + "a" * 5_000, 200),
        ("GET", "/l/forged-token", 404),
    ],
)
def test_an_address_that_leads_nowhere_gets_its_status(world: World, method: str, path: str, status: int) -> None:
    answer = world.platform.request(method, path)
    assert answer.status == status, answer.body


@pytest.mark.parametrize("key", ["-", "wrong", "ключ", "a.b.c", "x" * 5_000])
def test_who_is_not_known_is_not_let_in(world: World, key: str) -> None:
    with httpx.Client(base_url=world.base_url) as http:
        answer = http.get("/v1/orders", headers={"Authorization": f"Bearer {key}".encode()})
    assert answer.status_code == 401
    assert answer.headers["content-type"].startswith("application/problem+json")
    assert "www-authenticate" in answer.headers


def test_the_problem_explains_itself(world: World) -> None:
    problem = world.platform.post("/v1/orders", {}).problem(422)
    page = world.platform.request("GET", problem["type"])
    assert page.status == 200
    assert len(page.body) > 100


def test_a_partner_may_not_certify_nor_see_others(world: World, shop: Shop) -> None:
    body = shop.profile | {"name": "Mine"}
    name = world.name("mine")
    world.partner.request("PUT", f"/v1/merchants/{name}", json=body).problem(403)
    plain = {key: value for key, value in body.items() if key not in ("certified_at", "seal_live_at")}
    world.partner.request("PUT", f"/v1/merchants/{name}", json=plain).ok()
    assert world.partner.get(f"/v1/merchants/{name}")["name"] == "Mine"
    world.partner.request("GET", f"/v1/merchants/{shop.merchant_id}").problem(404)
    world.partner.request("PUT", f"/v1/merchants/{shop.merchant_id}", json=plain).problem(404)
    for wrong, pointer in [
        ({"timezone": "Mars/Base"}, "/timezone"),
        ({"country": "XX"}, "/country"),
        ({"programmes": ["x"]}, "/programmes"),
    ]:
        problem = world.platform.request("PUT", f"/v1/merchants/{world.name('m')}", json=body | wrong).problem(422)
        assert problem["errors"][0]["pointer"].startswith(pointer)


@pytest.mark.rule("NX-14")
@pytest.mark.parametrize(
    ("content", "name", "status"),
    [
        (b"%PDF-1.7\n" + b"0" * (10 * 1024 * 1024 - 8), "big.pdf", 413),
        (b"#!/bin/sh\nrm -rf /\n", "invoice.pdf", 415),
        (b"<html><script>alert(1)</script></html>", "photo.png", 415),
        (b"MZ\x90\x00" + b"\0" * 100, "setup.pdf", 415),
        (b"PK\x03\x04" + b"\0" * 100, "archive.pdf", 415),
        (b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>", "picture.svg", 415),
        (b"", "empty.pdf", 415),
    ],
)
def test_evidence_is_what_it_says_and_no_larger_than_ten_megabytes(
    world: World, shop: Shop, content: bytes, name: str, status: int
) -> None:
    order = world.order(shop)
    assert world.buyer(order).evidence(order, content, name).status == status


@pytest.mark.rule("NX-14")
def test_nobody_shows_around_what_the_other_side_uploaded(world: World, shop: Shop) -> None:
    order = world.order(shop)
    buyer = world.buyer(order)
    private = shop.staff.evidence(order).ok()["evidence_id"]
    buyer.request("GET", f"/v1/evidence/{private}").problem(404)
    refused = buyer.try_report(order, "not_received", evidence=[private]).problem(422)
    assert refused["errors"][0]["pointer"] == "/evidence/0"
    case = buyer.report(order)
    buyer.post(f"/v1/cases/{case['case_id']}/messages", {"text": "Look", "evidence": [private]}).problem(422)
    buyer.request("GET", f"/v1/evidence/{private}").problem(404)
    shop.staff.post(f"/v1/cases/{case['case_id']}/messages", {"text": "Look", "evidence": [private]}).ok()
    assert buyer.get(f"/v1/evidence/{private}")["evidence_id"] == private


@pytest.mark.rule("NX-14")
def test_evidence_of_ten_megabytes_is_kept_and_hashed(world: World, shop: Shop) -> None:
    order = world.order(shop)
    buyer = world.buyer(order)
    content = b"%PDF-1.7\n" + b"0" * (10 * 1024 * 1024 - 9)
    kept = buyer.evidence(order, content, "../../etc/\x01passwd\r\n.pdf").ok()
    assert kept["size"] == len(content)
    assert len(kept["sha256"]) == 64
    answer = buyer.request("GET", f"/v1/evidence/{kept['evidence_id']}/content")
    assert answer.body == content
    assert answer.headers["x-content-type-options"] == "nosniff"
    other = world.order(shop)
    world.buyer(other).request("GET", f"/v1/evidence/{kept['evidence_id']}").problem(404)
    world.buyer(other).try_report(other, "not_received", evidence=[kept["evidence_id"]]).problem(422)


@pytest.mark.parametrize(
    ("more", "pointer"),
    [
        ({"lines": [{"line_id": "9", "quantity": 1}]}, "/lines/0"),
        ({"lines": [{"line_id": "1", "quantity": 0}]}, "/lines/0/quantity"),
        ({"evidence": ["evd_none"]}, "/evidence/0"),
        ({"text": "x" * 20_000}, "/text"),
        ({"contact": {"email": "x"}}, "/contact/email"),
        ({"hurry": True}, "/hurry"),
    ],
)
def test_a_bad_report_opens_nothing(world: World, shop: Shop, more: Body, pointer: str) -> None:
    order = world.order(shop)
    buyer = world.buyer(order)
    problem = buyer.try_report(order, "not_received", **more).problem(422)
    assert any(error["pointer"].startswith(pointer) for error in problem["errors"]), problem
    assert buyer.order(order["order_id"])["payout"]["held"] is False


def lines_of(world: World, shop: Shop, count: int) -> Iterator[bytes]:
    body = world.order_body(shop, protection_activated=False)  # or each would be mailed a check-in by a later test
    for number in range(1, count + 1):
        if number % 10 == 0:
            yield [b"{broken", json.dumps(body | {"amount": 5}).encode(), b"[]", b'"x"'][number // 10 % 4] + b"\n"
        else:
            yield json.dumps(body | {"order_number": f"{body['order_number']}-{number}"}).encode() + b"\n"


def answers_of(content: bytes) -> list[Body]:
    return [json.loads(line) for line in content.splitlines()]


def test_a_large_import_with_every_tenth_line_broken_keeps_the_good_ones(world: World, shop: Shop) -> None:
    count = 50_000
    with httpx.Client(base_url=world.base_url, timeout=280) as http:
        answer = http.post(
            "/v1/order-imports",
            content=b"".join(lines_of(world, shop, count)),
            headers={"Authorization": f"Bearer {world.platform.key}", "Content-Type": "application/x-ndjson"},
        )
    assert answer.status_code == 200
    results = answers_of(answer.content)
    assert [result["line"] for result in results] == list(range(1, count + 1))
    assert {result["status"] for result in results if result["line"] % 10} == {201}
    assert {result["status"] for result in results if result["line"] % 10 == 0} <= {400, 422}
    assert all("order_id" in result for result in results if result["line"] % 10)
    assert world.platform.order(results[-2]["order_id"])["status"] == "open"


def test_an_import_counts_physical_lines_and_a_monstrous_one_fails_alone(world: World, shop: Shop) -> None:
    good = json.dumps(world.order_body(shop)).encode()
    content = b"\n" + good + b"\n\n  \n" + b"x" * (1024 * 1024 + 1) + b"\n" + good
    answer = world.platform.request(
        "POST", "/v1/order-imports", content=content, headers={"Content-Type": "application/x-ndjson"}
    )
    results = answers_of(answer.ok())
    assert [(result["line"], result["status"]) for result in results] == [(2, 201), (5, 413), (6, 200)]


def test_half_an_import_cut_off_keeps_whole_lines_and_can_be_sent_again(world: World, shop: Shop) -> None:
    body = world.order_body(shop)
    lines = [json.dumps(body | {"order_number": f"{body['order_number']}-{number}"}).encode() + b"\n" for number in range(400)]

    def half() -> Iterator[bytes]:
        yield b"".join(lines[:200])
        yield lines[200][:40]
        raise ConnectionError("cut off")

    headers = {"Authorization": f"Bearer {world.platform.key}", "Content-Type": "application/x-ndjson"}
    with httpx.Client(base_url=world.base_url, timeout=60) as http, pytest.raises(ConnectionError):
        http.post("/v1/order-imports", content=half(), headers=headers)
    again = answers_of(world.platform.request("POST", "/v1/order-imports", content=b"".join(lines), headers=headers).ok())
    assert len(again) == 400
    assert {result["status"] for result in again} <= {200, 201}
    world.advance("PT1S")
    listed = world.platform.get("/v1/orders", order_number=f"{body['order_number']}-399")["items"]
    assert [entry["order_id"] for entry in listed] == [again[-1]["order_id"]]


def test_a_bad_fact_import_line_fails_alone(world: World, shop: Shop) -> None:
    order = world.order(shop)
    fact = {
        "merchant_id": shop.merchant_id,
        "order_number": order["order_number"],
        "kind": "shipped",
        "at": "2021-02-21T00:00:00Z",
        "external_id": "track-1",
    }
    lines = [
        fact,
        fact | {"kind": "vanished"},
        fact | {"order_number": "none"},
        fact,
        fact | {"kind": "delivered", "external_id": "t2"},
    ]
    content = "\n".join(json.dumps(line) for line in lines).encode()
    answer = world.platform.request(
        "POST", "/v1/fact-imports", content=content, headers={"Content-Type": "application/x-ndjson"}
    )
    assert [result["status"] for result in answers_of(answer.ok())] == [201, 422, 404, 200, 201]
    assert [fact["kind"] for fact in world.platform.order(order["order_id"])["facts"]] == ["shipped", "delivered"]


def test_unreadable_records_go_to_the_dead_letters_and_nothing_else_is_lost(world: World, shop: Shop) -> None:
    order = world.order(shop)
    topic = f"{world.namespace}intake.commands"

    async def spoil() -> None:
        producer = AIOKafkaProducer(bootstrap_servers=world.ready["kafka"])
        await producer.start()
        try:
            for value in (b"", b"\xff\xfe", b"{}", None, b"[1]", b"null"):
                await producer.send_and_wait(topic, value, key=order["order_id"].encode())
            await producer.send_and_wait(topic, b"no key")
        finally:
            await producer.stop()

    asyncio.run(spoil())
    case = world.buyer(order).report(order)
    assert case["state"] == "submitted"
    world.advance("PT1S")


def test_a_clock_moved_backwards_stays_where_it_is(world: World) -> None:
    before = world.now()
    world.platform.post("/v1/sandbox/clock", {"now": "1999-01-01T00:00:00Z"}).problem(409)
    for wrong in ({}, {"advance": "5 days"}, {"advance": "P1M"}, {"now": "soon"}, {"later": True}):
        world.platform.post("/v1/sandbox/clock", wrong).problem(422)
    assert world.now() == before


def test_hostile_text_is_shown_as_text(world: World) -> None:
    shop = world.shop(name='<b>Shop</b> & "Söhne"\r\nX: y'[:18])
    hostile = "<script>alert('x')</script>\r\nBcc: a@b.example {{7*7}} %s"
    order = world.order(shop, buyer={"email": f"{world.name('h')}@mail.example", "name": hostile[:60], "locale": "en"})
    buyer = world.buyer(order)
    case = buyer.report(order, text=hostile)
    assert shop.staff.case(case["case_id"])["text"] == hostile
    mail = world.mail(shop.contract_email, "case_opened")
    assert "<script>" not in mail["html"]
    url = world.platform.post(f"/v1/orders/{order['order_id']}/links", {"for": "buyer"}).ok()["url"]
    page = Party(world.base_url, "", "x").request("GET", url, headers={"Authorization": ""}).ok().decode()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


@pytest.mark.parametrize("amount", ["0.00", "0.01"])
def test_a_free_order_can_be_reported_too(world: World, amount: str) -> None:
    shop = world.shop()
    order = world.order(shop, amount=eur(amount), lines=[])
    case = world.buyer(order).report(order)
    moved = shop.staff.act(case, "answer", refund="yes", message="Of course.")
    assert moved["refund"]["variant"] == "full"


def test_a_preference_that_cannot_be_read_is_ignored(world: World, shop: Shop) -> None:
    order = world.order(shop)
    answer = httpx.post(
        f"{world.base_url}/v1/orders/{order['order_id']}/facts",
        json={"kind": "shipped", "at": "2021-01-01T00:00:00Z"},
        headers=[(b"Authorization", f"Bearer {world.platform.key}".encode()), (b"Prefer", b"wait=\xb2")],
        timeout=30,
    )
    assert answer.status_code == 201, answer.text
