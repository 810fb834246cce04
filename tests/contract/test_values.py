"""Money, time, ids and capability links: the values that every message is made of."""

import json
from datetime import UTC, datetime, timedelta, tzinfo
from decimal import Decimal
from uuid import UUID, uuid5
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AwareDatetime, TypeAdapter, ValidationError

from contracts.base import GivenMoment, Model, Moment, format_moment, parse_duration, parse_moment
from contracts.capability import Capability, InvalidToken, mint, read
from contracts.ids import case_id_of, child_id, derived, order_id_of, order_of
from contracts.money import Money, digits_of
from contracts.topics import PARTITIONS, READS, TOPICS

MOMENT: TypeAdapter[datetime] = TypeAdapter(Moment)


@pytest.mark.parametrize(
    ("amount", "currency", "expected"),
    [
        ("12.34", "EUR", "12.34"),
        ("12", "EUR", "12.00"),
        ("12.3", "EUR", "12.30"),
        ("100", "JPY", "100"),
        ("1.234", "KWD", "1.234"),
        ("0", "BRL", "0.00"),
        ("-0.00", "EUR", "0.00"),
    ],
)
def test_money_has_the_digits_of_its_currency(amount: str, currency: str, expected: str) -> None:
    assert Money.model_validate({"amount": amount, "currency": currency}).model_dump(mode="json") == {
        "amount": expected,
        "currency": currency,
    }


@pytest.mark.parametrize(
    ("amount", "currency"),
    [
        *[
            (amount, "EUR")
            for amount in ("12.345", 12.34, 12, "1e3", "NaN", "", " 1", "1,00", "1" * 16, "\u0661\u0662", True, None)
        ],
        *[("1.00", currency) for currency in ("XXX", "EURO", "eur", "")],
        ("1.5", "JPY"),
    ],
)
def test_what_is_no_money_is_refused(amount: object, currency: str) -> None:
    with pytest.raises(ValidationError):
        Money.model_validate({"amount": amount, "currency": currency})


@given(
    st.decimals(min_value=-(10**12), max_value=10**12, places=2), st.decimals(min_value=-(10**12), max_value=10**12, places=2)
)
def test_money_adds_up_exactly(a: Decimal, b: Decimal) -> None:
    one, two = Money(amount=a, currency="EUR"), Money(amount=b, currency="EUR")
    assert (one + two) - two == one
    assert Money.model_validate_json((one + two).model_dump_json()) == one + two


def test_money_of_two_currencies_is_never_added() -> None:
    with pytest.raises(ValueError, match="EUR with JPY"):
        Money(amount=Decimal(1), currency="EUR") + Money(amount=Decimal(1), currency="JPY")
    assert digits_of("JPY") == 0


@given(st.integers(631_152_000_000_000, 4_102_444_800_000_000), st.sampled_from([UTC, ZoneInfo("America/Sao_Paulo")]))
def test_a_moment_as_text_sorts_as_time_and_comes_back(microseconds: int, zone: tzinfo) -> None:
    moment = datetime.fromtimestamp(0, zone) + timedelta(microseconds=microseconds)
    text = format_moment(moment)
    again = parse_moment(text)
    assert len(text) == 24
    assert timedelta(0) <= moment.astimezone(UTC) - again < timedelta(milliseconds=1)
    assert format_moment(again + timedelta(milliseconds=1)) > text


@pytest.mark.parametrize("wrong", ["2019-07-15", "2019-07-15T10:00:00", "yesterday", 1563148800, 1563148800.5, None, ""])
def test_a_moment_needs_an_offset_and_is_no_number(wrong: object) -> None:
    with pytest.raises(ValidationError):
        MOMENT.validate_python(wrong)


@pytest.mark.parametrize(
    "text",
    [
        "2019-07-15T00:00:00.000Z",
        "2020-02-29T23:59:59.999Z",
        "2019-02-29T00:00:00.000Z",
        "2019-07-15T24:00:00.000Z",
        "2019-07-15T00:00:60.000Z",
        "2019-07-15t00:00:00.000z",
        "2019-07-15 00:00:00.000Z",
        "2019-07-15T00:00:00,000Z",
        "2019-W29-1T00:00:00.000Z",
        "2019-07-15T00:00+00:00.Z",
        "2019-07-15T00:00:00.00٠Z",
        "0000-07-15T00:00:00.000Z",
        "2019-07-15T02:00:00+02:00",
    ],
)
def test_the_short_way_to_read_a_moment_takes_what_the_long_one_takes(text: str) -> None:
    try:
        expected = TypeAdapter(AwareDatetime).validate_python(text)
    except ValidationError:
        with pytest.raises(ValidationError):
            MOMENT.validate_python(text)
    else:
        read = MOMENT.validate_python(text)
        assert (read, read.tzinfo) == (expected, UTC)
        assert MOMENT.validate_json(json.dumps(text)) == expected


class _Parcel(Model):
    number: str
    weight_g: int | None = None
    stops: tuple[str, ...] = ()


def test_a_value_made_of_valid_parts_is_as_any_other() -> None:
    made = _Parcel.made_of(stops=("HAM",), number="1")
    assert made == _Parcel(number="1", stops=("HAM",))
    assert made.model_dump_json() == '{"number":"1","weight_g":null,"stops":["HAM"]}'
    assert made.model_copy(update={"weight_g": 5}) == _Parcel(number="1", weight_g=5, stops=("HAM",))
    for parts in ({}, {"stops": ()}, {"number": "1", "colour": "red"}, {"weight_g": 1, "colour": "red"}):
        with pytest.raises(TypeError, match=r"number|colour"):
            _Parcel.made_of(**parts)


def test_a_moment_beyond_the_calendar_is_refused() -> None:
    with pytest.raises(ValidationError, match="between the years"):
        MOMENT.validate_python("0001-01-01T00:00:00+05:00")


@pytest.mark.parametrize(
    "wrong", ["0001-01-01T00:00:00Z", "1899-12-31T23:59:59Z", "2200-01-01T00:00:00.001Z", "9999-12-31T00:00:00Z"]
)
def test_a_moment_told_by_others_leaves_every_calendar_room_to_reckon(wrong: str) -> None:
    given_moment: TypeAdapter[datetime] = TypeAdapter(GivenMoment)
    assert format_moment(given_moment.validate_python("2200-01-01T00:00:00Z")) == "2200-01-01T00:00:00.000Z"
    with pytest.raises(ValidationError, match="between the years"):
        given_moment.validate_python(wrong)


def test_what_does_not_fit_stays_out_of_the_error() -> None:
    with pytest.raises(ValidationError) as refused:
        Money.model_validate({"amount": "somebody@example.org", "currency": "EUR"})
    assert "somebody" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "duration"),
    [("P5D", timedelta(5)), ("PT12H", timedelta(hours=12)), ("P1W", timedelta(7)), ("P1DT30M", timedelta(1, 1800))],
)
def test_durations(text: str, duration: timedelta) -> None:
    assert parse_duration(text) == duration


@pytest.mark.parametrize("wrong", ["5D", "P", "PT", "P1M", "P1Y", "-P1D", "P1.5D", "p1d", "P\u0665D"])
def test_a_duration_without_a_fixed_length_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match="ISO 8601"):
        parse_duration(wrong)


@given(st.text(min_size=1), st.text(min_size=1), st.integers(1, 99))
def test_every_id_leads_back_to_its_order(merchant: str, number: str, n: int) -> None:
    order_id = order_id_of(merchant, number)
    assert order_id == order_id_of(merchant, number)
    assert order_of(case_id_of(order_id, n)) == order_of(child_id("rep", order_id, "x")) == order_of(order_id) == order_id


@given(st.lists(st.text(), min_size=1))
def test_a_derived_id_is_a_uuid_of_version_five(parts: list[str]) -> None:
    assert derived(*parts) == str(uuid5(UUID("6f1f0c7e-0f5e-5a0c-9a8e-0b6d3c3f2a10"), "\n".join(parts)))


@pytest.mark.parametrize("wrong", ["", "ord_", "ord_1", "cas_zz_1", "ord_" + "A" * 32, "x" * 50, "ord_" + "0" * 32 + "\n"])
def test_what_is_no_id_leads_nowhere(wrong: str) -> None:
    with pytest.raises(ValueError, match="no id"):
        order_of(wrong)


@pytest.mark.rule("NX-15")
def test_a_capability_is_signed_and_repeatable() -> None:
    capability = Capability(link_id="lnk_1", order_id="ord_1", role="buyer")
    token = mint("secret", capability)
    assert read("secret", token) == capability
    assert token == mint("secret", capability)
    for wrong in (token[:-1] + ("A" if token[-1] != "A" else "B"), token + "x", "", "a.b", token.swapcase(), "\x00"):
        with pytest.raises(InvalidToken):
            read("secret", wrong)
    with pytest.raises(InvalidToken):
        read("another", token)


def test_personal_data_leaves_the_topics_within_a_week_and_compacted_ones_carry_none() -> None:
    week_ms = 7 * 24 * 3600 * 1000
    assert all(topic.compacted or 0 < topic.retention_ms <= week_ms for topic in TOPICS)
    assert [topic.name for topic in TOPICS if topic.compacted] == ["platform.clock"]


def test_what_belongs_to_an_order_has_one_owner_per_partition_everywhere() -> None:
    assert {topic.partitions for topics in READS.values() for topic in topics} == {PARTITIONS}
