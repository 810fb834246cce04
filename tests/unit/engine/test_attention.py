"""Assignment, deputies and forecasts: pure functions of the desk and the day (RD-08, 09, NX-17)."""

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.cases import Consequence, Deadline, PolicyRef
from contracts.desk import Absence, AbsenceContent, AssignmentRule, Consultant, Desk
from engine.attention import (
    CaseAtWork,
    assignee_of,
    clash_of,
    deputies,
    forecast,
    leads,
    loop_of,
    rule_for,
    standing_in,
)

BERLIN = "Europe/Berlin"


def person(name: str) -> Consultant:
    return Consultant(consultant_id=name, version=1, name=name.upper(), email=f"{name}@shop.example")


def rule(number: int, consultant: str, **kinds: str) -> AssignmentRule:
    return AssignmentRule.model_validate({"rule_id": f"r{number}", "version": 1, "consultant_id": consultant, **kinds})


def away(who: str, first: str, last: str, deputy: str) -> Absence:
    content = {"consultant_id": who, "from": first, "to": last, "deputy_id": deputy}
    return Absence.model_validate({"absence_id": f"{who}-{first}", "version": 1, **content})


def desk(*absences: Absence, rules: tuple[AssignmentRule, ...] = ()) -> Desk:
    return Desk(consultants=tuple(map(person, "abcd")), rules=rules, absences=absences)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("kinds", "programme", "reason", "channel", "expected"),
    [
        ([{}], "returns-desk", "complaint", None, 0),
        ([{}, {"programme": "returns-desk"}], "returns-desk", "complaint", "ebay", 1),
        ([{"channel": "ebay"}, {"programme": "returns-desk"}], "returns-desk", "complaint", "eBay", 0),
        ([{"channel": "ebay"}, {"reason": "complaint"}], "returns-desk", "complaint", "ebay", 1),
        ([{"reason": "complaint"}, {"programme": "returns-desk", "channel": "ebay"}], "returns-desk", "complaint", "ebay", 1),
        ([{"channel": "ebay"}], "returns-desk", "complaint", None, None),
        ([{"channel": "ebay"}], "returns-desk", "complaint", "amazon", None),
        ([{"programme": "claims"}], "returns-desk", "complaint", "ebay", None),
        ([{"channel": "ebay"}, {"channel": "EBAY"}], "returns-desk", "complaint", "ebay", 0),
    ],
)
def test_the_most_specific_rule_counts(
    kinds: list[dict[str, str]], programme: str, reason: str, channel: str | None, expected: int | None
) -> None:
    rules = [rule(number, "a", **kind) for number, kind in enumerate(kinds)]
    found = rule_for(rules, programme, reason, channel)
    assert (found and found.rule_id) == (None if expected is None else f"r{expected}")


def test_an_absence_covers_its_days_in_the_merchant_s_zone() -> None:
    with_rule = desk(away("a", "2021-03-10", "2021-03-12", "b"), rules=(rule(1, "a"),))

    def who(moment: str) -> tuple[str, str | None] | None:
        found = assignee_of(with_rule, BERLIN, at(moment), "p", "r", None)
        return found and (found.consultant_id, found.deputy_for)

    assert who("2021-03-09T22:59:59") == ("a", None)
    assert who("2021-03-09T23:00:00") == ("b", "a")
    assert who("2021-03-12T22:59:59") == ("b", "a")
    assert who("2021-03-12T23:00:00") == ("a", None)


def test_deputies_chain_and_nobody_is_assigned_without_a_rule() -> None:
    absences = (away("a", "2021-03-01", "2021-03-31", "b"), away("b", "2021-03-05", "2021-03-06", "c"))
    assert standing_in(absences, "a", date(2021, 3, 5)) == ("a", "b", "c")
    assert standing_in(absences, "a", date(2021, 3, 7)) == ("a", "b")
    assert assignee_of(desk(*absences), BERLIN, at("2021-03-05T10:00:00"), "p", "r", None) is None


@pytest.mark.parametrize(
    ("others", "new", "circle"),
    [
        ([], ("a", "2021-03-01", "2021-03-02", "a"), ("a",)),
        ([("a", "2021-03-01", "2021-03-10", "b")], ("b", "2021-03-10", "2021-03-12", "a"), ("b", "a")),
        ([("a", "2021-03-01", "2021-03-10", "b")], ("b", "2021-03-11", "2021-03-12", "a"), None),
        (
            [("a", "2021-03-01", "2021-03-05", "b"), ("b", "2021-03-05", "2021-03-09", "c")],
            ("c", "2021-02-01", "2021-04-01", "a"),
            ("c", "a", "b"),
        ),
        (
            [("a", "2021-03-01", "2021-03-05", "b"), ("b", "2021-03-06", "2021-03-09", "c")],
            ("c", "2021-02-01", "2021-04-01", "a"),
            None,
        ),
    ],
)
def test_a_circle_of_deputies_is_found(
    others: list[tuple[str, str, str, str]], new: tuple[str, str, str, str], circle: tuple[str, ...] | None
) -> None:
    assert loop_of([away(*each) for each in others], away(*new)) == circle


@given(
    st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 20), st.integers(0, 6), st.sampled_from("abcd")), max_size=12)
)
def test_whatever_absences_are_accepted_somebody_is_there_on_every_day(plan: list[tuple[str, int, int, str]]) -> None:
    start = date(2021, 3, 1)
    accepted: list[Absence] = []
    for who, begin, length, deputy in plan:
        first = start + timedelta(days=begin)
        new = away(who, first.isoformat(), (first + timedelta(days=length)).isoformat(), deputy)
        if clash_of(accepted, new) is None and loop_of(accepted, new) is None:
            accepted.append(new)
    for day in (start + timedelta(days=number) for number in range(30)):
        gone = {each.consultant_id for each in accepted if each.from_ <= day <= each.to}
        for who in "abcd":
            assert standing_in(accepted, who, day)[-1] not in gone


def test_days_that_touch_clash_only_for_the_same_consultant() -> None:
    known = [away("a", "2021-03-01", "2021-03-10", "b")]
    assert clash_of(known, away("a", "2021-03-10", "2021-03-11", "c")) == known[0]
    assert clash_of(known, away("a", "2021-03-11", "2021-03-12", "c")) is None
    assert clash_of(known, away("b", "2021-03-10", "2021-03-11", "c")) is None


def test_what_no_rule_gives_to_anybody_goes_to_those_without_a_rule() -> None:
    rules = (rule(1, "a"), rule(2, "b", channel="ebay"))
    moment = at("2021-03-05T10:00:00")
    assert [each.consultant_id for each in leads(desk(rules=rules), BERLIN, moment)] == ["c", "d"]
    gone = desk(away("c", "2021-03-01", "2021-03-09", "d"), rules=rules)
    assert [each.consultant_id for each in leads(gone, BERLIN, moment)] == ["d"]
    everybody = (*rules, rule(3, "c"), rule(4, "d"))
    assert leads(desk(rules=everybody), BERLIN, moment) == ()


def case(number: int, due: str, party: str = "merchant", channel: str | None = None) -> CaseAtWork:
    deadline = Deadline.model_validate(
        {
            "deadline_id": f"d{number}",
            "kind": "answer",
            "party": party,
            "due_at": at(due),
            "rule": "BP-18",
            "policy": PolicyRef(programme="p", version=1),
            "on_silence": Consequence(action="review"),
        }
    )
    return CaseAtWork(f"c{number}", "p", "r", channel, (deadline,))


def test_a_forecast_has_the_deadlines_of_the_absent_one_soonest_first() -> None:
    rules = (rule(1, "a"), rule(2, "b", channel="ebay"))
    absence = away("a", "2021-03-10", "2021-03-12", "b")
    cases = [
        case(1, "2021-03-12T22:59:00"),
        case(2, "2021-03-09T23:00:00"),
        case(3, "2021-03-12T23:00:00"),
        case(4, "2021-03-11T10:00:00", party="buyer"),
        case(5, "2021-03-11T10:00:00", channel="ebay"),
    ]
    found = forecast(desk(absence, rules=rules), BERLIN, absence, cases)
    assert [(each.case.case_id, each.deputy.consultant_id) for each in found] == [("c2", "b"), ("c1", "b")]


def test_a_forecast_knows_whom_the_absent_one_stands_in_for_and_who_is_there_on_the_day() -> None:
    first, second = away("a", "2021-03-01", "2021-03-31", "b"), away("b", "2021-03-10", "2021-03-12", "c")
    third = away("c", "2021-03-12", "2021-03-13", "d")
    at_work = [case(1, "2021-03-11T10:00:00"), case(2, "2021-03-12T10:00:00"), case(3, "2021-03-20T10:00:00")]
    found = forecast(desk(first, second, third, rules=(rule(1, "a"),)), BERLIN, second, at_work)
    assert [(each.case.case_id, each.deputy.consultant_id) for each in found] == [("c1", "c"), ("c2", "d")]


def test_an_absence_is_read_by_its_own_names() -> None:
    given_ = {"consultant_id": "a", "from": "2021-03-10", "to": "2021-03-12", "deputy_id": "b"}
    assert AbsenceContent.model_validate(given_).model_dump(mode="json", exclude_none=True) == given_


@pytest.mark.rule("RD-09")
@given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(1, 28), st.integers(0, 9), st.sampled_from("abcd")), max_size=6))
def test_deputies_are_who_is_there_on_the_days_of_an_absence(found: list[tuple[str, int, int, str]]) -> None:
    absence = away("a", "2021-03-10", "2021-03-20", "b")
    absences = [absence]
    for who, first, days, deputy in found:
        begin = date(2021, 3, first)
        new = away(who, str(begin), str(begin + timedelta(days=days)), deputy)
        if who != deputy and clash_of(absences, new) is None and loop_of(absences, new) is None:
            absences.append(new)
    there: dict[str, list[date]] = {}
    for day in (absence.from_ + timedelta(days=number) for number in range(11)):
        there.setdefault(standing_in(absences, "a", day)[-1], []).append(day)
    assert deputies(absences, absence) == {who: (days[0], days[-1]) for who, days in there.items()}
