"""Who is told: the same in previews and in the mails that are sent."""

import pytest

from engine.notices import told_of
from services.notifications.letters import notices_for
from tests.unit.engine import test_buyer_protection, test_claims, test_order_issues, test_returns_desk
from tests.unit.engine.playing import LABELS, Play, euros
from tests.unit.engine.rows import Row

ROWS = {
    f"{row.programme}: {name}": row
    for module in (test_buyer_protection, test_order_issues, test_returns_desk, test_claims)
    for name, (_, row) in module.ROWS.items()
}


def mailed_now(play: Play) -> set[tuple[str, str]]:
    return {(mail.party, mail.kind) for mail in notices_for(play.events[-1], play.file, lead="lead@platform.example")}


def kinds(play: Play) -> set[tuple[str, str]]:
    return {(told.party, told.kind) for told in told_of(play.events[-1])}


@pytest.mark.rule("NX-04")
@pytest.mark.parametrize("row", [pytest.param(row, id=name) for name, row in ROWS.items()])
def test_mails_go_to_whom_the_preview_says(row: Row) -> None:
    play = Play(country=row.country, labels=LABELS)
    play.report(row.reason, row.programme, **row.report)
    mailed = [mailed_now(play)]
    previewed = [kinds(play)]
    for step in row.steps:
        step(play)
        mailed.append(mailed_now(play))
        previewed.append(kinds(play))
    assert mailed == previewed
    assert mailed[0] >= {("buyer", "case_opened")} or row.programme == "claims"


@pytest.mark.rule("BP-09", "BP-13", "BP-19", "BP-21")
def test_who_is_told_what() -> None:
    play = Play()
    play.report()
    assert kinds(play) == {("merchant", "case_opened"), ("buyer", "case_opened")}
    play.write("buyer")
    assert kinds(play) == {("merchant", "message")}
    play.act("platform", "note", text="Watch this")
    assert kinds(play) == set()
    play.remind(play.deadline("merchant_answer"), play.deadline("merchant_answer").remind_at[0])
    assert kinds(play) == {("merchant", "reminder")}
    play.act("merchant", "answer", refund="no", message="It comes")
    assert kinds(play) == {("buyer", "answer")}
    play.act("buyer", "react", reaction="disagree")
    assert kinds(play) == {("merchant", "progress")}
    play.act("platform", "request_evidence", party="merchant", message="Proof?")
    assert kinds(play) == {("merchant", "evidence_requested"), ("buyer", "progress")}
    play.wake()
    assert kinds(play) == {("merchant", "progress"), ("buyer", "progress")}
    play.act("platform", "propose", message="Half", refund_amount=euros(50))
    assert kinds(play) == {("merchant", "proposal"), ("buyer", "proposal")}
    play.act("buyer", "accept_proposal")
    assert kinds(play) == {("merchant", "progress")}
    play.act("platform", "decide", outcome="refund", message="All")
    assert kinds(play) == {("merchant", "decision"), ("buyer", "decision")}
    play.act("platform", "reopen", message="Sorry")
    assert kinds(play) == {("merchant", "case_reopened"), ("buyer", "case_reopened")}
    play.wake()
    assert kinds(play) == {("platform", "reminder")}
    assert notices_for(play.events[-1], play.file) == [], "who leads its team has no mailbox unless one is named"
