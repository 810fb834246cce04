"""Guests of a form: what they may bring along, and how much."""

import pytest

from services.gateway.buckets import Buckets
from services.gateway.resources import messages
from tests.component.gateway.platform import Client, Platform

PDF = b"%PDF-1.4\n%%EOF\n"


async def guest_of(platform: Platform) -> tuple[str, Client, Client]:
    """A case that a form has opened on a registered order: its id, its guest, and the order's buyer."""
    merchant_id, staff = await platform.shop()
    order = await platform.order(merchant_id)
    form = await staff.made(f"/v1/merchants/{merchant_id}/forms", {"channel": "shop"})
    fields = {"order_number": order["order_number"], "email": order["buyer"]["email"].upper(), "reason": "other", "text": "Hm."}
    told = await platform.nobody.ask(
        "POST", f"/v1/forms/{form['token']}/reports", data=fields, files={"file": ("bill.pdf", PDF, "application/pdf")}
    )
    assert told.status_code == 201, told.text
    return told.json()["case_id"], platform.client(told.json()["link"]["token"]), await platform.buyer(order)


async def uploaded(client: Client, order_id: str) -> str:
    answer = await client.ask("POST", "/v1/evidence", data={"order_id": order_id}, files={"file": ("a.pdf", PDF)})
    assert answer.status_code == 201, answer.text
    return answer.json()["evidence_id"]


@pytest.mark.rule("RD-03", "NX-14", "NX-15")
async def test_a_guest_shows_around_what_it_has_uploaded_itself(platform: Platform) -> None:
    case_id, guest, buyer = await guest_of(platform)
    case = await guest.get(f"/v1/cases/{case_id}")
    of_form = case["evidence"][0]["evidence_id"]
    assert (await guest.ask("GET", f"/v1/evidence/{of_form}/content")).content == PDF
    mine, foreign = await uploaded(guest, case["order_id"]), await uploaded(buyer, case["order_id"])
    path = f"/v1/cases/{case_id}/messages"
    assert (await guest.post(path, {"text": "Here", "evidence": [mine]})).status_code == 201
    refused = await guest.post(path, {"text": "And this", "evidence": [foreign]})
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/evidence/0")
    assert (await guest.ask("GET", f"/v1/evidence/{foreign}")).status_code == 404


@pytest.mark.rule("RD-02", "RD-03")
async def test_mails_about_a_form_go_to_the_order_s_address_as_it_was_registered(platform: Platform) -> None:
    case_id, guest, buyer = await guest_of(platform)
    order = (await buyer.get("/v1/orders"))["items"][0]
    assert (await guest.get(f"/v1/cases/{case_id}"))["contact"]["email"] == order["buyer"]["email"]


@pytest.mark.rule("NX-15")
async def test_a_guest_writes_as_much_as_a_person(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(messages, "_GUESTS", Buckets(2, 0.001))
    case_id, guest, buyer = await guest_of(platform)
    path = f"/v1/cases/{case_id}/messages"
    given = [await guest.post(path, {"text": f"Message {number}"}) for number in range(3)]
    assert [answer.status_code for answer in given] == [201, 201, 429]
    assert int(given[2].headers["retry-after"]) > 0
    assert [(await buyer.post(path, {"text": "I am the buyer"})).status_code for _ in range(3)] == [201] * 3
