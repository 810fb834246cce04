"""All parties, timers, payments, duplicates and stale commands at random, on cases of all programmes on one order; the
invariants hold."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from contracts.actors import Role
from contracts.cases import (
    CaseEvent,
    CaseMoved,
    ConfirmExecution,
    Deadline,
    DeadlineExtended,
    DeadlineReached,
    ExtendDeadline,
    LedgerEntry,
    NoticeRecorded,
    ReminderReached,
    RuleRef,
    TakeAction,
)
from contracts.ids import child_id
from contracts.outages import Outage, OutagesRecorded
from engine.casefile import CLOSED, Case, CaseFile, available_to, balance, executions, open_reservations
from engine.decide import Command, Refusal, at_time, decide, evolve
from engine.programmes import Programme, Programmes
from engine.protection import standing_with
from engine.views import explained_deadlines, open_cases_of, preview, refund_status
from tests.unit.engine.playing import LABELS, Play, actor, euros, evidence, standing

SHIPPED = Programmes.shipped()
ACTIONS = sorted({action for name in SHIPPED.known() for action in SHIPPED.versions(name)[-1].actions})
ROLES: tuple[Role, ...] = ("buyer", "merchant", "platform", "partner")
REASONS = (
    ("buyer-protection", "not_received"),
    ("buyer-protection", "no_refund"),
    ("buyer-protection", "other"),
    ("order-issues", "damaged"),
    ("order-issues", "late"),
    ("returns-desk", "complaint"),
    ("returns-desk", "other"),
    ("claims", "chargeback"),
)
CENT = Decimal("0.01")
ASIDE = {"note", "withdraw", "take_over", "reopen"}


def filled(schema: dict[str, Any], draw: Any) -> dict[str, Any]:
    """A form filled in within its schema."""
    properties, required = schema["properties"], set(schema["required"])
    fields: dict[str, Any] = {
        name: draw(st.sampled_from(field["enum"])) for name, field in properties.items() if "enum" in field
    }
    rules: dict[str, Any] = {}
    for each in schema.get("allOf", ()):
        if all(fields.get(name) in wanted["enum"] for name, wanted in each["if"]["properties"].items()):
            rules |= each["then"].get("properties", {})
            required |= set(each["then"].get("required", ()))
    for name, field in properties.items():
        if name in fields or rules.get(name) is False or "not" in field or (name not in required and draw(st.booleans())):
            continue
        if field.get("format") == "duration":
            fields[name] = draw(st.sampled_from([field["x-minimum"], "P3D", field["x-maximum"]]))
        elif "x-maximum" in field:
            fields[name] = amount_within({**field, **rules.get(name, {})}, draw)
        elif field["type"] == "array":
            fields[name] = [evidence("invoice:proof").evidence_id]
        else:
            fields[name] = "Some text"
    return fields


def amount_within(field: dict[str, Any], draw: Any) -> dict[str, str]:
    if "const" in field:
        return field["const"]
    least, most = Decimal(field["x-minimum"]["amount"]), Decimal(field["x-maximum"]["amount"])
    amount = draw(st.sampled_from([least, most]) | st.integers(int(least / CENT), int(most / CENT)).map(lambda n: n * CENT))
    return {"amount": f"{amount:.2f}", "currency": "EUR"}


def reference_of(payment: LedgerEntry) -> str:
    """The provider's name of a payment."""
    return f"pay {payment.decision_id}"


class Walk(RuleBasedStateMachine):
    """Each rule sends one command and compares the file before and after it."""

    play: Play

    @initialize(
        paid=st.sampled_from(["100.00", "0.01", "0.00", "49.90"]),
        country=st.sampled_from(["DE", "PL"]),
        origin=st.sampled_from(["registered", "registered", "reported"]),
        first=st.lists(st.sampled_from(REASONS), max_size=3, unique=True),
    )
    def order(self, paid: str, country: str, origin: Any, first: list[tuple[str, str]]) -> None:
        self.play = Play(paid=paid, country=country, labels=LABELS, origin=origin)
        self.paid: list[ConfirmExecution] = []
        self.rung: list[tuple[str, Deadline]] = []
        self.tried = 0
        self.decided_by_rules: set[str] = set()
        for what in first:
            self.reports(what, 5_000, 9)

    # Commands

    @rule(what=st.sampled_from(REASONS), cents=st.integers(0, 12_000), days=st.integers(-1, 20))
    def another_is_reported(self, what: tuple[str, str], cents: int, days: int) -> None:
        self.reports(what, cents, days)

    def reports(self, what: tuple[str, str], cents: int, days: int) -> None:
        """A report where intake would accept it; a claim names its amount and date, or does not."""
        file, (programme, reason) = self.play.file, what
        if file is None or (
            len(file.cases) < 5 and all((case.policy.programme, case.reason) != (programme, reason) for case in file.open_cases)
        ):
            before, told = self.before(), len(self.play.events)
            claim = {"amount": euros(f"{cents * CENT:.2f}"), "answer_by": self.play.now + timedelta(days=days)}
            claimed = programme == "claims" and days > 0
            self.play.report(reason, programme, "partner" if claimed else "buyer", **(claim if claimed else {}))
            self.check(before, self.play.events[told:])

    @precondition(lambda self: self.play.file)
    @rule(data=st.data())
    def acts_as_listed(self, data: st.DataObject) -> None:
        case_id, role = self.somebody(data)
        if listed := self.play.allowed(role, case_id):
            self.act(case_id, role, data.draw(st.sampled_from(sorted(listed))), data)

    @precondition(lambda self: self.play.file and self.play.file.open_cases)
    @rule(data=st.data())
    def goes_on(self, data: st.DataObject) -> None:
        """Whose turn it is does something that moves the case, some times over, so that walks also come far."""
        for _ in range(data.draw(st.integers(1, 4))):
            assert self.play.file is not None
            if not self.play.file.open_cases:
                return
            case = data.draw(st.sampled_from(self.play.file.open_cases))
            roles = [role for role in ROLES if set(self.play.allowed(role, case.case_id)) - ASIDE]
            if roles:
                role: Role = case.turn if case.turn in roles else data.draw(st.sampled_from(roles))  # type: ignore[assignment]
                actions = sorted(set(self.play.allowed(role, case.case_id)) - ASIDE)
                self.act(case.case_id, role, data.draw(st.sampled_from(actions)), data)

    def act(self, case_id: str, role: Role, action: str, data: st.DataObject) -> None:
        """A listed action, filled in within its schema, is accepted and does what its preview said."""
        assert self.play.file is not None
        fields = filled(self.play.allowed(role, case_id)[action].fields, data.draw)
        command = self.action(case_id, role, action, fields)
        seen = preview(self.play.file, command, self.play.now, self.play.programmes, standing(), record=self.play.record)
        decided = self.send(command)
        assert isinstance(decided, list), (action, command.fields, decided)
        assert not isinstance(seen, Refusal)
        case = self.play.file.cases[case_id]
        assert (seen.state, seen.turn, seen.outcome) == (case.state, case.turn, case.outcome)
        assert seen.payout.held == bool(self.play.file.open_cases)
        assert str(seen.money.refundable.amount) == self.play.money[2]

    @precondition(lambda self: self.play.file)
    @rule(data=st.data(), action=st.sampled_from(ACTIONS))
    def acts_as_not_listed(self, data: st.DataObject, action: str) -> None:
        case_id, role = self.somebody(data)
        policy = self.policy(self.play.file.cases[case_id])  # type: ignore[union-attr]
        if action in policy.actions and action not in self.play.allowed(role, case_id):
            decided = self.send(self.action(case_id, role, action, {"message": "Let me"}))
            assert isinstance(decided, Refusal)
            assert decided.problem.status == (409 if role in policy.actions[action].by else 403)
            if decided.problem.status == 409:
                assert set(decided.problem.extra["allowed_actions"]) == set(self.play.allowed(role, case_id))

    @precondition(lambda self: self.play.file)
    @rule(data=st.data(), over=st.sampled_from(["0.01", "1000.00"]))
    def asks_for_more_than_there_is(self, data: st.DataObject, over: str) -> None:
        case_id, role = self.somebody(data)
        for action, listed in self.play.allowed(role, case_id).items():
            most = listed.fields["properties"].get("refund_amount", {}).get("x-maximum")
            if most:
                fields = {
                    **{name: field["enum"][0] for name, field in listed.fields["properties"].items() if "enum" in field},
                    "message": "More",
                    "refund_amount": {"amount": str(Decimal(most["amount"]) + Decimal(over)), "currency": "EUR"},
                }
                decided = self.send(self.action(case_id, role, action, fields))
                assert isinstance(decided, Refusal)
                assert [error.pointer for error in decided.problem.errors] == ["/refund_amount"]

    @precondition(lambda self: self.play.file)
    @rule(data=st.data())
    def acts_on_what_has_changed(self, data: st.DataObject) -> None:
        case_id, role = self.somebody(data)
        listed = self.play.allowed(role, case_id)
        if listed and self.play.file:
            action = sorted(listed)[0]
            command = self.action(case_id, role, action, filled(listed[action].fields, data.draw))
            stale = at_time(self.play.file, self.play.now, self.play.programmes, self.play.record).cases[case_id].version + 1
            decided = self.send(command.model_copy(update={"if_match": stale}))
            assert isinstance(decided, Refusal)
            assert decided.problem.status == 412

    @precondition(lambda self: self.play.file)
    @rule(data=st.data())
    def writes(self, data: st.DataObject) -> None:
        case_id, role = self.somebody(data)
        before = self.before()
        decided = self.play.write(role, case=case_id)
        assert isinstance(decided, list) == (role != "partner")
        self.check(before, decided)

    @rule(hours=st.sampled_from([1, 5, 23, 24, 48, 24 * 6, 24 * 21]))
    def waits(self, hours: int) -> None:
        self.play.now += timedelta(hours=hours)

    @precondition(lambda self: self.play.file and any(case.deadlines for case in self.play.file.cases.values()))
    @rule(data=st.data(), early=st.booleans())
    def timer_rings(self, data: st.DataObject, early: bool) -> None:
        assert self.play.file is not None
        standing_ones = [(case.case_id, each) for case in self.play.file.cases.values() for each in case.deadlines]
        case_id, deadline = data.draw(st.sampled_from(standing_ones))
        if not early:
            self.play.now = max(self.play.now, deadline.due_at)
        assert self.passes(self.ring(case_id, deadline), deadline) == (self.play.now >= deadline.due_at)
        self.rung.append((case_id, deadline))

    @precondition(lambda self: self.rung)
    @rule(data=st.data())
    def timer_rings_again(self, data: st.DataObject) -> None:
        case_id, deadline = data.draw(st.sampled_from(self.rung))
        assert self.play.file is not None
        fences = {(each.deadline_id, each.generation) for each in self.play.file.cases[case_id].deadlines}
        stands = (deadline.deadline_id, deadline.generation) in fences
        rings = self.ring(case_id, deadline)
        assert self.passes(rings, deadline) == (stands and self.play.now >= deadline.due_at)

    @precondition(lambda self: self.play.file)
    @rule(data=st.data())
    def reminds(self, data: st.DataObject) -> None:
        assert self.play.file is not None
        for case in self.play.file.cases.values():
            for deadline in case.deadlines:
                for moment in deadline.remind_at:
                    if data.draw(st.booleans()):
                        command = ReminderReached(
                            case_id=case.case_id,
                            deadline_id=deadline.deadline_id,
                            generation=deadline.generation,
                            remind_at=moment,
                        )
                        self.send(command)
                        assert self.send(command) == [] or moment > self.play.now

    @rule(
        kind=st.sampled_from(["returned", "shipped", "refunded", "refunded"]), cents=st.integers(1, 6000), again=st.booleans()
    )
    def fact_is_told(self, kind: Any, cents: int, again: bool) -> None:
        self.tried += 1
        fact_id = child_id("fct", self.play.order.order_id, str(self.tried))
        before = self.before()
        amount = f"{cents * CENT:.2f}" if kind == "refunded" else None
        self.check(before, self.play.fact(kind, amount, fact_id))
        if again:
            file = self.play.file
            assert self.play.fact(kind, amount, fact_id) == []
            assert self.play.file == file

    @precondition(lambda self: self.payments())
    @rule(data=st.data(), cents=st.none() | st.integers(1, 6000))
    def fact_tells_of_the_provider_s_payment(self, data: st.DataObject, cents: int | None) -> None:
        """Before its confirmation or after it, mostly of just its amount."""
        entry = data.draw(st.sampled_from(self.payments()))
        before = self.before()
        amount = str(entry.amount.amount) if cents is None else f"{cents * CENT:.2f}"
        self.check(before, self.play.fact("refunded", amount, external_id=reference_of(entry)))

    @precondition(lambda self: self.payments())
    @rule(data=st.data())
    def refund_is_paid_by_hand(self, data: st.DataObject) -> None:
        """Whatever the provider is doing about it."""
        entry = data.draw(st.sampled_from(self.payments()))
        before = self.before()
        self.check(before, self.play.fact("refunded", str(entry.amount.amount), role="platform", external_id=entry.decision_id))
        assert entry not in self.due()

    @precondition(lambda self: self.play.file)
    @rule(data=st.data(), state=st.sampled_from(["sent", "failed", "delayed"]))
    def notice_is_told(self, data: st.DataObject, state: Any) -> None:
        assert self.play.file is not None
        case = data.draw(st.sampled_from(list(self.play.file.cases.values())))
        deadline = data.draw(st.sampled_from([None, *case.deadlines]))
        before = self.before()
        party = deadline.party if deadline else "buyer"
        decided = self.play.notice(deadline.deadline_id if deadline else None, state, party, case.case_id)
        self.check(before, decided)
        again = self.play.file.cases[case.case_id]
        for each in again.deadlines:
            assert sum(extension.reason == "bounce" for extension in each.extended_by) <= 1

    @rule(hours=st.sampled_from([None, 0, 1, 30, 24 * 8]))
    def record_falls_behind(self, hours: int | None) -> None:
        """Who records outages has been away for so long; or it is there, and nothing waits for it any more."""
        complete = None if hours is None else self.play.now - timedelta(hours=hours)
        known = self.play.record.outages
        self.play.record = OutagesRecorded(outages=known, complete_until=complete)

    @rule(hours=st.integers(1, 24 * 9))
    def outage_is_recorded(self, hours: int) -> None:
        """One that ends now, which nobody tells the cases of: they find it in the record."""
        number = len(self.play.record.outages)
        lost_from = self.play.now - timedelta(hours=hours)
        outage = Outage(outage_id=f"recorded {number}", lost_from=lost_from, lost_until=self.play.now)
        self.play.record = OutagesRecorded(outages=(*self.play.record.outages, outage), complete_until=self.play.now)

    @precondition(lambda self: self.play.file and self.play.file.open_cases)
    @rule(data=st.data(), began=st.integers(0, 24 * 9), hours=st.integers(1, 24 * 9), cause=st.sampled_from("abc"))
    def time_is_lost(self, data: st.DataObject, began: int, hours: int, cause: str) -> None:
        """An outage that ended just now; the same again changes nothing."""
        assert self.play.file is not None
        case = data.draw(st.sampled_from(self.play.file.open_cases))
        lost_from = self.play.now - timedelta(hours=began + hours)
        command = ExtendDeadline(
            case_id=case.case_id, reason="outage", cause_id=cause, lost_from=lost_from, lost_until=self.play.now
        )
        due = {each.deadline_id: each.due_at for each in case.deadlines}
        decided = self.send(command)
        assert isinstance(decided, list)
        assert self.send(command) == []
        complete = self.play.record.complete_until
        if decided and complete in (None, self.play.now):
            for each in self.play.file.cases[case.case_id].deadlines:
                assert self.play.now < each.due_at
                assert (
                    self.play.record.outages
                    or not due.get(each.deadline_id)
                    or any(extension.cause_id == "untold" for extension in each.extended_by)  # which is reckoned anew
                    or each.due_at - due[each.deadline_id] <= timedelta(hours=began + hours)
                )

    @precondition(lambda self: self.play.file and self.play.file.open_cases)
    @rule(data=st.data())
    def rule_decides(self, data: st.DataObject) -> None:
        """An automatic decision, wherever a programme has one: in any open state, once."""
        assert self.play.file is not None
        case = data.draw(
            st.sampled_from(
                at_time(self.play.file, self.play.now, self.play.programmes, self.play.record).open_cases or (None,)
            )
        )
        if case is None or "system" not in getattr(self.policy(case).actions.get("decide"), "by", ()):
            return
        command = self.action(case.case_id, "system", "decide", {"outcome": "refund", "message": "By a rule"})
        assert isinstance(self.send(command), Refusal)
        named = command.model_copy(update={"decided_by": RuleRef(rule_id="rule", version=1)})
        then = at_time(self.play.file, self.play.now, self.play.programmes, self.play.record)
        if not available_to(then, case.case_id).amount or self.asked_elsewhere(then, case.case_id):
            assert isinstance(self.send(named), Refusal)
            return
        assert isinstance(self.send(named), list)
        assert self.play.file.cases[case.case_id].outcome == "decided_refund"
        self.decided_by_rules.add(case.case_id)
        # Whatever others may still take by what they ask for now: together it is never more than was paid.
        sums = balance(self.play.order.amount, self.play.file.ledger)
        asked = self.asked_elsewhere(self.play.file, case.case_id)
        flagged = any("over_refund" in entry.flags for entry in self.play.file.ledger)
        assert flagged or sums.reserved.amount + sums.executed.amount + asked <= sums.paid.amount
        assert isinstance(self.send(named), Refusal)

    @precondition(lambda self: self.payments())
    @rule(data=st.data())
    def refund_is_paid(self, data: st.DataObject) -> None:
        """Also one that was let go, or paid by hand, while the provider was at it: that is told of and flagged."""
        assert self.play.file is not None
        entry = data.draw(st.sampled_from(self.payments()))
        stood = entry in self.due()
        command = ConfirmExecution(
            case_id=entry.case_id or "", decision_id=entry.decision_id or "", reference=reference_of(entry), at=self.play.now
        )
        told = self.send(command)
        if not any(each.decision_id == entry.decision_id for each in self.paid):
            assert isinstance(told, list)
            (paid,) = [each for each in told[-1].change.ledger if each.reference]  # type: ignore[attr-defined]
            assert (paid.amount, bool(paid.settles), bool(paid.flags)) == (entry.amount, stood, not stood)
        self.paid.append(command)

    @precondition(lambda self: self.paid)
    @rule(data=st.data())
    def refund_is_told_again(self, data: st.DataObject) -> None:
        before = self.play.file.ledger if self.play.file else ()
        self.send(data.draw(st.sampled_from(self.paid)))
        executed = [entry for entry in self.play.file.ledger[len(before) :] if entry.kind == "executed"]  # type: ignore[union-attr]
        assert not any(entry.confirmed_by == "provider" and entry.executor == "platform" for entry in executed)

    # Helpers

    def asked_elsewhere(self, file: CaseFile, case_id: str) -> Decimal:
        """What other cases of the order ask for that neither flowed nor is promised: claims, as long as their outcome is to
        come from the provider, and proposals that stand."""
        asked = Decimal(0)
        for case in file.cases.values():
            if case.case_id == case_id:
                continue
            own = refund_status(file, case.case_id).executed.amount
            own += sum(entry.amount.amount for entry in open_reservations(file.ledger) if entry.case_id == case.case_id)
            waits = case.is_open or (case.outcome == "withdrawn" and "outcome_recorded" not in case.marks)
            if case.policy.programme == "claims" and waits:
                asked += max((case.claimed or file.order.amount).amount - own, Decimal(0))
            elif case.is_open and case.proposal is not None:
                asked += max(case.proposal.refund_amount.amount - own, Decimal(0))
        return asked

    def policy(self, case: Case) -> Programme:
        return SHIPPED.get(case.policy.programme, case.policy.version)

    def payments(self) -> list[LedgerEntry]:
        """What the platform was to pay at any time."""
        ledger = self.play.file.ledger if self.play.file else ()
        return [entry for entry in ledger if (entry.kind, entry.executor) == ("reserved", "platform")]

    def due(self) -> list[Any]:
        """What the platform is to pay."""
        file = self.play.file
        return [entry for entry in open_reservations(file.ledger) if entry.executor == "platform"] if file else []

    def somebody(self, data: st.DataObject) -> tuple[str, Role]:
        assert self.play.file is not None
        return data.draw(st.sampled_from(list(self.play.file.cases))), data.draw(st.sampled_from(ROLES))

    def action(self, case_id: str, role: Role, action: str, fields: dict[str, Any]) -> TakeAction:
        return TakeAction(
            case_id=case_id,
            action=action,
            fields=fields,
            evidence=(evidence("invoice:proof"),),
            labels=LABELS,
            actor=actor(role),
        )

    def ring(self, case_id: str, deadline: Deadline) -> list[CaseEvent]:
        decided = self.send(
            DeadlineReached(
                case_id=case_id, deadline_id=deadline.deadline_id, generation=deadline.generation, due_at=deadline.due_at
            )
        )
        assert isinstance(decided, list)
        return decided

    def passes(self, decided: list[CaseEvent], deadline: Deadline) -> bool:
        """Whether a deadline ended by these events, or got time back that was lost by the record; a timer that comes too early
        may still wake others."""
        changes = [each.change for each in decided if hasattr(each, "change")]  # type: ignore[attr-defined]
        ended = (ended.deadline_id for change in changes for ended in change.deadlines_ended)
        longer = (
            longer.deadline_id for each in decided if isinstance(each, DeadlineExtended) for longer in each.change.deadlines_set
        )
        return deadline.deadline_id in {*ended, *longer}

    def before(self) -> CaseFile | None:
        return self.play.file

    def send(self, command: Command) -> list[CaseEvent] | Refusal:
        before = self.before()
        command_id = f"command {self.play.commands}"
        decided = self.play.send(command, command_id)
        self.check(before, decided)
        # the same command at the same file makes the same events: what a crash repeats is no second effect
        assert decide(before, command, self.play.now, command_id, self.play.programmes, self.play.record) == decided
        return decided

    def check(self, before: CaseFile | None, decided: list[CaseEvent] | Refusal) -> None:
        after = self.play.file
        if isinstance(decided, Refusal) or not decided:
            assert after == before
            return
        assert after is not None
        for case in before.cases.values() if before else ():
            own = [event for event in decided if event.case_id == case.case_id]
            reopened = any(isinstance(event, CaseMoved) and event.change.reopened for event in own)
            if not case.is_open and not reopened:
                assert (after.cases[case.case_id].state, after.cases[case.case_id].outcome) == (case.state, case.outcome)
            seen = [event for event in own if event.case_version > case.version]
            assert after.cases[case.case_id].version <= case.version + len(seen)
            assert after.cases[case.case_id].sequence == case.sequence + len(own)
            assert all(
                event.case_version == case.version + bool(event.change.deadlines_set)
                for event in own[:1]
                if isinstance(event, NoticeRecorded)
            )
        if before is not None:
            assert after.ledger[: len(before.ledger)] == before.ledger
            assert after.at >= before.at
        assert [event.at for event in decided] == sorted(event.at for event in decided)

    # Invariants

    @invariant()
    def money_is_whole(self) -> None:
        if getattr(self, "play", None) is None or self.play.file is None:
            return
        ledger = self.play.file.ledger
        sums = balance(self.play.order.amount, ledger)
        flagged = any("over_refund" in entry.flags for entry in executions(ledger))
        assert flagged or sums.reserved.amount + sums.executed.amount <= sums.paid.amount
        settled = [entry.settles for entry in ledger if entry.settles]
        assert len(settled) == len(set(settled))
        reserved = {entry.entry_id: entry for entry in ledger if entry.kind == "reserved"}
        executed = {entry.entry_id: entry for entry in ledger if entry.kind == "executed"}
        assert set(settled) <= set(reserved) | set(executed)
        assert all(entry.kind == "released" for entry in ledger if entry.settles in executed)
        # A merchant may keep its word in parts; what was paid by hand the provider may have paid as well.
        decisions = [
            (entry.decision_id, entry.confirmed_by)
            for entry in ledger
            if entry.kind == "executed" and entry.decision_id and entry.executor != "merchant"
        ]
        assert len(decisions) == len(set(decisions))
        for decision_id, _ in decisions:
            twice = [entry for entry in executions(ledger) if entry.decision_id == decision_id]
            assert len(twice) == 1 or any(entry.flags for entry in twice)
        assert len({entry.entry_id for entry in ledger}) == len(ledger)
        assert all(entry.amount > euros(0) for entry in ledger)
        assert all(entry.amount <= (reserved | executed)[entry.settles].amount for entry in ledger if entry.settles)

    @invariant()
    def a_payment_is_counted_once_whoever_told_of_it_first(self) -> None:
        if getattr(self, "play", None) is None or self.play.file is None:
            return
        payments = {command.reference for command in self.paid}
        told = {fact.fact_id for fact in self.play.file.facts if fact.external_id in payments}
        assert not any(entry.fact_id in told for entry in executions(self.play.file.ledger))

    @invariant()
    def the_platform_pays_nothing_of_an_order_that_it_has_never_seen(self) -> None:
        if getattr(self, "play", None) is None or self.play.file is None or self.play.order.origin == "registered":
            return
        assert all(entry.executor != "platform" for entry in self.play.file.ledger)
        assert not any(event.change.refund_due for event in self.play.events if hasattr(event, "change"))  # type: ignore[attr-defined]
        for case_id in self.play.file.cases:
            for role in ROLES:
                for action in self.play.allowed(role, case_id).values():
                    assert action.fields["properties"].get("refund_amount", {}).get("x-executor") != "platform"

    @invariant()
    def no_rule_decides_too_much(self) -> None:
        """What a rule has decided adds to no excess: what flows without it and is flagged came later, or by another's word."""
        if getattr(self, "play", None) is None or self.play.file is None:
            return
        ledger = self.play.file.ledger
        before: list[Any] = []
        for entry in ledger:
            if entry.case_id in self.decided_by_rules and entry.kind == "reserved":
                sums = balance(self.play.order.amount, (*before, entry))
                known = any("over_refund" in each.flags for each in before)
                assert known or sums.reserved.amount + sums.executed.amount <= sums.paid.amount
            before.append(entry)

    @invariant()
    def what_is_shown_agrees_with_the_ledger(self) -> None:
        """How each refund stands, reckoned once more from the bare entries."""
        if getattr(self, "play", None) is None or self.play.file is None:
            return
        file, undone = self.play.file, {entry.settles for entry in self.play.file.ledger if entry.kind == "released"}
        kept = {entry.settles for entry in file.ledger if entry.kind == "executed"}
        for case_id, case in file.cases.items():
            shown = refund_status(file, case_id)
            own = [entry for entry in file.ledger if entry.case_id == case_id and entry.entry_id not in undone]
            flowed = [entry for entry in own if entry.kind == "executed"]
            stands = [*flowed, *(entry for entry in own if entry.kind == "reserved" and entry.entry_id not in kept)]
            assert shown.executed == sum((entry.amount for entry in flowed), euros(0))
            decided = [entry.amount for entry in stands if entry.decision_id]
            assert shown.decided == (sum(decided, euros(0)) if decided or shown.decided is not None else None)
            assert all(entry.decision_id for entry in own if entry.executor != "merchant")
            if not case.is_open:
                whole = case.outcome in ("refunded", "decided_refund")
                assert (shown.variant == "none") == (not stands and not whole)
                assert not whole or shown.variant == "full"
                assert shown.decided is not None or not any(entry.executor != "merchant" for entry in stands)
            elif case.answer is None:
                assert shown.variant is None

    @invariant()
    def every_open_case_goes_on(self) -> None:
        if getattr(self, "play", None) is None or self.play.file is None:
            return
        file = self.play.file
        for case in file.cases.values():
            if case.is_open:
                outside = self.policy(case).states[case.state].waits_for
                assert case.deadlines or case.turn == "platform" or (case.turn is None and outside)
                assert case.outcome is None
                assert case.closed_at is None
                told = explained_deadlines(file, case.case_id, self.play.programmes)
                assert {each.deadline_id for each in told} == {each.deadline_id for each in case.deadlines}
                assert all(each.on_silence.text and "{" not in each.on_silence.text for each in told)
            else:
                assert (case.deadlines, case.turn, case.proposal, case.label) == ((), None, None, None)
                assert case.outcome is not None
                assert case.closed_at is not None
                # What was decided is on its way, or its merchant has yet to show that it paid.
                own = [entry for entry in open_reservations(file.ledger) if entry.case_id == case.case_id]
                assert all(entry.decision_id for entry in own)
                assert all(
                    entry.executor == "platform" or case.outcome == "accepted" or file.order.origin == "reported"
                    for entry in own
                )
        assert standing_with(standing(), open_cases_of(file)).payout.held == any(
            case.state not in CLOSED for case in file.cases.values()
        )

    def teardown(self) -> None:
        """The file can be made again from its events alone, as they are stored."""
        if getattr(self, "play", None) is None or self.play.file is None:
            return
        self.play.pay()
        assert not self.due()
        again: CaseFile | None = None
        for event in self.play.events:
            again = evolve(again, type(event).model_validate_json(event.model_dump_json()))
        assert again == self.play.file
        assert CaseFile.model_validate_json(self.play.file.model_dump_json()) == self.play.file
        assert self.play.file.sequence == len(self.play.events)


Walk.TestCase.settings = settings(
    max_examples=40,
    stateful_step_count=45,
    deadline=None,
    derandomize=True,
    report_multiple_bugs=False,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestWalk = Walk.TestCase
