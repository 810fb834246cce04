"""Mass actions on the real store, with services that do whatever they are asked: who is told what, and what is done once."""

import asyncio
import hashlib
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest

from chassis.clock import RealClock
from chassis.settings import Settings
from chassis.store import connect
from contracts.actors import Actor
from contracts.envelope import Record, decode
from contracts.notices import TellBuyer
from contracts.topics import NOTIFICATIONS_COMMANDS, Topic
from deploy.local import Stack
from services.gateway import mass, mass_selection
from services.gateway.commands import Commands
from services.gateway.mass import MassActions
from services.gateway.mass_selection import MassActionContent
from services.gateway.store import HISTORY, MASS_ACTIONS, MASS_ITEMS, MASS_TOLD, ORDERS, PointReads, create_indexes

PLATFORM = Actor(role="platform", id="platform")
AT = "2024-01-10T09:30:00.000Z"
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
FAR_AHEAD = datetime(2100, 1, 1, tzinfo=UTC)
INSOLVENCY = {"kind": "insolvency", "selection": {"merchant_id": "shop"}, "throttle_per_s": 10_000}


class Doing(Commands):
    """Takes every command for done, and keeps the mails as notifications does: of one id the first."""

    def __init__(self) -> None:
        self.mails: dict[str, TellBuyer] = {}
        self.away = False
        self._clock = RealClock()

    async def publish(self, records: Sequence[tuple[str, Record]]) -> None:
        if self.away:
            raise ConnectionError("no broker answers")
        for topic, record in records:
            if topic == NOTIFICATIONS_COMMANDS.name:
                mail = decode(record.value, record.headers)
                assert isinstance(mail.message, TellBuyer)
                self.mails.setdefault(mail.id, mail.message)

    async def ask_many(
        self, topic: Topic, commands: Sequence[tuple[str, Record]], timeout_s: float, turn: asyncio.Lock
    ) -> dict[str, dict[str, Any]]:
        return {command_id: {"status": "done", "version": 2} for command_id, _ in commands}

    def named(self) -> Counter[str]:
        """How often each order is named."""
        return Counter(number for mail in self.mails.values() for number in _numbers(mail))


def _numbers(mail: TellBuyer) -> list[str]:
    return [mail.order_number, *(each.order_number for each in mail.others)]


class Desk:
    """The gateway's store, and a process that works on mass actions."""

    def __init__(self, client: Any, settings: Settings) -> None:
        self.database = client[settings.prefixed("gateway")]
        self.commands = Doing()
        self.actions = MassActions(self.database, PointReads(self.database), self.commands, RealClock())

    async def orders(self, buyers: Iterable[int], *, first: int = 0, **more: Any) -> list[str]:
        """An order for each buyer named, one after the other; their numbers, which are their ids."""
        ids = [f"ord_{number:06d}" for number, _ in enumerate(buyers, start=first)]
        bodies = [_body(order_id, f"b{buyer}@mail.example", **more) for order_id, buyer in zip(ids, buyers, strict=True)]
        await self.database[ORDERS].insert_many(
            [{"_id": order_id, "body": body} for order_id, body in zip(ids, bodies, strict=True)]
        )
        return ids

    async def done(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        """The items of an action that is worked on to its end."""
        mass_id = f"mas_{uuid.uuid4().hex}"
        await self.actions.create(mass_id, MassActionContent.model_validate(body), PLATFORM)
        await self.work()
        return await self.items(mass_id)

    async def work(self) -> None:
        """Work until no action runs."""
        async with self.working():
            await self.ended()

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """Work meanwhile."""
        working = asyncio.create_task(self.actions.work())
        try:
            async with asyncio.timeout(60):
                yield
        finally:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)

    async def ended(self) -> None:
        """Until no action runs."""
        while await self.database[MASS_ACTIONS].count_documents({"status": "running"}):  # noqa: ASYNC110
            await asyncio.sleep(0.01)

    async def marked(self, mass_id: str) -> None:
        """Whoever worked on this insolvency died with all markers in and no mail out, and its lease stands."""
        self.commands.away = True
        await self.actions.create(mass_id, MassActionContent.model_validate(INSOLVENCY), PLATFORM)
        items = await self.items(mass_id)
        async with self.working():
            while await self.database[MASS_TOLD].count_documents({}) < len(items):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        await self.database[MASS_ACTIONS].update_one({"_id": mass_id}, {"$set": {"leased_until": FAR_AHEAD}})
        self.commands.away = False

    async def looked_at_twice(self, mass_id: str) -> None:
        """Ask for the insolvency once more, until it was given back once and taken up again, or has ended."""
        await self.actions.create(mass_id, MassActionContent.model_validate(INSOLVENCY), PLATFORM)
        owners = set[str]()
        while len(owners) < 2:
            action = await self.database[MASS_ACTIONS].find_one({"_id": mass_id})
            assert action is not None
            if action["status"] != "running":
                return
            owners |= {action["owner"]} - {""}
            await asyncio.sleep(0.01)

    async def items(self, mass_id: str) -> list[dict[str, Any]]:
        return await self.database[MASS_ITEMS].find({"mass_id": mass_id}).sort("n", 1).to_list(None)


def _body(order_id: str, email: str, *, facts: Sequence[dict[str, Any]] = (), cases: Sequence[str] = ()) -> dict[str, Any]:
    order = {
        "order_id": order_id,
        "merchant_id": "shop",
        "order_number": order_id,
        "buyer": {"email": email, "locale": "en"},
        "amount": {"amount": "20.00", "currency": "EUR"},
        "placed_at": AT,
        "protection_activated": True,
        "programme": "buyer-protection",
        "timezone": "Europe/Berlin",
        "merchant_name": "Shop",
        "merchant_locale": "de",
        "origin": "registered",
        "registered_at": AT,
    }
    protection = {"state": "active", "ends_at": (datetime.now(UTC) + timedelta(days=30)).isoformat()}
    standing = {"protection": protection, "open_cases": [{"case_id": case_id} for case_id in cases]}
    file = orjson.dumps({"cases": {case_id: {"state": "submitted"} for case_id in cases}}).decode()
    reported = {"file": file, "reports": "{}", "reported_at": AT} if cases else {}
    return {"order": order, "standing": standing, "facts": list(facts), **reported}


def shipped(at: str) -> dict[str, Any]:
    return {"kind": "shipped", "carrier": "DHL", "at": at}


@pytest.fixture
async def desk(stack: Stack) -> AsyncIterator[Desk]:
    settings = Settings(kafka_bootstrap=stack.kafka_bootstrap, mongo_uri=stack.mongo_uri, namespace=f"m{uuid.uuid4().hex[:8]}-")
    client = connect(settings)
    desk = Desk(client, settings)
    await create_indexes(desk.database)
    yield desk
    client.close()


@pytest.mark.rule("NX-09")
async def test_an_item_says_told_only_of_an_order_that_a_mail_names(desk: Desk) -> None:
    orders = await desk.orders([*range(60)] * 20)
    items = await desk.done(INSOLVENCY)
    assert {(item["status"], item["told"]) for item in items} == {("done", True)}
    assert desk.commands.named() == Counter(orders)
    assert len(desk.commands.mails) == 60, "each buyer is told once, though their orders lie on all pages"


@pytest.mark.rule("NX-09")
async def test_who_has_more_orders_than_a_letter_names_gets_a_further_one(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mass_selection, "_NAMED", 7)
    orders = await desk.orders([1] * 20)
    assert all(item["told"] for item in await desk.done(INSOLVENCY | {"throttle_per_s": 100}))
    assert desk.commands.named() == Counter(orders)
    assert sorted(len(_numbers(mail)) for mail in desk.commands.mails.values()) == [6, 7, 7]


@pytest.mark.rule("NX-09")
async def test_what_a_stopped_action_had_marked_and_not_sent_goes_out_as_it_was_and_the_rest_beside_it(desk: Desk) -> None:
    orders = await desk.orders([1, 1, 2])
    desk.commands.away = True
    await desk.actions.create("mas_1", MassActionContent.model_validate(INSOLVENCY), PLATFORM)
    working = asyncio.create_task(desk.work())
    async with asyncio.timeout(60):
        while await desk.database[MASS_TOLD].count_documents({}) < len(orders):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    await desk.actions.stop("mas_1")
    await working
    # Whoever died at it holds its lease no longer.
    await desk.database[MASS_ACTIONS].update_one({"_id": "mas_1"}, {"$set": {"leased_until": LONG_AGO}})
    later = await desk.orders([1], first=len(orders))
    desk.commands.away = False
    assert {(item["status"], item["told"]) for item in await desk.done(INSOLVENCY)} == {("done", True)}
    assert sorted(sorted(_numbers(mail)) for mail in desk.commands.mails.values()) == [orders[:2], orders[2:], later]


@pytest.mark.rule("NX-09")
async def test_what_a_stopped_action_may_still_send_is_waited_for_and_goes_out_once_nobody_works_on_it(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mass, "_LOOK_S", 0.05)
    orders = await desk.orders([1, 1, 2])
    await desk.marked("mas_1")
    await desk.actions.stop("mas_1")
    async with desk.working():
        await desk.looked_at_twice("mas_2")
        assert {(item["status"], item.get("told")) for item in await desk.items("mas_2")} == {("waiting", None)}
        assert not desk.commands.mails
        assert desk.actions.pending() == 1
        await desk.database[MASS_ACTIONS].update_one({"_id": "mas_1"}, {"$set": {"leased_until": LONG_AGO}})
        await desk.ended()
    assert {(item["status"], item["told"]) for item in await desk.items("mas_2")} == {("done", True)}
    assert desk.commands.named() == Counter(orders)


@pytest.mark.rule("NX-09")
async def test_an_action_that_waits_for_anothers_letters_leaves_the_hand_free_that_sends_them(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mass, "_LOOK_S", 0.05)
    monkeypatch.setattr(mass, "_HANDS", 1)
    orders = await desk.orders([1, 1, 2])
    await desk.marked("mas_1")
    (beside,) = await desk.orders([7], first=len(orders))  # items stand in the order of their buyers' hashes; this is the last
    monkeypatch.setattr(mass, "_PAGE", 1)
    async with desk.working():
        await desk.looked_at_twice("mas_2")
        known = {item["order_id"]: (item["status"], item.get("told")) for item in await desk.items("mas_2")}
        assert known == dict.fromkeys(orders, ("waiting", None)) | {beside: ("done", True)}, (
            "what stands behind waits for nobody"
        )
        await desk.database[MASS_ACTIONS].update_one({"_id": "mas_1"}, {"$set": {"leased_until": LONG_AGO}})
        await desk.ended()
    assert {(item["status"], item["told"]) for item in await desk.items("mas_1")} == {("done", True)}
    known = {item["order_id"]: (item["status"], item["told"]) for item in await desk.items("mas_2")}
    assert known == dict.fromkeys(orders, ("skipped", False)) | {beside: ("done", True)}
    assert desk.commands.named() == Counter([*orders, beside])


@pytest.mark.rule("NX-09")
async def test_an_action_that_is_asked_for_again_keeps_the_items_it_has(desk: Desk) -> None:
    content = MassActionContent.model_validate(INSOLVENCY)
    orders = await desk.orders([1, 1])
    await desk.actions.create("mas_1", content, PLATFORM)
    await desk.work()
    await desk.orders([1], first=len(orders))
    await desk.actions.create("mas_1", content, PLATFORM)
    assert [(item["order_id"], item["told"]) for item in await desk.items("mas_1")] == [(order, True) for order in orders]


@pytest.mark.rule("NX-09")
async def test_the_next_failure_of_a_carrier_is_news_though_it_is_selected_in_the_same_way(desk: Desk) -> None:
    failure = {"kind": "carrier_failure", "selection": {"carrier": "DHL"}}
    (order,) = await desk.orders([1], facts=[shipped("2024-01-11T00:00:00.000Z")])
    (first,), (again,) = await desk.done(failure), await desk.done(failure)
    assert (first["status"], first["told"]) == ("done", True)
    assert (again["status"], again["told"]) == ("skipped", False)
    parcel = shipped("2024-02-11T00:00:00.000Z")
    await desk.database[ORDERS].update_one({"_id": order}, {"$push": {"body.facts": parcel}})
    (next_,) = await desk.done(failure)
    assert (next_["status"], next_["told"]) == ("done", True)
    assert desk.commands.named() == {order: 2}


@pytest.mark.rule("NX-09")
async def test_a_case_is_decided_anew_once_it_has_moved_since(desk: Desk) -> None:
    async def moved(version: int) -> None:
        entry = {"_id": f"cas_1:{version}", "case_id": "cas_1", "type": "case.moved", "version": version, "data": {}}
        await desk.database[HISTORY].insert_one(entry)

    async def asked(**selection: Any) -> str:
        decide = {"action": "request_evidence", "party": "merchant", "message": "Please send the proof of delivery."}
        (item,) = await desk.done({"kind": "decide", "selection": {"merchant_id": "shop", **selection}, "decide": decide})
        return item["status"]

    (order,) = await desk.orders([1], cases=["cas_1"])
    assert await asked() == "done"
    await moved(2)  # that is what it was done by
    assert await asked(order_ids=[order]) == "skipped", "it is the same case and decision, however it is selected"
    await moved(3)
    assert await asked() == "done"


@pytest.mark.rule("NX-09")
async def test_an_action_of_before_letters_goes_on_without_telling_anybody_twice(desk: Desk) -> None:
    orders = await desk.orders([1, 1, 2, 2])
    # As an older version keeps it: a marker for each buyer and merchant, here of the first, and items without a letter.
    content = MassActionContent.model_validate(INSOLVENCY)
    marker = hashlib.sha256(b'["insolvency","shop",null,0]\nb1@mail.example').hexdigest()
    await desk.database[MASS_TOLD].insert_one({"_id": marker, "item": f"mas_1:{orders[0]}"})
    await desk.database[MASS_ITEMS].insert_many(
        [
            {"_id": f"mas_1:{order}", "mass_id": "mas_1", "event": "e", "n": n, "place": order, "order_id": order}
            | {"case_id": None, "buyer": "", "status": "done" if n == 0 else "waiting"}
            for n, order in enumerate(orders)
        ]
    )
    action = {"_id": "mas_1", "content": content.model_dump(mode="json", by_alias=True), "event": "e", "episode": 0}
    kept = {"actor": PLATFORM.model_dump(mode="json"), "status": "running", "created_at": AT, "owner": ""}
    await desk.database[MASS_ACTIONS].insert_one(action | kept | {"leased_until": LONG_AGO})
    await desk.work()
    assert [_numbers(mail) for mail in desk.commands.mails.values()] == [orders[2:]]
