"""What the demo's account ends with: commands that a newcomer can type as they stand."""

from pathlib import Path

import pytest

from recourse.demo import _say_where_to_look


@pytest.mark.parametrize(("found", "called"), [("/usr/bin/recourse", "recourse"), (None, ".venv/bin/recourse")])
def test_what_to_type_next_is_found_by_the_shell(
    found: str | None, called: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("recourse.demo.shutil.which", lambda name: found)
    monkeypatch.setattr("recourse.demo.sys.argv", [".venv/bin/recourse", "demo"])
    _say_where_to_look(Path(".recourse/demo"), kept=False)
    commands = [line for line in capsys.readouterr().out.splitlines() if "recourse " in line]
    assert [command.startswith(f"  {called} ") for command in commands] == [True] * 3
    assert commands[0].startswith(f"  {called} verify --data .recourse/demo ")
