"""Principals: what each sees, and until when a link acts."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from contracts.base import format_moment
from contracts.capability import Capability
from services.gateway.principals import Principal, acts_until, key_digest, new_key, require_acting
from services.gateway.problems import ProblemError

NOW = datetime.fromisoformat("2021-03-01T10:00:00+00:00")
ORDER = "ord_" + "1" * 32
CASE = "cas_" + "1" * 32 + "_1"
ENDS = NOW + timedelta(days=30)


def body(
    *, protection: dict[str, Any] | None = None, open_case: bool = False, closed_at: datetime | None = None
) -> dict[str, Any]:
    cases = {}
    if open_case or closed_at:
        state = "submitted" if open_case else "resolved"
        cases[CASE] = {"state": state, "closed_at": format_moment(closed_at) if closed_at else None}
    return {
        "order": {"order_id": ORDER, "merchant_id": "shop", "placed_at": format_moment(NOW)},
        "standing": {
            "status": "open",
            "protection": protection or {"state": "active", "ends_at": format_moment(ENDS)},
            "payout": {"held": open_case},
            "open_cases": [{"case_id": CASE, "programme": "p", "reason": "r"}] if open_case else [],
            "version": 1,
        },
        "file": {"cases": cases} if cases else None,
    }


def link(role: Any = "buyer", **more: Any) -> Capability:
    return Capability(link_id="lnk_1", order_id=ORDER, role=role, **more)


@pytest.mark.parametrize(
    ("given", "capability", "until"),
    [
        (body(), link(), ENDS + timedelta(days=60)),
        (body(), link(expires_at=NOW), NOW),
        (body(open_case=True), link(), None),
        (body(open_case=True), link(expires_at=NOW), NOW),
        (body(closed_at=ENDS + timedelta(days=5)), link(), ENDS + timedelta(days=65)),
        (body(closed_at=NOW), link(), ENDS + timedelta(days=60)),
        (body(protection={"state": "none", "reason": "not_activated"}), link(), NOW + timedelta(days=90)),
        (body(open_case=True), link("merchant", case_id=CASE), None),
        (body(closed_at=NOW), link("merchant", case_id=CASE), NOW),
        (body(open_case=True), link("merchant", case_id=CASE, expires_at=ENDS), ENDS),
    ],
)
def test_until_when_a_link_acts(given: dict[str, Any], capability: Capability, until: datetime | None) -> None:
    assert acts_until(capability, given) == until


def test_an_expired_link_is_refused_and_a_key_never_expires() -> None:
    given = body()
    until = ENDS + timedelta(days=60)
    bearer = Principal("buyer", "buyer:lnk_1", capability=link())
    require_acting(bearer, given, until - timedelta(milliseconds=1))
    with pytest.raises(ProblemError) as refused:
        require_acting(bearer, given, until)
    assert (refused.value.problem.status, refused.value.problem.type) == (403, "/problems/link-expired")
    require_acting(Principal("merchant", "merchant:shop", frozenset({"shop"})), given, until)


@pytest.mark.parametrize(
    ("principal", "owner", "sees"),
    [
        (Principal("platform", "platform"), "partner", True),
        (Principal("partner", "partner"), "partner", True),
        (Principal("partner", "partner"), "somebody else", False),
        (Principal("partner", "partner"), None, False),
        (Principal("merchant", "merchant:shop", frozenset({"shop"})), "partner", True),
        (Principal("merchant", "merchant:other", frozenset({"other"})), "partner", False),
        (Principal("buyer", "buyer:lnk_1", capability=link()), "partner", True),
        (Principal("buyer", "b", capability=Capability(link_id="l", order_id="ord_2", role="buyer")), "partner", False),
        (Principal("merchant", "m", capability=link("merchant", case_id=CASE)), "partner", True),
    ],
)
def test_who_sees_an_order(principal: Principal, owner: str | None, sees: bool) -> None:
    assert principal.sees_order(body(), owner) is sees


def test_a_merchants_button_sees_its_one_case() -> None:
    button = Principal("merchant", "m", capability=link("merchant", case_id=CASE))
    assert button.sees_case(CASE)
    assert not button.sees_case(CASE[:-1] + "2")
    assert Principal("buyer", "b", capability=link()).sees_case(CASE[:-1] + "2")


def test_who_speaks_for_whom() -> None:
    partner = Principal("partner", "partner")
    assert (partner.reads_as, partner.turn) == ("merchant", None)
    assert partner.actor(for_buyer=True).acts_for == "buyer"
    assert partner.actor().acts_for is None
    assert Principal("buyer", "b", capability=link()).actor(for_buyer=True).acts_for is None
    with pytest.raises(ProblemError) as refused:
        partner.require("platform", "merchant")
    assert refused.value.problem.status == 403


def test_a_key_is_the_same_for_the_same_cause_and_is_not_kept() -> None:
    assert new_key("secret", "cause") == new_key("secret", "cause")
    assert new_key("secret", "cause") != new_key("secret", "another")
    key_id, key = new_key("secret", "cause")
    assert new_key("another secret", "cause")[1] != key
    assert key not in key_digest(key)
    assert key_id.startswith("key_")


@pytest.mark.parametrize(
    ("principal", "owner", "sees", "given"),
    [
        (Principal("platform", "platform"), "partner", True, False),
        (Principal("partner", "partner"), "partner", True, False),
        (Principal("partner", "partner:key_1"), "partner", False, False),
        (Principal("partner", "partner:key_1", frozenset({"shop"})), "partner", True, True),
        (Principal("merchant", "merchant:shop", frozenset({"shop"})), "partner", True, False),
        (Principal("merchant", "merchant:key_2", frozenset({"other", "shop"})), "partner", True, False),
        (Principal("merchant", "merchant:other", frozenset({"other"})), "partner", False, False),
        (Principal("merchant", "merchant:lnk_1", capability=link("merchant", case_id=CASE)), "partner", False, False),
    ],
)
def test_who_sees_a_merchant_and_who_was_given_it(principal: Principal, owner: str, sees: bool, given: bool) -> None:
    assert (principal.sees_merchant("shop", owner), principal.was_given("shop")) == (sees, given)


def test_keys_of_different_roles_are_different_keys_and_say_what_they_are() -> None:
    keys = {role: new_key("secret", "command-1", role)[1] for role in ("platform", "partner", "merchant")}
    assert len(set(keys.values())) == 3
    assert all(key.startswith(f"{role}_") for role, key in keys.items())
