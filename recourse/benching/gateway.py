"""`bench gateway`: reports by the API, so many a second whatever the answers take, each until the open case is in the answer;
then the case is read at once on another process of the gateway, where it must never be missing."""

import asyncio
import statistics
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from deploy.local.stack import to_stderr
from recourse.sandbox import Sandbox
from simulator.client import Answer, Api
from simulator.generator import generate
from simulator.orders import PlayedOrder
from simulator.player import PlayError, shifted

__all__ = ["bench_gateway"]

_WARM_UP = 40
_AT_ONCE = 64


_ALIKE: dict[str, Any] = {"protected": True, "protection_days": None, "programmes": ("buyer-protection",)}


@dataclass(slots=True)
class _Measured:
    """Seconds until the case was open in the answer, and until it was read on another gateway."""

    opened: list[float] = field(default_factory=list)
    read: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    reads: Counter[int] = field(default_factory=Counter)


async def bench_gateway(sandbox: Sandbox, reports: int, rate: float, seed: int = 1) -> dict[str, Any]:
    """Measure on a running sandbox with two gateways or more, whose clock stands at the first generated order."""
    batch = generate(reports + _WARM_UP, seed)
    # All protected, all placed within a day: what is measured is reporting.
    day = max(order.placed_at for order in batch.orders) - timedelta(days=1)
    orders = [
        replace(order, merchant=replace(order.merchant, **_ALIKE), protection_activated=True)
        for one in batch.orders
        for order in shifted(replace(batch, orders=[one]), day)[0].orders
    ]
    async with Api(sandbox.urls, concurrency=_AT_ONCE) as api:
        tokens = await _prepared(api, sandbox, orders)
        to_stderr(f"{len(orders)} orders are there; {_WARM_UP} reports to warm up, then {reports} at {rate:.0f}/s …")
        await _reported(api, sandbox, tokens[:_WARM_UP], rate)
        before = sandbox.cpu()
        measured = await _reported(api, sandbox, tokens[_WARM_UP:], rate)
        spent = {name: seconds - before.get(name, 0.0) for name, seconds in sandbox.cpu().items()}
    opened = sorted(measured.opened)
    return {
        "reports": len(opened),
        "rate_per_s": rate,
        "median_ms": round(statistics.median(opened) * 1000, 1),
        "p95_ms": round(opened[int(len(opened) * 0.95)] * 1000, 1),
        "max_ms": round(opened[-1] * 1000, 1),
        "read_median_ms": round(statistics.median(measured.read) * 1000, 1),
        "statuses": dict(measured.statuses),
        "reads_on_another_gateway": dict(measured.reads),
        "not_found": measured.reads[404],
        "cpu_ms_per_report": {name: round(seconds * 1000 / reports, 1) for name, seconds in spent.items()},
    }


async def _prepared(api: Api, sandbox: Sandbox, orders: list[PlayedOrder]) -> list[tuple[str, str]]:
    """Register the orders; (order id, buyer's token) of each."""
    partner, platform = sandbox.keys.partner, sandbox.keys.platform
    merchants = {order.merchant.merchant_id: order.merchant for order in orders}
    certified_at = min(order.placed_at for order in orders)
    for merchant in merchants.values():
        path = f"/v1/merchants/{merchant.merchant_id}"
        _well(await api.put(partner, path, merchant.profile(None)))
        _well(await api.put(platform, path, merchant.profile(certified_at)))
    results = await api.lines(partner, "/v1/order-imports", [order.body() for order in orders])
    if any(result.get("status") != 201 for result in results):
        raise PlayError(f"an order was not taken: {next(result for result in results if result.get('status') != 201)}")
    latest = max(order.placed_at for order in orders)
    _well(await api.post(platform, "/v1/sandbox/clock", {"now": latest.isoformat()}, "bench-clock"))
    ids = [result["order_id"] for result in results]
    links = await asyncio.gather(
        *(api.post(partner, f"/v1/orders/{order_id}/links", {"for": "buyer"}, f"link-{order_id}") for order_id in ids)
    )
    return [(order_id, _well(link).json()["token"]) for order_id, link in zip(ids, links, strict=True)]


async def _reported(api: Api, sandbox: Sandbox, tokens: list[tuple[str, str]], rate: float) -> _Measured:
    measured = _Measured()
    loop = asyncio.get_running_loop()
    urls = sandbox.urls

    async def one(number: int, order_id: str, token: str) -> None:
        own, other = urls[number % len(urls)], urls[(number + 1) % len(urls)]
        body = {"reason": "not_received", "text": "It has not arrived."}
        began = loop.time()
        answer = await api.post(token, f"{own}/v1/orders/{order_id}/reports", body, f"report-{order_id}")
        opened = loop.time()
        measured.statuses[answer.status] += 1
        if answer.status != 201:
            return
        read = await api.get(token, f"{other}/v1/cases/{answer.json()['case_id']}")
        measured.opened.append(opened - began)
        measured.read.append(loop.time() - opened)
        measured.reads[read.status] += 1

    first = loop.time()
    async with asyncio.TaskGroup() as group:
        for number, (order_id, token) in enumerate(tokens):
            await asyncio.sleep(max(0.0, first + number / rate - loop.time()))
            group.create_task(one(number, order_id, token))
    return measured


def _well(answer: Answer) -> Answer:
    if not answer.well:
        raise PlayError(answer.problem)
    return answer
