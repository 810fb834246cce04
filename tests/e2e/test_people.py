"""The people of a shop: who looks after a case, who stands in, and the shop's own words (RD-06, 08, 09, NX-17, BP-20)."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from tests.e2e.world import Party, Shop, World, days, moment

Json = dict[str, Any]


class Desk:
    """A shop's lists as its staff keeps them."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.staff = shop.staff
        self.path = f"/v1/merchants/{shop.merchant_id}"

    def put_down(self, items: str, /, **content: Any) -> Json:
        return self.staff.post(f"{self.path}/{items}", content).ok()

    def person(self, name: str, **more: Any) -> str:
        email = f"{name.lower()}@{self.shop.merchant_id}.example"
        return self.put_down("consultants", name=name, email=email, **more)["consultant_id"]

    def rule(self, consultant_id: str, **kinds: str) -> Json:
        return self.put_down("assignment-rules", consultant_id=consultant_id, **kinds)

    def away(self, consultant_id: str, first: Any, last: Any, deputy_id: str, **more: Any) -> Json:
        body = {"consultant_id": consultant_id, "from": str(first), "to": str(last), "deputy_id": deputy_id, **more}
        return self.staff.post(f"{self.path}/absences", body).ok()

    def one(self, name: str, item_id: str) -> str:
        return f"{self.path}/{name}/{item_id}"


def today(world: World) -> Any:
    """The day in Berlin, where the shops of these tests are; they never look at it around midnight."""
    return (world.now() + timedelta(hours=1)).date()


def assignee(party: Party, case: Json) -> Json | None:
    return party.case(case["case_id"]).get("assignee")


@pytest.mark.rule("RD-08")
def test_a_consultant_is_assigned_by_kind_and_channel(world: World) -> None:
    desk = Desk(world.shop())
    ada, bob, cid = desk.person("Ada"), desk.person("Bob"), desk.person("Cid")
    desk.rule(ada)
    desk.rule(bob, channel="eBay")
    desk.rule(cid, channel="eBay", reason="no_refund", programme="buyer-protection")

    def reported(channel: str | None, reason: str) -> Json:
        order = world.order(desk.shop, **({"channel": channel} if channel else {}))
        return world.buyer(order).report(order, reason)

    for channel, reason, expected in (
        (None, "not_received", "Ada"),
        ("amazon", "no_refund", "Ada"),
        ("ebay", "not_received", "Bob"),
        ("ebay", "no_refund", "Cid"),
    ):
        case = reported(channel, reason)
        seen = assignee(desk.staff, case)
        assert seen is not None
        assert seen["name"] == expected
        assert "deputy_for" not in seen
        assert assignee(world.platform, case) == seen
        assert assignee(world.buyer({"order_id": case["order_id"]}), case) is None
    listed = desk.staff.get("/v1/cases", merchant_id=desk.shop.merchant_id)["items"]
    assert sorted(each["assignee"]["name"] for each in listed) == ["Ada", "Ada", "Bob", "Cid"]


@pytest.mark.rule("RD-08")
def test_without_a_rule_nobody_is_assigned_and_a_changed_rule_moves_running_cases(world: World) -> None:
    desk = Desk(world.shop())
    order = world.order(desk.shop)
    case = world.buyer(order).report(order)
    assert assignee(desk.staff, case) is None
    ada, bob = desk.person("Ada"), desk.person("Bob")
    rule = desk.rule(ada)
    assert assignee(desk.staff, case) == {"consultant_id": ada, "name": "Ada"}
    desk.staff.request("PUT", desk.one("assignment-rules", rule["rule_id"]), json={"consultant_id": bob}).ok()
    assert assignee(desk.staff, case) == {"consultant_id": bob, "name": "Bob"}
    assert desk.staff.request("DELETE", desk.one("assignment-rules", rule["rule_id"])).status == 204
    assert assignee(desk.staff, case) is None


@pytest.mark.rule("RD-09")
def test_deputies_take_over_running_and_new_cases_and_give_them_back(world: World) -> None:
    desk = Desk(world.shop())
    ada, bob, cid = desk.person("Ada"), desk.person("Bob"), desk.person("Cid")
    desk.rule(ada)
    order, later = world.order(desk.shop), world.order(desk.shop)
    running = world.buyer(order).report(order)
    first = today(world)
    desk.away(ada, first + days(1), first + days(4), bob)
    desk.away(bob, first + days(2), first + days(2), cid)
    assert assignee(desk.staff, running) == {"consultant_id": ada, "name": "Ada"}
    world.advance("P1D")
    assert assignee(desk.staff, running) == {"consultant_id": bob, "name": "Bob", "deputy_for": ada}
    new = world.buyer(later).report(later)
    assert assignee(desk.staff, new) == {"consultant_id": bob, "name": "Bob", "deputy_for": ada}
    world.advance("P1D")
    assert assignee(desk.staff, running) == {"consultant_id": cid, "name": "Cid", "deputy_for": ada}
    history = desk.staff.get(f"/v1/cases/{running['case_id']}/history")["items"]
    assert history[0]["type"] == "case.opened"
    world.advance("P1D")
    assert assignee(desk.staff, running) == {"consultant_id": bob, "name": "Bob", "deputy_for": ada}
    world.advance("P2D")
    assert assignee(desk.staff, running) == {"consultant_id": ada, "name": "Ada"}


@pytest.mark.rule("RD-09")
def test_circles_of_deputies_are_refused(world: World) -> None:
    desk = Desk(world.shop())
    ada, bob, cid = desk.person("Ada"), desk.person("Bob"), desk.person("Cid")
    day = today(world)
    desk.away(ada, day, day + days(10), bob)
    desk.away(bob, day + days(8), day + days(20), cid)

    def refused(who: str, first: int, last: int, deputy: str) -> list[str]:
        body = {"consultant_id": who, "from": str(day + days(first)), "to": str(day + days(last)), "deputy_id": deputy}
        problem = desk.staff.post(f"{desk.path}/absences", body).problem(422, "invalid-input")
        return [error["pointer"] for error in problem["errors"]]

    assert refused(cid, 0, 1, cid) == ["/deputy_id"]
    assert refused(cid, 9, 9, ada) == ["/deputy_id"]
    assert refused(cid, 12, 13, bob) == ["/deputy_id"]
    assert refused(ada, 5, 30, cid) == ["/from"]
    assert desk.away(cid, day, day + days(7), ada)["deputy_id"] == ada


@pytest.mark.rule("RD-09")
def test_two_absences_put_down_at_once_never_close_a_circle(world: World) -> None:
    desk = Desk(world.shop())
    ada, bob = desk.person("Ada"), desk.person("Bob")
    day = today(world)
    with ThreadPoolExecutor(8) as pool:
        for number in range(5):
            span = {"from": str(day + days(number)), "to": str(day + days(number))}
            bodies = [
                {**span, "consultant_id": ada, "deputy_id": bob},
                {**span, "consultant_id": bob, "deputy_id": ada},
            ]
            answers = list(pool.map(lambda body: desk.staff.post(f"{desk.path}/absences", body).status, bodies))
            assert sorted(answers) == [201, 422]


@pytest.mark.rule("NX-17", "RD-09")
def test_a_forecast_names_what_falls_into_an_absence_with_deputy_and_note(world: World) -> None:
    desk = Desk(world.shop(locale="en"))
    ada, bob = desk.person("Ada"), desk.person("Bob")
    desk.rule(ada)
    desk.rule(bob, channel="ebay")
    mine, others, answered = world.order(desk.shop), world.order(desk.shop, channel="ebay"), world.order(desk.shop)
    case = world.buyer(mine).report(mine)
    world.buyer(others).report(others)
    done = world.buyer(answered).report(answered)
    desk.staff.act(done, "answer", refund="no", message="It is on its way.")
    due = moment(case["deadlines"][0]["due_at"])
    day = (due + timedelta(hours=1)).date()
    world.advance("PT0S")  # by now the reports are known to whoever writes the mail
    absence = desk.away(ada, day - days(1), day + days(3), bob, note="The key is under the mat.")
    seen = desk.staff.get(desk.one("absences", absence["absence_id"]) + "/forecast")
    assert (seen["consultant"]["name"], seen["deputy"]["name"], seen["total"]) == ("Ada", "Bob", 1)
    (deadline,) = seen["deadlines"]
    assert (deadline["case_id"], deadline["order_number"]) == (case["case_id"], mine["order_number"])
    assert (deadline["kind"], moment(deadline["due_at"])) == ("merchant_answer", due)
    assert deadline["deputy"] == {"consultant_id": bob, "name": "Bob"}
    assert "The key is under the mat." in seen["hand_over_note"]
    assert mine["order_number"] in seen["hand_over_note"]
    mail = world.mail(f"bob@{desk.shop.merchant_id}.example", "handover")
    assert "Ada" in mail["subject"]
    assert "The key is under the mat." in mail["text"]
    assert mine["order_number"] in mail["text"]
    assert others["order_number"] not in mail["text"]
    before = desk.away(ada, day - days(4), day - days(2), bob)
    assert desk.staff.get(desk.one("absences", before["absence_id"]) + "/forecast")["deadlines"] == []


@pytest.mark.rule("RD-09")
def test_the_deputy_is_told_in_its_own_language_once_for_each_absence(world: World) -> None:
    desk = Desk(world.shop(locale="de"))
    ada, bob, cid = desk.person("Ada"), desk.person("Bob", locale="en"), desk.person("Cid")
    day = today(world)
    absence = desk.away(ada, day, day + days(3), bob)
    path = desk.one("absences", absence["absence_id"])
    body = {"consultant_id": ada, "from": str(day), "to": str(day + days(3)), "deputy_id": bob}
    desk.staff.request("PUT", path, json=body).ok()
    desk.staff.request("PUT", path, json={**body, "deputy_id": cid}).ok()
    world.advance("PT1S")
    (english,) = world.mails(f"bob@{desk.shop.merchant_id}.example", "handover")
    (german,) = world.mails(f"cid@{desk.shop.merchant_id}.example", "handover")
    assert "You stand in for Ada" in english["subject"]
    assert "Sie vertreten Ada" in german["subject"]


@pytest.mark.rule("RD-08")
def test_attention_goes_to_the_consultants_without_a_rule_else_to_all(world: World) -> None:
    """A complaint that nobody answered: the shop's lead is told before the platform is (returns-desk)."""
    staffed = Desk(world.shop(programmes=["returns-desk"]))
    ada, lead = staffed.person("Ada"), staffed.person("Lea")
    staffed.rule(ada)
    addresses = [{"kind": "all", "email": "all@plain.example"}, {"kind": "new_case", "email": "new@plain.example"}]
    plain = world.shop(programmes=["returns-desk"], notify=addresses)
    cases = []
    for shop in (staffed.shop, plain):
        order = world.order(shop, programme="returns-desk")
        cases.append(world.buyer(order).report(order, "complaint", text="It leaks."))
    assert {case["deadlines"][0]["on_silence"]["action"] for case in cases} == {"raise_attention"}
    world.advance("P14DT1H")
    own = f"@{staffed.shop.merchant_id}.example"
    assert [mail["case_id"] for mail in world.mails(f"lea{own}", "attention")] == [cases[0]["case_id"]]
    assert world.mails(f"ada{own}", "attention") == world.mails(staffed.shop.contract_email, "attention") == []
    assert [mail["case_id"] for mail in world.mails("all@plain.example", "attention")] == [cases[1]["case_id"]]
    assert world.mails("new@plain.example", "attention") == []
    assert lead


def test_the_lists_of_a_desk_are_resources(world: World) -> None:
    desk = Desk(world.shop())
    made = desk.staff.post(f"{desk.path}/consultants", {"name": "Ada", "email": "ada@shop.example"}, Idempotency_Key="k1")
    again = desk.staff.post(f"{desk.path}/consultants", {"name": "Ada", "email": "ada@shop.example"}, Idempotency_Key="k1")
    assert (made.status, again.body) == (201, made.body)
    place = made.headers["location"]
    assert place == desk.one("consultants", made.body["consultant_id"])
    assert desk.staff.request("GET", place).headers["etag"] == made.headers["etag"] == '"1"'
    changed = desk.staff.request(
        "PUT", place, json={"name": "Ada L.", "email": "ada@shop.example"}, headers={"If-Match": '"1"'}
    )
    assert (changed.status, changed.body["name"], changed.headers["etag"]) == (200, "Ada L.", '"2"')
    stale = {"If-Match": '"1"'}
    desk.staff.request("PUT", place, json={"name": "A", "email": "a@shop.example"}, headers=stale).problem(
        412, "version-mismatch"
    )
    desk.staff.request("DELETE", place, headers=stale).problem(412)
    world.platform.request("PUT", desk.path, json={**desk.shop.profile, "name": "New name"}).ok()
    for _ in range(3):
        desk.person("Bob")
    page = desk.staff.get(f"{desk.path}/consultants", limit=2)
    rest = desk.staff.get(f"{desk.path}/consultants", limit=2, cursor=page["next"])
    assert [each["name"] for each in page["items"] + rest["items"]] == ["Ada L.", "Bob", "Bob", "Bob"]
    assert "next" not in rest
    rule = desk.rule(made.body["consultant_id"])
    used = desk.staff.request("DELETE", place).problem(409, "in-use")
    assert used["used_by"] == [f"assignment-rules/{rule['rule_id']}"]
    assert desk.staff.request("DELETE", desk.one("assignment-rules", rule["rule_id"])).status == 204
    assert desk.staff.request("DELETE", place).status == 204
    desk.staff.request("GET", place).problem(404)
    desk.staff.request("DELETE", place).problem(404)


def test_a_desk_is_the_shop_s_its_partner_s_and_the_platform_s(world: World) -> None:
    desk, other = Desk(world.shop()), world.shop()
    order = world.order(desk.shop)
    path = f"{desk.path}/consultants"
    body = {"name": "Ada", "email": "ada@shop.example"}
    for stranger in (other.staff, world.partner, world.buyer(order)):
        stranger.post(path, body).problem(404)
        stranger.request("GET", path).problem(404)
    assert world.platform.post(path, body).status == 201
    assert world.platform.get(path)["items"][0]["name"] == "Ada"


BAD_ITEMS: list[tuple[str, str, Json, str]] = [
    ("consultant without a name", "consultants", {"email": "a@b.example"}, "/name"),
    ("consultant without an address", "consultants", {"name": "Ada", "email": "nobody"}, "/email"),
    ("consultant with an id", "consultants", {"name": "A", "email": "a@b.example", "consultant_id": "con_1"}, "/consultant_id"),
    ("rule of nobody", "assignment-rules", {"channel": "ebay"}, "/consultant_id"),
    ("rule of somebody else", "assignment-rules", {"consultant_id": "con_1"}, "/consultant_id"),
    ("rule of no programme", "assignment-rules", {"consultant_id": "$ada", "programme": "lottery"}, "/programme"),
    ("rule of no reason", "assignment-rules", {"consultant_id": "$ada", "reason": "ugly"}, "/reason"),
    ("rule of a number", "assignment-rules", {"consultant_id": "$ada", "channel": 1}, "/channel"),
    ("absence that ends before", "absences", {"from": "2021-03-02", "to": "2021-03-01"}, "/to"),
    ("absence of a moment", "absences", {"from": "2021-03-02T00:00:00Z", "to": "2021-03-03"}, "/from"),
    ("absence of a number", "absences", {"from": 1614556800, "to": "2021-03-03"}, "/from"),
    ("absence on no day", "absences", {"from": "2021-02-30", "to": "2021-03-03"}, "/from"),
    ("absence beyond calendars", "absences", {"from": "9999-01-01", "to": "9999-01-02"}, "/from"),
    ("absence by our own names", "absences", {"from_": "2021-03-01", "to": "2021-03-03"}, "/from"),
    (
        "absence with itself as deputy",
        "absences",
        {"from": "2021-03-01", "to": "2021-03-01", "deputy_id": "$ada"},
        "/deputy_id",
    ),
    ("absence with a stranger", "absences", {"from": "2021-03-01", "to": "2021-03-01", "deputy_id": "con_x"}, "/deputy_id"),
    ("endless note", "absences", {"from": "2021-03-01", "to": "2021-03-01", "note": "x" * 1_001}, "/note"),
    ("label without text", "status-labels", {"code": "a", "text": {}, "state": "submitted"}, "/text"),
    ("label in no language", "status-labels", {"code": "a", "text": {"Deutsch!": "a"}, "state": "submitted"}, "/text"),
    ("label of an end", "status-labels", {"code": "a", "text": {"en": "a"}, "state": "resolved"}, "/state"),
    ("label with a known code", "status-labels", {"code": "known", "text": {"en": "a"}, "state": "submitted"}, "/code"),
    ("form without a channel", "forms", {}, "/channel"),
    ("form in no language", "forms", {"channel": "ebay", "locale": "?"}, "/locale"),
]


@pytest.fixture(scope="module")
def kept(world: World) -> tuple[Desk, dict[str, str]]:
    desk = Desk(world.shop())
    people = {"$ada": desk.person("Ada"), "$bob": desk.person("Bob")}
    desk.put_down("status-labels", code="known", text={"en": "Known"}, state="submitted")
    return desk, people


@pytest.mark.parametrize(("name", "body", "pointer"), [case[1:] for case in BAD_ITEMS], ids=[case[0] for case in BAD_ITEMS])
def test_a_bad_item_is_refused_with_a_pointer(kept: tuple[Desk, dict[str, str]], name: str, body: Json, pointer: str) -> None:
    desk, people = kept
    if name == "absences":
        body = {"consultant_id": "$ada", "deputy_id": "$bob", **body}
    body = {field: people.get(value, value) if isinstance(value, str) else value for field, value in body.items()}
    before = desk.staff.get(f"{desk.path}/{name}")
    problem = desk.staff.post(f"{desk.path}/{name}", body).problem(422, "invalid-input")
    assert any(error["pointer"].startswith(pointer) for error in problem["errors"]), problem["errors"]
    assert all(error["detail"] for error in problem["errors"])
    assert desk.staff.get(f"{desk.path}/{name}") == before


@pytest.mark.rule("RD-06")
def test_labels_are_in_the_merchant_s_own_words(world: World) -> None:
    desk = Desk(world.shop(programmes=["returns-desk"]))
    text = {"de": "Teile bestellt", "en": "Parts ordered"}
    desk.put_down("status-labels", code="parts", text=text, state="in_progress")
    desk.put_down("status-labels", code="ask", text={"de": "Rückfrage"}, state="awaiting_buyer")
    order = world.order(desk.shop, programme="returns-desk")
    case = world.buyer(order).report(order, "complaint", text="It leaks.")
    (form,) = [each["fields"] for each in desk.staff.case(case["case_id"])["allowed_actions"] if each["action"] == "set_status"]
    assert {"parts", "ask"} <= set(form["properties"]["status"]["enum"])
    preview = desk.staff.preview(case, "set_status", status="parts")
    assert preview["state"] == "in_progress"
    moved = desk.staff.act(case, "set_status", status="parts")
    assert (moved["state"], moved["label"]) == ("in_progress", "Teile bestellt")
    buyer = world.buyer(order)
    assert buyer.case(case["case_id"])["label"] == "Parts ordered"
    mail = world.mail(order["buyer"]["email"], "progress")
    assert "Parts ordered" in mail["subject"]
    asked = desk.staff.act(case, "set_status", status="ask")
    assert (asked["state"], asked["turn"], asked["label"]) == ("awaiting_buyer", "buyer", "Rückfrage")
    assert buyer.case(case["case_id"])["label"] == "Rückfrage"
    problem = desk.staff.try_act(case, "set_status", status="lost").problem(422, "invalid-input")
    assert problem["errors"][0]["pointer"] == "/status"
    ended = desk.staff.act(case, "reject", message="It was dropped.")
    assert ended["label"] not in ("Rückfrage", "Teile bestellt")


@pytest.mark.rule("RD-03")
def test_a_form_has_a_link_that_is_listed_and_withdrawn(world: World) -> None:
    desk = Desk(world.shop(programmes=["returns-desk"]))
    made = desk.put_down("forms", channel="ebay", locale="pl")
    assert made["url"].endswith(made["token"])
    assert made["form_id"] not in made["url"].rsplit("/", 1)[0]
    other = desk.put_down("forms", channel="own-shop")
    assert other["token"] != made["token"]
    listed = desk.staff.get(f"{desk.path}/forms")["items"]
    assert [(each["form_id"], each["token"]) for each in listed] == [(each["form_id"], each["token"]) for each in (made, other)]
    assert desk.staff.get(desk.one("forms", made["form_id"]))["channel"] == "ebay"
    assert desk.staff.request("DELETE", desk.one("forms", made["form_id"])).status == 204
    desk.staff.request("GET", desk.one("forms", made["form_id"])).problem(404)
    report = {"order_number": "A-1", "reason": "complaint", "contact": {"email": "kim@mail.example"}}
    world.platform.post(f"/v1/forms/{made['token']}/reports", report).problem(404)
    assert world.platform.post(f"/v1/forms/{other['token']}/reports", report).status == 201


@pytest.mark.rule("BP-20")
def test_one_key_sees_several_shops_together_and_one_by_one(world: World) -> None:
    first, second, third = world.shop(), world.shop(), world.shop()
    made = world.platform.post(
        "/v1/keys", {"name": "Kim", "role": "merchant", "merchants": [first.merchant_id, second.merchant_id]}
    ).ok()
    kim = world.bearer(made["key"])
    cases: dict[str, Json] = {}
    for shop in (first, second, third):
        order = world.order(shop)
        cases[shop.merchant_id] = world.buyer(order).report(order)
    assert {each["merchant_id"] for each in kim.get("/v1/cases")["items"]} == {first.merchant_id, second.merchant_id}
    assert {each["merchant_id"] for each in kim.get("/v1/orders")["items"]} == {first.merchant_id, second.merchant_id}
    assert all(each["attention"] for each in kim.get("/v1/cases")["items"])
    only = kim.get("/v1/cases", merchant_id=second.merchant_id, attention="true")["items"]
    assert [each["case_id"] for each in only] == [cases[second.merchant_id]["case_id"]]
    assert kim.get("/v1/cases", merchant_id=third.merchant_id)["items"] == []
    kim.request("GET", f"/v1/cases/{cases[third.merchant_id]['case_id']}").problem(404)
    shops = [each["merchant_id"] for each in kim.get("/v1/merchants")["items"]]
    assert shops == sorted([first.merchant_id, second.merchant_id])
    assert [each["merchant_id"] for each in third.staff.get("/v1/merchants")["items"]] == [third.merchant_id]
    page = kim.get("/v1/merchants", limit=1)
    assert [each["merchant_id"] for each in kim.get("/v1/merchants", limit=1, cursor=page["next"])["items"]] == shops[1:]
    for shop in (first, second):
        answered = kim.act(cases[shop.merchant_id], "answer", refund="no", message="It is on its way.")
        assert answered["state"] == "awaiting_buyer"
    order = {"order_id": cases[first.merchant_id]["order_id"]}
    world.buyer(order).act(cases[first.merchant_id], "react", reaction="accept")
    seen = {each["merchant_id"]: (each["state"], each["attention"]) for each in kim.get("/v1/cases")["items"]}
    assert seen == {first.merchant_id: ("resolved", False), second.merchant_id: ("awaiting_buyer", False)}
    assert world.platform.request("DELETE", f"/v1/keys/{made['key_id']}").status == 204
    kim.request("GET", "/v1/cases").problem(401)


def test_a_partner_that_was_given_a_shop_works_for_it(world: World) -> None:
    shop, other = world.shop(), world.shop()
    made = world.platform.post("/v1/keys", {"name": "ERP", "role": "partner", "merchants": [shop.merchant_id]}).ok()
    erp = world.bearer(made["key"])
    order = erp.post("/v1/orders", world.order_body(shop)).ok()
    assert erp.post(f"/v1/orders/{order['order_id']}/facts", {"kind": "shipped", "at": order["placed_at"]}).status == 201
    case = erp.report(order)
    history = world.platform.get(f"/v1/cases/{case['case_id']}/history")["items"]
    assert history[0]["actor"] == {"role": "partner", "id": f"partner:{made['key_id']}", "acts_for": "buyer"}
    assert [each["order_id"] for each in erp.get("/v1/orders")["items"]] == [order["order_id"]]
    assert [each["merchant_id"] for each in erp.get("/v1/merchants")["items"]] == [shop.merchant_id]
    line = json.dumps(world.order_body(shop)) + "\n" + json.dumps(world.order_body(other))
    imported = erp.request(
        "POST", "/v1/order-imports", content=line.encode(), headers={"Content-Type": "application/x-ndjson"}
    ).body
    assert [json.loads(each)["status"] for each in imported.splitlines()] == [201, 422]
    assert erp.post(f"/v1/merchants/{shop.merchant_id}/consultants", {"name": "A", "email": "a@b.example"}).status == 201
    problem = erp.post("/v1/orders", world.order_body(other)).problem(422, "invalid-input")
    assert problem["errors"][0]["pointer"] == "/merchant_id"
    erp.request("GET", f"/v1/merchants/{other.merchant_id}").problem(404)
    created = world.name("mine")
    profile = {name: value for name, value in shop.profile.items() if name not in ("certified_at", "seal_live_at")}
    assert erp.request("PUT", f"/v1/merchants/{created}", json=profile).status == 201
    world.partner.request("GET", f"/v1/merchants/{created}").problem(404)
    assert {each["merchant_id"] for each in erp.get("/v1/merchants")["items"]} == {shop.merchant_id, created}


def test_keys_are_the_platform_s(world: World) -> None:
    shop = world.shop()
    for stranger in (world.partner, shop.staff):
        stranger.post("/v1/keys", {"name": "x", "role": "platform"}).problem(403)
        stranger.request("GET", "/v1/keys").problem(403)
        stranger.request("DELETE", "/v1/keys/key_1").problem(403)
    world.platform.post("/v1/keys", {"name": "x", "role": "merchant"}).problem(422)
    world.platform.post("/v1/keys", {"name": "x", "role": "platform", "merchants": [shop.merchant_id]}).problem(422)
    world.platform.post("/v1/keys", {"name": "x", "role": "buyer"}).problem(422)
    unknown = world.platform.post(
        "/v1/keys", {"name": "x", "role": "merchant", "merchants": [shop.merchant_id, "nobody"]}
    ).problem(422)
    assert unknown["errors"][0]["pointer"] == "/merchants/1"
    world.platform.request("DELETE", "/v1/keys/key_1").problem(404)
    agent = world.platform.post("/v1/keys", {"name": "Agent", "role": "platform"}, Idempotency_Key="agent-1").ok()
    assert world.platform.post("/v1/keys", {"name": "Agent", "role": "platform"}, Idempotency_Key="agent-1").ok() == agent
    seen = world.bearer(agent["key"]).get("/v1/keys", limit=200)["items"]
    mine = next(each for each in seen if each["key_id"] == agent["key_id"])
    assert (mine["name"], mine["role"]) == ("Agent", "platform")
    assert all(agent["key"] not in str(each) for each in seen)


@pytest.mark.rule("NX-15")
def test_a_revoked_link_neither_reads_nor_acts_any_more(world: World) -> None:
    shop, other = world.shop(), world.shop()
    order = world.order(shop)
    link = world.platform.post(f"/v1/orders/{order['order_id']}/links", {"for": "buyer"}).ok()
    bearer, second = world.bearer(link["token"]), world.buyer(order)
    case = bearer.report(order)
    place = f"/v1/links/{link['link_id']}"
    other.staff.request("DELETE", place).problem(404)
    bearer.request("DELETE", place).problem(403)
    world.platform.request("DELETE", "/v1/links/lnk_1").problem(404)
    assert shop.staff.request("DELETE", place).status == 204
    assert shop.staff.request("DELETE", place).status == 204
    bearer.request("GET", f"/v1/orders/{order['order_id']}").problem(401)
    bearer.post(f"/v1/cases/{case['case_id']}/messages", {"text": "Hello?"}).problem(401)
    assert bearer.request("GET", f"/l/{link['token']}").status == 404
    assert second.case(case["case_id"])["case_id"] == case["case_id"]
