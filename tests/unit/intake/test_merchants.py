"""Merchants: who may set what, and what a profile must be."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from contracts.actors import Actor
from contracts.notices import TellMerchant
from contracts.orders import CommandRepeated, Merchant, MerchantChanged, ReturnInfoAged
from tests.unit.intake.trading import (
    BUYER,
    MERCHANT,
    OTHER_PARTNER,
    PARTNER,
    PLACED,
    PLATFORM,
    of_merchant,
    pointers,
    profile,
    put,
)


def changed(answer: object) -> Merchant:
    assert isinstance(answer, MerchantChanged)
    return answer.merchant


def test_a_new_merchant_belongs_to_who_put_it_and_has_the_zone_of_its_country() -> None:
    trade = of_merchant()
    emission, _ = trade.tell(put(profile()), id_="c1")
    merchant = changed(emission.message)
    assert (merchant.created_by, merchant.timezone, merchant.version) == ("partner-1", "Europe/Berlin", 1)
    assert (emission.settles, emission.sequenced, emission.command_id) == (True, True, "c1")


def test_putting_replaces_and_counts_versions() -> None:
    trade = of_merchant()
    trade.ask(put(profile()))
    merchant = changed(trade.ask(put(profile(name="Shop 2", timezone="America/Bogota"))))
    assert (merchant.name, merchant.timezone, merchant.version) == ("Shop 2", "America/Bogota", 2)
    assert trade.repeated(put(profile(name="Shop 2", timezone="America/Bogota"))) == "/v1/merchants/shop"


def test_an_older_put_that_comes_again_does_not_undo_a_newer_one() -> None:
    trade = of_merchant()
    trade.tell(put(profile(name="first")), id_="c1")
    trade.tell(put(profile(name="second")), id_="c2")
    trade.repeated(put(profile(name="first")), id_="c1")


def test_who_puts_what_somebody_else_has_changed_is_told_so() -> None:
    trade = of_merchant()
    assert trade.problem(put(profile(), if_match=1)).status == 412, "there is none to be at that version"
    trade.ask(put(profile()))
    trade.tell(put(profile(name="second"), if_match=1), id_="c2")
    stale = trade.problem(put(profile(name="third"), if_match=1))
    assert (stale.status, stale.type) == (412, "/problems/version-mismatch")
    assert trade.problem(put(profile(name="third"), OTHER_PARTNER, if_match=1)).status == 404
    trade.repeated(put(profile(name="second"), if_match=1), id_="c2")  # it has changed the version itself
    assert changed(trade.ask(put(profile(name="third"), if_match=2))).version == 3


@pytest.mark.rule("BP-02")
@pytest.mark.parametrize("name", ["certified_at", "seal_live_at"])
def test_only_the_platform_says_that_a_merchant_is_certified(name: str) -> None:
    trade = of_merchant()
    assert trade.problem(put(profile(**{name: PLACED}))).status == 403
    trade.ask(put(profile()))
    merchant = changed(trade.ask(put(profile(**{name: PLACED}), PLATFORM)))
    assert getattr(merchant, name) == PLACED
    assert trade.problem(put(profile(**{name: PLACED + timedelta(days=1)}))).status == 403
    kept = changed(trade.ask(put(profile(name="new name"))))
    assert getattr(kept, name) == PLACED
    assert kept.created_by == PARTNER.id
    trade.repeated(put(profile(name="new name", **{name: PLACED})))


def test_a_merchant_of_another_partner_does_not_exist_for_one_that_was_not_given_it() -> None:
    trade = of_merchant()
    trade.ask(put(profile()))
    assert trade.problem(put(profile(name="mine"), OTHER_PARTNER)).status == 404
    assert trade.problem(put(profile(name="mine"), OTHER_PARTNER, given=True)).status == 403, "it sees it and may not put it"
    assert changed(trade.ask(put(profile(name="ours"), PLATFORM))).created_by == PARTNER.id


@pytest.mark.parametrize("actor", [BUYER, MERCHANT])
def test_other_roles_do_not_put_merchants(actor: Actor) -> None:
    assert of_merchant().problem(put(profile(), actor)).status == 403


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"timezone": "Europe/Atlantis"}, ["/timezone"]),
        ({"timezone": "Europe"}, ["/timezone"]),
        ({"timezone": "../etc/passwd"}, ["/timezone"]),
        ({"country": "ZZ"}, ["/country"]),
        ({"programmes": ["buyer-protection", "lottery"]}, ["/programmes/1"]),
        ({"programmes": ["buyer-protection", "buyer-protection"]}, ["/programmes/1"]),
        ({"programmes": ["lottery"], "country": "ZZ"}, ["/programmes/0", "/country"]),
    ],
)
def test_what_does_not_fit_is_pointed_at(changes: dict[str, Any], expected: list[str]) -> None:
    problem = of_merchant().problem(put(profile(**changes)))
    assert (problem.status, pointers(problem)) == (422, expected)


def test_an_id_is_quoted_in_its_address() -> None:
    trade = of_merchant("shop/ä")
    trade.ask(put(profile(), merchant_id="shop/ä"))
    assert trade.repeated(put(profile(), merchant_id="shop/ä")) == "/v1/merchants/shop%2F%C3%A4"


# Return information (CP-05)

URL = "https://shop.example/returns"


def aged(since: datetime) -> ReturnInfoAged:
    return ReturnInfoAged(merchant_id="shop", since=since)


@pytest.mark.rule("CP-05")
def test_a_merchant_is_reminded_once_a_year_of_return_information_that_nobody_confirmed() -> None:
    trade = of_merchant()
    put_at = trade.now
    trade.ask(put(profile(return_policy_url=URL)))
    trade.now = put_at + timedelta(days=365)
    mail, event = trade.tell(aged(put_at))
    assert isinstance(mail.message, TellMerchant)
    assert (mail.message.notice, mail.message.about["url"]) == ("return_info_reminder", URL)
    assert changed(event.message).return_info_reminded_at == trade.now
    assert trade.tell(aged(put_at)) == []  # a timer fires at least once
    trade.now += timedelta(days=365)
    again, _ = trade.tell(aged(put_at))
    assert again.id != mail.id


@pytest.mark.rule("CP-05")
def test_putting_the_profile_again_confirms_what_is_old() -> None:
    trade = of_merchant()
    put_at = trade.now
    trade.ask(put(profile(return_policy_url=URL)))
    trade.now = put_at + timedelta(days=100)
    assert isinstance(trade.ask(put(profile(return_policy_url=URL))), CommandRepeated)
    trade.now = put_at + timedelta(days=360)
    confirmed = changed(trade.ask(put(profile(return_policy_url=URL))))
    assert (confirmed.return_info_at, confirmed.version) == (trade.now, 2)
    trade.now = put_at + timedelta(days=365)
    assert trade.tell(aged(put_at)) == []


@pytest.mark.rule("CP-05")
def test_there_is_nothing_to_remind_of_without_return_information() -> None:
    trade = of_merchant()
    trade.ask(put(profile()))
    assert trade.tell(aged(trade.now)) == []
    assert of_merchant().tell(aged(trade.now)) == []
