"""Idempotency-Key: the first answer is the answer, across processes, and after one died."""

import asyncio
import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

from contracts.ids import derived
from tests.component.gateway.platform import Platform, order_body


async def test_the_first_answer_is_repeated_by_every_process(platform: Platform) -> None:
    merchant_id, _ = await platform.shop()
    body = order_body(merchant_id)
    key = {"Idempotency_Key": f"order-{merchant_id}"}
    first = await platform.partner.post("/v1/orders", body, **key)
    again = await platform.partner.post("/v1/orders", body, at=1, **key)
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.content == again.content
    for name in ("etag", "location", "content-type"):
        assert first.headers[name] == again.headers[name]
    other = await platform.partner.post("/v1/orders", order_body(merchant_id), **key)
    assert (other.status_code, other.json()["type"]) == (422, "/problems/idempotency-key-reused")
    agent = await platform.agent.post("/v1/orders", body, **key)
    assert agent.status_code == 200, "another principal's key is another key"
    refused = {"Idempotency_Key": f"refused-{merchant_id}"}
    wrong = await platform.partner.post("/v1/orders", body | {"surprise": 1}, **refused)
    assert wrong.status_code == 422
    assert (await platform.partner.post("/v1/orders", body | {"surprise": 1}, at=1, **refused)).content == wrong.content
    assert (await platform.partner.post("/v1/orders", body, Idempotency_Key="k" * 256)).status_code == 422


async def test_one_report_however_often_it_is_sent_at_once(platform: Platform) -> None:
    merchant_id, _ = await platform.shop()
    order = await platform.order(merchant_id)
    path = f"/v1/orders/{order['order_id']}/reports"

    async def send(number: int) -> Any:
        return await platform.partner.post(path, {"reason": "not_received"}, at=number % 2, Idempotency_Key="r")

    answers = await asyncio.gather(*map(send, range(8)))
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses[0] == 201
    assert set(statuses) <= {201, 409}
    assert {answer.json()["type"] for answer in answers if answer.status_code == 409} <= {"/problems/request-running"}
    assert (await platform.partner.get(f"/v1/orders/{order['order_id']}"))["cases"] == [f"cas_{order['order_id'][4:]}_1"]


async def test_a_key_whose_request_died_is_taken_over(platform: Platform) -> None:
    """What was done before the gateway died is recognised by its command id, and its answer given."""
    merchant_id, _ = await platform.shop()
    order = await platform.order(merchant_id)
    path = f"/v1/orders/{order['order_id']}/reports"
    body = {"reason": "not_received"}
    raw = b'{"reason":"not_received"}'
    keys = platform.running.database("gateway")["idempotency"]
    for key, published in (("before", False), ("after", True)):
        if published:
            first = await platform.partner.post(path, {"reason": "no_refund"}, Idempotency_Key=key)
            assert first.status_code == 201
            raw = first.request.content
            body = {"reason": "no_refund"}
        route = f"POST {path}"
        document_id = hashlib.sha256("\n".join(("partner", route, key)).encode()).hexdigest()
        now = datetime.now(UTC)
        running = {
            "_id": document_id,
            "fingerprint": hashlib.sha256(raw).hexdigest(),
            "owner": "a gateway that died",
            "leased_until": now + timedelta(seconds=1),
            "forget_at": now + timedelta(days=2),
        }
        await keys.replace_one({"_id": document_id}, running, upsert=True)
        await keys.delete_one({"_id": f"{document_id}:answer"})

        async def again(key: str = key, raw: bytes = raw) -> Any:
            headers = {"Idempotency-Key": key, "Content-Type": "application/json"}
            return await platform.partner.ask("POST", path, content=raw, headers=headers)

        waiting = await again()
        assert (waiting.status_code, waiting.json()["type"]) == (409, "/problems/request-running")
        await asyncio.sleep(1.1)
        answers = [await again(), await again()]
        assert [answer.status_code for answer in answers] == [201, 201], answers[0].text
        assert answers[0].content == answers[1].content
        command_id = derived("command", "partner", route, key)
        case = await platform.agent.get(f"/v1/cases/{answers[0].json()['case_id']}")
        assert case["reason"] == body["reason"]
        assert await platform.running.database("gateway")["commands"].count_documents({"_id": command_id}) == 1
    assert len((await platform.partner.get(f"/v1/orders/{order['order_id']}"))["cases"]) == 2


async def test_a_rule_that_a_dead_request_has_withdrawn_is_withdrawn(platform: Platform) -> None:
    """Its key is taken over: that the rule is gone by now is what was asked for, and no 404."""
    rule = {"name": "Exempt", "conditions": {}, "decision": "no_automatic", "priority": 9}
    made = await platform.agent.post("/v1/decision-rules", rule)
    path = f"/v1/decision-rules/{made.json()['rule_id']}"

    async def withdrawn(key: str) -> int:
        return (await platform.agent.ask("DELETE", path, headers={"Idempotency-Key": key})).status_code

    assert await withdrawn("once") == 204
    keys = platform.running.database("gateway")["idempotency"]
    place = hashlib.sha256("\n".join(("platform", f"DELETE {path}", "once")).encode()).hexdigest()
    died = await keys.update_one({"_id": place}, {"$set": {"leased_until": datetime.now(UTC) - timedelta(seconds=1)}})
    assert died.matched_count == 1
    await keys.delete_one({"_id": f"{place}:answer"})
    assert await withdrawn("once") == 204
    assert await withdrawn("twice") == 404
