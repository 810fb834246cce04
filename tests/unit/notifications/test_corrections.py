"""What a merchant is told again after its address was corrected, and under which ids (NX-08)."""

from typing import Any, Literal

import pytest

from contracts.base import format_moment
from contracts.cases import NoticeRecorded
from contracts.desk import Desk
from contracts.orders import MerchantChanged, NotifyAddress
from services.notifications.corrections import after_correction, after_failure, mailboxes, missed_in, told_again
from services.notifications.handlers import notice_of
from services.notifications.letters import Letter, notices_for
from tests.unit.notifications.story import ORDER_ID, REPORTED, Story, merchant

AT = format_moment(REPORTED)


def named(email: str) -> Any:
    return merchant(notify=(NotifyAddress(kind="all", email=email),))


def told_to(story: Story, *addresses: str) -> list[dict[str, Any]]:
    """The merchant's notice of the last events, to these addresses."""
    (request,) = [each for event in story.last for each in notices_for(event, story.file) if each.party == "merchant"]
    base = notice_of(request, "event", 0, AT)
    return [{**base, "_id": f"ntc_{ORDER_ID[4:]}_{number}", "to": to, "state": "sent"} for number, to in enumerate(addresses)]


def became_of(notice: dict[str, Any], state: Literal["sent", "failed"], story: Story) -> NoticeRecorded:
    of = {name: notice[name] for name in ("kind", "party", "to")}
    story.notice(state, notice_id=notice["_id"], deadline_id=notice["deadline_id"], **of)
    (event,) = story.last
    assert isinstance(event, NoticeRecorded)
    return event


def search(*added: str) -> dict[str, Any]:
    changed = MerchantChanged(merchant=named("right@shop.example"))
    found = after_correction(changed, set(mailboxes(named("old@shop.example"), Desk())), "change", 3, AT)
    assert found is not None
    assert found["added"] == ["right@shop.example"]
    return {**found, "added": list(added)}


@pytest.mark.rule("NX-08")
def test_only_a_mailbox_that_is_new_is_a_correction() -> None:
    before = mailboxes(merchant(), Desk())
    assert after_correction(MerchantChanged(merchant=merchant(name="Other")), before, "change", 0, AT) is None
    assert after_correction(MerchantChanged(merchant=merchant(notify=())), before, "change", 0, AT) is None


@pytest.mark.rule("NX-08")
def test_the_latest_notice_that_failed_goes_to_who_was_not_written_to_with_the_deadline_as_it_is() -> None:
    story = Story().reported()
    old, other = told_to(story, "old@shop.example", "other@shop.example")
    became_of(old, "failed", story)
    assert story.file is not None
    (missed,) = missed_in([story.file.model_dump(mode="json")])
    assert missed.notice_ids == (old["_id"],)
    again = told_again(search("right@shop.example"), missed, old, (old, other), ("right@shop.example", "other@shop.example"))
    assert [(each["to"], each["state"], each["partition"]) for each in again] == [("right@shop.example", "queued", 3)]
    told, before = (Letter.model_validate_json(each["letter"]) for each in (again[0], old))
    assert told.deadline == missed.deadline
    assert told.deadline != before.deadline, "it was given back meanwhile"
    once_more = told_again(search("right@shop.example"), missed, old, (old, other), ("right@shop.example",))
    assert [each["_id"] for each in once_more] == [again[0]["_id"]]
    assert not told_again(search("x@shop.example"), missed, old, (old, *again), ("right@shop.example",))


@pytest.mark.rule("NX-08")
def test_an_address_that_failed_is_tried_again_when_it_is_named_anew() -> None:
    story = Story().reported()
    (old,) = told_to(story, "old@shop.example")
    event = became_of(old, "failed", story)
    assert story.file is not None
    (missed,) = missed_in([story.file.model_dump(mode="json")])
    assert not told_again(search(), missed, old, (old,), ("old@shop.example",))
    assert len(told_again(search("old@shop.example"), missed, old, (old,), ("old@shop.example",))) == 1
    after = after_failure(event, "shop", 5, AT)
    assert after is not None
    assert (after["order_id"], after["added"]) == (ORDER_ID, [])


@pytest.mark.rule("NX-08")
def test_what_is_still_to_be_addressed_is_not_sent_again() -> None:
    story = Story().reported()
    (old,) = told_to(story, "old@shop.example")
    became_of(old, "failed", story)
    assert story.file is not None
    (missed,) = missed_in([story.file.model_dump(mode="json")])
    waiting = {**old, "_id": f"{old['_id']}a", "to": None, "state": "queued"}
    assert not told_again(search("right@shop.example"), missed, old, (old, waiting), ("right@shop.example",))


@pytest.mark.rule("NX-08")
def test_a_deadline_of_which_nothing_failed_is_left_alone() -> None:
    story = Story().reported()
    (sent,) = told_to(story, "all@shop.example")
    became_of(sent, "sent", story)
    assert story.file is not None
    assert not list(missed_in([story.file.model_dump(mode="json")]))
