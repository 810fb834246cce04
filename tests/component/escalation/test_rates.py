"""Issue rates on the real broker and store: what counts as a problem, when a question is raised, what reckoning costs."""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest

from chassis.handler import Inbound
from chassis.store import CommandCounter, connect
from contracts.actors import Actor
from contracts.cases import CaseMoved, CaseOpened, Change, FactAttached
from contracts.envelope import Envelope
from contracts.ids import merchant_key
from contracts.issue_rate import AskIssueRate, IssueRate, IssueRateChanged
from contracts.orders import Fact
from contracts.topics import CASES_EVENTS, INTAKE_EVENTS
from engine.issue_rate import SAMPLE
from engine.programmes import Programmes
from services.escalation.app import serve
from services.escalation.pages import Page
from services.escalation.rates import Rates, asked_by, follow_rate
from tests.component.running import Reader, Running
from tests.unit.escalation.opening import AT, case_opened, order_registered

DESK = ("returns-desk", 1)
SYSTEM = Actor(role="system", id="time")


def batch_of(envelopes: Sequence[Envelope]) -> list[Inbound]:
    return [Inbound(envelope=envelope, topic="t", partition=0, offset=n) for n, envelope in enumerate(envelopes)]


def ask(number: int, source: str = "escalation", at: datetime = AT) -> Envelope:
    message = AskIssueRate(merchant_id="shop")
    return Envelope(id=f"ask-{number}", source=source, key=merchant_key("shop"), time=at, message=message)


async def stands(rates: Rates) -> IssueRate:
    """The rate as whoever asks is told it."""
    batch = batch_of([ask(0, "gateway")])
    state = follow_rate(None, batch[0], AskIssueRate(merchant_id="shop"), await rates.find(batch)).state
    assert state is not None
    return state


async def heard(rates: Rates, *envelopes: Envelope) -> list[bool]:
    """Which of the events raise a question."""
    batch = batch_of(envelopes)
    findings = await rates.find(batch)
    return [bool(asked_by(inbound, findings)) for inbound in batch]


def of(opened: Envelope) -> CaseOpened:
    assert isinstance(opened.message, CaseOpened)
    return opened.message


@pytest.mark.rule("OI-11")
async def test_a_withdrawal_from_the_contract_is_no_problem_of_the_merchant(running: Running) -> None:
    rates = Rates(running.database("escalation"), Programmes.shipped())
    await rates.create_indexes()
    await heard(rates, *(order_registered(number) for number in range(30)))
    withdrawal, complaint = case_opened(1, reason="withdrawal", policy=DESK), case_opened(2, reason="complaint", policy=DESK)
    unseen = case_opened(3, reason="complaint", policy=DESK, origin="reported")
    newer = case_opened(4, reason="unheard_of", policy=("returns-desk", 9))
    assert await heard(rates, withdrawal, complaint, unseen, newer) == [False, True, False, True]
    now = await stands(rates)
    assert (now.orders, now.reported, now.counted) == (30, 2, 2)

    done = CaseMoved(
        case_id=of(withdrawal).case_id,
        order_id=of(withdrawal).order_id,
        actor=SYSTEM,
        at=AT,
        case_version=2,
        action="accept",
        rule="RD-06",
        change=Change(state="resolved", outcome="accepted"),
    )
    ended = Envelope(id="accepted", source="cases", key=done.order_id, time=AT, message=done, sequence=2)
    assert await heard(rates, ended) == [False]
    assert (await stands(rates)).faults == 0


@pytest.mark.rule("NX-10")
async def test_whatever_event_ends_a_case_ends_it_for_the_rate(running: Running) -> None:
    rates = Rates(running.database("escalation"), Programmes.shipped())
    opened = case_opened(1)
    await heard(rates, order_registered(1), opened)
    told_of = {"case_id": of(opened).case_id, "order_id": of(opened).order_id, "actor": SYSTEM, "at": AT}
    fact = Fact(kind="returned", at=AT, fact_id="fct_1", source=SYSTEM, recorded_at=AT)
    changes = [
        Change(),
        Change(state="resolved", outcome="withdrawn"),
        Change(state="under_review", turn="platform", reopened=True),
    ]
    counts: list[int] = []
    for version, change in enumerate(changes, start=2):
        event = FactAttached(**told_of, case_version=version, fact=fact, change=change)
        await heard(
            rates, Envelope(id=f"e{version}", source="cases", key=event.order_id, time=AT, message=event, sequence=version)
        )
        counts.append((await stands(rates)).counted)
    assert counts == [1, 0, 1]


@pytest.mark.rule("OI-11")
async def test_the_order_that_completes_the_sample_sanctions(running: Running, told: Reader) -> None:
    running.start(serve, "escalation-1")
    await running.send(INTAKE_EVENTS, *(order_registered(number) for number in range(SAMPLE - 1)))
    await running.send(CASES_EVENTS, case_opened(1), case_opened(2))
    # Too few orders to judge by: noted, as from now on every order matters.
    noted = await told.until(lambda all_: any(counted(one) == 2 for one in all_))
    assert {status(one) for one in noted} == {"ok"}
    await running.send(INTAKE_EVENTS, order_registered(SAMPLE))
    sanctioned = await told.until(lambda all_: any(status(one) == "sanctioned" for one in all_))
    rate = sanctioned[-1].message
    assert isinstance(rate, IssueRateChanged)
    assert (rate.rate.orders, rate.rate.counted, rate.before) == (SAMPLE, 2, "ok")


@pytest.mark.rule("OI-11")
async def test_who_crosses_the_line_only_because_good_orders_age_is_told_on_that_day(running: Running, told: Reader) -> None:
    running.start(serve, "escalation-1")
    early = AT - timedelta(days=85)
    await running.send(INTAKE_EVENTS, *(order_registered(number, placed_at=early) for number in range(100, 160)))
    await running.send(INTAKE_EVENTS, *(order_registered(number) for number in range(20)))
    await running.send(CASES_EVENTS, case_opened(1), case_opened(2))
    pages = running.database("escalation")["pages"]
    day = (AT + timedelta(days=5)).date()
    async with asyncio.timeout(20):
        while await pages.count_documents({"_id": {"$gte": f"{day}T00", "$lt": f"{day}T01"}}) == 0:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    await running.tick(AT + timedelta(days=4))
    await running.tick(AT + timedelta(days=6))
    sanctioned = await told.until(lambda all_: any(status(one) == "sanctioned" for one in all_))
    assert [status(one) for one in sanctioned] == ["sanctioned"], "nothing else was to be told, and nobody asked"
    assert sanctioned[0].time.date() == day


async def test_the_day_on_which_a_rate_changes_by_itself_is_a_timer_that_its_document_can_remember(running: Running) -> None:
    rates = Rates(running.database("escalation"), Programmes.shipped())
    await heard(rates, *(order_registered(number, placed_at=AT - timedelta(days=80)) for number in range(100, 160)))
    await heard(rates, *(order_registered(number) for number in range(20)), case_opened(1), case_opened(2))
    (asked,) = batch_of([ask(1)])
    step = follow_rate(None, asked, AskIssueRate(merchant_id="shop"), await rates.find([asked]))
    assert step.state is not None
    assert (step.emissions, step.state.version, step.state.orders) == ((), 0, 0), "nothing is told"
    (append,) = step.appends
    assert [timer.at for timer in Page.of(append.document).timers] == [f"{step.state.changes_on}T00:00:00.000Z"]
    (again,) = batch_of([ask(2)])
    next_ = follow_rate(step.state, again, AskIssueRate(merchant_id="shop"), await rates.find([again]))
    assert (next_.state, next_.appends) == (step.state, ()), "the timer is there"


@pytest.mark.rule("OI-11")
async def test_of_a_batch_the_latest_moment_is_reckoned_whichever_question_comes_last(running: Running) -> None:
    """The timer of a day, and behind it an event of the day before: sixty good orders are out of the window."""
    rates = Rates(running.database("escalation"), Programmes.shipped())
    await heard(rates, *(order_registered(number, placed_at=AT - timedelta(days=90)) for number in range(100, 160)))
    await heard(rates, *(order_registered(number) for number in range(20)), case_opened(1), case_opened(2))
    batch = batch_of([ask(1), ask(2, at=AT - timedelta(days=1))])
    findings = await rates.find(batch)
    state: IssueRate | None = None
    for inbound in batch:
        state = follow_rate(state, inbound, AskIssueRate(merchant_id="shop"), findings).state
    assert state is not None
    assert (state.status, state.orders, state.at) == ("sanctioned", 20, AT)


def counted(envelope: Envelope) -> int | None:
    return envelope.message.rate.counted if isinstance(envelope.message, IssueRateChanged) else None


def status(envelope: Envelope) -> str | None:
    return envelope.message.rate.status if isinstance(envelope.message, IssueRateChanged) else None


async def test_a_merchant_s_window_is_reckoned_once_a_batch_however_many_events_ask(running: Running) -> None:
    counter = CommandCounter()
    client = connect(running.settings, counter)
    rates = Rates(client[running.settings.prefixed("escalation")], Programmes.shipped())
    await heard(rates, *(order_registered(number) for number in range(40)), *(case_opened(number) for number in range(30)))
    batch = batch_of([ask(number) for number in range(200)])
    counter.counts.clear()
    findings = await rates.find(batch)
    assert sum(counter.counts.values()) <= 4, counter.counts
    state: IssueRate | None = None
    told: list[str] = []
    for inbound in batch:
        step = follow_rate(state, inbound, AskIssueRate(merchant_id="shop"), findings)
        if step.emissions:
            told.append(inbound.envelope.id)
        state = step.state
    assert told == ["ask-199"], "the last of the questions is answered, for all of them"
    assert state is not None
    assert (state.status, state.counted) == ("sanctioned", 30)
    client.close()
