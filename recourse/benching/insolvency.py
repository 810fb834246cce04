"""Insolvency at size: a shop with thousands of protected orders and hundreds of open cases is declared insolvent while the
processes that work on it are killed. Every buyer must be told once, every case moved once, every item have its result."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from contracts.base import format_moment
from deploy.local.stack import to_stderr
from recourse.benching.chaos import kill
from recourse.instances import Instances, service_names
from recourse.sandbox import Sandbox
from simulator.client import Answer, Api
from simulator.player import PlayError

__all__ = ["BEGIN", "bench_insolvency", "faults", "marks"]

BEGIN = datetime(2026, 1, 5, 8, tzinfo=UTC)
"""Where the sandbox's clock stands."""
_MERCHANT = "insolvent-shop"
_STRUCK = ("gateway", "cases", "notifications")
"""Who works on the items: a process of each is hit at every mark, so that two marks hit both gateways and with them the one
that has the action in hand."""
_PER_S = 500
_BUYER_HAS = 5
"""Of so many orders two are of one buyer, who is told of the shop and not of each order."""
_LOOK_S = 0.02
_MAILS = 100
"""A page of what arrived: the sandbox's mail server reads each mail for it."""


def marks(total: int, kills: int) -> list[int]:
    """Numbers of finished items, evenly spread, at which processes are killed."""
    return [total * number // (kills + 1) for number in range(1, kills + 1)]


def faults(result: Mapping[str, Any]) -> list[str]:
    """What of a result must not be, in words; empty where all is well."""
    found = [f"{what}: {result[what]}" for what in ("told", "moved") if set(result[what]) - {"once"}]
    items = result["items"]
    if items.get("done") != result["orders"]:
        found.append(f"items: {items} of {result['orders']} orders")
    if not all(at < result["orders"] for at in result["killed_at"]):
        found.append(f"killed_at: {result['killed_at']} is not before the end")
    return found


async def bench_insolvency(sandbox: Sandbox, orders: int, cases: int, kills: int, instances: Instances) -> dict[str, Any]:
    """Play it on a fresh sandbox of one's own whose clock stands at `BEGIN`, with `cases` of the `orders` reported.

    → {orders, buyers, cases, items: {status: so many}, told and moved: {once, more, never: so many}, kills: {service: so many},
    killed_at: [items done], retries, seconds}; zeros are left out. Raises PlayError, GaveUp."""
    platform = sandbox.keys.platform
    buyers = [f"b{number * (_BUYER_HAS - 1) // _BUYER_HAS}@mail.example" for number in range(orders)]
    async with Api(sandbox.urls) as api:
        order_ids = await _registered(api, platform, buyers)
        case_ids = await _reported(api, platform, order_ids[:cases])
        to_stderr(f"{orders} orders and {cases} cases are there; the shop becomes insolvent …")
        selection = {"kind": "insolvency", "selection": {"merchant_id": _MERCHANT}, "throttle_per_s": _PER_S}
        began = time.monotonic()
        action = _well(await api.post(platform, "/v1/mass-actions", selection, "insolvency")).json()
        path = f"/v1/mass-actions/{action['mass_action_id']}"
        struck, killed_at = await _struck(api, sandbox, path, marks(action["total"], kills), instances)
        await _until(api, platform, path, action["total"])
        seconds = time.monotonic() - began
        # The clock moves when all that follows has happened: the mails are out.
        _well(await api.post(platform, "/v1/sandbox/clock", {"advance": "PT1M"}, "told"))
        items = [item async for item in _listed(api, platform, f"{path}/items", 200)]
        mails = Counter([mail["to"] async for mail in _listed(api, platform, "/v1/sandbox/mails", _MAILS, kind="mass_event")])
        moves = await asyncio.gather(*(_moves(api, platform, case_id) for case_id in case_ids))
    places = {(item["order_id"], item.get("case_id")): item["status"] for item in items}
    return {
        "orders": orders,
        "buyers": len(set(buyers)),
        "cases": cases,
        "items": dict(Counter(places.values())),
        "told": _times(mails[buyer] for buyer in set(buyers)),
        "moved": _times(moves),
        "kills": dict(struck),
        "killed_at": killed_at,
        "retries": api.retries,
        "seconds": round(seconds, 1),
    }


async def _registered(api: Api, platform: str, buyers: Sequence[str]) -> list[str]:
    """A certified shop and an order of each buyer named, once for each time it is; the orders' ids."""
    profile = {
        "name": "Insolvent Shop",
        "programmes": ["buyer-protection"],
        "locale": "en",
        "country": "DE",
        "certified_at": "2016-01-01T00:00:00Z",
        "seal_live_at": "2016-01-01T00:00:00Z",
        "notify": [{"kind": "all", "email": "shop@shop.example"}],
        "service_contact": {"email": "service@shop.example"},
    }
    _well(await api.put(platform, f"/v1/merchants/{_MERCHANT}", profile))
    order = {
        "merchant_id": _MERCHANT,
        "amount": {"amount": "80.00", "currency": "EUR"},
        "placed_at": format_moment(BEGIN),
        "protection_activated": True,
    }
    bodies = [
        {**order, "order_number": f"A-{number}", "buyer": {"email": buyer, "locale": "en"}}
        for number, buyer in enumerate(buyers)
    ]
    results = await api.lines(platform, "/v1/order-imports", bodies)
    if wrong := [result for result in results if result.get("status") not in (200, 201)]:
        raise PlayError(f"an order was not taken: {wrong[0]}")
    return [result["order_id"] for result in results]


async def _reported(api: Api, platform: str, order_ids: Iterable[str]) -> list[str]:
    body = {"reason": "not_received", "text": "It has not arrived."}
    answers = await asyncio.gather(
        *(api.post(platform, f"/v1/orders/{order_id}/reports", body, f"report-{order_id}") for order_id in order_ids)
    )
    return [_well(answer).json()["case_id"] for answer in answers]


async def _struck(
    api: Api, sandbox: Sandbox, path: str, at: Sequence[int], instances: Instances
) -> tuple[Counter[str], list[int]]:
    """Kill a process of each service that works on the action, in turn, whenever so many items are done; how often each service
    was hit, and how many items were done then."""
    names = [[name for name in service_names(instances) if name.partition("-")[0] == service] for service in _STRUCK]
    struck, killed_at = Counter[str](), list[int]()
    for number, mark in enumerate(at):
        killed_at.append(await _until(api, sandbox.keys.platform, path, mark))
        for service, processes in zip(_STRUCK, names, strict=True):
            name = processes[number % len(processes)]
            struck[service] += await kill(sandbox, name)
            to_stderr(f"{killed_at[-1]} items done: {name} hit")
    return struck, killed_at


async def _until(api: Api, platform: str, path: str, finished: int) -> int:
    """Wait until so many items have a result; how many then have."""
    while True:
        shown = _well(await api.get(platform, path)).json()
        have = shown["total"] - shown["waiting"]
        if have >= finished:
            return have
        if shown["status"] != "running":
            raise PlayError(f"the action ended early: {shown}")
        await asyncio.sleep(_LOOK_S)


async def _listed(api: Api, platform: str, path: str, limit: int, **filters: str) -> AsyncIterator[dict[str, Any]]:
    """The items of a list, over its pages."""
    query: dict[str, Any] = {**filters, "limit": limit}
    while True:
        page = _well(await api.get(platform, path, **query)).json()
        for item in page["items"]:
            yield item
        if "next" not in page:
            return
        query["cursor"] = page["next"]


async def _moves(api: Api, platform: str, case_id: str) -> int:
    """How often a case was moved to review."""
    entries = [entry async for entry in _listed(api, platform, f"/v1/cases/{case_id}/history", 200)]
    return sum(entry["type"] == "case.moved" and entry["data"]["action"] == "take_over" for entry in entries)


def _times(counts: Iterable[int]) -> dict[str, int]:
    """How many happened once, how many never, how many more often."""
    return dict(Counter("once" if count == 1 else "more" if count else "never" for count in counts))


def _well(answer: Answer) -> Answer:
    if not answer.well:
        raise PlayError(answer.problem)
    return answer
