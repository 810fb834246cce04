"""Evidence: checked by its bytes, bounded, hashed, seen by whom it is for (NX-14)."""

import hashlib
from typing import Any

import pytest

from services.gateway.resources import evidence
from tests.component.gateway.platform import Client, Platform

PDF = b"%PDF-1.4\n%%EOF\n"
LIMIT = 10 * 1024 * 1024


async def upload(client: Client, order_id: str | None, content: bytes, name: str = "proof.pdf", **headers: str) -> Any:
    parts: dict[str, Any] = {"file": (name, content, "application/pdf")}
    form = {} if order_id is None else {"order_id": order_id}
    return await client.ask("POST", "/v1/evidence", files=parts, data=form, headers=headers)


async def test_evidence_is_hashed_and_read_by_whom_it_is_for(platform: Platform) -> None:
    case, staff, buyer = await platform.reported()
    _, stranger = await platform.shop()
    kept = await upload(buyer, case["order_id"], PDF, "Beleg \u00fc.pdf")
    assert kept.status_code == 201, kept.text
    evidence = kept.json()
    assert evidence["sha256"] == hashlib.sha256(PDF).hexdigest()
    assert (evidence["size"], evidence["media_type"], evidence["name"]) == (len(PDF), "application/pdf", "Beleg \u00fc.pdf")
    assert evidence["visible_to"] == ["buyer", "platform"]
    path = f"/v1/evidence/{evidence['evidence_id']}"
    assert (await staff.ask("GET", path)).status_code == 404
    assert (await buyer.ask("GET", f"{path}/content", at=1)).content == PDF
    message = {"text": "See here", "evidence": [evidence["evidence_id"]]}
    assert (await buyer.post(f"/v1/cases/{case['case_id']}/messages", message)).status_code == 201
    seen = await staff.get(path, at=1)
    assert seen["visible_to"] == ["buyer", "merchant", "platform"]
    content = await staff.ask("GET", f"{path}/content")
    assert content.content == PDF
    assert content.headers["content-type"] == "application/pdf"
    assert content.headers["x-content-type-options"] == "nosniff"
    assert content.headers["content-disposition"].startswith("attachment; filename=")
    assert (await stranger.ask("GET", path)).status_code == 404
    assert (await stranger.ask("GET", f"{path}/content")).status_code == 404
    report = {"reason": "other", "evidence": [evidence["evidence_id"]]}
    other = await platform.order(case["merchant_id"])
    refused = await platform.partner.post(f"/v1/orders/{other['order_id']}/reports", report)
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/evidence/0")


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + b"\0" * 30, 201),
        (b"#!/bin/sh\nrm -rf /\n", 415),
        (b"<html><script>alert(1)</script></html>", 415),
        (b"MZ\x90\0" + b"\0" * 200, 415),
        (b"", 415),
        (PDF + b"\0" * (LIMIT - len(PDF)), 201),
        (PDF + b"\0" * (LIMIT - len(PDF) + 1), 413),
    ],
    ids=["png", "script", "html", "program", "nothing", "10 MiB", "10 MiB + 1"],
)
async def test_only_these_kinds_and_sizes_are_taken(platform: Platform, content: bytes, status: int) -> None:
    merchant_id, _ = await platform.shop()
    order = await platform.order(merchant_id)
    answer = await upload(platform.partner, order["order_id"], content)
    assert answer.status_code == status, answer.text
    kept = await platform.running.database("gateway")["evidence"].count_documents({"order_id": order["order_id"]})
    assert kept == (status == 201)


@pytest.mark.rule("NX-14")
async def test_an_order_keeps_so_many_files(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evidence, "MOST_FILES", 2)
    merchant_id, _ = await platform.shop()
    order = await platform.order(merchant_id)
    first = await upload(platform.partner, order["order_id"], PDF)
    assert [first.status_code, (await upload(platform.partner, order["order_id"], PDF)).status_code] == [201, 201]
    full = await upload(platform.partner, order["order_id"], PDF)
    assert (full.status_code, full.json()["type"]) == (409, "/problems/order-full")
    other = await platform.order(merchant_id)
    assert (await upload(platform.partner, other["order_id"], PDF)).status_code == 201


async def test_what_an_upload_lacks_is_pointed_at(platform: Platform) -> None:
    merchant_id, _ = await platform.shop()
    order = await platform.order(merchant_id)
    missing = await upload(platform.partner, None, PDF)
    assert (missing.status_code, missing.json()["errors"][0]["pointer"]) == (422, "/order_id")
    unknown = await upload(platform.partner, "ord_" + "0" * 32, PDF)
    assert (unknown.status_code, unknown.json()["errors"][0]["pointer"]) == (422, "/order_id")
    no_file = await platform.partner.ask("POST", "/v1/evidence", files={"order_id": (None, order["order_id"])})
    assert (no_file.status_code, no_file.json()["errors"][0]["pointer"]) == (422, "/file")
    assert (await platform.partner.post("/v1/evidence", {"order_id": order["order_id"]})).status_code == 415
    broken = await platform.partner.ask(
        "POST", "/v1/evidence", content=b"rubbish", headers={"Content-Type": "multipart/form-data; boundary=x"}
    )
    assert broken.status_code == 400


async def test_an_upload_is_repeated_by_its_key(platform: Platform) -> None:
    merchant_id, staff = await platform.shop()
    order = await platform.order(merchant_id)
    key = {"Idempotency-Key": "once"}
    first = await upload(staff, order["order_id"], PDF, **key)
    again = await upload(staff, order["order_id"], PDF, **key)
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()
    assert (await upload(staff, order["order_id"], PDF + b"\n", **key)).status_code == 422
