"""The decision about an Idempotency-Key that was sent before."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.gateway.idempotency import Meeting, command_id_of, meet

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def kept(state: str, *, lease_s: float = 5, body: bytes | None = b"{}", aware: bool = True) -> dict[str, Any]:
    until = NOW + timedelta(seconds=lease_s)
    document: dict[str, Any] = {
        "fingerprint": "same",
        "state": state,
        "leased_until": until if aware else until.replace(tzinfo=None),
    }
    return document if body is None else {**document, "body": body}


@pytest.mark.parametrize(
    ("document", "fingerprint", "meeting"),
    [
        (kept("done"), "same", Meeting.REPEAT),
        (kept("done"), "another", Meeting.OTHER_BODY),
        (kept("done", body=None), "same", Meeting.AGAIN),
        (kept("running", body=None), "same", Meeting.RUNNING),
        (kept("running", body=None), "another", Meeting.OTHER_BODY),
        (kept("running", body=None, lease_s=0), "same", Meeting.TAKE_OVER),
        (kept("running", body=None, lease_s=-1), "same", Meeting.TAKE_OVER),
        (kept("running", body=None, lease_s=-1), "another", Meeting.OTHER_BODY),
        (kept("running", body=None, lease_s=-1, aware=False), "same", Meeting.TAKE_OVER),
        (kept("running", body=None, lease_s=1, aware=False), "same", Meeting.RUNNING),
    ],
)
def test_what_is_done_about_a_known_key(document: dict[str, Any], fingerprint: str, meeting: Meeting) -> None:
    assert meet(document, fingerprint, NOW) is meeting


def test_a_taken_over_request_has_the_same_command() -> None:
    first = command_id_of("partner", "POST /v1/orders", "k")
    assert first == command_id_of("partner", "POST /v1/orders", "k")
    others = {
        command_id_of("platform", "POST /v1/orders", "k"),
        command_id_of("partner", "POST /v1/link-requests", "k"),
        command_id_of("partner", "POST /v1/orders", "l"),
    }
    assert len({first} | others) == 4
