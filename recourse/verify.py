"""`recourse verify`: reads all stores and topics and checks that what must always hold holds."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
import uvloop
from aiokafka.errors import KafkaError
from pymongo.errors import PyMongoError

from chassis.settings import Settings, SettingsError
from deploy.local import Stack, StackError, attach_stack
from deploy.local.stack import STATE_FILE, to_stderr
from engine.programmes import ProgrammeError
from recourse.verification.whole import verify_all

__all__ = ["verified", "verify"]


def verify(
    data: Annotated[Path, typer.Option(help="Folder of the stack to look into.")] = Path(".recourse"),
    as_json: Annotated[bool, typer.Option("--json", help="The result as one JSON line.")] = False,
) -> None:
    """Check the invariants: nothing lost, nothing done twice, sums and chains whole. Exit 1 where one fails, 2 on no answer."""
    try:
        result = verified(data)
    except (StackError, SettingsError, ProgrammeError, KafkaError, PyMongoError, OSError) as error:
        if as_json:
            typer.echo(json.dumps({"error": str(error)}))
        to_stderr(f"recourse: {error}")
        raise typer.Exit(2) from error
    _show(result, as_json)
    if result["violations"]:
        raise typer.Exit(1)


def verified(data: Path) -> dict[str, Any]:
    """What `verify` finds in a data folder. Raises StackError, SettingsError, or what the broker or the store say."""
    with _settings(data) as settings:
        return uvloop.run(verify_all(settings, data / "payments"))


@contextmanager
def _settings(data: Path) -> Iterator[Settings]:
    """Where broker and store are; those of the folder are started where they are down, and stopped again."""
    namespace = os.environ.get("RECOURSE_NAMESPACE", "")
    if not (data / STATE_FILE).exists():
        try:
            yield Settings.from_environment()
        except SettingsError:
            raise StackError(f"no stack was ever started in {data}; name its folder with --data") from None
        return
    stack: Stack = attach_stack(data)
    down = not all(stack.serving().values())
    if down:
        stack.start()
    try:
        yield Settings(
            kafka_bootstrap=stack.kafka_bootstrap,
            mongo_uri=stack.mongo_uri,
            namespace=namespace,
            programmes=os.environ.get("RECOURSE_PROGRAMMES", ""),
        )
    finally:
        if down:
            stack.stop()


def _show(result: dict[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(result))
        return
    for what, count in result["checked"].items():
        typer.echo(f"{what:<16}{count:>9}")
    for violation in result["violations"]:
        typer.echo(f"{violation['check']}: {violation['of']}: {violation['detail']}")
    typer.echo(f"{len(result['violations']) + result.get('more', 0)} violations")
