"""Lost time, money that turns out not to have flowed, rules that decide, roll-outs: what every programme can use."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from contracts.cases import ConfirmExecution, DeadlineExtended, ExtendDeadline, NoticeRecorded, Rollout, RuleRef, TakeAction
from engine.notices import told_of
from engine.programmes import Programmes
from engine.views import explained_deadlines, preview
from tests.unit.engine.playing import Play, actor, euros, problem

DAY = timedelta(days=1)
SHIPPED = Programmes.shipped()


def reported(**more: Any) -> Play:
    play = Play(**more)
    play.report()
    return play


def lose(play: Play, since: datetime, until: datetime, cause: str = "outage-1", deadline_id: str | None = None) -> Any:
    command = ExtendDeadline(
        case_id=play.case.case_id,
        deadline_id=deadline_id,
        reason="outage",
        cause_id=cause,
        lost_from=since,
        lost_until=until,
    )
    return play.send(command)


@pytest.mark.rule("NX-08")
def test_an_outage_is_added_to_what_ran_in_it_and_fences_the_old_timer() -> None:
    play = reported()
    before = play.deadline("merchant_answer")
    version = play.case.version
    play.wait("P3DT1H")
    (reminded, event) = lose(play, play.now - 2 * DAY, play.now)
    assert isinstance(event, DeadlineExtended)
    after = play.deadline("merchant_answer")
    assert (after.deadline_id, after.generation, after.due_at) == (before.deadline_id, 2, before.due_at + 2 * DAY)
    assert event.change.deadlines_set == (after,)
    assert reminded.at == before.remind_at[0]
    assert play.case.version == version + 1
    (told,) = explained_deadlines(play.file, play.case.case_id, SHIPPED)  # type: ignore[arg-type]
    assert [each.model_dump() for each in told.extended_by] == [{"reason": "outage", "duration": "P2D"}]
    assert (told.on_silence.state, told.policy.version) == ("under_review", 2)
    assert play.wake(before) == []
    assert play.case.state == "submitted"
    play.wake(after)
    assert play.case.state == "under_review"


@pytest.mark.rule("NX-08")
def test_only_the_part_that_a_deadline_ran_counts_and_each_outage_once() -> None:
    play = reported()
    before = play.deadline("merchant_answer")
    opened = play.now
    play.wait("P1D")
    lose(play, opened - 5 * DAY, opened + timedelta(hours=6))
    assert play.deadline("merchant_answer").due_at == before.due_at + timedelta(hours=6)
    assert [moment - before.remind_at[0] for moment in play.deadline("merchant_answer").remind_at] == [timedelta(hours=6)]
    assert lose(play, opened - 5 * DAY, opened + timedelta(hours=6)) == []
    lose(play, opened + timedelta(hours=7), play.now, "outage-2")
    extended = play.deadline("merchant_answer")
    assert [each.duration for each in extended.extended_by] == ["PT6H", "PT17H"]
    assert (extended.due_at, extended.generation) == (before.due_at + timedelta(hours=23), 3)
    assert lose(play, opened - 5 * DAY, opened - 4 * DAY, "outage-3") == []
    assert lose(play, play.now - DAY, play.now, "outage-4", "dln_other") == []


@pytest.mark.rule("NX-08")
def test_a_deadline_that_ended_in_an_outage_has_not_passed() -> None:
    play = reported()
    before = play.deadline("merchant_answer")
    play.now = before.due_at + DAY
    lose(play, before.due_at - DAY, before.due_at + DAY)
    assert play.case.state == "submitted"
    assert play.deadline("merchant_answer").due_at == before.due_at + 2 * DAY
    assert [event.at for event in play.events] == sorted(event.at for event in play.events)
    late = reported()
    late.now = before.due_at + 10 * DAY
    lose(late, before.due_at - DAY, before.due_at + DAY)
    assert late.case.state == "under_review"
    assert [type(event).__name__ for event in late.events[2:4]] == ["DeadlineExtended", "CaseMoved"]
    assert late.events[3].at == before.due_at + 2 * DAY


@pytest.mark.rule("NX-08", "CP-03")
def test_a_date_that_somebody_outside_has_set_is_not_ours_to_move() -> None:
    play = Play()
    play.report("chargeback", "claims", "partner", answer_by=play.now + 9 * DAY)
    play.wait("P1D")
    assert lose(play, play.now - DAY, play.now) == []
    assert isinstance(play.notice(play.case.deadlines[0].deadline_id, "failed", "merchant"), list)
    assert play.case.deadlines[0].extended_by == ()


@pytest.mark.rule("NX-08")
def test_whom_no_notice_has_reached_gets_the_deadline_anew_from_the_one_that_does() -> None:
    play = reported()
    deadline = play.deadline("merchant_answer")
    (failed,) = play.notice(deadline.deadline_id, "failed", "merchant")  # type: ignore[misc]
    assert isinstance(failed, NoticeRecorded)
    longest = play.deadline("merchant_answer")
    assert (longest.due_at, longest.generation) == (deadline.due_at + 30 * DAY, 2)
    assert longest.extended_by[0].reason == "bounce"
    assert isinstance(play.notice(deadline.deadline_id, "failed", "merchant"), list)
    assert play.deadline("merchant_answer").generation == 2
    play.wait("P8D")
    assert play.case.state == "submitted"
    play.notice(deadline.deadline_id, "sent", "merchant")
    anew = play.deadline("merchant_answer")
    assert (anew.due_at, anew.told_at) == (deadline.due_at + 8 * DAY, play.now)
    assert [each.duration for each in anew.extended_by] == ["P8D"]
    play.notice(deadline.deadline_id, "failed", "merchant")
    assert play.deadline("merchant_answer") == anew


@pytest.mark.rule("NX-08")
def test_who_was_told_after_all_at_once_has_lost_nothing() -> None:
    play = reported()
    deadline = play.deadline("merchant_answer")
    version = play.case.version
    play.notice(deadline.deadline_id, "failed", "merchant")
    play.wait("PT5M")
    play.notice(deadline.deadline_id, "sent", "merchant")
    again = play.deadline("merchant_answer")
    assert (again.due_at, again.extended_by) == (deadline.due_at, ())
    assert play.case.version == version + 2
    told = reported()
    told.notice(told.deadline("merchant_answer").deadline_id, "sent", "merchant")
    told.notice(told.deadline("merchant_answer").deadline_id, "failed", "merchant")
    told.notice(told.deadline("merchant_answer").deadline_id, "failed", "buyer")
    assert (told.deadline("merchant_answer").generation, told.case.version) == (1, 1)


@pytest.mark.rule("NX-06", "BP-17")
def test_a_presumed_refund_is_a_promise_again_once_the_case_is_reopened() -> None:
    play = reported()
    play.act("merchant", "answer", refund="yes", message="All of it")
    play.wake()
    assert (play.case.outcome, play.money) == ("no_reaction", ("0.00", "100.00", "0.00"))
    play.act("platform", "reopen", message="It never came")
    assert play.money == ("100.00", "0.00", "0.00")
    play.act("platform", "decide", outcome="refund", message="We pay")
    play.pay()
    assert (play.case.outcome, play.money) == ("decided_refund", ("0.00", "100.00", "0.00"))


@pytest.mark.rule("NX-06")
def test_a_presumed_refund_that_a_fact_has_proved_stays() -> None:
    play = reported()
    play.act("merchant", "answer", refund="yes", message="All of it")
    play.wake()
    play.fact("refunded", 100)
    play.act("platform", "reopen", message="It never came")
    assert play.money == ("0.00", "100.00", "0.00")


@pytest.mark.rule("NX-04", "NX-06")
def test_a_decision_is_paid_once_and_names_its_payment() -> None:
    play = reported()
    play.act("platform", "take_over")
    play.act("platform", "decide", outcome="partial_refund", refund_amount=euros(30), message="Fair")
    due = play.events[-1].change.refund_due  # type: ignore[attr-defined]
    assert due is not None
    confirm = ConfirmExecution(case_id=play.case.case_id, decision_id=due.decision_id, reference="pay-1", at=play.now)
    assert play.money == ("30.00", "0.00", "70.00")
    play.wait("P40D")
    (event,) = play.send(confirm)  # type: ignore[misc]
    (entry,) = event.change.ledger  # type: ignore[attr-defined]
    assert (entry.reference, entry.confirmed_by, entry.executor, entry.decision_id) == (
        "pay-1",
        "provider",
        "platform",
        due.decision_id,
    )
    assert told_of(event) == ()
    assert play.send(confirm) == []
    assert play.send(confirm.model_copy(update={"decision_id": "dec_other"})) == []
    assert (play.money, play.case.outcome) == (("0.00", "30.00", "70.00"), "decided_partial_refund")


@pytest.mark.rule("CP-07")
def test_a_rule_decides_and_is_named() -> None:
    rule = RuleRef(rule_id="small-amounts", version=3)
    play = reported()
    assert problem(play.act("system", "decide", outcome="refund", message="By the rule")).status == 403
    assert problem(play.act("system", "take_over", rule=rule)).status == 403
    play.act("system", "decide", rule=rule, outcome="refund", message="By the rule")
    event = play.events[-1]
    assert (event.decided_by, play.case.decided_by) == (rule, rule)  # type: ignore[attr-defined]
    assert {(each.party, each.kind) for each in told_of(event)} == {("buyer", "decision"), ("merchant", "decision")}
    assert (play.case.outcome, play.case.state) == ("decided_refund", "resolved")
    play.act("platform", "reopen", message="Wrongly")
    assert (play.case.decided_by, play.case.outcome) == (None, None)


MID_JULY = datetime(2019, 7, 15, tzinfo=UTC)


def in_force(at: datetime, *rollouts: Rollout, merchant_id: str = "shop", locale: str = "de-AT") -> int:
    return SHIPPED.in_force("buyer-protection", at, rollouts, merchant_id, locale).version


@pytest.mark.rule("BP-24", "NX-07")
def test_a_roll_out_takes_the_place_of_the_versions_own_date() -> None:
    early = Rollout(programme="buyer-protection", version=2, merchants=("shop",), effective_at=MID_JULY - 10 * DAY)
    late = early.model_copy(update={"effective_at": MID_JULY + 10 * DAY})
    assert [in_force(MID_JULY - 10 * DAY, early), in_force(MID_JULY - 11 * DAY, early)] == [2, 1]
    assert [in_force(MID_JULY + 9 * DAY, late), in_force(MID_JULY + 10 * DAY, late)] == [1, 2]
    assert [in_force(MID_JULY - DAY, late, merchant_id="other"), in_force(MID_JULY, late, merchant_id="other")] == [1, 2]
    german = late.model_copy(update={"merchants": (), "locales": ("de",)})
    assert [in_force(MID_JULY, german), in_force(MID_JULY, german, locale="pl")] == [1, 2]
    opted = german.model_copy(update={"opted_in": {"shop": MID_JULY - 3 * DAY}})
    assert [in_force(MID_JULY - 3 * DAY, opted), in_force(MID_JULY - 4 * DAY, opted)] == [2, 1]
    assert in_force(MID_JULY - 3 * DAY, opted, locale="pl") == 2
    back = Rollout(programme="buyer-protection", version=1, effective_at=MID_JULY + 5 * DAY)
    assert [in_force(MID_JULY - DAY, back), in_force(MID_JULY, back), in_force(MID_JULY + 5 * DAY, back)] == [1, 2, 1]
    assert in_force(MID_JULY, Rollout(programme="claims", version=1, effective_at=MID_JULY + DAY)) == 2


@pytest.mark.rule("BP-24", "NX-07")
def test_a_case_is_pinned_to_the_version_that_its_report_names() -> None:
    play = Play(at=MID_JULY + DAY)
    play.report(version=1)
    assert (play.case.policy.version, play.deadline("merchant_answer").due_at) == (1, play.now + 7 * DAY)
    unknown = Play()
    assert unknown.report(version=9)
    assert unknown.file is None


@pytest.mark.rule("NX-04")
def test_what_the_platform_is_about_to_pay_counts_as_executed_in_a_preview() -> None:
    play = Play()
    play.report("damaged", "order-issues")
    seen = preview(
        play.file,  # type: ignore[arg-type]
        TakeAction(case_id=play.case.case_id, action="refund", actor=actor("merchant")),
        play.now,
        SHIPPED,
    )
    assert (str(seen.money.executed.amount), str(seen.money.refundable.amount)) == ("100.00", "0.00")  # type: ignore[union-attr]
