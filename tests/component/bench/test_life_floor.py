"""The floor of a whole life does as much as it says, on a real broker and a real store, by HTTP and by SMTP."""

import uuid
from collections import Counter
from pathlib import Path

from motor.motor_asyncio import AsyncIOMotorClient

from contracts.topics import PARTITIONS
from deploy.local import Stack
from recourse.addresses import settings_on
from recourse.benching.counting import events_written
from recourse.benching.floor import FLOOR_OUT
from recourse.benching.life import Counts, life_floor


async def test_each_kind_of_thing_is_done_as_often_as_it_was_counted(stack: Stack, tmp_path: Path) -> None:
    settings = settings_on(stack, f"life-{uuid.uuid4().hex[:6]}-")
    counts = Counts(requests=20, mails=10, records=30, readings=70, statements=Counter(insert=12, update=5, find=9))

    used = await life_floor(settings, stack.pids.values(), counts, tmp_path)

    assert list(used) == ["requests", "mails", "records", "statements"]
    async with events_written(settings, FLOOR_OUT, PARTITIONS) as written:
        assert await written.count() == counts.records
    client = AsyncIOMotorClient(settings.mongo_uri)
    try:
        life = client[settings.prefixed("floor")]["life"]
        assert await life.count_documents({}) == counts.statements["insert"]
    finally:
        client.close()
