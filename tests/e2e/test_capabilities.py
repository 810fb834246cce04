"""What none of the four systems has and this one must: NX-01 to 07, links, idempotency, read your writes."""

import hashlib
import uuid
from concurrent.futures import ThreadPoolExecutor

import orjson
import pytest

from tests.e2e.conftest import Start
from tests.e2e.world import Party, World, days, days_after, eur, moment


@pytest.mark.rule("NX-01")
def test_every_deadline_is_explained(world: World) -> None:
    shop = world.shop()
    order = world.order(shop)
    buyer = world.buyer(order)
    case = buyer.report(order)
    (deadline,) = case["deadlines"]
    assert deadline["party"] == "merchant"
    assert deadline["rule"] == "BP-18"
    assert deadline["policy"] == {"programme": "buyer-protection", "version": 2}
    assert deadline["on_silence"]["state"] == "under_review"
    assert moment(deadline["due_at"]) == days_after(moment(case["opened_at"]), 5)
    shop.staff.act(case, "answer", refund="yes", message="Yes.")
    (deadline,) = buyer.case(case["case_id"])["deadlines"]
    consequence = deadline["on_silence"]
    assert (consequence["state"], consequence["outcome"]) == ("resolved", "no_reaction")
    assert consequence["money"]["executed"] == eur("80.00")
    assert "80" in consequence["text"]


@pytest.mark.rule("NX-02")
def test_the_state_machine_can_be_fetched_and_says_what_the_engine_does(world: World) -> None:
    listed = world.platform.get("/v1/programmes")["items"]
    assert ("buyer-protection", 2) in {(item["id"], item["version"]) for item in listed}
    machine = world.platform.get("/v1/programmes/buyer-protection/state-machine")
    text = orjson.dumps(machine).decode()
    for expected in ("submitted", "awaiting_return", "under_review", "answer", "decide", "merchant_answer", "BP-18"):
        assert expected in text
    programme = world.platform.get("/v1/programmes/buyer-protection")
    assert programme["version"] == 2
    world.platform.request("GET", "/v1/programmes/nothing").problem(404)


@pytest.mark.rule("NX-03")
def test_what_is_listed_is_accepted_and_what_is_not_is_refused(world: World) -> None:
    shop = world.shop()
    order = world.order(shop)
    buyer = world.buyer(order)
    case = buyer.report(order)
    assert shop.staff.allowed(case) == {"answer", "note"}
    assert buyer.allowed(case) == {"withdraw"}
    assert {"take_over", "note"} <= world.platform.allowed(case)
    refused = buyer.try_act(case, "react", reaction="accept").problem(409, "action-not-allowed")
    assert refused["allowed_actions"] == ["withdraw"]
    buyer.try_act(case, "answer", refund="no", message="x").problem(403)
    shop.staff.try_act(case, "decide", outcome="refund", message="x").problem(403)
    shop.staff.try_act(case, "confirm_return").problem(409)
    for unlisted in ("start", "fly"):
        assert shop.staff.try_act(case, unlisted).problem(409)["allowed_actions"] == ["answer", "note"]
    assert buyer.case(case["case_id"])["version"] == case["version"]


@pytest.mark.rule("NX-04")
def test_a_preview_says_what_would_be_and_changes_nothing(world: World) -> None:
    shop = world.shop()
    order = world.order(shop)
    case = world.buyer(order).report(order)
    before = shop.staff.case(case["case_id"])
    preview = shop.staff.preview(case, "answer", refund="yes", message="Yes.")
    assert (preview["state"], preview["turn"]) == ("awaiting_buyer", "buyer")
    assert preview["money"]["reserved"] == eur("80.00")
    assert preview["money"]["refundable"] == eur("0.00")
    assert [deadline["party"] for deadline in preview["deadlines"]] == ["buyer"]
    assert {"party": "buyer", "kind": "answer"} in preview["messages"]
    assert preview["payout"]["held"] is True
    assert preview["protection"]["state"] == "active"
    assert shop.staff.case(case["case_id"]) == before
    shop.staff.post(f"/v1/cases/{case['case_id']}/previews", {"action": "confirm_return"}).problem(409)
    done = shop.staff.act(case, "answer", refund="yes", message="Yes.")
    assert (done["state"], done["turn"]) == (preview["state"], preview["turn"])


@pytest.mark.rule("NX-05")
def test_a_whole_life_on_the_test_clock(world: World) -> None:
    shop = world.shop()
    order = world.order(shop)
    case = world.buyer(order).report(order)
    start = world.now()
    world.advance("P5DT2H")
    assert world.platform.case(case["case_id"])["state"] == "under_review"
    assert world.now() - start == days(5) + (moment("2021-01-01T02:00:00Z") - moment("2021-01-01T00:00:00Z"))
    assert len(world.mails(shop.contract_email, "reminder")) == 1
    world.platform.post("/v1/sandbox/clock", {"now": start.isoformat()}).problem(409)
    world.platform.post("/v1/sandbox/clock", {"advance": "-P1D"}).problem(422)
    world.platform.post("/v1/sandbox/clock", {"advance": "P1D", "now": start.isoformat()}).problem(422)
    assert world.partner.post("/v1/sandbox/clock", {"advance": "PT1S"}).ok()["status"] == "ready"


@pytest.mark.rule("NX-06")
def test_one_ledger_over_all_cases_of_an_order(world: World) -> None:
    shop = world.shop()
    order = world.order(shop)
    buyer = world.buyer(order)
    first, second = buyer.report(order), buyer.report(order, "no_refund")
    shop.staff.act(first, "answer", refund="yes", message="Some.", refund_amount=eur("50.00"))
    problem = shop.staff.try_act(second, "answer", refund="yes", message="More.", refund_amount=eur("30.01")).problem(422)
    assert problem["errors"][0]["pointer"].startswith("/refund_amount")
    rest = shop.staff.act(second, "answer", refund="yes", message="The rest.")
    assert rest["refund"]["proposed"] == eur("30.00")
    buyer.act(first, "react", reaction="received")
    buyer.act(second, "react", reaction="received")
    book = world.platform.order(order["order_id"])["ledger"]
    assert (book["executed"], book["reserved"], book["refundable"]) == (eur("80.00"), eur("0.00"), eur("0.00"))
    assert len({entry["entry_id"] for entry in book["entries"]}) == len(book["entries"]) == 4


@pytest.mark.rule("NX-06")
def test_a_fact_of_more_than_was_left_is_recorded_and_flagged(world: World) -> None:
    shop = world.shop()
    order = world.order(shop)
    case = world.buyer(order).report(order)
    world.fact(order, "refunded", amount=eur("100.00"), external_id="psp-9")
    again = world.platform.post(
        f"/v1/orders/{order['order_id']}/facts",
        {"kind": "refunded", "at": world.now().isoformat(), "amount": eur("100.00"), "external_id": "psp-9"},
    )
    assert again.status == 200
    world.advance("PT1S")
    seen = world.platform.order(order["order_id"])
    assert [fact["flags"] for fact in seen["facts"]] == [["over_refund"]]
    assert seen["ledger"]["executed"] == eur("100.00")
    assert "over_refund" in seen["ledger"]["entries"][0]["flags"]
    assert len(seen["facts"]) == 1
    assert world.platform.case(case["case_id"])["facts"][0]["kind"] == "refunded"


@pytest.mark.rule("BP-18", "NX-07")
def test_a_case_keeps_the_policy_in_force_when_it_opened(start_world: Start) -> None:
    world = start_world(clock="2019-07-10T08:00:00Z")
    shop = world.shop()
    old_order, new_order = world.order(shop), world.order(shop)
    old = world.buyer(old_order).report(old_order)
    assert old["programme"] == {"id": "buyer-protection", "version": 1}
    assert moment(old["deadlines"][0]["due_at"]) - moment(old["opened_at"]) == days(7)
    world.advance_to("2019-07-15T12:00:00Z")
    new = world.buyer(new_order).report(new_order)
    assert new["programme"] == {"id": "buyer-protection", "version": 2}
    assert moment(new["deadlines"][0]["due_at"]) - moment(new["opened_at"]) == days(5)
    assert world.platform.case(old["case_id"])["state"] == "submitted"
    world.advance_to("2019-07-17T07:59:59Z")
    assert world.platform.case(old["case_id"])["state"] == "submitted"
    world.advance_to("2019-07-17T08:00:00Z")
    assert world.platform.case(old["case_id"])["state"] == "under_review"
    assert world.platform.case(old["case_id"])["programme"]["version"] == 1


@pytest.mark.rule("NX-15")
def test_a_link_opens_one_order_only_and_reading_outlives_acting(world: World) -> None:
    shop = world.shop()
    order, foreign = world.order(shop), world.order(shop)
    buyer = world.buyer(order)
    case = buyer.report(order)
    buyer.request("GET", f"/v1/orders/{foreign['order_id']}").problem(404)
    world.bearer(buyer.key + "x").request("GET", f"/v1/orders/{order['order_id']}").problem(401)
    buyer.request("GET", "/v1/merchants/" + shop.merchant_id).problem(404)
    assert [entry["order_id"] for entry in buyer.get("/v1/orders")["items"]] == [order["order_id"]]
    short = world.buyer(order, expires_in="PT1H")
    world.advance("PT2H")
    assert short.case(case["case_id"])["case_id"] == case["case_id"]
    short.try_act(case, "withdraw").problem(403, "link-expired")
    buyer.act(case, "withdraw")
    world.advance("P91D")
    assert buyer.case(case["case_id"])["outcome"] == "withdrawn"
    buyer.post(f"/v1/cases/{case['case_id']}/messages", {"text": "hello"}).problem(403, "link-expired")


@pytest.mark.rule("NX-15")
def test_a_merchant_s_button_acts_on_its_case_until_it_ends(world: World) -> None:
    shop = world.shop()
    order = world.order(shop)
    buyer = world.buyer(order)
    case, other = buyer.report(order), buyer.report(order, "no_refund")
    world.advance("PT1S")
    mails = world.mails(shop.contract_email, "case_opened")
    button = world.act_link(next(mail for mail in mails if mail["case_id"] == case["case_id"]))
    button.try_act(other, "answer", refund="no", message="x").problem(404)
    button.post(f"/v1/orders/{order['order_id']}/links", {"for": "buyer"}).problem(403, "forbidden")
    fact = {"kind": "returned", "at": "2021-01-01T00:00:00Z"}
    button.post(f"/v1/orders/{order['order_id']}/facts", fact).problem(403, "forbidden")
    buyer.act(case, "withdraw")
    assert button.case(case["case_id"])["state"] == "resolved"
    button.post(f"/v1/cases/{case['case_id']}/messages", {"text": "hello"}).problem(403, "link-expired")


def test_a_link_can_be_asked_for_by_order_number_and_email(world: World) -> None:
    order = world.order(world.shop())
    email = order["buyer"]["email"]
    anonymous = Party(world.base_url, "", "nobody")
    for body in (
        {"order_number": order["order_number"], "email": email},
        {"order_number": order["order_number"], "email": "other@mail.example"},
        {"order_number": "none", "email": email},
    ):
        assert anonymous.request("POST", "/v1/link-requests", json=body, headers={"Authorization": ""}).status == 202
    button = world.act_link(world.mail(email, "link"))
    assert button.order(order["order_id"])["order_id"] == order["order_id"]
    world.advance("PT1S")
    assert len(world.mails(email, "link")) == 1
    assert world.mails("other@mail.example", "link") == []


def test_an_idempotency_key_repeats_the_first_answer(world: World) -> None:
    order = world.order(world.shop())
    buyer = world.buyer(order)
    key = {"Idempotency_Key": uuid.uuid4().hex}
    path = f"/v1/orders/{order['order_id']}/reports"
    first = buyer.post(path, {"reason": "not_received"}, **key)
    again = buyer.post(path, {"reason": "not_received"}, **key)
    assert (first.status, first.body) == (again.status, again.body) == (201, first.body)
    buyer.post(path, {"reason": "no_refund"}, **key).problem(422)
    assert len(buyer.order(order["order_id"])["cases"]) == 1
    case = {"case_id": first.body["case_id"]}
    write = {"Idempotency_Key": uuid.uuid4().hex}
    with ThreadPoolExecutor(8) as pool:
        answers = list(
            pool.map(lambda _: buyer.post(f"/v1/cases/{case['case_id']}/messages", {"text": "once"}, **write).status, range(8))
        )
    assert set(answers) <= {201, 409}
    assert len(buyer.get(f"/v1/cases/{case['case_id']}/messages")["items"]) == 1


def test_an_order_is_the_same_order_by_merchant_and_number(world: World) -> None:
    body = world.order_body(world.shop())
    first = world.partner.post("/v1/orders", body)
    first.problem(422)
    created = world.platform.post("/v1/orders", body)
    repeated = world.platform.post("/v1/orders", body)
    assert (created.status, repeated.status) == (201, 200)
    assert created.body["order_id"] == repeated.body["order_id"]
    world.platform.post("/v1/orders", body | {"amount": eur("81.00")}).problem(409, "order-exists")


def test_etag_and_if_match(world: World) -> None:
    shop = world.shop()
    order = world.order(shop)
    case = world.buyer(order).report(order)
    path = f"/v1/cases/{case['case_id']}"
    answer = shop.staff.request("GET", path)
    etag = answer.headers["etag"]
    action = {"action": "answer", "refund": "no", "message": "x"}
    shop.staff.post(path + "/actions", action, If_Match='"999"').problem(412)
    assert shop.staff.post(path + "/actions", action, If_Match=etag).ok()["state"] == "awaiting_buyer"
    shop.staff.post(path + "/actions", action, If_Match=etag).problem(412)
    assert shop.staff.request("GET", path, headers={"If-None-Match": etag}).status == 200


def test_what_was_created_on_one_gateway_is_read_on_the_other(world: World) -> None:
    urls = [service["url"] for name, service in world.ready["services"].items() if name.startswith("gateway")]
    assert len(urls) == 2
    shop = world.shop()
    one, other = (Party(url, world.platform.key, "platform") for url in urls)
    for _ in range(25):
        order = one.post("/v1/orders", world.order_body(shop)).ok()
        assert other.order(order["order_id"])["version"] == order["version"]
        report = one.try_report(order, "not_received").ok()
        assert other.case(report["case_id"])["state"] == "submitted"
        one, other = other, one


def test_respond_async(world: World) -> None:
    order = world.order(world.shop())
    buyer = world.buyer(order)
    answer = buyer.post(f"/v1/orders/{order['order_id']}/reports", {"reason": "not_received"}, Prefer="respond-async")
    assert answer.status == 202
    path = answer.headers["location"].removeprefix(world.base_url)
    world.advance("PT1S")
    done = buyer.get(path)
    assert done["status"] == "done"
    assert buyer.get(done["result"]["href"])


@pytest.mark.rule("NX-13")
def test_an_outsider_can_recompute_the_hash_chain(world: World) -> None:
    shop = world.shop()
    order = world.order(shop)
    buyer = world.buyer(order)
    case = buyer.report(order, text="Where is it?")
    shop.staff.act(case, "answer", refund="yes", message="Here.")
    buyer.act(case, "react", reaction="received")
    world.advance("PT1S")
    history = world.platform.get(f"/v1/cases/{case['case_id']}/history")["items"]
    previous = ""
    for number, entry in enumerate(history, 1):
        assert entry["sequence"] == number
        assert entry["previous_hash"] == previous
        digest = hashlib.sha256(entry["salt"].encode() + orjson.dumps(entry["data"], option=orjson.OPT_SORT_KEYS)).hexdigest()
        assert digest == entry["data_digest"]
        sealed = {name: entry[name] for name in ("sequence", "type", "at", "actor", "data_digest", "previous_hash")}
        assert hashlib.sha256(orjson.dumps(sealed, option=orjson.OPT_SORT_KEYS)).hexdigest() == entry["hash"]
        previous = entry["hash"]
    assert {"case.opened", "case.moved", "case.notice-recorded"} <= {
        entry["type"].removeprefix("recourse.").rsplit(".v", 1)[0] for entry in history
    }
    before = world.platform.get(f"/v1/cases/{case['case_id']}/history", as_of=history[0]["at"])["items"]
    assert before == [entry for entry in history if entry["at"] <= history[0]["at"]]
