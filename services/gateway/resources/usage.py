"""Usage of a shop, month by month, and the statement of it that is charged with its subscription (RD-11)."""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from litestar import Response, get
from litestar.datastructures.headers import Accept
from litestar.params import FromPath

from contracts.base import format_moment
from contracts.problems import Problem
from services.gateway.answers import Answer, answer, response_of
from services.gateway.context import Caller, Gateway, TheGateway
from services.gateway.documented import documented, query
from services.gateway.problems import ProblemError, wrong_query
from services.gateway.requests import AnyRequest
from services.gateway.shown.merchants import Usage
from services.gateway.store import ORDERS, Document, whole

__all__ = ["routes"]

_MONTH = re.compile(r"(?:19|20|21)[0-9]{2}-(?:0[1-9]|1[0-2])")
_LINE = ("case_id", "order_id", "order_number", "programme", "reason", "channel", "reported_at")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet would take for a formula at the beginning of a field."""


@get(
    "/v1/merchants/{merchant_id:str}/usage",
    operation_id="getUsage",
    summary="What a shop used in a month: its reports, one by one (RD-11)",
    opt=documented(
        query={"month": "Such as 2026-03; the present one by default. Months are the merchant's own, in its time zone."},
        headers=("Accept",),
        answers={200: "The statement; its lines as CSV for `Accept: text/csv`."},
        gives={"application/json": Usage, "text/csv": str},
    ),
)
async def get_usage(request: AnyRequest, gateway: TheGateway, principal: Caller, merchant_id: FromPath[str]) -> Response[bytes]:
    """For the platform, the partner that created the merchant and the merchant's own keys. Every accepted report that opened a
    case is one line, whatever became of it."""
    merchant = await gateway.merchant(principal, merchant_id)
    if principal.capability is not None:
        raise ProblemError(Problem.not_found("merchant"))
    zone = ZoneInfo(merchant["timezone"])
    month = query(request).get("month") or f"{gateway.clock.now().astimezone(zone):%Y-%m}"
    if not _MONTH.fullmatch(month):
        raise wrong_query(("month", "a month such as 2026-03"))
    lines = await _lines(gateway, merchant_id, month, zone)
    types = ["application/json", "text/csv"]
    if Accept(request.headers.get("accept", "*/*")).best_match(types, types[0]) == "text/csv":
        return response_of(_statement(merchant_id, month, lines))
    usage = {
        "merchant_id": merchant_id,
        "month": month,
        "reports": len(lines),
        "cases_by_programme": dict(sorted(Counter(line["programme"] for line in lines).items())),
        "lines": lines,
        "_links": {"merchant": {"href": f"/v1/merchants/{merchant_id}"}},
    }
    return response_of(answer(200, usage, Vary="Accept"))


def _bounds(month: str, zone: ZoneInfo) -> tuple[str, str]:
    """The first moments of a month and of the next one."""
    begin = datetime.fromisoformat(f"{month}-01").replace(tzinfo=zone)
    end = (begin.replace(tzinfo=None) + timedelta(days=31)).replace(day=1, tzinfo=zone)
    return format_moment(begin), format_moment(end)


async def _lines(gateway: Gateway, merchant_id: str, month: str, zone: ZoneInfo) -> list[dict[str, Any]]:
    """The cases that were opened in a month, oldest first."""
    begin, end = _bounds(month, zone)
    # An order's `reported_at` is its latest report's.
    wanted = {"body.order.merchant_id": merchant_id, "body.reported_at": {"$gte": begin}}
    needed = {"body.order.order_number": 1, "body.order.channel": 1, "body.file": 1}
    found = gateway.database[ORDERS].find(wanted, needed, batch_size=1_000)
    lines = [line async for document in found for line in _cases(document) if begin <= line["reported_at"] < end]
    return sorted(lines, key=lambda line: (line["reported_at"], line["case_id"]))


def _cases(document: Document) -> Iterable[dict[str, Any]]:
    body: Mapping[str, Any] = whole(document["body"])
    for case_id, case in body["file"]["cases"].items():
        yield {
            "case_id": case_id,
            "order_id": document["_id"],
            "order_number": body["order"]["order_number"],
            "programme": case["policy"]["programme"],
            "reason": case["reason"],
            "channel": body["order"]["channel"],
            "reported_at": case["opened_at"],
        }


def _statement(merchant_id: str, month: str, lines: Iterable[Mapping[str, Any]]) -> Answer:
    """The lines as CSV (RFC 4180), with the shop and the month in each."""
    written = io.StringIO()
    writer = csv.writer(written)
    writer.writerow(("merchant_id", "month", *_LINE))
    writer.writerows((_plain(merchant_id), month, *(_plain(line[name]) for name in _LINE)) for line in lines)
    name = re.sub(r"[^A-Za-z0-9.-]", "_", merchant_id)
    headers = {"Content-Disposition": f'attachment; filename="usage-{name}-{month}.csv"', "Vary": "Accept"}
    return Answer(200, written.getvalue().encode(), headers, "text/csv; header=present")


def _plain(value: Any) -> str:
    """A field that no spreadsheet computes: an order number is what a buyer or partner made of it."""
    text = "" if value is None else str(value)
    return f"'{text}" if text.startswith(_FORMULA) else text


routes = (get_usage,)
