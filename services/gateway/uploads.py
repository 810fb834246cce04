"""Reading an upload as it streams in: a bounded file and its fields, and what the file really is."""

import asyncio
import re
from dataclasses import dataclass, field

import puremagic
from multipart import (  # another distribution may lie over its name
    MultipartError,  # pyright: ignore[reportAttributeAccessIssue]
    ParserLimitReached,  # pyright: ignore[reportAttributeAccessIssue]
    PushMultipartParser,  # pyright: ignore[reportAttributeAccessIssue]
    parse_options_header,  # pyright: ignore[reportAttributeAccessIssue]
)

from services.gateway.problems import field_error, too_large, unreadable, unsupported
from services.gateway.requests import AnyRequest

__all__ = ["EVIDENCE_LIMIT", "EVIDENCE_TYPES", "PAGES_AT_ONCE", "Upload", "media_type_of_bytes", "safe_name", "upload_of"]

EVIDENCE_LIMIT = 10 * 1024 * 1024
"""The most bytes of a file."""
PAGES_AT_ONCE = asyncio.Semaphore(12)
"""Filled pages that are in hand at the same time: each may hold its files in memory. Not shared with the uploads by key, so
that the public ways in do not block those."""
_FIELD_LIMIT = 64 * 1024
_ENVELOPE_LIMIT = 256 * 1024
EVIDENCE_TYPES = ("application/pdf", "image/jpeg", "image/png", "image/gif", "image/webp")
_HEAD = 4096
_MOST_FILES = 20
_READ_S = 60.0


@dataclass(slots=True)
class Upload:
    """What a form brought: its fields, and its files as (field, name, bytes)."""

    fields: dict[str, str] = field(default_factory=dict)
    files: list[tuple[str, str, bytes]] = field(default_factory=list)


def media_type_of_bytes(content: bytes) -> str | None:
    """The media type of a file by its bytes, whatever its name says; None for what is not taken as evidence (NX-14)."""
    try:
        best = puremagic.magic_string(content[:_HEAD])[0]
    except (puremagic.PureError, ValueError, IndexError):
        return None
    return best.mime_type if best.mime_type in EVIDENCE_TYPES else None


def safe_name(name: str) -> str:
    """The file's own name without folders and control characters, 200 characters at most."""
    last = re.split(r"[/\\]", name)[-1]
    cleaned = "".join(character for character in last if character.isprintable()).strip(". ")
    return cleaned[-200:] or "file"


async def upload_of(request: AnyRequest) -> Upload:
    """The form of a multipart request, read piece by piece; a file that grows too long ends it. Raises 400, 413, 415."""
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    if kind.lower() != "multipart/form-data" or not options.get("boundary"):
        raise unsupported("Send a form with `Content-Type: multipart/form-data` and its boundary.")
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > EVIDENCE_LIMIT + _ENVELOPE_LIMIT:
        raise too_large("A file may have 10 MiB at most.")
    try:
        async with asyncio.timeout(_READ_S):
            return await _read(request, options["boundary"])
    except TimeoutError:
        raise unreadable(f"The upload took longer than {_READ_S:.0f} seconds.") from None
    except ParserLimitReached:
        raise too_large("The form has a part that is too long, or too many parts.") from None
    except MultipartError as wrong:
        raise unreadable(f"The form cannot be read: {wrong}.") from None


async def _read(request: AnyRequest, boundary: str) -> Upload:
    upload = Upload()
    name, filename, parts, size, whole = "", None, list[bytes](), 0, 0
    parser = PushMultipartParser(boundary, max_segment_count=100, strict=False)
    while not parser.closed:
        event = await request.receive()
        if event["type"] != "http.request":
            raise unreadable("The request ended before its body did.")
        chunk = event["body"]
        whole += len(chunk)
        if whole > EVIDENCE_LIMIT + _ENVELOPE_LIMIT:
            raise too_large("A file may have 10 MiB at most.")
        for found in [*parser.parse(chunk)] if chunk else []:
            if found is None:
                _kept(upload, name, filename, b"".join(parts))
            elif isinstance(found, bytes | bytearray):
                size += len(found)
                if size > (_FIELD_LIMIT if filename is None else EVIDENCE_LIMIT):
                    raise too_large("A file may have 10 MiB at most, another field 64 KiB.")
                parts.append(bytes(found))
            else:
                name, filename, parts, size = found.name or "", found.filename, [], 0
        if not event["more_body"]:
            parser.close()
    return upload


def _kept(upload: Upload, name: str, filename: str | None, content: bytes) -> None:
    if filename is not None:
        if len(upload.files) >= _MOST_FILES:
            raise too_large(f"Send {_MOST_FILES} files at most.")
        upload.files.append((name, filename, content))
        return
    if name in upload.fields:
        raise field_error(f"/{name}", "give it once")
    try:
        upload.fields[name] = content.decode()
    except UnicodeDecodeError:
        raise field_error(f"/{name}", "give text in UTF-8") from None
