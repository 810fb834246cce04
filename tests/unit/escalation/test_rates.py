"""A merchant's rate and the order in which it is asked about: it never goes back in time, and each mail is one of its own."""

from datetime import UTC, date, datetime, timedelta

import pytest

from chassis.handler import Emission, Inbound, Step
from contracts.envelope import Envelope
from contracts.ids import merchant_key
from contracts.issue_rate import AskIssueRate, IssueRate, IssueRateChanged
from contracts.notices import TellMerchant
from engine.issue_rate import SAMPLE, WINDOW_DAYS, Issue, Window
from services.escalation.rates import RateFindings, follow_rate

MIDNIGHT = datetime(2026, 3, 31, tzinfo=UTC)
DAY = MIDNIGHT.date()
LATE = MIDNIGHT - timedelta(milliseconds=100)
RECENT = DAY - timedelta(days=50)
ASK = AskIssueRate(merchant_id="shop")


def window(problems: int = 1) -> Window:
    """Ten good orders leave the window when the day begins: one problem of thirty is nothing to tell of, one of twenty is."""
    orders = {DAY - timedelta(days=WINDOW_DAYS): 10, RECENT: SAMPLE}
    return Window(orders, tuple(problem(number) for number in range(problems)))


def problem(number: int, day: date = RECENT) -> Issue:
    return Issue(f"cas_{number}", f"ord_{number}", day, None)


def asked(known: IssueRate | None, at: datetime, placed: Window, question: str = "question") -> Step[IssueRate | None]:
    """What a question that is a batch of its own does."""
    envelope = Envelope(id=question, source="escalation", key=merchant_key("shop"), time=at, message=ASK)
    findings = RateFindings(windows={"shop": placed}, last_asked={"shop": (question, at)})
    return follow_rate(known, Inbound(envelope, "t", 0, 0), ASK, findings)


def mail_in(step: Step[IssueRate | None]) -> Emission:
    (mail,) = [each for each in step.emissions if isinstance(each.message, TellMerchant)]
    return mail


def warned() -> IssueRate:
    """As the timer of the day leaves it."""
    before = asked(None, MIDNIGHT - timedelta(days=3), window()).state
    assert before is not None
    assert (before.status, before.changes_on) == ("ok", DAY)
    step = asked(before, MIDNIGHT, window(), "timer")
    assert step.state is not None
    assert step.state.status == "warning"
    return step.state


@pytest.mark.rule("OI-11")
def test_a_late_event_does_not_undo_what_the_timer_of_a_day_told() -> None:
    known = warned()
    late = asked(known, LATE, window())
    assert (late.state, late.emissions, late.appends) == (known, (), ())


@pytest.mark.rule("OI-11")
def test_what_a_late_event_brings_counts_as_of_the_day_that_the_rate_stands_at() -> None:
    step = asked(warned(), LATE, window(problems=2))
    told = step.emissions[0].message
    assert isinstance(told, IssueRateChanged)
    assert (told.rate.status, told.rate.orders, told.rate.at) == ("sanctioned", SAMPLE, MIDNIGHT)
    assert {each.time for each in step.emissions} == {MIDNIGHT}


@pytest.mark.rule("OI-11", "NX-10")
def test_a_late_event_ends_no_appeal() -> None:
    """Two problems of thirty orders are a sanction; the day before they were two of forty, which is a warning."""
    orders = {DAY - timedelta(days=WINDOW_DAYS): 10, RECENT: 30}
    placed = Window(orders, (problem(1), problem(2)))
    sanctioned = asked(None, MIDNIGHT, placed).state
    assert sanctioned is not None
    assert sanctioned.status == "sanctioned"
    appealed = sanctioned.model_copy(update={"status": "appealed"})
    assert asked(appealed, LATE, placed).state == appealed


@pytest.mark.rule("OI-11")
def test_a_day_that_told_nothing_is_not_gone_back_behind() -> None:
    """New orders came in the place of those that left: the status stays, but the day is over for good."""
    before = asked(None, MIDNIGHT - timedelta(days=3), window()).state
    placed = Window({**window().orders, DAY: 10}, window().issues)
    quiet = asked(before, MIDNIGHT, placed, "timer")
    assert quiet.emissions == ()
    late = asked(quiet.state, LATE, Window(placed.orders, (*placed.issues, problem(2, day=DAY))))
    (told, _) = late.emissions
    assert isinstance(told.message, IssueRateChanged)
    assert (told.message.rate.counted, told.message.rate.orders) == (2, 30)
    assert (told.message.rate.status, told.message.rate.at) == ("sanctioned", MIDNIGHT)


@pytest.mark.rule("OI-11")
def test_a_question_that_is_asked_again_tells_another_status_in_another_mail() -> None:
    sanctioned = asked(None, MIDNIGHT, window(problems=2), "timer")
    restored = asked(sanctioned.state, MIDNIGHT, window(problems=0), "timer")
    again = asked(restored.state, MIDNIGHT, window(problems=2), "timer")
    mails = [mail_in(step) for step in (sanctioned, restored, again)]
    assert [mail.message.about["status"] for mail in mails if isinstance(mail.message, TellMerchant)] == [
        "sanctioned",
        "ok",
        "sanctioned",
    ]
    assert len({mail.id for mail in mails} - {None}) == len(mails)
    assert mail_in(asked(None, MIDNIGHT, window(problems=2), "another")).id == mails[0].id, "the same version is one mail"
