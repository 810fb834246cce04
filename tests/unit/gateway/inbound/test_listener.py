"""The SMTP side: what it takes, what it refuses, and that it acknowledges nothing that is not kept."""

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import aiosmtplib
import pytest

from services.gateway.inbound import listener as listening
from services.gateway.inbound.listener import Listener
from services.gateway.inbound.mailroom import MAIL_LIMIT

HEAD = b"From: kim@mail.example\r\nSubject: Hello\r\n\r\n"


class Mailroom:
    domain = "recourse.example"

    def __init__(self) -> None:
        self.kept: list[tuple[bytes, str, tuple[str, ...]]] = []
        self.failing = False

    async def keep(self, raw: bytes, return_path: str, recipients: Sequence[str]) -> str:
        if self.failing:
            raise ConnectionError("the store is away")
        self.kept.append((raw, return_path, tuple(recipients)))
        return "mai_1"


@asynccontextmanager
async def running() -> AsyncIterator[tuple[Mailroom, int]]:
    mailroom = Mailroom()
    place = socket.create_server(("127.0.0.1", 0))
    place.setblocking(False)
    serving = asyncio.create_task(Listener(mailroom, place, "inbound.recourse.example").serve())
    try:
        yield mailroom, place.getsockname()[1]
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


def client(port: int) -> aiosmtplib.SMTP:
    return aiosmtplib.SMTP(hostname="127.0.0.1", port=port, local_hostname="mx.example", timeout=30)


async def test_a_mail_is_taken_byte_for_byte_for_the_own_domain_only() -> None:
    async with running() as (mailroom, port), client(port) as smtp:
        await smtp.ehlo()
        assert smtp.esmtp_extensions["size"] == str(MAIL_LIMIT)
        content = HEAD + b".\r\n..\r\n" + b"z" * 200_000 + b"\r\n\xff\x00 end\r\n"
        await smtp.sendmail("kim@mail.example", ["Case+X@Recourse.Example"], content)
        assert mailroom.kept == [(content, "kim@mail.example", ("Case+X@Recourse.Example",))]
        with pytest.raises(aiosmtplib.SMTPRecipientsRefused) as refused:
            await smtp.sendmail("kim@mail.example", ["somebody@else.example"], content)
        assert refused.value.recipients[0].code == 550
        await smtp.rset()
        await smtp.mail("")
        await smtp.rcpt("help@recourse.example")
        await smtp.data(HEAD + b"From a server\r\n")
        assert mailroom.kept[-1][1] == ""


async def test_what_is_too_large_is_refused_and_the_session_goes_on() -> None:
    async with running() as (mailroom, port), client(port) as smtp:
        for content in (HEAD + b"x" * 76 * 350_000, HEAD + (b"y" * 76 + b"\r\n") * 350_000):
            await smtp.mail("kim@mail.example")
            await smtp.rcpt("help@recourse.example")
            with pytest.raises(aiosmtplib.SMTPDataError) as refused:
                await smtp.data(content)
            assert refused.value.code == 552
        assert mailroom.kept == []
        await smtp.sendmail("kim@mail.example", ["help@recourse.example"], HEAD + b"small\r\n")
        assert len(mailroom.kept) == 1


async def test_what_cannot_be_kept_is_not_acknowledged() -> None:
    async with running() as (mailroom, port), client(port) as smtp:
        mailroom.failing = True
        with pytest.raises(aiosmtplib.SMTPDataError) as refused:
            await smtp.sendmail("kim@mail.example", ["help@recourse.example"], HEAD + b"Hello\r\n")
        assert refused.value.code == 451
        mailroom.failing = False
        await smtp.sendmail("kim@mail.example", ["help@recourse.example"], HEAD + b"Hello\r\n")
        assert len(mailroom.kept) == 1


async def test_a_mail_hidden_behind_a_bare_line_end_stays_part_of_the_mail() -> None:
    async with running() as (mailroom, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for line in (b"EHLO a", b"MAIL FROM:<a@b.example>", b"RCPT TO:<help@recourse.example>", b"DATA"):
            writer.write(line + b"\r\n")
        smuggled = b"Subject: one\r\n\r\nText\n.\nMAIL FROM:<boss@b.example>\n.\r\nmore\r\n"
        writer.write(smuggled + b".\r\nQUIT\r\n")
        await writer.drain()
        async with asyncio.timeout(10):
            await reader.read()
        writer.close()
        assert [content for content, _, _ in mailroom.kept] == [smuggled]


async def test_there_are_as_many_sessions_as_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "_SESSIONS", 2)
    async with running() as (mailroom, port):
        async with client(port) as first, client(port):
            with pytest.raises(aiosmtplib.SMTPConnectError):
                await client(port).connect()
            await first.sendmail("a@b.example", ["help@recourse.example"], HEAD + b"Hello\r\n")
        await asyncio.sleep(0.1)
        async with client(port) as again:
            await again.noop()
        assert len(mailroom.kept) == 1
