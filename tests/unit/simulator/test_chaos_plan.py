"""The plan of a chaos run: seeded, and every process is hit."""

from collections import Counter

from recourse.benching.chaos import BROKER, STORE, blows
from simulator.generator import generate

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
