"""`recourse demo`: a sandbox, some hundred orders played to their end, and an account of it that a newcomer understands."""

import asyncio
import os
import shutil
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
import uvloop
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from contracts.ids import order_of
from deploy.local import Choice, StackError
from deploy.local.stack import to_stderr
from recourse.failing import failing_clearly
from recourse.replay import account_of, play, progress_shown, starting_clock
from recourse.sandbox import Sandbox, own_sandbox
from recourse.up import Stops
from simulator.agenda import Pace
from simulator.client import Api, GaveUp
from simulator.generator import generate
from simulator.player import PlayError

__all__ = ["demo"]

_ORDERS = 240
_PAGE = 200
_WIDTH = 110
"""Columns of an account that goes into a file."""
_MEANING = {
    "refunded": "the merchant refunded all, the buyer received it",
    "partially_refunded": "the merchant refunded a part, the buyer received it",
    "no_refund_accepted": "no refund, and the buyer is content: mostly, the parcel came after all",
    "no_reaction": "the buyer had twenty days to react and said nothing",
    "settled": "the platform proposed a solution, both agreed",
    "withdrawn": "the buyer took the report back",
    "decided_refund": "the platform decided: all the money back",
    "decided_partial_refund": "the platform decided: a part of it back",
    "decided_no_refund": "the platform decided: no refund",
    "replaced": "the brand sent a replacement",
    "satisfied": "the brand and the retailer found a way in their chat",
    "solved": "the platform's team solved it without money",
    "rejected": "the seller or the platform turned it down",
    "accepted": "the seller accepted it",
    "won": "a claim from outside, which the merchant won",
    "lost": "a claim from outside, which the merchant lost: the provider took the money back",
    "open": "not ended",
}


def demo(
    orders: Annotated[int, typer.Option(min=20, help="So many generated orders.")] = _ORDERS,
    seed: Annotated[int, typer.Option(help="Another seed, another story.")] = 1,
    data: Annotated[Path, typer.Option(help="Folder of the sandbox; made anew, and kept.")] = Path(".recourse/demo"),
    keep: Annotated[bool, typer.Option("--keep", help="Leave everything running at the end, until Ctrl-C.")] = False,
    stack: Annotated[Choice, typer.Option(help="What broker and store are taken from.")] = Choice.AUTO,
) -> None:
    """Start a sandbox, play orders through their whole life on the test clock, and tell what happened."""
    batch = generate(orders, seed)
    with failing_clearly(StackError, PlayError, GaveUp, OSError):
        to_stderr("starting a broker, a store, a mail server and the five services …")
        with own_sandbox(data, starting_clock(batch), stack=stack) as sandbox:
            to_stderr(f"playing {orders} orders from {batch.orders[0].placed_at:%d %B %Y} on …")
            account = uvloop.run(_played(sandbox, orders, seed))
            console = Console()
            console.print(account, width=None if console.is_terminal else _WIDTH)
            if keep:
                _keep(sandbox)
    _say_where_to_look(data, keep)


async def _played(sandbox: Sandbox, orders: int, seed: int) -> RenderableType:
    with progress_shown() as progress:
        pace = Pace(enough=1, most_days=1)  # day by day, so that the story has its natural pauses
        played, mails, seconds = await play(sandbox, generate(orders, seed), seed, progress, pace=pace)
    async with Api(sandbox.urls) as api:
        story = await _story(api, sandbox, list(played.cases))
    return Group(_summary(account_of(played, mails, seconds)), *(story.told() if story is not None else ()))


def _summary(result: Mapping[str, Any]) -> RenderableType:
    """Orders in, cases by outcome."""
    outcomes = Table(box=None, padding=(0, 2, 0, 2), show_header=False)
    outcomes.add_column(justify="right", style="bold")
    outcomes.add_column(style="cyan", no_wrap=True)
    outcomes.add_column()
    for outcome, count in sorted(result["outcomes"].items(), key=lambda pair: -pair[1]):
        outcomes.add_row(str(count), outcome, _MEANING.get(outcome, ""))
    refused = sum(result["refused_reports"].values())
    lines = [
        f"{result['orders']} orders came in at shops of every kind; most protect their buyers, thirty days by default.",
        f"{result['ended_protections']} buyers said that all was well and ended their protection early.",
        f"{result['cases']} problems were reported and became cases:",
        *(f"  {count} {_PROGRAMMES.get(programme, programme)}" for programme, count in result["programmes"].items()),
        f"{result['by_form']} of them came through a seller's form, without an account. All have ended:",
    ]
    after = [
        f"{refused} reports were refused, because the order was not protected." if refused else "",
        f"{result['mails']} mails went out, by SMTP. Months passed on the test clock; it took {result['seconds']:.0f} seconds.",
    ]
    return Group(
        Text("\nWhat happened", style="bold"),
        *(Padding(line, (0, 0, 0, 2)) for line in lines),
        outcomes,
        *(Padding(line, (0, 0, 0, 2)) for line in after if line),
    )


@dataclass(frozen=True, slots=True)
class _Story:
    """One case with everything that belongs to it."""

    case: Mapping[str, Any]
    order: Mapping[str, Any]
    messages: Sequence[Mapping[str, Any]]
    history: Sequence[Mapping[str, Any]]
    mails: Sequence[Mapping[str, Any]]

    def told(self) -> list[RenderableType]:
        """The case message by message, with its mails and its money."""
        case, order = self.case, self.order
        opening = (
            f"{_name(case)} bought at {order['merchant_name']} for {_money(case['order_amount'])} on "
            f"{_day(case['order_date'])}, order {case['order_number']}; promised for {_day(order.get('promised_by'))}. "
            f"Case {case['case_id']} runs on {case['programme']['id']}, version {case['programme']['version']}."
        )
        return [
            Text("\nOne case, told from its beginning", style="bold"),
            Padding(opening, (0, 0, 1, 2)),
            Padding(self._events(), (0, 0, 0, 2)),
            Text("\nThe money of this order", style="bold"),
            Padding(self._ledger(), (0, 0, 0, 2)),
        ]

    def _events(self) -> Table:
        table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
        table.add_column(no_wrap=True, style="dim")
        table.add_column(no_wrap=True)
        table.add_column()
        for at, _, who, what in sorted(self._moments(), key=lambda moment: (moment[0], moment[1])):
            table.add_row(_day(at), Text(who, style=_COLOURS.get(who, "")), what)
        return table

    def _moments(self) -> list[tuple[str, int, str, RenderableType]]:
        moments: list[tuple[str, int, str, RenderableType]] = []
        for event in self.history:
            told = _told(event)
            if told is not None:
                moments.append((event["at"], event["sequence"], event["actor"]["role"], told))
        for number, mail in enumerate(self.mails):
            text = Text.assemble("to ", mail["to"], ": ", (mail["subject"], "italic"))
            moments.append((mail["sent_at"], 1_000 + number, "mail", text))
        return moments

    def _ledger(self) -> RenderableType:
        ledger = self.order["ledger"]
        table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
        for entry in ledger["entries"]:
            confirmed = f", confirmed by {entry['confirmed_by']}" if entry.get("confirmed_by") else ""
            table.add_row(_day(entry["at"]), entry["kind"], _money(entry["amount"]), f"by the {entry['executor']}{confirmed}")
        sums = ", ".join(f"{name} {_money(ledger[name])}" for name in ("paid", "reserved", "executed", "refundable"))
        return Group(table, sums)


_COLOURS = {"buyer": "green", "merchant": "blue", "platform": "magenta", "mail": "dim", "system": "yellow"}
_REASONS = {"not_received": "the goods have not arrived", "no_refund": "the refund has not arrived", "other": "another problem"}
_PROGRAMMES = {
    "buyer-protection": "under the buyer protection of their order",
    "order-issues": "as issues of retailers on a wholesale marketplace",
    "returns-desk": "at the returns desk of a seller",
    "claims": "as claims that came in from a payment provider or marketplace",
}


def _told(event: Mapping[str, Any]) -> str | None:
    """An event of a case in words; None for what is not worth a line here."""
    data = event.get("data") or {}
    match event["type"]:
        case "case.opened":
            report = data["report"]
            words = f": “{report['text']}”" if report.get("text") else ""
            return f"reports: {_REASONS.get(report['reason'], report['reason'])}{words}. {_asked(data)}"
        case "case.moved":
            return f"{_action(data)} {_asked(data)}".strip()
        case "case.message-posted" if not data["message"].get("internal"):
            return f"writes: “{data['message']['text']}”"
        case "case.fact-attached":
            return f"the parcel's record says: {data['fact']['kind']}"
        case "case.reminder-given":
            return f"the {data['deadline']['party']} is reminded: due by {_day(data['deadline']['due_at'])}"
        case _:
            return None


def _action(data: Mapping[str, Any]) -> str:
    fields, change = data.get("fields") or {}, data.get("change") or {}
    answer, outcome = change.get("answer"), change.get("outcome")
    message = fields.get("message") or (data.get("message") or {}).get("text")
    words = f": “{message}”" if message else "."
    ended = f" The case ends: {outcome}." if outcome else ""
    if data["action"] == "silence":
        return f"nobody answered in time: {data.get('kind_of_deadline', '').replace('_', ' ')} has passed.{ended}"
    if answer is not None:
        amount = f" ({_money(answer['refund_amount'])})" if answer.get("refund_amount") else ""
        return f"answers “{answer['refund'].replace('_', ' ')}”{amount}{words}{ended}"
    choice = fields.get("reaction") or fields.get("outcome") or ""
    return f"{data['action'].replace('_', ' ')} {choice.replace('_', ' ')}".strip() + words + ended


def _asked(data: Mapping[str, Any]) -> str:
    """Who is asked for what until when, and what silence would mean."""
    deadlines = [
        deadline for deadline in (data.get("change") or {}).get("deadlines_set") or () if deadline["party"] != "platform"
    ]
    if not deadlines:
        return ""
    first = deadlines[0]
    silence = first["on_silence"]
    then = silence.get("outcome") or silence.get("state") or "no change"
    return f"→ the {first['party']} has until {_day(first['due_at'])}; silence: {then.replace('_', ' ')} ({first['rule']})."


def _name(case: Mapping[str, Any]) -> str:
    return case["buyer"].get("name") or case["buyer"]["email"]


def _money(amount: Mapping[str, str]) -> str:
    return f"{amount['amount']} {amount['currency']}"


def _day(moment: str | None) -> str:
    return "no day" if moment is None else moment[:16].replace("T", " ")


async def _story(api: Api, sandbox: Sandbox, case_ids: Sequence[str]) -> _Story | None:
    """The case worth telling: closed, with money, and with the most different things that happened; on an order of its own,
    where there is one, so that its money is told whole."""
    of_order = Counter(order_of(case_id) for case_id in case_ids)
    case_ids = [case_id for case_id in case_ids if of_order[order_of(case_id)] == 1] or case_ids
    key = sandbox.keys.platform

    async def read(path: str, **query: Any) -> Any:
        answer = await api.get(key, path, **query)
        if not answer.well:
            raise PlayError(f"{path}: {answer.problem}")
        return answer.json()

    async def weight(case_id: str) -> tuple[int, str]:
        """Different deeds of the three parties count most, then money; a story should not be too long."""
        items = (await read(f"/v1/cases/{case_id}/history", limit=_PAGE))["items"]
        data = [item.get("data") or {} for item in items]
        deeds = {(item["actor"]["role"], each.get("action", "")) for item, each in zip(items, data, strict=True)}
        parties = {role for role, _ in deeds} & {"buyer", "merchant", "platform"}
        money = any((each.get("change") or {}).get("ledger") for each in data)
        silent_end = bool(data) and any((each.get("change") or {}).get("outcome") == "no_reaction" for each in data)
        return len(deeds) + 2 * len(parties) + 3 * money - 4 * silent_end - max(0, len(items) - 22), case_id

    if not case_ids:
        return None
    weights = await asyncio.gather(*(weight(case_id) for case_id in case_ids[:60]))
    _, best = max(weights)
    case = await read(f"/v1/cases/{best}")
    order, messages, history, mails = await asyncio.gather(
        read(f"/v1/orders/{case['order_id']}"),
        read(f"/v1/cases/{best}/messages", limit=_PAGE),
        read(f"/v1/cases/{best}/history", limit=_PAGE),
        read("/v1/sandbox/mails", case_id=best, limit=_PAGE),
    )
    return _Story(case, order, messages["items"], history["items"], mails["items"])


def _keep(sandbox: Sandbox) -> None:
    """Serve until Ctrl-C."""
    stops = Stops()
    stops.armed = True
    to_stderr(f"\nit keeps running at {sandbox.urls[0]}; the keys are in {sandbox.data}/ready.json; Ctrl-C stops everything")
    stops.asked.wait()


def _itself() -> str:
    """How a reader calls this programme again: by its name alone where the shell finds that, else as it was called now."""
    return "recourse" if shutil.which("recourse") else os.path.relpath(sys.argv[0])


def _say_where_to_look(data: Path, kept: bool) -> None:
    itself = _itself()
    lines = [
        "",
        "Where to look next",
        f"  {itself} verify --data {data}      checks every order, case, sum, mail and hash chain of this run",
        f"  ls {data}/logs      what each service said",
    ]
    if not kept:
        lines.append(
            f"  {itself} demo --keep      the same, and it keeps serving: the API at /v1, its description at /openapi.json"
        )
    lines.append(f"  {itself} up --sandbox      an empty sandbox of your own; the README says what to do with it")
    for line in lines:
        typer.echo(line)
