"""The cases service: decides every command on the cases of an order, and keeps file, ledger, thread and history."""

import asyncio
from collections.abc import Iterable
from operator import attrgetter

from chassis.latest import Latest
from chassis.service import open_runtime
from chassis.settings import Settings
from contracts.outages import ALL_WELL, UNHEARD
from engine.programmes import Programmes
from services.cases.cashier import Cashier
from services.cases.handlers import CasesHandler
from services.cases.provider import HttpPaymentProvider
from services.cases.store import PaymentStore, create_indexes

__all__ = ["serve"]


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Run until `stop` is set. Raises SettingsError where the payment provider's address cannot be read, and what the loop
    cannot go on from."""
    async with open_runtime(settings, CasesHandler.service) as runtime:
        clock = runtime.clock
        cashier = Cashier(
            store=PaymentStore(runtime.database),
            publisher=runtime.publisher,
            clock=clock,
            provider=settings.read("payments_url", lambda url: HttpPaymentProvider(url, clock.now) if url else None),
        )
        programmes = Programmes.shipped_and(settings.programmes)
        record = Latest(ALL_WELL if settings.sandbox else UNHEARD, attrgetter("number"))
        runtime.hearers.append(record.hear)
        handler = CasesHandler(
            runtime.database, programmes, record=record, offer=cashier.offer, own=cashier.own, due=cashier.due
        )
        runtime.health.notes.append(lambda: _note(cashier))
        runtime.metrics.append(lambda: _metrics(cashier))
        if await runtime.begin(stop, lambda: create_indexes(runtime.database)):
            await runtime.run(handler, stop, background=(cashier.work,))


def _note(cashier: Cashier) -> str:
    """What an operator should know of the payments; nothing where all is well."""
    if cashier.provider is None:
        return "no payment provider: refunds of the platform stay reserved; set RECOURSE_PAYMENTS_URL"
    return f"the payment provider cannot be reached, refunds wait: {cashier.away}" if cashier.away else ""


def _metrics(cashier: Cashier) -> Iterable[tuple[str, str, str, float]]:
    counted = cashier.counters
    yield "payments_executed", "counter", "Refunds that the payment provider executed", counted.executed
    yield "payments_refused", "counter", "Attempts that the payment provider refused", counted.refused
    yield "payments_unknown", "counter", "Attempts that the payment provider left open", counted.unknown
    yield "payment_provider_unreachable", "counter", "Attempts to reach a payment provider that is away", counted.unreachable
    yield "payments_due", "gauge", "Refunds to pay now", cashier.due()
    yield "payments_waiting", "gauge", "Refunds that wait for a later attempt", cashier.waiting()
    yield "payment_provider_away", "gauge", "1 while the payment provider cannot be reached", float(bool(cashier.away))
