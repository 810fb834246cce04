"""The consumer on the real broker: offsets follow what is done, a moment later, and at once at the end."""

import asyncio
import time

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from contracts.ids import merchant_key
from contracts.topics import INTAKE_COMMANDS, INTAKE_EVENTS
from deploy.local import Stack
from services.intake.app import serve
from tests.component.running import Running, envelope_of, own_namespace, reading
from tests.unit.intake.trading import PLACED, profile, put


async def committed(running: Running, admin: AIOKafkaAdminClient) -> int:
    """How many of the commands intake says it has done."""
    topic = running.settings.prefixed(INTAKE_COMMANDS.name)
    partitions = [TopicPartition(topic, number) for number in range(INTAKE_COMMANDS.partitions)]
    offsets = await admin.list_consumer_group_offsets(running.settings.prefixed("intake"), partitions=partitions)
    return sum(max(0, offset.offset) for offset in offsets.values())


async def test_offsets_are_committed_in_a_moment_and_at_the_end(stack: Stack) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=stack.kafka_bootstrap)
    await admin.start()
    try:
        async with own_namespace(stack) as running, reading(running, INTAKE_EVENTS) as events:
            await running.tick(PLACED)
            running.start(serve, "intake-1")
            for number in range(40):
                envelope = envelope_of(put(profile()), merchant_key("shop"), PLACED)
                await running.send(INTAKE_COMMANDS, envelope)
                await events.answer_to(envelope.id)
                if number == 19:
                    give_up = time.monotonic() + 10
                    while await committed(running, admin) < 20:
                        assert time.monotonic() < give_up
                        await asyncio.sleep(0.02)
            await running.stop("intake-1")
            assert await committed(running, admin) == 40
    finally:
        await admin.close()
