"""Roll-outs (BP-24): a version of a programme for some merchants from a date on, announced beforehand, with early opt-in."""

from typing import Annotated

from pydantic import Field

from contracts.actors import Actor
from contracts.base import GivenMoment, Message, Model, Moment
from contracts.texts import Code, Locale

__all__ = [
    "ROLLOUTS_KEY",
    "AnnounceRollout",
    "KeptRollout",
    "MakeRollout",
    "MerchantOptedIn",
    "OptIn",
    "OptInContent",
    "RolloutAnnounced",
    "RolloutContent",
    "RolloutMade",
    "TellOfRollouts",
]

ROLLOUTS_KEY = "plt:rollouts"
"""The record key of all roll-outs: one document, as every report asks which version is in force."""


class RolloutContent(Model):
    """A version of a programme from `effective_at` on, for new cases of the merchants that it is meant for: all that offer the
    programme, those of `merchants`, those of one of the `locales`. Of several versions, the one whose moment came last is in
    force; cases keep the version with which they were opened."""

    programme: Code
    version: Annotated[int, Field(ge=1, le=1_000_000, strict=True)]
    merchants: Annotated[tuple[Code, ...], Field(min_length=1, max_length=1_000)] | None = None
    locales: Annotated[tuple[Locale, ...], Field(min_length=1, max_length=50)] | None = None
    """Languages of merchants: `de` is meant for `de-AT` too."""
    effective_at: GivenMoment
    announce_days: Annotated[int, Field(ge=0, le=365, strict=True)] = 14
    """So many days before, each of these merchants is told by mail; at once where that is past."""


class KeptRollout(RolloutContent):
    """A roll-out as intake keeps it: when it was made, and when its merchants are and were told."""

    rollout_id: str
    made_at: Moment
    announce_at: Moment
    announced_at: Moment | None = None
    """When the last mail was on its way."""


class OptInContent(Model):
    """A merchant takes a roll-out that is meant for it earlier: at once, or `from` a moment."""

    rollout_id: Code
    from_: Annotated[GivenMoment | None, Field(alias="from")] = None


# Commands to intake


class MakeRollout(Message, kind="rollout.make"):
    """From the platform: a version is rolled out. It does not change any more; another roll-out takes its place."""

    rollout_id: str
    content: RolloutContent
    actor: Actor


class OptIn(Message, kind="rollout.opt-in"):
    """`given`: the partner was given this merchant, which it did not create."""

    rollout_id: str
    merchant_id: str
    since: Moment | None = None
    given: bool = False
    actor: Actor


class AnnounceRollout(Message, kind="rollout.announce"):
    """The moment to tell the merchants has come: from escalation, and from intake itself to go on `after` a merchant."""

    rollout_id: str
    after: str = ""


class TellOfRollouts(Message, kind="rollout.tell"):
    """From intake itself: a merchant is new, or offers other programmes or speaks another language than before. It may be meant
    by roll-outs whose announcement has begun without it."""

    merchant_id: str


# Events of intake


class RolloutMade(Message, kind="rollout.made"):
    """A roll-out stands; escalation wakes intake when it is to be announced."""

    rollout: KeptRollout


class MerchantOptedIn(Message, kind="rollout.opted-in"):
    """In the place of what the merchant had chosen about this roll-out before."""

    rollout_id: str
    merchant_id: str
    since: Moment
    at: Moment


class RolloutAnnounced(Message, kind="rollout.announced"):
    """Every merchant that it is meant for has been told."""

    rollout_id: str
    at: Moment
