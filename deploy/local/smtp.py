"""SMTP as a server speaks it (RFC 5321), for the sandbox's mail server, to which whoever runs it speaks on loopback.

The library that the product hears mails with reads a text line by line, and an address by the grammar of headers. That was two
thirds of what a mail cost the sandbox; here commands and texts are cut from what has come, each in one piece."""

import asyncio
import logging
import re
from typing import Protocol, cast

__all__ = ["Conversation", "Taker"]

log = logging.getLogger(__name__)

MOST_BYTES = 32 * 1024 * 1024
"""Of a mail's text."""
_MOST_COMMAND = 4 * 1024
_SENDER = re.compile(r"FROM:\s*<([^<>]*)>(?:\s+(.*))?", re.IGNORECASE)
_RECIPIENT = re.compile(r"TO:\s*<([^<>]+)>\s*", re.IGNORECASE)
_SIZE = re.compile(r"\bSIZE=(\d+)", re.IGNORECASE)


class Taker(Protocol):
    """Whoever the mails are for. What it says is a reply: a code and words."""

    def receives(self, address: str) -> str:
        """What is said to a recipient; one that is answered with 2xx gets the mail."""
        ...

    async def takes(self, sender: str, recipients: list[str], content: bytes) -> str:
        """What is said to a mail: with 2xx it is kept. `sender` is empty for a mail of a server, which is never answered."""
        ...


class Conversation(asyncio.Protocol):
    """One client's connection. It may send commands ahead (RFC 2920); they are answered in their order, and what comes behind a
    mail waits until that is kept."""

    def __init__(self, name: str, taker: Taker) -> None:
        """`name` is the server's own."""
        self._name = name
        self._taker = taker
        self._transport: asyncio.WriteTransport | None = None
        self._come = bytearray()
        self._looked = 0
        """How much of what has come holds no end."""
        self._in_text = False
        self._taking: asyncio.Task[None] | None = None
        self._forget()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)
        self._say(f"220 {self._name} Recourse sandbox")

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None

    def data_received(self, data: bytes) -> None:
        self._come += data
        self._go_on()

    def _go_on(self) -> None:
        """Answer what is here in whole."""
        while self._taking is None and self._transport is not None:
            end, most = (b"\r\n.\r\n", MOST_BYTES) if self._in_text else (b"\r\n", _MOST_COMMAND)
            found = self._come.find(end, self._looked)
            if found > most or (found < 0 and len(self._come) > most):
                self._leave("552 5.3.4 a mail is too large" if self._in_text else "500 5.5.2 a command is too long")
                return
            if found < 0:
                self._looked = max(0, len(self._come) - len(end) + 1)
                return
            whole = bytes(self._come[:found])
            del self._come[: found + len(end)]
            self._looked = 0
            if self._in_text:
                self._in_text = False
                # A line that begins with a dot was sent with one more; the first line end is that of DATA.
                content = (whole + b"\r\n").replace(b"\r\n..", b"\r\n.")[2:]
                self._taking = asyncio.create_task(self._take(content))
            else:
                self._command(whole.decode(errors="replace"))

    async def _take(self, content: bytes) -> None:
        try:
            reply = await self._taker.takes(self._sender or "", self._recipients, content)
        except Exception:
            log.exception("a mail could not be taken")
            reply = "451 4.3.0 an error here, send it again"
        self._forget()
        self._taking = None
        self._say(reply)
        self._go_on()

    def _command(self, line: str) -> None:
        verb, _, rest = line.partition(" ")
        match verb.upper():
            case "EHLO":
                self._forget()
                offered = (self._name, f"SIZE {MOST_BYTES}", "8BITMIME", "PIPELINING", "SMTPUTF8")
                self._say("\r\n".join([*(f"250-{each}" for each in offered[:-1]), f"250 {offered[-1]}"]))
            case "HELO":
                self._forget()
                self._say(f"250 {self._name}")
            case "MAIL":
                self._say(self._mail(rest))
            case "RCPT":
                self._say(self._rcpt(rest))
            case "DATA" if not self._recipients:
                self._say("503 5.5.1 no recipient yet")
            case "DATA":
                self._in_text = True
                self._come[:0] = b"\r\n"  # so that a text of no lines ends as any other
                self._say("354 end it with a line of one dot")
            case "RSET":
                self._forget()
                self._say("250 2.0.0 forgotten")
            case "NOOP":
                self._say("250 2.0.0 OK")
            case "QUIT":
                self._leave(f"221 2.0.0 {self._name} closes")
            case _:
                self._say("500 5.5.2 not a command that is known here")

    def _mail(self, rest: str) -> str:
        if self._sender is not None:
            return "503 5.5.1 there is a sender already"
        given = _SENDER.fullmatch(rest)
        if given is None:
            return "501 5.5.4 give MAIL FROM:<address>"
        size = _SIZE.search(given[2] or "")
        if size is not None and int(size[1]) > MOST_BYTES:
            return "552 5.3.4 a mail is too large"
        self._sender = given[1]
        return "250 2.1.0 OK"

    def _rcpt(self, rest: str) -> str:
        if self._sender is None:
            return "503 5.5.1 no sender yet"
        given = _RECIPIENT.fullmatch(rest)
        if given is None:
            return "501 5.5.4 give RCPT TO:<address>"
        reply = self._taker.receives(given[1])
        if reply.startswith("2"):
            self._recipients.append(given[1])
        return reply

    def _forget(self) -> None:
        self._sender: str | None = None
        self._recipients: list[str] = []

    def _say(self, reply: str) -> None:
        if self._transport is not None:
            self._transport.write(f"{reply}\r\n".encode())

    def _leave(self, reply: str) -> None:
        self._say(reply)
        if self._transport is not None:
            self._transport.close()
            self._transport = None
