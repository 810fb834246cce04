"""Caps (CP-07): how many refunds a rule has given on a day, counted so that no two processes give the same one.

A counter is one document per rule and day. Whoever gives refunds replaces it, guarded by the version that was read: of two at
once one finds that it lost, reads again and decides again. In that same write the counter remembers which refunds it gave;
before it is overwritten, these are put down one by one under the order's id, so that a case that comes again, also after a
crash anywhere between, finds the refund that it was given and takes no second one. As rules leave nothing of an order, another
of its cases gets none, and takes up nobody's share. How much of a merchant's or a buyer's share is taken is read from what was
put down and what the counter remembers: no buyer can make a document grow."""

import asyncio
import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chassis.store import Append, Database, MongoStore, Write
from contracts.ids import order_of
from contracts.matrix import DecisionRule
from engine.matrix import Opening, granted, slots_of

__all__ = ["CAPS", "GIVEN", "Caps", "counter_of"]

CAPS = "caps"
GIVEN = "given"
"""The refunds that were given, one document each: `_id` is the order, `case_id` its case that got it, `slots` what it took one
of."""

_DAY = "day"
_LOST_S = 0.01
"""Longest wait after a lost write, in seconds: so that two who met do not meet again."""


def counter_of(rule: DecisionRule, opening: Opening) -> str:
    """The id of the counter: a rule's new version goes on counting, so the version is no part of it."""
    return f"{rule.rule_id}:{opening.day}"


@dataclass(frozen=True, slots=True)
class _Read:
    """A counter as it was read; version 0: it does not exist yet."""

    version: int
    total: int
    latest: tuple[Mapping[str, Any], ...]


class Caps:
    """Gives refunds within caps, a batch at a time: five statements for a batch of any size that meets nobody else's."""

    def __init__(self, database: Database) -> None:
        self._store = MongoStore(database)
        self._counters = database[CAPS]
        self._given = database[GIVEN]

    async def create_indexes(self) -> None:
        await self._given.create_index([("slots", 1)])
        await self._counters.create_index([("latest._id", 1)])

    async def give(self, asked: Sequence[tuple[DecisionRule, Opening]]) -> frozenset[str]:
        """The cases that get their refund, of those that a rule wants to refund, first come first served. Asked again, a case
        gets the same answer."""
        result: set[str] = set()
        while asked:
            # Of an order one case at a time: what the next one may get depends on whether this one did, whatever rule asks.
            first: dict[str, tuple[DecisionRule, Opening]] = {}
            others: list[tuple[DecisionRule, Opening]] = []
            for each in asked:
                if first.setdefault(order_of(each[1].case_id), each) is not each:
                    others.append(each)
            todo: dict[str, list[tuple[DecisionRule, Opening]]] = {}
            for rule, opening in first.values():
                todo.setdefault(counter_of(rule, opening), []).append((rule, opening))
            while todo:
                todo = await self._round(todo, result)
                if todo:
                    await asyncio.sleep(random.uniform(0, _LOST_S))  # noqa: S311  not a secret
            asked = others
        return frozenset(result)

    async def _round(
        self, todo: Mapping[str, list[tuple[DecisionRule, Opening]]], result: set[str]
    ) -> dict[str, list[tuple[DecisionRule, Opening]]]:
        """Try once; what lost its guard is left."""
        # The counters first: what any write but a counter's last one gave is put down by then. Another rule's last one may
        # have been about these orders.
        orders = [order_of(opening.case_id) for wanted in todo.values() for _, opening in wanted]
        asked = {"$or": [{"_id": {"$in": list(todo)}}, {"latest._id": {"$in": orders}}]}
        counters = {document["_id"]: document for document in await self._counters.find(asked).to_list(None)}
        given = await self._read_given(todo, orders, counters.values())
        writes: list[Write] = []
        settle: list[Append] = []
        cases_of: dict[str, set[str]] = {}
        for counter, wanted in todo.items():
            stored = counters.get(counter)
            read = _Read(0, 0, ()) if stored is None else _Read(stored["v"], stored["total"], tuple(stored["latest"]))
            fresh = _decide(counter, wanted, read, given)
            got = {given[order_id]["case_id"] for _, each in wanted if (order_id := order_of(each.case_id)) in given}
            result.update(opening.case_id for _, opening in wanted if opening.case_id in got)
            if fresh:
                settle += (Append(GIVEN, dict(each)) for each in read.latest)
                cases_of[counter] = {each["case_id"] for each in fresh}
                total = read.total + len(fresh)
                body = {"_id": counter, "v": read.version + 1, "total": total, "latest": fresh}
                writes.append(Write(CAPS, body, read.version))
        if not writes:
            return {}
        if settle:
            await self._store.append(settle)
        lost = {writes[index].document["_id"] for index in await self._store.write(writes)}
        result.update(case_id for counter, cases in cases_of.items() if counter not in lost for case_id in cases)
        return {counter: todo[counter] for counter in lost}

    async def _read_given(
        self,
        todo: Mapping[str, list[tuple[DecisionRule, Opening]]],
        orders: Sequence[str],
        counters: Iterable[Mapping[str, Any]],
    ) -> dict[str, Mapping[str, Any]]:
        """Refunds given before, by order: of these orders, and from the shares of their merchants and buyers."""
        slots = {
            slot
            for counter, wanted in todo.items()
            for rule, opening in wanted
            for slot in _shares(counter, slots_of(rule.caps, opening))
        }
        found = await self._given.find({"_id": {"$in": list(orders)}}).to_list(None)
        if slots:
            found += await self._given.find({"slots": {"$in": sorted(slots)}}, batch_size=10_000).to_list(None)
        found += [each for counter in counters for each in counter["latest"]]
        return {each["_id"]: each for each in found}


def _decide(
    counter: str,
    wanted: Sequence[tuple[DecisionRule, Opening]],
    read: _Read,
    given: Mapping[str, Mapping[str, Any]],
) -> list[dict[str, Any]]:
    """The refunds that the counter gives now, in the order in which they were asked for: of each order one is asked for."""
    taken: Counter[str] = Counter()
    for each in given.values():
        for slot in each["slots"]:
            of, _, share = slot.partition("|")
            if of == counter:
                taken[share] += 1
    taken[_DAY] = read.total
    fresh: list[dict[str, Any]] = []
    for rule, opening in wanted:
        order_id = order_of(opening.case_id)
        if order_id not in given and granted(rule.caps, opening, taken):
            # Both shares are noted whether or not they are capped now: the rule's next version may cap them.
            slots = [f"{counter}|merchant:{opening.merchant_id}", f"{counter}|buyer:{opening.buyer}"]
            fresh.append({"_id": order_id, "case_id": opening.case_id, "version": rule.version, "slots": slots})
    return fresh


def _shares(counter: str, slots: Iterable[str]) -> list[str]:
    """The slots that are counted by what was put down; the day's own count stands in the counter."""
    return [f"{counter}|{slot}" for slot in slots if slot != _DAY]
