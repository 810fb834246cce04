"""The guarantee on an order: who has it, how long, what a report may do with it (BP-02 to 05, 07, 26)."""

from datetime import datetime
from typing import Literal

from contracts.orders import Merchant, OpenCase, OrderContent, Payout, Protection, ReportContent, Standing
from engine.calendar import add, before
from engine.programmes import Programme

__all__ = ["ProtectionState", "Refused", "eligibility", "ended", "protection_now", "refusal_of", "standing_with"]

ProtectionState = Literal["active", "ended", "expired", "none"]

Refused = Literal[
    "not_protected",
    "protection_ended",
    "protection_expired",
    "already_open",
    "reason_unknown",
    "merchant_not_insolvent",
]


def eligibility(merchant: Merchant, order: OrderContent, registered_at: datetime, programme: Programme) -> Protection:
    """The protection of an order when it is registered, judged at the moment it was placed (BP-02). What is covered is that the
    merchant becomes insolvent (BP-03): an order placed with one that had been declared insolvent by then has none.

    Its length is the order's own, else the merchant's, else the programme's (BP-04), reckoned in the merchant's zone. The
    check-in is some days before the end, not too early; None where that is already past at registration or not before the end
    (BP-05)."""
    terms = programme.protection
    if terms is None:
        return Protection(state="none")
    if merchant.certified_at is None or merchant.certified_at > order.placed_at:
        return Protection(state="none", reason="not_certified")
    if merchant.seal_live_at is None or merchant.seal_live_at > order.placed_at:
        return Protection(state="none", reason="seal_not_live")
    if merchant.insolvent_at is not None and merchant.insolvent_at <= order.placed_at:
        return Protection(state="none", reason="insolvency_declared")
    if not order.protection_activated:
        return Protection(state="none", reason="not_activated")
    days = order.protection_days or merchant.protection_days or terms.days
    ends_at = add(order.placed_at, f"P{days}D", merchant.timezone)
    check_in_at = max(
        before(ends_at, terms.check_in_before_end, merchant.timezone),
        add(order.placed_at, terms.check_in_after_order, merchant.timezone),
    )
    to_come = registered_at < check_in_at < ends_at
    return Protection(state="active", ends_at=ends_at, check_in_at=check_in_at if to_come else None)


def protection_now(standing: Standing, at: datetime) -> ProtectionState:
    """How the protection stands at a moment: past its end it is expired, unless an open case extends it (BP-26)."""
    protection = standing.protection
    if protection.state != "active" or standing.open_cases or protection.ends_at is None:
        return protection.state
    return "active" if at < protection.ends_at else "expired"


def refusal_of(
    report: ReportContent, standing: Standing, at: datetime, programme: Programme, merchant_insolvent: bool = False
) -> tuple[Refused, str] | None:
    """Why a report is refused, in one word and in a sentence that says what to do; None: it is accepted."""
    reason = programme.reason(report.reason)
    if reason is None:
        known = ", ".join(programme.reasons)
        return "reason_unknown", f"{programme.programme} knows no reason {report.reason}; choose one of {known}."
    if reason.needs_declared_insolvency and not merchant_insolvent:
        return "merchant_not_insolvent", "The platform has not declared this merchant insolvent; choose another reason."
    for case in standing.open_cases:
        if not reason.opens_case:
            return "already_open", f"{case.case_id} is still open; the protection can end when it has ended."
        if (case.programme, case.reason) == (programme.programme, report.reason):
            return "already_open", f"{case.case_id} is open for this reason already; write there."
    if reason.needs_protection:
        match protection_now(standing, at):
            case "none":
                return "not_protected", "This order has no protection; turn to the merchant's service."
            case "ended":
                return "protection_ended", "The protection of this order has ended; turn to the merchant's service."
            case "expired":
                return "protection_expired", "The protection of this order has expired; turn to the merchant's service."
            case "active":
                pass
    return None


def ended(protection: Protection, reason: Literal["satisfied", "case_outcome"], at: datetime) -> Protection:
    """A protection that ended at a moment, before its time (BP-07) or, where a case has extended it, after (BP-26). A buyer
    that was not asked by then is not asked any more."""
    asked_at = protection.check_in_at if protection.check_in_at is not None and protection.check_in_at <= at else None
    return protection.model_copy(update={"state": "ended", "reason": reason, "ends_at": at, "check_in_at": asked_at})


def standing_with(standing: Standing, open_cases: tuple[OpenCase, ...], ended_at: datetime | None = None) -> Standing:
    """An order's standing with other open cases: payout held iff one is open, status reported until the last has ended
    (OI-08), and the protection ended where a case ended it, at `ended_at` (BP-26). An ended protection does not come back.
    The version is the caller's to count."""
    protection = standing.protection
    if ended_at is not None and protection.state == "active":
        protection = ended(protection, "case_outcome", ended_at)
    known = dict.fromkeys((*standing.cases, *(case.case_id for case in open_cases)))
    return standing.model_copy(
        update={
            "status": "reported_problem" if open_cases else "completed" if known else standing.status,
            "protection": protection,
            "payout": Payout(held=True, reason="open_case") if open_cases else Payout(held=False),
            "open_cases": open_cases,
            "cases": tuple(known),
        }
    )
