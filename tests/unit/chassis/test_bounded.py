"""A bounded mapping forgets what was set longest ago."""

from chassis.bounded import Bounded


def test_one_entry_too_many_is_the_oldest_and_who_is_set_again_is_new() -> None:
    kept = Bounded[str, int](2)
    for name, value in (("a", 1), ("b", 2), ("a", 3), ("c", 4)):
        kept[name] = value
    assert list(kept.items()) == [("a", 3), ("c", 4)]
    assert kept.get("a") == 3, "reading changes nothing"
    kept["d"] = 5
    assert list(kept) == ["c", "d"]
