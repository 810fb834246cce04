"""The raw floor of ingestion, as a process: getmany 1,000 → insert_many → produce (acks=all) → commit, with no validation and
no rules. It is what the broker, the store and the drivers cost by themselves on this machine."""

import asyncio
import os

import orjson
import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from motor.motor_asyncio import AsyncIOMotorClient

__all__ = ["FLOOR_IN", "FLOOR_OUT", "main"]

FLOOR_IN, FLOOR_OUT = "floor.commands", "floor.events"
_BATCH = 1_000


async def run(bootstrap: str, mongo_uri: str, namespace: str, *, idempotent: bool) -> None:
    """Until the process is ended."""
    consumer = AIOKafkaConsumer(
        f"{namespace}{FLOOR_IN}",
        bootstrap_servers=bootstrap,
        group_id=f"{namespace}floor",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=2 * 1024 * 1024,
    )
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap,
        acks="all",
        enable_idempotence=idempotent,
        linger_ms=2,
        max_batch_size=256 * 1024,
    )
    collection = AsyncIOMotorClient(mongo_uri)[f"{namespace}floor"]["orders"]
    await consumer.start()
    await producer.start()
    while True:
        fetched = await consumer.getmany(timeout_ms=1_000, max_records=_BATCH)
        records = [record for partition in fetched.values() for record in partition]
        if not records:
            continue
        documents = []
        for record in records:
            document = orjson.loads(record.value or b"{}")
            document["_id"] = (record.key or b"").decode()
            documents.append(document)
        await collection.insert_many(documents, ordered=False)
        sent = [await producer.send(f"{namespace}{FLOOR_OUT}", record.value, key=record.key) for record in records]
        await asyncio.gather(*sent)
        await consumer.commit()


def main() -> None:
    environment = os.environ
    uvloop.run(
        run(
            environment["RECOURSE_KAFKA_BOOTSTRAP"],
            environment["RECOURSE_MONGO_URI"],
            environment.get("RECOURSE_NAMESPACE", ""),
            idempotent=environment.get("RECOURSE_KAFKA_IDEMPOTENT", "1") == "1",
        )
    )


if __name__ == "__main__":
    main()
