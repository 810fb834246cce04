"""The database of cases: case files (written by the loop), and the append-only history and messages of every case."""

from collections.abc import Iterable
from typing import Any

from chassis.store import Append, Database
from contracts.cases import CaseEvent, MessageDraft, Seal

__all__ = ["FILES", "HISTORY", "MESSAGES", "create_indexes", "done_among", "history_entry", "thread_entry"]

FILES = "files"
HISTORY = "history"
MESSAGES = "messages"


async def create_indexes(database: Database) -> None:
    """What the service asks by: a case's history and thread in order, and whether a command was done before."""
    await database[HISTORY].create_index([("case_id", 1), ("sequence", 1)])
    await database[HISTORY].create_index("command_id", sparse=True)
    await database[MESSAGES].create_index([("case_id", 1), ("order_sequence", 1)])


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
