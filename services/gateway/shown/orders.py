"""Orders as they are shown: with their protection, payout, ledger and facts; and what is made beside them."""

from typing import Literal, NotRequired

from contracts.actors import Actor, Party
from contracts.cases import Executor
from contracts.money import Money
from contracts.orders import FactKind, OrderStatus, ProtectionReason
from engine.payouts import PayoutState
from engine.protection import ProtectionState
from services.gateway.shown.values import Link, Links, Moment, Page, Problem, Shown
from services.gateway.uploads import EVIDENCE_TYPES

__all__ = [
    "FILE",
    "AcceptedReport",
    "EvidenceFile",
    "GuestOrder",
    "ImportedLine",
    "MadeLink",
    "Order",
    "OrderPage",
    "PayoutPage",
    "RecordedFact",
    "RequestedLink",
]

FILE = dict.fromkeys(EVIDENCE_TYPES, bytes)
"""What a file is answered as: its bytes, as they were uploaded."""


class OrderBuyer(Shown):
    """The buyer's contact."""

    email: str
    name: NotRequired[str]
    locale: NotRequired[str]
    phone: NotRequired[str]


class OrderPosition(Shown):
    """One position of an order, as the shop numbers and prices it."""

    line_id: NotRequired[str]
    sku: NotRequired[str]
    title: str
    quantity: int
    unit_price: Money


class OrderProtection(Shown):
    """The guarantee on an order at this moment (BP-02 to 05)."""

    state: ProtectionState
    reason: NotRequired[ProtectionReason]
    ends_at: Moment | None
    """When it ends unless something ends it before; of one that has ended, when it did. None where there never was one."""
    check_in_at: NotRequired[Moment]
    """When the buyer is asked whether all went well."""


class OrderPayout(Shown):
    """Whether the order is paid out: held while any case on it is open (OI-08)."""

    held: bool
    reason: NotRequired[Literal["open_case"]]


class EntryCause(Shown):
    """What a ledger entry comes from."""

    case_id: NotRequired[str]
    decision_id: NotRequired[str]
    fact_id: NotRequired[str]


class ShownEntry(Shown):
    """One entry of the refund ledger (NX-06). `reserved`: money will flow. `executed`: it flowed. `released`: what `settles`
    names no longer counts."""

    entry_id: str
    kind: Literal["reserved", "executed", "released"]
    amount: Money
    executor: Executor
    confirmed_by: NotRequired[Literal["buyer", "fact", "provider", "presumed"]]
    reference: NotRequired[str]
    """The payment provider's own name of the payment."""
    settles: NotRequired[str]
    at: Moment
    flags: list[str]
    """over_refund: more flowed than was left."""
    cause: EntryCause


class Ledger(Shown):
    """How the order's money stands. `refundable` = paid − reserved − executed, never below zero."""

    paid: Money
    reserved: Money
    executed: Money
    refundable: Money
    entries: list[ShownEntry]


class ShownFact(Shown):
    """What happened to an order in the world (CP-06). `flags`: over_refund, over_payout, paid_out_while_held."""

    fact_id: str
    kind: FactKind
    at: Moment
    external_id: NotRequired[str]
    carrier: NotRequired[str]
    tracking_code: NotRequired[str]
    amount: NotRequired[Money]
    note: NotRequired[str]
    source: Actor
    recorded_at: Moment
    flags: list[str]


class RecordedFact(ShownFact):
    """A fact with its order."""

    order_id: str
    _links: Links


class OrderSeen(Shown):
    """What everybody sees of an order that it may see at all."""

    order_id: str
    merchant_id: str
    merchant_name: str
    order_number: str
    cases: list[str]
    """Ids, the oldest first."""
    version: int


class Order(OrderSeen):
    """An order with its protection at this moment, its payout, ledger, facts and cases."""

    channel: NotRequired[str]
    programme: str
    buyer: OrderBuyer
    amount: Money
    lines: list[OrderPosition]
    placed_at: Moment
    promised_by: NotRequired[Moment]
    protection_activated: bool
    protection_days: NotRequired[int]
    timezone: str
    merchant_locale: str
    merchant_country: NotRequired[str]
    origin: Literal["registered", "reported"]
    """`reported`: known from its buyer's report alone, for the merchant to match (RD-03)."""
    registered_at: Moment
    status: OrderStatus
    protection: OrderProtection
    payout: OrderPayout
    ledger: Ledger
    facts: list[ShownFact]
    _links: dict[str, Link | list[Link]]


class GuestOrder(OrderSeen):
    """An order as a guest sees it, who has reported by a form: what else is here its own report said (RD-03)."""

    channel: NotRequired[str | None]
    amount: NotRequired[Money]
    placed_at: NotRequired[Moment]
    origin: NotRequired[Literal["reported"]]
    _links: dict[str, Link | list[Link]]


class OrderPage(Page):
    """Orders, newest first."""

    items: list[Order | GuestOrder]


class AcceptedReport(Shown):
    """An accepted report, and its order with the case open."""

    report_id: str | None
    case_id: NotRequired[str]
    """Left out where the report only ends the protection."""
    order: Order


class MadeLink(Shown):
    """A link of an order's buyer. `token` is the key in it; `expires_at`: until when it acts, reading outlives that."""

    link_id: str
    url: str
    token: str
    expires_at: Moment | None


class RequestedLink(Shown):
    """Always the same."""

    status: Literal["accepted"]


class EvidenceFile(Shown):
    """A file that was uploaded to an order. `sha256` is the hex digest of its bytes, `size` counts them."""

    evidence_id: str
    order_id: str
    sha256: str
    size: int
    media_type: str
    name: str
    kind: NotRequired[str]
    """What it proves, in the words of the case's checklist."""
    uploaded_by: Actor
    at: Moment
    visible_to: list[Party]
    _links: Links


class ImportedLine(Shown):
    """What became of one line of an import; such objects follow one another, one a line, in the order of the lines."""

    line: int
    status: int
    """As the request for it alone would have been answered; 202 where its outcome was not there in time."""
    order_id: NotRequired[str]
    fact_id: NotRequired[str]
    problem: NotRequired[Problem]
    command_id: NotRequired[str]
    href: NotRequired[str]
    """Where to ask for the outcome of a 202."""


class NettedRefund(Shown):
    """A refund that is to be taken from the merchant's next payout."""

    case_id: NotRequired[str]
    """Left out of what the merchant has beyond the order's amount."""
    amount: Money


class SettledRefund(Shown):
    """What a payout of the merchant was less by."""

    at: Moment
    amount: Money
    payout: NotRequired[str]


class OrderAccount(Shown):
    """How the account of an order stands with its merchant (OI-08). `amount`: of `payable` and `held` what the merchant still
    gets; of `paid` and `netted` all that was paid out."""

    order_id: str
    merchant_id: str
    order_number: str
    state: PayoutState
    amount: Money
    netted: list[NettedRefund]
    settled: list[SettledRefund]
    _links: Links


class PayoutPage(Page):
    """Accounts, those of the newest orders first."""

    items: list[OrderAccount]
