"""Mails that came back (NX-08): what is to be told of each, once it is known here that it was sent.

A server may send a mail back before its notice is marked as sent, and the broker may be away in between for any time. So that a
mail came back stands among the notices, as a document that is no mail. It is looked into when its turn comes, as a correction
is, and waits for its notice for as long as that takes. What comes back of a try that the server put off, though it had taken
the mail, says nothing of the next one: that may arrive, and has a bounce of its own if it does not."""

from collections.abc import Mapping
from typing import Any

from contracts.base import format_moment, parse_moment
from contracts.ids import child_id
from contracts.notices import NoticeBounced, NoticeProof
from services.notifications.store import QUEUED

__all__ = ["after_bounce", "came_back", "is_bounce", "is_of_earlier_try"]


def after_bounce(event: NoticeBounced, partition: int) -> dict[str, Any]:
    """What stands among the notices until the bounce is told. Its id is made from the notice's and the moment, as each try may
    come back; of what has failed a second one tells nothing."""
    at = format_moment(event.at)
    return {
        "_id": child_id("ntc", event.order_id, "bounce", event.notice_id, at),
        "partition": partition,
        "state": QUEUED,
        "order_id": event.order_id,
        "case_id": None,
        "kind": "bounce",
        "party": None,
        "to": None,
        "created_at": at,
        "tries": 0,
        "bounced": {"notice_id": event.notice_id, "reply": event.reply, "at": at},
    }


def is_bounce(notice: Mapping[str, Any]) -> bool:
    """Whether a document is such news and no mail."""
    return "bounced" in notice


def is_of_earlier_try(bounced: Mapping[str, Any], notice: Mapping[str, Any]) -> bool:
    """Whether it came back before the latest try of its notice, or while that is still to come."""
    return "retry_at" in notice and parse_moment(bounced["at"]) < parse_moment(notice["retry_at"])


def came_back(sent: Mapping[str, Any], bounced: Mapping[str, Any]) -> NoticeProof:
    """The proof that a notice failed, of one that was `sent` and of what its server said later."""
    proof = NoticeProof.model_validate_json(sent["proof"])
    return proof.model_copy(
        update={"state": "failed", "server_reply": bounced["reply"], "at": parse_moment(bounced["at"])},
    )
