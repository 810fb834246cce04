"""The layout of documents is noted in a store, and one that was used with another is refused before anything is begun."""

import pytest

from chassis.kafka import ensure_topics
from chassis.settings import SettingsError
from deploy.local import Stack
from tests.component.running import own_namespace


async def test_a_store_of_another_layout_is_refused_with_what_to_do(stack: Stack) -> None:
    async with own_namespace(stack) as running:
        await ensure_topics(running.settings)
        layout = running.client[running.settings.prefixed("platform")]["layout"]
        await layout.update_one({"_id": "documents"}, {"$inc": {"number": 1}})
        with pytest.raises(SettingsError, match="take another --data folder or namespace"):
            await ensure_topics(running.settings)
        await layout.delete_many({})  # as versions did that noted none
        with pytest.raises(SettingsError, match="take another --data folder or namespace"):
            await ensure_topics(running.settings)
