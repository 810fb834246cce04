"""Escalation's database: pages of timers, written once and deleted whole, per partition a cursor of what has fired, tables."""

from collections.abc import AsyncIterator, Collection

from chassis.store import Append, Database, MongoStore
from services.escalation.pages import Page, hour_of

__all__ = ["CURSORS", "PAGES", "TABLES", "TimerStore"]

PAGES = "pages"
CURSORS = "cursors"
TABLES = "tables"
"""Documents of the platform's own tables, which the processing loop writes."""

BEGINNING = "1970-01-01T00:00:00.000Z"
"""The cursor of a partition of which nothing has fired yet."""

_READ_PAGES = 100
"""Pages that one answer of the store carries while they are read."""


class TimerStore:
    """What the timers of owned partitions need, each in one statement however many timers there are."""

    def __init__(self, database: Database) -> None:
        self._pages = database[PAGES]
        self._cursors = database[CURSORS]
        self._store = MongoStore(database)

    async def claim(self, partitions: Collection[int], owner: str) -> dict[int, str]:
        """Take over partitions: from now on only `owner` moves their cursors. Returns up to when their timers have fired."""
        missing = ({"_id": partition, "fired_until": BEGINNING, "owner": owner} for partition in partitions)
        await self._store.append([Append(CURSORS, document) for document in missing])
        wanted = {"_id": {"$in": list(partitions)}}
        await self._cursors.update_many(wanted, {"$set": {"owner": owner}})
        return {document["_id"]: document["fired_until"] for document in await self._cursors.find(wanted).to_list(None)}

    async def fired(self, partitions: Collection[int], owner: str, until: str) -> bool:
        """Note that every timer up to a moment was published. False where a partition is somebody else's by now: a former
        owner does not know the timers that were added since, so it must not move the cursor past them."""
        mine = {"_id": {"$in": list(partitions)}, "owner": owner}
        moved = await self._cursors.update_many(mine, {"$max": {"fired_until": until}})
        return moved.matched_count == len(partitions)

    async def pages(self, partitions: Collection[int], first_hour: str, last_hour: str) -> AsyncIterator[Page]:
        """The pages of some partitions whose hour lies between two, both included, by hour and then partition."""
        # ";" follows ":", with which an hour ends in an id.
        span = {"_id": {"$gte": first_hour, "$lt": f"{last_hour};"}, "partition": {"$in": list(partitions)}}
        async for document in self._pages.find(span, batch_size=_READ_PAGES).sort("_id", 1):
            yield Page.of(document)

    async def pages_after(self, partition: int, page_id: str, limit: int) -> list[tuple[str, Page]]:
        """At most `limit` pages of a partition, with their ids, that come after an id or an hour; the earliest first."""
        wanted = {"_id": {"$gt": page_id}, "partition": partition}
        found = await self._pages.find(wanted, batch_size=limit).sort("_id", 1).limit(limit).to_list(limit)
        return [(document["_id"], Page.of(document)) for document in found]

    async def delete_before(self, partitions: Collection[int], moment: str) -> None:
        """Delete the pages whose whole hour lies before a moment."""
        behind = {"_id": {"$lt": hour_of(moment)}, "partition": {"$in": list(partitions)}}
        await self._pages.delete_many(behind)
