"""The hash chain of a case, recomputed from what its specification says (NX-13), independently of the service that seals it."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import rfc8785

__all__ = ["broken_links"]

_FIRST = ""
"""What the first event of a case names as the one before it."""


def broken_links(history: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """What is wrong with a case's history, oldest first: gaps, data that does not match its digest, a hash that does not match
    what it covers or does not follow the one before. Erased data (None) is taken by its digest."""
    previous = _FIRST
    for expected, event in enumerate(history, 1):
        place = f"event {event['sequence']}"
        if event["sequence"] != expected:
            yield f"{place} stands where {expected} belongs"
            return
        if event.get("data") is not None:
            digest = hashlib.sha256(event["salt"].encode() + rfc8785.dumps(event["data"])).hexdigest()
            if digest != event["data_digest"]:
                yield f"{place}: its data is not what was sealed"
            if event["data"].get("at") != event["at"] or event["data"].get("actor") != event["actor"]:
                yield f"{place}: time or actor differ from its data"
        if event["previous_hash"] != previous:
            yield f"{place} does not follow the event before it"
        covered = {name: event[name] for name in ("sequence", "type", "at", "actor", "data_digest", "previous_hash")}
        if hashlib.sha256(rfc8785.dumps(covered)).hexdigest() != event["hash"]:
            yield f"{place}: its hash is not that of what it covers"
        previous = event["hash"]
