"""The plain page of a merchant's universal form: no JavaScript, no account (RD-01 to 03)."""

import hashlib
import uuid
from collections.abc import Mapping
from typing import Any

import orjson
from litestar import Response, get, post
from litestar.params import FromPath

from contracts.problems import Problem
from engine.programmes import Programme, in_language
from services.gateway.answers import Answer
from services.gateway.context import Gateway, TheGateway
from services.gateway.documented import documented
from services.gateway.forms import FormField
from services.gateway.page import html_answer, in_words, problem_of, rendered, words_of_error
from services.gateway.problems import ProblemError, as_problem
from services.gateway.requests import AnyRequest, parsed
from services.gateway.resources.form_reports import (
    PROGRAMME,
    FormReport,
    OpenForm,
    content_of,
    currency_of,
    form_of,
    given_by,
    limited,
    outcome_of,
    report_by_form,
)
from services.gateway.shown.values import HTML
from services.gateway.uploads import PAGES_AT_ONCE, Upload, upload_of
from services.gateway.wording import language_of, words

__all__ = ["routes"]


@get(
    "/f/{token:str}",
    operation_id="openForm",
    summary="The page of a merchant's form",
    media_type="text/html",
    opt=documented(answers={200: "A page."}, public=True, page=True, gives=HTML),
)
async def open_form(request: AnyRequest, gateway: TheGateway, token: FromPath[str]) -> Response[Any]:
    """In English or German, as the form or its merchant has it."""
    try:
        form = await form_of(gateway, token)
        return html_answer(200, await _page(gateway, form, token))
    except Exception as error:
        return in_words(request, error)


@post(
    "/f/{token:str}",
    operation_id="sendForm",
    summary="The filled form of a merchant",
    opt=documented(content_type="multipart/form-data", answers={303: "To the page of the new case."}, public=True, page=True),
)
async def send_form(request: AnyRequest, gateway: TheGateway, token: FromPath[str]) -> Response[Any]:
    """The same report as POST /v1/forms/{token}/reports; leads to the page of its case, which can be kept."""
    upload = Upload()
    form: OpenForm | None = None
    try:
        form = await form_of(gateway, token)
        limited(form)
        async with PAGES_AT_ONCE:
            upload = await upload_of(request)
            given = await _sent_once(request, gateway, form, upload)
        if given.status >= 400:
            raise ProblemError(problem_of(given))
    except Exception as error:
        met = as_problem(error)
        if form is None or met.problem.status == 404:
            return in_words(request, error)
        page = await _page(gateway, form, token, upload.fields, met.problem)
        return html_answer(met.problem.status, page, met.headers)
    if given.status == 202:
        receipt = given.headers["Location"].rpartition("/")[2]
        return html_answer(303, "", {"Location": f"/f/{token}/reports/{receipt}"})
    link = orjson.loads(given.body)["link"]["token"]
    return html_answer(303, "", {"Location": f"/l/{link}?said=done"})


async def _sent_once(request: AnyRequest, gateway: Gateway, form: OpenForm, upload: Upload) -> Answer:
    """Sent twice, also at the same moment and to two processes, it is one report; gone back to and changed it is another."""
    raw = orjson.dumps(given_by(upload, form))

    async def work(command_id: str) -> Answer:
        return await report_by_form(request, gateway, form, parsed(FormReport, raw), upload, command_id)

    content = content_of(raw, upload)
    key = hashlib.sha256(content).hexdigest() if upload.fields.get("nonce") else None
    return await gateway.done_once(request, form.principal, content, work, key, patient=True)


@get(
    "/f/{token:str}/reports/{receipt:str}",
    operation_id="openFormReport",
    summary="The page of a report whose outcome was not there at once",
    media_type="text/html",
    opt=documented(
        answers={200: "It is on its way; looks again by itself.", 303: "To the page of the new case."},
        public=True,
        page=True,
        gives=HTML,
    ),
)
async def open_form_report(
    request: AnyRequest, gateway: TheGateway, token: FromPath[str], receipt: FromPath[str]
) -> Response[Any]:
    """For whom the form's page had promised it."""
    try:
        form = await form_of(gateway, token)
        found = await outcome_of(gateway, receipt)
        if found["status"] == "done":
            return html_answer(303, "", {"Location": f"/l/{found['result']['link']['token']}?said=done"})
        if found["status"] == "refused":
            page = await _page(gateway, form, token, wrong=Problem.model_validate(found["problem"]))
            return html_answer(found["problem"]["status"], page)
        w = words(_locale(form))
        page = rendered("words.html", _locale(form), title=_title(form, w), text=w["on_its_way"])
        return html_answer(200, page, {"Refresh": "2"})
    except Exception as error:
        return in_words(request, error)


def _title(form: OpenForm, w: Mapping[str, str]) -> str:
    return w["form_title"].replace("{shop}", form.merchant["name"])


def _locale(form: OpenForm) -> str:
    return form.form.locale or form.merchant["locale"]


async def _page(
    gateway: Gateway,
    form: OpenForm,
    token: str,
    given: Mapping[str, str] | None = None,
    wrong: Problem | None = None,
) -> str:
    """The form with what was filled in before."""
    locale, merchant = _locale(form), form.merchant
    w = words(locale)
    return rendered(
        "form.html",
        locale,
        title=_title(form, w),
        token=token,
        # What may have gone through all the same is recognised when it is sent again as it is.
        nonce=(given or {}).get("nonce", "") if wrong is not None and wrong.status >= 500 else str(uuid.uuid4()),
        fields=_fields(await gateway.in_force(PROGRAMME, merchant), form, w, given or {}),
        contact=merchant["service_contact"],
        policy=merchant.get("return_policy_url"),
        wrong=None if wrong is None else words_of_error(wrong),
    )


def _fields(programme: Programme, form: OpenForm, w: Mapping[str, str], given: Mapping[str, str]) -> list[FormField]:
    language = language_of(_locale(form))
    reasons = tuple(
        (code, in_language(reason.label, language))
        for code, reason in programme.reasons.items()
        if "buyer" in reason.by and reason.opens_case
    )

    def field(name: str, kind: str, label: str, required: bool = False, **more: Any) -> FormField:
        return FormField(name, kind, label, required, given.get(name, ""), **more)

    return [
        field("order_number", "text", w["order_number"], True),
        field("order_date", "date", w["order_date"]),
        field("amount", "amount", f"{w['paid']}, {w['optional']}", currency=currency_of(form.merchant)),
        field("reason", "choice", w["what_about"], True, choices=reasons),
        field("text", "long", w["describe"], True),
        field("wish", "text", w["wish"]),
        FormField("file", "files", w["documents"], False),
        field("email", "email", w["email"], True),
        field("phone", "tel", w["phone"]),
    ]


routes = (open_form, send_form, open_form_report)
