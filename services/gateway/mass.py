"""Mass actions (NX-09, BP-03, BP-25): thousands of orders or cases treated as a group, throttled, with a result per item.

The items of an action stand in the store before it is answered. A gateway process works on it under a lease, page by page: each
item is commands whose ids are made from the item, so that whoever goes on after a crash does nothing twice."""

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from operator import attrgetter
from typing import Any, TypeVar

from pymongo import UpdateOne

from chassis.clock import Clock
from chassis.failures import back_off
from chassis.service import beside
from chassis.store import Append, Database, MongoStore, counted
from contracts.actors import Actor
from contracts.base import format_moment
from contracts.cases import TakeAction
from contracts.envelope import Record
from contracts.ids import derived, made_id, merchant_key
from contracts.orders import DeclareInsolvency
from contracts.problems import Problem
from contracts.topics import CASES_COMMANDS, INTAKE_COMMANDS, NOTIFICATIONS_COMMANDS
from engine.casefile import CLOSED
from services.gateway.commands import Commands
from services.gateway.leases import lease_end, renewed
from services.gateway.mass_letters import Letters, mail_of
from services.gateway.mass_selection import (
    TELLS,
    MassActionContent,
    Place,
    insolvencies,
    items_of,
    orders_among,
    place_in,
    places_of,
)
from services.gateway.problems import field_error
from services.gateway.projector import Body
from services.gateway.store import (
    COMMANDS,
    HISTORY,
    MASS_ACTIONS,
    MASS_ITEMS,
    ORDERS,
    Document,
    PointReads,
    wall_clock,
)

__all__ = ["MassActions"]

T = TypeVar("T")

log = logging.getLogger(__name__)
MOST_ITEMS = 100_000
_PAGE = 200
_READ = 1_000
"""Orders, or items, that go to or from the store at once."""
_LOOK_S = 1.0
_OUTCOMES_S = 30.0
_PER_S = 200
_HANDS = 4
"""Actions that a process works on at the same time."""


@dataclass(frozen=True, slots=True)
class _Work:
    """What an item comes to: a command to cases, under its id, and whether its buyer is told; None where the action tells
    nobody. `idle`: why there is nothing to do; unless the command was sent before a crash, and that is why."""

    item: Document
    told: bool | None = None
    command: tuple[str, Record] | None = None
    idle: str = ""


@dataclass(slots=True)
class MassActions:
    """The mass actions of the platform, and the work of this process on them."""

    database: Database
    reads: PointReads
    commands: Commands
    clock: Clock
    _waiting: set[str] = field(default_factory=set)
    _in_hand: dict[str, str] = field(default_factory=dict)
    """What each of this process's owners works on."""
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _looking: asyncio.Lock = field(default_factory=asyncio.Lock)
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    def pending(self) -> int:
        """Actions that this process works on, or has taken up for whoever is free."""
        return len(self._waiting | set(self._in_hand.values()))

    # Asking for one

    async def create(self, mass_id: str, content: MassActionContent, actor: Actor) -> None:
        """Put the items down, then the action. Made again, it is the same one, with the items it has: what is selected by now
        belongs to no letter that went out. Raises 422 for too large a selection."""
        if await self.reads.get(MASS_ACTIONS, mass_id) is not None:
            return
        store = MongoStore(self.database)
        episode = await self._episode(content)
        places: list[Place] = []
        async for page in self._told_before(content, episode) if content.takes_back else self._selected(content, episode):
            places += page
            if len(places) > MOST_ITEMS:
                raise field_error("/selection", f"This selects more than {MOST_ITEMS} items; select less, in several actions.")
        places = sorted(dict.fromkeys(places), key=attrgetter("buyer"))
        items = list(items_of(mass_id, content, places, await self._finished(content, places)))
        for some in _pages(items):
            await store.append([Append(MASS_ITEMS, item) for item in some])
        action = {
            "_id": mass_id,
            "content": content.model_dump(mode="json", by_alias=True),
            "episode": episode,
            "actor": actor.model_dump(mode="json"),
            "status": "running",
            "created_at": format_moment(self.clock.now()),
            "owner": "",
            "leased_until": wall_clock(),
        }
        await store.append([Append(MASS_ACTIONS, action)])
        await self._stop_earlier(content, episode)
        self._waiting.add(mass_id)
        self._wake.set()

    async def _episode(self, content: MassActionContent) -> int:
        """How often the merchant's insolvency was declared or taken back before, the same again not counted."""
        if content.kind != "insolvency":
            return 0
        last = await self.database[MASS_ACTIONS].find(insolvencies(content)).sort("episode", -1).limit(1).to_list(1)
        if not last:
            return 0
        same = MassActionContent.model_validate(last[0]["content"]).takes_back == content.takes_back
        return last[0]["episode"] + (not same)

    async def _told_before(self, content: MassActionContent, episode: int) -> AsyncIterator[list[Place]]:
        """The orders that the declarations were about which are taken back, page by page."""
        declared = self.database[MASS_ACTIONS].find(insolvencies(content) | {"episode": episode - 1}, {"_id": 1})
        for action in await declared.to_list(None):
            after: dict[str, Any] = {"mass_id": action["_id"]}
            fields = {"order_id": 1, "n": 1}
            while found := await self.database[MASS_ITEMS].find(after, fields).sort("n", 1).limit(_READ).to_list(_READ):
                orders = await self.reads.many(ORDERS, {item["order_id"] for item in found})
                yield [place_in(content, episode, order["body"], None) for order in orders.values()]
                after["n"] = {"$gt": found[-1]["n"]}

    async def stop(self, mass_id: str) -> None:
        """Interrupt an action: what is done stays done, the rest is left as it is."""
        await self.database[MASS_ACTIONS].update_one({"_id": mass_id, "status": "running"}, {"$set": {"status": "stopped"}})

    async def shown(self, mass_id: str) -> dict[str, Any] | None:
        """An action with its progress; None where there is none."""
        action = await self.reads.get(MASS_ACTIONS, mass_id)
        if action is None:
            return None
        counts = await counted(self.database[MASS_ITEMS], {"mass_id": mass_id}, "status")
        return {
            "mass_action_id": mass_id,
            **action["content"],
            "status": action["status"],
            "total": sum(counts.values()),
            **{status: counts.get(status, 0) for status in ("waiting", "done", "failed", "skipped")},
            "created_at": action["created_at"],
            "_links": {
                "self": {"href": f"/v1/mass-actions/{mass_id}"},
                "items": {"href": f"/v1/mass-actions/{mass_id}/items"},
            },
        }

    async def _finished(self, content: MassActionContent, places: Sequence[Place]) -> frozenset[str]:
        """The names under which earlier actions have done what these places ask for. What no occasion sets apart is asked for
        anew where the case has moved since it was done."""
        done: dict[str, tuple[str, int]] = {}
        for some in _pages(places):
            wanted = {"name": {"$in": [place.name for place in some]}, "status": "done"}
            found = self.database[MASS_ITEMS].find(wanted, {"name": 1, "case_id": 1, "left": 1}, batch_size=_READ)
            for item in await found.to_list(None):
                left = max(item.get("left", 0), done.get(item["name"], ("", 0))[1])
                done[item["name"]] = item["case_id"], left
        if content.kind in TELLS:
            return frozenset(done)
        moved = await self._moved([case_id for case_id, _ in done.values()])
        return frozenset(name for name, (case_id, left) in done.items() if moved.get(case_id, 0) <= left)

    async def _moved(self, case_ids: Sequence[str]) -> dict[str, int]:
        """The version of each case at its latest move, whoever made it."""
        moved: dict[str, int] = {}
        for some in _pages(case_ids):
            moves = {"case_id": {"$in": some}, "$or": [{"type": "case.moved"}, {"data.change.state": {"$ne": None}}]}
            latest = [{"$match": moves}, {"$group": {"_id": "$case_id", "version": {"$max": "$version"}}}]
            moved |= {each["_id"]: each["version"] for each in await self.database[HISTORY].aggregate(latest).to_list(None)}
        return moved

    async def _selected(self, content: MassActionContent, episode: int) -> AsyncIterator[list[Place]]:
        """The places, page by page."""
        wanted = orders_among(content)
        last = ""
        while True:
            after = {"$and": [wanted, {"_id": {"$gt": last}}]} if last else wanted
            fields = {"body.order": 1, "body.standing": 1, "body.facts": 1}
            found = await self.database[ORDERS].find(after, fields).sort("_id", 1).limit(_READ).to_list(_READ)
            now = format_moment(self.clock.now())
            if places := [place for document in found for place in places_of(content, episode, document["body"], now)]:
                yield places
            if len(found) < _READ:
                return
            last = found[-1]["_id"]

    # Doing it

    async def work(self) -> None:
        """Work on actions that nobody works on, some at a time, so that a throttled one keeps no other waiting. Runs until
        cancelled."""
        await beside(*[self._hand] * _HANDS)

    async def _hand(self) -> None:
        attempt = 0
        while True:
            try:
                async with self._looking:  # who is free looks, the others who are wait behind it
                    with suppress(TimeoutError):
                        async with asyncio.timeout(_LOOK_S):
                            await self._wake.wait()
                    self._wake.clear()
                    found = await self._unowned()
                for action in found:
                    await self._own(action)
                attempt = 0
            except Exception as error:
                attempt += 1
                log.warning("mass actions wait: %r", error)
                await asyncio.sleep(back_off(attempt))

    async def _unowned(self) -> list[Document]:
        free = {"status": "running", "leased_until": {"$lte": wall_clock()}}
        waited = set(self._waiting)  # what comes to it while the store is asked, the store may not show yet
        found = await self.database[MASS_ACTIONS].find(free).to_list(20)
        self._waiting -= waited - {action["_id"] for action in found}
        return found

    async def _own(self, action: Document) -> None:
        """Claim an action and work on it for as long as the lease is ours: to its end, or until it has to wait for another
        one. Then it is given back, so that it keeps nobody from the action it waits for."""
        owner = uuid.uuid4().hex
        mine = {"_id": action["_id"], "owner": owner}
        self._in_hand[owner] = action["_id"]
        try:
            claimed = await self.database[MASS_ACTIONS].update_one(
                {"_id": action["_id"], "owner": action["owner"], "status": "running"},
                {"$set": {"owner": owner, "leased_until": lease_end(wall_clock())}},
            )
            if claimed.matched_count:
                async with renewed(lambda: self._lease(mine, lease_end(wall_clock()))):
                    ended = await self._run(action, mine)
                await self._lease(mine, wall_clock())
                if not ended:
                    self._waiting.add(action["_id"])
        finally:
            del self._in_hand[owner]

    async def _lease(self, mine: Document, until: datetime) -> None:
        await self.database[MASS_ACTIONS].update_one(mine, {"$set": {"leased_until": until}})

    async def _run(self, action: Document, mine: Document) -> bool:
        """Whether nothing is left to do; not so where all that is left waits for letters of other actions."""
        content = MassActionContent.model_validate(action["content"])
        actor = Actor.model_validate(action["actor"])
        per_s = content.throttle_per_s or _PER_S
        episode: int = action["episode"]
        if content.kind == "insolvency" and content.selection.merchant_id is not None:
            await self._supersede(content, episode)
            await self._declare(action["_id"], content.selection.merchant_id, not content.takes_back, actor)
        waiting = {"mass_id": action["_id"], "status": "waiting"}
        passed = -1  # pages that wait as a whole are passed over, for the next look
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            page = self.database[MASS_ITEMS].find(waiting | {"n": {"$gt": passed}}).sort("n", 1).limit(min(per_s, _PAGE))
            items = await page.to_list(None)
            now = await self.database[MASS_ACTIONS].find_one(mine | {"status": "running"}, {"_id": 1})
            if now is None:
                return True  # stopped, or somebody else's by now
            if not items and passed >= 0:
                await asyncio.sleep(_LOOK_S)
                return False
            if not items:
                await self.database[MASS_ACTIONS].update_one(mine, {"$set": {"status": "done"}})
                return True
            if content.kind in TELLS and "letter" not in items[0]:
                await self._begin_anew(action["_id"], content, actor)
                return True
            if not await self._do(content, episode, actor, items):
                passed = items[-1]["n"]
            await asyncio.sleep(max(0.0, len(items) / per_s - (loop.time() - began)))

    async def _begin_anew(self, mass_id: str, content: MassActionContent, actor: Actor) -> None:
        """Go on, as anybody can, with an action whose items were put down while none had a letter: by asking for it again."""
        await self.create(made_id("mas", "mass-action", mass_id), content, actor)
        await self.stop(mass_id)

    async def _supersede(self, content: MassActionContent, episode: int) -> None:
        """Nobody goes on saying the opposite: what was said before is put down by who works on it before this begins."""
        await self._stop_earlier(content, episode)
        in_work = insolvencies(content) | {"episode": {"$lt": episode}, "leased_until": {"$gt": wall_clock()}}
        while await self.database[MASS_ACTIONS].find_one(in_work, {"_id": 1}):
            await asyncio.sleep(_LOOK_S)
            in_work["leased_until"] = {"$gt": wall_clock()}

    async def _stop_earlier(self, content: MassActionContent, episode: int) -> None:
        if content.kind == "insolvency":
            running = insolvencies(content) | {"episode": {"$lt": episode}, "status": "running"}
            await self.database[MASS_ACTIONS].update_many(running, {"$set": {"status": "stopped"}})

    async def _declare(self, mass_id: str, merchant_id: str, insolvent: bool, actor: Actor) -> None:
        """What the merchant's buyers may do holds before any of them is told so."""
        command_id = derived(mass_id, "insolvency")
        command = DeclareInsolvency(merchant_id=merchant_id, insolvent=insolvent, actor=actor)
        record = self.commands.record(merchant_key(merchant_id), command, command_id)
        if await self.reads.get(COMMANDS, command_id) is not None:
            return
        while not await self.commands.ask_many(INTAKE_COMMANDS, [(command_id, record)], _OUTCOMES_S, self._turn):
            log.warning("intake has not answered yet whether %s is insolvent", merchant_id)

    async def _do(self, content: MassActionContent, episode: int, actor: Actor, items: Sequence[Document]) -> bool:
        """A page of items: their mails and commands, then their results. What has no outcome yet is asked for again. False
        where nothing was to be done, as all of them wait for letters of other actions."""
        orders = await self.reads.many(ORDERS, {item["order_id"] for item in items})
        tellings = None
        if content.kind in TELLS:
            tellings = await Letters(self.database, self.reads).of_page(content, episode, items, orders)
            if tellings.mails:
                mails = [(letter, mail_of(content, named.values())) for letter, named in tellings.mails.items()]
                await self.commands.publish(
                    [
                        (NOTIFICATIONS_COMMANDS.name, self.commands.record(mail.order_id, mail, derived(letter, "mail")))
                        for letter, mail in mails
                    ]
                )
            items = [item for item in items if item["_id"] not in tellings.awaited]
        works = [
            self._work_of(content, actor, item, orders[item["order_id"]]["body"], tellings and item["_id"] in tellings.told)
            for item in items
        ]
        idle = [work.command[0] for work in works if work.command is not None and work.idle]
        outcomes = await self.reads.many(COMMANDS, idle)
        if asked := [work.command for work in works if work.command is not None and not work.idle]:
            outcomes |= await self.commands.ask_many(CASES_COMMANDS, asked, _OUTCOMES_S, self._turn)
        updates = [
            UpdateOne({"_id": work.item["_id"], "status": "waiting"}, {"$set": result})
            for work in works
            if (result := _result(work, outcomes))
        ]
        if updates:
            await MongoStore(self.database).bulk(MASS_ITEMS, updates)
        return bool(works)

    def _work_of(self, content: MassActionContent, actor: Actor, item: Document, body: Body, told: bool | None) -> _Work:
        if item["case_id"] is None:
            return _Work(item, told, idle="" if told else _why_untold(content, body))
        action, fields = "take_over", dict[str, Any]()
        if content.decide is not None:
            action, fields = content.decide["action"], {k: v for k, v in content.decide.items() if k != "action"}
        command = TakeAction(case_id=item["case_id"], action=action, fields=fields, actor=actor)
        command_id = derived(item["_id"], "act")
        state = body["file"]["cases"][item["case_id"]]["state"]
        idle = "The case has ended." if state in CLOSED else ""
        if state == "under_review" and content.decide is None:
            idle = "The case was under review already."
        return _Work(item, told, (command_id, self.commands.record(item["order_id"], command, command_id)), idle)


def _pages(all_: Sequence[T]) -> Iterator[Sequence[T]]:
    return (all_[begin : begin + _READ] for begin in range(0, len(all_), _READ))


def _why_untold(content: MassActionContent, body: Body) -> str:
    if content.takes_back:
        return "Its buyer was not told of the insolvency."
    if content.occasion(0, body) is None:
        return "Nothing of the order is on its way any more."
    return "Its buyer was told of this before."


def _result(work: _Work, outcomes: Mapping[str, Document]) -> dict[str, Any] | None:
    """Status and problem of an item, whether its buyer is told where that is what the action is for, and in which version the
    case was left; None while an outcome is missing."""
    told = {} if work.told is None else {"told": work.told}
    idle = {"status": "skipped", "problem": {"detail": work.idle}, **told}
    if work.command is None:
        return idle if work.idle else {"status": "done", **told}
    outcome = outcomes.get(work.command[0])
    if outcome is None:
        return idle if work.idle else None
    if outcome["status"] != "refused":
        return {"status": "done", **told} | ({"left": outcome["version"]} if "version" in outcome else {})
    problem = Problem.model_validate(outcome["problem"])
    shown = {name: value for name, value in problem.model_dump(mode="json").items() if value}
    return {"status": "failed", "problem": shown, **told}
