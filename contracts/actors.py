"""Who does something: the parties of a case and the principals that act for them."""

from typing import Literal

from contracts.base import Model

__all__ = ["SYSTEM", "Actor", "Party", "Role"]

Party = Literal["buyer", "merchant", "platform"]
"""Whose turn it can be, whom a deadline binds, who reads a message."""

Role = Literal["buyer", "merchant", "platform", "partner", "system"]
"""Who sent a command. `system` is time itself: deadlines, check-ins, reminders."""


class Actor(Model):
    """The author of a command or event. `acts_for` is set where one reports in another's name (a partner for a buyer)."""

    role: Role
    id: str = ""
    acts_for: Party | None = None


SYSTEM = Actor(role="system")
