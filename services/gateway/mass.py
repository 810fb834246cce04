"""Mass actions (NX-09, BP-03, BP-25): thousands of orders or cases treated as a group, throttled, with a result per item.

The items of an action stand in the store before it is answered. A gateway process works on it under a lease, page by page: each
item is commands whose ids are made from the item, so that whoever goes on after a crash does nothing twice. A buyer's items
share a letter: one mail that names their orders."""

import asyncio
import hashlib
import logging
import uuid
from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from operator import attrgetter
from typing import Annotated, Any, Literal, TypeVar

import orjson
from pydantic import Field, model_validator
from pymongo import UpdateOne

from chassis.clock import Clock
from chassis.failures import back_off
from chassis.service import beside
from chassis.store import Append, Database, MongoStore, counted
from contracts.actors import Actor
from contracts.base import GivenMoment, Model, format_moment, parse_moment, wrong_at
from contracts.cases import TakeAction
from contracts.envelope import Record
from contracts.ids import derived, made_id, merchant_key
from contracts.notices import OrderNamed, TellBuyer
from contracts.orders import DeclareInsolvency, Order
from contracts.problems import Problem
from contracts.texts import Code
from contracts.topics import CASES_COMMANDS, INTAKE_COMMANDS, NOTIFICATIONS_COMMANDS
from engine.casefile import CLOSED
from services.gateway.commands import Commands
from services.gateway.leases import lease_end, renewed
from services.gateway.problems import field_error
from services.gateway.projector import Body
from services.gateway.store import (
    COMMANDS,
    HISTORY,
    MASS_ACTIONS,
    MASS_ITEMS,
    MASS_TOLD,
    ORDERS,
    Document,
    PointReads,
    wall_clock,
)

__all__ = ["MassActionContent", "MassActions", "Selection"]

T = TypeVar("T")

log = logging.getLogger(__name__)
MOST_ITEMS = 100_000
_PAGE = 200
_READ = 1_000
"""Orders, or items, that go to or from the store at once."""
_NAMED = 500
"""Items that share a letter: a record holds 1 MiB, and nobody reads more. Who has more orders gets several."""
_LOOK_S = 1.0
_OUTCOMES_S = 30.0
_PER_S = 200
_HANDS = 4
"""Actions that a process works on at the same time."""
_TELLS = ("insolvency", "carrier_failure")
_ENDED_WAY = ("delivered", "returned", "cancelled")
"""Facts after which nothing of an order is awaited from a carrier."""


class Selection(Model):
    """Which orders: all that is given must hold. `from` and `to` bound when an order was placed; with a carrier, when it was
    shipped."""

    merchant_id: Code | None = None
    carrier: Code | None = None
    order_ids: Annotated[tuple[Code, ...], Field(min_length=1, max_length=10_000)] | None = None
    from_: Annotated[GivenMoment | None, Field(alias="from")] = None
    to: GivenMoment | None = None


class MassActionContent(Model):
    """`insolvency`: the merchant is declared insolvent, the buyers of its protected orders are told that they can claim, its
    open cases go to review; with `insolvent` false the declaration is taken back and those who were told of it are told so;
    cases stay where they are. `carrier_failure`: the buyers of what the carrier has not delivered are told, open cases go to
    review. `reroute`: open cases go to review. `decide`: open cases are decided alike."""

    kind: Literal["insolvency", "carrier_failure", "reroute", "decide"]
    selection: Selection
    decide: dict[str, Any] | None = None
    """An action of the platform, `{action, …its fields}`, for every open case of the selection."""
    insolvent: Annotated[bool, Field(strict=True)] | None = None
    """Of an insolvency: false takes it back (BP-25)."""
    message: Annotated[str, Field(min_length=1, max_length=10_000)] | None = None
    """What buyers are told in addition, or what the cases say."""
    throttle_per_s: Annotated[int, Field(ge=1, le=10_000, strict=True)] | None = None

    @model_validator(mode="after")
    def _fits(self) -> "MassActionContent":
        chosen = self.selection
        if (self.decide is not None) != (self.kind == "decide"):
            raise wrong_at(("decide",), "`decide` belongs to the kind decide, and to no other")
        if self.decide is not None and not isinstance(self.decide.get("action"), str):
            raise wrong_at(("decide", "action"), "`decide` names an action of the platform, and has its fields")
        if self.kind == "insolvency" and (chosen.merchant_id is None or chosen.carrier is not None):
            place = "merchant_id" if chosen.merchant_id is None else "carrier"
            raise wrong_at(("selection", place), "an insolvency is that of a merchant: select by merchant_id, not by carrier")
        if self.insolvent is not None and self.kind != "insolvency":
            raise wrong_at(("insolvent",), "`insolvent` belongs to the kind insolvency, and to no other")
        if self.takes_back and (chosen.order_ids is not None or chosen.from_ is not None or chosen.to is not None):
            raise wrong_at(("selection",), "an insolvency is taken back as a whole: select by merchant_id alone")
        if self.kind == "carrier_failure" and chosen.carrier is None:
            raise wrong_at(("selection", "carrier"), "select by carrier")
        if chosen.merchant_id is None and chosen.carrier is None and chosen.order_ids is None:
            raise wrong_at(("selection",), "select by merchant_id, carrier or order_ids")
        return self

    @property
    def takes_back(self) -> bool:
        """Whether an insolvency that was declared is taken back."""
        return self.insolvent is False

    def occasion(self, episode: int, body: Body) -> str | None:
        """What happened to an order, whatever is selected beside it: its buyer is told of it once. An insolvency happens to
        the merchant; `episode` counts how often it was said that it is insolvent, and that it is not: what is said again later
        is something new. A carrier fails with a shipment: its next failure, with another one, is something new. None where
        the carrier has nothing of the order on its way any more."""
        chosen, order_id = self.selection, body["order"]["order_id"]
        if self.kind != "carrier_failure":
            return self.insolvency(order_id, episode)
        shipped = _under_way(chosen, body["facts"])
        return None if shipped is None else _text([self.kind, chosen.carrier, order_id, shipped])

    def insolvency(self, order_id: str | None, episode: int) -> str:
        """What was said of the merchant, to the buyer of an order; None: of any, as it was put while one marker stood for all
        orders of a buyer."""
        return _text([self.kind, self.selection.merchant_id, order_id, episode])


@dataclass(frozen=True, slots=True)
class _Place:
    """Where an action does something: at an open case of an order, or at the order itself. `name` says what is done there about
    what happened: done under this name, it stays done. `buyer` and `marker`, where buyers are told: whose order it is, and the
    marker that says which letter tells them of it."""

    order_id: str
    case_id: str | None
    name: str
    buyer: str = ""
    marker: str = ""


@dataclass(frozen=True, slots=True)
class _Work:
    """What an item comes to: a command to cases, under its id, and whether its buyer is told; None where the action tells
    nobody. `idle`: why there is nothing to do; unless the command was sent before a crash, and that is why."""

    item: Document
    told: bool | None = None
    command: tuple[str, Record] | None = None
    idle: str = ""


@dataclass(frozen=True, slots=True)
class _Tellings:
    """The mails of a page, by their letter: the orders that each names. The items of the page that these name, or mails that
    went out with a page before. And those that a letter names which another action has yet to send: whether their buyer is told
    is not known before it did, or was given up."""

    mails: dict[str, dict[str, Body]]
    told: set[str]
    awaited: set[str]


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
        places: list[_Place] = []
        async for page in self._told_before(content, episode) if content.takes_back else self._selected(content, episode):
            places += page
            if len(places) > MOST_ITEMS:
                raise field_error("/selection", f"This selects more than {MOST_ITEMS} items; select less, in several actions.")
        places = sorted(dict.fromkeys(places), key=attrgetter("buyer"))
        items = list(_items(mass_id, content, places, await self._finished(content, places)))
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
        last = await self.database[MASS_ACTIONS].find(_insolvencies(content)).sort("episode", -1).limit(1).to_list(1)
        if not last:
            return 0
        same = MassActionContent.model_validate(last[0]["content"]).takes_back == content.takes_back
        return last[0]["episode"] + (not same)

    async def _told_before(self, content: MassActionContent, episode: int) -> AsyncIterator[list[_Place]]:
        """The orders that the declarations were about which are taken back, page by page."""
        declared = self.database[MASS_ACTIONS].find(_insolvencies(content) | {"episode": episode - 1}, {"_id": 1})
        for action in await declared.to_list(None):
            after: dict[str, Any] = {"mass_id": action["_id"]}
            fields = {"order_id": 1, "n": 1}
            while found := await self.database[MASS_ITEMS].find(after, fields).sort("n", 1).limit(_READ).to_list(_READ):
                orders = await self.reads.many(ORDERS, {item["order_id"] for item in found})
                yield [_place(content, episode, order["body"], None) for order in orders.values()]
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

    async def _finished(self, content: MassActionContent, places: Sequence[_Place]) -> frozenset[str]:
        """The names under which earlier actions have done what these places ask for. What no occasion sets apart is asked for
        anew where the case has moved since it was done."""
        done: dict[str, tuple[str, int]] = {}
        for some in _pages(places):
            wanted = {"name": {"$in": [place.name for place in some]}, "status": "done"}
            found = self.database[MASS_ITEMS].find(wanted, {"name": 1, "case_id": 1, "left": 1}, batch_size=_READ)
            for item in await found.to_list(None):
                left = max(item.get("left", 0), done.get(item["name"], ("", 0))[1])
                done[item["name"]] = item["case_id"], left
        if content.kind in _TELLS:
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

    async def _selected(self, content: MassActionContent, episode: int) -> AsyncIterator[list[_Place]]:
        """The places, page by page."""
        wanted = _filter(content)
        last = ""
        while True:
            after = {"$and": [wanted, {"_id": {"$gt": last}}]} if last else wanted
            fields = {"body.order": 1, "body.standing": 1, "body.facts": 1}
            found = await self.database[ORDERS].find(after, fields).sort("_id", 1).limit(_READ).to_list(_READ)
            now = format_moment(self.clock.now())
            if places := [place for document in found for place in _places(content, episode, document["body"], now)]:
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
                async with asyncio.timeout(_LOOK_S):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            try:
                for action in await self._unowned():
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
            if content.kind in _TELLS and "letter" not in items[0]:
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
        in_work = _insolvencies(content) | {"episode": {"$lt": episode}, "leased_until": {"$gt": wall_clock()}}
        while await self.database[MASS_ACTIONS].find_one(in_work, {"_id": 1}):
            await asyncio.sleep(_LOOK_S)
            in_work["leased_until"] = {"$gt": wall_clock()}

    async def _stop_earlier(self, content: MassActionContent, episode: int) -> None:
        if content.kind == "insolvency":
            running = _insolvencies(content) | {"episode": {"$lt": episode}, "status": "running"}
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
        if content.kind in _TELLS:
            tellings = await self._tell_once(content, episode, items, orders)
            if tellings.mails:
                mails = [(letter, _mail(content, named.values())) for letter, named in tellings.mails.items()]
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

    async def _tell_once(
        self, content: MassActionContent, episode: int, page: Sequence[Document], orders: Mapping[str, Document]
    ) -> _Tellings:
        """What a page tells: a letter goes out with the first of its items, and names every order whose marker says that it
        does. All markers of a letter are there before it goes out, and a marker does not change: so the mail is the same
        whoever sends it again, what it does not name no item says that it was told, and what an action that was stopped had
        marked and not sent goes out with the next one. A letter was sent once the first item that it names has its result;
        until then its action sends it, or is left, and what else it names waits for that."""
        mass_id = page[0]["mass_id"]
        own = {item["letter"] for item in page}
        items = await self._of_letters(own)
        orders = {**orders, **await self.reads.many(ORDERS, {item["order_id"] for item in items} - orders.keys())}
        kept = await self.reads.many(MASS_TOLD, {item["marker"] for item in items})
        unmarked = [item for item in items if item["status"] == "waiting" and item["marker"] not in kept]
        new = {
            item["marker"]: {"_id": item["marker"], "letter": item["letter"]}
            for item in await self._to_tell(content, episode, unmarked, orders)
        }
        await MongoStore(self.database).append([Append(MASS_TOLD, marker) for marker in new.values()])
        kept |= await self.reads.many(MASS_TOLD, new)
        letter_of = {item["_id"]: kept.get(item["marker"], {}).get("letter") for item in page}
        left = set[str]()
        if others := {letter for letter in letter_of.values() if letter is not None} - own:
            left = await self._left(others)
            theirs = await self._of_letters(others)
            items += theirs
            kept |= await self.reads.many(MASS_TOLD, {item["marker"] for item in theirs} - kept.keys())
        named: dict[str, list[Document]] = {}
        for item in items:
            if kept.get(item["marker"], {}).get("letter") == item["letter"]:
                named.setdefault(item["letter"], []).append(item)
        unsent = {letter: by for letter, by in named.items() if by[0]["status"] == "waiting"}
        sending = {letter: by for letter, by in unsent.items() if letter in own or letter in left}
        order_ids = {letter: [item["order_id"] for item in by] for letter, by in sending.items()}
        orders |= await self.reads.many(ORDERS, set[str]().union(*order_ids.values()) - orders.keys())
        return _Tellings(
            mails={letter: {order_id: orders[order_id]["body"] for order_id in ids} for letter, ids in order_ids.items()},
            told={
                item_id
                for item_id, letter in letter_of.items()
                if letter is not None and (letter in sending or letter.startswith(f"{mass_id}:"))
            },
            awaited={
                item_id
                for item_id, letter in letter_of.items()
                if letter is not None and letter in unsent and letter not in sending
            },
        )

    async def _of_letters(self, letters: Collection[str]) -> list[Document]:
        """The items of these letters, in their order."""
        found = self.database[MASS_ITEMS].find({"letter": {"$in": sorted(letters)}}, batch_size=10_000)
        return await found.sort("n", 1).to_list(None)

    async def _left(self, letters: Collection[str]) -> set[str]:
        """Letters of actions that nobody works on any more. Who does sends them, and may be at their markers."""
        by_action = {letter: letter.partition(":")[0] for letter in letters}
        ended = {
            "_id": {"$in": sorted(set(by_action.values()))},
            "status": {"$ne": "running"},
            "leased_until": {"$lte": wall_clock()},
        }
        left = {action["_id"] for action in await self.database[MASS_ACTIONS].find(ended, {"_id": 1}).to_list(None)}
        return {letter for letter, action_id in by_action.items() if action_id in left}

    async def _to_tell(
        self, content: MassActionContent, episode: int, items: Sequence[Document], orders: Mapping[str, Document]
    ) -> list[Document]:
        """Items of which nobody has told yet and something is to be told. That an insolvency is taken back only those are told
        who were told of it."""
        bodies = {item["_id"]: orders[item["order_id"]]["body"] for item in items}
        if content.kind == "carrier_failure":
            wanted = {item_id for item_id, body in bodies.items() if content.occasion(episode, body) is not None}
        else:
            wanted = await self._knowing(content, episode - 1, bodies) if content.takes_back else set(bodies)
            wanted -= await self._knowing(content, episode, bodies)
        return [item for item in items if item["_id"] in wanted]

    async def _knowing(self, content: MassActionContent, episode: int, bodies: Mapping[str, Body]) -> set[str]:
        """Of items, those whose buyer was told what was said of an insolvency: of this very order, or once for all."""
        markers = {
            item_id: {
                _told_of(content.insolvency(body["order"]["order_id"], episode), body),
                _told_of(content.insolvency(None, episode), body),
            }
            for item_id, body in bodies.items()
        }
        kept = (await self.reads.many(MASS_TOLD, set[str]().union(*markers.values()))).keys()
        return {item_id for item_id, either in markers.items() if either & kept}


def _address(body: Body) -> str:
    return body["order"]["buyer"]["email"].strip().casefold()


def _buyer(body: Body) -> str:
    """Whose order it is: the same for all orders with an address, and no address."""
    return hashlib.sha256(_address(body).encode()).hexdigest()


def _text(what: Sequence[Any]) -> str:
    return orjson.dumps(what).decode()


def _pages(all_: Sequence[T]) -> Iterator[Sequence[T]]:
    return (all_[begin : begin + _READ] for begin in range(0, len(all_), _READ))


def _told_of(occasion: str, body: Body) -> str:
    """The marker of an order's buyer that was told of an occasion."""
    return hashlib.sha256(f"{occasion}\n{_address(body)}".encode()).hexdigest()


def _insolvencies(content: MassActionContent) -> dict[str, Any]:
    """The actions that say of the same merchant that it is insolvent, or not."""
    return {"content.kind": "insolvency", "content.selection.merchant_id": content.selection.merchant_id}


def _filter(content: MassActionContent) -> dict[str, Any]:
    """Orders among which the selection is; `_places` looks closer."""
    chosen = content.selection
    wanted: dict[str, Any] = {"body.standing": {"$exists": True}}
    if chosen.merchant_id is not None:
        wanted["body.order.merchant_id"] = chosen.merchant_id
    if chosen.order_ids is not None:
        wanted["_id"] = {"$in": list(chosen.order_ids)}
    if chosen.carrier is not None:
        wanted["body.facts.carrier"] = chosen.carrier
    elif chosen.from_ is not None or chosen.to is not None:
        span = {"$gte": format_moment(chosen.from_)} if chosen.from_ is not None else {}
        span |= {"$lt": format_moment(chosen.to)} if chosen.to is not None else {}
        wanted["body.order.placed_at"] = span
    if content.kind in ("reroute", "decide"):
        wanted["body.reported_at"] = {"$exists": True}
    return wanted


def _places(content: MassActionContent, episode: int, body: Body, now: str) -> Iterable[_Place]:
    """The places of an order in a selection: its open cases, else the order itself where its buyer is to be told."""
    standing = body["standing"]
    if content.selection.carrier is not None and _under_way(content.selection, body["facts"]) is None:
        return []
    if cases := [case["case_id"] for case in standing["open_cases"]]:
        return [_place(content, episode, body, case_id) for case_id in cases]
    protection = standing["protection"]
    protected = protection["state"] == "active" and protection["ends_at"] is not None and protection["ends_at"] > now
    told = content.kind == "carrier_failure" or (content.kind == "insolvency" and protected)
    return [_place(content, episode, body, None)] if told else []


def _place(content: MassActionContent, episode: int, body: Body, case_id: str | None) -> _Place:
    order_id = body["order"]["order_id"]
    occasion = content.occasion(episode, body) if content.kind in _TELLS else None
    what = [content.kind, content.decide, occasion, case_id or order_id]
    name = hashlib.sha256(orjson.dumps(what, option=orjson.OPT_SORT_KEYS)).hexdigest()
    if occasion is None:
        return _Place(order_id, case_id, name)
    return _Place(order_id, case_id, name, _buyer(body), _told_of(occasion, body))


def _under_way(chosen: Selection, facts: Sequence[Body]) -> str | None:
    """When what a carrier still has of an order was shipped with it, within the selection's bounds: the last time, if several.
    None: nothing is awaited from it."""
    if any(fact["kind"] in _ENDED_WAY for fact in facts):
        return None
    shipped = [
        parse_moment(fact["at"]) for fact in facts if fact["kind"] == "shipped" and fact.get("carrier") == chosen.carrier
    ]
    within = [at for at in shipped if (chosen.from_ is None or at >= chosen.from_) and (chosen.to is None or at < chosen.to)]
    return format_moment(max(within)) if within else None


def _items(mass_id: str, content: MassActionContent, places: Sequence[_Place], finished: Collection[str]) -> Iterator[Document]:
    """The items of an action; the places of a buyer come one after the other, and share letters."""
    first = 0
    for number, place in enumerate(places):
        if place.buyer != places[first].buyer:
            first = number
        item: Document = {
            "_id": f"{mass_id}:{place.case_id or place.order_id}",
            "mass_id": mass_id,
            "name": place.name,
            "n": number,
            "order_id": place.order_id,
            "case_id": place.case_id,
            "status": "waiting",
        }
        tells = content.kind in _TELLS
        if tells:
            item |= {"letter": f"{mass_id}:{place.buyer}:{(number - first) // _NAMED}", "marker": place.marker}
        if place.name in finished:
            item |= {"status": "skipped", "problem": {"detail": "An earlier action has done this."}}
            item |= {"told": False} if tells else {}
        yield item


def _told_event(content: MassActionContent) -> Literal["insolvency", "insolvency_withdrawn", "carrier_failure"]:
    if content.kind == "insolvency":
        return "insolvency_withdrawn" if content.takes_back else "insolvency"
    return "carrier_failure"


def _mail(content: MassActionContent, bodies: Iterable[Body]) -> TellBuyer:
    """The mail about a buyer's orders, in the first one's name."""
    order, *others = [Order.model_validate(body["order"]) for body in bodies]
    return TellBuyer(
        order_id=order.order_id,
        order_number=order.order_number,
        merchant_id=order.merchant_id,
        merchant_name=order.merchant_name,
        email=order.buyer.email,
        name=order.buyer.name,
        locale=order.buyer.locale or order.merchant_locale,
        event=_told_event(content),
        text=content.message,
        others=tuple(OrderNamed(order_number=each.order_number, merchant_name=each.merchant_name) for each in others),
    )


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
