"""One order as all services have it: whether they agree, and whether what must always hold of it does."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.programmes import Programmes
from recourse.verification.chain import broken_links
from recourse.verification.ledger import wrong_entries

__all__ = ["OrderView", "Violation", "check_order"]

_CLOSED = ("resolved", "rejected")
_STANDING = ("status", "protection", "payout", "open_cases", "cases", "version")
Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Violation:
    """An invariant that does not hold: which one, of what, and how it shows."""

    check: str
    of: str
    detail: str


@dataclass(frozen=True, slots=True)
class OrderView:
    """Everything the stores know about one order: intake's document, the gateway's read document, the case file, both copies
    of history and thread, and what the platform is to pay."""

    order_id: str
    intake: Document | None
    gateway: Document | None
    cases: Document | None
    history: Sequence[Document] = ()
    read_history: Sequence[Document] = ()
    messages: frozenset[str] = frozenset()
    read_messages: frozenset[str] = frozenset()
    payments: Sequence[Document] = ()


def check_order(view: OrderView, now: str, programmes: Programmes) -> Iterator[Violation]:
    """The invariants of one order at the moment `now` of the stack's clock (fixed-width text); `programmes` say in which states
    a case may wait for somebody outside."""
    if view.intake is None:
        yield Violation("no_order_lost", view.order_id, "another service knows it, intake does not")
        return
    if view.gateway is None:
        yield Violation("no_order_lost", view.order_id, "it has no read model")
        return
    for check, detail in (
        *_agreement(view.intake, view.gateway, view.cases),
        *_case_files(view.intake, view.gateway, view.cases, now, programmes),
        *_payments(view),
        *_histories(view),
    ):
        yield Violation(check, view.order_id, detail)


def _agreement(intake: Document, gateway: Document, cases: Document | None) -> Iterator[tuple[str, str]]:
    """What intake says and what readers are shown."""
    own, read = intake["body"], gateway["body"]
    for name in _STANDING:
        if own["standing"].get(name) != (read.get("standing") or {}).get(name):
            shown = (read.get("standing") or {}).get(name)
            yield "services_agree", f"{name} is {own['standing'].get(name)} in intake and shown as {shown}"
    if own["order"] != read.get("order"):
        yield "services_agree", "the order itself differs between intake and the read model"
    if own["facts"] != read.get("facts"):
        yield (
            "services_agree",
            f"intake has {len(own['facts'])} facts, {len(read.get('facts') or ())} are shown, or they differ",
        )
    for name, entries in (("fact_id", own["facts"]), ("report_id", own["reports"])):
        ids = [entry[name] for entry in entries]
        if len(ids) != len(set(ids)):
            yield "one_effect_per_command", f"a {name} stands twice: {ids}"
    if _seen(gateway, "intake") != intake["sequence"]:
        yield (
            "gapless_sequences",
            f"intake told {intake['sequence']} events, {_seen(gateway, 'intake')} were projected",
        )
    told = 0 if cases is None else cases["sequence"]
    if _seen(gateway, "cases") != told:
        yield "gapless_sequences", f"cases told {told} events, {_seen(gateway, 'cases')} were projected"
    # Intake need not take note of what does not concern the order; that it follows the cases shows in the order's standing.
    if _seen(intake, "cases") > told:
        yield "gapless_sequences", f"cases told {told} events, intake has read {_seen(intake, 'cases')}"


def _seen(document: Document, source: str) -> int:
    return document["seen"].get(source, 0)


def _case_files(
    intake: Document, gateway: Document, kept: Document | None, now: str, programmes: Programmes
) -> Iterator[tuple[str, str]]:
    """Cases, deadlines, payout and money."""
    own, read = intake["body"], gateway["body"]
    standing = own["standing"]
    file = {"cases": {}, "ledger": []} if kept is None else kept["body"]
    cases: Mapping[str, Document] = file["cases"]
    opened = [span["case_id"] for span in own["cases"]]
    if opened != list(cases) or list(standing["cases"]) != opened:
        yield "no_case_lost", f"intake opened {opened}, its standing names {list(standing['cases'])}, cases has {list(cases)}"
    running = {case_id for case_id, case in cases.items() if case["state"] not in _CLOSED}
    if {case["case_id"] for case in standing["open_cases"]} != running:
        yield "no_case_lost", f"open in intake: {standing['open_cases']}, open in cases: {sorted(running)}"
    if standing["payout"]["held"] != bool(running):
        yield "payout_held_iff_open", f"held is {standing['payout']['held']} with {len(running)} open cases"
    expected = "reported_problem" if running else "completed" if opened else "open"
    if standing["status"] != expected:
        yield "status_follows_cases", f"the order is {standing['status']} with {len(running)} open of {len(opened)} cases"
    for span in own["cases"]:
        if (span.get("closed_at") is None) != (span["case_id"] in running):
            yield "payout_held_iff_open", f"{span['case_id']} is open in one of intake and cases only"
    for case_id in sorted(running):
        yield from _deadlines(case_id, cases[case_id], now, programmes)
    for case_id, case in cases.items():
        if case_id not in running and (case["deadlines"] or case.get("turn") or not case.get("outcome")):
            yield "ended_is_ended", f"{case_id} has ended with deadlines, a turn or no outcome"
    for wrong in wrong_entries(own["order"]["amount"], file["ledger"], frozenset(running)):
        yield "ledger_sums", wrong
    if kept is not None:
        shown = read.get("file") or {}
        for name in ("cases", "ledger", "facts", "sequence"):
            if file.get(name) != shown.get(name):
                yield "services_agree", f"the case file's {name} differ between cases and the read model"


def _payments(view: OrderView) -> Iterator[tuple[str, str]]:
    """What the platform reserved is being paid, each decision once; what was paid stands in the ledger under its reference."""
    ledger = () if view.cases is None else view.cases["body"]["ledger"]
    settled = {entry.get("settles"): entry for entry in ledger}
    payments = {payment["_id"]: payment for payment in view.payments}
    for entry in ledger:
        if entry["kind"] != "reserved" or entry.get("executor") != "platform":
            continue
        payment, executed = payments.get(entry["decision_id"]), settled.get(entry["entry_id"])
        if payment is None:
            yield "refunds_paid_once", f"{entry['decision_id']} is reserved and nobody is to pay it"
        elif payment["order"]["amount"] != entry["amount"]:
            yield "refunds_paid_once", f"{payment['_id']} pays {payment['order']['amount']} for {entry['amount']}"
        elif executed is None and payment["state"] != "due":
            yield "refunds_paid_once", f"{payment['_id']} is {payment['state']}, the ledger has it reserved"
        elif executed is not None and not _told(payment, executed):
            yield "refunds_paid_once", f"{payment['_id']} is {payment['state']}, the ledger says otherwise: {executed}"


def _told(payment: Document, executed: Document) -> bool:
    """Whether the entry that settled a reservation says what became of its payment. What a fact says was paid by hand, or what
    the ledger has let go, may still wait for its next attempt, which then will not be made."""
    if executed["kind"] != "executed":
        return payment["state"] in ("due", "recalled", "executed")
    if executed.get("confirmed_by") == "fact":
        return True
    return payment["state"] == "executed" and payment.get("reference") == executed.get("reference")


def _deadlines(case_id: str, case: Document, now: str, programmes: Programmes) -> Iterator[tuple[str, str]]:
    turn = case.get("turn")
    if turn is None:
        policy = case["policy"]
        if not programmes.get(policy["programme"], policy["version"]).states[case["state"]].waits_for:
            yield "open_case_has_deadline", f"{case_id} in {case['state']} waits for nobody"
    elif turn != "platform" and not case["deadlines"]:
        yield "open_case_has_deadline", f"{case_id} in {case['state']} waits for {turn} without a deadline"
    for deadline in case["deadlines"]:
        if deadline["due_at"] < now:
            yield "no_deadline_missed", f"{case_id}: {deadline['kind']} was due at {deadline['due_at']}, now is {now}"


def _histories(view: OrderView) -> Iterator[tuple[str, str]]:
    """Both copies of each case's history, the numbers of the order's events, and the thread."""
    file = {"cases": {}, "sequence": 0} if view.cases is None else view.cases["body"]
    by_case: dict[str, list[Document]] = {}
    for event in view.history:
        by_case.setdefault(event["case_id"], []).append(event)
    read_by_case: dict[str, list[Document]] = {}
    for event in view.read_history:
        read_by_case.setdefault(event["case_id"], []).append(event)
    for case_id in {*by_case, *file["cases"], *read_by_case}:
        history = sorted(by_case.get(case_id, []), key=lambda event: event["sequence"])
        case = file["cases"].get(case_id)
        for wrong in broken_links(history):
            yield "hash_chain_whole", f"{case_id}: {wrong}"
        if case is None:
            yield "no_case_lost", f"{case_id} has a history and no file"
        elif len(history) != case["sequence"] or (history and history[-1]["hash"] != case["head"]):
            yield (
                "gapless_sequences",
                f"{case_id} is at event {case['sequence']}, its history has {len(history)} or ends otherwise",
            )
        shown = sorted(read_by_case.get(case_id, []), key=lambda event: event["sequence"])
        if [event["hash"] for event in shown] != [event["hash"] for event in history]:
            yield "services_agree", f"{case_id}: {len(history)} events of history, {len(shown)} shown, or they differ"
    numbers = sorted(event["order_sequence"] for event in view.history)
    if numbers != list(range(1, file["sequence"] + 1)):
        yield "gapless_sequences", f"events {numbers} of a file at {file['sequence']}"
    commands = [event["command_id"] for event in view.history if event.get("command_id")]
    for command_id in {command for command in commands if commands.count(command) > 1}:
        yield "one_effect_per_command", f"command {command_id} has {commands.count(command_id)} effects"
    if view.messages != view.read_messages:
        yield "services_agree", f"{len(view.messages)} messages, {len(view.read_messages)} shown, or they differ"
