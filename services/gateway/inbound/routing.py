"""Where a mail belongs: to a case in a party's name, to a notice that failed, or to the platform's team. Pure.

Who wrote is believed when two things agree: the mail came back to an address (or refers to a Message-ID) that only this party
was sent, and it is from an address that this party is known by. A forged or forwarded mail has one of them at most."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from contracts.texts import address_key
from services.gateway.inbound.parsing import Mail, bare

__all__ = [
    "CLOSED_REASONS",
    "Bounced",
    "ToTeam",
    "Why",
    "authenticity",
    "known_addresses",
    "newest_open_case",
    "order_numbers",
    "without_case",
]

Why = Literal[
    "no_case",
    "unknown_address",
    "foreign_sender",
    "unproven_sender",
    "address_expired",
    "too_many",
    "empty",
    "unreadable",
    "not_taken",
    "automatic",
    "auto_reply",
    "bounce",
    "loop",
    "failed",
]
CLOSED_REASONS = frozenset({"auto_reply", "bounce", "loop"})
"""Kept for whoever looks for them, but nothing that the team has to do."""

_MOST_HOPS = 50
_LONGEST_NUMBER = 100
_MOST_NUMBERS = 100
_AROUND = ".,:;!?()[]{}<>\"'„“”‚‘’«»#*_`|/\\"
_FINDING = re.compile(r"\s*([a-z0-9-]+)(?:\s*/\s*\d+)?\s*=\s*([a-z]+)(?![^\s])")
_DOMAIN = r"\s*=\s*(?:[^\s@]*@)?([a-z0-9-]+(?:\.[a-z0-9-]+)+)\.?(?!\S)"
_NAMED = {
    "dmarc": re.compile(rf"\sheader\.from{_DOMAIN}"),
    "dkim": re.compile(rf"\sheader\.d{_DOMAIN}"),
    "spf": re.compile(rf"\ssmtp\.mailfrom{_DOMAIN}"),
}
"""The domain that a finding of a method is about; one without a dot is nobody's."""


@dataclass(frozen=True, slots=True)
class ToTeam:
    """An item for the platform's team, with what is known of where it may belong."""

    why: Why
    case_id: str | None = None
    order_id: str | None = None
    detail: str = ""

    @property
    def is_open(self) -> bool:
        """Whether somebody of the team has to look at it."""
        return self.why not in CLOSED_REASONS


@dataclass(frozen=True, slots=True)
class Bounced:
    """Servers could not deliver this notice."""

    notice_id: str
    detail: str


def without_case(mail: Mail, own_id: bool, notices: Sequence[str], addressed: bool) -> ToTeam | Bounced | None:
    """What is decided before any case is looked at; None: a person wrote it. `own_id`: its own Message-ID is one of ours,
    `notices`: ours that stand in it, `addressed`: it came to an address that was made for a party."""
    if mail.broken:
        return ToTeam("unreadable", detail=mail.broken)
    if own_id or mail.hops > _MOST_HOPS:
        return ToTeam("loop")
    if mail.bounce is not None:
        if mail.bounce.failed and notices:
            return Bounced(notices[0], mail.bounce.detail)
        return ToTeam("bounce", detail=mail.bounce.detail)
    if mail.automatic == "auto_reply":
        return ToTeam("auto_reply")
    if mail.automatic:
        # A ticket system also says that a machine sent what a person wrote in it: somebody should see it.
        return ToTeam("automatic" if addressed or notices else "auto_reply", detail=mail.automatic)
    return None


def authenticity(mail: Mail, authserv: str) -> Literal["proven", "forged", "unknown"]:
    """What the mail server in front of us found out about the sender's domain (RFC 8601). A policy of the domain (DMARC) that
    was broken is a forgery, whomever it names. Whatever was found good, a policy, a signature or a path, proves the domain that
    it names: the sender's itself, or one above it."""
    results = list(_findings(mail.authentication, authserv)) if authserv else []
    if any((method, result) == ("dmarc", "fail") for method, result, _ in results):
        return "forged"
    domain = mail.sender.rpartition("@")[2]
    for method, result, finding in results:
        named = _NAMED[method].search(finding) if method in _NAMED and result == "pass" else None
        if named is not None and domain and f".{domain}".endswith(f".{named[1]}"):
            return "proven"
    return "unknown"


def _findings(headers: Sequence[str], authserv: str) -> Iterator[tuple[str, str, str]]:
    """Method, result and whole of each finding of a server, in lower case. It may write a header for each method; they stand
    before those of all others, and what follows another's is believed no more than that one: any sender can write such."""
    for header in headers:
        name, *findings = bare(header).lower().split(";")
        if name.split()[:1] != [authserv.lower()]:
            return
        for finding in findings:
            if found := _FINDING.match(finding):
                yield found[1], found[2], finding


def known_addresses(
    body: Mapping[str, Any], merchant: Mapping[str, Any] | None, role: Literal["buyer", "merchant"], case_id: str | None
) -> frozenset[str]:
    """The addresses that a party is known by, in lower case. A buyer's: the order's, and the one that the report gave for the
    correspondence (RD-02). A merchant's: those of its contract, its service contact and its consultants, as they are now, so
    that an address that left the contract no longer speaks for the shop."""
    if role == "buyer":
        reports: Mapping[str, Mapping[str, Any]] = body.get("reports") or {}
        given = [report.get("contact") or {} for reported, report in reports.items() if case_id in (None, reported)]
        found = [body["order"]["buyer"]["email"], *(contact.get("email") for contact in given)]
    elif merchant is None:
        found = []
    else:
        profile = merchant["merchant"]
        consultants = (merchant.get("desk") or {}).get("consultants") or ()
        found = [
            *(each["email"] for each in profile.get("notify") or ()),
            (profile.get("service_contact") or {}).get("email"),
            *(each.get("email") for each in consultants),
        ]
    return frozenset(address_key(address) for address in found if address)


def newest_open_case(body: Mapping[str, Any]) -> str | None:
    """The latest case of an order that has not ended."""
    opened: Sequence[Mapping[str, Any]] = body["standing"].get("open_cases") or ()
    return max((each["case_id"] for each in opened), key=lambda case_id: int(case_id.rpartition("_")[2]), default=None)


def order_numbers(mail: Mail) -> tuple[str, ...]:
    """What in a mail may be an order number: its words with a digit in them, those of the subject first."""
    words: dict[str, None] = {}
    for word in f"{mail.subject} {mail.text}".split():
        bare = word.strip(_AROUND)
        for candidate in (bare, word):
            if candidate and len(candidate) <= _LONGEST_NUMBER and any(character.isdigit() for character in candidate):
                words[candidate] = None
        if len(words) >= _MOST_NUMBERS:
            break
    return tuple(words)
