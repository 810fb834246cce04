"""The publisher on the real broker: everything arrives, in order per key, where every other producer puts that key."""

from msgspec.structs import replace

from chassis.kafka import read_all
from contracts.envelope import Record
from contracts.topics import INTAKE_EVENTS
from deploy.local import Stack
from tests.component.running import own_namespace

KEYS = [f"key-{number}".encode() for number in range(20)]


async def test_batches_keep_order_and_place(stack: Stack) -> None:
    """More than one batch holds, a record larger than a batch, records that know their partition and ones that do not."""
    sizes = [300 * 1024 if number == 50 else 1_000 for number in range(6_000)]
    async with own_namespace(stack) as running:
        alone = [(INTAKE_EVENTS.name, Record(key, b"alone", ())) for key in KEYS]
        for one in alone:
            await running.publisher.publish([one])
        places = {raw.key: raw.partition async for raws in read_all(running.settings, INTAKE_EVENTS) for raw in raws}
        many: list[tuple[str, Record]] = []
        for number, size in enumerate(sizes):
            key = KEYS[number % len(KEYS)]
            record = Record(key, f"{number}:".encode().ljust(size, b"x"), (("number", str(number).encode()),))
            many.append((INTAKE_EVENTS.name, replace(record, partition=places[key]) if number % 3 else record))
        await running.publisher.publish(many)
        raws = [raw async for raws in read_all(running.settings, INTAKE_EVENTS) for raw in raws if raw.value != b"alone"]
    assert len(raws) == len(sizes)
    for key in KEYS:
        of_key = [raw for raw in raws if raw.key == key]
        assert {raw.partition for raw in of_key} == {places[key]}
        assert [raw.value for raw in of_key] == [record.value for _, record in many if record.key == key]
        assert [dict(raw.headers)["number"] for raw in of_key] == [
            dict(record.headers)["number"] for _, record in many if record.key == key
        ]
