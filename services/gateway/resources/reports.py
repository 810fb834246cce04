"""Reports: what a buyer submits, or a partner or agent for it (BP-07, 08)."""

from dataclasses import dataclass
from typing import Annotated

from litestar import Response, post
from litestar.params import FromPath
from pydantic import Field

from contracts.ids import order_of
from contracts.orders import CommandRepeated, ReportContent, SubmitReport
from contracts.problems import Problem
from contracts.topics import INTAKE_COMMANDS
from services.gateway.answers import Answer, answer
from services.gateway.context import Caller, Gateway, TheGateway
from services.gateway.documented import CONDITIONAL, documented
from services.gateway.principals import Principal
from services.gateway.problems import ProblemError
from services.gateway.projector import Body
from services.gateway.representations import order_shown, standing_version
from services.gateway.requests import AnyRequest, Preference, if_match, json_body, known_id, parsed, preference
from services.gateway.shown.orders import AcceptedReport

__all__ = ["ReportRequest", "Reported", "report", "reported", "routes", "submit"]

EvidenceIds = Annotated[tuple[Annotated[str, Field(max_length=100)], ...], Field(max_length=50)]


class ReportRequest(ReportContent):
    """A report with the ids of what was uploaded for it."""

    evidence: EvidenceIds = ()


@post(
    "/v1/orders/{order_id:str}/reports",
    operation_id="submitReport",
    summary="Report a problem on an order, or that all went well",
    opt=documented(
        body=ReportRequest,
        headers=CONDITIONAL,
        answers={
            201: "The report, and its order.",
            200: "The same, where this claim was reported before.",
            409: "report-refused, with `refusal`",
            412: "version-mismatch: of the order",
        },
        gives=AcceptedReport,
        late=True,
    ),
)
async def submit_report(
    request: AnyRequest, gateway: TheGateway, principal: Caller, order_id: FromPath[str]
) -> Response[bytes]:
    """By the buyer's link, or by the partner or the platform in the buyer's name. The order is shown with its case open; who
    reads either of them afterwards, by whichever gateway, sees at least that. A rule of the decision matrix decides the case
    after it has opened (CP-07): it may be closed already when it is read."""
    raw = await json_body(request)
    known_id("ord", order_id, "order")

    async def work(command_id: str) -> Answer:
        return await submit(request, gateway, principal, order_id, parsed(ReportRequest, raw), command_id)

    return await gateway.once(request, principal, raw, work)


async def submit(
    request: AnyRequest, gateway: Gateway, principal: Principal, order_id: str, wanted: ReportRequest, command_id: str
) -> Answer:
    """Have a report accepted or refused, and answer when its case is open."""
    done = await report(request, gateway, principal, order_id, wanted, command_id)
    shown = {
        "report_id": done.report_id,
        **({"case_id": done.case_id} if done.case_id is not None else {}),
        "order": order_shown(done.body, gateway.reader(request, principal, done.body["order"])),
    }
    return answer(200 if done.repeated else 201, shown, Location=done.href)


@dataclass(frozen=True, slots=True)
class Reported:
    """An accepted report, or one that was accepted before; `body` is the read document of its order."""

    report_id: str | None
    case_id: str | None
    href: str
    repeated: bool
    body: Body


async def report(
    request: AnyRequest, gateway: Gateway, principal: Principal, order_id: str, wanted: ReportRequest, command_id: str
) -> Reported:
    """Have a report accepted or refused; there when its case is open. Raises the problem of a refusal."""
    body = await gateway.order(principal, order_id)
    if principal.role == "merchant":
        raise ProblemError(Problem.forbidden("A merchant does not report on its own orders."))
    if principal.is_guest:
        raise ProblemError(Problem.forbidden("This link is for its one case; report through the shop's form."))
    gateway.require_acting(principal, body)
    evidence = await gateway.evidence(principal, order_id, wanted.evidence)
    command = SubmitReport(
        order_id=order_id,
        merchant_id=body["order"]["merchant_id"],
        content=wanted,
        evidence=evidence,
        if_match=standing_version(body, if_match(request)),
        given=principal.was_given(body["order"]["merchant_id"]),
        actor=principal.actor(for_buyer=True),
        proved=True,
    )
    return await reported(gateway, command, command_id, preference(request))


async def reported(gateway: Gateway, command: SubmitReport, command_id: str, prefer: Preference) -> Reported:
    """The report that a command brings, there when its case is open. Raises the problem of a refusal, and Promised."""
    outcome = await gateway.commands.ask(INTAKE_COMMANDS, command.order_id, command, command_id, prefer)
    case_id = outcome.get("case_id") or (outcome["href"].rpartition("/")[2] if "/cases/" in outcome["href"] else None)

    def opened(body: Body) -> bool:
        return case_id is None or (
            "standing" in body and case_id in body["standing"]["cases"] and case_id in body.get("reports", {})
        )

    # A claim that came in before may have done so on another order of the merchant (CP-03).
    body = await gateway.seen(command.order_id if case_id is None else order_of(case_id), opened)
    report_id = outcome.get("report_id") or body.get("reports", {}).get(case_id, {}).get("report_id")
    return Reported(report_id, case_id, outcome["href"], outcome["kind"] == CommandRepeated.kind, body)


routes = (submit_report,)
