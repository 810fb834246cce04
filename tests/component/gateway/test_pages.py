"""The plain pages behind links: read, act, write and report without JavaScript."""

import re
from html import unescape
from html.parser import HTMLParser
from typing import Any

from contracts.capability import Capability, mint
from tests.component.gateway.platform import Client, Platform, order_body

PDF = b"%PDF-1.4\n%%EOF\n"


class _Forms(HTMLParser):
    """The forms of a page: where they are sent, and the inputs with their values."""

    def __init__(self) -> None:
        super().__init__()
        self.forms: list[dict[str, Any]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            assert (given["method"], given["enctype"]) == ("post", "multipart/form-data")
            self.forms.append({"to": given["action"], "fields": {}, "choices": {}, "names": set()})
        elif tag in ("input", "textarea") and self.forms:
            form = self.forms[-1]
            form["names"].add(given["name"])
            if given.get("type") == "radio":
                form["choices"].setdefault(given["name"], []).append(given["value"])
            elif given.get("type") != "file":
                form["fields"][given["name"]] = given.get("value", "")


def forms_of(page: str) -> list[dict[str, Any]]:
    reader = _Forms()
    reader.feed(page)
    return reader.forms


async def page_of(platform: Platform, token: str, **more: Any) -> tuple[str, list[dict[str, Any]]]:
    answer = await platform.nobody.ask("GET", f"/l/{token}", **more)
    assert answer.status_code == 200, answer.text
    headers = answer.headers
    assert headers["cache-control"] == "no-store"
    assert headers["referrer-policy"] == "no-referrer"
    assert "noindex" in headers["x-robots-tag"]
    assert "script" not in headers["content-security-policy"].replace("default-src 'none'", "")
    assert "<script" not in answer.text
    assert not re.search(r"\((\w+)\) \(\1\)", answer.text)  # that a field is optional is said once
    return answer.text, forms_of(answer.text)


async def send(platform: Platform, form: dict[str, Any], files: list[tuple[str, Any]] | None = None, **fields: str) -> Any:
    parts = [(name, (None, value)) for name, value in {**form["fields"], **fields}.items()] + (files or [])
    return await platform.nobody.ask("POST", form["to"], files=parts)


async def test_a_buyer_reports_reacts_and_writes_on_the_page(platform: Platform) -> None:
    merchant_id, staff = await platform.shop()
    order = await platform.order(merchant_id, order_number='<b>"4711"</b>')
    buyer = await platform.buyer(order)
    token = str(buyer.key)
    page, (form,) = await page_of(platform, token)
    assert "<b>" not in page
    assert '<html lang="en">' in page
    assert form["choices"]["reason"] == ["satisfied", "not_received", "no_refund", "other"]
    back = await send(
        platform, form, [("file", ("proof.pdf", PDF, "application/pdf"))], reason="not_received", text="Where <is> it?"
    )
    assert back.status_code == 303, back.text
    assert back.headers["location"].startswith(f"/l/{token}?said=done")
    again = await send(
        platform, form, [("file", ("proof.pdf", PDF, "application/pdf"))], reason="not_received", text="Where <is> it?"
    )
    assert again.status_code == 303, again.text
    order = await buyer.get(f"/v1/orders/{order['order_id']}")
    assert len(order["cases"]) == 1
    case = await buyer.get(f"/v1/cases/{order['cases'][0]}")
    assert case["text"] == "Where <is> it?"
    page, forms = await page_of(platform, token)
    assert "Waiting for the merchant's answer" in unescape(page)
    assert "platform takes the case over" in page
    assert "Where &lt;is&gt; it?" in page
    evidence = re.search(rf"/l/{re.escape(token)}/evidence/(evd_\w+)", page)
    assert evidence is not None
    content = await platform.nobody.ask("GET", evidence[0])
    assert content.content == PDF
    assert content.headers["content-disposition"].startswith("attachment")
    assert content.headers["x-content-type-options"] == "nosniff"

    assert (await staff.act(case["case_id"], "answer", refund="yes", message="Sorry!")).status_code == 200
    page, forms = await page_of(platform, token)
    assert "It is your turn" in page
    (react,) = [form for form in forms if form["fields"].get("action") == "react"]
    assert react["choices"]["reaction"] == ["received", "not_received"]
    (writing,) = [form for form in forms if form["to"].endswith("/messages")]
    assert (await send(platform, writing, text="  ")).status_code == 422
    assert (await send(platform, writing, text="Thank you")).status_code == 303
    assert (await send(platform, react, reaction="received")).status_code == 303
    closed = await buyer.get(f"/v1/cases/{case['case_id']}")
    assert (closed["outcome"], closed["allowed_actions"]) == ("refunded", [])
    late = await send(platform, react | {"fields": react["fields"] | {"nonce": "another"}}, reaction="received")
    assert late.status_code == 409
    assert "This could not be done" in late.text
    page, _ = await page_of(platform, token)
    assert "Refunded in full" in page
    assert "Thank you" in page


async def test_a_merchant_answers_on_the_page_of_its_mail(platform: Platform) -> None:
    case, _, buyer = await platform.reported()
    other = await buyer.made(f"/v1/orders/{case['order_id']}/reports", {"reason": "other", "text": "Something else"})
    capability = Capability(link_id="ntc_1", order_id=case["order_id"], role="merchant", case_id=case["case_id"])
    token = mint("of-the-tests", capability)
    staff = platform.client(token)
    assert (await staff.get(f"/v1/orders/{case['order_id']}"))["cases"] == [case["case_id"]]
    assert (await staff.ask("GET", f"/v1/cases/{other['case_id']}")).status_code == 404
    page, forms = await page_of(platform, token)
    assert '<html lang="de">' in page
    assert case["buyer"]["email"] in page
    assert "Something else" not in page
    (answer,) = [form for form in forms if form["fields"].get("action") == "answer"]
    assert answer["fields"]["refund_amount"] == "80.00"
    assert answer["choices"]["refund"] == ["yes", "yes_after_return", "no"]
    too_much = await send(platform, answer, refund="yes", message="Tut uns leid", refund_amount="80,01")
    assert too_much.status_code == 422
    assert "Tut uns leid" in too_much.text
    nonce = {"nonce": "n-2"}
    partial = await send(platform, answer, refund="yes", message="Tut uns leid", refund_amount="79,50", **nonce)
    assert partial.status_code == 303, partial.text
    answered = await staff.get(f"/v1/cases/{case['case_id']}")
    assert answered["answer"]["refund_amount"]["amount"] == "79.50"
    assert (await buyer.act(case["case_id"], "withdraw")).status_code == 200
    page, forms = await page_of(platform, token)
    assert forms == []
    assert "nur noch lesen" in page
    expired = await staff.post(f"/v1/cases/{case['case_id']}/messages", {"text": "Hello"})
    assert (expired.status_code, expired.json()["type"]) == (403, "/problems/link-expired")


async def test_what_was_refused_is_filled_in_again_in_its_own_form_alone(platform: Platform) -> None:
    case, _, buyer = await platform.reported()
    other = await buyer.made(f"/v1/orders/{case['order_id']}/reports", {"reason": "other", "text": "Something else"})
    _, forms = await page_of(platform, str(buyer.key))
    writing = {form["to"].split("/")[-2]: form for form in forms if form["to"].endswith("/messages")}
    assert writing.keys() == {case["case_id"], other["case_id"]}
    refused = await send(platform, writing[other["case_id"]], text="Pumpkin" + "x" * 10_000)
    assert refused.status_code == 422
    assert refused.text.count("Pumpkin") == 1
    assert refused.text.index("Pumpkin") > refused.text.index(writing[other["case_id"]]["to"])


async def test_a_no_leaves_out_the_amount_that_was_prefilled(platform: Platform) -> None:
    case, _, _ = await platform.reported()
    capability = Capability(link_id="ntc_1", order_id=case["order_id"], role="merchant", case_id=case["case_id"])
    token = mint("of-the-tests", capability)
    _, forms = await page_of(platform, token)
    (answer,) = [form for form in forms if form["fields"].get("action") == "answer"]
    refused = await send(platform, answer, refund="no", message="Es ist unterwegs")
    assert refused.status_code == 303, refused.text
    answered = await platform.agent.get(f"/v1/cases/{case['case_id']}")
    assert answered["answer"]["variant"] == "none"


async def test_links_expire_for_acting_and_unknown_ones_are_explained(platform: Platform) -> None:
    merchant_id, _ = await platform.shop()
    order = await platform.order(merchant_id)
    past = Capability.model_validate(
        {"link_id": "lnk_1", "order_id": order["order_id"], "role": "buyer", "expires_at": "2021-01-01T00:00:00Z"}
    )
    token = mint("of-the-tests", past)
    old: Client = platform.client(token)
    assert (await old.get(f"/v1/orders/{order['order_id']}"))["order_id"] == order["order_id"]
    for path, body in (
        (f"/v1/orders/{order['order_id']}/reports", {"reason": "not_received"}),
        (f"/v1/orders/{order['order_id']}/reports", {"reason": "satisfied"}),
    ):
        refused = await old.post(path, body)
        assert (refused.status_code, refused.json()["type"]) == (403, "/problems/link-expired")
    page, forms = await page_of(platform, token)
    assert forms == []
    assert "no longer acts" in page
    for wrong in ("rubbish", "a.b", mint("another-secret", past), token[:-2]):
        answer = await platform.nobody.ask("GET", f"/l/{wrong}", headers={"Accept-Language": "de"})
        assert answer.status_code == 404
        assert "nicht bekannt" in answer.text
    assert (await platform.client(mint("another-secret", past)).ask("GET", "/v1/orders")).status_code == 401
    foreign = await platform.order(merchant_id)
    assert (await old.ask("GET", f"/v1/orders/{foreign['order_id']}")).status_code == 404


async def test_link_requests_tell_nothing(platform: Platform) -> None:
    merchant_id, _ = await platform.shop()
    body = order_body(merchant_id)
    await platform.partner.made("/v1/orders", body)
    for asked in (
        {"order_number": body["order_number"], "email": body["buyer"]["email"]},
        {"order_number": body["order_number"], "email": "somebody@else.example"},
        {"order_number": "none", "email": "somebody@else.example"},
    ):
        answer = await platform.nobody.post("/v1/link-requests", asked)
        assert (answer.status_code, answer.json()) == (202, {"status": "accepted"})
    assert (await platform.nobody.post("/v1/link-requests", {"order_number": "1", "email": "x"})).status_code == 422
    for number in (body["order_number"], "none"):
        asked = {"order_number": number, "email": "once-more@else.example"}
        answers = [await platform.nobody.post("/v1/link-requests", asked) for _ in range(31)]
        assert [answer.status_code for answer in answers] == 30 * [202] + [429], "that tells nothing either"
        assert int(answers[-1].headers["retry-after"]) > 0
