"""A partner, a merchant and orders: short words for what the tests of intake do."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from chassis.handler import Emission, Inbound
from contracts.actors import Actor
from contracts.base import Message
from contracts.cases import CaseMoved, Change
from contracts.envelope import Envelope, decode, encode
from contracts.ids import merchant_key, order_id_of
from contracts.orders import (
    CheckInReached,
    CommandRefused,
    CommandRepeated,
    FactContent,
    Merchant,
    MerchantProfile,
    OrderContent,
    PutMerchant,
    RecordFact,
    RegisterOrder,
    ReportContent,
    SubmitReport,
)
from contracts.problems import Problem
from contracts.topics import INTAKE_COMMANDS
from engine.programmes import Programmes
from services.intake.context import Context
from services.intake.documents import MerchantFile, OrderFile, State
from services.intake.handlers import IntakeHandler
from services.intake.reports import claim_wanted

PLACED = datetime(2024, 1, 10, 9, 30, tzinfo=UTC)
PARTNER = Actor(role="partner", id="partner-1")
OTHER_PARTNER = Actor(role="partner", id="partner-2")
PLATFORM = Actor(role="platform", id="agent-1")
BUYER = Actor(role="buyer", id="link-1")
MERCHANT = Actor(role="merchant", id="key-1")


def profile(**changes: Any) -> MerchantProfile:
    return MerchantProfile.model_validate(
        {
            "name": "Shop",
            "programmes": ["buyer-protection"],
            "locale": "de",
            "country": "DE",
            "service_contact": {"email": "service@example.com"},
            **changes,
        }
    )


def merchant(**changes: Any) -> Merchant:
    return Merchant.model_validate(
        {
            **profile().__dict__,
            "merchant_id": "shop",
            "timezone": "Europe/Berlin",
            "certified_at": PLACED - timedelta(days=100),
            "seal_live_at": PLACED - timedelta(days=90),
            "created_by": PARTNER.id,
            "version": 1,
            **changes,
        }
    )


def content(**changes: Any) -> OrderContent:
    return OrderContent.model_validate(
        {
            "merchant_id": "shop",
            "order_number": "4711",
            "buyer": {"email": "buyer@example.com"},
            "amount": {"amount": "100.00", "currency": "EUR"},
            "lines": [
                {"line_id": "1", "title": "Lamp", "quantity": 2, "unit_price": {"amount": "40.00", "currency": "EUR"}},
                {"title": "Shipping", "quantity": 1, "unit_price": {"amount": "20.00", "currency": "EUR"}},
            ],
            "placed_at": PLACED,
            "protection_activated": True,
            **changes,
        }
    )


ORDER_ID = order_id_of("shop", "4711")


@dataclass
class Trade:
    """One key of intake and what is told about it. Each command goes through its bytes, as in the service."""

    merchants: Mapping[str, Merchant] = field(default_factory=lambda: {"shop": merchant()})
    state: State = None
    now: datetime = PLACED
    told: list[Emission] = field(default_factory=list)
    key: str = ORDER_ID
    claims: dict[str, str] = field(default_factory=dict)
    """Who holds which claim; orders of the same merchant share it."""

    def __post_init__(self) -> None:
        self._handler = IntakeHandler(None, Programmes.shipped())  # pyright: ignore[reportArgumentType]

    @property
    def file(self) -> OrderFile:
        assert isinstance(self.state, OrderFile)
        return self.state

    def tell(self, message: Message, *, id_: str | None = None, **envelope: Any) -> list[Emission]:
        """Apply a message; its emissions. What is kept is read back from what would be stored."""
        given = {"source": "gateway", "key": self.key, "time": self.now, **envelope}
        sent = Envelope(id=id_ or str(uuid.uuid4()), message=message, **given)
        record = encode(sent)
        inbound = Inbound(decode(record.value, record.headers), "intake.commands", 0, len(self.told))
        step = self._handler.apply(self.state, inbound, self._context(inbound))
        if step.state is not None:
            assert self._handler.load(self._handler.dump(step.state)) == step.state
        self.state = step.state
        self.told += step.emissions
        return list(step.emissions)

    def _context(self, inbound: Inbound) -> Context:
        """As `prepare` reads it from the store."""
        context = Context(merchants=self.merchants)
        message = inbound.envelope.message
        if isinstance(message, SubmitReport) and isinstance(self.state, OrderFile):
            claim = claim_wanted(self.state, inbound, message, Programmes.shipped(), context)
            if claim is not None:
                self.claims.setdefault(claim, self.key)
        return replace(context, claims=self.claims)

    def ask(self, message: Message, **envelope: Any) -> Message:
        """The one message that answers. What intake asks of itself is none."""
        (emission,) = (each for each in self.tell(message, **envelope) if each.topic is not INTAKE_COMMANDS)
        return emission.message

    def problem(self, message: Message, **envelope: Any) -> Problem:
        """The problem of a command that is refused; such an answer settles and has no place in the order's sequence."""
        (emission,) = self.tell(message, **envelope)
        assert isinstance(emission.message, CommandRefused), emission.message
        assert emission.settles
        assert not emission.sequenced
        return emission.message.problem

    def repeated(self, message: Message, **envelope: Any) -> str:
        """The href of a command that changes nothing."""
        before = self.state
        answer = self.ask(message, **envelope)
        assert isinstance(answer, CommandRepeated), answer
        assert self.state == before
        return answer.href

    def register(self, actor: Actor = PARTNER, facts: tuple[FactContent, ...] = (), **changes: Any) -> Message:
        return self.ask(RegisterOrder(content=content(**changes), facts=facts, actor=actor))

    def report(self, reason: str = "not_received", actor: Actor = BUYER, **more: Any) -> Message:
        return self.ask(self.reporting(reason, actor, **more))

    def reporting(self, reason: str = "not_received", actor: Actor = BUYER, **more: Any) -> SubmitReport:
        evidence, proved = more.pop("evidence", ()), more.pop("proved", None)
        return SubmitReport(
            order_id=self.key,
            content=ReportContent.model_validate({"reason": reason, **more}),
            evidence=evidence,
            actor=actor,
            proved=proved,
        )

    def fact(self, kind: str, actor: Actor = PARTNER, **more: Any) -> RecordFact:
        fields = {"kind": kind, "at": self.now, **more}
        return RecordFact(order_id=self.key, content=FactContent.model_validate(fields), actor=actor)

    def check_in(self, due_at: datetime | None = None) -> list[Emission]:
        due_at = due_at or self.file.standing.protection.check_in_at
        assert due_at is not None
        return self.tell(CheckInReached(order_id=self.key, due_at=due_at), source="escalation", time=due_at)

    def case_moves(self, number: int, change: Change, *, at: datetime | None = None, **envelope: Any) -> list[Emission]:
        """An event of cases about the n-th case."""
        event = CaseMoved(
            case_id=self.file.cases[number - 1].case_id,
            order_id=self.key,
            actor=BUYER,
            at=at or self.now,
            case_version=2,
            action="react",
            rule="BP-14",
            change=change,
        )
        return self.tell(event, source="cases", sequence=1, time=event.at, **envelope)


def put(merchant_profile: MerchantProfile, actor: Actor = PARTNER, merchant_id: str = "shop", **more: Any) -> PutMerchant:
    return PutMerchant(merchant_id=merchant_id, profile=merchant_profile, actor=actor, **more)


def of_merchant(merchant_id: str = "shop", created: Merchant | None = None) -> Trade:
    """The key of a merchant."""
    return Trade(key=merchant_key(merchant_id), state=None if created is None else MerchantFile(merchant=created))


def pointers(problem: Problem) -> list[str]:
    return [error.pointer for error in problem.errors]
