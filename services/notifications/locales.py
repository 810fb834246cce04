"""Languages: gettext catalogues, and how dates, moments and amounts are written."""

import gettext
import io
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import cache, lru_cache
from importlib.resources import files
from zoneinfo import ZoneInfo

from babel import Locale, UnknownLocaleError
from babel.dates import format_date, format_datetime, format_time
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.numbers import format_currency, format_percent

from contracts.money import Money

__all__ = ["LANGUAGES", "Language", "language_of"]

LANGUAGES = ("en", "de")
"""Those that mails are written in. English stands in the code; each other one has a catalogue `locales/<language>/`."""

_SPACES = str.maketrans({"\u00a0": " ", "\u202f": " ", "\u2009": " "})


@cache
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


@cache
def _catalogue(language: str) -> gettext.NullTranslations:
    """Compiled from its .po when first needed, so that no compiled file can be stale or missing from an installation."""
    if language == LANGUAGES[0]:
        return gettext.NullTranslations()
    source = files("services.notifications") / "locales" / language / "LC_MESSAGES" / "notifications.po"
    compiled = io.BytesIO()
    with source.open("rb") as po:
        write_mo(compiled, read_po(po, locale=language))
    compiled.seek(0)
    return gettext.GNUTranslations(compiled)


class Language:
    """Texts in one language and formats of one locale: `de-AT` reads the German catalogue and writes Austrian amounts."""

    def __init__(self, code: str, formats: Locale) -> None:
        self.code = code
        self._formats = formats
        self._zone_names: dict[tuple[str, timedelta | None, bool], str] = {}
        translations = _catalogue(code)
        self._gettext = translations.gettext
        self._ngettext = translations.ngettext

    def _(self, text: str, **given: object) -> str:
        """The text in this language, its `{names}` filled in. What is filled in is never read as a format."""
        translated = self._gettext(text)
        return translated.format(**given) if given else translated

    def percent(self, share: float) -> str:
        """0.0417 as `4.2 %` is written here."""
        return format_percent(share, format="#,##0.0 %", locale=self._formats).translate(_SPACES)

    def ngettext(self, one: str, many: str, count: int, **given: object) -> str:
        """The text for one or for many, its `{count}` and `{names}` filled in."""
        return self._ngettext(one, many, count).format(count=count, **given)

    def day(self, moment: datetime, timezone: str) -> str:
        """The day of a moment in a zone: `15. Juli 2019`."""
        return self.date(moment.astimezone(_zone(timezone)).date())

    def date(self, day: date) -> str:
        """`15. Juli 2019`."""
        return _date(self._formats, day)

    def moment(self, moment: datetime, timezone: str) -> str:
        """Day, time and zone: `15. Juli 2019, 14:30 (Mitteleuropäische Sommerzeit)`."""
        local = moment.astimezone(_zone(timezone))
        return (
            f"{self.date(local.date())}, {_time(self._formats, local.hour, local.minute)} ({self._zone_name(local, timezone)})"
        )

    def amount(self, money: Money) -> str:
        """`1.234,50 €`; with plain spaces, as people search and copy them."""
        return _amount(self._formats, money.amount, money.currency)

    def _zone_name(self, local: datetime, timezone: str) -> str:
        """Of a zone there are as many as it has offsets."""
        known = timezone, local.utcoffset(), bool(local.dst())
        if known not in self._zone_names:
            named = format_datetime(local, "zzzz", tzinfo=_zone(timezone), locale=self._formats)
            self._zone_names[known] = named.translate(_SPACES)
        return self._zone_names[known]


# Mails name the same days, times of day and prices again and again; each costs about as much as the layout of its mail.


@lru_cache(maxsize=4_096)
def _date(formats: Locale, day: date) -> str:
    return format_date(day, "long", locale=formats).translate(_SPACES)


@lru_cache(maxsize=4_096)
def _time(formats: Locale, hour: int, minute: int) -> str:
    return format_time(time(hour, minute), "short", locale=formats).translate(_SPACES)


@lru_cache(maxsize=16_384)
def _amount(formats: Locale, amount: Decimal, currency: str) -> str:
    return format_currency(amount, currency, locale=formats).translate(_SPACES)


@lru_cache(maxsize=256)
def language_of(locale: str) -> Language:
    """The language of a locale such as `de`, `de-AT` or `pt_BR`; English where there is no catalogue of it."""
    code = locale.replace("_", "-").split("-")[0].lower()
    if code not in LANGUAGES:
        return language_of(LANGUAGES[0])
    try:
        return Language(code, Locale.parse(locale.replace("-", "_")))
    except (UnknownLocaleError, ValueError):
        return Language(code, Locale(code))
