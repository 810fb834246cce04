"""Whether a newer schema still reads what an older one wrote: only additive changes are allowed within a version."""

from typing import Any

__all__ = ["breaking_changes"]

_BOUNDS = {
    "maximum": 1,
    "exclusiveMaximum": 1,
    "maxLength": 1,
    "maxItems": 1,
    "minimum": -1,
    "exclusiveMinimum": -1,
    "minLength": -1,
    "minItems": -1,
}
"""Keyword → the direction in which it may move without refusing what was valid."""


def breaking_changes(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """What a reader of `new` would refuse or miss of records valid under `old` (JSON Schemas as pydantic writes them), one
    sentence each with a JSON Pointer; empty where the change is additive."""
    return _compare(old, new, old.get("$defs", {}), new.get("$defs", {}), "", frozenset())


def _compare(
    old: Any, new: Any, old_defs: dict[str, Any], new_defs: dict[str, Any], at: str, visited: frozenset[tuple[str, str]]
) -> list[str]:
    pair = (str(old.get("$ref", "")), str(new.get("$ref", "")))
    if pair != ("", "") and pair in visited:
        return []
    visited = visited | {pair} if pair != ("", "") else visited
    old, new = _resolve(old, old_defs), _resolve(new, new_defs)
    here = at or "/"

    def compare(a: Any, b: Any, where: str) -> list[str]:
        return _compare(a, b, old_defs, new_defs, where, visited)

    if "anyOf" in old or "anyOf" in new:
        choices = new.get("anyOf", [new])
        return [
            f"{here}: no longer takes {option.get('type', option.get('$ref', option))}"
            for option in old.get("anyOf", [old])
            if all(compare(option, choice, at) for choice in choices)
        ]
    found: list[str] = []
    if "type" in new and old.get("type") != new["type"]:
        return [f"{here}: type {old.get('type')} became {new['type']}"]
    if "const" in old or "enum" in old:
        gone = set(old.get("enum", [old.get("const")])) - set(new.get("enum", [new.get("const")]))
        if gone and ("enum" in new or "const" in new):
            found.append(f"{here}: no longer takes {sorted(map(str, gone))}")
    elif "enum" in new or "const" in new:
        found.append(f"{here}: any value became one of {new.get('enum', [new.get('const')])}")
    if new.get("pattern") not in (None, old.get("pattern")):
        found.append(f"{here}: pattern became {new['pattern']}")
    for keyword, direction in _BOUNDS.items():
        if keyword in new and (keyword not in old or (new[keyword] - old[keyword]) * direction < 0):
            found.append(f"{here}: {keyword} {old.get(keyword)} became {new[keyword]}")
    before, after = old.get("properties", {}), new.get("properties", {})
    found += [f"{at}/{name}: is gone" for name in before if name not in after and after]
    found += [f"{at}/{name}: is required now" for name in new.get("required", []) if name not in old.get("required", [])]
    for name in before.keys() & after.keys():
        found += compare(before[name], after[name], f"{at}/{name}")
    for keyword in ("items", "additionalProperties"):
        if isinstance(old.get(keyword), dict) and isinstance(new.get(keyword), dict):
            found += compare(old[keyword], new[keyword], f"{at}/*")
    if new.get("additionalProperties") is False and old.get("additionalProperties") is not False:
        found.append(f"{here}: unknown members are refused now")
    return found


def _resolve(schema: dict[str, Any], defs: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in schema:
        schema = {**defs[schema["$ref"].rsplit("/", 1)[1]], **{key: value for key, value in schema.items() if key != "$ref"}}
    return schema
