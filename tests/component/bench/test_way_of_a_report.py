"""What 1,000 reports cost each service that they come to, in statements: all of them wait when it starts, so batches are as
large as under load, and no count depends on how fast the machine is."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator

import pytest

from contracts.envelope import Envelope
from contracts.topics import CASES_EVENTS, INTAKE_EVENTS, Topic
from deploy.local import Stack
from deploy.local.ports import free_port
from recourse.benching.counting import kafka_requests, store_commands
from services.cases.app import serve as serve_cases
from services.escalation.app import serve as serve_escalation
from services.gateway.app import serve as serve_gateway
from services.notifications.app import serve as serve_notifications
from tests.component.running import Running, Serve, own_namespace
from tests.unit.cases.reporting import REPORTED, Reported
from tests.unit.escalation.opening import AT, case_opened

REPORTS = 1_000


@pytest.fixture
async def running(stack: Stack) -> AsyncIterator[Running]:
    async with own_namespace(stack) as running:
        free = {name: free_port() for name in ("health_port", "http_port")}
        nobody = f"smtp://127.0.0.1:{free_port()}"
        running.settings = dataclasses.replace(
            running.settings, secret="s" * 32, platform_key="platform-key", smtp_url=nobody, **free
        )
        yield running


def opened() -> list[Envelope]:
    return [case_opened(number, merchant_id=f"shop-{number % 50}") for number in range(REPORTS)]


def accepted() -> list[Envelope]:
    return [Reported(str(number)).report() for number in range(REPORTS)]


@pytest.mark.rule("BP-01")
@pytest.mark.parametrize(
    ("serve", "service", "topic", "collection", "writes"),
    [
        (serve_cases, "cases", INTAKE_EVENTS, "files", 2),
        (serve_escalation, "escalation", CASES_EVENTS, "openings", 6),
        (serve_notifications, "notifications", CASES_EVENTS, "notices", 2),
        (serve_gateway, "gateway", CASES_EVENTS, "orders", 2),
    ],
    ids=["cases", "escalation", "notifications", "gateway"],
)
async def test_a_thousand_reports_are_a_few_statements(
    running: Running, serve: Serve, service: str, topic: Topic, collection: str, writes: int
) -> None:
    """`writes` of a batch; a fetch may bring the thousand in up to three. Reads are bounded less closely: a service also looks
    around every second, however few reports there are."""
    await running.tick(REPORTED if topic is INTAKE_EVENTS else AT)
    await running.send(topic, *(accepted() if topic is INTAKE_EVENTS else opened()))
    database = running.database(service)
    with kafka_requests() as kafka:
        running.start(serve, f"{service}-1")
        async with asyncio.timeout(60):
            while await database[collection].estimated_document_count() < REPORTS:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        mongo = await store_commands(f"http://127.0.0.1:{running.settings.health_port}/metrics")
        await running.stop(f"{service}-1")
    written = sum(mongo.get(name, 0) for name in ("insert", "update", "delete"))
    assert 0 < written <= 3 * writes, mongo
    assert sum(mongo.get(name, 0) for name in ("find", "getmore", "aggregate")) <= REPORTS / 10, mongo
    assert kafka["Produce"] + kafka["OffsetCommit"] <= REPORTS / 50, kafka
