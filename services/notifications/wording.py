"""What a mail says: from a letter to its sentences in the reader's language. Pure; escaping is the templates' affair.

Every mail says what happened, what is asked of its reader, until when, and what silence means (NX-01); it shows the order and
how to reach the merchant (CP-01)."""

from collections.abc import Callable
from dataclasses import dataclass, field

from contracts.actors import Party
from contracts.cases import Deadline, Variant
from contracts.orders import Merchant
from engine.programmes import Programme, Programmes, in_language
from services.notifications.letters import Letter
from services.notifications.locales import Language

__all__ = ["Words", "contact_of", "words_of"]


@dataclass(slots=True)
class Words:
    """A mail before it is laid out. `rows` and `contact` are (label, value); a value of `contact` has its address or None."""

    subject: str
    happened: list[str]
    language: str = ""
    greeting: str = ""
    options: list[str] = field(default_factory=list)
    said_by: str = ""
    said: str = ""
    files: str = ""
    asked: str = ""
    until: str = ""
    extended: str = ""
    silence: str = ""
    then: list[str] = field(default_factory=list)
    button: str = ""
    rows: list[tuple[str, str]] = field(default_factory=list)
    contact_title: str = ""
    contact: list[tuple[str, str, str | None]] = field(default_factory=list)
    closing: list[str] = field(default_factory=list)

    @classmethod
    def opening(cls, subject: str, *happened: str) -> "Words":
        """A mail that begins with what happened, in sentences of which empty ones are left out."""
        return cls(subject, [each for each in happened if each])


@dataclass(frozen=True, slots=True)
class _Telling:
    """What the sentences of one letter draw from."""

    letter: Letter
    merchant: Merchant
    speak: Language
    platform: str
    programme: Programme | None

    @property
    def number(self) -> str:
        return self.letter.order.order_number

    @property
    def shop(self) -> str:
        """As the order knew the merchant."""
        return self.letter.order.merchant_name

    @property
    def buyer(self) -> str:
        return self.letter.order.buyer_name or self.letter.order.buyer_email

    def label(self, texts: dict[str, str] | None, otherwise: str) -> str:
        return in_language(texts, self.speak.code) if texts else otherwise

    @property
    def reason(self) -> str:
        case = self.letter.case
        if case is None or self.programme is None:
            return ""
        reason = self.programme.reason(case.reason)
        return self.label(reason.label if reason else None, case.reason)

    @property
    def outcome(self) -> str:
        case = self.letter.case
        if case is None or case.outcome is None or self.programme is None:
            return ""
        return self.label(self.programme.outcomes.get(case.outcome), case.outcome)

    @property
    def state(self) -> str:
        case = self.letter.case
        if case is None or self.programme is None:
            return ""
        terms = next((terms for name, terms in self.programme.states.items() if name == case.state), None)
        programme_s = terms.label_for.get(case.reason, terms.label) if terms else None
        return self.label(case.label or programme_s, case.state)

    def name_of(self, party: Party | None) -> str:
        match party:
            case "buyer":
                return self.buyer
            case "merchant":
                return self.shop
            case "platform":
                return self.platform
            case None:
                return self.speak._("A partner")


def words_of(letter: Letter, merchant: Merchant, speak: Language, platform: str, programmes: Programmes) -> Words:
    """The words of a letter. `platform` is the name that the platform signs with; `merchant` is the one of today."""
    policy = letter.case.policy if letter.case else None
    programme = programmes.get(policy.programme, policy.version) if policy else None
    if letter.programme is not None:
        versions = programmes.versions(letter.programme) if letter.programme in programmes.known() else ()
        programme = versions[-1] if versions else None
    tell = _Telling(letter, merchant, speak, platform, programme)
    words = _OPENINGS[letter.kind](tell)
    words.language = speak.code
    words.greeting = _greeting(tell)
    if letter.said is not None and (letter.said.text or letter.said.evidence):
        _quote(words, tell)
    if letter.case is not None:
        _ask(words, tell)
    words.rows = _rows(tell)
    words.contact_title = speak._("How to reach {shop}", shop=merchant.name)
    words.contact = contact_of(merchant, speak)
    words.closing = _closing(tell)
    return words


def _greeting(tell: _Telling) -> str:
    if tell.letter.reader == "merchant":
        return tell.speak._("Hello {name},", name=tell.merchant.name)
    name = tell.letter.order.buyer_name if tell.letter.reader == "buyer" else None
    return tell.speak._("Hello {name},", name=name) if name else tell.speak._("Hello,")


def _check_in(tell: _Telling) -> Words:
    """BP-05, 07: the question, its four answers, and that saying nothing costs nothing but the protection's end."""
    speak, letter = tell.speak, tell.letter
    words = Words.opening(
        speak._("Did all go well with your order {number} at {shop}?", number=tell.number, shop=tell.shop),
        speak._("Your order {number} at {shop} is protected. Did all go well?", number=tell.number, shop=tell.shop),
    )
    if tell.programme is not None:
        reasons = tell.programme.reasons.values()
        words.options = [tell.label(each.label, "") for each in reasons if not each.needs_declared_insolvency]
    words.asked = speak._("Please tell us how it went: choose what applies and, if you like, write a few words.")
    if letter.protection_ends_at is not None:
        ends = speak.moment(letter.protection_ends_at, letter.order.timezone)
        words.until = speak._("You can report a problem until {moment}.", moment=ends)
        words.silence = speak._("If you do nothing, the protection ends then by itself.")
    words.button = speak._("Give feedback")
    return words


def _link(tell: _Telling) -> Words:
    speak = tell.speak
    words = Words.opening(
        speak._("Your link to order {number}", number=tell.number),
        speak._("Here is the link to your order {number} at {shop} that was asked for.", number=tell.number, shop=tell.shop),
    )
    words.asked = speak._("With it you see your order, report a problem, and follow and answer what was reported.")
    words.silence = speak._("If you did not ask for it, you need not do anything: nobody but you has received this link.")
    words.button = speak._("Open the order")
    return words


def _mass_event(tell: _Telling) -> Words:
    """NX-09, BP-25."""
    speak = tell.speak
    if tell.letter.event == "insolvency":
        words = Words.opening(
            speak._("{shop} is insolvent: your order {number}", shop=tell.shop, number=tell.number),
            speak._("{shop}, with whom you placed order {number}, is insolvent.", shop=tell.shop, number=tell.number),
            speak._("Your order is protected: you can claim your money back."),
        )
        words.asked = speak._("If your order has not arrived, please report it.")
    elif tell.letter.event == "insolvency_withdrawn":
        words = Words.opening(
            speak._("{shop} is not insolvent: your order {number}", shop=tell.shop, number=tell.number),
            speak._(
                "We wrote to you that {shop}, with whom you placed order {number}, is insolvent. That was taken back.",
                shop=tell.shop,
                number=tell.number,
            ),
            speak._("Your protection is as it was before, and what has been reported goes on."),
        )
        words.asked = speak._("If your order has not arrived, please report it.")
    else:
        words = Words.opening(
            speak._("Your order {number} may be delayed", number=tell.number),
            speak._("The carrier of your order {number} at {shop} has failed.", shop=tell.shop, number=tell.number),
        )
        words.asked = speak._("If your order does not arrive, please report it.")
    if others := tell.letter.others:
        named = [
            each.order_number if each.merchant_name == tell.shop else f"{each.order_number} ({each.merchant_name})"
            for each in others
        ]
        words.happened.append(speak._("These orders of yours are concerned as well: {numbers}.", numbers=", ".join(named)))
    words.button = speak._("Open the order")
    return words


def _case_opened(tell: _Telling) -> Words:
    speak, letter = tell.speak, tell.letter
    if letter.reader == "merchant":
        return Words.opening(
            speak._("New case on order {number}: {reason}", number=tell.number, reason=tell.reason),
            speak._("{buyer} has reported a problem with order {number}: “{reason}”.", **_named(tell)),
            speak._("The payout of this order is held while the case is open."),
        )
    return Words.opening(
        speak._("We have received your report on order {number}", number=tell.number),
        speak._("Thank you for your report: “{reason}”.", reason=tell.reason),
        speak._("A case was opened with {shop}.", shop=tell.shop)
        if letter.case is not None and letter.case.turn == "merchant"
        else speak._("A case was opened; {platform} looks at it.", platform=tell.platform),
    )


def _answer(tell: _Telling) -> Words:
    """BP-13."""
    speak, answer = tell.speak, tell.letter.answer
    subject = speak._("{shop} has answered your report on order {number}", shop=tell.shop, number=tell.number)
    if answer is None or answer.refund_amount is None:
        return Words.opening(subject, speak._("{shop} has answered: there will be no refund.", shop=tell.shop))
    texts: dict[tuple[str, Variant], str] = {
        ("yes", "full"): speak._("{shop} has answered: the full amount of {amount} is refunded."),
        ("yes", "partial"): speak._("{shop} has answered: a partial refund of {amount} is made."),
        ("yes_after_return", "full"): speak._(
            "{shop} has answered: the full amount of {amount} is refunded once the goods are returned."
        ),
        ("yes_after_return", "partial"): speak._(
            "{shop} has answered: a partial refund of {amount} is made once the goods are returned."
        ),
    }
    text = texts.get((answer.refund, answer.variant), texts["yes", "partial"])
    return Words.opening(subject, text.format(shop=tell.shop, amount=speak.amount(answer.refund_amount)))


def _message(tell: _Telling) -> Words:
    speak = tell.speak
    author = tell.name_of(tell.letter.said.author if tell.letter.said else tell.letter.actor)
    return Words.opening(
        speak._("New message about order {number}", number=tell.number),
        speak._("{author} has written about the case on order {number}.", author=author, number=tell.number),
    )


def _reminder(tell: _Telling) -> Words:
    speak, deadline = tell.speak, tell.letter.deadline
    label = _deadline_label(tell, deadline) if deadline else tell.state
    if tell.letter.reader == "platform" and deadline is not None:
        return Words.opening(
            speak._("Order {number} waits for {platform}: {label}", number=tell.number, platform=tell.platform, label=label),
            speak._(
                "The case “{reason}” on order {number} was to be decided by {moment}.",
                reason=tell.reason,
                number=tell.number,
                moment=speak.moment(deadline.due_at, tell.letter.order.timezone),
            ),
        )
    return Words.opening(
        speak._("Reminder for order {number}: {label}", number=tell.number, label=label),
        speak._("We remind you of the open case on order {number}: “{reason}”.", **_named(tell)),
    )


def _attention(tell: _Telling) -> Words:
    """Nobody answered; somebody who leads is to look (the returns desk's first silence)."""
    speak = tell.speak
    return Words.opening(
        speak._("Please look at the case on order {number}", number=tell.number),
        _what_was_done(tell),
        speak._("The case “{reason}” on order {number} now stands at: {state}.", **_named(tell)),
    )


def _evidence_requested(tell: _Telling) -> Words:
    speak = tell.speak
    return Words.opening(
        speak._("Further evidence is needed for order {number}", number=tell.number),
        speak._("{platform} reviews the case on order {number} and asks you for further evidence.", **_named(tell)),
    )


def _proposal(tell: _Telling) -> Words:
    speak, proposal = tell.speak, tell.letter.proposal
    amount = speak.amount(proposal.refund_amount) if proposal else ""
    return Words.opening(
        speak._("A proposal for order {number}", number=tell.number),
        speak._("{platform} proposes this solution: a refund of {amount}.", platform=tell.platform, amount=amount),
        speak._("It takes effect if both sides accept it."),
    )


def _decision(tell: _Telling) -> Words:
    speak = tell.speak
    return Words.opening(
        speak._("Decision on order {number}: {outcome}", **_named(tell)),
        speak._("{platform} has decided the case “{reason}” on order {number}.", **_named(tell)),
        speak._("Result: {outcome}.", outcome=tell.outcome),
        _refund_sentence(tell),
    )


def _case_closed(tell: _Telling) -> Words:
    speak = tell.speak
    return Words.opening(
        speak._("The case on order {number} is closed: {outcome}", **_named(tell)),
        _what_was_done(tell),
        speak._("The case “{reason}” on order {number} has ended.", **_named(tell)),
        speak._("Result: {outcome}.", outcome=tell.outcome),
        _refund_sentence(tell),
    )


def _case_reopened(tell: _Telling) -> Words:
    speak = tell.speak
    return Words.opening(
        speak._("The case on order {number} is open again", number=tell.number),
        speak._("{platform} has reopened the case “{reason}” on order {number} and reviews it.", **_named(tell)),
    )


def _progress(tell: _Telling) -> Words:
    speak = tell.speak
    return Words.opening(
        speak._("News of the case on order {number}: {state}", number=tell.number, state=tell.state),
        _what_was_done(tell),
        speak._("The case “{reason}” on order {number} now stands at: {state}.", **_named(tell)),
    )


_OPENINGS: dict[str, Callable[[_Telling], Words]] = {
    "check_in": _check_in,
    "case_opened": _case_opened,
    "answer": _answer,
    "message": _message,
    "reminder": _reminder,
    "attention": _attention,
    "evidence_requested": _evidence_requested,
    "proposal": _proposal,
    "decision": _decision,
    "case_closed": _case_closed,
    "case_reopened": _case_reopened,
    "progress": _progress,
    "link": _link,
    "mass_event": _mass_event,
}


def _named(tell: _Telling) -> dict[str, str]:
    return {
        "number": tell.number,
        "buyer": tell.buyer,
        "reason": tell.reason,
        "outcome": tell.outcome,
        "state": tell.state,
        "platform": tell.platform,
    }


def _refund_sentence(tell: _Telling) -> str:
    if tell.letter.refund is None:
        return ""
    return tell.speak._("Refund: {amount}.", amount=tell.speak.amount(tell.letter.refund))


def _what_was_done(tell: _Telling) -> str:
    """One sentence about the act, the silence or the fact behind an event, from the programme's own labels."""
    speak, letter, programme = tell.speak, tell.letter, tell.programme
    if letter.passed is not None and programme is not None:
        terms = programme.deadlines.get(letter.passed)
        label = tell.label(terms.label if terms else None, letter.passed)
        return speak._("The time for this has passed: {label}.", label=label)
    if letter.fact is not None:
        facts = {
            "shipped": speak._("The goods were shipped."),
            "delivered": speak._("The goods were delivered."),
            "returned": speak._("The goods were returned."),
            "refunded": speak._("A refund was made."),
            "paid_out": speak._("The order was paid out."),
            "netted": speak._("What was refunded was taken from a later payout."),
            "cancelled": speak._("The order was cancelled."),
        }
        return facts[letter.fact]
    if letter.action is None or programme is None:
        return ""
    action = programme.actions.get(letter.action)
    label = tell.label(action.label if action else None, letter.action)
    if letter.reaction is not None and action is not None and "reaction" in action.fields:
        label = tell.label(action.fields["reaction"].values.get(letter.reaction), letter.reaction)
    return speak._("{author}: “{label}”", author=tell.name_of(letter.actor), label=label)


def _quote(words: Words, tell: _Telling) -> None:
    speak, said = tell.speak, tell.letter.said
    if said is None:
        return
    if said.text:
        words.said_by = speak._("{author} writes:", author=tell.name_of(said.author))
        words.said = said.text
    if said.evidence:
        names = ", ".join(said.evidence)
        words.files = speak.ngettext("{count} document: {names}", "{count} documents: {names}", len(said.evidence), names=names)


def _ask(words: Words, tell: _Telling) -> None:
    """What is asked of the reader, until when and what silence means; else what comes next, from whom and until when."""
    speak, letter = tell.speak, tell.letter
    if letter.reader == "platform":
        words.asked = speak._("Please see to it that somebody decides it.")
        return
    if letter.deadline is not None:
        words.asked = _asked(tell, letter.deadline)
        moment = speak.moment(letter.deadline.due_at, letter.order.timezone)
        words.until = speak._("Please do this by {moment}.", moment=moment)
        words.extended = _extended(tell, letter.deadline)
        words.silence = _silence(tell, letter.deadline)
        words.button = speak._("Answer now") if letter.deadline.kind == "merchant_answer" else speak._("Go to the form")
    else:
        words.asked = speak._("You need not do anything now.")
        words.button = speak._("Open the case")
    if letter.next_deadline is not None:
        moment = speak.moment(letter.next_deadline.due_at, letter.order.timezone)
        label = _deadline_label(tell, letter.next_deadline)
        next_one = speak._("Next: {label}, until {moment}.", label=label, moment=moment)
        told = (next_one, _extended(tell, letter.next_deadline), _silence(tell, letter.next_deadline))
        words.then = [sentence for sentence in told if sentence]
    elif letter.case is not None and letter.case.turn == "platform":
        words.then = [speak._("Next: {platform} reviews the case.", platform=tell.platform)]


def _asked(tell: _Telling, deadline: Deadline) -> str:
    """The request behind a deadline; one that this version has no sentence for is named by its programme's label."""
    speak = tell.speak
    variant = tell.letter.answer.variant if tell.letter.answer else None
    asked = {
        "merchant_answer": speak._("Please answer the case: are you refunding? A message with the reason is needed."),
        "buyer_reaction": {
            "full": speak._("Please tell us whether you have received the refund."),
            "partial": speak._("Please tell us whether you have received the refund, or that you do not agree with it."),
            "none": speak._("Please tell us whether you agree, or would rather have {platform} look at the case."),
        }[variant or "full"],
        "return": speak._("Please send the goods back and tell us the tracking code."),
        "return_confirmation": speak._("Please confirm that the goods have come back."),
        "evidence": speak._("Please send what you are asked for, with a few words if you like."),
        "proposal": speak._("Please accept or decline the proposal."),
    }
    text = asked.get(deadline.kind) or speak._("Please see to this: {label}.")
    return text.format(label=_deadline_label(tell, deadline), platform=tell.platform)


def _deadline_label(tell: _Telling, deadline: Deadline) -> str:
    terms = tell.programme.deadlines.get(deadline.kind) if tell.programme else None
    return tell.label(terms.label if terms else None, deadline.kind)


def _extended(tell: _Telling, deadline: Deadline) -> str:
    """Why a deadline ends later than it was set to, and what somebody outside has asked for all the same (NX-08)."""
    speak, letter = tell.speak, tell.letter
    because = {
        "outage": speak._("This deadline was extended because of an outage on our side."),
        "bounce": speak._("This deadline was extended because an e-mail about it did not arrive."),
    }
    sentences = [because[reason] for reason in dict.fromkeys(each.reason for each in deadline.extended_by)]
    terms = tell.programme.deadlines.get(deadline.kind) if tell.programme else None
    answer_by = letter.case.answer_by if letter.case else None
    if terms is not None and terms.beyond and answer_by is not None and answer_by < deadline.due_at:
        moment = speak.moment(answer_by, letter.order.timezone)
        sentences.append(in_language(terms.beyond, speak.code).replace("{answer_by}", moment))
    return " ".join(sentences)


def _silence(tell: _Telling, deadline: Deadline) -> str:
    """The programme's own sentence about silence, for the row that the deadline says would apply (NX-01)."""
    if tell.programme is None:
        return ""
    consequence = deadline.on_silence
    rows = [
        row
        for row in tell.programme.rows("silence", deadline.kind)
        if (row.consequence, row.to, row.outcome) == (consequence.action, consequence.state, consequence.outcome)
    ]
    if not rows:
        return ""
    executed = consequence.money.get("executed")
    row = next((row for row in rows if bool(row.effects.execute) == (executed is not None)), rows[-1])
    text = in_language(row.text, tell.speak.code)
    return text.replace("{amount}", tell.speak.amount(executed) if executed else "0")


def _rows(tell: _Telling) -> list[tuple[str, str]]:
    """BP-10, BP-13: the order's data."""
    speak, order = tell.speak, tell.letter.order
    rows = [(speak._("Order number"), order.order_number)]
    if order.placed_at is not None:
        rows.append((speak._("Order date"), speak.day(order.placed_at, order.timezone)))
    if order.amount is not None:
        rows.append((speak._("Order amount"), speak.amount(order.amount)))
    rows.append((speak._("Shop"), order.merchant_name))
    if tell.letter.reader != "buyer":
        buyer = f"{order.buyer_name}, {order.buyer_email}" if order.buyer_name else order.buyer_email
        rows.append((speak._("Buyer"), buyer))
    if tell.letter.case is not None:
        rows.append((speak._("Case"), f"{tell.reason} ({tell.state})"))
        if tell.letter.reader == "platform":
            rows.append((speak._("Case number"), tell.letter.case.case_id))
        if tell.letter.answer is not None and tell.letter.answer.refund_amount is not None:
            rows.append((speak._("Refund offered by the shop"), speak.amount(tell.letter.answer.refund_amount)))
    return rows


def contact_of(merchant: Merchant, speak: Language) -> list[tuple[str, str, str | None]]:
    """CP-01, CP-08: the merchant's service contact as it is today."""
    contact = merchant.service_contact
    lines: list[tuple[str, str, str | None]] = [(speak._("E-mail"), contact.email, f"mailto:{contact.email}")]
    if contact.phone:
        lines.append((speak._("Phone"), contact.phone, None))
    if contact.url:
        lines.append((speak._("Website"), contact.url, contact.url))
    if merchant.return_policy_url:
        lines.append((speak._("Returns"), merchant.return_policy_url, merchant.return_policy_url))
    return lines


def _closing(tell: _Telling) -> list[str]:
    speak = tell.speak
    if tell.letter.reader == "platform":
        return [speak._("Sent automatically by {platform}.", platform=tell.platform)]
    closing = [speak._("This link is meant for you alone: whoever has it can act in your name.")]
    if tell.letter.case is not None:
        closing.append(speak._("Under it you find the whole case with all messages, also after its end."))
    closing.append(speak._("Sent automatically by {platform}.", platform=tell.platform))
    return closing
