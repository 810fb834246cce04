"""Forms of actions: their fields as JSON Schema with the bounds of the moment, and reading what was filled in."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from pydantic import ValidationError

from contracts.base import parse_duration
from contracts.cases import StatusLabel
from contracts.evidence import Evidence
from contracts.money import Money, digits_of
from contracts.problems import FieldError, pointer_of
from engine.casefile import payer_of
from engine.guards import Situation, smallest
from engine.programmes import Action, FormField, Transition, in_language

__all__ = ["MAX_EVIDENCE", "Filled", "fill", "schema", "text_error"]

MAX_TEXT = 10_000
MAX_CODE = 100
MAX_EVIDENCE = 50


@dataclass(frozen=True, slots=True)
class Filled:
    """A form that fits: the row it takes and its values (`Money` for an amount)."""

    row: Transition
    values: dict[str, Any]


def text_error(value: object, limit: int = MAX_TEXT) -> str | None:
    """What is wrong with a text a party wrote, None when it is fine."""
    if not isinstance(value, str):
        return "give text"
    if not value.strip():
        return "write something"
    return f"{limit} characters at most" if len(value) > limit else None


def _choices(name: str, field: FormField, rows: Sequence[Transition]) -> tuple[str, ...]:
    """The values of a choice that lead somewhere now."""
    named = [row.given[name] for row in rows if name in row.given]
    if len(named) < len(rows) or not named:
        return tuple(field.values)
    return tuple(value for value in field.values if any(value in values for values in named))


def _labels(name: str, field: FormField, rows: Sequence[Transition], now: Situation) -> dict[str, StatusLabel | str]:
    """By code, the merchant's own labels that lead somewhere now, and the states that they stand for themselves."""
    states = _choices(name, field, rows)
    own: dict[str, StatusLabel | str] = {label.code: label for label in now.labels if label.state in states}
    return own | {state: state for state in states if state not in own}


def _bounds(amount: str, available: Money) -> tuple[Money, Money]:
    """The least and the most that a row takes of what is available to the case."""
    zero, unit = Money.zero(available.currency), smallest(available.currency)
    if amount == "full" or not available.amount:
        return available, available
    if amount == "partial":
        return unit, available - unit
    return (zero if amount == "up_to" else unit), available


def fill(
    action: Action, rows: Sequence[Transition], now: Situation, fields: Mapping[str, Any], evidence: Sequence[Evidence]
) -> Filled | tuple[FieldError, ...]:
    """Read a filled form against the rows that are open. Errors point at the fields."""
    given = {name: value for name, value in fields.items() if value is not None}
    errors = [
        FieldError(pointer=pointer_of(name), detail="this action has no such field")
        for name in given
        if name not in action.fields
    ]
    values: dict[str, Any] = {}
    for name, field in action.fields.items():
        if name not in given:
            if field.required:
                errors.append(FieldError(pointer=pointer_of(name), detail="this field is required"))
        else:
            value = _READERS[field.type](name, field, given[name], rows, now, evidence)
            if isinstance(value, FieldError):
                errors.append(value)
            else:
                values[name] = value
    if errors:
        return tuple(errors)
    taking = tuple(row for row in rows if all(_stated(values.get(name)) in wanted for name, wanted in row.given.items()))
    if not taking:
        return (FieldError(pointer=pointer_of(next(iter(rows[0].given))), detail="this choice is not open now"),)
    row = _settle_amount(action, taking, now, values)
    return Filled(row, values) if isinstance(row, Transition) else (row,)


def _stated(value: Any) -> Any:
    """What a row asks of a value: of a label the state that it stands for."""
    return value.state if isinstance(value, StatusLabel) else value


def _settle_amount(
    action: Action, rows: Sequence[Transition], now: Situation, values: dict[str, Any]
) -> Transition | FieldError:
    """The row that takes the refund amount, or the one that takes none; where it may be left out, all that is available is
    filled in (BP-12)."""
    name = next((name for name, field in action.fields.items() if field.type == "refund_amount"), None)
    if name is None:
        return rows[0]
    amount = values.get(name)
    asking = tuple(row for row in rows if row.amount is not None)
    if amount is None:
        row = next((row for row in rows if row.amount is None), None) or next(
            (row for row in asking if row.amount in ("full", "any")), None
        )
        if row is None:
            return FieldError(pointer=pointer_of(name), detail="this field is required")
        if row.amount is not None:
            values[name] = now.available
        return row
    if not asking:
        return FieldError(pointer=pointer_of(name), detail="this choice takes no refund amount")
    available = now.available
    if amount.currency != available.currency:
        return FieldError(pointer=pointer_of(name, "currency"), detail=f"the order was paid in {available.currency}")
    for row in asking:
        least, most = _bounds(row.amount or "", available)
        if least <= amount <= most:
            return row
    least, most = _widest(asking, available)
    bounds = f"exactly {least}" if least == most else f"at least {least} and at most {most}"
    return FieldError(pointer=pointer_of(name), detail=f"the amount must be {bounds}: {available} can still be refunded")


def _widest(rows: Sequence[Transition], available: Money) -> tuple[Money, Money]:
    """The least and the most that any of these rows takes."""
    bounds = [_bounds(row.amount, available) for row in rows if row.amount]
    return min(least for least, _ in bounds), max(most for _, most in bounds)


def _read_choice(name: str, field: FormField, value: Any, rows: Sequence[Transition], *_: Any) -> Any:
    allowed = _choices(name, field, rows)
    return value if value in allowed else FieldError(pointer=pointer_of(name), detail=f"choose one of {', '.join(allowed)}")


def _read_status(
    name: str, field: FormField, value: Any, rows: Sequence[Transition], now: Situation, _: Sequence[Evidence]
) -> Any:
    allowed = _labels(name, field, rows, now)
    if isinstance(value, str) and value in allowed:
        return allowed[value]
    return FieldError(pointer=pointer_of(name), detail=f"choose one of {', '.join(allowed)}")


def _read_text(name: str, field: FormField, value: Any, *_: Any) -> Any:
    wrong = text_error(value, MAX_CODE if field.type == "code" else MAX_TEXT)
    return FieldError(pointer=pointer_of(name), detail=wrong) if wrong else value


def _read_amount(name: str, field: FormField, value: Any, *_: Any) -> Any:
    unknown = set(value) - {"amount", "currency"} if isinstance(value, dict) else set()
    if unknown:
        return FieldError(pointer=pointer_of(name, min(unknown)), detail="money has amount and currency")
    try:
        return Money.model_validate(value)
    except ValidationError as invalid:
        error = invalid.errors()[0]
        return FieldError(pointer=pointer_of(name, *error["loc"]), detail=error["msg"].removeprefix("Value error, "))


def _read_duration(name: str, field: FormField, value: Any, *_: Any) -> Any:
    try:
        span = parse_duration(value)
    except (ValueError, TypeError):
        return FieldError(pointer=pointer_of(name), detail="give an ISO 8601 duration such as P7D")
    if (field.minimum and span < parse_duration(field.minimum)) or (field.maximum and span > parse_duration(field.maximum)):
        return FieldError(pointer=pointer_of(name), detail=f"between {field.minimum} and {field.maximum}")
    return value


def _read_evidence(name: str, field: FormField, value: Any, _rows: Any, _now: Any, evidence: Sequence[Evidence]) -> Any:
    if not isinstance(value, list | tuple) or len(value) > MAX_EVIDENCE or (field.required and not value):
        return FieldError(pointer=pointer_of(name), detail=f"give a list of at most {MAX_EVIDENCE} ids of evidence")
    known = {each.evidence_id for each in evidence}
    for place, evidence_id in enumerate(value):
        if not isinstance(evidence_id, str) or evidence_id not in known:
            return FieldError(
                pointer=pointer_of(name, place), detail="you have no such evidence on this order; upload it first"
            )
    return list(value)


_READERS: Mapping[str, Callable[..., Any]] = {
    "choice": _read_choice,
    "status": _read_status,
    "text": _read_text,
    "code": _read_text,
    "refund_amount": _read_amount,
    "duration": _read_duration,
    "evidence": _read_evidence,
}


def schema(action: Action, rows: Sequence[Transition], now: Situation, locale: str) -> dict[str, Any]:
    """The JSON Schema (2020-12) of an action's fields as they may be filled now. Bounds that JSON Schema has no word for
    (of decimal strings and durations) stand in `x-minimum` and `x-maximum`, texts of choices in `x-labels`, who pays a refund
    in `x-executor`."""
    required = [name for name, field in action.fields.items() if field.required]
    properties: dict[str, Any] = {}
    conditions: list[dict[str, Any]] = []
    for name, field in action.fields.items():
        properties[name] = {"title": in_language(field.label, locale), **_SCHEMAS[field.type](name, field, rows, now, locale)}
        if field.type == "refund_amount":
            for given, alike in _by_choices(rows):
                then = _amount_rule(name, alike, now)
                if given and then:
                    conditions.append({"if": _if(given), "then": then})
                elif "required" in then:
                    required.append(name)
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
        **({"allOf": conditions} if conditions else {}),
    }


def _if(given: Mapping[str, tuple[str, ...]]) -> dict[str, Any]:
    return {"properties": {name: {"enum": list(values)} for name, values in given.items()}, "required": list(given)}


def _by_choices(rows: Sequence[Transition]) -> Iterator[tuple[dict[str, tuple[str, ...]], list[Transition]]]:
    """Choices with the rows that take them: values of one choice that the same rows take come together."""
    taken: dict[tuple[tuple[str, str], ...], list[Transition]] = {}
    for row in rows:
        for values in product(*row.given.values()):
            taken.setdefault(tuple(zip(row.given, values, strict=True)), []).append(row)
    alike: dict[Any, tuple[dict[str, tuple[str, ...]], list[Transition]]] = {}
    for choices, takers in taken.items():
        same = (choices[0][0], *map(id, takers)) if len(choices) == 1 else choices
        given = alike[same][0] if same in alike else {}
        alike[same] = ({name: (*given.get(name, ()), value) for name, value in choices}, takers)
    yield from alike.values()


def _amount_rule(name: str, rows: Sequence[Transition], now: Situation) -> dict[str, Any]:
    """What rows that take the same choices say about the refund amount, beyond the bounds that hold for all rows."""
    asking = tuple(row for row in rows if row.amount is not None)
    if not asking:
        return {"properties": {name: False}}
    least, most = (bound.model_dump(mode="json") for bound in _widest(asking, now.available))
    rule: dict[str, Any] = {}
    if all(row.amount == "full" for row in asking):
        rule["properties"] = {name: {"const": most}}
    elif all(row.amount == "partial" for row in asking):
        rule["properties"] = {name: {"x-minimum": least, "x-maximum": most}}
    if all(row.amount in ("partial", "up_to") for row in rows):
        rule["required"] = [name]
    return rule


def _amount_schema(name: str, field: FormField, rows: Sequence[Transition], now: Situation, locale: str) -> dict[str, Any]:
    available = now.available
    digits = digits_of(available.currency)
    asking = tuple(row for row in rows if row.amount)
    if not asking:
        return {"not": {}}
    least, most = _widest(asking, available)
    payers = {payer_of(now.file.order, row.effects.reserve.executor) for row in asking if row.effects.reserve is not None}
    return {
        "type": "object",
        "properties": {
            "amount": {"type": "string", "pattern": rf"^\d{{1,15}}(\.\d{{1,{digits}}})?$" if digits else r"^\d{1,15}$"},
            "currency": {"const": available.currency},
        },
        "required": ["amount", "currency"],
        "additionalProperties": False,
        "default": available.model_dump(mode="json"),
        "x-minimum": least.model_dump(mode="json"),
        "x-maximum": most.model_dump(mode="json"),
        **({"x-executor": payers.pop()} if len(payers) == 1 else {}),
    }


def _choice_schema(name: str, field: FormField, rows: Sequence[Transition], now: Situation, locale: str) -> dict[str, Any]:
    allowed = _choices(name, field, rows)
    return {
        "type": "string",
        "enum": list(allowed),
        "x-labels": {value: in_language(field.values[value], locale) for value in allowed},
    }


def _status_schema(name: str, field: FormField, rows: Sequence[Transition], now: Situation, locale: str) -> dict[str, Any]:
    offered = _labels(name, field, rows, now)
    return {
        "type": "string",
        "enum": list(offered),
        "x-labels": {
            code: in_language(label.text if isinstance(label, StatusLabel) else field.values[label], locale)
            for code, label in offered.items()
        },
    }


def _duration_schema(name: str, field: FormField, *_: Any) -> dict[str, Any]:
    bounds = {"x-minimum": field.minimum, "x-maximum": field.maximum}
    return {"type": "string", "format": "duration", **{word: bound for word, bound in bounds.items() if bound}}


def _evidence_schema(name: str, field: FormField, *_: Any) -> dict[str, Any]:
    return {"type": "array", "items": {"type": "string"}, "minItems": int(field.required), "maxItems": MAX_EVIDENCE}


_SCHEMAS: Mapping[str, Callable[..., dict[str, Any]]] = {
    "choice": _choice_schema,
    "status": _status_schema,
    "text": lambda *_: {"type": "string", "pattern": r"\S", "maxLength": MAX_TEXT},
    "code": lambda *_: {"type": "string", "pattern": r"\S", "maxLength": MAX_CODE},
    "refund_amount": _amount_schema,
    "duration": _duration_schema,
    "evidence": _evidence_schema,
}
