"""Addresses that mails come back to: who answers about what, signed into the address; and Message-IDs that only we can make.

A mail's `From` can be forged by anybody, so it is never enough. What proves a writer is that he was written to: the address
in `Reply-To` and the Message-ID of a notice were sent to one party alone, and neither can be made without the secret."""

import hashlib
import hmac
import re
from base64 import b32decode, b32encode
from dataclasses import dataclass
from email.utils import parseaddr
from typing import Literal

from contracts.ids import case_id_of

__all__ = [
    "ReplyAddress",
    "domain_of",
    "message_id",
    "notices_named",
    "read_address",
    "reply_address",
    "reply_domain",
    "thread_id",
]

_LOCAL = "case+"
_BUYER, _MERCHANT = 0, 1
_MAC_BYTES = 10
_PAYLOAD = 1 + 2 + 16
_TOKEN = re.compile(r"case\+([a-z2-7]{47})@([^@\s<>]+)", re.IGNORECASE)
_NOTICE = re.compile(rb"(ntc_[0-9a-f]{32}_[0-9a-f]{16})\.([0-9a-f]{20})(?![0-9a-f])")
_MOST_NOTICES = 100


@dataclass(frozen=True, slots=True)
class ReplyAddress:
    """For whom an address was made: a party of one case, or, without a case, the buyer of an order."""

    order_id: str
    role: Literal["buyer", "merchant"]
    case_id: str | None = None


def domain_of(mail_from: str) -> str:
    """The domain in `Name <address>`, in lower case; empty where there is none."""
    return parseaddr(mail_from)[1].rpartition("@")[2].lower()


def reply_domain(setting: str, mail_from: str) -> str:
    """The domain of the product's own addresses: the setting, else the domain that mails come from."""
    return setting.strip().lower() or domain_of(mail_from)


def _mac(secret: str, what: bytes) -> bytes:
    return hmac.new(secret.encode(), b"recourse.mailbox.v1\n" + what, hashlib.sha256).digest()[:_MAC_BYTES]


def reply_address(secret: str, domain: str, wanted: ReplyAddress) -> str:
    """`case+<token>@domain`: 52 characters before the @ (64 are allowed), in one case, because servers change it. The same
    party of the same case has the same address for ever."""
    number = 0 if wanted.case_id is None else int(wanted.case_id.rpartition("_")[2])
    payload = (
        bytes([_MERCHANT if wanted.role == "merchant" else _BUYER]) + number.to_bytes(2) + bytes.fromhex(wanted.order_id[4:])
    )
    token = b32encode(payload + _mac(secret, payload)).decode().rstrip("=").lower()
    return f"{_LOCAL}{token}@{domain}"


def read_address(secret: str, domain: str, address: str) -> ReplyAddress | None:
    """For whom an address was made; None where we did not make it, or not for this domain."""
    match = _TOKEN.fullmatch(address.strip())
    if match is None or match[2].lower() != domain:
        return None
    sealed = b32decode(f"{match[1].upper()}=")
    payload, mac = sealed[:_PAYLOAD], sealed[_PAYLOAD:]
    if not hmac.compare_digest(mac, _mac(secret, payload)):
        return None
    order_id = f"ord_{payload[3:].hex()}"
    number = int.from_bytes(payload[1:3])
    return ReplyAddress(
        order_id=order_id,
        role="merchant" if payload[0] == _MERCHANT else "buyer",
        case_id=case_id_of(order_id, number) if number else None,
    )


def message_id(secret: str, notice_id: str, domain: str) -> str:
    """The Message-ID of a notice: the same for the same notice, so that a mail sent again is recognised as the same."""
    return f"<{notice_id}.{_mac(secret, notice_id.encode()).hex()}@{domain}>"


def notices_named(secret: str, content: bytes) -> tuple[str, ...]:
    """The notices whose Message-ID stands somewhere in a text, each once, in order of appearance."""
    found: dict[str, None] = {}
    for number, match in enumerate(_NOTICE.finditer(content)):
        if number >= _MOST_NOTICES:
            break
        if hmac.compare_digest(match[2].decode(), _mac(secret, match[1]).hex()):
            found[match[1].decode()] = None
    return tuple(found)


def thread_id(case_id: str, domain: str) -> str:
    """What all mails about a case refer to, so that mail programs show them as one conversation."""
    return f"<{case_id}@{domain}>"
