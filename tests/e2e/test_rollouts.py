"""Roll-outs through the public API: a policy version per merchant and language on a date, announced, opted in to early; cases
keep the version with which they were opened (BP-24, NX-07)."""

from datetime import datetime
from typing import Any

import pytest

from contracts.base import format_moment
from tests.e2e.world import Json, Party, Shop, World, days, moment

ROLLOUTS = "/v1/rollouts"


def roll_out(world: World, *shops: Shop, at: datetime, **more: Any) -> Json:
    """Version 1, which gives the merchant seven days instead of five, for these shops again."""
    body = {"programme": "buyer-protection", "version": 1, "effective_at": format_moment(at), **more}
    if shops:
        body["merchants"] = [shop.merchant_id for shop in shops]
    return world.platform.post(ROLLOUTS, body).ok()


def opened(world: World, shop: Shop) -> Json:
    order = world.order(shop)
    return world.buyer(order).report(order)


def version_of(world: World, case: Json) -> tuple[int, int]:
    """The pinned version, and the days that the merchant was given."""
    case = world.platform.case(case["case_id"])
    deadline = next(each for each in case["deadlines"] if each["kind"] == "merchant_answer")
    assert deadline["policy"] == {"programme": "buyer-protection", "version": case["programme"]["version"]}
    return case["programme"]["version"], round((moment(deadline["due_at"]) - moment(case["opened_at"])) / days(1))


def told(world: World, shop: Shop) -> list[Json]:
    return world.mails(shop.contract_email, "policy_change")


@pytest.mark.rule("BP-24", "NX-07")
def test_a_version_rolls_out_on_a_date_and_cases_opened_before_keep_theirs(world: World) -> None:
    shop, other = world.shop(), world.shop()
    date = world.now() + days(20)
    rollout = roll_out(world, shop, at=date)
    before, elsewhere = opened(world, shop), opened(world, other)
    assert version_of(world, before) == (2, 5)

    impact = world.platform.get(f"{ROLLOUTS}/{rollout['rollout_id']}/impact")
    assert (impact["open_cases"], impact["unaffected"], impact["merchants"]) == (1, 1, 1)
    assert impact["by_merchant"] == [{"merchant_id": shop.merchant_id, "open_cases": 1, "unaffected": 1}]

    shop.staff.act(before, "answer", refund="yes_after_return", message="Please send it back.")
    world.advance_to(date - days(1) / 24)
    last = opened(world, shop)
    assert version_of(world, last) == (2, 5)
    world.advance("PT1H")
    first, there = opened(world, shop), opened(world, other)
    assert version_of(world, first) == (1, 7)
    assert version_of(world, there) == (2, 5)
    assert world.platform.case(before["case_id"])["programme"]["version"] == 2
    impact = world.platform.get(f"{ROLLOUTS}/{rollout['rollout_id']}/impact")
    still_open = sum(world.platform.case(case["case_id"])["state"] != "resolved" for case in (before, last, first))
    assert (impact["open_cases"], impact["unaffected"]) == (still_open, still_open - 1)
    assert elsewhere["programme"]["version"] == 2
    same = roll_out(world, other, at=world.now() + days(1), version=2)
    impact = world.platform.get(f"{ROLLOUTS}/{same['rollout_id']}/impact")
    assert (impact["open_cases"], impact["unaffected"]) == (2, 2), "they run on it already, and not because of it"

    world.advance("P6D")
    assert world.platform.case(last["case_id"])["state"] == "under_review", "five days by the old policy"
    assert world.platform.case(first["case_id"])["state"] == "submitted"
    world.advance("P1DT1H")
    assert world.platform.case(first["case_id"])["state"] == "under_review", "seven by the new one"


@pytest.mark.rule("BP-24")
def test_each_merchant_is_told_the_date_beforehand_once(world: World) -> None:
    shops = [world.shop(), world.shop(locale="en", country="GB")]
    unconcerned = world.shop()
    date = world.now() + days(30)
    rollout = roll_out(world, *shops, at=date, announce_days=10)
    assert moment(rollout["announce_at"]) == date - days(10)
    assert "announced_at" not in rollout
    world.advance_to(date - days(10) - days(1) / 24)
    assert [told(world, shop) for shop in shops] == [[], []]
    world.advance("PT1H")
    german, english = (told(world, shop) for shop in shops)
    assert len(german) == len(english) == 1
    day = date.strftime("%Y")
    assert day in english[0]["subject"]
    assert "version 1" in english[0]["text"]
    assert german[0]["subject"] != english[0]["subject"]
    known = world.platform.get(f"{ROLLOUTS}/{rollout['rollout_id']}")
    assert moment(known["announced_at"]) == date - days(10)
    world.advance("P12D")
    assert [len(told(world, shop)) for shop in shops] == [1, 1]
    assert told(world, unconcerned) == []


@pytest.mark.rule("BP-24")
def test_what_comes_sooner_than_it_would_be_announced_is_announced_at_once(world: World) -> None:
    shop = world.shop()
    rollout = roll_out(world, shop, at=world.now() + days(2))
    assert rollout["announce_days"] == 14
    assert moment(rollout["announce_at"]) == world.now()
    world.advance("PT1S")
    assert len(told(world, shop)) == 1


@pytest.mark.rule("BP-24")
def test_a_merchant_may_opt_in_early(world: World) -> None:
    keen, waiting, later = world.shop(), world.shop(), world.shop()
    date = world.now() + days(30)
    rollout = roll_out(world, keen, waiting, later, at=date)
    wanted = {"rollout_id": rollout["rollout_id"]}
    path = f"/v1/merchants/{keen.merchant_id}/opt-ins"
    made = keen.staff.post(path, wanted)
    assert made.status == 201
    assert moment(made.body["from"]) == world.now()
    assert keen.staff.post(path, wanted).status == 200
    assert keen.staff.get(path)["items"] == [made.body]
    in_ten_days = {**wanted, "from": format_moment(world.now() + days(10))}
    world.partner.post(f"/v1/merchants/{later.merchant_id}/opt-ins", in_ten_days).problem(404)
    world.platform.post(f"/v1/merchants/{later.merchant_id}/opt-ins", in_ten_days).ok()

    assert version_of(world, opened(world, keen)) == (1, 7)
    assert version_of(world, opened(world, waiting)) == (2, 5)
    assert version_of(world, opened(world, later)) == (2, 5)
    world.advance("P10D")
    assert version_of(world, opened(world, later)) == (1, 7)
    assert version_of(world, opened(world, waiting)) == (2, 5)
    world.advance("P10D")
    assert told(world, keen) == [], "it has it already"
    assert len(told(world, waiting)) == 1
    world.advance("P10D")
    assert version_of(world, opened(world, waiting)) == (1, 7)
    late = waiting.staff.post(f"/v1/merchants/{waiting.merchant_id}/opt-ins", wanted).problem(422, "invalid-input")
    assert late["errors"][0]["pointer"] == "/rollout_id"
    assert world.platform.get(f"{ROLLOUTS}/{rollout['rollout_id']}")["opted_in"] == 2


@pytest.mark.rule("BP-24")
def test_a_roll_out_may_be_for_a_language(world: World) -> None:
    romanian, moldovan, german = world.shop(locale="ro"), world.shop(locale="ro-MD"), world.shop()
    before = [world.order(shop) for shop in (romanian, german)]
    for shop, locale in ((romanian, "de"), (german, "ro")):  # which language it is in counts when the case opens
        profile = {**shop.profile, "locale": locale}
        world.platform.request("PUT", f"/v1/merchants/{shop.merchant_id}", json=profile).ok()
    romanian, german = german, romanian
    rollout = roll_out(world, at=world.now() + days(1), locales=["ro"])
    impact = world.platform.get(f"{ROLLOUTS}/{rollout['rollout_id']}/impact")
    assert impact["merchants"] == 2
    world.advance("P1D")
    assert [version_of(world, opened(world, shop))[0] for shop in (romanian, moldovan, german)] == [1, 1, 2]
    assert [len(told(world, shop)) for shop in (romanian, moldovan, german)] == [1, 1, 0]
    cases = [world.buyer(order).report(order, "no_refund") for order in before]
    assert [version_of(world, case)[0] for case in cases] == [2, 1], "the orders are older than the merchants' languages"


@pytest.mark.rule("BP-24")
def test_the_latest_roll_out_that_has_begun_is_in_force(world: World) -> None:
    shop = world.shop()
    roll_out(world, shop, at=world.now())
    assert version_of(world, opened(world, shop)) == (1, 7)
    roll_out(world, shop, at=world.now() + days(2), version=2)
    world.advance("P2D")
    assert version_of(world, opened(world, shop)) == (2, 5)


@pytest.mark.rule("BP-24")
def test_who_sees_and_makes_roll_outs(world: World) -> None:
    shop, other = world.shop(), world.shop()
    rollout = roll_out(world, shop, at=world.now() + days(5))
    href = f"{ROLLOUTS}/{rollout['rollout_id']}"
    assert rollout["merchants"] == [shop.merchant_id]
    seen = shop.staff.get(href)
    assert seen["effective_at"] == rollout["effective_at"]
    assert "merchants" not in seen
    assert [each["rollout_id"] for each in shop.staff.get(ROLLOUTS)["items"]] == [rollout["rollout_id"]]
    assert other.staff.get(ROLLOUTS)["items"] == []
    other.staff.request("GET", href).problem(404)
    order = world.order(shop)
    buyer = world.buyer(order)
    buyer.request("GET", ROLLOUTS).problem(403)
    buyer.request("GET", href).problem(404)
    buyer.request("GET", f"/v1/merchants/{shop.merchant_id}/issue-rate").problem(404)
    given = world.platform.post("/v1/keys", {"name": "given", "role": "partner", "merchants": [shop.merchant_id]}).ok()
    partner = Party(world.base_url, given["key"], "given")
    assert partner.get(href)["effective_at"] == seen["effective_at"]
    assert [each["rollout_id"] for each in partner.get(ROLLOUTS)["items"]] == [rollout["rollout_id"]]
    assert [each["merchant_id"] for each in partner.get("/v1/merchants")["items"]] == [shop.merchant_id]
    assert [each["order_id"] for each in partner.get("/v1/orders")["items"]] == [order["order_id"]]
    assert [each["order_id"] for each in partner.get("/v1/payouts")["items"]] == [order["order_id"]]
    for name in ("issue-rate", "usage", "forms", "consultants", "opt-ins"):
        month = {"month": "2019-08"} if name == "usage" else {}
        partner.get(f"/v1/merchants/{shop.merchant_id}/{name}", **month)
        partner.request("GET", f"/v1/merchants/{other.merchant_id}/{name}", params=month).problem(404)
    buyer.post(f"/v1/merchants/{shop.merchant_id}/opt-ins", {"rollout_id": rollout["rollout_id"]}).problem(404)
    for party in (shop.staff, world.partner):
        party.post(ROLLOUTS, {}).problem(403)
        party.request("GET", f"{href}/impact").problem(403)
    other.staff.post(f"/v1/merchants/{shop.merchant_id}/opt-ins", {"rollout_id": rollout["rollout_id"]}).problem(404)
    not_meant = other.staff.post(f"/v1/merchants/{other.merchant_id}/opt-ins", {"rollout_id": rollout["rollout_id"]})
    assert not_meant.problem(422)["errors"][0]["pointer"] == "/rollout_id"
    pages, cursor = [], None
    while True:
        page = world.platform.get(ROLLOUTS, limit=1, **({"cursor": cursor} if cursor else {}))
        pages += [each["rollout_id"] for each in page["items"]]
        if (cursor := page.get("next")) is None:
            break
    assert rollout["rollout_id"] in pages
    assert len(pages) == len(set(pages))


@pytest.mark.rule("BP-24")
def test_a_key_repeats_its_roll_out(world: World) -> None:
    shop = world.shop()
    body = {
        "programme": "buyer-protection",
        "version": 1,
        "merchants": [shop.merchant_id],
        "effective_at": format_moment(world.now() + days(3)),
    }
    first = world.platform.post(ROLLOUTS, body, Idempotency_Key=shop.merchant_id)
    assert first.status == 201
    assert world.platform.post(ROLLOUTS, body, Idempotency_Key=shop.merchant_id).ok() == first.body
    world.advance("PT1M")
    assert len(told(world, shop)) == 1


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"programme": "nothing"}, "/programme"),
        ({"version": 99}, "/version"),
        ({"version": 0}, "/version"),
        ({"version": "2"}, "/version"),
        ({"merchants": []}, "/merchants"),
        ({"merchants": ["nobody"]}, "/merchants/0"),
        ({"programme": "order-issues", "merchants": "the shop"}, "/merchants"),
        ({"locales": ["German"]}, "/locales/0"),
        ({"effective_at": "2001-01-01T00:00:00Z"}, "/effective_at"),
        ({"effective_at": "tomorrow"}, "/effective_at"),
        ({"effective_at": None}, "/effective_at"),
        ({"announce_days": -1}, "/announce_days"),
        ({"announce_days": 1.5}, "/announce_days"),
        ({"hurry": True}, "/hurry"),
    ],
)
def test_a_bad_roll_out_is_refused_with_a_pointer(world: World, change: Json, pointer: str) -> None:
    body = {"programme": "buyer-protection", "version": 1, "effective_at": "2199-01-01T00:00:00Z"} | change
    if body.get("merchants") == "the shop":  # which does not offer the programme
        body["merchants"] = [world.shop().merchant_id]
    problem = world.platform.post(ROLLOUTS, body).problem(422, "invalid-input")
    assert any(error["pointer"].startswith(pointer) for error in problem["errors"]), problem["errors"]


def test_a_bad_opt_in_is_refused_with_a_pointer(world: World) -> None:
    shop = world.shop()
    rollout = roll_out(world, shop, at=world.now() + days(5))
    path = f"/v1/merchants/{shop.merchant_id}/opt-ins"
    bad: list[tuple[Json, str]] = [
        ({}, "/rollout_id"),
        ({"rollout_id": "rlo_none"}, "/rollout_id"),
        ({"rollout_id": rollout["rollout_id"], "from": "soon"}, "/from"),
        ({"rollout_id": rollout["rollout_id"], "from": format_moment(world.now() - days(1))}, "/from"),
        ({"rollout_id": rollout["rollout_id"], "from": rollout["effective_at"]}, "/from"),
        ({"rollout_id": rollout["rollout_id"], "since": rollout["made_at"]}, "/since"),
    ]
    for body, pointer in bad:
        problem = shop.staff.post(path, body).problem(422, "invalid-input")
        assert any(error["pointer"] == pointer for error in problem["errors"]), (body, problem)
    assert shop.staff.get(path)["items"] == []
    world.platform.post("/v1/merchants/nobody/opt-ins", {"rollout_id": rollout["rollout_id"]}).problem(404)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", f"{ROLLOUTS}/rlo_none", 404),
        ("GET", f"{ROLLOUTS}/%00", 404),
        ("GET", f"{ROLLOUTS}/rlo_none/impact", 404),
        ("GET", f"{ROLLOUTS}?limit=x", 422),
        ("GET", f"{ROLLOUTS}?cursor=x", 422),
        ("GET", "/v1/merchants/nobody/opt-ins", 404),
        ("PUT", f"{ROLLOUTS}/rlo_none", 405),
    ],
)
def test_what_is_not_there_is_a_problem(world: World, method: str, path: str, status: int) -> None:
    world.platform.request(method, path).problem(status)
