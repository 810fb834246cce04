"""What programmes have beyond their tables: forms without account, claims from outside, issues side by side (OI, RD, CP)."""

import re
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import httpx
import pytest

from contracts.base import format_moment
from tests.e2e.world import Answer, Party, Shop, World, days, eur, moment

PICTURE = b"\x89PNG\r\n\x1a\n" + b"\0" * 32
Json = dict[str, Any]


@pytest.fixture(scope="module")
def brand(world: World) -> Shop:
    return world.shop(of_partner=True, programmes=["order-issues", "returns-desk", "claims", "buyer-protection"], locale="en")


def form_of(world: World, shop: Shop, channel: str = "ebay", **more: Any) -> Json:
    return shop.staff.post(f"/v1/merchants/{shop.merchant_id}/forms", {"channel": channel, **more}).ok()


def sent(world: World, form: Json, body: Json) -> Answer:
    """By nobody in particular: without any key."""
    with httpx.Client(base_url=world.base_url, timeout=90) as http:
        response = http.post(f"/v1/forms/{form['token']}/reports", json=body)
    return Answer(response.status_code, response.json(), response.headers)


def filled(world: World, **more: Any) -> Json:
    email = f"{world.name('customer')}@mail.example"
    return {
        "reason": "complaint",
        "text": "The handle broke.",
        "order_number": world.name("E"),
        "contact": {"email": email, "phone": "+49 30 7"},
        **more,
    }


# Order issues


@pytest.mark.rule("OI-01", "OI-03", "OI-04", "OI-08")
def test_several_issues_side_by_side_hold_the_order_until_the_last_has_ended(world: World, brand: Shop) -> None:
    order = world.order(brand)
    assert (order["programme"], order["status"]) == ("order-issues", "open")
    retailer = world.buyer(order)
    photo = retailer.evidence(order, PICTURE, "broken.png").ok()["evidence_id"]
    lines = [{"line_id": "1", "quantity": 1}]
    damaged = retailer.report(order, "damaged", text="Crushed.", lines=lines, evidence=[photo], wish="A new one")
    late = retailer.report(order, "late")
    untroubled = world.order(brand)
    reported = brand.staff.get("/v1/orders", status="reported_problem", limit=200)["items"]
    assert order["order_id"] in {each["order_id"] for each in reported}
    assert untroubled["order_id"] not in {each["order_id"] for each in reported}
    assert (untroubled["status"], untroubled["cases"]) == ("open", [])
    assert retailer.try_report(order, "damaged").problem(409)["refusal"] == "already_open"
    seen = brand.staff.case(damaged["case_id"])
    assert (seen["text"], seen["wish"], seen["lines"]) == ("Crushed.", "A new one", lines)
    assert brand.staff.request("GET", f"/v1/evidence/{photo}/content").body == PICTURE
    assert world.platform.order(order["order_id"])["status"] == "reported_problem"
    world.platform.act(late, "solve", message="It is on its way.")
    half = world.platform.order(order["order_id"])
    assert (half["status"], half["payout"]["held"]) == ("reported_problem", True)
    world.fact(order, "paid_out", external_id="too-early")
    assert "paid_out_while_held" in world.platform.order(order["order_id"])["facts"][0]["flags"]
    retailer.act(damaged, "withdraw")
    done = world.platform.order(order["order_id"])
    assert (done["status"], done["payout"]["held"]) == ("completed", False)
    left = brand.staff.get("/v1/orders", status="reported_problem", order_number=order["order_number"])["items"]
    assert left == []


@pytest.mark.rule("OI-01", "NX-06")
def test_the_same_reason_in_another_programme_is_another_case_on_the_same_ledger(world: World, brand: Shop) -> None:
    order = world.order(brand)
    retailer = world.buyer(order)
    issue = retailer.report(order, "other")
    complaint = retailer.report(order, "other", programme="returns-desk")
    refused = retailer.try_report(order, "not_received", programme="buyer-protection").problem(409)
    assert refused["refusal"] == "not_protected", "the order was sold without protection"
    assert complaint["programme"]["id"] == "returns-desk"
    world.platform.act(issue, "solve", message="Half.", refund_amount=eur("50.00"))
    too_much = {"resolution": "refund", "message": "x", "refund_amount": eur("40.00")}
    problem = brand.staff.try_act(complaint, "accept", **too_much).problem(422)
    assert problem["errors"][0]["pointer"].startswith("/refund_amount")
    brand.staff.act(complaint, "accept", resolution="refund", message="The rest.")
    ledger = world.platform.order(order["order_id"])["ledger"]
    assert ledger["refundable"] == eur("0.00")
    assert retailer.try_report(order, "late", programme="claims").problem(409)["refusal"] == "reason_unknown"
    elsewhere = world.order(world.shop())
    not_offered = world.buyer(elsewhere).try_report(elsewhere, "late", programme="order-issues").problem(422)
    assert not_offered["errors"][0]["pointer"] == "/programme"


@pytest.mark.rule("OI-05")
def test_the_brand_proposes_a_discount_by_chat(world: World, brand: Shop) -> None:
    order = world.order(brand)
    retailer = world.buyer(order)
    case = retailer.report(order, "wrong_goods")
    assert brand.staff.allowed(case) == {"start", "replace", "refund", "contact", "note"}
    chat = brand.staff.act(case, "contact", message="Would you keep them for 20 % less?")
    assert chat["state"] == "in_progress"
    thread = f"/v1/cases/{case['case_id']}/messages"
    retailer.post(thread, {"text": "Yes."}).ok()
    assert [each["text"] for each in brand.staff.get(thread)["items"]] == ["Would you keep them for 20 % less?", "Yes."]
    assert "20 %" in world.mail(order["buyer"]["email"], "progress")["text"]
    brand.staff.act(case, "refund", refund_amount=eur("16.00"))
    assert retailer.act(case, "resolve")["outcome"] == "partially_refunded"


@pytest.mark.rule("OI-07", "OI-09", "OI-10", "NX-03")
def test_what_the_platform_handles_the_brand_sees_and_cannot_touch(world: World, brand: Shop) -> None:
    order = world.order(brand)
    case = world.buyer(order).report(order, "invoice_wrong", text="The VAT is missing.")
    seen = brand.staff.case(case["case_id"])
    assert (seen["label"], seen["text"], seen["allowed_actions"]) == ("Handled by the platform", "The VAT is missing.", [])
    for action, fields in (("refund", {}), ("start", {}), ("contact", {"message": "x"})):
        brand.staff.try_act(case, action, **fields).problem(409, "action-not-allowed")
    brand.staff.try_act(case, "reject", message="no").problem(403)
    watched = world.platform.get("/v1/cases", merchant_id=brand.merchant_id)["items"]
    assert case["case_id"] in {each["case_id"] for each in watched}
    assert world.platform.act(case, "reject", message="The invoice is right.")["label"] == "Rejected"


# Returns desk


@pytest.mark.rule("RD-01", "RD-02", "RD-03", "RD-04")
def test_a_form_takes_a_report_on_an_order_that_nobody_has_registered(world: World, brand: Shop) -> None:
    form = form_of(world, brand, "allegro")
    body = filled(world, amount=eur("42.00"), order_date="2021-01-30")
    answer = sent(world, form, body)
    assert answer.status == 201, answer.body
    assert answer.body.keys() == {"report_id", "case_id", "link"}
    assert answer.body["link"]["url"].endswith(answer.body["link"]["token"])
    customer = world.bearer(answer.body["link"]["token"])
    case = customer.case(answer.body["case_id"])
    assert (case["state"], case["programme"]["id"], case["channel"]) == ("submitted", "returns-desk", "allegro")
    assert case["contact"] == body["contact"]
    order = world.platform.order(case["order_id"])
    assert (order["origin"], order["programme"], order["order_number"]) == ("reported", "returns-desk", body["order_number"])
    assert order["amount"] == eur("42.00")
    assert order["buyer"]["email"] == body["contact"]["email"]
    assert order["placed_at"] == "2021-01-29T23:00:00.000Z"  # the day's beginning in Berlin
    listed = brand.staff.get("/v1/cases", programme="returns-desk", q=body["order_number"])["items"]
    assert [each["case_id"] for each in listed] == [case["case_id"]]
    again = sent(world, form, body)
    assert (again.status, again.body["refusal"]) == (409, "already_open")
    assert case["case_id"] not in again.body["detail"]
    # What somebody wrote into a form moves no money of the platform's, whoever decides.
    world.platform.act(case, "take_over")
    (solve,) = [each for each in world.platform.case(case["case_id"])["allowed_actions"] if each["action"] == "solve"]
    assert solve["fields"]["properties"]["refund_amount"]["x-executor"] == "merchant"
    fields = {"message": "Yes.", "refund_amount": eur("42.00")}
    preview = world.platform.post(f"/v1/cases/{case['case_id']}/previews", {"action": "solve", **fields}).ok()
    assert {name: preview["money"][name] for name in ("executor", "reserved", "executed")} == {
        "executor": "merchant",
        "reserved": eur("42.00"),
        "executed": eur("0.00"),
    }
    assert world.platform.act(case, "solve", **fields)["outcome"] == "refunded"
    assert world.platform.get("/v1/sandbox/payments", order_id=order["order_id"])["items"] == []
    world.fact(order, "refunded", amount=eur("42.00"), external_id="bank")
    assert world.platform.case(case["case_id"])["refund"]["executed"] == eur("42.00")
    # The number stays the merchant's to register: nobody takes it away by reporting on it.
    real = world.order(brand, order_number=body["order_number"])
    assert real["order_id"] != order["order_id"]


@pytest.mark.rule("RD-10", "RD-05")
def test_reported_running_and_finished_cases_are_counted_and_listed_in_one_place(world: World) -> None:
    desk = world.shop(programmes=["returns-desk", "order-issues"], locale="en")
    first, second, other = (world.order(desk) for _ in range(3))
    empty = {"all": 0, "reported": 0, "running": 0, "finished": 0}
    assert desk.staff.get("/v1/cases", counts="true") == {"items": [], "counts": empty}
    reported, running = (world.buyer(first).report(first, reason) for reason in ("complaint", "withdrawal"))
    finished = world.buyer(second).report(second, "missing_item")
    issue = world.buyer(other).report(other, "late", programme="order-issues")
    for case in (running, finished):
        desk.staff.act(case, "start")
    desk.staff.act(finished, "reject", message="All of it was in the parcel.")

    seen = desk.staff.get("/v1/cases", counts="true", limit=1)
    assert len(seen["items"]) == 1
    assert seen["counts"] == {"all": 4, "reported": 1, "running": 2, "finished": 1}, "of all pages"
    (last,) = seen["items"]
    rest = desk.staff.get("/v1/cases", cursor=seen["next"], limit=200)
    assert "counts" not in rest, "nobody pays for what is not asked for"
    stages = {each["case_id"]: each["state"] for each in (last, *rest["items"])}
    assert stages == {
        reported["case_id"]: "submitted",
        running["case_id"]: "in_progress",
        finished["case_id"]: "rejected",
        issue["case_id"]: "under_review",
    }
    of_the_desk = desk.staff.get("/v1/cases", counts="true", programme="returns-desk")["counts"]
    assert of_the_desk == {"all": 3, "reported": 1, "running": 1, "finished": 1}
    assert world.buyer(first).get("/v1/cases", counts="true")["counts"] == {**empty, "all": 2, "reported": 1, "running": 1}
    by_platform = world.platform.get("/v1/cases", merchant_id=desk.merchant_id, counts="true")
    assert by_platform["counts"] == seen["counts"]
    assert world.shop().staff.get("/v1/cases", merchant_id=desk.merchant_id, counts="true")["counts"] == empty
    history = desk.staff.get(f"/v1/cases/{finished['case_id']}/history")["items"]
    assert [each["data"]["action"] for each in history if each["type"] == "case.moved"] == ["start", "reject"]
    wrong = world.platform.request("GET", "/v1/cases", params={"counts": "true"}).problem(422)
    assert [error["pointer"] for error in wrong["errors"]] == ["/counts"]
    desk.staff.request("GET", "/v1/cases", params={"counts": "yes"}).problem(422)


@pytest.mark.rule("RD-03")
def test_a_known_order_with_the_same_address_is_that_order_and_nothing_of_it_is_told(world: World, brand: Shop) -> None:
    form = form_of(world, brand)
    order = world.order(brand, facts=[{"kind": "delivered", "at": "2021-02-01T00:00:00Z", "tracking_code": "SECRET-1"}])
    other = world.buyer(order).report(order, "damaged", text="Somebody else's business")
    contact = {"email": order["buyer"]["email"].upper()}
    answer = sent(world, form, filled(world, order_number=order["order_number"], contact=contact))
    assert answer.status == 201, answer.body
    assert answer.body["case_id"].startswith(order["order_id"].replace("ord_", "cas_"))
    guest = world.bearer(answer.body["link"]["token"])
    case = guest.case(answer.body["case_id"])
    told = str(case) + str(guest.order(order["order_id"])) + str(guest.get(f"/v1/cases/{case['case_id']}/history"))
    told += guest.request("GET", answer.body["link"]["url"]).ok().decode()
    for secret in ("SECRET-1", "Kim", "80.00", "Somebody else"):
        assert secret not in told, secret
    guest.request("GET", f"/v1/cases/{other['case_id']}").problem(404)
    guest.try_report(order, "late").problem(403)
    assert guest.act(case, "withdraw")["outcome"] == "withdrawn"
    stranger = sent(world, form, filled(world, order_number=order["order_number"]))
    assert not stranger.body["case_id"].startswith(order["order_id"].replace("ord_", "cas_"))


@pytest.mark.rule("RD-01")
@pytest.mark.parametrize("known", [True, False])
def test_a_warranty_is_claimed_long_after_the_protection(world: World, brand: Shop, known: bool) -> None:
    placed = world.now() - days(400)
    body = filled(world, order_date=format_moment(placed)[:10])
    if known:
        order = world.order(brand, placed_at=format_moment(placed))
        body |= {"order_number": order["order_number"], "contact": {"email": order["buyer"]["email"]}}
    answer = sent(world, form_of(world, brand), body)
    assert answer.status == 201, answer.body
    customer = world.bearer(answer.body["link"]["token"])
    thread = f"/v1/cases/{answer.body['case_id']}/messages"
    assert customer.post(thread, {"text": "It broke after a year."}).status == 201


@pytest.mark.rule("RD-01", "RD-02", "RD-05")
def test_the_form_s_page_needs_neither_account_nor_javascript(world: World, brand: Shop) -> None:
    form = form_of(world, brand)
    with httpx.Client(base_url=world.base_url, timeout=90, follow_redirects=True) as http:
        page = http.get(form["url"])
        assert page.status_code == 200, page.text
        assert "<script" not in page.text
        for expected in ('name="order_number"', 'name="email"', 'name="phone"', 'type="file"', "Complaint", "Withdrawal"):
            assert expected in page.text, expected
        nonce = re.search(r'name="nonce" value="([^"]+)"', page.text)
        assert nonce is not None
        fields = {"nonce": nonce[1], "order_number": world.name("P"), "reason": "missing_item", "text": "One cup is missing."}
        broken = http.post(form["url"], data={**fields, "email": "nobody"}, files={"file": ("", b"")})
        assert broken.status_code == 422
        assert "One cup is missing." in broken.text
        fields["email"] = f"{world.name('page')}@mail.example"
        fields["amount"] = "19,90"
        first = http.post(form["url"], data=fields, files={"file": ("cup.png", PICTURE)})
        assert first.status_code == 200, first.text
        assert "One cup is missing." in first.text
        assert "cup.png" in first.text
        twice = http.post(form["url"], data=fields, files={"file": ("cup.png", PICTURE)})
        assert twice.url == first.url, "a form sent twice is one report"
        token = str(first.url).split("/l/")[1].partition("?")[0]
        customer = world.bearer(token)
        (case,) = customer.get("/v1/cases")["items"]
        assert (case["reason"], case["order_amount"]) == ("missing_item", eur("19.90"))
        brand.staff.act(case, "accept", resolution="resend", message="It is on its way.")
        world.advance("P100D")
        assert "It is on its way." in http.get(f"/l/{token}").text, "the course of the case stays online"
        assert customer.request("GET", f"/v1/evidence/{case['evidence'][0]['evidence_id']}/content").body == PICTURE


@pytest.mark.rule("RD-06", "RD-07")
def test_every_change_in_a_case_is_mailed_to_the_customer(world: World, brand: Shop) -> None:
    answer = sent(world, form_of(world, brand), body := filled(world))
    case, email = answer.body, body["contact"]["email"]
    deeds: list[tuple[str, Json]] = [
        ("start", {}),
        ("inform", {"message": "We are looking into it."}),
        ("reject", {"message": "This is wear."}),
    ]
    for action, fields in deeds:
        world.advance("PT1S")
        before = len(world.mails(email))
        brand.staff.act(case, action, **fields)
        world.advance("PT1S")
        assert len(world.mails(email)) == before + 1, action
    assert "This is wear." in world.mails(email)[-1]["text"]


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"order_number": ""}, "/order_number"),
        ({"contact": {"phone": "1"}}, "/contact/email"),
        ({"contact": {"email": "no address"}}, "/contact/email"),
        ({"reason": 5}, "/reason"),
        ({"amount": {"amount": "-1.00", "currency": "EUR"}}, "/amount"),
        ({"order_date": "2021-02-30"}, "/order_date"),
        ({"order_date": "2150-01-01"}, "/order_date"),
        ({"programme": "buyer-protection"}, "/programme"),
        ({"answer_by": "2150-01-01T00:00:00Z"}, "/answer_by"),
        ({"external_id": "x"}, "/external_id"),
        ({"evidence": ["evd_1"]}, "/evidence/0"),
        ({"surprise": True}, "/surprise"),
    ],
)
def test_what_is_wrong_in_a_form_is_pointed_at(world: World, brand: Shop, change: Json, pointer: str) -> None:
    answer = sent(world, form_of(world, brand), {**filled(world), **change})
    assert any(error["pointer"].startswith(pointer) for error in answer.problem(422)["errors"]), answer.body


def test_a_form_that_is_not_there_is_404_and_a_flood_is_429(world: World, brand: Shop) -> None:
    form = form_of(world, brand)
    sent(world, {"token": form["token"] + "x"}, filled(world)).problem(404)
    brand.staff.request("DELETE", f"/v1/merchants/{brand.merchant_id}/forms/{form['form_id']}").ok()
    sent(world, form, filled(world)).problem(404)
    flooded = form_of(world, brand)
    with httpx.Client(base_url=world.base_url, timeout=90) as http:
        for _ in range(1_000):
            answer = http.post(f"/v1/forms/{flooded['token']}/reports", json={})
            if answer.status_code == 429:
                break
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) >= 1
    assert sent(world, form_of(world, brand), filled(world)).status == 201, "other forms are not disturbed"


# Claims


def claim(world: World, order: Json, external_id: str, by: Party | None = None, **more: Any) -> Answer:
    body = {"programme": "claims", "external_id": external_id, **more}
    return (by or world.partner).try_report(order, "chargeback", **body)


@pytest.mark.rule("CP-03")
def test_claims_come_from_partner_or_platform_only(world: World, brand: Shop) -> None:
    order = world.order(brand)
    assert world.buyer(order).try_report(order, "chargeback", programme="claims").problem(403)
    brand.staff.try_report(order, "chargeback", programme="claims").problem(403)
    late = claim(world, order, "c-1", answer_by=format_moment(world.now() - timedelta(days=1))).problem(422)
    assert late["errors"][0]["pointer"] == "/answer_by"
    by = format_moment(world.now() + timedelta(days=3))
    opened = claim(world, order, world.name("psp"), answer_by=by, amount=eur("10.00"))
    case = world.partner.case(opened.ok()["case_id"])
    assert moment(case["deadlines"][0]["due_at"]) - world.now() == days(3)
    (outcome,) = case["allowed_actions"]
    assert (outcome["action"], outcome["fields"]["properties"]["outcome"]["enum"]) == ("record_outcome", ["won", "lost"])
    brand.staff.try_act(case, "record_outcome", outcome="won").problem(403)


@pytest.mark.rule("CP-03")
def test_a_claim_that_is_seen_twice_is_one_also_on_another_order(world: World, brand: Shop) -> None:
    first, second = world.order(brand), world.order(brand)
    external_id = world.name("psp")
    opened = claim(world, first, external_id)
    again = claim(world, first, external_id)
    elsewhere = claim(world, second, external_id)
    assert [answer.status for answer in (opened, again, elsewhere)] == [201, 200, 200]
    assert opened.body["case_id"] == again.body["case_id"] == elsewhere.body["case_id"]
    assert world.platform.order(second["order_id"])["cases"] == []
    # Another reason, and another merchant, is another claim.
    guarantee = {"programme": "claims", "external_id": external_id}
    assert world.partner.try_report(second, "marketplace_guarantee", **guarantee).status == 201
    foreign = world.order(world.shop(of_partner=True, programmes=["claims"]))
    assert claim(world, foreign, external_id).status == 201


@pytest.mark.rule("CP-03")
def test_two_at_the_same_moment_on_different_orders_open_one_case(world: World, brand: Shop) -> None:
    orders = [world.order(brand) for _ in range(8)]
    external_id = world.name("psp")
    with ThreadPoolExecutor(8) as pool:
        parties = [Party(world.base_url, world.partner.key, "partner") for _ in orders]
        answers = list(pool.map(lambda pair: claim(world, pair[0], external_id, pair[1]), zip(orders, parties, strict=True)))
    assert sorted(answer.status for answer in answers) == [200] * 7 + [201]
    assert len({answer.body["case_id"] for answer in answers}) == 1
    assert sum(len(world.platform.order(order["order_id"])["cases"]) for order in orders) == 1


@pytest.mark.rule("CP-03", "CP-06")
def test_the_checklist_says_what_is_there_and_facts_attach_themselves(world: World, brand: Shop) -> None:
    order = world.order(brand)
    case = world.partner.case(claim(world, order, world.name("psp")).ok()["case_id"])

    def satisfied() -> dict[str, bool]:
        return {item["kind"]: item["satisfied"] for item in brand.staff.case(case["case_id"])["evidence_checklist"]}

    levels = {item["kind"]: item["level"] for item in case["evidence_checklist"]}
    assert (levels["invoice"], levels["tracking"], levels["correspondence"]) == ("required", "one_of", "optional")
    assert not any(satisfied().values())
    world.fact(order, "shipped", tracking_code="T-77", carrier="DHL", external_id="ship-1")
    world.advance("PT1S")
    assert {kind for kind, there in satisfied().items() if there} == {"tracking"}
    assert brand.staff.case(case["case_id"])["facts"][0]["tracking_code"] == "T-77"
    files = {"file": ("invoice.pdf", b"%PDF-1.4\n%%EOF\n")}
    data = {"order_id": order["order_id"], "kind": "invoice"}
    invoice = brand.staff.request("POST", "/v1/evidence", files=files, data=data).ok()
    assert invoice["kind"] == "invoice"
    brand.staff.act(case, "defend", evidence=[invoice["evidence_id"]], message="It was delivered.")
    assert {kind for kind, there in satisfied().items() if there} == {"tracking", "invoice"}
    bad = brand.staff.request("POST", "/v1/evidence", files=files, data={**data, "kind": "An Invoice!"})
    assert bad.problem(422)["errors"][0]["pointer"] == "/kind"


@pytest.mark.rule("CP-03", "NX-06")
def test_what_was_refunded_already_is_not_recovered_twice_unseen(world: World, brand: Shop) -> None:
    order = world.order(brand)
    world.fact(order, "refunded", amount=eur("50.00"), external_id="psp-refund")
    case = world.partner.case(claim(world, order, world.name("psp"), amount=eur("60.00")).ok()["case_id"])
    assert world.partner.act(case, "record_outcome", outcome="lost")["outcome"] == "lost"
    ledger = world.platform.order(order["order_id"])["ledger"]
    assert ledger["executed"] == eur("110.00")
    assert ledger["refundable"] == eur("0.00")
    assert "over_refund" in ledger["entries"][-1]["flags"]


# Bounds


def test_an_order_of_a_thousand_long_lines_goes_its_way(world: World, brand: Shop) -> None:
    lines = [
        {"line_id": f"{number:04}" + "i" * 60, "sku": "s" * 90, "title": "t" * 480, "quantity": 1, "unit_price": eur("1.00")}
        for number in range(1_000)
    ]
    order = world.order(brand, lines=lines)
    case = world.buyer(order).report(order, "damaged", lines=[{"line_id": lines[999]["line_id"], "quantity": 1}])
    assert brand.staff.act(case, "replace", message="A new one.")["state"] == "awaiting_buyer"


def test_an_order_keeps_so_many_cases_and_no_more(world: World, brand: Shop) -> None:
    order = world.order(brand)
    retailer = world.buyer(order)
    for _ in range(50):
        retailer.act(retailer.report(order, "damaged"), "withdraw")
    retailer.try_report(order, "damaged").problem(409, "order-full")
    assert len(world.platform.order(order["order_id"])["cases"]) == 50


# What readers see


@pytest.mark.rule("OI-01")
def test_the_page_of_a_link_offers_what_the_order_s_programme_takes(world: World, brand: Shop) -> None:
    order = world.order(brand)
    link = world.platform.post(f"/v1/orders/{order['order_id']}/links", {"for": "buyer"}).ok()["url"]
    retailer = world.buyer(order)
    page = retailer.request("GET", link).ok().decode()
    assert all(f'value="{reason}"' in page for reason in ("damaged", "wrong_goods", "late", "other"))
    retailer.report(order, "damaged")
    assert 'value="damaged"' not in retailer.request("GET", link).ok().decode()


def test_a_case_is_found_by_any_word_of_its_order_number(world: World, brand: Shop) -> None:
    number = f"PO {world.name('7')} / Spring"
    order = world.order(brand, order_number=number)
    case = world.buyer(order).report(order, "damaged")
    for words in (number, number.split()[1], "spring " + number.split()[1], order["buyer"]["email"]):
        found = brand.staff.get("/v1/cases", q=words)["items"]
        assert [each["case_id"] for each in found] == [case["case_id"]], words


def test_a_weak_etag_matches_no_version(world: World, brand: Shop) -> None:
    order = world.order(brand)
    case = world.buyer(order).report(order, "damaged")
    body = {"action": "start"}
    path = f"/v1/cases/{case['case_id']}/actions"
    brand.staff.post(path, body, If_Match=f'W/"{case["version"]}"').problem(412)
    brand.staff.post(path, body, If_Match=f'"{case["version"]}"').ok()


@pytest.mark.rule("NX-14")
def test_a_button_of_one_case_opens_no_file_of_another(world: World) -> None:
    shop = world.shop(programmes=["order-issues"])
    order = world.order(shop)
    retailer = world.buyer(order)
    photo = retailer.evidence(order, PICTURE, "secret.png").ok()["evidence_id"]
    first, second = retailer.report(order, "damaged", evidence=[photo]), retailer.report(order, "wrong_goods")
    world.advance("PT1S")
    mails = {mail["case_id"]: mail for mail in world.mails(shop.contract_email, "case_opened")}
    assert world.act_link(mails[first["case_id"]]).get(f"/v1/evidence/{photo}")["evidence_id"] == photo
    world.act_link(mails[second["case_id"]]).request("GET", f"/v1/evidence/{photo}/content").problem(404)
