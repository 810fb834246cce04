"""Whom a mail did not reach is told again at an address that was corrected (NX-08): what of whom, and under which ids.

That something may be to be told again stands among the notices, as a document that is no mail. It is looked into when its turn
comes, as a merchant's notice is addressed then (ADR 0013), and replaced by what is to be sent."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from contracts.cases import Deadline, NoticeRecorded
from contracts.desk import Desk
from contracts.ids import child_id, derived
from contracts.notices import NoticeProof
from contracts.orders import Merchant, MerchantChanged
from engine.casefile import CLOSED
from services.notifications.letters import Letter
from services.notifications.store import QUEUED

__all__ = ["Missed", "addressed_id", "after_correction", "after_failure", "is_search", "mailboxes", "missed_in", "told_again"]


@dataclass(frozen=True, slots=True)
class Missed:
    """A deadline of a merchant that stands, and the notices of it that did not arrive, the latest first."""

    order_id: str
    deadline: Deadline
    notice_ids: tuple[str, ...]


def after_correction(event: MerchantChanged, before: set[str], cause: str, partition: int, at: str) -> dict[str, Any] | None:
    """The search for what a merchant was not told while it had the mailboxes `before`; None where it has no new one."""
    added = sorted(mailboxes(event.merchant, event.desk) - before)
    if not added:
        return None
    merchant_id = event.merchant.merchant_id
    search_id = f"ntc_{derived('correction', merchant_id, cause).replace('-', '')}"
    return _search(search_id, merchant_id, None, added, partition, at)


def after_failure(event: NoticeRecorded, merchant_id: str, partition: int, at: str) -> dict[str, Any] | None:
    """The search after a notice of a deadline that came back when the address had been corrected already; None where no
    merchant was to be told of one."""
    notice: NoticeProof = event.notice
    if notice.state != "failed" or notice.party != "merchant" or notice.deadline_id is None:
        return None
    search_id = child_id("ntc", event.order_id, "correction", notice.notice_id)
    return _search(search_id, merchant_id, event.order_id, [], partition, at)


def _search(
    search_id: str, merchant_id: str, order_id: str | None, added: list[str], partition: int, at: str
) -> dict[str, Any]:
    return {
        "_id": search_id,
        "partition": partition,
        "state": QUEUED,
        "order_id": order_id,
        "case_id": None,
        "merchant_id": merchant_id,
        "kind": "correction",
        "party": "merchant",
        "to": None,
        "audience": None,
        "created_at": at,
        "tries": 0,
        "added": added,
    }


def is_search(notice: Mapping[str, Any]) -> bool:
    """Whether a document is such a search and no mail."""
    return "added" in notice


def mailboxes(merchant: Merchant, desk: Desk) -> set[str]:
    """All addresses that a merchant's mails may go to."""
    contract = {each.email for each in merchant.notify}
    return contract | {merchant.service_contact.email} | {each.email for each in desk.consultants}


def missed_in(files: Iterable[Mapping[str, Any]]) -> Iterator[Missed]:
    """The deadlines of merchants in these case files of which a notice did not arrive."""
    for file in files:
        for case in file["cases"].values():
            if case["state"] in CLOSED:
                continue
            for kept in case["deadlines"]:
                failed = [each for each in kept["tellings"] if each["state"] == "failed"]
                if kept["party"] == "merchant" and failed:
                    deadline = Deadline.model_validate(kept)
                    latest = sorted(failed, key=lambda each: (each["at"], each["notice_id"]), reverse=True)
                    yield Missed(file["order"]["order_id"], deadline, tuple(each["notice_id"] for each in latest))


def told_again(
    search: Mapping[str, Any],
    missed: Missed,
    notice: Mapping[str, Any],
    written: Iterable[Mapping[str, Any]],
    to: Iterable[str],
) -> list[dict[str, Any]]:
    """The latest failed notice of a deadline, once more, to those of the addresses `to` that were not written to about it.
    `written` are the notices of its order. An address that failed is tried again when it is named anew; that is how a mailbox
    that was put right is told. The ids are made from notice and address: a search that is made again finds the same."""
    reached: set[str | None] = set()
    for each in written:
        about = each.get("deadline_id")
        failed = each["_id"] in missed.notice_ids and each["to"] in search["added"]
        if about == missed.deadline.deadline_id and each["party"] == "merchant" and not failed:
            reached.add(each["to"])
            if each["to"] is None and each["state"] == QUEUED:
                return []  # it goes to the present addresses anyway
    fresh = {name: value for name, value in notice.items() if name not in ("proof", "retry_at", "last_reply", "late")}
    letter = Letter.model_validate_json(notice["letter"]).model_copy(update={"deadline": missed.deadline})
    return [
        {
            **fresh,
            "_id": addressed_id(notice, address),
            "partition": search["partition"],
            "state": QUEUED,
            "to": address,
            "created_at": search["created_at"],
            "tries": 0,
            "letter": letter.model_dump_json(exclude_none=True),
        }
        for address in to
        if address not in reached
    ]


def addressed_id(notice: Mapping[str, Any], address: str) -> str:
    """The id of a notice to one of several addresses that it is for."""
    if notice["order_id"] is None:
        return f"ntc_{derived(notice['_id'], address).replace('-', '')}"
    return child_id("ntc", notice["order_id"], notice["_id"], address)
