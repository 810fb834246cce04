"""Where downloads and builds are kept: once per user, not per checkout."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from deploy.local.errors import StackError


def cache_dir() -> Path:
    """`$XDG_CACHE_HOME/recourse`, else `~/.cache/recourse`; not created yet."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "recourse"


@contextlib.contextmanager
def locked(folder: Path, name: str = ".lock", *, wait: bool = True) -> Iterator[None]:
    """Holds a folder (created if missing) for this process alone; with `wait=False` a StackError if another has it.

    The kernel lets go of it when the process ends, however it ends.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / name).open("w")
    except OSError as error:
        raise StackError(f"cannot write to {folder}: {error.strerror}; make it writable or choose another") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError as error:
            raise StackError(f"{folder} is in use by another process; stop that or choose another folder") from error
        yield
