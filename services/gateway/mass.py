"""Mass actions (NX-09, BP-03, BP-25): thousands of orders or cases treated as a group, throttled, with a result per item.

The items of an action stand in the store before it is answered. A gateway process works on it under a lease, page by page: each
item is commands whose ids are made from the item, so that whoever goes on after a crash does nothing twice."""

import asyncio
import hashlib
import logging
import uuid
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, Literal

import orjson
from pydantic import Field, model_validator
from pymongo import UpdateOne

from chassis.clock import Clock
from chassis.failures import back_off
from chassis.service import beside
from chassis.store import Append, Database, MongoStore, counted
from contracts.actors import Actor
from contracts.base import GivenMoment, Model, format_moment, parse_moment
from contracts.cases import TakeAction
from contracts.envelope import Record
from contracts.ids import derived, merchant_key
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
from services.gateway.store import COMMANDS, MASS_ACTIONS, MASS_ITEMS, MASS_TOLD, ORDERS, Document, PointReads, wall_clock

__all__ = ["MassActionContent", "MassActions", "Selection"]

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
_TELLS = ("insolvency", "carrier_failure")
_ENDED_WAY = ("delivered", "returned", "cancelled")
"""Facts after which nothing of an order is awaited from a carrier."""

_Place = tuple[str, str | None, str | None]
"""An order, an open case of it if it has any, and whose order it is (`_buyer`), where the action tells buyers."""


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
            raise ValueError("`decide` belongs to the kind decide, and to no other")
        if self.decide is not None and not isinstance(self.decide.get("action"), str):
            raise ValueError("`decide` names an action of the platform, and has its fields")
        if self.kind == "insolvency" and (chosen.merchant_id is None or chosen.carrier is not None):
            raise ValueError("an insolvency is that of a merchant: select by merchant_id, not by carrier")
        if self.insolvent is not None and self.kind != "insolvency":
            raise ValueError("`insolvent` belongs to the kind insolvency, and to no other")
        if self.takes_back and (chosen.order_ids is not None or chosen.from_ is not None or chosen.to is not None):
            raise ValueError("an insolvency is taken back as a whole: select by merchant_id alone")
        if self.kind == "carrier_failure" and chosen.carrier is None:
            raise ValueError("select by carrier")
        if chosen.merchant_id is None and chosen.carrier is None and chosen.order_ids is None:
            raise ValueError("select by merchant_id, carrier or order_ids")
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
        chosen = self.selection
        what: list[Any] = [self.kind, chosen.merchant_id, chosen.carrier, episode]
        if self.kind == "carrier_failure":
            shipped = _under_way(chosen, body["facts"])
            if shipped is None:
                return None
            what = [self.kind, chosen.carrier, body["order"]["order_id"], shipped]
        return orjson.dumps(what).decode()

    def event(self, episode: int) -> str:
        """What is done about what: an item done for it stays done."""
        what = self.model_dump(mode="json", include={"kind", "selection", "decide"}) | {"episode": episode}
        return hashlib.sha256(orjson.dumps(what, option=orjson.OPT_SORT_KEYS)).hexdigest()


@dataclass(frozen=True, slots=True)
class _Work:
    """What an item comes to: a command to cases, under its id, and whether its buyer is told; None where the action tells
    nobody. `idle`: why there is nothing to do; unless the command was sent before a crash, and that is why."""

    item: Document
    told: bool | None = None
    command: tuple[str, Record] | None = None
    idle: str = ""


@dataclass(slots=True)
class _Tellings:
    """The mails of a page: by the item that each goes out with, the orders that it names; and the items that it tells of."""

    mails: dict[str, dict[str, Body]] = field(default_factory=dict)
    told: set[str] = field(default_factory=set)


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
        """Put the items down, then the action. Made again, it is the same one. Raises 422 for too large a selection."""
        store = MongoStore(self.database)
        episode = await self._episode(content)
        places: list[_Place] = []
        async for page in self._told_before(content, episode) if content.takes_back else self._selected(content):
            places += page
            if len(places) > MOST_ITEMS:
                raise field_error("/selection", f"This selects more than {MOST_ITEMS} items; select less, in several actions.")
        event = content.event(episode)
        finished = await self._finished(event)
        items = [_item(mass_id, event, n, place, finished) for n, place in enumerate(dict.fromkeys(places))]
        for begin in range(0, len(items), _READ):
            await store.append([Append(MASS_ITEMS, item) for item in items[begin : begin + _READ]])
        action = {
            "_id": mass_id,
            "content": content.model_dump(mode="json", by_alias=True),
            "event": event,
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
            fields = {"order_id": 1, "buyer": 1, "n": 1}
            while found := await self.database[MASS_ITEMS].find(after, fields).sort("n", 1).limit(_READ).to_list(_READ):
                yield [(item["order_id"], None, item.get("buyer")) for item in found]
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

    async def _finished(self, event: str) -> frozenset[str]:
        """What earlier actions have done for an event: orders and cases by their place."""
        done = self.database[MASS_ITEMS].find({"event": event, "status": "done"}, {"place": 1}, batch_size=10_000)
        return frozenset(item["place"] for item in await done.to_list(None))

    async def _selected(self, content: MassActionContent) -> AsyncIterator[list[_Place]]:
        """The places, page by page."""
        wanted = _filter(content)
        last = ""
        while True:
            after = {"$and": [wanted, {"_id": {"$gt": last}}]} if last else wanted
            fields = {"body.order": 1, "body.standing": 1, "body.facts": 1}
            found = await self.database[ORDERS].find(after, fields).sort("_id", 1).limit(_READ).to_list(_READ)
            places = [
                place for document in found for place in _places(content, document["body"], format_moment(self.clock.now()))
            ]
            if places:
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
        found = await self.database[MASS_ACTIONS].find(free).to_list(20)
        self._waiting &= {action["_id"] for action in found}
        return found

    async def _own(self, action: Document) -> None:
        """Claim an action and work on it to its end, for as long as the lease is ours."""
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
                    await self._run(action, mine)
                await self._lease(mine, wall_clock())
        finally:
            del self._in_hand[owner]

    async def _lease(self, mine: Document, until: datetime) -> None:
        await self.database[MASS_ACTIONS].update_one(mine, {"$set": {"leased_until": until}})

    async def _run(self, action: Document, mine: Document) -> None:
        content = MassActionContent.model_validate(action["content"])
        actor = Actor.model_validate(action["actor"])
        per_s = content.throttle_per_s or _PER_S
        episode: int = action["episode"]
        if content.kind == "insolvency" and content.selection.merchant_id is not None:
            await self._supersede(content, episode)
            await self._declare(action["_id"], content.selection.merchant_id, not content.takes_back, actor)
        waiting = {"mass_id": action["_id"], "status": "waiting"}
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            items = await self.database[MASS_ITEMS].find(waiting).sort("n", 1).limit(min(per_s, _PAGE)).to_list(_PAGE)
            now = await self.database[MASS_ACTIONS].find_one(mine | {"status": "running"}, {"_id": 1})
            if now is None:
                return  # stopped, or somebody else's by now
            if not items:
                await self.database[MASS_ACTIONS].update_one(mine, {"$set": {"status": "done"}})
                return
            await self._do(content, episode, actor, items)
            await asyncio.sleep(max(0.0, len(items) / per_s - (loop.time() - began)))

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
        while not await self.commands.ask_many(INTAKE_COMMANDS, [(command_id, record)], _OUTCOMES_S, self._turn):
            log.warning("intake has not answered yet whether %s is insolvent", merchant_id)

    async def _do(self, content: MassActionContent, episode: int, actor: Actor, items: Sequence[Document]) -> None:
        """A page of items: their mails and commands, then their results. What has no outcome yet is asked for again."""
        orders = await self.reads.many(ORDERS, {item["order_id"] for item in items})
        tellings = None
        if content.kind in _TELLS:
            tellings = await self._tell_once(content, episode, items, orders)
            if tellings.mails:
                mails = [(by, _mail(content, list(named.values()))) for by, named in tellings.mails.items()]
                await self.commands.publish(
                    [
                        (NOTIFICATIONS_COMMANDS.name, self.commands.record(mail.order_id, mail, derived(by, "mail")))
                        for by, mail in mails
                    ]
                )
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
        """Whom a page tells: each buyer once of what happened, by a mail that goes out with the first of its orders and names
        all of them. A marker for each buyer and occasion says with which item; so an action that goes on sends the same mail
        again, and what one that was stopped had marked and not sent goes out with the next one."""
        mass_id = page[0]["mass_id"]
        items = await self._with_others(page, orders)
        orders = {**orders, **await self.reads.many(ORDERS, {item["order_id"] for item in items.values()} - orders.keys())}
        markers = await self._markers(content, episode, items, orders)
        lead: dict[str, str] = {}
        for item_id in markers:
            lead.setdefault(_buyer(orders[items[item_id]["order_id"]]["body"]), item_id)
        new: dict[str, Document] = {}
        for item_id, marker in markers.items():
            with_item = lead[_buyer(orders[items[item_id]["order_id"]]["body"])]
            new.setdefault(marker, {"_id": marker, "item": with_item})
        await MongoStore(self.database).append([Append(MASS_TOLD, marker) for marker in new.values()])
        kept = await self.reads.many(MASS_TOLD, new)
        told_with = {item_id: kept[marker].get("item", "") for item_id, marker in markers.items()}
        others = await self.reads.many(MASS_ITEMS, {each for each in told_with.values() if each and each not in items})
        left = {each["_id"]: each for each in others.values() if each["mass_id"] != mass_id and each["status"] == "waiting"}
        orders |= await self.reads.many(ORDERS, {each["order_id"] for each in left.values()} - orders.keys())
        tellings = _Tellings()
        for item_id, with_item in told_with.items():
            leading = items.get(with_item) or left.get(with_item)
            if leading is not None:
                named = tellings.mails.setdefault(with_item, {})
                for order_id in (leading["order_id"], items[item_id]["order_id"]):
                    named[order_id] = orders[order_id]["body"]
            if leading is not None or (with_item in others and others[with_item]["mass_id"] == mass_id):
                tellings.told.add(item_id)
        return tellings

    async def _with_others(self, page: Sequence[Document], orders: Mapping[str, Document]) -> dict[str, Document]:
        """The items of a page, and what else is to be done for their buyers, by id and in their order. What is too much for
        one look tells of itself on its own page."""
        buyers = {_buyer(orders[item["order_id"]]["body"]) for item in page}
        wanted = {"mass_id": page[0]["mass_id"], "buyer": {"$in": sorted(buyers)}, "status": "waiting"}
        found = await self.database[MASS_ITEMS].find(wanted).sort("n", 1).limit(_READ).to_list(_READ)
        return {item["_id"]: item for item in (*page, *found)}

    async def _markers(
        self, content: MassActionContent, episode: int, items: Mapping[str, Document], orders: Mapping[str, Document]
    ) -> dict[str, str]:
        """By item, the marker of its buyer being told of what happened; without those that have nothing to be told. That an
        insolvency is taken back only those are told who were told of it."""
        bodies = {item_id: orders[item["order_id"]]["body"] for item_id, item in items.items()}
        markers = _marked(content, episode, bodies)
        if content.takes_back:
            before = _marked(content, episode - 1, bodies)
            knowing = await self.reads.many(MASS_TOLD, set(before.values()))
            markers = {item_id: marker for item_id, marker in markers.items() if before[item_id] in knowing}
        return markers


def _marked(content: MassActionContent, episode: int, bodies: Mapping[str, Body]) -> dict[str, str]:
    occasions = {item_id: content.occasion(episode, body) for item_id, body in bodies.items()}
    return {item_id: _told_of(each, bodies[item_id]) for item_id, each in occasions.items() if each is not None}


def _address(body: Body) -> str:
    return body["order"]["buyer"]["email"].strip().casefold()


def _buyer(body: Body) -> str:
    """Whose order it is: the same for all orders with an address, and no address."""
    return hashlib.sha256(_address(body).encode()).hexdigest()


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


def _places(content: MassActionContent, body: Body, now: str) -> Iterable[_Place]:
    """The places of an order in a selection: its open cases, else the order itself where its buyer is to be told."""
    order_id, standing = body["order"]["order_id"], body["standing"]
    if content.selection.carrier is not None and _under_way(content.selection, body["facts"]) is None:
        return []
    buyer = _buyer(body) if content.kind in _TELLS else None
    if cases := [case["case_id"] for case in standing["open_cases"]]:
        return [(order_id, case_id, buyer) for case_id in cases]
    if content.kind == "carrier_failure":
        return [(order_id, None, buyer)]
    protection = standing["protection"]
    protected = protection["state"] == "active" and protection["ends_at"] is not None and protection["ends_at"] > now
    return [(order_id, None, buyer)] if content.kind == "insolvency" and protected else []


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


def _item(mass_id: str, event: str, number: int, where: _Place, finished: frozenset[str]) -> Document:
    order_id, case_id, buyer = where
    place = case_id or order_id
    return {
        "_id": f"{mass_id}:{place}",
        "mass_id": mass_id,
        "event": event,
        "n": number,
        "place": place,
        "order_id": order_id,
        "case_id": case_id,
        "buyer": buyer,
        "status": "skipped" if place in finished else "waiting",
    }


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
    """Status and problem of an item, and whether its buyer is told where that is what the action is for; None while an outcome
    is missing."""
    told = {} if work.told is None else {"told": work.told}
    idle = {"status": "skipped", "problem": {"detail": work.idle}, **told}
    if work.command is None:
        return idle if work.idle else {"status": "done", **told}
    outcome = outcomes.get(work.command[0])
    if outcome is None:
        return idle if work.idle else None
    if outcome["status"] != "refused":
        return {"status": "done", **told}
    problem = Problem.model_validate(outcome["problem"])
    shown = {name: value for name, value in problem.model_dump(mode="json").items() if value}
    return {"status": "failed", "problem": shown, **told}
