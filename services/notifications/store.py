"""The notices of this service: one document each, written once by the loop and once more with the proof."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson
from pymongo import UpdateOne

from chassis.store import Append, Database, MongoStore
from contracts.base import format_moment
from contracts.desk import Desk
from contracts.ids import merchant_key
from contracts.notices import NoticeProof
from contracts.orders import Merchant

__all__ = ["CORRESPONDENCE", "MERCHANTS", "NOTICES", "QUEUED", "NoticeStore"]

CORRESPONDENCE = "correspondence"
MERCHANTS = "merchants"
NOTICES = "notices"

QUEUED = "queued"
_ADDRESSED = "addressed"


class NoticeStore:
    """Queries and updates of notices, in as few commands as possible.

    A search for what is to be told again (`corrections`) and the news that a mail came back (`bounces`) stand among them and
    end as `addressed`, too.

    What a mail is written from (`letter`) and the proof are JSON text: nobody searches in them (ADR 39).

    States: `queued` → `sent` or `failed` with `proof`; of a merchant with several addresses → `addressed`, with a notice for
    each of them."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._store = MongoStore(database)
        self._notices = database[NOTICES]

    async def create_indexes(self) -> None:
        """Of notices, only what is still to send: it is looked for whenever partitions change hands."""
        await self._notices.create_index([("partition", 1)], name="unsent", partialFilterExpression={"state": QUEUED})
        await self._database[CORRESPONDENCE].create_index([("body.merchant_id", 1)])

    async def unsent(self, partitions: Collection[int]) -> list[dict[str, Any]]:
        """What partitions have to send: `_id`, `partition` and, where it waits for a later try, `retry_at`."""
        query = {"state": QUEUED, "partition": {"$in": sorted(partitions)}}
        return await self._notices.find(query, {"partition": 1, "retry_at": 1}, batch_size=10_000).to_list(None)

    async def load(self, notice_ids: Sequence[str]) -> list[dict[str, Any]]:
        """Those of these notices that are still to send."""
        return await self._notices.find({"_id": {"$in": list(notice_ids)}, "state": QUEUED}, batch_size=10_000).to_list(None)

    async def named(self, notice_ids: Collection[str]) -> dict[str, dict[str, Any]]:
        """These notices by id, whatever has become of them."""
        found = await self._notices.find({"_id": {"$in": list(notice_ids)}}).to_list(None)
        return {notice["_id"]: notice for notice in found}

    async def merchants(self, merchant_ids: Collection[str]) -> dict[str, Merchant]:
        """Those of these merchants that are known, as they are now."""
        keys = [merchant_key(merchant_id) for merchant_id in merchant_ids]
        found = await self._database[MERCHANTS].find({"_id": {"$in": keys}}, {"body.merchant": 1}).to_list(None)
        merchants = [Merchant.model_validate(document["body"]["merchant"]) for document in found]
        return {merchant.merchant_id: merchant for merchant in merchants}

    async def desks(self, merchant_ids: Collection[str]) -> dict[str, Desk]:
        """The desks of those of these merchants that are known."""
        keys = {merchant_key(merchant_id): merchant_id for merchant_id in merchant_ids}
        found = await self._database[MERCHANTS].find({"_id": {"$in": list(keys)}}, {"body.desk": 1}).to_list(None)
        return {keys[document["_id"]]: Desk.model_validate(document["body"].get("desk") or {}) for document in found}

    async def files(self, merchant_id: str) -> list[dict[str, Any]]:
        """The case files of a merchant's orders, as JSON-like values."""
        found = self._database[CORRESPONDENCE].find({"body.merchant_id": merchant_id}, {"body.file": 1}, batch_size=1_000)
        return [orjson.loads(document["body"]["file"]) for document in await found.to_list(None)]

    async def file(self, order_id: str) -> dict[str, Any] | None:
        """The case file of an order with a case, as JSON-like values."""
        found = await self._database[CORRESPONDENCE].find_one({"_id": order_id}, {"body.file": 1})
        return None if found is None else orjson.loads(found["body"]["file"])

    async def of_order(self, order_id: str) -> dict[str, dict[str, Any]]:
        """All notices about an order, by id; their ids begin with the order's."""
        begin = f"ntc_{order_id[4:]}_"
        found = self._notices.find(
            {"_id": {"$gte": begin, "$lt": f"{begin}g"}}, batch_size=1_000
        )  # what follows is hexadecimal
        return {notice["_id"]: notice for notice in await found.to_list(None)}

    async def address(self, notices: Sequence[Mapping[str, Any]], addressed: Sequence[dict[str, Any]]) -> None:
        """Put notices to addresses in the place of merchants' notices. Done again it changes nothing."""
        await self._store.append([Append(NOTICES, document) for document in addressed])
        await self.looked_into([notice["_id"] for notice in notices])

    async def looked_into(self, notice_ids: Sequence[str]) -> None:
        """These will not be sent themselves: what they were for is done, or stands in others."""
        await self._notices.update_many({"_id": {"$in": list(notice_ids)}}, {"$set": {"state": _ADDRESSED}})

    async def settle(self, proofs: Mapping[str, NoticeProof]) -> None:
        """Write the proof of each notice (by id), its state, `sent` or `failed`, and the address that it went to."""
        await self._store.bulk(
            NOTICES,
            [
                UpdateOne(
                    {"_id": notice_id},
                    {"$set": {"state": proof.state, "to": proof.to, "proof": proof.model_dump_json(exclude_none=True)}},
                )
                for notice_id, proof in proofs.items()
            ],
        )

    async def late(self, partitions: Collection[int], most: int) -> list[dict[str, Any]]:
        """Notices of partitions that tell of a deadline and are still to send, where nobody was told that they are late."""
        query = {
            "state": QUEUED,
            "partition": {"$in": sorted(partitions)},
            "deadline_id": {"$exists": True},
            "late": {"$exists": False},
        }
        return await self._notices.find(query, batch_size=most).limit(most).to_list(most)

    async def told_late(self, notice_ids: Collection[str]) -> None:
        """Their cases were told that they are late."""
        await self._notices.update_many({"_id": {"$in": list(notice_ids)}}, {"$set": {"late": True}})

    async def postpone(self, notice_id: str, retry_at: datetime, reply: str) -> None:
        """Count a try that the server put off, with its reply and the moment of the next one."""
        await self._notices.update_one(
            {"_id": notice_id}, {"$set": {"retry_at": format_moment(retry_at), "last_reply": reply}, "$inc": {"tries": 1}}
        )
