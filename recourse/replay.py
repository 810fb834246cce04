"""`recourse replay`: plays orders, real or generated, through their whole life on a sandbox, and counts what became of them."""

import asyncio
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import aiohttp
import typer
import uvloop
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from contracts.base import parse_moment
from deploy.local import Choice, StackError
from deploy.local.stack import to_stderr
from recourse.failing import failing_clearly
from recourse.instances import ONE_OF_EACH, InstancesOption
from recourse.sandbox import Sandbox, existing_sandbox, own_sandbox
from simulator.agenda import Pace
from simulator.client import Api, GaveUp
from simulator.generator import generate
from simulator.orders import Batch, read_export
from simulator.player import Played, Player, PlayError, Progress, shifted

__all__ = ["account_of", "count_mails", "measured_play", "play", "progress_shown", "replay", "starting_clock"]

_PAGE = 200
_AT_ONCE = 200
"""Requests under way at most. All of a moment may be sent at once, and every service does what comes together together."""
_ANSWERS_S = 10.0
"""How long a sandbox that was named may take for its first answer."""
_LINE_EVERY_S = 5.0
_GENERATED = 1_000


def replay(
    file: Annotated[Path | None, typer.Argument(help="Orders, one JSON object a line; generated ones if not given.")] = None,
    url: Annotated[str | None, typer.Option(help="A running sandbox; one of its own is started if not given.")] = None,
    key: Annotated[str | None, typer.Option(help="The platform's key of that sandbox.")] = None,
    orders: Annotated[int | None, typer.Option(min=1, help="Play so many orders at most.")] = None,
    seed: Annotated[int, typer.Option(help="What people do is drawn from it: the same seed, the same outcomes.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="The result as one JSON line.")] = False,
    data: Annotated[Path, typer.Option(help="Folder of its own sandbox; made anew, and kept.")] = Path(".recourse/replay"),
    instances: InstancesOption = ONE_OF_EACH,
    stack: Annotated[Choice, typer.Option(help="What broker and store of its own sandbox are taken from.")] = Choice.AUTO,
) -> None:
    """Play orders as partner, buyers, merchants and agents through the public API, on the test clock, to their end."""
    with failing_clearly(StackError, PlayError, GaveUp, OSError):
        if (url is None) != (key is None):
            raise PlayError("--url and --key belong together: the address of a sandbox and its platform key")
        batch = generate(orders or _GENERATED, seed) if file is None else read_export(file, orders)
        if url is not None and key is not None:
            result = uvloop.run(_replayed(existing_sandbox(url, key), batch, seed))
        else:
            with own_sandbox(data, starting_clock(batch), instances=instances, stack=stack) as sandbox:
                result = uvloop.run(_replayed(sandbox, batch, seed))
    if as_json:
        typer.echo(json.dumps(result))
    else:
        _print(result)


def starting_clock(batch: Batch) -> datetime:
    """The midnight (UTC) before the first order. Raises PlayError where there is none."""
    if not batch.orders:
        raise PlayError("there is no order to play")
    return min(order.placed_at for order in batch.orders).replace(hour=0, minute=0, second=0, microsecond=0)


async def _replayed(sandbox: Sandbox, batch: Batch, seed: int) -> dict[str, Any]:
    with progress_shown() as progress:
        played, mails, seconds, spent = await measured_play(sandbox, batch, seed, progress)
    return account_of(played, mails, seconds) | {"cpu_s": {name: round(used, 2) for name, used in spent.items()}}


async def measured_play(
    sandbox: Sandbox, batch: Batch, seed: int, progress: Callable[[Progress], None] = lambda progress: None
) -> tuple[Played, int, float, dict[str, float]]:
    """As `play`, and the seconds of processor time of each of the sandbox's processes, and of this one as `player`."""
    before, own = sandbox.cpu(), time.process_time()
    result = await play(sandbox, batch, seed, progress)
    spent = {name: used - before.get(name, 0.0) for name, used in sandbox.cpu().items()}
    return *result, {**spent, "player": time.process_time() - own}


async def play(
    sandbox: Sandbox,
    batch: Batch,
    seed: int,
    progress: Callable[[Progress], None] = lambda progress: None,
    *,
    pace: Pace | None = None,
) -> tuple[Played, int, float]:
    """Play a batch on a sandbox: what it came to, the mails that went out, and the seconds it took.

    On a sandbox whose clock is past the first order all times are moved by whole days."""
    batch, days = shifted(batch, await _clock_of(sandbox))
    async with Api(sandbox.urls, concurrency=_AT_ONCE) as api:
        before = await count_mails(api, sandbox)
        player = Player(api, sandbox.keys, batch, seed, pace=pace, progress=progress, salt=f"{days}/" if days else "")
        began = time.monotonic()
        played = await player.play()
        seconds = time.monotonic() - began
        return played, await count_mails(api, sandbox) - before, seconds


async def _clock_of(sandbox: Sandbox) -> datetime:
    """What time it is there. Raises PlayError where nothing answers soon, or no sandbox that the key opens: only what has
    answered once is worth the patience of a client."""
    where = sandbox.urls[0]
    try:
        async with asyncio.timeout(_ANSWERS_S), Api(sandbox.urls) as api:
            clock = await api.get(sandbox.keys.platform, "/v1/sandbox/clock")
    except (TimeoutError, GaveUp, aiohttp.ClientError):
        raise PlayError(f"no sandbox answers at {where}; start one with `recourse up --sandbox`, or leave out --url") from None
    if not clock.well:
        raise PlayError(f"{where} is no sandbox that the key opens: {clock.problem}")
    try:
        return parse_moment(clock.json()["now"])
    except (ValueError, LookupError, TypeError):
        raise PlayError(f"{where} is no sandbox: what answers there knows no test clock") from None


async def count_mails(api: Api, sandbox: Sandbox) -> int:
    """How many mails have arrived in the sandbox: its mail server's own count where it is ours, else by reading them all."""
    if sandbox.mail_stats is not None:
        answer = await api.get("", sandbox.mail_stats)
        if answer.well:
            return answer.json()["mails"]
    count = 0
    query: dict[str, Any] = {"limit": _PAGE}
    while True:
        answer = await api.get(sandbox.keys.platform, "/v1/sandbox/mails", **query)
        if not answer.well:
            raise PlayError(f"the sandbox's mails: {answer.problem}")
        page = answer.json()
        count += len(page["items"])
        if not page.get("next") or not page["items"]:
            return count
        query["cursor"] = page["next"]


def account_of(played: Played, mails: int, seconds: float) -> dict[str, Any]:
    """The result that `replay` ends with."""
    return {
        "lines": played.lines,
        "orders": played.orders,
        "skipped": [asdict(skipped) for skipped in played.skipped],
        "cases": len(played.cases),
        "outcomes": played.outcomes,
        "programmes": dict(sorted(played.programmes.items())),
        "by_form": played.by_form,
        "mails": mails,
        "seconds": round(seconds, 2),
        "orders_per_s": round(played.orders / seconds, 1) if seconds else 0.0,
        "ended_protections": played.satisfied,
        "refused_reports": dict(sorted(played.refused_reports.items())),
        "surprises": played.surprises[:50],
        "requests": played.requests,
        "retries": played.retries,
        "clock_moves": played.clock_moves,
        "clock_seconds": round(played.seconds_moving_clock, 2),
    }


@contextmanager
def progress_shown() -> Iterator[Callable[[Progress], None]]:
    """Bars on a terminal, else a plain line now and then; both on standard error."""
    if not sys.stderr.isatty():
        yield _plain_lines()
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[what]}"))
    with Bars(*columns, TimeElapsedColumn(), console=Console(stderr=True)) as bars:
        task = bars.add_task("orders", what="")

        def show(progress: Progress) -> None:
            what = f"{progress.now:%Y-%m-%d}  {progress.reports} reports  {progress.moves} moves"
            bars.update(task, completed=progress.orders, total=progress.orders_in_all, what=what)

        yield show


def _plain_lines() -> Callable[[Progress], None]:
    last = time.monotonic()

    def show(progress: Progress) -> None:
        nonlocal last
        if time.monotonic() - last >= _LINE_EVERY_S:
            last = time.monotonic()
            to_stderr(
                f"{progress.now:%Y-%m-%d}: {progress.orders} of {progress.orders_in_all} orders, {progress.reports} reports, "
                f"{progress.moves} moves"
            )

    return show


def _print(result: dict[str, Any]) -> None:
    console = Console(soft_wrap=True)
    console.print(
        f"{result['orders']} orders from {result['lines']} lines, {len(result['skipped'])} skipped; {result['cases']} cases, "
        f"{result['mails']} mails; {result['seconds']} s, {result['orders_per_s']} orders/s"
    )
    for outcome, count in sorted(result["outcomes"].items(), key=lambda pair: -pair[1]):
        console.print(f"  {outcome:<24}{count:>7}")
    for skipped in result["skipped"][:10]:
        console.print(f"  line {skipped['line']} skipped: {skipped['why']}")
    for surprise in result["surprises"][:10]:
        console.print(f"  unexpected: {surprise}")
