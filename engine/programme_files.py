"""The files of programmes: YAML in which a version may say only what differs from another one."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

__all__ = ["ProgrammeError", "contents_of"]


class ProgrammeError(ValueError):
    """A programme file that cannot be used; the text names file and place."""


def contents_of(*folders: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Every `*.yaml` in these folders with its content, what it `extends` filled in (mappings are merged, anything else is
    replaced). Raises ProgrammeError with file and place."""
    raw: dict[tuple[str, Any], tuple[Path, dict[str, Any]]] = {}
    for path in sorted(path for folder in folders for path in folder.glob("*.yaml")):
        content = _read(path)
        key = (str(content.get("programme")), content.get("version"))
        if key in raw:
            raise ProgrammeError(f"{path}: {key[0]} version {key[1]} is also in {raw[key][0]}")
        raw[key] = (path, content)
    for key, (path, _) in raw.items():
        yield path, _extended(key, raw, ())


class _Yaml(yaml.SafeLoader):
    """YAML in which only true and false are booleans and moments stay text: `no` and `yes` are answers here."""

    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag.rsplit(":", 1)[1] not in ("bool", "timestamp")]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


_Yaml.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("true|false"), ["t", "f"])


def _read(path: Path) -> dict[str, Any]:
    try:
        content = yaml.load(path.read_text("utf-8"), _Yaml)  # noqa: S506  a subclass of the safe loader
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ProgrammeError(f"{path}: no YAML that can be read: {error}") from None
    if not isinstance(content, dict):
        raise ProgrammeError(f"{path}: a programme is a mapping")
    return content


def _extended(
    key: tuple[str, Any], raw: Mapping[tuple[str, Any], tuple[Path, dict[str, Any]]], seen: tuple[int, ...]
) -> dict[str, Any]:
    path, content = raw[key]
    if "extends" not in content:
        return content
    base = (key[0], content["extends"])
    if base not in raw:
        raise ProgrammeError(f"{path}: it extends version {base[1]}, which is not there")
    if base[1] in (*seen, key[1]):
        raise ProgrammeError(f"{path}: it extends itself")
    differing = {name: value for name, value in content.items() if name != "extends"}
    return _merged(_extended(base, raw, (*seen, key[1])), differing)


def _merged(base: Any, over: Any) -> Any:
    if not (isinstance(base, dict) and isinstance(over, dict)):
        return over
    return {**base, **{name: _merged(base.get(name), value) for name, value in over.items()}}
