"""Idempotency-Key: the first answer of a request is its answer for 48 hours, whatever dies in between.

A lease is stored before anything is done, and the answer beside it before it is given. Whoever finds them later
repeats the answer, is told to wait while the lease runs, or takes over when it ran out, with the same command id: what was done
is then recognised and not done twice."""

import asyncio
import hashlib
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

from chassis.store import Database, inserted
from contracts.ids import derived
from services.gateway.answers import Answer, refusal
from services.gateway.leases import lease_end, renewed
from services.gateway.problems import ProblemError, reused_key, running_key
from services.gateway.store import IDEMPOTENCY, KEPT_S, Document, Gathered, wall_clock

__all__ = ["Idempotency", "Meeting", "Work", "command_id_of", "meet"]

Work = Callable[[str], Awaitable[Answer]]
"""Does the request under a command id. May raise ProblemError."""

_LOOK_S = 0.2
_PATIENT_LOOKS = 50


class Meeting(Enum):
    """What to do about a key that was sent before."""

    REPEAT = "repeat"
    """Give the answer that is kept."""
    AGAIN = "again"
    """It is done, and doing it again gives the same answer."""
    TAKE_OVER = "take over"
    """Its request died: do it under the same command id."""
    RUNNING = "running"
    OTHER_BODY = "other body"


def meet(lease: Document, given: Document | None, fingerprint: str, now: datetime) -> Meeting:
    """The decision about a key by its lease and the answer that was given, if any; `now` is real time in UTC."""
    if lease["fingerprint"] != fingerprint:
        return Meeting.OTHER_BODY
    if given is not None:
        return Meeting.AGAIN if given.get("body") is None else Meeting.REPEAT
    return Meeting.TAKE_OVER if _utc(lease["leased_until"], now) <= now else Meeting.RUNNING


def _utc(moment: datetime, like: datetime) -> datetime:
    """The store gives times without a zone; they are UTC."""
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=like.tzinfo)


def command_id_of(principal: str, route: str, key: str) -> str:
    """The id of the command that a key stands for."""
    return derived("command", principal, route, key)


@dataclass(frozen=True, slots=True)
class _Lease:
    """A key that is one request's for a while, and the command that it stands for."""

    document_id: str
    owner: str
    command_id: str
    forget_at: datetime

    @property
    def answer_id(self) -> str:
        """Of the document beside it that has the answer."""
        return f"{self.document_id}:answer"


class Idempotency:
    """The keys of the last 48 hours, shared by all gateway processes."""

    def __init__(self, database: Database) -> None:
        self._keys = database[IDEMPOTENCY]
        self._inserts = Gathered(self._insert)
        self._renewals = Gathered(self._renew)

    async def once(
        self,
        *,
        principal: str,
        route: str,
        key: str | None,
        content: bytes,
        instance: str,
        work: Work,
        keep: bool = True,
        patient: bool = False,
    ) -> Answer:
        """Do `work` once per key; without a key, every request is its own. `content` is what makes two requests the same.

        With `keep` false the answer itself is not kept: doing the work again under the same command id gives it again (a secret
        shown once, a streamed answer). 429 and 5xx answers free the key. With `patient` a request whose twin is running waits
        for the twin's answer: a button pressed twice shows what came of the first."""
        if key is None:
            return await work(str(uuid.uuid4()))
        fingerprint = hashlib.sha256(content).hexdigest()
        lease = await self._take(principal, route, key, fingerprint, looks=_PATIENT_LOOKS if patient else 0)
        if isinstance(lease, Answer):
            return lease
        try:
            given = await self._leased(lease, work)
        except ProblemError as error:
            given = refusal(error, instance)
        except Exception:
            await self._free(lease)
            raise
        if given.status >= 500 or given.status == 429:
            await self._free(lease)
        else:
            await self._keep(lease, given, keep)
        return given

    @asynccontextmanager
    async def held(self, *, principal: str, route: str, key: str, content: bytes) -> AsyncIterator[str]:
        """Hold a key while an answer is streamed; gives the command id that its parts derive theirs from. The answer is not
        kept: doing it again gives it again. Raises 409, 422."""
        lease = await self._take(principal, route, key, hashlib.sha256(content).hexdigest())
        if isinstance(lease, Answer):
            raise reused_key()
        try:
            async with renewed(lambda: self._renewals.add(lease)):
                yield lease.command_id
        except BaseException:
            await asyncio.shield(self._free(lease))
            raise
        await self._inserts.add({"_id": lease.answer_id, "forget_at": lease.forget_at})

    async def _insert(self, documents: Sequence[Document]) -> Sequence[bool]:
        """Which of them were not there yet, and are durable now."""
        there = await inserted(self._keys, documents)
        return [index not in there for index in range(len(documents))]

    async def _renew(self, leases: Sequence[_Lease]) -> Sequence[None]:
        """Renew those that are still ours: an owner has one lease, so that each is met by its own alone."""
        ours = {"_id": {"$in": [lease.document_id for lease in leases]}, "owner": {"$in": [lease.owner for lease in leases]}}
        await self._keys.update_many(ours, {"$set": {"leased_until": lease_end(wall_clock())}})
        return [None] * len(leases)

    async def _take(self, principal: str, route: str, key: str, fingerprint: str, *, looks: int = 0) -> _Lease | Answer:
        """Raises 409 for a key that is running still after so many more looks, 422 for another body."""
        for _ in range(looks):
            try:
                return await self._take(principal, route, key, fingerprint)
            except ProblemError as refused:
                if refused.problem.type != running_key().problem.type:
                    raise
                await asyncio.sleep(_LOOK_S)
        now = wall_clock()
        lease = _Lease(
            hashlib.sha256("\n".join((principal, route, key)).encode()).hexdigest(),
            uuid.uuid4().hex,
            command_id_of(principal, route, key),
            now + timedelta(seconds=KEPT_S),
        )
        mine: Document = {
            "_id": lease.document_id,
            "fingerprint": fingerprint,
            "owner": lease.owner,
            "leased_until": lease_end(now),
            "forget_at": lease.forget_at,
        }
        for _ in range(3):
            if await self._inserts.add(mine):
                return lease
            both = {"_id": {"$in": [lease.document_id, lease.answer_id]}}
            found = {document["_id"]: document for document in await self._keys.find(both).to_list(None)}
            kept, given = found.get(lease.document_id), found.get(lease.answer_id)
            if kept is None:  # freed in between
                continue
            match meet(kept, given, fingerprint, wall_clock()):
                case Meeting.OTHER_BODY:
                    raise reused_key()
                case Meeting.RUNNING:
                    raise running_key()
                case Meeting.REPEAT if given is not None:
                    return Answer(given["status"], bytes(given["body"]), dict(given["headers"]), given["media_type"])
                case _:
                    taken = await self._keys.replace_one({"_id": lease.document_id, "owner": kept["owner"]}, mine)
                    if taken.matched_count:
                        return lease
                    raise running_key()
        raise running_key()

    async def _leased(self, lease: _Lease, work: Work) -> Answer:
        """The work's answer; the lease is renewed for as long as it takes."""
        async with renewed(lambda: self._renewals.add(lease)):
            return await work(lease.command_id)

    async def _keep(self, lease: _Lease, given: Answer, keep: bool) -> None:
        """Where two gave an answer, after a lease had run out, the first stays."""
        document: Document = {"_id": lease.answer_id, "forget_at": lease.forget_at}
        if keep:
            document |= {
                "status": given.status,
                "body": given.body,
                "headers": dict(given.headers),
                "media_type": given.media_type,
            }
        await self._inserts.add(document)

    async def _free(self, lease: _Lease) -> None:
        await self._keys.delete_one({"_id": lease.document_id, "owner": lease.owner})
