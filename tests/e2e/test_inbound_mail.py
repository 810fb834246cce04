"""Mails that come back by SMTP, through the real services: each lands where it belongs, none is lost, none is there twice."""

import asyncio
import os
import signal
import smtplib
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import pytest

from chassis.settings import Settings
from recourse.verification.whole import verify_all
from tests.e2e.conftest import Start
from tests.e2e.world import Party, Shop, World
from tests.e2e.world import send_mail as send
from tests.unit.gateway.inbound.test_reading import python_mails
from tests.written_mails import JPEG, PDF, WRITTEN, Envelope, Written, plain

Json = dict[str, Any]
PLATFORM = "help@recourse.example"


class Correspondence:
    """A case with the mails that its parties got."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.shop: Shop = world.shop()
        self.order = world.order(self.shop)
        self.buyer: Party = world.buyer(self.order)
        self.email: str = self.order["buyer"]["email"]
        self.case = self.buyer.report(self.order)
        self.mail = world.mail(self.email, "case_opened")
        self.path = f"/v1/cases/{self.case['case_id']}"

    def envelope(self, number: int = 0) -> Envelope:
        return Envelope(self.email, self.mail["reply_to"], self.mail["message_id"], number)

    def write(
        self, text: str, *, to: str = "", sender: str = "", headers: tuple[str, ...] = (), number: int = 0, **more: str
    ) -> bytes:
        envelope = Envelope(sender or self.email, to or self.mail["reply_to"], self.mail["message_id"], number)
        return (plain(envelope, *headers, "Content-Type: text/plain; charset=utf-8", **more) + f"\r\n\r\n{text}\r\n").encode()

    def send(self, raw: bytes, to: str = "", *, sender: str | None = None, by: str = "smtp") -> None:
        send(self.world.ready[by], raw, to or self.mail["reply_to"], self.email if sender is None else sender)

    def settled(self) -> None:
        """The clock waits until every mail is where it belongs."""
        self.world.advance("PT1S")

    def thread(self) -> list[Json]:
        return self.world.platform.get(f"{self.path}/messages")["items"]

    def items(self) -> list[Json]:
        return self.world.platform.get("/v1/inbox", case_id=self.case["case_id"])["items"]


@pytest.fixture
def letters(world: World) -> Correspondence:
    return Correspondence(world)


@pytest.mark.rule("CP-04", "RD-07", "BP-21")
@pytest.mark.parametrize("by", ["smtp", "inbound_smtp"])
def test_a_reply_is_a_message_of_its_writer(letters: Correspondence, by: str) -> None:
    letters.send(letters.write("It never came.\r\n\r\nOn 20.02.2021, Recourse wrote:\r\n> Hello"), by=by)
    letters.settled()
    (message,) = letters.thread()
    assert message["text"] == "It never came."
    assert (message["author"]["role"], message["visible_to"]) == ("buyer", ["buyer", "merchant", "platform"])
    whole = f"/v1/inbox/{message['author']['id'].removeprefix('mail:')}/content"
    assert b"> Hello" in letters.world.platform.request("GET", whole).ok()
    letters.buyer.request("GET", whole).problem(403)
    told = letters.world.mail(letters.shop.contract_email, "message")
    assert "It never came." in told["text"]
    answer = Envelope(letters.shop.contract_email, told["reply_to"], told["message_id"], 1)
    assert told["reply_to"] != letters.mail["reply_to"]
    raw = (plain(answer, "Content-Type: text/plain") + "\r\n\r\nWe look into it.\r\n").encode()
    send(letters.world.ready[by], raw, told["reply_to"], letters.shop.contract_email)
    letters.settled()
    assert [(each["author"]["role"], each["text"]) for each in letters.thread()] == [
        ("buyer", "It never came."),
        ("merchant", "We look into it."),
    ]
    assert letters.items() == []


@pytest.mark.rule("CP-04", "NX-14")
def test_attachments_are_evidence(letters: Correspondence) -> None:
    photo = next(each for each in WRITTEN if each.name == "a photo under a wrong name")
    letters.send(photo.make(letters.envelope()))
    letters.settled()
    (message,) = letters.thread()
    (evidence,) = message["evidence"]
    assert (evidence["media_type"], evidence["name"], evidence["size"]) == ("image/jpeg", "photo.exe", len(JPEG))
    for reader in (letters.buyer, letters.shop.staff, letters.world.platform):
        content = reader.request("GET", f"/v1/evidence/{evidence['evidence_id']}/content").ok()
        assert content == JPEG


@pytest.mark.rule("CP-04")
def test_the_same_mail_again_is_the_same_mail(letters: Correspondence) -> None:
    raw = letters.write("Only once.")
    relayed = b"Received: from a by b; Sat, 20 Feb 2021 11:00:00 +0100\r\n" + raw
    for by, content in (("smtp", raw), ("inbound_smtp", raw), ("smtp", relayed), ("inbound_smtp", relayed)):
        letters.send(content, by=by)
    letters.settled()
    assert [each["text"] for each in letters.thread()] == ["Only once."]


@pytest.mark.rule("CP-04")
@pytest.mark.parametrize("way", ["one transaction", "one for each recipient", "blind copies"])
def test_a_mail_to_two_cases_lands_in_each_once(letters: Correspondence, way: str) -> None:
    world = letters.world
    other = letters.buyer.report(letters.order, "no_refund")
    letters.settled()
    first, second = [each["reply_to"] for each in world.mails(letters.email, "case_opened")]
    to = PLATFORM if way == "blind copies" else first
    copy = () if way == "blind copies" else (f"Cc: Support <{second}>",)
    raw = letters.write("About both.", to=to, headers=copy)
    if way == "one transaction":
        place = urlsplit(world.ready["smtp"])
        with smtplib.SMTP(place.hostname or "", place.port or 25, timeout=30) as smtp:
            smtp.sendmail(letters.email, [first, second], raw)
    else:
        for by, address in (("smtp", first), ("inbound_smtp", second), ("smtp", second)):
            letters.send(raw, address, by=by)
    letters.settled()
    for case_id in (letters.case["case_id"], other["case_id"]):
        thread = world.platform.get(f"/v1/cases/{case_id}/messages")["items"]
        assert [each["text"] for each in thread] == ["About both."], case_id
        whole = f"/v1/inbox/{thread[0]['author']['id'].removeprefix('mail:')}/content"
        assert b"About both." in world.platform.request("GET", whole).ok()
    assert letters.items() == []


@pytest.mark.rule("CP-04")
def test_who_is_not_known_does_not_speak_for_a_party(letters: Correspondence) -> None:
    """The address alone is not enough (a forwarded mail), the sender alone is not (a forged one)."""
    forged = letters.mail["reply_to"].replace("case+a", "case+b", 1)
    letters.send(letters.write("I am a friend.", sender="friend@x.example", number=1))
    letters.send(letters.write("I say I am the shop.", sender=letters.shop.contract_email, number=2))
    letters.send(letters.write("I guess.", to=forged, number=3).replace(b"In-Reply-To", b"X-Nothing"), forged)
    letters.send(
        letters.write("I only know the order. " + letters.order["order_number"], to=PLATFORM, number=4).replace(
            b"In-Reply-To", b"X-Nothing"
        ),
        PLATFORM,
    )
    letters.settled()
    assert letters.thread() == []
    assert [(each["why"], each["text"]) for each in letters.items()] == [
        ("foreign_sender", "I am a friend."),
        ("foreign_sender", "I say I am the shop."),
        ("unproven_sender", f"I only know the order. {letters.order['order_number']}"),
    ]
    unknown = letters.world.platform.get("/v1/inbox", why="unknown_address", state="open")["items"]
    assert "I guess." in [each["text"] for each in unknown]


@pytest.mark.rule("CP-04")
def test_an_answer_to_the_message_itself_finds_its_case(letters: Correspondence) -> None:
    """Some programs do not use Reply-To; In-Reply-To has a Message-ID that only its reader knows."""
    letters.send(letters.write("To the sender.", to="no-reply@recourse.example", number=1), "no-reply@recourse.example")
    letters.settled()
    assert [each["text"] for each in letters.thread()] == ["To the sender."]


def feedback(order: Json, text: str, *headers: str, number: int = 1) -> bytes:
    """A mail out of the blue from the address of an order's buyer."""
    envelope = Envelope(order["buyer"]["email"], PLATFORM, "<none@x.example>", number)
    return (plain(envelope, *headers, "Content-Type: text/plain", subject="My order") + f"\r\n\r\n{text}\r\n").encode()


@pytest.mark.rule("BP-06", "CP-04")
def test_feedback_that_anybody_may_have_written_asks_the_team(world: World) -> None:
    """It opens no case in the buyer's name, tells no merchant and holds no payout; what it asks for is one click away."""
    shop = world.shop()
    order = world.order(shop)
    text = f"Something is wrong with order #{order['order_number']}."
    # Only what the mail server in front writes would count, and here nobody has said its name.
    forged = "Authentication-Results: mx.recourse.example; dmarc=pass"
    send(world.ready["smtp"], feedback(order, text, forged), PLATFORM, order["buyer"]["email"])
    world.advance("PT1S")
    assert world.platform.order(order["order_id"])["payout"] == {"held": False}
    assert world.mails(order["buyer"]["email"]) + world.mails(shop.contract_email) == []
    found = world.platform.get("/v1/inbox", state="open", why="unproven_sender")["items"]
    (item,) = [each for each in found if each.get("order_id") == order["order_id"]]
    assert item["suggested"] == {"order_id": order["order_id"], "reason": "other"}
    done = world.platform.post(f"/v1/inbox/{item['item_id']}/assignments", item["suggested"]).ok()
    case = world.platform.case(done["ended"]["case_id"])
    assert (case["state"], case["reason"], case["text"]) == ("under_review", "other", text)
    assert "suggested" not in done
    # Into the case, too, the team puts it.
    send(world.ready["smtp"], feedback(order, f"{text} Well?", number=2), PLATFORM, order["buyer"]["email"])
    world.advance("PT1S")
    assert world.platform.get(f"/v1/cases/{case['case_id']}/messages")["items"] == []
    (item,) = world.platform.get("/v1/inbox", state="open", case_id=case["case_id"])["items"]
    assert item["suggested"] == {"case_id": case["case_id"], "party": "buyer"}


@pytest.fixture(scope="module")
def proving(start_world: Start) -> World:
    """Behind a mail server that says whether a sender is proved."""
    return start_world(clock="2021-02-20T10:00:00Z", environment={"RECOURSE_INBOUND_AUTHSERV": "mx.recourse.example"})


@pytest.mark.rule("BP-06", "BP-07", "BP-08", "CP-04")
def test_feedback_of_a_proved_sender_goes_straight_to_the_team(proving: World) -> None:
    world = proving
    order = world.order(world.shop())
    email = order["buyer"]["email"]
    proved = f"Authentication-Results: mx.recourse.example; dkim=pass header.d={email.partition('@')[2]}"
    text = f"Something is wrong with order #{order['order_number']}."
    send(world.ready["smtp"], feedback(order, text, proved), PLATFORM, email)
    world.advance("PT1S")
    (case_id,) = world.platform.order(order["order_id"])["cases"]
    case = world.platform.case(case_id)
    assert (case["state"], case["reason"], case["text"]) == ("under_review", "other", text)
    assert world.mail(email, "case_opened")["case_id"] == case_id
    send(world.ready["smtp"], feedback(order, f"{text} Well?", proved, number=2), PLATFORM, email)
    foreign = "Authentication-Results: mx.recourse.example; spf=pass smtp.mailfrom=dmarc=pass@evil.example; dmarc=fail"
    send(world.ready["smtp"], feedback(order, f"{text} No!", foreign, number=3), PLATFORM, email)
    world.advance("PT1S")
    assert [each["text"] for each in world.platform.get(f"/v1/cases/{case_id}/messages")["items"]] == [f"{text} Well?"]


@pytest.mark.rule("BP-05", "BP-06")
def test_the_check_in_can_be_answered_by_mail(proving: World) -> None:
    world = proving
    order = world.order(world.shop())
    world.advance("P23D")
    mail = world.mail(order["buyer"]["email"], "check_in")
    answer = Envelope(order["buyer"]["email"], mail["reply_to"], mail["message_id"])
    document = next(each for each in WRITTEN if each.name == "a document with a name in RFC 2231").make(answer)
    send(world.ready["smtp"], document, mail["reply_to"], order["buyer"]["email"])
    world.advance("PT1S")
    (case_id,) = world.platform.order(order["order_id"])["cases"]
    case = world.platform.case(case_id)
    assert (case["reason"], case["text"]) == ("other", "Here is the proof.")
    assert [(each["name"], each["size"]) for each in case["evidence"]] == [("Beleg für A.pdf", len(PDF))]
    send(world.ready["smtp"], next(each for each in WRITTEN if each.name == "English, Gmail").make(answer), mail["reply_to"])
    world.advance("PT1S")
    assert world.platform.get(f"/v1/cases/{case_id}/messages")["items"] == []  # no return path: a machine's
    again = (plain(answer, "Content-Type: text/plain") + "\r\n\r\nAny news?\r\n").encode()
    send(world.ready["smtp"], again, mail["reply_to"], order["buyer"]["email"])
    world.advance("PT1S")
    assert [each["text"] for each in world.platform.get(f"/v1/cases/{case_id}/messages")["items"]] == ["Any news?"]


@pytest.mark.rule("CP-04")
def test_a_mail_that_belongs_to_no_case_is_an_item_for_the_team(letters: Correspondence) -> None:
    world = letters.world
    text = f"Hello from {world.name('nobody')}"
    letters.send(letters.write(text, to=PLATFORM, sender="who@x.example", number=1).replace(b"In-Reply-To", b"X-No"), PLATFORM)
    letters.settled()
    (item,) = [each for each in world.platform.get("/v1/inbox", state="open", why="no_case")["items"] if each["text"] == text]
    path = f"/v1/inbox/{item['item_id']}"
    assert world.platform.get(path)["subject"] == "Re: Your order"
    assert text.encode() in world.platform.request("GET", f"{path}/content").ok()
    for who in (letters.buyer, letters.shop.staff, world.partner):
        who.request("GET", "/v1/inbox").problem(403)
        who.request("GET", path).problem(403)
        who.post(f"{path}/dismissals", {}).problem(403)

    wanted = {"case_id": letters.case["case_id"], "party": "merchant"}
    done = world.platform.post(f"{path}/assignments", wanted, Idempotency_Key=f"assign-{item['item_id']}").ok()
    assert (done["state"], done["ended"]["how"]) == ("done", "assigned")
    again = world.platform.post(f"{path}/assignments", wanted, Idempotency_Key=f"assign-{item['item_id']}").ok()
    assert again == done
    (message,) = letters.thread()
    assert message["text"] == text
    assert message["author"] == {"role": "platform", "id": "platform", "acts_for": "merchant"}
    world.platform.post(f"{path}/assignments", {**wanted, "party": "buyer"}).problem(409, "item-ended")
    world.platform.post(f"{path}/dismissals", {}).problem(409, "item-ended")
    assert len(letters.thread()) == 1


@pytest.mark.rule("CP-04", "BP-07")
def test_the_team_makes_a_report_of_a_mail_or_sets_it_aside(world: World) -> None:
    order = world.order(world.shop())
    marker = world.name("marker")
    for number in (1, 2):
        raw = plain(Envelope("who@x.example", PLATFORM, "<none@x.example>", number), "Content-Type: text/plain")
        send(world.ready["smtp"], f"{raw}\r\n\r\n{marker} {number}\r\n".encode(), PLATFORM, "who@x.example")
    world.advance("PT1S")
    first, second = sorted(
        (each for each in world.platform.get("/v1/inbox", state="open")["items"] if marker in each["text"]),
        key=lambda each: each["text"],
    )
    path = f"/v1/inbox/{first['item_id']}/assignments"
    world.platform.post(path, {"order_id": order["order_id"], "reason": "nonsense"}).problem(409, "report-refused")
    done = world.platform.post(path, {"order_id": order["order_id"], "reason": "not_received"}).ok()
    case = world.platform.case(done["ended"]["case_id"])
    assert (case["reason"], case["text"], case["order_id"]) == ("not_received", f"{marker} 1", order["order_id"])
    aside = world.platform.post(f"/v1/inbox/{second['item_id']}/dismissals", {"note": "spam"}).ok()
    assert (aside["state"], aside["ended"]["how"], aside["ended"]["note"]) == ("done", "dismissed", "spam")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 422),
        ({"case_id": "cas_1"}, 422),
        ({"case_id": "cas_1", "party": "platform"}, 422),
        ({"case_id": "cas_1", "party": "buyer"}, 422),
        ({"case_id": "cas_" + "0" * 32 + "_1", "party": "buyer"}, 422),
        ({"order_id": "ord_" + "0" * 32, "reason": "other"}, 422),
        ({"order_id": "ord_1", "case_id": "cas_1", "party": "buyer"}, 422),
        ({"order_id": "ord_1", "reason": "other", "colour": "red"}, 422),
        ([], 422),
    ],
)
def test_a_wrong_assignment_is_refused(world: World, body: Any, status: int) -> None:
    raw = (
        plain(Envelope("who@x.example", PLATFORM, "<none@x.example>", 9), "Content-Type: text/plain")
        + "\r\n\r\nFor wrong ones\r\n"
    )
    send(world.ready["smtp"], raw.encode(), PLATFORM, "who@x.example")
    world.advance("PT1S")
    found = world.platform.get("/v1/inbox", state="open")["items"]
    (item,) = [each for each in found if each["text"] == "For wrong ones"]
    world.platform.post(f"/v1/inbox/{item['item_id']}/assignments", body).problem(status)
    assert world.platform.get(f"/v1/inbox/{item['item_id']}")["state"] == "open"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/inbox/mai_1", 404),
        ("/v1/inbox/" + "x" * 200, 404),
        ("/v1/inbox/mai_1/content", 404),
        ("/v1/inbox?state=lost", 422),
        ("/v1/inbox?limit=0", 422),
        ("/v1/inbox?cursor=forged", 422),
        ("/v1/inbox?colour=red", 422),
        ("/v1/inbox?limit=1", 200),
    ],
)
def test_wrong_questions_about_the_inbox(world: World, path: str, status: int) -> None:
    assert world.platform.request("GET", path).status == status


@pytest.mark.rule("CP-04")
def test_the_inbox_comes_in_pages(world: World) -> None:
    marker = world.name("page")
    for number in range(5):
        raw = plain(Envelope("who@x.example", PLATFORM, "<none@x.example>", number), "Content-Type: text/plain", subject=marker)
        send(world.ready["inbound_smtp"], f"{raw}\r\n\r\npage {number}\r\n".encode(), PLATFORM, "who@x.example")
        world.advance("PT1S")
    texts: list[str] = []
    more: Json = {}
    while True:
        page = world.platform.get("/v1/inbox", limit=2, **more)
        texts += [each["text"] for each in page["items"] if each["subject"] == marker]
        if "next" not in page:
            break
        more = {"cursor": page["next"]}
    assert texts == [f"page {number}" for number in range(5)]


def groups() -> Iterator[tuple[Written, ...]]:
    """As many as one sender may write in one case in an hour, and fewer."""
    for start in range(0, len(WRITTEN), 15):
        yield WRITTEN[start : start + 15]


@pytest.mark.rule("CP-04")
@pytest.mark.parametrize("group", list(groups()), ids=lambda group: group[0].name)
def test_each_written_mail_lands_where_it_should(letters: Correspondence, group: tuple[Written, ...]) -> None:
    for number, written in enumerate(group):
        raw = written.make(letters.envelope(number))
        sender = letters.email if written.return_path is None else written.return_path
        letters.send(raw, sender=sender, by="smtp" if number % 2 else "inbound_smtp")
        letters.settled()
        messages, items = letters.thread(), letters.items()
        if written.lands == "message":
            message = messages[-1]
            assert written.text is None or message["text"].startswith(written.text or "📎"), written.name
            assert len(message["evidence"]) == written.files, written.name
            assert all(name in message["text"] for name in written.left_out), written.name
        else:
            assert items[-1]["why"] == written.lands, (written.name, items[-1])
            assert items[-1]["state"] == ("done" if written.lands in ("auto_reply", "bounce", "loop") else "open")
        assert len(messages) + len(items) == number + 1, written.name
    services = letters.world.ready["services"].items()
    assert [name for name, each in services if "pid" in each and not os.path.exists(f"/proc/{each['pid']}")] == []


@pytest.mark.rule("CP-04", "NX-08")
def test_a_bounce_of_a_notice_is_told_in_its_case(letters: Correspondence) -> None:
    bounce = next(each for each in WRITTEN if each.name == "a bounce for good")
    raw = bounce.make(Envelope(letters.email, "no-reply@recourse.example", letters.mail["message_id"]))
    for _ in range(2):  # at once: faster, now and then, than the proof that the notice was sent
        letters.send(raw, "no-reply@recourse.example", sender="")
    letters.settled()
    history = letters.world.platform.get(f"{letters.path}/history", limit=200)["items"]
    notices = [each["data"]["notice"] for each in history if each["type"] == "case.notice-recorded"]
    failed = [notice for notice in notices if notice["state"] == "failed"]
    assert [(each["party"], each["to"]) for each in failed] == [("buyer", letters.email)]
    assert "550 5.1.1 no such user" in failed[0]["server_reply"]
    assert letters.thread() == []


@pytest.mark.rule("CP-04")
def test_the_mails_that_come_with_python_land_with_the_team(letters: Correspondence) -> None:
    mails = python_mails()
    if not mails:
        pytest.skip("this Python was installed without its tests: there is no test/test_email/data")
    before = letters.world.platform.get("/v1/inbox", limit=200)
    assert "next" not in before
    known = {each["item_id"] for each in before["items"]}
    for number, path in enumerate(mails):
        raw = path.read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        letters.send(raw, PLATFORM, sender="somebody@x.example", by="smtp" if number % 2 else "inbound_smtp")
    letters.settled()
    after = letters.world.platform.get("/v1/inbox", limit=200)["items"]
    new = [each for each in after if each["item_id"] not in known]
    assert len(new) == len({path.read_bytes() for path in mails})
    assert {each["why"] for each in new} <= {"no_case", "auto_reply", "bounce", "automatic", "unreadable"}
    assert letters.thread() == []


@pytest.mark.rule("CP-04")
def test_two_machines_do_not_go_round_in_a_case(letters: Correspondence) -> None:
    for number in range(32):
        letters.send(letters.write(f"Thank you for your message {number}", number=number))
    letters.settled()
    written, items = len(letters.thread()), [each["why"] for each in letters.items()]
    assert 20 <= written <= 28  # what two gateways have in hand at the same moment is not counted yet
    assert items == ["too_many"] * (32 - written)
    letters.send(letters.write("Ours", message_id=letters.mail["message_id"], number=99))
    letters.settled()
    assert letters.items()[-1]["why"] == "loop"


@pytest.mark.rule("CP-04")
def test_what_cannot_be_taken_is_refused_at_once(letters: Correspondence) -> None:
    place = urlsplit(letters.world.ready["inbound_smtp"])
    with smtplib.SMTP(place.hostname or "", place.port or 0, timeout=60) as smtp:
        smtp.ehlo()
        assert smtp.esmtp_features["size"] == str(25 * 1024 * 1024)
        smtp.mail("a@x.example")
        assert smtp.rcpt("somebody@elsewhere.example")[0] == 550
        assert smtp.mail("a@x.example", ["SIZE=99999999"])[0] in (503, 552)
        smtp.rset()
        with pytest.raises(smtplib.SMTPSenderRefused) as announced:
            smtp.sendmail("a@x.example", [PLATFORM], letters.write("x" * 100) + b"y" * 76 * 400_000)
        assert announced.value.smtp_code == 552
        smtp.mail("a@x.example")
        smtp.rcpt(PLATFORM)
        assert smtp.data(letters.write("x" * 100) + b"y" * 76 * 400_000)[0] == 552
        assert smtp.noop()[0] == 250
        smtp.sendmail("a@x.example", [letters.mail["reply_to"]], letters.write(".\r\n..\r\nlong " + "z" * 5_000))
    letters.settled()
    assert letters.thread()[-1]["text"].startswith(".\n..\nlong zzz")


@pytest.mark.rule("CP-04")
@pytest.mark.timeout(300)
def test_nothing_is_lost_or_twice_when_gateways_are_killed(start_world: Start) -> None:
    """Every mail that was acknowledged is one message; one that was not is sent again by its server."""
    world = start_world(clock="2021-02-20T10:00:00Z", instances=2)
    cases = [Correspondence(world) for _ in range(4)]
    listeners = [each["inbound_smtp"] for name, each in world.ready["services"].items() if name.startswith("gateway")]
    urls = [*listeners, world.ready["smtp"]]
    tries: list[int] = []

    def deliver(number: int) -> None:
        letters = cases[number % len(cases)]
        raw = letters.write(f"mail {number}", number=number)
        for attempt in range(200):
            try:
                send(urls[(number + attempt) % len(urls)], raw, letters.mail["reply_to"], letters.email)
                tries.append(attempt)
                return
            except (OSError, smtplib.SMTPException):
                time.sleep(0.2)
        raise AssertionError(f"mail {number} was never taken")

    with ThreadPoolExecutor(4) as hands:
        sent = [hands.submit(deliver, number) for number in range(60)]
        for strike in range(2):
            while sum(each.done() for each in sent) < 15 + 20 * strike:
                time.sleep(0.01)
            name = f"gateway-{strike + 1}"
            os.kill(world.ready["services"][name]["pid"], signal.SIGKILL)
        for each in sent:
            each.result()
    for number in range(0, 60, 7):  # a server that did not hear the 250 sends again
        letters = cases[number % len(cases)]
        for _ in range(100):
            try:
                send(urls[number % 2], letters.write(f"mail {number}", number=number), letters.mail["reply_to"], letters.email)
                break
            except (OSError, smtplib.SMTPException):
                time.sleep(0.2)
    for _ in range(60):
        try:
            world.advance("PT1S")
            break
        except Exception:
            time.sleep(0.5)
    texts = [each["text"] for letters in cases for each in letters.thread()]
    assert sorted(texts) == sorted(f"mail {number}" for number in range(60))
    assert len(tries) == 60
    place = Settings(kafka_bootstrap=world.ready["kafka"], mongo_uri=world.ready["mongo"], namespace=world.namespace)
    checked = asyncio.run(verify_all(place))
    assert checked["violations"] == []
    assert checked["checked"]["mails_taken"] == 60
