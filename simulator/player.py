"""Plays orders through their whole life: as partner, buyers, merchants and agents, through the public API, on the test clock.

The clock stands still while everybody does what is due; then it moves by whole days, behind the platform's barrier. What is
done at which moment depends on the orders and the seed alone, so a play under disturbance ends as one without."""

import asyncio
import hashlib
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from contracts.base import format_moment, parse_moment
from contracts.ids import order_of
from simulator.agenda import Agenda, Pace
from simulator.behaviour import Act, CaseView, Deed, Look, Move, RecordFact, Temper, Write, temper_of
from simulator.client import Answer, Api, Upload, described
from simulator.conduct import Report, next_move, reports_of
from simulator.orders import Batch, PlayedFact, PlayedMerchant, PlayedOrder, Skipped

__all__ = ["Keys", "PlayError", "Played", "Player", "Progress", "shifted"]

log = logging.getLogger(__name__)
T = TypeVar("T")
_DAY = timedelta(days=1)
_CERTIFIED_BEFORE = timedelta(days=30)
_MOST_LINES = 2_000
_PAGE = 200
_LAST_ROUNDS = 12
_MOST_MOVES = 60
"""Moves of one case: people who are refused again and again without learning from it would play for ever."""


class PlayError(Exception):
    """The platform answered in a way that ends the play; the text says what was asked and what came."""


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys that a play acts with."""

    platform: str
    partner: str


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a play stands."""

    now: datetime
    orders: int
    orders_in_all: int
    reports: int
    moves: int
    waiting: int
    """Entries still on the agenda."""


@dataclass(slots=True)
class Played:
    """What a play came to. `refused_reports` by refusal; `surprises` are answers that the play did not expect."""

    lines: int
    orders: int = 0
    skipped: list[Skipped] = field(default_factory=list)
    cases: dict[str, str] = field(default_factory=dict)
    """Outcome by case id; `open` for one that has not ended."""
    programmes: Counter[str] = field(default_factory=Counter)
    """Cases by programme."""
    by_form: int = 0
    """Reports without an account."""
    refused_reports: Counter[str] = field(default_factory=Counter)
    satisfied: int = 0
    surprises: list[str] = field(default_factory=list)
    requests: int = 0
    retries: int = 0
    clock_moves: int = 0
    seconds_moving_clock: float = 0.0
    began_at: datetime | None = None
    """By the sandbox's clock."""

    @property
    def outcomes(self) -> dict[str, int]:
        """How many cases came to each outcome, `open` among them."""
        return dict(sorted(Counter(self.cases.values()).items()))


@dataclass(slots=True)
class _Run:
    """One order while it is played, or what else comes of it: `about` tells these apart."""

    order: PlayedOrder
    temper: Temper
    about: str = ""
    shares: bool = False
    """Another case may take the order's money in the meantime."""
    order_id: str = ""
    token: str = ""
    case_id: str = ""
    moves: int = 0


@dataclass(frozen=True, slots=True)
class _Register:
    run: _Run


@dataclass(frozen=True, slots=True)
class _Fact:
    run: _Run
    fact: PlayedFact


@dataclass(frozen=True, slots=True)
class _Report:
    run: _Run
    plan: Report


@dataclass(frozen=True, slots=True)
class _Moving:
    run: _Run
    move: Move


@dataclass(frozen=True, slots=True)
class _Looking:
    run: _Run


_Entry = _Register | _Fact | _Report | _Moving | _Looking


def shifted(batch: Batch, earliest: datetime) -> tuple[Batch, int]:
    """The orders moved by whole days so that none was placed before `earliest`; and by how many days."""
    if not batch.orders:
        return batch, 0
    first = min(order.placed_at for order in batch.orders)
    days = max(0, -((first - earliest) // _DAY))
    by = timedelta(days=days)

    def later(moment: datetime | None) -> datetime | None:
        return None if moment is None else moment + by

    orders = [
        replace(
            order,
            placed_at=order.placed_at + by,
            promised_by=later(order.promised_by),
            shipped_at=later(order.shipped_at),
            delivered_at=later(order.delivered_at),
            paid_out_at=later(order.paid_out_at),
        )
        for order in batch.orders
    ]
    return (replace(batch, orders=orders), days) if days else (batch, 0)


class Player:
    """One play of a batch of orders on a sandbox whose clock stands at or before the first of them."""

    def __init__(
        self,
        api: Api,
        keys: Keys,
        batch: Batch,
        seed: int,
        *,
        pace: Pace | None = None,
        progress: Callable[[Progress], None] = lambda progress: None,
        salt: str = "",
    ) -> None:
        """`salt` tells this play's idempotency keys from those of another play of the same seed on the same sandbox."""
        self._api = api
        self._keys = keys
        self._seed = seed
        self._pace = pace or Pace()
        self._progress = progress
        self._salt = salt
        self._merchant_keys: dict[str, str] = {}
        self._forms: dict[str, str] = {}
        self._known_merchants: set[str] = set()
        self._runs = [_Run(order, temper_of(order, seed)) for order in batch.orders]
        self._by_case: dict[str, _Run] = {}
        self._agenda: Agenda[_Entry] = Agenda(datetime.fromtimestamp(0, UTC))
        self._reports = 0
        self._moves = 0
        self.played = Played(lines=batch.lines, skipped=list(batch.skipped))

    async def play(self) -> Played:
        """Play to the end: every protection over, every case closed. Raises PlayError, GaveUp."""
        played = self.played
        now = await self._now()
        if self._runs:
            # A first day that ends after the first order, wherever in its day the clock stands.
            first = min(run.order.placed_at for run in self._runs)
            now = await self._advance(max(now, first.replace(hour=0, minute=0, second=0, microsecond=0)))
        played.began_at = now
        self._agenda = Agenda(now)
        for run in self._runs:
            self._agenda.add(run.order.placed_at, _Register(run))
        horizon = max((run.order.protected_until for run in self._runs), default=now) + _DAY
        for _ in range(_LAST_ROUNDS):
            now = await self._play_agenda(now)
            if now < horizon:
                now = await self._advance(horizon)
            await self._collect()
            horizon = await self._put_open_on_agenda(now)
            if not len(self._agenda) and horizon <= now:
                break
        played.requests, played.retries = self._api.requests, self._api.retries
        return played

    async def _play_agenda(self, now: datetime) -> datetime:
        agenda = self._agenda
        while True:
            until = agenda.next_step(now, self._pace)
            while entries := agenda.take(now, until or now + _DAY):
                await self._perform(entries, now)
                self._tell(now)
                until = agenda.next_step(now, self._pace)
            if until is None:
                return now
            now = await self._advance(until)

    async def _perform(self, entries: Sequence[_Entry], now: datetime) -> None:
        """Everything of one moment, all at once: what the partner knows and what people do. No order has two entries that
        depend on each other, so it does not matter which comes first; but for a claim beside another case, with which it shares
        a numbering and the order's money: it comes last."""

        def everything() -> Iterator[Awaitable[None]]:
            if new := [entry.run for entry in entries if isinstance(entry, _Register)]:
                yield self._register(new, now)
            if facts := [entry for entry in entries if isinstance(entry, _Fact)]:
                yield self._record(facts)
            for entry in entries:
                match entry:
                    case _Report(plan=plan) if not plan.partner:
                        yield self._report(entry, now)
                    case _Moving(run=run) if not run.about:
                        yield self._move(run, entry.move, now)
                    case _Looking():
                        yield self._look(entry.run, now)
                    case _:
                        pass

        await _together(everything())

        def beside() -> Iterator[Awaitable[None]]:
            for entry in entries:
                match entry:
                    case _Report(plan=plan) if plan.partner:
                        yield self._report(entry, now)
                    case _Moving(run=run) if run.about:
                        yield self._move(run, entry.move, now)
                    case _:
                        pass

        await _together(beside())

    # The partner

    async def _register(self, runs: Sequence[_Run], now: datetime) -> None:
        new = {run.order.merchant.merchant_id: run.order.merchant for run in runs}
        await _together(self._put_merchant(new[name], now) for name in new if name not in self._known_merchants)
        self._known_merchants.update(new)
        for chunk in _chunks(runs):
            bodies = []
            for run in chunk:
                body = run.order.body()
                if happened := [fact.body() for fact in run.order.facts() if fact.at <= now]:
                    body["facts"] = happened
                bodies.append(body)
            results = await self._api.lines(self._keys.partner, "/v1/order-imports", bodies)
            for run, result in zip(chunk, results, strict=True):
                if result.get("status") not in (200, 201):
                    why = described(result.get("problem") or {})
                    self.played.skipped.append(Skipped(run.order.line, f"{run.order.key}: {why}"))
                    continue
                run.order_id = result["order_id"]
                self.played.orders += 1
                self._plan_order(run, now)

    def _plan_order(self, run: _Run, now: datetime) -> None:
        for fact in run.order.facts():
            if fact.at > now:
                self._agenda.add(fact.at, _Fact(run, fact))
        plans = reports_of(run.order, self._seed)
        run.shares = len(plans) > 1
        for number, plan in enumerate(plans):
            own = run if number == 0 else replace(run, about=f"{plan.programme}/")
            self._agenda.add(max(plan.at, now), _Report(own, plan), by=plan.by)

    async def _put_merchant(self, merchant: PlayedMerchant, now: datetime) -> None:
        """The partner brings its merchant; the platform certifies it."""
        path = f"/v1/merchants/{merchant.merchant_id}"
        if self._keys.partner != self._keys.platform:
            _expect(await self._api.put(self._keys.partner, path, merchant.profile(None)), f"PUT {path}")
        certified_at = (self.played.began_at or now) - _CERTIFIED_BEFORE if merchant.protected else None
        if certified_at is not None or self._keys.partner == self._keys.platform:
            _expect(await self._api.put(self._keys.platform, path, merchant.profile(certified_at)), f"PUT {path}")

    async def _record(self, entries: Sequence[_Fact]) -> None:
        for chunk in _chunks(entries):
            lines = []
            for entry in chunk:
                order = entry.run.order
                lines.append(
                    {"merchant_id": order.merchant.merchant_id, "order_number": order.order_number, **entry.fact.body()}
                )
            for entry, result in zip(chunk, await self._api.lines(self._keys.partner, "/v1/fact-imports", lines), strict=True):
                if result.get("status") not in (200, 201):
                    self._surprised(f"fact {entry.fact.kind} of {entry.run.order.key}: {result}")

    # People

    async def _report(self, entry: _Report, now: datetime) -> None:
        run, plan = entry.run, entry.plan
        body: dict[str, Any] = {"reason": plan.reason, "text": plan.text[:10_000], **dict(plan.fields)}
        token = self._keys.partner if plan.partner else "" if plan.by_form else await self._buyer(run)
        if plan.with_evidence and not plan.by_form:
            body["evidence"] = [await self._upload(run, token, "confirmation")]
        if plan.by_form:
            path = f"/v1/forms/{await self._form(run)}/reports"
            body |= _on_a_form(run.order, plan.mistyped)
        else:
            path = f"/v1/orders/{run.order_id}/reports"
            body["programme"] = plan.programme
        answer = await self._api.post(token, path, body, self._key(run, "report"))
        self._reports += 1
        if answer.status == 409:
            self.played.refused_reports[(answer.json() or {}).get("refusal", "unknown")] += 1
            if run.order.is_protected:
                self._surprised(f"{path}: {answer.problem}")
            return
        made = _expect(answer, path)
        case_id = made.get("case_id")
        if case_id is None:
            self.played.satisfied += 1
            return
        if plan.by_form:
            self.played.by_form += 1
            run.token, run.order_id = made["link"]["token"], order_of(case_id)
        self.played.programmes[plan.programme] += 1
        run.case_id = case_id
        self._by_case[case_id] = run
        await self._look(run, now)

    async def _look(self, run: _Run, now: datetime) -> None:
        """Somebody reads the case, then decides what to do."""
        self._go_on(run, await self._read(run), now)

    async def _read(self, run: _Run) -> dict[str, Any]:
        path = f"/v1/cases/{run.case_id}"
        return _expect(await self._api.get(self._keys.platform, path), path)

    def _go_on(self, run: _Run, case: dict[str, Any], now: datetime) -> None:
        match next_move(run.order, run.temper, CaseView.of(case), now, run.moves):
            case Move() as move:
                self._agenda.add(move.at, _Moving(run, move), by=move.by)
            case Look(at=at):
                run.moves += 1
                self._agenda.add(max(at, now + timedelta(hours=1)), _Looking(run))
            case None:
                pass

    async def _move(self, run: _Run, move: Move, now: datetime) -> None:
        if run.shares:  # what was planned days ago is thought over by who reads what has become of the order's money
            seen = await self._read(run)
            again = next_move(run.order, run.temper, CaseView.of(seen), now, run.moves)
            if not isinstance(again, Move) or again.party != move.party:
                self._go_on(run, seen, now)
                return
            move = again
        run.moves += 1
        self._moves += 1
        if run.moves > _MOST_MOVES:
            self._surprised(
                f"{run.case_id} does not come to an end: {move.deeds} at {format_moment(now)} is its move {run.moves}"
            )
            return
        token = {
            "platform": self._platform,
            "merchant": self._merchant,
            "buyer": self._buyer,
            "partner": self._partner,
        }[move.party]
        case: dict[str, Any] | None = None
        for number, deed in enumerate(move.deeds):
            answer = await self._do(run, deed, await token(run), number)
            if not answer.well:
                if not (run.shares and answer.status in (409, 422)):  # what was planned has been overtaken: look again
                    self._surprised(f"{move.party} {deed} on {run.case_id} at {format_moment(now)}: {answer.problem}")
                case = None
                break
            if isinstance(deed, Act):
                case = answer.json()
        if move.look_after is not None:
            self._agenda.add(now + move.look_after, _Looking(run))
        elif case is not None:
            self._go_on(run, case, now)
        else:
            await self._look(run, now)

    async def _do(self, run: _Run, deed: Deed, token: str, number: int) -> Answer:
        key = self._key(run, f"{run.moves}/{number}")
        match deed:
            case Act(action=action, fields=fields, with_evidence=with_evidence):
                body = {"action": action, **fields}
                if with_evidence:
                    body["evidence"] = [await self._upload(run, token, f"{run.moves}/{number}")]
                return await self._api.post(token, f"/v1/cases/{run.case_id}/actions", body, key)
            case Write(text=text):
                return await self._api.post(token, f"/v1/cases/{run.case_id}/messages", {"text": text}, key)
            case RecordFact(kind=kind, amount=amount, tracking_code=tracking_code):
                now = format_moment(await self._now())
                body: dict[str, Any] = {"kind": kind, "at": now, "external_id": f"{run.case_id}/{kind}/{run.moves}"}
                if amount is not None:
                    body["amount"] = run.order.money(amount)
                if tracking_code is not None:
                    body["tracking_code"] = tracking_code
                return await self._api.post(self._keys.partner, f"/v1/orders/{run.order_id}/facts", body, key)

    async def _upload(self, run: _Run, token: str, what: str) -> str:
        content = _document(f"{run.order.key} {what}")
        upload = Upload(run.order_id, "document.pdf", "application/pdf", content)
        answer = await self._api.upload(token, upload, self._key(run, f"evidence/{what}"))
        return _expect(answer, "POST /v1/evidence")["evidence_id"]

    async def _platform(self, run: _Run) -> str:
        return self._keys.platform

    async def _partner(self, run: _Run) -> str:
        return self._keys.partner

    async def _form(self, run: _Run) -> str:
        """The token of the shop's form, made when the first of its customers needs one."""
        merchant_id = run.order.merchant.merchant_id
        if merchant_id not in self._forms:
            path = f"/v1/merchants/{merchant_id}/forms"
            answer = await self._api.post(
                await self._merchant(run), path, {"channel": "own_shop"}, _short(f"{self._salt}{merchant_id}/form")
            )
            self._forms[merchant_id] = _expect(answer, path)["token"]
        return self._forms[merchant_id]

    async def _buyer(self, run: _Run) -> str:
        """The capability token of the order's buyer, from the link that the shop's confirmation carries."""
        if not run.token:
            path = f"/v1/orders/{run.order_id}/links"
            answer = await self._api.post(self._keys.partner, path, {"for": "buyer"}, self._key(run, "link"))
            run.token = _expect(answer, path)["token"]
        return run.token

    async def _merchant(self, run: _Run) -> str:
        """The merchant's own key, made when it first needs one."""
        merchant_id = run.order.merchant.merchant_id
        if merchant_id not in self._merchant_keys:
            path = f"/v1/merchants/{merchant_id}/keys"
            key = f"{self._salt}{merchant_id}/key"
            answer = await self._api.post(self._keys.platform, path, {"name": "play"}, _short(key))
            self._merchant_keys[merchant_id] = _expect(answer, path)["key"]
        return self._merchant_keys[merchant_id]

    # Clock and end

    async def _now(self) -> datetime:
        return parse_moment(_expect(await self._api.get(self._keys.platform, "/v1/sandbox/clock"), "the clock")["now"])

    async def _advance(self, to: datetime) -> datetime:
        """Move the clock and wait until all that it caused is done."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        answer = await self._api.post(self._keys.platform, "/v1/sandbox/clock", {"now": format_moment(to)}, self._clock_key(to))
        if answer.status == 409:
            # Sent before, and the answer was lost with its gateway: then the clock stands there already.
            answer = await self._api.get(self._keys.platform, "/v1/sandbox/clock")
        clock = _expect(answer, f"moving the clock to {format_moment(to)}")
        while clock.get("status") != "ready":
            await asyncio.sleep(0.02)
            clock = _expect(await self._api.get(self._keys.platform, "/v1/sandbox/clock"), "the clock")
        if parse_moment(clock["now"]) < to:
            raise PlayError(f"the clock stands at {clock['now']}, it was moved to {format_moment(to)}")
        self.played.clock_moves += 1
        self.played.seconds_moving_clock += loop.time() - began
        self._tell(to)
        return to

    async def _collect(self) -> None:
        """How every case of this play stands, from the lists that agents read."""
        found: dict[str, str] = {}
        query: dict[str, Any] = {"limit": _PAGE}
        while True:
            page = _expect(await self._api.get(self._keys.platform, "/v1/cases", **query), "/v1/cases")
            for case in page["items"]:
                run = self._by_case.get(case["case_id"])
                if run is None:
                    continue
                found[case["case_id"]] = case.get("outcome") or "open"
            if not page.get("next"):
                break
            query["cursor"] = page["next"]
        for case_id in self._by_case.keys() - found.keys():
            self._surprised(f"{case_id} is not in the list of cases")
        self.played.cases = dict(sorted(found.items()))

    async def _put_open_on_agenda(self, now: datetime) -> datetime:
        """Cases that have not ended by the end of the agenda: their deadline is waited for, or an agent looks at them. Returns
        the last such deadline."""
        last = now
        for case_id, outcome in self.played.cases.items():
            if outcome != "open":
                continue
            path = f"/v1/cases/{case_id}"
            dues = CaseView.of(_expect(await self._api.get(self._keys.platform, path), path)).due.values()
            if dues:
                last = max(last, *(due + _DAY for due in dues))
            else:
                self._agenda.add(now + _DAY, _Looking(self._by_case[case_id]))
        return last

    def _key(self, run: _Run, what: str) -> str:
        return _short(f"{self._salt}{self._seed}/{run.order.key}/{run.about}{what}")

    def _clock_key(self, to: datetime) -> str:
        return _short(f"{self._salt}clock/{self._seed}/{self.played.clock_moves}/{format_moment(to)}")

    def _surprised(self, what: str) -> None:
        log.warning("%s", what)
        self.played.surprises.append(what)

    def _tell(self, now: datetime) -> None:
        self._progress(Progress(now, self.played.orders, len(self._runs), self._reports, self._moves, len(self._agenda)))


def _on_a_form(order: PlayedOrder, mistyped: bool) -> dict[str, Any]:
    """What a customer knows of the order; a number read wrongly belongs to no order that the platform has."""
    known: dict[str, Any] = {
        "order_number": f"{order.order_number[:90]}-O" if mistyped else order.order_number,
        "contact": {"email": order.buyer_email},
        "order_date": format_moment(order.placed_at),
    }
    if mistyped:
        known["amount"] = order.money(order.amount)
    return known


async def _together(work: Iterable[Awaitable[None]]) -> None:
    """Run all at once (the client bounds how many ask at a time); the first failure stops the rest."""
    try:
        async with asyncio.TaskGroup() as group:
            for one in work:
                group.create_task(_awaited(one))
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None


async def _awaited(work: Awaitable[None]) -> None:
    await work


def _chunks(entries: Sequence[T]) -> Iterable[Sequence[T]]:
    return (entries[begin : begin + _MOST_LINES] for begin in range(0, len(entries), _MOST_LINES))


def _expect(answer: Answer, what: str) -> Any:
    """The body of an answer that has to be a success. Raises PlayError."""
    if not answer.well:
        raise PlayError(f"{what}: {answer.problem}")
    return answer.json()


def _short(key: str) -> str:
    """An idempotency key of bounded length that is the same for the same cause."""
    return hashlib.sha256(key.encode()).hexdigest()[:40]


def _document(text: str) -> bytes:
    """A small PDF that differs with its text."""
    line = text.encode("ascii", "replace").replace(b"(", b"[").replace(b")", b"]").replace(b"\\", b"/")
    stream = b"BT /F1 12 Tf 40 700 Td (" + line + b") Tj ET"
    objects = (
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R "
        b"/Resources << /Font << /F1 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> >> >>",
        b"<< /Length " + str(len(stream)).encode() + b" >>\nstream\n" + stream + b"\nendstream",
    )
    body = b"%PDF-1.4\n"
    places = []
    for number, content in enumerate(objects, 1):
        places.append(len(body))
        body += str(number).encode() + b" 0 obj\n" + content + b"\nendobj\n"
    table = len(body)
    body += b"xref\n0 5\n0000000000 65535 f \n" + b"".join(f"{place:010d} 00000 n \n".encode() for place in places)
    return body + b"trailer << /Size 5 /Root 1 0 R >>\nstartxref\n" + str(table).encode() + b"\n%%EOF\n"
