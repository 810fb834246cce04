"""Outages of the platform (NX-08): time in which nobody could act, which no deadline may run down."""

from datetime import UTC, datetime

from contracts.base import Message, Model, Moment

__all__ = ["ALL_WELL", "UNHEARD", "Outage", "OutagesRecorded", "RecordOutage"]


class Outage(Model):
    """Nobody could act from `lost_from` to `lost_until`."""

    outage_id: str
    lost_from: Moment
    lost_until: Moment


class OutagesRecorded(Message, kind="outages.recorded"):
    """The whole record, to every process that keeps deadlines: all outages of the last year. A higher `number` takes the place
    of a lower one.

    Up to `complete_until` there are no others: a deadline that fell due later is not decided over yet. None: there are none
    at any time, as in a sandbox, whose outages are declared."""

    number: int = 0
    outages: tuple[Outage, ...] = ()
    complete_until: Moment | None = None


ALL_WELL = OutagesRecorded()
"""The record of a platform that was never away."""

UNHEARD = OutagesRecorded(complete_until=datetime(1970, 1, 1, tzinfo=UTC))
"""What a process knows that was not told the record yet."""


class RecordOutage(Message, kind="outage.record"):
    """To whoever owns a partition: nobody could act from `lost_from` to `lost_until`, so what of that a standing deadline ran
    is added to it. Sent once for each partition; `after` is the timer page up to which it has been done."""

    outage_id: str
    lost_from: Moment
    lost_until: Moment
    partition: int
    after: str = ""
