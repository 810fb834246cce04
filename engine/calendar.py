"""Reckoning with days: deadlines end at the same local time in the merchant's zone, whatever DST and leap days do."""

from collections.abc import Collection
from datetime import UTC, date, datetime, timedelta
from functools import cache, lru_cache
from zoneinfo import ZoneInfo

from babel.core import get_global

from contracts.base import parse_duration

__all__ = ["WorkingDays", "add", "before", "zone_of"]

_MAIN_ZONES = {
    "AQ": "Antarctica/McMurdo",
    "AR": "America/Argentina/Buenos_Aires",
    "AU": "Australia/Sydney",
    "BR": "America/Sao_Paulo",
    "CA": "America/Toronto",
    "CD": "Africa/Kinshasa",
    "CL": "America/Santiago",
    "CN": "Asia/Shanghai",
    "CY": "Asia/Nicosia",
    "DE": "Europe/Berlin",
    "EC": "America/Guayaquil",
    "ES": "Europe/Madrid",
    "FM": "Pacific/Pohnpei",
    "GL": "America/Nuuk",
    "ID": "Asia/Jakarta",
    "KI": "Pacific/Tarawa",
    "KZ": "Asia/Almaty",
    "MH": "Pacific/Majuro",
    "MN": "Asia/Ulaanbaatar",
    "MX": "America/Mexico_City",
    "MY": "Asia/Kuala_Lumpur",
    "NZ": "Pacific/Auckland",
    "PF": "Pacific/Tahiti",
    "PG": "Pacific/Port_Moresby",
    "PS": "Asia/Hebron",
    "PT": "Europe/Lisbon",
    "RU": "Europe/Moscow",
    "UA": "Europe/Kyiv",
    "UM": "Pacific/Wake",
    "US": "America/New_York",
    "UZ": "Asia/Tashkent",
}
"""Countries with several zones: the one of the capital or of most people. The library knows all zones, not the main one."""


class WorkingDays:
    """A calendar that counts only some days: ISO weekdays (1 = Monday) that are no holidays."""

    def __init__(self, weekdays: Collection[int], holidays: Collection[date] = ()) -> None:
        self._weekdays = frozenset(weekdays)
        self._holidays = frozenset(holidays)
        if not self._weekdays:
            raise ValueError("a calendar needs at least one working day a week")

    def counts(self, day: date) -> bool:
        """Whether a day is a working day."""
        return day.isoweekday() in self._weekdays and day not in self._holidays


@cache
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


def _shifted(at: datetime, days: int, timezone: str, working: WorkingDays | None) -> datetime:
    local = at.astimezone(_zone(timezone))  # a sum is the first of two equal local times, whichever this is
    if working is None:
        return (local + timedelta(days=days)).astimezone(UTC)
    step = timedelta(days=1 if days > 0 else -1)
    remaining = abs(days)
    while remaining:
        local += step
        remaining -= working.counts(local.date())
    return local.astimezone(UTC)


@lru_cache(maxsize=4096)  # a caller may ask for any duration
def _parts(duration: str) -> tuple[int, timedelta]:
    """Days, which follow the calendar, and the exact rest of a duration."""
    parse_duration(duration)
    date_part, _, time_part = duration.partition("T")
    days = parse_duration(date_part).days if date_part != "P" else 0
    return days, parse_duration(f"PT{time_part}") if time_part else timedelta()


def _moved(at: datetime, duration: str, timezone: str, sign: int, working: WorkingDays | None) -> datetime:
    days, exact = _parts(duration)
    moved = _shifted(at, sign * days, timezone, working) if days else at.astimezone(UTC)
    return moved + sign * exact if exact else moved


def add(at: datetime, duration: str, timezone: str, working: WorkingDays | None = None) -> datetime:
    """The moment an ISO 8601 duration after `at`, in UTC: its days end at the same local time in the IANA zone (a local
    time that DST skips moves on by the gap), its hours are exact. With `working`, only working days count.
    Raises ValueError for a duration of another form, ZoneInfoNotFoundError for an unknown zone."""
    return _moved(at, duration, timezone, 1, working)


def before(at: datetime, duration: str, timezone: str) -> datetime:
    """The moment a duration before `at`, reckoned as in `add`."""
    return _moved(at, duration, timezone, -1, None)


@cache
def zone_of(country: str) -> str:
    """The IANA zone of an ISO 3166 country, of its capital or most people where it has several. Raises KeyError."""
    if country in _MAIN_ZONES:
        return _MAIN_ZONES[country]
    zone = get_global("territory_zones")[country][0]
    if zone.startswith("Etc/"):  # the library's entry for no country in particular, ZZ
        raise KeyError(country)
    return zone
