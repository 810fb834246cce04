"""The issue rate of a merchant (OI-11, NX-10): which cases count, when it is warned and sanctioned, when it has recovered."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from contracts.issue_rate import IssueForecast, IssueRate, IssueRateStatus, IssueStatement

__all__ = [
    "SAMPLE",
    "THRESHOLD",
    "WARNING_AT",
    "WINDOW_DAYS",
    "Issue",
    "Window",
    "first_day",
    "near_sample",
    "reckoned",
    "share",
]

WINDOW_DAYS = 90
SAMPLE = 20
"""Fewer orders than these in the window say nothing."""
_THRESHOLD_PERCENT = 5
_WARNING_PERCENT = 4
THRESHOLD = _THRESHOLD_PERCENT / 100
"""A merchant whose share of orders that count is above this is sanctioned."""
WARNING_AT = _WARNING_PERCENT / 100
"""From this share on it is warned."""

_FOR_MERCHANT = frozenset({"withdrawn", "rejected", "decided_no_refund", "no_refund_accepted", "won"})
_FAULTS = frozenset(
    {"refunded", "partially_refunded", "replaced", "accepted", "decided_refund", "decided_partial_refund", "lost"}
)
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Issue:
    """A case as the rate sees it: the day its order was placed, and its outcome (None while it is open)."""

    case_id: str
    order_id: str
    day: date
    outcome: str | None

    @property
    def counts(self) -> bool:
        """Whether it counts for a sanction: not once it was rejected, withdrawn or decided for the merchant."""
        return self.outcome not in _FOR_MERCHANT

    @property
    def is_fault(self) -> bool:
        """Whether its case ended against the merchant: the faults are shown beside what counts (NX-10)."""
        return self.outcome in _FAULTS


@dataclass(frozen=True, slots=True)
class Window:
    """What there is of a merchant from the first day of the window on: orders placed by day, and the cases on them."""

    orders: Mapping[date, int]
    issues: tuple[Issue, ...]

    def ending(self, at: datetime) -> "Window":
        """What of it lies in the window that ends with the day of `at`."""
        first, last = first_day(at), at.date()
        return Window(
            {day: count for day, count in self.orders.items() if first <= day <= last},
            tuple(issue for issue in self.issues if first <= issue.day <= last),
        )


def first_day(at: datetime) -> date:
    """The first day of the window that ends with the day of `at`; days are those of UTC."""
    return at.date() - (WINDOW_DAYS - 1) * _DAY


def share(part: int, orders: int) -> float:
    """`part` of `orders`, rounded to four digits; 0 of none."""
    return round(part / orders, 4) if orders else 0.0


def reckoned(known: IssueRate | None, merchant_id: str, window: Window, at: datetime) -> IssueRate:
    """How the merchant stands at a moment, by what of `window` lies in the window that ends with its day. Crossing the
    threshold makes the statement of reasons, being back at or under it ends the sanction and a pending appeal with it; the
    version is left as it was."""
    window = window.ending(at)
    before = known or IssueRate(merchant_id=merchant_id, at=at)
    pardoned = frozenset(before.pardoned)
    counting = [issue for issue in window.issues if issue.counts and issue.case_id not in pardoned]
    orders = sum(window.orders.values())
    counted = len({issue.order_id for issue in counting})
    status = _status(before.status, counted, orders)
    statement = before.statement if status in ("sanctioned", "appealed") else None
    if status == "sanctioned" and statement is None:
        statement = _statement(counting, counted, orders, at)
    return before.model_copy(
        update={
            "orders": orders,
            "reported": len({issue.order_id for issue in window.issues}),
            "counted": counted,
            "faults": len({issue.order_id for issue in window.issues if issue.is_fault}),
            "status": status,
            "statement": statement,
            "forecast": _forecast(window, counting, at),
            "changes_on": _changes_on(status, window, counting),
            "at": at,
        }
    )


def near_sample(rate: IssueRate) -> bool:
    """Whether orders alone, once there are enough of them, can warn or sanction the merchant."""
    return _is_near_sample(rate.counted, rate.orders)


def _is_near_sample(counted: int, orders: int) -> bool:
    return orders < SAMPLE and counted > 0


def _status(before: IssueRateStatus, counted: int, orders: int) -> IssueRateStatus:
    if orders < SAMPLE or counted * 100 < _WARNING_PERCENT * orders:
        return "ok"
    if not _is_over(counted, orders):
        return "warning"
    return "appealed" if before == "appealed" else "sanctioned"


def _is_over(counted: int, orders: int) -> bool:
    return orders >= SAMPLE and counted * 100 > _THRESHOLD_PERCENT * orders


def _changes_on(status: IssueRateStatus, window: Window, counting: Iterable[Issue]) -> date | None:
    """The first day on which the status, or whether orders alone can change it, is another one, though nothing happens but that
    orders leave the window. Who has crossed no line crosses one no sooner with more orders of which none is reported."""
    counted_on = _by_day(counting)
    orders, counted = sum(window.orders.values()), counted_on.total()
    now = _is_near_sample(counted, orders)
    for gone in sorted(window.orders.keys() | counted_on.keys()):
        orders -= window.orders.get(gone, 0)
        counted -= counted_on[gone]
        if (_status(status, counted, orders), _is_near_sample(counted, orders)) != (status, now):
            return gone + WINDOW_DAYS * _DAY
    return None


def _by_day(counting: Iterable[Issue]) -> Counter[date]:
    """How many orders count, by the day on which they were placed."""
    return Counter({issue.order_id: issue.day for issue in counting}.values())


def _statement(counting: Iterable[Issue], counted: int, orders: int, at: datetime) -> IssueStatement:
    text = (
        f"Of the {orders} orders placed with you from {first_day(at)} to {at.date()}, {counted} were reported with a problem "
        f"that was not rejected, withdrawn or decided for you: {100 * counted / orders:.1f} %, which is more than "
        f"{_THRESHOLD_PERCENT} %. Until the share is back at {_THRESHOLD_PERCENT} % or less, your offers rank lower and are "
        f"less visible. The cases that counted are listed; you can appeal against this statement."
    )
    return IssueStatement(text=text, at=at, cases=tuple(sorted({issue.case_id for issue in counting})))


def _forecast(window: Window, counting: Iterable[Issue], at: datetime) -> IssueForecast:
    """Both ways back under the threshold, if nothing more is reported."""
    counted_on = _by_day(counting)
    orders, counted = sum(window.orders.values()), counted_on.total()
    if not _is_over(counted, orders):
        return IssueForecast(orders_to_recover=0, days=0)
    to_recover = -(-100 * counted // _THRESHOLD_PERCENT) - orders
    pace, gone = orders / WINDOW_DAYS, first_day(at)
    for later in range(1, WINDOW_DAYS + 1):
        orders -= window.orders.get(gone, 0)
        counted -= counted_on[gone]
        if not _is_over(counted, orders + int(pace * later)):
            return IssueForecast(orders_to_recover=to_recover, days=later)
        gone += _DAY
    return IssueForecast(orders_to_recover=to_recover, days=None)
