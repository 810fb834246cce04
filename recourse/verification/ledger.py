"""The refund ledger of an order, added up anew (NX-06)."""

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

__all__ = ["wrong_entries"]


def wrong_entries(paid: Mapping[str, str], entries: Sequence[Mapping[str, Any]], open_cases: frozenset[str]) -> Iterator[str]:
    """What is wrong with a ledger: an entry twice, a foreign currency, a settlement of nothing or of something settled, money
    reserved for a case that has ended, and more than was paid (but for what a fact reported beyond it, which is flagged)."""
    seen: set[str] = set()
    reservations: dict[str, Mapping[str, Any]] = {}
    settled: set[str] = set()
    executed = flagged = Decimal(0)
    for entry in entries:
        name = f"{entry['kind']} {entry['entry_id']}"
        if entry["entry_id"] in seen:
            yield f"{name} stands twice"
        seen.add(entry["entry_id"])
        amount = Decimal(entry["amount"]["amount"])
        if entry["amount"]["currency"] != paid["currency"] or amount < 0:
            yield f"{name}: {entry['amount']} is no amount of an order in {paid['currency']}"
        if entry["kind"] == "reserved":
            reservations[entry["entry_id"]] = entry
            continue
        target = entry.get("settles")
        if target is not None:
            if target not in reservations:
                yield f"{name} settles {target}, which was never reserved"
            elif target in settled:
                yield f"{name} settles {target} once more"
            settled.add(target)
        elif entry["kind"] == "released":
            yield f"{name} releases nothing"
        if entry["kind"] == "executed":
            executed += amount
            if "over_refund" in entry.get("flags", ()):
                flagged += amount
    standing = {entry_id: entry for entry_id, entry in reservations.items() if entry_id not in settled}
    for entry_id, entry in standing.items():
        if entry.get("case_id") not in open_cases:
            yield f"reserved {entry_id} is left of a case that has ended"
    reserved = sum((Decimal(entry["amount"]["amount"]) for entry in standing.values()), Decimal(0))
    limit = Decimal(paid["amount"])
    if reserved + executed > limit and not flagged:
        yield f"{reserved} reserved and {executed} executed are more than the {limit} that was paid"
