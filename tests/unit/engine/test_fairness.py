"""Lost time, money that turns out not to have flowed, rules that decide, roll-outs: what every programme can use."""

from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.base import parse_duration
from contracts.cases import (
    CaseMoved,
    ConfirmExecution,
    DeadlineExtended,
    ExtendDeadline,
    NoticeRecorded,
    Rollout,
    RuleRef,
    TakeAction,
)
from contracts.outages import Outage, OutagesRecorded
from engine.decide import at_time
from engine.notices import told_of
from engine.programmes import Programmes
from engine.views import Preview, allowed_actions, explained_deadlines, preview, unanswered, untold
from tests.unit.engine.playing import Play, actor, euros, problem

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
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


def claimed() -> Play:
    play = Play()
    play.report("chargeback", "claims", "partner", answer_by=play.now + 9 * DAY)
    return play


@pytest.mark.rule("NX-08", "NX-01", "NX-04", "CP-03")
def test_an_outage_over_the_date_that_somebody_outside_has_set_closes_the_door_on_nobody() -> None:
    play = claimed()
    asked = play.case.answer_by
    assert asked is not None
    (told,) = explained_deadlines(play.file, play.case.case_id, SHIPPED)  # type: ignore[arg-type]
    assert (told.due_at, told.answer_by, told.text) == (asked, asked, "")
    play.now = asked + HOUR
    lose(play, asked - DAY, play.now)
    assert not unanswered(play.case)
    assert play.case.answer_by == asked, "what is asked for outside is not ours to move"
    (told,) = explained_deadlines(play.file, play.case.case_id, SHIPPED)  # type: ignore[arg-type]
    assert (told.due_at, told.answer_by) == (asked + DAY + HOUR, asked)
    assert [each.model_dump() for each in told.extended_by] == [{"reason": "outage", "duration": "P1DT1H"}]
    assert "asked for the answer by January 29, 2024" in told.text
    assert "whether it takes a later one is for the provider to say" in told.text
    (german,) = explained_deadlines(play.file, play.case.case_id, SHIPPED, "de")  # type: ignore[arg-type]
    assert german.text.startswith("Der Anbieter hat die Antwort bis 29. Januar 2024")
    note = TakeAction(case_id=play.case.case_id, action="note", fields={"text": "?"}, actor=actor("merchant"))
    seen = preview(play.file, note, play.now, SHIPPED)  # type: ignore[arg-type]
    assert isinstance(seen, Preview)
    assert seen.deadlines == (told,)
    play.act("merchant", "defend", evidence=["invoice:1"], message="It was delivered")
    assert (play.case.state, play.case.deadlines, unanswered(play.case)) == ("under_review", (), False)

    silent = claimed()
    silent.now = asked + HOUR
    lose(silent, asked - DAY, silent.now)
    silent.wake()
    assert (silent.events[-1].at, unanswered(silent.case)) == (asked + DAY + HOUR, True)


@pytest.mark.rule("NX-08", "CP-03")
def test_whom_no_notice_of_a_claim_has_reached_gets_its_time_from_the_one_that_does() -> None:
    play = claimed()
    deadline = play.deadline("claim_answer")
    play.notice(deadline.deadline_id, "failed", "merchant", notice_id="first")
    longer = play.deadline("claim_answer")
    assert longer.due_at == deadline.due_at + DAY
    assert longer.remind_at == tuple(moment + DAY for moment in deadline.remind_at)
    play.wait("P10D")
    assert "defend" in play.allowed("merchant")
    play.notice(deadline.deadline_id, "sent", "merchant", notice_id="second")
    anew = play.deadline("claim_answer")
    assert (anew.due_at, anew.extended_by[0].reason) == (deadline.due_at + 10 * DAY, "bounce")
    assert play.case.answer_by == deadline.due_at
    play.wake()
    play.notice(deadline.deadline_id, "failed", "merchant", notice_id="second")
    assert (unanswered(play.case), untold(play.case)) == (True, True)


@pytest.mark.rule("NX-08")
def test_whom_no_notice_has_reached_gets_the_deadline_anew_from_the_one_that_does() -> None:
    play = reported()
    deadline = play.deadline("merchant_answer")
    (failed,) = play.notice(deadline.deadline_id, "failed", "merchant")  # type: ignore[misc]
    assert isinstance(failed, NoticeRecorded)
    longer = play.deadline("merchant_answer")
    assert (longer.due_at, longer.generation) == (deadline.due_at + DAY, 2), "a day ahead: nobody knows when it will be told"
    assert longer.extended_by[0].reason == "bounce"
    assert isinstance(play.notice(deadline.deadline_id, "failed", "merchant"), list)
    assert play.deadline("merchant_answer").generation == 2
    play.wait("P8D")
    assert play.case.state == "submitted"
    play.notice(deadline.deadline_id, "sent", "merchant")
    anew = play.deadline("merchant_answer")
    assert (anew.due_at, anew.told_at) == (deadline.due_at + 8 * DAY, play.now)
    assert [each.duration for each in anew.extended_by] == ["P8D"]
    play.notice(deadline.deadline_id, "failed", "merchant")
    assert play.deadline("merchant_answer").due_at == anew.due_at


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


@pytest.mark.rule("NX-08")
def test_a_bounce_of_what_had_been_sent_is_as_a_notice_that_failed_at_once() -> None:
    play = reported()
    deadline = play.deadline("merchant_answer")
    play.notice(deadline.deadline_id, "sent", "merchant", notice_id="ntc_first")
    play.wait("P2D")
    version = play.case.version
    play.notice(deadline.deadline_id, "failed", "merchant", notice_id="ntc_first")
    back = play.deadline("merchant_answer")
    assert (back.due_at, back.told_at, play.case.version) == (deadline.due_at + 3 * DAY, None, version + 1)
    (told,) = explained_deadlines(play.file, play.case.case_id, SHIPPED)  # type: ignore[arg-type]
    assert [each.model_dump() for each in told.extended_by] == [{"reason": "bounce", "duration": "P3D"}]
    play.notice(deadline.deadline_id, "failed", "merchant", notice_id="ntc_first")
    assert play.deadline("merchant_answer") == back, "told twice, it bounced once"
    play.wait("P2D")
    play.notice(deadline.deadline_id, "sent", "merchant", notice_id="ntc_second")
    assert play.deadline("merchant_answer").due_at == deadline.due_at + 4 * DAY


@pytest.mark.rule("NX-08")
def test_who_acts_in_a_case_knows_of_its_deadlines_whatever_comes_back_later() -> None:
    """Whoever got a notice can forge its bounce: to have acted since is held against that."""
    play = reported()
    deadline = play.deadline("merchant_answer")
    play.notice(deadline.deadline_id, "sent", "merchant", notice_id="first")
    play.wait("PT6H")
    play.write("buyer")
    assert play.deadline("merchant_answer").tellings[-1].state == "sent"
    play.write("merchant", "We look into it")
    play.wait("P2D")
    play.notice(deadline.deadline_id, "failed", "merchant", notice_id="first")
    after = play.deadline("merchant_answer")
    assert (after.due_at, after.told_at) == (deadline.due_at + 6 * HOUR, play.now - 2 * DAY)
    late = reported()
    late.notice(deadline.deadline_id, "failed", "merchant", notice_id="first")
    late.wait("PT9H")
    late.write("merchant", "By chance I saw this")
    late.notice(deadline.deadline_id, "failed", "merchant", notice_id="second")
    assert late.deadline("merchant_answer").due_at == deadline.due_at + DAY, "of the day that was given nothing is taken back"
    late.wake()
    assert (late.events[-1].at, late.case.state) == (deadline.due_at + DAY, "under_review")


@pytest.mark.rule("NX-08")
def test_who_is_never_told_has_thirty_days_more_and_sees_each_of_them_given() -> None:
    play = reported()
    deadline = play.deadline("merchant_answer")
    play.notice(deadline.deadline_id, "failed", "merchant")
    ends = [play.deadline("merchant_answer").due_at]
    while play.case.state == "submitted":
        play.wake()
        ends += [each.due_at for each in play.case.deadlines if each.kind == "merchant_answer"]
    assert ends == sorted(set(ends)), "each is later than the one before"
    assert (play.events[-1].at, ends[-1]) == (deadline.due_at + 30 * DAY, deadline.due_at + 30 * DAY)


@pytest.mark.rule("NX-08")
@given(
    bounced=st.integers(0, 96),
    again=st.lists(st.integers(0, 900), max_size=3),
    acted=st.lists(st.integers(0, 900), max_size=4),
)
def test_a_bounce_gains_nothing_after_the_first_act_and_no_act_takes_anything_back(
    bounced: int, again: list[int], acted: list[int]
) -> None:
    """The mail had been accepted, and whoever got it can forge its bounce, also of later ones."""
    play = reported()
    since, deadline = play.now, play.deadline("merchant_answer")
    play.notice(deadline.deadline_id, "sent", "merchant", notice_id="first")
    happens = sorted(
        [(bounced, "bounce", "first"), *((at, "bounce", f"more {at}") for at in again), *((at, "act", "") for at in acted)]
    )
    shown = deadline.due_at
    for hours, what, notice_id in happens:
        play.now = since + timedelta(hours=hours)
        if what == "bounce":
            play.notice(deadline.deadline_id, "failed", "merchant", notice_id=notice_id)
        else:
            play.write("merchant", "We look into it")
        if play.case.state == "submitted":
            assert play.deadline("merchant_answer").due_at >= shown
            shown = play.deadline("merchant_answer").due_at
    while play.case.state == "submitted":
        play.wake()
    (passed,) = [event.at for event in play.events if isinstance(event, CaseMoved)]
    silent = timedelta(hours=min([*acted, 30 * 24]))
    assert passed - deadline.due_at <= min(silent + DAY, 30 * DAY)


@pytest.mark.rule("NX-08")
def test_of_several_addresses_one_that_is_reached_is_enough() -> None:
    play = reported()
    deadline = play.deadline("merchant_answer")
    for address in ("first", "second"):
        play.notice(deadline.deadline_id, "sent", "merchant", notice_id=address)
    play.wait("P2D")
    play.notice(deadline.deadline_id, "failed", "merchant", notice_id="first")
    assert play.deadline("merchant_answer").due_at == deadline.due_at
    play.notice(deadline.deadline_id, "failed", "merchant", notice_id="second")
    assert play.deadline("merchant_answer").due_at == deadline.due_at + 3 * DAY


State = Literal["sent", "failed", "delayed"]
BECAME: dict[str, tuple[State, ...]] = {
    "sent": ("sent",),
    "failed": ("failed",),
    "bounced": ("sent", "failed"),
    "late": ("delayed", "sent"),
}
"""What a case hears of a notice."""


@given(
    notices=st.lists(st.tuples(st.integers(0, 96), st.sampled_from(sorted(BECAME))), min_size=1, max_size=5),
    data=st.data(),
)
def test_how_a_deadline_ends_does_not_depend_on_which_notice_was_heard_first(
    notices: list[tuple[int, str]], data: st.DataObject
) -> None:
    play = reported()
    opened, deadline = play.now, play.deadline("merchant_answer")
    news: list[tuple[str, datetime, State]] = [
        (f"ntc_{number}", opened + timedelta(hours=hour), state)
        for number, (hour, what) in enumerate(notices)
        for state in BECAME[what]
    ]
    play.now = opened + timedelta(hours=100)
    for notice_id, at, state in data.draw(st.permutations(news + data.draw(st.lists(st.sampled_from(news), max_size=2)))):
        play.notice(deadline.deadline_id, state, "merchant", notice_id=notice_id, at=at)
    arrived = [hour for hour, what in notices if what in ("sent", "late")]
    lost = 0 if all(what == "sent" for _, what in notices) else min(arrived, default=100 + 24)
    assert play.deadline("merchant_answer").due_at == deadline.due_at + timedelta(hours=lost)


@pytest.mark.rule("NX-08")
def test_while_our_mails_are_delayed_a_deadline_that_nobody_was_told_of_runs_on() -> None:
    play = reported()
    deadline = play.deadline("merchant_answer")
    play.wait("PT1H")
    play.notice(deadline.deadline_id, "delayed", "merchant", notice_id="first")
    play.wait("P9D")
    (told,) = explained_deadlines(play.file, play.case.case_id, SHIPPED)  # type: ignore[arg-type]
    assert [each.model_dump() for each in told.extended_by] == [{"reason": "outage", "duration": "P1DT1H"}]
    play.notice(deadline.deadline_id, "sent", "merchant", notice_id="first")
    (told,) = explained_deadlines(play.file, play.case.case_id, SHIPPED)  # type: ignore[arg-type]
    assert [each.model_dump() for each in told.extended_by] == [{"reason": "outage", "duration": "P9DT1H"}]
    assert play.deadline("merchant_answer").due_at == deadline.due_at + 9 * DAY + HOUR
    play.notice(deadline.deadline_id, "failed", "merchant", notice_id="first")
    (told,) = explained_deadlines(play.file, play.case.case_id, SHIPPED)  # type: ignore[arg-type]
    assert [each.model_dump() for each in told.extended_by] == [{"reason": "bounce", "duration": "P10DT1H"}]
    prompt = reported()
    prompt.notice(deadline.deadline_id, "sent", "merchant", notice_id="first")
    prompt.notice(deadline.deadline_id, "delayed", "merchant", notice_id="second")
    assert prompt.deadline("merchant_answer").due_at == deadline.due_at


@pytest.mark.rule("NX-08")
def test_a_deadline_that_had_passed_before_its_notice_came_back_is_for_the_platform_to_look_at() -> None:
    play = reported()
    deadline = play.deadline("merchant_answer")
    play.notice(deadline.deadline_id, "sent", "merchant", notice_id="first")
    play.wake(deadline)
    play.wait("P1D")
    state, version = play.case.state, play.case.version
    assert not untold(play.case)
    (recorded,) = play.notice(deadline.deadline_id, "failed", "merchant", notice_id="first")  # type: ignore[misc]
    assert isinstance(recorded, NoticeRecorded)
    assert (play.case.state, play.case.version, untold(play.case)) == (state, version + 1, True)
    play.notice(deadline.deadline_id, "failed", "merchant", notice_id="first")
    assert play.case.version == version + 1
    reached = reported()
    for address in ("first", "second"):
        reached.notice(deadline.deadline_id, "sent", "merchant", notice_id=address)
    reached.wake(deadline)
    reached.notice(deadline.deadline_id, "failed", "merchant", notice_id="first")
    assert not untold(reached.case)


# The record of outages


def outages(spans: list[tuple[int, int]], since: datetime) -> tuple[Outage, ...]:
    """Outages that began so many hours after a moment and lasted so many."""
    return tuple(
        Outage(
            outage_id=f"outage-{number}",
            lost_from=since + timedelta(hours=began),
            lost_until=since + timedelta(hours=began + hours),
        )
        for number, (began, hours) in enumerate(spans)
    )


def end_of(since: datetime, due_at: datetime, lost: tuple[Outage, ...]) -> datetime:
    """When a party has had its time, counted hour by hour."""
    usable = (due_at - since) // HOUR
    moment = since
    while usable:
        usable -= not any(each.lost_from <= moment < each.lost_until for each in lost)
        moment += HOUR
    return moment


SPANS = st.lists(st.tuples(st.integers(-48, 200), st.integers(1, 60)), min_size=1, max_size=6)


@pytest.mark.rule("NX-08")
@given(spans=SPANS, data=st.data())
def test_time_that_outages_share_is_lost_once_however_and_whenever_they_are_heard(
    spans: list[tuple[int, int]], data: st.DataObject
) -> None:
    play = reported()
    since, before = play.now, play.deadline("merchant_answer")
    lost = outages(spans, since)
    end = end_of(since, before.due_at, lost)
    play.now = since + timedelta(days=20)
    play.record = OutagesRecorded(complete_until=since)
    heard: list[Outage] = []
    for outage in data.draw(st.permutations(lost + tuple(data.draw(st.lists(st.sampled_from(lost), max_size=3))))):
        if data.draw(st.booleans()):  # it is recorded anew: its recorder was interrupted the first time
            lose(play, outage.lost_from, outage.lost_from + (outage.lost_until - outage.lost_from) / 2, outage.outage_id)
        heard.append(outage)
        play.record = OutagesRecorded(outages=tuple(heard), complete_until=since)
        lose(play, outage.lost_from, outage.lost_until, outage.outage_id)
    after = play.deadline("merchant_answer")
    assert after.due_at == end
    assert sum((parse_duration(each.duration) for each in after.extended_by), timedelta()) == end - before.due_at

    only_rung = reported()
    only_rung.record = OutagesRecorded(outages=lost, complete_until=since + timedelta(days=20))
    only_rung.wake(before)
    standing = [each.due_at for each in only_rung.case.deadlines if each.kind == "merchant_answer"]
    passed = [event.at for event in only_rung.events if isinstance(event, CaseMoved)]
    assert standing + passed == [end]


@pytest.mark.rule("NX-08", "NX-01")
def test_what_fell_due_after_the_record_was_complete_is_not_decided_over() -> None:
    play = reported()
    before = play.deadline("merchant_answer")
    play.now = before.due_at + DAY
    play.record = OutagesRecorded(complete_until=before.due_at - DAY)
    play.write("buyer", "Is anybody there?")
    assert play.case.state == "submitted"
    assert at_time(play.file, play.now, SHIPPED, play.record).cases[play.case.case_id].state == "submitted"  # type: ignore[arg-type]
    assert "answer" in {
        each.action
        for each in allowed_actions(play.file, play.case.case_id, "merchant", play.now, SHIPPED, record=play.record)  # type: ignore[arg-type]
    }

    # Now whoever records outages is there again: the day was lost, and it is given back.
    play.record = OutagesRecorded(
        outages=(Outage(outage_id="gap", lost_from=before.due_at - DAY, lost_until=play.now),), complete_until=play.now
    )
    play.write("buyer", "Hello?")
    after = play.deadline("merchant_answer")
    assert after.due_at == before.due_at + 2 * DAY
    (told,) = explained_deadlines(play.file, play.case.case_id, SHIPPED)  # type: ignore[arg-type]
    assert [each.model_dump() for each in told.extended_by] == [{"reason": "outage", "duration": "P2D"}]
    assert play.wake(before) == []
    play.record = OutagesRecorded(outages=play.record.outages, complete_until=after.due_at)
    play.wake(after)
    assert play.case.state == "under_review"
    assert [event.at for event in play.events] == sorted(event.at for event in play.events)


@pytest.mark.rule("NX-08")
def test_who_acts_before_silence_was_decided_over_has_not_been_silent() -> None:
    play = reported()
    before = play.deadline("merchant_answer")
    play.now = before.due_at + timedelta(seconds=3)
    play.record = OutagesRecorded(complete_until=before.due_at - timedelta(seconds=2))
    play.act("merchant", "answer", refund="no", message="It is in the post")
    assert play.case.state == "awaiting_buyer"
    assert play.wake(before) == []
    assert not [event for event in play.events if isinstance(event, CaseMoved) and event.action == "silence"]


@pytest.mark.rule("NX-08")
def test_an_outage_within_the_time_that_a_bounce_gave_back_counts_when_the_bounce_no_longer_does() -> None:
    play = reported()
    since, deadline = play.now, play.deadline("merchant_answer")
    play.notice(deadline.deadline_id, "failed", "merchant")
    play.wait("P4D")
    lost = Outage(outage_id="gap", lost_from=since + 2 * DAY, lost_until=since + 4 * DAY)
    play.record = OutagesRecorded(outages=(lost,), complete_until=play.now)
    lose(play, lost.lost_from, lost.lost_until, "gap")
    assert [each.cause_id for each in play.deadline("merchant_answer").extended_by] == ["untold"]
    play.notice(deadline.deadline_id, "sent", "merchant", at=since + DAY)
    after = play.deadline("merchant_answer")
    assert [each.duration for each in after.extended_by] == ["P1D", "P2D"]
    assert after.due_at == deadline.due_at + 3 * DAY


# What every programme can use


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
