"""What a guest sees of a resource: what is listed, and nothing that somebody adds to the resource."""

from typing import Any

import pytest

from contracts.capability import Capability
from services.gateway.guests import require_filters_seen, said_it, seen
from services.gateway.principals import Principal
from services.gateway.problems import ProblemError

ORDER = "ord_" + "1" * 32
CASE = "cas_" + "1" * 32 + "_1"


def bearer(case_id: str | None = CASE, role: Any = "buyer") -> Principal:
    return Principal(role, "x", capability=Capability(link_id="lnk_1", order_id=ORDER, role=role, case_id=case_id))


GUEST = bearer()
OTHERS = [bearer(None), bearer(role="merchant"), Principal("platform", "platform"), Principal("partner", "partner")]


def deadline(money: dict[str, Any]) -> dict[str, Any]:
    return {"kind": "reply", "on_silence": {"action": "accept", "money": money, "text": "Then it is so."}, "new": 1}


@pytest.mark.rule("NX-15", "RD-03")
@pytest.mark.parametrize("kind", ["order", "case", "preview", "entry"])
def test_what_nobody_has_listed_is_not_seen(kind: str) -> None:
    shown = {"type": "case.moved", "version": 3, "surprise": 1, "money": 1, "protection": 1, "data": 1, "facts": [1]}
    found = seen(GUEST, kind, shown, said=True)
    assert not found.keys() & {"surprise", "money", "protection", "data", "facts"}
    for other in OTHERS:
        assert seen(other, kind, shown) == shown


@pytest.mark.rule("NX-15", "RD-03")
def test_parts_are_reduced_too() -> None:
    eur = {"amount": "1.00", "currency": "EUR"}
    shown = {
        "buyer": {"email": "kim@mail.example", "name": "Kim"},
        "order_amount": eur,
        "answer": {"refund": "yes", "message": "Sorry", "refund_amount": eur},
        "refund": {"variant": "full", "executed": eur, "refundable": eur},
        "deadlines": [deadline({}), deadline({"executed": eur})],
    }
    assert seen(GUEST, "case", shown) == {
        "buyer": {"email": "kim@mail.example"},
        "answer": {"refund": "yes", "message": "Sorry"},
        "refund": {"variant": "full"},
        "deadlines": [
            {"kind": "reply", "on_silence": {"action": "accept", "text": "Then it is so."}},
            {"kind": "reply", "on_silence": {"action": "accept"}},
        ],
    }
    own = seen(GUEST, "case", shown, said=True)
    assert (own["order_amount"], own["refund"]) == (eur, {"variant": "full", "executed": eur})


@pytest.mark.rule("NX-13", "RD-03")
def test_of_a_history_the_chain_is_seen_and_what_stands_in_the_thread() -> None:
    entry = {"sequence": 2, "type": "case.moved", "hash": "h", "data": {"change": 1}, "salt": "s", "version": 1}
    assert seen(GUEST, "entry", entry) == {"sequence": 2, "type": "case.moved", "hash": "h", "redacted": True}
    written = {**entry, "type": "case.message-posted"}
    assert seen(GUEST, "entry", written) == written


@pytest.mark.parametrize(
    ("origin", "case_id", "said"),
    [("reported", CASE, True), ("registered", CASE, False), ("reported", f"{CASE}1", False), ("reported", None, False)],
)
def test_whose_report_made_the_order(origin: str, case_id: str | None, said: bool) -> None:
    assert said_it(bearer(case_id), {"origin": origin}) == said


@pytest.mark.rule("NX-15")
@pytest.mark.parametrize("name", ["q", "status"])
def test_a_guest_does_not_find_by_what_it_is_not_shown(name: str) -> None:
    with pytest.raises(ProblemError) as refused:
        require_filters_seen(GUEST, {name: "k"})
    assert refused.value.problem.status == 403
    for other in OTHERS:
        require_filters_seen(other, {name: "k"})
    require_filters_seen(GUEST, {"state": "submitted"})
