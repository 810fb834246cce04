"""What 1,000 orders cost in statements: counts do not depend on the machine, so a regression shows on any."""

import uuid

import pytest

from deploy.local import Stack
from recourse.addresses import settings_on
from recourse.benching.counting import Statements, count_intake

ORDERS = 4_000


@pytest.fixture(scope="module")
async def statements(stack: Stack) -> Statements:
    settings = settings_on(stack, f"count-{uuid.uuid4().hex[:6]}-")
    return await count_intake(settings, ORDERS)


@pytest.mark.rule("BP-01")
def test_a_batch_of_orders_is_a_handful_of_store_commands(statements: Statements) -> None:
    """Per batch of up to 1,000: the documents, their merchants, the write. A command per order would be a thousand."""
    assert set(statements.mongo) <= {"find", "insert", "createindexes", "distinct", "aggregate", "update"}
    assert statements.mongo.get("find", 0) <= 4
    assert statements.mongo.get("insert", 0) + statements.mongo.get("update", 0) <= 2
    assert statements.mongo_commands <= 8


@pytest.mark.rule("BP-01")
def test_a_batch_of_orders_is_a_few_requests_to_the_broker(statements: Statements) -> None:
    """A fetch and a commit per batch, and as many produce requests as partitions fill up in the time of a linger."""
    assert statements.kafka["OffsetCommit"] <= 2
    assert statements.kafka["Fetch"] <= 6
    assert statements.kafka["Produce"] <= 16
