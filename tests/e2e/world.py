"""The parties of a protection as clients of the public API: what an e2e test speaks in."""

import smtplib
import uuid
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import httpx

from contracts.base import format_moment, parse_moment
from tests.described import require_as_described

__all__ = ["Answer", "Party", "Shop", "World", "eur", "send_mail"]

Json = dict[str, Any]
_PATIENCE_S = 150
"""Longer than the sandbox waits for what a move of its clock causes: then it says itself what is in the way."""


def eur(amount: str) -> Json:
    return {"amount": amount, "currency": "EUR"}


@dataclass(frozen=True)
class Answer:
    """An HTTP answer that a test looks into."""

    status: int
    body: Any
    headers: httpx.Headers

    def ok(self) -> Any:
        assert self.status < 300, (self.status, self.body)
        assert self.status != 202 or "command_id" not in self.body, ("it is not done yet", self.body)
        return self.body

    def problem(self, status: int, kind: str | None = None) -> Json:
        assert self.status == status, (self.status, self.body)
        assert self.headers["content-type"].startswith("application/problem+json"), self.headers
        assert self.body["status"] == status
        if kind is not None:
            assert self.body["type"] == f"/problems/{kind}", self.body
        return self.body


class Party:
    """A principal: every request bears its key or token, and waits for its outcome as long as may be asked for, so that no test
    depends on how fast the machine is."""

    def __init__(self, base_url: str, key: str, name: str) -> None:
        self.name = name
        self.key = key
        headers = {"Authorization": f"Bearer {key}", "Prefer": "wait=30"}
        self._http = httpx.Client(base_url=base_url, headers=headers, timeout=_PATIENCE_S, verify=False)

    def request(self, method: str, path: str, *, headers: dict[str, str] | None = None, **more: Any) -> Answer:
        response = self._http.request(method, path, headers=headers, **more)
        require_as_described(response)
        kind = response.headers.get("content-type", "")
        return Answer(
            response.status_code, response.json() if "json" in kind and "nd" not in kind else response.content, response.headers
        )

    def get(self, path: str, **params: Any) -> Any:
        return self.request("GET", path, params=params).ok()

    def post(self, path: str, body: Any, **headers: str) -> Answer:
        return self.request("POST", path, json=body, headers={name.replace("_", "-"): value for name, value in headers.items()})

    def case(self, case_id: str) -> Json:
        return self.get(f"/v1/cases/{case_id}")

    def order(self, order_id: str) -> Json:
        return self.get(f"/v1/orders/{order_id}")

    def try_act(self, case: Json, action: str, **fields: Any) -> Answer:
        return self.post(f"/v1/cases/{case['case_id']}/actions", {"action": action, **fields})

    def act(self, case: Json, action: str, **fields: Any) -> Json:
        return self.try_act(case, action, **fields).ok()

    def preview(self, case: Json, action: str, **fields: Any) -> Json:
        return self.post(f"/v1/cases/{case['case_id']}/previews", {"action": action, **fields}).ok()

    def try_report(self, order: Json, reason: str, **more: Any) -> Answer:
        return self.post(f"/v1/orders/{order['order_id']}/reports", {"reason": reason, **more})

    def report(self, order: Json, reason: str = "not_received", **more: Any) -> Json:
        """Report and read the opened case."""
        return self.case(self.try_report(order, reason, **more).ok()["case_id"])

    def evidence(self, order: Json, content: bytes = b"%PDF-1.4\n%%EOF\n", name: str = "proof.pdf") -> Answer:
        return self.request("POST", "/v1/evidence", files={"file": (name, content)}, data={"order_id": order["order_id"]})

    def allowed(self, case: Json) -> set[str]:
        return {entry["action"] for entry in self.case(case["case_id"])["allowed_actions"]}


@dataclass
class Shop:
    """A certified merchant with its own key."""

    merchant_id: str
    staff: Party
    profile: Json = field(repr=False)

    @property
    def contract_email(self) -> str:
        return self.profile["notify"][0]["email"]


class World:
    """A sandbox: its platform, its partner, its clock and its mails."""

    def __init__(self, ready: Json, namespace: str) -> None:
        self.ready = ready
        self.namespace = namespace
        self.base_url: str = ready["base_url"]
        self.platform = Party(self.base_url, ready["keys"]["platform"], "platform")
        self.partner = Party(self.base_url, ready["keys"]["partner"], "partner")
        self._count = 0

    # time

    def now(self) -> datetime:
        return parse_moment(self.platform.get("/v1/sandbox/clock")["now"])

    def advance(self, duration: str) -> datetime:
        return self._move({"advance": duration})

    def advance_to(self, moment: str | datetime) -> datetime:
        return self._move({"now": moment if isinstance(moment, str) else format_moment(moment)})

    def _move(self, body: Json) -> datetime:
        answer = self.platform.post("/v1/sandbox/clock", body).ok()
        assert answer["status"] == "ready", answer
        return parse_moment(answer["now"])

    # parties and orders

    def name(self, prefix: str) -> str:
        self._count += 1
        return f"{prefix}-{self._count}-{uuid.uuid4().hex[:6]}"

    def shop(self, *, of_partner: bool = False, **profile: Any) -> Shop:
        """A certified merchant, which the partner created or the platform."""
        merchant_id = self.name("shop")
        body = {
            "name": "Teekanne & Söhne",
            "programmes": ["buyer-protection"],
            "locale": "de",
            "country": "DE",
            "certified_at": "2016-01-01T00:00:00Z",
            "seal_live_at": "2016-01-02T00:00:00Z",
            "notify": [{"kind": "new_case", "email": f"cases@{merchant_id}.example"}],
            "service_contact": {"email": f"service@{merchant_id}.example", "phone": "+49 30 123456"},
            **profile,
        }
        if of_partner:
            own = {name: value for name, value in body.items() if name not in ("certified_at", "seal_live_at")}
            self.partner.request("PUT", f"/v1/merchants/{merchant_id}", json=own).ok()
        self.platform.request("PUT", f"/v1/merchants/{merchant_id}", json=body).ok()
        key = self.platform.post(f"/v1/merchants/{merchant_id}/keys", {"name": "staff"}).ok()["key"]
        return Shop(merchant_id, Party(self.base_url, key, merchant_id), body)

    def order_body(self, shop: Shop, **more: Any) -> Json:
        return {
            "merchant_id": shop.merchant_id,
            "order_number": self.name("A"),
            "buyer": {"email": f"{self.name('buyer')}@mail.example", "name": "Kim Käufer", "locale": "en"},
            "amount": eur("80.00"),
            "lines": [{"line_id": "1", "title": "Kettle", "quantity": 2, "unit_price": eur("40.00")}],
            "placed_at": format_moment(self.now()),
            "protection_activated": True,
            **more,
        }

    def order(self, shop: Shop, **more: Any) -> Json:
        return self.platform.post("/v1/orders", self.order_body(shop, **more)).ok()

    def buyer(self, order: Json, **options: Any) -> Party:
        """The buyer, by the link of an order confirmation."""
        link = self.platform.post(f"/v1/orders/{order['order_id']}/links", {"for": "buyer", **options}).ok()
        return Party(self.base_url, link["token"], "buyer")

    def bearer(self, token: str) -> Party:
        return Party(self.base_url, token, "link")

    def fact(self, order: Json, kind: str, **more: Any) -> Json:
        body = {"kind": kind, "at": format_moment(self.now()), **more}
        return self.platform.post(f"/v1/orders/{order['order_id']}/facts", body).ok()

    # mails

    def mails(self, to: str, kind: str | None = None) -> list[Json]:
        """What arrived at an address so far. Mails are on their way for a moment after an answer, so a test that expects some,
        or none, moves the clock first."""
        wanted = {"to": to, **({"kind": kind} if kind else {})}
        items: list[Json] = []
        while True:
            page = self.platform.get("/v1/sandbox/mails", **wanted)
            items += page["items"]
            if "next" not in page:
                return items
            wanted["cursor"] = page["next"]

    def mail(self, to: str, kind: str) -> Json:
        """The newest mail of a kind, once all that are on their way have arrived."""
        self.advance("PT0S")
        found = self.mails(to, kind)
        assert found, f"no {kind} mail for {to}; there are {[mail['kind'] for mail in self.mails(to)]}"
        return found[-1]

    def act_link(self, mail: Json) -> Party:
        """Whoever follows the button of a mail."""
        (link,) = [link["url"] for link in mail["links"] if link["rel"] == "act"]
        return self.bearer(link.rsplit("/", 1)[1])


def send_mail(url: str, raw: bytes, to: str, sender: str = "", **options: Any) -> None:
    """Hand a mail over by SMTP; returns when the server says 250."""
    place = urlsplit(url)
    with smtplib.SMTP(place.hostname or "", place.port or 25, timeout=_PATIENCE_S) as smtp:
        smtp.sendmail(sender, [to], raw, **options)


def moment(text: str) -> datetime:
    return parse_moment(text)


def days_after(begin: datetime, count: int) -> datetime:
    """So many days later at the same local time of a shop, which is in Germany: that clocks change there meanwhile is no
    difference. Where the tests before have moved the shared clock to, no test knows."""
    return begin.astimezone(ZoneInfo("Europe/Berlin")) + timedelta(days=count)


def days(count: int) -> timedelta:
    return timedelta(days=count)
