"""Mails as people and servers send them, written for the tests: each with what is new in it and where it belongs."""

from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from quopri import encodestring

__all__ = ["JPEG", "PDF", "WRITTEN", "Envelope", "Written", "plain"]

PDF = b"%PDF-1.4\n1 0 obj<<>>endobj\ntrailer<<>>\n%%EOF\n"
JPEG = bytes.fromhex("ffd8ffe000104a46494600010100000100010000ffdb004300") + b"\x08" * 20_000 + b"\xff\xd9"
LOGO = bytes.fromhex("89504e470d0a1a0a0000000d494844520000000100000001080600000000001f15c489") + b"\x00" * 100


@dataclass(frozen=True)
class Envelope:
    """Who writes, to which address, in answer to which Message-ID of ours; `number` makes each mail one of its own."""

    sender: str = "kim@mail.example"
    to: str = "case+token@recourse.example"
    answers: str = "<ntc_1@recourse.example>"
    number: int = 0


@dataclass(frozen=True)
class Written:
    """`lands`: message, or why the team gets it. `text` is what is new in it, where that is said exactly."""

    name: str
    make: Callable[[Envelope], bytes]
    text: str | None = None
    files: int = 0
    lands: str = "message"
    left_out: tuple[str, ...] = ()
    return_path: str | None = None


def plain(envelope: Envelope, *headers: str, subject: str = "Re: Your order", sender: str = "", message_id: str = "") -> str:
    """The usual headers."""
    return "\r\n".join(
        [
            f"From: {sender or envelope.sender}",
            f"To: {envelope.to}",
            f"Subject: {subject}",
            "Date: Sat, 20 Feb 2021 11:00:00 +0100",
            f"Message-ID: {message_id or f'<{envelope.number}.written@mail.example>'}",
            f"In-Reply-To: {envelope.answers}",
            "MIME-Version: 1.0",
            *headers,
        ]
    )


def _text(body: str, charset: str = "utf-8", how: str = "8bit", *headers: str, **more: str) -> Callable[[Envelope], bytes]:
    def make(envelope: Envelope) -> bytes:
        content = body.replace("\n", "\r\n").encode(charset)
        if how == "base64":
            encoded = b64encode(content)
            content = b"\r\n".join(encoded[start : start + 76] for start in range(0, len(encoded), 76))
        elif how == "quoted-printable":
            content = encodestring(content.replace(b"\r\n", b"\n")).replace(b"\n", b"\r\n")
        kind = f"Content-Type: text/plain; charset={charset}"
        head = plain(envelope, *headers, kind, f"Content-Transfer-Encoding: {how}", **more)
        return head.encode() + b"\r\n\r\n" + content

    return make


def _parts(
    *parts: tuple[str, bytes], kind: str = "mixed", headers: tuple[str, ...] = (), **more: str
) -> Callable[[Envelope], bytes]:
    """A multipart of (headers, body)."""

    def make(envelope: Envelope) -> bytes:
        head = plain(envelope, *headers, f'Content-Type: multipart/{kind}; boundary="=b"', **more).encode()
        body = b"".join(
            b"\r\n--=b\r\n" + names.replace("\n", "\r\n").encode() + b"\r\n\r\n" + content for names, content in parts
        )
        return head + b"\r\n" + body + b"\r\n--=b--\r\n"

    return make


def _file(name: str, kind: str, content: bytes, *, how: str = "attachment") -> tuple[str, bytes]:
    encoded = b64encode(content)
    lines = b"\r\n".join(encoded[start : start + 76] for start in range(0, len(encoded), 76))
    return (
        f'Content-Type: {kind}; name="{name}"\nContent-Disposition: {how}; filename="{name}"\n'
        "Content-Transfer-Encoding: base64",
        lines,
    )


WORDS = ("Content-Type: text/plain; charset=utf-8", b"Here is the proof.")

GMAIL = _parts(
    (
        "Content-Type: text/plain; charset=utf-8",
        b"No, the parcel never came.\r\n\r\nOn Sat, Feb 20, 2021 at 10:00 AM Recourse <\r\n"
        b"case+token@recourse.example> wrote:\r\n\r\n"
        b"> Did all go well?\r\n> Order number: A-1\r\n",
    ),
    (
        "Content-Type: text/html; charset=utf-8",
        b'<div dir="ltr">No, the parcel never came.</div><br><div class="gmail_quote"><div dir="ltr" class="gmail_attr">On Sat'
        b'</div><blockquote class="gmail_quote">Did all go well?</blockquote></div>',
    ),
    kind="alternative",
)
OUTLOOK_DE = """Guten Tag,

die Ware ist beschädigt angekommen.

Mit freundlichen Grüßen
Kim Käufer

Von: Recourse <no-reply@recourse.example>
Gesendet: Samstag, 20. Februar 2021 10:00
An: kim@mail.example
Betreff: Ihre Bestellung A-1

Ist alles gut gegangen?
"""
APPLE_IT = """Non ho ricevuto il rimborso.

Inviato da iPhone

> Il giorno 20 feb 2021, alle ore 10:00, Recourse <no-reply@recourse.example> ha scritto:
>
> È andato tutto bene?
"""
THUNDERBIRD_PL = """Paczka nie dotarła, proszę o pomoc.

W dniu 20.02.2021 o 10:00, Recourse pisze:
> Czy wszystko w porządku?
> Numer zamówienia: A-1

--\x20
Kim Kupująca
tel. 600 000 000
"""
APPLE_NL = """Het bedrag is nog niet terug.

Verstuurd vanaf mijn iPhone

> Op 20 feb. 2021 om 10:00 heeft Recourse <no-reply@recourse.example> het volgende geschreven:
>\x20
> Ging alles goed?
"""
FRENCH = (
    "<html><head><style>p{color:red}</style></head><body><p>Bonjour,</p><p>le colis est <b>perdu</b>&nbsp;: voir le suivi.</p>"
    '<div class="gmail_quote">Le sam. 20 févr. 2021 à 10:00, Recourse &lt;no-reply@recourse.example&gt; a écrit&nbsp;:<br>'
    "<blockquote>Tout s'est-il bien passé ?</blockquote></div></body></html>"
)
SPANISH = """Falta una taza en el paquete.

Enviado desde mi iPhone

El sáb, 20 feb 2021 a las 10:00, Recourse (<no-reply@recourse.example>) escribió:

> ¿Fue todo bien?
"""
PORTUGUESE = """Recebi o produto errado.

________________________________
De: Recourse <no-reply@recourse.example>
Enviado: 20 de fevereiro de 2021 10:00
Para: kim@mail.example
Assunto: A sua encomenda A-1

Correu tudo bem?
"""
BETWEEN = """On 20.02.2021 10:00, Recourse wrote:
> Have you received the parcel?

No.

> When did you order it?

On the first of February.
- one kettle
- two cups
"""
FORWARDED = """---------- Forwarded message ---------
From: Parcel Service <info@parcel.example>
Date: Fri, 19 Feb 2021 at 09:00
Subject: Your parcel is lost
To: kim@mail.example

We are sorry: parcel 123 is lost.
"""
DSN = """Reporting-MTA: dns; mx.mail.example

Final-Recipient: rfc822; kim@mail.example
Action: {action}
Status: {status}
Diagnostic-Code: smtp; {said}
"""


def _report(action: str, status: str, said: str) -> Callable[[Envelope], bytes]:
    def make(envelope: Envelope) -> bytes:
        parts = (
            ("Content-Type: text/plain; charset=us-ascii", b"Your mail could not be delivered."),
            (
                "Content-Type: message/delivery-status",
                DSN.format(action=action, status=status, said=said).replace("\n", "\r\n").encode(),
            ),
            ("Content-Type: text/rfc822-headers", f"Message-ID: {envelope.answers}\r\nSubject: Your order\r\n".encode()),
        )
        kind = 'report; report-type="delivery-status"'
        return _parts(*parts, kind=kind, sender="Mail Delivery System <MAILER-DAEMON@mx.mail.example>")(envelope)

    return make


def _broken(body: bytes, *headers: str) -> Callable[[Envelope], bytes]:
    return lambda envelope: plain(envelope, *headers).encode("utf-8", "surrogateescape") + b"\r\n\r\n" + body


def _nested(envelope: Envelope) -> bytes:
    layers = b"".join(
        b'Content-Type: multipart/mixed; boundary="%d"\r\n\r\n--%d\r\n' % (number, number) for number in range(300)
    )
    return plain(envelope).encode() + b"\r\n" + layers + b"deep"


INVITATION = (
    b"BEGIN:VCALENDAR\r\nMETHOD:%s\r\nBEGIN:VEVENT\r\nSUMMARY:Pick-up of the goods\r\nDTSTART:20210301T090000Z\r\n"
    b"END:VEVENT\r\nEND:VCALENDAR\r\n"
)

WRITTEN: tuple[Written, ...] = (
    # Replies in the eight languages of the platform, as eight programs write them
    Written("English, Gmail", GMAIL, "No, the parcel never came."),
    Written(
        "German, Outlook, Latin-1",
        _text(OUTLOOK_DE, "iso-8859-1", "quoted-printable"),
        "Guten Tag,\n\ndie Ware ist beschädigt angekommen.\n\nMit freundlichen Grüßen\nKim Käufer",
    ),
    Written("Italian, Apple Mail", _text(APPLE_IT), "Non ho ricevuto il rimborso."),
    Written(
        "Polish, Thunderbird, Latin-2", _text(THUNDERBIRD_PL, "iso-8859-2", "base64"), "Paczka nie dotarła, proszę o pomoc."
    ),
    Written("Dutch, Apple Mail", _text(APPLE_NL), "Het bedrag is nog niet terug."),
    Written(
        "French, HTML only",
        lambda envelope: plain(envelope, "Content-Type: text/html; charset=utf-8").encode() + b"\r\n\r\n" + FRENCH.encode(),
        "Bonjour,\n\nle colis est perdu : voir le suivi.",
    ),
    Written("Spanish, Windows-1252", _text(SPANISH, "windows-1252", "quoted-printable"), "Falta una taza en el paquete."),
    Written("Portuguese, Outlook on the web", _text(PORTUGUESE), "Recebi o produto errado."),
    # Ways of writing
    Written(
        "answers between the quoted lines",
        _text(BETWEEN),
        "No.\n\nOn the first of February.\n- one kettle\n- two cups",
    ),
    Written("a forwarded mail without a word", _text(FORWARDED), FORWARDED.strip()),
    Written(
        "broken lines that flow",
        _text("One sentence that a \nprogram broke.\n\n> old \n> history\n", "utf-8", "8bit", "X-Mailer: Thunderbird"),
        "One sentence that a\nprogram broke.",
    ),
    Written(
        "format=flowed",
        lambda envelope: (
            plain(envelope, "Content-Type: text/plain; charset=utf-8; format=flowed").encode()
            + b"\r\n\r\nOne sentence that a \r\nprogram broke.\r\n"
        ),
        "One sentence that a program broke.",
    ),
    Written(
        "HTML with a script and what is hidden",
        lambda envelope: (
            plain(envelope, "Content-Type: text/html").encode()
            + b"\r\n\r\n<p>Look <a href='https://track.example/1'>here</a><script>alert(1)</script>"
            + b"<span style='display: none'>unseen</span></p>"
        ),
        "Look here (https://track.example/1)",
    ),
    Written("nothing but history", _text("On 20.02.2021 10:00, Recourse wrote:\n> Hello\n> again\n"), "", lands="empty"),
    # What comes with a mail
    Written(
        "a photo under a wrong name",
        _parts(WORDS, _file("photo.exe", "application/octet-stream", JPEG)),
        "Here is the proof.",
        1,
    ),
    Written(
        "a document with a name in RFC 2231",
        _parts(
            WORDS,
            (
                "Content-Type: application/pdf\nContent-Disposition: attachment; filename*=utf-8''Beleg%20f%C3%BCr%20A.pdf\n"
                "Content-Transfer-Encoding: base64",
                b64encode(PDF),
            ),
        ),
        "Here is the proof.",
        1,
    ),
    Written("a photo without a word", _parts(_file("photo.jpg", "image/jpeg", JPEG)), "", 1),
    Written(
        "an archive",
        _parts(
            WORDS, _file("all.zip", "application/zip", b"PK\x03\x04" + b"\x00" * 100), _file("a.pdf", "application/pdf", PDF)
        ),
        "Here is the proof.",
        1,
        left_out=("all.zip",),
    ),
    Written(
        "a file that is too large",
        _parts(WORDS, _file("large.pdf", "application/pdf", PDF + b"\x00" * (11 * 1024 * 1024))),
        "Here is the proof.",
        left_out=("large.pdf",),
    ),
    Written(
        "Outlook's winmail.dat",
        _parts(WORDS, _file("winmail.dat", "application/ms-tnef", b"\x78\x9f\x3e\x22" + b"\x00" * 50)),
        "Here is the proof.",
        left_out=("winmail.dat",),
    ),
    Written(
        "a logo inside the text",
        _parts(
            ("Content-Type: text/html; charset=utf-8", b"<p>Thanks</p><img src='cid:logo'>"),
            (
                "Content-Type: image/png\nContent-ID: <logo>\nContent-Disposition: inline; filename=logo.png\n"
                "Content-Transfer-Encoding: base64",
                b64encode(LOGO),
            ),
            kind="related",
        ),
        "Thanks",
    ),
    Written(
        "signed by S/MIME",
        _parts(WORDS, _file("smime.p7s", "application/pkcs7-signature", b"\x30\x82" + b"\x00" * 50), kind="signed"),
        "Here is the proof.",
    ),
    Written(
        "encrypted",
        lambda envelope: (
            plain(
                envelope,
                'Content-Type: application/pkcs7-mime; smime-type=enveloped-data; name="smime.p7m"',
                "Content-Transfer-Encoding: base64",
            ).encode()
            + b"\r\n\r\n"
            + b64encode(b"\x30\x82" + bytes(range(256)))
        ),
        "",
        lands="empty",
        left_out=("smime.p7m",),
    ),
    # Calendars
    Written(
        "an invitation with words",
        _parts(
            ("Content-Type: text/plain; charset=utf-8", b"Can somebody fetch the goods on Monday?"),
            ("Content-Type: text/calendar; charset=utf-8; method=REQUEST", INVITATION % b"REQUEST"),
            kind="alternative",
        ),
        "Can somebody fetch the goods on Monday?",
        left_out=("invitation.ics",),
    ),
    Written(
        "an invitation without words",
        lambda envelope: (
            plain(envelope, "Content-Type: text/calendar; charset=utf-8; method=REQUEST").encode()
            + b"\r\n\r\n"
            + INVITATION % b"REQUEST"
        ),
        "Pick-up of the goods\n20210301T090000Z",
        left_out=("invitation.ics",),
    ),
    Written(
        "a calendar's answer",
        _parts(
            ("Content-Type: text/plain; charset=utf-8", b"Kim has accepted."),
            ("Content-Type: text/calendar; charset=utf-8; method=REPLY", INVITATION % b"REPLY"),
            kind="alternative",
        ),
        lands="auto_reply",
    ),
    # Machines
    Written(
        "a vacation notice",
        _text("Ich bin bis zum 1. März nicht im Büro.", "utf-8", "8bit", "Auto-Submitted: auto-replied", "Precedence: bulk"),
        lands="auto_reply",
    ),
    Written(
        "Outlook's automatic answer",
        _text("Je suis absent.", "utf-8", "8bit", subject="=?utf-8?q?R=C3=A9ponse_automatique_=3A_Your_order?="),
        lands="auto_reply",
    ),
    Written("no return path", _text("I am away."), lands="automatic", return_path=""),
    Written(
        "a ticket system",
        _text("Your request 4711 was answered: it is on its way.", "utf-8", "8bit", "Auto-Submitted: auto-generated"),
        lands="automatic",
    ),
    Written(
        "a newsletter",
        _text("Our best offers!", "utf-8", "8bit", "List-Unsubscribe: <mailto:off@news.example>", "Precedence: bulk"),
        lands="automatic",
    ),
    # Servers
    Written("a bounce for good", _report("failed", "5.1.1", "550 5.1.1 no such user"), lands="bounce", return_path=""),
    Written("a warning of delay", _report("delayed", "4.4.1", "connection timed out"), lands="bounce", return_path=""),
    Written(
        "a bounce in words",
        _text(
            "Hi. This is the mail program at mx.example.\nI'm afraid I wasn't able to deliver your message.\n\n"
            "<kim@mail.example>:\n550 no such user here\n",
            sender="MAILER-DAEMON@mx.example",
        ),
        lands="bounce",
        return_path="",
    ),
    Written(
        "a receipt",
        _parts(
            ("Content-Type: text/plain", b"Your message was read on 20 February 2021."),
            ("Content-Type: message/disposition-notification", b"Disposition: manual-action/MDN-sent-manually; displayed"),
            kind='report; report-type="disposition-notification"',
        ),
        lands="auto_reply",
    ),
    # Broken
    Written(
        "no closing boundary",
        _broken(b"--x\r\nContent-Type: text/plain\r\n\r\nStill readable.", 'Content-Type: multipart/mixed; boundary="x"'),
        "Still readable.",
    ),
    Written(
        "a boundary that never comes",
        _broken(b"The words are here.", 'Content-Type: multipart/mixed; boundary="never"'),
        "The words are here.",
    ),
    Written("a multipart without a boundary", _broken(b"Also readable.", "Content-Type: multipart/mixed"), "Also readable."),
    Written(
        "base64 that is none",
        _broken(b"This is no base64 at all!", "Content-Transfer-Encoding: base64", "Content-Type: text/plain"),
    ),
    Written(
        "a charset that nobody knows",
        _broken("Grüße".encode(), "Content-Type: text/plain; charset=x-martian"),
        "Grüße",
    ),
    Written("a charset that it is not", _broken("Grüße".encode("latin-1"), "Content-Type: text/plain; charset=utf-8"), "Grüße"),
    Written("headers that are not ASCII", _broken(b"Hello.", "X-Note: gr\udcfc\udcdfe", "Content-Type: text/plain"), "Hello."),
    Written("control characters", _broken(b"Hel\x00lo\x07 there\r\r\nline", "Content-Type: text/plain"), "Hello there\n\nline"),
    Written("three hundred envelopes in each other", _nested, lands="unreadable"),
)
