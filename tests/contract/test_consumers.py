"""Every consumer reads every golden record of the topics that it is subscribed to, in the version it was written in."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest

from chassis.handler import Handler, Inbound
from contracts.envelope import decode
from contracts.registry import CARRIES, MESSAGES, message_type
from contracts.topics import READS
from engine.issue_rate import Window
from engine.programmes import Programmes
from services.cases.handlers import CasesHandler
from services.cases.handlers import Found as CasesFound
from services.escalation.handlers import EscalationHandler, Found
from services.escalation.matrix import Findings, Trial
from services.escalation.outages import Affected
from services.escalation.rates import RateFindings
from services.gateway.projector import Projector
from services.gateway.waiting import Waiting
from services.intake.context import Context as IntakeContext
from services.intake.handlers import IntakeHandler
from services.notifications.handlers import NotificationsHandler
from tests.contract.golden import GOLDEN

NOWHERE: Any = None
"""Stands for what a handler only touches outside `apply`."""


def handlers() -> list[Handler[Any]]:
    programmes = Programmes.shipped()
    return [
        IntakeHandler(NOWHERE, programmes),
        CasesHandler(NOWHERE, programmes, record=NOWHERE, offer=NOWHERE, own=NOWHERE, due=NOWHERE),
        EscalationHandler(NOWHERE, NOWHERE, NOWHERE, NOWHERE, programmes),
        NotificationsHandler(offer=NOWHERE, own=NOWHERE, unsent=NOWHERE),
        Projector(Waiting(NOWHERE, NOWHERE), lambda: datetime(2019, 8, 1, tzinfo=UTC)),
    ]


CONTEXTS: dict[str, Any] = {
    "intake": IntakeContext(),
    "cases": CasesFound(),
    "escalation": Found(
        Findings(trials={"example-back-test.run": Trial()}),
        RateFindings(windows={"shop-1": Window({}, ())}),
        {"example-outage.record": Affected((), None)},
    ),
}
READINGS = [
    pytest.param(handler, topic.name, path, id=f"{handler.service}-{path.stem}")
    for handler in handlers()
    for topic in READS[handler.service]
    for path in sorted((GOLDEN / "records").glob("*.json"))
    if MESSAGES[path.stem.rsplit(".v", 1)[0]] in CARRIES[topic]
]


def test_every_consumer_has_something_to_read() -> None:
    assert {handler.service for handler in handlers()} == READS.keys()
    named = {str(reading.id).partition("-")[0] for reading in READINGS}
    assert named == READS.keys(), "each reads a record of what it is subscribed to"


@pytest.mark.parametrize(("handler", "topic", "path"), READINGS)
def test_a_consumer_reads_what_was_written_then(handler: Handler[Any], topic: str, path: Path) -> None:
    golden = json.loads(path.read_text())
    message, _ = message_type(golden["headers"]["ce_type"])
    if message.kind in handler.ignored:
        return
    envelope = decode(orjson.dumps(golden["body"]), [(name, value.encode()) for name, value in golden["headers"].items()])
    collection = handler.collection_of(envelope.key)
    state = handler.load(None)
    try:
        step = handler.apply(state, Inbound(envelope, topic, 0, 0), CONTEXTS.get(handler.service))
    except (LookupError, ValueError, TypeError) as refused:
        # Read, and then found to follow nothing: the example stands alone, its order or case was never heard of.
        if any(word in str(refused) for word in ("never", "has not been opened", "not the id", "is the key of")):
            return
        raise
    if step.state is not state and collection is not None:
        assert handler.load(json.loads(json.dumps(handler.dump(step.state)))) == step.state


def test_what_a_consumer_ignores_is_a_message_that_it_would_get() -> None:
    for handler in handlers():
        carried = {message.kind for topic in READS[handler.service] for message in CARRIES[topic]}
        assert handler.ignored <= carried, handler.service
        for source in handler.gapless:
            (told,) = [messages for topic, messages in CARRIES.items() if topic.name == f"{source}.events"]
            numbered = {message.kind for message in told}
            assert not handler.ignored & (numbered - {"command.refused", "command.repeated"}), handler.service
