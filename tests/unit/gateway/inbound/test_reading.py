"""Reading mails: of people in eight languages, of servers, broken ones, and those that come with Python."""

import time
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.gateway.inbound.mailroom import Taken
from services.gateway.inbound.parsing import read_mail, recipients_of
from services.gateway.inbound.plain import text_of_html
from services.gateway.inbound.replies import new_part
from services.gateway.inbound.routing import Bounced, ToTeam, without_case
from services.gateway.inbound.store import identity_of
from tests.written_mails import JPEG, WRITTEN, Envelope, Written, _file, _parts, _text

OURS = "ntc_" + "a" * 32 + "_" + "b" * 16


def python_mails() -> list[Path]:
    """The test messages of the email package, where this Python was installed with its tests."""
    found = find_spec("test")
    places = found.submodule_search_locations if found is not None else None
    return sorted(path for place in places or () for path in Path(place).glob("test_email/data/msg_*.txt"))


@pytest.mark.rule("CP-04")
@pytest.mark.parametrize("written", WRITTEN, ids=[each.name for each in WRITTEN])
def test_what_is_new_in_a_mail_and_where_it_belongs(written: Written) -> None:
    mail = read_mail(written.make(Envelope(answers=f"<{OURS}.mac@recourse.example>")), written.return_path)
    taken = Taken.of(mail)
    if written.text is not None:
        assert taken.text == written.text
    assert len(taken.files) == written.files
    assert taken.left_out == written.left_out or written.lands not in ("message", "empty")
    placed = without_case(mail, own_id=False, notices=(OURS,), addressed=True)
    if written.lands in ("message", "empty"):
        assert placed is None
        assert taken.is_empty == (written.lands == "empty")
        assert mail.sender == "kim@mail.example"
    else:
        kind = "bounce" if isinstance(placed, Bounced) else placed.why if placed else "message"
        assert kind == written.lands


def test_there_are_enough_of_them() -> None:
    assert len(WRITTEN) >= 30
    assert len({each.name for each in WRITTEN}) == len(WRITTEN)


@pytest.mark.rule("CP-04")
def test_the_mails_that_come_with_python_are_read() -> None:
    mails = python_mails()
    if not mails:
        pytest.skip("this Python was installed without its tests: there is no test/test_email/data")
    assert len(mails) >= 45
    readable = 0
    for path in mails:
        mail = read_mail(path.read_bytes())
        assert not mail.broken, path.name
        Taken.of(mail)
        readable += bool(mail.text or mail.whole_text or mail.attachments or mail.left_out)
    assert readable >= 40  # some of them are nothing but headers


def test_a_forged_list_of_senders_is_nobody() -> None:
    for header in (b"a@x.example, kim@mail.example", b"nobody", b"", b"<@@>", b"a@x.example\r\nFrom: kim@mail.example"):
        assert read_mail(b"From: " + header + b"\r\n\r\nHello").sender == "", header
    assert read_mail(b'From: "kim@mail.example" <evil@x.example>\r\n\r\nHello').sender == "evil@x.example"
    assert read_mail(b"From: =?utf-8?q?K=C3=A4ufer?= <Kim@Mail.example>\r\n\r\nHello").sender == "kim@mail.example"
    kelvin = "\u212aim@mail.example"  # which Python lowers to kim
    assert read_mail(f"From: {kelvin}\r\n\r\nHello".encode()).sender == kelvin


HOSTILE = {
    "empty lines": b"From: a@b.c\n\n" + b"\n" * 3_000_000,
    "boundaries in boundaries": b"".join(
        b'Content-Type: multipart/mixed; boundary="%d"\n\n--%d\n' % (number, number) for number in range(150)
    )
    + b"x\n" * 20_000,
    "parameters without end": b"Content-Type: text/plain; " + b"a=b;" * 100_000 + b"\n\nhi",
    "brackets": b"From: " + b"(" * 300_000 + b"\n\nhi",
    "encoded words": b"Subject: " + b"=?utf-8?q?a?= " * 50_000 + b"\n\nhi",
    "half an attribution": b"From: a@b.c\n\n" + b"On 1 \n" * 50_000,
    "headers as text": b"From: a@b.c\n\n" + b"From: x\nSent: y\n\n" * 50_000,
    "punycode": b"Content-Type: text/plain; charset=punycode\n\n" + b"a" * 1_000_000,
    "bytes": bytes(range(256)) * 1_000,
    "nothing": b"",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_no_mail_takes_long(name: str) -> None:
    begun = time.process_time()
    read_mail(HOSTILE[name])
    recipients_of(HOSTILE[name])
    assert time.process_time() - begun < 5


@pytest.mark.parametrize(
    "html",
    [
        "<div>" * 100_000,
        "<!--" * 100_000,
        "<" * 300_000,
        "<a " + "b='1 " * 60_000,
        "&#" * 200_000,
        "</" * 200_000,
        "<title>" * 50_000,
    ],
)
def test_no_html_takes_long(html: str) -> None:
    begun = time.process_time()
    text_of_html(html)
    assert time.process_time() - begun < 5


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=2_000))
def test_any_bytes_are_a_mail(content: bytes) -> None:
    Taken.of(read_mail(content))


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [
                b"--=b",
                b"--=b--",
                b"Content-Type: text/html",
                b"Content-Transfer-Encoding: base64",
                b"",
                b"<p>",
                b"> x",
                b"On 1.1. a wrote:",
                b"Content-Type: multipart/mixed; boundary==b",
                b"\xff\xfe",
            ]
        ),
        max_size=30,
    )
)
def test_any_order_of_parts_is_a_mail(lines: list[bytes]) -> None:
    mail = read_mail(b"From: a@b.example\r\nContent-Type: multipart/mixed; boundary==b\r\n\r\n" + b"\r\n".join(lines))
    assert mail.sender == "a@b.example"
    Taken.of(mail)


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=500))
def test_the_new_part_is_part_of_the_text(text: str) -> None:
    new = new_part(text)
    assert new_part(new) in (new, "") or len(new_part(new)) <= len(new)
    assert not any(character in new for character in "\x00\x07\u200b")


def test_own_words_are_not_taken_for_history() -> None:
    kept = (
        "On Monday I wrote to the shop: nobody answered.",
        "From: what I understood it was sent in March.",
        "Le vendeur a écrit qu'il rembourse.",
        "- one kettle\n- two cups",
        "Thanks,\nKim",
        "Sent from my heart, but the parcel was empty.",
    )
    for text in kept:
        assert new_part(text) == text


def test_a_mail_is_itself_whatever_servers_add_on_the_way() -> None:
    raw = _text("Hello\n")(Envelope(number=7))
    relayed = (
        b"Received: from a by b; Sat, 20 Feb 2021\r\n\tfor <c>\r\nDelivered-To: x@y.example\r\nX-Spam: no\r\n" + raw + b"\r\n"
    )
    assert identity_of(relayed) == identity_of(raw) == identity_of(raw.replace(b"\r\n", b"\n"))
    assert identity_of(_text("Hello\n")(Envelope(number=8))) != identity_of(raw)
    assert identity_of(_text("Hello!\n")(Envelope(number=7))) != identity_of(raw)
    assert identity_of(b"") != identity_of(raw)


def test_what_was_left_out_is_named_in_the_message() -> None:
    mail = read_mail(
        _parts(_file("a.zip", "application/zip", b"PK\x03\x04aaaa"), _file("b.jpg", "image/jpeg", JPEG))(Envelope())
    )
    taken = Taken.of(mail)
    assert taken.words("de") == "📎 b.jpg\n\n[Nicht als Beleg übernommen: a.zip]"
    assert taken.words("xx").endswith("[Not taken as evidence: a.zip]")
    long = Taken("x" * 20_000, (), ("a.zip",)).words("en")
    assert len(long) <= 10_000
    assert "[…]" in long
    assert long.endswith("[Not taken as evidence: a.zip]")


def test_where_machines_mails_go() -> None:
    automatic = read_mail(_text("Away", "utf-8", "8bit", "Auto-Submitted: auto-generated")(Envelope()))
    assert without_case(automatic, own_id=False, notices=(), addressed=False) == ToTeam("auto_reply", detail="generated")
    assert without_case(automatic, own_id=True, notices=(), addressed=True) == ToTeam("loop")
    hops = b"".join(b"Received: from a by b\r\n" for _ in range(60)) + _text("Hello")(Envelope())
    assert without_case(read_mail(hops), own_id=False, notices=(), addressed=True) == ToTeam("loop")


@pytest.mark.rule("CP-04")
def test_every_recipient_that_the_headers_name_is_read_whatever_follows() -> None:
    raw = b"To: A <A@x.example>,\r\n b@x.example\r\nCc: c@x.example\r\nDelivered-To: d@x.example\r\n\r\nTo: e@x.example\r\n"
    assert recipients_of(raw) == ("a@x.example", "b@x.example", "c@x.example", "d@x.example")
    assert recipients_of(raw.replace(b"\r\n", b"\n") + b"\xff" * 1_000_000) == recipients_of(raw)
    assert recipients_of(b"") == recipients_of(b"\r\n\r\nTo: a@x.example") == ()
