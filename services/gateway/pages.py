"""The plain page behind the button of a mail or the link of an order confirmation: no JavaScript, everything the API does.

The token in the path is the right to read and act, so nothing of it may leak: no referrer, no cache, no index, no script."""

import hashlib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

import orjson
from babel.dates import format_date
from litestar import Response, get, post
from litestar.params import FromPath
from pydantic import BaseModel

from contracts.base import parse_moment
from contracts.ids import merchant_key
from contracts.money import Money
from contracts.orders import ReportContent, Standing
from contracts.problems import Problem
from engine.programmes import Programme, in_language
from engine.protection import refusal_of
from engine.views import moment_text, money_text
from services.gateway.answers import Answer, answer
from services.gateway.context import Gateway, TheGateway
from services.gateway.documented import documented
from services.gateway.forms import FormField, fields_of, filled
from services.gateway.page import HEADERS, html_answer, in_words, problem_of, rendered, words_of_error
from services.gateway.principals import Principal, acts_until
from services.gateway.problems import ProblemError, as_problem
from services.gateway.projector import Body
from services.gateway.representations import Reader, case_shown, locale_for, order_shown
from services.gateway.requests import AnyRequest, parsed
from services.gateway.resources.cases import act, action_command
from services.gateway.resources.evidence import content_of, keep
from services.gateway.resources.messages import MessageRequest, thread, write
from services.gateway.resources.reports import ReportRequest, submit
from services.gateway.shown.orders import FILE
from services.gateway.shown.values import HTML
from services.gateway.store import MERCHANTS
from services.gateway.uploads import PAGES_AT_ONCE, Upload, safe_name, upload_of
from services.gateway.wording import language_of, words

__all__ = ["routes"]

M = TypeVar("M", bound=BaseModel)

_REPORT = "report"

_PUBLIC = documented(answers={200: "A page."}, public=True, page=True, gives=HTML)
_SENT = documented(content_type="multipart/form-data", answers={303: "Back to the page."}, public=True, page=True)


@dataclass(frozen=True, slots=True)
class _Given:
    """What was filled in, in which form: `place` is a case's id, or the report."""

    place: str
    fields: Mapping[str, str]

    def at(self, place: str, action: str = "") -> Mapping[str, str]:
        """What was filled in there: in the form of an action, else in the one without."""
        return self.fields if (self.place, self.fields.get("action", "")) == (place, action) else {}


@get(
    "/l/{token:str}",
    operation_id="openLink",
    summary="The page of a link: the order, its cases, and what its reader can do",
    media_type="text/html",
    opt=_PUBLIC,
)
async def open_link(request: AnyRequest, gateway: TheGateway, token: FromPath[str]) -> Response[Any]:
    """In English or German, after the order's buyer or merchant."""
    try:
        principal = await gateway.principals.of_link(token)
        return html_answer(200, await _page(request, gateway, principal, token))
    except Exception as error:
        return in_words(request, error)


@get(
    "/l/{token:str}/evidence/{evidence_id:str}",
    operation_id="openEvidence",
    summary="A file of a case, for the bearer of a link",
    opt=documented(answers={200: "The file, to be saved."}, gives=FILE, public=True, page=True),
)
async def open_evidence(
    request: AnyRequest, gateway: TheGateway, token: FromPath[str], evidence_id: FromPath[str]
) -> Response[Any]:
    """To be saved, never shown inside a page."""
    try:
        return await content_of(gateway, await gateway.principals.of_link(token), evidence_id)
    except Exception as error:
        return in_words(request, error)


@post("/l/{token:str}/reports", operation_id="reportByPage", summary="The report form of a page", opt=_SENT)
async def report_by_page(request: AnyRequest, gateway: TheGateway, token: FromPath[str]) -> Response[Any]:
    """The same report as POST /v1/orders/{order_id}/reports."""

    async def work(principal: Principal, form: Upload, command_id: str) -> Answer:
        order_id = _order_of(principal)
        evidence = await _kept(gateway, principal, form, command_id)
        given: dict[str, Any] = {"reason": form.fields.get("reason") or "", "evidence": evidence}
        if form.fields.get("text", "").strip():
            given["text"] = form.fields["text"]
        return await submit(request, gateway, principal, order_id, _checked(ReportRequest, given), command_id)

    return await _sent(request, gateway, token, _REPORT, work)


@post("/l/{token:str}/cases/{case_id:str}/actions", operation_id="actByPage", summary="An action's form on a page", opt=_SENT)
async def act_by_page(request: AnyRequest, gateway: TheGateway, token: FromPath[str], case_id: FromPath[str]) -> Response[Any]:
    """The same action as POST /v1/cases/{case_id}/actions."""

    async def work(principal: Principal, form: Upload, command_id: str) -> Answer:
        body = await gateway.case(principal, case_id)
        gateway.require_acting(principal, body)
        action = form.fields.get("action", "")
        shop = await gateway.shop(principal, body["order"])
        case = case_shown(body, case_id, gateway.reader(request, principal, body["order"], shop))
        schema = next((each["fields"] for each in case["allowed_actions"] if each["action"] == action), None)
        if schema is None:
            raise ProblemError(Problem.action_not_allowed(action, tuple(each["action"] for each in case["allowed_actions"])))
        evidence = await _kept(gateway, principal, form, command_id)
        fields = filled(schema, form.fields, evidence)
        command = await action_command(request, gateway, principal, body, case_id, action, fields)
        await act(request, gateway, command, command_id)
        return answer(200, {})

    return await _sent(request, gateway, token, case_id, work)


@post(
    "/l/{token:str}/cases/{case_id:str}/messages", operation_id="writeByPage", summary="The message form of a page", opt=_SENT
)
async def write_by_page(
    request: AnyRequest, gateway: TheGateway, token: FromPath[str], case_id: FromPath[str]
) -> Response[Any]:
    """The same message as POST /v1/cases/{case_id}/messages."""

    async def work(principal: Principal, form: Upload, command_id: str) -> Answer:
        body = await gateway.case(principal, case_id)
        evidence = await _kept(gateway, principal, form, command_id)
        wanted = _checked(MessageRequest, {"text": form.fields.get("text", ""), "evidence": evidence})
        return await write(request, gateway, principal, body, case_id, wanted, command_id)

    return await _sent(request, gateway, token, case_id, work)


def _order_of(principal: Principal) -> str:
    if principal.capability is None:
        raise ProblemError(Problem.not_found("order"))
    return principal.capability.order_id


def _checked(model: type[M], given: dict[str, Any]) -> M:
    """The form as the API's own request model. Raises 422 as the API does."""
    return parsed(model, orjson.dumps(given))


async def _kept(gateway: Gateway, principal: Principal, form: Upload, command_id: str) -> list[str]:
    """The ids of a form's files, which are kept first."""
    files = [(name, content) for field, name, content in form.files if field == "file" and (name or content)]
    kept = [
        await keep(gateway, principal, _order_of(principal), safe_name(name), content, command_id, number)
        for number, (name, content) in enumerate(files)
    ]
    return [document["_id"] for document in kept]


async def _sent(request: AnyRequest, gateway: Gateway, token: str, place: str, work: Any) -> Response[Any]:
    """Do what a form asks, once, and lead back to the page; show it again with the reason where it was refused."""
    form = Upload()
    try:
        principal = await gateway.principals.of_link(token)
        async with PAGES_AT_ONCE:
            form = await upload_of(request)
            given = await _sent_once(request, gateway, principal, form, work)
        if given.status >= 400:
            raise ProblemError(problem_of(given))
    except Exception as error:
        return await _refused(request, gateway, token, place, form, error)
    done = "on_its_way" if given.status == 202 else "done"
    anchor = f"#{place}" if place.startswith("cas_") else ""
    return Response(b"", status_code=303, headers={**HEADERS, "Location": f"/l/{token}?said={done}{anchor}"})


async def _sent_once(request: AnyRequest, gateway: Gateway, principal: Principal, form: Upload, work: Any) -> Answer:
    """A form sent twice, also at the same moment, is one request; one that was gone back to and changed is another."""
    digests = [hashlib.sha256(content).hexdigest() for _, _, content in form.files]
    content = orjson.dumps([form.fields, digests], option=orjson.OPT_SORT_KEYS)

    async def once(command_id: str) -> Answer:
        return await work(principal, form, command_id)

    key = hashlib.sha256(content).hexdigest() if form.fields.get("nonce") else None
    return await gateway.done_once(request, principal, content, once, key, patient=True)


async def _refused(
    request: AnyRequest, gateway: Gateway, token: str, place: str, form: Upload, error: Exception
) -> Response[Any]:
    """The page again, with the reason and with what was filled in, in the form that it was sent from."""
    problem = as_problem(error).problem
    if problem.status in (401, 404):
        return in_words(request, error)
    try:
        principal = await gateway.principals.of_link(token)
        return html_answer(problem.status, await _page(request, gateway, principal, token, _Given(place, form.fields), problem))
    except Exception as again:
        return in_words(request, again)


async def _page(
    request: AnyRequest,
    gateway: Gateway,
    principal: Principal,
    token: str,
    given: _Given | None = None,
    wrong: Problem | None = None,
) -> str:
    """The page of a link. Raises what reading the order raises."""
    body = await gateway.order(principal, _order_of(principal))
    locale = locale_for(principal, body["order"])
    shop = await gateway.shop(principal, body["order"])
    reader = Reader(principal, gateway.clock.now(), language_of(locale), gateway.programmes, shop, gateway.outages.record)
    order = order_shown(body, reader)
    w = words(locale)
    writer = _Writer(reader, w, ZoneInfo(body["order"]["timezone"]), given or _Given("", {}))
    until = acts_until(principal.capability, body) if principal.capability else None
    acting = until is None or reader.now < until
    merchant = await gateway.reads.get(MERCHANTS, merchant_key(order["merchant_id"]))
    cases = [
        writer.case(body, case_shown(body, case_id, reader), await thread(gateway, principal, case_id), acting)
        for case_id in reversed(order["cases"])
        if case_id in body.get("reports", {})
    ]
    said = request.query_params.get("said", "")
    return rendered(
        "link.html",
        locale,
        token=token,
        role=principal.role,
        order=order,
        buyer_email=body["order"]["buyer"]["email"],
        placed=writer.day(order["placed_at"]) if "placed_at" in order else None,
        amount=money_text(Money.model_validate(order["amount"]), reader.locale) if "amount" in order else None,
        protection=writer.protection(order) if "protection" in order else None,
        contact=(merchant or {}).get("body", {}).get("merchant", {}).get("service_contact"),
        cases=cases,
        report=await _report(gateway, writer, body, merchant) if acting and _may_report(principal) else None,
        expired=not acting,
        done=w[said] if said in ("done", "on_its_way") and wrong is None else "",
        wrong=None if wrong is None else words_of_error(wrong),
    )


async def _report(gateway: Gateway, writer: "_Writer", body: Body, merchant: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The form of BP-07 and OI-01, of the programme as it is in force for the merchant; None where nothing can be reported."""
    if merchant is None:
        return None
    shop: Mapping[str, Any] = merchant["body"]["merchant"]
    try:
        programme = await gateway.in_force(body["order"]["programme"], shop)
    except KeyError:
        return None
    return writer.report(body, programme, insolvent=bool(shop.get("insolvent_at")))


def _may_report(principal: Principal) -> bool:
    return principal.role == "buyer" and not principal.is_guest


class _Writer:
    """Puts what the API shows into the words of the page."""

    def __init__(self, reader: Reader, w: Mapping[str, str], zone: ZoneInfo, given: _Given) -> None:
        self._reader = reader
        self._w = w
        self._zone = zone
        self._given = given

    def day(self, moment: str) -> str:
        return format_date(self._local(moment).date(), "long", locale=self._reader.locale)

    def moment(self, moment: str) -> str:
        return moment_text(parse_moment(moment), self._zone, self._reader.locale)

    def _local(self, moment: str) -> datetime:
        return parse_moment(moment).astimezone(self._zone)

    def protection(self, order: Mapping[str, Any]) -> str:
        protection = order["protection"]
        state, ends_at = protection["state"], protection["ends_at"]
        if state == "active" and order["payout"]["held"]:
            return self._w["protection_extended"]
        until = "" if ends_at is None else self.day(ends_at)
        return self._w[f"protection_{state}"].replace("{until}", until)

    def case(self, body: Body, case: Mapping[str, Any], messages: list[dict[str, Any]], acting: bool) -> dict[str, Any]:
        case_id = case["case_id"]
        programme = self._reader.programmes.get(case["programme"]["id"], case["programme"]["version"])
        answered = case.get("answer") or {}
        offered = answered.get("refund_amount")
        return {
            "case_id": case_id,
            "number": case_id.rpartition("_")[2],
            "reason": in_language(programme.reasons[case["reason"]].label, self._reader.locale),
            "label": case["label"],
            "attention": case["attention"],
            "opened": self.day(case["opened_at"]),
            "offered": None if offered is None else money_text(Money.model_validate(offered), self._reader.locale),
            "outcome": case.get("outcome_label"),
            "deadlines": [self._deadline(deadline) for deadline in case["deadlines"]],
            "actions": [self._action(case_id, action) for action in case["allowed_actions"] if action["action"] != "note"],
            "messages": [*self._report_text(body, case), *map(self._message, messages)],
            "may_write": acting,
            "writing": [
                FormField("text", "long", self._w["text"], True, self._given.at(case_id).get("text", "")),
                FormField("file", "files", self._w["documents"], False),
            ],
            "nonce": str(uuid.uuid4()),
        }

    def _deadline(self, deadline: Mapping[str, Any]) -> dict[str, Any]:
        mine = deadline["party"] == self._reader.principal.reads_as
        asked = self._w["your_turn" if mine else "their_turn"]
        reasons = dict.fromkeys(each["reason"] for each in deadline["extended_by"])
        return {
            "asked": asked.replace("{what}", deadline["label"]).replace("{until}", self.moment(deadline["due_at"])),
            "extended": [*(self._w[f"extended_{reason}"] for reason in reasons), deadline.get("text", "")],
            "silence": deadline["on_silence"].get("text", ""),
        }

    def _action(self, case_id: str, action: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "action": action["action"],
            "label": action["label"],
            "fields": fields_of(action["fields"], self._given.at(case_id, action["action"])),
            "nonce": str(uuid.uuid4()),
        }

    def _report_text(self, body: Body, case: Mapping[str, Any]) -> list[dict[str, Any]]:
        """What the buyer reported with, as the first word of the conversation."""
        report = body["reports"][case["case_id"]]
        if not report["text"] and not report["evidence"]:
            return []
        return [self._said("buyer", report["text"] or "", report["at"], report["evidence"])]

    def _message(self, message: Mapping[str, Any]) -> dict[str, Any]:
        return self._said(message["author"]["role"], message["text"], message["at"], message["evidence"])

    def _said(self, role: str, text: str, at: str, evidence: list[Mapping[str, Any]]) -> dict[str, Any]:
        mine = role == self._reader.principal.role
        return {
            "mine": mine,
            "author": self._w["you"] if mine else self._w[role],
            "when": self.moment(at),
            "text": text,
            "files": evidence,
        }

    def report(self, body: Body, programme: Programme, *, insolvent: bool) -> dict[str, Any] | None:
        """What can be reported now by a programme; None where nothing can."""
        standing = Standing.model_validate(body["standing"])
        offered = [
            code
            for code, reason in programme.reasons.items()
            if "buyer" in reason.by
            and refusal_of(ReportContent(reason=code), standing, self._reader.now, programme, insolvent) is None
        ]
        if not offered:
            return None
        labels = tuple((reason, in_language(programme.reasons[reason].label, self._reader.locale)) for reason in offered)
        given = self._given.at(_REPORT)
        return {
            "fields": [
                FormField("reason", "choice", self._w["how_was_it"], True, given.get("reason", ""), labels),
                FormField("text", "long", self._w["describe"], False, given.get("text", "")),
                FormField("file", "files", self._w["documents"], False),
            ],
            "nonce": str(uuid.uuid4()),
        }


routes = (open_link, open_evidence, report_by_page, act_by_page, write_by_page)
