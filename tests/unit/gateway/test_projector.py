"""The read document of an order: what lists ask for stands in it as values, the rest as text that readers are given whole."""

import json
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from chassis.handler import Inbound
from contracts.actors import Actor
from contracts.cases import CaseEvent, CaseOpened, MessageDraft, MessagePosted
from contracts.envelope import Envelope, decode
from contracts.evidence import Evidence
from contracts.topics import CASES_EVENTS
from services.gateway.projector import Projected, Projector, file_of
from services.gateway.store import whole, with_whole_body
from services.gateway.waiting import Waiting
from tests.contract.golden import GOLDEN

NOWHERE: Any = None
"""Stands for what nobody waits through."""
BUYER = Actor(role="buyer", id="b")
PROJECTOR = Projector(Waiting(NOWHERE, NOWHERE), lambda: datetime(2019, 8, 1, tzinfo=UTC))


def reported() -> tuple[CaseOpened, Projected]:
    """An order of which nothing is known but the case that was opened on it."""
    golden = json.loads((GOLDEN / "records" / "case.opened.v1.json").read_text())
    headers = [(name, value.encode()) for name, value in golden["headers"].items()]
    envelope = decode(orjson.dumps(golden["body"]), headers)
    assert isinstance(envelope.message, CaseOpened)
    return envelope.message, PROJECTOR.apply(Projected({}), Inbound(envelope, CASES_EVENTS.name, 0, 0), None).state


def test_case_file_and_reports_are_kept_as_text_and_read_whole() -> None:
    opened, state = reported()
    kept = PROJECTOR.dump(state)
    assert isinstance(kept["file"], str)
    assert isinstance(kept["reports"], str)
    read = whole(kept)
    assert file_of(read) == state.file
    assert read["reports"] == {opened.case_id: opened.report.model_dump(mode="json")}
    assert {name: read[name] for name in kept.keys() - {"file", "reports"}} == {
        name: kept[name] for name in kept.keys() - {"file", "reports"}
    }


@pytest.mark.rule("BP-19")
def test_what_comes_to_a_case_after_its_report_is_attached_to_it_once() -> None:
    opened, state = reported()
    names = [each.evidence_id for each in opened.report.evidence]
    for number, (kind, internal) in enumerate((("photo", False), ("photo", False), ("memo", True), ("invoice", False)), 1):
        evidence = Evidence(evidence_id=f"evd_{kind}", sha256="0" * 64, size=1, media_type="image/png", name=f"{kind}.png")
        draft = MessageDraft(
            message_id=f"msg_{number}", author=BUYER, text="", evidence=(evidence,), internal=internal, at=opened.at
        )
        posted = MessagePosted(
            **opened.model_dump(include=set(CaseEvent.model_fields) - {"case_version"}),
            case_version=opened.case_version + number,
            message=draft,
        )
        record = Envelope(id=f"e{number}", source="cases", key=opened.order_id, time=opened.at, message=posted)
        state = PROJECTOR.apply(state, Inbound(record, CASES_EVENTS.name, 0, number), None).state
    read = whole(PROJECTOR.dump(state))
    assert [each["evidence_id"] for each in read["attached"][opened.case_id]] == ["evd_photo", "evd_invoice"]
    assert [each["evidence_id"] for each in read["reports"][opened.case_id]["evidence"]] == names


def test_a_document_without_a_case_or_a_body_is_read_as_it_is() -> None:
    for document in ({"_id": "ord_1", "body": {"order": {"order_id": "ord_1"}}}, {"_id": "key", "merchants": ["shop"]}):
        assert with_whole_body(document) == document
