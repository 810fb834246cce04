"""What a process is told from outside: a service that lacks what it cannot do without says so and does not start."""

import asyncio
import dataclasses
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable

import pytest

from chassis.settings import Settings, SettingsError
from services.cases.app import serve as cases
from services.escalation.app import serve as escalation
from services.gateway.app import serve as gateway
from services.notifications.app import serve as notifications

NOWHERE = Settings(kafka_bootstrap="127.0.0.1:1", mongo_uri="mongodb://127.0.0.1:1")


@pytest.mark.parametrize("serve", [escalation, gateway, notifications])
async def test_nobody_signs_with_an_empty_secret(serve: Callable[[Settings, asyncio.Event], Awaitable[None]]) -> None:
    """Links and digests of one service would be void for the others."""
    with pytest.raises(SettingsError, match="RECOURSE_SECRET"):
        await asyncio.wait_for(serve(NOWHERE, asyncio.Event()), 5)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("kafka_bootstrap", "broker:port"),
        ("kafka_bootstrap", "kafka://broker:9092"),
        ("kafka_bootstrap", "broker:9092,"),
        ("http_port", "65536"),
        ("health_port", "-1"),
        ("inbound_port", "x"),
        ("namespace", "a.b"),
        ("log_level", "loud"),
        ("sandbox", "yes"),
        ("clock", "noon"),
    ],
)
def test_what_cannot_be_read_is_named(name: str, text: str) -> None:
    variable = f"RECOURSE_{name.upper()}"
    given = {"RECOURSE_KAFKA_BOOTSTRAP": "127.0.0.1:1", "RECOURSE_MONGO_URI": "mongodb://127.0.0.1:1", variable: text}
    with pytest.raises(SettingsError, match=rf"^{variable}="):
        Settings.from_environment(given)


@pytest.mark.parametrize(("name", "text"), [("smtp_url", "mail.example:25"), ("mail_from", "nobody")])
async def test_what_a_service_cannot_read_is_named_too(name: str, text: str) -> None:
    with pytest.raises(SettingsError, match=rf"^RECOURSE_{name.upper()}: "):
        await notifications(dataclasses.replace(NOWHERE, secret="s", **{name: text}), asyncio.Event())


@pytest.mark.parametrize(
    ("serve", "name", "text"),
    [
        (cases, "payments_url", "ftp://bank.example"),
        (cases, "mongo_uri", "http://store:27017"),
        (cases, "mongo_uri", "mongodb://store:port"),
        (gateway, "evidence_url", "nowhere://at/all"),
    ],
)
async def test_a_wrong_setting_is_told_at_once_though_store_and_broker_are_away(
    serve: Callable[[Settings, asyncio.Event], Awaitable[None]], name: str, text: str
) -> None:
    given = {"secret": "s", "platform_key": "p", "http_port": 0, name: text}
    with pytest.raises(SettingsError, match=rf"^RECOURSE_{name.upper()}: "):
        await asyncio.wait_for(serve(dataclasses.replace(NOWHERE, **given), asyncio.Event()), 30)


def test_run_says_in_one_line_what_its_services_lack() -> None:
    given = {"RECOURSE_KAFKA_BOOTSTRAP": NOWHERE.kafka_bootstrap, "RECOURSE_MONGO_URI": NOWHERE.mongo_uri}
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RECOURSE_")} | given
    command = [sys.executable, "-m", "recourse.run", "gateway", "notifications"]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (2, "recourse: set RECOURSE_SECRET and RECOURSE_PLATFORM_KEY\n")


def test_all_that_is_missing_is_named() -> None:
    with pytest.raises(SettingsError, match=r"^set RECOURSE_SECRET and RECOURSE_PLATFORM_KEY$"):
        NOWHERE.require("secret", "platform_key")
