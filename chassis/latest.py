"""The latest message of a kind that the platform tells every process beside the time."""

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

from contracts.base import Message

__all__ = ["Latest"]

M = TypeVar("M", bound=Message)


class Latest(Generic[M]):
    """Holds `first` until something newer was heard. `order` grows from one message to the next: what comes late, or comes
    again, changes nothing."""

    def __init__(self, first: M, order: Callable[[M], int]) -> None:
        self.value = first
        self._order = order
        self._newer = asyncio.Event()

    def hear(self, message: Message) -> None:
        """Take a message over that is of this kind and newer."""
        if isinstance(message, type(self.value)) and self._order(message) > self._order(self.value):
            self.value = message
            self._newer.set()
            self._newer = asyncio.Event()

    async def once(self, holds: Callable[[M], bool]) -> M:
        """The latest message as soon as something holds of it."""
        while not holds(self.value):
            await self._newer.wait()
        return self.value
