"""Records about one order with a case, as intake, the gateway and escalation send them."""

from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from contracts.actors import Actor, Role
from contracts.base import Message
from contracts.cases import PostMessage, TakeAction
from contracts.envelope import Envelope
from contracts.ids import case_id_of, child_id, order_id_of
from contracts.money import Money
from contracts.notices import NoticeFailed, NoticeProof, NoticeSent
from contracts.orders import Buyer, Fact, FactRecorded, Order, Payout, Protection, Report, ReportAccepted, Standing

REPORTED = datetime(2019, 8, 1, 9, 30, tzinfo=UTC)


def day(number: int) -> datetime:
    """So many days after the report."""
    return REPORTED + timedelta(days=number)


def actor(role: Role) -> Actor:
    return Actor(role=role, id=f"one-{role}")


class Reported:
    """An order and what its parties send about it; ids of commands are given or counted."""

    def __init__(self, number: str = "1", paid: str = "100.00") -> None:
        self.order_id = order_id_of("shop", number)
        self.order = Order(
            merchant_id="shop",
            order_number=number,
            buyer=Buyer(email="buyer@example.com"),
            amount=Money.model_validate({"amount": paid, "currency": "EUR"}),
            placed_at=day(-10),
            protection_activated=True,
            order_id=self.order_id,
            programme="buyer-protection",
            timezone="Europe/Berlin",
            merchant_name="Shop",
            merchant_locale="de",
            registered_at=day(-10),
        )
        self.standing = Standing(
            status="reported_problem",
            protection=Protection(state="active", ends_at=day(20)),
            payout=Payout(held=True, reason="open_case"),
            version=2,
        )
        self.commands = 0
        self.told_by_intake = 1

    def case(self, number: int = 1) -> str:
        return case_id_of(self.order_id, number)

    def report(self, at: datetime = REPORTED, *, reason: str = "not_received", number: int = 1) -> Envelope:
        report = Report(
            reason=reason,
            programme="buyer-protection",
            text="Where is it?",
            report_id=child_id("rep", self.order_id, str(number), length=8),
            actor=actor("buyer"),
            at=at,
        )
        accepted = ReportAccepted(report=report, case_id=self.case(number), order=self.order, standing=self.standing)
        return self.by_intake(accepted, at, command_id=f"{self.order_id} report {number}", settles=False)

    def fact(self, kind: Any, at: datetime, **more: Any) -> Envelope:
        content = Fact(
            kind=kind, at=at, fact_id=child_id("fct", self.order_id, kind), source=actor("partner"), recorded_at=at, **more
        )
        return self.by_intake(FactRecorded(order_id=self.order_id, fact=content, standing=self.standing), at)

    def by_intake(self, message: Message, at: datetime, **more: Any) -> Envelope:
        self.told_by_intake += 1
        event_id = f"{self.order_id} event {self.told_by_intake}"
        return Envelope(event_id, "intake", self.order_id, at, message, sequence=self.told_by_intake, **more)

    def notice(self, state: Literal["sent", "failed"], server_reply: str) -> Envelope:
        """What came of the mail that told the merchant of the case."""
        proof = NoticeProof(
            notice_id="ntc_1",
            kind="case_opened",
            party="merchant",
            to="shop@example.com",
            state=state,
            server="mx.example.com",
            server_reply=server_reply,
            at=REPORTED,
        )
        told = NoticeSent if state == "sent" else NoticeFailed
        message = told(order_id=self.order_id, case_id=self.case(), notice=proof)
        return Envelope("n", "notifications", self.order_id, REPORTED, message, sequence=1)

    def command(self, message: Message, at: datetime, command_id: str | None = None) -> Envelope:
        self.commands += 1
        return Envelope(command_id or f"{self.order_id} command {self.commands}", "gateway", self.order_id, at, message)

    def act(
        self, role: Role, action: str, at: datetime, *, case: int = 1, command_id: str | None = None, **fields: Any
    ) -> Envelope:
        taken = TakeAction(case_id=self.case(case), action=action, fields=fields, actor=actor(role))
        return self.command(taken, at, command_id)

    def answer_yes(self, at: datetime, amount: str = "100.00") -> Envelope:
        return self.act(
            "merchant", "answer", at, refund="yes", message="Sorry.", refund_amount={"amount": amount, "currency": "EUR"}
        )

    def write(self, role: Role, text: str, at: datetime, command_id: str | None = None, case: int = 1) -> Envelope:
        return self.command(PostMessage(case_id=self.case(case), text=text, actor=actor(role)), at, command_id)
