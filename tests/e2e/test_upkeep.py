"""What a merchant keeps current: its service contact, who is told of what, and its return information."""

import pytest

from tests.e2e.conftest import Start
from tests.e2e.world import World

URL = "https://shop.example/returns"


@pytest.mark.rule("CP-01", "CP-05", "CP-08")
def test_every_mail_and_case_says_how_to_reach_the_merchant_as_it_is_today(world: World) -> None:
    shop = world.shop(return_policy_url=URL)
    order = world.order(shop)
    buyer = world.buyer(order)
    case = buyer.report(order)
    contact = {"name": shop.profile["name"], **shop.profile["service_contact"], "return_policy_url": URL}
    for reader in (buyer, shop.staff, world.platform):
        assert reader.case(case["case_id"])["service_contact"] == contact
    assert [each["service_contact"] for each in buyer.get("/v1/cases")["items"]] == [contact]
    opened = world.mail(order["buyer"]["email"], "case_opened")
    moved = {"email": f"new@{shop.merchant_id}.example", "phone": "+49 30 654321", "url": "https://shop.example/help"}
    world.platform.request("PUT", f"/v1/merchants/{shop.merchant_id}", json={**shop.profile, "service_contact": moved}).ok()
    shop.staff.act(case, "answer", refund="no", message="It comes tomorrow.")
    world.advance("PT1S")
    answered = world.mail(order["buyer"]["email"], "answer")
    for mail, known in ((opened, shop.profile["service_contact"]), (answered, moved)):
        assert all(value in mail["text"] for value in (known["email"], known["phone"], URL))
        assert all(value in mail["html"] for value in (known["email"], known["phone"], URL))
    assert buyer.case(case["case_id"])["service_contact"] == {"name": shop.profile["name"], **moved, "return_policy_url": URL}


@pytest.mark.rule("CP-02")
def test_the_merchant_says_who_is_told_of_what(world: World) -> None:
    """`new_case`: of new cases alone; `all`: of everything; who is named for neither hears nothing."""
    name = world.name("told")
    cases, everything = f"cases@{name}.example", f"all@{name}.example"
    shop = world.shop(notify=[{"kind": "new_case", "email": cases}, {"kind": "all", "email": everything}])
    order = world.order(shop)
    buyer = world.buyer(order)
    case = buyer.report(order)
    buyer.post(f"/v1/cases/{case['case_id']}/messages", {"text": "Hello?"}).ok()
    world.advance("PT1S")
    assert {mail["kind"] for mail in world.mails(cases)} == {"case_opened"}
    assert {mail["kind"] for mail in world.mails(everything)} == {"case_opened", "message"}
    notify = [{"kind": "new_case", "email": everything}]
    world.platform.request("PUT", f"/v1/merchants/{shop.merchant_id}", json={**shop.profile, "notify": notify}).ok()
    before = len(world.mails(cases))
    buyer.post(f"/v1/cases/{case['case_id']}/messages", {"text": "Still there?"}).ok()
    buyer.report(order, "no_refund")
    world.advance("PT1S")
    assert len(world.mails(cases)) == before
    assert [mail["kind"] for mail in world.mails(everything)].count("message") == 2  # with nobody for all, new_case hears it
    world.platform.request("PUT", f"/v1/merchants/{shop.merchant_id}", json={**shop.profile, "notify": []}).ok()
    buyer.post(f"/v1/cases/{case['case_id']}/messages", {"text": "Anybody?"}).ok()
    world.advance("PT1S")
    assert world.mail(shop.profile["service_contact"]["email"], "message")


@pytest.mark.rule("CP-05")
def test_return_information_that_nobody_confirmed_for_a_year_is_asked_after(start_world: Start) -> None:
    world = start_world(clock="2021-02-20T10:00:00Z")
    old, kept = world.shop(return_policy_url=URL), world.shop(return_policy_url=URL)
    none = world.shop()
    world.advance("P350D")
    confirmed = world.platform.request("PUT", f"/v1/merchants/{kept.merchant_id}", json=kept.profile).ok()
    assert confirmed["return_info_at"].startswith("2022-02-05")
    world.advance("P20D")
    mail = world.mail(old.contract_email, "return_info_reminder")
    assert URL in mail["text"]
    for shop in (kept, none):
        assert world.mails(shop.contract_email, "return_info_reminder") == []
    world.advance("P366D")
    assert len(world.mails(old.contract_email, "return_info_reminder")) == 2
    assert len(world.mails(kept.contract_email, "return_info_reminder")) == 1
