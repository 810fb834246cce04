"""How buyers, merchants and agents behave: pure and drawn per order, so that the same seed gives the same lives in any order
of play.

`report_of` says who reports what and when; `next_move` what happens next in a case, given how it stands. Nothing here knows
HTTP, and no draw depends on another order."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Literal, TypeVar

from contracts.base import parse_moment
from contracts.money import digits_of
from simulator.orders import PlayedOrder

__all__ = [
    "Act",
    "CaseView",
    "Deed",
    "Look",
    "Move",
    "RecordFact",
    "ReportPlan",
    "Temper",
    "Write",
    "days_from",
    "draw_of",
    "next_move",
    "report_of",
    "share_of",
    "temper_of",
    "weighted",
]

T = TypeVar("T")
Party = Literal["merchant", "buyer", "platform", "partner"]


@dataclass(frozen=True, slots=True)
class Temper:
    """How the people around one order are: drawn once per order."""

    seed: int
    merchant: Literal["yes", "yes_after_return", "partial", "no", "silent"]
    answers_late: bool
    """A silent merchant that wakes up when the platform reviews."""
    confirms_return: bool
    sends_back: Literal["says", "fact", "never"]
    buyer_silent: bool
    withdraws: bool
    agent: Literal["decides", "asks_merchant", "asks_buyer", "proposes", "takes_over"]
    provides: bool
    settles: bool
    reopens: bool
    writes: frozenset[Party]
    shows_evidence: bool
    refund_is_a_fact: bool


@dataclass(frozen=True, slots=True)
class ReportPlan:
    """A report: from `at` on, and before `by`."""

    reason: str
    text: str
    at: datetime
    by: datetime
    with_evidence: bool


@dataclass(frozen=True, slots=True)
class Act:
    """An action on the case; `with_evidence`: a file is uploaded first and named in the action's field `evidence`."""

    action: str
    fields: Mapping[str, Any]
    with_evidence: bool = False


@dataclass(frozen=True, slots=True)
class Write:
    """A message in the thread."""

    text: str


@dataclass(frozen=True, slots=True)
class RecordFact:
    """A fact that the partner records on the order."""

    kind: str
    amount: Decimal | None = None
    tracking_code: str | None = None


Deed = Act | Write | RecordFact


@dataclass(frozen=True, slots=True)
class Move:
    """What a party does next: from `at` on and, where a deadline waits, before `by`."""

    party: Party
    at: datetime
    by: datetime | None
    deeds: tuple[Deed, ...]
    look_after: timedelta | None = None
    """The deeds change the case only behind the scenes: look at it so much later."""


@dataclass(frozen=True, slots=True)
class Look:
    """Nobody does anything until then: an agent looks at the case at `at`."""

    at: datetime


@dataclass(frozen=True, slots=True)
class CaseView:
    """A case as far as behaviour depends on it; see `of`."""

    case_id: str
    programme: str
    reason: str
    state: str
    turn: str | None
    outcome: str | None
    answer: str | None
    variant: str | None
    available: Decimal
    """What a refund of this case may still come to."""
    proposal: bool
    accepted_by: tuple[str, ...]
    due: Mapping[str, datetime]
    """Due moments by party (the platform's own target left out)."""
    refunded: bool = False
    """Of a claim: so much of the order's money has gone back already, or is promised, that what it asks for is more than what
    is left."""
    unanswered: bool = False
    """Its merchant was silent to somebody outside."""

    @classmethod
    def of(cls, case: Mapping[str, Any]) -> "CaseView":
        """From the API's representation, tolerant of what it may add."""
        answer = case.get("answer") or {}
        refund = case.get("refund") or {}
        proposal = case.get("proposal") or {}
        paid = (case.get("order_amount") or {}).get("amount") or "0"
        executed = (refund.get("executed") or {}).get("amount") or "0"
        claimed = (case.get("amount") or {}).get("amount") or paid
        left = (refund.get("refundable") or {}).get("amount") or max(Decimal(paid) - Decimal(executed), Decimal(0))
        return cls(
            case_id=case["case_id"],
            programme=case["programme"]["id"],
            reason=case["reason"],
            state=case["state"],
            turn=case.get("turn"),
            outcome=case.get("outcome"),
            answer=answer.get("refund"),
            variant=refund.get("variant") if answer else None,
            available=Decimal(left),
            proposal=bool(proposal),
            accepted_by=tuple(proposal.get("accepted_by") or ()),
            due={
                deadline["party"]: parse_moment(deadline["due_at"])
                for deadline in case.get("deadlines") or ()
                if deadline["party"] != "platform"
            },
            refunded=Decimal(left) < Decimal(claimed),
            unanswered=case.get("unanswered", False),
        )

    @property
    def is_open(self) -> bool:
        """Whether it has not ended."""
        return self.state not in ("resolved", "rejected")


def temper_of(order: PlayedOrder, seed: int) -> Temper:
    """The people around an order."""
    draw = draw_of(seed, order, "temper")
    worthless = order.amount == 0
    merchants: list[tuple[Literal["yes", "yes_after_return", "partial", "no", "silent"], int]]
    if order.cancelled:
        merchants = [("yes", 75), ("partial", 5), ("no", 5), ("silent", 15)]
    elif order.delivered_at is None:
        merchants = [("yes", 45), ("partial", 8), ("no", 27), ("silent", 20)]
    else:
        merchants = [("yes", 15), ("yes_after_return", 20), ("partial", 20), ("no", 32), ("silent", 13)]
    writers: list[Party] = ["merchant", "buyer", "platform"]
    return Temper(
        seed=seed,
        merchant="no" if worthless else weighted(draw, merchants),
        answers_late=draw.random() < 0.25,
        confirms_return=draw.random() < 0.8,
        sends_back=weighted(draw, [("says", 55), ("fact", 25), ("never", 20)]),
        buyer_silent=draw.random() < (0.12 if order.score is not None else 0.4),
        withdraws=order.delivered_at is not None and draw.random() < 0.05,
        agent=weighted(draw, [("decides", 50), ("asks_merchant", 16), ("asks_buyer", 12), ("proposes", 18), ("takes_over", 4)]),
        provides=draw.random() < 0.7,
        settles=draw.random() < 0.65,
        reopens=draw.random() < 0.02,
        writes=frozenset(party for party in writers if draw.random() < 0.12),
        shows_evidence=draw.random() < 0.1,
        refund_is_a_fact=draw.random() < 0.15,
    )


def report_of(order: PlayedOrder, seed: int) -> ReportPlan | None:
    """What the buyer of an order reports: that it never came or came late, at the latest on the day before the protection
    ends; a few content ones end their protection (BP-07). None: nothing."""
    draw = draw_of(seed, order, "report")
    latest = order.protected_until - timedelta(days=1)
    shows = draw.random() < 0.1
    if order.delivered_at is not None and not order.came_late:
        at = order.delivered_at + timedelta(days=draw.randint(1, 4), hours=draw.randint(0, 12))
        if order.score != 5 or draw.random() >= 0.04 or at > latest:
            return None
        return ReportPlan("satisfied", order.review or "All went well.", at, latest, with_evidence=False)
    expected = order.promised_by or order.placed_at + timedelta(days=14)
    at = expected + timedelta(days=draw.choice((1, 1, 2, 2, 3, 5, 8)), hours=draw.randint(0, 12))
    at = max(order.placed_at, min(at, latest))
    if order.cancelled:
        reason, text = "no_refund", "The shop cancelled my order, and my money has not come back."
    elif order.delivered_at is not None and order.delivered_at <= at:
        reason, text = "other", "It came after the promised day."
    else:
        reason, text = "not_received", "My order has not arrived."
    return ReportPlan(reason, order.review or text, at, latest, with_evidence=shows)


def next_move(order: PlayedOrder, temper: Temper, case: CaseView, now: datetime, moves: int) -> Move | Look | None:
    """What happens next in a case after `moves` moves so far. None: nobody will do anything more, time ends the case or it
    has ended."""
    draw = draw_of(temper.seed, order, f"{case.case_id[-1]}:{moves}:{case.state}")
    if moves > _MOST_MOVES:
        return _decision(order, case, now, draw) if case.state == "under_review" else None
    if not case.is_open:
        return _after_the_end(temper, case, now, moves)
    arrived = order.delivered_at is not None and order.delivered_at <= now
    if temper.withdraws and arrived and case.state in ("submitted", "awaiting_buyer"):
        return Move("buyer", now + days_from(draw, 0, 1), case.due.get("merchant"), (Act("withdraw", {}),))
    match case.state, case.turn:
        case "submitted", _:
            return _answer(order, temper, case, now, draw)
        case "awaiting_return", "buyer":
            return _return(temper, case, now, draw)
        case "awaiting_return", _:
            if temper.confirms_return:
                return Move("merchant", now + days_from(draw, 2, 9), case.due.get("merchant"), (Act("confirm_return", {}),))
            return Look(case.due.get("merchant", now) + timedelta(days=1))
        case "awaiting_buyer", _:
            return _reaction(order, temper, case, now, draw)
        case "awaiting_evidence", party:
            return _evidence(temper, case, party, now, draw)
        case "under_review", _:
            return _review(order, temper, case, now, draw, moves)
    return Look(now + timedelta(days=7))


_MOST_MOVES = 14


def _after_the_end(temper: Temper, case: CaseView, now: datetime, moves: int) -> Move | None:
    """An agent reopens a few cases that the platform had decided."""
    decided = case.outcome in ("decided_no_refund", "decided_partial_refund")
    if not temper.reopens or not decided or moves > 6:
        return None
    fields = {"message": "New facts have come up; we look at it again."}
    return Move("platform", now + timedelta(days=5), now + timedelta(days=25), (Act("reopen", fields),))


def _answer(order: PlayedOrder, temper: Temper, case: CaseView, now: datetime, draw: random.Random) -> Move | Look:
    due = case.due.get("merchant", now + timedelta(days=5))
    if temper.merchant == "silent":
        return Look(due + days_from(draw, 1, 3))
    return Move("merchant", now + days_from(draw, 0, 3), due, _answer_deeds(order, temper, case.available, draw))


def _answer_deeds(order: PlayedOrder, temper: Temper, available: Decimal, draw: random.Random) -> tuple[Deed, ...]:
    style = "no" if temper.merchant == "silent" or available == 0 else temper.merchant
    fields: dict[str, Any]
    if style == "yes":
        fields = {"refund": "yes", "refund_amount": order.money(available), "message": "We refund you in full. Sorry."}
    elif style == "yes_after_return":
        fields = {"refund": "yes_after_return", "message": "Please send it back, then we refund you."}
        if draw.random() < 0.5:
            fields["refund_amount"] = order.money(available)
    elif style == "partial":
        share = share_of(available, draw.randint(20, 70), order.currency)
        fields = {"refund": "yes", "refund_amount": order.money(share), "message": "We refund a part for the delay."}
    else:
        fields = {"refund": "no", "message": "It is on its way; please wait for it."}
    deeds: tuple[Deed, ...] = (Act("answer", fields, with_evidence=temper.shows_evidence),)
    if "merchant" in temper.writes:
        deeds = (Write("We are looking into where your parcel is."), *deeds)
    if style == "yes" and temper.refund_is_a_fact:
        deeds = (*deeds, RecordFact("refunded", available))
    return deeds


def _return(temper: Temper, case: CaseView, now: datetime, draw: random.Random) -> Move | None:
    due = case.due.get("buyer")
    tracking = f"R{draw.randrange(10**10):010d}"
    match temper.sends_back:
        case "says":
            fields = {"tracking_code": tracking, "carrier": "DHL"}
            return Move("buyer", now + days_from(draw, 2, 10), due, (Act("return_sent", fields),))
        case "fact":
            fact = RecordFact("returned", tracking_code=tracking)
            return Move("buyer", now + days_from(draw, 3, 10), due, (fact,), look_after=timedelta(days=1))
        case "never":
            return None


def _reaction(order: PlayedOrder, temper: Temper, case: CaseView, now: datetime, draw: random.Random) -> Move | None:
    """The review's score says how content the buyer is; a parcel that comes while the buyer waits changes the mood."""
    if temper.buyer_silent:
        return None
    due = case.due.get("buyer", now + timedelta(days=20))
    score = order.score or 3
    at = now + days_from(draw, 1, 6)
    if case.variant == "full":
        reaction = "not_received" if draw.random() < (0.3 if score <= 2 else 0.05) else "received"
        at = now + days_from(draw, 3, 12)
    elif case.variant == "partial":
        choices = (
            (("disagree", 45), ("not_received", 10), ("received", 45)) if score <= 2 else (("disagree", 15), ("received", 85))
        )
        reaction = weighted(draw, choices)
    else:
        patience = now + timedelta(days=14)
        comes = order.delivered_at is not None and order.delivered_at < min(due, patience)
        if comes and order.delivered_at is not None:
            at = max(at, order.delivered_at + timedelta(days=1))
        content = 0.25 if not comes else 0.55 if score <= 2 else 0.9
        reaction = "accept" if draw.random() < content else "disagree"
    fields: dict[str, Any] = {"reaction": reaction}
    if reaction in ("disagree", "not_received") and order.review:
        fields["message"] = order.review[:2000]
    deeds: tuple[Deed, ...] = (Act("react", fields),)
    if "buyer" in temper.writes:
        deeds = (Write(order.review[:2000] or "Thank you for looking into it."), *deeds)
    return Move("buyer", min(at, due - timedelta(hours=12)), due, deeds)


def _evidence(temper: Temper, case: CaseView, party: str | None, now: datetime, draw: random.Random) -> Move | Look:
    due = case.due.get(party or "", now + timedelta(days=7))
    if not temper.provides or party not in ("buyer", "merchant"):
        return Look(due + timedelta(days=1))
    act = Act("provide_evidence", {"message": "Here is what we have."}, with_evidence=True)
    return Move("buyer" if party == "buyer" else "merchant", now + days_from(draw, 1, 4), due, (act,))


def _review(order: PlayedOrder, temper: Temper, case: CaseView, now: datetime, draw: random.Random, moves: int) -> Move | Look:
    if case.answer is None and temper.merchant == "silent" and temper.answers_late and moves < 4:
        return Move("merchant", now + days_from(draw, 0, 2), None, _answer_deeds(order, temper, case.available, draw))
    if case.proposal:
        return _reply_to_proposal(temper, case, now, draw)
    if moves < 5:
        match temper.agent:
            case "asks_merchant" | "asks_buyer":
                party = temper.agent.removeprefix("asks_")
                fields = {"party": party, "message": "Please send us what proves your statement.", "due_in": "P7D"}
                return Move("platform", now + days_from(draw, 0, 2), None, (*_note(temper), Act("request_evidence", fields)))
            case "proposes" if case.available > 0:
                amount = share_of(case.available, 50, order.currency)
                fields = {"message": "Would a half be fair to you both?", "refund_amount": order.money(amount)}
                return Move("platform", now + days_from(draw, 0, 2), None, (*_note(temper), Act("propose", fields)))
            case "takes_over" if moves < 2:
                return Move("platform", now + days_from(draw, 0, 1), None, (Act("take_over", {}),))
    return _decision(order, case, now, draw)


def _note(temper: Temper) -> tuple[Deed, ...]:
    return (Act("note", {"text": "Looked at the tracking."}),) if "platform" in temper.writes else ()


def _reply_to_proposal(temper: Temper, case: CaseView, now: datetime, draw: random.Random) -> Move | Look:
    missing: list[Party] = [party for party in ("merchant", "buyer") if party not in case.accepted_by]
    party = missing[0] if missing else "buyer"
    due = case.due.get(party, now + timedelta(days=7))
    if temper.settles:
        return Move(party, now + days_from(draw, 0, 3), due, (Act("accept_proposal", {}),))
    if temper.provides:
        return Move(party, now + days_from(draw, 0, 3), due, (Act("decline_proposal", {"message": "That is not enough."}),))
    return Look(due + timedelta(days=1))


def _decision(order: PlayedOrder, case: CaseView, now: datetime, draw: random.Random) -> Move:
    """The platform's ruling: no goods, money back; late goods, by how content the buyer is."""
    arrived = order.delivered_at is not None and order.delivered_at <= now
    part = share_of(case.available, 40, order.currency)
    fields: dict[str, Any] = {"outcome": "refund", "message": "The goods did not come; you get your money back."}
    if case.available == 0 or (arrived and (order.score or 3) >= 3):
        fields = {"outcome": "no_refund", "message": "The goods have arrived as ordered."}
    elif arrived and 0 < part < case.available:
        fields = {"outcome": "partial_refund", "refund_amount": order.money(part), "message": "A part back for the delay."}
    return Move("platform", now + days_from(draw, 1, 4), None, (Act("decide", fields),))


def share_of(amount: Decimal, percent: int, currency: str) -> Decimal:
    """A percentage of an amount in the currency's digits, rounded down."""
    quantum = Decimal(1).scaleb(-digits_of(currency))
    return (amount * percent / 100 // quantum) * quantum


def days_from(draw: random.Random, least: int, most: int) -> timedelta:
    """So many days, and some hours."""
    return timedelta(days=draw.randint(least, most), hours=draw.randint(1, 20))


def draw_of(seed: int, order: PlayedOrder, about: str) -> random.Random:
    """The draws about one thing of one order."""
    return random.Random(f"{seed}|{order.key}|{about}")  # noqa: S311 - a reproducible play, not a secret


def weighted(draw: random.Random, choices: Sequence[tuple[T, int]]) -> T:
    """One of some values, as often as its weight says."""
    return draw.choices([value for value, _ in choices], [weight for _, weight in choices])[0]
