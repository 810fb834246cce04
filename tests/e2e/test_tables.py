"""The tables of the four programmes and of a fifth that exists in this test alone, row by row, through the public API."""

from pathlib import Path
from typing import Any

import pytest

from engine.programmes import Programme, Programmes, Transition
from tests.e2e.conftest import Start
from tests.e2e.rows import Case, Row, act, play_all, report, silence
from tests.e2e.tables import ROWS
from tests.e2e.world import World, eur

RENTAL = """
# Deposits of rented machines: a programme that the product does not have.
programme: rental-deposit
version: 1
label: {en: Deposits of rented machines}
calendars:
  working_week: {weekdays: [1, 2, 3, 4, 5]}
reasons:
  withheld: {label: {en: The deposit was not paid back}, rule: RENT-1, needs_protection: false}
states:
  submitted: {label: {en: With the lender}, turn: merchant, deadlines: [lender]}
  awaiting_buyer: {label: {en: With the tenant}, turn: buyer, deadlines: [tenant]}
  under_review: {label: {en: With the arbiter}, turn: platform}
  resolved: {label: {en: Settled}}
  rejected: {label: {en: The lender keeps it}}
outcomes:
  refunded: {en: Paid back}
  no_reaction: {en: The tenant was silent}
  decided_no_refund: {en: The arbiter left it with the lender}
actions:
  pay_back:
    by: [merchant]
    label: {en: Pay the deposit back}
    fields:
      refund_amount: {type: refund_amount, label: {en: Amount}}
      message: {type: text, required: true, label: {en: Message}}
  arrived: {by: [buyer], label: {en: The money is here}}
  object: {by: [buyer], label: {en: Object}, fields: {message: {type: text, required: true, label: {en: Message}}}}
  rule: {by: [platform], label: {en: Leave it with the lender}}
deadlines:
  lender: {label: {en: Lender's answer}, party: merchant, after: P3D, calendar: working_week, rule: RENT-2}
  tenant: {label: {en: Tenant's reaction}, party: buyer, after: P10D, rule: RENT-3}
transitions:
  - {report: [withheld], to: submitted, rule: RENT-1}
  - action: pay_back
    from: [submitted, under_review]
    amount: any
    to: awaiting_buyer
    effects: {answer: yes, reserve: {amount: refund_amount, executor: merchant}}
    rule: RENT-2
  - {silence: lender, to: under_review, consequence: escalate, text: {en: Then the arbiter looks at it.}, rule: RENT-2}
  - {action: arrived, from: [awaiting_buyer], to: resolved, outcome: refunded, effects: {execute: buyer}, rule: RENT-3}
  - {action: object, from: [awaiting_buyer], to: under_review, rule: RENT-3}
  - silence: tenant
    to: resolved
    outcome: no_reaction
    effects: {execute: presumed}
    consequence: close
    text: {en: "Then {amount} counts as paid back."}
    rule: RENT-3
  - {action: rule, from: [under_review], to: rejected, outcome: decided_no_refund, effects: {release: true}, rule: RENT-4}
"""
WITHHELD = report("withheld")
PAY_BACK = act("merchant", "pay_back", message="It goes back to you.")
# 2021-02-20 is a Saturday: three working days from then end on Wednesday.
RENTALS = [
    Row("rental-deposit", ("NX-02",), *row[:2], **row[2])
    for row in (
        ("reported", (WITHHELD,), {"state": "submitted", "turn": "merchant", "shows": {"label": "With the lender"}}),
        ("paid back", (WITHHELD, PAY_BACK, act("buyer", "arrived")),
         {"state": "resolved", "outcome": "refunded", "money": ("0.00", "80.00"), "shows": {"outcome_label": "Paid back"}}),
        ("lender's silence, arbiter's ruling", (WITHHELD, silence("merchant"), act("platform", "rule")),
         {"state": "rejected", "outcome": "decided_no_refund"}),
        ("objection, paid in part, tenant's silence",
         (WITHHELD, PAY_BACK, act("buyer", "object", message="All of it?"),
          act("merchant", "pay_back", refund_amount=eur("30.00"), message="A part."), silence("buyer")),
         {"state": "resolved", "outcome": "no_reaction", "money": ("0.00", "30.00")}),
    )
]  # fmt: skip
ALL = [*ROWS, *RENTALS]
# The last of a silence's rows always fits, as every programme must have one; here those before it leave nothing over.
NEVER_TAKEN = {("order-issues", "silence", "buyer_reaction", "resolved", "satisfied")}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("programmes")
    (folder / "rental-deposit-1.yaml").write_text(RENTAL)
    return folder


@pytest.fixture(scope="module")
def played(start_world: Start, folder: Path) -> dict[str, Case]:
    """All rows, played at once in a sandbox of their own."""
    world: World = start_world(clock="2021-02-20T10:00:00Z", environment={"RECOURSE_PROGRAMMES": str(folder)})
    programmes = ["buyer-protection", "order-issues", "returns-desk", "claims", "rental-deposit"]
    shops = {
        country: world.shop(of_partner=True, programmes=programmes, timezone="UTC", **({"country": country} if country else {}))
        for country in dict.fromkeys(row.shop for row in ALL)
    }
    for shop in shops.values():
        for code, text, state in (
            ("in_repair", "In repair", "in_progress"),
            ("parcel_awaited", "We wait for your parcel", "awaiting_buyer"),
            ("queued", "In our queue", "submitted"),
        ):
            label = {"code": code, "text": {"en": text}, "state": state}
            shop.staff.post(f"/v1/merchants/{shop.merchant_id}/status-labels", label).ok()
    cases = {row.id: Case(world, shops[row.shop], row) for row in ALL}
    moves = play_all(cases.values(), world)
    assert moves < 60, "rows wait for the same moments, so that the clock moves little"
    return cases


@pytest.mark.parametrize("row", [pytest.param(row, id=row.id, marks=pytest.mark.rule(*row.rules)) for row in ALL])
def test_a_row_leads_where_the_table_says(played: dict[str, Case], row: Row) -> None:
    case = played[row.id]
    assert not case.failed, case.failed


def _taken(cases: dict[str, Case], programme: str) -> set[tuple[str, str, str | None, str | None]]:
    """(trigger, name, state, outcome) of everything that happened in the histories of a programme's cases."""
    taken: set[tuple[str, str, str | None, str | None]] = set()
    for case in cases.values():
        if case.row.programme != programme or not case.case:
            continue
        for event in case.history:
            data: dict[str, Any] = event["data"]
            change = data.get("change") or {}
            if event["type"] == "case.moved":
                trigger = "silence" if data["action"] == "silence" else "action"
                name = data["kind_of_deadline"] or data["action"]
                taken.add((trigger, name, change.get("state"), change.get("outcome")))
    return taken


def _rows(programme: Programme) -> list[Transition]:
    """Rows that a party or time takes, and that move something: a remark or reminder is no move. What a rule decides in
    nobody's name is tested with the matrix."""
    return [
        row
        for row in programme.transitions
        if row.trigger in ("action", "silence")
        and not (row.effects.remark or row.effects.remind)
        and not (row.action is not None and programme.actions[row.action].by == ("system",))
    ]


@pytest.mark.rule("NX-02")
@pytest.mark.parametrize("name", ["buyer-protection", "order-issues", "returns-desk", "claims"])
def test_no_row_of_a_programme_is_left_out(played: dict[str, Case], name: str) -> None:
    programme = Programmes.shipped().versions(name)[-1]
    taken = _taken(played, name)
    left_out = [
        (row.trigger, row.names[0], row.to, row.outcome)
        for row in _rows(programme)
        if (row.trigger, row.names[0], row.to, row.outcome) not in taken
        and (name, row.trigger, row.names[0], row.to, row.outcome) not in NEVER_TAKEN
    ]
    assert left_out == []
