"""A case file played by its parties: short words for the commands of the tests."""

from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from contracts.actors import Actor, Party, Role
from contracts.cases import (
    CaseEvent,
    ConfirmExecution,
    Deadline,
    DeadlineReached,
    MessagePosted,
    PostMessage,
    ReminderReached,
    StatusLabel,
    TakeAction,
)
from contracts.evidence import Evidence
from contracts.ids import case_id_of, child_id, order_id_of
from contracts.money import Money
from contracts.notices import NoticeDelayed, NoticeFailed, NoticeProof, NoticeSent
from contracts.orders import (
    Buyer,
    Fact,
    FactKind,
    FactRecorded,
    Merchant,
    Order,
    OrderContent,
    Payout,
    Protection,
    Report,
    ReportAccepted,
    ServiceContact,
    Standing,
)
from contracts.outages import ALL_WELL
from contracts.problems import Problem
from engine.calendar import add
from engine.casefile import Case, CaseFile, balance, open_reservations
from engine.decide import Command, Refusal, decide, evolve
from engine.programmes import Programmes
from engine.views import AllowedAction, allowed_actions

PLACED = datetime(2024, 1, 10, 9, 30, tzinfo=UTC)
REPORTED = PLACED + timedelta(days=10)
ZONE = "Europe/Berlin"


def euros(amount: str | int) -> Money:
    return Money.model_validate({"amount": str(amount), "currency": "EUR"})


def content(**changes: Any) -> OrderContent:
    return OrderContent.model_validate(
        {
            "merchant_id": "shop",
            "order_number": "4711",
            "buyer": {"email": "buyer@example.com"},
            "amount": {"amount": "100.00", "currency": "EUR"},
            "placed_at": PLACED,
            "protection_activated": True,
            **changes,
        }
    )


def merchant(**changes: Any) -> Merchant:
    return Merchant(
        **{
            "merchant_id": "shop",
            "name": "Shop",
            "programmes": ("buyer-protection",),
            "locale": "de",
            "country": "DE",
            "timezone": ZONE,
            "certified_at": PLACED - timedelta(days=100),
            "seal_live_at": PLACED - timedelta(days=90),
            "service_contact": ServiceContact(email="service@example.com"),
            "created_by": "partner",
            "version": 1,
            **changes,
        }
    )


def order(paid: str | int = 100, timezone: str = ZONE, placed_at: datetime = PLACED, country: str = "DE") -> Order:
    return Order(
        merchant_id="shop",
        order_number="4711",
        buyer=Buyer(email="buyer@example.com"),
        amount=euros(paid),
        placed_at=placed_at,
        protection_activated=True,
        order_id=order_id_of("shop", "4711"),
        programme="buyer-protection",
        timezone=timezone,
        merchant_name="Shop",
        merchant_locale="de",
        merchant_country=country,
        registered_at=placed_at,
    )


def standing(
    state: Literal["active", "ended", "none"] = "active", ends_at: datetime | None = PLACED + timedelta(days=30), **more: Any
) -> Standing:
    more = {"status": "open", "payout": Payout(held=False), "version": 1, **more}
    return Standing(protection=Protection(state=state, ends_at=ends_at), **more)


def evidence(name: str) -> Evidence:
    """A file; what comes before a colon in its name is what it proves."""
    evidence_id = child_id("evd", order_id_of("shop", "4711"), name)
    kind = name.split(":")[0] if ":" in name else None
    return Evidence(evidence_id=evidence_id, sha256="0" * 64, size=1, media_type="image/png", name=name, kind=kind)


LABELS = (
    StatusLabel(code="workshop", text={"en": "At the workshop", "de": "In der Werkstatt"}, state="in_progress"),
    StatusLabel(code="photos", text={"en": "We wait for photos"}, state="awaiting_buyer"),
    StatusLabel(code="again", text={"de": "Wieder da"}, state="submitted"),
)


def actor(role: Role) -> Actor:
    return Actor(role=role, id=f"one-{role}")


class Play:
    """One order and its cases; `now` moves by `wait`. Every command is decided, by the `record` of outages, and applied."""

    def __init__(
        self,
        paid: str | int = 100,
        programmes: Programmes | None = None,
        at: datetime = REPORTED,
        zone: str = ZONE,
        country: str = "DE",
        labels: tuple[StatusLabel, ...] = (),
        origin: Literal["registered", "reported"] = "registered",
    ):
        self.programmes = programmes or Programmes.shipped()
        self.order = order(paid, zone, country=country).model_copy(update={"origin": origin})
        self.labels = labels
        self.now = at
        self.record = ALL_WELL
        self.file: CaseFile | None = None
        self.events: list[CaseEvent] = []
        self.facts: tuple[Fact, ...] = ()
        self.commands = 0

    # Words

    def report(
        self,
        reason: str = "not_received",
        programme: str = "buyer-protection",
        role: Role = "buyer",
        version: int | None = None,
        **more: Any,
    ) -> str:
        number = len(self.file.cases) + 1 if self.file else 1
        case_id = case_id_of(self.order.order_id, number)
        report = Report(
            reason=reason,
            programme=programme,
            report_id=child_id("rep", self.order.order_id, str(number), length=8),
            actor=actor(role),
            at=self.now,
            **more,
        )
        self.send(
            ReportAccepted(
                report=report,
                case_id=case_id,
                policy_version=version,
                order=self.order,
                facts=self.facts,
                standing=standing(),
            )
        )
        return case_id

    def act(self, role: Any, action: str, case: Any = None, if_match: Any = None, rule: Any = None, **fields: Any):
        files = tuple(evidence(name) for name in fields.get("evidence") or ())
        if files:
            fields["evidence"] = [each.evidence_id for each in files]
        fields = {name: value.model_dump(mode="json") if isinstance(value, Money) else value for name, value in fields.items()}
        return self.send(
            TakeAction(
                case_id=case or self.case.case_id,
                action=action,
                fields=fields,
                evidence=files,
                if_match=if_match,
                labels=self.labels,
                decided_by=rule,
                actor=actor(role),
            )
        )

    def write(self, role: Role, text: str = "Hello", case: str | None = None, if_match: int | None = None):
        return self.send(PostMessage(case_id=case or self.case.case_id, text=text, if_match=if_match, actor=actor(role)))

    def fact(
        self, kind: FactKind, amount: str | int | None = None, fact_id: str | None = None, role: Role = "partner", **more: Any
    ):
        fact = Fact(
            kind=kind,
            at=self.now,
            amount=None if amount is None else euros(amount),
            fact_id=fact_id or child_id("fct", self.order.order_id, str(self.commands)),
            source=actor(role),
            recorded_at=self.now,
            **more,
        )
        if all(known.fact_id != fact.fact_id for known in self.facts):
            self.facts += (fact,)
        return self.send(FactRecorded(order_id=self.order.order_id, fact=fact, standing=standing()))

    def wake(self, deadline: Deadline | None = None, case: Case | None = None):
        """Wait until a deadline (the soonest) and let its timer ring."""
        case = case or self.case
        deadline = deadline or min(case.deadlines, key=lambda each: each.due_at)
        self.now = max(self.now, deadline.due_at)
        return self.send(
            DeadlineReached(
                case_id=case.case_id,
                deadline_id=deadline.deadline_id,
                generation=deadline.generation,
                due_at=deadline.due_at,
            )
        )

    def remind(self, deadline: Deadline, moment: datetime):
        self.now = max(self.now, moment)
        return self.send(
            ReminderReached(
                case_id=self.case.case_id,
                deadline_id=deadline.deadline_id,
                generation=deadline.generation,
                remind_at=moment,
            )
        )

    def notice(
        self,
        deadline_id: str | None = None,
        state: Literal["sent", "failed", "delayed"] = "sent",
        party: Party = "buyer",
        case: str = "",
        notice_id: str = "",
        at: datetime | None = None,
    ):
        proof = NoticeProof(
            notice_id=notice_id or f"ntc_{self.commands}",
            kind="answer",
            party=party,
            to="buyer@example.com",
            state=state,
            server="mail.example.com",
            server_reply="250 ok",
            at=at or self.now,
            deadline_id=deadline_id,
        )
        heard = {"sent": NoticeSent, "failed": NoticeFailed, "delayed": NoticeDelayed}
        return self.send(heard[state](order_id=self.order.order_id, case_id=case or self.case.case_id, notice=proof))

    def pay(self) -> None:
        """The payment provider executes what the platform is to pay."""
        for entry in open_reservations(self.file.ledger) if self.file else ():
            if entry.executor == "platform" and entry.case_id and entry.decision_id:
                self.send(
                    ConfirmExecution(
                        case_id=entry.case_id, decision_id=entry.decision_id, reference=f"pay {entry.decision_id}", at=self.now
                    )
                )

    def wait(self, duration: str) -> None:
        self.now = add(self.now, duration, self.order.timezone)

    def send(self, command: Command, command_id: str | None = None) -> list[CaseEvent] | Refusal:
        self.commands += 1
        decided = decide(self.file, command, self.now, command_id or f"command {self.commands}", self.programmes, self.record)
        if isinstance(decided, list):
            for event in decided:
                self.file = evolve(self.file, event)
            self.events += decided
        return decided

    # What came of it

    @property
    def case(self) -> Case:
        """The latest case."""
        assert self.file is not None
        return tuple(self.file.cases.values())[-1]

    def deadline(self, kind: str, party: Party | None = None) -> Deadline:
        return next(each for each in self.case.deadlines if each.kind == kind and party in (None, each.party))

    def allowed(self, role: Role, case: str | None = None) -> dict[str, AllowedAction]:
        assert self.file is not None
        listed = allowed_actions(
            self.file, case or self.case.case_id, role, self.now, self.programmes, labels=self.labels, record=self.record
        )
        return {each.action: each for each in listed}

    @property
    def money(self) -> tuple[str, str, str]:
        """Reserved, executed, refundable."""
        assert self.file is not None
        sums = balance(self.order.amount, self.file.ledger)
        return str(sums.reserved.amount), str(sums.executed.amount), str(sums.refundable.amount)

    @property
    def posted(self) -> list[MessagePosted]:
        return [event for event in self.events if isinstance(event, MessagePosted)]


def fences(*deadlines: Deadline) -> list[tuple[str, int, datetime]]:
    """Which deadlines these are, and when they end; what their parties know of them is left out."""
    return [(each.deadline_id, each.generation, each.due_at) for each in deadlines]


def problem(decided: list[CaseEvent] | Refusal) -> Problem:
    assert isinstance(decided, Refusal), decided
    return decided.problem


def pointers(decided: list[CaseEvent] | Refusal) -> list[str]:
    found = problem(decided)
    assert (found.status, found.type) == (422, "/problems/invalid-input")
    return [error.pointer for error in found.errors]
