"""What intake does with each record: orders and merchants, reports from every route, and how cases end."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from chassis.handler import Emission, Inbound, Step
from chassis.store import Append, Database
from contracts.cases import CaseEvent
from contracts.ids import merchant_key
from contracts.orders import CheckInReached, CommandRefused, Merchant, PutMerchant, RecordFact, RegisterOrder, SubmitReport
from contracts.topics import READS, Topic
from engine.programmes import Programmes
from services.intake.answers import refused
from services.intake.documents import MerchantFile, OrderFile, RefusedCommand, State, remember
from services.intake.merchants import put_merchant
from services.intake.orders import ask_check_in, follow_case, record_fact, register_order, registered
from services.intake.reports import submit_report
from services.intake.store import MERCHANTS, ORDERS, merchants_among

__all__ = ["IntakeHandler"]

_MERCHANT_PREFIX = merchant_key("")


class IntakeHandler:
    """A document per order (`ord_…`) and per merchant (`mer:…`); None before there is one."""

    service: str = "intake"
    topics: tuple[Topic, ...] = READS["intake"]
    gapless: frozenset[str] = frozenset()
    ignored: frozenset[str] = frozenset(
        {"case.message-posted", "case.reminder-given", "case.notice-recorded", "command.refused", "command.repeated"}
    )

    def __init__(self, database: Database, programmes: Programmes) -> None:
        self._database = database
        self._programmes = programmes

    def collection_of(self, key: str) -> str | None:
        return MERCHANTS if key.startswith(_MERCHANT_PREFIX) else ORDERS

    def load(self, body: dict[str, Any] | None) -> State:
        if body is None:
            return None
        return MerchantFile.model_validate(body) if "merchant" in body else OrderFile.model_validate(body)

    def dump(self, state: State) -> dict[str, Any]:
        if state is None:
            raise ValueError("what was never registered has no document")
        return state.model_dump(mode="json")

    async def prepare(self, batch: Sequence[Inbound]) -> Mapping[str, Merchant]:
        """The merchants of the orders to register, as this service's own store has them: who was told that a merchant is put
        can register its orders."""
        messages = (inbound.envelope.message for inbound in batch)
        wanted = {message.content.merchant_id for message in messages if isinstance(message, RegisterOrder)}
        return await merchants_among(self._database, wanted)

    def apply(self, state: State, inbound: Inbound, context: Mapping[str, Merchant]) -> Step[State]:
        message = inbound.envelope.message
        if isinstance(message, PutMerchant):
            if isinstance(state, OrderFile):
                raise TypeError(f"{inbound.envelope.key} is the key of an order")
            return put_merchant(state, inbound, message, self._programmes.known())
        if isinstance(state, MerchantFile):
            raise TypeError(f"{inbound.envelope.key} is the key of a merchant")
        return self._apply_to_order(state, inbound, context)

    def recall(self, state: State, command_id: str, at: datetime) -> tuple[Emission, ...]:
        """What was told of an order when it was registered: most orders are written once."""
        if not isinstance(state, OrderFile):
            raise TypeError("only what is told of an order follows from its document")
        return registered(state, command_id, at)

    def _apply_to_order(self, file: OrderFile | None, inbound: Inbound, merchants: Mapping[str, Merchant]) -> Step[State]:
        message = inbound.envelope.message
        match message:
            case RegisterOrder():
                return register_order(file, inbound, message, merchants, self._programmes)
            case CheckInReached():
                return ask_check_in(file, inbound, message)
            case CaseEvent():
                return follow_case(file, inbound, message)
            case RecordFact():
                return _refused_before(file, inbound) or _keeping_refusal(record_fact(file, inbound, message), inbound)
            case SubmitReport():
                return _refused_before(file, inbound) or _keeping_refusal(
                    submit_report(file, inbound, message, self._programmes), inbound
                )
            case _:
                return Step(file)

    def pack(self, appends: Sequence[Append], batch: Mapping[int, tuple[str, int]]) -> Sequence[Append]:
        return appends

    async def appended(self, appends: Sequence[Append]) -> None:
        """Nobody waits for it."""

    async def assigned(self, partitions: frozenset[int]) -> None:
        """Nothing is kept in memory."""

    def pending(self) -> Mapping[str, int]:
        return {}


def _refused_before(file: OrderFile | None, inbound: Inbound) -> Step[State] | None:
    """The answer to a command whose sender was told no before."""
    for told in file.refused if file is not None else ():
        if told.command_id == inbound.envelope.id:
            return Step(file, (refused(inbound.envelope, told.problem),))
    return None


def _keeping_refusal(step: Step[State], inbound: Inbound) -> Step[State]:
    """The step, with its refusal remembered where there is a document to remember it in."""
    file = step.state
    for emission in step.emissions:
        if isinstance(file, OrderFile) and isinstance(emission.message, CommandRefused):
            refusal = RefusedCommand(command_id=inbound.envelope.id, problem=emission.message.problem)
            kept = file.model_copy(update={"refused": remember(file.refused, refusal)})
            return Step(kept, step.emissions)
    return step
