"""The platform as clients of the API meet it: two gateways over all other services, in a namespace of their own."""

import asyncio
import dataclasses
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx

from contracts.base import format_moment
from deploy.local import Stack, payments
from deploy.local.mailsink import Mailbox, Mailsink, serve_http
from deploy.local.ports import free_port
from services.cases.app import serve as serve_cases
from services.escalation.app import serve as serve_escalation
from services.gateway.app import serve as serve_gateway
from services.intake.app import serve as serve_intake
from services.notifications.app import serve as serve_notifications
from tests.component.running import Running, own_namespace
from tests.described import require_as_described

__all__ = ["NOW", "Client", "Platform", "eur", "platform_of"]

NOW = datetime.fromisoformat("2021-03-01T10:00:00+00:00")
Json = dict[str, Any]
_PATIENCE_S = 150
"""Longer than the sandbox waits for what a move of its clock causes."""


def eur(amount: str) -> Json:
    return {"amount": amount, "currency": "EUR"}


class Client:
    """A caller with a key or token; speaks to the first gateway unless told otherwise, and waits for an outcome as long as may
    be asked for: no test depends on how fast the machine is."""

    def __init__(self, gateways: list[httpx.AsyncClient], key: str | None) -> None:
        self._gateways = gateways
        self.key = key

    async def ask(self, method: str, path: str, *, at: int = 0, headers: Json | None = None, **more: Any) -> httpx.Response:
        own = {"Prefer": "wait=30"} | ({} if self.key is None else {"Authorization": f"Bearer {self.key}"})
        answer = await self._gateways[at].request(method, path, headers={**own, **(headers or {})}, **more)
        require_as_described(answer)
        return answer

    async def get(self, path: str, *, at: int = 0, **params: Any) -> Any:
        answer = await self.ask("GET", path, at=at, params=params)
        assert answer.status_code == 200, (answer.status_code, answer.text)
        return answer.json()

    async def post(self, path: str, body: Any, *, at: int = 0, **headers: str) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.ask("POST", path, at=at, json=body, headers=named)

    async def made(self, path: str, body: Any, **headers: Any) -> Any:
        answer = await self.post(path, body, **headers)
        assert answer.status_code in (200, 201), (answer.status_code, answer.text)
        return answer.json()

    async def act(self, case_id: str, action: str, *, at: int = 0, **fields: Any) -> httpx.Response:
        return await self.post(f"/v1/cases/{case_id}/actions", {"action": action, **fields}, at=at)


class Platform:
    """What the tests speak to."""

    def __init__(self, running: Running, gateways: list[httpx.AsyncClient]) -> None:
        self.running = running
        self.gateways = gateways
        self.agent = self.client("platform-key")
        self.partner = self.client("partner-key")
        self.nobody = self.client(None)

    def client(self, key: str | None) -> Client:
        return Client(self.gateways, key)

    async def shop(self, **profile: Any) -> tuple[str, Client]:
        """A certified merchant that the partner created, and its own key."""
        merchant_id = f"shop-{uuid.uuid4().hex[:8]}"
        body = shop_body(**profile)
        own = {name: value for name, value in body.items() if name not in ("certified_at", "seal_live_at")}
        made = await self.partner.ask("PUT", f"/v1/merchants/{merchant_id}", json=own)
        assert made.status_code == 201, made.text
        certified = await self.agent.ask("PUT", f"/v1/merchants/{merchant_id}", json=body)
        assert certified.status_code == 200, certified.text
        key = (await self.partner.made(f"/v1/merchants/{merchant_id}/keys", {"name": "staff"}))["key"]
        return merchant_id, self.client(key)

    async def order(self, merchant_id: str, **more: Any) -> Json:
        return await self.partner.made("/v1/orders", order_body(merchant_id, **more))

    async def buyer(self, order: Json, **more: Any) -> Client:
        """Who bears the link of an order."""
        link = await self.partner.made(f"/v1/orders/{order['order_id']}/links", {"for": "buyer", **more})
        return self.client(link["token"])

    async def reported(self, **more: Any) -> tuple[Json, Client, Client]:
        """A case on an order of a shop of its own: the case, the shop's key and the buyer's link."""
        merchant_id, staff = await self.shop()
        order = await self.order(merchant_id, **more)
        buyer = await self.buyer(order)
        report = await buyer.made(f"/v1/orders/{order['order_id']}/reports", {"reason": "not_received", "text": "Where is it?"})
        return await buyer.get(f"/v1/cases/{report['case_id']}"), staff, buyer


def shop_body(**profile: Any) -> Json:
    return {
        "name": "Teekanne & Söhne",
        "programmes": ["buyer-protection"],
        "locale": "de",
        "country": "DE",
        "certified_at": "2016-01-01T00:00:00Z",
        "seal_live_at": "2016-01-02T00:00:00Z",
        "notify": [{"kind": "new_case", "email": "cases@shop.example"}],
        "service_contact": {"email": "service@shop.example", "phone": "+49 30 123456"},
        **profile,
    }


def order_body(merchant_id: str, **more: Any) -> Json:
    return {
        "merchant_id": merchant_id,
        "order_number": f"A-{uuid.uuid4().hex[:8]}",
        "buyer": {"email": f"kim-{uuid.uuid4().hex[:6]}@mail.example", "name": "Kim Käufer", "locale": "en"},
        "amount": eur("80.00"),
        "lines": [{"line_id": "1", "title": "Kettle", "quantity": 2, "unit_price": eur("40.00")}],
        "placed_at": format_moment(NOW),
        "protection_activated": True,
        **more,
    }


@asynccontextmanager
async def mail_server(folder: Path) -> AsyncIterator[tuple[int, int]]:
    """The sandbox's mail server; its ports for SMTP and HTTP."""
    mailbox = Mailbox(folder)
    smtp_port, http_port = free_port(), free_port()
    smtp = await Mailsink(mailbox).serve(smtp_port)
    http = serve_http(mailbox, http_port)
    try:
        yield smtp_port, http_port
    finally:
        smtp.close()
        http.shutdown()
        http.server_close()
        mailbox.close()


@asynccontextmanager
async def payment_provider(folder: Path) -> AsyncIterator[str]:
    """The sandbox's payment provider; its address."""
    book = payments.PaymentBook(folder)
    server = payments.serve_http(book, free_port())
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        book.close()


@asynccontextmanager
async def platform_of(stack: Stack, folder: Path) -> AsyncIterator[Platform]:
    """Started in this process, stopped at the end."""
    async with (
        mail_server(folder / "mails") as (smtp_port, http_port),
        payment_provider(folder / "payments") as payments_url,
        own_namespace(stack) as running,
    ):
        common = dataclasses.replace(
            running.settings,
            platform_key="platform-key",
            partner_key="partner-key",
            secret="of-the-tests",
            clock=NOW,
            smtp_url=f"smtp://127.0.0.1:{smtp_port}",
            mailsink_url=f"http://127.0.0.1:{http_port}",
            payments_url=payments_url,
            evidence_url=f"file://{folder / 'evidence'}",
        )
        ports = [free_port(), free_port()]
        for number, port in enumerate(ports, 1):
            running.settings = dataclasses.replace(common, http_port=port, base_url=f"http://127.0.0.1:{ports[0]}")
            running.start(serve_gateway, f"gateway-{number}", static=True)
        running.settings = common
        running.start(serve_intake, "intake-1", static=True)
        running.start(serve_cases, "cases-1", static=True)
        running.start(serve_escalation, "escalation-1", static=True)
        running.start(serve_notifications, "notifications-1", static=True)
        gateways = [httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=_PATIENCE_S) for port in ports]
        platform = Platform(running, gateways)
        try:
            await _until_it_answers(platform)
            yield platform
        finally:
            for gateway in gateways:
                await gateway.aclose()


async def _until_it_answers(platform: Platform) -> None:
    """Services take over their partitions one after the other."""
    async with asyncio.timeout(60):
        while True:
            for failed in [task for task, _ in platform.running._services.values() if task.done()]:
                failed.result()
            try:
                put = await platform.agent.ask("PUT", "/v1/merchants/first", json=shop_body(), headers={"Prefer": "wait=2"})
                if put.status_code in (200, 201):
                    return
            except httpx.HTTPError:
                pass
            await asyncio.sleep(0.1)
