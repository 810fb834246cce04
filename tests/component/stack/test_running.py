"""A real stack: what it keeps over restarts, what it leaves behind, what it says when it cannot start."""

import signal

import pytest
from deploy.local import Stack


def test_the_session_stack_answers(stack: Stack) -> None:
    assert stack.serving() == {"broker": True, "store": True}
