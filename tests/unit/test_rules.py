"""Every rule of the product has a test that says so, and the page that lists them is of today."""

import subprocess
import sys

from tests.rules import PAGE, ROOT


def test_every_rule_has_a_test_and_the_page_is_made_from_them() -> None:
    """In a process of its own: the tests are collected as a whole, whatever part of them runs here."""
    made = subprocess.run(
        [sys.executable, "-m", "tests.rules", "--check"], cwd=ROOT, capture_output=True, text=True, timeout=240, check=False
    )
    assert made.returncode == 0, made.stdout + made.stderr
    assert PAGE.exists()
