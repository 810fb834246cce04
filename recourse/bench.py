"""`recourse bench`: what the product costs, measured against what the machine can do."""

import json
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
import uvloop

from deploy.local import Choice, StackError, attach_stack, start_stack
from recourse.benching.backtest import bench_back_test
from recourse.benching.chaos import BROKER, STORE, blows, compared, disturbed_play
from recourse.benching.gateway import bench_gateway
from recourse.benching.ingest import MAY_GROW, bench_ingest, share_of_floor
from recourse.benching.insolvency import BEGIN, bench_insolvency, faults
from recourse.benching.life import bench_life
from recourse.failing import failing_clearly
from recourse.instances import TWO_GATEWAYS, TWO_OF_EACH, InstancesOption
from recourse.replay import play, starting_clock
from recourse.sandbox import empty_folder, own_sandbox
from recourse.verify import verified
from simulator.client import GaveUp
from simulator.generator import generate
from simulator.orders import Batch, read_export
from simulator.player import PlayError

app = typer.Typer(help="What the product costs, measured against what the machine can do.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="The result as one JSON line.")]
Data = Annotated[Path, typer.Option(help="Folder of its own stack; made anew, and kept.")]
File = Annotated[Path | None, typer.Argument(help="Orders to play; generated ones if not given.")]
Orders = Annotated[int, typer.Option(min=20, help="So many orders.")]
StackOption = Annotated[Choice, typer.Option(help="What broker and store are taken from.")]


@app.command()
def ingest(
    orders: Annotated[int, typer.Option(min=500, help="Orders for each of the two that are compared.")] = 36_000,
    against: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="What it cost, as --json printed it; exit 1 above."),
    ] = None,
    as_json: AsJson = False,
    data: Data = Path(".recourse/bench"),
    stack: StackOption = Choice.AUTO,
) -> None:
    """Intake from command to published event, against the raw floor: the broker, the store and their drivers alone. With
    `--against` the processor time that it takes for the floor's may be 5 % above what it was."""
    with failing_clearly(ValueError):
        before = None if against is None else share_of_floor(json.loads(against.read_text("utf-8")))
    with failing_clearly(StackError, TimeoutError):
        empty_folder(data)
        with start_stack(data, stack, bound=True) as running:
            result = uvloop.run(bench_ingest(running, data, orders))
    if before is not None:
        result["growth"] = round(share_of_floor(result) / before - 1, 3)
    _show(result, as_json)
    if result.get("growth", 0.0) > MAY_GROW:
        raise typer.Exit(1)


@app.command()
def gateway(
    reports: Annotated[int, typer.Option(min=20, help="So many reports.")] = 400,
    rate: Annotated[float, typer.Option(min=1, help="So many of them a second.")] = 20.0,
    instances: InstancesOption = TWO_GATEWAYS,
    as_json: AsJson = False,
    data: Data = Path(".recourse/bench"),
    stack: StackOption = Choice.AUTO,
) -> None:
    """A report until its open case is in the answer, at a steady rate, with everything on this machine; then the read on
    another gateway."""
    with failing_clearly(StackError, PlayError, GaveUp, OSError):
        clock = starting_clock(generate(reports, 1))
        with own_sandbox(data, clock, instances=instances, stack=stack) as sandbox:
            result = uvloop.run(bench_gateway(sandbox, reports, rate))
    _show(result, as_json)


@app.command("back-test")
def back_test(
    cases: Annotated[int, typer.Option(min=1, help="So many past cases.")] = 10_000,
    as_json: AsJson = False,
    data: Data = Path(".recourse/bench"),
    stack: StackOption = Choice.AUTO,
) -> None:
    """A rule of the decision matrix tried on past cases, from the store to the result."""
    with failing_clearly(StackError, OSError):
        empty_folder(data)
        with start_stack(data, stack, bound=True) as running:
            result = uvloop.run(bench_back_test(running, cases))
    _show(result, as_json)


@app.command()
def life(
    file: File = None,
    orders: Orders = 3_000,
    seed: Annotated[int, typer.Option(help="What people do is drawn from it.")] = 1,
    as_json: AsJson = False,
    data: Data = Path(".recourse/life"),
    stack: StackOption = Choice.AUTO,
) -> None:
    """Orders through their whole life, against as many requests, mails, records and statements with nothing in them."""
    with failing_clearly(StackError, PlayError, GaveUp, OSError):
        batch = _batch(file, orders, seed)
        empty_folder(data)
        result = uvloop.run(bench_life(data, batch, seed, stack))
    _show(result, as_json)


@app.command()
def chaos(
    file: File = None,
    orders: Orders = 3_000,
    kills: Annotated[int, typer.Option(min=1, help="So many kills, over all services.")] = 30,
    seed: Annotated[int, typer.Option(help="The moments of the kills and what people do are drawn from it.")] = 1,
    instances: InstancesOption = TWO_OF_EACH,
    as_json: AsJson = False,
    data: Data = Path(".recourse/chaos"),
    stack: StackOption = Choice.AUTO,
) -> None:
    """The same play undisturbed and under SIGKILL, a broker's and a store's restart: both must end alike. Exit 1 if not."""
    with failing_clearly(StackError, PlayError, GaveUp, OSError):
        batch = _batch(file, orders, seed)
        clock = starting_clock(batch)
        with own_sandbox(data / "undisturbed", clock, instances=instances, stack=stack) as sandbox:
            undisturbed, _, quiet_s = uvloop.run(play(sandbox, batch, seed))
        folder = data / "disturbed"
        with own_sandbox(folder, clock, instances=instances, stack=stack) as sandbox:
            plan = blows(batch, seed, list(sandbox.ready()["services"]), kills)
            restart = partial(_restart, folder)
            disturbed, mails, seconds, struck = uvloop.run(disturbed_play(sandbox, batch, seed, plan, restart))
        checked = verified(folder)
    result = {
        "orders": disturbed.orders,
        "cases": len(disturbed.cases),
        "outcomes": disturbed.outcomes,
        "mails": mails,
        "kills": {name: count for name, count in sorted(struck.items()) if name not in (BROKER, STORE)},
        "restarts": {name: struck[name] for name in (BROKER, STORE)},
        "retries": disturbed.retries,
        "differences": compared(undisturbed, disturbed),
        "violations": checked["violations"],
        "checked": checked["checked"],
        "seconds": round(seconds, 1),
        "undisturbed_seconds": round(quiet_s, 1),
    }
    _show(result, as_json)
    if result["differences"] or result["violations"]:
        raise typer.Exit(1)


@app.command()
def insolvency(
    orders: Annotated[int, typer.Option(min=20, help="So many protected orders of one shop.")] = 5_000,
    cases: Annotated[int, typer.Option(min=0, help="So many of them have an open case.")] = 500,
    kills: Annotated[int, typer.Option(min=0, help="So many times processes are killed, evenly over the items done.")] = 2,
    instances: InstancesOption = TWO_OF_EACH,
    as_json: AsJson = False,
    data: Data = Path(".recourse/insolvency"),
    stack: StackOption = Choice.AUTO,
) -> None:
    """A shop's insolvency under SIGKILL: every buyer told once, every case moved once, a result per item. Exit 1 if not."""
    if cases > orders:
        raise typer.BadParameter(f"there are {orders} orders for {cases} cases", param_hint="--cases")
    with failing_clearly(StackError, PlayError, GaveUp, OSError):
        with own_sandbox(data, BEGIN, instances=instances, stack=stack) as sandbox:
            played = uvloop.run(bench_insolvency(sandbox, orders, cases, kills, instances))
        checked = verified(data)
    wrong = faults(played)
    result = {**played, "wrong": wrong, "violations": checked["violations"], "checked": checked["checked"]}
    _show(result, as_json)
    if wrong or checked["violations"]:
        raise typer.Exit(1)


def _batch(file: Path | None, orders: int, seed: int) -> Batch:
    return generate(orders, seed) if file is None else read_export(file, orders)


def _restart(folder: Path, part: str) -> None:
    """Kill the broker or the store of a folder; its supervisor starts it again on the same data."""
    stack = attach_stack(folder)
    if part == BROKER:
        stack.restart_broker(kill=True)
    else:
        stack.restart_store(kill=True)


def _show(result: dict[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(result))
        return
    for name, value in result.items():
        typer.echo(f"{name}: {value if isinstance(value, str | int | float) else json.dumps(value)}")
