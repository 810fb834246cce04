"""The hash chain of a case (NX-13): every event is sealed to the one before it, over a salted digest of its data.

The chain covers digests only, so erasing an event's data and salt leaves it whole, while whoever may read data and salt can
recompute it: `data_digest` = SHA-256 of the salt's text and the canonical JSON of the event without its seal; `hash` =
SHA-256 of the canonical JSON of {sequence, type, at, actor, data_digest, previous_hash}. `type` is the message's kind
(`case.moved`), `at` and `actor` are as in the event's JSON; the first event of a case has an empty `previous_hash`."""

import hashlib
import secrets
from typing import Any

import orjson

from contracts.cases import CaseEvent, Seal

__all__ = ["canonical", "data_of", "new_salt", "seal"]


def canonical(value: Any) -> bytes:
    """JSON as RFC 8785 writes it: sorted keys, no spaces. True for what events hold: ASCII keys, no floats, integers of at
    most 53 bits; raises orjson.JSONEncodeError for what is no JSON at all."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def data_of(event: CaseEvent) -> dict[str, Any]:
    """The event's JSON without its seal: what the digest covers and the history keeps."""
    return event.model_dump(mode="json", exclude={"seal"})


def new_salt() -> str:
    """16 random bytes in hex: without it, nobody finds erased data by guessing."""
    return secrets.token_hex(16)


def seal(data: dict[str, Any], *, kind: str, sequence: int, previous_hash: str | None, salt: str) -> Seal:
    """The seal of an event's data as the `sequence`-th of its case (from 1) after the event with `previous_hash`."""
    previous = previous_hash or ""
    digest = hashlib.sha256(salt.encode() + canonical(data)).hexdigest()
    covered = {
        "sequence": sequence,
        "type": kind,
        "at": data["at"],
        "actor": data["actor"],
        "data_digest": digest,
        "previous_hash": previous,
    }
    return Seal.made_of(
        sequence=sequence,
        salt=salt,
        data_digest=digest,
        previous_hash=previous,
        hash=hashlib.sha256(canonical(covered)).hexdigest(),
    )
