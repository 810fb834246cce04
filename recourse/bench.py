"""`recourse bench`: what the product costs, measured against what the machine can do."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
import uvloop

from deploy.local import Choice, StackError, start_stack
from recourse.benching.ingest import bench_ingest
from recourse.failing import failing_clearly
from recourse.sandbox import empty_folder

app = typer.Typer(help="What the product costs, measured against what the machine can do.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="The result as one JSON line.")]
Data = Annotated[Path, typer.Option(help="Folder of its own stack; made anew, and kept.")]
StackOption = Annotated[Choice, typer.Option(help="What broker and store are taken from.")]


@app.command()
def ingest(
    orders: Annotated[int, typer.Option(min=500, help="Orders for each of the two that are compared.")] = 20_000,
    as_json: AsJson = False,
    data: Data = Path(".recourse/bench"),
    stack: StackOption = Choice.AUTO,
) -> None:
    """Intake from command to published event, against the raw floor: the broker, the store and their drivers alone."""
    with failing_clearly(StackError, TimeoutError):
        empty_folder(data)
        with start_stack(data, stack, bound=True) as running:
            result = uvloop.run(bench_ingest(running, data, orders))
    _show(result, as_json)


def _show(result: dict[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(result))
        return
    for name, value in result.items():
        typer.echo(f"{name}: {value if isinstance(value, str | int | float) else json.dumps(value)}")
