"""What is kept of mails: a document for each place that one is addressed to, from its arrival on, and its bytes beside the
evidence.

A document is `queued` until its mail has been put where it belongs. `due_at` (real time) says when a process may take it: at
once, after a failure later, and while one has it in hand only after that one's lease has run out. So a mail whose process
dies is taken up by another, and everything done about a mail has ids made from the mail's own: done again it is the same."""

import hashlib
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from pymongo.errors import DuplicateKeyError

from chassis.store import Database
from services.gateway.cursors import Place
from services.gateway.leases import lease_end
from services.gateway.store import Document

__all__ = ["MAILS", "MailStore", "document_id", "identity_of"]

MAILS = "mails"
_LOOK_AT = 20
_RATE_WINDOW = timedelta(hours=1)
_ADDED_ON_THE_WAY = re.compile(
    rb"^(?:received|return-path|delivered-to|x-original-to|envelope-to|authentication-results|received-spf|dkim-signature|arc-"
    rb"[a-z-]+|x-[a-z0-9-]+)[ \t]*:",
    re.IGNORECASE,
)
_FOLDED = re.compile(rb"\r?\n(?![ \t])")


def identity_of(raw: bytes) -> str:
    """The id of a mail, `mai_…`: made from its Message-ID and all else that its sender wrote. What servers add on the way is
    left out, so that a mail that comes twice, by whichever ways, is the same mail."""
    head, _, body = raw.partition(b"\r\n\r\n") if b"\r\n\r\n" in raw else raw.partition(b"\n\n")
    digest = hashlib.sha256()
    for field in _FOLDED.split(head):
        if not _ADDED_ON_THE_WAY.match(field):
            digest.update(b" ".join(field.split()) + b"\n")
    digest.update(b"\n" + hashlib.sha256(body.replace(b"\r\n", b"\n").rstrip()).digest())
    return f"mai_{digest.hexdigest()[:32]}"


def document_id(mail_id: str, address: str | None) -> str:
    """The id of a mail's document for one of our own addresses; the mail's own id where it came to none."""
    if address is None:
        return mail_id
    return f"mai_{hashlib.sha256(f'{mail_id} {address}'.encode()).hexdigest()[:32]}"


class MailStore:
    """The documents of mails."""

    def __init__(self, database: Database) -> None:
        self._mails = database[MAILS]

    async def create_indexes(self) -> None:
        """What is queued, the team's items, and how much somebody wrote in a case lately."""
        await self._mails.create_index([("due_at", 1)], name="queued", partialFilterExpression={"state": "queued"})
        items: dict[str, Any] = {"partialFilterExpression": {"item": {"$exists": True}}}
        await self._mails.create_index([("item.state", 1), ("arrived_at", 1), ("_id", 1)], name="items", **items)
        written: dict[str, Any] = {"partialFilterExpression": {"written_at": {"$exists": True}}}
        await self._mails.create_index([("case_id", 1), ("sender", 1), ("written_at", 1)], name="written", **written)

    async def add(self, mail: Document) -> bool:
        """Keep a mail; False where it is here already."""
        try:
            await self._mails.insert_one(mail)
        except DuplicateKeyError:
            return False
        return True

    async def get(self, mail_id: str) -> Document | None:
        return await self._mails.find_one({"_id": mail_id})

    async def queued(self) -> dict[str, datetime]:
        """Every mail that is not done, with the moment from which on it may be taken."""
        found = await self._mails.find({"state": "queued"}, {"due_at": 1}).to_list(None)
        return {each["_id"]: each["due_at"] for each in found}

    async def claim(self, owner: str, now: datetime) -> Document | None:
        """One mail that may be taken now, taken for `owner`; None where there is none."""
        due = {"state": "queued", "due_at": {"$lte": now}}
        for found in await self._mails.find(due).sort([("due_at", 1)]).limit(_LOOK_AT).to_list(None):
            taken = await self._mails.update_one(
                {"_id": found["_id"], "state": "queued", "due_at": found["due_at"]},
                {"$set": {"owner": owner, "due_at": lease_end(now)}},
            )
            if taken.matched_count:
                return found
        return None

    async def renew(self, mail_id: str, owner: str, now: datetime) -> None:
        """Keep a mail that is in hand for another lease."""
        mine = {"_id": mail_id, "owner": owner, "state": "queued"}
        await self._mails.update_one(mine, {"$set": {"due_at": lease_end(now)}})

    async def postpone(self, mail_id: str, due_at: datetime, *, failed: str = "") -> None:
        """Let a mail be taken again later; `failed` counts a failure of ours."""
        changed: dict[str, Any] = {"$set": {"due_at": due_at, **({"failed": failed[:500]} if failed else {})}}
        if failed:
            changed["$inc"] = {"failures": 1}
        await self._mails.update_one({"_id": mail_id, "state": "queued"}, changed)

    async def settle(self, mail_id: str, changed: Mapping[str, Any]) -> None:
        """A mail is where it belongs. The first says where."""
        await self._mails.update_one({"_id": mail_id, "state": "queued"}, {"$set": {**changed, "state": "done"}})

    async def written_lately(self, case_id: str, sender: str, now: datetime) -> int:
        """How many messages a sender's mails became in a case in the last hour of real time."""
        wanted = {"case_id": case_id, "sender": sender, "written_at": {"$gt": now - _RATE_WINDOW}}
        return await self._mails.count_documents(wanted)

    # The team's items

    async def items(self, wanted: Mapping[str, Any], after: Place | None, limit: int) -> list[Document]:
        """Items, the one that waits for longest first, after a place (arrived_at, id). In the
        order of real time: the sandbox's clock may stand still."""
        query: dict[str, Any] = {"item": {"$exists": True}, **wanted}
        if after is not None:
            moment, mail_id = after[:2]
            query |= {
                "arrived_at": {"$gte": moment},
                "$or": [{"arrived_at": {"$gt": moment}}, {"_id": {"$gt": mail_id}}],
            }
        found = self._mails.find(query).sort([("arrived_at", 1), ("_id", 1)]).limit(limit)
        return await found.to_list(None)

    async def direct(self, mail_id: str, target: Mapping[str, Any]) -> bool:
        """Say where an open item goes, before it goes there: two agents cannot send it to two places."""
        taken = await self._mails.update_one(
            {"_id": mail_id, "item.state": "open", "item.target": {"$in": [None, dict(target)]}},
            {"$set": {"item.target": dict(target)}},
        )
        return bool(taken.matched_count)

    async def undirect(self, mail_id: str, target: Mapping[str, Any]) -> None:
        """It could not go there: the next try is another one, also to the same place."""
        await self._mails.update_one(
            {"_id": mail_id, "item.state": "open", "item.target": dict(target)},
            {"$set": {"item.target": None}, "$inc": {"item.refused": 1}},
        )

    async def close(self, mail_id: str, target: Mapping[str, Any] | None, ended: Mapping[str, Any]) -> bool:
        """End an item; False where it has ended or goes elsewhere."""
        fields = {f"item.{name}": value for name, value in ended.items()}
        closed = await self._mails.update_one(
            {"_id": mail_id, "item.state": "open", "item.target": None if target is None else dict(target)},
            {"$set": {"item.state": "done", **fields}},
        )
        return bool(closed.matched_count)
