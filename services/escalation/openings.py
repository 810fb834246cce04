"""What escalation keeps of every case that opened: insert-only, without the buyer's address, for rules and back-tests."""

import hashlib
import hmac
import time
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from chassis.store import Append, Database, MongoStore
from contracts.base import format_moment, parse_moment
from contracts.money import Money
from engine.matrix import HISTORY, Opening

__all__ = ["OPENINGS", "Openings", "buyer_of"]

OPENINGS = "openings"

_READ = 2_000
"""Documents that one answer of the store carries while all are read."""


def buyer_of(secret: str, email: str) -> str:
    """Stands for a buyer: a keyed digest of the address, without case, so that whoever reads the store learns no address and
    finds none by trying."""
    return hmac.new(secret.encode(), f"buyer\n{email.strip().casefold()}".encode(), hashlib.sha256).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class _Place:
    """When a case opened; of those that opened at one moment, which one was heard of first."""

    at: str
    heard: int
    case_id: str

    @property
    def order(self) -> tuple[str, int, str]:
        return self.at, self.heard, self.case_id


class Openings:
    """The collection of openings."""

    def __init__(self, database: Database) -> None:
        self._collection = database[OPENINGS]
        self._store = MongoStore(database)

    async def create_indexes(self) -> None:
        """By time for back-tests, by buyer and time for the buyer's earlier cases."""
        await self._collection.create_index([("at", 1), ("heard", 1), ("_id", 1)])
        await self._collection.create_index([("buyer", 1), ("at", 1), ("heard", 1)])

    async def keep(self, openings: Sequence[Opening]) -> None:
        """Keep what is not kept yet, in the order in which it was heard. One insert."""
        heard = time.time_ns()
        await self._store.append([Append(OPENINGS, _document(each, heard + n)) for n, each in enumerate(openings)])

    async def earlier_cases(self, openings: Sequence[Opening]) -> Mapping[str, int]:
        """By case, how many cases the same buyer had in the 365 days before it. The cases themselves are kept. One query."""
        first = min(opening.at for opening in openings) - HISTORY
        last = max(opening.at for opening in openings)
        asked = {
            "buyer": {"$in": list({opening.buyer for opening in openings})},
            "at": {"$gt": format_moment(first), "$lte": format_moment(last)},
        }
        by_buyer: dict[str, list[_Place]] = {}
        for found in await self._collection.find(asked, {"buyer": 1, "at": 1, "heard": 1}, batch_size=10_000).to_list(None):
            by_buyer.setdefault(found["buyer"], []).append(_Place(found["at"], found["heard"], found["_id"]))
        return {opening.case_id: _earlier(opening, by_buyer.get(opening.buyer, ())) for opening in openings}

    async def between(self, since: datetime | None, until: datetime | None) -> AsyncIterator[Opening]:
        """The openings from `since` to before `until`, in the order in which they happened."""
        span = {"$gte": format_moment(since)} if since is not None else {}
        span |= {"$lt": format_moment(until)} if until is not None else {}
        found = self._collection.find({"at": span} if span else {}, batch_size=_READ)
        async for document in found.sort([("at", 1), ("heard", 1), ("_id", 1)]):
            yield _opening(document)


def _earlier(opening: Opening, places: Collection[_Place]) -> int:
    own = next((place for place in places if place.case_id == opening.case_id), None)
    if own is None:
        raise LookupError(f"{opening.case_id} was not kept")
    since = format_moment(opening.at - HISTORY)
    return sum(since < place.at and place.order < own.order for place in places)


def _document(opening: Opening, heard: int) -> dict[str, Any]:
    return {
        "_id": opening.case_id,
        "at": format_moment(opening.at),
        "heard": heard,
        "programme": opening.programme,
        "reason": opening.reason,
        "merchant": opening.merchant_id,
        "buyer": opening.buyer,
        "amount": opening.amount.model_dump(mode="json"),
        "left": opening.left.model_dump(mode="json"),
        "day": opening.day,
        "decidable": opening.decidable,
    }


def _opening(document: Mapping[str, Any]) -> Opening:
    return Opening(
        case_id=document["_id"],
        at=parse_moment(document["at"]),
        programme=document["programme"],
        reason=document["reason"],
        merchant_id=document["merchant"],
        buyer=document["buyer"],
        amount=Money.model_validate(document["amount"]),
        left=Money.model_validate(document["left"]),
        day=document["day"],
        decidable=document["decidable"],
    )
