"""Reports in every programme: who may report, claims once per merchant, insolvency, orders known from a report, bounds."""

from datetime import timedelta
from typing import Any

import pytest

from contracts.ids import merchant_key, order_id_of, reported_order_id
from contracts.orders import (
    AskClaim,
    CommandRefused,
    CommandRepeated,
    DeclareInsolvency,
    MerchantChanged,
    OrderRegistered,
    RegisterOrder,
    ReportAccepted,
    ReportContent,
    SubmitReport,
)
from contracts.texts import address_key
from contracts.topics import INTAKE_COMMANDS
from services.intake import orders
from tests.unit.intake.trading import (
    BUYER,
    MERCHANT,
    ORDER_ID,
    PARTNER,
    PLACED,
    PLATFORM,
    Trade,
    content,
    merchant,
    of_merchant,
    pointers,
)

ALL = ("buyer-protection", "order-issues", "returns-desk", "claims")


def trade_of(number: str = "4711", claims: dict[str, str] | None = None, **profile: Any) -> Trade:
    shop = merchant(programmes=ALL, country="PL", **profile)
    trade = Trade(merchants={"shop": shop}, key=order_id_of("shop", number), claims={} if claims is None else claims)
    assert isinstance(trade.register(order_number=number), OrderRegistered)
    trade.now = PLACED + timedelta(days=3)
    return trade


def claim(trade: Trade, external_id: str = "psp-1", actor: Any = PARTNER, **more: Any) -> Any:
    return trade.reporting("chargeback", actor, programme="claims", external_id=external_id, **more)


def test_the_version_in_force_and_the_merchant_s_country_are_pinned() -> None:
    trade = trade_of()
    assert trade.file.order.merchant_country == "PL"
    told = trade.report("complaint", programme="returns-desk")
    assert isinstance(told, ReportAccepted)
    assert (told.policy_version, told.order.merchant_country) == (1, "PL")


@pytest.mark.rule("CP-03")
@pytest.mark.parametrize("actor", [BUYER, MERCHANT])
def test_who_may_not_report_a_reason_is_told_so(actor: Any) -> None:
    assert trade_of().problem(claim(trade_of(), actor=actor).model_copy(update={"actor": actor})).status in (403, 422)
    plain = trade_of()
    assert plain.problem(plain.reporting("chargeback", actor, programme="claims")).status == 403


@pytest.mark.rule("CP-03")
def test_a_claim_is_in_nobody_s_name_and_needs_a_moment_to_come() -> None:
    trade = trade_of()
    past = trade.problem(claim(trade, answer_by=trade.now - timedelta(hours=1)))
    assert pointers(past) == ["/answer_by"]
    told = trade.ask(claim(trade, answer_by=trade.now + timedelta(days=9), amount={"amount": "10.00", "currency": "EUR"}))
    assert isinstance(told, ReportAccepted)
    assert told.report.actor.acts_for is None


@pytest.mark.rule("CP-03")
def test_a_claim_on_another_order_is_answered_by_the_order_that_has_it() -> None:
    held: dict[str, str] = {}
    first, second = trade_of("1", held), trade_of("2", held)
    assert isinstance(first.ask(claim(first)), ReportAccepted)
    (asked,) = second.tell(claim(second), id_="late")
    assert (asked.topic, asked.key, asked.id) == (INTAKE_COMMANDS, first.key, "late")
    assert isinstance(asked.message, AskClaim)
    assert second.file.cases == ()
    answer = first.ask(asked.message)
    assert isinstance(answer, CommandRepeated)
    assert answer.href == f"/v1/cases/{first.file.cases[0].case_id}"


@pytest.mark.rule("CP-03")
def test_what_is_wrong_in_itself_does_not_get_to_hold_a_claim() -> None:
    held: dict[str, str] = {}
    first, second = trade_of("1", held), trade_of("2", held)
    assert first.problem(claim(first, lines=[{"line_id": "none", "quantity": 1}])).status == 422
    assert held == {}
    assert isinstance(second.ask(claim(second)), ReportAccepted)


def test_a_claim_that_its_holder_refused_is_pointed_to_it() -> None:
    held: dict[str, str] = {}
    first, second = trade_of("1", held), trade_of("2", held)
    first.ask(claim(first, "psp-1"))
    assert first.problem(claim(first, "psp-2")).extra["refusal"] == "already_open"
    (asked,) = second.tell(claim(second, "psp-2"))
    refused = first.ask(asked.message)
    assert isinstance(refused, CommandRefused)
    assert first.key in refused.problem.detail


@pytest.mark.rule("BP-03", "BP-25")
def test_insolvency_is_declared_by_the_platform_and_lets_buyers_claim() -> None:
    shop = of_merchant(created=merchant())
    declare = DeclareInsolvency(merchant_id="shop", actor=PLATFORM)
    assert shop.problem(declare.model_copy(update={"actor": PARTNER})).status == 403
    assert of_merchant("nobody").problem(declare).status == 404
    told = shop.ask(declare)
    assert isinstance(told, MerchantChanged)
    assert (told.merchant.insolvent_at, told.merchant.version) == (shop.now, 2)
    assert isinstance(shop.ask(declare), CommandRepeated)
    assert shop.key == merchant_key("shop")
    for insolvent_at, accepted in ((None, False), (PLACED + timedelta(hours=1), True)):
        trade = Trade(merchants={"shop": merchant(insolvent_at=insolvent_at)})
        trade.register()
        report = trade.report("merchant_insolvent")
        assert isinstance(report, ReportAccepted) == accepted
    taken_back = shop.ask(declare.model_copy(update={"insolvent": False}))
    assert isinstance(taken_back, MerchantChanged)
    assert taken_back.merchant.insolvent_at is None


@pytest.mark.rule("RD-03")
def test_an_order_that_is_known_from_a_report_takes_no_number_away() -> None:
    key = reported_order_id("shop", "4711", "Buyer@example.com")
    assert key == reported_order_id("shop", "4711", "buyer@example.com") != order_id_of("shop", "4711")
    trade = Trade(merchants={"shop": merchant(programmes=ALL)}, key=key)
    command = RegisterOrder(
        content=content(programme="returns-desk", protection_activated=False, buyer={"email": "Buyer@example.com"}),
        reported=True,
        actor=BUYER,
    )
    told = trade.ask(command)
    assert isinstance(told, OrderRegistered)
    assert (told.order.origin, told.order.programme, told.standing.protection.state) == ("reported", "returns-desk", "none")
    later = command.model_copy(update={"content": content(programme="returns-desk", amount={"amount": "5", "currency": "EUR"})})
    assert trade.repeated(later) == f"/v1/orders/{key}"


def by_form(key: str, reason: str = "complaint", **order: object) -> SubmitReport:
    said = {"programme": "returns-desk", "protection_activated": False, "lines": [], **order}
    return SubmitReport(
        order_id=key,
        merchant_id="shop",
        content=ReportContent(reason=reason, programme="returns-desk"),
        form_id="frm_1",
        order=content(**said),
        actor=BUYER,
    )


@pytest.mark.rule("RD-01", "RD-03", "RD-11")
def test_a_report_by_form_brings_its_order_also_to_a_shop_that_has_agreed_on_no_returns_desk() -> None:
    key = reported_order_id("shop", "4711", "buyer@example.com")
    trade = Trade(key=key)
    registered, accepted = trade.tell(by_form(key), id_="c1")
    assert isinstance(registered.message, OrderRegistered)
    assert isinstance(accepted.message, ReportAccepted)
    assert (registered.sequenced, registered.settles, accepted.sequenced) == (True, False, True)
    assert (registered.message.order.origin, registered.message.standing.version) == ("reported", 1)
    assert (accepted.message.report.programme, accepted.message.standing.version) == ("returns-desk", 2)
    assert registered.message.order == accepted.message.order == trade.file.order
    assert trade.repeated(by_form(key), id_="c1") == f"/v1/cases/{accepted.message.case_id}"
    assert trade.problem(by_form(key)).extra["refusal"] == "already_open"
    (again,) = trade.tell(by_form(key, "withdrawal", amount={"amount": "5", "currency": "EUR"}))
    assert isinstance(again.message, ReportAccepted)
    assert again.message.order == registered.message.order, "what a later report says of it changes nothing"
    assert isinstance(trade.report("other", programme="returns-desk"), ReportAccepted), "by the link, too"


@pytest.mark.rule("RD-03", "RD-11")
def test_a_form_offers_its_programme_on_a_registered_order_and_nothing_else_does() -> None:
    trade = Trade()
    trade.register()
    assert trade.problem(trade.reporting("complaint", programme="returns-desk")).errors[0].pointer == "/programme"
    assert isinstance(trade.ask(by_form(ORDER_ID)), ReportAccepted)
    assert trade.file.order.origin == "registered"


@pytest.mark.rule("RD-03")
@pytest.mark.parametrize(
    ("reason", "order", "status"),
    [
        ("nonsense", {}, 409),
        ("satisfied", {}, 409),
        ("complaint", {"amount": {"amount": "-1.00", "currency": "EUR"}}, 422),
        ("complaint", {"merchant_id": "nobody"}, 422),
    ],
)
def test_a_refused_report_by_form_leaves_no_order(reason: str, order: dict[str, object], status: int) -> None:
    key = reported_order_id("shop", "4711", "buyer@example.com")
    trade = Trade(key=key)
    assert trade.problem(by_form(key, reason, **order)).status == status
    assert trade.state is None
    assert isinstance(trade.tell(by_form(key))[0].message, OrderRegistered), "the number is free"


def test_only_a_form_s_report_brings_an_order() -> None:
    trade = Trade(key=reported_order_id("shop", "4711", "buyer@example.com"))
    assert trade.problem(trade.reporting("complaint")).status == 404


@pytest.mark.rule("RD-03")
def test_addresses_that_only_unicode_takes_for_the_same_are_other_people_s() -> None:
    assert address_key("Kim@Mail.example") == address_key("kim@mail.EXAMPLE")
    for mine, other in (("kim@straße.example", "kim@strasse.example"), ("kim@mail.example", "\u212aim@mail.example")):
        assert reported_order_id("shop", "1", mine) != reported_order_id("shop", "1", other)


def test_an_order_keeps_so_many_facts_and_so_much_of_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orders, "MOST_FACTS", 3)
    trade = trade_of()
    for number in range(3):
        trade.ask(trade.fact("shipped", external_id=str(number)))
    assert trade.problem(trade.fact("delivered")).type == "/problems/order-full"
    assert trade.repeated(trade.fact("shipped", external_id="1")) == trade.file.href
