"""Each check of `recourse verify` is shown to catch a planted violation, and to say nothing of an order that is whole."""

import copy
import hashlib
from collections.abc import Callable
from typing import Any

import pytest
import rfc8785

from chassis.loop import RawRecord
from engine.programmes import Programmes
from recourse.verification.chain import broken_links
from recourse.verification.ledger import wrong_entries
from recourse.verification.orders import OrderView, check_order
from recourse.verification.topics import EventLog

PROGRAMMES = Programmes.shipped()
NOW = "2019-07-20T00:00:00.000Z"
HEX = "0123456789abcdef" * 2
ORDER = f"ord_{HEX}"
CASE = f"cas_{HEX}_1"
EUR = {"amount": "80.00", "currency": "EUR"}


def event(sequence: int, previous: str, **data: Any) -> dict[str, Any]:
    actor = {"role": "buyer", "id": "b", "acts_for": None}
    at = f"2019-07-1{sequence}T00:00:00.000Z"
    content = {"case_id": CASE, "at": at, "actor": actor, **data}
    digest = hashlib.sha256(b"salt" + rfc8785.dumps(content)).hexdigest()
    covered = {
        "sequence": sequence,
        "type": "case.moved",
        "at": at,
        "actor": actor,
        "data_digest": digest,
        "previous_hash": previous,
    }
    sealed = hashlib.sha256(rfc8785.dumps(covered)).hexdigest()
    named = {"case_id": CASE, "order_sequence": sequence, "data": content, "salt": "salt", "hash": sealed}
    return {**covered, **named, "command_id": f"c{sequence}"}


def history(count: int = 3) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    for sequence in range(1, count + 1):
        events.append(event(sequence, events[-1]["hash"] if events else "", n=sequence))
    return events


def whole() -> dict[str, Any]:
    """The parts of an order with one open case, as all services have it."""
    order = {"order_id": ORDER, "amount": EUR}
    facts = [{"fact_id": "f1"}]
    standing = {
        "status": "reported_problem",
        "protection": {"state": "active", "check_in_at": "2019-08-01T00:00:00.000Z"},
        "payout": {"held": True, "reason": "open_case"},
        "open_cases": [{"case_id": CASE}],
        "cases": [CASE],
        "version": 3,
    }
    events = history()
    deadline = {
        "deadline_id": "d1",
        "generation": 1,
        "kind": "merchant_answer",
        "party": "merchant",
        "due_at": "2019-07-25T00:00:00.000Z",
        "remind_at": ["2019-07-23T00:00:00.000Z"],
    }
    case = {
        "policy": {"programme": "buyer-protection", "version": 1},
        "state": "submitted",
        "turn": "merchant",
        "outcome": None,
        "deadlines": [deadline],
        "sequence": 3,
        "head": events[-1]["hash"],
    }
    file = {"cases": {CASE: case}, "ledger": [], "facts": facts, "sequence": 3}
    span = {"case_id": CASE, "closed_at": None}
    return {
        "intake": {
            "sequence": 4,
            "seen": {"cases": 3},
            "body": {
                "order": order,
                "facts": facts,
                "reports": [{"report_id": "r1"}],
                "cases": [span],
                "standing": standing,
            },
        },
        "gateway": {
            "seen": {"intake": 4, "cases": 3},
            "body": copy.deepcopy({"order": order, "facts": facts, "standing": standing, "file": file}),
        },
        "cases": {"sequence": 3, "body": file},
        "history": events,
        "read_history": copy.deepcopy(events),
        "messages": frozenset({"m1"}),
        "read_messages": frozenset({"m1"}),
    }


def checks_of(parts: dict[str, Any]) -> set[str]:
    return {violation.check for violation in check_order(OrderView(order_id=ORDER, **parts), NOW, PROGRAMMES)}


def changed(change: Callable[[dict[str, Any]], None]) -> set[str]:
    parts = copy.deepcopy(whole())
    change(parts)
    return checks_of(parts)


def test_an_order_that_is_whole_violates_nothing() -> None:
    assert checks_of(whole()) == set()


def case_in(parts: dict[str, Any]) -> dict[str, Any]:
    """The case, changed in both copies of the file at once."""
    case = parts["cases"]["body"]["cases"][CASE]
    parts["gateway"]["body"]["file"]["cases"][CASE] = case
    return case


def reserve(parts: dict[str, Any], amount: str, **more: Any) -> None:
    entry = {"entry_id": "e1", "kind": "reserved", "amount": {**EUR, "amount": amount}, "case_id": CASE, **more}
    for file in (parts["cases"]["body"], parts["gateway"]["body"]["file"]):
        file["ledger"] = [entry]


def end(parts: dict[str, Any], **change: Any) -> None:
    """End the case everywhere."""
    case_in(parts).update({"state": "resolved", "turn": None, "outcome": "refunded", "deadlines": []})
    for owner in ("intake", "gateway"):
        standing = parts[owner]["body"]["standing"]
        standing.update({"status": "completed", "open_cases": [], "payout": {"held": False}})
    parts["intake"]["body"]["cases"][0]["closed_at"] = NOW
    case_in(parts).update(change)


@pytest.mark.parametrize(
    ("check", "change"),
    [
        ("no_order_lost", lambda parts: parts.update(gateway=None)),
        ("no_order_lost", lambda parts: parts.update(intake=None)),
        ("no_case_lost", lambda parts: parts["cases"]["body"].update(cases={})),
        ("no_case_lost", lambda parts: parts.update(cases=None)),
        ("no_case_lost", lambda parts: parts["intake"]["body"]["standing"].update(open_cases=[])),
        ("services_agree", lambda parts: parts["gateway"]["body"].update(standing={})),
        ("services_agree", lambda parts: parts["gateway"]["body"].update(facts=[])),
        ("services_agree", lambda parts: parts["gateway"]["body"].update(order={})),
        ("services_agree", lambda parts: parts["gateway"]["body"]["file"].update(sequence=2)),
        ("services_agree", lambda parts: parts["read_history"].pop()),
        ("services_agree", lambda parts: parts.update(read_messages=frozenset())),
        ("one_effect_per_command", lambda parts: parts["intake"]["body"].update(reports=[{"report_id": "r"}] * 2)),
        ("one_effect_per_command", lambda parts: parts["intake"]["body"].update(facts=[{"fact_id": "f"}] * 2)),
        ("one_effect_per_command", lambda parts: parts["history"][2].update(command_id="c1")),
        ("gapless_sequences", lambda parts: parts["intake"].update(sequence=5)),
        ("gapless_sequences", lambda parts: parts["gateway"].update(seen={"intake": 4, "cases": 2})),
        ("gapless_sequences", lambda parts: parts["intake"].update(seen={"cases": 4})),
        ("gapless_sequences", lambda parts: parts["history"].pop()),
        ("gapless_sequences", lambda parts: parts["history"][1].update(order_sequence=7)),
        ("hash_chain_whole", lambda parts: parts["history"].pop(1)),
        ("hash_chain_whole", lambda parts: parts["history"][1]["data"].update(n=9)),
        ("payout_held_iff_open", lambda parts: parts["intake"]["body"]["standing"].update(payout={"held": False})),
        ("payout_held_iff_open", lambda parts: parts["intake"]["body"]["cases"][0].update(closed_at=NOW)),
        ("open_case_has_deadline", lambda parts: case_in(parts).update(deadlines=[])),
        ("open_case_has_deadline", lambda parts: case_in(parts).update(state="under_review", turn=None, deadlines=[])),
        ("no_deadline_missed", lambda parts: case_in(parts)["deadlines"][0].update(due_at="2019-07-19T23:59:59.999Z")),
        ("ledger_sums", lambda parts: reserve(parts, "80.01")),
        ("ended_is_ended", lambda parts: end(parts, outcome=None)),
        ("ended_is_ended", lambda parts: end(parts, turn="buyer")),
    ],
)
def test_a_planted_violation_is_caught(check: str, change: Callable[[dict[str, Any]], None]) -> None:
    assert check in changed(change)


def test_a_case_that_ended_everywhere_is_whole_and_money_left_of_it_is_not() -> None:
    assert changed(end) == set()

    def with_reservation(parts: dict[str, Any]) -> None:
        end(parts)
        reserve(parts, "10.00")

    assert changed(with_reservation) == {"ledger_sums"}


def pay(parts: dict[str, Any], *, executed: bool = True, **change: Any) -> None:
    """The platform decided a refund of 10, which has flowed or is on its way; the payment is changed by `change`."""
    ledger = [entry("e1", "reserved", "10.00", executor="platform", decision_id="dec_1")]
    if executed:
        more = {"executor": "platform", "decision_id": "dec_1", "settles": "e1", "reference": "pay_1"}
        ledger.append(entry("e2", "executed", "10.00", **more))
    for file in (parts["cases"]["body"], parts["gateway"]["body"]["file"]):
        file["ledger"] = ledger
    paid = {"state": "executed", "reference": "pay_1"} if executed else {"state": "due"}
    payment = {"_id": "dec_1", "order": {"order_id": ORDER, "amount": {**EUR, "amount": "10.00"}}, **paid, **change}
    parts["payments"] = [payment] if change.get("there", True) else []


@pytest.mark.rule("NX-06")
def test_the_platform_s_refunds_outlive_their_case_until_they_are_paid() -> None:
    def ended(**payment: Any) -> set[str]:
        def change(parts: dict[str, Any]) -> None:
            end(parts, outcome="decided_refund")
            pay(parts, **payment)

        return changed(change)

    assert ended() == ended(executed=False) == set()
    for wrong in (
        {"there": False},
        {"executed": False, "there": False},
        {"state": "due"},
        {"executed": False, "state": "executed", "reference": "pay_1"},
        {"reference": "pay_2"},
        {"order": {"order_id": ORDER, "amount": {**EUR, "amount": "11.00"}}},
    ):
        assert ended(**wrong) == {"refunds_paid_once"}, wrong


def test_what_a_merchant_was_decided_to_pay_outlives_its_case() -> None:
    def accepted(decision_id: str | None) -> set[str]:
        def change(parts: dict[str, Any]) -> None:
            end(parts, outcome="accepted")
            reserve(parts, "10.00", decision_id=decision_id)

        return changed(change)

    assert (accepted("dec_1"), accepted(None)) == (set(), {"ledger_sums"})


def test_a_claim_that_waits_for_its_provider_needs_no_deadline() -> None:
    claims = {"programme": "claims", "version": 1}
    waits = {"policy": claims, "state": "under_review", "turn": None, "deadlines": []}
    assert changed(lambda parts: case_in(parts).update(waits)) == set()
    assert changed(lambda parts: case_in(parts).update(waits | {"state": "submitted"})) == {"open_case_has_deadline"}


def test_a_case_on_the_platform_s_turn_needs_no_deadline() -> None:
    assert changed(lambda parts: case_in(parts).update(turn="platform", state="under_review", deadlines=[])) == set()


def entry(entry_id: str, kind: str, amount: str, **more: Any) -> dict[str, Any]:
    return {"entry_id": entry_id, "kind": kind, "amount": {"amount": amount, "currency": "EUR"}, "case_id": CASE, **more}


@pytest.mark.parametrize(
    ("entries", "wrong"),
    [
        ([], 0),
        ([entry("a", "reserved", "80.00"), entry("b", "executed", "80.00", settles="a")], 0),
        ([entry("a", "reserved", "80.00"), entry("b", "released", "80.00", settles="a"), entry("c", "executed", "80.00")], 0),
        ([entry("a", "executed", "90.00", flags=["over_refund"])], 0),
        ([entry("a", "executed", "50.00"), entry("b", "executed", "31.00")], 1),
        ([entry("a", "executed", "10.00"), entry("a", "executed", "10.00")], 1),
        ([entry("b", "executed", "10.00", settles="a")], 1),
        ([entry("b", "released", "10.00")], 1),
        (
            [
                entry("a", "reserved", "10.00"),
                entry("b", "executed", "10.00", settles="a"),
                entry("c", "executed", "10.00", settles="a"),
            ],
            1,
        ),
        ([entry("a", "reserved", "10.00")], 1),
        ([entry("a", "reserved", "10.00", decision_id="dec_1")], 0),
        ([entry("a", "executed", "80.00"), entry("b", "released", "80.00", settles="a"), entry("c", "executed", "80.00")], 0),
        (
            [
                entry("a", "executed", "80.00"),
                entry("b", "released", "80.00", settles="a"),
                entry("c", "released", "80.00", settles="a"),
            ],
            1,
        ),
    ],
)
def test_ledgers_are_added_up(entries: list[dict[str, Any]], wrong: int) -> None:
    assert len(list(wrong_entries(EUR, entries, frozenset()))) == wrong


def test_a_chain_is_broken_by_any_change() -> None:
    assert list(broken_links(history())) == []
    for name, value in (("at", "2019-07-11T00:00:00.001Z"), ("type", "case.opened"), ("hash", "f" * 64), ("salt", "pepper")):
        events = history()
        events[1][name] = value
        assert list(broken_links(events)), name


def test_erased_data_leaves_the_chain_whole() -> None:
    events = history()
    events[1].update(data=None, salt=None)
    assert list(broken_links(events)) == []


def told(sequence: int | None, event_id: str, key: str = ORDER, command: str | None = None) -> RawRecord:
    headers = [("ce_subject", key.encode()), ("ce_id", event_id.encode()), ("ce_type", b"recourse.case.moved.v1")]
    if sequence is not None:
        headers.append(("ce_sequence", str(sequence).encode()))
    if command is not None:
        headers += [("ce_commandid", command.encode()), ("ce_settles", b"true")]
    return RawRecord("cases.events", 0, 0, key.encode(), b"{}", headers)


@pytest.mark.parametrize(
    ("records", "checks"),
    [
        ([told(1, "a"), told(2, "b"), told(1, "a", "ord_other")], []),
        ([told(1, "a"), told(2, "b"), told(1, "a"), told(2, "b"), told(3, "c")], []),
        ([told(None, "a"), told(1, "b")], []),
        ([told(2, "b")], ["gapless_sequences"]),
        ([told(1, "a"), told(3, "c")], ["gapless_sequences"]),
        ([told(1, "a"), told(1, "other")], ["one_effect_per_command"]),
        ([told(1, "a", command="c"), told(1, "a", command="c")], []),
        ([told(1, "a", command="c"), told(2, "b", command="c")], ["one_effect_per_command"]),
    ],
)
def test_a_log_of_events_is_read_for_gaps_and_doubles(records: list[RawRecord], checks: list[str]) -> None:
    assert [violation.check for violation in EventLog("cases.events", whole={0}).read(records)] == checks


def test_a_topic_that_let_go_of_its_beginning_may_begin_anywhere() -> None:
    assert list(EventLog("cases.events", whole=set()).read([told(7, "g"), told(8, "h")])) == []
