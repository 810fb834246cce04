"""The SMTP side of inbound mail: takes mails for the product's own domain, within bounds, and acknowledges what is kept."""

import asyncio
import logging
import socket
from typing import Any, Protocol

from aiosmtpd.smtp import SMTP, Envelope, Session

from services.gateway.inbound.mailroom import MAIL_LIMIT

__all__ = ["Listener"]

log = logging.getLogger(__name__)
logging.getLogger("mail.log").setLevel(logging.WARNING)  # aiosmtpd names every sender and recipient otherwise

_SESSIONS = 50
_AT_ONCE = 4
"""Mails that are received at the same moment: each may be in memory twice."""
_SESSION_S = 120
"""A command, DATA included, may take this long."""
_LONGEST_LINE = 64 * 1024
_MOST_RECIPIENTS = 50
_DRAINED = 4 * MAIL_LIMIT
"""How much of a mail that is too large is read to its end, so that its sender can be told why."""


class _Mailroom(Protocol):
    @property
    def domain(self) -> str: ...

    async def keep(self, raw: bytes, return_path: str, recipients: Any) -> str: ...


class _Session(SMTP):
    """aiosmtpd's protocol with bounds of its own for what a mail may cost. Lines may be longer than RFC 5322 allows, as broken
    programs send them; a mail ends with CRLF, a dot and CRLF and nothing else, so that none can be smuggled in another."""

    line_length_limit = _LONGEST_LINE

    def __init__(self, handler: "_Handler", turns: asyncio.Semaphore, **options: Any) -> None:
        super().__init__(handler, **options)
        self._turns = turns

    async def smtp_DATA(self, arg: str) -> None:
        if await self.check_helo_needed():
            return
        envelope = self.envelope
        if envelope is None or not envelope.rcpt_tos:
            await self.push("503 5.5.1 Error: need RCPT command")
            return
        if arg:
            await self.push("501 5.5.4 Syntax: DATA")
            return
        async with self._turns:
            await self.push("354 End data with <CR><LF>.<CR><LF>")
            content = await self._content()
            if content is None:
                status = f"552 5.3.4 a mail may have {MAIL_LIMIT} bytes at most"
            else:
                envelope.content = envelope.original_content = content
                status = await self._call_handler_hook("DATA")
                envelope.content = envelope.original_content = None
        self._set_post_data_state()
        await self.push(status)

    async def _content(self) -> bytes | None:
        """The mail; None for one that is too large. Drops the connection of a client that does not come to an end."""
        content = bytearray()
        size, begins = 0, True
        while True:
            try:
                line = await self._reader.readuntil(b"\r\n")
                ends = True
            except asyncio.LimitOverrunError as longer:
                line = await self._reader.readexactly(longer.consumed)
                ends = False
            if begins and line == b".\r\n":
                return None if size > MAIL_LIMIT else bytes(content)
            size += len(line)
            if size > _DRAINED and isinstance(self.transport, asyncio.Transport):
                self.transport.abort()
                raise asyncio.CancelledError
            if size > MAIL_LIMIT:
                content.clear()
            else:
                content += line[1:] if begins and line.startswith(b".") else line
            begins = ends


class _Handler:
    def __init__(self, mailroom: _Mailroom) -> None:
        self._mailroom = mailroom

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, rcpt_options: list[str]
    ) -> str:
        if address.rpartition("@")[2].lower() != self._mailroom.domain:
            return f"550 5.7.1 <{address}>: mails are taken for {self._mailroom.domain} only"
        if len(envelope.rcpt_tos) >= _MOST_RECIPIENTS:
            return "452 4.5.3 too many recipients"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        content = envelope.content
        if not isinstance(content, bytes) or not content.strip():
            return "554 5.6.0 there is no mail in this"
        try:
            mail_id = await self._mailroom.keep(content, (envelope.mail_from or "").strip("<>"), envelope.rcpt_tos)
        except Exception as error:
            log.warning("a mail cannot be kept now: %r", error)
            return "451 4.3.0 it cannot be kept now, send it again"
        return f"250 2.0.0 kept as {mail_id}"

    async def handle_exception(self, error: Exception) -> str:
        log.error("a mail's session failed", exc_info=error)
        return "451 4.3.0 internal error, send it again"


class Listener:
    """Serves mails on a socket until cancelled. Offers no AUTH and relays nothing."""

    def __init__(self, mailroom: _Mailroom, listener: socket.socket, name: str) -> None:
        self._handler = _Handler(mailroom)
        self._listener = listener
        self._name = name
        self._open = 0

    async def serve(self) -> None:
        """Run until cancelled."""
        loop = asyncio.get_running_loop()
        turns = asyncio.Semaphore(_AT_ONCE)
        server = await loop.create_server(lambda: self._session(turns), sock=self._listener)
        try:
            await loop.create_future()
        finally:
            server.close()

    def _session(self, turns: asyncio.Semaphore) -> asyncio.BaseProtocol:
        if self._open >= _SESSIONS:
            return _Full()
        self._open += 1
        session = _Session(
            self._handler,
            turns,
            hostname=self._name,
            ident="Recourse",
            enable_SMTPUTF8=True,
            data_size_limit=MAIL_LIMIT,
            timeout=_SESSION_S,
            loop=asyncio.get_running_loop(),
        )
        lost = session.connection_lost

        def connection_lost(error: Exception | None) -> None:
            self._open -= 1
            lost(error)

        session.connection_lost = connection_lost  # type: ignore[method-assign]
        return session


class _Full(asyncio.Protocol):
    """Too many sessions: come again."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(transport, asyncio.Transport):
            transport.write(b"421 4.3.2 too many connections, try again later\r\n")
            transport.close()
