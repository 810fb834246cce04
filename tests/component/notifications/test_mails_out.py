"""Mails on real parts: what events cause arrives by SMTP once, with proof, whatever breaks in between."""

import asyncio
import contextlib
import dataclasses
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from aiosmtpd.smtp import SMTP, Envelope, Session

from contracts.base import Message
from contracts.capability import read
from contracts.envelope import Envelope as Sent
from contracts.ids import merchant_key, order_id_of
from contracts.notices import NoticeBounced, NoticeDelayed, NoticeFailed, NoticeProof, NoticeSent, SendLink
from contracts.orders import MerchantChanged
from contracts.topics import CASES_EVENTS, INTAKE_EVENTS, NOTIFICATIONS_COMMANDS, NOTIFICATIONS_EVENTS
from deploy.local import Stack
from deploy.local.mailsink import Mailbox, Mailsink
from deploy.local.ports import free_port
from services.notifications import app, sender
from services.notifications.sender import RETRY_AFTER
from services.notifications.store import NoticeStore
from tests.component.running import Running, envelope_of, own_namespace, reading
from tests.unit.notifications.story import CASE_ID, ORDER_ID, REPORTED, Story, check_in, merchant

SECRET = "k" * 32


class Post:
    """A namespace with a mailbox, whose server can be taken away and put back."""

    def __init__(self, running: Running, mailbox: Mailbox, port: int) -> None:
        self.running = running
        self.mailbox = mailbox
        self.port = port
        self.sink = Mailsink(mailbox)
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        self._server = await self.sink.serve(self.port)

    def close(self) -> None:
        if self._server is not None:
            self._server.close()

    def start(self, instance: str = "notifications-1") -> None:
        self.running.start(app.serve, instance)

    async def crash(self, instance: str = "notifications-1") -> None:
        """End a process with nothing put in order but its connections."""
        task, _ = self.running._services.pop(instance)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def merchant(self, at: datetime = REPORTED, **changes: Any) -> None:
        changed = MerchantChanged(merchant=merchant(**changes))
        await self.running.send(INTAKE_EVENTS, envelope_of(changed, merchant_key("shop"), at, source="intake", sequence=1))

    async def tell(self, events: Iterable[Message], first: int = 1) -> list[Sent]:
        """Events of the case, as cases publishes them."""
        envelopes = [
            envelope_of(event, ORDER_ID, event.at, f"event-{number}", source="cases", sequence=number)  # type: ignore[attr-defined]
            for number, event in enumerate(events, first)
        ]
        await self.running.send(CASES_EVENTS, *envelopes)
        return envelopes

    async def arrived(self, count: int) -> list[dict[str, Any]]:
        """All mails, once there are so many."""

        async def look() -> int:
            return self.mailbox.stats()["mails"]

        await eventually(look, lambda mails: mails >= count)
        return self.mailbox.mails(limit=1_000)["items"]

    async def notices(self, done: Callable[[list[dict[str, Any]]], bool]) -> list[dict[str, Any]]:
        """All notices, once `done` says so of them."""
        collection = self.running.database("notifications")["notices"]
        return await eventually(lambda: collection.find().to_list(None), done)


async def eventually(look: Callable[[], Awaitable[Any]], done: Callable[[Any], bool], timeout_s: float = 60.0) -> Any:
    """What is seen, once `done` says so of it. Raises TimeoutError."""
    async with asyncio.timeout(timeout_s):
        while not done(seen := await look()):  # noqa: ASYNC110 - nothing in a store or mailbox wakes a test
            await asyncio.sleep(0.02)
    return seen


@asynccontextmanager
async def post_of(stack: Stack, folder: Path) -> AsyncIterator[Post]:
    async with own_namespace(stack) as running:
        port = free_port()
        running.settings = dataclasses.replace(
            running.settings, smtp_url=f"smtp://127.0.0.1:{port}", secret=SECRET, base_url="https://recourse.example"
        )
        mailbox = Mailbox(folder)
        post = Post(running, mailbox, port)
        try:
            await running.tick(REPORTED)
            await post.open()
            yield post
        finally:
            await running.stop_all()
            post.close()
            mailbox.close()


@pytest.fixture
async def post(stack: Stack, tmp_path: Path) -> AsyncIterator[Post]:
    async with post_of(stack, tmp_path) as opened:
        yield opened


def all_done(notices: list[dict[str, Any]]) -> bool:
    return bool(notices) and all(notice["state"] != "queued" for notice in notices)


@pytest.mark.rule("BP-05", "BP-09", "BP-13", "NX-15", "CP-02")
async def test_the_mails_of_a_case_arrive_once_with_working_links_and_proof(post: Post) -> None:
    story = Story().reported().later(days=1).answered("yes")
    await post.merchant()
    asked = envelope_of(check_in(), ORDER_ID, REPORTED, "check-in", source="intake", sequence=9)
    await post.running.send(INTAKE_EVENTS, asked)
    linked = SendLink(
        order_id=ORDER_ID, order_number="A-1", merchant_id="shop", merchant_name="Shop", email="bea@buyer.example", locale="en"
    )
    await post.running.send(NOTIFICATIONS_COMMANDS, envelope_of(linked, ORDER_ID, REPORTED, "link"))
    async with reading(post.running, NOTIFICATIONS_EVENTS) as events:
        post.start()
        envelopes = await post.tell(story.told)
        mails = await post.arrived(6)
        told = await events.until(lambda seen: len(seen) == 4)
        await post.notices(all_done)

        # Everything once more, as after a broker that answered too late: nobody is told twice.
        await post.running.send(INTAKE_EVENTS, asked)
        await post.running.send(CASES_EVENTS, *envelopes)
        story.writes("buyer", "Thank you!")
        await post.tell(story.last, first=len(envelopes) + 1)
        await post.arrived(7)
        notices = await post.notices(lambda notices: len(notices) == 8 and all_done(notices))
        await events.until(lambda seen: len(seen) == 5)

    assert sorted((mail["kind"], mail["to"]) for mail in mails) == [
        ("answer", "bea@buyer.example"),
        ("case_opened", "all@shop.example"),
        ("case_opened", "bea@buyer.example"),
        ("case_opened", "new@shop.example"),
        ("check_in", "bea@buyer.example"),
        ("link", "bea@buyer.example"),
    ]
    assert post.mailbox.stats()["duplicates"] == 0
    for mail in post.mailbox.mails()["items"]:
        url = next(link["url"] for link in mail["links"] if link["rel"] == "act")
        capability = read(SECRET, url.removeprefix("https://recourse.example/l/"))
        assert capability.order_id == ORDER_ID == mail["order_id"]
        merchants = mail["to"].endswith("shop.example")
        assert (capability.role, capability.case_id) == (("merchant", CASE_ID) if merchants else ("buyer", None))
        assert mail["sent_at"] == f"2019-08-{10 if mail['kind'] in ('answer', 'message') else 9:02d}T12:00:00.000Z"
    assert sorted(notice["state"] for notice in notices) == ["addressed"] + ["sent"] * 7
    opened = next(one.message for one in told if one.message.notice.to == "new@shop.example")  # type: ignore[attr-defined]
    assert isinstance(opened, NoticeSent)
    assert (opened.case_id, opened.notice.kind, opened.notice.party, opened.notice.state) == (
        CASE_ID,
        "case_opened",
        "merchant",
        "sent",
    )
    assert opened.notice.server.startswith("mailsink.recourse.localhost (127.0.0.1:")
    assert opened.notice.server_reply.startswith("250 2.0.0 kept <ntc_")
    assert opened.notice.deadline_id == story.told[0].change.deadlines_set[0].deadline_id  # type: ignore[attr-defined]
    assert {one.key for one in told} == {ORDER_ID}
    assert not any(one.settles or one.sequence for one in told)


class Program:
    """The mail server as a process of its own, on the post's port and folder."""

    def __init__(self, post: Post, folder: Path) -> None:
        self._http = free_port((post.port,))
        ports = ["--smtp-port", str(post.port), "--http-port", str(self._http)]
        self._command = [sys.executable, "-m", "deploy.local.mailsink", *ports, "--data", str(folder)]
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(*self._command)

        async def look() -> bool:
            with contextlib.suppress(httpx.TransportError):
                return (await self.get("/health"))["status"] == "ok"
            return False

        await eventually(look, bool)

    async def kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    async def get(self, path: str) -> Any:
        async with httpx.AsyncClient() as client:
            return (await client.get(f"http://127.0.0.1:{self._http}{path}")).json()


async def test_a_mail_server_that_is_away_is_waited_for(post: Post, tmp_path: Path) -> None:
    post.close()
    await post.merchant()
    await post.tell(Story().reported().told)
    health = f"http://127.0.0.1:{(port := free_port())}/health"
    post.running.settings = dataclasses.replace(post.running.settings, health_port=port)
    post.start()
    await post.notices(lambda notices: [notice["state"] for notice in notices].count("addressed") == 1)

    async def noted() -> str:
        async with httpx.AsyncClient() as client:
            return " ".join((await client.get(health)).json().get("notes", ()))

    await eventually(noted, lambda notes: "mail server cannot be reached" in notes)
    notices = await post.notices(bool)
    assert sorted(notice["state"] for notice in notices) == ["addressed", "queued", "queued", "queued"]
    server = Program(post, tmp_path)
    try:
        await server.start()
        await post.arrived(3)
        await post.notices(all_done)
        await eventually(noted, lambda notes: not notes)
        await server.kill()  # with the service's connections open
        await post.tell(Story().reported().writes("platform", "Hello.").last, first=2)
        await post.notices(lambda notices: len(notices) == 6)
        await server.start()
        await post.arrived(5)
        await post.notices(all_done)
        assert await server.get("/stats") == {
            "mails": 5,
            "duplicates": 0,
            "refused": 0,
            "by_kind": {"case_opened": 3, "message": 2},
        }
    finally:
        await server.kill()


@pytest.mark.rule("NX-08")
async def test_a_refused_recipient_is_told(post: Post) -> None:
    post.mailbox.refuse("bea@buyer.example")
    await post.merchant()
    async with reading(post.running, NOTIFICATIONS_EVENTS) as events:
        post.start()
        await post.tell(Story().reported().told)
        told = await events.until(lambda seen: len(seen) == 3)
    failed = [one.message for one in told if isinstance(one.message, NoticeFailed)]
    assert [(each.notice.to, each.notice.state) for each in failed] == [("bea@buyer.example", "failed")]
    assert failed[0].notice.server_reply.startswith("550 5.1.1")
    assert post.mailbox.stats()["mails"] == 2
    notices = await post.notices(all_done)
    assert sorted(notice["state"] for notice in notices) == ["addressed", "failed", "sent", "sent"]


@pytest.mark.rule("NX-08")
async def test_while_the_mail_server_is_away_the_cases_whose_deadlines_nobody_was_told_of_hear_it(
    post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender, "_LATE", timedelta())
    monkeypatch.setattr(sender, "_LATE_LOOK_S", 0.05)

    def delayed_in(seen: list[Sent]) -> list[NoticeProof]:
        return [one.message.notice for one in seen if isinstance(one.message, NoticeDelayed)]

    def sent_in(seen: list[Sent]) -> list[NoticeProof]:
        return [one.message.notice for one in seen if isinstance(one.message, NoticeSent)]

    addresses = {each.email for each in merchant().notify}
    await post.merchant()
    post.close()
    async with reading(post.running, NOTIFICATIONS_EVENTS) as events:
        post.start()
        await post.tell(Story().reported().told)
        told = await events.until(lambda seen: {to for one in delayed_in(seen) for to in one.to.split(", ")} == addresses)
        delayed = delayed_in(told)
        assert {(each.party, each.state) for each in delayed} == {("merchant", "delayed")}
        assert {each.deadline_id for each in delayed} != {None}
        await post.open()
        told = await events.until(lambda seen: len(sent_in(seen)) == 3)
    reached = {each.to: each.deadline_id for each in sent_in(told)}
    assert {reached[to] for to in addresses} == {each.deadline_id for each in delayed}
    assert {each.party for each in delayed_in(told)} == {"merchant"}, "the buyer's mail tells of no deadline"


@pytest.mark.rule("NX-08")
async def test_a_notice_of_a_deadline_that_is_put_off_for_hours_is_told_as_delayed(post: Post) -> None:
    post.close()
    post.sink = _Busy(post.mailbox)
    await post.open()
    await post.merchant(notify=())
    async with reading(post.running, NOTIFICATIONS_EVENTS) as events:
        post.start()
        await post.tell(Story().reported().told)
        for tries, wait in enumerate(RETRY_AFTER[:2], 1):
            await post.notices(lambda notices, tries=tries: [each["tries"] for each in notices] == [tries, tries])
            assert wait < timedelta(hours=1)
            assert events.envelopes == []
            await post.running.tick(REPORTED + sum(RETRY_AFTER[:tries], timedelta()))
        (told,) = await events.until(lambda seen: len(seen) == 1)
    assert isinstance(told.message, NoticeDelayed)
    assert (told.message.notice.party, told.message.notice.to) == ("merchant", "service@shop.example")
    assert told.message.notice.server_reply.startswith("450")


@pytest.mark.rule("NX-08")
async def test_a_mail_that_came_back_before_it_is_known_as_sent_is_told_as_failed_when_it_is(post: Post) -> None:
    """It was put off once: its server kept it and the line broke. What comes back of that says nothing of the next try."""
    post.close()
    post.sink = busy = _Busy(post.mailbox)
    await post.open()
    await post.merchant(notify=())
    async with reading(post.running, NOTIFICATIONS_EVENTS) as events:
        post.start()
        await post.tell(Story().reported().told)
        notices = await post.notices(lambda notices: [each["tries"] for each in notices] == [1, 1])
        (notice_id,) = [each["_id"] for each in notices if each["party"] == "merchant"]
        again_at = REPORTED + RETRY_AFTER[0]
        bounces = [("no such user", again_at), ("no such user", again_at), ("mailbox full", REPORTED)]
        for number, (reply, at) in enumerate(bounces):
            came_back = NoticeBounced(order_id=ORDER_ID, notice_id=notice_id, reply=f"bounced: {reply}", at=at)
            await post.running.send(NOTIFICATIONS_COMMANDS, envelope_of(came_back, ORDER_ID, at, f"bounce-{number}"))
        notices = await post.notices(lambda notices: "addressed" in [each["state"] for each in notices])
        assert sorted(each["state"] for each in notices) == ["addressed", "queued", "queued", "queued"]
        assert events.envelopes == []
        busy.busy = False
        await post.running.stop("notifications-1")
        post.start("notifications-2")  # what waits for its notice is taken over, too
        await post.running.tick(again_at)
        seen = await events.until(lambda seen: len(seen) == 3)
        notices = await post.notices(all_done)
    about = [one.message for one in seen if one.message.notice.notice_id == notice_id]  # type: ignore[attr-defined]
    assert [type(each) for each in about] == [NoticeSent, NoticeFailed]
    sent, failed = [each.notice for each in about]  # type: ignore[attr-defined]
    assert failed == sent.model_copy(update={"state": "failed", "server_reply": "bounced: no such user", "at": again_at})
    assert (failed.to, failed.party) == ("service@shop.example", "merchant")
    assert failed.deadline_id is not None
    assert sorted(each["state"] for each in notices) == ["addressed", "addressed", "failed", "sent"]


async def test_a_crash_between_acceptance_and_proof_sends_the_same_mail_again(
    post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(self: NoticeStore, proofs: object) -> None:
        await asyncio.Event().wait()

    await post.merchant()
    async with reading(post.running, NOTIFICATIONS_EVENTS) as events:
        with monkeypatch.context() as broken:
            broken.setattr(NoticeStore, "settle", never)
            post.start()
            await post.tell(Story().reported().told)
            await post.arrived(3)
            await events.until(lambda seen: len(seen) >= 1)
            await post.crash()
        post.start("notifications-2")
        notices = await post.notices(lambda notices: len(notices) == 4 and all_done(notices))
        told = await events.until(lambda seen: len({one.id for one in seen}) == 3)
    assert sorted(notice["state"] for notice in notices) == ["addressed", "sent", "sent", "sent"]
    assert post.mailbox.stats()["mails"] == 3
    assert post.mailbox.stats()["duplicates"] == 3
    assert len({one.message.notice.notice_id for one in told}) == 3  # type: ignore[attr-defined]


async def test_notices_that_a_crash_kept_back_are_sent_by_the_next_owner(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    """The order's document was written, its notices were not: the loop appends them again and the sender hears of it."""
    from chassis.store import MongoStore  # noqa: PLC0415 - to break it here only

    async def never(self: MongoStore, appends: object) -> None:
        await asyncio.Event().wait()

    await post.merchant()
    correspondence = post.running.database("notifications")["correspondence"]
    with monkeypatch.context() as broken:
        broken.setattr(MongoStore, "append", never)
        post.start()
        await post.tell(Story().reported().told)
        await eventually(correspondence.find_one, bool)
        await post.crash()
    post.start("notifications-2")
    await post.arrived(3)
    await post.notices(all_done)
    assert post.mailbox.stats()["duplicates"] == 0


async def test_a_merchant_that_becomes_known_later_is_told_then(post: Post) -> None:
    post.start()
    await post.tell(Story().reported().told)
    notices = await post.notices(lambda notices: len(notices) == 2)
    assert {notice["state"] for notice in notices} == {"queued"}
    await post.merchant()
    await post.arrived(3)


async def test_two_processes_share_the_work_and_take_over_from_each_other(post: Post) -> None:
    await post.merchant()
    orders = [order_id_of("shop", f"N-{number}") for number in range(400)]
    post.start("notifications-1")
    for first in range(0, len(orders), 100):
        await post.running.send(
            INTAKE_EVENTS,
            *(
                envelope_of(check_in(order_id=each), each, REPORTED, f"check-in-{each}", source="intake", sequence=1)
                for each in orders[first : first + 100]
            ),
        )
        if first == 100:
            post.start("notifications-2")
        if first == 200:
            await post.arrived(201)
            await post.crash("notifications-1")
    mails = await post.arrived(400)
    assert {mail["order_id"] for mail in mails} == set(orders)
    assert len(mails) == 400
    await post.notices(lambda notices: len(notices) == 400 and all_done(notices))


class _Busy(Mailsink):
    """Puts every mail off until told otherwise."""

    busy = True

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, rcpt_options: list[str]
    ) -> str:
        if self.busy:
            return "450 4.2.1 the mailbox is busy"
        return await super().handle_RCPT(server, session, envelope, address, rcpt_options)


async def test_a_mail_that_is_put_off_is_tried_again_by_the_stacks_clock(post: Post) -> None:
    post.close()
    post.sink = busy = _Busy(post.mailbox)
    await post.open()
    await post.merchant()
    await post.running.send(INTAKE_EVENTS, envelope_of(check_in(), ORDER_ID, REPORTED, "check-in", source="intake", sequence=1))
    post.start()
    (notice,) = await post.notices(lambda notices: len(notices) == 1 and notices[0]["tries"] == 1)
    assert notice["state"] == "queued"
    assert notice["last_reply"].startswith("450")
    await post.running.tick(REPORTED + RETRY_AFTER[0])
    await post.notices(lambda notices: notices[0]["tries"] == 2)
    busy.busy = False
    await post.running.stop("notifications-1")
    post.start("notifications-2")  # what waits is taken over with its moment
    await post.running.tick(REPORTED + RETRY_AFTER[0] + RETRY_AFTER[1] - timedelta(seconds=1))
    await asyncio.sleep(0.3)
    assert post.mailbox.stats()["mails"] == 0
    await post.running.tick(REPORTED + RETRY_AFTER[0] + RETRY_AFTER[1])
    await post.arrived(1)
    (notice,) = await post.notices(all_done)
    assert (notice["state"], orjson.loads(notice["proof"])["kind"]) == ("sent", "check_in")
