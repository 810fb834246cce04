"""What is refused, how, and where the problem points; a refused command changes nothing."""

from typing import Any

import pytest

from contracts.actors import Role
from contracts.cases import TakeAction
from contracts.ids import case_id_of
from contracts.money import Money
from tests.unit.engine.playing import Play, actor, euros, pointers, problem


@pytest.fixture
def play() -> Play:
    play = Play()
    play.report()
    return play


ANSWER = {"refund": "yes", "message": "Sorry"}
NO = {"refund": "no", "message": "Sorry"}


@pytest.mark.rule("BP-11", "BP-12")
@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({}, ["/refund", "/message"]),
        ({"refund": "yes"}, ["/message"]),
        ({"refund": "yes", "message": "  "}, ["/message"]),
        ({"refund": "yes", "message": None}, ["/message"]),
        ({"refund": "yes", "message": 7}, ["/message"]),
        ({"refund": "yes", "message": "x" * 10_001}, ["/message"]),
        ({"refund": "maybe", "message": "Sorry"}, ["/refund"]),
        ({"refund": True, "message": "Sorry"}, ["/refund"]),
        ({"refund": ["yes"], "message": "Sorry"}, ["/refund"]),
        ({**ANSWER, "surprise": 1, "a/b": 2}, ["/surprise", "/a~1b"]),
        ({**ANSWER, "refund_amount": {"amount": "100.01", "currency": "EUR"}}, ["/refund_amount"]),
        ({**ANSWER, "refund_amount": {"amount": "0.00", "currency": "EUR"}}, ["/refund_amount"]),
        ({**ANSWER, "refund_amount": {"amount": "-1.00", "currency": "EUR"}}, ["/refund_amount"]),
        ({**ANSWER, "refund_amount": {"amount": "1.001", "currency": "EUR"}}, ["/refund_amount/amount"]),
        ({**ANSWER, "refund_amount": {"amount": 50.0, "currency": "EUR"}}, ["/refund_amount/amount"]),
        ({**ANSWER, "refund_amount": {"amount": "5", "currency": "USD"}}, ["/refund_amount/currency"]),
        ({**ANSWER, "refund_amount": {"amount": "5", "currency": "Eur"}}, ["/refund_amount/currency"]),
        ({**ANSWER, "refund_amount": {"amount": "5"}}, ["/refund_amount/currency"]),
        ({**ANSWER, "refund_amount": {"amount": "5", "currency": "EUR", "tax": "1"}}, ["/refund_amount/tax"]),
        ({**ANSWER, "refund_amount": "50"}, ["/refund_amount"]),
        ({**NO, "refund_amount": {"amount": "5", "currency": "EUR"}}, ["/refund_amount"]),
        ({**NO, "evidence": "evd_1"}, ["/evidence"]),
        ({**NO, "evidence": ["evd_1"]}, ["/evidence/0"]),
        ({**NO, "evidence": [{"id": 1}]}, ["/evidence/0"]),
    ],
)
def test_fields_of_an_answer(play: Play, fields: dict[str, Any], wrong: list[str]) -> None:
    before = play.file
    command = TakeAction(case_id=play.case.case_id, action="answer", fields=fields, actor=actor("merchant"))
    assert sorted(pointers(play.send(command))) == sorted(wrong)
    assert play.file == before


@pytest.mark.rule("BP-14", "BP-15", "BP-16")
@pytest.mark.parametrize(
    ("answer", "open_reactions"),
    [
        ({"refund": "yes"}, ["received", "not_received"]),
        ({"refund": "yes", "refund_amount": euros(40)}, ["received", "not_received", "disagree"]),
        ({"refund": "no"}, ["accept", "disagree"]),
        ({"refund": "yes_after_return", "refund_amount": euros(40)}, ["received", "not_received"]),
    ],
)
def test_reactions_belong_to_the_variant(play: Play, answer: dict[str, Any], open_reactions: list[str]) -> None:
    play.act("merchant", "answer", message="So", **answer)
    assert play.allowed("buyer")["react"].fields["properties"]["reaction"]["enum"] == open_reactions
    for reaction in {"received", "not_received", "accept", "disagree", "dance"} - set(open_reactions):
        assert pointers(play.act("buyer", "react", reaction=reaction)) == ["/reaction"]


@pytest.mark.rule("BP-19")
@pytest.mark.parametrize(
    ("action", "fields", "wrong"),
    [
        ("decide", {"outcome": "refund", "refund_amount": euros(99)}, ["/refund_amount"]),
        ("decide", {"outcome": "partial_refund"}, ["/refund_amount"]),
        ("decide", {"outcome": "partial_refund", "refund_amount": euros(100)}, ["/refund_amount"]),
        ("decide", {"outcome": "no_refund", "refund_amount": euros(1)}, ["/refund_amount"]),
        ("decide", {"outcome": "jackpot"}, ["/outcome"]),
        ("propose", {}, ["/refund_amount"]),
        ("propose", {"refund_amount": euros(101)}, ["/refund_amount"]),
        ("propose", {"refund_amount": euros(-1)}, ["/refund_amount"]),
        ("request_evidence", {"party": "platform"}, ["/party"]),
        ("request_evidence", {"party": "buyer", "due_in": "soon"}, ["/due_in"]),
        ("request_evidence", {"party": "buyer", "due_in": "PT1H"}, ["/due_in"]),
        ("request_evidence", {"party": "buyer", "due_in": "P61D"}, ["/due_in"]),
        ("request_evidence", {"party": "buyer", "due_in": 7}, ["/due_in"]),
    ],
)
def test_fields_of_the_platform(action: str, fields: dict[str, Any], wrong: list[str]) -> None:
    play = Play()
    play.report("other")
    assert pointers(play.act("platform", action, message="So", **fields)) == wrong


def test_evidence_that_was_asked_for_must_be_there(play: Play) -> None:
    play.act("platform", "take_over")
    play.act("platform", "request_evidence", party="buyer", message="A photo?")
    assert pointers(play.act("buyer", "provide_evidence")) == ["/evidence"]
    assert pointers(play.act("buyer", "provide_evidence", evidence=[])) == ["/evidence"]
    assert problem(play.act("merchant", "provide_evidence", evidence=["proof.png"])).status == 409


@pytest.mark.rule("NX-03")
def test_role_state_version_and_name(play: Play) -> None:
    case = play.case.case_id
    before = play.file
    assert problem(play.act("buyer", "answer", **ANSWER)).status == 403
    assert problem(play.act("partner", "answer", **ANSWER)).status == 403
    closed = problem(play.act("buyer", "react", reaction="received"))
    assert (closed.status, closed.type, closed.extra) == (
        409,
        "/problems/action-not-allowed",
        {"allowed_actions": ["withdraw"]},
    )
    stale = problem(play.act("merchant", "answer", if_match=7, **ANSWER))
    assert (stale.status, stale.type) == (412, "/problems/version-mismatch")
    assert problem(play.act("merchant", "answer", case=case_id_of(play.order.order_id, 9), **ANSWER)).status == 404
    assert problem(play.write("buyer", case=case_id_of(play.order.order_id, 9))).status == 404
    assert problem(play.write("buyer", if_match=7)).status == 412
    assert pointers(play.write("buyer", " ")) == ["/text"]
    assert pointers(play.write("buyer", "x" * 10_001)) == ["/text"]
    assert play.file == before
    assert isinstance(play.act("merchant", "answer", case=case, if_match=1, **ANSWER), list)


@pytest.mark.rule("NX-03")
@pytest.mark.parametrize(
    ("role", "action", "status"),
    [
        ("merchant", "dance", 409),
        ("buyer", "dance", 409),
        ("partner", "dance", 409),
        ("merchant", "start", 409),
        ("platform", "solve", 409),
        ("buyer", "resolve", 409),
        ("partner", "record_outcome", 409),
        ("buyer", "start", 403),
        ("merchant", "resolve", 403),
        ("merchant", "record_outcome", 403),
    ],
)
def test_an_action_that_this_programme_does_not_list(play: Play, role: Role, action: str, status: int) -> None:
    """It is not open, as one of another state is not; it is forbidden to whom no programme gives it."""
    before = play.file
    refused = problem(play.act(role, action))
    assert refused.status == status
    if status == 409:
        assert refused.type == "/problems/action-not-allowed"
        assert refused.extra == {"allowed_actions": list(play.allowed(role))}
    assert play.file == before


def test_no_order_without_a_case_has_anything_to_decide() -> None:
    play = Play()
    action = TakeAction(case_id=case_id_of(play.order.order_id, 1), action="answer", actor=actor("merchant"))
    assert problem(play.send(action)).status == 404
    assert play.fact("shipped") == []
    assert play.file is None


def test_a_refusal_does_not_even_let_time_pass(play: Play) -> None:
    before = play.file
    play.wait("P9D")
    assert problem(play.act("merchant", "confirm_return")).status == 409
    assert play.file == before


@pytest.mark.rule("NX-03")
def test_the_version_that_counts_is_the_one_after_silence(play: Play) -> None:
    play.wait("P9D")
    assert problem(play.act("merchant", "answer", if_match=1, **ANSWER)).status == 412
    assert isinstance(play.act("merchant", "answer", if_match=2, **ANSWER), list)


@pytest.mark.parametrize(
    ("currency", "least", "pattern"), [("JPY", "1", r"^\d{1,15}$"), ("KWD", "0.001", r"^\d{1,15}(\.\d{1,3})?$")]
)
def test_amounts_have_the_digits_of_their_currency(currency: str, least: str, pattern: str) -> None:
    play = Play()
    paid = Money.model_validate({"amount": "5000", "currency": currency})
    play.order = play.order.model_copy(update={"amount": paid})
    play.report()
    schema = play.allowed("merchant")["answer"].fields["properties"]["refund_amount"]
    assert (schema["x-minimum"]["amount"], schema["properties"]["amount"]["pattern"]) == (least, pattern)
    smallest = Money.model_validate({"amount": least, "currency": currency})
    assert isinstance(play.act("merchant", "answer", refund="yes", message="A little", refund_amount=smallest), list)
