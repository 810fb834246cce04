"""One platform for all tests of the gateway; each uses shops, orders and keys of its own."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from deploy.local import Stack
from tests.component.gateway.platform import Platform, platform_of


@pytest_asyncio.fixture(scope="session")
async def platform(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Platform]:
    async with platform_of(stack, tmp_path_factory.mktemp("platform")) as started:
        yield started
