"""What mails say, in which language, and that nothing in them can break out of its place."""

import email
import email.policy
import io
import re
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from html.parser import HTMLParser
from importlib.resources import files
from string import Formatter
from typing import Any

import pytest
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po
from hypothesis import given, settings
from hypothesis import strategies as st

from chassis.clock import Clock, RealClock
from contracts.base import Message
from contracts.capability import read
from contracts.cases import DeadlineReached, ExtendDeadline, ReminderReached
from contracts.mailboxes import ReplyAddress, notices_named, read_address
from contracts.notices import OrderNamed, SendLink, TellBuyer
from contracts.orders import Merchant, ServiceContact
from deploy.local.mailsink import links_of
from engine.casefile import CaseFile
from engine.decide import evolve
from engine.programmes import Programmes
from services.notifications.handlers import notice_of
from services.notifications.letters import notices_for
from services.notifications.locales import LANGUAGES, language_of
from services.notifications.mail import Headers, Sender, render
from services.notifications.mailer import Mailer
from services.notifications.wording import Words
from tests.unit.notifications.story import CASE_ID, ORDER_ID, REPORTED, STANDING, Story, check_in, euros, merchant, order

SECRET = "s" * 32
NOW = datetime(2019, 8, 9, 12, 0, 0, 123000, tzinfo=UTC)
AT = "2019-08-09T12:00:00.000Z"


class At(RealClock):
    def now(self) -> datetime:
        return NOW


def mailer(clock: Clock) -> Mailer:
    return Mailer(
        sender=Sender.of("Recourse <no-reply@recourse.example>"),
        base_url="https://recourse.example/",
        secret=SECRET,
        clock=clock,
        programmes=Programmes.shipped(),
    )


MAILER = mailer(At())


def mail_of(
    event: Message, file: CaseFile | None = None, party: str = "buyer", shop: Merchant | None = None, to: str | None = None
) -> EmailMessage:
    request = next(each for each in notices_for(event, file) if each.party == party)
    notice = notice_of(request, "cause", 3, AT)
    notice["to"] = to or notice["to"] or "all@shop.example"
    return parsed(MAILER.write(notice, shop or merchant()))


def parsed(content: bytes) -> EmailMessage:
    assert b"\n" not in content.replace(b"\r\n", b""), "every line ends with CRLF"
    assert max(map(len, content.split(b"\r\n"))) <= 998
    mail = email.message_from_bytes(content, _class=EmailMessage, policy=email.policy.default)
    assert not mail.defects
    return mail


def last_mail(story: Story, party: str = "buyer", **more: Any) -> EmailMessage:
    return mail_of(story.last[-1], story.file, party, **more)


def text(mail: EmailMessage, kind: str = "plain") -> str:
    part = mail.get_body((kind,))
    assert part is not None
    return str(part.get_content()).replace("\r\n", "\n")


def act_of(mail: EmailMessage) -> str:
    return next(link["url"] for link in links_of(text(mail, "html")) if link["rel"] == "act")


def both(mail: EmailMessage, *expected: str) -> None:
    """Text and HTML say all of these."""
    seen = _Text()
    seen.feed(text(mail, "html"))
    for part in expected:
        assert part in text(mail)
        assert part in seen.text


class _Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.text = ""

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.rule("BP-05", "BP-07", "CP-01")
def test_the_check_in_asks_with_four_options_in_english() -> None:
    mail = mail_of(check_in())
    assert mail["Subject"] == "Did all go well with your order A-1 at Blumen & Söhne?"
    assert mail["To"] == "bea@buyer.example"
    assert mail["X-Recourse-Kind"] == "check_in"
    both(
        mail,
        "All went well: end the protection",
        "I have not received my order",
        "I have not received a refund",
        "I have another problem",
        "until 16 August 2019, 11:30 (Central European Summer Time)",
        "If you do nothing, the protection ends then by itself.",
        "€1,234.50",
        "17 July 2019",
        "service@shop.example",
        "+49 30 1",
        "https://shop.example/help",
    )
    assert "insolvent" not in text(mail)


@pytest.mark.rule("BP-05", "BP-23")
def test_the_check_in_in_german_follows_the_shop_where_the_buyer_has_no_language() -> None:
    mail = mail_of(check_in(buyer={"locale": None}))
    assert mail["Content-Language"] == "de"
    assert mail["Subject"] == "Ist mit Ihrer Bestellung A-1 bei Blumen & Söhne alles gut gegangen?"
    both(mail, "bis 16. August 2019, 11:30 (Mitteleuropäische Sommerzeit)", "1.234,50 €", "17. Juli 2019")


@pytest.mark.rule("BP-09", "BP-10", "NX-01")
def test_a_new_case_tells_the_merchant_what_until_when_and_what_silence_means() -> None:
    mail = last_mail(Story().reported(), "merchant")
    assert mail["Subject"] == "Neuer Fall zur Bestellung A-1: Ich habe meine Bestellung nicht erhalten"
    assert mail["X-Recourse-Case"] == CASE_ID
    both(
        mail,
        "Bea, bea@buyer.example",
        "Where is it?",
        "1.234,50 €",
        "Bitte tun Sie das bis 14. August 2019, 14:00",
        "Antwortet der Händler bis dahin nicht, übernimmt die Plattform den Fall und entscheidet.",
    )


@pytest.mark.rule("BP-13", "BP-15", "NX-01")
def test_an_answer_says_amount_date_and_silence() -> None:
    mail = last_mail(Story().reported().answered("yes", "100.00", "Half of it."))
    both(
        mail,
        "a partial refund of €100.00 is made",
        "Half of it.",
        "by 29 August 2019, 14:00 (Central European Summer Time)",
        "the refund of €100.00 counts as received",
        "Order number",
        "€1,234.50",
    )


@pytest.mark.rule("BP-16", "BP-17")
def test_an_answer_without_a_refund_says_that_silence_closes_the_case() -> None:
    mail = last_mail(Story().reported().answered("no"))
    both(mail, "there will be no refund", "the case is closed without a refund", "Please tell us whether you agree")


@pytest.mark.rule("BP-19")
def test_a_decision_says_result_and_money_to_both() -> None:
    story = Story().reported().does("platform", "take_over")
    story.does(
        "platform",
        "decide",
        outcome="partial_refund",
        refund_amount={"amount": "50.00", "currency": "EUR"},
        message="Half is fair.",
    )
    both(
        last_mail(story, "buyer"),
        "Decided: partial refund",
        "Refund: €50.00.",
        "Half is fair.",
        "You need not do anything now.",
    )
    both(last_mail(story, "merchant"), "Entschieden: teilweise Erstattung", "Erstattung: 50,00 €.")


@pytest.mark.rule("BP-19")
def test_who_leads_the_platforms_team_is_reminded_of_what_it_let_pass() -> None:
    story = Story().reported("other").later(days=7)
    assert story.file is not None
    (target,) = story.file.cases[CASE_ID].deadlines
    story.step(
        DeadlineReached(case_id=CASE_ID, deadline_id=target.deadline_id, generation=target.generation, due_at=target.due_at)
    )
    assert notices_for(story.last[-1], story.file) == [], "without a mailbox it stands in the history alone"
    (request,) = notices_for(story.last[-1], story.file, lead="lead@platform.example")
    mail = parsed(MAILER.write(notice_of(request, "cause", 3, "2019-08-16T12:00:00.000Z"), merchant()))
    assert mail["To"] == "lead@platform.example"
    assert "A-1" in mail["Subject"]
    both(mail, "was to be decided by", CASE_ID, "Hello,")
    assert "act" not in {link["rel"] for link in links_of(text(mail, "html"))}, "no mail replaces the platform's key"
    assert mail["Reply-To"] is None


@pytest.mark.rule("BP-22")
def test_who_waits_reads_whose_turn_it_is_and_until_when() -> None:
    both(last_mail(Story().reported()), "You need not do anything now.", "Next: Merchant's answer, until 14 August 2019, 14:00")


@pytest.mark.rule("NX-08", "NX-01", "CP-03")
def test_a_deadline_that_was_extended_says_why_and_what_is_asked_for_outside() -> None:
    story = Story().reported("chargeback", programme="claims", answer_by=REPORTED + timedelta(days=9))
    begins, ends = story.at, story.later(days=1).at
    story.step(ExtendDeadline(case_id=CASE_ID, reason="outage", cause_id="gap", lost_from=begins, lost_until=ends))
    assert story.file is not None
    (deadline,) = story.file.cases[CASE_ID].deadlines
    (remind_at,) = deadline.remind_at
    story.later(days=7).step(
        ReminderReached(case_id=CASE_ID, deadline_id=deadline.deadline_id, generation=deadline.generation, remind_at=remind_at)
    )
    outside = "whether it takes a later one is for the provider to say."
    both(
        last_mail(story, "merchant", shop=merchant(locale="en-GB")),
        "Please do this by 19 August 2019, 14:00",
        "This deadline was extended because of an outage on our side.",
        f"The provider has asked for the answer by 18 August 2019, 14:00 (Central European Summer Time); {outside}",
    )
    both(
        last_mail(story, "merchant"),
        "Bitte tun Sie das bis 19. August 2019, 14:00",
        "Diese Frist wurde wegen eines Ausfalls auf unserer Seite verlängert.",
        "Der Anbieter hat die Antwort bis 18. August 2019, 14:00 (Mitteleuropäische Sommerzeit) verlangt",
    )
    story.notice("failed", deadline_id=deadline.deadline_id).writes("merchant", "We look into it.")
    both(
        last_mail(story, "buyer"),
        "This deadline was extended because an e-mail about it did not arrive. The provider has asked",
    )


@pytest.mark.rule("NX-15")
def test_the_button_acts_for_its_reader_and_is_the_same_each_time() -> None:
    story = Story().reported()
    url = act_of(last_mail(story, "buyer"))
    assert url.startswith("https://recourse.example/l/")
    buyer = read(SECRET, url.rpartition("/")[2])
    shop = read(SECRET, act_of(last_mail(story, "merchant")).rpartition("/")[2])
    assert (buyer.role, buyer.order_id, buyer.case_id) == ("buyer", ORDER_ID, None)
    assert (shop.role, shop.order_id, shop.case_id) == ("merchant", ORDER_ID, CASE_ID)
    assert buyer.link_id != shop.link_id
    assert url == act_of(last_mail(story, "buyer"))
    assert url in text(last_mail(story, "buyer"))


def test_a_link_that_was_asked_for() -> None:
    asked = SendLink(
        order_id=ORDER_ID, order_number="A-1", merchant_id="shop", merchant_name="Blumen", email="b@x.example", locale="de"
    )
    mail = mail_of(asked)
    assert mail["Subject"] == "Ihr Link zur Bestellung A-1"
    assert read(SECRET, act_of(mail).rpartition("/")[2]).role == "buyer"


@pytest.mark.rule("NX-09", "BP-25")
@pytest.mark.parametrize(
    ("event", "locale", "subject", "said"),
    [
        ("insolvency", "en", "Blumen is insolvent: your order A-1", "you can claim your money back"),
        ("insolvency", "de-AT", "Blumen ist insolvent: Ihre Bestellung A-1", "Sie können Ihr Geld zurückfordern"),
        ("insolvency_withdrawn", "en", "Blumen is not insolvent: your order A-1", "That was taken back."),
        ("insolvency_withdrawn", "de", "Blumen ist nicht insolvent: Ihre Bestellung A-1", "Das wurde zurückgenommen."),
        ("carrier_failure", "en", "Your order A-1 may be delayed", "has failed"),
    ],
)
def test_what_concerns_many_is_told_each(event: Any, locale: str, subject: str, said: str) -> None:
    told = TellBuyer(
        order_id=ORDER_ID,
        order_number="A-1",
        merchant_id="shop",
        merchant_name="Blumen",
        email="b@x.example",
        locale=locale,
        event=event,
        text="Our own words.",
        others=(
            OrderNamed(order_number="A-2", merchant_name="Blumen"),
            OrderNamed(order_number="Z-9", merchant_name="Bücher"),
        ),
    )
    mail = mail_of(told)
    assert mail["Subject"] == subject
    both(mail, said, "Our own words.", ": A-2, Z-9 (Bücher).")
    assert read(SECRET, act_of(mail).rpartition("/")[2]).order_id == ORDER_ID


def test_what_people_write_cannot_become_markup() -> None:
    hostile = "<script>alert(1)</script>"
    story = Story(order=order(buyer={"name": f"Bea {hostile}"}, order_number='"><img src=x>'))
    story.reported(text=f'{hostile}\n.\n<a rel="act" href="https://evil.example">act</a>')
    page = text(last_mail(story, "merchant", shop=merchant(name=f"<b>{hostile}</b>")), "html")
    assert "<script" not in page
    assert "<img" not in page
    assert "evil.example" not in [link["url"] for link in links_of(page)]
    assert len([link for link in links_of(page) if link["rel"] == "act"]) == 1


def test_placeholders_in_what_people_write_stay_as_they_are() -> None:
    story = Story(order=order(buyer={"name": "{number} {0} %s"})).reported(text="{shop} {amount}")
    both(last_mail(story, "merchant"), "{number} {0} %s", "{shop} {amount}")


@pytest.mark.parametrize("name", ["Bea\r\nBcc: all@evil.example", "Bea\nX: y", "Bea\u2028Z", "=?utf-8?q?x?=", "B" * 180])
def test_nothing_in_a_name_can_start_a_header(name: str) -> None:
    story = Story(order=order(merchant_name=name, buyer={"name": name})).reported()
    mail = last_mail(story, "buyer")
    assert mail["Bcc"] is None
    assert mail["X"] is None
    answered = last_mail(story.answered(), "buyer", shop=merchant(name=name))
    assert answered["Bcc"] is None
    assert re.sub(r"[\r\n\u2028]+", " ", name) in str(answered["Subject"])


def test_a_mail_says_whose_clock_dated_it_and_which_notice_it_is() -> None:
    mail = last_mail(Story().reported())
    assert mail["Date"].datetime == NOW.replace(microsecond=0)
    assert mail["X-Recourse-Sent-At"] == "2019-08-09T12:00:00.123Z"
    assert mail["Message-ID"] == last_mail(Story().reported())["Message-ID"]
    assert mail["Message-ID"] != last_mail(Story().reported(), "merchant")["Message-ID"]


@pytest.mark.rule("CP-04")
def test_a_mail_says_where_its_answer_comes_back_to() -> None:
    secret, buyers, merchants = SECRET, last_mail(Story().reported()), last_mail(Story().reported(), "merchant")
    case_id = str(buyers["X-Recourse-Case"])
    for mail, role in ((buyers, "buyer"), (merchants, "merchant")):
        address = str(mail["Reply-To"])
        assert read_address(secret, "recourse.example", address) == ReplyAddress(ORDER_ID, role, case_id)
        assert len(address.partition("@")[0]) <= 64
        assert read_address("other", "recourse.example", address) is None
        assert read_address(secret, "other.example", address) is None
        assert notices_named(secret, str(mail["Message-ID"]).encode()) == (str(mail["Message-ID"])[1:54],)
        assert notices_named("other", str(mail["Message-ID"]).encode()) == ()
        assert mail["References"] == f"<{case_id}@recourse.example>"
    elsewhere = Sender.of("Recourse <no-reply@recourse.example>", "replies.recourse.example")
    assert elsewhere.return_path == "bounces@replies.recourse.example"
    assert Sender.of("Recourse <no-reply@recourse.example>").return_path == "no-reply@recourse.example"


@pytest.mark.parametrize("role", ["buyer", "merchant"])
def test_every_mail_has_subject_request_button_order_and_contact_in_both_languages(role: str) -> None:
    story = Story().reported().writes("buyer", "Hello?").writes("merchant", "Hello!").answered("yes_after_return")
    story.does("buyer", "return_sent", tracking_code="T1").does("merchant", "confirm_return")
    story.does("buyer", "react", reaction="not_received", message="Nothing came.")
    story.does("platform", "request_evidence", party=role, message="Send it.").does("platform", "take_over")
    story.does("platform", "propose", message="Half?", refund_amount={"amount": "600.00", "currency": "EUR"})
    story.does("platform", "decide", outcome="refund", message="All of it.").later(days=1)
    story.does("platform", "reopen", message="Again.").does("buyer", "withdraw")
    kinds, file = set(), None
    for event in story.told:
        file = evolve(file, event)
        for locale in ("en", "de"):
            for request in notices_for(event, file):
                letter = request.letter.model_copy(
                    update={"order": request.letter.order.model_copy(update={"buyer_locale": locale})}
                )
                kinds.add(request.kind)
                notice = {**notice_of(request, "c", 1, AT), "letter": letter.model_dump_json(), "to": "x@y.example"}
                mail = parsed(MAILER.write(notice, merchant(locale=locale)))
                assert mail["Content-Language"] == locale
                both(mail, "A-1", "service@shop.example")
                assert mail["Subject"]
                assert not re.search(r"\{\w*\}", str(mail["Subject"]) + text(mail) + text(mail, "html").split("</title>")[1])
                assert act_of(mail)
    assert kinds == {
        "case_opened",
        "message",
        "answer",
        "progress",
        "evidence_requested",
        "proposal",
        "decision",
        "case_reopened",
        "case_closed",
    }


# Languages


def test_the_german_catalogue_has_every_text_of_the_code_with_the_same_placeholders() -> None:
    package = files("services.notifications")
    used = {message for _, _, message, _, _ in extract_from_dir(str(package), [("**.py", "python")])}
    with (package / "locales/de/LC_MESSAGES/notifications.po").open("rb") as po:
        catalogue = read_po(io.BytesIO(po.read()), locale="de")
    known = {message.id: message for message in catalogue if message.id}
    assert set(known) == used
    for message in known.values():
        assert not message.fuzzy
        given, translated = ([each] if isinstance(each, str) else list(each) for each in (message.id, message.string))
        for one, other in zip(given, translated, strict=True):
            assert other, one
            assert placeholders(one) == placeholders(other), one


def placeholders(pattern: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(pattern) if name is not None}


@pytest.mark.parametrize(
    ("locale", "code", "amount", "day"),
    [
        ("de", "de", "1.234,50 €", "17. Juli 2019"),
        ("de-AT", "de", "€ 1.234,50", "17. Juli 2019"),
        ("en", "en", "€1,234.50", "July 17, 2019"),
        ("en_GB", "en", "€1,234.50", "17 July 2019"),
        ("pt-BR", "en", "€1,234.50", "July 17, 2019"),
        ("de-xxxxxxxx", "de", "1.234,50 €", "17. Juli 2019"),
    ],
)
def test_languages_and_formats(locale: str, code: str, amount: str, day: str) -> None:
    speak = language_of(locale)
    assert (speak.code, speak.amount(euros("1234.50"))) == (code, amount)
    assert speak.day(order().placed_at, "Europe/Berlin") == day
    assert code in LANGUAGES


def test_a_day_is_a_day_in_the_orders_zone() -> None:
    late = datetime(2019, 7, 17, 23, 0, tzinfo=UTC)
    assert language_of("de").day(late, "Europe/Berlin") == "18. Juli 2019"
    assert language_of("de").day(late, "America/Sao_Paulo") == "17. Juli 2019"


def test_documents_are_counted_in_words() -> None:
    speak = language_of("de")
    said = [speak.ngettext("{count} document: {names}", "{count} documents: {names}", n, names="a") for n in (1, 2)]
    assert said == ["1 Dokument: a", "2 Dokumente: a"]


# Any text at all


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=200), st.text(max_size=400))
def test_any_subject_and_body_survive(subject: str, said: str) -> None:
    words = Words(subject, [said], language="en", greeting="g", asked="a", button="b")
    headers = Headers("ntc_1", "<ntc_1@r.example>", None, None, "message", "a@b.example", ORDER_ID, None, NOW)
    mail = parsed(render(words, "https://x.example/l/t", headers, Sender.of("R <r@r.example>")))
    clean = re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+", " ", subject).strip().encode(errors="replace").decode()
    assert " ".join(str(mail["Subject"]).split()) == " ".join(clean.split())
    expected = "\n".join(said.encode(errors="replace").decode().splitlines())
    assert expected in text(mail)
    assert {part.get_content_type() for part in mail.iter_parts()} == {"text/plain", "text/html"}


@pytest.mark.parametrize("wrong", ["", "Recourse", "nobody"])
def test_a_sender_needs_an_address(wrong: str) -> None:
    with pytest.raises(ValueError, match="mail address"):
        Sender.of(wrong)


def test_a_contact_without_phone_and_url_is_fine() -> None:
    both(mail_of(check_in(), shop=merchant(service_contact=ServiceContact(email="only@shop.example"))), "only@shop.example")
    assert STANDING.protection.ends_at is not None
