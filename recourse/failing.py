"""How a command fails: one clear line on standard error and exit code 2, no stack trace."""

import contextlib
from collections.abc import Iterator

import typer


@contextlib.contextmanager
def failing_clearly(*expected: type[Exception]) -> Iterator[None]:
    """Turns errors whose message already says what to do into that message; others stay what they are: bugs."""
    try:
        yield
    except expected as error:
        typer.echo(f"recourse: {error}", err=True)
        raise typer.Exit(2) from error
