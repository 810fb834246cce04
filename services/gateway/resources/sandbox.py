"""The sandbox's own routes: its clock, the mails that arrived, addresses that bounce, the payments that were made."""

import asyncio
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from email.utils import format_datetime
from http.client import HTTPConnection, HTTPException
from typing import Annotated, Any, Literal
from urllib.parse import urlencode, urlsplit

import orjson
from litestar import Response, get, post
from pydantic import Field, model_validator

from contracts.base import Duration, Model, Moment, format_moment, parse_duration
from contracts.ids import derived, made_id
from contracts.outages import Outage
from contracts.problems import Problem
from contracts.texts import Email
from services.gateway.answers import Answer, answer, listed, response_of
from services.gateway.context import Caller, Gateway, TheGateway
from services.gateway.cursors import whole_number
from services.gateway.documented import PAGED, documented, query
from services.gateway.principals import Principal
from services.gateway.problems import ProblemError, field_error, unavailable, wrong_query
from services.gateway.requests import AnyRequest, json_body, parsed
from services.gateway.sandbox import SandboxControl
from services.gateway.shown.sandbox import BouncingAddress, Clock, DeclaredOutage, MailPage, PaymentPage, SetPaymentMode

__all__ = ["routes"]

_SERVER_S = 10.0
_LONGEST_OUTAGE = timedelta(days=90)
_PLACE = re.compile(r"(?:mail|pay)_[0-9]{1,18}")
_LATEST = datetime.fromisoformat("2200-01-01T00:00:00+00:00")


class ClockMove(Model):
    """Where the clock is to stand: give one of the two."""

    advance: Duration | None = None
    now: Moment | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> "ClockMove":
        if (self.advance is None) == (self.now is None):
            raise ValueError("give either advance or now")
        return self

    def later(self, now: datetime) -> datetime:
        """Where the clock stands afterwards. Raises 422 beyond the year 2200."""
        place, later = "/now", self.now
        if later is None:
            place = "/advance"
            try:
                later = now + parse_duration(self.advance or "PT0S")
            except OverflowError:
                later = None
        if later is None or later > _LATEST:
            raise field_error(place, "the clock goes to the year 2200")
        return later


class PaymentMode(Model):
    """How the sandbox's payment provider behaves until it is told otherwise."""

    mode: Literal["ok", "fail", "timeout", "late"]
    """`fail`: each attempt is refused, and tried again later. `timeout`: it pays and does not answer. `late`: it answers after
    a minute of the test clock."""


class Bounce(Model):
    """An address that refuses its mails from now on."""

    email: Annotated[Email, Field(max_length=254)]


class OutageRequest(Model):
    """Time in which nobody could act: it ends now, or begins now."""

    duration: Duration
    begins: Literal["now"] | None = None
    """It is ahead: what falls due in it is decided over when the clock has come to its end."""


def _control(gateway: Gateway, principal: Principal) -> SandboxControl:
    """Any key may use the sandbox's own routes; a link is no key. Raises 403, and 404 outside the sandbox."""
    if gateway.sandbox is None:
        raise ProblemError(Problem.not_found("sandbox"))
    if principal.capability is not None:
        raise ProblemError(Problem.forbidden("The sandbox is moved with a key, not with a link."))
    return gateway.sandbox


@get(
    "/v1/sandbox/clock",
    operation_id="getClock",
    summary="The sandbox's time",
    opt=documented(answers={200: "The time."}, gives=Clock),
)
async def get_clock(request: AnyRequest, gateway: TheGateway, principal: Caller) -> Response[bytes]:
    """It stands still between moves. `ready`: all that the last move caused is done."""
    state = await _control(gateway, principal).state()
    return response_of(answer(200, state.shown()))


@post(
    "/v1/sandbox/clock",
    operation_id="moveClock",
    summary="Move the sandbox's time (NX-05)",
    status_code=200,
    opt=documented(
        body=ClockMove,
        answers={
            200: "All that the move caused is done.",
            409: "clock-backwards",
            503: "What is not done, in `blocked_by`.",
        },
        gives=Clock,
    ),
)
async def move_clock(request: AnyRequest, gateway: TheGateway, principal: Caller) -> Response[bytes]:
    """Forward only. Moves asked for at the same time are made one after the other."""
    control = _control(gateway, principal)
    raw = await json_body(request)

    async def work(command_id: str) -> Answer:
        state = await control.move(parsed(ClockMove, raw).later, command_id)
        if await gateway.outages.end(state.now):
            state = await control.move(lambda now: now, derived("outage-over", command_id))
        return answer(200, state.shown())

    return await gateway.once(request, principal, raw, work)


@get(
    "/v1/sandbox/mails",
    operation_id="listMails",
    summary="The mails that arrived in the sandbox, oldest first",
    opt=documented(
        query={
            "to": "Only those to this address.",
            "kind": "Only those of this kind.",
            "order_id": "Only those about this order.",
            "case_id": "Only those about this case.",
            "after": "Only those that arrived after the one with this mail_id.",
            **PAGED,
        },
        answers={200: "Mails."},
        gives=MailPage,
    ),
)
async def list_mails(request: AnyRequest, gateway: TheGateway, principal: Caller) -> Response[bytes]:
    """What the sandbox's mail server took by SMTP."""
    _control(gateway, principal)
    page = await _mail_server(gateway, "GET", "/mails", params=_page_wanted(request))
    return response_of(listed(page["items"], page.get("next")))


def _page_wanted(request: AnyRequest) -> dict[str, str]:
    """The query of a list of the API as the sandbox's servers take it: they go on after an item, and the one that a page ended
    with is its cursor. Raises 422."""
    given = query(request)
    place = given.pop("cursor", None)
    if place is not None and not _PLACE.fullmatch(place):
        raise wrong_query(("cursor", "take `next` of the page before, unchanged"))
    limit = whole_number("limit", given.get("limit"), 50, 1, 200)
    return {**given, "limit": str(limit), **({} if place is None else {"after": place})}


@post(
    "/v1/sandbox/bounces",
    operation_id="declareBounce",
    summary="Let an address refuse its mails from now on",
    opt=documented(body=Bounce, answers={201: "The address."}, gives=BouncingAddress),
)
async def declare_bounce(request: AnyRequest, gateway: TheGateway, principal: Caller) -> Response[bytes]:
    """The mail server answers 550 for it."""
    _control(gateway, principal)
    raw = await json_body(request)

    async def work(command_id: str) -> Answer:
        wanted = parsed(Bounce, raw)
        return answer(201, await _mail_server(gateway, "POST", "/bounces", json={"email": wanted.email}))

    return await gateway.once(request, principal, raw, work)


@post(
    "/v1/sandbox/outages",
    operation_id="declareOutage",
    summary="Declare that nobody could act until now, or can from now on (NX-08)",
    opt=documented(
        body=OutageRequest, answers={201: "The outage: deadlines that run in it end later by as much."}, gives=DeclaredOutage
    ),
)
async def declare_outage(request: AnyRequest, gateway: TheGateway, principal: Caller) -> Response[bytes]:
    """Answered when every deadline has been told. One that `begins` now is recorded as a real one is: after it."""
    control = _control(gateway, principal)
    raw = await json_body(request)

    async def work(command_id: str) -> Answer:
        wanted = parsed(OutageRequest, raw)
        duration = parse_duration(wanted.duration)
        if not timedelta() < duration <= _LONGEST_OUTAGE:
            raise field_error("/duration", "an outage is longer than nothing and at most P90D")
        now = (await control.state()).now
        since, until = (now - duration, now) if wanted.begins is None else (now, now + duration)
        outage = Outage(outage_id=made_id("out", "outage", command_id), lost_from=since, lost_until=until)
        await (gateway.outages.declare(outage) if wanted.begins is None else gateway.outages.begin(outage))
        await control.move(lambda now: now, derived("outage-told", command_id))
        return answer(201, {"outage_id": outage.outage_id, "from": format_moment(since), "until": format_moment(until)})

    return await gateway.once(request, principal, raw, work)


@get(
    "/v1/sandbox/payments",
    operation_id="listSandboxPayments",
    summary="What the sandbox's payment provider paid, oldest first",
    opt=documented(
        query={
            "order_id": "Only those of this order.",
            "decision_id": "Only the one of this decision.",
            **PAGED,
        },
        answers={200: "Payments."},
        gives=PaymentPage,
    ),
)
async def list_payments(request: AnyRequest, gateway: TheGateway, principal: Caller) -> Response[bytes]:
    """`requests` counts how often a payment was asked for: however often, it was paid once."""
    _control(gateway, principal)
    page = await _payment_provider(gateway, "GET", "/payments", params=_page_wanted(request))
    return response_of(listed(page["items"], page.get("next"), mode=page["mode"]))


@post(
    "/v1/sandbox/payments",
    operation_id="setPaymentMode",
    summary="Tell the sandbox's payment provider how to behave from now on",
    status_code=200,
    opt=documented(body=PaymentMode, answers={200: "How it behaves now."}, gives=SetPaymentMode),
)
async def set_payment_mode(request: AnyRequest, gateway: TheGateway, principal: Caller) -> Response[bytes]:
    """It holds until changed."""
    _control(gateway, principal)
    raw = await json_body(request)

    async def work(command_id: str) -> Answer:
        wanted = parsed(PaymentMode, raw)
        return answer(200, await _payment_provider(gateway, "POST", "/mode", json={"mode": wanted.mode}))

    return await gateway.once(request, principal, raw, work)


async def _mail_server(
    gateway: Gateway, method: str, path: str, params: Mapping[str, str] | None = None, json: Any = None
) -> Any:
    """Ask the sandbox's mail server. Raises 422 with what it does not take, 503 where it is away."""
    url = gateway.settings.mailsink_url
    if not url:
        raise unavailable("This sandbox runs without a mail server; set RECOURSE_MAILSINK_URL.")
    return await _server(gateway, "mail server", url, method, path, params, json)


async def _payment_provider(
    gateway: Gateway, method: str, path: str, params: Mapping[str, str] | None = None, json: Any = None
) -> Any:
    """Ask the sandbox's payment provider. Raises 422 with what it does not take, 503 where it is away."""
    url = gateway.settings.payments_url
    if not url:
        raise unavailable("This sandbox runs without a payment provider; set RECOURSE_PAYMENTS_URL.")
    return await _server(gateway, "payment provider", url, method, path, params, json)


async def _server(
    gateway: Gateway, name: str, url: str, method: str, path: str, params: Mapping[str, str] | None, json: Any
) -> Any:
    place = urlsplit(url)
    query = f"{path}?{urlencode(params)}" if params else path
    content = None if json is None else orjson.dumps(json)
    date = format_datetime(gateway.clock.now(), usegmt=True)
    try:
        status, answered = await asyncio.to_thread(_asked, place.hostname or "", place.port or 80, method, query, content, date)
        body = orjson.loads(answered)
    except (OSError, HTTPException, ValueError):
        raise unavailable(f"The sandbox's {name} cannot be reached.") from None
    if status >= 500:
        raise unavailable(f"The sandbox's {name} cannot answer.")
    if status >= 400:
        detail = str(body.get("detail", "this is not taken"))
        raise wrong_query((detail.split(" ", 1)[0], detail))
    return body


def _asked(host: str, port: int, method: str, path: str, content: bytes | None, date: str) -> tuple[int, bytes]:
    """One request on loopback, which is worth no client library in memory. Raises OSError, HTTPException."""
    connection = HTTPConnection(host, port, timeout=_SERVER_S)
    try:
        connection.request(method, path, content, {"Date": date, **({"Content-Type": "application/json"} if content else {})})
        found = connection.getresponse()
        return found.status, found.read()
    finally:
        connection.close()


routes = (get_clock, move_clock, list_mails, declare_bounce, declare_outage, list_payments, set_payment_mode)
