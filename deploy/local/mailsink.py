"""The sandbox's mail server: takes every mail by SMTP, keeps it on disk and shows it over HTTP.

`python -m deploy.local.mailsink --smtp-port P --http-port Q --data DIR`, both ports on loopback. With `--own-domain D --inbound
HOST:PORT …` it hands mails for D on to the product, as the server of a domain does. What was answered with 250
is in the database. A mail sent again (same Message-ID, same recipient) is the same mail, as in a real mailbox; how often that
happened is counted. Bodies are kept compressed and read only when asked for, so memory stays small.

Times are those of the product, whose clock may be the test clock: a mail of anybody else counts as sent when the latest before
it was. Of what one move of that clock sends, mails arrive in any order."""

import argparse
import asyncio
import email.policy
import json
import re
import signal
import sqlite3
import sys
import zlib
from collections.abc import Sequence
from datetime import UTC, datetime
from email.message import EmailMessage
from email.parser import BytesParser
from html.parser import HTMLParser
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import uvloop
from aiosmtpd.smtp import SMTP, Envelope, Session
from aiosmtplib import SMTP as SmtpClient
from aiosmtplib import SMTPException, SMTPResponseException

from deploy.local.stand_in import HOST, Book, JsonHandler, Refused, Told, serve_json, text_of

__all__ = ["Mailbox", "Mailsink", "links_of", "main", "serve_http"]

NAME = "mailsink.recourse.localhost"
_HAND_ON_S = 60.0
_MAIL_LIMIT = 32 * 1024 * 1024
_PAGE = 200
_MOST = 1_000

_SCHEMA = """
CREATE TABLE IF NOT EXISTS mails (
    mail_id INTEGER PRIMARY KEY AUTOINCREMENT,
    recipient TEXT NOT NULL COLLATE NOCASE,
    message_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    order_id TEXT,
    case_id TEXT,
    sent_at TEXT NOT NULL,
    arrived_at TEXT NOT NULL,
    duplicates INTEGER NOT NULL DEFAULT 0,
    content BLOB NOT NULL,
    UNIQUE (recipient, message_id)
);
CREATE INDEX IF NOT EXISTS mails_in_order ON mails (sent_at, mail_id);
CREATE INDEX IF NOT EXISTS mails_of_kind ON mails (kind, sent_at, mail_id);
CREATE INDEX IF NOT EXISTS mails_to_recipient ON mails (recipient, sent_at, mail_id);
CREATE INDEX IF NOT EXISTS mails_repeated ON mails (duplicates) WHERE duplicates > 0;
CREATE TABLE IF NOT EXISTS bounces (recipient TEXT PRIMARY KEY COLLATE NOCASE);
CREATE TABLE IF NOT EXISTS refusals (refused_at TEXT NOT NULL, recipient TEXT NOT NULL);
"""

_INSERT = """
INSERT INTO mails (recipient, message_id, kind, order_id, case_id, sent_at, arrived_at, content)
VALUES (?1, ?2, ?3, ?4, ?5, coalesce(?6, (SELECT max(sent_at) FROM mails), ?7), ?7, ?8)
ON CONFLICT (recipient, message_id) DO UPDATE SET duplicates = duplicates + 1
"""

Row = tuple[str, str, str, str | None, str | None, str | None, str, bytes]


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[dict[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "a" and given.get("href"):
            self.found.append({"rel": given.get("rel") or "related", "url": str(given["href"])})


def links_of(html: str) -> list[dict[str, str]]:
    """The links of a page in their order, `{rel, url}`; `related` where the page gives no rel."""
    reader = _Links()
    reader.feed(html)
    reader.close()
    return reader.found


_HEADERS = re.compile(
    rb"^(message-id|x-recourse-(?:kind|order|case|sent-at)):[ \t]*(?:\r?\n[ \t]+)?([^\r\n]*)", re.IGNORECASE | re.MULTILINE
)


def _headers(content: bytes) -> dict[str, str]:
    """The headers that a mail is found by, with small names. Parsing all of a mail can wait until somebody reads it."""
    head = content.partition(b"\r\n\r\n")[0]
    return {name.decode().lower(): value.decode(errors="replace").strip() for name, value in _HEADERS.findall(head)}


def _id_text(mail_id: int) -> str:
    return f"mail_{mail_id:012d}"


def _id_number(text: str) -> int:
    match = re.fullmatch(r"(?:mail_)?(\d{1,18})", text)
    if match is None:
        raise ValueError("after is a mail_id such as mail_000000000001")
    return int(match[1])


class Mailbox(Book):
    """What arrived. Written on the event loop."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / "mails.sqlite3", _SCHEMA)
        self._refused = {name.casefold() for (name,) in self._writing.execute("SELECT recipient FROM bounces")}

    def keep(self, rows: list[Row]) -> None:
        """Write mails in one transaction. Raises sqlite3.Error; then none of them is kept."""
        with self._transaction() as connection:
            connection.executemany(_INSERT, rows)

    def refuse(self, address: str) -> None:
        """From now on mails to this address bounce."""
        with self._transaction() as connection:
            connection.execute("INSERT OR IGNORE INTO bounces VALUES (?)", (address,))
        self._refused.add(address.casefold())

    def refuses(self, address: str) -> bool:
        """Whether a mail to this address is to be refused now; the refusal is counted."""
        if address.casefold() not in self._refused:
            return False
        with self._transaction() as connection:
            connection.execute("INSERT INTO refusals VALUES (?, ?)", (text_of(datetime.now(UTC)), address))
        return True

    def mails(
        self,
        *,
        to: str | None = None,
        kind: str | None = None,
        order_id: str | None = None,
        case_id: str | None = None,
        after: int = 0,
        limit: int = _PAGE,
    ) -> dict[str, Any]:
        """`{items, next?}`, in the order in which they were sent; `next` is the mail_id to go on after."""
        given = {"recipient": to, "kind": kind, "order_id": order_id, "case_id": case_id}
        filters = [(column, value) for column, value in given.items() if value]
        beyond = "(sent_at, mail_id) > (coalesce((SELECT sent_at FROM mails WHERE mail_id = ?), ''), ?)"
        where = " AND ".join([f"{column} = ?" for column, _ in filters] + [beyond])
        columns = "mail_id, recipient, kind, order_id, case_id, sent_at, duplicates, content"
        query = f"SELECT {columns} FROM mails WHERE {where} ORDER BY sent_at, mail_id LIMIT ?"  # noqa: S608 - our own column names
        with self._reading() as connection:
            found = connection.execute(query, (*(value for _, value in filters), after, after, limit + 1)).fetchall()
        items = [_item(row) for row in found[:limit]]
        return {"items": items, **({"next": items[-1]["mail_id"]} if len(found) > limit else {})}

    def stats(self) -> dict[str, Any]:
        """`{mails, duplicates, refused, by_kind}`: mails kept, repeats of kept ones, and recipients refused."""
        with self._reading() as connection:
            by_kind = dict(connection.execute("SELECT kind, count(*) FROM mails GROUP BY kind ORDER BY kind").fetchall())
            (duplicates,) = connection.execute("SELECT coalesce(sum(duplicates), 0) FROM mails WHERE duplicates > 0").fetchone()
            (refused,) = connection.execute("SELECT count(*) FROM refusals").fetchone()
        return {"mails": sum(by_kind.values()), "duplicates": duplicates, "refused": refused, "by_kind": by_kind}


def _item(row: tuple[int, str, str, str | None, str | None, str, int, bytes]) -> dict[str, Any]:
    mail_id, recipient, kind, order_id, case_id, sent_at, duplicates, content = row
    mail: EmailMessage = BytesParser(_class=EmailMessage, policy=email.policy.default).parsebytes(zlib.decompress(content))
    html = _body(mail, "html")
    return {
        "mail_id": _id_text(mail_id),
        "kind": kind,
        "to": recipient,
        "reply_to": str(mail["Reply-To"] or ""),
        "message_id": str(mail["Message-ID"] or ""),
        "subject": str(mail["Subject"] or ""),
        "text": _body(mail, "plain"),
        "html": html,
        "sent_at": sent_at,
        **({"case_id": case_id} if case_id else {}),
        **({"order_id": order_id} if order_id else {}),
        "links": links_of(html),
        **({"duplicates": duplicates} if duplicates else {}),
    }


def _body(mail: EmailMessage, kind: str) -> str:
    part = mail.get_body((kind,))
    return "" if part is None else str(part.get_content()).replace("\r\n", "\n")


class Mailsink:
    """The SMTP side, as aiosmtpd's handler. Mails that arrive together are committed together."""

    def __init__(self, mailbox: Mailbox, own_domain: str = "", inbound: Sequence[tuple[str, int]] = ()) -> None:
        """`inbound` are the places that take mails for `own_domain`; each is tried in turn."""
        self._mailbox = mailbox
        self._own_domain = own_domain.lower()
        self._inbound = inbound
        self._arrived: list[tuple[list[Row], asyncio.Future[None]]] = []

    async def serve(self, port: int) -> asyncio.Server:
        """Listen on loopback. Raises OSError where the port is taken."""
        loop = asyncio.get_running_loop()
        return await loop.create_server(
            lambda: SMTP(
                self,
                hostname=NAME,
                ident="Recourse sandbox",
                enable_SMTPUTF8=True,
                data_size_limit=_MAIL_LIMIT,
                timeout=600,
                loop=loop,
            ),
            HOST,
            port,
            backlog=128,
        )

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, rcpt_options: list[str]
    ) -> str:
        if self._mailbox.refuses(address):
            return f"550 5.1.1 <{address}>: mailbox unavailable"
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(rcpt_options)
        return "250 2.1.5 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        content = envelope.content
        if not isinstance(content, bytes):
            return "554 5.6.0 no content"
        head = _headers(content)
        arrived_at = text_of(datetime.now(UTC))
        message_id = head.get("message-id") or f"<{zlib.crc32(content):08x}.{arrived_at}@{NAME}>"
        kind, order_id, case_id = (
            head.get("x-recourse-kind", "other"),
            head.get("x-recourse-order"),
            head.get("x-recourse-case"),
        )
        packed = zlib.compress(content, 1)
        rows: list[Row] = [
            (recipient, message_id, kind, order_id, case_id, head.get("x-recourse-sent-at"), arrived_at, packed)
            for recipient in dict.fromkeys(envelope.rcpt_tos)
        ]
        own = [each for each in envelope.rcpt_tos if each.rpartition("@")[2].lower() == self._own_domain]
        if own and self._inbound and (refused := await self._handed_on((envelope.mail_from or "").strip("<>"), own, content)):
            return refused
        try:
            await self._kept(rows)
        except sqlite3.Error as error:
            return f"451 4.3.0 cannot keep it: {error}"
        return f"250 2.0.0 kept {message_id}"

    async def _handed_on(self, mail_from: str, recipients: list[str], content: bytes) -> str:
        """Give a mail to the product before anything is acknowledged; empty when it was taken, else what to answer."""
        answer = "451 4.4.1 the product cannot be reached, send it again"
        for host, port in self._inbound:
            client = SmtpClient(hostname=host, port=port, local_hostname=NAME, timeout=_HAND_ON_S)
            try:
                async with client:
                    options = ("SMTPUTF8",) if any(not each.isascii() for each in (mail_from, *recipients)) else ()
                    await client.mail(mail_from, options=options)
                    for recipient in recipients:
                        await client.rcpt(recipient)
                    await client.data(content)
                return ""
            except SMTPResponseException as refused:
                if refused.code >= 500:
                    return f"{refused.code} {' '.join(refused.message.split())}"
                answer = f"451 4.3.0 {' '.join(refused.message.split())}"
            except (SMTPException, OSError, TimeoutError):
                continue
        return answer

    async def _kept(self, rows: list[Row]) -> None:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        if not self._arrived:
            loop.call_soon(self._flush)
        self._arrived.append((rows, done))
        await done

    def _flush(self) -> None:
        arrived, self._arrived = self._arrived, []
        try:
            self._mailbox.keep([row for rows, _ in arrived for row in rows])
        except sqlite3.Error as error:
            for _, done in arrived:
                if not done.done():
                    done.set_exception(error)
            return
        for _, done in arrived:
            if not done.done():
                done.set_result(None)


class _Http(JsonHandler):
    mailbox: Mailbox

    def _get(self) -> Told:
        place = urlsplit(self.path)
        query = {name: values[-1] for name, values in parse_qs(place.query).items()}
        match place.path:
            case "/health":
                return 200, {"status": "ok"}, {}
            case "/stats":
                return 200, self.mailbox.stats(), {}
            case "/mails":
                try:
                    after = _id_number(query.get("after", "0"))
                    limit = int(query.get("limit", _PAGE))
                except ValueError as wrong:
                    raise Refused(422, str(wrong)) from None
                if not 1 <= limit <= _MOST:
                    raise Refused(422, f"limit is 1 to {_MOST}")
                narrowed = {name: query.get(name) for name in ("to", "kind", "order_id", "case_id")}
                return 200, self.mailbox.mails(**narrowed, after=after, limit=limit), {}
        raise Refused(404, "there are /mails, /stats, /bounces and /health")

    def _post(self) -> Told:
        body = self._body()
        if urlsplit(self.path).path != "/bounces":
            raise Refused(404, "there are /mails, /stats, /bounces and /health")
        try:
            address = json.loads(body)["email"]
        except (ValueError, KeyError, TypeError):
            address = None
        if not isinstance(address, str) or "@" not in address:
            raise Refused(422, 'give {"email": "address"}')
        self.mailbox.refuse(address)
        return 200, {"email": address}, {}


def serve_http(mailbox: Mailbox, port: int) -> ThreadingHTTPServer:
    """Serve `/mails`, `/stats`, `/bounces` and `/health` from threads of their own. Raises OSError for a taken port."""
    return serve_json(_Http, port, mailbox=mailbox)


async def _serve(smtp_port: int, http_port: int, folder: Path, own_domain: str, inbound: Sequence[tuple[str, int]]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    mailbox = Mailbox(folder)
    smtp = await Mailsink(mailbox, own_domain, inbound).serve(smtp_port)
    http = serve_http(mailbox, http_port)
    try:
        await stop.wait()
    finally:
        smtp.close()
        http.shutdown()
        http.server_close()
        mailbox.close()


def _place(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host, int(port)


def main() -> None:
    """Run until SIGTERM or Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m deploy.local.mailsink", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--smtp-port", type=int, required=True)
    parser.add_argument("--http-port", type=int, required=True)
    parser.add_argument("--data", type=Path, required=True, help="the folder of mails.sqlite3")
    parser.add_argument("--own-domain", default="", help="mails for this domain are handed on to the product")
    parser.add_argument("--inbound", action="append", default=[], type=_place, help="HOST:PORT that takes them")
    given = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            runner.run(_serve(given.smtp_port, given.http_port, given.data, given.own_domain, given.inbound))
        except OSError as error:
            sys.exit(f"the mail server cannot start: {error}")


if __name__ == "__main__":
    main()
