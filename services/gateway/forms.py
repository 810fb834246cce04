"""Plain HTML forms of actions: made from the JSON Schemas that the API lists, and read back into the fields that it takes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["FormField", "fields_of", "filled"]

_LONG = 200


@dataclass(frozen=True, slots=True)
class FormField:
    """An input. `kind`: choice, amount, long, text or files."""

    name: str
    kind: str
    label: str
    required: bool
    value: str = ""
    choices: tuple[tuple[str, str], ...] = ()
    """(value, label)"""
    currency: str = ""


def fields_of(schema: Mapping[str, Any], given: Mapping[str, str]) -> list[FormField]:
    """The inputs of an action's JSON Schema, filled with what was given before, else with its defaults."""
    required = set(schema.get("required", ()))
    fields: list[FormField] = []
    for name, terms in schema.get("properties", {}).items():
        kind, value, currency = _kind(terms), given.get(name, ""), ""
        if kind == "amount":
            value = value or terms.get("default", {}).get("amount", "")
            currency = terms["properties"]["currency"]["const"]
        labels = terms.get("x-labels", {})
        choices = tuple((choice, labels.get(choice, choice)) for choice in terms.get("enum", ()))
        # An amount that is prefilled may go with some choices only: whether it is needed depends on them.
        needed = name in required and kind not in ("amount", "files")
        fields.append(FormField(name, kind, terms.get("title", name), needed, value, choices, currency))
    return fields


def _kind(terms: Mapping[str, Any]) -> str:
    if "enum" in terms:
        return "choice"
    if terms.get("type") == "object":
        return "amount"
    if terms.get("type") == "array":
        return "files"
    return "long" if terms.get("maxLength", 0) > _LONG else "text"


def filled(schema: Mapping[str, Any], given: Mapping[str, str], evidence_ids: list[str]) -> dict[str, Any]:
    """The fields of an action from a filled form. What was left empty is left out, and so is what the schema does not allow
    beside the choices made (an amount beside a no)."""
    properties: Mapping[str, Any] = schema.get("properties", {})
    fields: dict[str, Any] = {}
    for name, terms in properties.items():
        kind = _kind(terms)
        text = given.get(name, "").strip()
        if kind == "files":
            if evidence_ids:
                fields[name] = evidence_ids
        elif text:
            fields[name] = _amount(text, terms) if kind == "amount" else text
    for condition in schema.get("allOf", ()):
        if _holds(condition["if"], fields):
            excluded = [name for name, terms in condition["then"].get("properties", {}).items() if terms is False]
            fields = {name: value for name, value in fields.items() if name not in excluded}
    return fields


def _amount(text: str, terms: Mapping[str, Any]) -> dict[str, str]:
    """An amount as people write it: with a comma or a point before the cents."""
    plain = text.replace("\u00a0", "").replace(" ", "")
    if "," in plain:
        plain = plain.replace(".", "").replace(",", ".")
    return {"amount": plain, "currency": terms["properties"]["currency"]["const"]}


def _holds(condition: Mapping[str, Any], fields: Mapping[str, Any]) -> bool:
    return all(fields.get(name) in terms["enum"] for name, terms in condition["properties"].items())
