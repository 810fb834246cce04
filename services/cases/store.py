"""The database of cases: case files (written by the loop), the append-only history and messages of every case, and the
payments of the platform: one document each, written once by the loop and then by whoever has it paid."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson
from pymongo import UpdateOne

from chassis.store import Append, Database, MongoStore
from contracts.base import format_moment
from contracts.cases import CaseEvent, MessageDraft, RefundDue, Seal
from contracts.orders import Order
from services.cases.provider import PaymentOrder, Refused, Unknown

__all__ = [
    "FILES",
    "HISTORY",
    "MESSAGES",
    "PAYMENTS",
    "PaymentStore",
    "create_indexes",
    "done_among",
    "history_entry",
    "payment_due",
    "thread_entry",
]

FILES = "files"
HISTORY = "history"
MESSAGES = "messages"
PAYMENTS = "payments"

_DUE = "due"
_EXECUTED = "executed"
_BY_HAND = "by_hand"
_RECALLED = "recalled"


async def create_indexes(database: Database) -> None:
    """What the service asks by: a case's history and thread in order, and whether a command was done before."""
    await database[HISTORY].create_index([("case_id", 1), ("sequence", 1)])
    await database[HISTORY].create_index("command_id", sparse=True)
    await database[MESSAGES].create_index([("case_id", 1), ("order_sequence", 1)])
    # Only what is still to pay is indexed: it is looked for whenever partitions change hands.
    await database[PAYMENTS].create_index([("partition", 1)], name="unpaid", partialFilterExpression={"state": _DUE})


async def done_among(database: Database, command_ids: Iterable[str]) -> frozenset[str]:
    """Those of these commands that left an event in a history. One query, none for no ids."""
    asked = list(command_ids)
    if not asked:
        return frozenset()
    cursor = database[HISTORY].find({"command_id": {"$in": asked}}, {"_id": 0, "command_id": 1})
    return frozenset(document["command_id"] for document in await cursor.to_list(None))


def history_entry(event: CaseEvent, data: dict[str, Any], seal: Seal, order_sequence: int, command_id: str | None) -> Append:
    """An event in its case's history; `order_sequence` is its number among the order's events (its `ce_sequence`)."""
    document = {
        "_id": f"{event.order_id}:{order_sequence}",
        "case_id": event.case_id,
        "sequence": seal.sequence,
        "order_sequence": order_sequence,
        "type": event.kind,
        "at": data["at"],
        "actor": data["actor"],
        "data": data,
        "salt": seal.salt,
        "data_digest": seal.data_digest,
        "previous_hash": seal.previous_hash,
        "hash": seal.hash,
        "version": event.case_version,
    }
    if command_id is not None:
        document["command_id"] = command_id  # absent otherwise: the sparse index then holds the commands alone
    return Append(HISTORY, document)


def thread_entry(event: CaseEvent, message: MessageDraft, order_sequence: int) -> Append:
    """A message in its case's thread, under the number of the event that brought it."""
    return Append(
        MESSAGES,
        {
            "_id": f"{event.order_id}:{order_sequence}",
            "order_id": event.order_id,
            "case_id": event.case_id,
            "order_sequence": order_sequence,
            **message.model_dump(mode="json"),
        },
    )


def payment_due(due: RefundDue, event: CaseEvent, order: Order, partition: int) -> Append:
    """A refund that the platform is to pay, under the id of its decision."""
    asked = PaymentOrder(
        decision_id=due.decision_id,
        amount=due.amount,
        order_id=order.order_id,
        order_number=order.order_number,
        merchant_id=order.merchant_id,
    )
    return Append(
        PAYMENTS,
        {
            "_id": due.decision_id,
            "partition": partition,
            "state": _DUE,
            "case_id": event.case_id,
            "created_at": format_moment(event.at),
            "tries": 0,
            "order": asked.model_dump(mode="json"),
        },
    )


class PaymentStore:
    """Queries and updates of payments. States: `due` → `executed`, with the provider's `reference` and `executed_at`;
    `by_hand`, where a fact of the platform said that it was paid and the provider has not; `recalled`, where the ledger has
    let the reservation go and the provider has not paid."""

    def __init__(self, database: Database) -> None:
        self._store = MongoStore(database)
        self._payments = database[PAYMENTS]
        self._files = database[FILES]

    async def unpaid(self, partitions: Collection[int]) -> list[dict[str, Any]]:
        """What partitions have to pay: `_id`, `partition` and, where it waits for a later attempt, `retry_at`."""
        query = {"state": _DUE, "partition": {"$in": sorted(partitions)}}
        return await self._payments.find(query, {"partition": 1, "retry_at": 1}, batch_size=10_000).to_list(None)

    async def begin(self, payment_ids: Sequence[str], now: datetime) -> list[dict[str, Any]]:
        """Write down that these are attempted now; those that are still to pay, as they stood before: with the `tries` made and
        the `tried_at` of the last request that the provider may yet execute. `ends_as`: none is to be paid any more, by hand it
        was or recalled. One that was tried may have been paid all the same: it is asked after, and not asked for again."""
        still = {"_id": {"$in": list(payment_ids)}, "state": _DUE}
        found = await self._payments.find(still, batch_size=10_000).to_list(None)
        if not found:
            return []
        ends = await self._ends(found)
        found = [{**payment, "ends_as": ends.get(payment["_id"])} for payment in found]
        for payment in found:
            if payment["ends_as"] and not payment["tries"]:
                await self.end(payment["_id"], payment["ends_as"])
        begun = [payment for payment in found if payment["tries"] or not payment["ends_as"]]
        asked_for = [payment["_id"] for payment in begun if not payment["ends_as"]]
        asked_after = [payment["_id"] for payment in begun if payment["ends_as"]]
        if asked_for:
            request = {"$set": {"tried_at": format_moment(now)}, "$inc": {"tries": 1}}
            await self._payments.update_many({"_id": {"$in": asked_for}, "state": _DUE}, request)
        if asked_after:
            await self._payments.update_many({"_id": {"$in": asked_after}, "state": _DUE}, {"$inc": {"tries": 1}})
        return begun

    async def ask_again(self, payment: Mapping[str, Any], now: datetime) -> str | None:
        """Write down that an attempt which did not reach the provider asks for the payment now. If it is not to be paid any
        more, the state in which it ends, and nothing is written."""
        ends_as = (await self._ends([payment])).get(payment["_id"])
        if ends_as is None:
            asked_for = {"_id": payment["_id"], "state": _DUE}
            await self._payments.update_one(asked_for, {"$set": {"tried_at": format_moment(now)}})
        return ends_as

    async def end(self, payment_id: str, state: str) -> None:
        """The provider has paid nothing, and is to pay nothing any more. Changes nothing once it is paid."""
        await self._payments.update_one({"_id": payment_id, "state": _DUE}, {"$set": {"state": state}})

    async def _ends(self, payments: Sequence[Mapping[str, Any]]) -> dict[str, str]:
        """Of these, by id, the state in which each ends that is not to be paid any more: its reservation was settled by a fact,
        or let go by the ledger."""
        orders = list({payment["order"]["order_id"] for payment in payments})
        files = await self._files.find({"_id": {"$in": orders}}, {"body": 1}, batch_size=10_000).to_list(None)
        entries = [entry for file in files for entry in orjson.loads(file["body"])["ledger"]]
        promised = {entry["entry_id"]: entry["decision_id"] for entry in entries if entry["kind"] == "reserved"}
        gone = (promised.get(each["settles"]) for each in entries if each["kind"] == "released")
        told = (each["decision_id"] for each in entries if each["kind"] == "executed" and each["confirmed_by"] == "fact")
        return dict.fromkeys(filter(None, gone), _RECALLED) | dict.fromkeys(filter(None, told), _BY_HAND)

    async def settle(self, paid: Mapping[str, tuple[str, datetime]]) -> None:
        """Mark payments, by id, as executed under the provider's reference at a moment."""
        await self._store.bulk(
            PAYMENTS,
            [
                UpdateOne(
                    {"_id": payment_id},
                    {
                        "$set": {"state": _EXECUTED, "reference": reference, "executed_at": format_moment(at)},
                        "$unset": {"retry_at": "", "last_reply": ""},
                    },
                )
                for payment_id, (reference, at) in paid.items()
            ],
        )

    async def postpone(self, payment_id: str, retry_at: datetime, reply: Refused | Unknown) -> None:
        """Keep what came of an attempt, and the moment of the next one. A request that was refused is not executed any more.
        Changes nothing once it is paid."""
        kept: dict[str, Any] = {"$set": {"retry_at": format_moment(retry_at), "last_reply": reply.detail}}
        if isinstance(reply, Refused):
            kept["$unset"] = {"tried_at": ""}
        await self._payments.update_one({"_id": payment_id, "state": _DUE}, kept)
