"""The decision matrix through the public API: small cases refunded at once, within caps, and rules tried on past cases
(CP-07, NX-18)."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from contracts.base import format_moment
from tests.e2e.world import Json, Shop, World, days, eur

RULES = "/v1/decision-rules"
BACK_TESTS = "/v1/decision-rules/back-tests"


def rule_body(*shops: Shop, **more: Any) -> Json:
    """A rule for these shops alone: the platform is shared with other tests."""
    conditions = {"merchants": [shop.merchant_id for shop in shops], **more.pop("conditions", {})}
    return {"name": "Small and new", "decision": "refund", "conditions": conditions, "caps": {}, "priority": 10, **more}


def make_rule(world: World, *shops: Shop, **more: Any) -> Json:
    return world.platform.post(RULES, rule_body(*shops, **more)).ok()


def settled(world: World, *cases: Json) -> list[Json]:
    """The cases once everything that follows their opening has happened."""
    world.advance("PT1M")
    return [world.platform.case(case["case_id"]) for case in cases]


def report(world: World, shop: Shop, amount: str = "20.00", **order: Any) -> Json:
    placed = world.order(shop, amount=eur(amount), lines=[], **order)
    return world.buyer(placed).report(placed)


@pytest.mark.rule("CP-07")
def test_under_the_amount_the_buyer_is_refunded_at_once_above_it_further_steps_are_needed(world: World) -> None:
    shop = world.shop()
    rule = make_rule(world, shop, conditions={"amount_max": eur("25.00")})
    small, large = settled(world, report(world, shop, "25.00"), report(world, shop, "25.01"))
    assert (small["state"], small["outcome"], small["turn"]) == ("resolved", "decided_refund", None)
    assert small["decided_by"] == {"rule_id": rule["rule_id"], "version": 1}
    assert small["refund"]["decided"] == eur("25.00")
    assert (large["state"], large["turn"], large["outcome"]) == ("submitted", "merchant", None)
    assert "decided_by" not in large

    order = world.platform.order(small["order_id"])
    assert order["status"] == "completed"
    assert order["payout"]["held"] is False
    assert order["ledger"]["refundable"] == eur("0.00")
    history = world.platform.get(f"/v1/cases/{small['case_id']}/history")["items"]
    (decision,) = [entry for entry in history if entry["type"] == "case.moved"]
    assert decision["actor"]["role"] == "system"
    assert decision["data"]["decided_by"] == small["decided_by"]
    assert world.mail(small["buyer"]["email"], "decision")["case_id"] == small["case_id"]
    buyer_view = world.buyer(order).case(small["case_id"])
    assert buyer_view["decided_by"] == small["decided_by"]


@pytest.mark.rule("CP-07")
def test_what_the_answer_to_a_report_shows_every_later_read_shows_or_what_came_of_it(world: World) -> None:
    """On whichever gateway: each read opens a connection of its own."""
    shop = world.shop()
    rule = make_rule(world, shop)
    for _ in range(5):
        placed = world.order(shop, lines=[])
        answered = world.platform.post(f"/v1/orders/{placed['order_id']}/reports", {"reason": "not_received"})
        assert answered.status == 201
        body = answered.ok()
        assert body["order"]["cases"] == [body["case_id"]]
        seen, ended = body["order"]["version"], body["order"]["status"] == "completed"
        assert ended or (body["order"]["status"], body["order"]["payout"]["held"]) == ("reported_problem", True)
        while not ended:
            reader = world.bearer(world.ready["keys"]["platform"])
            case, order = reader.case(body["case_id"]), reader.order(placed["order_id"])
            assert order["version"] >= seen, "never less than was shown before"
            assert case["state"] == "submitted" or case["decided_by"]["rule_id"] == rule["rule_id"]
            seen, ended = order["version"], order["status"] == "completed"


@pytest.mark.rule("CP-07")
def test_reason_merchant_and_the_buyer_s_earlier_cases_count(world: World) -> None:
    shop, other = world.shop(), world.shop()
    make_rule(world, shop, conditions={"reasons": ["not_received"], "buyer_cases_max": 1})
    buyer = {"email": f"{world.name('often')}@mail.example"}
    elsewhere = report(world, other, buyer=buyer)
    world.advance("PT1M")
    second = report(world, shop, buyer=buyer)
    world.advance("PT1M")
    third = report(world, shop, buyer={"email": buyer["email"].upper()})
    placed = world.order(shop)
    another_reason = world.buyer(placed).report(placed, "no_refund")
    found = settled(world, elsewhere, second, third, another_reason)
    assert [case["outcome"] for case in found] == [None, "decided_refund", None, None]


@pytest.mark.rule("CP-07")
def test_the_first_rule_that_fits_decides_and_an_exemption_stops_there(world: World) -> None:
    shop, exempt = world.shop(), world.shop()
    make_rule(world, shop, exempt, priority=20)
    make_rule(world, exempt, priority=5, decision="no_automatic")
    first = make_rule(world, shop, priority=6, conditions={"amount_max": eur("30.00")})
    one, two = settled(world, report(world, shop), report(world, exempt))
    assert one["decided_by"]["rule_id"] == first["rule_id"]
    assert two["state"] == "submitted"


def patient(world: World, path: str, body: Json) -> Json:
    """Waits for the outcome for as long as one may: many ask at once."""
    return world.platform.post(path, body, Prefer="wait=30").ok()


@pytest.mark.rule("CP-07")
def test_two_hundred_reports_at_once_and_a_cap_of_ten_a_day_are_ten_refunds(world: World) -> None:
    shop = world.shop()
    rule = make_rule(world, shop, caps={"per_day": 10})
    bodies = [world.order_body(shop, amount=eur("20.00"), lines=[]) for _ in range(200)]
    with ThreadPoolExecutor(16) as pool:
        orders = list(pool.map(lambda body: patient(world, "/v1/orders", body), bodies))
        paths = [f"/v1/orders/{order['order_id']}/reports" for order in orders]
        reported = list(pool.map(lambda path: patient(world, path, {"reason": "not_received"}), paths))
    found = settled(world, *reported)
    assert sum(case["outcome"] == "decided_refund" for case in found) == 10
    assert sum(case["state"] == "submitted" for case in found) == 190

    trial = world.platform.post(BACK_TESTS, {"rule_id": rule["rule_id"]}).ok()
    assert (trial["matched"], trial["decided"], trial["capped"]) == (200, 10, 190)
    assert trial["cost"] == eur("200.00")
    would = {each["case_id"]: each["decision"] for each in trial["decisions"]}
    assert len(would) == 200
    assert sum(decision == "refund" for decision in would.values()) == 10

    world.advance("P1D")
    (next_day,) = settled(world, report(world, shop))
    assert next_day["outcome"] == "decided_refund", "a day later there are ten more"


@pytest.mark.rule("CP-07")
def test_caps_are_per_buyer_and_per_shop_too(world: World) -> None:
    shop, other = world.shop(), world.shop()
    make_rule(world, shop, other, caps={"per_buyer_day": 1, "per_merchant_day": 2})
    buyer = {"email": f"{world.name('b')}@mail.example"}
    cases = [report(world, shop, buyer=buyer), report(world, shop, buyer=buyer), report(world, other, buyer=buyer)]
    found = settled(world, *cases)
    assert sum(case["outcome"] == "decided_refund" for case in found) == 1
    more = settled(world, *(report(world, other) for _ in range(3)))
    assert sum(case["outcome"] == "decided_refund" for case in more) in (1, 2)
    refunded = [
        case for case in (*found, *more) if case["outcome"] == "decided_refund" and case["merchant_id"] == other.merchant_id
    ]
    assert len(refunded) == 2


@pytest.mark.rule("NX-18")
def test_a_changed_rule_is_tried_on_past_cases_before_it_goes_live(world: World) -> None:
    shop = world.shop()
    begin = world.now()
    amounts = ["5.00", "15.00", "25.00", "35.00", "45.00"]
    cases = []
    for amount in amounts:
        world.advance("PT1H")
        cases.append(report(world, shop, amount))
    settled(world)
    before = [world.platform.case(case["case_id"])["version"] for case in cases]
    draft = rule_body(shop, conditions={"amount_max": eur("30.00")}, caps={"per_day": 2})
    trial = world.platform.post(BACK_TESTS, {"rule": draft, "from": begin.isoformat()}).ok()
    assert (trial["matched"], trial["decided"], trial["capped"]) == (3, 2, 1)
    assert trial["cases"] >= 5
    assert trial["cost"] == eur("20.00")
    assert [(each["case_id"], each["decision"]) for each in trial["decisions"]] == [
        (cases[0]["case_id"], "refund"),
        (cases[1]["case_id"], "refund"),
        (cases[2]["case_id"], "capped"),
    ]
    assert [world.platform.case(case["case_id"])["version"] for case in cases] == before, "it changes nothing"
    assert world.platform.get(f"{BACK_TESTS}/{trial['back_test_id']}") == trial
    span = {"rule": draft, "from": begin.isoformat(), "to": begin.isoformat()}
    world.platform.post(BACK_TESTS, span).problem(422)
    early = world.platform.post(BACK_TESTS, {"rule": draft, "to": begin.isoformat()}).ok()
    assert (early["matched"], early["decisions"]) == (0, [])
    exempt = world.platform.post(BACK_TESTS, {"rule": {**draft, "decision": "no_automatic"}}).ok()
    assert (exempt["matched"], exempt["decided"], exempt["cost"]) == (3, 0, eur("0.00"))


@pytest.mark.rule("CP-07", "NX-18")
def test_live_the_same_rule_decides_as_its_back_test_said(world: World) -> None:
    shop = world.shop()
    rule = make_rule(
        world, shop, conditions={"amount_max": eur("30.00"), "buyer_cases_max": 2}, caps={"per_buyer_day": 2, "per_day": 3}
    )
    buyers = [{"email": f"{world.name('b')}@mail.example"} for _ in range(4)]
    cases = []
    for number in range(12):
        cases.append(report(world, shop, f"{10 + number * 3 % 25}.00", buyer=buyers[number % 4]))
        world.advance("PT3H")
    live = {case["case_id"]: case["outcome"] for case in settled(world, *cases)}
    trial = world.platform.post(BACK_TESTS, {"rule_id": rule["rule_id"]}).ok()
    assert trial["tried"] == {"rule_id": rule["rule_id"], "version": 1}
    would = {each["case_id"] for each in trial["decisions"] if each["decision"] == "refund"}
    assert {case_id for case_id, outcome in live.items() if outcome == "decided_refund"} == would
    assert trial["decided"] == len(would) > 0
    assert trial["capped"] > 0


@pytest.mark.rule("CP-07", "NX-18", "NX-06")
def test_nothing_is_refunded_at_once_beside_a_claim_or_on_anybody_s_word(world: World) -> None:
    """Who knows a number and an address fills in a form; a chargeback's provider pays whatever the platform has paid."""
    shop = world.shop(programmes=["buyer-protection", "returns-desk", "claims"], of_partner=True)
    form = shop.staff.post(f"/v1/merchants/{shop.merchant_id}/forms", {"channel": "shop"}).ok()
    rule = make_rule(world, shop)
    claimed, guessed, plain = (world.order(shop, amount=eur("20.00"), lines=[]) for _ in range(3))
    about = {"reason": "chargeback", "programme": "claims", "external_id": world.name("cb")}
    world.partner.post(f"/v1/orders/{claimed['order_id']}/reports", about).ok()
    beside = world.buyer(claimed).report(claimed)
    told = {
        "reason": "complaint",
        "order_number": guessed["order_number"],
        "contact": {"email": guessed["buyer"]["email"]},
    }
    by_form = world.bearer("nobody").post(f"/v1/forms/{form['token']}/reports", told).ok()
    own = world.buyer(plain).report(plain)
    found = settled(world, beside, by_form, own)
    assert [case["outcome"] for case in found] == [None, None, "decided_refund"]
    assert found[1]["order_id"] == guessed["order_id"]
    trial = world.platform.post(BACK_TESTS, {"rule_id": rule["rule_id"]}).ok()
    assert trial["decisions"] == [{"case_id": own["case_id"], "decision": "refund"}]


@pytest.mark.rule("CP-07")
def test_rules_are_versioned_and_withdrawn(world: World) -> None:
    shop = world.shop()
    made = world.platform.post(RULES, rule_body(shop))
    rule = made.ok()
    href = f"{RULES}/{rule['rule_id']}"
    assert (made.status, made.headers["location"], made.headers["etag"]) == (201, href, '"1"')
    assert world.platform.get(href) == rule
    assert rule["conditions"] == {"merchants": [shop.merchant_id]}

    stricter = rule_body(shop, conditions={"amount_max": eur("10.00")})
    world.platform.request("PUT", href, json=stricter, headers={"If-Match": '"7"'}).problem(412)
    second = world.platform.request("PUT", href, json=stricter, headers={"If-Match": '"1"'}).ok()
    assert (second["version"], second["rule_id"]) == (2, rule["rule_id"])
    assert world.platform.get(href) == second
    assert world.platform.get(href, version=1) == rule
    (case,) = settled(world, report(world, shop, "20.00"))
    assert case["state"] == "submitted", "the new version is in force"

    listed = world.platform.get(RULES, limit=200)["items"]
    assert second in listed
    assert [each["priority"] for each in listed] == sorted(each["priority"] for each in listed)
    assert world.platform.request("DELETE", href).status == 204
    world.platform.request("GET", href).problem(404)
    world.platform.request("DELETE", href).problem(404)
    world.platform.request("PUT", href, json=stricter).problem(404)
    assert world.platform.get(href, version=2)["withdrawn_at"]
    assert second["rule_id"] not in {each["rule_id"] for each in world.platform.get(RULES, limit=200)["items"]}
    (case,) = settled(world, report(world, shop, "5.00"))
    assert case["state"] == "submitted", "what is withdrawn decides nothing"


@pytest.mark.rule("CP-07")
def test_a_version_waits_for_its_moment(world: World) -> None:
    shop = world.shop()
    rule = make_rule(world, shop, effective_from=format_moment(world.now() + days(1)))
    (before,) = settled(world, report(world, shop))
    assert before["state"] == "submitted"
    world.advance("P1D")
    (after,) = settled(world, report(world, shop))
    assert after["decided_by"] == {"rule_id": rule["rule_id"], "version": 1}


@pytest.mark.rule("CP-07")
def test_a_key_repeats_its_answer_and_pages_go_on(world: World) -> None:
    shop = world.shop()
    first = world.platform.post(RULES, rule_body(shop), Idempotency_Key=f"rule-{shop.merchant_id}")
    again = world.platform.post(RULES, rule_body(shop), Idempotency_Key=f"rule-{shop.merchant_id}")
    assert again.ok() == first.ok()
    make_rule(world, shop)
    seen, cursor = [], None
    while True:
        page = world.platform.get(RULES, limit=1, **({"cursor": cursor} if cursor else {}))
        seen += [each["rule_id"] for each in page["items"]]
        if (cursor := page.get("next")) is None:
            break
    assert len(seen) == len(set(seen)) >= 2
    trial = {"rule": rule_body(shop)}
    one = world.platform.post(BACK_TESTS, trial, Idempotency_Key=f"trial-{shop.merchant_id}").ok()
    assert world.platform.post(BACK_TESTS, trial, Idempotency_Key=f"trial-{shop.merchant_id}").ok() == one


@pytest.mark.rule("CP-07")
def test_rules_are_the_platform_s_alone(world: World) -> None:
    shop = world.shop()
    rule = make_rule(world, shop, decision="no_automatic")
    for party in (world.partner, shop.staff):
        party.post(RULES, rule_body(shop)).problem(403)
        party.request("GET", RULES).problem(403)
        party.request("GET", f"{RULES}/{rule['rule_id']}").problem(403)
        party.request("PUT", f"{RULES}/{rule['rule_id']}", json=rule_body(shop)).problem(403)
        party.request("DELETE", f"{RULES}/{rule['rule_id']}").problem(403)
        party.post(BACK_TESTS, {"rule_id": rule["rule_id"]}).problem(403)


BAD_RULES: list[tuple[str, Json, str]] = [
    ("no name", {"name": ""}, "/name"),
    ("no decision", {"decision": None}, "/decision"),
    ("an unknown decision", {"decision": "maybe"}, "/decision"),
    ("an unknown programme", {"programme": "nothing"}, "/programme"),
    ("a programme that others decide", {"programme": "claims"}, "/programme"),
    ("an unknown reason", {"conditions": {"reasons": ["too_loud"]}}, "/conditions/reasons/0"),
    ("no conditions, not even none", {"conditions": ...}, "/conditions"),
    ("no reasons at all", {"conditions": {"reasons": []}}, "/conditions/reasons"),
    ("a number for money", {"conditions": {"amount_max": 30}}, "/conditions/amount_max"),
    ("too many digits", {"conditions": {"amount_max": eur("1.234")}}, "/conditions/amount_max/amount"),
    ("less than nothing", {"conditions": {"amount_max": eur("-1.00")}}, "/conditions/amount_max/amount"),
    ("an empty range", {"conditions": {"amount_min": eur("2.00"), "amount_max": eur("1.00")}}, "/conditions/amount_max"),
    ("half a case", {"conditions": {"buyer_cases_max": 0.5}}, "/conditions/buyer_cases_max"),
    ("a condition that is none", {"conditions": {"mood": "bad"}}, "/conditions/mood"),
    ("a cap below zero", {"caps": {"per_day": -1}}, "/caps/per_day"),
    ("a cap that is none", {"caps": {"per_week": 1}}, "/caps/per_week"),
    ("a priority that is none", {"priority": "high"}, "/priority"),
    ("a time without a zone", {"effective_from": "2021-03-01T00:00:00"}, "/effective_from"),
    ("a field that is none", {"colour": "red"}, "/colour"),
]


@pytest.mark.parametrize(("change", "pointer"), [case[1:] for case in BAD_RULES], ids=[case[0] for case in BAD_RULES])
def test_a_bad_rule_is_refused_with_a_pointer(world: World, change: Json, pointer: str) -> None:
    body = {"name": "Small", "decision": "refund", "conditions": {}, "caps": {}, "priority": 1} | change
    body = {name: value for name, value in body.items() if value is not ...}
    problem = world.platform.post(RULES, body).problem(422, "invalid-input")
    assert any(error["pointer"].startswith(pointer) for error in problem["errors"]), problem["errors"]
    trial = world.platform.post(BACK_TESTS, {"rule": body}).problem(422, "invalid-input")
    assert any(error["pointer"].startswith(f"/rule{pointer}") for error in trial["errors"]), trial["errors"]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/rule"),
        ({"rule_id": "drl_none"}, "/rule_id"),
        ({"rule_id": "drl_1", "rule": {"name": "x", "decision": "refund"}}, "/rule"),
        ({"rule": {"name": "x", "decision": "refund"}, "from": "yesterday"}, "/from"),
        ({"rule": {"name": "x", "decision": "refund"}, "since": "2021-01-01T00:00:00Z"}, "/since"),
    ],
)
def test_a_bad_back_test_is_refused_with_a_pointer(world: World, body: Json, pointer: str) -> None:
    problem = world.platform.post(BACK_TESTS, body).problem(422, "invalid-input")
    assert any(error["pointer"].startswith(pointer) for error in problem["errors"]), problem["errors"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", f"{RULES}/drl_none", 404),
        ("GET", f"{RULES}/%00", 404),
        ("DELETE", f"{RULES}/drl_none", 404),
        ("GET", f"{RULES}/drl_none?version=x", 422),
        ("GET", f"{RULES}?limit=0", 422),
        ("GET", f"{RULES}?cursor=x", 422),
        ("GET", f"{BACK_TESTS}/bkt_none", 404),
        ("GET", f"{BACK_TESTS}/{'x' * 300}", 404),
        ("PATCH", RULES, 405),
    ],
)
def test_what_is_not_there_is_a_problem(world: World, method: str, path: str, status: int) -> None:
    world.platform.request(method, path).problem(status)
