"""Token buckets: so much at once, so much in the long run, each name by itself."""

from services.gateway.buckets import Buckets


def test_a_burst_then_as_fast_as_it_fills() -> None:
    now = 100.0
    buckets = Buckets(3, 2.0, now=lambda: now)
    assert [buckets.take("a") for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]
    assert buckets.take("b") == 0.0
    now += 0.5
    assert [buckets.take("a"), buckets.take("a")] == [0.0, 0.5]
    now += 3_600
    assert [buckets.take("a") for _ in range(4)] == [0.0, 0.0, 0.0, 0.5], "no more than the burst is saved up"


def test_only_so_many_names_are_remembered() -> None:
    buckets = Buckets(1, 1.0, most=2, now=lambda: 0.0)
    for name in ("a", "b", "c"):
        assert buckets.take(name) == 0.0
    assert buckets.take("c") == 1.0
    assert buckets.take("a") == 0.0, "it was forgotten, full as it would be by then"
