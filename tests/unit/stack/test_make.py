"""`make clean` leaves no stack running that nobody knows of any more."""

import shutil
import subprocess
from pathlib import Path

import pytest

MAKEFILE = Path(__file__).parents[3] / "Makefile"


@pytest.mark.parametrize(("status", "cleaned"), [(0, True), (2, False), (1, True), (127, True)])
def test_clean_stops_the_stack_first_and_stays_where_that_is_refused(tmp_path: Path, status: int, cleaned: bool) -> None:
    """2 says that somebody keeps the stack; any other failure that this environment is broken, which is why it is cleaned."""
    shutil.copy(MAKEFILE, tmp_path)
    recourse = tmp_path / ".venv" / "bin" / "recourse"
    recourse.parent.mkdir(parents=True)
    recourse.write_text(f'#!/bin/sh\necho "$@" > asked\nexit {status}\n')
    recourse.chmod(0o755)
    (tmp_path / ".recourse").mkdir()
    (tmp_path / ".recourse" / "stack.json").write_text("{}")
    made = subprocess.run(["make", "clean"], cwd=tmp_path, capture_output=True, check=False)
    assert (tmp_path / "asked").read_text() == "stack stop\n"
    assert (made.returncode == 0) is cleaned
    assert (tmp_path / ".recourse").exists() is not cleaned


def test_clean_needs_no_environment(tmp_path: Path) -> None:
    shutil.copy(MAKEFILE, tmp_path)
    (tmp_path / ".recourse").mkdir()
    subprocess.run(["make", "clean"], cwd=tmp_path, capture_output=True, check=True)
    assert not (tmp_path / ".recourse").exists()
