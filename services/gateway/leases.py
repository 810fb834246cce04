"""Leases: work is somebody's for a while, renewed for as long as it is done; after a crash it is anybody's."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

from chassis.failures import retrying

__all__ = ["lease_end", "renewed"]

log = logging.getLogger(__name__)
_LEASE = timedelta(seconds=6)
_RENEW_S = 2.0


def lease_end(now: datetime) -> datetime:
    """Until when a lease runs that is taken or renewed now; real time."""
    return now + _LEASE


@asynccontextmanager
async def renewed(renew: Callable[[], Awaitable[object]]) -> AsyncIterator[None]:
    """Renew a lease for as long as the block runs. A store that is away for a moment takes nothing from who holds the lease:
    the renewal is tried again. All leases of a process fall due at the same moments, so that one statement can renew them."""
    loop = asyncio.get_running_loop()
    renewing: asyncio.Task[None] | None = None

    async def go_on() -> None:
        while True:
            await retrying(renew, lambda error: log.warning("a lease is not renewed yet: %r", error))
            await asyncio.sleep(_due(loop.time()) - loop.time())

    def begin() -> None:
        nonlocal renewing
        renewing = asyncio.create_task(go_on())

    # Nearly all work ends before its first renewal is due: until then a timer is enough, at a third of the cost.
    first = loop.call_at(_due(loop.time()), begin)
    try:
        yield
    finally:
        first.cancel()
        if renewing is not None:
            renewing.cancel()
            (ended,) = await asyncio.gather(renewing, return_exceptions=True)
            if not isinstance(ended, asyncio.CancelledError):
                log.error("a lease was not renewed any more", exc_info=ended)


def _due(now: float) -> float:
    """When a lease that is taken or renewed now, by the loop's clock, is to be renewed: at one of the moments that all leases
    share, a half to one and a half times `_RENEW_S` from now."""
    return _RENEW_S * (round(now / _RENEW_S) + 1)
