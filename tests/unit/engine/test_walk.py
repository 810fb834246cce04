"""All parties, timers, duplicates and stale commands at random, on several cases of one order; the invariants hold."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from contracts.actors import Role
from contracts.cases import CaseEvent, CaseMoved, Deadline, DeadlineReached, NoticeRecorded, ReminderReached, TakeAction
from contracts.ids import child_id
from engine.casefile import CLOSED, CaseFile, balance
from engine.decide import Command, Refusal, at_time, decide, evolve
from engine.programmes import Programmes
from engine.protection import standing_with
from engine.views import explained_deadlines, open_cases_of, preview
from tests.unit.engine.playing import Play, actor, euros, evidence, standing

POLICY = Programmes.shipped().get("buyer-protection", 2)
ACTIONS = sorted(POLICY.actions)
ROLES: tuple[Role, ...] = ("buyer", "merchant", "platform", "partner")
REASONS = ("not_received", "no_refund", "other")
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
        if name in fields or rules.get(name) is False or (name not in required and draw(st.booleans())):
            continue
        if field.get("format") == "duration":
            fields[name] = draw(st.sampled_from([field["x-minimum"], "P3D", field["x-maximum"]]))
        elif "x-maximum" in field:
            fields[name] = amount_within({**field, **rules.get(name, {})}, draw)
        elif field["type"] == "array":
            fields[name] = [evidence("proof").evidence_id]
        else:
            fields[name] = "Some text"
    return fields


def amount_within(field: dict[str, Any], draw: Any) -> dict[str, str]:
    if "const" in field:
        return field["const"]
    least, most = Decimal(field["x-minimum"]["amount"]), Decimal(field["x-maximum"]["amount"])
    amount = draw(st.sampled_from([least, most]) | st.integers(int(least / CENT), int(most / CENT)).map(lambda n: n * CENT))
    return {"amount": f"{amount:.2f}", "currency": "EUR"}


class Walk(RuleBasedStateMachine):
    """Each rule sends one command and compares the file before and after it."""

    play: Play

    @initialize(paid=st.sampled_from(["100.00", "0.01", "0.00", "49.90"]))
    def order(self, paid: str) -> None:
        self.play = Play(paid=paid)
        self.rung: list[tuple[str, Deadline]] = []
        self.tried = 0

    # Commands

    @rule(reason=st.sampled_from(REASONS))
    def reports(self, reason: str) -> None:
        file = self.play.file
        if file is None or (len(file.cases) < 4 and all(case.reason != reason for case in file.open_cases)):
            before, told = self.before(), len(self.play.events)
            self.play.report(reason)
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
        """Whose turn it is does something that moves the case, so that walks also come far."""
        assert self.play.file is not None
        case = data.draw(st.sampled_from(self.play.file.open_cases))
        roles = [role for role in ROLES if set(self.play.allowed(role, case.case_id)) - ASIDE]
        if roles:
            role = case.turn if case.turn in roles else data.draw(st.sampled_from(roles))
            actions = sorted(set(self.play.allowed(role, case.case_id)) - ASIDE)
            self.act(case.case_id, role, data.draw(st.sampled_from(actions)), data)

    def act(self, case_id: str, role: Role, action: str, data: st.DataObject) -> None:
        """A listed action, filled in within its schema, is accepted and does what its preview said."""
        assert self.play.file is not None
        fields = filled(self.play.allowed(role, case_id)[action].fields, data.draw)
        command = self.action(case_id, role, action, fields)
        seen = preview(self.play.file, command, self.play.now, self.play.programmes, standing())
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
        if action not in self.play.allowed(role, case_id):
            decided = self.send(self.action(case_id, role, action, {"message": "Let me"}))
            assert isinstance(decided, Refusal)
            assert decided.problem.status == (409 if role in POLICY.actions[action].by else 403)
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
            stale = at_time(self.play.file, self.play.now, self.play.programmes).cases[case_id].version + 1
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
        rings = self.ring(case_id, deadline)
        assert bool(rings) == (self.play.now >= deadline.due_at)
        self.rung.append((case_id, deadline))

    @precondition(lambda self: self.rung)
    @rule(data=st.data())
    def timer_rings_again(self, data: st.DataObject) -> None:
        case_id, deadline = data.draw(st.sampled_from(self.rung))
        assert self.play.file is not None
        stands = deadline.deadline_id in {each.deadline_id for each in self.play.file.cases[case_id].deadlines}
        rings = self.ring(case_id, deadline)
        assert bool(rings) == (stands and self.play.now >= deadline.due_at)

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

    @precondition(lambda self: self.play.file)
    @rule()
    def notice_is_told(self) -> None:
        before = self.before()
        self.check(before, self.play.notice())

    # Helpers

    def somebody(self, data: st.DataObject) -> tuple[str, Role]:
        assert self.play.file is not None
        return data.draw(st.sampled_from(list(self.play.file.cases))), data.draw(st.sampled_from(ROLES))

    def action(self, case_id: str, role: Role, action: str, fields: dict[str, Any]) -> TakeAction:
        return TakeAction(case_id=case_id, action=action, fields=fields, evidence=(evidence("proof"),), actor=actor(role))

    def ring(self, case_id: str, deadline: Deadline) -> list[CaseEvent]:
        decided = self.send(
            DeadlineReached(
                case_id=case_id, deadline_id=deadline.deadline_id, generation=deadline.generation, due_at=deadline.due_at
            )
        )
        assert isinstance(decided, list)
        return decided

    def before(self) -> CaseFile | None:
        return self.play.file

    def send(self, command: Command) -> list[CaseEvent] | Refusal:
        before = self.before()
        command_id = f"command {self.play.commands}"
        decided = self.play.send(command, command_id)
        self.check(before, decided)
        # the same command at the same file makes the same events: what a crash repeats is no second effect
        assert decide(before, command, self.play.now, command_id, self.play.programmes) == decided
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
            assert all(event.case_version == case.version for event in own[:1] if isinstance(event, NoticeRecorded))
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
        flagged = any("over_refund" in entry.flags for entry in ledger)
        assert flagged or sums.reserved.amount + sums.executed.amount <= sums.paid.amount
        settled = [entry.settles for entry in ledger if entry.settles]
        assert len(settled) == len(set(settled))
        reserved = {entry.entry_id: entry for entry in ledger if entry.kind == "reserved"}
        assert set(settled) <= set(reserved)
        assert len({entry.entry_id for entry in ledger}) == len(ledger)
        assert all(entry.amount > euros(0) for entry in ledger)
        assert all(entry.amount <= reserved[entry.settles].amount for entry in ledger if entry.settles)

    @invariant()
    def every_open_case_goes_on(self) -> None:
        if getattr(self, "play", None) is None or self.play.file is None:
            return
        file = self.play.file
        for case in file.cases.values():
            if case.is_open:
                assert case.deadlines or case.turn == "platform"
                assert case.outcome is None
                assert case.closed_at is None
                told = explained_deadlines(file, case.case_id, self.play.programmes)
                assert {each.deadline_id for each in told} == {each.deadline_id for each in case.deadlines}
                assert all(each.on_silence.text and "{" not in each.on_silence.text for each in told)
            else:
                assert (case.deadlines, case.turn, case.proposal) == ((), None, None)
                assert case.outcome is not None
                assert case.closed_at is not None
                held = {entry.settles for entry in file.ledger}
                own = [entry for entry in file.ledger if entry.case_id == case.case_id and entry.kind == "reserved"]
                assert all(entry.entry_id in held for entry in own)
        assert standing_with(standing(), open_cases_of(file)).payout.held == any(
            case.state not in CLOSED for case in file.cases.values()
        )

    def teardown(self) -> None:
        """The file can be made again from its events alone, as they are stored."""
        if getattr(self, "play", None) is None or self.play.file is None:
            return
        again: CaseFile | None = None
        for event in self.play.events:
            again = evolve(again, type(event).model_validate_json(event.model_dump_json()))
        assert again == self.play.file
        assert CaseFile.model_validate_json(self.play.file.model_dump_json()) == self.play.file
        assert self.play.file.sequence == len(self.play.events)


Walk.TestCase.settings = settings(
    max_examples=150,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestWalk = Walk.TestCase
