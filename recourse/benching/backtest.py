"""`bench back-test`: a rule of the decision matrix tried on past cases (NX-18), from the store to its result, in a process."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from chassis.handler import Inbound
from chassis.store import CommandCounter, connect
from contracts.actors import Actor
from contracts.envelope import Envelope
from contracts.ids import case_id_of, order_id_of
from contracts.matrix import TRIALS_KEY, DecisionRuleContent, RunBackTest
from contracts.money import Money
from contracts.topics import ESCALATION_COMMANDS
from deploy.local import Stack
from engine.matrix import Opening
from engine.programmes import Programmes
from recourse.addresses import settings_on
from services.escalation.matrix import Matrix

__all__ = ["bench_back_test", "past_cases"]

_BEGIN = datetime(2024, 1, 1, 8, tzinfo=UTC)
_A_DAY = 100
"""Cases of a day."""
_KEPT_AT_ONCE = 2_500
_RULE = DecisionRuleContent.model_validate(
    {
        "name": "Small and new",
        "decision": "refund",
        "conditions": {"amount_max": {"amount": "60.00", "currency": "EUR"}, "buyer_cases_max": 3},
        "caps": {"per_merchant_day": 1},
    }
)
"""Asks for all that a rule can: an amount, the buyer's earlier cases, a cap."""


def past_cases(count: int) -> Iterator[Opening]:
    """Cases of 50 shops and of a buyer for every three, some of them small."""
    for number in range(count):
        at = _BEGIN + timedelta(days=1) * number / _A_DAY
        amount = Money(amount=Decimal(10 + number % 90), currency="EUR")
        shop = f"shop-{number % 50}"
        yield Opening(
            case_id=case_id_of(order_id_of(shop, str(number)), 1),
            at=at,
            programme="buyer-protection",
            reason="not_received",
            merchant_id=shop,
            buyer=f"buyer-{number * 7 % max(1, count // 3)}",
            amount=amount,
            left=amount,
            day=f"{at:%Y-%m-%d}",
            decidable=True,
        )


async def bench_back_test(stack: Stack, cases: int) -> dict[str, Any]:
    """→ {cases, matched, decided, capped, seconds, cpu_s, store_commands, stack}; the second of two runs, as nobody waits for a
    process that has just begun."""
    settings = settings_on(stack, f"bench-{time.time_ns():x}-")
    counter = CommandCounter()
    client = connect(settings, counter)
    matrix = Matrix(client[settings.prefixed("escalation")], Programmes.shipped(), "bench")
    await matrix.create_indexes()
    known = list(past_cases(cases))
    for begin in range(0, len(known), _KEPT_AT_ONCE):
        await matrix.openings.keep(known[begin : begin + _KEPT_AT_ONCE])
    await matrix.find([_asked("warm-up")])
    counter.counts.clear()
    cpu, began = time.process_time(), time.monotonic()
    (trial,) = (await matrix.find([_asked("bench")])).trials.values()
    seconds, used = time.monotonic() - began, time.process_time() - cpu
    client.close()
    if trial.test is None:
        raise RuntimeError(f"the rule was not tried: {trial.problem}")
    result = trial.test.result()
    return {
        **result.model_dump(mode="json", include={"cases", "matched", "decided", "capped"}),
        "seconds": round(seconds, 2),
        "cpu_s": round(used, 2),
        "store_commands": sum(counter.counts.values()),
        "stack": {"broker": str(stack.broker), "store": str(stack.store)},
    }


def _asked(back_test_id: str) -> Inbound:
    command = RunBackTest(back_test_id=back_test_id, rule=_RULE, actor=Actor(role="platform", id="bench"))
    envelope = Envelope(id=back_test_id, source="gateway", key=TRIALS_KEY, time=_BEGIN, message=command)
    return Inbound(envelope=envelope, topic=ESCALATION_COMMANDS.name, partition=0, offset=0)
