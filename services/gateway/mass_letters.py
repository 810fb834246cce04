"""The letters of mass actions: a buyer is told of an occasion once, by one mail that names their orders (NX-09)."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from chassis.store import Append, Database, MongoStore
from contracts.notices import OrderNamed, TellBuyer
from contracts.orders import Order
from services.gateway.mass_selection import MassActionContent, marker_of
from services.gateway.projector import Body
from services.gateway.store import MASS_ACTIONS, MASS_ITEMS, MASS_TOLD, ORDERS, Document, PointReads, wall_clock

__all__ = ["Letters", "Tellings", "mail_of"]


@dataclass(frozen=True, slots=True)
class Tellings:
    """The mails of a page, by their letter: the orders that each names. The items of the page that these name, or mails that
    went out with a page before. And those that a letter names which another action has yet to send: whether their buyer is told
    is not known before it did, or was given up."""

    mails: dict[str, dict[str, Body]]
    told: set[str]
    awaited: set[str]


@dataclass(frozen=True, slots=True)
class Letters:
    """What the store has of letters: the items that they name, and the markers of who was told."""

    database: Database
    reads: PointReads

    async def of_page(
        self, content: MassActionContent, episode: int, page: Sequence[Document], orders: Mapping[str, Document]
    ) -> Tellings:
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
        return Tellings(
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
                marker_of(content.insolvency(body["order"]["order_id"], episode), body),
                marker_of(content.insolvency(None, episode), body),
            }
            for item_id, body in bodies.items()
        }
        kept = (await self.reads.many(MASS_TOLD, set[str]().union(*markers.values()))).keys()
        return {item_id for item_id, either in markers.items() if either & kept}


def _told_event(content: MassActionContent) -> Literal["insolvency", "insolvency_withdrawn", "carrier_failure"]:
    if content.kind == "insolvency":
        return "insolvency_withdrawn" if content.takes_back else "insolvency"
    return "carrier_failure"


def mail_of(content: MassActionContent, bodies: Iterable[Body]) -> TellBuyer:
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
