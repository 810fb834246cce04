"""Programme files: versions, what extends what, and clear words about what is wrong."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from engine import decide, guards, programmes
from engine.programmes import Programme, ProgrammeError, Programmes, When, in_language
from tests.unit.engine.playing import Play

TEXT = {"en": "Text"}


def small(**changes: Any) -> dict[str, Any]:
    """A programme of one reason, two states and one action."""
    return {
        "programme": "small",
        "version": 1,
        "label": TEXT,
        "reasons": {"broken": {"label": TEXT, "rule": "X-1", "needs_protection": False}},
        "states": {
            "submitted": {"label": TEXT, "turn": "merchant", "deadlines": ["reply"]},
            "resolved": {"label": TEXT},
        },
        "outcomes": {"solved": TEXT},
        "actions": {"solve": {"by": ["merchant"], "label": TEXT}},
        "deadlines": {"reply": {"label": TEXT, "party": "merchant", "after": "P2D", "calendar": "business", "rule": "X-2"}},
        "calendars": {"business": {"weekdays": [1, 2, 3, 4, 5], "holidays": ["2024-01-22"]}},
        "transitions": [
            {"report": ["broken"], "to": "submitted", "rule": "X-1"},
            {"action": "solve", "from": ["open"], "to": "resolved", "outcome": "solved", "rule": "X-3"},
            {
                "silence": "reply",
                "to": "resolved",
                "outcome": "solved",
                "consequence": "close",
                "text": {"en": "It is solved."},
                "rule": "X-2",
            },
        ],
        **changes,
    }


def write(folder: Path, **contents: dict[str, Any]) -> Path:
    for name, content in contents.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(content), "utf-8")
    return folder


@pytest.mark.rule("NX-07", "BP-18")
def test_the_version_in_force_follows_the_date() -> None:
    shipped = Programmes.shipped()
    assert shipped.known() == ("buyer-protection", "claims", "order-issues", "returns-desk")
    assert [each.version for each in shipped.versions("buyer-protection")] == [1, 2]
    for at, version in (
        (datetime(2017, 1, 1, tzinfo=UTC), 1),
        (datetime(2019, 7, 14, 23, 59, 59, tzinfo=UTC), 1),
        (datetime(2019, 7, 15, tzinfo=UTC), 2),
        (datetime(2030, 1, 1, tzinfo=UTC), 2),
    ):
        assert shipped.in_force("buyer-protection", at).version == version
    with pytest.raises(KeyError):
        shipped.in_force("unheard-of", datetime.now(UTC))


@pytest.mark.rule("BP-18")
def test_the_two_versions_differ_in_the_merchants_days_alone() -> None:
    old, new = Programmes.shipped().versions("buyer-protection")
    assert (old.deadlines["merchant_answer"].after, new.deadlines["merchant_answer"].after) == ("P7D", "P5D")
    same = {"version": 2, "effective_from": new.effective_from, "deadlines": new.deadlines}
    assert old.model_copy(update=same).model_dump() == new.model_dump()


def test_shipped_programmes_speak_english_and_german() -> None:
    assert Programmes.shipped().known()
    for name in Programmes.shipped().known():
        for programme in Programmes.shipped().versions(name):
            texts = [value for value in _texts(programme.model_dump()) if "en" in value]
            assert len(texts) > 30
            assert all(set(text) == {"en", "de"} for text in texts)


def _texts(value: Any) -> list[dict[str, str]]:
    if isinstance(value, dict):
        if value and all(isinstance(each, str) for each in value.values()):
            return [value]
        return [found for each in value.values() for found in _texts(each)]
    return [found for each in value for found in _texts(each)] if isinstance(value, list | tuple) else []


def test_a_missing_language_reads_english() -> None:
    assert in_language({"en": "Yes", "de": "Ja"}, "de-AT") == "Ja"
    assert in_language({"en": "Yes", "de": "Ja"}, "pl") == "Yes"


def test_every_word_of_the_vocabulary_has_a_meaning() -> None:
    assert set(guards.GUARDS) == set(When.model_fields)


def test_a_programme_from_a_file_alone_plays_a_case_to_its_end(tmp_path: Path) -> None:
    play = Play(programmes=Programmes.load(write(tmp_path, small=small())))
    play.report("broken", programme="small")
    assert play.case.policy.programme == "small"
    # reported on Saturday 20 January; Monday is a holiday
    assert play.deadline("reply").due_at == datetime(2024, 1, 24, 9, 30, tzinfo=UTC)
    assert set(play.allowed("merchant")) == {"solve"}
    play.act("merchant", "solve")
    assert (play.case.state, play.case.outcome) == ("resolved", "solved")


def test_a_version_may_extend_another_in_another_folder(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    write(tmp_path / "one", a=small())
    later = {"programme": "small", "version": 2, "extends": 1, "effective_from": "2024-01-01T00:00:00Z"}
    write(tmp_path / "two", a={**later, "deadlines": {"reply": {"after": "P9D"}}})
    loaded = Programmes.load(tmp_path / "one", tmp_path / "two")
    assert loaded.get("small", 2).deadlines["reply"].after == "P9D"
    assert loaded.get("small", 2).deadlines["reply"].party == "merchant"


def changed(path: str, value: Any) -> dict[str, Any]:
    content = small()
    *way, last = path.split("/")
    place: Any = content
    for step in way:
        place = place[int(step)] if isinstance(place, list) else place[step]
    if isinstance(place, list):
        place[int(last)] = value
    elif value is None:
        del place[last]
    else:
        place[last] = value
    return content


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("transitions/1/to", "limbo", "transitions/1/to"),
        ("transitions/1/from", ["in_progress"], "there is no state in_progress"),
        ("transitions/1/action", "dissolve", "there is no action dissolve"),
        ("transitions/1/outcome", None, "every end has one"),
        ("transitions/1/outcome", "won", "there is no outcome won"),
        ("transitions/1/given", {"way": ["a"]}, "no choice way of a"),
        ("transitions/1/turn_field", "party", "no field party"),
        ("transitions/1/amount", "any", "the form has no refund amount"),
        ("transitions/1/effects", {"reserve": {"amount": "refund_amount", "executor": "merchant"}}, "does not ask for"),
        ("transitions/1/ends", ["reply"], "a row that moves ends all deadlines"),
        ("transitions/1/fact", "returned", "exactly one of"),
        ("transitions/1/from", [], "needs states to start from"),
        ("transitions/1/when", {"weather": "fine"}, "transitions/1/when/weather"),
        ("transitions/1/effects", {"explode": True}, "transitions/1/effects/explode"),
        ("transitions/0/report", ["cracked"], "there is no reason cracked"),
        ("transitions/0/to", None, "a report needs a state to open in"),
        ("transitions/0/deadlines", [], "an open case needs a deadline or is the platform's turn"),
        ("transitions/0/deadlines", ["never"], "there is no deadline never"),
        ("transitions/0/from", ["submitted"], "starts from no state"),
        ("transitions/2/text", {"de": "Gelöst"}, "silence needs a consequence and its English text"),
        ("transitions/2/when", {"answered": True}, "its silence needs a last row that always fits"),
        ("states/resolved/turn", "buyer", "after the end it is nobody's turn"),
        ("states/submitted/deadlines", ["soon"], "there is no deadline soon"),
        ("states/nowhere", {"label": TEXT}, "states/nowhere"),
        ("deadlines/reply/after", "5 days", "deadlines/reply/after"),
        ("deadlines/reply/party", None, "name either party or parties"),
        ("deadlines/reply/until", "answer_by", "needs words for beyond it"),
        ("deadlines/reply/beyond", {"en": "{answer_by}"}, "needs words for beyond it"),
        ("deadlines/reply/calendar", "moon", "there is no calendar moon"),
        ("actions/dance", {"by": ["buyer"], "label": TEXT}, "action dance: no transition takes it"),
        ("actions/solve/label", {"de": "Lösen"}, "action solve: the English text is missing"),
        ("actions/solve/fields", {"way": {"type": "choice", "label": TEXT}}, "a choice, and nothing else, has values"),
        ("reasons/lost", {"label": TEXT, "rule": "X-1"}, "reason lost: no transition takes it"),
        ("surprise", 1, "surprise"),
        ("effective_from", "tomorrow", "effective_from"),
    ],
)
def test_what_does_not_hold_together_is_said(tmp_path: Path, path: str, value: Any, said: str) -> None:
    with pytest.raises(ProgrammeError) as caught:
        Programmes.load(write(tmp_path, wrong=changed(path, value)))
    assert said in str(caught.value)
    assert "wrong.yaml" in str(caught.value)


LATER = {"programme": "small", "version": 2, "extends": 1}


@pytest.mark.parametrize(
    ("contents", "said"),
    [
        ({"a": small(), "b": small()}, "is also in"),
        ({"a": small(), "b": {**LATER, "extends": 7}}, "extends version 7, which is not there"),
        ({"a": {**small(), "extends": 1}}, "extends itself"),
        ({"a": {**LATER, "version": 1, "extends": 2}, "b": LATER}, "extends itself"),
        ({"a": small(), "b": LATER}, "in force no later than the version before it"),
        (
            {"a": small(effective_from="2024-01-01T00:00:00Z"), "b": {**LATER, "effective_from": "2023-01-01T00:00:00Z"}},
            "in force no later than the version before it",
        ),
    ],
)
def test_versions_that_do_not_fit_together(tmp_path: Path, contents: dict[str, Any], said: str) -> None:
    with pytest.raises(ProgrammeError, match=said):
        Programmes.load(write(tmp_path, **contents))


@pytest.mark.parametrize("text", ["a: [", "- one\n- two", "\x00"])
def test_what_is_no_programme_at_all(tmp_path: Path, text: str) -> None:
    (tmp_path / "odd.yaml").write_text(text, "utf-8")
    with pytest.raises(ProgrammeError, match=r"odd\.yaml"):
        Programmes.load(tmp_path)


def test_a_programme_is_not_in_force_before_its_first_date(tmp_path: Path) -> None:
    loaded = Programmes.load(write(tmp_path, small=small(effective_from="2024-01-01T00:00:00Z")))
    with pytest.raises(KeyError):
        loaded.in_force("small", datetime(2023, 12, 31, tzinfo=UTC))


def test_the_heart_names_no_programme() -> None:
    """What programmes differ in is data: no code of the engine knows a programme, an action or a reason by name."""
    folder = Path(decide.__file__).parent
    shipped = Programmes.shipped()
    words = set(shipped.known())
    for programme in (version for name in shipped.known() for version in shipped.versions(name)):
        words |= set(programme.reasons) | set(programme.actions) | set(programme.deadlines)
    # words of other meanings as well
    words -= {"answer", "evidence", "proposal", "other", "return", "satisfied", "note", "decide", "refund"}
    assert words >= {"buyer-protection", "not_received", "take_over"}
    modules = list(folder.glob("*.py"))
    assert {"decide.py", "views.py"} <= {module.name for module in modules}
    for module in modules:
        source = module.read_text("utf-8")
        assert not [word for word in words if f'"{word}"' in source], module.name


def test_reasons() -> None:
    programme: Programme = Programmes.shipped().get("buyer-protection", 2)
    satisfied, insolvent = programme.reason("satisfied"), programme.reason("merchant_insolvent")
    assert satisfied is not None
    assert insolvent is not None
    assert not satisfied.opens_case
    assert insolvent.needs_declared_insolvency
    assert programme.reason("unheard_of") is None
    assert programmes.Programmes.shipped() is Programmes.shipped()
