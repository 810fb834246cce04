"""Days end at the same local time, hours are exact."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

import pytest
from babel.core import get_global
from hypothesis import given
from hypothesis import strategies as st

from engine.calendar import WorkingDays, add, before, zone_of


def local(text: str, zone: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)


@pytest.mark.parametrize(
    ("start", "duration", "zone", "end"),
    [
        ("2024-03-28T10:00", "P5D", "Europe/Berlin", "2024-04-02T10:00"),  # clocks go forward
        ("2024-10-25T10:00", "P5D", "Europe/Berlin", "2024-10-30T10:00"),  # clocks go back
        ("2024-02-27T23:30", "P5D", "Europe/Berlin", "2024-03-03T23:30"),  # leap year
        ("2023-02-27T23:30", "P5D", "Europe/Berlin", "2023-03-04T23:30"),
        ("2024-02-29T12:00", "P365D", "Europe/Berlin", "2025-02-28T12:00"),
        ("2018-11-01T09:00", "P20D", "America/Sao_Paulo", "2018-11-21T09:00"),
        ("2024-03-30T02:30", "P1D", "Europe/Berlin", "2024-03-31T03:30"),  # a time that DST skips
        ("2024-10-26T02:30", "P1D", "Europe/Berlin", "2024-10-27T02:30"),  # a time that comes twice: the first
        ("2024-05-01T00:00", "P2W", "Asia/Kathmandu", "2024-05-15T00:00"),
        ("2024-03-30T12:00", "PT24H", "Europe/Berlin", "2024-03-31T13:00"),  # hours are exact
        ("2024-03-29T12:00", "P1DT14H", "Europe/Berlin", "2024-03-31T03:00"),
    ],
)
def test_days_and_hours(start: str, duration: str, zone: str, end: str) -> None:
    ends = add(local(start, zone), duration, zone)
    assert ends == local(end, zone)
    assert ends.tzinfo is UTC


@given(
    st.integers(631152000, 2208988800).map(lambda seconds: datetime.fromtimestamp(seconds, UTC)),
    st.integers(1, 400),
    st.sampled_from(["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Sao_Paulo", "Asia/Kathmandu", "UTC"]),
)
def test_the_local_time_stays_unless_dst_skips_it(at: datetime, days: int, zone: str) -> None:
    end = add(at, f"P{days}D", zone)
    begins, ends = at.astimezone(ZoneInfo(zone)), end.astimezone(ZoneInfo(zone))
    assert (ends.date() - begins.date()).days in (days, days + 1)
    if ends.time() != begins.time():
        assert (
            timedelta() < (ends.replace(tzinfo=None) - begins.replace(tzinfo=None)) - timedelta(days=days) <= timedelta(hours=1)
        )
    assert abs((end - at) - timedelta(days=days)) <= timedelta(hours=2)


def test_before_is_the_way_back() -> None:
    at = local("2024-04-02T10:00", "Europe/Berlin")
    assert before(at, "P5D", "Europe/Berlin") == local("2024-03-28T10:00", "Europe/Berlin")


def test_working_days_leave_out_weekends_and_holidays() -> None:
    calendar = WorkingDays({1, 2, 3, 4, 5}, {date(2024, 5, 1)})
    friday = local("2024-04-26T15:00", "Europe/Berlin")
    assert add(friday, "P3D", "Europe/Berlin", calendar) == local("2024-05-02T15:00", "Europe/Berlin")
    with pytest.raises(ValueError, match="at least one working day"):
        WorkingDays(())


@pytest.mark.parametrize(
    ("country", "zone"),
    [
        ("DE", "Europe/Berlin"),
        ("BR", "America/Sao_Paulo"),
        ("US", "America/New_York"),
        ("PL", "Europe/Warsaw"),
        ("GB", "Europe/London"),
        ("PT", "Europe/Lisbon"),
        ("ES", "Europe/Madrid"),
    ],
)
def test_main_zones(country: str, zone: str) -> None:
    assert zone_of(country) == zone


def test_every_country_has_a_zone_that_exists() -> None:
    zones = available_timezones()
    for country in set(get_global("territory_zones")) - {"ZZ"}:
        assert zone_of(country) in zones
    for nowhere in ("ZZ", "XX"):
        with pytest.raises(KeyError):
            zone_of(nowhere)
