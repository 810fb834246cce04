"""Write the golden files anew: `python -m tests.contract.golden`. Look at the difference before you commit it."""

import json
from pathlib import Path
from typing import Any

import orjson

from contracts.base import Message
from contracts.envelope import Envelope, Record, encode
from contracts.registry import MESSAGES
from tests.contract.examples import AT, EXAMPLES, ORDER_ID

GOLDEN = Path(__file__).parent / "golden"


def schema_file(message: type[Message]) -> Path:
    return GOLDEN / "schemas" / f"{message.kind}.v{message.version}.json"


def record_file(message: type[Message]) -> Path:
    return GOLDEN / "records" / f"{message.kind}.v{message.version}.json"


def record_of(message: Message) -> Record:
    return encode(
        Envelope(
            id=f"example-{message.kind}",
            source="intake",
            key=ORDER_ID,
            time=AT,
            message=message,
            sequence=1,
            command_id="command-1",
            settles=True,
        )
    )


def as_json(record: Record) -> dict[str, Any]:
    return {
        "key": record.key.decode(),
        "headers": {name: value.decode() for name, value in record.headers},
        "body": orjson.loads(record.value),
    }


def write() -> None:
    for message in MESSAGES.values():
        schema_file(message).write_text(
            json.dumps(message.model_json_schema(mode="serialization"), indent=1, sort_keys=True) + "\n"
        )
    for example in EXAMPLES:
        record_file(type(example)).write_text(json.dumps(as_json(record_of(example)), indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    write()
