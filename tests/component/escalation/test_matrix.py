"""The decision matrix on the real broker and store: caps hold for two owners, redelivery and crashes; back-tests say what
happened."""

import asyncio
import dataclasses
import random
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta

import pytest

from chassis.handler import Inbound
from chassis.store import Append, CommandCounter, Write, connect
from contracts.cases import TakeAction
from contracts.envelope import Envelope
from contracts.matrix import RULES_KEY, TRIALS_KEY, BackTestDone, BackTestPart, DecisionRule, DecisionRuleContent, RunBackTest
from contracts.topics import CASES_COMMANDS, CASES_EVENTS, ESCALATION_COMMANDS
from engine.matrix import BackTest, Opening, opening_of
from engine.programmes import Programmes
from services.escalation.app import serve
from services.escalation.caps import CAPS, GIVEN, Caps
from services.escalation.matrix import Matrix
from services.escalation.openings import Openings, buyer_of
from tests.component.running import Reader, Running, envelope_of, reading
from tests.unit.escalation.opening import AT, PLATFORM, case_opened, content, put_rule


@pytest.fixture
async def decisions(running: Running) -> AsyncIterator[Reader]:
    async with reading(running, CASES_COMMANDS) as reader:
        yield reader


async def until_heard(running: Running, cases: int) -> None:
    async with asyncio.timeout(30):
        while await running.database("escalation")["openings"].count_documents({}) < cases:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def back_test(running: Running, told: Reader, command_id: str, **wanted: object) -> tuple[BackTestDone, dict[str, str]]:
    """The result of a back-test, and its decisions by case."""
    command = RunBackTest.model_validate({"back_test_id": command_id, "actor": PLATFORM, **wanted})
    await running.send(ESCALATION_COMMANDS, envelope_of(command, TRIALS_KEY, AT, command_id))
    done = (await told.answer_to(command_id)).message
    assert isinstance(done, BackTestDone), done
    parts = [
        one.message
        for one in told.envelopes
        if isinstance(one.message, BackTestPart) and one.message.back_test_id == command_id
    ]
    assert {part.number for part in parts} == set(range(done.parts))
    return done, {each.case_id: each.decision for part in parts for each in part.decisions}


def decided(envelopes: Sequence[Envelope]) -> dict[str, set[str]]:
    """The cases that were refunded, with the ids of the commands that say so."""
    found: dict[str, set[str]] = {}
    for one in envelopes:
        if isinstance(one.message, TakeAction):
            found.setdefault(one.message.case_id, set()).add(one.id)
    return found


@pytest.mark.rule("CP-07")
async def test_a_small_case_is_refunded_in_the_rule_s_name(running: Running, decisions: Reader, told: Reader) -> None:
    running.start(serve, "escalation-1")
    rule = content(conditions={"amount_max": {"amount": "25.00", "currency": "EUR"}})
    await running.send(ESCALATION_COMMANDS, put_rule(rule))
    await told.answer_to("put-1")
    large, small = case_opened(1, amount="25.01"), case_opened(2)
    await running.send(CASES_EVENTS, large, small)
    (sent,) = await decisions.until(lambda all_: len(all_) >= 1)
    command = sent.message
    assert isinstance(command, TakeAction)
    assert (sent.key, command.action, command.actor.role) == (small.key, "decide", "system")
    assert command.decided_by is not None
    assert (command.decided_by.rule_id, command.decided_by.version) == ("drl_1", 1)
    assert command.fields["outcome"] == "refund"
    assert "zwrot" in command.fields["message"], "in the buyer's language"
    await until_heard(running, 2)
    kept = await running.database("escalation")["openings"].find_one({"_id": command.case_id})
    assert kept is not None
    assert "mail.example" not in str(kept), "the address is not kept"


@pytest.mark.rule("CP-07")
async def test_two_hundred_cases_at_once_and_a_cap_of_ten_for_two_owners(
    running: Running, decisions: Reader, told: Reader
) -> None:
    running.start(serve, "escalation-1")
    running.start(serve, "escalation-2")
    async with asyncio.timeout(20):
        while len(await running.database("escalation")["cursors"].distinct("owner")) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    await running.send(ESCALATION_COMMANDS, put_rule(content(caps={"per_day": 10})))
    await told.answer_to("put-1")
    cases = [case_opened(number) for number in range(200)]
    await running.send(CASES_EVENTS, *cases)
    await until_heard(running, 200)
    await decisions.until(lambda all_: len(decided(all_)) >= 10)
    counter = await running.database("escalation")[CAPS].find_one({})
    assert counter is not None
    assert counter["total"] == 10
    first = decided(decisions.envelopes)
    assert len(first) == 10

    # Everything again: a new owner from the beginning of what it is sent, with other batches.
    await running.stop("escalation-2")
    shuffled = random.Random(1).sample(cases, len(cases))
    await running.send(CASES_EVENTS, *shuffled, case_opened(1_000, at=AT + timedelta(days=1)))
    again = decided(await decisions.until(lambda all_: len(decided(all_)) >= 11))
    assert len(again) == 11, "another day has a cap of its own"
    assert again.items() >= first.items(), "the same decisions under the same ids"
    counters = {each["_id"]: each["total"] for each in await running.database("escalation")[CAPS].find().to_list(None)}
    assert counters == {"drl_1:2024-01-10": 10, "drl_1:2024-01-11": 1}


@pytest.mark.rule("CP-07")
async def test_a_batch_of_cases_is_a_handful_of_store_commands(running: Running) -> None:
    """However many cases: what is kept of them and their buyers' earlier ones; the counter, two reads of what was given, its
    write, and from the second batch on what the first one was given."""
    counter = CommandCounter()
    client = connect(running.settings, counter)
    database = client[running.settings.prefixed("escalation")]
    caps, openings = Caps(database), Openings(database)
    rule = a_rule(content(caps={"per_buyer_day": 1, "per_merchant_day": 50, "per_day": 100}))
    for first in (0, 100):
        counter.counts.clear()
        batch = [an_opening(number) for number in range(first, first + 100)]
        await openings.keep(batch)
        await openings.earlier_cases(batch)
        await caps.give([(rule, opening) for opening in batch])
        assert counter.counts.get("find", 0) == 4
        assert sum(counter.counts.values()) <= 7, counter.counts
    client.close()


def a_rule(rule: DecisionRuleContent, version: int = 1) -> DecisionRule:
    given = rule.model_dump()
    return DecisionRule(**given, rule_id="drl_1", version=version, made_at=AT, changed_at=AT, in_force_from=AT)


def an_opening(number: int, *, merchant_id: str = "shop", email: str | None = None) -> Opening:
    event = case_opened(number, merchant_id=merchant_id, email=email).message
    return opening_of(event, buyer_of("secret", event.order.buyer.email), Programmes.shipped())  # type: ignore[union-attr,arg-type]


class Dying(Exception):
    """The process ends here."""


class Fragile(Caps):
    """Caps of a process that dies at some steps, before or after what it does."""

    def __init__(self, running: Running, dice: random.Random, rate: float) -> None:
        super().__init__(running.database("escalation"))
        inner = self._store

        class Store:
            async def append(self, appends: Sequence[Append]) -> None:
                if dice.random() < rate:
                    raise Dying
                await inner.append(appends)

            async def write(self, writes: Sequence[Write]) -> set[int]:
                if dice.random() < rate:
                    raise Dying
                lost = await inner.write(writes)
                if dice.random() < rate:
                    raise Dying
                return lost

        self._store = Store()  # type: ignore[assignment]


@pytest.mark.rule("CP-07")
@pytest.mark.parametrize("seed", range(3))
async def test_caps_hold_and_are_used_up_for_owners_that_die_anywhere(running: Running, seed: int) -> None:
    dice = random.Random(seed)
    rule = a_rule(content(caps={"per_buyer_day": 2, "per_merchant_day": 9, "per_day": 30}))
    await Caps(running.database("escalation")).create_indexes()
    openings = [
        an_opening(number, merchant_id=f"shop-{number % 5}", email=f"b{number % 17}@mail.example") for number in range(120)
    ]

    async def owner(mine: list[Opening]) -> set[str]:
        """Asks for its cases in batches; what it died at it asks for again, cut differently, until it is through."""
        got: set[str] = set()
        while mine:
            batch, rest = mine[: (size := dice.randrange(1, 30))], mine[size:]
            try:
                got |= await Fragile(running, dice, 0.25).give([(rule, opening) for opening in batch])
                mine = rest
            except Dying:
                continue
        return got

    # Three owners, one of which goes on for a while with what another one has taken over.
    results = await asyncio.gather(owner(openings[:60]), owner(openings[60:]), owner(openings[40:80]))
    given = set().union(*results)
    by_case = {opening.case_id: opening for opening in openings}
    refunded = [by_case[case_id] for case_id in given]
    assert max(Counter(opening.buyer for opening in refunded).values()) <= 2
    assert max(Counter(opening.merchant_id for opening in refunded).values()) <= 9
    assert len(refunded) == 30, "every cap was used up: nothing was counted twice"
    assert await Caps(running.database("escalation")).give([(rule, opening) for opening in openings]) == given
    (counter,) = await running.database("escalation")[CAPS].find().to_list(None)
    put_down = {each["case_id"] for each in await running.database("escalation")[GIVEN].find().to_list(None)}
    assert counter["total"] == 30
    assert put_down | {each["case_id"] for each in counter["latest"]} == given


@pytest.mark.rule("CP-07", "NX-18")
async def test_an_order_takes_up_one_share_however_many_of_its_cases_open_at_once(running: Running) -> None:
    """Two cases of each of twenty orders, before any is decided: live as in a back-test, ten orders get the ten refunds. It is
    the same where the second cases come later, or meet another rule."""
    caps = Caps(running.database("escalation"))
    rule = a_rule(content(caps={"per_day": 10}))
    second_rule = rule.model_copy(update={"rule_id": "drl_2"})
    both: list[tuple[DecisionRule, Opening]] = []
    tried = BackTest(rule)
    for number in range(20):
        opening = an_opening(number)
        second = dataclasses.replace(opening, case_id=f"{opening.case_id.rpartition('_')[0]}_2", reason="no_refund")
        both += ((rule, opening), (rule, second))
        tried.add(opening)
        tried.add(second)
    firsts = [opening.case_id for _, opening in both[:20:2]]
    assert await caps.give(both) == set(firsts)
    assert [each.case_id for each in tried.tried if each.decision == "refund"] == firsts
    assert await caps.give(both[::-1]) == set(firsts), "asked again, each case gets its answer"
    given_before = [(second_rule, opening) for _, opening in both[1:20:2]]
    assert await caps.give(given_before) == set(), "another rule refunds nothing of what is refunded"
    fresh = [(each, opening) for each in (rule, second_rule) for _, opening in both[20:]]
    got = await caps.give(fresh)
    assert {opening.case_id for _, opening in both[20::2]} == got, "one refund an order, now by the second rule"
    totals = {each["_id"]: each["total"] for each in await running.database("escalation")[CAPS].find().to_list(None)}
    assert totals == {"drl_1:2024-01-10": 10, "drl_2:2024-01-10": 10}


@pytest.mark.rule("NX-18")
async def test_live_a_rule_decides_as_its_back_test_says(running: Running, decisions: Reader, told: Reader) -> None:
    running.start(serve, "escalation-1")
    rule = content(
        conditions={"amount_max": {"amount": "40.00", "currency": "EUR"}, "buyer_cases_max": 2},
        caps={"per_buyer_day": 1, "per_merchant_day": 3, "per_day": 5},
    )
    await running.send(ESCALATION_COMMANDS, put_rule(rule))
    await told.answer_to("put-1")
    dice = random.Random(3)
    at, cases = AT, list[Envelope]()
    for number in range(80):
        at += timedelta(minutes=dice.randrange(0, 90))
        case = case_opened(
            number,
            at=at,
            merchant_id=f"shop-{dice.randrange(3)}",
            email=f"b{dice.randrange(25)}@mail.example",
            amount=f"{dice.randrange(10, 60)}.00",
        )
        cases.append(case)
        await running.send(CASES_EVENTS, case)
        await until_heard(running, len(cases))
    by_given, kept = await back_test(running, told, "trial-1", rule=rule)
    by_id, same = await back_test(running, told, "trial-2", rule_id="drl_1")
    assert kept == same
    assert by_id.tried is not None
    assert by_id.tried.version == 1
    assert by_given.result == by_id.result
    assert by_given.result.cases == 80
    would = {case_id for case_id, decision in kept.items() if decision == "refund"}
    assert 0 < by_given.result.capped < by_given.result.matched
    live = decided(await decisions.until(lambda all_: len(decided(all_)) >= len(would)))
    assert set(live) == would
    assert by_given.result.decided == len(would)
    _, none = await back_test(running, told, "trial-3", rule_id="drl_1", until=AT)
    assert none == {}


@pytest.mark.rule("NX-18")
async def test_ten_thousand_past_cases_are_tried_in_a_few_store_commands(running: Running, told: Reader) -> None:
    """How long it takes says `recourse bench back-test`."""
    counter = CommandCounter()
    client = connect(running.settings, counter)
    matrix = Matrix(client[running.settings.prefixed("escalation")], Programmes.shipped(), "secret")
    await matrix.create_indexes()
    known = [an_opening(number, merchant_id=f"shop-{number % 50}") for number in range(10_000)]
    for start in range(0, len(known), 2_500):
        await matrix.openings.keep(known[start : start + 2_500])
    rule = content(conditions={"buyer_cases_max": 3}, caps={"per_merchant_day": 20})
    command = RunBackTest(back_test_id="counted", rule=rule, actor=PLATFORM)
    asked = Inbound(envelope_of(command, TRIALS_KEY, AT, "counted"), ESCALATION_COMMANDS.name, 0, 0)
    counter.counts.clear()
    (trial,) = (await matrix.find([asked])).trials.values()
    assert sum(counter.counts.values()) <= 12, counter.counts  # a read of a thousand each, and the rules
    client.close()
    assert trial.test is not None

    running.start(serve, "escalation-1")
    done, found = await back_test(running, told, "trial", rule=rule)
    assert done.result == trial.test.result()
    assert (done.result.cases, done.result.matched, done.result.decided) == (10_000, 10_000, 1_000)
    assert len(found) == 10_000


async def test_the_table_s_key_is_read_by_one_owner_and_survives_a_restart(running: Running, told: Reader) -> None:
    running.start(serve, "escalation-1")
    await running.send(ESCALATION_COMMANDS, put_rule(content()))
    await told.answer_to("put-1")
    await running.stop("escalation-1")
    running.start(serve, "escalation-2")
    await running.send(ESCALATION_COMMANDS, put_rule(content(name="Next"), "put-2", new=False, if_match=1))
    changed = (await told.answer_to("put-2")).message
    assert changed.rule.version == 2  # type: ignore[attr-defined]
    stored = await running.database("escalation")["tables"].find_one({"_id": RULES_KEY})
    assert stored is not None
    assert [each["version"] for each in stored["body"]["versions"]] == [1, 2]
