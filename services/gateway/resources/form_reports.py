"""Reports through a merchant's universal form: no account, no key, also on orders that nobody has registered (RD-01 to 04)."""

import math
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import orjson
from babel.numbers import get_territory_currencies
from litestar import Response, post
from litestar.params import FromPath
from pydantic import BeforeValidator

from contracts.base import GivenMoment
from contracts.capability import Capability, FormLink, InvalidToken, mint, read_form
from contracts.desk import Form
from contracts.ids import child_id, derived, merchant_key, order_id_of, reported_order_id
from contracts.money import Money
from contracts.orders import Buyer, CommandRepeated, Contact, OrderContent, RegisterOrder
from contracts.problems import Problem
from contracts.texts import Code
from contracts.topics import INTAKE_COMMANDS
from services.gateway.answers import Answer, answer
from services.gateway.buckets import Buckets
from services.gateway.commands import Promised
from services.gateway.context import Gateway, TheGateway
from services.gateway.documented import documented
from services.gateway.principals import Principal
from services.gateway.problems import ProblemError, field_error, too_many, unavailable
from services.gateway.requests import AnyRequest, Preference, json_body, media_type_of, parsed
from services.gateway.resources.evidence import keep
from services.gateway.resources.reports import ReportRequest, report
from services.gateway.shops import desk_of
from services.gateway.store import MERCHANTS, ORDERS
from services.gateway.uploads import Upload, safe_name, upload_of

__all__ = ["PROGRAMME", "FormReport", "OpenForm", "currency_of", "form_of", "given_by", "limited", "report_by_form", "routes"]

PROGRAMME = "returns-desk"
"""What reports through a form belong to (RD-01)."""
_REGISTERING_S = 5.0
_BURST, _PER_SECOND = 120, 2.0
_WHILE_REPORTING = timedelta(days=1)


def _start_of_day(value: object) -> object:
    """A day stands for its beginning; the zone is put right by who knows the merchant's."""
    if isinstance(value, str) and len(value) == 10:
        try:
            return f"{date.fromisoformat(value).isoformat()}T00:00:00Z"
        except ValueError:
            return value
    return value


class FormReport(ReportRequest):
    """A report with what its buyer knows of the order. `amount` is what was paid."""

    order_number: Code
    order_date: Annotated[GivenMoment, BeforeValidator(_start_of_day)] | None = None
    """A day, or a moment."""
    contact: Contact  # pyright: ignore[reportGeneralTypeIssues, reportIncompatibleVariableOverride]


@dataclass(frozen=True, slots=True)
class OpenForm:
    """A form that is offered, with its merchant."""

    form: Form
    merchant: dict[str, Any]

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
            return OpenForm(form, found["body"]["merchant"])
    raise ProblemError(Problem.not_found("form"))


_BUCKETS = Buckets(_BURST, _PER_SECOND)
"""By form: whoever floods one form leaves the others alone."""


def limited(form: OpenForm) -> None:
    """Raises 429 where a form gets more than people fill in."""
    wait_s = _BUCKETS.take(form.form.form_id)
    if wait_s:
        raise too_many("This form is sent very often just now.", math.ceil(wait_s))


@post(
    "/v1/forms/{token:str}/reports",
    operation_id="reportByForm",
    summary="Report through a merchant's form, without account or key",
    opt=documented(
        body=FormReport,
        answers={
            201: "{report_id, case_id, link: {url, token}}: the link reads and acts on the case.",
            409: "report-refused, with `refusal`",
            429: "rate-limited",
        },
        public=True,
    ),
)
async def submit_by_form(request: AnyRequest, gateway: TheGateway, token: FromPath[str]) -> Response[bytes]:
    """As JSON, or as multipart/form-data with the same fields (`email` and `phone` for the contact) and pictures as `file`. An
    order that is known with the same address is that order, and the answer tells nothing about it; another is kept as
    reported."""
    form = await form_of(gateway, token)
    limited(form)
    upload = Upload()
    if media_type_of(request) == "multipart/form-data":
        upload = await upload_of(request)
        raw = orjson.dumps(given_by(upload, form))
        same = raw + b"\n".join(content for _, _, content in upload.files)
    else:
        same = raw = await json_body(request)

    async def work(command_id: str) -> Answer:
        return await report_by_form(request, gateway, form, parsed(FormReport, raw), upload, command_id)

    return await gateway.once(request, form.principal, same, work)


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
    """Find or register the order, keep the pictures, and have the report accepted or refused."""
    if wanted.programme not in (None, PROGRAMME):
        raise field_error("/programme", f"this form is for {PROGRAMME}; leave it out")
    merchant_id = form.merchant["merchant_id"]
    known = await gateway.reads.get(ORDERS, order_id_of(merchant_id, wanted.order_number))
    mine = known is not None and _is_buyer(known["body"], wanted.contact.email)
    if known is not None and mine:
        order_id: str = known["_id"]
        is_new = False
    else:
        order_id = reported_order_id(merchant_id, wanted.order_number, wanted.contact.email)
        is_new = await _register(gateway, form, wanted, order_id, command_id)
    capability = Capability(link_id=child_id("lnk", order_id, command_id), order_id=order_id, role="buyer")
    # A link of an old order only reads; who fills in a form may report however old the order is (a warranty runs for years).
    now_only = capability.model_copy(update={"expires_at": gateway.clock.now() + _WHILE_REPORTING})
    reporter = Principal("buyer", f"buyer:{capability.link_id}", capability=now_only)
    files = [(name, content) for field, name, content in upload.files if field == "file" and (name or content)]
    kept = [
        await keep(gateway, reporter, order_id, safe_name(name), content, command_id, number)
        for number, (name, content) in enumerate(files)
    ]
    content = wanted.model_copy(
        update={
            "amount": None,
            "programme": PROGRAMME,
            "evidence": (*wanted.evidence, *(document["_id"] for document in kept)),
        }
    )
    sent = ReportRequest.model_validate({name: getattr(content, name) for name in ReportRequest.model_fields})
    try:
        done = await report(request, gateway, reporter, order_id, sent, command_id)
    except Promised:
        # Whoever has no key has no place to ask for an outcome. Sent again with the same key the report is known.
        raise unavailable("The report is on its way. Send it again in a moment for the link to its case.") from None
    except ProblemError as refused:
        raise _telling_nothing(refused) from None
    if done.case_id is None:
        raise LookupError(f"{sent.reason} of {sent.programme} opens no case")
    # Who knows number and address of an order need not be its buyer: of one that was there the link reaches the new case alone.
    token = mint(gateway.settings.secret, capability.model_copy(update={"case_id": None if is_new else done.case_id}))
    shown = {
        "report_id": done.report_id,
        "case_id": done.case_id,
        "link": {"url": f"{gateway.settings.base_url}/l/{token}", "token": token},
    }
    return answer(201, shown, Location=done.href)


def _is_buyer(body: dict[str, Any], email: str) -> bool:
    return "standing" in body and body["order"]["buyer"]["email"].casefold() == email.casefold()


def _telling_nothing(refused: ProblemError) -> ProblemError:
    """A refusal without the ids of what is behind it."""
    problem = refused.problem
    if problem.extra.get("refusal") != "already_open":
        return refused
    detail = "You have reported this already; go on with the link that you were mailed."
    return ProblemError(problem.model_copy(update={"detail": detail}))


async def _register(gateway: Gateway, form: OpenForm, wanted: FormReport, order_id: str, command_id: str) -> bool:
    """Have an order kept that is known from this report alone; False where it was reported before. Raises the problem of a
    refusal, and 503 where it takes too long: sent again with the same key it goes on."""
    merchant = form.merchant
    now = gateway.clock.now()
    content = OrderContent(
        merchant_id=merchant["merchant_id"],
        order_number=wanted.order_number,
        channel=form.form.channel,
        programme=PROGRAMME,
        buyer=Buyer(email=wanted.contact.email, phone=wanted.contact.phone, locale=form.form.locale or merchant["locale"]),
        amount=wanted.amount or Money.zero(currency_of(merchant)),
        placed_at=_placed(wanted.order_date, merchant, now),
        protection_activated=False,
    )
    command = RegisterOrder(content=content, reported=True, actor=form.principal.actor())
    try:
        outcome = await gateway.commands.ask(
            INTAKE_COMMANDS, order_id, command, derived("form-order", command_id), Preference(_REGISTERING_S, "")
        )
    except Promised:
        raise unavailable("The order is being kept. Send the form again in a moment.") from None
    return outcome["kind"] != CommandRepeated.kind


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


routes = (submit_by_form,)
