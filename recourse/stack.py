"""`recourse stack`: the broker and the store of this machine, on their own."""

import json
from pathlib import Path
from typing import Annotated

import typer

from deploy.local import Choice, StackError, attach_stack, start_stack, store
from deploy.local.stack import to_stderr
from recourse.failing import failing_clearly

app = typer.Typer(help="The broker and the store of this machine.", no_args_is_help=True)

Data = Annotated[Path, typer.Option("--data", help="Folder that keeps the data, the logs and the state.")]
DEFAULT_DATA = Path(".recourse")


@app.command()
def start(
    data: Data = DEFAULT_DATA,
    stack: Annotated[Choice, typer.Option(help="What broker and store are taken from.")] = Choice.AUTO,
    brokers: Annotated[int, typer.Option(help="Brokers in the cluster: 1 or 3.")] = 1,
) -> None:
    """Start broker and store in the background and print where they are, as one JSON line."""
    with failing_clearly(StackError):
        started = start_stack(data, stack, brokers=brokers)
    _print_addresses(started.kafka_bootstrap, started.mongo_uri, str(started.broker), str(started.store))


@app.command()
def stop(data: Data = DEFAULT_DATA) -> None:
    """Stop broker and store; their data stays."""
    with failing_clearly(StackError):
        stack = attach_stack(data)
        stack.stop()
    to_stderr(f"stopped {stack.broker} and {stack.store}")


@app.command()
def status(data: Data = DEFAULT_DATA) -> None:
    """Say what runs; exit 1 when broker or store does not answer."""
    with failing_clearly(StackError):
        stack = attach_stack(data)
        serving = stack.serving()
    for name, product in (("broker", stack.broker), ("store", stack.store)):
        to_stderr(f"{name}: {product}, {'up' if serving[name] else 'down'}")
    _print_addresses(stack.kafka_bootstrap, stack.mongo_uri, str(stack.broker), str(stack.store), pids=stack.pids)
    if not all(serving.values()):
        raise typer.Exit(1)


@app.command()
def build() -> None:
    """Build the native store into your cache with Cargo (about five minutes, once): faster than the wheel's."""
    with failing_clearly(StackError):
        to_stderr(f"the native store is at {store.build(to_stderr)}")


def _print_addresses(kafka: str, mongo: str, broker: str, store: str, **more: object) -> None:
    typer.echo(json.dumps({"kafka": kafka, "mongo": mongo, "stack": {"broker": broker, "store": store}, **more}))
