"""Reports through a merchant's universal form: no account, no key, also on orders that nobody has registered (RD-01 to 04)."""

import hashlib
from dataclasses import dataclass
from datetime import date, datetime
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import orjson
from babel.numbers import get_territory_currencies
from litestar import Response, get, post
from litestar.params import FromPath
from pydantic import AfterValidator, BeforeValidator

from contracts.base import GivenMoment
from contracts.capability import (
    Capability,
    FormLink,
    FormReceipt,
    InvalidToken,
    mint,
    mint_receipt,
    read_form,
    read_receipt,
)
from contracts.desk import Form
from contracts.ids import child_id, merchant_key, order_id_of, reported_order_id
from contracts.money import Money
from contracts.orders import Buyer, Contact, OrderContent, ReportContent, SubmitReport
from contracts.problems import Problem
from contracts.texts import Code, address_key
from services.gateway.answers import Answer, answer, response_of
from services.gateway.buckets import Buckets
from services.gateway.commands import Promised
from services.gateway.context import Gateway, TheGateway, evidence_of
from services.gateway.documented import documented
from services.gateway.principals import Principal
from services.gateway.problems import ProblemError, field_error, too_many
from services.gateway.projector import Body
from services.gateway.requests import AnyRequest, json_body, media_type_of, parsed, preference
from services.gateway.resources.evidence import checked_type, put_file, take_back
from services.gateway.resources.reports import ReportRequest, reported
from services.gateway.shops import desk_of
from services.gateway.shown.merchants import FormReported, FormReportOutcome
from services.gateway.store import MERCHANTS, ORDERS
from services.gateway.uploads import PAGES_AT_ONCE, Upload, safe_name, upload_of

__all__ = [
    "PROGRAMME",
    "FormReport",
    "OpenForm",
    "content_of",
    "currency_of",
    "form_of",
    "given_by",
    "limited",
    "outcome_of",
    "report_by_form",
    "routes",
]

PROGRAMME = "returns-desk"
"""What reports through a form belong to (RD-01)."""
_ALREADY_OPEN = "You have reported this already; go on with the link that you were mailed."


def _start_of_day(value: object) -> object:
    """A day stands for its beginning; the zone is put right by who knows the merchant's."""
    if isinstance(value, str) and len(value) == 10:
        try:
            return f"{date.fromisoformat(value).isoformat()}T00:00:00Z"
        except ValueError:
            return value
    return value


def _trimmed(value: object) -> object:
    return value.strip() if isinstance(value, str) else value


def _one_line(text: str) -> str:
    """It goes into the subject of mails."""
    if not text.isprintable():
        raise ValueError("give it in one line, without control characters")
    return text


class FormReport(ReportRequest):
    """A report with what its buyer knows of the order. `amount` is what was paid."""

    order_number: Annotated[Code, BeforeValidator(_trimmed), AfterValidator(_one_line)]
    order_date: Annotated[GivenMoment, BeforeValidator(_start_of_day)] | None = None
    """A day, or a moment."""
    contact: Contact  # pyright: ignore[reportGeneralTypeIssues, reportIncompatibleVariableOverride]


@dataclass(frozen=True, slots=True)
class OpenForm:
    """A form that is offered, with its merchant."""

    form: Form
    merchant: dict[str, Any]
    token: str

    @property
    def principal(self) -> Principal:
        """Who fills it in, before there is an order: names idempotency keys, sees nothing."""
        return Principal("buyer", f"form:{self.form.form_id}")


async def form_of(gateway: Gateway, token: str) -> OpenForm:
    """The form of a token. Raises 404 for one that was made elsewhere or withdrawn."""
    try:
        link: FormLink = read_form(gateway.settings.secret, token)
    except InvalidToken:
        raise ProblemError(Problem.not_found("form")) from None
    found = await gateway.reads.get(MERCHANTS, merchant_key(link.merchant_id))
    for form in desk_of(found["body"]).forms if found is not None else ():
        if found is not None and form.form_id == link.form_id:
            return OpenForm(form, found["body"]["merchant"], token)
    raise ProblemError(Problem.not_found("form"))


_FORMS = Buckets(120, 2.0)
"""By form: whoever floods one form leaves the others alone."""
_ADDRESSES = Buckets(30, 1 / 60)
"""By the address that is given: nobody is flooded with mails through other people's forms."""


def limited(form: OpenForm) -> None:
    """Raises 429 where a form gets more than people fill in."""
    wait_s = _FORMS.take(form.form.form_id)
    if wait_s:
        raise too_many("This form is sent very often just now.", wait_s)


@post(
    "/v1/forms/{token:str}/reports",
    operation_id="reportByForm",
    summary="Report through a merchant's form, without account or key",
    opt=documented(
        body=FormReport,
        answers={
            201: "The report; its link reads and acts on the case.",
            202: "{command_id, status}: its outcome is at the Location.",
            409: "report-refused, with `refusal`",
            429: "rate-limited",
        },
        public=True,
        gives=FormReported,
        late=True,
    ),
)
async def submit_by_form(request: AnyRequest, gateway: TheGateway, token: FromPath[str]) -> Response[bytes]:
    """As JSON, or as multipart/form-data with the same fields (`email` and `phone` for the contact) and pictures as `file`. An
    order that is known with the same address is that order, and the answer tells nothing about it; another is kept as
    reported."""
    form = await form_of(gateway, token)
    limited(form)

    async def once(raw: bytes, upload: Upload) -> Response[bytes]:
        async def work(command_id: str) -> Answer:
            return await report_by_form(request, gateway, form, parsed(FormReport, raw), upload, command_id)

        return await gateway.once(request, form.principal, content_of(raw, upload), work)

    if media_type_of(request) != "multipart/form-data":
        return await once(await json_body(request), Upload())
    async with PAGES_AT_ONCE:
        upload = await upload_of(request)
        return await once(orjson.dumps(given_by(upload, form)), upload)


def content_of(raw: bytes, upload: Upload) -> bytes:
    """What makes two filled forms the same: their fields and files."""
    files = [[field, name, hashlib.sha256(content).hexdigest()] for field, name, content in upload.files]
    return raw + b"\n" + orjson.dumps([files, upload.fields.get("nonce", "")])


def given_by(upload: Upload, form: OpenForm) -> dict[str, Any]:
    """The fields of a filled form as the JSON route takes them; what was left empty is left out."""
    given: dict[str, Any] = {name: text.strip() for name, text in upload.fields.items() if text.strip() and name != "nonce"}
    contact = {name: given.pop(name) for name in ("email", "phone") if name in given}
    if contact:
        given["contact"] = contact
    if "amount" in given:
        given["amount"] = {"amount": _plain(given["amount"]), "currency": given.pop("currency", currency_of(form.merchant))}
    return given


def _plain(text: str) -> str:
    """An amount as people write it: with a comma or a point before the cents."""
    bare = text.replace("\u00a0", "").replace(" ", "")
    return bare.replace(".", "").replace(",", ".") if "," in bare else bare


async def report_by_form(
    request: AnyRequest, gateway: Gateway, form: OpenForm, wanted: FormReport, upload: Upload, command_id: str
) -> Answer:
    """Have a report accepted or refused, with its order where nobody has registered that. A refusal leaves nothing behind; an
    outcome that is late is promised with 202, and asked for with a receipt."""
    _require_form_fields(wanted)
    files = [(safe_name(name), content, checked_type(content)) for name, content in _files(upload)]
    _require_patience(wanted.contact.email)
    about = await _about(gateway, form, wanted)
    order_id = about.order_id
    reporter = _reporter(order_id, command_id)
    told = {name: getattr(wanted, name) for name in ReportContent.model_fields}
    contact = wanted.contact.model_copy(update={"email": about.email})
    try:
        kept = [
            await put_file(gateway, reporter.actor(), "buyer", child_id("evd", order_id, command_id, str(number)), *file)
            for number, file in enumerate(files)
        ]
        command = SubmitReport(
            order_id=order_id,
            merchant_id=form.merchant["merchant_id"],
            content=ReportContent.model_validate({**told, "contact": contact, "amount": None, "programme": PROGRAMME}),
            evidence=tuple(map(evidence_of, kept)),
            form_id=form.form.form_id,
            order=about.order,
            actor=reporter.actor(),
            proved=False,
        )
        done = await reported(gateway, command, command_id, preference(request))
    except Promised as promised:
        receipt = mint_receipt(gateway.settings.secret, FormReceipt(order_id=order_id, command_id=command_id))
        return await gateway.commands.promise(reporter, promised, f"/v1/forms/{form.token}/reports/{receipt}")
    except ProblemError as refused:
        if refused.problem.status < 500:
            await take_back(gateway, order_id, reporter.name)
        raise ProblemError(_telling_nothing(refused.problem), refused.headers) from None
    if done.case_id is None:
        raise LookupError(f"{wanted.reason} of {PROGRAMME} opens no case")
    shown = {
        "report_id": done.report_id,
        "case_id": done.case_id,
        "link": _link(gateway, reporter, done.case_id),
    }
    return answer(201, shown, Location=done.href)


def _require_form_fields(wanted: FormReport) -> None:
    """Raises 422 for what a report has and a form has not."""
    if wanted.programme not in (None, PROGRAMME):
        raise field_error("/programme", f"this form is for {PROGRAMME}; leave it out")
    if wanted.lines:
        # Whether a line fits would tell of a known order what its reporter need not know.
        raise field_error("/lines", "a form knows no lines of an order; name the goods in `text`")
    if wanted.evidence:
        raise field_error("/evidence/0", "send pictures with the form, as `file` of multipart/form-data")
    if not wanted.contact.email.isprintable():
        raise field_error("/contact/email", "give an address without control characters")


def _files(upload: Upload) -> list[tuple[str, bytes]]:
    """(name, bytes) of each file; a browser sends an empty one where none was chosen."""
    return [(name, content) for field, name, content in upload.files if field == "file" and (name or content)]


def _require_patience(email: str) -> None:
    """Raises 429 where one address is given more often than a person has reports: each makes mails to it."""
    wait_s = _ADDRESSES.take(address_key(email))
    if wait_s:
        raise too_many("This address was given very often just now.", wait_s)


def _reporter(order_id: str, command_id: str) -> Principal:
    """Who sent a form. Its link reaches the one case of its report, from when there is one."""
    capability = Capability(link_id=child_id("lnk", order_id, command_id), order_id=order_id, role="buyer")
    return Principal("buyer", f"buyer:{capability.link_id}", capability=capability)


def _link(gateway: Gateway, reporter: Principal, case_id: str) -> dict[str, str]:
    """The link to a case for who reported it. It is for that case alone: whoever knows number and address of an order need not
    be its buyer, who is mailed a link of the order."""
    if reporter.capability is None:
        raise LookupError("a form's reporter has the capability of its link")
    token = mint(gateway.settings.secret, reporter.capability.model_copy(update={"case_id": case_id}))
    return {"url": f"{gateway.settings.base_url}/l/{token}", "token": token}


def _telling_nothing(problem: Problem) -> Problem:
    """A refusal without the ids of what is behind it."""
    return problem.model_copy(update={"detail": _ALREADY_OPEN}) if problem.extra.get("refusal") == "already_open" else problem


def _is_buyer(body: Body, email: str) -> bool:
    return "standing" in body and address_key(body["order"]["buyer"]["email"]) == address_key(email)


@dataclass(frozen=True, slots=True)
class _About:
    """What a report by form is about. `order`: what it says of one that was not registered with its address; `email`: where
    mails about it go, in the spelling of a known order."""

    order_id: str
    order: OrderContent | None
    email: str


async def _about(gateway: Gateway, form: OpenForm, wanted: FormReport) -> _About:
    """The order that a report means. Raises 422."""
    merchant = form.merchant
    merchant_id, email = merchant["merchant_id"], wanted.contact.email
    known = await gateway.reads.get(ORDERS, order_id_of(merchant_id, wanted.order_number))
    if known is not None and _is_buyer(known["body"], email):
        return _About(known["_id"], None, known["body"]["order"]["buyer"]["email"])
    content = OrderContent(
        merchant_id=merchant_id,
        order_number=wanted.order_number,
        channel=form.form.channel,
        programme=PROGRAMME,
        buyer=Buyer(email=email, phone=wanted.contact.phone, locale=form.form.locale or merchant["locale"]),
        amount=wanted.amount or Money.zero(currency_of(merchant)),
        placed_at=_placed(wanted.order_date, merchant, gateway.clock.now()),
        protection_activated=False,
    )
    return _About(reported_order_id(merchant_id, wanted.order_number, email), content, email)


@get(
    "/v1/forms/{token:str}/reports/{receipt:str}",
    operation_id="getFormReport",
    summary="What became of a report by form that was answered with 202",
    opt=documented(answers={200: "How it stands."}, public=True, gives=FormReportOutcome),
)
async def get_form_report(gateway: TheGateway, token: FromPath[str], receipt: FromPath[str]) -> Response[bytes]:
    """At the `Location` of that answer, for 48 hours."""
    await form_of(gateway, token)
    return response_of(answer(200, await outcome_of(gateway, receipt)))


async def outcome_of(gateway: Gateway, receipt: str) -> dict[str, Any]:
    """{command_id, status, result?, problem?} of a report by form. Raises 404."""
    try:
        given = read_receipt(gateway.settings.secret, receipt)
    except InvalidToken:
        raise ProblemError(Problem.not_found("report")) from None
    reporter = _reporter(given.order_id, given.command_id)
    state = await gateway.commands.state(reporter, given.command_id)
    if state["status"] == "refused":
        await take_back(gateway, given.order_id, reporter.name)
        if state["problem"].get("refusal") == "already_open":
            state["problem"]["detail"] = _ALREADY_OPEN
    if state["status"] == "done":
        case_id = state["result"]["href"].rpartition("/")[2]
        report_id = child_id("rep", given.order_id, given.command_id, length=8)
        link = _link(gateway, reporter, case_id)
        state["result"] |= {"report_id": report_id, "case_id": case_id, "link": link}
    return state


def _placed(given: datetime | None, merchant: dict[str, Any], now: datetime) -> datetime:
    """When the order was placed: a day is one in the merchant's zone. Raises 422 for a time to come."""
    if given is None:
        return now
    day_alone = (given.hour, given.minute, given.second, given.microsecond) == (0, 0, 0, 0)
    placed = given.replace(tzinfo=ZoneInfo(merchant["timezone"])) if day_alone else given
    if placed > now:
        raise field_error("/order_date", "this day has not come yet")
    return placed


def currency_of(merchant: dict[str, Any]) -> str:
    """The currency of a merchant's country, for who names none."""
    found = get_territory_currencies(merchant["country"])
    return found[-1] if found else "EUR"


routes = (submit_by_form, get_form_report)
