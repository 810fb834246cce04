"""Where the mailroom puts a mail: in whose name it speaks, and what it makes of what servers send back."""

from collections.abc import Sequence
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from contracts.base import Message
from contracts.envelope import Record, decode
from contracts.mailboxes import message_id
from contracts.notices import NoticeBounced
from services.gateway.commands import Commands
from services.gateway.inbound.mailroom import Mailroom
from tests.written_mails import WRITTEN, Envelope

SECRET, DOMAIN = "secret", "recourse.example"
ORDER_ID = f"ord_{'a' * 32}"
CASE_ID = f"cas_{'a' * 32}_1"
NOTICE_ID = f"ntc_{'a' * 32}_{'b' * 16}"
NOW = datetime(2021, 3, 1, 10, tzinfo=UTC)
ORDER = {
    "order": {
        "order_id": ORDER_ID,
        "merchant_id": "shop",
        "merchant_locale": "en",
        "placed_at": "2021-02-01T10:00:00.000Z",
        "buyer": {"email": "kim@mail.example"},
    },
    "standing": {
        "status": "reported_problem",
        "protection": {"state": "active"},
        "payout": {"held": True},
        "open_cases": [{"case_id": CASE_ID, "programme": "protection", "reason": "not_received"}],
        "cases": [CASE_ID],
        "version": 1,
    },
}
MERCHANT = {"merchant": {"notify": [{"email": "cases@shop.example"}], "service_contact": {"email": "service@shop.example"}}}


def told(party: str) -> dict[str, Any]:
    """The entry of the case's history that says that a notice was sent."""
    notice = {
        "notice_id": NOTICE_ID,
        "kind": "reminder",
        "party": party,
        "to": f"{party}@x.example",
        "state": "sent",
        "server": "mx.x.example",
        "server_reply": "250 ok",
        "at": "2021-03-01T09:00:00.000Z",
    }
    return {"data": {"order_id": ORDER_ID, "case_id": CASE_ID, "notice": notice}}


class Room:
    """A mailroom whose store knows one order with one case, and one notice of it or none."""

    def __init__(self, proof: dict[str, Any] | None) -> None:
        self.published: list[tuple[str, Message]] = []
        self.asked: list[Any] = []
        self.settled: dict[str, Any] = {}
        self._raw = b""
        self._proof = proof
        clock = SimpleNamespace(now=lambda: NOW)
        commands = Commands(None, None, self, None, clock)  # type: ignore[arg-type]  # only what publishes
        commands.ask = self._ask  # type: ignore[method-assign]
        gateway = SimpleNamespace(
            settings=SimpleNamespace(secret=SECRET, reply_domain=DOMAIN, mail_from=f"no-reply@{DOMAIN}"),
            clock=clock,
            commands=commands,
            objects=SimpleNamespace(get_mail=self._get_mail),
            reads=SimpleNamespace(get=self._get),
            database={"history": SimpleNamespace(find_one=self._find_proof)},
        )
        mails = SimpleNamespace(settle=self._settle, written_lately=self._written_lately)
        self._room = Mailroom(gateway, mails)  # type: ignore[arg-type]

    async def place(self, raw: bytes, return_path: str) -> dict[str, Any]:
        """Put a mail where it belongs; what was written of that."""
        self._raw = raw
        document = {
            "_id": "mai_1",
            "mail_id": "mai_1",
            "address": None,
            "recipients": [f"no-reply@{DOMAIN}"],
            "return_path": return_path,
            "arrived_at": "2021-03-01T10:00:00.000Z",
        }
        await self._room._place(document)
        return self.settled

    async def publish(self, records: Sequence[tuple[str, Record]]) -> None:
        self.published += [(topic, decode(record.value, record.headers).message) for topic, record in records]

    async def _ask(self, topic: Any, key: str, message: Message, *_: Any) -> dict[str, Any]:
        self.asked.append(message)
        return {"message_id": "msg_1"}

    async def _get_mail(self, mail_id: str) -> bytes:
        return self._raw

    async def _get(self, collection: str, key: str) -> dict[str, Any] | None:
        return {"body": ORDER if key == ORDER_ID else MERCHANT}

    async def _find_proof(self, wanted: dict[str, Any]) -> dict[str, Any] | None:
        return self._proof

    async def _written_lately(self, *_: Any) -> int:
        return 0

    async def _settle(self, mail_id: str, changed: dict[str, Any]) -> None:
        self.settled = changed


@pytest.mark.rule("CP-04")
@pytest.mark.parametrize(
    ("party", "sender", "speaks"),
    [
        ("buyer", "kim@mail.example", "buyer"),
        ("merchant", "cases@shop.example", "merchant"),
        ("buyer", "cases@shop.example", None),
        ("merchant", "kim@mail.example", None),
        # Whoever acts for the platform has a key. Its notices reach mailboxes, and whoever is sent one on learns its id.
        ("platform", "cases@shop.example", None),
        ("platform", "kim@mail.example", None),
        ("platform", "platform@x.example", None),
    ],
)
async def test_who_answers_a_notice_speaks_as_the_party_that_it_was_for(party: str, sender: str, speaks: str | None) -> None:
    room = Room(told(party))
    answers = message_id(SECRET, NOTICE_ID, DOMAIN)
    raw = f"From: {sender}\r\nIn-Reply-To: {answers}\r\nSubject: Re: Reminder\r\n\r\nWe have decided.\r\n"
    settled = await room.place(raw.encode(), sender)
    assert [(each.actor.role, each.case_id, each.text) for each in room.asked] == (
        [] if speaks is None else [(speaks, CASE_ID, "We have decided.")]
    )
    assert (settled["case_id"], settled["order_id"]) == (CASE_ID, ORDER_ID)
    item = settled.get("item")
    assert (item and (item["why"], item["state"])) == (None if speaks else ("foreign_sender", "open"))


@pytest.mark.rule("CP-04", "NX-08")
@pytest.mark.parametrize("proof", [told("merchant"), None], ids=["proved", "faster than its proof"])
async def test_a_bounce_is_told_to_notifications_whatever_is_known_of_its_notice_here(proof: dict[str, Any] | None) -> None:
    room = Room(proof)
    bounce = next(each for each in WRITTEN if each.name == "a bounce for good")
    envelope = Envelope("cases@shop.example", f"no-reply@{DOMAIN}", message_id(SECRET, NOTICE_ID, DOMAIN))
    settled = await room.place(bounce.make(envelope), "")
    reply = "bounced: smtp; 550 5.1.1 no such user"
    assert room.published == [
        ("notifications.commands", NoticeBounced(order_id=ORDER_ID, notice_id=NOTICE_ID, reply=reply, at=NOW))
    ]
    assert (settled["item"]["why"], settled["order_id"], settled.get("case_id")) == ("bounce", ORDER_ID, proof and CASE_ID)
