"""The notifications service: who is told what by mail, in which language, and the proof that it was sent."""

import asyncio
from collections.abc import Iterable

from chassis.service import open_runtime
from chassis.settings import Settings
from engine.programmes import Programmes
from services.notifications.handlers import NotificationsHandler
from services.notifications.mail import Sender
from services.notifications.mailer import Mailer
from services.notifications.sender import Postman
from services.notifications.smtp import SmtpServer
from services.notifications.store import NoticeStore

__all__ = ["serve"]

_GATHER_S = 0.2
"""How long events gather that mails are written of."""


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Run until `stop` is set. Raises SettingsError without a secret, and where the mail server's address or the sender cannot
    be read."""
    settings.require("secret")
    server = settings.read("smtp_url", SmtpServer.of)
    sender = settings.read("mail_from", lambda mail_from: Sender.of(mail_from, settings.reply_domain))
    async with open_runtime(settings, "notifications") as runtime:
        store = NoticeStore(runtime.database)
        postman = Postman(
            store=store,
            publisher=runtime.publisher,
            clock=runtime.clock,
            mailer=Mailer(
                sender=sender,
                base_url=settings.base_url,
                secret=settings.secret,
                clock=runtime.clock,
                programmes=Programmes.shipped_and(settings.programmes),
            ),
            server=server,
        )
        handler = NotificationsHandler(
            offer=postman.offer, own=postman.own, unsent=postman.pending, lead=settings.platform_mailbox
        )
        runtime.health.notes.append(lambda: _note(postman))
        runtime.metrics.append(lambda: _metrics(postman))
        if await runtime.begin(stop, store.create_indexes):
            await runtime.run(handler, stop, background=(postman.work,), gather_s=_GATHER_S)


def _note(postman: Postman) -> str:
    """What an operator should know of the mails; nothing where all is well."""
    return f"the mail server cannot be reached, mails wait: {postman.away}" if postman.away else ""


def _metrics(postman: Postman) -> Iterable[tuple[str, str, str, float]]:
    counted = postman.counters
    yield "mails_sent", "counter", "Mails that a server accepted", counted.sent
    yield "mails_failed", "counter", "Mails that a server refused for good", counted.failed
    yield "mails_postponed", "counter", "Tries that a server put off", counted.postponed
    yield "mail_connections_failed", "counter", "Attempts to reach a mail server that is away", counted.refused_connections
    yield "mails_unsent", "gauge", "Mails queued or in flight", postman.unsent()
    yield "mail_server_away", "gauge", "1 while the mail server cannot be reached", float(bool(postman.away))
