"""A case told as its events, made by the engine itself, for tests of what is mailed about it."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from contracts.actors import Actor, Role
from contracts.cases import CaseEvent, PostMessage, TakeAction
from contracts.ids import case_id_of, order_id_of
from contracts.money import Money
from contracts.notices import NoticeFailed, NoticeProof, NoticeSent
from contracts.orders import (
    Buyer,
    CheckInAsked,
    Contact,
    Fact,
    FactRecorded,
    Merchant,
    NotifyAddress,
    Order,
    Payout,
    Protection,
    Report,
    ReportAccepted,
    ServiceContact,
    Standing,
)
from engine.casefile import CaseFile
from engine.decide import Command, Refusal, decide, evolve
from engine.programmes import Programmes

PLACED = datetime(2019, 7, 17, 9, 30, tzinfo=UTC)
REPORTED = datetime(2019, 8, 9, 12, 0, tzinfo=UTC)
ORDER_ID = order_id_of("shop", "A-1")
CASE_ID = case_id_of(ORDER_ID, 1)

STANDING = Standing(
    status="open",
    protection=Protection(state="active", ends_at=PLACED + timedelta(days=30)),
    payout=Payout(held=False),
    version=1,
)


def euros(amount: str) -> Money:
    return Money.model_validate({"amount": amount, "currency": "EUR"})


def merchant(**changes: Any) -> Merchant:
    return Merchant(
        **{
            "merchant_id": "shop",
            "name": "Blumen & Söhne",
            "programmes": ("buyer-protection",),
            "locale": "de-DE",
            "country": "DE",
            "timezone": "Europe/Berlin",
            "notify": (
                NotifyAddress(kind="new_case", email="new@shop.example"),
                NotifyAddress(kind="all", email="all@shop.example"),
            ),
            "service_contact": ServiceContact(email="service@shop.example", phone="+49 30 1", url="https://shop.example/help"),
            "created_by": "partner",
            "version": 1,
            **changes,
        }
    )


def order(**changes: Any) -> Order:
    buyer = {"email": "bea@buyer.example", "name": "Bea", "locale": "en-GB", **changes.pop("buyer", {})}
    return Order(
        **{
            "order_id": ORDER_ID,
            "merchant_id": "shop",
            "order_number": "A-1",
            "programme": "buyer-protection",
            "buyer": Buyer(**buyer),
            "amount": euros("1234.50"),
            "placed_at": PLACED,
            "protection_activated": True,
            "timezone": "Europe/Berlin",
            "merchant_name": "Blumen & Söhne",
            "merchant_locale": "de-DE",
            "registered_at": PLACED,
            **changes,
        }
    )


def check_in(**changes: Any) -> CheckInAsked:
    return CheckInAsked(order=order(**changes), standing=STANDING)


@dataclass
class Story:
    """An order's case as it goes on; `last` are the events of the last step, `told` all of them."""

    order: Order = field(default_factory=order)
    at: datetime = REPORTED
    file: CaseFile | None = None
    told: list[CaseEvent] = field(default_factory=list)
    last: list[CaseEvent] = field(default_factory=list)

    def step(self, command: Command) -> "Story":
        events = decide(self.file, command, self.at, f"command-{len(self.told)}", Programmes.shipped())
        assert not isinstance(events, Refusal), events.problem
        for event in events:
            self.file = evolve(self.file, event)
        self.last = events
        self.told += events
        return self

    def later(self, **time: float) -> "Story":
        self.at += timedelta(**time)
        return self

    def reported(
        self,
        reason: str = "not_received",
        text: str | None = "Where is it?",
        contact: str | None = None,
        programme: str = "buyer-protection",
        **more: Any,
    ) -> "Story":
        report = Report(
            report_id=f"rep_{ORDER_ID[4:]}_1",
            reason=reason,
            programme=programme,
            text=text,
            contact=Contact(email=contact) if contact else None,
            actor=Actor(role="buyer"),
            at=self.at,
            **more,
        )
        return self.step(ReportAccepted(report=report, case_id=CASE_ID, order=self.order, standing=STANDING))

    def does(self, role: Role, action: str, **fields: Any) -> "Story":
        return self.step(TakeAction(case_id=CASE_ID, action=action, fields=fields, actor=Actor(role=role, id=role)))

    def answered(self, refund: str = "yes", amount: str | None = None, message: str = "It is on its way.") -> "Story":
        fields: dict[str, Any] = {"refund": refund, "message": message}
        if amount is not None:
            fields["refund_amount"] = euros(amount).model_dump(mode="json")
        return self.does("merchant", "answer", **fields)

    def writes(self, role: Role, text: str) -> "Story":
        return self.step(PostMessage(case_id=CASE_ID, text=text, actor=Actor(role=role, id=role)))

    def notice(self, state: Literal["sent", "failed"], **of: Any) -> "Story":
        """What became of a mail to the merchant; `of` says of which, at least its `deadline_id`."""
        replies = {"sent": "250 ok", "failed": "550 no such user"}
        given = {"notice_id": "ntc_1", "kind": "case_opened", "party": "merchant", "to": "all@shop.example", **of}
        proof = NoticeProof(state=state, server="mx", server_reply=replies[state], at=self.at, **given)
        message = NoticeSent if state == "sent" else NoticeFailed
        return self.step(message(order_id=ORDER_ID, case_id=CASE_ID, notice=proof))

    def fact(self, kind: Any) -> "Story":
        fact = Fact(
            fact_id=f"fct_{ORDER_ID[4:]}_{kind}", kind=kind, at=self.at, source=Actor(role="partner"), recorded_at=self.at
        )
        return self.step(FactRecorded(order_id=ORDER_ID, fact=fact, standing=STANDING))
