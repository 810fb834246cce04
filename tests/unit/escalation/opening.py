"""Orders that are registered, cases that open, and rules that are put: what tests of the decision matrix and rates send."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Literal

from contracts.actors import Actor
from contracts.cases import CaseOpened, Change, PolicyRef
from contracts.envelope import Envelope
from contracts.ids import case_id_of, child_id, order_id_of
from contracts.matrix import RULES_KEY, DecisionRuleContent, PutDecisionRule, WithdrawDecisionRule
from contracts.money import Money
from contracts.orders import Buyer, Order, OrderRegistered, Payout, Protection, Report, Standing

__all__ = ["AT", "case_opened", "content", "order_registered", "put_rule", "withdraw_rule"]

AT = datetime(2024, 1, 10, 9, 30, tzinfo=UTC)
PLATFORM = Actor(role="platform", id="platform")


def content(**more: Any) -> DecisionRuleContent:
    return DecisionRuleContent.model_validate({"name": "Small", "decision": "refund", **more})


def put_rule(
    rule: DecisionRuleContent, command_id: str = "put-1", *, rule_id: str = "drl_1", at: datetime = AT, **more: Any
) -> Envelope:
    command = PutDecisionRule.model_validate({"rule_id": rule_id, "content": rule, "new": True, "actor": PLATFORM, **more})
    return Envelope(id=command_id, source="gateway", key=RULES_KEY, time=at, message=command)


def withdraw_rule(command_id: str, *, rule_id: str = "drl_1", at: datetime = AT, **more: Any) -> Envelope:
    command = WithdrawDecisionRule.model_validate({"rule_id": rule_id, "actor": PLATFORM, **more})
    return Envelope(id=command_id, source="gateway", key=RULES_KEY, time=at, message=command)


def order(
    number: int,
    merchant_id: str = "shop",
    email: str | None = None,
    amount: str = "20.00",
    timezone: str = "Europe/Berlin",
    locale: str = "pl",
    currency: str = "EUR",
    origin: Literal["registered", "reported"] = "registered",
    placed_at: datetime = AT,
) -> Order:
    return Order(
        merchant_id=merchant_id,
        order_number=str(number),
        buyer=Buyer(email=email or f"buyer-{number}@mail.example", locale=locale),
        amount=Money(amount=Decimal(amount), currency=currency),
        placed_at=placed_at,
        protection_activated=True,
        order_id=order_id_of(merchant_id, str(number)),
        programme="buyer-protection",
        timezone=timezone,
        merchant_name="Shop",
        merchant_locale="de",
        origin=origin,
        registered_at=AT,
    )


def order_registered(number: int, **more: Any) -> Envelope:
    placed = order(number, **more)
    standing = Standing(status="open", protection=Protection(state="none"), payout=Payout(held=False), version=1)
    event = OrderRegistered(order=placed, standing=standing)
    return Envelope(
        id=f"registered-{placed.order_id}", source="intake", key=placed.order_id, time=AT, message=event, sequence=1
    )


def case_opened(
    number: int,
    *,
    at: datetime = AT,
    merchant_id: str = "shop",
    email: str | None = None,
    amount: str = "20.00",
    reason: str = "not_received",
    timezone: str = "Europe/Berlin",
    locale: str = "pl",
    currency: str = "EUR",
    policy: tuple[str, int] = ("buyer-protection", 2),
    origin: Literal["registered", "reported"] = "registered",
) -> Envelope:
    placed = order(number, merchant_id, email, amount, timezone, locale, currency, origin)
    order_id = placed.order_id
    buyer = Actor(role="buyer", id="link")
    report_id = child_id("rep", order_id, "r")
    event = CaseOpened(
        case_id=case_id_of(order_id, 1),
        order_id=order_id,
        actor=buyer,
        at=at,
        policy=PolicyRef(programme=policy[0], version=policy[1]),
        report=Report(report_id=report_id, programme=policy[0], reason=reason, actor=buyer, proved=True, at=at),
        order=placed,
        change=Change(state="submitted", turn="merchant"),
    )
    return Envelope(id=f"opened-{event.case_id}", source="cases", key=order_id, time=at, message=event, sequence=1)
