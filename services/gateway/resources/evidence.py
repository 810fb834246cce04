"""Evidence: files uploaded for an order, checked by their bytes, read by those who may see them (NX-14)."""

import asyncio
import hashlib
import re
from typing import Any
from urllib.parse import quote

from litestar import Response, get, post
from litestar.params import FromPath

from contracts.actors import Actor, Party
from contracts.base import format_moment
from contracts.ids import child_id, order_of
from contracts.problems import FieldError, Problem
from services.gateway.answers import Answer, answer, response_of
from services.gateway.context import Caller, Gateway, TheGateway
from services.gateway.documented import documented
from services.gateway.principals import Principal
from services.gateway.problems import ProblemError, field_error, unavailable, unsupported
from services.gateway.projector import Body
from services.gateway.requests import AnyRequest, known_id
from services.gateway.shown.orders import FILE, EvidenceFile
from services.gateway.store import EVIDENCE, MESSAGES, Document
from services.gateway.uploads import Upload, media_type_of_bytes, safe_name, upload_of

__all__ = ["MOST_FILES", "checked_type", "content_of", "keep", "put_file", "readable", "routes", "take_back"]

_KIND = re.compile(r"[a-z][a-z0-9_-]{0,49}", re.ASCII)
MOST_FILES = 200
"""Files of one order, of all sides."""
_MOST_BYTES = 500 * 1024 * 1024
_AT_ONCE = asyncio.Semaphore(6)
"""Uploads read at the same time: each may hold its file in memory."""


@post(
    "/v1/evidence",
    operation_id="uploadEvidence",
    summary="Upload a file as evidence on an order",
    opt=documented(
        content_type="multipart/form-data",
        answers={
            201: "The file, with its id.",
            413: "more than 10 MiB",
            415: "none of PDF, JPEG, PNG, GIF and WebP",
        },
        gives=EvidenceFile,
    ),
)
async def upload_evidence(request: AnyRequest, gateway: TheGateway, principal: Caller) -> Response[bytes]:
    """Name its id in a report, action or message afterwards; until then only its own side and the platform see it. `kind` says
    what it proves, in the words of the case's checklist."""
    async with _AT_ONCE:
        order_id, name, content, kind = _form(await upload_of(request))
        same = b"\n".join((order_id.encode(), name.encode(), hashlib.sha256(content).digest(), (kind or "").encode()))

        async def work(command_id: str) -> Answer:
            kept = await keep(gateway, principal, order_id, name, content, command_id, kind=kind)
            return answer(201, await _shown(gateway, kept), Location=f"/v1/evidence/{kept['_id']}")

        return await gateway.once(request, principal, same, work)


def _form(upload: Upload) -> tuple[str, str, bytes, str | None]:
    """The order's id, the file's name and bytes, and its kind. Raises 422 with a pointer for each part that is missing or not
    known."""
    errors = [
        FieldError(pointer=f"/{name}", detail="there is no such field here")
        for name in upload.fields
        if name not in ("order_id", "kind")
    ]
    errors += [
        FieldError(pointer=f"/{name}", detail="there is no such file here") for name, _, _ in upload.files if name != "file"
    ]
    if "order_id" not in upload.fields:
        errors.append(FieldError(pointer="/order_id", detail="this field is required"))
    files = [file for file in upload.files if file[0] == "file"]
    if len(files) != 1:
        errors.append(FieldError(pointer="/file", detail="send one file, with its name"))
    kind = upload.fields.get("kind")
    if kind is not None and not _KIND.fullmatch(kind):
        errors.append(FieldError(pointer="/kind", detail="a short code such as proof_of_delivery"))
    if errors:
        raise ProblemError(Problem.invalid_input(*errors))
    return upload.fields["order_id"], safe_name(files[0][1]), files[0][2], kind


async def keep(
    gateway: Gateway,
    principal: Principal,
    order_id: str,
    name: str,
    content: bytes,
    command_id: str,
    number: int = 0,
    kind: str | None = None,
) -> Document:
    """Keep a file of an order. Its bytes are there before anybody can name it. Raises 404, 403, 415, 422."""
    try:
        known_id("ord", order_id, "order")
        body = await gateway.order(principal, order_id)
    except ProblemError:
        raise field_error("/order_id", "there is no order of this id that you may see") from None
    gateway.require_acting(principal, body)
    media_type = checked_type(content)
    evidence_id = child_id("evd", order_id, command_id, str(number))
    return await put_file(gateway, principal.actor(), principal.reads_as, evidence_id, name, content, media_type, kind)


def checked_type(content: bytes) -> str:
    """The media type of a file by its bytes. Raises 415 for what is not taken as evidence (NX-14)."""
    media_type = media_type_of_bytes(content)
    if media_type is None:
        raise unsupported("The file is none of PDF, JPEG, PNG, GIF and WebP; what counts are its bytes, not its name.")
    return media_type


async def put_file(
    gateway: Gateway,
    actor: Actor,
    uploaded_as: Party,
    evidence_id: str,
    name: str,
    content: bytes,
    media_type: str,
    kind: str | None = None,
) -> Document:
    """Keep a file that was checked, from whichever way it came. Again, it is the same file. Raises 409 where the order has as
    many as one order keeps: a form needs no account, and who has filled one in could fill the store."""
    await _require_room(gateway, evidence_id, len(content))
    document: Document = {
        "_id": evidence_id,
        "order_id": order_of(evidence_id),
        "sha256": hashlib.sha256(content).hexdigest(),
        "size": len(content),
        "media_type": media_type,
        "name": name,
        **({"kind": kind} if kind else {}),
        "uploaded_by": actor.model_dump(mode="json"),
        "uploaded_as": uploaded_as,
        "at": format_moment(gateway.clock.now()),
    }
    await gateway.objects.put(evidence_id, content)
    await gateway.database[EVIDENCE].replace_one({"_id": evidence_id}, document, upsert=True)
    return document


async def _require_room(gateway: Gateway, evidence_id: str, size: int) -> None:
    """Raises 409 order-full. Files that come at the same moment may go a little beyond."""
    found = gateway.database[EVIDENCE].find({"order_id": order_of(evidence_id)}, {"size": 1})
    others = [kept["size"] for kept in await found.to_list(None) if kept["_id"] != evidence_id]
    if len(others) >= MOST_FILES or sum(others) + size > _MOST_BYTES:
        raise ProblemError(
            Problem(
                type="/problems/order-full",
                title="This order takes no more of it",
                status=409,
                detail=f"An order keeps {MOST_FILES} files, {_MOST_BYTES // 1024**2} MiB together; say what is missing.",
            )
        )


async def take_back(gateway: Gateway, order_id: str, uploader: str) -> None:
    """Forget what a principal of this name has uploaded to an order: it came with what was refused, and nobody can name it."""
    mine = {"order_id": order_id, "uploaded_by.id": uploader}
    async for kept in gateway.database[EVIDENCE].find(mine, {"_id": 1}):
        await gateway.database[EVIDENCE].delete_one({"_id": kept["_id"]})
        await gateway.objects.remove(kept["_id"])


async def _readers(gateway: Gateway, kept: Document, body: Body | None, only: Principal | None = None) -> list[str]:
    """Who sees a file: its own side and the platform; with a report everybody; with a message whoever reads that. With `only`,
    as far as its bearer's link reaches: of one case, what it says and what was uploaded with this very link."""
    evidence_id = kept["_id"]
    readers = {kept["uploaded_as"], "platform"}
    reports: dict[str, Any] = (body or {}).get("reports", {})
    if only is not None and only.capability is not None and only.capability.case_id is not None:
        reports = {case_id: report for case_id, report in reports.items() if only.sees_case(case_id)}
        readers = {kept["uploaded_as"]} if kept["uploaded_by"]["id"] == only.name else set[str]()
    if any(each["evidence_id"] == evidence_id for report in reports.values() for each in report["evidence"]):
        return ["buyer", "merchant", "platform"]
    if reports:
        wanted = {"case_id": {"$in": list(reports)}, "evidence.evidence_id": evidence_id}
        async for message in gateway.database[MESSAGES].find(wanted, {"visible_to": 1}):
            readers.update(message["visible_to"])
    return sorted(readers)


async def _shown(gateway: Gateway, kept: Document, body: Body | None = None) -> dict[str, Any]:
    names = ("order_id", "sha256", "size", "media_type", "name", "uploaded_by", "at")
    return {
        "evidence_id": kept["_id"],
        **{name: kept[name] for name in names},
        **({"kind": kept["kind"]} if kept.get("kind") else {}),
        "visible_to": await _readers(gateway, kept, body),
        "_links": {
            "self": {"href": f"/v1/evidence/{kept['_id']}"},
            "content": {"href": f"/v1/evidence/{kept['_id']}/content"},
            "order": {"href": f"/v1/orders/{kept['order_id']}"},
        },
    }


async def readable(gateway: Gateway, principal: Principal, evidence_id: str) -> dict[str, Any]:
    """What is known of a file that the caller may see. Raises 404."""
    nothing = ProblemError(Problem.not_found("evidence"))
    known_id("evd", evidence_id, "evidence")
    kept = await gateway.reads.get(EVIDENCE, evidence_id)
    if kept is None:
        raise nothing
    try:
        body = await gateway.order(principal, kept["order_id"])
    except ProblemError:
        raise nothing from None
    if principal.reads_as not in await _readers(gateway, kept, body, principal):
        raise nothing
    return await _shown(gateway, kept, body)


@get(
    "/v1/evidence/{evidence_id:str}",
    operation_id="getEvidence",
    summary="What a file is, and who sees it",
    opt=documented(answers={200: "What is known of the file."}, gives=EvidenceFile),
)
async def get_evidence(
    request: AnyRequest, gateway: TheGateway, principal: Caller, evidence_id: FromPath[str]
) -> Response[bytes]:
    """`sha256` is the hash of the bytes as they were uploaded."""
    return response_of(answer(200, await readable(gateway, principal, evidence_id)))


@get(
    "/v1/evidence/{evidence_id:str}/content",
    operation_id="getEvidenceContent",
    summary="The bytes of a file",
    opt=documented(answers={200: "The file, to be saved."}, gives=FILE),
)
async def get_content(
    request: AnyRequest, gateway: TheGateway, principal: Caller, evidence_id: FromPath[str]
) -> Response[bytes]:
    """As it was uploaded; never shown inside a page of ours."""
    return await content_of(gateway, principal, evidence_id)


async def content_of(gateway: Gateway, principal: Principal, evidence_id: str) -> Response[bytes]:
    """The answer with a file's bytes."""
    shown = await readable(gateway, principal, evidence_id)
    try:
        content = await gateway.objects.get(evidence_id)
    except FileNotFoundError:
        raise unavailable("The file cannot be read at the moment.") from None
    plain = "".join(character if character.isascii() and character not in '"\\' else "_" for character in shown["name"])
    return Response(
        content,
        media_type=shown["media_type"],
        headers={
            "Content-Disposition": f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(shown['name'], safe='')}",
            "X-Content-Type-Options": "nosniff",
            "Content-Security-Policy": "sandbox; default-src 'none'",
            "Cache-Control": "private, no-store",
            "ETag": f'"{shown["sha256"]}"',
        },
    )


routes = (upload_evidence, get_evidence, get_content)
