"""One example of every message, rich enough that each field of each model appears with a value at least once."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from contracts import cases, desk, issue_rate, matrix, notices, orders, outages, platform, rollouts
from contracts.actors import SYSTEM, Actor
from contracts.base import Message
from contracts.evidence import Evidence
from contracts.money import Money
from contracts.problems import FieldError, Problem

ORDER_ID = "ord_3f2b8a6c1d4e5f60718293a4b5c6d7e8"
CASE_ID = "cas_3f2b8a6c1d4e5f60718293a4b5c6d7e8_1"
MERCHANT_ID = "shop-1"
AT = datetime(2019, 8, 1, 9, 30, 0, 125_000, tzinfo=UTC)
DUE = datetime(2019, 8, 6, 9, 30, 0, 125_000, tzinfo=UTC)
EUR_40 = Money(amount=Decimal("40.00"), currency="EUR")
BUYER = Actor(role="buyer", id="link_1")
MERCHANT = Actor(role="merchant", id="key_1")
PLATFORM = Actor(role="platform", id="platform")
PARTNER = Actor(role="partner", id="partner", acts_for="buyer")
EVIDENCE = Evidence(
    evidence_id="evd_3f2b8a6c1d4e5f60718293a4b5c6d7e8_0123456789abcdef",
    sha256="00" * 32,
    size=1_024,
    media_type="application/pdf",
    name="confirmation.pdf",
    kind="invoice",
)

profile = orders.MerchantProfile(
    name="Shop One",
    programmes=("buyer-protection",),
    locale="de",
    country="DE",
    timezone="Europe/Berlin",
    certified_at=datetime(2019, 1, 1, tzinfo=UTC),
    seal_live_at=datetime(2019, 1, 2, tzinfo=UTC),
    protection_days=30,
    notify=(orders.NotifyAddress(kind="new_case", email="cases@shop.example"),),
    service_contact=orders.ServiceContact(email="service@shop.example", phone="+49 30 1", url="https://shop.example/help"),
    return_policy_url="https://shop.example/returns",
)
content = orders.OrderContent(
    merchant_id=MERCHANT_ID,
    order_number="A-1001",
    channel="own-shop",
    programme="buyer-protection",
    buyer=orders.Buyer(email="buyer@mail.example", name="Kim Buyer", locale="en", phone="+44 20 1"),
    amount=EUR_40,
    lines=(
        orders.OrderLine(
            line_id="1", sku="S-1", title="Kettle", quantity=2, unit_price=Money(amount=Decimal("20.00"), currency="EUR")
        ),
    ),
    placed_at=datetime(2019, 7, 20, 8, 0, tzinfo=UTC),
    promised_by=datetime(2019, 7, 27, 8, 0, tzinfo=UTC),
    protection_activated=True,
    protection_days=30,
)
order = orders.Order(
    **{**content.model_dump(), "programme": "buyer-protection"},
    order_id=ORDER_ID,
    timezone="Europe/Berlin",
    merchant_name="Shop One",
    merchant_locale="de",
    merchant_country="DE",
    registered_at=datetime(2019, 7, 20, 8, 1, tzinfo=UTC),
)
fact_content = orders.FactContent(
    kind="refunded",
    at=AT,
    external_id="psp-1",
    carrier="Post",
    tracking_code="T-1",
    amount=EUR_40,
    note="by transfer",
)
fact = orders.Fact(**fact_content.model_dump(), fact_id="fct_x", source=PARTNER, recorded_at=AT, flags=("over_refund",))
standing = orders.Standing(
    status="reported_problem",
    protection=orders.Protection(state="active", reason=None, ends_at=datetime(2019, 8, 19, 8, 0, tzinfo=UTC), check_in_at=AT),
    payout=orders.Payout(held=True, reason="open_case"),
    open_cases=(orders.OpenCase(case_id=CASE_ID, programme="buyer-protection", reason="not_received"),),
    cases=(CASE_ID,),
    version=2,
)
report_content = orders.ReportContent(
    reason="not_received",
    programme="buyer-protection",
    text="It never came.",
    lines=(orders.ReportedLine(line_id="1", quantity=1),),
    contact=orders.Contact(email="other@mail.example", phone="+44 20 2"),
    wish="refund",
    amount=EUR_40,
    answer_by=DUE,
    external_id="claim-1",
)
report = orders.Report(
    **{**report_content.model_dump(), "programme": "buyer-protection"},
    report_id="rep_3f2b8a6c1d4e5f60718293a4b5c6d7e8_01234567",
    evidence=(EVIDENCE,),
    actor=PARTNER,
    at=AT,
)
policy = cases.PolicyRef(programme="buyer-protection", version=2)
deadline = cases.Deadline(
    deadline_id="dln_1",
    generation=1,
    kind="merchant_answer",
    party="merchant",
    set_at=AT,
    due_at=DUE,
    remind_at=(datetime(2019, 8, 4, 9, 30, tzinfo=UTC),),
    extended_by=(
        cases.Extension(reason="outage", duration="P1D", cause_id="outage-1", lost_from=AT, lost_until=AT + timedelta(days=1)),
    ),
    told_at=AT,
    tellings=(cases.Telling(notice_id="ntc_1", state="sent", at=AT),),
    rule="BP-18",
    policy=policy,
    on_silence=cases.Consequence(action="review", state="under_review", outcome=None, money={"executed": EUR_40}),
)
entry = cases.LedgerEntry(
    entry_id="lge_1",
    kind="executed",
    amount=EUR_40,
    case_id=CASE_ID,
    decision_id="command-1",
    fact_id="fct_x",
    executor="merchant",
    confirmed_by="buyer",
    reference="payment-1",
    settles="lge_0",
    at=AT,
    flags=("over_refund",),
)
draft = cases.MessageDraft(
    message_id="msg_1", author=MERCHANT, text="We refund you.", evidence=(EVIDENCE,), internal=False, at=AT
)
rule = cases.RuleRef(rule_id="rule-1", version=3)
status_label = cases.StatusLabel(code="at-the-workshop", text={"en": "At the workshop"}, state="in_progress")
change = cases.Change(
    state="awaiting_buyer",
    turn="buyer",
    outcome=None,
    answer=cases.Answer(refund="yes", refund_amount=EUR_40, variant="full", message="We refund you.", at=AT),
    proposal=cases.Proposal(proposal_id="prp_1", refund_amount=EUR_40, message="Half?", at=AT, accepted_by=("buyer",)),
    proposal_ended="superseded",
    marks={"return_sent": "2019-08-01T09:30:00.125Z"},
    deadlines_set=(deadline,),
    deadlines_ended=(cases.DeadlineEnded(deadline_id="dln_0", generation=1, how="met"),),
    ledger=(entry,),
    refund_due=cases.RefundDue(decision_id="command-1", amount=EUR_40),
    label=status_label,
    attention=True,
    protection_ends=True,
    reopened=True,
)
seal = cases.Seal(sequence=1, salt="00" * 16, data_digest="11" * 32, previous_hash="", hash="22" * 32)
proof = notices.NoticeProof(
    notice_id="ntc_1",
    kind="answer",
    party="buyer",
    to="buyer@mail.example",
    state="sent",
    server="mx.mail.example:25",
    server_reply="250 OK",
    at=AT,
    deadline_id="dln_1",
)
problem = Problem.invalid_input(FieldError(pointer="/refund_amount", detail="at most 40.00 EUR"))

a_desk = desk.Desk.model_validate(
    {
        "consultants": [
            {"consultant_id": f"con_{number}", "version": 1, "name": name, "email": f"{name}@shop.example", "locale": "de"}
            for number, name in enumerate(("Ada", "Bob"), 1)
        ],
        "rules": [
            {
                "rule_id": "rul_1",
                "version": 1,
                "programme": "returns-desk",
                "reason": "complaint",
                "channel": "ebay",
                "consultant_id": "con_1",
            }
        ],
        "absences": [
            {
                "absence_id": "abs_1",
                "version": 2,
                "consultant_id": "con_1",
                "from": "2019-08-05",
                "to": "2019-08-16",
                "deputy_id": "con_2",
                "note": "The key is under the mat.",
            }
        ],
        "labels": [
            {"label_id": "lbl_1", "version": 1, "code": "parts", "text": {"de": "Teile bestellt"}, "state": "in_progress"}
        ],
        "forms": [{"form_id": "frm_1", "version": 1, "channel": "ebay", "locale": "pl"}],
    }
)


def _about_case(**more: object) -> dict[str, object]:
    return {"case_id": CASE_ID, "order_id": ORDER_ID, "actor": MERCHANT, "at": AT, "case_version": 2, "seal": seal, **more}


rollout_content = rollouts.RolloutContent(
    programme="buyer-protection",
    version=2,
    merchants=(MERCHANT_ID,),
    locales=("de",),
    effective_at=DUE,
    announce_days=7,
)
rule_content = matrix.DecisionRuleContent(
    name="Small and new",
    programme="buyer-protection",
    conditions=matrix.RuleConditions(
        amount_max=EUR_40,
        amount_min=Money(amount=Decimal("1.00"), currency="EUR"),
        reasons=("not_received",),
        merchants=(MERCHANT_ID,),
        buyer_cases_max=1,
    ),
    decision="refund",
    caps=matrix.RuleCaps(per_buyer_day=1, per_merchant_day=5, per_day=10),
    effective_from=AT,
    priority=10,
)
matrix_rule = matrix.DecisionRule(
    **rule_content.model_dump(),
    rule_id="drl_1",
    version=2,
    made_at=AT,
    changed_at=AT,
    in_force_from=AT,
    withdrawn_at=DUE,
)

rate = issue_rate.IssueRate(
    merchant_id=MERCHANT_ID,
    orders=200,
    reported=14,
    counted=12,
    faults=9,
    status="sanctioned",
    statement=issue_rate.IssueStatement(text="12 of 200 orders were reported.", at=AT, cases=(CASE_ID,)),
    appeals=(
        issue_rate.Appeal(
            appeal_id="apl_1",
            message="The parcels were lost.",
            at=AT,
            cases=(CASE_ID,),
            outcome="upheld",
            answer="The carrier failed.",
            decided_at=DUE,
        ),
    ),
    pardoned=(CASE_ID,),
    forecast=issue_rate.IssueForecast(orders_to_recover=40, days=12),
    at=AT,
    version=7,
)

EXAMPLES: tuple[Message, ...] = (
    orders.PutMerchant(merchant_id=MERCHANT_ID, profile=profile, if_match=1, given=True, actor=PARTNER),
    orders.ReturnInfoAged(merchant_id=MERCHANT_ID, since=AT),
    orders.RegisterOrder(content=content, facts=(fact_content,), actor=PARTNER),
    orders.RecordFact(order_id=ORDER_ID, content=fact_content, if_match=1, actor=PARTNER),
    orders.SubmitReport(
        order_id=ORDER_ID,
        merchant_id=MERCHANT_ID,
        content=report_content,
        evidence=(EVIDENCE,),
        if_match=1,
        given=True,
        actor=BUYER,
    ),
    desk.ChangeDesk(
        merchant_id=MERCHANT_ID,
        list_name="absences",
        item_id="abs_1",
        content={"consultant_id": "con_1", "from": "2019-08-05", "to": "2019-08-16", "deputy_id": "con_2", "note": "Key: mat."},
        new=True,
        if_match=1,
        given=True,
        actor=PARTNER,
    ),
    orders.AskClaim(order_id=ORDER_ID, programme="claims", reason="chargeback", external_id="psp-1"),
    orders.DeclareInsolvency(merchant_id=MERCHANT_ID, actor=PLATFORM),
    orders.CheckInReached(order_id=ORDER_ID, due_at=AT),
    orders.MerchantChanged(
        merchant=orders.Merchant(**profile.model_dump(), merchant_id=MERCHANT_ID, created_by="partner", version=1),
        desk=a_desk,
        href=f"/v1/merchants/{MERCHANT_ID}/forms/frm_1",
    ),
    orders.OrderRegistered(order=order, facts=(fact,), standing=standing),
    orders.FactRecorded(order_id=ORDER_ID, fact=fact, standing=standing),
    orders.ReportAccepted(report=report, case_id=CASE_ID, policy_version=2, order=order, facts=(fact,), standing=standing),
    orders.CheckInAsked(order=order, standing=standing),
    orders.OrderChanged(order_id=ORDER_ID, case_id=CASE_ID, standing=standing),
    orders.CommandRefused(problem=problem),
    orders.CommandRepeated(href=f"/v1/orders/{ORDER_ID}", fact_id="fct_1"),
    cases.TakeAction(
        case_id=CASE_ID,
        action="answer",
        fields={"refund": "no"},
        evidence=(EVIDENCE,),
        if_match=1,
        labels=(status_label,),
        decided_by=rule,
        actor=MERCHANT,
    ),
    cases.PostMessage(case_id=CASE_ID, text="Hello", evidence=(EVIDENCE,), if_match=1, actor=BUYER),
    cases.DeadlineReached(case_id=CASE_ID, deadline_id="dln_1", generation=1, due_at=DUE, recorded_until=DUE),
    cases.ReminderReached(case_id=CASE_ID, deadline_id="dln_1", generation=1, remind_at=AT, recorded_until=DUE),
    cases.ConfirmExecution(case_id=CASE_ID, decision_id="command-1", reference="payment-1", at=AT),
    cases.ExtendDeadline(
        case_id=CASE_ID, deadline_id="dln_1", reason="outage", cause_id="outage-1", lost_from=AT, lost_until=DUE
    ),
    cases.CaseOpened.model_validate(
        _about_case(actor=BUYER, policy=policy, report=report, order=order, facts=(fact,), change=change)
    ),
    cases.CaseMoved.model_validate(
        _about_case(
            action="answer",
            kind_of_deadline="merchant_answer",
            rule="BP-11",
            decided_by=rule,
            fields={"refund": "yes", "message": "We refund you."},
            change=change,
            message=draft,
        )
    ),
    cases.MessagePosted.model_validate(_about_case(message=draft)),
    cases.FactAttached.model_validate(_about_case(fact=fact, change=change)),
    cases.ReminderGiven.model_validate(_about_case(actor=SYSTEM, deadline=deadline)),
    cases.NoticeRecorded.model_validate(_about_case(actor=SYSTEM, notice=proof, change=change)),
    cases.RefundExecuted.model_validate(
        _about_case(actor=SYSTEM, decision_id="command-1", amount=EUR_40, reference="payment-1", change=change)
    ),
    cases.DeadlineExtended.model_validate(_about_case(actor=SYSTEM, change=change)),
    rollouts.MakeRollout(rollout_id="rlo_1", content=rollout_content, actor=PLATFORM),
    rollouts.OptIn(rollout_id="rlo_1", merchant_id=MERCHANT_ID, since=AT, given=True, actor=MERCHANT),
    rollouts.AnnounceRollout(rollout_id="rlo_1", after=MERCHANT_ID),
    rollouts.TellOfRollouts(merchant_id=MERCHANT_ID),
    rollouts.RolloutMade(
        rollout=rollouts.KeptRollout(**dict(rollout_content), rollout_id="rlo_1", made_at=AT, announce_at=AT, announced_at=AT)
    ),
    rollouts.MerchantOptedIn(rollout_id="rlo_1", merchant_id=MERCHANT_ID, since=AT, at=AT),
    rollouts.RolloutAnnounced(rollout_id="rlo_1", at=AT),
    matrix.PutDecisionRule(rule_id="drl_1", content=rule_content, new=True, if_match=1, actor=PLATFORM),
    matrix.WithdrawDecisionRule(rule_id="drl_1", if_match=2, actor=PLATFORM),
    matrix.RunBackTest(back_test_id="bkt_1", rule=rule_content, rule_id="drl_1", since=AT, until=DUE, actor=PLATFORM),
    matrix.DecisionRuleChanged(rule=matrix_rule),
    matrix.BackTestPart(back_test_id="bkt_1", number=0, decisions=(matrix.TriedCase(case_id=CASE_ID, decision="refund"),)),
    matrix.BackTestDone(
        back_test_id="bkt_1",
        tried=cases.RuleRef(rule_id="drl_1", version=2),
        result=matrix.BackTestResult(cases=3, matched=2, decided=1, capped=1, costs=(EUR_40,), decisions_left_out=1),
        parts=1,
    ),
    issue_rate.AskIssueRate(merchant_id=MERCHANT_ID),
    issue_rate.AppealIssueRate(merchant_id=MERCHANT_ID, appeal_id="apl_1", message="The parcels were lost.", actor=MERCHANT),
    issue_rate.DecideAppeal(
        merchant_id=MERCHANT_ID, appeal_id="apl_1", outcome="upheld", message="The carrier failed.", actor=PLATFORM
    ),
    issue_rate.IssueRateChanged(rate=rate, before="appealed"),
    outages.RecordOutage(outage_id="out_1", lost_from=AT, lost_until=DUE, partition=3, after="2019-08-06T09:003:00"),
    outages.OutagesRecorded(
        number=7, outages=(outages.Outage(outage_id="out_1", lost_from=AT, lost_until=DUE),), complete_until=DUE
    ),
    notices.TellBuyer(
        order_id=ORDER_ID,
        order_number="A-1001",
        merchant_id=MERCHANT_ID,
        merchant_name="Shop One",
        email="buyer@mail.example",
        name="Kim Buyer",
        locale="en",
        event="insolvency",
        text="We are sorry.",
        others=(notices.OrderNamed(order_number="A-1002", merchant_name="Shop Two"),),
    ),
    notices.TellMerchant(
        merchant_id=MERCHANT_ID, notice="issue_rate", about={"status": "warning"}, to="ann@shop.example", locale="de"
    ),
    notices.SendLink(
        order_id=ORDER_ID,
        order_number="A-1001",
        merchant_id=MERCHANT_ID,
        merchant_name="Shop One",
        email="buyer@mail.example",
        name="Kim Buyer",
        locale="en",
    ),
    notices.NoticeBounced(order_id=ORDER_ID, notice_id=proof.notice_id, reply="bounced: 550 no such user", at=AT),
    notices.NoticeSent(order_id=ORDER_ID, case_id=CASE_ID, notice=proof),
    notices.NoticeDelayed(order_id=ORDER_ID, case_id=CASE_ID, notice=proof.model_copy(update={"state": "delayed"})),
    notices.NoticeFailed(order_id=ORDER_ID, case_id=CASE_ID, notice=proof.model_copy(update={"state": "failed"})),
    platform.ClockTick(generation=3, now=AT, round=1),
    platform.Progress(
        service="cases",
        instance="cases-1",
        generation=3,
        round=1,
        positions=(platform.PartitionPosition(topic="cases.commands", partition=0, position=12),),
        pending={"timers": 0},
        parked=1,
    ),
    platform.CommandSettled(command_id="command-1", status="done"),
)
