"""Commands on their way: published to their owner, awaited through their outcome, or promised with 202."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from chassis.clock import Clock
from chassis.kafka import KafkaPublisher
from chassis.store import Database
from contracts.base import Message
from contracts.envelope import Envelope, Record, encode
from contracts.problems import Problem
from contracts.topics import Topic
from services.gateway.answers import Answer, answer
from services.gateway.principals import Principal
from services.gateway.problems import ProblemError, unavailable
from services.gateway.requests import Preference
from services.gateway.store import COMMANDS, KEPT_S, PENDING, Document, PointReads, wall_clock
from services.gateway.waiting import Waiting

__all__ = ["Commands", "Promised", "pending", "place_of"]

_PREFIX = "cmd_"
_PUBLISH_S = 10.0
"""How long a client waits for the broker to take its command, in seconds."""


@dataclass(frozen=True, slots=True)
class Promised(Exception):
    """The outcome was not there within the wait; the command goes its way."""

    command_id: str
    applied: str


class Commands:
    """Sends commands and reads their outcomes."""

    def __init__(
        self, database: Database, reads: PointReads, publisher: KafkaPublisher, waiting: Waiting, clock: Clock
    ) -> None:
        self._database = database
        self._reads = reads
        self._publisher = publisher
        self._waiting = waiting
        self._clock = clock
        self._sending: set[asyncio.Task[None]] = set()

    def record(self, key: str, message: Message, command_id: str) -> Record:
        """The record of a command that is given now."""
        return encode(Envelope(id=command_id, source="gateway", key=key, time=self._clock.now(), message=message))

    async def publish(self, records: Sequence[tuple[str, Record]]) -> None:
        """Return when the broker has them. Raises 503 where it does not take them in time; they may still get there."""
        sending = asyncio.create_task(self._publisher.publish(records))
        self._sending.add(sending)
        sending.add_done_callback(self._sending.discard)
        done, _ = await asyncio.wait([sending], timeout=_PUBLISH_S)
        if not done:
            raise unavailable("The message broker cannot be reached. Send it again with the same Idempotency-Key.")
        sending.result()

    async def ask(self, topic: Topic, key: str, message: Message, command_id: str, prefer: Preference) -> Document:
        """Publish a command and return its outcome, {status, kind, key, href, …}. Raises the problem of a refusal, and Promised
        where the outcome is not there within the wait."""
        record = self.record(key, message, command_id)
        if prefer.wait_s == 0:
            await self.publish([(topic.name, record)])
            raise Promised(command_id, prefer.applied)
        with self._waiting.expect([command_id]) as expected:
            await self.publish([(topic.name, record)])
            outcomes = await expected.outcomes(prefer.wait_s)
        outcome = outcomes.get(command_id)
        if outcome is None:
            raise Promised(command_id, prefer.applied)
        refused = outcome.get("problem")
        if refused is not None:
            raise ProblemError(Problem.model_validate(refused))
        return outcome

    async def ask_many(
        self, topic: Topic, commands: Sequence[tuple[str, Record]], timeout_s: float, turn: asyncio.Lock
    ) -> dict[str, Document]:
        """Publish (command id, record) each and return the outcomes that are there in time, refusals included. Those who
        share `turn` publish one after the other."""
        with self._waiting.expect(command_id for command_id, _ in commands) as expected:
            async with turn:
                await self.publish([(topic.name, record) for _, record in commands])
            return await expected.outcomes(timeout_s)

    async def promise(self, principal: Principal, promised: Promised, place: str = "") -> Answer:
        """202 with where to ask for the outcome (`place`, where it is not /v1/commands); remembered, so that the question is
        answered before there is one."""
        await self._database[PENDING].replace_one(
            {"_id": promised.command_id},
            {
                "_id": promised.command_id,
                "principal": principal.name,
                "forget_at": wall_clock() + timedelta(seconds=KEPT_S),
            },
            upsert=True,
        )
        headers = {"Preference_Applied": promised.applied} if promised.applied else {}
        location = place or place_of(promised.command_id)
        return answer(202, pending(promised.command_id), Location=location, **headers)

    async def state(self, principal: Principal, command_id: str) -> dict[str, Any]:
        """{command_id, status, result?, problem?} of a command that this caller was promised; its id as it was shown, or as it
        is within. Raises 404."""
        command_id = command_id.removeprefix(_PREFIX)
        promised, outcome = await asyncio.gather(self._reads.get(PENDING, command_id), self._reads.get(COMMANDS, command_id))
        mine = promised is not None and promised["principal"] == principal.name
        if not mine and (principal.role != "platform" or (promised is None and outcome is None)):
            raise ProblemError(Problem.not_found("command"))
        state = pending(command_id)
        if outcome is None:
            return state
        if outcome["status"] == "refused":
            problem = outcome["problem"]
            shown = {name: value for name, value in problem.items() if name != "extra" and value} | problem["extra"]
            return {**state, "status": "refused", "problem": shown}
        return {**state, "status": "done", "result": {"href": outcome["href"]}}


def pending(command_id: str) -> dict[str, Any]:
    """A command whose outcome nobody knows yet. Its id has a prefix where clients see it, as every id has; on topics and in
    stores, where it is the id of a record, it has none."""
    return {"command_id": f"{_PREFIX}{command_id}", "status": "pending"}


def place_of(command_id: str) -> str:
    """Where to ask for a command's outcome."""
    return f"/v1/commands/{_PREFIX}{command_id}"
