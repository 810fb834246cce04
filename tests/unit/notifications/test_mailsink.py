"""The sandbox's mail server: what it keeps, shows and refuses."""

import asyncio
import json
import urllib.error
import urllib.request
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiosmtplib
import pytest
from aiosmtpd.smtp import SMTP

from deploy.local.mailsink import Mailbox, Mailsink, links_of, serve_http
from deploy.local.ports import free_port


def content(number: int, kind: str = "check_in", subject: str = "Grüße", sent_at: str = "2019-07-20T12:00:00.500Z") -> bytes:
    return (
        f"Message-ID: <{number}@x.example>\r\nSubject: {subject}\r\nDate: Sat, 20 Jul 2019 12:00:00 +0000\r\n"
        f"X-Recourse-Kind: {kind}\r\nX-Recourse-Order: ord_{number}\r\nX-Recourse-Sent-At: {sent_at}\r\n"
        "MIME-Version: 1.0\r\nContent-Type: text/html; charset=utf-8\r\n\r\n"
        f'<p>hello</p>\r\n<a href="https://x.example/l/t{number}" rel="act">ü</a>\r\n.\r\n'
    ).encode()


@pytest.fixture
def mailbox(tmp_path: Path) -> Iterator[Mailbox]:
    box = Mailbox(tmp_path)
    yield box
    box.close()


async def send(port: int, *mails: tuple[str, bytes]) -> list[str]:
    """The server's words for each mail."""
    client = aiosmtplib.SMTP(hostname="127.0.0.1", port=port, local_hostname="test.example")
    await client.connect()
    said = []
    for to, mail in mails:
        try:
            said.append((await client.sendmail("from@x.example", [to], mail, mail_options=["SMTPUTF8"]))[1])
        except aiosmtplib.SMTPRecipientsRefused as refused:
            said.append(f"{refused.recipients[0].code} {refused.recipients[0].message}")
    await client.quit()
    return said


def get(port: int, path: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", data=data, timeout=10) as answer:
        return json.load(answer)


async def test_what_arrives_is_kept_once_and_shown(mailbox: Mailbox, tmp_path: Path) -> None:
    port, http = free_port(), free_port()
    server = await Mailsink(mailbox).serve(port)
    web = serve_http(mailbox, http)
    try:
        mails = [
            (f"b{number % 2}@buyer.example", content(number, "answer" if number == 3 else "check_in")) for number in range(5)
        ]
        await send(port, *mails, mails[0], ("B0@Buyer.example", content(0)), ("ü@buyer.example", content(9)))
        answer = get(http, "/mails?limit=2")
        first = answer["items"][0]
        assert first["to"] == "b0@buyer.example"
        assert first["subject"] == "Grüße"
        assert (first["kind"], first["order_id"], first["sent_at"]) == ("check_in", "ord_0", "2019-07-20T12:00:00.500Z")
        assert first["links"] == [{"rel": "act", "url": "https://x.example/l/t0"}]
        assert first["html"].endswith(">ü</a>\n.\n")
        assert "case_id" not in first
        rest = get(http, f"/mails?after={answer['next']}")
        assert len(rest["items"]) == 4
        assert "next" not in rest
        assert [item["mail_id"] for item in rest["items"]] == sorted(item["mail_id"] for item in rest["items"])
        assert [item["order_id"] for item in get(http, "/mails?to=B1@buyer.example")["items"]] == ["ord_1", "ord_3"]
        assert [item["order_id"] for item in get(http, "/mails?kind=answer")["items"]] == ["ord_3"]
        assert get(http, "/stats") == {
            "mails": 6,
            "duplicates": 2,
            "refused": 0,
            "by_kind": {"answer": 1, "check_in": 5},
        }
        again = Mailbox(tmp_path)
        assert again.stats()["mails"] == 6
        again.close()
    finally:
        server.close()
        web.shutdown()
        web.server_close()


@pytest.mark.rule("NX-05")
async def test_mails_are_listed_as_they_were_sent_whenever_they_arrived(mailbox: Mailbox) -> None:
    """What one move of the test clock sends comes in any order; what somebody else sends bears another clock's time."""
    port = free_port()
    server = await Mailsink(mailbox).serve(port)
    try:
        for number, day in ((1, 22), (2, 2), (3, 4)):
            await send(port, ("b@buyer.example", content(number, sent_at=f"2020-05-{day:02d}T12:00:00.000Z")))
        letter = b"Message-ID: <x@y.example>\r\nDate: Sat, 20 Jul 2030 12:00:00 +0000\r\n\r\nHello\r\n"
        await send(port, ("b@buyer.example", letter))
        await send(port, ("b@buyer.example", content(5, sent_at="2020-05-22T12:00:00.000Z")))
        expected = [("mail_000000000002", 2), ("mail_000000000003", 4), *((f"mail_{n:012d}", 22) for n in (1, 4, 5))]
        for more in ({}, {"to": "b@buyer.example"}):
            seen: list[dict[str, Any]] = []
            page: dict[str, Any] = {"next": "0"}
            while "next" in page:
                page = mailbox.mails(after=int(page["next"].removeprefix("mail_")), limit=2, **more)
                seen += page["items"]
            assert [(mail["mail_id"], int(mail["sent_at"][8:10])) for mail in seen] == expected
    finally:
        server.close()


async def test_an_address_that_bounces_is_refused_from_then_on(mailbox: Mailbox, tmp_path: Path) -> None:
    port, http = free_port(), free_port()
    server = await Mailsink(mailbox).serve(port)
    web = serve_http(mailbox, http)
    try:
        get(http, "/bounces", {"email": "Gone@buyer.example"})
        said = await send(port, ("gone@buyer.example", content(1)), ("here@buyer.example", content(2)))
        assert said[0].startswith("550 5.1.1")
        assert get(http, "/stats")["mails"] == 1
        assert get(http, "/stats")["refused"] == 1
        again = Mailbox(tmp_path)
        assert again.refuses("GONE@buyer.example")
        again.close()
    finally:
        server.close()
        web.shutdown()
        web.server_close()


def test_requests_that_make_no_sense_are_told_so(mailbox: Mailbox) -> None:
    port = free_port()
    web = serve_http(mailbox, port)
    try:
        for path, body, status in (
            ("/mails?limit=0", None, 422),
            ("/mails?limit=x", None, 422),
            ("/mails?after=y", None, 422),
            ("/nothing", None, 404),
            ("/nothing", {}, 404),
            ("/bounces", {}, 422),
            ("/bounces", [], 422),
            ("/bounces", {"email": 7}, 422),
        ):
            with pytest.raises(urllib.error.HTTPError) as refused:
                get(port, path, body)
            assert refused.value.code == status, path
            assert json.load(refused.value)["detail"]
        assert get(port, "/health") == {"status": "ok"}
    finally:
        web.shutdown()
        web.server_close()


def test_links_keep_their_order_and_rel() -> None:
    page = '<a href="/a?x=1&amp;y=2" rel=act>a</a><A HREF="/b">b</A><a name=c>c</a>'
    assert links_of(page) == [{"rel": "act", "url": "/a?x=1&y=2"}, {"rel": "related", "url": "/b"}]


class _Product:
    """Takes mails as the product does, or says what it is told to."""

    def __init__(self, answer: str = "250 2.0.0 kept") -> None:
        self.answer = answer
        self.taken: list[tuple[str, list[str]]] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.taken.append((envelope.mail_from, envelope.rcpt_tos))
        return self.answer


async def test_mails_for_the_products_own_domain_are_handed_on_before_they_are_acknowledged(mailbox: Mailbox) -> None:
    loop = asyncio.get_running_loop()
    away, inbound, port = free_port(), free_port(), free_port()
    product = _Product()
    taking = await loop.create_server(lambda: SMTP(product, loop=loop), "127.0.0.1", inbound)
    sink = await Mailsink(mailbox, "own.example", [("127.0.0.1", away), ("127.0.0.1", inbound)]).serve(port)
    try:
        said = await send(port, ("case+x@OWN.example", content(1)), ("kim@mail.example", content(2)))
        assert all(each.startswith("2.0.0 kept") for each in said)
        assert [recipients for _, recipients in product.taken] == [["case+x@OWN.example"]]
        product.answer = "451 4.3.0 not now"
        with pytest.raises(aiosmtplib.SMTPDataError) as put_off:
            await send(port, ("case+x@own.example", content(3)))
        assert put_off.value.code == 451
        product.answer = "552 5.3.4 too large"
        with pytest.raises(aiosmtplib.SMTPDataError) as refused:
            await send(port, ("case+x@own.example", content(4)))
        assert refused.value.code == 552
        assert [mail["order_id"] for mail in mailbox.mails()["items"]] == ["ord_1", "ord_2"]
    finally:
        sink.close()
        taking.close()


def test_a_mail_shows_where_its_answer_goes(mailbox: Mailbox) -> None:
    mail = b"Message-ID: <1@x.example>\r\nReply-To: case+token@x.example\r\n\r\nHello\r\n"
    mailbox.keep([("a@b.example", "<1@x.example>", "message", None, None, "", "", zlib.compress(mail))])
    (item,) = mailbox.mails()["items"]
    assert (item["reply_to"], item["message_id"]) == ("case+token@x.example", "<1@x.example>")
