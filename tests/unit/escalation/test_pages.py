"""Timers and pages: what an event sets, and how it is kept until it is due."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.actors import SYSTEM
from contracts.base import Message, format_moment
from contracts.cases import (
    CaseEvent,
    CaseMoved,
    CaseOpened,
    Change,
    Consequence,
    Deadline,
    DeadlineReached,
    FactAttached,
    MessagePosted,
    PolicyRef,
    ReminderReached,
)
from contracts.envelope import decode
from contracts.orders import CheckInReached, MerchantChanged, OrderRegistered, Protection, ReturnInfoAged, Standing
from contracts.rollouts import ROLLOUTS_KEY, AnnounceRollout, RolloutMade
from contracts.topics import CASES_COMMANDS, INTAKE_COMMANDS
from services.escalation.pages import PAGE_ENTRIES, Page, Timer, command_of, pages_of, timers_of
from tests.contract.examples import EXAMPLES

AT = datetime(2024, 1, 10, 9, 30, tzinfo=UTC)
ORDER = "ord_" + "0" * 32


def deadline(days: int, *reminders: int, generation: int = 1) -> Deadline:
    return Deadline(
        deadline_id="dln_" + "0" * 32 + "_1",
        generation=generation,
        kind="merchant_answer",
        party="merchant",
        due_at=AT + timedelta(days=days),
        remind_at=tuple(AT + timedelta(days=reminder) for reminder in reminders),
        rule="BP-18",
        policy=PolicyRef(programme="buyer-protection", version=1),
        on_silence=Consequence(action="review"),
    )


def example(kind: type[Message]) -> Message:
    return next(message for message in EXAMPLES if type(message) is kind)


def moved(change: Change) -> CaseMoved:
    return CaseMoved(
        case_id="cas_" + "0" * 32 + "_1",
        order_id=ORDER,
        actor=SYSTEM,
        at=AT,
        case_version=2,
        action="answer",
        rule="BP-11",
        change=change,
    )


@pytest.mark.rule("BP-05")
def test_a_registered_order_sets_its_check_in() -> None:
    told = example(OrderRegistered)
    assert isinstance(told, OrderRegistered)
    standing: Standing = told.standing.model_copy(
        update={"protection": Protection(state="active", ends_at=AT + timedelta(days=30), check_in_at=AT + timedelta(days=23))}
    )
    timers = list(timers_of(told.model_copy(update={"standing": standing})))
    assert timers == [Timer(format_moment(AT + timedelta(days=23)), "check_in", told.order.order_id)]
    none = standing.model_copy(update={"protection": Protection(state="none", reason="not_activated")})
    assert list(timers_of(told.model_copy(update={"standing": none}))) == []


@pytest.mark.rule("NX-01")
def test_a_deadline_sets_itself_and_its_reminders_with_their_fence() -> None:
    timers = list(timers_of(moved(Change(deadlines_set=(deadline(5, 3, 4, generation=2),)))))
    assert [(timer.kind, timer.at[:10], timer.generation) for timer in timers] == [
        ("reminder", "2024-01-13", 2),
        ("reminder", "2024-01-14", 2),
        ("deadline", "2024-01-15", 2),
    ]
    assert {timer.deadline_id for timer in timers} == {deadline(5).deadline_id}


@pytest.mark.parametrize("kind", [CaseOpened, CaseMoved, FactAttached, MessagePosted])
def test_each_event_of_a_case_that_sets_a_deadline_sets_its_timers(kind: type[CaseEvent]) -> None:
    event = example(kind)
    change = getattr(event, "change", None)
    expected = sum(1 + len(one.remind_at) for one in change.deadlines_set) if change is not None else 0
    assert len(list(timers_of(event))) == expected


def test_what_sets_no_moment_sets_no_timer() -> None:
    assert list(timers_of(example(DeadlineReached))) == []
    assert list(timers_of(moved(Change(state="resolved", outcome="refunded")))) == []


def test_a_timer_is_a_command_at_its_moment_with_one_id() -> None:
    for timer, topic, kind in (
        (Timer("2024-01-15T09:30:00.000Z", "check_in", ORDER), INTAKE_COMMANDS, CheckInReached),
        (Timer("2024-01-15T09:30:00.000Z", "deadline", ORDER, "cas_1", "dln_1", 2), CASES_COMMANDS, DeadlineReached),
        (Timer("2024-01-15T09:30:00.000Z", "reminder", ORDER, "cas_1", "dln_1", 2), CASES_COMMANDS, ReminderReached),
    ):
        to, record = command_of(timer)
        sent = decode(record.value, record.headers)
        assert (to, type(sent.message), sent.key, sent.source) == (topic.name, kind, ORDER, "escalation")
        assert sent.time == datetime(2024, 1, 15, 9, 30, tzinfo=UTC)
        assert command_of(timer) == (to, record)
        for other in (timer._replace(generation=3), timer._replace(at="2024-01-15T09:30:00.001Z")):
            _, record_of_other = command_of(other)
            assert decode(record_of_other.value, record_of_other.headers).id != sent.id


TIMERS = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.builds(
            lambda minutes, kind, generation: Timer(
                format_moment(AT + timedelta(minutes=minutes)), kind, ORDER, "cas", "dln", generation
            ),
            st.integers(0, 300),
            st.sampled_from(["deadline", "reminder"]),
            st.integers(1, 3),
        ),
    ),
    max_size=60,
)


@given(TIMERS)
@settings(max_examples=60, deadline=None)
def test_pages_hold_every_timer_in_order_and_survive_the_store(timers: list[tuple[int, Timer]]) -> None:
    pages = [Page.of(page.document()) for page in pages_of(timers)]
    held = [(page.partition, timer) for page in pages for timer in page.timers]
    assert sorted(held) == sorted(timers)
    for page in pages:
        assert list(page.timers) == sorted(page.timers)
        assert {timer.at[:13] for timer in page.timers} == {page.hour}
    ids = [page.document()["_id"] for page in pages]
    assert ids == sorted(ids)
    assert ids == [page.document()["_id"] for page in pages_of(reversed(timers))]


def test_a_large_page_is_cut() -> None:
    timers = [(1, Timer("2024-01-15T09:30:00.000Z", "check_in", f"ord_{number:032x}")) for number in range(2_500)]
    pages = pages_of(timers)
    assert [len(page.timers) for page in pages] == [PAGE_ENTRIES, PAGE_ENTRIES, 500]
    assert len({page.document()["_id"] for page in pages}) == 3


def test_a_page_never_takes_the_place_of_one_with_other_timers() -> None:
    """After a crash the records of a batch are cut differently: what was added since must not fall out."""
    first = (1, Timer("2024-01-15T09:30:00.000Z", "check_in", ORDER))
    second = (1, Timer("2024-01-15T09:40:00.000Z", "check_in", ORDER))
    (small,), (large,) = pages_of([first]), pages_of([first, second])
    assert small.document()["_id"] != large.document()["_id"]


@pytest.mark.rule("BP-24")
def test_a_roll_out_sets_its_announcement_which_is_told_to_intake() -> None:
    made = example(RolloutMade)
    assert isinstance(made, RolloutMade)
    (timer,) = timers_of(made)
    assert timer == Timer(format_moment(made.rollout.announce_at), "announcement", ROLLOUTS_KEY, "", "rlo_1")
    (page,) = pages_of([(3, timer)])
    assert Page.of(page.document()).timers == (timer,)
    topic, record = command_of(timer)
    told = decode(record.value, record.headers)
    assert (topic, told.key, told.message) == (INTAKE_COMMANDS.name, ROLLOUTS_KEY, AnnounceRollout(rollout_id="rlo_1"))
    assert told.time == made.rollout.announce_at


@pytest.mark.rule("CP-05")
def test_return_information_gets_old_a_year_after_it_was_confirmed_or_reminded_of() -> None:
    event = example(MerchantChanged)
    assert isinstance(event, MerchantChanged)
    plain = event.merchant.model_copy(update={"return_policy_url": None, "return_info_at": AT})
    assert list(timers_of(MerchantChanged(merchant=plain))) == []
    shop = plain.model_copy(update={"return_policy_url": "https://shop.example/returns"})
    (timer,) = timers_of(MerchantChanged(merchant=shop))
    topic, record = command_of(timer)
    command = decode(record.value, record.headers)
    assert (topic, command.key) == (INTAKE_COMMANDS.name, f"mer:{shop.merchant_id}")
    assert command.time == AT + timedelta(days=365)
    assert command.message == ReturnInfoAged(merchant_id=shop.merchant_id, since=AT)
    (page,) = pages_of([(3, timer)])
    assert Page.of(page.document()) == page
    (next_one,) = timers_of(
        MerchantChanged(merchant=shop.model_copy(update={"return_info_reminded_at": AT + timedelta(days=365)}))
    )
    assert next_one.at == format_moment(AT + timedelta(days=730))
