"""What intake does with each record: orders and merchants, reports from every route, and how cases end."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Literal

from chassis.handler import Emission, Inbound, Step
from chassis.store import Append, Database
from contracts.cases import CaseEvent
from contracts.desk import ChangeDesk
from contracts.ids import merchant_key
from contracts.orders import (
    AskClaim,
    CheckInReached,
    CommandRefused,
    DeclareInsolvency,
    PutMerchant,
    RecordFact,
    RegisterOrder,
    ReturnInfoAged,
    SubmitReport,
)
from contracts.rollouts import ROLLOUTS_KEY, AnnounceRollout, MakeRollout, OptIn, TellOfRollouts
from contracts.topics import READS, Topic
from engine.programmes import Programmes
from services.intake.answers import refused
from services.intake.context import Context, MerchantPage
from services.intake.desk import change_desk
from services.intake.documents import MerchantFile, OrderFile, RefusedCommand, RolloutTable, State, remember
from services.intake.merchants import declare_insolvency, put_merchant, remind_return_info
from services.intake.orders import ask_check_in, follow_case, record_fact, register_order, registered
from services.intake.reports import answer_claim, claim_wanted, submit_report
from services.intake.rollouts import change_rollouts
from services.intake.store import MERCHANTS, ORDERS, PLATFORM, Merchants, Rollouts, hold_claims, orders_among

__all__ = ["IntakeHandler"]

_MERCHANT_PREFIX = merchant_key("")


class IntakeHandler:
    """A document per order (`ord_…`) and per merchant (`mer:…`), one of all roll-outs; None before there is one."""

    service: str = "intake"
    topics: tuple[Topic, ...] = READS["intake"]
    gapless: frozenset[str] = frozenset()
    apart: Literal[True] = True
    ignored: frozenset[str] = frozenset(
        {"case.message-posted", "case.reminder-given", "case.notice-recorded", "command.refused", "command.repeated"}
    )

    def __init__(self, database: Database, programmes: Programmes) -> None:
        self._database = database
        self._programmes = programmes
        self._merchants = Merchants(database)
        self._rollouts = Rollouts(database)

    def collection_of(self, key: str) -> str | None:
        return MERCHANTS if key.startswith(_MERCHANT_PREFIX) else PLATFORM if key == ROLLOUTS_KEY else ORDERS

    def load(self, body: dict[str, Any] | str | None) -> State:
        if body is None:
            return None
        if isinstance(body, str):
            return OrderFile.model_validate_json(body)
        return RolloutTable.model_validate(body) if "rollouts" in body else MerchantFile.model_validate(body)

    def dump(self, state: State) -> dict[str, Any] | str:
        if state is None:
            raise ValueError("what was never registered has no document")
        return state.model_dump_json() if isinstance(state, OrderFile) else state.model_dump(mode="json")

    async def prepare(self, batch: Sequence[Inbound]) -> Context:
        """The merchants of the orders to register and of the reports, as this service's own store has them: who was told that
        a merchant is put can register its orders. Which versions are rolled out to whom, and who holds the claims among the
        reports."""
        wanted: set[str] = set()
        claims: list[Inbound] = []
        announced: list[Inbound] = []
        reported = False
        for inbound in batch:
            message = inbound.envelope.message
            if isinstance(message, RegisterOrder):
                wanted.add(message.content.merchant_id)
            elif isinstance(message, MakeRollout):
                wanted.update(message.content.merchants or ())
            elif isinstance(message, OptIn | TellOfRollouts):
                wanted.add(message.merchant_id)
            elif isinstance(message, AnnounceRollout):
                announced.append(inbound)
            elif isinstance(message, SubmitReport):
                reported = True
                if message.merchant_id is not None:
                    wanted.add(message.merchant_id)
                if message.content.external_id is not None:
                    claims.append(inbound)
        context = Context(
            merchants=await self._merchants.among(wanted),
            rollouts=await self._rollouts.in_engine_terms() if reported else (),
            pages=await self._announced(announced) if announced else {},
        )
        return replace(context, claims=await self._claims(claims, context)) if claims else context

    async def _announced(self, batch: Sequence[Inbound]) -> Mapping[str, MerchantPage]:
        """The merchants that each announcement of the batch is for next."""
        table = await self._rollouts.table()
        pages: dict[str, MerchantPage] = {}
        for inbound in batch:
            message = inbound.envelope.message
            rollout = table.get(message.rollout_id) if isinstance(message, AnnounceRollout) else None
            if rollout is not None and isinstance(message, AnnounceRollout):
                pages[inbound.envelope.id] = await self._rollouts.page(rollout.programme, message.after)
        return pages

    async def _claims(self, claims: Sequence[Inbound], context: Context) -> Mapping[str, str]:
        """Where each claim came in first. Orders are decided apart from each other, maybe by two processes at once: who has
        inserted the claim's document first has it. What is wrong in itself does not get to hold one."""
        files = await orders_among(self._database, {inbound.envelope.key for inbound in claims})
        wanted: dict[str, str] = {}
        for inbound in claims:
            message, file = inbound.envelope.message, files.get(inbound.envelope.key)
            if file is not None and isinstance(message, SubmitReport):
                claim = claim_wanted(file, inbound, message, self._programmes, context)
                if claim is not None:
                    wanted.setdefault(claim, inbound.envelope.key)
        return await hold_claims(self._database, wanted)

    def apply(self, state: State, inbound: Inbound, context: Context) -> Step[State]:
        message = inbound.envelope.message
        if isinstance(message, PutMerchant | DeclareInsolvency | ChangeDesk | ReturnInfoAged):
            if isinstance(state, OrderFile | RolloutTable):
                raise TypeError(f"{inbound.envelope.key} is the key of no merchant")
            if isinstance(message, ReturnInfoAged):
                return remind_return_info(state, inbound, message)
            if isinstance(message, DeclareInsolvency):
                return declare_insolvency(state, inbound, message)
            if isinstance(message, ChangeDesk):
                return change_desk(state, inbound, message, self._programmes)
            return put_merchant(state, inbound, message, self._programmes.known())
        if isinstance(message, MakeRollout | OptIn | AnnounceRollout | TellOfRollouts):
            table = state if isinstance(state, RolloutTable) else None
            return change_rollouts(table, inbound, message, self._programmes, context)
        if isinstance(state, MerchantFile | RolloutTable):
            raise TypeError(f"{inbound.envelope.key} is the key of no order")
        return self._apply_to_order(state, inbound, context)

    def recall(self, state: State, command_id: str, at: datetime) -> tuple[Emission, ...]:
        """What was told of an order when it was registered: most orders are written once."""
        if not isinstance(state, OrderFile):
            raise TypeError("only what is told of an order follows from its document")
        return registered(state, command_id, at)

    def _apply_to_order(self, file: OrderFile | None, inbound: Inbound, context: Context) -> Step[State]:
        message = inbound.envelope.message
        match message:
            case RegisterOrder():
                return register_order(file, inbound, message, context.merchants, self._programmes)
            case CheckInReached():
                return ask_check_in(file, inbound, message)
            case CaseEvent():
                return follow_case(file, inbound, message)
            case RecordFact():
                return _refused_before(file, inbound) or _keeping_refusal(record_fact(file, inbound, message), inbound)
            case SubmitReport():
                return _refused_before(file, inbound) or _keeping_refusal(
                    submit_report(file, inbound, message, self._programmes, context), inbound
                )
            case AskClaim():
                return answer_claim(file, inbound, message)
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
