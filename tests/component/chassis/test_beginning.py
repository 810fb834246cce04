"""A service whose store or broker is away when it starts: it waits for them, says so, and then begins."""

import asyncio
import dataclasses
import json
import logging
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest

from chassis.settings import Settings
from deploy.local import Stack
from deploy.local.ports import free_port
from services.intake.app import serve
from tests.component.running import Running, own_namespace
from tests.contract.examples import AT


@asynccontextmanager
async def way(port: int, to: tuple[str, int]) -> AsyncIterator[None]:
    """Lets those who connect to a port of this machine through to where something listens."""
    tasks: set[asyncio.Task[None]] = set()

    async def passed_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
        writer.close()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection(*to)
        tasks.add(asyncio.create_task(passed_on(reader, there_writer)))
        tasks.add(asyncio.create_task(passed_on(there_reader, writer)))

    server = await asyncio.start_server(connected, "127.0.0.1", port)
    try:
        yield
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def place_of(address: str) -> tuple[str, int]:
    found = urlsplit(address if "//" in address else f"//{address.split(',')[0]}")
    assert found.hostname is not None
    assert found.port is not None
    return found.hostname, found.port


def asked(port: int) -> tuple[int, dict[str, Any]]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as refused:
        return refused.code, json.load(refused)


async def until(port: int, condition: Callable[[int, dict[str, Any]], bool]) -> None:
    async with asyncio.timeout(60):
        while True:
            try:
                if condition(*await asyncio.to_thread(asked, port)):
                    return
            except OSError:
                pass
            await asyncio.sleep(0.05)


def elsewhere(running: Running, store: int, broker: int) -> Settings:
    """The same store and broker under ports of which nobody knows yet."""
    host, port = place_of(running.settings.mongo_uri)
    return dataclasses.replace(
        running.settings,
        mongo_uri=running.settings.mongo_uri.replace(f"{host}:{port}", f"127.0.0.1:{store}"),
        kafka_bootstrap=f"127.0.0.1:{broker}",
        health_port=free_port([store, broker]),
    )


async def test_a_service_waits_for_store_and_broker_and_begins_when_they_are_there(
    stack: Stack, caplog: pytest.LogCaptureFixture
) -> None:
    async with own_namespace(stack) as running:
        await running.tick(AT)
        real = running.settings
        store = free_port()
        broker = free_port([store])
        running.settings = elsewhere(running, store, broker)
        health = running.settings.health_port
        with caplog.at_level(logging.WARNING):
            running.start(serve, "intake-1")
            await until(health, lambda status, told: status == 503 and "the store" in told.get("waiting_for", ""))
            async with way(store, place_of(real.mongo_uri)):
                await until(health, lambda status, told: status == 503 and "the broker" in told.get("waiting_for", ""))
                async with way(broker, place_of(real.kafka_bootstrap)):
                    await until(health, lambda status, told: status == 200 and "waiting_for" not in told)
                    await running.stop("intake-1")
        running.settings = real
    said = [record.getMessage() for record in caplog.records if record.name in ("chassis.service", "aiokafka")]
    assert [line.partition(",")[0] for line in said if line.startswith("intake")] == [
        "intake waits for the store",
        "intake goes on: the store is there",
        "intake waits for the broker",
        "intake goes on: the broker is there",
    ]
    assert not [line for line in said if "Unable connect" in line]


async def test_a_service_that_waits_ends_when_it_is_told_to(stack: Stack) -> None:
    async with own_namespace(stack) as running:
        real = running.settings
        store = free_port()
        running.settings = elsewhere(running, store, free_port([store]))
        running.start(serve, "intake-1")
        await until(running.settings.health_port, lambda status, told: "waiting_for" in told)
        await running.stop("intake-1")
        running.settings = real
