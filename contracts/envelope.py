"""The envelope of every record: CloudEvents 1.0 in Kafka's binary mode (`ce_` headers, JSON body)."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache

from msgspec import Struct
from pydantic import ValidationError

from contracts.base import Message, format_moment, parse_moment
from contracts.registry import UnknownMessage, message_type, type_name, upcast

__all__ = ["Envelope", "Record", "Unreadable", "decode", "encode"]

Headers = tuple[tuple[str, bytes], ...]


class Unreadable(Exception):
    """A record that is no message of ours; the text says why. It belongs to the dead letters."""


class Envelope(Struct, frozen=True, gc=False):
    """A message with where it comes from and what it belongs to.

    `id` is deterministic where derivable. `key` is the order id (or `mer:<merchant_id>`). `time` is the stack's clock: when a
    command was received, when an event happened. `sequence` counts a producing service's events of one key from 1; None for
    commands and for answers that change nothing. `command_id` is the command that caused an event, `settles` is true on the
    event that completes it for its caller."""

    id: str
    source: str
    key: str
    time: datetime
    message: Message
    sequence: int | None = None
    command_id: str | None = None
    settles: bool = False


class Record(Struct, frozen=True, gc=False):
    """What is written to a topic."""

    key: bytes
    value: bytes
    headers: Headers
    partition: int | None = None
    """Where it is known that the key belongs there; otherwise the producer finds out, which costs as much as the rest."""


_SPECVERSION = ("ce_specversion", b"1.0")
_CONTENT_TYPE = ("content-type", b"application/json")
_SETTLES = ("ce_settles", b"true")


@cache
def _type_of(message: type[Message]) -> tuple[str, bytes]:
    return "ce_type", type_name(message).encode()


@cache
def _source_of(service: str) -> tuple[str, bytes]:
    return "ce_source", service.encode()


def encode(envelope: Envelope, partition: int | None = None) -> Record:
    """The record of an envelope."""
    message, key = envelope.message, envelope.key.encode()
    headers: list[tuple[str, bytes]] = [
        _SPECVERSION,
        ("ce_id", envelope.id.encode()),
        _source_of(envelope.source),
        _type_of(type(message)),
        ("ce_time", format_moment(envelope.time).encode()),
        ("ce_subject", key),
        _CONTENT_TYPE,
    ]
    if envelope.sequence is not None:
        headers.append(("ce_sequence", str(envelope.sequence).encode()))
    if envelope.command_id is not None:
        headers.append(("ce_commandid", envelope.command_id.encode()))
    if envelope.settles:
        headers.append(_SETTLES)
    return Record(key, message.__pydantic_serializer__.to_json(message), tuple(headers), partition)


def decode(value: bytes | None, headers: Mapping[str, bytes] | Sequence[tuple[str, bytes]]) -> Envelope:
    """The envelope of a record; older versions are brought up to today's. Raises Unreadable."""
    given = dict(headers) if isinstance(headers, Sequence) else headers
    try:
        if given["ce_specversion"] != b"1.0":
            raise Unreadable("ce_specversion is not 1.0")
        message_class, version = message_type(given["ce_type"].decode())
        if value is None:
            raise Unreadable("the record has no body")
        if version == message_class.version:
            message = message_class.__pydantic_validator__.validate_json(value)
        else:
            message = upcast(message_class, version, value)
        sequence = given.get("ce_sequence")
        command_id = given.get("ce_commandid")
        return Envelope(
            id=given["ce_id"].decode(),
            source=given["ce_source"].decode(),
            key=given["ce_subject"].decode(),
            time=parse_moment(given["ce_time"].decode()),
            message=message,
            sequence=None if sequence is None else int(sequence),
            command_id=None if command_id is None else command_id.decode(),
            settles=given.get("ce_settles") == b"true",
        )
    except KeyError as missing:
        raise Unreadable(f"the header {missing.args[0]} is missing") from None
    except UnknownMessage as unknown:
        raise Unreadable(str(unknown)) from None
    except ValidationError as invalid:
        places = "; ".join(f"/{'/'.join(map(str, error['loc']))}: {error['msg']}" for error in invalid.errors()[:5])
        raise Unreadable(f"the body does not fit {given['ce_type'].decode()}: {places}") from None
    except ValueError as wrong:
        raise Unreadable(str(wrong)) from None
