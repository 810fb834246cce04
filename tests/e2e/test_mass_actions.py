"""Mass actions through the public API: insolvency, carrier failure, re-routing, deciding as a group (NX-09, BP-03, BP-25)."""

import json
import os
import signal
import time
from collections import Counter
from datetime import timedelta
from typing import Any

import httpx
import pytest

from contracts.base import format_moment
from tests.e2e.world import Json, Shop, World, eur

ACTIONS = "/v1/mass-actions"


def ended(world: World, action: Json) -> Json:
    """The action once it is done; what has become of it is read from the API alone."""
    for _ in range(900):
        shown = world.platform.get(f"{ACTIONS}/{action['mass_action_id']}")
        if shown["status"] != "running":
            return shown
        time.sleep(0.1)
    raise AssertionError(shown)


def begun(world: World, action: Json) -> Json:
    """The action once a first item is done; the throttle keeps it from being over by then."""
    for _ in range(900):
        shown = world.platform.get(f"{ACTIONS}/{action['mass_action_id']}")
        if shown["done"]:
            assert shown["waiting"], "it is in its midst"
            return shown
        time.sleep(0.05)
    raise AssertionError(shown)


def answering(world: World) -> None:
    """Wait until the gateway that was killed is there again, at its old address."""
    for _ in range(300):
        try:
            world.now()
        except httpx.TransportError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError("no gateway answers")


def items(world: World, action: Json, **wanted: str) -> list[Json]:
    found: list[Json] = []
    query: dict[str, Any] = {"limit": 200, **wanted}
    while True:
        page = world.platform.get(f"{ACTIONS}/{action['mass_action_id']}/items", **query)
        found += page["items"]
        if "next" not in page:
            return found
        query["cursor"] = page["next"]


def imported(world: World, shop: Shop, count: int, buyers: int) -> list[Json]:
    """`count` orders of so many buyers."""
    bodies = [
        world.order_body(shop, buyer={"email": f"b{number % buyers}@{shop.merchant_id}.example", "locale": "en"})
        for number in range(count)
    ]
    answer = world.platform.request(
        "POST",
        "/v1/order-imports",
        content="\n".join(json.dumps(body) for body in bodies).encode(),
        headers={"Content-Type": "application/x-ndjson"},
    )
    lines = [json.loads(line) for line in answer.body.splitlines()]
    assert {line["status"] for line in lines} == {201}
    return [body | {"order_id": line["order_id"]} for body, line in zip(bodies, lines, strict=True)]


def mass_mails(world: World, orders: list[Json]) -> Counter[str]:
    return Counter({email: len(world.mails(email, "mass_event")) for email in {order["buyer"]["email"] for order in orders}})


@pytest.mark.rule("NX-09", "BP-25", "BP-03")
def test_insolvency_tells_every_buyer_once_and_moves_every_case_once_though_a_gateway_is_killed(world: World) -> None:
    shop = world.shop()
    orders = imported(world, shop, 120, buyers=100)
    world.platform.post(f"/v1/orders/{orders[50]['order_id']}/reports", {"reason": "merchant_insolvent"}).problem(
        409, "report-refused"
    )
    cases = [world.platform.report(order, "not_received") for order in orders[:12]]
    reviewed = world.platform.act(cases[0], "take_over")

    body = {"kind": "insolvency", "selection": {"merchant_id": shop.merchant_id}, "throttle_per_s": 24}
    started = world.platform.post(ACTIONS, body)
    assert started.status == 202
    action = started.ok()
    assert (action["status"], action["total"]) == ("running", 120)
    gateways = [service for name, service in world.ready["services"].items() if name.startswith("gateway")]
    begun(world, action)
    os.kill(gateways[0]["pid"], signal.SIGKILL)
    answering(world)

    done = ended(world, action)
    assert (done["status"], done["total"], done["failed"], done["waiting"]) == ("done", 120, 0, 0)
    assert (done["done"], done["skipped"]) == (119, 1)
    results = items(world, action)
    assert len({(item["order_id"], item.get("case_id")) for item in results}) == 120
    (skipped,) = [item for item in results if item["status"] == "skipped"]
    assert skipped["case_id"] == reviewed["case_id"]

    world.advance("PT1M")
    assert set(mass_mails(world, orders).values()) == {1}
    for case in cases:
        history = world.platform.get(f"/v1/cases/{case['case_id']}/history")["items"]
        taken = [entry for entry in history if entry["type"] == "case.moved" and entry["data"]["action"] == "take_over"]
        assert len(taken) == 1
        assert world.platform.case(case["case_id"])["state"] == "under_review"

    claimed = world.platform.report(orders[50], "merchant_insolvent")
    assert (claimed["state"], claimed["turn"]) == ("under_review", "platform")

    # The same again: a new action in which nothing is left to do, and nobody is told twice.
    again = ended(world, world.platform.post(ACTIONS, body).ok())
    assert again["mass_action_id"] != action["mass_action_id"]
    assert (again["done"], again["skipped"]) == (0, 120)
    world.advance("PT1M")
    assert set(mass_mails(world, orders).values()) == {1}


@pytest.mark.rule("BP-03", "BP-25", "NX-09")
def test_an_insolvency_is_taken_back_and_can_be_declared_anew(world: World) -> None:
    shop = world.shop()
    orders = imported(world, shop, 3, buyers=2)
    case = world.platform.report(orders[0], "not_received")
    declare = {"kind": "insolvency", "selection": {"merchant_id": shop.merchant_id}}
    take_back = declare | {"insolvent": False, "message": "We had mistaken the shop for another."}

    def told() -> list[str]:
        world.advance("PT1M")
        return [mail["subject"] for mail in world.mails(orders[0]["buyer"]["email"], "mass_event")]

    assert ended(world, world.platform.post(ACTIONS, take_back).ok())["total"] == 0, "there was nothing to take back"
    ended(world, world.platform.post(ACTIONS, declare).ok())
    assert world.platform.get(f"/v1/merchants/{shop.merchant_id}")["insolvent_at"]
    world.advance("PT1M")
    late = world.order(shop)
    assert (late["protection"]["state"], late["protection"]["reason"]) == ("none", "insolvency_declared")
    early = world.order(shop, placed_at=format_moment(world.now() - timedelta(days=2)))
    assert early["protection"]["state"] == "active", "covered is that the merchant becomes insolvent"

    back = ended(world, world.platform.post(ACTIONS, take_back).ok())
    assert (back["done"], back["skipped"], back["failed"]) == (3, 0, 0)
    assert all(item["told"] for item in items(world, back))
    assert "insolvent_at" not in world.platform.get(f"/v1/merchants/{shop.merchant_id}")
    first, second = told()
    assert "not insolvent" in second
    assert "not insolvent" not in first
    mail = world.mails(orders[0]["buyer"]["email"], "mass_event")[-1]
    assert "mistaken the shop" in mail["text"]
    assert not world.mails(early["buyer"]["email"], "mass_event"), "who was told nothing is told nothing"
    refused = world.buyer(orders[1]).try_report(orders[1], "merchant_insolvent").problem(409, "report-refused")
    assert refused["refusal"] == "merchant_not_insolvent"
    assert world.order(shop)["protection"]["state"] == "active"
    assert world.platform.case(case["case_id"])["state"] == "under_review", "what is under review stays there"
    again = ended(world, world.platform.post(ACTIONS, take_back).ok())
    assert (again["done"], again["skipped"]) == (0, 3)

    anew = ended(world, world.platform.post(ACTIONS, declare).ok())
    assert (anew["failed"], anew["waiting"]) == (0, 0)
    assert anew["done"] == anew["total"] - 1, "only the case is where it belongs already"
    assert len(told()) == 3


@pytest.mark.rule("BP-25", "NX-09")
def test_taking_an_insolvency_back_stops_whoever_is_still_telling_of_it(world: World) -> None:
    shop = world.shop()
    orders = imported(world, shop, 12, buyers=12)
    declare = {"kind": "insolvency", "selection": {"merchant_id": shop.merchant_id}}
    action = world.platform.post(ACTIONS, declare | {"throttle_per_s": 2}).ok()
    begun(world, action)
    ended(world, world.platform.post(ACTIONS, declare | {"insolvent": False}).ok())
    declaring = world.platform.get(f"{ACTIONS}/{action['mass_action_id']}")
    assert declaring["status"] in ("stopped", "done")
    assert "insolvent_at" not in world.platform.get(f"/v1/merchants/{shop.merchant_id}")
    world.advance("PT1M")
    told = mass_mails(world, orders)
    assert set(told.values()) <= {0, 2}, "nobody is left with what is not so"
    assert sum(count == 2 for count in told.values()) == declaring["done"]


@pytest.mark.rule("NX-09")
def test_a_failed_carrier_concerns_what_it_has_not_delivered(world: World) -> None:
    shop = world.shop()
    lost, arrived, cancelled, returned, other = (world.order(shop) for _ in range(5))
    carrier = world.name("carrier")
    for order in (lost, arrived, cancelled, returned):
        world.fact(order, "shipped", carrier=carrier, tracking_code="T1")
    world.fact(other, "shipped", carrier="another")
    world.fact(arrived, "delivered")
    world.fact(cancelled, "cancelled")
    world.fact(returned, "returned")
    body = {"kind": "carrier_failure", "selection": {"carrier": carrier}, "message": "The parcels burnt in Hof."}
    done = ended(world, world.platform.post(ACTIONS, body).ok())
    assert [item["order_id"] for item in items(world, done)] == [lost["order_id"]]
    mail = world.mail(lost["buyer"]["email"], "mass_event")
    assert "The parcels burnt in Hof." in mail["text"]
    assert not any(world.mails(order["buyer"]["email"], "mass_event") for order in (arrived, cancelled, returned))
    assert world.act_link(mail).report(lost)["state"] == "submitted"


@pytest.mark.rule("NX-09")
def test_a_buyer_is_told_once_of_each_failure_of_a_carrier_and_of_every_order_that_it_concerns(world: World) -> None:
    shop, elsewhere = world.shop(), world.shop()
    carrier, email = world.name("carrier"), f"{world.name('buyer')}@mail.example"

    def shipped(shop: Shop) -> Json:
        order = world.order(shop, buyer={"email": email, "locale": "en"})
        world.fact(order, "shipped", carrier=carrier)
        return order

    def failed(**selection: Any) -> list[Json]:
        body = {"kind": "carrier_failure", "selection": {"carrier": carrier, **selection}}
        return items(world, ended(world, world.platform.post(ACTIONS, body).ok()))

    def told() -> list[str]:
        world.advance("PT1M")
        return [mail["text"] for mail in world.mails(email, "mass_event")]

    orders = [shipped(shop), shipped(shop), shipped(elsewhere)]
    world.buyer(orders[1]).report(orders[1], "not_received")
    assert {(item["status"], item["told"]) for item in failed()} == {("done", True)}
    (text,) = told()
    assert all(order["order_number"] in text for order in orders)

    again = failed(order_ids=[orders[0]["order_id"], orders[1]["order_id"]])
    assert {(item["status"], item["told"]) for item in again} == {("skipped", False)}
    assert len(told()) == 1, "it is the same failure, however it is selected"

    since = format_moment(world.now())
    later = shipped(shop)
    world.fact(orders[2], "shipped", carrier=carrier, external_id="another parcel")
    assert {(item["order_id"], item["status"], item["told"]) for item in failed(**{"from": since})} == {
        (order["order_id"], "done", True) for order in (later, orders[2])
    }
    assert len(texts := told()) == 2, "the next failure is news"
    assert later["order_number"] in texts[-1]
    assert orders[2]["order_number"] in texts[-1]


@pytest.mark.rule("NX-09")
def test_cases_are_decided_as_a_group_with_a_result_each(world: World) -> None:
    shop = world.shop()
    orders = [world.order(shop, amount=eur(amount)) for amount in ("20.00", "80.00")]
    cases = [world.platform.report(order) for order in orders]
    decide = {"action": "decide", "outcome": "partial_refund", "refund_amount": eur("30.00"), "message": "So it is."}
    body = {"kind": "decide", "selection": {"order_ids": [order["order_id"] for order in orders]}, "decide": decide}
    refused = ended(world, world.platform.post(ACTIONS, body).ok())
    assert (refused["failed"], refused["done"]) == (2, 0)
    assert all(item["problem"]["type"] == "/problems/action-not-allowed" for item in items(world, refused))

    reroute = {"kind": "reroute", "selection": {"merchant_id": shop.merchant_id}}
    assert ended(world, world.platform.post(ACTIONS, reroute).ok())["done"] == 2
    shop.staff.act(cases[0], "answer", refund="no", message="It comes tomorrow.")
    again = ended(world, world.platform.post(ACTIONS, reroute).ok())
    assert {item["case_id"]: item["status"] for item in items(world, again)} == {
        cases[0]["case_id"]: "done",
        cases[1]["case_id"]: "skipped",
    }, "what has moved since is re-routed again"
    decided = ended(world, world.platform.post(ACTIONS, body).ok())
    assert (decided["failed"], decided["done"]) == (1, 1)
    by_case = {item["case_id"]: item for item in items(world, decided)}
    assert by_case[cases[0]["case_id"]]["problem"]["type"] == "/problems/invalid-input"
    assert world.platform.case(cases[1]["case_id"])["outcome"] == "decided_partial_refund"
    assert [item["case_id"] for item in items(world, decided, status="failed")] == [cases[0]["case_id"]]


@pytest.mark.rule("NX-09")
def test_an_interrupted_action_is_gone_on_with_by_the_same_selection(world: World) -> None:
    shop = world.shop()
    orders = imported(world, shop, 12, buyers=12)
    body = {"kind": "insolvency", "selection": {"merchant_id": shop.merchant_id}, "throttle_per_s": 2}
    action = world.platform.post(ACTIONS, body).ok()
    begun(world, action)
    stopped = world.platform.post(f"{ACTIONS}/{action['mass_action_id']}/stops", {}).ok()
    assert stopped["status"] == "stopped"
    rest = ended(world, world.platform.post(ACTIONS, body | {"throttle_per_s": 500}).ok())
    assert (rest["done"] + rest["skipped"], rest["failed"]) == (12, 0)
    assert rest["skipped"] >= stopped["done"] > 0
    left = world.platform.get(f"{ACTIONS}/{action['mass_action_id']}")
    assert left["status"] == "stopped"
    # Items that were in hand at the stop are finished and found so by the rest, or done again, of which nobody hears twice.
    assert 0 < left["waiting"] <= rest["done"]
    world.advance("PT1M")
    assert set(mass_mails(world, orders).values()) == {1}


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"kind": "insolvency", "selection": {}}, "/selection/merchant_id"),
        ({"kind": "insolvency", "selection": {"carrier": "x"}}, "/selection/merchant_id"),
        ({"kind": "insolvency", "selection": {"merchant_id": "x", "carrier": "x"}}, "/selection/carrier"),
        ({"kind": "carrier_failure", "selection": {"merchant_id": "x"}}, "/selection/carrier"),
        ({"kind": "reroute", "selection": {}}, "/selection"),
        ({"kind": "decide", "selection": {"merchant_id": "x"}}, "/decide"),
        ({"kind": "decide", "selection": {"merchant_id": "x"}, "decide": {"outcome": "refund"}}, "/decide/action"),
        ({"kind": "reroute", "selection": {"merchant_id": "x"}, "decide": {"action": "decide"}}, "/decide"),
        ({"kind": "reroute", "selection": {"shop": "x"}}, "/selection/shop"),
        ({"kind": "reroute", "selection": {"merchant_id": "x"}, "throttle_per_s": 0}, "/throttle_per_s"),
        ({"kind": "insolvency", "selection": {"merchant_id": "x", "order_ids": ["ord_1"]}, "insolvent": False}, "/selection"),
        ({"kind": "insolvency", "selection": {"merchant_id": "x"}, "insolvent": "no"}, "/insolvent"),
        ({"kind": "reroute", "selection": {"merchant_id": "x"}, "insolvent": False}, "/insolvent"),
        ({"kind": "flood", "selection": {"merchant_id": "x"}}, "/kind"),
    ],
)
def test_what_is_no_mass_action(world: World, body: Json, pointer: str) -> None:
    problem = world.platform.post(ACTIONS, body).problem(422)
    assert pointer in {error["pointer"] for error in problem["errors"]}
    world.partner.post(ACTIONS, body).problem(403)


def test_a_mass_action_that_is_not_there(world: World) -> None:
    world.platform.request("GET", f"{ACTIONS}/mas_0").problem(404)
    assert format_moment(world.now())
