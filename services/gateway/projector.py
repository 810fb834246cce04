"""The projector: keeps a read document per order and merchant, threads and histories, and says when a command is settled."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import orjson
from msgspec import Struct

from chassis.handler import Emission, Inbound, Step
from chassis.store import Append
from contracts.base import Message, format_moment
from contracts.cases import CaseEvent, CaseMoved, CaseOpened, MessageDraft, MessagePosted, NoticeRecorded, Rollout
from contracts.envelope import Envelope
from contracts.issue_rate import IssueRateChanged
from contracts.matrix import BackTestDone, BackTestPart, DecisionRule, DecisionRuleChanged
from contracts.orders import (
    CheckInAsked,
    CommandRefused,
    CommandRepeated,
    FactRecorded,
    MerchantChanged,
    OrderChanged,
    OrderRegistered,
    ReportAccepted,
    Standing,
)
from contracts.platform import CommandSettled
from contracts.rollouts import MerchantOptedIn, RolloutAnnounced, RolloutMade
from contracts.topics import GATEWAY_OUTCOMES, READS, Topic
from engine.casefile import CaseFile
from engine.decide import evolve
from services.gateway.store import (
    BACK_TESTS,
    COMMANDS,
    HISTORY,
    KEPT_S,
    MERCHANTS,
    MESSAGES,
    ORDERS,
    PLATFORM,
    wall_clock,
    whole,
)
from services.gateway.waiting import Waiting

__all__ = ["Body", "Projector", "file_of"]

Body = dict[str, Any]
"""Of an order: {order, facts, standing} from intake; {file, reports, cases, turns, states, search, reported_at} once something
was reported, {attached} once evidence came to a case after its report. Of a merchant: {merchant, desk}. Of the platform's
tables: {rules}; {rollouts, opt_ins}. JSON values; a new body for each change."""

_COLLECTIONS = {"ord_": ORDERS, "mer:": MERCHANTS, "plt:": PLATFORM}
"""By what a key begins with."""
_OF_CASES = frozenset({"file", "cases", "turns", "states", "reported_at"})
"""What of an order's body follows from its case file."""
_EVERYBODY = ["buyer", "merchant", "platform"]


def file_of(body: Body) -> CaseFile | None:
    """The case file in an order's body; None where nothing was reported."""
    stored = body.get("file")
    return None if stored is None else CaseFile.model_validate({**stored, "order": body["order"]})


class Projected(Struct, frozen=True, gc=False):
    """A body while events are applied to it: `file` is its order's case file, None where nothing was reported; `rest` is what
    does not follow from the file."""

    rest: Body
    file: CaseFile | None = None


class Projector:
    """The gateway's part of the processing loop. It judges nothing: facts of intake and cases are copied or evolved."""

    service: str = "gateway"
    topics: tuple[Topic, ...] = READS["gateway"]
    gapless: frozenset[str] = frozenset({"intake", "cases"})
    ignored: frozenset[str] = frozenset()

    def __init__(
        self,
        waiting: Waiting,
        now: Callable[[], datetime] = wall_clock,
        in_hand: Callable[[], Mapping[str, int]] = dict,
    ) -> None:
        """`waiting`: who waits for outcomes in this process. `now` is real time: outcomes are forgotten by it. `in_hand`: what
        this process works on besides, by kind."""
        self._waiting = waiting
        self._now = now
        self._in_hand = in_hand

    def collection_of(self, key: str) -> str | None:
        return _COLLECTIONS.get(key[:4])

    def load(self, body: Body | None) -> Projected:
        if body is None or "file" not in body:
            return Projected(body or {})
        body = whole(body)
        rest = {name: value for name, value in body.items() if name not in _OF_CASES}
        return Projected(rest, file_of(body))

    def dump(self, state: Projected) -> Body:
        if state.file is None:
            return state.rest
        return state.rest | _of_cases(state.rest, state.file)

    async def prepare(self, batch: Sequence[Inbound]) -> None:
        """Events carry all that the read models need."""

    def apply(self, state: Projected, inbound: Inbound, context: None) -> Step[Projected]:
        envelope = inbound.envelope
        message = envelope.message
        appends: list[Append] = []
        if isinstance(message, CaseEvent):
            state = _with_case_event(state, message)
            appends += _kept(message, envelope)
        else:
            rest = _with_order_event(state.rest, message)
            if rest is not state.rest:
                state = Projected(rest, state.file)
            appends += _tried(message, self._now() + timedelta(seconds=KEPT_S))
        emissions: tuple[Emission, ...] = ()
        if envelope.command_id is not None and (envelope.settles or isinstance(message, CommandRefused | CommandRepeated)):
            outcome = _outcome(envelope)
            kept = {"_id": envelope.command_id, **outcome, "forget_at": self._now() + timedelta(seconds=KEPT_S)}
            appends.append(Append(COMMANDS, kept))
            # Who waits in this process is woken by `appended`: the topic is for those who wait in others.
            if not self._waiting.awaits(envelope.command_id):
                settled = CommandSettled(command_id=envelope.command_id, status=outcome["status"], outcome=_told(outcome))
                told = Emission(GATEWAY_OUTCOMES, settled, envelope.time, command_id=envelope.command_id, sequenced=False)
                emissions = (told,)
        return Step(state, emissions, tuple(appends))

    def pack(self, appends: Sequence[Append], batch: Mapping[int, tuple[str, int]]) -> Sequence[Append]:
        """Outcomes come last: whoever finds one also finds what it speaks of."""
        return sorted(appends, key=lambda append: append.collection == COMMANDS)

    async def appended(self, appends: Sequence[Append]) -> None:
        """Wake who waits in this process for what is settled."""
        for append in appends:
            if append.collection == COMMANDS:
                self._waiting.wake(append.document["_id"], _told(append.document))

    async def assigned(self, partitions: frozenset[int]) -> None:
        """Nothing is kept in memory."""

    def pending(self) -> Mapping[str, int]:
        return self._in_hand()


def _told(outcome: Body) -> Body | None:
    """What a waiter is told of an outcome. What is only repeated has its outcome in the store already, and the first one
    stays: that is to be read."""
    return None if outcome["kind"] == CommandRepeated.kind else outcome


def _outcome(envelope: Envelope) -> dict[str, Any]:
    """What came of a command, for who waits for it: {status, kind, key, href, …ids} or {status, kind, key, problem}."""
    message = envelope.message
    outcome: dict[str, Any] = {
        "status": "refused" if isinstance(message, CommandRefused) else "done",
        "kind": message.kind,
        "key": envelope.key,
    }
    match message:
        case CommandRefused():
            outcome["problem"] = message.problem.model_dump(mode="json")
        case CommandRepeated():
            outcome |= {"href": message.href, **({"fact_id": message.fact_id} if message.fact_id else {})}
        case MerchantChanged():
            outcome["href"] = message.href or f"/v1/merchants/{message.merchant.merchant_id}"
        case ReportAccepted():
            outcome |= {"href": f"/v1/orders/{envelope.key}", "report_id": message.report.report_id}
        case FactRecorded():
            outcome |= {"href": f"/v1/orders/{envelope.key}", "fact_id": message.fact.fact_id}
        case CaseOpened():
            outcome |= {
                "href": f"/v1/cases/{message.case_id}",
                "report_id": message.report.report_id,
                "case_id": message.case_id,
            }
        case DecisionRuleChanged():
            outcome["href"] = f"/v1/decision-rules/{message.rule.rule_id}"
        case IssueRateChanged():
            outcome["href"] = f"/v1/merchants/{message.rate.merchant_id}/issue-rate"
        case BackTestDone():
            outcome["href"] = f"/v1/decision-rules/back-tests/{message.back_test_id}"
        case RolloutMade():
            outcome["href"] = f"/v1/rollouts/{message.rollout.rollout_id}"
        case MerchantOptedIn():
            outcome["href"] = f"/v1/rollouts/{message.rollout_id}"
        case OrderChanged():
            outcome |= {"href": f"/v1/cases/{message.case_id}", "case_id": message.case_id}
        case CaseEvent():
            outcome |= {
                "href": f"/v1/cases/{message.case_id}",
                "case_id": message.case_id,
                "version": message.case_version,
            }
            if isinstance(message, MessagePosted):
                outcome["message_id"] = message.message.message_id
        case _:
            outcome["href"] = f"/v1/orders/{envelope.key}"
    return outcome


def _with_order_event(state: Body, message: Message) -> Body:
    match message:
        case MerchantChanged():
            merchant = message.merchant.model_dump(mode="json")
            return {**state, "merchant": merchant, "desk": message.desk.model_dump(mode="json")}
        case IssueRateChanged():
            return {**state, "issue_rate": message.rate.model_dump(mode="json")}
        case RolloutMade() | MerchantOptedIn() | RolloutAnnounced():
            return _with_rollout(state, message)
        case DecisionRuleChanged():
            return {**state, "rules": _with_rule(state.get("rules", {}), message.rule)}
        case OrderRegistered():
            return {
                **state,
                "order": message.order.model_dump(mode="json"),
                "facts": [fact.model_dump(mode="json") for fact in message.facts],
                "standing": _json(message.standing),
            }
        case FactRecorded():
            facts = [*state.get("facts", []), message.fact.model_dump(mode="json")]
            return {**state, "facts": facts, "standing": _json(message.standing)}
        case ReportAccepted() | CheckInAsked() | OrderChanged():
            return {**state, "standing": _json(message.standing)}
        case _:
            return state


def _with_rule(rules: Mapping[str, list[Body]], rule: DecisionRule) -> dict[str, list[Body]]:
    """Every version of every rule, with one that is new or was withdrawn."""
    others = [known for known in rules.get(rule.rule_id, []) if known["version"] != rule.version]
    return {**rules, rule.rule_id: [*others, rule.model_dump(mode="json")]}


def _with_rollout(state: Body, message: RolloutMade | MerchantOptedIn | RolloutAnnounced) -> Body:
    """Every roll-out by its id, and by roll-out what merchants chose about it."""
    rollouts, opt_ins = state.get("rollouts", {}), state.get("opt_ins", {})
    match message:
        case RolloutMade(rollout=rollout):
            rollouts = {**rollouts, rollout.rollout_id: rollout.model_dump(mode="json")}
        case RolloutAnnounced(rollout_id=rollout_id):
            if rollout_id not in rollouts:
                raise LookupError(f"{rollout_id} was never made")
            announced = {**rollouts[rollout_id], "announced_at": format_moment(message.at)}
            rollouts = {**rollouts, rollout_id: announced}
        case MerchantOptedIn(rollout_id=rollout_id):
            chosen = message.model_dump(mode="json", include={"since", "at"})
            opt_ins = {**opt_ins, rollout_id: {**opt_ins.get(rollout_id, {}), message.merchant_id: chosen}}
    return {"rollouts": rollouts, "opt_ins": opt_ins}


def rollouts_of(body: Body) -> tuple[Rollout, ...]:
    """All roll-outs of the platform's table, in the order in which they were made."""
    return tuple(
        Rollout.model_validate(
            {
                **rollout,
                "merchants": rollout["merchants"] or (),
                "locales": rollout["locales"] or (),
                "opted_in": {merchant_id: each["since"] for merchant_id, each in body["opt_ins"].get(rollout_id, {}).items()},
            }
        )
        for rollout_id, rollout in body["rollouts"].items()
    )


def _tried(message: Message, forget_at: datetime) -> list[Append]:
    """A back-test's result and the parts of its decisions."""
    match message:
        case BackTestPart():
            kept = {"_id": f"{message.back_test_id}:{message.number}", **message.model_dump(include={"decisions"}, mode="json")}
        case BackTestDone():
            kept = {"_id": message.back_test_id, **message.model_dump(include={"tried", "result", "parts"}, mode="json")}
        case _:
            return []
    return [Append(BACK_TESTS, {**kept, "forget_at": forget_at})]


def _json(standing: Standing) -> dict[str, Any]:
    return standing.model_dump(mode="json")


def _with_case_event(state: Projected, event: CaseEvent) -> Projected:
    """The state after an event of a case. An event of cases may come before those of intake that it follows: then it brings the
    order, which nobody is shown without its standing."""
    rest, file = state.rest, evolve(state.file, event)
    if isinstance(event, CaseOpened):
        order = rest.get("order") or event.order.model_dump(mode="json")
        reports = {**rest.get("reports", {}), event.case_id: event.report.model_dump(mode="json")}
        rest = {**rest, "order": order, "reports": reports, "search": _searched(order)}
    elif isinstance(event, CaseMoved | MessagePosted) and (message := event.message) and not message.internal:
        rest = _with_attached(rest, event.case_id, [each.model_dump(mode="json") for each in message.evidence])
    return Projected(rest, file)


def _with_attached(rest: Body, case_id: str, evidence: Sequence[Body]) -> Body:
    """With what came to a case after its report, once each: what an internal remark brings is not the case's."""
    attached = rest.get("attached", {})
    known = {each["evidence_id"] for each in (*rest["reports"][case_id]["evidence"], *attached.get(case_id, ()))}
    new = [each for each in evidence if each["evidence_id"] not in known]
    return {**rest, "attached": {**attached, case_id: [*attached.get(case_id, ()), *new]}} if new else rest


def _of_cases(rest: Body, file: CaseFile) -> Body:
    """What a body says of its order's cases. The file leaves out the order, which stands beside it already."""
    cases = file.cases.values()
    latest = list(cases)[-1]
    return {
        "file": file.model_dump_json(exclude={"order"}),
        **{name: orjson.dumps(rest[name]).decode() for name in ("reports", "attached") if name in rest},
        "cases": [
            {
                "case_id": case.case_id,
                "state": case.state,
                "turn": case.turn,
                "programme": case.policy.programme,
                "version": case.policy.version,
                "reason": case.reason,
            }
            for case in cases
        ],
        "turns": sorted({case.turn for case in cases if case.turn is not None}),
        "states": sorted({case.state for case in cases}),
        "reported_at": format_moment(latest.opened_at),
    }


def _searched(order: Mapping[str, Any]) -> list[str]:
    """What a case is found by: the words of order number, buyer's e-mail and buyer's name, in lower case."""
    buyer = order["buyer"]
    number = order["order_number"].lower()
    return sorted({number, *number.split(), buyer["email"].lower(), *(buyer.get("name") or "").lower().split()})


def _kept(event: CaseEvent, envelope: Envelope) -> list[Append]:
    """The event in its case's history, and its message in the thread."""
    appends: list[Append] = []
    message: MessageDraft | None = event.message if isinstance(event, CaseMoved | MessagePosted) else None
    if event.seal is not None:
        data = event.model_dump(mode="json", exclude={"seal"})
        appends.append(
            Append(
                HISTORY,
                {
                    "_id": f"{event.case_id}:{event.seal.sequence}",
                    "case_id": event.case_id,
                    "sequence": event.seal.sequence,
                    "order_sequence": envelope.sequence,
                    "type": event.kind,
                    "at": data["at"],
                    "actor": data["actor"],
                    "data": data,
                    "salt": event.seal.salt,
                    "data_digest": event.seal.data_digest,
                    "previous_hash": event.seal.previous_hash,
                    "hash": event.seal.hash,
                    "version": event.case_version,
                    "visible_to": _readers(event, message),
                },
            )
        )
    if message is not None:
        appends.append(
            Append(
                MESSAGES,
                {
                    "_id": message.message_id,
                    "case_id": event.case_id,
                    "order_id": event.order_id,
                    "order_sequence": envelope.sequence,
                    **message.model_dump(mode="json"),
                },
            )
        )
    return appends


def _readers(event: CaseEvent, message: MessageDraft | None) -> list[str]:
    """Who may read an event's data: an internal remark is for its side, a notice for the party that it went to (it names the
    address) and the platform."""
    if message is not None:
        return list(message.visible_to)
    if isinstance(event, NoticeRecorded):
        return sorted({event.notice.party, "platform"})
    return _EVERYBODY
