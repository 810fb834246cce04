"""The ways in without an account: what a form takes, what it leaves behind, and what its guest gets to see (RD-01 to 03)."""

import re
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from contracts.base import format_moment
from contracts.ids import order_id_of, reported_order_id
from tests.e2e.world import Answer, Party, Shop, World, days, eur

Json = dict[str, Any]
PICTURE = b"\x89PNG\r\n\x1a\n" + b"\0" * 32


def form_of(shop: Shop, channel: str = "ebay") -> Json:
    return shop.staff.post(f"/v1/merchants/{shop.merchant_id}/forms", {"channel": channel}).ok()


def sent(world: World, form: Json, body: Any = None, **more: Any) -> Answer:
    """By nobody in particular: without any key."""
    with httpx.Client(base_url=world.base_url, timeout=90) as http:
        response = http.post(f"/v1/forms/{form['token']}/reports", json=body, **more)
    return Answer(response.status_code, response.json(), response.headers)


def filled(world: World, **more: Any) -> Json:
    return {
        "reason": "complaint",
        "text": "The handle broke.",
        "order_number": world.name("F"),
        "contact": {"email": f"{world.name('customer')}@mail.example"},
        **more,
    }


@pytest.fixture(scope="module")
def brand(world: World) -> Shop:
    return world.shop(of_partner=True, programmes=["order-issues", "returns-desk", "buyer-protection"], locale="en")


class Guest:
    """Who reported by a form on an order that a partner registered, and what is to be hidden from such a guest."""

    def __init__(self, world: World, shop: Shop) -> None:
        self.world, self.shop = world, shop
        self.order = world.order(
            shop,
            programme="buyer-protection",
            channel="SecretMarket",
            amount=eur("83.71"),
            buyer={
                "email": f"{world.name('known')}@mail.example",
                "name": "Quintus Quill",
                "phone": "+44 7700 9",
                "locale": "en",
            },
            lines=[{"line_id": "L-1", "sku": "SKU-9", "title": "Secret kettle", "quantity": 3, "unit_price": eur("27.90")}],
            placed_at=format_moment(world.now() - days(3)),
            facts=[{"kind": "delivered", "at": format_moment(world.now() - days(1)), "tracking_code": "SECRET-1"}],
        )
        self.buyer = world.buyer(self.order)
        self.photo = self.buyer.evidence(self.order, PICTURE, "elsewhere.png").ok()["evidence_id"]
        self.other = self.buyer.report(self.order, "not_received", text="Somebody else's business", evidence=[self.photo])
        contact = {"email": self.order["buyer"]["email"].upper()}
        answer = sent(world, form_of(shop), filled(world, order_number=self.order["order_number"], contact=contact))
        assert answer.status == 201, answer.body
        self.told = answer.body
        self.case_id: str = answer.body["case_id"]
        self.party: Party = world.bearer(answer.body["link"]["token"])
        world.fact(self.order, "shipped", carrier="SecretPost", external_id=world.name("parcel"))
        world.fact(self.order, "refunded", amount=eur("3.33"), external_id=world.name("psp"))
        case = {"case_id": self.case_id}
        shop.staff.act(case, "inform", message="We look into it.")
        shop.staff.act(case, "accept", resolution="refund", message="You get it back.", refund_amount=eur("7.77"))
        world.advance("PT1S")

    @property
    def secrets(self) -> tuple[str, ...]:
        order = self.order
        return (
            *("Quintus", "Quill", "7700 9", "SecretMarket", "SecretPost", "SECRET-1", "L-1", "SKU-9", "Secret kettle"),
            *("83.71", "27.90", "3.33", "7.77", "76.61", "80.38"),  # prices, refunds and what is left of the order
            *("Somebody else", "elsewhere.png", self.photo, self.other["case_id"], self.other["reason"]),
            *(order["placed_at"], order["protection"]["ends_at"][:10], "protected", "ends_at"),
        )

    def paths(self) -> list[str]:
        """Every GET route that is described, with all ids of this order filled in that somebody may try."""
        ids = {
            "order_id": [self.order["order_id"]],
            "case_id": [self.case_id, self.other["case_id"]],
            "merchant_id": [self.shop.merchant_id],
            "evidence_id": [self.photo],
            "token": [str(self.party.key)],
            "programme": ["returns-desk"],
            "programme_id": ["returns-desk"],
        }
        found = []
        for path, methods in self.party.get("/openapi.json")["paths"].items():
            if "get" not in methods:
                continue
            tried = [path]
            for name in re.findall(r"\{(\w+)", path):
                tried = [each.replace(f"{{{name}}}", given) for each in tried for given in ids.get(name, ["none"])]
            found += tried
        return found


@pytest.fixture(scope="module")
def guest(world: World, brand: Shop) -> Guest:
    return Guest(world, brand)


@pytest.mark.rule("NX-15", "RD-03", "RD-05")
def test_no_route_tells_a_guest_what_its_reporter_need_not_know(guest: Guest) -> None:
    paths = guest.paths()
    assert f"/v1/cases/{guest.case_id}/history" in paths
    assert f"/l/{guest.party.key}" in paths
    read = {}
    for path in paths:
        answer = guest.party.request("GET", path)
        assert answer.status < 500, (path, answer.body)
        text = answer.body.decode(errors="replace") if isinstance(answer.body, bytes) else str(answer.body)
        if answer.status == 200:
            read[path] = text
        if path not in ("/openapi.json",) and not path.startswith(("/v1/programmes", "/problems")):
            for secret in guest.secrets:
                assert secret in path or secret not in text, (path, secret)  # a refusal repeats what was asked
    case = read[f"/v1/cases/{guest.case_id}"]
    assert "You get it back." in case, "it sees its own case"
    assert "We look into it." in read[f"/v1/cases/{guest.case_id}/messages"]
    assert f"/v1/cases/{guest.other['case_id']}" not in read
    assert guest.party.get("/v1/orders")["items"][0]["cases"] == [guest.case_id]


@pytest.mark.rule("NX-04", "NX-13", "NX-15")
def test_a_guest_s_history_is_a_chain_and_its_preview_says_no_money(world: World, brand: Shop) -> None:
    order = world.order(brand, amount=eur("83.71"))
    contact = {"email": order["buyer"]["email"]}
    told = sent(world, form_of(brand), filled(world, order_number=order["order_number"], contact=contact)).ok()
    party, case = world.bearer(told["link"]["token"]), {"case_id": told["case_id"]}
    assert party.preview(case, "withdraw").keys() == {"state", "turn", "outcome", "deadlines", "messages"}
    assert party.post(f"/v1/cases/{told['case_id']}/messages", {"text": "Any news?"}).status == 201
    entries = party.get(f"/v1/cases/{told['case_id']}/history")["items"]
    assert [after["previous_hash"] for after in entries[1:]] == [before["hash"] for before in entries[:-1]]
    assert {entry["type"] for entry in entries if "data" in entry} == {"case.message-posted"}
    for filters in ("/v1/cases?q=k", "/v1/orders?status=open"):
        party.request("GET", filters).problem(403)
    assert [each["case_id"] for each in party.get("/v1/cases", state="submitted")["items"]] == [told["case_id"]]
    assert party.act(case, "withdraw").keys() >= {"case_id", "outcome"}
    assert world.buyer(order).case(told["case_id"])["order_amount"] == eur("83.71"), "the buyer's own link shows all"


@pytest.mark.rule("RD-03")
def test_what_a_guest_said_itself_it_sees_and_nothing_of_who_reports_later(world: World, brand: Shop) -> None:
    form, body = form_of(brand), filled(world, amount=eur("42.00"))
    first = sent(world, form, body).ok()
    later = sent(world, form, {**body, "reason": "other", "text": "From the real buyer"}).ok()
    one, two = world.bearer(first["link"]["token"]), world.bearer(later["link"]["token"])
    assert one.case(first["case_id"])["order_amount"] == eur("42.00")
    assert "order_amount" not in two.case(later["case_id"])
    one.request("GET", f"/v1/cases/{later['case_id']}").problem(404)
    two.request("GET", f"/v1/cases/{first['case_id']}").problem(404)
    order_id = one.case(first["case_id"])["order_id"]
    assert (one.order(order_id)["cases"], two.order(order_id)["cases"]) == ([first["case_id"]], [later["case_id"]])


@pytest.mark.rule("RD-03")
@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"reason": "nonsense"}, 409),
        ({"reason": "satisfied"}, 409),
        ({"lines": [{"line_id": "1", "quantity": 1}]}, 422),
        ({"evidence": ["evd_" + "0" * 32 + "_1"]}, 422),
        ({"external_id": "x"}, 422),
        ({"answer_by": "2150-01-01T00:00:00Z"}, 422),
        ({"contact": {"email": "nobody"}}, 422),
        ({"contact": {"email": "a\x00b@mail.example"}}, 422),
        ({"order_date": "2150-01-01"}, 422),
        ({"amount": eur("-1.00")}, 422),
        ({"order_number": "A-1\r\nBcc: all@mail.example"}, 422),
    ],
)
def test_a_refused_form_leaves_nothing(world: World, brand: Shop, change: Json, status: int) -> None:
    body = filled(world)
    email = {**body, **change}["contact"]["email"]
    assert sent(world, form_of(brand), {**body, **change}).problem(status)
    world.advance("PT1S")
    number = {**body, **change}["order_number"]
    for order_id in (order_id_of(brand.merchant_id, number), reported_order_id(brand.merchant_id, number, email)):
        world.platform.request("GET", f"/v1/orders/{order_id}").problem(404)
    assert world.platform.get("/v1/orders", order_number=number)["items"] == []
    assert world.mails(email) == []


@pytest.mark.rule("RD-02", "NX-14")
def test_of_a_refused_form_no_picture_stays(world: World, brand: Shop) -> None:
    order = world.order(brand)
    fields = {"order_number": order["order_number"], "email": order["buyer"]["email"], "text": "Broken."}
    refused = sent(world, form_of(brand), data={**fields, "reason": "nonsense"}, files={"file": ("a.png", PICTURE)})
    assert refused.problem(409)["refusal"] == "reason_unknown"
    wrong = sent(world, form_of(brand), data={**fields, "reason": "other"}, files={"file": ("a.png", b"MZ")})
    wrong.problem(415)
    taken = sent(world, form_of(brand), data={**fields, "reason": "other"}, files={"file": ("a.png", PICTURE)})
    (evidence,) = world.platform.case(taken.ok()["case_id"])["evidence"]
    assert evidence["name"] == "a.png"


@pytest.mark.rule("RD-03")
def test_the_lines_of_a_known_order_are_not_to_be_guessed(world: World, brand: Shop) -> None:
    order = world.order(brand)
    known = {"order_number": order["order_number"], "contact": {"email": order["buyer"]["email"]}}
    answers = [
        sent(world, form_of(brand), filled(world, **more, lines=[{"line_id": line, "quantity": 2}])).problem(422)["errors"]
        for more in (known, {})
        for line in ("1", "none")
    ]
    assert answers == [answers[0]] * 4


@pytest.mark.rule("RD-01", "RD-11")
@pytest.mark.parametrize("known", [True, False])
def test_a_form_needs_no_activation(world: World, known: bool) -> None:
    """Of a shop that has agreed on buyer protection alone: its form opens the returns desk."""
    shop = world.shop()
    body = filled(world)
    if known:
        order = world.order(shop)
        body |= {"order_number": order["order_number"], "contact": {"email": order["buyer"]["email"]}}
    form = form_of(shop)
    case = shop.staff.case(sent(world, form, body).ok()["case_id"])
    assert (case["programme"]["id"], case["state"]) == ("returns-desk", "submitted")
    month = format_moment(world.now())[:7]
    assert shop.staff.get(f"/v1/merchants/{shop.merchant_id}/usage", month=month)["cases_by_programme"] == {"returns-desk": 1}
    with httpx.Client(base_url=world.base_url, timeout=90) as http:
        assert http.get(form["url"]).status_code == 200


def settled(party: Party, place: str) -> Json:
    """What a receipt says once it says something; the test's own time bounds the wait."""
    while (found := party.get(place))["status"] == "pending":
        time.sleep(0.05)
    return found


@pytest.mark.rule("RD-01")
def test_a_form_may_be_answered_later(world: World, brand: Shop) -> None:
    form, body = form_of(brand), filled(world)
    promised = sent(world, form, body, headers={"Prefer": "respond-async", "Idempotency-Key": world.name("k")})
    assert (promised.status, promised.body["status"]) == (202, "pending")
    assert promised.headers["preference-applied"] == "respond-async"
    place = promised.headers["location"]
    nobody = world.bearer("none")
    found = settled(nobody, place)
    assert (found["status"], found["command_id"]) == ("done", promised.body["command_id"])
    result = found["result"]
    assert result["href"] == f"/v1/cases/{result['case_id']}"
    case = world.bearer(result["link"]["token"]).case(result["case_id"])
    assert case["text"] == body["text"]
    assert world.platform.case(case["case_id"])["order_number"] == body["order_number"]
    nobody.request("GET", place + "x").problem(404)
    refused = sent(world, form, {**body, "text": "Again"}, headers={"Prefer": "respond-async"})
    found = settled(nobody, refused.headers["location"])
    assert (found["status"], found["problem"]["refusal"]) == ("refused", "already_open")
    assert case["case_id"] not in str(found)


@pytest.mark.rule("RD-01")
@pytest.mark.parametrize(("reason", "status"), [("other", 200), ("nonsense", 409)])
def test_the_page_of_a_form_waits_for_what_is_late(world: World, brand: Shop, reason: str, status: int) -> None:
    form = form_of(brand)
    fields = {"nonce": world.name("nonce"), "order_number": world.name("F"), "reason": reason, "text": "Slowly."}
    fields["email"] = f"{world.name('late')}@mail.example"
    with httpx.Client(timeout=90) as http:
        answer = http.post(form["url"], data=fields, files={"file": ("", b"")}, headers={"Prefer": "respond-async"})
        assert answer.status_code == 303, answer.text
        place = form["url"].partition("/f/")[0] + answer.headers["location"]
        while "refresh" in (page := http.get(place, follow_redirects=True)).headers:
            time.sleep(0.05)
        assert page.status_code == status, page.text
        assert ("/l/" in str(page.url), "Slowly." in page.text) == ((True, True) if status == 200 else (False, False))
        assert http.get(place + "x").status_code == 404


@pytest.mark.rule("RD-01")
def test_a_form_s_button_pressed_twice_is_one_report(world: World, brand: Shop) -> None:
    """At the same moment, and whichever process is asked."""
    form = form_of(brand)
    urls = [service["url"] for name, service in world.ready["services"].items() if name.startswith("gateway")]
    assert len(urls) == 2
    fields = {"nonce": world.name("nonce"), "order_number": world.name("F"), "reason": "other", "text": "Once."}
    fields["email"] = f"{world.name('twice')}@mail.example"

    def press(number: int) -> str:
        with httpx.Client(base_url=urls[number % 2], timeout=90, verify=False) as http:
            response = http.post(f"/f/{form['token']}", data=fields, files={"file": ("cup.png", PICTURE)})
        assert response.status_code == 303, response.text
        return response.headers["location"]

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(press, range(4)))) == 1
    assert len(brand.staff.get("/v1/cases", q=fields["order_number"])["items"]) == 1


@pytest.mark.rule("RD-03", "NX-15")
def test_a_form_is_its_shop_s_alone(world: World, brand: Shop) -> None:
    """Number and address of another shop's order are an order of this shop that nobody has seen."""
    foreign = world.order(world.shop())
    body = filled(world, order_number=foreign["order_number"], contact={"email": foreign["buyer"]["email"]})
    case_id = sent(world, form_of(brand), body).ok()["case_id"]
    assert world.platform.case(case_id)["merchant_id"] == brand.merchant_id
    assert world.platform.order(foreign["order_id"])["cases"] == []


@pytest.mark.rule("RD-03")
def test_nobody_is_flooded_with_mails_by_a_form(world: World, brand: Shop) -> None:
    form, contact = form_of(brand), {"email": f"{world.name('victim')}@mail.example"}
    while (answer := sent(world, form, filled(world, contact=contact, reason="nonsense"))).status == 409:
        pass
    assert answer.problem(429)
    assert int(answer.headers["retry-after"]) >= 1
    assert sent(world, form, filled(world)).status == 201, "others are not disturbed"
