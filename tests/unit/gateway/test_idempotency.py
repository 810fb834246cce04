"""The decision about an Idempotency-Key that was sent before."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.gateway.idempotency import Meeting, command_id_of, meet

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def lease(*, lease_s: float = 5, aware: bool = True) -> dict[str, Any]:
    until = NOW + timedelta(seconds=lease_s)
    return {"fingerprint": "same", "leased_until": until if aware else until.replace(tzinfo=None)}


GIVEN = {"status": 201, "body": b"{}"}
NOT_KEPT: dict[str, Any] = {"forget_at": NOW}


@pytest.mark.parametrize(
    ("lease", "given", "fingerprint", "meeting"),
    [
        (lease(), GIVEN, "same", Meeting.REPEAT),
        (lease(lease_s=-1), GIVEN, "same", Meeting.REPEAT),
        (lease(), GIVEN, "another", Meeting.OTHER_BODY),
        (lease(), NOT_KEPT, "same", Meeting.AGAIN),
        (lease(), None, "same", Meeting.RUNNING),
        (lease(), None, "another", Meeting.OTHER_BODY),
        (lease(lease_s=0), None, "same", Meeting.TAKE_OVER),
        (lease(lease_s=-1), None, "same", Meeting.TAKE_OVER),
        (lease(lease_s=-1), None, "another", Meeting.OTHER_BODY),
        (lease(lease_s=-1, aware=False), None, "same", Meeting.TAKE_OVER),
        (lease(lease_s=1, aware=False), None, "same", Meeting.RUNNING),
    ],
)
def test_what_is_done_about_a_known_key(
    lease: dict[str, Any], given: dict[str, Any] | None, fingerprint: str, meeting: Meeting
) -> None:
    assert meet(lease, given, fingerprint, NOW) is meeting


def test_a_taken_over_request_has_the_same_command() -> None:
    first = command_id_of("partner", "POST /v1/orders", "k")
    assert first == command_id_of("partner", "POST /v1/orders", "k")
    others = {
        command_id_of("platform", "POST /v1/orders", "k"),
        command_id_of("partner", "POST /v1/link-requests", "k"),
        command_id_of("partner", "POST /v1/orders", "l"),
    }
    assert len({first} | others) == 4
