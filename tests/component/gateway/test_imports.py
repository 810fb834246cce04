"""Imports: NDJSON in and out in order, one bad line fails alone, whatever the client does with the connection."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.component.gateway.platform import Client, Platform, order_body

SHIPPED = "2021-03-01T12:00:00Z"
NDJSON = {"Content-Type": "application/x-ndjson"}


def lines_of(answer: httpx.Response) -> list[dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("application/x-ndjson")
    return [json.loads(line) for line in answer.text.splitlines()]


async def send(client: Client, content: Any, path: str = "/v1/order-imports", **headers: str) -> httpx.Response:
    return await client.ask("POST", path, content=content, headers={**NDJSON, **headers})


def encoded(*bodies: Any) -> bytes:
    return b"".join(json.dumps(body).encode() + b"\n" for body in bodies)


async def test_each_line_has_its_answer_in_order(platform: Platform) -> None:
    merchant_id, _ = await platform.shop()
    good = order_body(merchant_id)
    content = b"\n".join(
        [
            json.dumps(good).encode(),
            b"",
            b"   \r",
            json.dumps(good).encode() + b"\r",
            b"no json",
            json.dumps(good | {"surprise": 1}).encode(),
            json.dumps(good | {"amount": {"amount": "1", "currency": "EUR"}}).encode(),
            json.dumps(order_body("no-such-shop")).encode(),
            b'"' + b"x" * (1024 * 1024) + b'"',
            json.dumps(order_body(merchant_id)).encode(),
        ]
    )
    found = lines_of(await send(platform.partner, content))
    assert [(line["line"], line["status"]) for line in found] == [
        (1, 201),
        (4, 200),
        (5, 400),
        (6, 422),
        (7, 409),
        (8, 422),
        (9, 413),
        (10, 201),
    ]
    assert found[3]["problem"]["errors"] == [{"pointer": "/surprise", "detail": "there is no such field here; remove it"}]
    assert found[4]["problem"]["type"] == "/problems/order-exists"
    assert found[5]["problem"]["errors"][0]["pointer"] == "/merchant_id"
    order = await platform.partner.get(f"/v1/orders/{found[0]['order_id']}", at=1)
    assert order["order_number"] == good["order_number"]


async def test_thousands_of_lines_with_every_tenth_broken(platform: Platform) -> None:
    merchant_id, _ = await platform.shop()
    bodies = [order_body(merchant_id, order_number=f"N-{number}") for number in range(3_000)]
    for number in range(0, 3_000, 10):
        bodies[number] = bodies[number] | {"amount": {"amount": "1.234", "currency": "EUR"}}
    found = lines_of(await send(platform.partner, encoded(*bodies)))
    assert [line["line"] for line in found] == list(range(1, 3_001))
    assert all(line["status"] == (422 if line["line"] % 10 == 1 else 201) for line in found)
    facts = [
        {
            "merchant_id": merchant_id,
            "order_number": f"N-{number}",
            "kind": "shipped",
            "at": "2021-03-01T12:00:00Z",
            "external_id": "s",
        }
        for number in range(1, 500)
    ]
    first = lines_of(await send(platform.partner, encoded(*facts), "/v1/fact-imports"))
    assert [line["status"] for line in first] == [404 if number % 10 == 0 else 201 for number in range(1, 500)]
    again = lines_of(await send(platform.partner, encoded(*facts), "/v1/fact-imports"))
    assert {line["status"] for line in again} == {200, 404}
    assert [line.get("fact_id") for line in again] == [line.get("fact_id") for line in first]
    assert all(line["fact_id"].startswith("fct_") for line in again if line["status"] == 200)


async def test_an_import_is_repeated_by_its_key(platform: Platform) -> None:
    merchant_id, _ = await platform.shop()
    content = encoded(order_body(merchant_id), {"broken": True}, order_body(merchant_id))
    first = await send(platform.partner, content, **{"Idempotency-Key": f"import-{merchant_id}"})
    again = await send(platform.partner, content, **{"Idempotency-Key": f"import-{merchant_id}"})
    assert lines_of(first) == lines_of(again)
    assert [line["status"] for line in lines_of(again)] == [201, 422, 201]
    other = await send(platform.partner, content + b"\n", **{"Idempotency-Key": f"import-{merchant_id}"})
    assert other.status_code == 422
    assert [line["status"] for line in lines_of(await send(platform.partner, content))] == [200, 422, 200]


async def test_what_is_no_import(platform: Platform) -> None:
    _, staff = await platform.shop()
    assert (await platform.partner.post("/v1/order-imports", [])).status_code == 415
    assert (await send(staff, b"{}\n")).status_code == 403
    assert (await send(platform.nobody, b"{}\n")).status_code == 401
    too_long = await send(platform.partner, b"\n" * (64 * 1024 * 1024 + 1))
    assert (too_long.status_code, too_long.json()["type"]) == (413, "/problems/too-large")

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(65):
            yield b"\n" * (1024 * 1024)

    streamed = await send(platform.partner, endless())
    assert (streamed.status_code, streamed.json()["type"]) == (413, "/problems/too-large")


@pytest.mark.parametrize("announced", [True, False])
async def test_half_an_import_cut_off_keeps_the_good_lines(platform: Platform, announced: bool) -> None:
    merchant_id, staff = await platform.shop()
    bodies = [order_body(merchant_id, order_number=f"H-{number}") for number in range(200)]
    content = encoded(*bodies)
    half = content[: len(content) // 2]
    whole = half.count(b"\n")
    url = platform.gateways[0].base_url
    reader, writer = await asyncio.open_connection(url.host, url.port)
    length = f"Content-Length: {len(content)}" if announced else "Transfer-Encoding: chunked"
    head = f"POST /v1/order-imports HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer partner-key\r\n{length}\r\n"
    writer.write(head.encode() + b"Content-Type: application/x-ndjson\r\n\r\n")
    writer.write(half if announced else f"{len(half):x}\r\n".encode() + half + b"\r\n")
    await writer.drain()
    await asyncio.sleep(0.5)  # what is on its way when a connection breaks may be lost with it
    writer.transport.abort()
    del reader
    async with asyncio.timeout(20):
        while True:
            found = await staff.get("/v1/orders", limit="200")
            if len(found["items"]) >= whole:
                break
            await asyncio.sleep(0.1)
    assert len(found["items"]) == whole


async def test_a_client_that_reads_late_gets_all(platform: Platform) -> None:
    """It sends everything before it reads a byte, and the answer is longer than all buffers on the way."""
    count = 40_000
    content = b'{"surprise":1}\n' * count
    url = platform.gateways[0].base_url
    reader, writer = await asyncio.open_connection(url.host, url.port, limit=1024 * 1024)
    writer.write(
        b"POST /v1/order-imports HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer partner-key\r\nConnection: close\r\n"
        b"Content-Type: application/x-ndjson\r\nContent-Length: " + str(len(content)).encode() + b"\r\n\r\n"
    )
    reader._transport.pause_reading()  # type: ignore[attr-defined]
    writer.write(content)
    await asyncio.wait_for(writer.drain(), 20)
    await asyncio.sleep(0.5)
    reader._transport.resume_reading()  # type: ignore[attr-defined]
    answered = await asyncio.wait_for(reader.read(-1), 60)
    assert answered.startswith(b"HTTP/1.1 200")
    assert answered.count(b'"status":422,"problem"') == count
