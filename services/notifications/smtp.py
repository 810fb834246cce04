"""Handing mails to a server by SMTP: its address, a connection, and what the server says of a mail."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

import aiosmtplib

from chassis.failures import back_off
from services.notifications.mail import Sender

__all__ = ["Connection", "Reply", "SmtpServer"]

_TIMEOUT_S = 60.0
_BREAKS = 5
"""How many new connections may end on a mail before that puts it off."""
_CLOSING = 421
"""The server ends the connection (RFC 5321, 4.2.1): about the mail it says no more than a connection that breaks."""
_AWAY = (aiosmtplib.SMTPException, OSError, TimeoutError)
"""No server, one that will have none of us, or a connection that broke: nothing about the mail in hand."""


@dataclass(frozen=True, slots=True)
class SmtpServer:
    """Where mails are handed over: `smtp://[user:password@]host:port` (STARTTLS where offered) or `smtps://…`."""

    host: str
    port: int
    tls: bool
    username: str | None = None
    password: str | None = None

    @classmethod
    def of(cls, url: str) -> "SmtpServer":
        """Raises ValueError for another kind of address."""
        parts = urlsplit(url)
        if parts.scheme not in ("smtp", "smtps") or not parts.hostname:
            raise ValueError(f"{url!r} is no mail server; give smtp://[user:password@]host:port or smtps://…")
        tls = parts.scheme == "smtps"
        return cls(
            host=parts.hostname,
            port=parts.port or (465 if tls else 25),
            tls=tls,
            username=unquote(parts.username) if parts.username else None,
            password=unquote(parts.password) if parts.password else None,
        )

    def client(self, own_name: str) -> aiosmtplib.SMTP:
        """A client that greets the server as `own_name`; it is not connected yet."""
        return aiosmtplib.SMTP(
            hostname=self.host,
            port=self.port,
            use_tls=self.tls,
            username=self.username,
            password=self.password,
            local_hostname=own_name,
            timeout=_TIMEOUT_S,
        )


@dataclass(frozen=True, slots=True)
class Reply:
    """What came of a mail: the server's code and words."""

    code: int
    text: str
    server: str


class Connection:
    """A connection that is used for many mails and outlives its server's absence."""

    def __init__(
        self, server: SmtpServer, sender: Sender, reached: Callable[[], None], unreachable: Callable[[BaseException], None]
    ) -> None:
        """`reached` and `unreachable` are told each time how it went to connect."""
        self._server = server
        self._sender = sender
        self._reached = reached
        self._unreachable = unreachable
        self._client: aiosmtplib.SMTP | None = None
        self._name = ""

    async def deliver(self, to: str, content: bytes) -> Reply:
        """Hand a mail over, however long the server is away; what it then says about this mail."""
        away, broken = 0, 0
        while True:
            fresh = self._client is None
            try:
                client = self._client or await self._open()
            except _AWAY as error:
                away += 1
                self._unreachable(error)
                await asyncio.sleep(back_off(away))
                continue
            self._reached()
            try:
                options = () if to.isascii() else ("SMTPUTF8",)
                _, words = await client.sendmail(self._sender.return_path, [to], content, mail_options=options)
                return Reply(250, words, self._name)
            except (aiosmtplib.SMTPNotSupported, ValueError) as impossible:
                return Reply(553, f"not handed over: {impossible}", self._name)
            except (aiosmtplib.SMTPRecipientsRefused, aiosmtplib.SMTPDataError) as refused:
                about = refused.recipients[0] if isinstance(refused, aiosmtplib.SMTPRecipientsRefused) else refused
                if about.code != _CLOSING:
                    return Reply(about.code, about.message, self._name)
                why = f"{about.code} {about.message}"
            except _AWAY as error:
                why = str(error)
            self.drop()
            broken += fresh  # that it ended one that was idle says nothing about this mail
            if broken == _BREAKS:
                return Reply(451, f"the connection ended each time: {why}", self._name)
            if fresh:
                await asyncio.sleep(back_off(broken))

    async def _open(self) -> aiosmtplib.SMTP:
        client = self._server.client(self._sender.domain)
        await client.connect()
        try:
            greeted = client.last_ehlo_response or await client.ehlo()
        except BaseException:
            client.close()
            raise
        said = greeted.message.split()
        self._name = f"{said[0] if said else self._server.host} ({self._server.host}:{self._server.port})"
        self._client = client
        return client

    async def close(self) -> None:
        """End the connection politely."""
        client, self._client = self._client, None
        if client is not None:
            try:
                await client.quit()
            except _AWAY:
                client.close()

    def drop(self) -> None:
        """End it at once."""
        client, self._client = self._client, None
        if client is not None:
            client.close()
