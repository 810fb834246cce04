"""From an event and the case after it to the letters that it causes. Pure; who is told what is `engine.notices`' table."""

from dataclasses import dataclass
from typing import Literal

from contracts.actors import Actor, Party
from contracts.base import Message, Model, Moment
from contracts.cases import (
    Answer,
    CaseEvent,
    CaseMoved,
    CaseOpened,
    Change,
    Deadline,
    FactAttached,
    MessageDraft,
    Outcome,
    PolicyRef,
    Proposal,
    ReminderGiven,
)
from contracts.money import Money
from contracts.notices import NoticeKind, OrderNamed, SendLink, TellBuyer
from contracts.orders import CheckInAsked, FactKind, NotifyAddress, Order, ServiceContact
from engine.casefile import Case, CaseFile
from engine.notices import told_of

__all__ = ["Audience", "Letter", "NoticeRequest", "OrderSummary", "Reader", "addresses_of", "notices_for", "party_of"]

Reader = Literal["buyer", "merchant", "platform"]
"""Who gets mail. The platform's is for who leads its team: it has a key and needs no link."""

Audience = Literal["new_case", "all", "attention"]
"""Which of a merchant's contract addresses a mail is for (BP-09, CP-02); `attention`: the staff that is to look at a case."""


class OrderSummary(Model):
    """What every mail says about the order. A link asked for by order number knows neither date nor amount."""

    order_id: str
    order_number: str
    merchant_id: str
    merchant_name: str
    buyer_name: str | None = None
    buyer_email: str
    buyer_locale: str
    placed_at: Moment | None = None
    amount: Money | None = None
    timezone: str = "UTC"


class CaseSummary(Model):
    """The case as it is after the event."""

    case_id: str
    policy: PolicyRef
    reason: str
    state: str
    label: dict[str, str] = {}
    """The merchant's own words for the state, by language, where the case bears them (RD-06)."""
    turn: Party | None = None
    outcome: Outcome | None = None
    answer_by: Moment | None = None
    """By when somebody outside asks for the answer, where the report says so."""


class Said(Model):
    """A text of a party, with the names of the files that came with it."""

    author: Party | None = None
    text: str
    evidence: tuple[str, ...] = ()


class Letter(Model):
    """Everything that a mail is written from, in any language. `deadline` is the reader's own, `next_deadline` that of
    whoever else's turn it is."""

    kind: NoticeKind
    reader: Reader
    order: OrderSummary
    case: CaseSummary | None = None
    programme: str | None = None
    """For a check-in, which belongs to no case."""
    protection_ends_at: Moment | None = None
    actor: Party | None = None
    """None: time or a fact, nobody's act."""
    action: str | None = None
    reaction: str | None = None
    """What the buyer chose, where the action is a choice."""
    passed: str | None = None
    """The kind of deadline that ended in silence."""
    fact: FactKind | None = None
    said: Said | None = None
    event: Literal["insolvency", "insolvency_withdrawn", "carrier_failure"] | None = None
    """What has happened to many (NX-09)."""
    others: tuple[OrderNamed, ...] = ()
    """Of whose orders it has happened to these as well."""
    answer: Answer | None = None
    """The merchant's, as it stands."""
    proposal: Proposal | None = None
    refund: Money | None = None
    """What flows back with this event."""
    deadline: Deadline | None = None
    next_deadline: Deadline | None = None


@dataclass(frozen=True, slots=True)
class NoticeRequest:
    """A letter to a party. `to` is known for a buyer and the platform; a merchant's addresses are those of `audience` when it
    is sent."""

    kind: NoticeKind
    party: Reader
    letter: Letter
    to: str | None = None
    audience: Audience | None = None

    @property
    def case_id(self) -> str | None:
        """The case that the letter is about; None where it is about an order."""
        return None if self.letter.case is None else self.letter.case.case_id


def notices_for(event: Message, file: CaseFile | None, contact: str | None = None, lead: str = "") -> list[NoticeRequest]:
    """The letters that an event causes. `file` is the order's after it; `contact` the address that the report gave for the
    correspondence (RD-02), which then stands for the buyer's own; `lead` that of who leads the platform's team, if known."""
    match event:
        case CheckInAsked():
            return [_check_in(event)]
        case SendLink():
            return [_link(event)]
        case TellBuyer():
            return [_mass_event(event)]
        case CaseEvent() if file is not None:
            case = file.cases[event.case_id]
            to = {"buyer": contact or file.order.buyer.email, "merchant": None, "platform": lead}
            return [
                _about_case(event, told.kind, told.party, file.order, case, to[told.party])
                for told in told_of(event)
                if told.party != "platform" or lead
            ]
    return []


def party_of(actor: Actor) -> Party | None:
    """Whose side an actor is on; None for time itself and for a partner that acts for nobody."""
    if actor.acts_for is not None:
        return actor.acts_for
    return None if actor.role in ("system", "partner") else actor.role


def addresses_of(notify: tuple[NotifyAddress, ...], contact: ServiceContact, audience: Audience) -> tuple[str, ...]:
    """The merchant's addresses for an audience: a new case goes to all that its contract names, everything else to its
    `all` addresses, else to `new_case` (CP-02). With none named its service contact is told: its deadline runs anyway."""
    everyone = [each.email for each in notify]
    subscribed = [each.email for each in notify if each.kind == "all"]
    chosen = everyone if audience == "new_case" else subscribed or everyone
    return tuple(dict.fromkeys(chosen)) or (contact.email,)


# Letters


def _check_in(event: CheckInAsked) -> NoticeRequest:
    """BP-05."""
    letter = Letter(
        kind="check_in",
        reader="buyer",
        order=_summary(event.order),
        programme=event.order.programme,
        protection_ends_at=event.standing.protection.ends_at,
    )
    return NoticeRequest("check_in", "buyer", letter, to=event.order.buyer.email)


def _link(event: SendLink) -> NoticeRequest:
    letter = Letter(kind="link", reader="buyer", order=_told_of(event))
    return NoticeRequest("link", "buyer", letter, to=event.email)


def _told_of(event: SendLink | TellBuyer) -> OrderSummary:
    """The order of a mail that belongs to no case, as far as its command says."""
    return OrderSummary(
        order_id=event.order_id,
        order_number=event.order_number,
        merchant_id=event.merchant_id,
        merchant_name=event.merchant_name,
        buyer_name=event.name,
        buyer_email=event.email,
        buyer_locale=event.locale,
    )


def _mass_event(event: TellBuyer) -> NoticeRequest:
    said = Said(author="platform", text=event.text) if event.text else None
    letter = Letter(kind="mass_event", reader="buyer", order=_told_of(event), event=event.event, others=event.others, said=said)
    return NoticeRequest("mass_event", "buyer", letter, to=event.email)


def _about_case(event: CaseEvent, kind: NoticeKind, party: Reader, order: Order, case: Case, to: str | None) -> NoticeRequest:
    change: Change = getattr(event, "change", Change())
    own = _soonest(case, party)
    if isinstance(event, ReminderGiven):
        own = event.deadline
    letter = Letter(
        kind=kind,
        reader=party,
        order=_summary(order),
        case=CaseSummary(
            case_id=case.case_id,
            policy=case.policy,
            reason=case.reason,
            state=case.state,
            label=case.label.text if case.label is not None else {},
            turn=case.turn,
            outcome=case.outcome,
            answer_by=case.answer_by,
        ),
        actor=party_of(event.actor),
        action=event.action if isinstance(event, CaseMoved) and event.action not in ("silence", "fact") else None,
        reaction=event.fields.get("reaction") if isinstance(event, CaseMoved) else None,
        passed=event.kind_of_deadline if isinstance(event, CaseMoved) else None,
        fact=event.fact.kind if isinstance(event, FactAttached) else None,
        said=_said(event),
        answer=case.answer,
        proposal=change.proposal or (case.proposal if own is not None and own.kind == "proposal" else None),
        refund=_refunded(change),
        deadline=own,
        next_deadline=_soonest(case, case.turn) if case.turn != party else None,
    )
    if party != "merchant":
        return NoticeRequest(kind, party, letter, to=to)
    audiences: dict[NoticeKind, Audience] = {"case_opened": "new_case", "attention": "attention"}
    return NoticeRequest(kind, party, letter, audience=audiences.get(kind, "all"))


def _summary(order: Order) -> OrderSummary:
    return OrderSummary(
        order_id=order.order_id,
        order_number=order.order_number,
        merchant_id=order.merchant_id,
        merchant_name=order.merchant_name,
        buyer_name=order.buyer.name,
        buyer_email=order.buyer.email,
        buyer_locale=order.buyer.locale or order.merchant_locale,
        placed_at=order.placed_at,
        amount=order.amount,
        timezone=order.timezone,
    )


def _soonest(case: Case, party: Party | None) -> Deadline | None:
    return min((each for each in case.deadlines if each.party == party), key=lambda each: each.due_at, default=None)


def _said(event: Message) -> Said | None:
    if isinstance(event, CaseOpened):
        report = event.report
        if not report.text and not report.evidence:
            return None
        return Said(author="buyer", text=report.text or "", evidence=tuple(each.name for each in report.evidence))
    message: MessageDraft | None = getattr(event, "message", None)
    if message is None:
        return None
    # What a rule decides without anybody is said in the platform's name.
    author = "platform" if message.author.role == "system" else party_of(message.author)
    return Said(author=author, text=message.text, evidence=tuple(each.name for each in message.evidence))


def _refunded(change: Change) -> Money | None:
    """What this event says has flowed back, or is on its way by the platform."""
    executed = [entry.amount for entry in change.ledger if entry.kind == "executed"]
    reserved = [entry.amount for entry in change.ledger if entry.kind == "reserved"] if change.outcome else []
    amounts = executed or reserved
    return sum(amounts[1:], amounts[0]) if amounts else None
