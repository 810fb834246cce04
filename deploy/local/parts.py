"""What every broker and store of the stack has in common."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from deploy.local.process import Launch

Say = Callable[[str], None]
"""Takes one line of progress."""


@dataclass(frozen=True)
class Product:
    """What serves: `kind` as in choice.py, name and version as its makers call it."""

    kind: str
    name: str
    version: str

    def __str__(self) -> str:
        return f"{self.name} {self.version}".strip()


class Part(Protocol):
    """A broker or a store that can be started."""

    @property
    def product(self) -> Product:
        """What it is, for people and for the state file."""
        ...

    @property
    def address(self) -> str:
        """What clients connect to: `host:port,…` for Kafka, a URI for the store."""
        ...

    def prepare(self, say: Say) -> None:
        """Everything before the start, repeatable: downloads, configuration, formatting. Errors: StackError."""
        ...

    def launches(self) -> Sequence[Launch]:
        """The processes to run; none where an engine elsewhere runs it."""
        ...

    def serving(self) -> bool:
        """Whether clients are served now."""
        ...

    def up(self) -> None:
        """Starts what is no process of ours (a container); else nothing."""
        ...

    def down(self, *, kill: bool) -> None:
        """Stops what is no process of ours; else nothing."""
        ...


class ProcessPart:
    """The half of a Part that has nothing to do where the part is a process of ours."""

    def up(self) -> None:
        pass

    def down(self, *, kill: bool) -> None:
        pass
