"""An operator's own programmes stand beside the product's; what does not hold together is refused before anything starts."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from engine.programmes import ProgrammeError, Programmes
from recourse.main import app

NEXT = """
programme: order-issues
version: 2
extends: 1
effective_from: "2030-01-01T00:00:00Z"
deadlines: {solution: {after: P4D}}
"""


def test_a_folder_s_programmes_stand_beside_the_product_s(tmp_path: Path) -> None:
    assert Programmes.shipped_and("") is Programmes.shipped()
    (tmp_path / "order-issues-2.yaml").write_text(NEXT)
    both = Programmes.shipped_and(str(tmp_path))
    assert [each.deadlines["solution"].after for each in both.versions("order-issues")] == ["P5D", "P4D"]
    assert both.known() == Programmes.shipped().known()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("programme: [", "order-issues-2.yaml"),
        (NEXT.replace("P4D", "soon"), "soon|duration"),
        (NEXT.replace("version: 2", "version: 1"), "is also in"),
        (NEXT + "surprise: 1\n", "surprise"),
        (
            NEXT + "actions: {refund: {fields: {sum: {type: refund_amount, label: {en: Sum}}}}}\n",
            "called refund_amount",
        ),
    ],
)
def test_what_cannot_be_used_says_where(tmp_path: Path, content: str, says: str) -> None:
    (tmp_path / "order-issues-2.yaml").write_text(content)
    with pytest.raises(ProgrammeError, match=says):
        Programmes.shipped_and(str(tmp_path))


def test_a_service_does_not_start_over_a_folder_that_is_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RECOURSE_KAFKA_BOOTSTRAP", "127.0.0.1:1")
    monkeypatch.setenv("RECOURSE_MONGO_URI", "mongodb://127.0.0.1:1")
    monkeypatch.setenv("RECOURSE_PROGRAMMES", str(tmp_path / "nowhere"))
    result = CliRunner().invoke(app, ["run", "intake"])
    assert result.exit_code == 2
    assert "there is no such folder of programmes" in result.output
    assert CliRunner().invoke(app, ["up", "--sandbox", "--data", str(tmp_path)]).exit_code == 2
