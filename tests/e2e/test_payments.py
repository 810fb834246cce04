"""Money through the public API: refunds that the platform executes, payouts, and what a shop used (NX-06, OI-08, RD-11)."""

import csv
import io
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from typing import Any

import pytest

from contracts.base import format_moment
from tests.e2e.world import Party, Shop, World, days, eur

Json = dict[str, Any]
Mode = Callable[[str], None]


@pytest.fixture
def mode(world: World) -> Iterator[Mode]:
    """Tells the payment provider how to behave; afterwards it is well again."""

    def behave(wanted: str) -> None:
        assert world.partner.post("/v1/sandbox/payments", {"mode": wanted}).ok() == {"mode": wanted}

    yield behave
    behave("ok")


@pytest.fixture
def reviewed(world: World) -> tuple[Shop, Json, Party, Json]:
    """A shop, an order of 80 EUR, its buyer and a case that the platform decides."""
    shop = world.shop()
    order = world.order(shop)
    buyer = world.buyer(order)
    return shop, order, buyer, buyer.report(order, "other")


def ledger(world: World, order: Json) -> tuple[str, str, str]:
    book = world.platform.order(order["order_id"])["ledger"]
    return book["reserved"]["amount"], book["executed"]["amount"], book["refundable"]["amount"]


def payments(world: World, order: Json) -> list[Json]:
    return world.platform.get("/v1/sandbox/payments", order_id=order["order_id"])["items"]


def paid_once(world: World, order: Json, amount: str) -> Json:
    """One payment and one ledger entry that names it; both of the same decision."""
    (payment,) = payments(world, order)
    entries = [one for one in world.platform.order(order["order_id"])["ledger"]["entries"] if one["kind"] == "executed"]
    (entry,) = entries
    assert (payment["amount"], payment["state"]) == (eur(amount), "executed")
    assert (entry["amount"], entry["executor"], entry["confirmed_by"]) == (eur(amount), "platform", "provider")
    assert entry["reference"] == payment["reference"]
    assert entry["cause"]["decision_id"] == payment["decision_id"]
    return payment


@pytest.mark.rule("NX-06", "BP-19")
def test_a_decision_is_executed_by_the_platform(world: World, mode: Mode, reviewed: tuple[Shop, Json, Party, Json]) -> None:
    _, order, buyer, case = reviewed
    mode("ok")
    decided = world.platform.act(case, "decide", outcome="partial_refund", refund_amount=eur("30.00"), message="So it is.")
    assert decided["refund"]["executed"] == eur("30.00")
    assert ledger(world, order) == ("0.00", "30.00", "50.00")
    assert paid_once(world, order, "30.00")["requests"] == 1
    history = buyer.get(f"/v1/cases/{case['case_id']}/history")["items"]
    (told,) = [entry for entry in history if entry["type"] == "case.refund-executed"]
    assert told["data"]["amount"] == eur("30.00")


@pytest.mark.rule("NX-06")
def test_a_refusal_is_tried_again_until_it_goes_well(
    world: World, mode: Mode, reviewed: tuple[Shop, Json, Party, Json]
) -> None:
    _, order, _, case = reviewed
    mode("fail")
    world.platform.act(case, "decide", outcome="refund", message="So it is.")
    assert ledger(world, order) == ("80.00", "0.00", "0.00")
    for _ in range(3):
        world.advance("PT2H")
        assert ledger(world, order) == ("80.00", "0.00", "0.00")
    assert payments(world, order) == []
    mode("ok")
    world.advance("P1D")
    assert ledger(world, order) == ("0.00", "80.00", "0.00")
    assert paid_once(world, order, "80.00")["requests"] > 3


@pytest.mark.rule("NX-06")
def test_a_time_out_is_reconciled_before_it_is_tried_again(
    world: World, mode: Mode, reviewed: tuple[Shop, Json, Party, Json]
) -> None:
    _, order, _, case = reviewed
    mode("timeout")
    world.platform.act(case, "decide", outcome="refund", message="So it is.")
    world.advance("PT1M")
    assert ledger(world, order) == ("0.00", "80.00", "0.00")
    assert paid_once(world, order, "80.00")["requests"] == 1


@pytest.mark.rule("NX-06")
def test_a_late_answer_comes_after_a_minute_of_the_test_clock(
    world: World, mode: Mode, reviewed: tuple[Shop, Json, Party, Json]
) -> None:
    _, order, _, case = reviewed
    mode("late")
    world.platform.act(case, "decide", outcome="refund", message="So it is.")
    (payment,) = payments(world, order)
    assert payment["state"] == "pending"
    mode("timeout")
    world.advance("PT59S")
    assert ledger(world, order) == ("80.00", "0.00", "0.00")
    assert world.platform.case(case["case_id"])["outcome"] == "decided_refund"
    world.advance("PT1S")
    assert ledger(world, order) == ("0.00", "80.00", "0.00")
    paid_once(world, order, "80.00")


def test_the_provider_s_mode_is_one_of_four_and_set_with_a_key(world: World, reviewed: tuple[Shop, Json, Party, Json]) -> None:
    shop, _, buyer, _ = reviewed
    for wrong in ({"mode": "loud"}, {}, {"mode": 1}, {"mode": "ok", "for": 3}):
        world.platform.post("/v1/sandbox/payments", wrong).problem(422, "invalid-input")
    buyer.post("/v1/sandbox/payments", {"mode": "fail"}).problem(403)
    assert shop.staff.get("/v1/sandbox/payments", limit=1)["mode"] == "ok"
    shop.staff.request("GET", "/v1/sandbox/payments", params={"limit": "0"}).problem(422)
    shop.staff.request("GET", "/v1/sandbox/payments", params={"cursor": "x"}).problem(422)
    first = world.platform.get("/v1/sandbox/payments", limit=1)
    if "next" in first:
        (second,) = world.platform.get("/v1/sandbox/payments", limit=1, cursor=first["next"])["items"]
        assert second["reference"] > first["items"][0]["reference"]


def payouts(party: Party, shop: Shop) -> dict[str, Json]:
    items = party.get("/v1/payouts", merchant_id=shop.merchant_id)["items"]
    return {item["order_number"]: {name: item[name] for name in ("state", "amount", "netted")} for item in items}


def listed(party: Party, **query: Any) -> list[str]:
    """The numbers of the orders on all pages of payouts, sorted."""
    numbers: list[str] = []
    cursor: Json = {}
    while True:
        page = party.get("/v1/payouts", **query, **cursor)
        numbers += [item["order_number"] for item in page["items"]]
        if "next" not in page:
            return sorted(numbers)
        cursor = {"cursor": page["next"]}


@pytest.mark.rule("OI-08")
def test_payouts_are_held_while_a_case_is_open_and_netted_after(world: World, mode: Mode) -> None:
    shop = world.shop()
    payable, held, paid, netted, lessened = (world.order(shop, order_number=name) for name in "abcde")
    buyers = {one["order_number"]: world.buyer(one) for one in (held, netted, lessened)}
    for one in (paid, netted):
        world.fact(one, "paid_out", external_id="bank")
    world.advance("PT1H")
    buyers["b"].report(held, "other")
    for name, one in (("d", netted), ("e", lessened)):
        case = buyers[name].report(one, "other")
        world.platform.act(case, "decide", outcome="partial_refund", refund_amount=eur("30.00"), message="So it is.")
    expected = {
        "a": {"state": "payable", "amount": eur("80.00"), "netted": []},
        "b": {"state": "held", "amount": eur("80.00"), "netted": []},
        "c": {"state": "paid", "amount": eur("80.00"), "netted": []},
        "d": {
            "state": "netted",
            "amount": eur("80.00"),
            "netted": [{"case_id": world.platform.order(netted["order_id"])["cases"][0], "amount": eur("30.00")}],
        },
        "e": {"state": "payable", "amount": eur("50.00"), "netted": []},
    }
    assert payouts(world.platform, shop) == expected
    assert payouts(shop.staff, shop) == expected
    assert payable["order_number"] == "a"
    for state in ("payable", "held", "paid", "netted"):
        # Pages of one, so that every order that is not in this state is passed over.
        assert listed(shop.staff, limit=1, state=state) == [name for name, item in expected.items() if item["state"] == state]
    shop.staff.request("GET", "/v1/payouts", params={"state": "lost"}).problem(422)
    assert listed(shop.staff, limit=2) == ["a", "b", "c", "d", "e"]

    # The next payout was less by the refund: whoever paid it out says so, and nobody takes it again.
    taken = {"kind": "netted", "at": format_moment(world.now()), "external_id": "payout-2", "amount": eur("30.00")}
    path = f"/v1/orders/{netted['order_id']}/facts"
    shop.staff.post(path, taken).problem(403)
    world.platform.post(path, {name: value for name, value in taken.items() if name != "amount"}).problem(422)
    assert world.platform.post(path, taken).status == 201
    assert world.platform.post(path, taken).status == 200
    assert payouts(shop.staff, shop)["d"] == {"state": "paid", "amount": eur("80.00"), "netted": []}
    (shown,) = [item for item in shop.staff.get("/v1/payouts")["items"] if item["order_number"] == "d"]
    assert shown["settled"] == [{"at": taken["at"], "amount": eur("30.00"), "payout": "payout-2"}]
    assert not shop.staff.get("/v1/payouts", state="netted")["items"]

    # A further payout forgives nobody anything: a merchant tells of none, and what was not due is owed as well.
    cent = {"kind": "paid_out", "at": format_moment(world.now()), "amount": eur("0.01")}
    for refused in (cent, {name: value for name, value in cent.items() if name != "amount"}):
        shop.staff.post(path, refused).problem(403)
    assert world.fact(netted, "paid_out", amount=eur("0.01"))["flags"] == ["over_payout"]
    owed = [{**expected["d"]["netted"][0], "amount": eur("0.01")}]
    assert payouts(shop.staff, shop)["d"] == {"state": "netted", "amount": eur("80.01"), "netted": owed}
    # In parts; the last one is more than was payable.
    assert world.fact(lessened, "paid_out", amount=eur("20.00"))["flags"] == []
    (part,) = [one for one in shop.staff.get("/v1/payouts", state="payable")["items"] if one["order_number"] == "e"]
    assert part["amount"] == eur("30.00")
    assert world.fact(lessened, "paid_out", amount=eur("40.00"))["flags"] == ["over_payout"], "which cases alone can tell"
    assert {one["order_number"] for one in shop.staff.get("/v1/payouts", state="netted")["items"]} == {"d", "e"}
    assert [each["amount"] for each in payouts(shop.staff, shop)["e"]["netted"]] == [eur("10.00")]
    world.bearer(buyers["b"].key).request("GET", "/v1/payouts").problem(403)
    other = world.shop()
    assert other.staff.get("/v1/payouts", merchant_id=shop.merchant_id) == {"items": []}
    shop.staff.request("GET", "/v1/payouts", params={"cursor": "x"}).problem(422)


@pytest.mark.rule("RD-10", "RD-11")
def test_usage_is_metered_by_shop_and_month_and_fetched_as_a_statement(world: World) -> None:
    shop, other = world.shop(), world.shop()
    month = f"{world.now():%Y-%m}"
    first = world.order(shop, channel="ebay", order_number="=HYPERLINK(1)")
    cases = [world.buyer(first).report(first, "other"), world.buyer(first).report(first, "not_received")]
    world.buyer(other_order := world.order(other)).report(other_order, "other")
    path = f"/v1/merchants/{shop.merchant_id}/usage"
    usage = shop.staff.get(path, month=month)
    assert (usage["merchant_id"], usage["month"], usage["reports"]) == (shop.merchant_id, month, 2)
    assert usage["cases_by_programme"] == {"buyer-protection": 2}
    assert [line["case_id"] for line in usage["lines"]] == sorted(case["case_id"] for case in cases)
    assert usage["lines"][0] | {"case_id": "", "reason": ""} == {
        "case_id": "",
        "order_id": first["order_id"],
        "order_number": "=HYPERLINK(1)",
        "programme": "buyer-protection",
        "reason": "",
        "channel": "ebay",
        "reported_at": cases[0]["opened_at"],
    }
    assert shop.staff.get(path) == usage
    answer = world.platform.request("GET", path, params={"month": month}, headers={"Accept": "text/csv"})
    assert answer.headers["content-type"] == "text/csv; header=present; charset=utf-8"
    assert "attachment" in answer.headers["content-disposition"]
    rows = list(csv.DictReader(io.StringIO(answer.ok().decode())))
    assert [row["case_id"] for row in rows] == [line["case_id"] for line in usage["lines"]]
    assert {(row["merchant_id"], row["month"], row["order_number"]) for row in rows} == {
        (shop.merchant_id, month, "'=HYPERLINK(1)")
    }
    world.advance_to(format_moment((world.now().replace(day=1) + days(32)).replace(day=3)))
    assert shop.staff.get(path)["reports"] == 0
    later = world.order(shop)
    world.buyer(later).report(later, "other")
    assert shop.staff.get(path)["reports"] == 1
    assert shop.staff.get(path, month=month) == usage
    for wrong in ("2026-13", "march", "2026-3", "0001-01", "2026-03-01"):
        shop.staff.request("GET", path, params={"month": wrong}).problem(422)
    other.staff.request("GET", path).problem(404)
    world.buyer(first).request("GET", path).problem(404)


@pytest.mark.rule("OI-05", "OI-08", "NX-06")
def test_a_brand_s_refund_is_one_click_and_paid_by_the_platform(world: World, mode: Mode) -> None:
    """The brand does nothing more: what it clicked is owed by the platform, also while the provider fails."""
    shop = world.shop(programmes=["order-issues"])
    order = world.order(shop)
    buyer = world.buyer(order)
    world.fact(order, "paid_out", external_id="bank")
    case = buyer.report(order, "damaged", lines=[{"line_id": "1", "quantity": 1}])
    mode("fail")
    offered = shop.staff.act(case, "refund", refund_amount=eur("40.00"))
    assert (offered["state"], offered["turn"]) == ("awaiting_buyer", "buyer")
    assert ledger(world, order) == ("40.00", "0.00", "40.00")
    assert payouts(shop.staff, shop)[order["order_number"]]["state"] == "paid"
    assert buyer.act(case, "resolve")["outcome"] == "partially_refunded"
    assert ledger(world, order) == ("40.00", "0.00", "40.00")
    mode("ok")
    world.advance("P1D")
    assert ledger(world, order) == ("0.00", "40.00", "40.00")
    paid_once(world, order, "40.00")
    netted = payouts(shop.staff, shop)[order["order_number"]]
    assert (netted["state"], netted["netted"]) == ("netted", [{"case_id": case["case_id"], "amount": eur("40.00")}])


@pytest.mark.rule("NX-06")
def test_an_agent_pays_by_hand_what_the_provider_refuses(
    world: World, mode: Mode, reviewed: tuple[Shop, Json, Party, Json]
) -> None:
    shop, order, _, case = reviewed
    mode("fail")
    world.platform.act(case, "decide", outcome="refund", message="So it is.")
    (reserved,) = [one for one in world.platform.order(order["order_id"])["ledger"]["entries"] if one["kind"] == "reserved"]
    fact = {"kind": "refunded", "at": format_moment(world.now()), "external_id": reserved["cause"]["decision_id"]}
    path = f"/v1/orders/{order['order_id']}/facts"
    world.platform.post(path, {**fact, "amount": eur("80.00")}).ok()
    mode("ok")
    world.advance("P2D")
    assert ledger(world, order) == ("0.00", "80.00", "0.00")
    assert payments(world, order) == []
    entries = world.platform.order(order["order_id"])["ledger"]["entries"]
    assert [(one["kind"], one.get("confirmed_by")) for one in entries] == [("reserved", None), ("executed", "fact")]
    assert shop.staff.order(order["order_id"])["facts"][0]["flags"] == []


@pytest.mark.rule("NX-06", "CP-03")
def test_a_refund_that_a_claim_has_overtaken_is_not_paid_as_well(world: World, mode: Mode) -> None:
    shop = world.shop(programmes=["order-issues", "claims"])
    order = world.order(shop)
    issue = world.buyer(order).report(order, "damaged")
    mode("fail")
    shop.staff.act(issue, "refund")
    assert ledger(world, order) == ("80.00", "0.00", "0.00")
    chargeback = {"programme": "claims", "external_id": world.name("cb"), "amount": eur("80.00")}
    claim = world.platform.report(order, "chargeback", answer_by=format_moment(world.now() + days(9)), **chargeback)
    shop.staff.act(claim, "accept_claim")
    assert ledger(world, order) == ("0.00", "80.00", "0.00")
    mode("ok")
    world.advance("P1D")
    assert payments(world, order) == []
    assert ledger(world, order) == ("0.00", "80.00", "0.00")


@pytest.mark.rule("NX-06")
def test_killed_in_the_midst_of_payments_that_time_out_each_is_paid_once(start_world: Callable[..., World]) -> None:
    """Both processes of cases are killed while the provider has paid and not answered."""
    world = start_world(clock="2021-06-01T10:00:00Z", instances=2)
    shop = world.shop()
    orders = [world.order(shop) for _ in range(8)]
    cases = [world.buyer(order).report(order, "other") for order in orders]
    world.partner.post("/v1/sandbox/payments", {"mode": "timeout"}).ok()

    def decide(case: Json) -> int:
        agent = Party(world.base_url, world.platform.key, "agent")
        return agent.try_act(case, "decide", outcome="refund", message="So it is.").status

    with ThreadPoolExecutor(len(cases)) as pool:
        deciding = [pool.submit(decide, case) for case in cases]
        wait(deciding, timeout=60, return_when=FIRST_COMPLETED)
        for name, process in world.ready["services"].items():
            if name.startswith("cases"):
                os.kill(process["pid"], signal.SIGKILL)
        assert {future.result() for future in deciding} <= {200, 202}
    world.advance("PT10M")
    world.partner.post("/v1/sandbox/payments", {"mode": "late"}).ok()
    world.advance("P1D")
    for order in orders:
        assert ledger(world, order) == ("0.00", "80.00", "0.00")
        paid_once(world, order, "80.00")
