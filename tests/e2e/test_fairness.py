"""What is fair to both sides, through the public API: the issue rate of a merchant (OI-11, NX-10) and outages (NX-08)."""

from datetime import timedelta

import pytest

from contracts.base import parse_moment
from tests.e2e.world import Json, Shop, World, days, send_mail
from tests.written_mails import WRITTEN, Envelope


def orders(world: World, shop: Shop, count: int) -> list[Json]:
    return [world.order(shop) for _ in range(count)]


def rate(world: World, shop: Shop) -> Json:
    world.advance("PT1M")
    return shop.staff.get(f"/v1/merchants/{shop.merchant_id}/issue-rate")


@pytest.mark.rule("OI-11", "NX-10")
def test_a_merchant_is_warned_sanctioned_heard_and_restored(world: World) -> None:
    shop = world.shop()
    placed = orders(world, shop, 24)
    path = f"/v1/merchants/{shop.merchant_id}/issue-rate"
    quiet = rate(world, shop)
    assert (quiet["status"], quiet["orders"], quiet["reported_rate"]) == ("ok", 24, 0.0)
    assert (quiet["threshold"], quiet["warning_at"], quiet["window_days"]) == (0.05, 0.04, 90)

    buyers = [world.buyer(order) for order in placed[:2]]
    first = buyers[0].report(placed[0])
    warned = rate(world, shop)
    assert (warned["status"], warned["reported"], warned["sanction_rate"]) == ("warning", 1, 0.0417)
    assert "statement" not in warned
    assert world.mail(shop.contract_email, "issue_rate")["subject"]

    second = buyers[1].report(placed[1])
    crossed = rate(world, shop)
    assert crossed["status"] == "sanctioned"
    assert crossed["statement"]["cases"] == sorted([first["case_id"], second["case_id"]])
    assert "8.3 %" in crossed["statement"]["text"]
    assert crossed["forecast"] == {"orders_to_recover": 16, "days": 60}
    assert len(world.mails(shop.contract_email, "issue_rate")) == 2

    world.partner.post(f"{path}/appeals", {"message": "It was the carrier."}).problem(404)
    appeal = shop.staff.post(f"{path}/appeals", {"message": "It was the carrier."}).ok()
    assert rate(world, shop)["status"] == "appealed"
    shop.staff.post(f"{path}/appeals", {"message": "Once more."}).problem(409, "appeal-not-open")
    decision = {"outcome": "rejected", "message": "You chose the carrier."}
    shop.staff.post(f"{path}/appeals/{appeal['appeal_id']}/decisions", decision).problem(403)
    decided = world.platform.post(f"{path}/appeals/{appeal['appeal_id']}/decisions", decision).ok()
    assert (decided["outcome"], decided["answer"]) == ("rejected", "You chose the carrier.")
    assert rate(world, shop)["status"] == "sanctioned"

    # A report that the buyer takes back is still shown, and no longer counts.
    buyers[1].act(second, "withdraw")
    restored = rate(world, shop)
    assert (restored["status"], restored["reported"], restored["counted"]) == ("warning", 2, 1)
    assert "statement" not in restored


@pytest.mark.rule("NX-10")
def test_an_upheld_appeal_takes_its_cases_out(world: World) -> None:
    shop = world.shop()
    placed = orders(world, shop, 20)
    path = f"/v1/merchants/{shop.merchant_id}/issue-rate/appeals"
    for order in placed[:2]:
        world.buyer(order).report(order)
    assert rate(world, shop)["status"] == "sanctioned"
    appeal = shop.staff.post(path, {"message": "The same parcel van burnt."}).ok()
    world.platform.post(f"{path}/{appeal['appeal_id']}/decisions", {"outcome": "upheld", "message": "So it did."}).ok()
    cleared = rate(world, shop)
    assert (cleared["status"], cleared["reported"], cleared["counted"]) == ("ok", 2, 0)
    shop.staff.post(path, {"message": "Again."}).problem(409, "appeal-not-open")


@pytest.mark.rule("NX-10")
def test_below_the_sample_nobody_is_judged(world: World) -> None:
    shop = world.shop()
    for order in orders(world, shop, 3):
        world.buyer(order).report(order)
    small = rate(world, shop)
    assert (small["status"], small["reported_rate"]) == ("ok", 1.0)


@pytest.mark.rule("NX-08", "NX-01", "NX-04", "CP-03")
def test_time_in_which_nobody_could_act_is_added_to_a_deadline(world: World) -> None:
    shop = world.shop(programmes=["buyer-protection", "claims"])
    order = world.order(shop)
    case = world.buyer(order).report(order)
    (before,) = case["deadlines"]
    asked = {"answer_by": before["due_at"], "external_id": world.name("psp")}
    claim = world.platform.report(order, "chargeback", programme="claims", **asked)
    world.advance("P1D")

    # Two days long, of which the deadline ran one.
    outage = world.platform.post("/v1/sandbox/outages", {"duration": "P2D"}).ok()
    assert parse_moment(outage["until"]) == world.now()
    (after,) = world.platform.case(case["case_id"])["deadlines"]
    assert after["extended_by"] == [{"reason": "outage", "duration": "P1D"}]
    assert parse_moment(after["due_at"]) == parse_moment(before["due_at"]) + days(1)

    world.advance_to(before["due_at"])
    assert world.platform.case(case["case_id"])["state"] == "submitted"

    # The provider's own date has passed as well: it stands, is told of, and closes nobody's door.
    extended = shop.staff.case(claim["case_id"])
    (deadline,) = extended["deadlines"]
    assert (extended["state"], extended["answer_by"], "unanswered" in extended) == ("submitted", before["due_at"], False)
    assert (deadline["due_at"], deadline["answer_by"]) == (after["due_at"], before["due_at"])
    assert deadline["extended_by"] == [{"reason": "outage", "duration": "P1D"}]
    assert deadline["text"].startswith("Der Anbieter hat die Antwort bis ")
    assert shop.staff.preview(claim, "note", text="What now?")["deadlines"] == extended["deadlines"]
    said = ("wegen eines Ausfalls auf unserer Seite verlängert", "Der Anbieter hat die Antwort bis ")
    (reminder,) = [each for each in world.mails(shop.contract_email, "reminder") if each["case_id"] == claim["case_id"]]
    (opened,) = [each for each in world.mails(shop.contract_email, "case_opened") if each["case_id"] == claim["case_id"]]
    bearer = world.act_link(opened)
    page = bearer.request("GET", f"/l/{bearer.key}").ok().decode()
    assert all(each in reminder["text"] and each in page for each in said)
    proof = shop.staff.evidence(order).ok()["evidence_id"]
    defended = shop.staff.act(claim, "defend", evidence=[proof], message="It was delivered.")
    assert (defended["state"], "unanswered" in defended) == ("under_review", False)

    world.advance_to(after["due_at"])
    assert world.platform.case(case["case_id"])["state"] == "under_review"


@pytest.mark.rule("NX-08", "NX-01")
def test_what_falls_due_in_an_outage_is_decided_over_when_that_is_recorded(world: World) -> None:
    """As after a real one: timers and gateways are back in any order, and silence waits for who records outages."""
    shop = world.shop()
    orders_placed = orders(world, shop, 2)
    case, other = (world.buyer(order).report(order) for order in orders_placed)
    (before,) = case["deadlines"]
    due_at = parse_moment(before["due_at"])
    world.advance_to(due_at - days(1))
    outage = world.platform.post("/v1/sandbox/outages", {"duration": "P3D", "begins": "now"}).ok()
    assert (parse_moment(outage["from"]), parse_moment(outage["until"])) == (due_at - days(1), due_at + days(2))

    world.advance("P2D")
    waiting = world.platform.case(case["case_id"])
    assert (waiting["state"], waiting["deadlines"]) == ("submitted", [before])
    answered = shop.staff.act(other, "answer", refund="no", message="It is in the post.")
    assert answered["state"] == "awaiting_buyer"

    world.advance_to(outage["until"])
    back = world.platform.case(case["case_id"])
    (after,) = back["deadlines"]
    assert (back["state"], after["extended_by"]) == ("submitted", [{"reason": "outage", "duration": "P3D"}])
    assert parse_moment(after["due_at"]) == due_at + days(3)
    assert after["on_silence"]["state"] == "under_review"
    world.platform.post("/v1/sandbox/outages", {"duration": "P2D"}).ok()
    (again,) = world.platform.case(case["case_id"])["deadlines"]
    assert again == after, "its two days are among the three"

    world.advance_to(after["due_at"])
    history = world.platform.get(f"/v1/cases/{case['case_id']}/history", limit=200)["items"]
    kinds = [each["type"] for each in history if each["type"] in ("case.deadline-extended", "case.moved")]
    assert kinds == ["case.deadline-extended", "case.moved"]
    assert world.platform.case(case["case_id"])["state"] == "under_review"
    assert world.platform.case(other["case_id"])["state"] == "awaiting_buyer"


@pytest.mark.rule("NX-08", "NX-01")
def test_a_notice_that_comes_back_gives_its_party_the_deadline_anew(world: World) -> None:
    shop = world.shop()
    case = world.buyer(order := world.order(shop)).report(order)
    (before,) = case["deadlines"]
    mail = world.mail(shop.contract_email, "case_opened")
    world.advance("P2D")
    for _ in range(2):  # servers repeat themselves
        come_back(world, mail, shop.contract_email)
    world.advance("PT1M")
    (back,) = world.platform.case(case["case_id"])["deadlines"]
    assert [each["reason"] for each in back["extended_by"]] == ["bounce"]
    lost = parse_moment(back["due_at"]) - parse_moment(before["due_at"])
    assert days(3) <= lost < days(3) + timedelta(hours=1), "a day ahead, until it is told"

    # A message of the buyer reaches the shop, whose mailbox is there again: it has its time from now on.
    world.advance("P1D")
    world.buyer(order).post(f"/v1/cases/{case['case_id']}/messages", {"text": "Hello?"}).ok()
    world.advance("PT1M")
    (anew,) = world.platform.case(case["case_id"])["deadlines"]
    lost = parse_moment(anew["due_at"]) - parse_moment(before["due_at"])
    assert days(3) <= lost < days(3) + timedelta(hours=1)
    assert [each["reason"] for each in anew["extended_by"]] == ["bounce"]

    # What comes back after silence was decided over undoes nothing by itself: money may have moved.
    told = world.mail(shop.contract_email, "message")
    world.advance_to(anew["due_at"])
    passed = world.platform.case(case["case_id"])
    assert (passed["state"], "untold" in passed) == ("under_review", False)
    come_back(world, told, shop.contract_email)
    world.advance("PT1M")
    late = world.platform.case(case["case_id"])
    assert (late["state"], late["untold"]) == ("under_review", True)


@pytest.mark.rule("NX-08")
def test_a_merchant_is_told_again_where_its_address_was_corrected(world: World) -> None:
    shop = world.shop()
    case = world.buyer(order := world.order(shop)).report(order)
    (before,) = case["deadlines"]
    come_back(world, world.mail(shop.contract_email, "case_opened"), shop.contract_email)
    world.advance("P2D")
    right = f"right@{shop.merchant_id}.example"
    for name in ("Teekanne", "Teekanne & Co"):  # that it is changed once more tells nobody twice
        profile = {**shop.profile, "name": name, "notify": [{"kind": "new_case", "email": right}]}
        world.platform.request("PUT", f"/v1/merchants/{shop.merchant_id}", json=profile).ok()
        world.advance("PT1M")
    told = world.mail(right, "case_opened")
    assert world.act_link(told).case(case["case_id"])["turn"] == "merchant"
    (anew,) = world.platform.case(case["case_id"])["deadlines"]
    lost = parse_moment(anew["due_at"]) - parse_moment(before["due_at"])
    assert days(2) <= lost < days(2) + timedelta(hours=1)
    history = world.platform.get(f"/v1/cases/{case['case_id']}/history")["items"]
    proofs = [entry["data"]["notice"] for entry in history if entry["type"] == "case.notice-recorded"]
    assert [(each["to"], each["state"]) for each in proofs if each["party"] == "merchant"] == [
        (shop.contract_email, "sent"),
        (shop.contract_email, "failed"),
        (right, "sent"),
    ]

    # This one comes back as well: the first mailbox was put right meanwhile, and is named anew.
    come_back(world, told, right)
    world.advance("PT1M")
    world.platform.request("PUT", f"/v1/merchants/{shop.merchant_id}", json=shop.profile).ok()
    world.advance("PT1M")
    assert len(world.mails(shop.contract_email, "case_opened")) == 2


def come_back(world: World, mail: Json, address: str) -> None:
    """A server sends a mail back for good."""
    bounce = next(each for each in WRITTEN if each.name == "a bounce for good")
    sent_back_to = "no-reply@recourse.example"
    send_mail(world.ready["smtp"], bounce.make(Envelope(address, sent_back_to, mail["message_id"])), sent_back_to)


@pytest.mark.rule("NX-08")
@pytest.mark.parametrize(
    "body",
    [
        {},
        {"duration": "P1D", "begins": "later"},
        {"duration": "P0D"},
        {"duration": "P91D"},
        {"duration": "a while"},
        {"duration": "P1D", "x": 1},
    ],
)
def test_an_outage_has_a_length(world: World, body: Json) -> None:
    assert world.platform.post("/v1/sandbox/outages", body).problem(422)["errors"]
