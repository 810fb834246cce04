"""What notifications does with each record: keeps what mails need, and appends the notices that events cause."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from chassis.bounded import Bounded
from chassis.handler import Inbound, Step
from chassis.store import Append
from contracts.base import format_moment
from contracts.cases import CaseEvent, CaseOpened, NoticeRecorded
from contracts.desk import Desk
from contracts.ids import child_id
from contracts.notices import NoticeBounced, SendLink, TellBuyer, TellMerchant
from contracts.orders import CheckInAsked, Merchant, MerchantChanged
from contracts.topics import READS
from engine.casefile import CaseFile
from engine.decide import evolve
from services.notifications.bounces import after_bounce
from services.notifications.circulars import notice_to_merchant
from services.notifications.corrections import after_correction, after_failure, mailboxes
from services.notifications.letters import NoticeRequest, notices_for
from services.notifications.store import CORRESPONDENCE, MERCHANTS, NOTICES, QUEUED

__all__ = ["Kept", "NotificationsHandler", "notice_of"]

_REMEMBERED = 256
"""Case files that are remembered by their text, of some 20 kB each: the proofs of an event's mails come a second after it."""


@dataclass(frozen=True, slots=True)
class Kept:
    """The document of a key. Of a merchant: the merchant with its desk. Of an order with a case: its file as mails need it,
    and by case the address that its report gave for the correspondence."""

    merchant: Merchant | None = None
    desk: Desk = field(default_factory=Desk)
    file: CaseFile | None = None
    contacts: Mapping[str, str] = field(default_factory=dict)


class NotificationsHandler:
    """Gives the notices of each batch to the sender once they are durable."""

    service = "notifications"
    topics = READS["notifications"]
    # Most events of an order cause no mail and are not kept, so that there is nothing to count them in.
    gapless: frozenset[str] = frozenset()
    ignored: frozenset[str] = frozenset(
        {"order.registered", "report.accepted", "fact.recorded", "order.changed", "command.refused", "command.repeated"}
    )

    def __init__(
        self,
        *,
        offer: Callable[[Sequence[dict[str, Any]], frozenset[str]], None],
        own: Callable[[frozenset[int]], Any],
        unsent: Callable[[], int],
        lead: str = "",
    ) -> None:
        """The sender's ends: what to send and which of it is new, which partitions it sends for, and how much is not done.
        `lead`: the mailbox of who leads the platform's team."""
        self._offer = offer
        self._own = own
        self._unsent = unsent
        self._lead = lead
        self._new: frozenset[str] = frozenset()
        self._written: Bounded[str, CaseFile] = Bounded(_REMEMBERED)

    def collection_of(self, key: str) -> str | None:
        return MERCHANTS if key.startswith("mer:") else CORRESPONDENCE

    def load(self, body: dict[str, Any] | None) -> Kept:
        if body is None:
            return Kept()
        if "merchant" in body:
            desk = Desk.model_validate(body.get("desk") or {})
            return Kept(merchant=Merchant.model_validate(body["merchant"]), desk=desk)
        file = self._written.get(body["file"]) or CaseFile.model_validate_json(body["file"])
        return Kept(file=file, contacts=body["contacts"])

    def dump(self, state: Kept) -> dict[str, Any]:
        if state.merchant is not None:
            return {"merchant": state.merchant.model_dump(mode="json"), "desk": state.desk.model_dump(mode="json")}
        if state.file is None:
            raise ValueError("there is nothing to keep")
        # As text, which costs the store half as much; its merchant is what it is looked for by.
        text = state.file.model_dump_json()
        self._written[text] = state.file
        return {
            "merchant_id": state.file.order.merchant_id,
            "file": text,
            "contacts": dict(state.contacts),
        }

    async def prepare(self, batch: Sequence[Inbound]) -> None:
        """Nothing: a merchant travels on a partition of its own and may not be known yet, so it is looked up when sending."""

    def apply(self, state: Kept, inbound: Inbound, context: None) -> Step[Kept]:
        event = inbound.envelope.message
        match event:
            case MerchantChanged():
                return Step(Kept(merchant=event.merchant, desk=event.desk), appends=_corrected(state, inbound, event))
            case CheckInAsked() | SendLink() | TellBuyer():
                return Step(state, appends=_appends(inbound, notices_for(event, None)))
            case TellMerchant():
                envelope = inbound.envelope
                notice = notice_to_merchant(event, envelope.id, inbound.partition, format_moment(envelope.time))
                return Step(state, appends=(Append(NOTICES, notice),))
            case NoticeBounced():
                return Step(state, appends=(Append(NOTICES, after_bounce(event, inbound.partition)),))
            case NoticeRecorded():
                return _recorded(state, inbound, event)
            case CaseEvent():
                state = _after(state, event)
                letters = notices_for(event, state.file, state.contacts.get(event.case_id), self._lead)
                return Step(state, appends=_appends(inbound, letters))
        return Step(state)

    def pack(self, appends: Sequence[Append], batch: Mapping[int, tuple[str, int]]) -> Sequence[Append]:
        """Notes what nobody can have sent before: notices of an event that a guarded write counts, just now for the first time.
        A check-in or link leaves no document, so that it may come again."""
        self._new = frozenset(append.document["_id"] for append in appends if append.document["case_id"] is not None)
        return appends

    async def appended(self, appends: Sequence[Append]) -> None:
        self._offer([append.document for append in appends], self._new)

    async def assigned(self, partitions: frozenset[int]) -> None:
        await self._own(partitions)

    def pending(self) -> Mapping[str, int]:
        return {"mails": self._unsent()}


def _corrected(state: Kept, inbound: Inbound, event: MerchantChanged) -> tuple[Append, ...]:
    """Whom it was not told at its former addresses, a merchant is told at those that it has now (NX-08)."""
    if state.merchant is None:
        return ()
    envelope, before = inbound.envelope, mailboxes(state.merchant, state.desk)
    search = after_correction(event, before, envelope.id, inbound.partition, format_moment(envelope.time))
    return () if search is None else (Append(NOTICES, search),)


def _recorded(state: Kept, inbound: Inbound, event: NoticeRecorded) -> Step[Kept]:
    """What became of a notice is kept where it did not arrive or moves a deadline: most did, and cost no write."""
    if state.file is None or (event.notice.state != "failed" and not event.change.deadlines_set):
        return Step(state)
    merchant_id, at = state.file.order.merchant_id, format_moment(inbound.envelope.time)
    search = after_failure(event, merchant_id, inbound.partition, at)
    return Step(_after(state, event), appends=() if search is None else (Append(NOTICES, search),))


def _after(state: Kept, event: CaseEvent) -> Kept:
    contacts = state.contacts
    if isinstance(event, CaseOpened) and event.report.contact is not None:
        contacts = {**contacts, event.case_id: event.report.contact.email}
    return replace(state, file=evolve(state.file, event), contacts=contacts)


def _appends(inbound: Inbound, requests: Sequence[NoticeRequest]) -> tuple[Append, ...]:
    return tuple(
        Append(NOTICES, notice_of(request, inbound.envelope.id, inbound.partition, format_moment(inbound.envelope.time)))
        for request in requests
    )


def notice_of(request: NoticeRequest, cause: str, partition: int, at: str) -> dict[str, Any]:
    """The document of a notice: one mail to one address, or, for a merchant, what its addresses are to be told. Its id is made
    from its cause, so that an event read twice tells nobody twice. `letter` is text; `deadline_id` stands beside it, absent
    where it tells of none, for late notices are looked for by it."""
    letter = request.letter
    notice = {
        "_id": child_id("ntc", letter.order.order_id, cause, request.kind, request.to or request.party),
        "partition": partition,
        "state": QUEUED,
        "order_id": letter.order.order_id,
        "case_id": request.case_id,
        "merchant_id": letter.order.merchant_id,
        "kind": request.kind,
        "party": request.party,
        "to": request.to,
        "audience": request.audience,
        "created_at": at,
        "tries": 0,
        "letter": letter.model_dump_json(exclude_none=True),
    }
    if letter.deadline is not None:
        notice["deadline_id"] = letter.deadline.deadline_id
    return notice
