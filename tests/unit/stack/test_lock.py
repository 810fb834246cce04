"""The lock files: they cover what pyproject.toml asks for, and name packages and hashes only."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[3]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]


def pins(name: str) -> dict[str, list[Version]]:
    """The locked versions by package; several where they depend on the Python version."""
    found: dict[str, list[Version]] = {}
    for package, version in re.findall(r"^([a-z0-9._-]+)==(\S+)", (ROOT / name).read_text(), re.MULTILINE):
        found.setdefault(package, []).append(Version(version))
    return found


@pytest.mark.parametrize(
    ("lock", "wanted"),
    [
        ("requirements.lock", [*PROJECT["dependencies"], *EXTRAS["local"], *EXTRAS["dev"]]),
        ("requirements.run.lock", PROJECT["dependencies"]),
    ],
)
def test_the_lock_covers_the_project(lock: str, wanted: list[str]) -> None:
    locked = pins(lock)
    for text in wanted:
        requirement = Requirement(text)
        versions = locked.get(requirement.name.lower())
        assert versions, f"{requirement.name} is not in {lock}; run make lock"
        assert all(requirement.specifier.contains(version, prereleases=True) for version in versions), (
            f"{text} against {versions} in {lock}; run make lock"
        )


def test_the_image_runs_what_was_tested() -> None:
    tested = pins("requirements.lock")
    running = pins("requirements.run.lock")
    assert running
    assert running.items() <= tested.items()


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements.run.lock"])
def test_nothing_but_packages_and_hashes(lock: str) -> None:
    for line in (ROOT / lock).read_text().splitlines():
        assert re.fullmatch(r"[a-z0-9._-]+(\[[a-z,]+\])?==\S+( ; [^/]+)? \\|    --hash=sha256:[0-9a-f]{64}( \\)?", line), line
