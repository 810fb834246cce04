"""The transition tables of the domain's description and the programme files, checked against each other.

The description lies beside the project, in a folder shared with others. Where a checkout stands alone these tests are skipped;
where every change is judged (`CI` is set) they fail without it. A row of it names states, triggers, targets, outcomes and
deadlines in words that the programmes use too; what it says in prose is not read."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from contracts.cases import CaseState, Outcome
from contracts.orders import FactKind
from engine.casefile import CLOSED
from engine.programmes import DeadlineTerms, Programme, Programmes, Transition

DOMAIN = Path(__file__).parents[4] / "shared" / "domain.md"
pytestmark = pytest.mark.skipif(
    not DOMAIN.exists() and not os.environ.get("CI"),
    reason=f"{DOMAIN}, the domain's description, is not beside the project: nothing to check the programmes against",
)

SHIPPED = Programmes.shipped()
STATES: frozenset[str] = frozenset(CaseState.__args__)  # type: ignore[attr-defined]
OUTCOMES: frozenset[str] = frozenset(Outcome.__args__)  # type: ignore[attr-defined]
FACTS: frozenset[str] = frozenset(FactKind.__args__)  # type: ignore[attr-defined]
EVERYWHERE = {"note", "take_over", "reopen", "withdraw"}
"""What the text above the tables says of every programme."""


@dataclass(frozen=True)
class Told:
    """A row of a table: its cells, and the states that it starts from (those of the row above where it names none)."""

    programme: str
    states: str
    happens: str
    leads: str
    money: str


def told() -> list[Told]:
    rows: list[Told] = []
    text = DOMAIN.read_text("utf-8") if DOMAIN.exists() else ""
    for name in SHIPPED.known():
        found = re.search(rf"^\*\*{name}\*\*.*?\n\n(\|.*?)\n\n", text, re.M | re.S)
        states = ""
        for line in (found[1].splitlines() if found else ())[2:]:
            first, happens, leads, money = (cell.strip() for cell in line.strip("|").split("|"))
            states = first or states
            rows.append(Told(name, states, happens, leads, money))
    return rows


def quoted(cell: str) -> list[str]:
    return re.findall(r"`([a-z_]+)`", cell)


def newest(name: str) -> Programme:
    return SHIPPED.versions(name)[-1]


def starts(row: Told) -> set[str]:
    """States that a row starts from; empty for a report."""
    policy = newest(row.programme)
    named = {word for word in quoted(row.states) if word in STATES}
    if not named and "open" in row.states:
        # "open (merchant)": where the merchant may act; "any open"
        named = {state for state in policy.states if state not in CLOSED}
        if "merchant" in row.states:
            named -= {"under_review"}
    return named


def targets(row: Told) -> set[str]:
    return {word for word in quoted(row.leads) if word in STATES}


def outcomes(row: Told) -> set[str]:
    """Words after a slash or in a list of outcomes."""
    return {word for word in re.findall(r"[a-z_]+", row.leads.partition("/")[2]) if word in OUTCOMES}


def triggered(row: Told, policy: Programme) -> Iterator[Transition]:
    """The rows of a programme that a row of the table speaks of: by reason, fact or action, where it names choices of an
    action by these alone; a silence by where its deadline stands."""
    words, plain = {*quoted(row.happens), *quoted(row.leads)}, set(re.findall(r"[a-z_]+", row.happens))
    wanted = starts(row)
    for mine in policy.transitions:
        offered = {value for other in policy.transitions if other.action == mine.action for value in given(other)}
        if mine.report:
            fits = row.states == "–" and set(mine.report) & words
        elif mine.silence:
            fits = "silence" in f"{row.happens} {row.leads}" and set(silent_states(policy, mine.silence)) & wanted
        elif mine.fact:
            fits = mine.fact in words and set(policy.leaves(mine)) & wanted
        else:
            named = mine.action in words or (mine.action not in policy.states and given(mine) & set(quoted(row.happens)))
            chosen = given(mine) & plain if offered & plain and given(mine) else True
            variants = set(re.findall(r"\b(full|partial|none)\b", row.happens)) if ":" in row.happens else set()
            offers = not variants or not mine.when.variant or variants & set(mine.when.variant)
            fits = named and chosen and offers and set(policy.leaves(mine)) & wanted
        if fits:
            yield mine


def given(row: Transition) -> set[str]:
    """The choices that take a row."""
    return {value for values in row.given.values() for value in values}


def silent_states(policy: Programme, kind: str) -> set[str]:
    """Where a deadline of a kind may stand."""
    found: set[str] = set()
    for row in policy.transitions:
        sets = row.deadlines if row.deadlines is not None else policy.states[row.to].deadlines if row.to else ()
        if kind in sets or kind in row.keeps:
            found |= {row.to} if row.to else set(policy.leaves(row))
        if row.silence and kind in (row.deadlines or ()) and not row.to:
            found |= silent_states(policy, row.silence)
    return found


def name_of(row: Told) -> str:
    return f"{row.programme}: {row.states} {row.happens}"


ROWS = [pytest.param(row, id=name_of(row)) for row in told()]


@pytest.mark.rule("NX-02")
def test_every_programme_has_its_table() -> None:
    assert {row.programme for row in told()} == set(SHIPPED.known())
    assert len(told()) > 40


@pytest.mark.rule("NX-02")
@pytest.mark.parametrize("row", ROWS)
def test_what_the_table_tells_is_in_the_programme(row: Told) -> None:
    policy = newest(row.programme)
    for word in quoted(row.happens):
        known = word in policy.actions or word in policy.reasons or word in FACTS or word in policy.states
        fields = {name for action in policy.actions.values() for name in action.fields}
        assert known or word in fields or any(word in values for values in choices(policy)), word
    found = list(triggered(row, policy))
    assert found or "target" in row.happens, "the programme has no such row"
    if not row.leads.startswith("as "):
        assert targets(row) <= {mine.to or state for mine in found for state in (policy.leaves(mine) or ("",))}
        if outcomes(row):
            assert outcomes(row) == {mine.outcome for mine in found if mine.outcome and mine.when.by != ("system",)}


@dataclass(frozen=True)
class Days:
    """So many days of a party, as a row tells them."""

    party: str
    days: int
    reminder_after: int | None = None
    reasons: frozenset[str] = frozenset()
    """Of these reasons alone; empty: of all that the row speaks of."""
    earlier: dict[int, int] = field(default_factory=dict)
    """Days by the version of a policy that had others."""


PARTIES = {"merchant": "merchant", "buyer": "buyer", "party": "turn", "parties": None, "platform": "platform"}
"""Who has a deadline, in the words of the tables and in those of the programmes: the party asked, and both of a proposal."""
SPAN = re.compile(r"\b(merchant|buyer|party|parties|platform)\b[^;0-9]*?(\d+) days(?: \(policy (\d+): (\d+)\))?")


def told_days(row: Told) -> list[Days]:
    reasons = frozenset(quoted(row.happens)) & newest(row.programme).reasons.keys()
    found: list[Days] = []
    for clause in f"{row.happens if 'days' in row.happens else ''};{row.money}".split(";"):
        reminder = re.search(r"reminder at (\d+)", clause)
        if span := SPAN.search(clause):
            named = reasons & frozenset(re.findall(r"[a-z_]+", clause))
            earlier = {int(span[3]): int(span[4])} if span[3] else {}
            found.append(Days(span[1], int(span[2]), int(reminder[1]) if reminder else None, named, earlier))
        elif others := re.search(r"\belse (\d+)", clause):
            found.append(Days(found[-1].party, int(others[1]), reasons=reasons - found[-1].reasons))
    return found


TIMED = [
    pytest.param(row, policy, days, id=f"{name_of(row)}: {days.party} {days.days} in version {policy.version}")
    for row in told()
    for policy in SHIPPED.versions(row.programme)
    for days in told_days(row)
]


@pytest.mark.rule("NX-02")
def test_the_tables_tell_days_of_every_party() -> None:
    spans = {(row.programme, days.party, days.days) for row in told() for days in told_days(row)}
    numbers = {number for row in told() for number in re.findall(r"(\d+) days|else (\d+)", f"{row.happens} {row.money}")}
    assert {days for _, _, days in spans} == {int("".join(number)) for number in numbers}, "each of them is read"
    assert {party for _, party, _ in spans} == PARTIES.keys()
    assert {("buyer-protection", "merchant", 5), ("buyer-protection", "merchant", 14), ("returns-desk", "merchant", 5)} <= spans
    assert [days.earlier for row in told() for days in told_days(row) if days.earlier] == [{1: 7}]


@pytest.mark.rule("NX-02")
@pytest.mark.parametrize(("row", "policy", "days"), TIMED)
def test_every_version_gives_the_party_the_days_that_the_table_tells(row: Told, policy: Programme, days: Days) -> None:
    kinds = {kind for mine in triggered(row, policy) for kind in set_by(policy, mine)}
    if "target" in row.happens:  # the state's own: nothing happens but that it is watched
        kinds = {kind for state, terms in policy.states.items() if state in starts(row) for kind in terms.deadlines}
    mine = [policy.deadlines[kind] for kind in kinds if policy.deadlines[kind].party == PARTIES[days.party]]
    wanted = days.earlier.get(policy.version, days.days)
    assert mine, f"nobody else's deadline is {days.party}'s"
    for reason in days.reasons or {""}:
        spans = {span_for(terms, reason) for terms in mine}
        assert spans == {f"P{wanted}D"}
    if days.reminder_after is not None:
        assert [terms.remind_before for terms in mine] == [(f"P{wanted - days.reminder_after}D",)]


def set_by(policy: Programme, row: Transition) -> set[str]:
    """The deadlines that a row sets."""
    return {*(row.deadlines if row.deadlines is not None else policy.states[row.to].deadlines if row.to else ())}


def span_for(terms: DeadlineTerms, reason: str) -> str:
    """A deadline's length for a reason, where no country's law makes it another."""
    varied = (each for each in terms.where if each.when.country is None and reason in (each.when.reason or (reason,)))
    return next((each.after for each in varied), terms.after)


def choices(policy: Programme) -> Iterator[Any]:
    for action in policy.actions.values():
        for asked in action.fields.values():
            yield asked.values


@pytest.mark.rule("NX-02")
@pytest.mark.parametrize("name", SHIPPED.known())
def test_what_the_programme_has_is_in_the_table(name: str) -> None:
    """Every reason, action and outcome of a programme is told, and every move of a row to another state."""
    policy, rows = newest(name), [row for row in told() if row.programme == name]
    happens = {word for row in rows for word in quoted(row.happens)}
    leads = {word for row in rows for word in outcomes(row)}
    # A rule may decide in every programme but one (CP-07); the glossary, not the tables, has what only ends a protection.
    by_rule = {action for action, terms in policy.actions.items() if terms.by == ("system",)}
    assert set(policy.actions) - by_rule <= happens | EVERYWHERE | {word for row in rows for word in quoted(row.leads)}
    assert {code for code, reason in policy.reasons.items() if reason.opens_case} <= happens
    assert set(policy.outcomes) <= leads | {"withdrawn", "decided_refund"} | referred(name)
    assert set(policy.actions) >= EVERYWHERE
    reached = {(mine.trigger, mine.names, mine.given.__repr__(), mine.from_) for row in rows for mine in triggered(row, policy)}
    for mine in policy.transitions:
        if mine.action in EVERYWHERE or mine.action in by_rule or mine.when.by == ("system",) or frozen(policy, mine):
            continue
        assert (mine.trigger, mine.names, mine.given.__repr__(), mine.from_) in reached or "remind" in mine.effects.named, mine


def frozen(policy: Programme, row: Transition) -> bool:
    """Whether a row is about an ended case and leaves it as it is: the ledger still follows the money."""
    return row.to is None and row.outcome is None and set(policy.leaves(row)) <= CLOSED


def referred(name: str) -> set[str]:
    """Outcomes of another table that a row refers to ("as in …")."""
    return {
        outcome
        for row in told()
        if row.programme == name and "as in" in row.leads
        for other in SHIPPED.known()
        if other in row.leads
        for source in told()
        if source.programme == other
        for outcome in outcomes(source)
    }


@pytest.mark.rule("NX-02")
@pytest.mark.parametrize("name", SHIPPED.known())
def test_what_goes_for_every_programme(name: str) -> None:
    policy = newest(name)
    open_states = {state for state in policy.states if state not in CLOSED}
    assert {state for row in policy.transitions if row.action == "withdraw" for state in policy.leaves(row)} == open_states
    assert {state for row in policy.transitions if row.action == "take_over" for state in policy.leaves(row)} == open_states
    for row in policy.transitions:
        if row.action == "withdraw":
            assert (row.to, row.outcome, row.effects.release) == ("resolved", "withdrawn", True)
        if row.action == "take_over":
            assert row.to == "under_review" or policy.leaves(row) == ("under_review",)
        if row.action == "reopen":
            assert (row.to, row.when.closed_within, set(policy.leaves(row))) == (
                "under_review",
                "P30D",
                set(policy.states) & CLOSED,
            )
    assert policy.actions["withdraw"].by == ("buyer",)
    assert policy.actions["take_over"].by == policy.actions["reopen"].by == ("platform",)
    assert policy.actions["note"].by == ("merchant", "platform")
