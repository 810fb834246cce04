"""Every row of the table of buyer protection, driven as its parties would, silence included."""

from datetime import UTC, datetime

import pytest

from contracts.cases import CaseMoved, FactAttached, ReminderGiven
from engine.calendar import add
from engine.decide import evolve
from tests.unit.engine.playing import REPORTED, ZONE, Play, euros, fences, problem
from tests.unit.engine.rows import Row, Step, act, check, each_row, fact, silence, silent_about


def answer(refund: str, amount: str | None = None) -> Step:
    return lambda play: play.act(
        "merchant", "answer", refund=refund, message="Why", **({"refund_amount": euros(amount)} if amount else {})
    )


def react(reaction: str) -> Step:
    return act("buyer", "react", reaction=reaction)


def decided(outcome: str, amount: str | None = None) -> Step:
    more = {"refund_amount": euros(amount)} if amount else {}
    return act("platform", "decide", outcome=outcome, message="Because", **more)


PROPOSED = act("platform", "propose", message="Meet halfway", refund_amount=euros(50))
ASKED = act("platform", "request_evidence", party="merchant", message="Proof of delivery?")
SENT = act("buyer", "return_sent", tracking_code="T1")
WAITED_FOR = act("platform", "request_evidence", party="buyer", message="A photo?", due_in="P3D")


REVIEW = {("platform_target", "platform"): "P7D"}
REACT = {("buyer_reaction", "buyer"): "P20D"}
AFTER_RETURN = answer("yes_after_return")

ROWS: dict[str, tuple[tuple[str, ...], Row]] = {
    "report not_received": (("BP-03", "BP-07"), Row((), "submitted", "merchant", due={("merchant_answer", "merchant"): "P5D"})),
    "report no_refund": (
        ("BP-03", "BP-07"),
        Row((), "submitted", "merchant", due={("merchant_answer", "merchant"): "P5D"}, reason="no_refund"),
    ),
    "report other": (("BP-07",), Row((), "under_review", "platform", due=REVIEW, reason="other")),
    "report merchant_insolvent": (("BP-03",), Row((), "under_review", "platform", due=REVIEW, reason="merchant_insolvent")),
    "answer yes": (
        ("BP-11", "BP-12", "BP-13"),
        Row((answer("yes"),), "awaiting_buyer", "buyer", money=("100.00", "0.00"), due=REACT),
    ),
    "answer yes, in part": (
        ("BP-12",),
        Row((answer("yes", "40"),), "awaiting_buyer", "buyer", money=("40.00", "0.00"), due=REACT),
    ),
    "answer yes after return": (
        ("BP-11", "BP-27"),
        Row((AFTER_RETURN,), "awaiting_return", "buyer", money=("100.00", "0.00"), due={("return", "buyer"): "P20D"}),
    ),
    "answer yes after return, goods already back": (
        ("BP-27",),
        Row(
            (fact("returned"), AFTER_RETURN),
            "awaiting_return",
            "merchant",
            money=("100.00", "0.00"),
            due={("return_confirmation", "merchant"): "P14D"},
        ),
    ),
    "answer no": (("BP-11", "BP-16"), Row((answer("no"),), "awaiting_buyer", "buyer", due=REACT)),
    "merchant silent": (("BP-18",), Row((silence,), "under_review", "platform", due=REVIEW)),
    "return sent": (
        ("BP-27",),
        Row(
            (AFTER_RETURN, SENT),
            "awaiting_return",
            "merchant",
            money=("100.00", "0.00"),
            due={("return_confirmation", "merchant"): "P14D"},
        ),
    ),
    "fact returned": (
        ("BP-27",),
        Row(
            (AFTER_RETURN, fact("returned")),
            "awaiting_return",
            "merchant",
            money=("100.00", "0.00"),
            due={("return_confirmation", "merchant"): "P14D"},
        ),
    ),
    "return confirmed": (
        ("BP-27",),
        Row(
            (AFTER_RETURN, SENT, act("merchant", "confirm_return")),
            "awaiting_buyer",
            "buyer",
            money=("100.00", "0.00"),
            due=REACT,
        ),
    ),
    "return confirmed before it was told": (
        ("BP-27",),
        Row((AFTER_RETURN, act("merchant", "confirm_return")), "awaiting_buyer", "buyer", money=("100.00", "0.00"), due=REACT),
    ),
    "nothing sent back": (("BP-27",), Row((AFTER_RETURN, silence), "resolved", None, "no_reaction")),
    "return not confirmed": (
        ("BP-27",),
        Row((AFTER_RETURN, SENT, silence), "under_review", "platform", money=("100.00", "0.00"), due=REVIEW),
    ),
    "received while the return is on its way": (
        ("BP-14", "BP-27"),
        Row((AFTER_RETURN, react("received")), "resolved", None, "refunded", ("0.00", "100.00"), ends=True),
    ),
    "not received while the return is on its way": (
        ("BP-14", "BP-27"),
        Row((AFTER_RETURN, SENT, react("not_received")), "under_review", "platform", money=("100.00", "0.00"), due=REVIEW),
    ),
    "full refund received": (
        ("BP-14", "BP-26"),
        Row((answer("yes"), react("received")), "resolved", None, "refunded", ("0.00", "100.00"), ends=True),
    ),
    "full refund not received": (
        ("BP-14",),
        Row((answer("yes"), react("not_received")), "under_review", "platform", money=("100.00", "0.00"), due=REVIEW),
    ),
    "partial refund received": (
        ("BP-15", "BP-26"),
        Row((answer("yes", "40"), react("received")), "resolved", None, "partially_refunded", ("0.00", "40.00")),
    ),
    "partial refund not received": (
        ("BP-15",),
        Row((answer("yes", "40"), react("not_received")), "under_review", "platform", money=("40.00", "0.00"), due=REVIEW),
    ),
    "partial refund not agreed": (
        ("BP-15",),
        Row((answer("yes", "40"), react("disagree")), "under_review", "platform", money=("40.00", "0.00"), due=REVIEW),
    ),
    "no refund accepted": (
        ("BP-16", "BP-26"),
        Row((answer("no"), react("accept")), "resolved", None, "no_refund_accepted", ends=True),
    ),
    "no refund not agreed": (("BP-16",), Row((answer("no"), react("disagree")), "under_review", "platform", due=REVIEW)),
    "silence about no refund": (("BP-17",), Row((answer("no"), silence), "resolved", None, "no_reaction")),
    "silence about a refund": (("BP-17",), Row((answer("yes"), silence), "resolved", None, "no_reaction", ("0.00", "100.00"))),
    "silence about a partial refund": (
        ("BP-17",),
        Row((answer("yes", "40"), silence), "resolved", None, "no_reaction", ("0.00", "40.00")),
    ),
    "late first answer": (
        ("BP-18",),
        Row((silence, answer("yes")), "awaiting_buyer", "buyer", money=("100.00", "0.00"), due=REACT),
    ),
    "late first answer, after return": (
        ("BP-18", "BP-27"),
        Row((silence, AFTER_RETURN), "awaiting_return", "buyer", money=("100.00", "0.00"), due={("return", "buyer"): "P20D"}),
    ),
    "late first answer, no": (("BP-18",), Row((silence, answer("no")), "awaiting_buyer", "buyer", due=REACT)),
    "first answer of a merchant that was not asked": (
        ("BP-18",),
        Row((answer("yes"),), "awaiting_buyer", "buyer", money=("100.00", "0.00"), due=REACT, reason="other"),
    ),
    "evidence asked for": (
        ("BP-19",),
        Row((silence, ASKED), "awaiting_evidence", "merchant", due={("evidence", "merchant"): "P7D"}),
    ),
    "evidence asked for by another day": (
        ("BP-19",),
        Row((silence, WAITED_FOR), "awaiting_evidence", "buyer", due={("evidence", "buyer"): "P3D"}),
    ),
    "evidence provided": (
        ("BP-19",),
        Row(
            (silence, ASKED, act("merchant", "provide_evidence", evidence=["proof.png"])),
            "under_review",
            "platform",
            due=REVIEW,
        ),
    ),
    "evidence not provided": (("BP-19",), Row((silence, ASKED, silence), "under_review", "platform", due=REVIEW)),
    "proposal": (
        ("BP-19",),
        Row(
            (silence, PROPOSED), "under_review", "platform", due={("proposal", "buyer"): "P7D", ("proposal", "merchant"): "P7D"}
        ),
    ),
    "proposal accepted by one": (
        ("BP-19",),
        Row((silence, PROPOSED, act("buyer", "accept_proposal")), "under_review", "platform"),
    ),
    "proposal accepted by both": (
        ("BP-19",),
        Row(
            (silence, PROPOSED, act("buyer", "accept_proposal"), act("merchant", "accept_proposal")),
            "resolved",
            None,
            "settled",
            ("0.00", "50.00"),
            platform_pays="50.00",
        ),
    ),
    "proposal accepted by both replaces the answer": (
        ("BP-19",),
        Row(
            (
                answer("yes"),
                react("not_received"),
                PROPOSED,
                act("merchant", "accept_proposal"),
                act("buyer", "accept_proposal"),
            ),
            "resolved",
            None,
            "settled",
            ("0.00", "50.00"),
            platform_pays="50.00",
        ),
    ),
    "proposal declined": (
        ("BP-19",),
        Row((silence, PROPOSED, act("merchant", "decline_proposal", message="No")), "under_review", "platform"),
    ),
    "proposal not replied to": (("BP-19",), Row((silence, PROPOSED, silent_about("proposal")), "under_review", "platform")),
    "decided refund": (
        ("BP-19",),
        Row((silence, decided("refund")), "resolved", None, "decided_refund", ("0.00", "100.00"), platform_pays="100.00"),
    ),
    "decided refund after an answer": (
        ("BP-19", "NX-06"),
        Row(
            (answer("yes", "40"), react("disagree"), decided("refund")),
            "resolved",
            None,
            "decided_refund",
            ("0.00", "100.00"),
            platform_pays="100.00",
        ),
    ),
    "decided partial refund": (
        ("BP-19",),
        Row(
            (silence, decided("partial_refund", "30")),
            "resolved",
            None,
            "decided_partial_refund",
            ("0.00", "30.00"),
            platform_pays="30.00",
        ),
    ),
    "decided no refund": (
        ("BP-19",),
        Row((answer("yes", "40"), react("disagree"), decided("no_refund")), "rejected", None, "decided_no_refund"),
    ),
    "platform's own target": (("BP-19",), Row((silence, silence), "under_review", "platform")),
    "withdrawn": (("BP-21",), Row((answer("yes"), act("buyer", "withdraw")), "resolved", None, "withdrawn")),
    "taken over": (
        ("BP-19",),
        Row((answer("yes"), act("platform", "take_over")), "under_review", "platform", money=("100.00", "0.00"), due=REVIEW),
    ),
    "reopened": (
        ("BP-19",),
        Row((answer("no"), silence, act("platform", "reopen", message="New facts")), "under_review", "platform", due=REVIEW),
    ),
}


@each_row(ROWS)
def test_row(row: Row) -> None:
    check(row)


@pytest.mark.rule("BP-18", "NX-07")
def test_a_case_keeps_the_policy_in_force_when_it_opened() -> None:
    for day, version, days in ((14, 1, "P7D"), (15, 2, "P5D")):
        play = Play(at=datetime(2019, 7, day, 0, 0, tzinfo=UTC))
        play.report()
        assert play.case.policy.version == version
        assert play.deadline("merchant_answer").due_at == add(play.now, days, ZONE)
        assert play.deadline("merchant_answer").policy.version == version
    early = Play(at=datetime(2019, 7, 14, 23, 59, tzinfo=UTC))
    early.report()
    early.wait("P6D")
    assert "answer" in early.allowed("merchant")
    early.wake()
    assert early.now == add(datetime(2019, 7, 14, 23, 59, tzinfo=UTC), "P7D", ZONE)


@pytest.mark.rule("BP-18")
def test_silence_happens_at_its_deadline_before_what_comes_later() -> None:
    play = Play()
    play.report()
    due = play.deadline("merchant_answer").due_at
    play.wait("P9D")
    decided = play.write("merchant", "Sorry, we are late")
    assert isinstance(decided, list)
    reminded, silent, written = decided
    assert isinstance(reminded, ReminderGiven)
    assert reminded.at < due
    assert isinstance(silent, CaseMoved)
    assert (silent.action, silent.kind_of_deadline, silent.at, silent.actor.role) == (
        "silence",
        "merchant_answer",
        due,
        "system",
    )
    assert written.at == play.now
    assert play.deadline("platform_target").due_at == add(due, "P7D", ZONE)


@pytest.mark.rule("BP-18")
def test_what_came_at_the_deadline_itself_is_late_and_what_came_before_counts() -> None:
    early, late = Play(), Play()
    for play in (early, late):
        play.report()
    early.now = early.deadline("merchant_answer").due_at.replace(minute=29, second=59)
    assert isinstance(early.act("merchant", "answer", refund="yes", message="In time"), list)
    assert early.case.state == "awaiting_buyer"
    late.now = late.deadline("merchant_answer").due_at
    late.act("merchant", "answer", refund="yes", message="Too late")
    assert [type(event).__name__ for event in late.events] == ["CaseOpened", "ReminderGiven", "CaseMoved", "CaseMoved"]


def test_several_deadlines_pass_in_their_order() -> None:
    play = Play()
    play.report()
    play.report("no_refund")
    first = play.file.cases  # type: ignore[union-attr]
    play.wait("P40D")
    decided = play.write("buyer")
    assert isinstance(decided, list)
    assert [event.at for event in decided] == sorted(event.at for event in decided)
    assert {event.case_id for event in decided} == set(first)
    assert len(decided) == 7  # two merchants reminded and silent, two platform targets, the message


def test_stale_timers_do_nothing() -> None:
    play = Play()
    play.report()
    deadline = play.deadline("merchant_answer")
    play.act("merchant", "answer", refund="no", message="It is coming")
    assert play.wake(deadline) == []
    assert play.case.state == "awaiting_buyer"
    reaction = play.deadline("buyer_reaction")
    assert play.wake(reaction.model_copy(update={"generation": 2})) == []
    play.now = REPORTED
    again = Play()
    again.report()
    early = again.deadline("merchant_answer")
    from_the_past = early.model_copy(update={"due_at": again.now})
    assert again.wake(from_the_past) == []


@pytest.mark.rule("BP-19")
def test_the_platforms_target_only_reminds_a_lead() -> None:
    play = Play()
    play.report("other")
    decided = play.wake()
    assert isinstance(decided, list)
    (event,) = decided
    assert isinstance(event, ReminderGiven)
    assert (event.deadline.kind, event.deadline.party) == ("platform_target", "platform")
    assert (play.case.state, play.case.deadlines) == ("under_review", ())


@pytest.mark.rule("BP-13", "BP-18")
def test_reminders_come_once_before_the_deadline() -> None:
    play = Play()
    play.report()
    deadline = play.deadline("merchant_answer")
    (moment,) = deadline.remind_at
    assert add(moment, "P2D", ZONE) == deadline.due_at
    version = play.case.version
    (event,) = play.remind(deadline, moment)  # type: ignore[misc]
    assert isinstance(event, ReminderGiven)
    assert event.at == moment
    assert play.case.version == version
    assert play.remind(deadline, moment) == []
    assert play.deadline("merchant_answer").remind_at == ()
    play.act("merchant", "answer", refund="yes", message="Here")
    (moment,) = play.deadline("buyer_reaction").remind_at
    assert add(moment, "P5D", ZONE) == play.deadline("buyer_reaction").due_at


@pytest.mark.rule("NX-05")
@pytest.mark.parametrize("first", ["deadline", "reminder", "party"])
def test_whatever_is_heard_first_a_reminder_comes_at_its_moment_and_before_the_deadline(first: str) -> None:
    play = Play()
    play.report()
    deadline = play.deadline("merchant_answer")
    play.now = deadline.due_at
    if first == "deadline":
        play.wake()
    elif first == "reminder":
        play.remind(deadline, deadline.remind_at[0])
    else:
        play.write("merchant", "Are we late?")
    reminded, silent = play.events[1:3]
    assert isinstance(reminded, ReminderGiven)
    assert isinstance(silent, CaseMoved)
    assert (reminded.at, silent.at) == (deadline.remind_at[0], deadline.due_at)
    assert play.remind(deadline, deadline.remind_at[0]) == []


@pytest.mark.rule("NX-06")
def test_an_agreement_on_nothing_pays_nothing() -> None:
    play = Play()
    play.report()
    play.act("merchant", "answer", refund="yes", message="All of it")
    play.act("buyer", "react", reaction="not_received")
    play.act("platform", "propose", message="The goods came after all", refund_amount=euros(0))
    play.act("buyer", "accept_proposal")
    play.act("merchant", "accept_proposal")
    assert (play.case.outcome, play.money) == ("settled", ("0.00", "0.00", "100.00"))


@pytest.mark.rule("NX-06")
def test_an_event_applied_again_pays_nothing_again() -> None:
    play = Play()
    play.report()
    play.act("merchant", "answer", refund="yes", message="All of it")
    play.act("buyer", "react", reaction="received")
    again = evolve(play.file, play.events[-1])
    assert play.file is not None
    assert again.ledger == play.file.ledger


@pytest.mark.rule("NX-06")
def test_a_fact_refunded_settles_the_reservation_and_is_not_paid_again() -> None:
    play = Play()
    play.report()
    play.act("merchant", "answer", refund="yes", message="Refunded", refund_amount=euros(60))
    (event,) = play.fact("refunded", 60)  # type: ignore[misc]
    assert isinstance(event, FactAttached)
    (entry,) = event.change.ledger
    assert (entry.kind, entry.confirmed_by, entry.case_id) == ("executed", "fact", play.case.case_id)
    assert entry.settles == play.file.ledger[0].entry_id  # type: ignore[union-attr]
    play.act("buyer", "react", reaction="received")
    assert play.case.outcome == "partially_refunded"
    assert play.money == ("0.00", "60.00", "40.00")


@pytest.mark.rule("BP-12")
def test_the_amount_is_prefilled_with_what_is_left_of_the_order() -> None:
    play = Play()
    play.fact("refunded", 25)
    play.report()
    fields = play.allowed("merchant")["answer"].fields["properties"]
    assert fields["refund_amount"]["default"] == {"amount": "75.00", "currency": "EUR"}
    assert fields["refund_amount"]["x-maximum"] == {"amount": "75.00", "currency": "EUR"}
    play.act("merchant", "answer", refund="yes", message="The rest")
    assert play.case.answer is not None
    assert (play.case.answer.variant, str(play.case.answer.refund_amount)) == ("full", "75.00 EUR")
    assert play.money == ("75.00", "25.00", "0.00")


@pytest.mark.rule("BP-19")
def test_a_proposal_that_can_no_longer_be_paid_cannot_be_accepted() -> None:
    play = Play()
    play.report("other")
    play.act("platform", "propose", message="Take 80", refund_amount=euros(80))
    play.act("buyer", "accept_proposal")
    play.fact("refunded", 50)
    refused = problem(play.act("merchant", "accept_proposal"))
    assert (refused.status, refused.type) == (409, "/problems/action-not-allowed")
    assert "decline_proposal" in refused.extra["allowed_actions"]
    assert "accept_proposal" not in refused.extra["allowed_actions"]


@pytest.mark.rule("BP-19")
def test_a_new_proposal_takes_the_place_of_the_last() -> None:
    play = Play()
    play.report("other")
    play.act("platform", "propose", message="Take 80", refund_amount=euros(80))
    play.act("merchant", "accept_proposal")
    play.act("platform", "propose", message="Take 50", refund_amount=euros(50))
    assert play.events[-1].change.proposal_ended == "superseded"  # type: ignore[attr-defined]
    assert play.case.proposal is not None
    assert play.case.proposal.accepted_by == ()
    assert sorted(each.party for each in play.case.deadlines if each.kind == "proposal") == ["buyer", "merchant"]
    play.act("platform", "decide", outcome="no_refund", message="No")
    assert play.events[-1].change.proposal_ended == "superseded"  # type: ignore[attr-defined]
    assert play.case.proposal is None


@pytest.mark.rule("BP-19")
def test_a_merchant_that_has_answered_does_not_answer_again() -> None:
    play = Play()
    play.report()
    play.act("merchant", "answer", refund="no", message="It is coming")
    play.act("buyer", "react", reaction="disagree")
    assert set(play.allowed("merchant")) == {"note"}
    assert problem(play.act("merchant", "answer", refund="yes", message="All right")).status == 409


def test_reopening_is_open_for_thirty_days() -> None:
    play = Play()
    play.report()
    play.act("buyer", "withdraw")
    closed = play.now
    play.now = add(closed, "P30D", ZONE)
    assert "reopen" in play.allowed("platform")
    play.wait("PT1S")
    assert "reopen" not in play.allowed("platform")
    assert problem(play.act("platform", "reopen", message="Late")).status == 409
    play.now = add(closed, "P30D", ZONE)
    assert isinstance(play.act("platform", "reopen", message="In time"), list)
    assert (play.case.state, play.case.outcome, play.case.closed_at) == ("under_review", None, None)


@pytest.mark.rule("BP-21", "BP-22")
def test_everyone_writes_at_any_time_and_nothing_moves() -> None:
    play = Play()
    play.report()
    for closed in (False, True):
        for role in ("buyer", "merchant", "platform"):
            state, deadlines = play.case.state, fences(*play.case.deadlines)
            assert isinstance(play.write(role), list)
            assert (play.case.state, fences(*play.case.deadlines)) == (state, deadlines)
            assert play.posted[-1].message.visible_to == ("buyer", "merchant", "platform")
        if not closed:
            play.act("buyer", "withdraw")
    assert problem(play.write("partner")).status == 403


@pytest.mark.rule("BP-21")
def test_a_note_is_an_internal_remark() -> None:
    play = Play()
    play.report()
    for role, readers in (("merchant", ("merchant", "platform")), ("platform", ("platform",))):
        assert isinstance(play.act(role, "note", text="Check the tracking"), list)
        assert play.posted[-1].message.internal
        assert play.posted[-1].message.visible_to == readers
    assert problem(play.act("buyer", "note", text="Mine")).status == 403


@pytest.mark.rule("BP-11", "BP-21")
def test_the_answers_message_and_documents_are_part_of_the_thread() -> None:
    play = Play()
    play.report()
    play.act("merchant", "answer", refund="no", message="It is late but coming", evidence=["proof.pdf"])
    event = play.events[-1]
    assert isinstance(event, CaseMoved)
    assert event.message is not None
    assert event.message.text == "It is late but coming"
    assert [each.name for each in event.message.evidence] == ["proof.pdf"]
    assert event.fields == {"refund": "no"}


@pytest.mark.rule("BP-12")
def test_an_order_without_an_amount_runs_the_same_way() -> None:
    play = Play(paid=0)
    play.report()
    play.act("merchant", "answer", refund="yes", message="Nothing was paid")
    assert play.case.answer is not None
    assert play.case.answer.variant == "full"
    play.act("buyer", "react", reaction="received")
    assert (play.case.outcome, play.file.ledger) == ("refunded", ())  # type: ignore[union-attr]
    again = Play(paid=0)
    again.report("other")
    assert again.allowed("platform")["decide"].fields["properties"]["outcome"]["enum"] == ["refund", "no_refund"]


@pytest.mark.rule("NX-06")
def test_two_cases_share_one_ledger() -> None:
    play = Play()
    first = play.report("not_received")
    second = play.report("no_refund")
    play.act("merchant", "answer", case=first, refund="yes", message="In part", refund_amount=euros(70))
    schema = play.allowed("merchant", second)["answer"].fields["properties"]["refund_amount"]
    assert schema["x-maximum"]["amount"] == "30.00"
    play.act("merchant", "answer", case=second, refund="yes", message="The rest")
    assert play.money == ("100.00", "0.00", "0.00")
    play.fact("refunded", 100)
    assert play.money == ("0.00", "100.00", "0.00")
    assert all(not entry.flags for entry in play.file.ledger)  # type: ignore[union-attr]


@pytest.mark.rule("NX-06")
def test_more_than_was_left_is_recorded_and_flagged() -> None:
    play = Play()
    play.report()
    (event,) = play.fact("refunded", 130)  # type: ignore[misc]
    assert isinstance(event, FactAttached)
    assert event.fact.flags == ("over_refund",)
    assert [entry.flags for entry in event.change.ledger] == [("over_refund",)]
    assert play.money == ("0.00", "130.00", "0.00")
    assert play.file.facts[0].flags == ("over_refund",)  # type: ignore[union-attr]


def test_what_was_seen_before_makes_nothing_new() -> None:
    play = Play()
    play.report()
    play.fact("refunded", 10, fact_id="fct_one")
    before = play.file
    assert play.fact("refunded", 10, fact_id="fct_one") == []
    assert play.file == before


def test_facts_reach_every_case_and_money_only_the_first() -> None:
    play = Play()
    play.report("not_received")
    play.act("buyer", "withdraw")
    play.report("no_refund")
    decided = play.fact("refunded", 10)
    assert isinstance(decided, list)
    assert [event.case_id[-1] for event in decided] == ["1", "2"]
    assert [len(event.change.ledger) for event in decided] == [1, 0]  # type: ignore[attr-defined]


def test_notices_are_history_that_no_reader_sees_as_a_change() -> None:
    play = Play()
    play.report()
    version, sequence = play.case.version, play.case.sequence
    assert isinstance(play.notice(), list)
    assert (play.case.version, play.case.sequence) == (version, sequence + 1)


def test_a_clock_that_is_behind_does_not_turn_the_file_back() -> None:
    play = Play()
    play.report()
    play.wait("P1D")
    play.write("buyer")
    latest = play.now
    play.now = REPORTED
    (event,) = play.write("merchant")  # type: ignore[misc]
    assert event.at == latest
