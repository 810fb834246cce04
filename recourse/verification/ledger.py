"""The refund ledger of an order, added up anew (NX-06)."""

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

__all__ = ["wrong_entries"]


def wrong_entries(paid: Mapping[str, str], entries: Sequence[Mapping[str, Any]], running: frozenset[str]) -> Iterator[str]:
    """What is wrong with a ledger: an entry twice, a foreign currency, a settlement of nothing or of something settled, money
    reserved for a case that is not `running` any more (but for what was decided, which stands until it has flowed), and more
    than was paid (but for what flowed beyond it, which is flagged)."""
    seen: set[str] = set()
    reservations: dict[str, Mapping[str, Any]] = {}
    executions: dict[str, Decimal] = {}
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
            taken_back = entry["kind"] == "released" and target in executions
            if target in settled:
                yield f"{name} settles {target} once more"
            elif taken_back:
                executed -= executions[target]  # it turned out not to have flowed
            elif target not in reservations:
                yield f"{name} settles {target}, which was never reserved"
            settled.add(target)
        elif entry["kind"] == "released":
            yield f"{name} releases nothing"
        if entry["kind"] == "executed":
            executed += amount
            executions[entry["entry_id"]] = amount
            if "over_refund" in entry.get("flags", ()):
                flagged += amount
    standing = {entry_id: entry for entry_id, entry in reservations.items() if entry_id not in settled}
    for entry_id, entry in standing.items():
        if entry.get("case_id") not in running and entry.get("decision_id") is None:
            yield f"reserved {entry_id} is left of a case that has ended"
    reserved = sum((Decimal(entry["amount"]["amount"]) for entry in standing.values()), Decimal(0))
    limit = Decimal(paid["amount"])
    if reserved + executed > limit and not flagged:
        yield f"{reserved} reserved and {executed} executed are more than the {limit} that was paid"
