"""Who is told what, and to which address."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from contracts.actors import Actor
from contracts.cases import DeadlineReached, ReminderReached
from contracts.ids import child_id
from contracts.notices import SendLink
from contracts.orders import NotifyAddress, ServiceContact
from services.notifications.letters import addresses_of, notices_for, party_of
from tests.unit.notifications.story import CASE_ID, ORDER_ID, Story, check_in, merchant


def told(story: Story) -> set[tuple[str, str]]:
    """(party, kind) of the last step's mails."""
    return {(each.party, each.kind) for event in story.last for each in notices_for(event, story.file)}


def silence(story: Story) -> Story:
    assert story.file is not None
    if story.file.cases[CASE_ID].deadlines[0].remind_at:
        reminder(story)
    deadline = story.file.cases[CASE_ID].deadlines[0]
    story.at = deadline.due_at
    reached = DeadlineReached(
        case_id=CASE_ID, deadline_id=deadline.deadline_id, generation=deadline.generation, due_at=deadline.due_at
    )
    return story.step(reached)


def reminder(story: Story) -> Story:
    assert story.file is not None
    deadline = story.file.cases[CASE_ID].deadlines[0]
    story.at = deadline.remind_at[0]
    reached = ReminderReached(
        case_id=CASE_ID, deadline_id=deadline.deadline_id, generation=deadline.generation, remind_at=deadline.remind_at[0]
    )
    return story.step(reached)


def reviewed() -> Story:
    return silence(Story().reported())


TABLE: list[tuple[str, Callable[[], Story], set[tuple[str, str]]]] = [
    ("BP-09", lambda: Story().reported(), {("merchant", "case_opened"), ("buyer", "case_opened")}),
    ("BP-07", lambda: Story().reported("other"), {("merchant", "case_opened"), ("buyer", "case_opened")}),
    ("BP-13", lambda: Story().reported().later(days=1).answered(), {("buyer", "answer")}),
    ("BP-21", lambda: Story().reported().writes("buyer", "Hello?"), {("merchant", "message")}),
    ("BP-21", lambda: Story().reported().writes("merchant", "Soon."), {("buyer", "message")}),
    ("BP-21", lambda: Story().reported().writes("platform", "Hm."), {("buyer", "message"), ("merchant", "message")}),
    ("BP-21", lambda: Story().reported().does("merchant", "note", text="careful"), set()),
    ("NX-05", lambda: reminder(Story().reported()), {("merchant", "reminder")}),
    ("NX-05", lambda: reminder(Story().reported().answered()), {("buyer", "reminder")}),
    ("BP-18", reviewed, {("buyer", "progress"), ("merchant", "progress")}),
    ("BP-19", lambda: silence(reviewed()), set()),
    ("BP-17", lambda: silence(Story().reported().answered()), {("buyer", "case_closed"), ("merchant", "case_closed")}),
    (
        "BP-14",
        lambda: Story().reported().answered().does("buyer", "react", reaction="received"),
        {("buyer", "case_closed"), ("merchant", "case_closed")},
    ),
    (
        "BP-14",
        lambda: Story().reported().answered().does("buyer", "react", reaction="not_received"),
        {("merchant", "progress")},
    ),
    ("BP-27", lambda: Story().reported().answered("yes_after_return").does("buyer", "return_sent"), {("merchant", "progress")}),
    (
        "BP-27",
        lambda: Story().reported().answered("yes_after_return").fact("returned"),
        {("merchant", "progress"), ("buyer", "progress")},
    ),
    (
        "BP-27",
        lambda: Story().reported().answered("yes_after_return").does("merchant", "confirm_return"),
        {("buyer", "progress")},
    ),
    ("CP-06", lambda: Story().reported().fact("shipped"), set()),
    (
        "BP-19",
        lambda: reviewed().does("platform", "request_evidence", party="buyer", message="Please."),
        {("buyer", "evidence_requested"), ("merchant", "progress")},
    ),
    (
        "BP-19",
        lambda: reviewed().does("platform", "propose", message="Half?", refund_amount={"amount": "600.00", "currency": "EUR"}),
        {("buyer", "proposal"), ("merchant", "proposal")},
    ),
    (
        "BP-19",
        lambda: (
            reviewed()
            .does("platform", "propose", message="Half?", refund_amount={"amount": "600.00", "currency": "EUR"})
            .does("buyer", "accept_proposal")
        ),
        {("merchant", "progress")},
    ),
    (
        "BP-19",
        lambda: reviewed().does("platform", "decide", outcome="no_refund", message="No."),
        {("buyer", "decision"), ("merchant", "decision")},
    ),
    (
        "BP-19",
        lambda: (
            reviewed()
            .does("platform", "decide", outcome="no_refund", message="No.")
            .later(days=1)
            .does("platform", "reopen", message="We look again.")
        ),
        {("buyer", "case_reopened"), ("merchant", "case_reopened")},
    ),
    (
        "BP-21",
        lambda: Story().reported().does("buyer", "withdraw"),
        {("buyer", "case_closed"), ("merchant", "case_closed")},
    ),
    ("BP-19", lambda: reviewed().does("platform", "take_over"), set()),
]


@pytest.mark.rule("BP-09", "BP-13", "BP-18", "BP-19", "BP-21", "BP-27")
@pytest.mark.parametrize(("rule", "play", "expected"), TABLE, ids=[f"{row[0]}-{n}" for n, row in enumerate(TABLE)])
def test_who_is_told_what(rule: str, play: Callable[[], Story], expected: set[tuple[str, str]]) -> None:
    assert told(play()) == expected


@pytest.mark.rule("BP-05")
def test_the_check_in_goes_to_the_buyer_alone() -> None:
    (notice,) = notices_for(check_in(), None)
    assert (notice.party, notice.kind, notice.to, notice.case_id) == ("buyer", "check_in", "bea@buyer.example", None)


def test_a_link_goes_to_the_address_that_asked() -> None:
    asked = SendLink(
        order_id=ORDER_ID, order_number="A-1", merchant_id="shop", merchant_name="Shop", email="b@buyer.example", locale="de"
    )
    (notice,) = notices_for(asked, None)
    assert (notice.kind, notice.to) == ("link", "b@buyer.example")


def test_mails_about_a_case_go_to_the_address_that_its_report_gave() -> None:
    story = Story().reported(contact="work@buyer.example")
    to = [each.to for each in notices_for(story.last[0], story.file, "work@buyer.example") if each.party == "buyer"]
    assert to == ["work@buyer.example"]


@pytest.mark.rule("BP-09", "CP-02")
def test_the_merchants_addresses() -> None:
    contact = ServiceContact(email="service@shop.example")
    new, everything = (NotifyAddress(kind=kind, email=f"{kind}@shop.example") for kind in ("new_case", "all"))
    assert set(addresses_of((new, everything), contact, "new_case")) == {new.email, everything.email}
    assert addresses_of((new, everything), contact, "all") == (everything.email,)
    assert addresses_of((new,), contact, "all") == (new.email,)
    assert addresses_of((new, new), contact, "new_case") == (new.email,)
    assert addresses_of((), contact, "all") == (contact.email,)


@pytest.mark.rule("BP-09", "CP-02")
def test_a_new_case_is_for_all_contract_addresses_the_rest_for_subscribers() -> None:
    story = Story().reported()
    opened = next(each for each in notices_for(story.last[0], story.file) if each.party == "merchant")
    story.writes("buyer", "Hello?")
    message = next(each for each in notices_for(story.last[0], story.file) if each.party == "merchant")
    assert (opened.audience, message.audience) == ("new_case", "all")
    assert opened.to is None


@pytest.mark.rule("NX-08")
def test_a_letter_names_the_deadline_it_tells_of() -> None:
    story = Story().reported()
    assert story.file is not None
    deadline = story.file.cases[CASE_ID].deadlines[0]
    letters = {each.party: each.letter for each in notices_for(story.last[0], story.file)}
    assert letters["merchant"].deadline == deadline
    assert letters["buyer"].deadline is None
    assert letters["buyer"].next_deadline == deadline
    assert deadline.due_at - story.at == timedelta(days=5)


def test_parties() -> None:
    assert party_of(Actor(role="partner", acts_for="buyer")) == "buyer"
    assert party_of(Actor(role="partner")) is None
    assert party_of(Actor(role="system")) is None
    assert party_of(Actor(role="merchant")) == "merchant"
    assert child_id("ntc", ORDER_ID, "x").startswith(f"ntc_{ORDER_ID[4:]}_")


def test_the_merchant_of_the_story_is_known_to_the_order() -> None:
    assert merchant().merchant_id == Story().order.merchant_id
