"""What the sandbox's mail server answers, however a client cuts what it says."""

import asyncio
from typing import Any

import pytest

from deploy.local import smtp
from deploy.local.smtp import Conversation


class _Line(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.heard = b""
        self.closed = False

    def write(self, data: Any) -> None:
        self.heard += data

    def close(self) -> None:
        self.closed = True


class _Keeper:
    """Takes mails but for those to anybody called gone; each when `free` is set."""

    def __init__(self) -> None:
        self.mails: list[tuple[str, list[str], bytes]] = []
        self.free = asyncio.Event()
        self.free.set()

    def receives(self, address: str) -> str:
        return "550 5.1.1 nobody" if address.startswith("gone@") else "250 2.1.5 OK"

    async def takes(self, sender: str, recipients: list[str], content: bytes) -> str:
        await self.free.wait()
        if content.startswith(b"break"):
            raise ValueError("broken")
        self.mails.append((sender, recipients, content))
        return f"250 2.0.0 kept {len(self.mails)}"


async def taken(conversation: Conversation) -> None:
    """Return when no mail is in hand."""
    while (taking := conversation._taking) is not None:
        await taking


async def spoken(*pieces: bytes) -> tuple[_Keeper, _Line]:
    keeper, line = _Keeper(), _Line()
    conversation = Conversation("mx.example", keeper)
    conversation.connection_made(line)
    for piece in pieces:
        conversation.data_received(piece)
    await taken(conversation)
    return keeper, line


def codes(line: _Line) -> list[int]:
    return [int(reply[:3]) for reply in line.heard.decode().splitlines() if reply[3] == " "]


SESSION = (
    b"EHLO me.example\r\nMAIL FROM:<a@x.example> SIZE=40 SMTPUTF8\r\nRCPT TO:<b@y.example>\r\nRCPT TO:<gone@y.example>\r\n"
    b"rcpt to: <\xc3\xbc@y.example>\r\nDATA\r\nSubject: x\r\n\r\n..\r\n...two\r\n .\r\nlast\n.\nline\r\n.\r\n"
    b"MAIL FROM:<>\r\nRCPT TO:<c@y.example>\r\nDATA\r\n.\r\nNOOP\r\nQUIT\r\n"
)


@pytest.mark.parametrize("cut", [1, 2, 3, 7, 64, 10_000])
async def test_what_is_sent_ahead_is_answered_in_its_order_however_it_is_cut(cut: int) -> None:
    keeper, line = await spoken(*(SESSION[at : at + cut] for at in range(0, len(SESSION), cut)))
    assert keeper.mails == [
        ("a@x.example", ["b@y.example", "ü@y.example"], b"Subject: x\r\n\r\n.\r\n..two\r\n .\r\nlast\n.\nline\r\n"),
        ("", ["c@y.example"], b""),
    ]
    assert codes(line) == [220, 250, 250, 250, 550, 250, 354, 250, 250, 250, 354, 250, 250, 221]
    assert b"250-SIZE 33554432\r\n" in line.heard
    assert line.closed


async def test_nothing_is_answered_before_the_mail_ahead_of_it_is_kept() -> None:
    keeper = _Keeper()
    keeper.free.clear()
    line = _Line()
    conversation = Conversation("mx.example", keeper)
    conversation.connection_made(line)
    conversation.data_received(b"MAIL FROM:<a@x.example>\r\nRCPT TO:<b@y.example>\r\nDATA\r\nhello\r\n.\r\nNOOP\r\n")
    await asyncio.sleep(0)
    assert codes(line) == [220, 250, 250, 354]
    keeper.free.set()
    await taken(conversation)
    assert codes(line) == [220, 250, 250, 354, 250, 250]


async def test_what_comes_out_of_order_or_makes_no_sense_is_told_so() -> None:
    _, line = await spoken(
        b"RCPT TO:<b@y.example>\r\nDATA\r\nMAIL TO:<a@x.example>\r\nMAIL FROM:<a@x.example> SIZE=99999999999\r\n",
        b"MAIL FROM:<a@x.example>\r\nMAIL FROM:<a@x.example>\r\nRCPT TO:b\r\nDATA\r\n",
        b"RSET\r\nRCPT TO:<b@y.example>\r\nVRFY b\r\n\r\n",
    )
    assert codes(line) == [220, 503, 503, 501, 552, 250, 503, 501, 503, 250, 503, 500, 500]


async def test_a_mail_that_breaks_its_taker_is_put_off_and_the_next_is_taken() -> None:
    one = b"MAIL FROM:<a@x.example>\r\nRCPT TO:<b@y.example>\r\nDATA\r\n%b\r\n.\r\n"
    keeper, line = await spoken(one % b"break", one % b"hello")
    assert codes(line) == [220, 250, 250, 354, 451, 250, 250, 354, 250]
    assert [content for _, _, content in keeper.mails] == [b"hello\r\n"]


async def test_what_never_ends_is_hung_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smtp, "MOST_BYTES", 100)
    _, line = await spoken(b"x" * 5_000)
    assert (codes(line), line.closed) == ([220, 500], True)
    for text in (b"y" * 200, b"y" * 200 + b"\r\n.\r\n"):
        keeper, line = await spoken(b"MAIL FROM:<a@x.example>\r\nRCPT TO:<b@y.example>\r\nDATA\r\n", text)
        assert (codes(line), line.closed, keeper.mails) == ([220, 250, 250, 354, 552], True, [])
