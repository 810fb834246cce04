"""What a process is told from outside: a service that lacks what it cannot do without says so and does not start."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from chassis.settings import Settings, SettingsError
from services.escalation.app import serve as escalation
from services.gateway.app import serve as gateway
from services.notifications.app import serve as notifications

NOWHERE = Settings(kafka_bootstrap="127.0.0.1:1", mongo_uri="mongodb://127.0.0.1:1")


@pytest.mark.parametrize("serve", [escalation, gateway, notifications])
async def test_nobody_signs_with_an_empty_secret(serve: Callable[[Settings, asyncio.Event], Awaitable[None]]) -> None:
    """Links and digests of one service would be void for the others."""
    with pytest.raises(SettingsError, match="RECOURSE_SECRET"):
        await asyncio.wait_for(serve(NOWHERE, asyncio.Event()), 5)


def test_all_that_is_missing_is_named() -> None:
    with pytest.raises(SettingsError, match=r"^set RECOURSE_SECRET and RECOURSE_PLATFORM_KEY$"):
        NOWHERE.require("secret", "platform_key")
