"""The plans of benches: a chaos run is seeded and hits every process; an insolvency is disturbed in its midst."""

import json
from collections import Counter

import pytest

from recourse.benching.chaos import BROKER, STORE, blows
from recourse.benching.ingest import share_of_floor
from recourse.benching.insolvency import faults, marks
from simulator.generator import generate
from tests.rules import ROOT

BATCH = generate(60, seed=1)
NAMES = [f"{service}-{number}" for service in ("intake", "cases", "gateway") for number in (1, 2)]


def test_a_plan_is_the_same_for_a_seed_and_in_the_order_of_time() -> None:
    plan = blows(BATCH, 3, NAMES, kills=9)
    assert plan == blows(BATCH, 3, NAMES, kills=9)
    assert plan != blows(BATCH, 4, NAMES, kills=9)
    assert [blow.at for blow in plan] == sorted(blow.at for blow in plan)


def test_every_process_is_hit_and_broker_and_store_once() -> None:
    hit = Counter(blow.target for blow in blows(BATCH, 3, NAMES, kills=12))
    assert {hit[name] for name in NAMES} == {2}
    assert hit[BROKER] == hit[STORE] == 1


def test_an_insolvency_is_disturbed_in_its_midst() -> None:
    assert marks(5_000, 2) == [1_666, 3_333]
    assert marks(5_000, 0) == []
    assert all(0 < mark < 5 for mark in marks(5, 4))


WELL = {"orders": 5, "items": {"done": 5}, "told": {"once": 4}, "moved": {"once": 2}, "killed_at": [1, 3]}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({}, []),
        ({"told": {"once": 3, "never": 1}}, ["told"]),
        ({"told": {"once": 3, "more": 1}, "moved": {"never": 2}}, ["told", "moved"]),
        ({"items": {"done": 4, "failed": 1}}, ["items"]),
        ({"items": {"done": 4}}, ["items"]),
        ({"killed_at": [1, 5]}, ["killed_at"]),
    ],
)
def test_what_an_insolvency_must_not_come_to(change: dict[str, object], named: list[str]) -> None:
    assert [fault.partition(":")[0] for fault in faults({**WELL, **change})] == named


def test_what_ingestion_cost_is_written_down_to_be_held_against() -> None:
    before = json.loads((ROOT / "docs" / "benchmarks.json").read_text("utf-8"))
    assert 1 < share_of_floor(before) < 10
    assert share_of_floor({"cpu_s_per_1000": 0.3, "floor_cpu_s_per_1000": 0.1}) == pytest.approx(3)
    for wrong in ({}, {"cpu_s_per_1000": 0.1, "floor_cpu_s_per_1000": 0}, {"cpu_s_per_1000": None, "floor_cpu_s_per_1000": 1}):
        with pytest.raises(ValueError, match="bench ingest"):
            share_of_floor(wrong)
