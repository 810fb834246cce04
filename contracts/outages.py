"""Outages of the platform (NX-08): time in which nobody could act, which no deadline may run down."""

from contracts.base import Message, Moment

__all__ = ["RecordOutage"]


class RecordOutage(Message, kind="outage.record"):
    """To whoever owns a partition: nobody could act from `lost_from` to `lost_until`, so what of that a standing deadline ran
    is added to it. Sent once for each partition; `after` is the timer page up to which it has been done."""

    outage_id: str
    lost_from: Moment
    lost_until: Moment
    partition: int
    after: str = ""
