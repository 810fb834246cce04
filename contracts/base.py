"""The base of every message and the forms of time that cross a boundary."""

import re
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache
from typing import Annotated, Any, ClassVar, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    PlainSerializer,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    WrapValidator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

__all__ = [
    "Duration",
    "GivenMoment",
    "Message",
    "Model",
    "Moment",
    "format_duration",
    "format_moment",
    "parse_duration",
    "parse_moment",
    "wrong_at",
]


class Model(BaseModel):
    """A frozen value. Readers tolerate fields that a newer writer added."""

    # What did not fit may be somebody's address: an error says where and why, and leaves the value out of logs.
    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True, hide_input_in_errors=True)

    @classmethod
    def made_of(cls, **parts: Any) -> Self:
        """A value of parts that were validated as they came in, at a fifth of the cost of validating them again or of
        `model_construct`; a field without a part has its default. Raises TypeError where one has neither, and for a part that
        is no field."""
        defaults, required, names = _fields_of(cls)
        fields = {**defaults, **parts}
        if len(fields) != len(defaults) or not required <= parts.keys():
            wrong = sorted((fields.keys() - defaults.keys()) | (required - parts.keys()))
            raise TypeError(f"{cls.__name__} is not made of these parts: see {', '.join(wrong)}")
        made = cls.__new__(cls)
        _set(made, "__dict__", fields)
        _set(made, "__pydantic_fields_set__", names)
        _set(made, "__pydantic_extra__", None)
        _set(made, "__pydantic_private__", None)
        return made


def wrong_at(place: tuple[str, ...], detail: str) -> ValidationError:
    """What a validator of a whole value raises about one place in it. A ValueError would point at the whole."""
    error = PydanticCustomError("value_error", "{detail}", {"detail": detail})
    return ValidationError.from_exception_data("value", [InitErrorDetails(type=error, loc=place, input=None)])


_set = object.__setattr__


@cache
def _fields_of(model: type[Model]) -> tuple[dict[str, Any], frozenset[str], set[str]]:
    """The fields of a model in their order with their defaults, which every value shares, the names of those that have none,
    and all names. A copy of a value copies its set of names before it adds one, so values can share that too."""
    defaults = {name: field.get_default() for name, field in model.model_fields.items()}
    for default in defaults.values():
        hash(default)  # TypeError: what can be changed is nothing to share
    required = frozenset(name for name, field in model.model_fields.items() if field.is_required())
    return defaults, required, set(defaults)


class Message(Model):
    """What travels in one record: its `kind` and `version` name the schema, the envelope carries the rest."""

    kind: ClassVar[str] = ""
    version: ClassVar[int] = 1

    def __init_subclass__(cls, *, kind: str = "", version: int = 1, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.kind = kind
        cls.version = version


@lru_cache(maxsize=8_192)  # an event and the document of its order write the same moments, a batch the same time
def format_moment(moment: datetime) -> str:
    """UTC, milliseconds, fixed width: `2019-07-15T00:00:00.000Z`, so that text sorts as time."""
    # isoformat truncates; a format string costs ten times as much.
    return (moment if moment.tzinfo is UTC else moment.astimezone(UTC)).isoformat(timespec="milliseconds")[:23] + "Z"


def parse_moment(text: str) -> datetime:
    """The inverse of `format_moment`; takes any RFC 3339 time with an offset. Raises ValueError."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a time needs an offset, such as 2019-07-15T00:00:00Z")
    return _to_milliseconds(moment)


def _to_milliseconds(moment: datetime) -> datetime:
    beyond = moment.microsecond % 1000
    if moment.tzinfo is not UTC:
        try:
            moment = moment.astimezone(UTC)
        except OverflowError:
            raise ValueError("a time lies between the years 1 and 9999 in UTC") from None
    return moment.replace(microsecond=moment.microsecond - beyond) if beyond else moment


def _moment(value: Any, read: ValidatorFunctionWrapHandler) -> datetime:
    """What `format_moment` wrote, nearly every time that is read, is read at once; any other form takes the long way."""
    if type(value) is str and len(value) == 24 and value[7:20:3] == "-T::." and value[23] == "Z":
        try:
            return datetime.fromisoformat(value)
        except ValueError:
            pass  # told below, in the words of every other error
    if isinstance(value, datetime) and value.tzinfo is UTC:
        return _to_milliseconds(value)
    if isinstance(value, int | float):
        raise ValueError("a time is RFC 3339 text with an offset, such as 2019-07-15T00:00:00Z")
    return _to_milliseconds(read(value))


Moment = Annotated[
    AwareDatetime,
    WrapValidator(_moment),
    PlainSerializer(format_moment, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
"""A moment in UTC with milliseconds."""

_EARLIEST = datetime(1900, 1, 1, tzinfo=UTC)
_LATEST = datetime(2200, 1, 1, tzinfo=UTC)


def _reckonable(moment: datetime) -> datetime:
    if not _EARLIEST <= moment <= _LATEST:
        raise ValueError("a time lies between the years 1900 and 2200")
    return moment


GivenMoment = Annotated[Moment, AfterValidator(_reckonable)]
"""A moment that somebody outside tells us: within years from which every calendar can reckon decades on, in any zone."""

_DURATION = re.compile(
    r"P(?=.)(?:(?P<weeks>\d{1,4})W)?(?:(?P<days>\d{1,5})D)?"
    r"(?:T(?=\d)(?:(?P<hours>\d{1,5})H)?(?:(?P<minutes>\d{1,6})M)?(?:(?P<seconds>\d{1,7})S)?)?",
    re.ASCII,
)


@lru_cache(maxsize=1_024)
def parse_duration(text: str) -> timedelta:
    """An ISO 8601 duration of weeks, days, hours, minutes and seconds (`P5D`, `PT90M`); months and years have no
    fixed length and are refused. Raises ValueError."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError("a duration is ISO 8601 with weeks, days, hours, minutes or seconds, such as P5D or PT12H")
    return timedelta(**{unit: int(count) for unit, count in match.groupdict().items() if count})


def format_duration(span: timedelta) -> str:
    """A span of time as an ISO 8601 duration of days, hours, minutes and seconds: 90 seconds are `PT1M30S`. Less than a second
    is left out."""
    rest = int(span.total_seconds())
    counts = []
    for unit, seconds in (("D", 86_400), ("H", 3_600), ("M", 60), ("S", 1)):
        count, rest = divmod(rest, seconds)
        counts.append(f"{count}{unit}" if count else "")
    days, exact = counts[0], "".join(counts[1:])
    return f"P{days}{f'T{exact}' if exact else ''}" if days or exact else "PT0S"


def _known_duration(text: str) -> str:
    parse_duration(text)
    return text


Duration = Annotated[str, AfterValidator(_known_duration)]
"""An ISO 8601 duration, kept as text: `P5D`."""
