"""A mail's bytes: layout of the words as HTML and text, and the MIME message around them.

MIME is written by hand where that is safe, because the standard library's generator costs several times the layout itself:
bodies are quoted-printable (which cannot hold a bare line end or a boundary), and each header is made of known safe parts
or encoded as RFC 2047 has it."""

import binascii
import re
from base64 import b64encode
from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime, formataddr, parseaddr

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from contracts.base import format_moment
from contracts.mailboxes import reply_domain
from contracts.notices import NoticeKind
from services.notifications.wording import Words

__all__ = ["Headers", "Sender", "render"]

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")

_WORD = 39
"""Bytes of text in an encoded word: with the header's name its line stays within 76 characters."""

_templates = Environment(
    loader=PackageLoader("services.notifications"),
    autoescape=select_autoescape(("html.j2",)),
    undefined=StrictUndefined,
    keep_trailing_newline=True,
    auto_reload=False,
)
_templates.globals.clear()  # none is used, and each mail would copy them twice, which is a quarter of its layout
_HTML = _templates.get_template("mail.html.j2")
_TEXT = _templates.get_template("mail.txt.j2")


@dataclass(frozen=True, slots=True)
class Sender:
    """Who mails come from: the header as it is sent, the bare address, its domain and the name that signs; and the domain
    that answers and bounces come back to."""

    header: str
    address: str
    domain: str
    name: str
    reply_domain: str

    @classmethod
    def of(cls, mail_from: str, replies: str = "") -> "Sender":
        """From `Name <address>`, and the domain of replies where it is another. Raises ValueError where there is no address."""
        name, address = parseaddr(mail_from)
        if "@" not in address:
            raise ValueError(f"{mail_from!r} names no mail address; give Name <name@domain>")
        domain = address.rpartition("@")[2]
        return cls(formataddr((name, address)), address, domain, name or address, reply_domain(replies, mail_from))

    @property
    def return_path(self) -> str:
        """Where servers send a mail back to: an address whose mails we read."""
        return self.address if self.domain.lower() == self.reply_domain else f"bounces@{self.reply_domain}"


@dataclass(frozen=True, slots=True)
class Headers:
    """What the headers of a mail are made from. `sent_at` is by the stack's clock. Whoever answers to `reply_to`, or to
    `message_id`, has read this mail; `thread` is what all mails of a case refer to."""

    notice_id: str
    message_id: str
    reply_to: str | None
    thread: str | None
    kind: NoticeKind
    to: str
    order_id: str | None
    case_id: str | None
    sent_at: datetime


def render(words: Words, url: str | None, headers: Headers, sender: Sender) -> bytes:
    """The mail as it is handed to a server, lines ended by CRLF.

    Message-ID is made from the notice, so that a mail sent again after a crash can be told as the same one."""
    text = _body(_TEXT.render(words=words, url=url))
    html = _body(_HTML.render(words=words, url=url))
    boundary = f"=_{headers.notice_id}"  # quoted-printable never holds "=_"
    head = [
        f"From: {sender.header}",
        f"To: {_one_line(headers.to)}",
        f"Subject: {_encoded(words.subject)}",
        f"Date: {format_datetime(headers.sent_at)}",
        *([f"Reply-To: {headers.reply_to}"] if headers.reply_to else []),
        f"Message-ID: {headers.message_id}",
        *([f"References: {headers.thread}"] if headers.thread else []),
        "Auto-Submitted: auto-generated",
        f"Content-Language: {words.language}",
        f"X-Recourse-Kind: {headers.kind}",
        *([f"X-Recourse-Order: {headers.order_id}"] if headers.order_id else []),
        *([f"X-Recourse-Case: {headers.case_id}"] if headers.case_id else []),
        f"X-Recourse-Sent-At: {format_moment(headers.sent_at)}",
        "MIME-Version: 1.0",
        f'Content-Type: multipart/alternative; boundary="{boundary}"',
    ]
    return b"".join(
        (
            "\r\n".join(head).encode(),
            f"\r\n\r\n--{boundary}\r\nContent-Type: text/plain; charset=utf-8\r\n".encode(),
            b"Content-Transfer-Encoding: quoted-printable\r\n\r\n",
            text,
            f"\r\n--{boundary}\r\nContent-Type: text/html; charset=utf-8\r\n".encode(),
            b"Content-Transfer-Encoding: quoted-printable\r\n\r\n",
            html,
            f"\r\n--{boundary}--\r\n".encode(),
        )
    )


def _body(text: str) -> bytes:
    lines = "\r\n".join(text.splitlines()) + "\r\n"
    return binascii.b2a_qp(lines.encode(errors="replace"), istext=True)


def _one_line(text: str) -> str:
    """Without anything that could end a header line."""
    return _CONTROL.sub(" ", text).strip()


def _encoded(text: str) -> str:
    """A header's free text: short ASCII as it is, all else as encoded words of RFC 2047, one a line."""
    text = _one_line(text)
    if text.isascii() and len(text) < 60 and "=?" not in text:
        return text
    words, left = [], text.encode(errors="replace")
    while left:
        end = _WORD
        while left[end : end + 1] and left[end] & 0xC0 == 0x80:  # a word holds whole characters
            end -= 1
        words.append(left[:end])
        left = left[end:]
    return "\r\n ".join(f"=?utf-8?b?{b64encode(each).decode()}?=" for each in words)
