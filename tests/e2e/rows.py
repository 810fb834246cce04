"""Rows of the programmes' tables, driven through the public API: many cases at once on few moves of the test clock."""

import heapq
import itertools
import traceback
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from threading import Lock, local
from typing import Any

from contracts.base import format_moment, parse_duration, parse_moment
from tests.e2e.world import Party, Shop, World, eur

__all__ = ["Case", "Row", "Step", "act", "fact", "pay", "report", "silence", "wait"]

Json = dict[str, Any]
MESSAGE = "A word about it."


@dataclass(frozen=True)
class Step:
    """What somebody does, or how long nobody does anything."""

    kind: str
    name: str = ""
    by: str = ""
    fields: Json = field(default_factory=dict)


def report(reason: str, by: str = "buyer", **fields: Any) -> Step:
    return Step("report", reason, by, fields)


def act(by: str, action: str, **fields: Any) -> Step:
    return Step("act", action, by, fields)


def fact(kind: str, **fields: Any) -> Step:
    return Step("fact", kind, "platform", fields)


def wait(duration: str) -> Step:
    return Step("wait", duration)


def silence(of: str = "") -> Step:
    """Until the soonest deadline (of a party) has passed."""
    return Step("silence", of)


pay = wait("PT1M")
"""Until the payment provider has answered."""


@dataclass(frozen=True)
class Row:
    """Steps from nothing to one row of a table, and how the case then stands."""

    programme: str
    rules: tuple[str, ...]
    what: str
    steps: tuple[Step, ...]
    state: str
    turn: str | None = None
    outcome: str | None = None
    money: tuple[str, str] = ("0.00", "0.00")
    """Reserved and executed on the order."""
    due: Json | None = None
    """Party → duration from the last step on, of all standing deadlines; None: not looked at."""
    protection: str | None = None
    shop: str = ""
    """A shop of another country, where the law differs."""
    shows: Json = field(default_factory=dict)
    """Members of the case's representation."""
    history: str = ""
    """The trigger of the last event that changed the case, e.g. silence."""

    @property
    def id(self) -> str:
        return f"{self.programme}: {self.what}"


_OWN = local()


def _of_this_thread(world: World) -> World:
    """The same sandbox over connections of one's own: a client is not for two threads at once."""
    if getattr(_OWN, "of", None) is not world:
        _OWN.of, _OWN.world, _OWN.parties = world, World(world.ready, world.namespace), {}
    return _OWN.world


@dataclass
class Case:
    """A row while it is played, by the parties that it needs."""

    shared: World
    shop: Shop
    row: Row
    order: Json = field(default_factory=dict)
    case: Json = field(default_factory=dict)
    last: datetime | None = None
    failed: str = ""
    _token: str = ""

    @property
    def world(self) -> World:
        return _of_this_thread(self.shared)

    def party(self, name: str) -> Party:
        world = self.world
        if name in ("platform", "partner"):
            return world.platform if name == "platform" else world.partner
        if name == "merchant":
            parties: dict[str, Party] = _OWN.parties
            return parties.setdefault(self.shop.merchant_id, Party(world.base_url, self.shop.staff.key, "merchant"))
        if not self._token:
            made = world.platform.post(f"/v1/orders/{self.order['order_id']}/links", {"for": "buyer"})
            self._token = made.ok()["token"]
        return world.bearer(self._token)

    def play(self) -> Iterator[datetime]:
        """Do the steps; gives each moment until which nothing is done."""
        self.order = self.world.order(self.shop, protection_activated=True)
        for step in self.row.steps:
            match step.kind:
                case "wait":
                    yield self.world.now() + parse_duration(step.name)
                case "silence":
                    due = [parse_moment(each["due_at"]) for each in self.seen["deadlines"] if step.name in ("", each["party"])]
                    assert due, "nobody's silence is awaited"
                    self.last = min(due)
                    yield min(due)
                case _:
                    self._do(step)
                    self.last = self.world.now()
        self._check()

    @property
    def seen(self) -> Json:
        return self.world.platform.case(self.case["case_id"])

    def _do(self, step: Step) -> None:
        party = self.party(step.by)
        fields = {name: value(self) if callable(value) else value for name, value in step.fields.items()}
        match step.kind:
            case "report":
                body = {"programme": self.row.programme, **fields}
                self.case = party.case(party.try_report(self.order, step.name, **body).ok()["case_id"])
            case "fact":
                self.world.fact(self.order, step.name, **fields)
            case _:
                assert step.name in party.allowed(self.case), (step.name, party.allowed(self.case), self.seen["state"])
                done = party.try_act(self.case, step.name, **fields)
                assert done.status == 200, (done.status, done.body)

    def _check(self) -> None:
        row, seen = self.row, self.seen
        assert (seen["state"], seen["turn"], seen["outcome"]) == (row.state, row.turn, row.outcome)
        order = self.world.platform.order(self.order["order_id"])
        ledger = order["ledger"]
        assert (ledger["reserved"]["amount"], ledger["executed"]["amount"]) == row.money, ledger
        is_open = row.state not in ("resolved", "rejected")
        assert order["payout"]["held"] == is_open
        assert order["status"] == ("reported_problem" if is_open else "completed")
        if row.due is not None:
            assert self.last is not None
            due = {each["party"]: parse_moment(each["due_at"]) - self.last for each in seen["deadlines"]}
            assert due == {party: parse_duration(duration) for party, duration in row.due.items()}
        if row.protection is not None:
            assert order["protection"]["state"] == row.protection
        for name, value in row.shows.items():
            assert seen.get(name) == value, (name, seen.get(name))
        for deadline in seen["deadlines"]:
            assert deadline["on_silence"]["text"]
            assert deadline["rule"]
        if is_open and seen["turn"] is None:
            assert row.programme == "claims"
        if row.history:
            moved = [each for each in self.history if each["type"] == "case.moved"]
            assert moved[-1]["data"]["action"] == row.history, moved[-1]["data"]

    @property
    def history(self) -> list[Json]:
        path = f"/v1/cases/{self.case['case_id']}/history"
        return self.world.platform.get(path, limit=200)["items"]


def play_all(cases: Iterable[Case], world: World) -> int:
    """Play all at once: whoever waits does so while the others wait too. Gives the number of the clock's moves."""
    waiting: list[tuple[datetime, int, Case, Iterator[datetime]]] = []
    count = itertools.count()

    def go_on(turn: tuple[Case, Iterator[datetime]]) -> None:
        case, steps = turn
        try:
            moment = next(steps, None)
        except Exception:
            case.failed = traceback.format_exc()
            return
        if moment is not None:
            with lock:
                heapq.heappush(waiting, (moment, next(count), case, steps))

    moves = 0
    lock = Lock()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(go_on, [(case, case.play()) for case in cases]))
        while waiting:
            moment = waiting[0][0]
            world.advance_to(moment)
            moves += 1
            due: list[tuple[Case, Iterator[datetime]]] = []
            while waiting and waiting[0][0] <= moment:
                due.append(heapq.heappop(waiting)[2:])
            list(pool.map(go_on, due))
    return moves


def in_days(count: int) -> Any:
    """A moment so many days from now, for a field."""
    return lambda case: format_moment(case.world.now() + timedelta(days=count))


def evidence(by: str, kind: str | None = None) -> Any:
    """The ids of a file that a party has uploaded, for a field."""

    def upload(case: Case) -> list[str]:
        data = {"order_id": case.order["order_id"], **({"kind": kind} if kind else {})}
        files = {"file": ("proof.pdf", b"%PDF-1.4\n%%EOF\n")}
        answer = case.party(by).request("POST", "/v1/evidence", files=files, data=data)
        return [answer.ok()["evidence_id"]]

    return upload


def money(amount: str) -> Json:
    return eur(amount)
