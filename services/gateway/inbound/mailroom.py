"""The mailroom: keeps every mail before it is acknowledged, and puts each where it belongs, whichever process dies meanwhile.

A mail becomes a message of its writer in its case, a report (BP-06), the news that a notice bounced, or an item for the
platform's team (CP-04). Nothing is ever answered by mail: what two machines send each other cannot go round here."""

import asyncio
import logging
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal

from chassis.failures import Remedy, back_off, classify, retrying
from chassis.service import beside
from contracts.actors import Actor, Party
from contracts.base import format_moment
from contracts.capability import Capability
from contracts.cases import PostMessage
from contracts.evidence import Evidence
from contracts.ids import child_id, derived, merchant_key, order_of
from contracts.mailboxes import ReplyAddress, notices_named, read_address, reply_address, reply_domain
from contracts.notices import NoticeBounced, NoticeProof
from contracts.orders import ReportContent, SubmitReport
from contracts.topics import CASES_COMMANDS, INTAKE_COMMANDS, NOTIFICATIONS_COMMANDS
from services.gateway.commands import Promised
from services.gateway.context import Gateway, evidence_of
from services.gateway.inbound.parsing import Attachment, Mail, read_mail, recipients_of
from services.gateway.inbound.routing import (
    Bounced,
    ToTeam,
    authenticity,
    known_addresses,
    newest_open_case,
    order_numbers,
    without_case,
)
from services.gateway.inbound.store import MailStore, document_id, identity_of
from services.gateway.inbound.wording import left_out_sentence
from services.gateway.leases import renewed
from services.gateway.principals import acts_until
from services.gateway.problems import ProblemError
from services.gateway.projector import Body
from services.gateway.requests import Preference
from services.gateway.resources.evidence import put_file
from services.gateway.store import HISTORY, MERCHANTS, ORDERS, Document, wall_clock, whole
from services.gateway.uploads import EVIDENCE_LIMIT, media_type_of_bytes, safe_name

__all__ = ["MAIL_LIMIT", "Mailroom", "Taken"]

log = logging.getLogger(__name__)

MAIL_LIMIT = 25 * 1024 * 1024
"""The most bytes of a mail, as the SMTP side announces and enforces."""
_HANDS = 4
_LOOK_S = 5.0
_SOON_S = 1.0
_WAIT_S = 5.0
_MOST_FAILURES = 6
_PER_HOUR = 20
"""Messages that one sender's mails become in one case in an hour: two machines that answer each other end here."""
_MOST_FILES = 20
_LONGEST_TEXT = 10_000
_CUT = " […]"


@dataclass(frozen=True, slots=True)
class Taken:
    """What of a mail goes into a case: its words, its files, and the names of what is no evidence."""

    text: str
    files: tuple[tuple[Attachment, str], ...]
    left_out: tuple[str, ...]

    @classmethod
    def of(cls, mail: Mail) -> "Taken":
        """By the checks of an upload (NX-14): by the bytes and not by the name, 10 MiB a file."""
        files: list[tuple[Attachment, str]] = []
        left_out = list(mail.left_out)
        for attachment in mail.attachments:
            kind = media_type_of_bytes(attachment.content) if len(attachment.content) <= EVIDENCE_LIMIT else None
            if kind is None or len(files) >= _MOST_FILES:
                left_out.append(safe_name(attachment.name))
            else:
                files.append((attachment, kind))
        return cls(mail.text, tuple(files), tuple(left_out))

    @property
    def is_empty(self) -> bool:
        """Whether nothing is left of the mail that could stand in a case."""
        return not self.text and not self.files

    def words(self, locale: str) -> str:
        """The text of the message, with what was left out; files that come without words are named."""
        text = self.text or "📎 " + ", ".join(safe_name(attachment.name) for attachment, _ in self.files)
        note = left_out_sentence(self.left_out, locale)
        if len(text) + len(note) + 2 > _LONGEST_TEXT:
            text = text[: _LONGEST_TEXT - len(note) - len(_CUT) - 2].rstrip() + _CUT
        return f"{text}\n\n{note}" if note else text


@dataclass(slots=True)
class Mailroom:
    """The mails of one gateway process. `work` runs until cancelled."""

    gateway: Gateway
    mails: MailStore
    authserv: str = ""
    owner: str = field(default_factory=lambda: uuid.uuid4().hex)
    taken: int = 0
    """Mails acknowledged by this process since it started."""
    _arriving: int = 0
    _unsettled: set[str] = field(default_factory=set)
    _just_settled: set[str] = field(default_factory=set)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def domain(self) -> str:
        """The domain of the product's own addresses."""
        settings = self.gateway.settings
        return reply_domain(settings.reply_domain, settings.mail_from)

    @property
    def _secret(self) -> str:
        return self.gateway.settings.secret

    def pending(self) -> int:
        """Mails that are known here and not where they belong."""
        return len(self._unsettled) + self._arriving

    def _settled(self, mail_id: str) -> None:
        self._unsettled.discard(mail_id)
        self._just_settled.add(mail_id)

    def metrics(self) -> Iterable[tuple[str, str, str, float]]:
        yield "mails_taken", "counter", "Mails acknowledged by SMTP, repetitions included", self.taken
        yield "mails_unsettled", "gauge", "Mails that are not yet where they belong", self.pending()

    async def keep(self, raw: bytes, return_path: str, recipients: Sequence[str]) -> str:
        """Keep a mail; its id. When this returns the mail cannot be lost any more. Raises what store or objects fail with.

        It is kept once for each address of ours that the envelope or its headers name: written to two cases it goes into both,
        and handed over twice, for each of them, it goes into neither twice."""
        mail_id = identity_of(raw)
        now = wall_clock()
        named = (*recipients, *await asyncio.to_thread(recipients_of, raw))
        own = {place: None for each in named if (place := read_address(self._secret, self.domain, each)) is not None}
        addresses = [reply_address(self._secret, self.domain, place) for place in own]
        for address in addresses or [None]:
            kept_id = document_id(mail_id, address)
            if await self.mails.get(kept_id) is not None:
                continue
            self._arriving += 1
            try:
                await self.gateway.objects.put_mail(mail_id, raw)
                document = {
                    "_id": kept_id,
                    "mail_id": mail_id,
                    "state": "queued",
                    "due_at": now,
                    "received_at": format_moment(self.gateway.clock.now()),
                    "arrived_at": format_moment(now),
                    "return_path": return_path,
                    "recipients": [recipient[:320] for recipient in recipients[:50]],
                    "address": address,
                    "size": len(raw),
                }
                if await self.mails.add(document):
                    self._unsettled.add(kept_id)
            finally:
                self._arriving -= 1
            self._wake.set()
        self.taken += 1
        return mail_id

    # The work

    async def work(self) -> None:
        """Take up what is queued, here or left behind by another process."""
        await beside(self._look, *[self._hand] * _HANDS)

    async def _look(self) -> None:
        """Know what is queued, also by others, so that the sandbox's clock waits for it; wake the hands now and then."""
        while True:
            before, self._just_settled = set(self._unsettled), set()
            queued = await retrying(self.mails.queued, _waiting)
            self._unsettled = (set(queued) | (self._unsettled - before)) - self._just_settled
            if queued:
                self._wake.set()
            await asyncio.sleep(_SOON_S if queued else _LOOK_S)

    async def _hand(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while (mail := await retrying(lambda: self.mails.claim(self.owner, wall_clock()), _waiting)) is not None:
                self._wake.set()  # there may be more, for other hands
                await self._leased(mail)

    async def _leased(self, mail: Document) -> None:
        """Put one mail where it belongs. A failure is tried again later; one that stays goes to the team with its mail."""
        mail_id = mail["_id"]
        try:
            async with renewed(lambda: self.mails.renew(mail_id, self.owner, wall_clock())):
                await self._place(mail)
            self._settled(mail_id)
        except Promised:
            await self._later(mail_id, _SOON_S)
        except Exception as error:
            if _is_away(error):
                await self._later(mail_id, back_off(3))
                return
            log.exception("%s could not be put where it belongs", mail_id)
            failures = mail.get("failures", 0) + 1
            if failures >= _MOST_FAILURES:
                await retrying(lambda: self._to_team(mail, Mail(), ToTeam("failed")), _waiting)
                self._settled(mail_id)
            else:
                await self._later(mail_id, back_off(failures, first_s=1.0, most_s=60.0), failed=type(error).__name__)

    async def _later(self, mail_id: str, wait_s: float, *, failed: str = "") -> None:
        due_at = wall_clock() + timedelta(seconds=wait_s)
        await retrying(lambda: self.mails.postpone(mail_id, due_at, failed=failed), _waiting)

    async def read(self, mail: Document) -> Mail:
        """The mail of a document. In a thread: a large one takes a moment."""
        raw = await self.gateway.objects.get_mail(mail["mail_id"])
        return await asyncio.to_thread(read_mail, raw, mail["return_path"])

    async def _place(self, document: Document) -> None:
        raw = await self.gateway.objects.get_mail(document["mail_id"])
        mail = await asyncio.to_thread(read_mail, raw, document["return_path"])
        address = document["address"]
        addressed = None if address is None else read_address(self._secret, self.domain, address)
        own_id = bool(notices_named(self._secret, mail.message_id.encode(errors="replace")))
        said = " ".join(mail.references).encode(errors="replace")
        notices = notices_named(self._secret, raw[: 2 * 1024 * 1024] if mail.bounce is not None else said)
        placed = without_case(mail, own_id, notices, addressed is not None)
        match placed:
            case ToTeam():
                await self._to_team(document, mail, await self._located(placed, addressed, notices))
            case Bounced():
                await self._bounced(document, mail, placed)
            case None:
                await self._from_person(document, mail, addressed, notices)

    async def _located(self, item: ToTeam, addressed: ReplyAddress | None, notices: Sequence[str]) -> ToTeam:
        """An item with the case that the mail seems to be about."""
        if addressed is not None:
            return ToTeam(item.why, addressed.case_id, addressed.order_id, item.detail)
        if notices:
            proof = await self._proof_of(notices[0])
            case_id = None if proof is None else proof["data"]["case_id"]
            return ToTeam(item.why, case_id, order_of(notices[0]), item.detail)
        return item

    # What a person wrote

    async def _from_person(
        self, document: Document, mail: Mail, addressed: ReplyAddress | None, notices: Sequence[str]
    ) -> None:
        proven = authenticity(mail, self.authserv)
        if addressed is None and notices:
            told = await self._of_notice(notices[0])
            if isinstance(told, ToTeam):
                await self._to_team(document, mail, told)
                return
            addressed = told
        if addressed is None:
            await self._out_of_the_blue(document, mail, proven)
            return
        body = await self._order(addressed.order_id)
        about = ToTeam("no_case", addressed.case_id, addressed.order_id)
        if body is None or (addressed.case_id is not None and addressed.case_id not in body["standing"]["cases"]):
            await self._to_team(document, mail, about)
            return
        case_id = addressed.case_id or newest_open_case(body)
        known = await self._known(body, addressed.role, case_id)
        if mail.sender not in known or proven == "forged":
            await self._to_team(document, mail, ToTeam("foreign_sender", case_id, addressed.order_id))
        elif self._expired(body):
            await self._to_team(document, mail, ToTeam("address_expired", case_id, addressed.order_id))
        elif case_id is not None:
            await self._say(document, mail, body, case_id, addressed.role)
        elif addressed.role == "buyer":
            await self._report(document, mail, body, proved=proven == "proven")
        else:
            await self._to_team(document, mail, about)

    async def _out_of_the_blue(self, document: Document, mail: Mail, proven: str) -> None:
        """A mail that answers none of ours. A buyer who names the order gives feedback (BP-06): a message in its open case, or
        a report. It becomes that by itself only where the mail server in front proves the sender, because anybody can write a
        sender's address, and a case tells the merchant and holds its payout; else the team is asked, with the order found."""
        if any(recipient.lower().startswith("case+") for recipient in document["recipients"]):
            await self._to_team(document, mail, ToTeam("unknown_address"))
            return
        bodies = await self._orders_named(mail)
        if len(bodies) != 1:
            await self._to_team(document, mail, ToTeam("no_case", detail="several orders" if bodies else ""))
            return
        (body,) = bodies
        order_id, case_id = body["order"]["order_id"], newest_open_case(body)
        if proven != "proven":
            await self._to_team(document, mail, ToTeam("unproven_sender", case_id, order_id))
        elif case_id is not None:
            await self._say(document, mail, body, case_id, "buyer")
        else:
            await self._report(document, mail, body, proved=True)

    async def _orders_named(self, mail: Mail) -> list[Body]:
        numbers = order_numbers(mail)
        if not mail.sender or not numbers:
            return []
        found = (
            self.gateway.database[ORDERS].find({"body.order.order_number": {"$in": list(numbers)}}, {"body": 1}).limit(1_000)
        )
        bodies = [whole(each["body"]) for each in await found.to_list(None)]
        return [body for body in bodies if "standing" in body and mail.sender in known_addresses(body, None, "buyer", None)]

    async def _of_notice(self, notice_id: str) -> ReplyAddress | ToTeam:
        """Who was told by a notice, and so who may answer it. One about no case was a buyer's. Nobody answers one to the
        platform: whoever acts for it has a key, which no mail replaces."""
        proof = await self._proof_of(notice_id)
        if proof is None:
            return ReplyAddress(order_of(notice_id), "buyer")
        data = proof["data"]
        match NoticeProof.model_validate(data["notice"]).party:
            case "buyer" | "merchant" as party:
                return ReplyAddress(data["order_id"], party, data["case_id"])
            case "platform":
                return ToTeam("foreign_sender", data["case_id"], data["order_id"])

    async def _proof_of(self, notice_id: str) -> Document | None:
        """The entry of a case's history that says that a notice was sent; None for a notice about no case."""
        body = await self._order(order_of(notice_id))
        cases = list((body or {}).get("standing", {}).get("cases", ()))
        if not cases:
            return None
        wanted = {"case_id": {"$in": cases}, "type": "case.notice-recorded", "data.notice.notice_id": notice_id}
        return await self.gateway.database[HISTORY].find_one(wanted)

    async def _order(self, order_id: str) -> Body | None:
        found = await self.gateway.reads.get(ORDERS, order_id)
        return found["body"] if found is not None and "standing" in found["body"] else None

    async def _known(self, body: Body, role: Literal["buyer", "merchant"], case_id: str | None) -> frozenset[str]:
        found = await self.gateway.reads.get(MERCHANTS, merchant_key(body["order"]["merchant_id"]))
        return known_addresses(body, None if found is None else found["body"], role, case_id)

    def _expired(self, body: Body) -> bool:
        """An address speaks for as long as a buyer's link acts, for both sides: a merchant may write after the end, too."""
        until = acts_until(Capability(link_id="", order_id=body["order"]["order_id"], role="buyer"), body)
        return until is not None and self.gateway.clock.now() >= until

    # Where it goes

    async def _say(self, document: Document, mail: Mail, body: Body, case_id: str, role: Literal["buyer", "merchant"]) -> None:
        """A message in its writer's name."""
        order_id = body["order"]["order_id"]
        taken = await asyncio.to_thread(Taken.of, mail)
        if taken.is_empty:
            await self._to_team(document, mail, ToTeam("empty", case_id, order_id))
            return
        if await self.mails.written_lately(case_id, mail.sender, wall_clock()) >= _PER_HOUR:
            await self._to_team(document, mail, ToTeam("too_many", case_id, order_id))
            return
        actor = Actor(role=role, id=f"mail:{document['_id']}")
        try:
            outcome = await self.post(document["mail_id"], taken, body, case_id, role, actor)
        except ProblemError as refused:
            if refused.problem.status >= 500:
                raise
            await self._to_team(document, mail, ToTeam("not_taken", case_id, order_id, refused.problem.detail))
            return
        await self._settle(
            document, mail, case_id=case_id, order_id=order_id, written_at=wall_clock(), message_id=outcome.get("message_id")
        )

    async def post(self, cause: str, taken: Taken, body: Body, case_id: str, party: Party, actor: Actor) -> Document:
        """Have a message posted with its files; the outcome. Again under the same cause it is the same message. Raises the
        problem of a refusal, and Promised."""
        order_id = body["order"]["order_id"]
        command_id = derived("inbound", cause, case_id, party)
        evidence = await self._evidence(taken, order_id, command_id, party, actor)
        command = PostMessage(case_id=case_id, text=taken.words(_locale(body, party)), evidence=evidence, actor=actor)
        return await self.gateway.commands.ask(CASES_COMMANDS, order_id, command, command_id, Preference(_WAIT_S, ""))

    async def _report(self, document: Document, mail: Mail, body: Body, *, proved: bool) -> None:
        """Feedback by mail (BP-06). Which of the form's answers it is (BP-07) nobody has chosen, so it is the one that goes
        straight to the platform's team: another problem. `proved`: the mail server in front vouches for its sender."""
        order_id = body["order"]["order_id"]
        taken = await asyncio.to_thread(Taken.of, mail)
        if taken.is_empty:
            await self._to_team(document, mail, ToTeam("empty", None, order_id))
            return
        actor = Actor(role="buyer", id=f"mail:{document['_id']}")
        try:
            outcome = await self.report(document["mail_id"], taken, body, "other", actor, proved=proved)
        except ProblemError as refused:
            if refused.problem.status >= 500:
                raise
            await self._to_team(document, mail, ToTeam("not_taken", None, order_id, refused.problem.detail))
            return
        await self._settle(document, mail, case_id=outcome.get("case_id"), order_id=order_id, written_at=wall_clock())

    async def report(self, cause: str, taken: Taken, body: Body, reason: str, actor: Actor, *, proved: bool) -> Document:
        """Have a report submitted with its files, as `post`."""
        order_id = body["order"]["order_id"]
        command_id = derived("inbound", cause, order_id, reason)
        evidence = await self._evidence(taken, order_id, command_id, "buyer", actor)
        content = ReportContent(reason=reason, text=taken.words(_locale(body, "buyer")))
        command = SubmitReport(order_id=order_id, content=content, evidence=evidence, actor=actor, proved=proved)
        return await self.gateway.commands.ask(INTAKE_COMMANDS, order_id, command, command_id, Preference(_WAIT_S, ""))

    async def _evidence(self, taken: Taken, order_id: str, command_id: str, party: Party, actor: Actor) -> tuple[Evidence, ...]:
        kept = [
            await put_file(
                self.gateway,
                actor,
                party,
                child_id("evd", order_id, command_id, str(number)),
                safe_name(attachment.name),
                attachment.content,
                kind,
            )
            for number, (attachment, kind) in enumerate(taken.files)
        ]
        return tuple(evidence_of(document) for document in kept)

    async def _bounced(self, document: Document, mail: Mail, bounced: Bounced) -> None:
        """A notice that did not reach its party is told to notifications, which tells its case (NX-08). It has the notice's
        proof, or waits for it; here the name is enough, which nobody else can make."""
        order_id = order_of(bounced.notice_id)
        command = NoticeBounced(
            order_id=order_id,
            notice_id=bounced.notice_id,
            reply=f"bounced: {bounced.detail}",
            at=self.gateway.clock.now(),
        )
        record = self.gateway.commands.record(order_id, command, derived("bounce", bounced.notice_id))
        await self.gateway.commands.publish([(NOTIFICATIONS_COMMANDS.name, record)])
        item = await self._located(ToTeam("bounce", detail=bounced.detail), None, (bounced.notice_id,))
        await self._to_team(document, mail, item)

    async def _to_team(self, document: Document, mail: Mail, item: ToTeam) -> None:
        """An item for the platform's team (CP-04)."""
        text = (mail.text or mail.whole_text)[:_LONGEST_TEXT]
        kept = {
            "why": item.why,
            "detail": item.detail,
            "state": "open" if item.is_open else "done",
            "from": mail.shown_sender or document["return_path"],
            "subject": mail.subject,
            "text": text,
            "attachments": [
                {"name": safe_name(each.name), "size": len(each.content), "media_type": media_type_of_bytes(each.content)}
                for each in mail.attachments[:_MOST_FILES]
            ],
            "left_out": list(mail.left_out),
            "target": None,
        }
        await self._settle(document, mail, case_id=item.case_id, order_id=item.order_id, item=kept)

    async def _settle(self, document: Document, mail: Mail, **where: Any) -> None:
        found: Mapping[str, Any] = {name: value for name, value in where.items() if value is not None}
        await self.mails.settle(document["_id"], {"sender": mail.sender, "message": mail.message_id[:300], **found})


def _locale(body: Body, party: Party) -> str:
    order = body["order"]
    return order["buyer"].get("locale") or order["merchant_locale"] if party == "buyer" else order["merchant_locale"]


def _is_away(error: Exception) -> bool:
    """Infrastructure that is away, or an answer of ours that says so: no failure of the mail."""
    if isinstance(error, ProblemError):
        return error.problem.status >= 500
    return isinstance(error, TimeoutError) or classify(error) is Remedy.RETRY


def _waiting(error: BaseException) -> None:
    log.warning("the store cannot be reached, mails wait: %r", error)
