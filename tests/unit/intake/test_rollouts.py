"""Roll-outs and opt-ins: who makes them, whom they concern, how they are announced, what a report is then pinned to (BP-24)."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from chassis.handler import Emission, Inbound
from contracts.actors import Actor
from contracts.base import Message
from contracts.envelope import Envelope, decode, encode
from contracts.notices import TellMerchant
from contracts.orders import CommandRefused, CommandRepeated, Merchant, ReportAccepted
from contracts.rollouts import (
    ROLLOUTS_KEY,
    AnnounceRollout,
    MakeRollout,
    MerchantOptedIn,
    OptIn,
    RolloutAnnounced,
    RolloutContent,
    RolloutMade,
    TellOfRollouts,
)
from engine.programmes import Programmes
from services.intake import rollouts as rollouts_module
from services.intake.context import Context, MerchantPage
from services.intake.documents import RolloutTable
from services.intake.handlers import IntakeHandler
from services.intake.rollouts import concerns
from tests.unit.intake.trading import (
    MERCHANT,
    OTHER_PARTNER,
    PARTNER,
    PLACED,
    PLATFORM,
    Trade,
    merchant,
    pointers,
    profile,
    put,
)

DAY = timedelta(days=1)
MERCHANTS = {
    each.merchant_id: each
    for each in (
        merchant(),
        merchant(merchant_id="roma", locale="it"),
        merchant(merchant_id="milano", locale="it-CH"),
        merchant(merchant_id="issues", programmes=("order-issues",)),
    )
}


def content(**more: Any) -> RolloutContent:
    given = {"programme": "buyer-protection", "version": 1, "effective_at": PLACED + 20 * DAY, **more}
    return RolloutContent.model_validate(given)


class Desk:
    """The key of all roll-outs; each message goes through its bytes, as in the service."""

    def __init__(self) -> None:
        self.handler = IntakeHandler(None, Programmes.shipped())  # type: ignore[arg-type]
        self.state: Any = None
        self.now = PLACED
        self.pages: dict[str, MerchantPage] = {}
        self._count = 0

    @property
    def table(self) -> RolloutTable:
        assert isinstance(self.state, RolloutTable)
        return self.state

    def tell(self, message: Message, command_id: str = "") -> list[Emission]:
        self._count += 1
        envelope = Envelope(
            id=command_id or f"c-{self._count}", source="gateway", key=ROLLOUTS_KEY, time=self.now, message=message
        )
        record = encode(envelope)
        inbound = Inbound(decode(record.value, record.headers), "intake.commands", 0, self._count)
        step = self.handler.apply(self.state, inbound, Context(merchants=MERCHANTS, pages=self.pages))
        if step.state is not None:
            assert self.handler.load(self.handler.dump(step.state)) == step.state
        self.state = step.state
        return list(step.emissions)

    def ask(self, message: Message, command_id: str = "") -> Any:
        (emission,) = self.tell(message, command_id)
        assert emission.settles
        return emission.message

    def make(self, rollout_id: str = "rlo_1", actor: Actor = PLATFORM, **more: Any) -> Any:
        return self.ask(MakeRollout(rollout_id=rollout_id, content=content(**more), actor=actor))

    def opt_in(self, merchant_id: str = "shop", since: datetime | None = None, actor: Actor = MERCHANT, **more: Any) -> Any:
        return self.ask(
            OptIn.model_validate({"rollout_id": "rlo_1", "merchant_id": merchant_id, "since": since, "actor": actor, **more})
        )


def page(*merchants: str, more: bool = False) -> MerchantPage:
    return MerchantPage(tuple(MERCHANTS[each] for each in merchants), more)


@pytest.mark.rule("BP-24")
@pytest.mark.parametrize(
    ("announce_days", "from_now"), [(14, timedelta(days=6)), (20, timedelta()), (30, timedelta()), (0, timedelta(days=20))]
)
def test_it_is_announced_so_many_days_before_or_at_once(announce_days: int, from_now: timedelta) -> None:
    made = Desk().make(announce_days=announce_days)
    assert isinstance(made, RolloutMade)
    assert made.rollout.announce_at == PLACED + from_now


@pytest.mark.rule("BP-24")
@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"programme": "nothing"}, ["/programme"]),
        ({"version": 9}, ["/version"]),
        ({"effective_at": PLACED - timedelta(milliseconds=1)}, ["/effective_at"]),
        ({"merchants": ["shop", "nobody", "issues"]}, ["/merchants/1", "/merchants/2"]),
        ({"effective_at": PLACED}, None),
    ],
)
def test_what_cannot_be_rolled_out_is_refused(more: dict[str, Any], expected: list[str] | None) -> None:
    answer = Desk().make(**more)
    if expected is None:
        assert isinstance(answer, RolloutMade)
    else:
        assert isinstance(answer, CommandRefused)
        assert pointers(answer.problem) == expected


@pytest.mark.rule("BP-24")
def test_only_the_platform_makes_one_and_only_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk()
    assert [desk.make(actor=actor).problem.status for actor in (PARTNER, MERCHANT)] == [403, 403]
    monkeypatch.setattr(rollouts_module, "MOST_ROLLOUTS", 1)
    desk.make()
    assert desk.make("rlo_2").problem.status == 409


def test_a_command_that_comes_again_makes_no_second_one() -> None:
    desk = Desk()
    command = MakeRollout(rollout_id="rlo_1", content=content(), actor=PLATFORM)
    desk.tell(command, "make")
    (again,) = desk.tell(command, "make")
    assert isinstance(again.message, CommandRepeated)
    assert len(desk.table.rollouts) == 1


@pytest.mark.rule("BP-24")
def test_whom_it_concerns_follows_from_programme_merchants_and_language() -> None:
    desk = Desk()

    def concerned(rollout_id: str, **more: Any) -> list[str]:
        rollout = desk.make(rollout_id, **more).rollout
        return [each.merchant_id for each in MERCHANTS.values() if concerns(rollout, each)]

    assert concerned("rlo_1") == ["shop", "roma", "milano"]
    assert concerned("rlo_2", locales=["it"]) == ["roma", "milano"]
    assert concerned("rlo_3", locales=["it-CH"]) == ["milano"]
    assert concerned("rlo_4", merchants=["shop", "roma"], locales=["it"]) == ["roma"]


@pytest.mark.rule("BP-24")
def test_merchants_are_told_page_by_page_each_under_one_id() -> None:
    desk = Desk()
    desk.make(locales=["it", "de"])
    desk.now += 6 * DAY
    desk.pages["a-1"] = page("issues", "milano", more=True)
    first, go_on = desk.tell(AnnounceRollout(rollout_id="rlo_1"), "a-1")
    assert isinstance(first.message, TellMerchant)
    assert (first.message.merchant_id, first.message.notice, first.key) == ("milano", "policy_change", "mer:milano")
    assert first.message.about["version"] == "1"
    assert go_on.message == AnnounceRollout(rollout_id="rlo_1", after="milano")
    again = desk.tell(AnnounceRollout(rollout_id="rlo_1"), "a-1")
    assert again[0].id == first.id
    desk.pages["a-2"] = page("roma", "shop")
    *mails, done = desk.tell(AnnounceRollout(rollout_id="rlo_1", after="milano"), "a-2")
    assert [mail.message.merchant_id for mail in mails] == ["roma", "shop"]  # type: ignore[attr-defined]
    assert isinstance(done.message, RolloutAnnounced)
    assert desk.table.rollouts[0].announced_at == desk.now
    assert desk.tell(AnnounceRollout(rollout_id="rlo_1"), "a-1") == [], "nobody is told again"
    assert desk.tell(AnnounceRollout(rollout_id="rlo_9")) == []


@pytest.mark.rule("BP-24")
def test_who_has_it_already_is_not_told_and_a_page_that_was_not_read_is_asked_for() -> None:
    desk = Desk()
    desk.make()
    desk.opt_in()
    desk.opt_in("roma", PLACED + 10 * DAY, actor=PARTNER)
    desk.now += 6 * DAY
    command = AnnounceRollout(rollout_id="rlo_1")
    (again,) = desk.tell(command, "a-1")
    assert again.message == command
    desk.pages["a-2"] = page("roma", "shop")
    mail, done = desk.tell(command, "a-2")
    assert mail.message.merchant_id == "roma"  # type: ignore[attr-defined]
    assert isinstance(done.message, RolloutAnnounced)


@pytest.mark.rule("BP-24")
def test_who_comes_to_be_meant_once_the_announcement_has_begun_is_told_by_itself_and_nobody_twice() -> None:
    desk = Desk()
    desk.make("rlo_1", locales=["it"])
    desk.make("rlo_2", announce_days=1)

    def told(merchant_id: str) -> list[tuple[Any, ...]]:
        mails = desk.tell(TellOfRollouts(merchant_id=merchant_id))
        return [(mail.id, mail.key, getattr(mail.message, "notice", None)) for mail in mails]

    assert told("roma") == [], "what is to be announced finds it"
    desk.now += 6 * DAY
    desk.pages["a-1"] = page("milano", more=True)
    first, _ = desk.tell(AnnounceRollout(rollout_id="rlo_1"), "a-1")
    assert [key for _, key, _ in told("roma")] == ["mer:roma"], "the page on which it would stand may have been read"
    desk.pages["a-2"] = page("shop")
    desk.tell(AnnounceRollout(rollout_id="rlo_1", after="milano"), "a-2")
    assert told("milano") == [(first.id, "mer:milano", "policy_change")], "under the id of its announcement"
    assert (told("shop"), told("issues")) == ([], [])
    assert isinstance(desk.opt_in("roma", actor=PARTNER), MerchantOptedIn)
    assert told("roma") == []
    desk.now += 14 * DAY
    assert told("milano") == [], "it is in force"


@pytest.mark.rule("BP-24")
def test_roll_outs_are_asked_of_for_who_is_new_or_changes_what_they_are_meant_by() -> None:
    trade = Trade(key="mer:shop")

    def asked(**changes: Any) -> list[Emission]:
        return trade.tell(put(profile(**changes), PARTNER))[1:]

    (new,) = asked()
    assert (new.message, new.key) == (TellOfRollouts(merchant_id="shop"), ROLLOUTS_KEY)
    assert asked(name="Another name") == []
    assert len(asked(locale="it")) == 1
    assert len(asked(locale="it", programmes=["buyer-protection", "order-issues"])) == 1


def test_a_table_of_before_knows_what_was_announced() -> None:
    desk = Desk()
    desk.make(locales=["it"])
    desk.now += 6 * DAY
    desk.pages["a-1"] = page("milano")
    desk.tell(AnnounceRollout(rollout_id="rlo_1"), "a-1")
    kept = {name: value for name, value in desk.handler.dump(desk.state).items() if name != "begun"}
    desk.state = desk.handler.load(kept)
    assert len(desk.tell(TellOfRollouts(merchant_id="roma"))) == 1


@pytest.mark.rule("BP-24")
def test_an_opt_in_is_early_and_the_merchant_s_own() -> None:
    desk = Desk()
    desk.make(locales=["de"])
    refusals = [
        (desk.opt_in(rollout_id="rlo_9"), ["/rollout_id"]),
        (desk.opt_in("roma"), ["/rollout_id"]),
        (desk.opt_in(since=PLACED - DAY), ["/from"]),
        (desk.opt_in(since=PLACED + 20 * DAY), ["/from"]),
    ]
    assert [pointers(answer.problem) for answer, _ in refusals] == [expected for _, expected in refusals]
    assert desk.opt_in("nobody").problem.status == 404
    assert desk.opt_in(actor=OTHER_PARTNER).problem.status == 404
    assert isinstance(desk.opt_in(since=PLACED + DAY, actor=OTHER_PARTNER, given=True), MerchantOptedIn)
    changed = desk.opt_in(since=PLACED + 2 * DAY)
    assert changed.since == PLACED + 2 * DAY
    assert desk.table.opted_in == {"rlo_1": {"shop": PLACED + 2 * DAY}}
    desk.now += 3 * DAY
    assert isinstance(desk.opt_in(), CommandRepeated), "it has begun"


@pytest.mark.rule("BP-24")
def test_there_is_an_end_to_opt_ins_and_none_to_what_is_in_force(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk()
    desk.make()
    monkeypatch.setattr(rollouts_module, "MOST_OPTED_IN", 0)
    assert desk.opt_in().problem.status == 409
    desk.now += 20 * DAY
    assert pointers(desk.opt_in().problem) == ["/rollout_id"]


@pytest.mark.rule("BP-24", "NX-07")
def test_a_report_is_pinned_to_what_is_in_force_for_its_merchant() -> None:
    desk = Desk()
    desk.make()
    desk.opt_in(since=PLACED + 5 * DAY)
    pinned = desk.table.in_engine_terms()

    class Rolled(Trade):
        def _context(self, inbound: Inbound) -> Context:
            return replace(super()._context(inbound), rollouts=pinned)

    def version(after: timedelta, known: Merchant) -> int | None:
        trade = Rolled(merchants={"shop": known})
        trade.register()
        trade.now += after
        answer = trade.report()
        assert isinstance(answer, ReportAccepted)
        return answer.policy_version

    assert [version(after * DAY, merchant()) for after in (1, 5, 21)] == [2, 1, 1]
