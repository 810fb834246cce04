"""The AsyncAPI 3.0 document of all topics, made from the contracts: `python -m contracts.asyncapi > docs/asyncapi.json`."""

import json
import sys
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from contracts.registry import CARRIES, MESSAGES, type_name
from contracts.topics import READS

__all__ = ["asyncapi"]

_HEADERS = {
    "type": "object",
    "description": "CloudEvents 1.0 attributes in Kafka's binary mode",
    "required": ["ce_specversion", "ce_id", "ce_source", "ce_type", "ce_time", "ce_subject"],
    "properties": {
        "ce_specversion": {"const": "1.0"},
        "ce_id": {"type": "string", "description": "deterministic where derivable"},
        "ce_source": {"type": "string", "description": "the producing service"},
        "ce_type": {"type": "string", "description": "recourse.<kind>.v<version>"},
        "ce_time": {"type": "string", "format": "date-time", "description": "the stack's clock"},
        "ce_subject": {"type": "string", "description": "the record's key: an order id, or mer:<merchant id>"},
        "ce_sequence": {"type": "string", "description": "counts a service's events of one key, from 1"},
        "ce_commandid": {"type": "string", "description": "the command that caused an event"},
        "ce_settles": {"const": "true", "description": "on the event that completes its command"},
    },
}


def asyncapi() -> dict[str, Any]:
    """Channels, messages with their schemas, and who receives what."""
    models: list[tuple[type[BaseModel], Any]] = [(message, "serialization") for message in MESSAGES.values()]
    keys, definitions = models_json_schema(models, ref_template="#/components/schemas/{model}")
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Recourse",
            "version": "1",
            "description": "What crosses a service boundary. A record's key is its order: one owner handles it in sequence.",
        },
        "defaultContentType": "application/json",
        "channels": {
            topic.name: {
                "address": topic.name,
                "description": _describe(topic.retention_ms, compacted=topic.compacted),
                "messages": {message.kind: {"$ref": f"#/components/messages/{message.kind}"} for message in carried},
                "bindings": {"kafka": {"partitions": topic.partitions, "bindingVersion": "0.5.0"}},
            }
            for topic, carried in CARRIES.items()
        },
        "operations": {
            f"{service} reads {topic.name}": {
                "action": "receive",
                "channel": {"$ref": f"#/channels/{topic.name}"},
                "summary": f"{service}, as one group over all its topics",
            }
            for service, topics in READS.items()
            for topic in topics
        },
        "components": {
            "messages": {
                kind: {
                    "name": type_name(message),
                    "summary": (message.__doc__ or kind).split("\n", 1)[0],
                    "headers": {"$ref": "#/components/schemas/Attributes"},
                    "payload": keys[message, "serialization"],
                }
                for kind, message in sorted(MESSAGES.items())
            },
            "schemas": {"Attributes": _HEADERS, **definitions["$defs"]},
        },
    }


def _describe(retention_ms: int, *, compacted: bool) -> str:
    if compacted:
        return "compacted: the last record of each key; no personal data"
    return f"kept for {retention_ms // 86_400_000} days"


if __name__ == "__main__":
    json.dump(asyncapi(), sys.stdout, indent=1, ensure_ascii=False)
    sys.stdout.write("\n")
