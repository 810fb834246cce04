"""What readers are shown of a programme is the table that decides."""

from pathlib import Path

import orjson
import pytest

from engine.casefile import CLOSED
from engine.machine import mermaid, page, state_machine
from engine.programmes import Programmes

DOCS = Path(__file__).parents[3] / "docs" / "state-machines"
NEWEST = Programmes.shipped().versions("buyer-protection")[-1]


@pytest.mark.rule("NX-02")
def test_the_pages_of_the_docs_are_made_from_the_programmes() -> None:
    shipped = Programmes.shipped()
    assert {path.stem for path in DOCS.glob("*.md")} == {"README", *shipped.known()}
    for name in shipped.known():
        told = (DOCS / f"{name}.md").read_text("utf-8")
        assert told == page(shipped.versions(name)), "run: python -m engine.machine docs/state-machines"


@pytest.mark.rule("NX-02")
def test_the_state_machine_is_plain_and_complete() -> None:
    machine = state_machine(NEWEST)
    assert orjson.loads(orjson.dumps(machine)) == machine
    assert {each["state"] for each in machine["states"]} == set(NEWEST.states)
    assert {each["action"] for each in machine["actions"]} == set(NEWEST.actions)
    assert len(machine["transitions"]) == len(NEWEST.transitions)
    yes = next(each for each in machine["transitions"] if each["given"] == {"refund": ["yes"]})
    assert (yes["trigger"], yes["name"], yes["by"], yes["from"], yes["to"]) == (
        "action",
        "answer",
        ["merchant"],
        ["submitted"],
        "awaiting_buyer",
    )
    assert yes["effects"] == {"answer": True, "reserve": {"amount": "refund_amount", "executor": "merchant"}}
    for each in machine["transitions"]:
        assert (each["to"] in CLOSED) == (each["outcome"] is not None)
        assert each["trigger"] != "silence" or (each["consequence"] and each["text"]["de"])


@pytest.mark.rule("NX-02")
def test_the_diagram_shows_every_state_and_every_move() -> None:
    drawn = mermaid(NEWEST)
    reached = {row.to for row in NEWEST.transitions if row.to is not None}
    assert reached == set(NEWEST.states), "there is none that nothing leads to"
    for state in reached:
        assert f"--> {state}: " in drawn
    for state in NEWEST.states:
        assert f"    {state}: {state}<br/>" in drawn
