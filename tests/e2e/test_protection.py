"""The protection of an order: who has it, how long, how it is asked about and how it ends (BP-02 to 08, 26)."""

from datetime import timedelta

import pytest

from tests.e2e.world import World, days, eur, moment


@pytest.mark.rule("BP-02")
@pytest.mark.parametrize(
    ("profile", "activated", "reason"),
    [
        ({"certified_at": None}, True, "not_certified"),
        ({"seal_live_at": None}, True, "seal_not_live"),
        ({}, False, "not_activated"),
    ],
)
def test_an_order_is_protected_only_when_merchant_and_buyer_did_their_part(
    world: World, profile: dict[str, None], activated: bool, reason: str
) -> None:
    shop = world.shop(**profile)
    order = world.order(shop, protection_activated=activated)
    assert order["protection"]["state"] == "none"
    assert order["protection"]["reason"] == reason
    refused = world.buyer(order).try_report(order, "not_received").problem(409, "report-refused")
    assert refused["refusal"] == "not_protected"


@pytest.mark.rule("BP-02")
def test_a_certified_merchants_orders_are_protected_by_themselves(world: World) -> None:
    order = world.order(world.shop())
    assert order["protection"]["state"] == "active"
    assert order["payout"] == {"held": False}
    assert order["status"] == "open"


@pytest.mark.rule("BP-04")
@pytest.mark.parametrize(("shop_days", "order_days", "expected"), [(None, None, 30), (60, None, 60), (60, 14, 14)])
def test_protection_lasts_thirty_days_or_what_merchant_and_order_agree(
    world: World, shop_days: int | None, order_days: int | None, expected: int
) -> None:
    shop = world.shop(country="GB", **({"protection_days": shop_days} if shop_days else {}))
    placed = "2021-01-25T09:00:00Z"
    order = world.order(shop, placed_at=placed, **({"protection_days": order_days} if order_days else {}))
    # Europe/London goes to summer time on 2021-03-28: the same local time is an hour earlier in UTC from then on.
    end = moment(placed) + days(expected)
    expected_end = end - timedelta(hours=1) if end > moment("2021-03-28T01:00:00Z") else end
    assert moment(order["protection"]["ends_at"]) == expected_end


@pytest.mark.rule("BP-05")
def test_the_buyer_is_asked_seven_days_before_the_end_by_mail(world: World) -> None:
    order = world.order(world.shop())
    buyer = order["buyer"]["email"]
    world.advance("P22D")
    assert world.mails(buyer, "check_in") == []
    world.advance("P1DT2H")
    (mail,) = world.mails(buyer, "check_in")
    assert order["order_number"] in mail["subject"] + mail["text"]
    assert mail["order_id"] == order["order_id"]
    page = world.act_link(mail)
    assert page.order(order["order_id"])["order_id"] == order["order_id"]


@pytest.mark.rule("BP-05")
def test_a_check_in_follows_the_order_s_own_duration_and_a_past_one_is_never_sent(world: World) -> None:
    short = world.order(world.shop(), protection_days=9)
    old = world.order(world.shop(), placed_at="2021-01-01T00:00:00Z", protection_days=365 * 2)
    late = world.order(world.shop(), placed_at=(world.now() - days(25)).isoformat())
    assert "check_in_at" not in late["protection"] or late["protection"]["check_in_at"] is None
    assert moment(old["protection"]["check_in_at"]) > world.now()
    world.advance("P2DT2H")
    assert len(world.mails(short["buyer"]["email"], "check_in")) == 1
    world.advance("P4D")
    assert world.mails(late["buyer"]["email"], "check_in") == []


@pytest.mark.rule("BP-05", "BP-26")
def test_no_check_in_while_a_case_is_open_nor_after_the_end_nor_later(world: World) -> None:
    shop = world.shop()
    in_case, ended = world.order(shop), world.order(shop)
    case = world.buyer(in_case).report(in_case)
    world.buyer(ended).try_report(ended, "satisfied").ok()
    world.advance("P4D")
    shop.staff.act(case, "answer", refund="no", message="It is on its way.")
    world.advance("P19DT3H")
    assert world.buyer(in_case).act(case, "withdraw")["outcome"] == "withdrawn"
    world.advance("P2D")
    assert world.mails(in_case["buyer"]["email"], "check_in") == []
    assert world.mails(ended["buyer"]["email"], "check_in") == []


@pytest.mark.rule("BP-06")
def test_feedback_is_possible_before_and_after_the_check_in(world: World) -> None:
    early, late = world.order(world.shop()), world.order(world.shop())
    assert world.buyer(early).report(early, "not_received")["state"] == "submitted"
    world.advance("P24D")
    button = world.act_link(world.mail(late["buyer"]["email"], "check_in"))
    assert button.report(late, "no_refund")["state"] == "submitted"


@pytest.mark.rule("BP-07")
def test_satisfied_ends_the_protection_at_once(world: World) -> None:
    order = world.order(world.shop())
    buyer = world.buyer(order)
    body = buyer.try_report(order, "satisfied").ok()
    assert "case_id" not in body or body["case_id"] is None
    assert body["order"]["protection"]["state"] == "ended"
    after = buyer.order(order["order_id"])
    assert (after["protection"]["state"], after["protection"]["reason"]) == ("ended", "satisfied")
    assert after["cases"] == []
    assert buyer.try_report(order, "not_received").problem(409)["refusal"] == "protection_ended"
    assert buyer.try_report(order, "satisfied").problem(409)["refusal"] == "protection_ended"


@pytest.mark.rule("BP-07")
@pytest.mark.parametrize(
    ("reason", "state", "turn"),
    [("not_received", "submitted", "merchant"), ("no_refund", "submitted", "merchant"), ("other", "under_review", "platform")],
)
def test_each_option_goes_where_it_belongs(world: World, reason: str, state: str, turn: str) -> None:
    order = world.order(world.shop())
    case = world.buyer(order).report(order, reason)
    assert (case["state"], case["turn"], case["reason"]) == (state, turn, reason)


@pytest.mark.rule("BP-03")
def test_insolvency_must_be_declared_first(world: World) -> None:
    order = world.order(world.shop())
    refused = world.buyer(order).try_report(order, "merchant_insolvent").problem(409, "report-refused")
    assert refused["refusal"] == "merchant_not_insolvent"


@pytest.mark.rule("BP-08", "BP-10", "BP-21")
def test_the_merchant_sees_the_buyer_s_text_and_documents(world: World) -> None:
    shop = world.shop()
    order = world.order(shop)
    buyer = world.buyer(order)
    evidence = buyer.evidence(order).ok()
    case = buyer.report(order, text="It never came.", evidence=[evidence["evidence_id"]])
    seen = shop.staff.case(case["case_id"])
    assert seen["text"] == "It never came."
    assert seen["evidence"][0]["evidence_id"] == evidence["evidence_id"]
    assert shop.staff.get(f"/v1/evidence/{evidence['evidence_id']}/content") == b"%PDF-1.4\n%%EOF\n"
    assert (seen["order_number"], seen["order_amount"]) == (order["order_number"], eur("80.00"))
    assert moment(seen["order_date"]) == moment(order["placed_at"])
    assert seen["buyer"]["email"] == order["buyer"]["email"]
    assert "answer" in {entry["action"] for entry in seen["allowed_actions"]}


@pytest.mark.rule("BP-26")
def test_a_report_extends_the_protection_while_its_case_is_open(world: World) -> None:
    shop = world.shop()
    order = world.order(shop)
    buyer = world.buyer(order)
    case = buyer.report(order)
    world.advance("P4D")
    shop.staff.act(case, "answer", refund="yes_after_return", message="Please send it back.")
    world.advance("P19D")
    buyer.act(case, "return_sent")
    world.advance("P13D")
    assert moment(order["protection"]["ends_at"]) < world.now()
    during = buyer.order(order["order_id"])
    assert during["protection"]["state"] == "active"
    assert during["payout"]["held"] is True
    assert during["status"] == "reported_problem"
    assert buyer.try_report(order, "no_refund").ok()["case_id"]
    for open_case in buyer.order(order["order_id"])["cases"]:
        buyer.act({"case_id": open_case}, "withdraw")
    after = buyer.order(order["order_id"])
    assert after["protection"]["state"] == "expired"
    assert after["payout"]["held"] is False
    assert after["status"] == "completed"


@pytest.mark.rule("BP-26")
def test_expiry_needs_no_event_and_refuses_reports(world: World) -> None:
    order = world.order(world.shop())
    world.advance("P31D")
    buyer = world.buyer(order)
    assert buyer.order(order["order_id"])["protection"]["state"] == "expired"
    assert buyer.try_report(order, "not_received").problem(409)["refusal"] == "protection_expired"
    assert buyer.try_report(order, "satisfied").problem(409)["refusal"] == "protection_expired"


def test_a_second_report_for_the_same_reason_is_refused_another_reason_opens_another_case(world: World) -> None:
    order = world.order(world.shop())
    buyer = world.buyer(order)
    first = buyer.report(order)
    assert buyer.try_report(order, "not_received").problem(409)["refusal"] == "already_open"
    assert buyer.try_report(order, "satisfied").problem(409)["refusal"] == "already_open"
    second = buyer.report(order, "no_refund")
    assert buyer.order(order["order_id"])["cases"] == [first["case_id"], second["case_id"]]
    assert buyer.try_report(order, "too_loud").problem(409)["refusal"] == "reason_unknown"


def test_who_may_report(world: World) -> None:
    shop = world.shop()
    order = world.order(shop)
    shop.staff.try_report(order, "not_received").problem(403)
    by_platform = world.platform.report(order)
    history = world.platform.get(f"/v1/cases/{by_platform['case_id']}/history")["items"]
    assert history[0]["actor"]["role"] == "platform"
    assert history[0]["actor"]["acts_for"] == "buyer"
