"""The way of a case through the API: merchant, order, report, actions, thread and history, on real intake and cases."""

import hashlib
import json
from datetime import timedelta
from typing import Any

import pytest

from contracts.base import format_moment
from tests.component.gateway.platform import NOW, Client, Platform, eur, order_body, shop_body


async def test_what_was_answered_is_read_on_the_other_gateway_at_once(platform: Platform) -> None:
    merchant_id, _ = await platform.shop()
    for number in range(10):
        order = await platform.order(merchant_id)
        read = await platform.agent.get(f"/v1/orders/{order['order_id']}", at=1)
        assert read["version"] >= order["version"], number
        buyer = await platform.buyer(order)
        report = await buyer.made(f"/v1/orders/{order['order_id']}/reports", {"reason": "not_received"})
        case = await platform.agent.get(f"/v1/cases/{report['case_id']}", at=1)
        assert case["state"] == "submitted"
        read = await platform.agent.get(f"/v1/orders/{order['order_id']}", at=1)
        assert read["cases"] == [report["case_id"]]
        assert read["payout"] == {"held": True, "reason": "open_case"}


async def test_an_order_is_registered_once(platform: Platform) -> None:
    merchant_id, staff = await platform.shop()
    body = order_body(merchant_id, facts=[{"kind": "shipped", "at": "2021-03-01T12:00:00Z", "carrier": "DHL"}])
    first = await platform.partner.post("/v1/orders", body)
    assert first.status_code == 201
    order = first.json()
    assert first.headers["location"] == f"/v1/orders/{order['order_id']}"
    assert first.headers["etag"] == f'"{order["version"]}"'
    assert order["protection"]["state"] == "active"
    assert order["status"] == "open"
    assert order["facts"][0]["kind"] == "shipped"
    assert order["ledger"]["refundable"] == eur("80.00")
    again = await platform.partner.post("/v1/orders", body, at=1)
    assert (again.status_code, again.json()) == (200, order)
    other = await platform.partner.post("/v1/orders", body | {"amount": eur("81.00")})
    assert other.status_code == 409
    assert other.json()["type"] == "/problems/order-exists"
    assert (await staff.get(f"/v1/orders/{order['order_id']}")) == order
    assert (await staff.get("/v1/orders", order_number=body["order_number"]))["items"] == [order]


async def test_a_case_to_its_end(platform: Platform) -> None:
    case, staff, buyer = await platform.reported()
    path = f"/v1/cases/{case['case_id']}"
    assert case["turn"] == "merchant"
    assert not case["attention"]
    assert case["text"] == "Where is it?"
    assert case["deadlines"][0]["on_silence"]["text"]
    assert {each["action"] for each in case["allowed_actions"]} == {"withdraw"}
    seen = await staff.get(path)
    assert seen["attention"]
    assert seen["label"] == "Antwort des Händlers steht aus"
    (answer,) = [each for each in seen["allowed_actions"] if each["action"] == "answer"]
    assert answer["href"] == f"{path}/actions"
    assert answer["fields"]["properties"]["refund_amount"]["default"] == eur("80.00")
    assert [each["case_id"] for each in (await staff.get("/v1/cases", attention="true"))["items"]] == [case["case_id"]]

    preview = await staff.made(f"{path}/previews", {"action": "answer", "refund": "yes", "message": "Sorry!"})
    assert preview["state"] == "awaiting_buyer"
    assert preview["money"]["reserved"] == eur("80.00")
    answered = await staff.post(f"{path}/actions", {"action": "answer", "refund": "yes", "message": "Sorry!"}, at=1)
    assert answered.status_code == 200, answered.text
    assert answered.json()["answer"]["variant"] == "full"
    assert answered.headers["etag"] == f'"{answered.json()["version"]}"'
    assert (await staff.get("/v1/cases", attention="true"))["items"] == []
    closed = await buyer.act(case["case_id"], "react", reaction="received")
    assert closed.status_code == 200, closed.text
    assert (closed.json()["state"], closed.json()["outcome"]) == ("resolved", "refunded")
    order = await buyer.get(f"/v1/orders/{case['order_id']}", at=1)
    assert order["protection"]["state"] == "ended"
    assert not order["payout"]["held"]
    assert order["ledger"]["executed"] == eur("80.00")
    assert order["status"] == "completed"

    message = await buyer.made(f"{path}/messages", {"text": "Thank you"})
    thread = (await staff.get(f"{path}/messages"))["items"]
    assert [each["text"] for each in thread] == ["Sorry!", "Thank you"]
    assert thread[-1]["message_id"] == message["message_id"]
    history = (await platform.agent.get(f"{path}/history"))["items"]
    assert [entry["sequence"] for entry in history] == list(range(1, len(history) + 1))
    assert_chain(history)


def assert_chain(history: list[dict]) -> None:
    """Recompute a history as an outsider does."""
    previous = history[0]["previous_hash"]
    for entry in history:
        if "data" in entry:
            covered = entry["salt"].encode() + canonical(entry["data"])
            assert hashlib.sha256(covered).hexdigest() == entry["data_digest"], entry["type"]
        assert entry["previous_hash"] == previous
        names = ("sequence", "type", "at", "actor", "data_digest", "previous_hash")
        previous = hashlib.sha256(canonical({name: entry[name] for name in names})).hexdigest()
        assert entry["hash"] == previous


def canonical(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


async def test_internal_remarks_are_hidden_and_the_chain_holds(platform: Platform) -> None:
    case, staff, buyer = await platform.reported()
    path = f"/v1/cases/{case['case_id']}"
    assert (await staff.act(case["case_id"], "note", text="A difficult customer")).status_code == 200
    assert (await platform.agent.act(case["case_id"], "note", text="Watch this shop")).status_code == 200
    assert [each["text"] for each in (await buyer.get(f"{path}/messages"))["items"]] == []
    assert [each["text"] for each in (await staff.get(f"{path}/messages"))["items"]] == ["A difficult customer"]
    assert len((await platform.agent.get(f"{path}/messages"))["items"]) == 2
    for reader, redacted in ((buyer, 2), (staff, 1), (platform.agent, 0)):
        history = (await reader.get(f"{path}/history"))["items"]
        posted = [entry for entry in history if entry["type"] == "case.message-posted"]
        assert sum("data" not in entry for entry in posted) == redacted
        for entry in history:
            if entry["type"] == "case.notice-recorded" and "data" in entry and reader is not platform.agent:
                assert entry["data"]["notice"]["party"] == ("buyer" if reader is buyer else "merchant")
        assert "difficult" not in str(history) or reader is not buyer
        assert_chain(history)
    before = (await platform.agent.get(f"{path}/history", as_of="2020-01-01T00:00:00Z"))["items"]
    assert before == []


async def test_who_may_do_what(platform: Platform) -> None:
    case, staff, buyer = await platform.reported()
    _, stranger = await platform.shop()
    path = f"/v1/cases/{case['case_id']}"
    assert (await platform.nobody.ask("GET", path)).status_code == 401
    assert (await platform.client("merchant_wrong").ask("GET", path)).status_code == 401
    assert (await platform.client("wrong.link").ask("GET", path)).status_code == 401
    for hidden in (path, f"{path}/messages", f"{path}/history", f"/v1/orders/{case['order_id']}"):
        assert (await stranger.ask("GET", hidden)).status_code == 404, hidden
    assert (await stranger.act(case["case_id"], "answer", refund="no", message="x")).status_code == 404
    assert (await stranger.get("/v1/cases"))["items"] == []
    forbidden = await buyer.act(case["case_id"], "answer", refund="no", message="x")
    assert (forbidden.status_code, forbidden.json()["type"]) == (403, "/problems/forbidden")
    early = await buyer.act(case["case_id"], "react", reaction="received")
    assert (early.status_code, early.json()["type"]) == (409, "/problems/action-not-allowed")
    assert early.json()["allowed_actions"] == ["withdraw"]
    for elsewhere in ("resolve", "dance"):
        for unlisted in (
            await buyer.act(case["case_id"], elsewhere),
            await buyer.post(f"{path}/previews", {"action": elsewhere}),
        ):
            assert (unlisted.status_code, unlisted.json()["allowed_actions"]) == (409, ["withdraw"])
    too_much = await staff.act(case["case_id"], "answer", refund="yes", message="x", refund_amount=eur("80.01"))
    assert (too_much.status_code, too_much.json()["errors"][0]["pointer"]) == (422, "/refund_amount")
    assert (await staff.post(f"/v1/orders/{case['order_id']}/reports", {"reason": "other"})).status_code == 403
    merchant_id = case["merchant_id"]
    assert (await buyer.ask("GET", f"/v1/merchants/{merchant_id}")).status_code == 404
    assert (await stranger.ask("GET", f"/v1/merchants/{merchant_id}")).status_code == 404
    assert (await staff.get(f"/v1/merchants/{merchant_id}"))["created_by"] == "partner"
    put = await staff.ask("PUT", f"/v1/merchants/{merchant_id}", json=shop_body())
    assert put.status_code == 403
    certified = await platform.partner.ask("PUT", "/v1/merchants/by-partner", json=shop_body())
    assert certified.status_code == 403


async def test_if_match_is_checked_where_the_decision_is_made(platform: Platform) -> None:
    """On every route that says it takes the header; below an order or a case it is that one's version."""
    case, staff, buyer = await platform.reported()
    shop, order, its_case = (
        f"/v1/merchants/{case['merchant_id']}",
        f"/v1/orders/{case['order_id']}",
        f"/v1/cases/{case['case_id']}",
    )
    person = {"name": "Ada", "email": "ada@shop.example"}
    ada, bea = [(await staff.made(f"{shop}/consultants", person))["consultant_id"] for _ in range(2)]
    lists = {
        "StatusLabel": ("status-labels", {"code": "at-work", "text": {"de": "In Arbeit"}, "state": "in_progress"}),
        "Absence": ("absences", {"consultant_id": ada, "from": "2021-03-02", "to": "2021-03-05", "deputy_id": bea}),
        "AssignmentRule": ("assignment-rules", {"consultant_id": ada}),
        "Consultant": ("consultants", person),
    }
    rule = {"name": "Exempt", "conditions": {}, "decision": "no_automatic", "priority": 9}
    its_rule = f"/v1/decision-rules/{(await platform.agent.made('/v1/decision-rules', rule))['rule_id']}"
    form = f"{shop}/forms/{(await staff.made(f'{shop}/forms', {'channel': 'till'}))['form_id']}"
    answer = {"action": "answer", "refund": "no", "message": "It is on its way"}
    # operation: who asks, what for, of whose version; what stands above takes what stands below away at the end
    asked: dict[str, tuple[Client, str, str, Any, str]] = {
        "putMerchant": (platform.agent, "PUT", shop, shop_body(name="Kanne"), shop),
        "recordFact": (platform.partner, "POST", f"{order}/facts", {"kind": "shipped", "at": format_moment(NOW)}, order),
        "submitReport": (buyer, "POST", f"{order}/reports", {"reason": "no_refund"}, order),
        "createLink": (platform.partner, "POST", f"{order}/links", {"for": "buyer"}, order),
        "postMessage": (buyer, "POST", f"{its_case}/messages", {"text": "When?"}, its_case),
        "previewAction": (staff, "POST", f"{its_case}/previews", answer, its_case),
        "actOnCase": (staff, "POST", f"{its_case}/actions", answer, its_case),
        "putDecisionRule": (platform.agent, "PUT", its_rule, rule, its_rule),
        "withdrawDecisionRule": (platform.agent, "DELETE", its_rule, None, its_rule),
        "withdrawForm": (staff, "DELETE", form, None, form),
    }
    for name, (plural, body) in lists.items():
        made = await staff.made(f"{shop}/{plural}", body if name != "Consultant" else {**person, "name": "Cleo"})
        place = made["_links"]["self"]["href"]
        asked[f"put{name}"] = (staff, "PUT", place, body, place)
        asked[f"delete{name}"] = (staff, "DELETE", place, None, place)
    described = (await platform.nobody.get("/openapi.json"))["paths"]
    takes = {
        operation["operationId"]
        for operations in described.values()
        for operation in operations.values()
        if any(parameter["name"] == "If-Match" for parameter in operation.get("parameters", ()))
    }
    assert takes == set(asked)
    for name, (who, method, path, body, of) in asked.items():
        for wrong in ('"99"', '"nonsense"'):
            stale = await who.ask(method, path, json=body, headers={"If-Match": wrong})
            assert (stale.status_code, stale.json()["type"]) == (412, "/problems/version-mismatch"), name
        etag = (await who.ask("GET", of)).headers["etag"]
        done = await who.ask(method, path, json=body, headers={"If-Match": etag, "Idempotency-Key": name})
        assert done.status_code in (200, 201, 204), (name, done.text)
        other = await who.ask(method, path, json=body, headers={"If-Match": '"99"', "Idempotency-Key": name})
        assert (other.status_code, other.json()["type"]) == (422, "/problems/idempotency-key-reused"), name
    assert len((await platform.agent.get(order))["facts"]) == 1
    assert len((await platform.agent.get(f"{its_case}/messages"))["items"]) == 2


async def test_a_key_of_a_merchant_is_shown_once_and_can_be_revoked(platform: Platform) -> None:
    merchant_id, staff = await platform.shop()
    path = f"/v1/merchants/{merchant_id}/keys"
    first = await platform.partner.post(path, {"name": "till"}, Idempotency_Key="till")
    again = await platform.partner.post(path, {"name": "till"}, at=1, Idempotency_Key="till")
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()
    till = platform.client(first.json()["key"])
    assert (await till.get(f"/v1/merchants/{merchant_id}", at=1))["merchant_id"] == merchant_id
    assert (await staff.ask("DELETE", f"{path}/{first.json()['key_id']}")).status_code == 204
    for at in (0, 1):
        assert (await till.ask("GET", f"/v1/merchants/{merchant_id}", at=at)).status_code == 401
    stored = await platform.running.database("gateway")["idempotency"].find({}).to_list(None)
    assert first.json()["key"] not in str(stored)


async def test_facts_are_kept_once_and_reach_the_case(platform: Platform) -> None:
    case, _, buyer = await platform.reported()
    path = f"/v1/orders/{case['order_id']}/facts"
    fact = {"kind": "refunded", "at": "2021-03-01T09:00:00Z", "external_id": "r-1", "amount": eur("90.00")}
    first = await platform.partner.post(path, fact)
    assert first.status_code == 201, first.text
    assert first.json()["flags"] == ["over_refund"]
    again = await platform.partner.post(path, fact, at=1)
    assert (again.status_code, again.json()["fact_id"]) == (200, first.json()["fact_id"])
    seen = await buyer.get(f"/v1/cases/{case['case_id']}", at=1)
    assert [each["kind"] for each in seen["facts"]] == ["refunded"]
    ledger = (await buyer.get(f"/v1/orders/{case['order_id']}"))["ledger"]
    assert ledger["entries"][0]["flags"] == ["over_refund"]
    assert (await buyer.post(path, fact)).status_code == 403
    wrong = await platform.partner.post(path, {"kind": "refunded", "at": "2021-03-01T09:00:00Z"})
    assert (wrong.status_code, wrong.json()["errors"][0]["pointer"]) == (422, "/amount")
    paid = await platform.partner.made(path, {"kind": "paid_out", "at": "2021-03-01T09:00:00Z"})
    assert paid["flags"] == ["paid_out_while_held"]


async def test_reports_are_refused_with_the_reason(platform: Platform) -> None:
    case, _, buyer = await platform.reported()
    path = f"/v1/orders/{case['order_id']}/reports"
    again = await buyer.post(path, {"reason": "not_received"})
    assert (again.status_code, again.json()["refusal"]) == (409, "already_open")
    satisfied = await buyer.post(path, {"reason": "satisfied"})
    assert (satisfied.status_code, satisfied.json()["refusal"]) == (409, "already_open")
    second = await buyer.post(path, {"reason": "other"})
    assert second.status_code == 201
    assert second.json()["case_id"].endswith("_2")
    order = await platform.order(case["merchant_id"])
    done = await platform.partner.post(f"/v1/orders/{order['order_id']}/reports", {"reason": "satisfied"})
    assert done.status_code == 201
    assert "case_id" not in done.json()
    now = (await platform.agent.get("/v1/sandbox/clock"))["now"]
    assert done.json()["order"]["protection"] == {"state": "ended", "reason": "satisfied", "ends_at": now}


async def test_a_late_outcome_is_promised(platform: Platform) -> None:
    merchant_id, staff = await platform.shop()
    promised = await platform.partner.post("/v1/orders", order_body(merchant_id), Prefer="respond-async")
    assert promised.status_code == 202
    assert promised.headers["preference-applied"] == "respond-async"
    place = promised.headers["location"]
    assert promised.json()["command_id"].startswith("cmd_")
    assert place == f"/v1/commands/{promised.json()['command_id']}"
    for _ in range(200):
        state = await platform.partner.get(place, at=1)
        if state["status"] != "pending":
            break
    assert (state["status"], state["command_id"]) == ("done", promised.json()["command_id"])
    assert (await platform.partner.get(state["result"]["href"]))["merchant_id"] == merchant_id
    assert (await staff.ask("GET", place)).status_code == 404
    assert (await platform.agent.ask("GET", "/v1/commands/none")).status_code == 404
    wrong = await platform.partner.post("/v1/orders", order_body("no-such-shop"), Prefer="respond-async")
    for _ in range(200):
        state = await platform.partner.get(wrong.headers["location"])
        if state["status"] != "pending":
            break
    assert state["problem"]["errors"][0]["pointer"] == "/merchant_id"


@pytest.mark.parametrize("limit", ["1", "3"])
async def test_lists_go_page_by_page(platform: Platform, limit: str) -> None:
    merchant_id, staff = await platform.shop()
    placed = [NOW - timedelta(hours=hours) for hours in (1, 3, 3, 2)]
    orders = [await platform.order(merchant_id, placed_at=format_moment(moment)) for moment in placed]
    for order in orders[:3]:
        for reason in ("not_received", "other"):
            await platform.partner.made(f"/v1/orders/{order['order_id']}/reports", {"reason": reason})
    for path, expected in (("/v1/orders", 4), ("/v1/cases", 6)):
        seen: list[str] = []
        more: dict[str, str] = {}
        while True:
            page = await staff.get(path, limit=limit, **more)
            assert len(page["items"]) <= int(limit)
            seen += [item.get("case_id") or item["order_id"] for item in page["items"]]
            if "next" not in page:
                break
            more = {"cursor": page["next"]}
        assert len(seen) == len(set(seen)) == expected, path
        if path == "/v1/orders":
            assert seen[0] == orders[0]["order_id"]
            assert seen[1] == orders[3]["order_id"]
    assert len((await platform.partner.get("/v1/cases", merchant_id=merchant_id))["items"]) == 6
    assert len((await staff.get("/v1/cases", state="under_review"))["items"]) == 3
    assert len((await staff.get("/v1/cases", attention="true"))["items"]) == 3
    assert len((await staff.get("/v1/cases", q=orders[0]["order_number"][:5]))["items"]) >= 2
    assert len((await staff.get("/v1/cases", q=orders[0]["buyer"]["email"].upper()))["items"]) == 2
    assert len((await staff.get("/v1/cases", q="kim nobody"))["items"]) == 0
    assert len((await staff.get("/v1/cases", order_id=orders[0]["order_id"]))["items"]) == 2
    assert len((await platform.partner.get("/v1/orders", status="reported_problem", limit="200"))["items"]) >= 3
    for wrong in ({"limit": "0"}, {"limit": "x"}, {"cursor": "rubbish"}, {"state": "unknown"}, {"shop": "1"}):
        answer = await staff.ask("GET", "/v1/cases", params=wrong)
        assert (answer.status_code, answer.json()["errors"][0]["parameter"]) == (422, next(iter(wrong)))


async def test_programmes_are_served_from_the_artefact_that_decides(platform: Platform) -> None:
    _, staff = await platform.shop()
    programmes = (await staff.get("/v1/programmes"))["items"]
    first = await staff.get("/v1/programmes", limit=1)
    rest = await staff.get("/v1/programmes", cursor=first["next"])
    assert (first["items"] + rest["items"], "next" in rest) == (programmes, False)
    (programme,) = [each for each in programmes if each["id"] == "buyer-protection"]
    assert programme["version"] == 2
    old = await staff.get("/v1/programmes/buyer-protection", version="1")
    assert old["deadlines"]["merchant_answer"]["after"] == "P7D"
    machine = await staff.get("/v1/programmes/buyer-protection/state-machine")
    assert {state["state"] for state in machine["states"]} >= {"submitted", "resolved"}
    assert (await staff.ask("GET", "/v1/programmes/none")).status_code == 404
    assert (await staff.ask("GET", "/v1/programmes/buyer-protection?version=9")).status_code == 404


async def test_the_time_is_the_stack_s(platform: Platform) -> None:
    clock = await platform.agent.get("/v1/sandbox/clock")
    assert clock["now"] >= NOW.strftime("%Y-%m-%d")
    back = await platform.agent.post("/v1/sandbox/clock", {"now": "2020-01-01T00:00:00Z"})
    assert (back.status_code, back.json()["type"]) == (409, "/problems/clock-backwards")
    for wrong in ({}, {"advance": "P1D", "now": "2030-01-01T00:00:00Z"}, {"advance": "P1Y"}, {"advance": "P99999D"}):
        assert (await platform.agent.post("/v1/sandbox/clock", wrong)).status_code == 422
