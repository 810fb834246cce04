"""The sandbox's clock: moved behind a barrier, by one gateway at a time, and what it causes is done when it answers (NX-05)."""

import asyncio
import uuid
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from chassis.barrier import BarrierResult
from contracts.base import parse_moment
from contracts.envelope import Record, decode
from contracts.platform import ClockTick
from services.gateway import sandbox
from services.gateway.problems import ProblemError
from services.gateway.sandbox import ClockState, SandboxControl
from services.gateway.store import wall_clock
from tests.component.gateway.platform import NOW, Platform


async def test_moving_the_clock_does_all_that_it_causes(platform: Platform) -> None:
    case, staff, buyer = await platform.reported()
    path = f"/v1/cases/{case['case_id']}"
    due = parse_moment(case["deadlines"][0]["due_at"])
    before = parse_moment((await platform.agent.get("/v1/sandbox/clock"))["now"])
    moved = await platform.agent.post("/v1/sandbox/clock", {"now": (due + timedelta(days=20)).isoformat()}, at=1)
    assert moved.status_code == 200, moved.text
    assert moved.json()["status"] == "ready"
    assert await platform.partner.get("/v1/sandbox/clock") == moved.json()
    seen = await buyer.get(path)
    assert (seen["state"], seen["turn"]) == ("under_review", "platform")
    history = (await buyer.get(f"{path}/history"))["items"]
    (silence,) = [entry for entry in history if entry["type"] == "case.moved"]
    assert parse_moment(silence["at"]) == due
    mails = (await staff.get("/v1/sandbox/mails", to="cases@shop.example", case_id=case["case_id"]))["items"]
    reminded = next(entry for entry in history if entry["type"] == "case.reminder-given")
    assert [(mail["kind"], parse_moment(mail["sent_at"])) for mail in mails] == [
        ("case_opened", before),
        ("reminder", parse_moment(reminded["at"])),
        ("progress", due),
    ]
    proofs = [entry["data"]["notice"] for entry in history if entry["type"] == "case.notice-recorded" and "data" in entry]
    assert {(proof["kind"], parse_moment(proof["at"])) for proof in proofs} == {("case_opened", before), ("progress", due)}
    wrong = await staff.ask("GET", "/v1/sandbox/mails?after=rubbish")
    assert wrong.status_code == 422


async def test_mails_are_a_list_as_every_other(platform: Platform) -> None:
    case, staff, buyer = await platform.reported()
    wanted: dict[str, Any] = {"to": "cases@shop.example", "case_id": case["case_id"]}
    for text in ("Where is it?", "Still nothing."):
        await buyer.made(f"/v1/cases/{case['case_id']}/messages", {"text": text})
    assert (await platform.agent.post("/v1/sandbox/clock", {"advance": "PT0S"})).status_code == 200
    mails = (await staff.get("/v1/sandbox/mails", **wanted))["items"]
    assert len(mails) > 1
    first = await staff.get("/v1/sandbox/mails", **wanted, limit=1)
    rest = await staff.get("/v1/sandbox/mails", **wanted, cursor=first["next"])
    assert (first["items"] + rest["items"], "next" in rest) == (mails, False)
    assert (await staff.get("/v1/sandbox/mails", **wanted, after=mails[0]["mail_id"]))["items"] == mails[1:]
    for wrong in ("after=rubbish", "cursor=rubbish", "limit=201", "limit=0"):
        refused = await staff.ask("GET", f"/v1/sandbox/mails?{wrong}")
        assert (refused.status_code, refused.json()["errors"][0]["parameter"]) == (422, wrong.partition("=")[0])


async def test_moves_at_the_same_time_come_one_after_the_other(platform: Platform) -> None:
    now = parse_moment((await platform.agent.get("/v1/sandbox/clock"))["now"])
    answers = await asyncio.gather(
        *(platform.agent.post("/v1/sandbox/clock", {"advance": "PT1H"}, at=number % 2) for number in range(4))
    )
    assert [answer.status_code for answer in answers] == [200] * 4
    after = parse_moment((await platform.agent.get("/v1/sandbox/clock", at=1))["now"])
    assert after == now + timedelta(hours=4)


async def test_a_move_is_made_once_by_its_key(platform: Platform) -> None:
    now = parse_moment((await platform.agent.get("/v1/sandbox/clock"))["now"])
    for at in (0, 1):
        moved = await platform.partner.post("/v1/sandbox/clock", {"advance": "PT1H"}, at=at, Idempotency_Key=f"move {now}")
        assert moved.status_code == 200, moved.text
    assert parse_moment((await platform.agent.get("/v1/sandbox/clock"))["now"]) == now + timedelta(hours=1)


async def test_a_move_that_was_left_behind_is_brought_to_its_end(platform: Platform) -> None:
    documents = platform.running.database("gateway")["sandbox"]
    kept = await documents.find_one({"_id": "clock"})
    assert kept is not None
    left = {"ready": False, "generation": kept["generation"] + 1, "owner": "a gateway that died", "command_id": "its own"}
    await documents.update_one({"_id": "clock"}, {"$set": left})
    assert (await platform.agent.get("/v1/sandbox/clock"))["status"] == "advancing"
    for _ in range(200):
        if (await platform.agent.get("/v1/sandbox/clock"))["status"] == "ready":
            break
        await asyncio.sleep(0.1)
    else:
        raise AssertionError("nobody brought it to its end")


async def test_a_link_moves_no_clock(platform: Platform) -> None:
    _, staff, buyer = await platform.reported()
    assert (await buyer.post("/v1/sandbox/clock", {"advance": "PT1H"})).status_code == 403
    assert (await platform.nobody.post("/v1/sandbox/clock", {"advance": "PT1H"})).status_code == 401
    bounce = await staff.post("/v1/sandbox/bounces", {"email": "nobody@bounce.example"})
    assert (bounce.status_code, bounce.json()) == (201, {"email": "nobody@bounce.example"})


class Asked:
    """Stands for the barrier and for the publisher: keeps the ticks of one gateway, which is answered once it may go on."""

    def __init__(self) -> None:
        self.ticks: list[ClockTick] = []
        self.asking = asyncio.Event()
        self.answered = asyncio.Event()
        self.in_the_way: tuple[str, ...] = ()

    async def publish(self, records: Sequence[tuple[str, Record]]) -> None:
        for message in (decode(record.value, record.headers).message for _, record in records):
            assert isinstance(message, ClockTick)
            self.ticks.append(message)

    async def settle(self, tick: ClockTick, timeout_s: float) -> BarrierResult:
        self.asking.set()
        await self.answered.wait()
        return BarrierResult(not self.in_the_way, self.in_the_way, 0)


@pytest.mark.rule("NX-05")
async def test_a_move_that_was_not_done_in_time_is_made_once_whatever_moves_come_before_it_is_asked_for_again(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox, "_RENEW_S", 0.01)
    database = platform.running.database(uuid.uuid4().hex[:8])
    asked = Asked()
    asked.answered.set()
    impatient = SandboxControl(database, asked, asked, wait_s=0.0)  # type: ignore[arg-type]
    patient = SandboxControl(database, asked, asked)  # type: ignore[arg-type]
    await impatient.start(NOW)
    asked.in_the_way = ("cases: 3 records",)
    with pytest.raises(ProblemError) as late:
        await impatient.move(lambda now: now + timedelta(days=1), "the first")
    assert late.value.problem.status == 503
    asked.in_the_way = ()
    looking = asyncio.create_task(patient.look_after())
    for number in range(3):
        await patient.move(lambda now: now + timedelta(hours=1), f"another {number}")
    looking.cancel()
    for command_id in ("the first", "another 0", "another 2"):
        again = await patient.move(lambda now: now + timedelta(days=1), command_id)
        assert again == ClockState(NOW + timedelta(days=1, hours=3), ready=True)


@pytest.mark.parametrize("notices", ["when it renews its lease", "when it goes on"])
async def test_who_stood_still_for_too_long_leaves_the_move_to_who_took_it_over(
    platform: Platform, monkeypatch: pytest.MonkeyPatch, notices: str
) -> None:
    monkeypatch.setattr(sandbox, "_RENEW_S", 0.2 if notices == "when it renews its lease" else 60.0)
    database = platform.running.database(uuid.uuid4().hex[:8])
    stalled, quick = Asked(), Asked()
    one = SandboxControl(database, stalled, stalled)  # type: ignore[arg-type]
    other = SandboxControl(database, quick, quick, real_time=lambda: wall_clock() + timedelta(hours=1))  # type: ignore[arg-type]
    await one.start(NOW)
    moving = asyncio.create_task(one.move(lambda now: now + timedelta(days=1), "the move"))
    await stalled.asking.wait()
    quick.answered.set()
    done = await other.move(lambda now: now, "the move")
    if notices == "when it goes on":
        stalled.answered.set()
    assert await asyncio.wait_for(moving, 30) == done == ClockState(NOW + timedelta(days=1), ready=True)
    assert {tick.now for tick in stalled.ticks} == {NOW}, "it has not moved time on beside the other"
    assert [tick.now for tick in quick.ticks] == [NOW, NOW + timedelta(days=1)]
