"""What escalation's tests start from: a namespace of their own, its clock at the moment that their examples have."""

from collections.abc import AsyncIterator

import pytest

from contracts.topics import ESCALATION_EVENTS
from deploy.local import Stack
from tests.component.running import Reader, Running, own_namespace, reading
from tests.unit.escalation.opening import AT


@pytest.fixture
async def running(stack: Stack) -> AsyncIterator[Running]:
    async with own_namespace(stack) as running:
        await running.tick(AT)
        yield running


@pytest.fixture
async def told(running: Running) -> AsyncIterator[Reader]:
    async with reading(running, ESCALATION_EVENTS) as reader:
        yield reader
