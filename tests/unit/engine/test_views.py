"""What readers are shown: previews that come true, deadlines that explain themselves, labels, how a refund stands."""

from typing import Any

import pytest

from contracts.cases import RuleRef, TakeAction
from contracts.money import Money
from engine.decide import Refusal
from engine.programmes import Programmes
from engine.views import Preview, explained_deadlines, label, outcome_label, preview, refund_status
from tests.unit.engine.playing import Play, actor, euros, standing

SHIPPED = Programmes.shipped()


def preview_of(play: Play, role: Any, action: str, **fields: Any) -> Preview:
    assert play.file is not None
    fields = {name: value.model_dump(mode="json") if isinstance(value, Money) else value for name, value in fields.items()}
    command = TakeAction(case_id=play.case.case_id, action=action, fields=fields, actor=actor(role))
    found = preview(play.file, command, play.now, play.programmes, standing())
    assert not isinstance(found, Refusal), found
    return found


@pytest.mark.rule("NX-04", "NX-06")
def test_a_preview_of_a_decision() -> None:
    play = Play()
    play.report()
    play.act("merchant", "answer", refund="yes", message="Some", refund_amount=euros(40))
    play.act("buyer", "react", reaction="disagree")
    before = play.file
    seen = preview_of(play, "platform", "decide", outcome="partial_refund", refund_amount=euros(70), message="Fair")
    assert play.file == before
    assert (seen.state, seen.turn, seen.outcome, seen.deadlines) == ("resolved", None, "decided_partial_refund", ())
    money = seen.money
    assert [str(each.amount) for each in (money.reserved, money.executed, money.released, money.refundable)] == [
        "70.00",
        "70.00",
        "40.00",
        "30.00",
    ]
    assert {(told.party, told.kind) for told in seen.messages} == {("buyer", "decision"), ("merchant", "decision")}
    assert seen.payout.held is False
    assert seen.protection is not None
    assert seen.protection.state == "active"


@pytest.mark.rule("NX-04")
@pytest.mark.parametrize(
    ("role", "action", "fields"),
    [
        ("merchant", "answer", {"refund": "yes", "message": "All of it"}),
        ("merchant", "answer", {"refund": "yes_after_return", "message": "Send it"}),
        ("merchant", "answer", {"refund": "no", "message": "It comes"}),
        ("buyer", "withdraw", {}),
        ("platform", "take_over", {}),
        ("merchant", "note", {"text": "Hm"}),
    ],
)
def test_a_preview_comes_true(role: Any, action: str, fields: dict[str, Any]) -> None:
    play = Play()
    play.report()
    seen = preview_of(play, role, action, **fields)
    play.act(role, action, **fields)
    case = play.case
    assert play.file is not None
    assert (seen.state, seen.turn, seen.outcome) == (case.state, case.turn, case.outcome)
    told = explained_deadlines(play.file, case.case_id, SHIPPED)
    assert [(each.kind, each.due_at) for each in seen.deadlines] == [(each.kind, each.due_at) for each in told]
    assert seen.payout.held == case.is_open
    assert str(seen.money.refundable.amount) == play.money[2]


@pytest.mark.rule("NX-04", "BP-26")
def test_a_preview_tells_what_becomes_of_the_protection() -> None:
    play = Play()
    play.report()
    play.act("merchant", "answer", refund="yes", message="All of it")
    seen = preview_of(play, "buyer", "react", reaction="received")
    assert seen.protection is not None
    assert seen.protection.state == "ended"


@pytest.mark.rule("NX-04")
def test_a_preview_of_what_is_refused_is_that_refusal() -> None:
    play = Play()
    play.report()
    assert play.file is not None
    command = TakeAction(case_id=play.case.case_id, action="react", fields={"reaction": "received"}, actor=actor("buyer"))
    refused = preview(play.file, command, play.now, SHIPPED)
    assert isinstance(refused, Refusal)
    assert refused.problem.status == 409


@pytest.mark.rule("NX-01", "BP-17", "BP-22")
def test_a_deadline_explains_itself() -> None:
    play = Play()
    play.report()
    play.act("merchant", "answer", refund="yes", message="Some", refund_amount=euros(40))
    assert play.file is not None
    (told,) = explained_deadlines(play.file, play.case.case_id, SHIPPED, "de-DE")
    assert (told.party, told.kind, told.rule) == ("buyer", "buyer_reaction", "BP-13")
    assert (told.policy.programme, told.policy.version) == ("buyer-protection", 2)
    silence = told.on_silence
    assert (silence.action, silence.state, silence.outcome) == ("close", "resolved", "no_reaction")
    assert {kind: str(amount) for kind, amount in silence.money.items()} == {"executed": "40.00 EUR"}
    assert "40,00\N{NO-BREAK SPACE}€ gilt als erhalten" in silence.text
    (english,) = explained_deadlines(play.file, play.case.case_id, SHIPPED, "pl")
    assert "counts as received" in english.on_silence.text
    assert english.label == "Buyer's reaction"
    (unheard_of,) = explained_deadlines(play.file, play.case.case_id, SHIPPED, "tlh")
    assert "€40.00" in unheard_of.on_silence.text


@pytest.mark.rule("NX-01")
def test_the_consequence_is_told_as_the_case_is_now() -> None:
    play = Play()
    play.report()
    play.act("merchant", "answer", refund="yes", message="All of it")
    play.fact("refunded", 100)
    assert play.file is not None
    (told,) = explained_deadlines(play.file, play.case.case_id, SHIPPED)
    assert told.on_silence.money == {}
    assert play.deadline("buyer_reaction").on_silence.money == {"executed": euros(100)}


@pytest.mark.rule("NX-03")
def test_silence_that_nobody_has_told_yet_already_counts() -> None:
    play = Play()
    play.report()
    play.act("merchant", "answer", refund="no", message="It comes")
    assert set(play.allowed("buyer")) == {"react", "withdraw"}
    play.wait("P21D")
    assert set(play.allowed("buyer")) == set()
    assert set(play.allowed("platform")) == {"reopen", "note"}


def test_labels() -> None:
    play = Play()
    play.report()
    policy = SHIPPED.get("buyer-protection", 2)
    assert label(policy, play.case, "de") == "Antwort des Händlers steht aus"
    assert label(policy, play.case, "fr") == "Waiting for the merchant's answer"
    assert outcome_label(policy, "settled", "de") == "Einvernehmlich gelöst"
    assert play.allowed("merchant")["answer"].label == "Answer"


@pytest.mark.rule("NX-06")
def test_how_a_refund_stands() -> None:
    play = Play()
    play.report()
    assert play.file is not None
    first = refund_status(play.file, play.case.case_id)
    assert (first.variant, first.proposed, first.decided) == (None, None, None)
    play.act("merchant", "answer", refund="yes", message="Some", refund_amount=euros(40))
    offered = refund_status(play.file, play.case.case_id)
    assert (offered.variant, offered.proposed, str(offered.refundable)) == ("partial", euros(40), "60.00 EUR")
    play.act("buyer", "react", reaction="disagree")
    play.act("platform", "decide", outcome="refund", message="All")
    ruled = refund_status(play.file, play.case.case_id)
    assert (ruled.decided, ruled.executed, ruled.refundable) == (euros(100), euros(0), euros(0))
    play.pay()
    assert refund_status(play.file, play.case.case_id).executed == euros(100)


def test_how_a_refused_refund_stands() -> None:
    play = Play()
    play.report("other")
    play.act("platform", "decide", outcome="no_refund", message="No")
    assert play.file is not None
    assert refund_status(play.file, play.case.case_id).decided == euros(0)


def answered(play: Play, amount: int | None, refund: str = "yes") -> None:
    play.report()
    play.act("merchant", "answer", refund=refund, message="So", **({"refund_amount": euros(amount)} if amount else {}))


def partly_refunded_by_the_brand(play: Play) -> None:
    play.report("damaged", "order-issues")
    play.act("merchant", "refund", refund_amount=euros(40))


def proposed(play: Play) -> None:
    play.report("other")
    play.act("platform", "propose", message="Half", refund_amount=euros(50))


def accepted_as(play: Play, resolution: str, amount: int | None) -> None:
    play.report("complaint", "returns-desk")
    more = {"refund_amount": euros(amount)} if amount else {}
    play.act("merchant", "accept", resolution=resolution, message="Yes", **more)


def claimed(play: Play) -> None:
    play.report("chargeback", "claims", "partner", amount=euros(30))


def with_the_platform(play: Play, programme: str = "order-issues", reason: str = "late") -> None:
    play.report(reason, programme)
    play.act("platform", "take_over")


@pytest.mark.rule("NX-06")
@pytest.mark.parametrize(
    ("story", "variant", "offered", "decided", "executed"),
    [
        # buyer-protection: an answer is an offer until the platform rules
        ([(answered, 100)], "full", 100, None, 0),
        ([(answered, 40)], "partial", 40, None, 0),
        ([(answered, None, "no")], "none", None, None, 0),
        ([(answered, 40), ("buyer", "react", {"reaction": "received"})], "partial", 40, None, 40),
        ([(answered, 100), ("buyer", "react", {"reaction": "received"})], "full", 100, None, 100),
        ([(answered, 40), ("buyer", "withdraw", {})], "none", 40, None, 0),
        ([(answered, 40), ("fact", 40)], "partial", 40, None, 40),
        ([(answered, 40), ("fact", 100)], "full", 40, None, 40),
        ([(answered, 40), ("fact", 40), ("fact", 60)], "full", 40, None, 40),
        (
            [
                (answered, 40),
                ("buyer", "react", {"reaction": "disagree"}),
                ("platform", "decide", {"outcome": "refund", "message": "All"}),
            ],
            "full",
            40,
            100,
            0,
        ),
        (
            [
                (answered, 100),
                ("buyer", "react", {"reaction": "not_received"}),
                ("platform", "decide", {"outcome": "partial_refund", "message": "Some", "refund_amount": euros(30)}),
            ],
            "partial",
            100,
            30,
            0,
        ),
        (
            [
                (answered, 40),
                ("buyer", "react", {"reaction": "disagree"}),
                ("platform", "decide", {"outcome": "no_refund", "message": "No"}),
            ],
            "none",
            40,
            0,
            0,
        ),
        ([(proposed,)], None, 50, None, 0),
        (
            [(proposed,), ("buyer", "accept_proposal", {}), ("merchant", "accept_proposal", {}), ("pay",)],
            "partial",
            None,
            50,
            50,
        ),
        # a rule decides, whatever the programme
        ([(with_the_platform,), ("rule",)], "full", None, 100, 0),
        ([(with_the_platform, "returns-desk", "complaint"), ("rule",), ("pay",)], "full", None, 100, 100),
        # order-issues: the brand's refund needs nobody's agreement, nor does what the platform adds
        ([(partly_refunded_by_the_brand,)], "partial", 40, 40, 0),
        ([(partly_refunded_by_the_brand,), ("pay",), ("buyer", "resolve", {})], "partial", 40, 40, 40),
        (
            [
                (partly_refunded_by_the_brand,),
                ("pay",),
                ("buyer", "disagree", {"message": "More"}),
                ("platform", "solve", {"message": "The rest too", "refund_amount": euros(60)}),
                ("pay",),
            ],
            "full",
            40,
            100,
            100,
        ),
        ([(with_the_platform,), ("platform", "solve", {"message": "All", "refund_amount": euros(100)})], "full", None, 100, 0),
        (
            [(with_the_platform,), ("platform", "solve", {"message": "Some", "refund_amount": euros(10)})],
            "partial",
            None,
            10,
            0,
        ),
        ([(with_the_platform,), ("platform", "solve", {"message": "It is solved"})], "none", None, 0, 0),
        ([(with_the_platform,), ("platform", "reject", {"message": "No"})], "none", None, 0, 0),
        # returns-desk: what the seller accepts is its last word, and its own money
        ([(accepted_as, "repair", None)], "none", None, 0, 0),
        ([(accepted_as, "refund", 30)], "partial", 30, 30, 0),
        ([(accepted_as, "refund", 30), ("fact", 30)], "partial", 30, 30, 30),
        ([(accepted_as, "refund", 100), ("fact", 100)], "full", 100, 100, 100),
        # claims: the body outside decides
        ([(claimed,)], None, None, None, 0),
        ([(claimed,), ("merchant", "accept_claim", {})], "partial", None, 30, 30),
        ([(claimed,), ("platform", "record_outcome", {"outcome": "lost"})], "partial", None, 30, 30),
        ([(claimed,), ("platform", "record_outcome", {"outcome": "won"})], "none", None, 0, 0),
    ],
)
def test_every_way_that_money_moves_shows_as_the_ledger_has_it(
    story: list[Any], variant: str | None, offered: int | None, decided: int | None, executed: int
) -> None:
    play = Play()
    tell(play, story)
    assert play.file is not None
    shown = refund_status(play.file, play.case.case_id)
    assert shown.variant == variant
    assert shown.proposed == (None if offered is None else euros(offered))
    assert shown.decided == (None if decided is None else euros(decided))
    assert shown.executed == euros(executed)


def tell(play: Play, story: list[Any]) -> None:
    for who, *what in story:
        match who:
            case "fact":
                play.fact("refunded", *what)
            case "pay":
                play.pay()
            case "rule":
                rule = RuleRef(rule_id="small", version=1)
                assert isinstance(play.act("system", "decide", rule=rule, outcome="refund", message="At once"), list)
            case str():
                action, fields = what
                assert isinstance(play.act(who, action, **fields), list)
            case _:
                who(play, *what)


@pytest.mark.rule("NX-06", "RD-06")
def test_a_seller_s_acceptance_is_decided_and_kept_in_parts() -> None:
    play = Play()
    accepted_as(play, "refund", 30)
    case_id = play.case.case_id
    for parts, executed in (((), 0), ((10,), 10), ((20,), 30)):
        tell(play, [("fact", part) for part in parts])
        assert play.file is not None
        shown = refund_status(play.file, case_id)
        assert (shown.variant, shown.decided, shown.executed) == ("partial", euros(30), euros(executed))


@pytest.mark.rule("NX-06")
def test_what_another_case_takes_later_makes_a_refund_no_greater() -> None:
    play = Play()
    partly_refunded_by_the_brand(play)
    first = play.case.case_id
    second = play.report("missing_items", "order-issues")
    play.act("merchant", "refund", case=second)
    play.pay()
    assert play.file is not None
    assert [refund_status(play.file, case_id).variant for case_id in (first, second)] == ["partial", "full"]


@pytest.mark.rule("BP-15", "BP-26")
def test_a_partial_refund_that_was_made_whole_is_received_in_full() -> None:
    play = Play()
    answered(play, 40)
    assert set(play.allowed("buyer")["react"].fields["properties"]["reaction"]["enum"]) == {
        "received",
        "not_received",
        "disagree",
    }
    tell(play, [("fact", 40), ("fact", 60)])
    assert set(play.allowed("buyer")["react"].fields["properties"]["reaction"]["enum"]) == {"received", "not_received"}
    (moved,) = [event for event in play.act("buyer", "react", reaction="received") if hasattr(event, "change")]  # type: ignore[union-attr]
    assert (play.case.outcome, moved.change.protection_ends) == ("refunded", True)  # type: ignore[attr-defined]
