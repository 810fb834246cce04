"""A mail as it arrived, read into what matters: who wrote, what is new in it, what came with it, and whether a machine sent it.

Never raises, whatever the bytes are. The standard library's parser is used for the structure only: headers and charsets are
decoded here, because its own decoders fail on broken ones, and nothing is read that has more parts than a person's mail."""

import re
from codecs import lookup
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.errors import HeaderParseError
from email.header import decode_header
from email.message import Message
from email.utils import getaddresses

from contracts.texts import address_key
from services.gateway.inbound.plain import text_of_html
from services.gateway.inbound.replies import new_part, tidy

__all__ = ["Attachment", "Automatic", "Bounce", "Mail", "bare", "read_mail", "recipients_of"]

_MOST_PARTS = 200
_DEEPEST = 20
_MOST_STEPS = 4_000_000
"""Lines times boundaries: what the standard library's parser does for a mail, at most some seconds of it."""
_LONGEST_HEADER = 8_000
_LONGEST_TEXT = 200_000
_MOST_REFERENCES = 50
_MOST_FINDINGS = 20
"""Authentication-Results headers that are read: one server writes a few at most."""
_HEAD = 64 * 1024
"""Bytes that are read of a mail that is not read whole."""
_DECORATION = 12 * 1024
"""Bytes up to which a picture inside a text is a logo or a pixel that counts readers, not something that a person attached."""

_ENDLESS_HEADER = re.compile(rb"^content-[a-z-]{1,40}:(?:[^\r\n]|\r?\n[ \t]){4000}", re.IGNORECASE | re.MULTILINE)
"""The standard library's time is not linear in the parameters of such a header."""
_ADDRESS = re.compile(r"[^@\s<>,;:\"()\[\]\\]{1,64}@[^@\s<>,;:\"()\[\]\\]{1,189}")
_BETWEEN_ADDRESSES = re.compile(r"[\s<>,;:]+")
_MESSAGE_ID = re.compile(r"<[^<>\s]{1,500}>")
_STATUS = re.compile(r"^\s*status:\s*5\.|^\s*diagnostic-code:.{0,60}\b5\d\d\b", re.IGNORECASE | re.MULTILINE)
_ACTION = re.compile(r"^\s*action:\s*([a-z]+)", re.IGNORECASE | re.MULTILINE)
_DIAGNOSTIC = re.compile(r"^\s*diagnostic-code:\s*(.{1,300})", re.IGNORECASE | re.MULTILINE)
_STATUS_LINE = re.compile(r"^\s*status:\s*([245]\.\d{1,3}\.\d{1,3})", re.IGNORECASE | re.MULTILINE)
_MAILERS = ("mailer-daemon", "postmaster", "mail-daemon", "mailerdaemon")
_NO_TEXT_CODECS = frozenset({"idna", "punycode", "unicode_escape", "raw_unicode_escape", "undefined", "mbcs", "oem", "utf-7"})
"""Codecs that are no charsets of mails, or whose time is not linear in what they decode."""

_AUTO_REPLY_SUBJECTS = (
    "automatic reply:",
    "auto reply:",
    "auto-reply:",
    "autoreply:",
    "auto response:",
    "out of office",
    "out of the office",
    "automatische antwort:",
    "abwesenheitsnotiz",
    "abwesenheit:",
    "abwesend:",
    "risposta automatica",
    "fuori sede",
    "fuori ufficio",
    "autoodpowiedź",
    "odpowiedź automatyczna",
    "automatyczna odpowiedź",
    "automatisch antwoord",
    "afwezigheidsbericht",
    "réponse automatique",
    "absence du bureau",
    "absent du bureau",
    "respuesta automática",
    "fuera de la oficina",
    "fuera de oficina",
    "resposta automática",
    "ausência temporária",
    "fora do escritório",
)
_CALENDAR_ANSWERS = frozenset({"reply", "counter", "refresh", "declinecounter"})

Automatic = str
"""Why a mail counts as sent by a machine: `auto_reply`, `list`, `bulk` or `generated`; empty for a person's."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file that came with a mail. `declared` is its media type as the mail says, which nobody needs to believe."""

    name: str
    declared: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Bounce:
    """What a server says about a mail that it could not deliver. `failed` where that is for good."""

    failed: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail that was read. `broken` says why where it could not be; then the rest is what its headers say, if anything."""

    message_id: str = ""
    sender: str = ""
    """The one address in From, in lower case; empty where there is none, more than one, or one that cannot be read."""
    shown_sender: str = ""
    """From, as a person reads it."""
    subject: str = ""
    text: str = ""
    """What is new in it."""
    whole_text: str = ""
    """All of it, history and signature included."""
    attachments: tuple[Attachment, ...] = ()
    left_out: tuple[str, ...] = ()
    """Names of parts that are no evidence by their nature: invitations, cards, signed or encrypted envelopes, other mails."""
    references: tuple[str, ...] = ()
    """In-Reply-To and References."""
    automatic: Automatic = ""
    bounce: Bounce | None = None
    hops: int = 0
    authentication: tuple[str, ...] = ()
    """The Authentication-Results headers, the ones that the nearest server added first."""
    broken: str = ""


@dataclass(slots=True)
class _Body:
    plain: list[str]
    html: list[str]
    quoted_html: list[str]


def read_mail(raw: bytes, return_path: str | None = None) -> Mail:
    """Read a mail. `return_path` is the sender of the envelope: empty for what servers send by themselves."""
    try:
        lines, boundaries = raw.count(b"\n") + raw.count(b"\r") // 2, raw.lower().count(b"boundary")
        if boundaries > _MOST_PARTS or lines * (1 + boundaries) > _MOST_STEPS or _ENDLESS_HEADER.search(raw):
            head = re.split(rb"\r?\n\r?\n", _ENDLESS_HEADER.sub(b"", raw[:_HEAD]), maxsplit=1)[0]
            message = message_from_bytes(head, policy=policy.compat32)
            return _with_headers(message, return_path, broken="it has more parts than can be read")
        message = message_from_bytes(raw, policy=policy.compat32)
    except Exception as error:
        return Mail(broken=f"its structure cannot be read ({type(error).__name__})")
    try:
        return _read(message, return_path)
    except Exception as error:
        try:
            return _with_headers(message, return_path, broken=f"it cannot be read ({type(error).__name__})")
        except Exception:
            return Mail(broken=f"it cannot be read ({type(error).__name__})")


def recipients_of(raw: bytes) -> tuple[str, ...]:
    """The addresses of To, Cc and the headers that servers add, in lower case: for whom a mail is, whichever of them the server
    that hands it over names."""
    head = re.split(rb"\r?\n\r?\n", raw[:_HEAD], maxsplit=1)[0]
    try:
        message = message_from_bytes(_ENDLESS_HEADER.sub(b"", head), policy=policy.compat32)
        added = [each for name in ("delivered-to", "x-original-to", "envelope-to") for each in _all(message, name)[:5]]
        return _addresses([*_all(message, "to"), *_all(message, "cc"), *added])
    except Exception:
        return ()


# Headers


def _all(message: Message, name: str) -> list[str]:
    """The values of a header, unfolded and not decoded, each at most some thousand characters."""
    wanted = name.lower()
    return [
        re.sub(r"\r?\n[ \t]?", " ", str(value)[: 2 * _LONGEST_HEADER])[:_LONGEST_HEADER]
        for key, value in message.raw_items()  # pyright: ignore[reportAttributeAccessIssue] - public, missing in the stubs
        if key.lower() == wanted
    ]


def _first(message: Message, name: str) -> str:
    return next(iter(_all(message, name)), "").strip()


def decoded(value: str) -> str:
    """A header's value as text: bytes that are not ASCII are UTF-8 or Western, encoded words are decoded where they can be."""
    value = _text_of(value.encode("utf-8", "surrogateescape"), "utf-8") if not value.isascii() else value
    if "=?" not in value:
        return _one_line(value)
    try:
        parts = decode_header(value)
    except (HeaderParseError, ValueError, LookupError):
        return _one_line(value)
    return _one_line("".join(part if isinstance(part, str) else _text_of(part, charset or "ascii") for part, charset in parts))


def _one_line(text: str) -> str:
    return " ".join(tidy(text).split())


def _text_of(content: bytes, charset: str) -> str:
    """Bytes as text. A charset that is unknown, or that does not fit, is taken as UTF-8, else as Western."""
    for name in dict.fromkeys((charset.strip("'\" ").lower()[:40], "utf-8")):
        try:
            codec = lookup(name)
            if codec.name.replace("_", "-") not in _NO_TEXT_CODECS and codec.name not in _NO_TEXT_CODECS:
                return content.decode(codec.name)
        except (LookupError, UnicodeError, ValueError):
            continue
    return content.decode("windows-1252", errors="replace")


def _addresses(values: Sequence[str]) -> tuple[str, ...]:
    """The addresses in headers, in lower case. What the standard library cannot read is searched for addresses."""
    whole = ", ".join(values)[:_LONGEST_HEADER]
    try:
        found = [address for _, address in getaddresses([whole])]
    except Exception:
        found = _ADDRESS.findall(whole)
    cleaned = (address_key(_text_of(address.encode("utf-8", "surrogateescape"), "utf-8").strip()) for address in found)
    return tuple(dict.fromkeys(address for address in cleaned if _ADDRESS.fullmatch(address)))


def bare(header: str) -> str:
    """A header without comments, and with nothing in its quotes: a sender chooses what stands in them. One that does not end
    takes all that follows and leaves its opening sign."""
    kept: list[str] = []
    depth, quoted, escaped = 0, False, False
    for character in header:
        if escaped:
            escaped = False
        elif character == "\\" and (depth or quoted):
            escaped = True
        elif quoted:
            quoted = character != '"'
            kept += () if quoted else '"'
        elif character == '"' and not depth:
            quoted = True
            kept += '"'
        elif character == "(":
            depth += 1
        elif character == ")" and depth:
            depth -= 1
            kept += () if depth else " "
        elif not depth:
            kept += character
    return "".join(kept) + ("(" if depth else "")


def _sole_sender(values: Sequence[str]) -> str:
    """The address in From where it names one and no other. Everything with an @ counts as an address, also what cannot be one
    or is not understood: a server that reads it otherwise may have vouched for just that one."""
    if len(values) != 1 or len(values[0]) >= _LONGEST_HEADER:
        return ""
    said = bare(_text_of(values[0].encode("utf-8", "surrogateescape"), "utf-8"))
    if "(" in said or said.count('"') % 2:
        return ""
    named = {address_key(each) for each in _BETWEEN_ADDRESSES.split(said) if "@" in each}
    sender = named.pop() if len(named) == 1 else ""
    return sender if _ADDRESS.fullmatch(sender) else ""


def _with_headers(message: Message, return_path: str | None, broken: str = "") -> Mail:
    senders = _all(message, "from")
    references = _MESSAGE_ID.findall(f"{_first(message, 'in-reply-to')} {_first(message, 'references')}")
    return Mail(
        message_id=next(iter(_MESSAGE_ID.findall(_first(message, "message-id"))), ""),
        sender=_sole_sender(senders),
        shown_sender=decoded(senders[0])[:500] if senders else "",
        subject=decoded(_first(message, "subject"))[:500],
        references=tuple(dict.fromkeys(references))[:_MOST_REFERENCES],
        automatic=_automatic(message, return_path),
        hops=len(_all(message, "received")),
        authentication=tuple(_all(message, "authentication-results")[:_MOST_FINDINGS]),
        broken=broken,
    )


def _automatic(message: Message, return_path: str | None) -> Automatic:
    """Whether a machine sent it (RFC 3834 and what programs do instead)."""
    submitted = _first(message, "auto-submitted").lower().partition(";")[0].strip()
    precedence = _first(message, "precedence").lower()
    subject = decoded(_first(message, "subject")).lower()
    if submitted.startswith("auto-replied") or precedence == "auto_reply" or subject.startswith(_AUTO_REPLY_SUBJECTS):
        return "auto_reply"
    if any(_all(message, name) for name in ("x-autoreply", "x-autorespond", "x-autoresponder", "x-auto-reply", "x-vacation")):
        return "auto_reply"
    if any(_all(message, name) for name in ("list-id", "list-post", "list-unsubscribe", "list-help", "mailing-list")):
        return "list"
    if precedence in ("bulk", "junk", "list"):
        return "bulk"
    if submitted and submitted != "no":
        return "generated"
    if any(_all(message, name) for name in ("x-autogenerated", "x-ms-exchange-inbox-rules-loop", "feedback-id")):
        return "generated"
    local = next(iter(_addresses(_all(message, "from"))), "").partition("@")[0]
    if return_path == "" or local in _MAILERS:
        return "generated"
    return ""


# The body


def _read(message: Message, return_path: str | None) -> Mail:
    mail = _with_headers(message, return_path)
    body, attachments, left_out = _Body([], [], []), list[Attachment](), list[str]()
    automatic, bounce = mail.automatic, None
    if message.get_content_type() == "multipart/report":
        bounce = _bounce(message)
        receipt = str(message.get_param("report-type") or "").lower() == "disposition-notification"
        automatic = "auto_reply" if receipt else automatic or "generated"
    answered = _gather(message, body, attachments, left_out)
    if answered:
        automatic = "auto_reply"
    whole = tidy("\n\n".join((*body.plain, *body.quoted_html)))[:_LONGEST_TEXT]
    text = new_part("\n\n".join((*body.plain, *body.html))[:_LONGEST_TEXT])
    if bounce is None and automatic and mail.sender.partition("@")[0] in _MAILERS:
        bounce = _bounce_in_words(whole)
    return Mail(
        **{name: getattr(mail, name) for name in _HEADER_FIELDS},
        text=text,
        whole_text=whole,
        attachments=tuple(attachments),
        left_out=tuple(dict.fromkeys(left_out)),
        automatic=automatic,
        bounce=bounce,
    )


_HEADER_FIELDS = (
    "message_id",
    "sender",
    "shown_sender",
    "subject",
    "references",
    "hops",
    "authentication",
)


def _gather(message: Message, body: _Body, attachments: list[Attachment], left_out: list[str]) -> bool:
    """Take the parts of a mail apart, without recursion. True for an answer to an invitation, which a calendar sends."""
    answered = False
    stack: list[tuple[Message, int, bool]] = [(message, 0, False)]
    seen = 0
    while stack:
        part, depth, related = stack.pop()
        seen += 1
        if seen > _MOST_PARTS or depth > _DEEPEST:
            left_out.append(_name(part, "too many parts"))
            continue
        kind = part.get_content_type()
        children = [each for each in part.get_payload() if isinstance(each, Message)] if part.is_multipart() else []
        if kind == "multipart/alternative" and children:
            chosen, others = _alternative(children)
            stack += ((each, depth + 1, related) for each in reversed([chosen, *others]))
            continue
        if kind.startswith("multipart/") and children:
            stack += ((each, depth + 1, kind == "multipart/related") for each in reversed(children))
            continue
        if kind in ("text/calendar", "application/ics"):
            content = _content(part)
            method = (part.get_param("method") or "") if part.get("content-type") else ""
            answered = answered or str(method).lower() in _CALENDAR_ANSWERS or _method(content) in _CALENDAR_ANSWERS
            left_out.append(_name(part, "invitation.ics"))
            if not body.plain and not body.html:
                body.plain.append(_invitation(content))
        elif kind.startswith("message/") or kind == "text/rfc822-headers":
            left_out.append(_name(part, "mail.eml"))
        elif kind in ("application/pgp-signature", "application/pkcs7-signature", "application/x-pkcs7-signature"):
            continue  # proves who wrote to whoever has the key; we have none
        elif kind in ("text/plain", "text/html", "text/enriched", "multipart/alternative") and not _is_file(part):
            _take_text(part, kind, body)
        elif kind.startswith("multipart/"):
            _take_text(part, "text/plain", body)  # a multipart without parts: the boundary is wrong, the words may be there
        else:
            _take_file(part, related, attachments, left_out)
    return answered


def _alternative(children: list[Message]) -> tuple[Message, list[Message]]:
    """Of versions of the same: the plain text where it says something, else HTML or what holds it; and beside it what is no
    version of a text, such as an invitation."""
    texts = {"text/plain": [], "text/html": []}
    for child in children:
        kind = child.get_content_type()
        for wanted, found in texts.items():
            if wanted in (kind, *_near(child)):
                found.append(child)
                break
    for found in texts.values():
        for child in found:
            if child.is_multipart() or _content(child).strip(b" \r\n\t\xa0"):
                return child, [each for each in children if each not in texts["text/plain"] and each not in texts["text/html"]]
    return children[-1], []


def _near(part: Message) -> Iterator[str]:
    """The kinds of what a multipart directly holds."""
    for child in part.get_payload() if part.is_multipart() else ():
        if isinstance(child, Message):
            yield child.get_content_type()


def _is_file(part: Message) -> bool:
    disposition = part.get_content_disposition()
    return disposition == "attachment" or (disposition is not None and _filename(part) != "")


def _take_text(part: Message, kind: str, body: _Body) -> None:
    text = _text_of(_content(part), part.get_content_charset() or "utf-8")[: 2 * _LONGEST_TEXT]
    if kind == "text/html":
        body.html.append(text_of_html(text))
        body.quoted_html.append(text_of_html(text, quotes=True))
    else:
        body.plain.append(_unflowed(text) if str(part.get_param("format") or "").lower() == "flowed" else text)


def _unflowed(text: str) -> str:
    """Lines that a program broke (RFC 3676): one that ends in a space goes on in the next."""
    lines: list[str] = []
    for line in text.replace("\r\n", "\n").split("\n"):
        line = line.removeprefix(" ") if not line.startswith(">") else line
        flows = bool(lines) and lines[-1].endswith(" ") and lines[-1] != "-- "
        if flows and lines[-1].startswith(">") == line.startswith(">") and line != "-- ":
            lines[-1] += line.lstrip("> ") if line.startswith(">") else line
        else:
            lines.append(line)
    return "\n".join(lines)


def _take_file(part: Message, related: bool, attachments: list[Attachment], left_out: list[str]) -> None:
    kind = part.get_content_type()
    name = _name(part, "attachment")
    if kind in ("application/ms-tnef", "application/vnd.ms-tnef") or name.lower() == "winmail.dat":
        left_out.append(name)  # Outlook's own envelope: nobody but Outlook opens it
        return
    if part.is_multipart():
        left_out.append(name)
        return
    content = _content(part)
    inside = part.get_content_disposition() != "attachment" and (related or part.get("content-id") is not None)
    if not content or (inside and kind.startswith("image/") and len(content) <= _DECORATION):
        return
    attachments.append(Attachment(name, kind, content))


def _content(part: Message) -> bytes:
    """The bytes of a part, whatever its transfer encoding says."""
    try:
        content = part.get_payload(decode=True)
    except Exception:
        content = None
    if isinstance(content, bytes):
        return content
    return str(part.get_payload()).encode("utf-8", "surrogateescape")


def _filename(part: Message) -> str:
    try:
        return decoded(part.get_filename() or "")
    except Exception:
        return ""


def _name(part: Message, otherwise: str) -> str:
    last = re.split(r"[/\\]", _filename(part))[-1]
    return "".join(character for character in last if character.isprintable()).strip(". ")[-200:] or otherwise


def _method(content: bytes) -> str:
    found = re.search(rb"^METHOD:\s*([A-Za-z]+)", content[:20_000], re.MULTILINE | re.IGNORECASE)
    return found[1].decode().lower() if found else ""


def _invitation(content: bytes) -> str:
    """What and when, of an invitation that comes without words."""
    text = re.sub(r"\r?\n[ \t]", "", _text_of(content[:20_000], "utf-8"))
    lines: list[str] = []
    for name in ("SUMMARY", "DTSTART", "DTEND", "LOCATION", "DESCRIPTION"):
        found = re.search(rf"^{name}(?:;[^:\r\n]{{0,200}})?:([^\r\n]{{1,500}})", text, re.MULTILINE)
        if found:
            lines.append(found[1].replace("\\n", "\n").replace("\\,", ",").replace("\\;", ";"))
    return "\n".join(lines)


# Bounces


def _bounce(message: Message) -> Bounce | None:
    """The report of a server (RFC 3464); None for another kind of report, such as a receipt."""
    if str(message.get_param("report-type") or "").lower() not in ("delivery-status", ""):
        return None
    said = ""
    for part in message.walk():
        if part.get_content_type() in ("message/delivery-status", "message/global-delivery-status"):
            payload = part.get_payload()
            blocks = payload if isinstance(payload, list) else [payload]
            said += "\n".join(str(block)[:4_000] for block in blocks[:20])
    if not said:
        return _bounce_in_words(_text_of(message.as_bytes()[:20_000], "utf-8"))
    actions = {action.lower() for action in _ACTION.findall(said)}
    found = _DIAGNOSTIC.search(said) or _STATUS_LINE.search(said)
    return Bounce("failed" in actions, _one_line(found[1])[:300] if found else "the mail could not be delivered")


def _bounce_in_words(text: str) -> Bounce | None:
    """What old servers write: failed for good where a code of the five hundreds stands in it."""
    found = re.search(r"^.{0,200}\b(5\d\d[ -]|5\.\d{1,3}\.\d{1,3}).{0,200}$", text[:20_000], re.MULTILINE)
    return Bounce(True, _one_line(found[0])[:300]) if found else Bounce(False, "")
