"""How a case of buyer protection moves, through the public API alone (BP-09 to 19, 21, 22, 27)."""

from typing import Any

import pytest

from tests.e2e.world import Party, Shop, World, days_after, eur, moment

Opened = tuple[Shop, dict[str, Any], Party, dict[str, Any]]


@pytest.fixture
def opened(world: World) -> Opened:
    """A shop, an order of 80 EUR, its buyer and a case for `not_received`."""
    shop = world.shop()
    order = world.order(shop)
    buyer = world.buyer(order)
    return shop, order, buyer, buyer.report(order)


def answered(opened: Opened, **fields: Any) -> dict[str, Any]:
    shop, _, _, case = opened
    return shop.staff.act(case, "answer", **{"refund": "yes", "message": "We refund you.", **fields})


def ledger(world: World, order: dict[str, Any]) -> dict[str, str]:
    book = world.platform.order(order["order_id"])["ledger"]
    return {name: book[name]["amount"] for name in ("paid", "reserved", "executed", "refundable")}


@pytest.mark.rule("BP-09", "CP-01")
def test_a_new_case_tells_the_merchant_twice(world: World, opened: Opened) -> None:
    shop, order, _, case = opened
    mail = world.mail(shop.contract_email, "case_opened")
    assert order["order_number"] in mail["subject"] + mail["text"]
    assert mail["case_id"] == case["case_id"]
    button = world.act_link(mail)
    assert button.case(case["case_id"])["state"] == "submitted"
    listed = shop.staff.get("/v1/cases", attention="true")["items"]
    assert [entry["case_id"] for entry in listed] == [case["case_id"]]
    assert button.act(case, "answer", refund="no", message="It comes tomorrow.")["state"] == "awaiting_buyer"


@pytest.mark.rule("BP-09")
def test_mails_go_to_the_addresses_of_the_contract(world: World) -> None:
    name = world.name("multi")
    notify = [{"kind": "new_case", "email": f"a@{name}.example"}, {"kind": "all", "email": f"b@{name}.example"}]
    shop = world.shop(notify=notify)
    order = world.order(shop)
    buyer = world.buyer(order)
    case = buyer.report(order)
    world.mail(f"a@{name}.example", "case_opened")
    world.mail(f"b@{name}.example", "case_opened")
    buyer.post(f"/v1/cases/{case['case_id']}/messages", {"text": "Any news?"}).ok()
    world.mail(f"b@{name}.example", "message")
    assert world.mails(f"a@{name}.example", "message") == []


@pytest.mark.rule("BP-10")
def test_the_button_s_page_shows_the_case_and_the_form_without_javascript(world: World, opened: Opened) -> None:
    shop, order, _, case = opened
    (link,) = [link for link in world.mail(shop.contract_email, "case_opened")["links"] if link["rel"] == "act"]
    answer = shop.staff.request("GET", link["url"])
    page = answer.ok().decode()
    assert answer.headers["content-type"].startswith("text/html")
    assert "<script" not in page
    for expected in (order["order_number"], order["buyer"]["email"], "80", "<form", 'name="message"'):
        assert expected in page, expected
    assert case["case_id"] in page


@pytest.mark.rule("BP-11")
@pytest.mark.parametrize(
    "fields", [{"refund": "yes"}, {"refund": "no", "message": ""}, {"message": "hello"}, {"refund": "maybe", "message": "x"}]
)
def test_an_answer_needs_its_choice_and_a_message(opened: Opened, fields: dict[str, str]) -> None:
    shop, _, _, case = opened
    problem = shop.staff.try_act(case, "answer", **fields).problem(422, "invalid-input")
    assert problem["errors"][0]["pointer"] in ("/message", "/refund")
    assert shop.staff.case(case["case_id"])["version"] == case["version"]


@pytest.mark.rule("BP-12")
def test_the_amount_is_prefilled_and_a_smaller_one_is_partial(world: World, opened: Opened) -> None:
    shop, order, _, case = opened
    (answer,) = [entry for entry in shop.staff.case(case["case_id"])["allowed_actions"] if entry["action"] == "answer"]
    assert answer["fields"]["properties"]["refund_amount"]["default"] == eur("80.00")
    too_much = shop.staff.try_act(case, "answer", refund="yes", message="x", refund_amount=eur("80.01")).problem(422)
    assert too_much["errors"][0]["pointer"].startswith("/refund_amount")
    moved = answered(opened, refund_amount=eur("30.00"))
    assert moved["refund"]["variant"] == "partial"
    assert ledger(world, order) == {"paid": "80.00", "reserved": "30.00", "executed": "0.00", "refundable": "50.00"}


@pytest.mark.rule("BP-12", "NX-06")
def test_what_an_earlier_refund_took_is_no_longer_offered(world: World) -> None:
    shop = world.shop()
    order = world.order(shop)
    world.fact(order, "refunded", amount=eur("20.00"), external_id="psp-1")
    case = world.buyer(order).report(order)
    moved = shop.staff.act(case, "answer", refund="yes", message="The rest.")
    assert moved["refund"]["proposed"] == eur("60.00")
    assert moved["refund"]["variant"] == "full"
    assert ledger(world, order) == {"paid": "80.00", "reserved": "60.00", "executed": "20.00", "refundable": "0.00"}


@pytest.mark.rule("BP-13", "NX-01")
def test_the_buyer_is_mailed_the_answer_with_date_and_button_and_has_twenty_days(world: World, opened: Opened) -> None:
    _, order, _, case = opened
    moved = answered(opened)
    (deadline,) = moved["deadlines"]
    assert deadline["party"] == "buyer"
    assert moment(deadline["due_at"]) == days_after(world.now(), 20)
    mail = world.mail(order["buyer"]["email"], "answer")
    assert "We refund you." in mail["text"]
    assert order["order_number"] in mail["text"]
    assert "80" in mail["text"]
    assert str(moment(deadline["due_at"]).year) in mail["text"]
    assert world.act_link(mail).act(case, "react", reaction="received")["outcome"] == "refunded"


@pytest.mark.rule("BP-14", "BP-26")
def test_a_full_refund_received_closes_the_case_and_ends_the_protection(world: World, opened: Opened) -> None:
    _, order, buyer, case = opened
    answered(opened)
    closed = buyer.act(case, "react", reaction="received")
    assert (closed["state"], closed["outcome"], closed["turn"]) == ("resolved", "refunded", None)
    after = buyer.order(order["order_id"])
    assert after["protection"] == {"state": "ended", "reason": "case_outcome", "ends_at": closed["closed_at"]}
    assert after["payout"]["held"] is False
    assert after["status"] == "completed"
    assert ledger(world, order) == {"paid": "80.00", "reserved": "0.00", "executed": "80.00", "refundable": "0.00"}
    world.mail(order["buyer"]["email"], "case_closed")


@pytest.mark.rule("BP-14")
def test_a_full_refund_not_received_is_a_dispute(world: World, opened: Opened) -> None:
    _, order, buyer, case = opened
    answered(opened)
    disputed = buyer.act(case, "react", reaction="not_received", message="Nothing came.")
    assert (disputed["state"], disputed["turn"]) == ("under_review", "platform")
    assert ledger(world, order)["reserved"] == "80.00"
    assert case["case_id"] in {
        entry["case_id"] for entry in world.platform.get("/v1/cases", attention="true", order_id=order["order_id"])["items"]
    }


@pytest.mark.rule("BP-15")
def test_a_partial_refund_can_be_disagreed_with(world: World, opened: Opened) -> None:
    _, order, buyer, case = opened
    partial = answered(opened, refund_amount=eur("10.00"))
    choices = {entry["action"]: entry for entry in buyer.case(case["case_id"])["allowed_actions"]}["react"]
    assert set(choices["fields"]["properties"]["reaction"]["enum"]) == {"received", "not_received", "disagree"}
    assert partial["refund"]["variant"] == "partial"
    assert buyer.act(case, "react", reaction="disagree")["state"] == "under_review"
    assert buyer.order(order["order_id"])["protection"]["state"] == "active"


@pytest.mark.rule("BP-15", "BP-26")
def test_a_partial_refund_received_closes_the_case_and_leaves_the_protection(world: World, opened: Opened) -> None:
    _, order, buyer, case = opened
    answered(opened, refund_amount=eur("10.00"))
    assert buyer.act(case, "react", reaction="received")["outcome"] == "partially_refunded"
    assert buyer.order(order["order_id"])["protection"]["state"] == "active"
    assert ledger(world, order) == {"paid": "80.00", "reserved": "0.00", "executed": "10.00", "refundable": "70.00"}


@pytest.mark.rule("BP-16", "BP-26")
@pytest.mark.parametrize(
    ("reaction", "state", "protection"), [("accept", "resolved", "ended"), ("disagree", "under_review", "active")]
)
def test_no_refund_is_accepted_or_disputed(opened: Opened, reaction: str, state: str, protection: str) -> None:
    _, order, buyer, case = opened
    answered(opened, refund="no", message="It is late but coming.")
    buyer.try_act(case, "react", reaction="received").problem(422)
    moved = buyer.act(case, "react", reaction=reaction)
    assert moved["state"] == state
    assert moved.get("outcome") == ("no_refund_accepted" if reaction == "accept" else None)
    assert buyer.order(order["order_id"])["protection"]["state"] == protection


@pytest.mark.rule("BP-17")
@pytest.mark.parametrize(("refund", "executed"), [("yes", "80.00"), ("no", "0.00")])
def test_the_buyer_s_silence_closes_the_case_after_twenty_days(
    world: World, opened: Opened, refund: str, executed: str
) -> None:
    _, order, buyer, case = opened
    answered(opened, refund=refund)
    world.advance("P19D")
    assert buyer.case(case["case_id"])["state"] == "awaiting_buyer"
    world.mail(order["buyer"]["email"], "reminder")
    world.advance("P1DT2H")
    closed = buyer.case(case["case_id"])
    assert (closed["state"], closed["outcome"]) == ("resolved", "no_reaction")
    assert ledger(world, order)["executed"] == executed
    assert ledger(world, order)["reserved"] == "0.00"
    assert buyer.order(order["order_id"])["payout"]["held"] is False
    assert closed["closed_at"] < world.now().isoformat()


@pytest.mark.rule("BP-18")
def test_the_merchant_s_silence_puts_the_case_under_review_after_five_days(world: World, opened: Opened) -> None:
    shop, _, _, case = opened
    (deadline,) = case["deadlines"]
    world.advance("P4D")
    assert shop.staff.case(case["case_id"])["state"] == "submitted"
    world.mail(shop.contract_email, "reminder")
    world.advance("P1DT2H")
    moved = shop.staff.case(case["case_id"])
    assert (moved["state"], moved["turn"]) == ("under_review", "platform")
    (silence,) = [
        entry
        for entry in shop.staff.get(f"/v1/cases/{case['case_id']}/history")["items"]
        if entry.get("data", {}).get("action") == "silence"
    ]
    assert silence["at"] == deadline["due_at"]
    assert "answer" in shop.staff.allowed(case)
    assert shop.staff.act(case, "answer", refund="yes", message="Sorry for the delay.")["state"] == "awaiting_buyer"


@pytest.mark.rule("BP-19")
@pytest.mark.parametrize(
    ("outcome", "amount", "state", "result", "executed"),
    [
        ("refund", None, "resolved", "decided_refund", "80.00"),
        ("partial_refund", "25.00", "resolved", "decided_partial_refund", "25.00"),
        ("no_refund", None, "rejected", "decided_no_refund", "0.00"),
    ],
)
def test_the_platform_decides(
    world: World, opened: Opened, outcome: str, amount: str | None, state: str, result: str, executed: str
) -> None:
    shop, order, buyer, case = opened
    answered(opened, refund_amount=eur("5.00"))
    buyer.act(case, "react", reaction="disagree")
    fields = {"refund_amount": eur(amount)} if amount else {}
    decided = world.platform.act(case, "decide", outcome=outcome, message="After looking at both sides.", **fields)
    assert (decided["state"], decided["outcome"]) == (state, result)
    assert ledger(world, order) | {"paid": "80.00"} == {
        "paid": "80.00",
        "reserved": "0.00",
        "executed": executed,
        "refundable": f"{80 - float(executed):.2f}",
    }
    world.mail(order["buyer"]["email"], "decision")
    world.mail(shop.contract_email, "decision") if shop.profile["notify"][0]["kind"] == "all" else None
    buyer.try_act(case, "react", reaction="received").problem(409, "action-not-allowed")


@pytest.mark.rule("BP-19")
def test_the_platform_asks_a_party_for_evidence_with_a_deadline(world: World, opened: Opened) -> None:
    shop, order, buyer, _ = opened
    case = buyer.report(order, "other")
    asked = world.platform.act(case, "request_evidence", party="buyer", message="Please send a photo.", due_in="P3D")
    assert (asked["state"], asked["turn"]) == ("awaiting_evidence", "buyer")
    (deadline,) = asked["deadlines"]
    assert moment(deadline["due_at"]) == days_after(world.now(), 3)
    world.mail(order["buyer"]["email"], "evidence_requested")
    photo = buyer.evidence(order, b"\x89PNG\r\n\x1a\n" + b"\0" * 32, "photo.png").ok()
    for evidence in ([], [photo["evidence_id"]]):  # that it is not open is said before that the file is another's
        shop.staff.try_act(case, "provide_evidence", evidence=evidence).problem(409)
    wrong = buyer.try_act(case, "provide_evidence", evidence=["evd_unknown"]).problem(422)
    assert [each["pointer"] for each in wrong["errors"]] == ["/evidence/0"]
    back = buyer.act(case, "provide_evidence", evidence=[photo["evidence_id"]])
    assert back["state"] == "under_review"
    assert [each["evidence_id"] for each in back["evidence"]] == [photo["evidence_id"]]
    world.platform.act(case, "request_evidence", party="merchant", message="And you?")
    world.advance("P7DT2H")
    assert world.platform.case(case["case_id"])["state"] == "under_review"


@pytest.mark.rule("BP-19")
def test_a_solution_that_both_accept_is_settled(world: World, opened: Opened) -> None:
    shop, order, buyer, _ = opened
    case = buyer.report(order, "other")
    world.platform.act(case, "propose", message="Meet in the middle?", refund_amount=eur("40.00"))
    assert buyer.act(case, "accept_proposal")["state"] == "under_review"
    assert ledger(world, order)["reserved"] == "0.00"
    settled = shop.staff.act(case, "accept_proposal")
    assert (settled["state"], settled["outcome"]) == ("resolved", "settled")
    assert ledger(world, order)["executed"] == "40.00"


@pytest.mark.rule("BP-19")
def test_a_declined_or_unanswered_proposal_ends(world: World, opened: Opened) -> None:
    shop, order, buyer, _ = opened
    case = buyer.report(order, "other")
    world.platform.act(case, "propose", message="Half?", refund_amount=eur("40.00"))
    declined = shop.staff.act(case, "decline_proposal", message="No.")
    assert declined["state"] == "under_review"
    assert "accept_proposal" not in buyer.allowed(case)
    world.platform.act(case, "propose", message="A third?", refund_amount=eur("26.00"))
    buyer.act(case, "accept_proposal")
    world.advance("P7DT2H")
    assert "accept_proposal" not in shop.staff.allowed(case)
    assert ledger(world, order) == {"paid": "80.00", "reserved": "0.00", "executed": "0.00", "refundable": "80.00"}


@pytest.mark.rule("BP-21", "BP-22")
def test_one_thread_for_three_parties_also_after_the_end(world: World, opened: Opened) -> None:
    shop, order, buyer, case = opened
    proof = shop.staff.evidence(order).ok()
    path = f"/v1/cases/{case['case_id']}/messages"
    shop.staff.post(path, {"text": "Here is the proof of delivery.", "evidence": [proof["evidence_id"]]}).ok()
    world.platform.post(path, {"text": "Thank you both."}).ok()
    world.mail(order["buyer"]["email"], "message")
    answered(opened, refund="no", message="It was delivered.")
    buyer.act(case, "react", reaction="accept")
    buyer.post(path, {"text": "Found it at the neighbour's."}).ok()
    shop.staff.act(case, "note", text="nice buyer")
    thread = buyer.get(path)["items"]
    assert [message["text"] for message in thread] == [
        "Here is the proof of delivery.",
        "Thank you both.",
        "It was delivered.",
        "Found it at the neighbour's.",
    ]
    assert thread[0]["evidence"][0]["evidence_id"] == proof["evidence_id"]
    assert "nice buyer" in {message["text"] for message in shop.staff.get(path)["items"]}
    assert buyer.case(case["case_id"])["state"] == "resolved"


@pytest.mark.rule("BP-22", "NX-01")
def test_the_buyer_sees_what_happens_next_and_until_when(world: World, opened: Opened) -> None:
    _, order, buyer, case = opened
    seen = buyer.case(case["case_id"])
    (deadline,) = seen["deadlines"]
    assert deadline["on_silence"]["state"] == "under_review"
    assert deadline["on_silence"]["text"]
    link = world.platform.post(f"/v1/orders/{order['order_id']}/links", {"for": "buyer"}).ok()["url"]
    page = buyer.request("GET", link).ok().decode()
    assert deadline["on_silence"]["text"] in page or "platform" in page


@pytest.mark.rule("BP-27")
def test_the_goods_go_back_then_the_refund(world: World, opened: Opened) -> None:
    shop, order, buyer, case = opened
    waiting = answered(opened, refund="yes_after_return", message="Send it back, please.")
    assert (waiting["state"], waiting["turn"]) == ("awaiting_return", "buyer")
    assert moment(waiting["deadlines"][0]["due_at"]) == days_after(world.now(), 20)
    assert "confirm_return" in shop.staff.allowed(case)
    sent = buyer.act(case, "return_sent", tracking_code="T-1", carrier="DHL")
    assert (sent["state"], sent["turn"]) == ("awaiting_return", "merchant")
    assert [deadline["party"] for deadline in sent["deadlines"]] == ["merchant"]
    back = shop.staff.act(case, "confirm_return")
    assert (back["state"], back["turn"]) == ("awaiting_buyer", "buyer")
    assert buyer.act(case, "react", reaction="received")["outcome"] == "refunded"
    assert ledger(world, order)["executed"] == "80.00"


@pytest.mark.rule("BP-27", "CP-06")
def test_a_fact_shows_that_the_goods_went_back(world: World, opened: Opened) -> None:
    _, order, buyer, case = opened
    answered(opened, refund="yes_after_return", message="Send it back, please.")
    world.fact(order, "returned", tracking_code="T-2", external_id="carrier-1")
    world.advance("PT1S")
    moved = buyer.case(case["case_id"])
    assert (moved["state"], moved["turn"]) == ("awaiting_return", "merchant")
    assert "returned" in {fact["kind"] for fact in moved["facts"]}
    world.advance("P14DT2H")
    assert buyer.case(case["case_id"])["state"] == "under_review"


@pytest.mark.rule("BP-27", "BP-17")
def test_goods_never_sent_back_close_the_case_without_a_refund(world: World, opened: Opened) -> None:
    _, order, buyer, case = opened
    answered(opened, refund="yes_after_return", message="Send it back, please.")
    world.advance("P20DT2H")
    closed = buyer.case(case["case_id"])
    assert (closed["state"], closed["outcome"]) == ("resolved", "no_reaction")
    assert ledger(world, order) == {"paid": "80.00", "reserved": "0.00", "executed": "0.00", "refundable": "80.00"}


def test_withdraw_take_over_and_reopen(world: World, opened: Opened) -> None:
    _, order, buyer, case = opened
    answered(opened)
    assert world.platform.act(case, "take_over")["state"] == "under_review"
    gone = buyer.act(case, "withdraw")
    assert (gone["state"], gone["outcome"]) == ("resolved", "withdrawn")
    assert ledger(world, order)["reserved"] == "0.00"
    again = world.platform.act(case, "reopen", message="A new fact came up.")
    assert again["state"] == "under_review"
    assert again.get("outcome") is None
    assert world.platform.order(order["order_id"])["payout"]["held"] is True
    world.platform.act(case, "decide", outcome="no_refund", message="No.")
    world.advance("P31D")
    world.platform.try_act(case, "reopen", message="Too late.").problem(409)
