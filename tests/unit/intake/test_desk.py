"""The desk of a merchant as intake decides about it: what fits, who may, and that nothing is undone."""

from typing import Any

import pytest

from contracts.actors import Actor
from contracts.desk import ChangeDesk, Desk, DeskList
from contracts.notices import TellMerchant
from contracts.orders import MerchantChanged
from tests.unit.intake.trading import (
    BUYER,
    MERCHANT,
    OTHER_PARTNER,
    PARTNER,
    PLATFORM,
    Trade,
    of_merchant,
    pointers,
    profile,
    put,
)

A, B, C = "con_a", "con_b", "con_c"


def person(name: str) -> dict[str, Any]:
    return {"name": name, "email": f"{name}@shop.example", "locale": None}


def away(who: str, first: str, last: str, deputy: str) -> dict[str, Any]:
    return {"consultant_id": who, "from": first, "to": last, "deputy_id": deputy, "note": None}


def new(name: DeskList, item_id: str, content: dict[str, Any], actor: Actor = MERCHANT, **more: Any) -> ChangeDesk:
    return ChangeDesk(merchant_id="shop", list_name=name, item_id=item_id, content=content, new=True, actor=actor, **more)


def replaced(name: DeskList, item_id: str, content: dict[str, Any] | None, **more: Any) -> ChangeDesk:
    return ChangeDesk(merchant_id="shop", list_name=name, item_id=item_id, content=content, actor=MERCHANT, **more)


def desk_after(answer: object) -> Desk:
    assert isinstance(answer, MerchantChanged)
    return answer.desk


def done(trade: Trade, command: ChangeDesk) -> Desk:
    """The desk after a command that may tell others too."""
    return desk_after(trade.tell(command)[0].message)


@pytest.fixture
def trade() -> Trade:
    """A shop with three consultants."""
    trade = of_merchant()
    trade.ask(put(profile()))
    for item_id in (A, B, C):
        trade.ask(new("consultants", item_id, person(item_id[-1])))
    return trade


def test_items_are_put_replaced_and_taken_away_and_the_merchant_stays(trade: Trade) -> None:
    answer = trade.ask(replaced("consultants", B, {**person("bea"), "locale": "en"}, if_match=1))
    desk = desk_after(answer)
    assert [(each.consultant_id, each.name, each.version) for each in desk.consultants] == [
        (A, "a", 1),
        (B, "bea", 2),
        (C, "c", 1),
    ]
    assert isinstance(answer, MerchantChanged)
    assert (answer.merchant.version, answer.href) == (1, f"/v1/merchants/shop/consultants/{B}")
    assert len(desk_after(trade.ask(replaced("consultants", C, None))).consultants) == 2


def test_a_new_profile_keeps_the_desk(trade: Trade) -> None:
    assert len(desk_after(trade.ask(put(profile(name="New name")))).consultants) == 3


def test_a_command_that_comes_again_changes_nothing(trade: Trade) -> None:
    trade.tell(replaced("consultants", A, person("anna")), id_="c1")
    trade.tell(replaced("consultants", A, person("anne")), id_="c2")
    assert trade.repeated(replaced("consultants", A, person("anna")), id_="c1").endswith(A)
    assert trade.repeated(new("consultants", A, person("a"))).endswith(A)


@pytest.mark.parametrize(
    ("actor", "given", "status"), [(OTHER_PARTNER, False, 404), (OTHER_PARTNER, True, None), (BUYER, False, 403)]
)
def test_whose_desk_it_is(trade: Trade, actor: Actor, given: bool, status: int | None) -> None:
    command = new("forms", "frm_1", {"channel": "ebay", "locale": None}, actor, given=given)
    if status is None:
        assert desk_after(trade.ask(command)).forms[0].channel == "ebay"
    else:
        assert trade.problem(command).status == status


@pytest.mark.parametrize("actor", [PARTNER, PLATFORM, MERCHANT])
def test_partner_platform_and_staff_keep_it(trade: Trade, actor: Actor) -> None:
    assert len(desk_after(trade.ask(new("forms", "frm_1", {"channel": "ebay", "locale": None}, actor))).forms) == 1


def test_no_merchant_no_item_another_version(trade: Trade) -> None:
    assert of_merchant().problem(new("consultants", A, person("a"))).status == 404
    assert trade.problem(replaced("absences", "abs_1", away(A, "2024-01-01", "2024-01-02", B))).status == 404
    assert trade.problem(replaced("consultants", A, None, if_match=2)).status == 412


RULE = {"programme": None, "reason": None, "channel": None, "consultant_id": A}
LABEL = {"code": "parts", "text": {"de": "Teile bestellt"}, "state": "in_progress"}


@pytest.mark.rule("RD-08", "RD-09")
@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("assignment-rules", {**RULE, "consultant_id": "con_x"}, ["/consultant_id"]),
        ("assignment-rules", {**RULE, "programme": "lottery"}, ["/programme"]),
        ("assignment-rules", {**RULE, "programme": "buyer-protection", "reason": "ugly"}, ["/reason"]),
        ("assignment-rules", {**RULE, "reason": "ugly"}, ["/reason"]),
        ("absences", away("con_x", "2024-01-01", "2024-01-02", "con_y"), ["/consultant_id", "/deputy_id"]),
        ("absences", away(A, "2024-01-02", "2024-01-01", B), ["/to"]),
        ("absences", away(A, "2024-01-02", "2024-01-02", A), ["/deputy_id"]),
        ("absences", away(A, "2024-02-10", "2024-02-12", C), ["/from"]),
        ("absences", away(B, "2024-01-01", "2024-12-31", A), ["/deputy_id"]),
        ("status-labels", {**LABEL, "code": "known"}, ["/code"]),
    ],
)
def test_what_does_not_fit_the_desk_is_pointed_at(
    trade: Trade, name: DeskList, content: dict[str, Any], expected: list[str]
) -> None:
    done(trade, new("absences", "abs_1", away(A, "2024-02-01", "2024-02-10", B)))
    trade.ask(new("status-labels", "lbl_1", {**LABEL, "code": "known"}))
    problem = trade.problem(new(name, "new_1", content))
    assert (problem.status, pointers(problem)) == (422, expected)
    assert all(error.detail for error in problem.errors)


@pytest.mark.rule("RD-09")
def test_a_loop_of_three_that_only_exists_on_one_day_is_refused_also_by_a_change(trade: Trade) -> None:
    done(trade, new("absences", "abs_1", away(A, "2024-02-01", "2024-02-10", B)))
    done(trade, new("absences", "abs_2", away(B, "2024-02-10", "2024-02-20", C)))
    done(trade, new("absences", "abs_3", away(C, "2024-02-11", "2024-02-12", A)))
    problem = trade.problem(replaced("absences", "abs_3", away(C, "2024-02-10", "2024-02-12", A)))
    assert pointers(problem) == ["/deputy_id"]
    assert "c → a → b → c" in problem.errors[0].detail
    assert len(done(trade, replaced("absences", "abs_3", away(C, "2024-02-11", "2024-02-11", A))).absences) == 3


def test_an_absence_that_is_changed_does_not_clash_with_itself(trade: Trade) -> None:
    done(trade, new("absences", "abs_1", away(A, "2024-02-01", "2024-02-10", B)))
    done(trade, replaced("absences", "abs_1", away(A, "2024-02-05", "2024-02-20", C)))


@pytest.mark.rule("RD-09")
def test_the_deputy_is_told_when_an_absence_is_put_down_or_becomes_another(trade: Trade) -> None:
    def told(command: ChangeDesk) -> list[TellMerchant]:
        emissions = trade.tell(command)[1:]
        assert all((each.key, each.sequenced, each.settles) == ("mer:shop", False, False) for each in emissions)
        return [each.message for each in emissions if isinstance(each.message, TellMerchant)]

    (first,) = told(new("absences", "abs_1", {**away(A, "2024-02-01", "2024-02-10", B), "note": "Hi"}))
    assert (first.notice, first.to, first.about["absent"], first.about["note"]) == ("handover", "b@shop.example", "a", "Hi")
    (second,) = told(replaced("absences", "abs_1", away(A, "2024-02-01", "2024-02-10", C)))
    assert second.to == "c@shop.example"
    assert told(replaced("absences", "abs_1", away(A, "2024-02-01", "2024-02-10", C))) == []
    assert told(replaced("absences", "abs_1", None)) == []


@pytest.mark.rule("RD-09", "NX-17")
def test_who_is_there_while_the_deputy_is_away_too_is_told_whichever_absence_came_first(trade: Trade) -> None:
    def told(command: ChangeDesk) -> list[tuple[str | None, str, str, str]]:
        mails = [each.message for each in trade.tell(command)[1:] if isinstance(each.message, TellMerchant)]
        return [(mail.to, mail.about["absent"], mail.about["from"], mail.about["to"]) for mail in mails]

    b_to_c = away(B, "2024-02-01", "2024-02-04", C)
    assert told(new("absences", "abs_b", b_to_c)) == [("c@shop.example", "b", "2024-02-01", "2024-02-04")]
    with_note = {**away(A, "2024-02-01", "2024-02-10", B), "note": "Mind the fragile parcels."}
    assert told(new("absences", "abs_a", with_note)) == [
        ("c@shop.example", "a", "2024-02-01", "2024-02-04"),
        ("b@shop.example", "a", "2024-02-05", "2024-02-10"),
    ]
    # B is there after all: what was C's becomes B's.
    assert told(replaced("absences", "abs_b", None)) == [("b@shop.example", "a", "2024-02-01", "2024-02-10")]
    assert told(new("absences", "abs_b2", away(B, "2024-02-03", "2024-02-04", C))) == [
        ("c@shop.example", "a", "2024-02-03", "2024-02-04"),
        ("c@shop.example", "b", "2024-02-03", "2024-02-04"),
    ]


@pytest.mark.parametrize("use", ["rule", "absent", "deputy"])
def test_a_consultant_who_is_needed_stays(trade: Trade, use: str) -> None:
    if use == "rule":
        trade.ask(new("assignment-rules", "rul_1", RULE))
    else:
        absent, deputy = (A, B) if use == "absent" else (B, A)
        done(trade, new("absences", "abs_1", away(absent, "2024-02-01", "2024-02-10", deputy)))
    problem = trade.problem(replaced("consultants", A, None))
    assert (problem.status, problem.type, len(problem.extra["used_by"])) == (409, "/problems/in-use", 1)


def test_lists_are_bounded(trade: Trade) -> None:
    for number in range(200):
        trade.ask(new("forms", f"frm_{number}", {"channel": "ebay", "locale": None}))
    problem = trade.problem(new("forms", "frm_200", {"channel": "ebay", "locale": None}))
    assert (problem.status, problem.type) == (409, "/problems/list-full")


def test_the_whole_desk_fits_into_a_record(trade: Trade) -> None:
    text = {f"de-{number:04}": "\U0001f642" * 100 for number in range(40)}
    statuses = 0
    for number in range(60):
        answer = trade.tell(new("status-labels", f"lbl_{number}", {"code": f"c{number}", "text": text, "state": "submitted"}))
        statuses += isinstance(answer[0].message, MerchantChanged)
    assert 25 <= statuses < 40
