"""Handing mails over: what a server's replies mean, and what a broken connection does not."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from chassis.clock import RealClock, SandboxClock
from contracts.base import format_moment
from contracts.notices import NoticeProof
from contracts.platform import ClockTick
from deploy.local.ports import free_port
from services.notifications import smtp
from services.notifications.handlers import notice_of
from services.notifications.letters import notices_for
from services.notifications.sender import Postman
from services.notifications.smtp import Connection, Reply, SmtpServer
from tests.unit.notifications.story import check_in, merchant
from tests.unit.notifications.test_mails import AT, MAILER, mailer


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("smtp://mail.example", SmtpServer("mail.example", 25, False)),
        ("smtp://127.0.0.1:1025", SmtpServer("127.0.0.1", 1025, False)),
        ("smtps://mail.example", SmtpServer("mail.example", 465, True)),
        ("smtp://a%40b:p%3Aw@mail.example:587", SmtpServer("mail.example", 587, False, "a@b", "p:w")),
    ],
)
def test_addresses_of_mail_servers(url: str, expected: SmtpServer) -> None:
    assert SmtpServer.of(url) == expected


@pytest.mark.parametrize("url", ["", "mail.example", "http://mail.example", "smtp://"])
def test_what_is_no_mail_server_is_told_so(url: str) -> None:
    with pytest.raises(ValueError, match="no mail server"):
        SmtpServer.of(url)


class Server:
    """A mail server that answers as a test says: `answers` maps a command to its reply; None breaks the connection."""

    def __init__(self, answers: dict[str, Any]) -> None:
        self.answers = {"GREETING": "220 test ESMTP", "EHLO": "250 test.example", "QUIT": "221 bye", "RSET": "250 ok"} | answers
        self.connections = 0
        self.commands: list[str] = []

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        command = "GREETING"
        try:
            while (reply := self.reply(command)) is not None:
                writer.write(f"{reply}\r\n".encode())
                if reply.startswith("354"):
                    await reader.readuntil(b"\r\n.\r\n")
                    command = "CONTENT"
                else:
                    line = await reader.readline()
                    if not line:
                        return
                    command = line.split()[0].decode().upper()
                self.commands.append(command)
        finally:
            writer.close()

    def reply(self, command: str) -> str | None:
        answer = self.answers.get(command, "354 go on" if command == "DATA" else "250 ok")
        return answer() if callable(answer) else answer


def postman(port: int) -> Postman:
    return Postman(
        store=None,  # type: ignore[arg-type]  # nothing is read here
        publisher=None,  # type: ignore[arg-type]
        clock=RealClock(),
        mailer=MAILER,
        server=SmtpServer.of(f"smtp://127.0.0.1:{port}"),
    )


@asynccontextmanager
async def serving(answers: dict[str, Any]) -> AsyncIterator[tuple[Server, Connection]]:
    server, port = Server(answers), free_port()
    listening = await asyncio.start_server(server.handle, "127.0.0.1", port)
    connection = Connection(SmtpServer.of(f"smtp://127.0.0.1:{port}"), MAILER.sender, lambda: None, lambda error: None)
    try:
        yield server, connection
    finally:
        connection.drop()
        listening.close()


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smtp, "back_off", lambda attempt: 0.01)


def once(first: str | None, then: str) -> Callable[[], str | None]:
    answers: list[str | None] = [first]
    return lambda: answers.pop() if answers else then


@pytest.mark.parametrize(
    ("answers", "code"),
    [
        ({}, 250),
        ({"RCPT": "550 5.1.1 unknown"}, 550),
        ({"RCPT": "450 4.2.1 busy"}, 450),
        ({"DATA": "554 5.6.0 no"}, 554),
        ({"CONTENT": "552 5.3.4 too big"}, 552),
        ({"CONTENT": "451 4.3.0 disk full"}, 451),
    ],
)
async def test_a_reply_about_the_mail_is_its_outcome(answers: dict[str, Any], code: int) -> None:
    async with serving(answers) as (server, connection):
        reply = await connection.deliver("a@b.example", b"Subject: x\r\n\r\nhello\r\n")
        assert reply.code == code
        assert reply.server.startswith("test.example (127.0.0.1:")
        again = await connection.deliver("a@b.example", b"Subject: x\r\n\r\nhello\r\n")
        assert again.code == code
        assert server.connections == 1


@pytest.mark.parametrize(
    "answers",
    [
        {"MAIL": once(None, "250 ok")},
        {"CONTENT": once(None, "250 kept")},
        {"RCPT": once("421 4.3.2 closing", "250 ok")},
        {"MAIL": once("451 4.7.1 slow down", "250 ok")},
        {"GREETING": once("554 no", "220 test")},
        {"EHLO": once(None, "250 test.example")},
    ],
)
async def test_a_server_that_will_not_now_is_asked_again(answers: dict[str, Any]) -> None:
    async with serving(answers) as (server, connection):
        reply = await connection.deliver("a@b.example", b"Subject: x\r\n\r\nhello\r\n")
        assert reply.code == 250
        assert server.connections == 2


@pytest.mark.rule("RD-07", "NX-08")
@pytest.mark.parametrize(
    ("answers", "why"),
    [
        ({"CONTENT": None}, "ended each time"),
        ({"RCPT": "421 4.7.0 deferred"}, "421 4.7.0 deferred"),
        ({"DATA": "421 4.3.2 closing"}, "421 4.3.2 closing"),
        ({"CONTENT": "421 4.3.0 busy"}, "421 4.3.0 busy"),
    ],
)
async def test_a_mail_on_which_the_connection_ends_each_time_is_put_off(answers: dict[str, Any], why: str) -> None:
    async with serving(answers) as (server, connection):
        for connections in (5, 10):
            reply = await connection.deliver("a@b.example", b"Subject: x\r\n\r\nhello\r\n")
            assert reply.code == 451
            assert why in reply.text
            assert server.connections == connections


async def test_an_address_beyond_ascii_needs_a_server_that_can() -> None:
    async with serving({"EHLO": "250-test.example\r\n250 SMTPUTF8"}) as (server, connection):
        assert (await connection.deliver("ü@b.example", b"Subject: x\r\n\r\nhello\r\n")).code == 250
    async with serving({}) as (server, connection):
        assert (await connection.deliver("ü@b.example", b"Subject: x\r\n\r\nhello\r\n")).code == 553
        assert "MAIL" not in server.commands


async def test_the_work_ends_although_a_library_loses_a_cancellation(monkeypatch: pytest.MonkeyPatch) -> None:
    lost = 0

    async def sending(self: Postman) -> None:
        nonlocal lost
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            lost += 1
        await asyncio.Event().wait()

    monkeypatch.setattr(Postman, "_send", sending)
    work = asyncio.create_task(postman(1).work())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    work.cancel()
    await asyncio.wait([work], timeout=5)
    assert work.cancelled()
    assert lost == 4


@pytest.mark.rule("NX-05", "BP-05")
@pytest.mark.parametrize(("notice", "sent_at"), [({}, "2019-08-02T12:00:00.000Z"), ({"retry_at": AT}, AT)])
async def test_on_the_test_clock_a_mail_was_sent_when_it_fell_due(notice: dict[str, Any], sent_at: str) -> None:
    """A move of thirty days sends what is due on the second with the second's date, and what was put off when it is tried."""
    clock = SandboxClock()
    clock.tick(ClockTick(generation=1, now=datetime(2019, 8, 31, 12, tzinfo=UTC), round=0))
    settled: dict[str, NoticeProof] = {}

    class Settling:
        async def settle(self, proofs: dict[str, NoticeProof]) -> None:
            settled.update(proofs)

    sending = dataclasses.replace(postman(1), clock=clock, store=Settling())  # type: ignore[arg-type]
    (request,) = notices_for(check_in(), None)
    notice = notice_of(request, "cause", 3, "2019-08-02T12:00:00.000Z") | notice
    await sending._settle([(notice, Reply(250, "kept", "mx.b.example"))])
    assert format_moment(settled[notice["_id"]].at) == sent_at
    mail = mailer(clock).write(notice, merchant())
    assert f"X-Recourse-Sent-At: {sent_at}\r\n".encode() in mail


async def test_the_words_of_a_refusal_stay_out_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    settled: dict[str, NoticeProof] = {}

    class Settling:
        async def settle(self, proofs: dict[str, NoticeProof]) -> None:
            settled.update(proofs)

    sending = postman(1)
    sending.store = Settling()  # type: ignore[assignment]
    notice = {
        "_id": "ntc_1",
        "kind": "check_in",
        "party": "buyer",
        "to": "b@b.example",
        "case_id": None,
        "created_at": AT,
    }
    reply = Reply(550, "<b@b.example> is unknown", "mx.b.example")
    await sending._settle([(notice, reply)])
    assert settled["ntc_1"].server_reply == "550 <b@b.example> is unknown"
    assert "ntc_1 was refused with 550" in caplog.text
    assert "b@b.example" not in caplog.text
