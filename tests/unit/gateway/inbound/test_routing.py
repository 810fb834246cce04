"""Who speaks for whom: addresses that only we make, the parties' own addresses, and what the mail server in front found."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.ids import case_id_of
from contracts.mailboxes import (
    ReplyAddress,
    domain_of,
    message_id,
    notices_named,
    read_address,
    reply_address,
    reply_domain,
)
from services.gateway.inbound.parsing import Mail, read_mail
from services.gateway.inbound.routing import authenticity, known_addresses, newest_open_case, order_numbers

HEX32 = st.text("0123456789abcdef", min_size=32, max_size=32)


@st.composite
def addresses(draw: st.DrawFn) -> ReplyAddress:
    order_id = f"ord_{draw(HEX32)}"
    number = draw(st.integers(0, 65_535))
    role = draw(st.sampled_from(["buyer", "merchant"]))
    return ReplyAddress(order_id, role, case_id_of(order_id, number) if number else None)


@settings(max_examples=100, deadline=None)
@given(addresses(), st.integers(0, 46), st.sampled_from("abcdefghijklmnopqrstuvwxyz234567"))
def test_an_address_says_what_it_was_made_for_and_nothing_else_does(wanted: ReplyAddress, place: int, other: str) -> None:
    made = reply_address("secret", "recourse.example", wanted)
    local, _, _ = made.partition("@")
    assert len(local) <= 64
    assert made == made.lower()
    assert read_address("secret", "recourse.example", f" {made.upper()} ") == wanted
    assert read_address("other secret", "recourse.example", made) is None
    assert read_address("secret", "elsewhere.example", made) is None
    token = local.removeprefix("case+")
    forged = f"case+{token[:place]}{other}{token[place + 1 :]}@recourse.example"
    assert read_address("secret", "recourse.example", forged) in (None, wanted)
    if place < 30 and token[place] != other:
        assert read_address("secret", "recourse.example", forged) is None


@pytest.mark.parametrize(
    "text", ["", "case+@recourse.example", "help@recourse.example", "case+" + "1" * 47 + "@recourse.example"]
)
def test_other_addresses_are_nobodys(text: str) -> None:
    assert read_address("secret", "recourse.example", text) is None


@settings(max_examples=50, deadline=None)
@given(HEX32, st.text("0123456789abcdef", min_size=16, max_size=16), st.binary(max_size=200))
def test_a_notice_is_found_in_whatever_names_it(order: str, rest: str, around: bytes) -> None:
    notice_id = f"ntc_{order}_{rest}"
    made = message_id("secret", notice_id, "recourse.example")
    assert notices_named("secret", around + b" " + made.encode() + b" " + around) == (notice_id,)
    assert notices_named("other", made.encode()) == ()
    assert notices_named("secret", f"<{notice_id}.{'0' * 20}@recourse.example>".encode()) == ()


def test_the_domain_of_replies_is_the_senders_unless_it_is_set() -> None:
    assert domain_of("Recourse <no-reply@Recourse.example>") == "recourse.example"
    assert reply_domain("", "Recourse <no-reply@recourse.example>") == "recourse.example"
    assert reply_domain("Reply.example", "Recourse <no-reply@recourse.example>") == "reply.example"


BODY = {
    "order": {"buyer": {"email": "Kim@mail.example"}},
    "reports": {"cas_1": {"contact": {"email": "kim@work.example"}}, "cas_2": {"contact": None}},
    "standing": {"open_cases": [{"case_id": "cas_x_9"}, {"case_id": "cas_x_10"}]},
}
MERCHANT = {
    "merchant": {"notify": [{"email": "cases@shop.example"}], "service_contact": {"email": "Service@shop.example"}},
    "desk": {"consultants": [{"email": "ann@shop.example"}]},
}


def test_the_addresses_that_a_party_is_known_by() -> None:
    assert known_addresses(BODY, MERCHANT, "buyer", "cas_1") == {"kim@mail.example", "kim@work.example"}
    assert known_addresses(BODY, MERCHANT, "buyer", "cas_2") == {"kim@mail.example"}
    assert known_addresses(BODY, None, "buyer", None) == {"kim@mail.example", "kim@work.example"}
    shop = {"cases@shop.example", "service@shop.example", "ann@shop.example"}
    assert known_addresses(BODY, MERCHANT, "merchant", "cas_1") == shop
    assert known_addresses(BODY, None, "merchant", "cas_1") == frozenset()


def test_the_newest_open_case_is_the_one_with_the_highest_number() -> None:
    assert newest_open_case(BODY) == "cas_x_10"
    assert newest_open_case({"standing": {"open_cases": []}}) is None


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("mx.recourse.example; dmarc=pass (p=reject) header.from=Mail.example", "proven"),
        ("mx.recourse.example; dmarc=pass", "unknown"),
        ("mx.recourse.example; dmarc=pass header.from=evil.example", "unknown"),
        ("mx.recourse.example; dmarc=pass header.from=evil.example; dkim=pass header.d=mail.example", "proven"),
        ("mx.recourse.example; dmarc=fail header.from=evil.example; dkim=pass header.d=mail.example", "forged"),
        ("mx.recourse.example 1; spf=pass; dkim=fail; dmarc=fail", "forged"),
        ("mx.recourse.example; dmarc=pass; dmarc=fail", "forged"),
        ("mx.recourse.example; spf=pass", "unknown"),
        ("mx.recourse.example; dmarc=none; dkim=pass (2048 bits) header.d=Mail.example header.s=a", "proven"),
        ("mx.recourse.example; dkim=pass header.d=example", "unknown"),
        ("mx.recourse.example; dkim=pass header.d=evil.example", "unknown"),
        ("mx.recourse.example; dkim=pass header.d=ail.example", "unknown"),
        ("mx.recourse.example; dkim=pass header.d=sub.mail.example", "unknown"),
        ("mx.recourse.example; dkim=fail header.d=mail.example; spf=pass smtp.mailfrom=bounce@mail.example", "proven"),
        ("mx.recourse.example; dkim=fail header.d=mail.example; spf=softfail smtp.mailfrom=mail.example", "unknown"),
        # What a sender chooses stands in findings, too.
        ("mx.recourse.example; spf=pass smtp.mailfrom=dmarc=pass@evil.example; dmarc=fail", "forged"),
        ('mx.recourse.example; spf=pass smtp.mailfrom="a; dmarc=pass"@evil.example', "unknown"),
        ("mx.recourse.example; dkim=fail (header.d=x; dmarc=pass (\\) dmarc=pass); dmarc=pass) header.d=x.example", "unknown"),
        ("mx.recourse.example; dkim=fail reason=(; dmarc=pass", "unknown"),
        ("mx.evil.example; dmarc=pass header.from=mail.example", "unknown"),
        ("(mx.recourse.example) mx.evil.example; dmarc=pass header.from=mail.example", "unknown"),
        ("", "unknown"),
    ],
)
def test_what_a_server_found_out_counts_under_the_name_that_is_set(header: str, found: str) -> None:
    mail = Mail(sender="kim@mail.example", authentication=(header,))
    assert authenticity(mail, "mx.recourse.example") == found
    assert authenticity(mail, "") == "unknown"


@pytest.mark.rule("CP-04", "BP-06")
@pytest.mark.parametrize(
    ("headers", "found"),
    [
        (("mx; dkim=none", "mx; dmarc=fail header.from=mail.example"), "forged"),
        (("mx; dkim=pass header.d=mail.example", "mx; dmarc=fail header.from=mail.example"), "forged"),
        (("mx; dkim=none", "mx 1; spf=none", "MX; dmarc=pass header.from=mail.example"), "proven"),
        (("mx; dkim=none", "mx.evil.example; none", "mx; dmarc=pass header.from=mail.example"), "unknown"),
        (("mx.evil.example; none", "mx; dmarc=pass header.from=mail.example"), "unknown"),
        (("", "mx; dmarc=pass header.from=mail.example"), "unknown"),
    ],
)
def test_a_server_may_say_what_it_found_in_several_headers_before_all_others(headers: tuple[str, ...], found: str) -> None:
    written = "".join(f"Authentication-Results: {header}\r\n" for header in headers)
    mail = read_mail(f"{written}From: Kim <kim@mail.example>\r\n\r\nHello".encode())
    assert authenticity(mail, "mx") == found


@pytest.mark.rule("CP-04", "BP-06")
@pytest.mark.parametrize(
    "senders",
    [
        '"a b"@mail.example, kim@mail.example',
        'kim@mail.example, "a b"@mail.example',
        '"a;b"@mail.example, <kim@mail.example>',
        "x@[10.0.0.1], kim@mail.example",
        "a: b@mail.example;, kim@mail.example",
        f"{'a' * 70}@mail.example, kim@mail.example",
        f"a@{'b' * 200}.example, kim@mail.example",
        "kim@mail.example (, a@mail.example",
        'kim@mail.example ", a@mail.example',
        "kim@mail.example\\, a@mail.example",
        f"kim@mail.example{',' * 9_000} a@mail.example",
        "kim@mail(x)@evil.example",
        'kim@"x"mail.example',
    ],
)
def test_a_mail_with_a_second_sender_or_one_that_is_not_understood_is_nobodys(senders: str) -> None:
    """Whatever becomes of the addresses that cannot be matched: they count. The server in front may have meant that one."""
    header = "mx; dmarc=pass header.from=mail.example; dkim=pass header.d=mail.example"
    mail = read_mail(f"Authentication-Results: {header}\r\nFrom: {senders}\r\n\r\nHello".encode())
    assert (mail.sender, authenticity(mail, "mx")) == ("", "unknown")


@pytest.mark.parametrize(
    "sender",
    [
        "kim@mail.example",
        "<KIM@mail.example>",
        "Käufer, Kim <kim@mail.example>",
        "kim@mail.example <kim@mail.example>",
        '"kim@other.example, \\" (" <kim@mail.example> (a comment (with a@b.example))',
        "Team [Shop]: <kim@mail.example>,",
    ],
)
def test_one_sender_is_found_however_it_is_written(sender: str) -> None:
    assert read_mail(f"From: {sender}\r\n\r\nHello".encode()).sender == "kim@mail.example"


def test_a_signature_of_a_domain_above_proves_the_sender_and_of_none_nobody() -> None:
    header = "mx; dkim=pass header.d=shop.example"
    assert authenticity(Mail(sender="a@news.shop.example", authentication=(header,)), "mx") == "proven"
    assert authenticity(Mail(sender="", authentication=(header,)), "mx") == "unknown"


def test_words_with_a_digit_may_be_order_numbers() -> None:
    mail = Mail(subject="Order #A-1001", text="About (B/2002): nothing came. Amount 12,50!")
    assert set(order_numbers(mail)) >= {"A-1001", "B/2002"}
    assert order_numbers(Mail(text="no number at all")) == ()
    assert len(order_numbers(Mail(text=" ".join(f"n{number}" for number in range(5_000))))) <= 200
