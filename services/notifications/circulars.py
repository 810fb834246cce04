"""Mails to a merchant about its shop rather than a case: its issue rate, a policy to come, somebody to stand in for."""

from collections.abc import Callable, Mapping
from datetime import date
from typing import Any

import orjson

from contracts.base import parse_moment
from contracts.ids import derived
from contracts.notices import TellMerchant
from contracts.orders import Merchant
from services.notifications.locales import Language
from services.notifications.store import QUEUED
from services.notifications.wording import Words, contact_of

__all__ = ["circular_words", "notice_to_merchant"]


def notice_to_merchant(command: TellMerchant, cause: str, partition: int, at: str) -> dict[str, Any]:
    """The document of such a notice, with an id made from its cause; its addresses are found when it is sent."""
    return {
        "_id": f"ntc_{derived('circular', command.merchant_id, cause, command.notice, command.to or '').replace('-', '')}",
        "partition": partition,
        "state": QUEUED,
        "order_id": None,
        "case_id": None,
        "merchant_id": command.merchant_id,
        "kind": command.notice,
        "party": "merchant",
        "to": command.to,
        "audience": "all",
        "created_at": at,
        "tries": 0,
        "circular": {"about": command.about, "locale": command.locale},
    }


def circular_words(kind: str, about: Mapping[str, str], merchant: Merchant, speak: Language, platform: str) -> Words:
    """The words of such a mail. Nothing is acted on by link: it names where in the shop's account the matter stands."""
    words = _SAID[kind](about, merchant, speak)
    words.language = speak.code
    words.greeting = speak._("Hello {name},", name=about.get("name", merchant.name))
    words.rows = [(speak._("Shop"), merchant.name)]
    words.contact_title = speak._("How to reach {shop}", shop=merchant.name)
    words.contact = contact_of(merchant, speak)
    words.closing = [speak._("Sent automatically by {platform}.", platform=platform)]
    return words


def _issue_rate(about: Mapping[str, str], merchant: Merchant, speak: Language) -> Words:
    """OI-11, NX-10: warned before, told at the crossing with the statement of reasons, told when it is over."""
    share, threshold = _percent(about["share"], speak), _percent(about["threshold"], speak)
    match about["status"]:
        case "warning":
            words = Words.opening(
                speak._("Your rate of reported problems is close to the limit"),
                speak._("{share} of your recent orders were reported with a problem.", share=share),
            )
            words.silence = speak._("Above {threshold} your offers rank lower and are less visible.", threshold=threshold)
        case "sanctioned":
            words = Words.opening(
                speak._("Your rate of reported problems is above the limit"),
                speak._("{share} of your recent orders were reported with a problem.", share=share),
                speak._("Until the share is back at {threshold} or less, your offers rank lower.", threshold=threshold),
            )
            words.said_by, words.said = speak._("Statement of reasons:"), about["statement"]
            words.asked = speak._("You can appeal against this statement in your account.")
        case _:
            words = Words.opening(
                speak._("Your rate of reported problems is within the limit again"),
                speak._("{share} of your recent orders were reported with a problem.", share=share),
                speak._("Your offers rank and are visible as before."),
            )
    return words


def _percent(share: str, speak: Language) -> str:
    return speak.percent(float(share))


def _policy_change(about: Mapping[str, str], merchant: Merchant, speak: Language) -> Words:
    """BP-24."""
    day = speak.day(parse_moment(about["effective_at"]), merchant.timezone)
    words = Words.opening(
        speak._("New version of {programme} from {day}", programme=about["programme"], day=day),
        speak._(
            "From {day} on, new cases follow version {version} of {programme}.",
            day=day,
            version=about["version"],
            programme=about["programme"],
        ),
        speak._("Cases that are open by then keep the version with which they were opened."),
    )
    words.asked = speak._("You can opt in earlier in your account.")
    return words


def _handover(about: Mapping[str, str], merchant: Merchant, speak: Language) -> Words:
    """RD-09, NX-17."""
    words = Words.opening(
        speak._("You stand in for {absent}", absent=about["absent"]),
        speak._(
            "{absent} is away from {first} to {last}; running and new cases come to you in that time.",
            absent=about["absent"],
            first=speak.date(date.fromisoformat(about["from"])),
            last=speak.date(date.fromisoformat(about["to"])),
        ),
        speak._("Open cases now: {count}.", count=about["cases"]),
    )
    for due_at, number in orjson.loads(about.get("due", "[]")):
        moment = speak.moment(parse_moment(due_at), merchant.timezone)
        words.options.append(speak._("Order {number}: due {moment}", number=number, moment=moment))
    if about.get("note"):
        words.said_by, words.said = speak._("{author} writes:", author=about["absent"]), about["note"]
    return words


def _return_info(about: Mapping[str, str], merchant: Merchant, speak: Language) -> Words:
    """CP-05."""
    words = Words.opening(
        speak._("Is your return information still right?"),
        speak._(
            "Your buyers are shown this return information, which was last confirmed on {day}.",
            day=speak.day(parse_moment(about["since"]), merchant.timezone),
        ),
        about.get("url", ""),
    )
    words.asked = speak._("Please check it in your account and save it again, changed or not.")
    return words


_SAID: dict[str, Callable[[Mapping[str, str], Merchant, Language], Words]] = {
    "issue_rate": _issue_rate,
    "policy_change": _policy_change,
    "handover": _handover,
    "return_info_reminder": _return_info,
}
