"""Every row of every transition table of the four programmes, and of a fifth that only exists in a test."""

from tests.e2e.rows import MESSAGE, Row, act, evidence, fact, in_days, money, pay, report, silence, wait

__all__ = ["ROWS"]

M = {"message": MESSAGE}
YES = act("merchant", "answer", refund="yes", **M)
PARTIAL = act("merchant", "answer", refund="yes", refund_amount=money("30.00"), **M)
NO = act("merchant", "answer", refund="no", **M)
RETURN = act("merchant", "answer", refund="yes_after_return", **M)
NOT_RECEIVED = report("not_received")
OTHER = report("other")


def bp(rule: str, what: str, *steps: object, **row: object) -> Row:
    return Row("buyer-protection", tuple(rule.split()), what, steps, **row)  # type: ignore[arg-type]


BUYER_PROTECTION = [
    *(
        bp("BP-07 BP-18", f"{reason} goes to the merchant", report(reason), state="submitted", turn="merchant",
           due={"merchant": "P5D"}, protection="active")
        for reason in ("not_received", "no_refund")
    ),
    bp("BP-07", "other goes to the platform", OTHER, state="under_review", turn="platform", due={"platform": "P7D"}),
    bp("BP-11 BP-13", "answer yes", NOT_RECEIVED, YES, state="awaiting_buyer", turn="buyer", money=("80.00", "0.00"),
       due={"buyer": "P20D"}),
    bp("BP-12", "answer yes, a part", NOT_RECEIVED, PARTIAL, state="awaiting_buyer", turn="buyer", money=("30.00", "0.00"),
       due={"buyer": "P20D"}),
    bp("BP-27", "answer yes after return", NOT_RECEIVED, RETURN, state="awaiting_return", turn="buyer",
       money=("80.00", "0.00"), due={"buyer": "P20D"}),
    bp("BP-16", "answer no", NOT_RECEIVED, NO, state="awaiting_buyer", turn="buyer", due={"buyer": "P20D"}),
    bp("BP-18", "the merchant's silence", NOT_RECEIVED, silence("merchant"), state="under_review", turn="platform",
       due={"platform": "P7D"}, history="silence"),
    bp("BP-27", "goods sent back", NOT_RECEIVED, RETURN, wait("P2D"),
       act("buyer", "return_sent", tracking_code="T-1", carrier="DHL"),
       state="awaiting_return", turn="merchant", money=("80.00", "0.00"), due={"merchant": "P14D"}),
    bp("BP-27 CP-06", "a fact shows the goods went back", NOT_RECEIVED, RETURN, wait("P2D"), fact("returned"), wait("PT0S"),
       state="awaiting_return", turn="merchant", money=("80.00", "0.00"), due={"merchant": "P14D"}),
    bp("BP-27", "the return is confirmed", NOT_RECEIVED, RETURN, act("buyer", "return_sent"), wait("P2D"),
       act("merchant", "confirm_return"), state="awaiting_buyer", turn="buyer", money=("80.00", "0.00"),
       due={"buyer": "P20D"}),
    bp("BP-27 BP-17", "nothing is sent back", NOT_RECEIVED, RETURN, silence("buyer"), state="resolved",
       outcome="no_reaction", history="silence"),
    bp("BP-27 BP-18", "the return is not confirmed", NOT_RECEIVED, RETURN, act("buyer", "return_sent"), silence("merchant"),
       state="under_review", turn="platform", money=("80.00", "0.00"), history="silence"),
    bp("BP-27 BP-14", "refunded before anything was sent", NOT_RECEIVED, RETURN, act("buyer", "react", reaction="received"),
       state="resolved", outcome="refunded", money=("0.00", "80.00"), protection="ended"),
    bp("BP-27 BP-14", "not refunded after the return", NOT_RECEIVED, RETURN, act("buyer", "react", reaction="not_received"),
       state="under_review", turn="platform", money=("80.00", "0.00")),
    bp("BP-14 BP-26", "full refund received", NOT_RECEIVED, YES, act("buyer", "react", reaction="received"),
       state="resolved", outcome="refunded", money=("0.00", "80.00"), protection="ended"),
    bp("BP-14", "full refund not received", NOT_RECEIVED, YES, act("buyer", "react", reaction="not_received"),
       state="under_review", turn="platform", money=("80.00", "0.00")),
    bp("BP-15", "partial refund received", NOT_RECEIVED, PARTIAL, act("buyer", "react", reaction="received"),
       state="resolved", outcome="partially_refunded", money=("0.00", "30.00"), protection="active"),
    bp("BP-15", "partial refund not received", NOT_RECEIVED, PARTIAL, act("buyer", "react", reaction="not_received"),
       state="under_review", turn="platform", money=("30.00", "0.00")),
    bp("BP-15", "partial refund disagreed with", NOT_RECEIVED, PARTIAL, act("buyer", "react", reaction="disagree"),
       state="under_review", turn="platform", money=("30.00", "0.00")),
    bp("BP-16", "no refund disagreed with", NOT_RECEIVED, NO, act("buyer", "react", reaction="disagree"),
       state="under_review", turn="platform"),
    bp("BP-16 BP-26", "no refund accepted", NOT_RECEIVED, NO, act("buyer", "react", reaction="accept"),
       state="resolved", outcome="no_refund_accepted", protection="ended"),
    bp("BP-17", "the buyer's silence after a full refund", NOT_RECEIVED, YES, silence("buyer"), state="resolved",
       outcome="no_reaction", money=("0.00", "80.00"), history="silence"),
    bp("BP-17", "the buyer's silence after a partial refund", NOT_RECEIVED, PARTIAL, silence("buyer"), state="resolved",
       outcome="no_reaction", money=("0.00", "30.00")),
    bp("BP-17", "the buyer's silence after no refund", NOT_RECEIVED, NO, silence("buyer"), state="resolved",
       outcome="no_reaction"),
    bp("BP-18", "a silent merchant's first answer under review", NOT_RECEIVED, silence("merchant"), NO,
       state="awaiting_buyer", turn="buyer", due={"buyer": "P20D"}),
    bp("BP-18 BP-27", "first answer under review, after return", OTHER, RETURN, state="awaiting_return", turn="buyer",
       money=("80.00", "0.00"), due={"buyer": "P20D"}),
    bp("BP-18", "first answer under review, yes", OTHER, YES, state="awaiting_buyer", turn="buyer", money=("80.00", "0.00")),
    bp("BP-19", "the merchant is asked for evidence", OTHER,
       act("platform", "request_evidence", party="merchant", **M), state="awaiting_evidence", turn="merchant",
       due={"merchant": "P7D"}),
    bp("BP-19", "the buyer is asked for evidence, by a date", OTHER,
       act("platform", "request_evidence", party="buyer", due_in="P3D", **M), state="awaiting_evidence", turn="buyer",
       due={"buyer": "P3D"}),
    bp("BP-19", "evidence is provided", OTHER, act("platform", "request_evidence", party="buyer", **M),
       act("buyer", "provide_evidence", evidence=evidence("buyer"), **M), state="under_review", turn="platform"),
    bp("BP-19", "evidence is not provided", OTHER, act("platform", "request_evidence", party="buyer", **M), silence("buyer"),
       state="under_review", turn="platform", history="silence"),
    bp("BP-19", "a proposal", OTHER, act("platform", "propose", refund_amount=money("40.00"), **M), state="under_review",
       turn="platform", due={"platform": "P7D", "buyer": "P7D", "merchant": "P7D"}),
    bp("BP-19", "one accepts a proposal", OTHER, act("platform", "propose", refund_amount=money("40.00"), **M),
       act("merchant", "accept_proposal"), state="under_review", turn="platform", money=("0.00", "0.00")),
    bp("BP-19 NX-06", "both accept a proposal", OTHER, act("platform", "propose", refund_amount=money("40.00"), **M),
       act("buyer", "accept_proposal"), act("merchant", "accept_proposal"), pay, state="resolved", outcome="settled",
       money=("0.00", "40.00")),
    bp("BP-19", "one declines a proposal", OTHER, act("platform", "propose", refund_amount=money("40.00"), **M),
       act("buyer", "accept_proposal"), act("merchant", "decline_proposal", **M), state="under_review", turn="platform",
       shows={"proposal": None}),
    bp("BP-19", "silence ends a proposal, and reminds the platform", OTHER,
       act("platform", "propose", refund_amount=money("40.00"), **M), act("buyer", "accept_proposal"), silence(),
       state="under_review", turn="platform", shows={"proposal": None}),
    bp("BP-19", "the platform's own target reminds a lead, no more", OTHER, silence("platform"), state="under_review",
       turn="platform"),
    bp("BP-19 NX-06", "decided: refund", OTHER, act("platform", "decide", outcome="refund", **M), pay, state="resolved",
       outcome="decided_refund", money=("0.00", "80.00")),
    bp("BP-19 NX-06", "decided: a part, which replaces what was promised", NOT_RECEIVED, PARTIAL,
       act("buyer", "react", reaction="disagree"),
       act("platform", "decide", outcome="partial_refund", refund_amount=money("50.00"), **M), pay, state="resolved",
       outcome="decided_partial_refund", money=("0.00", "50.00")),
    bp("BP-19", "decided: no refund", NOT_RECEIVED, PARTIAL, act("buyer", "react", reaction="disagree"),
       act("platform", "decide", outcome="no_refund", **M), state="rejected", outcome="decided_no_refund"),
    bp("BP-19", "taken over before the answer", NOT_RECEIVED, act("platform", "take_over"), state="under_review",
       turn="platform"),
    bp("BP-19", "taken over under review", OTHER, act("platform", "take_over"), state="under_review", turn="platform"),
    bp("BP-19", "reopened within 30 days", NOT_RECEIVED, NO, act("buyer", "react", reaction="accept"), wait("P29D"),
       act("platform", "reopen", **M), state="under_review", turn="platform", protection="ended"),
    bp("BP-06", "withdrawn: promised money is released", NOT_RECEIVED, YES, act("buyer", "withdraw"), state="resolved",
       outcome="withdrawn"),
    bp("BP-21", "a remark changes nothing", NOT_RECEIVED, act("merchant", "note", text=MESSAGE),
       act("platform", "note", text=MESSAGE), state="submitted", turn="merchant"),
]  # fmt: skip

DAMAGED = report("damaged")
LATE = report("late")
REFUND = act("merchant", "refund")
PART_BACK = act("merchant", "refund", refund_amount=money("20.00"), **M)
REPLACE = act("merchant", "replace", return_instructions="Keep it.", tracking_code="T-9", **M)


def oi(rule: str, what: str, *steps: object, **row: object) -> Row:
    return Row("order-issues", tuple(rule.split()), what, steps, **row)  # type: ignore[arg-type]


ORDER_ISSUES = [
    *(
        oi("OI-01 OI-02 OI-09", f"{reason} goes to the brand", report(reason), state="submitted", turn="merchant",
           due={"merchant": "P5D"}, shows={"label": "Submitted"})
        for reason in ("damaged", "defective", "missing_items", "wrong_goods")
    ),
    *(
        oi("OI-02 OI-07", f"{reason} goes to the platform", report(reason), state="under_review", turn="platform",
           shows={"label": "Handled by the platform"})
        for reason in ("late", "invoice_wrong", "other")
    ),
    oi("OI-09", "started: the deadline stays", DAMAGED, wait("P2D"), act("merchant", "start"), state="in_progress",
       turn="merchant", due={"merchant": "P3D"}, shows={"label": "In progress"}),
    oi("OI-05", "contacted: the deadline begins anew", DAMAGED, wait("P2D"), act("merchant", "contact", **M),
       state="in_progress", turn="merchant", due={"merchant": "P5D"}),
    oi("OI-05", "started, then contacted", DAMAGED, act("merchant", "start"), wait("P2D"), act("merchant", "contact", **M),
       state="in_progress", turn="merchant", due={"merchant": "P5D"}),
    oi("OI-05", "a replacement", DAMAGED, REPLACE, state="awaiting_buyer", turn="buyer", due={"buyer": "P14D"}),
    oi("OI-05", "a replacement after a chat", DAMAGED, act("merchant", "contact", **M), REPLACE, state="awaiting_buyer",
       turn="buyer", due={"buyer": "P14D"}),
    oi("OI-05 NX-06", "one-click refund, executed by the platform", DAMAGED, REFUND, pay, state="awaiting_buyer", turn="buyer",
       money=("0.00", "80.00"), due={"buyer": "P14D"}),
    oi("OI-05 NX-06", "a partial refund", DAMAGED, act("merchant", "start"), PART_BACK, pay, state="awaiting_buyer",
       turn="buyer", money=("0.00", "20.00")),
    oi("OI-10", "the brand's silence", DAMAGED, silence("merchant"), state="under_review", turn="platform", history="silence",
       shows={"label": "Platform reviews"}),
    oi("OI-10", "the brand's silence after it began", DAMAGED, act("merchant", "start"), silence("merchant"),
       state="under_review", turn="platform", history="silence"),
    oi("OI-06", "resolved: replaced", DAMAGED, REPLACE, act("buyer", "resolve"), state="resolved", outcome="replaced",
       shows={"label": "Resolved"}),
    oi("OI-06", "resolved: refunded", DAMAGED, REFUND, act("buyer", "resolve"), pay, state="resolved", outcome="refunded",
       money=("0.00", "80.00")),
    oi("OI-06", "resolved: refunded in part", DAMAGED, PART_BACK, act("buyer", "resolve"), pay, state="resolved",
       outcome="partially_refunded", money=("0.00", "20.00")),
    oi("OI-06", "resolved: satisfied by the chat", DAMAGED, act("merchant", "contact", **M), act("buyer", "resolve"),
       state="resolved", outcome="satisfied"),
    oi("OI-10", "the retailer disagrees", DAMAGED, REPLACE, act("buyer", "disagree", **M), state="under_review",
       turn="platform"),
    oi("OI-06", "silence after a replacement", DAMAGED, REPLACE, silence("buyer"), state="resolved", outcome="replaced",
       history="silence"),
    oi("OI-06", "silence after a refund", DAMAGED, REFUND, silence("buyer"), state="resolved", outcome="refunded",
       money=("0.00", "80.00"), history="silence"),
    oi("OI-06", "silence after a partial refund", DAMAGED, PART_BACK, silence("buyer"), state="resolved",
       outcome="partially_refunded", money=("0.00", "20.00"), history="silence"),
    oi("OI-07 OI-08", "solved by the platform: the order is completed", LATE, act("platform", "solve", **M), state="resolved",
       outcome="solved"),
    oi("OI-10 NX-06", "solved with a full refund", LATE, act("platform", "solve", refund_amount=money("80.00"), **M), pay,
       state="resolved", outcome="refunded", money=("0.00", "80.00")),
    oi("OI-10 NX-06", "solved with a part", LATE, act("platform", "solve", refund_amount=money("10.00"), **M), pay,
       state="resolved", outcome="partially_refunded", money=("0.00", "10.00")),
    oi("OI-09", "only the platform rejects", LATE, act("platform", "reject", **M), state="rejected", outcome="rejected",
       shows={"label": "Rejected"}),
    oi("OI-10", "taken over", DAMAGED, act("platform", "take_over"), state="under_review", turn="platform"),
    oi("OI-10", "taken over under review", LATE, act("platform", "take_over"), state="under_review", turn="platform"),
    oi("OI-01", "withdrawn by the retailer", DAMAGED, act("buyer", "withdraw"), state="resolved", outcome="withdrawn"),
    oi("OI-10", "reopened", LATE, act("platform", "reject", **M), act("platform", "reopen", **M), state="under_review",
       turn="platform"),
    oi("OI-10", "remarks change nothing", DAMAGED, act("merchant", "note", text=MESSAGE),
       act("platform", "note", text=MESSAGE), state="submitted", turn="merchant"),
]  # fmt: skip

COMPLAINT = report("complaint")
MISSING = report("missing_item")


def rd(rule: str, what: str, *steps: object, **row: object) -> Row:
    return Row("returns-desk", tuple(rule.split()), what, steps, **row)  # type: ignore[arg-type]


RETURNS_DESK = [
    *(
        rd("RD-01", f"{reason} goes to the seller", report(reason), state="submitted", turn="merchant", due={"merchant": due})
        for reason, due in (("complaint", "P14D"), ("withdrawal", "P14D"), ("missing_item", "P5D"), ("other", "P5D"))
    ),
    rd("RD-06", "started", COMPLAINT, wait("P2D"), act("merchant", "start"), state="in_progress", turn="merchant",
       due={"merchant": "P12D"}),
    rd("RD-06", "own label in progress", COMPLAINT, act("merchant", "set_status", status="in_repair"), state="in_progress",
       turn="merchant", due={"merchant": "P14D"}, shows={"label": "In repair"}),
    rd("RD-06", "own label waiting for the customer", COMPLAINT, act("merchant", "set_status", status="parcel_awaited"),
       state="awaiting_buyer", turn="buyer", shows={"label": "We wait for your parcel"}),
    rd("RD-06", "own label back to the beginning", COMPLAINT, act("merchant", "set_status", status="in_repair"),
       act("merchant", "set_status", status="queued"), state="submitted", turn="merchant", shows={"label": "In our queue"}),
    rd("RD-06 RD-07", "informed", COMPLAINT, act("merchant", "inform", evidence=evidence("merchant"), **M),
       state="submitted", turn="merchant", due={"merchant": "P14D"}),
    rd("RD-06", "accepted: all is refunded", COMPLAINT, act("merchant", "accept", resolution="refund", **M),
       state="resolved", outcome="accepted", money=("80.00", "0.00")),
    rd("RD-06 CP-06 NX-06", "accepted: a fact shows that it was refunded", COMPLAINT,
       act("merchant", "accept", resolution="refund", refund_amount=money("25.00"), **M),
       fact("refunded", amount=money("25.00")), wait("PT0S"), state="resolved", outcome="accepted", money=("0.00", "25.00")),
    *(
        rd("RD-06", f"accepted: {resolution}", MISSING, act("merchant", "accept", resolution=resolution, **M),
           state="resolved", outcome="accepted")
        for resolution in ("replacement", "repair", "resend", "other")
    ),
    rd("RD-06", "accepted in another way, with money", MISSING,
       act("merchant", "accept", resolution="other", refund_amount=money("5.00"), **M),
       state="resolved", outcome="accepted", money=("5.00", "0.00")),
    rd("RD-06", "rejected by the seller", COMPLAINT, act("merchant", "reject", **M), state="rejected", outcome="rejected"),
    rd("RD-06", "silence on a complaint in Poland: accepted by law", COMPLAINT, silence("merchant"), shop="PL",
       state="resolved", outcome="accepted", history="silence"),
    rd("RD-06", "another law's term", COMPLAINT, shop="CZ", state="submitted", turn="merchant", due={"merchant": "P30D"}),
    rd("RD-06", "silence in Poland on a withdrawal", report("withdrawal"), silence("merchant"), shop="PL", state="submitted",
       turn="merchant", due={"merchant": "P14D"}),
    rd("RD-06", "the seller's silence tells its lead", MISSING, silence("merchant"), state="submitted", turn="merchant",
       due={"merchant": "P5D"}),
    rd("RD-06", "a second silence: the platform", MISSING, silence("merchant"), silence("merchant"), state="under_review",
       turn="platform", history="silence"),
    rd("RD-06", "silence while it waits for the customer", MISSING,
       act("merchant", "set_status", status="parcel_awaited"), silence("merchant"), silence("merchant"),
       state="under_review", turn="platform"),
    rd("RD-06", "solved by the platform", MISSING, act("platform", "take_over"), act("platform", "solve", **M),
       state="resolved", outcome="solved"),
    rd("RD-06 NX-06", "solved with all of the money", MISSING, act("platform", "take_over"),
       act("platform", "solve", refund_amount=money("80.00"), **M), pay, state="resolved", outcome="refunded",
       money=("0.00", "80.00")),
    rd("RD-06 NX-06", "solved with a part", MISSING, act("platform", "take_over"),
       act("platform", "solve", refund_amount=money("8.00"), **M), pay, state="resolved", outcome="partially_refunded",
       money=("0.00", "8.00")),
    rd("RD-06", "rejected by the platform", MISSING, act("platform", "take_over"), act("platform", "reject", **M),
       state="rejected", outcome="rejected"),
    rd("RD-06", "taken over under review", MISSING, act("platform", "take_over"), act("platform", "take_over"),
       state="under_review", turn="platform"),
    rd("RD-05", "withdrawn by the customer", MISSING, act("buyer", "withdraw"), state="resolved", outcome="withdrawn"),
    rd("RD-05", "reopened", COMPLAINT, act("merchant", "reject", **M), act("platform", "reopen", **M), state="under_review",
       turn="platform"),
    rd("RD-06", "a remark changes nothing", COMPLAINT, act("merchant", "note", text=MESSAGE), state="submitted",
       turn="merchant"),
]  # fmt: skip

CHARGEBACK = report("chargeback", "partner", external_id=lambda case: f"psp-{case.order['order_id'][4:20]}",
                    answer_by=in_days(9), amount=money("60.00"))  # fmt: skip
DEFEND = act("merchant", "defend", evidence=evidence("merchant", "invoice"), **M)


def cp(what: str, *steps: object, rules: str = "CP-03", **row: object) -> Row:
    return Row("claims", tuple(rules.split()), what, steps, **row)  # type: ignore[arg-type]


CLAIMS = [
    cp("a chargeback comes in with its date", CHARGEBACK, state="submitted", turn="merchant", due={"merchant": "P9D"},
       shows={"amount": money("60.00")}),
    cp("a marketplace's claim without a date", report("marketplace_guarantee", "partner", external_id="a-z-1"),
       state="submitted", turn="merchant", due={"merchant": "P7D"}),
    cp("reported by the platform", report("chargeback", "platform"), state="submitted", turn="merchant",
       due={"merchant": "P7D"}),
    cp("defended: with the provider, nobody's turn", CHARGEBACK, DEFEND, state="under_review", due={}),
    cp("accepted: the provider pays", CHARGEBACK, act("merchant", "accept_claim"), rules="CP-03 NX-06", state="resolved",
       outcome="accepted", money=("0.00", "60.00")),
    cp("silence: with the provider, unanswered", CHARGEBACK, silence("merchant"), state="under_review", due={},
       shows={"unanswered": True}, history="silence"),
    cp("won after a defence", CHARGEBACK, DEFEND, act("partner", "record_outcome", outcome="won"), state="resolved",
       outcome="won"),
    cp("lost after a defence", CHARGEBACK, DEFEND, act("partner", "record_outcome", outcome="lost"), rules="CP-03 NX-06",
       state="resolved", outcome="lost", money=("0.00", "60.00")),
    cp("lost unanswered", CHARGEBACK, silence("merchant"), act("platform", "record_outcome", outcome="lost"),
       state="resolved", outcome="lost", money=("0.00", "60.00")),
    cp("won before the merchant answered", CHARGEBACK, act("platform", "record_outcome", outcome="won"), state="resolved",
       outcome="won"),
    cp("lost for the whole order", report("chargeback", "partner"), act("partner", "record_outcome", outcome="lost"),
       state="resolved", outcome="lost", money=("0.00", "80.00")),
    cp("lost, then won: what flowed has come back", CHARGEBACK, act("partner", "record_outcome", outcome="lost"),
       act("platform", "reopen", **M), act("partner", "record_outcome", outcome="won"), rules="CP-03 NX-06",
       state="resolved", outcome="won"),
    cp("taken over", CHARGEBACK, act("platform", "take_over"), state="under_review", turn="platform"),
    cp("withdrawn by the buyer", CHARGEBACK, act("buyer", "withdraw"), state="resolved", outcome="withdrawn"),
    cp("lost although the buyer took it back", CHARGEBACK, act("buyer", "withdraw"),
       act("partner", "record_outcome", outcome="lost"), rules="CP-03 NX-06", state="resolved", outcome="withdrawn",
       money=("0.00", "60.00")),
    cp("reopened", CHARGEBACK, act("merchant", "accept_claim"), act("platform", "reopen", **M), state="under_review",
       money=("0.00", "60.00")),
    cp("a remark changes nothing", CHARGEBACK, act("merchant", "note", text=MESSAGE), state="submitted", turn="merchant"),
]  # fmt: skip

ROWS = [*BUYER_PROTECTION, *ORDER_ISSUES, *RETURNS_DESK, *CLAIMS]
