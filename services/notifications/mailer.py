"""Writes the mail of a notice."""

from collections.abc import Mapping
from typing import Any

from chassis.clock import Clock
from chassis.errands import done_at
from contracts.capability import Capability, mint
from contracts.mailboxes import ReplyAddress, message_id, reply_address, thread_id
from contracts.orders import Merchant
from engine.programmes import Programmes
from services.notifications.circulars import circular_words
from services.notifications.letters import Letter
from services.notifications.locales import language_of
from services.notifications.mail import Headers, Sender, render
from services.notifications.wording import words_of

__all__ = ["Mailer"]


class Mailer:
    """Writes the mail of a notice. `clock` dates it."""

    def __init__(self, *, sender: Sender, base_url: str, secret: str, clock: Clock, programmes: Programmes) -> None:
        self.sender = sender
        self._base_url = base_url.rstrip("/")
        self._secret = secret
        self._clock = clock
        self._programmes = programmes

    def write(self, notice: Mapping[str, Any], merchant: Merchant) -> bytes:
        """The mail, with a link that acts as its reader: a buyer on the order, a merchant on this one case. The platform has a
        key, which no mail replaces, and is written to in English."""
        if "circular" in notice:
            return self._circular(notice, merchant)
        letter = Letter.model_validate_json(notice["letter"])
        locales = {"buyer": letter.order.buyer_locale, "merchant": merchant.locale, "platform": "en"}
        case_id = letter.case.case_id if letter.case else None
        url = reply_to = None
        if letter.reader != "platform":
            capability = Capability(
                link_id=notice["_id"],
                order_id=letter.order.order_id,
                role=letter.reader,
                case_id=None if letter.reader == "buyer" else case_id,
            )
            url = f"{self._base_url}/l/{mint(self._secret, capability)}"
            answered = ReplyAddress(letter.order.order_id, letter.reader, case_id)
            reply_to = reply_address(self._secret, self.sender.reply_domain, answered)
        return render(
            words_of(letter, merchant, language_of(locales[letter.reader]), self.sender.name, self._programmes),
            url,
            Headers(
                notice_id=notice["_id"],
                message_id=message_id(self._secret, notice["_id"], self.sender.domain),
                reply_to=reply_to,
                thread=thread_id(case_id, self.sender.domain) if case_id else None,
                kind=letter.kind,
                to=notice["to"],
                order_id=letter.order.order_id,
                case_id=case_id,
                sent_at=done_at(notice, self._clock),
            ),
            self.sender,
        )

    def _circular(self, notice: Mapping[str, Any], merchant: Merchant) -> bytes:
        """A mail about a merchant's shop."""
        circular = notice["circular"]
        speak = language_of(circular["locale"] or merchant.locale)
        headers = Headers(
            notice_id=notice["_id"],
            message_id=message_id(self._secret, notice["_id"], self.sender.domain),
            reply_to=None,
            thread=None,
            kind=notice["kind"],
            to=notice["to"],
            order_id=None,
            case_id=None,
            sent_at=done_at(notice, self._clock),
        )
        words = circular_words(notice["kind"], circular["about"], merchant, speak, self.sender.name)
        return render(words, None, headers, self.sender)
