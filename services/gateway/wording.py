"""The words of the plain pages, in English and German; what belongs to a programme comes from the programme itself."""

from collections.abc import Mapping

from engine.programmes import in_language

__all__ = ["LANGUAGES", "language_of", "words"]

LANGUAGES = ("en", "de")

_WORDS: Mapping[str, Mapping[str, str]] = {
    "order": {"en": "Order", "de": "Bestellung"},
    "at": {"en": "at", "de": "bei"},
    "placed": {"en": "Ordered on", "de": "Bestellt am"},
    "amount": {"en": "Amount", "de": "Betrag"},
    "protection": {"en": "Protection", "de": "Käuferschutz"},
    "protection_active": {"en": "active until {until}", "de": "aktiv bis {until}"},
    "protection_extended": {"en": "active while a case is open", "de": "aktiv, solange ein Fall offen ist"},
    "protection_ended": {"en": "ended", "de": "beendet"},
    "protection_expired": {"en": "expired on {until}", "de": "abgelaufen am {until}"},
    "protection_none": {"en": "none", "de": "keiner"},
    "buyer_email": {"en": "Buyer's e-mail", "de": "E-Mail des Käufers"},
    "contact": {"en": "Contact of the shop", "de": "Kontakt zum Shop"},
    "case": {"en": "Case", "de": "Fall"},
    "opened": {"en": "Reported on", "de": "Gemeldet am"},
    "outcome": {"en": "Outcome", "de": "Ergebnis"},
    "refund_offered": {"en": "Refund offered", "de": "Angebotene Erstattung"},
    "your_turn": {"en": "It is your turn: {what}, until {until}.", "de": "Sie sind am Zug: {what}, bis {until}."},
    "their_turn": {"en": "{what}, until {until}.", "de": "{what}, bis {until}."},
    "extended_outage": {
        "en": "This deadline was extended because of an outage on our side.",
        "de": "Diese Frist wurde wegen eines Ausfalls auf unserer Seite verlängert.",
    },
    "extended_bounce": {
        "en": "This deadline was extended because an e-mail about it did not arrive.",
        "de": "Diese Frist wurde verlängert, weil eine E-Mail dazu nicht angekommen ist.",
    },
    "nothing_to_do": {"en": "There is nothing for you to do now.", "de": "Sie müssen im Moment nichts tun."},
    "conversation": {"en": "Conversation", "de": "Verlauf"},
    "no_messages": {"en": "Nobody has written yet.", "de": "Noch hat niemand geschrieben."},
    "buyer": {"en": "Buyer", "de": "Käufer"},
    "merchant": {"en": "Shop", "de": "Shop"},
    "platform": {"en": "Platform", "de": "Plattform"},
    "partner": {"en": "Platform", "de": "Plattform"},
    "system": {"en": "Platform", "de": "Plattform"},
    "you": {"en": "You", "de": "Sie"},
    "write": {"en": "Write a message", "de": "Nachricht schreiben"},
    "text": {"en": "Text", "de": "Text"},
    "send": {"en": "Send", "de": "Absenden"},
    "documents": {
        "en": "Documents (PDF or pictures, up to 10 MB together)",
        "de": "Dokumente (PDF oder Bilder, zusammen bis 10 MB)",
    },
    "how_was_it": {"en": "Did all go well with your order?", "de": "War mit Ihrer Bestellung alles in Ordnung?"},
    "describe": {"en": "What happened?", "de": "Was ist passiert?"},
    "optional": {"en": "optional", "de": "freiwillig"},
    "done": {"en": "Done. Thank you.", "de": "Erledigt. Vielen Dank."},
    "on_its_way": {
        "en": "We have received this and are working on it; reload this page in a moment.",
        "de": "Wir haben das erhalten und arbeiten daran; laden Sie diese Seite gleich neu.",
    },
    "expired": {
        "en": "This link no longer acts; you can still read everything. Ask the shop for a new link to write or act.",
        "de": "Mit diesem Link können Sie nur noch lesen. Um zu schreiben oder zu handeln, bitten Sie den Shop um einen neuen.",
    },
    "not_taken": {"en": "This could not be done:", "de": "Das war nicht möglich:"},
    "unknown_link": {"en": "This link is not known here", "de": "Dieser Link ist hier nicht bekannt"},
    "unknown_link_text": {
        "en": "It may have been cut off in your mail program. Copy it as a whole, or ask the shop for a new one.",
        "de": "Vielleicht hat Ihr Mailprogramm ihn abgeschnitten. Kopieren Sie ihn ganz, oder bitten Sie um einen neuen.",
    },
    "away": {"en": "{name} is away from {first} to {last}.", "de": "{name} ist vom {first} bis {last} abwesend."},
    "due_meanwhile": {"en": "Due in this time:", "de": "In dieser Zeit ist fällig:"},
    "nothing_due": {"en": "Nothing is due in this time so far.", "de": "In dieser Zeit ist bisher nichts fällig."},
    "and_more": {"en": "… and {count} more.", "de": "… und {count} weitere."},
    "form_title": {"en": "Report a problem to {shop}", "de": "{shop} ein Problem melden"},
    "form_text": {
        "en": "You need no account. We pass this on to the shop and mail you every step.",
        "de": "Sie brauchen kein Konto. Wir geben dies an den Shop weiter und schreiben Ihnen bei jedem Schritt.",
    },
    "order_number": {"en": "Order number", "de": "Bestellnummer"},
    "order_date": {"en": "Day of the order", "de": "Tag der Bestellung"},
    "paid": {"en": "Amount paid", "de": "Bezahlter Betrag"},
    "what_about": {"en": "What is it about?", "de": "Worum geht es?"},
    "wish": {"en": "What do you wish for?", "de": "Was wünschen Sie sich?"},
    "email": {"en": "Your e-mail", "de": "Ihre E-Mail"},
    "phone": {"en": "Your phone", "de": "Ihr Telefon"},
    "return_policy": {"en": "Returns and refunds", "de": "Rückgabe und Erstattung"},
}


def language_of(locale: str) -> str:
    """The language of the pages for a locale: English where it is none of ours."""
    language = locale.replace("_", "-").split("-")[0].lower()
    return language if language in LANGUAGES else "en"


def words(locale: str) -> dict[str, str]:
    """All words in a language."""
    return {name: in_language(texts, language_of(locale)) for name, texts in _WORDS.items()}
