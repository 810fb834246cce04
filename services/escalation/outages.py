"""Outages (NX-08): the deadlines that ran while nobody could act are found among the timers, and their cases told."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from chassis.handler import Emission, Inbound
from contracts.base import format_moment
from contracts.cases import ExtendDeadline
from contracts.ids import derived
from contracts.outages import RecordOutage
from contracts.topics import CASES_COMMANDS, ESCALATION_COMMANDS
from services.escalation.pages import hour_of
from services.escalation.store import TimerStore

__all__ = ["Affected", "affected_by", "told_of_outage"]

_PAGES = 5
"""Timer pages that are done with one record; the next one goes on after them."""


@dataclass(frozen=True, slots=True)
class Affected:
    """Cases with a timer of a deadline in some pages, as (order id, case id), and the page after which to go on, if any."""

    cases: tuple[tuple[str, str], ...]
    after: str | None


async def affected_by(batch: Sequence[Inbound], store: TimerStore) -> Mapping[str, Affected]:
    """What each outage of the batch touches, by command. A case whose deadline was ended since is among them: that nothing of
    it runs is for cases to say."""
    found: dict[str, Affected] = {}
    for inbound in batch:
        if isinstance(outage := inbound.envelope.message, RecordOutage):
            after = outage.after or hour_of(format_moment(outage.lost_from))
            pages = await store.pages_after(outage.partition, after, _PAGES)
            cases = {
                (timer.order_id, timer.case_id): None for _, page in pages for timer in page.timers if timer.kind == "deadline"
            }
            found[inbound.envelope.id] = Affected(tuple(cases), pages[-1][0] if len(pages) == _PAGES else None)
    return found


def told_of_outage(inbound: Inbound, outage: RecordOutage, affected: Affected) -> tuple[Emission, ...]:
    """A command to each case, and one for the rest of the outage. However often they are sent, they count once."""
    envelope = inbound.envelope
    extensions = tuple(
        Emission(
            CASES_COMMANDS,
            ExtendDeadline(
                case_id=case_id,
                reason="outage",
                cause_id=outage.outage_id,
                lost_from=outage.lost_from,
                lost_until=outage.lost_until,
            ),
            envelope.time,
            sequenced=False,
            key=order_id,
            id=derived("outage", outage.outage_id, case_id),
        )
        for order_id, case_id in affected.cases
    )
    if affected.after is None:
        return extensions
    rest = outage.model_copy(update={"after": affected.after})
    return (*extensions, Emission(ESCALATION_COMMANDS, rest, envelope.time, sequenced=False))
