"""Cases: read, listed, acted on, previewed."""

import re
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, get_args

import orjson
from litestar import Response, get, post
from litestar.params import FromPath
from pydantic import ConfigDict, ValidationError

from chassis.store import Collection
from contracts.base import Model
from contracts.cases import CaseState, TakeAction
from contracts.ids import ID_PATTERN, order_of
from contracts.orders import Code, Standing
from contracts.problems import Problem
from contracts.topics import CASES_COMMANDS
from engine.casefile import CLOSED
from engine.decide import Refusal
from engine.forms import MAX_EVIDENCE
from engine.views import preview
from services.gateway.answers import Answer, answer, listed, response_of, with_version
from services.gateway.context import Caller, Gateway, TheGateway
from services.gateway.cursors import Place, cursor, place_of, whole_number
from services.gateway.documented import CONDITIONAL, PAGED, documented, query
from services.gateway.guests import require_filters_seen
from services.gateway.lists import Filter, newest_first, scope_of
from services.gateway.principals import Principal
from services.gateway.problems import ProblemError, unreadable, wrong_query
from services.gateway.projector import Body, file_of
from services.gateway.representations import case_shown, preview_shown
from services.gateway.requests import AnyRequest, field_errors, if_match, json_body, preference, require_readable
from services.gateway.shops import Shop
from services.gateway.shown.cases import Case, CasePage, GuestCase, GuestPreview, Preview
from services.gateway.store import ORDERS

__all__ = ["ActionRequest", "act", "action_command", "routes"]

_Row = Mapping[str, Any]
_STATES: tuple[str, ...] = get_args(CaseState)
_WORDS = re.compile(r"\S+")
_PAID_WITHIN_S = 0.5
"""How long an answer waits for the payment that its action caused: most are executed at once, and are then shown so."""
_LONGEST_WORD = 254
"""Characters of the longest thing that a case is found by, an e-mail address; a store refuses patterns that are much longer."""


class ActionRequest(Model):
    """An action with its fields beside its name, as `allowed_actions` describes them."""

    model_config = ConfigDict(frozen=True, extra="allow", use_attribute_docstrings=True)

    action: Code

    @property
    def fields(self) -> dict[str, Any]:
        return dict(self.__pydantic_extra__ or {})


def _action_of(raw: bytes) -> ActionRequest:
    """Raises 400, 422. The fields themselves are judged by the engine."""
    try:
        orjson.loads(raw)  # stricter than pydantic: no NaN, which no record could carry
    except orjson.JSONDecodeError as wrong:
        raise unreadable(f"The body is no JSON: {wrong}.") from None
    try:
        wanted = ActionRequest.model_validate_json(raw)
    except ValidationError as invalid:
        raise ProblemError(Problem.invalid_input(*field_errors(invalid))) from None
    require_readable(raw)
    return wanted


@get(
    "/v1/cases/{case_id:str}",
    operation_id="getCase",
    summary="A case, with what its caller can do now",
    opt=documented(answers={200: "The case."}, gives=Case | GuestCase),
)
async def get_case(request: AnyRequest, gateway: TheGateway, principal: Caller, case_id: FromPath[str]) -> Response[bytes]:
    """For the platform, the merchant and its partner, and the bearer of a link of its order."""
    body = await gateway.case(principal, case_id)
    return response_of(await _answered(request, gateway, principal, body, case_id))


async def _answered(request: AnyRequest, gateway: Gateway, principal: Principal, body: Body, case_id: str) -> Answer:
    shop = await gateway.shop(principal, body["order"])
    return with_version(200, case_shown(body, case_id, gateway.reader(request, principal, body["order"], shop)))


@post(
    "/v1/cases/{case_id:str}/actions",
    operation_id="actOnCase",
    summary="Take an action on a case",
    status_code=200,
    opt=documented(
        body=ActionRequest,
        headers=CONDITIONAL,
        answers={200: "The case as it then is.", 409: "action-not-allowed", 412: "version-mismatch"},
        gives=Case | GuestCase,
        late=True,
    ),
)
async def act_on_case(request: AnyRequest, gateway: TheGateway, principal: Caller, case_id: FromPath[str]) -> Response[bytes]:
    """`{"action": "answer", …its fields}`; the case's `allowed_actions` list what is open to the caller."""
    raw = await json_body(request)

    async def work(command_id: str) -> Answer:
        body = await gateway.case(principal, case_id)
        wanted = _action_of(raw)
        command = await action_command(request, gateway, principal, body, case_id, wanted.action, wanted.fields)
        body = await act(request, gateway, command, command_id)
        return await _answered(request, gateway, principal, body, case_id)

    return await gateway.once(request, principal, raw, work)


async def act(request: AnyRequest, gateway: Gateway, command: TakeAction, command_id: str) -> Body:
    """Have an action decided; the read document of its case's order as it then is."""
    case_id = command.case_id
    order_id = order_of(case_id)
    await gateway.commands.ask(CASES_COMMANDS, order_id, command, command_id, preference(request))

    def agreed(body: Body) -> bool:
        """Case and order say the same: both topics have been heard."""
        is_open = body["file"]["cases"][case_id]["state"] not in CLOSED
        return is_open == any(open_case["case_id"] == case_id for open_case in body["standing"]["open_cases"])

    body = await gateway.seen(order_id, agreed)
    if gateway.settings.payments_url and _owed(body):
        return await gateway.seen(order_id, lambda body: not _owed(body), _PAID_WITHIN_S)
    return body


def _owed(body: Body) -> bool:
    """Whether the latest change of the order's cases has the platform pay something that was not confirmed yet."""
    file = body["file"]
    settled = {entry["settles"] for entry in file["ledger"]}
    return any(
        entry["kind"] == "reserved"
        and entry["executor"] == "platform"
        and entry["at"] == file["at"]
        and entry["entry_id"] not in settled
        for entry in file["ledger"]
    )


async def action_command(
    request: AnyRequest,
    gateway: Gateway,
    principal: Principal,
    body: Body,
    case_id: str,
    action: str,
    fields: dict[str, Any],
) -> TakeAction:
    """The command of an action on a case that the caller sees, `body` being its order's read document. Raises 403 where its
    link only reads by now. Evidence that it may not name is left out: whether the action is open at all is judged first."""
    gateway.require_acting(principal, body)
    named = fields.get("evidence")
    evidence_ids = [each for each in named if isinstance(each, str)] if isinstance(named, list) else []
    evidence = await gateway.nameable(principal, body["order"]["order_id"], evidence_ids[:MAX_EVIDENCE])
    shop = await gateway.shop(principal, body["order"]) if _takes_label(gateway, body, case_id, action) else None
    return TakeAction(
        case_id=case_id,
        action=action,
        fields=fields,
        evidence=tuple(evidence.values()),
        labels=() if shop is None else shop.labels,
        if_match=if_match(request),
        actor=principal.actor(),
    )


def _takes_label(gateway: Gateway, body: Body, case_id: str, action: str) -> bool:
    """Whether an action takes one of the merchant's own status labels (RD-06): for others these need not be read."""
    policy = body["file"]["cases"][case_id]["policy"]
    terms = gateway.programmes.get(policy["programme"], policy["version"]).actions.get(action)
    return terms is not None and any(field.type == "status" for field in terms.fields.values())


@post(
    "/v1/cases/{case_id:str}/previews",
    operation_id="previewAction",
    summary="What an action would do, without doing it (NX-04)",
    status_code=200,
    opt=documented(body=ActionRequest, headers=CONDITIONAL, answers={200: "As it would be."}, gives=Preview | GuestPreview),
)
async def preview_action(
    request: AnyRequest, gateway: TheGateway, principal: Caller, case_id: FromPath[str]
) -> Response[bytes]:
    """Refused exactly as the action would be."""
    raw = await json_body(request)

    async def work(command_id: str) -> Answer:
        body = await gateway.case(principal, case_id)
        wanted = _action_of(raw)
        command = await action_command(request, gateway, principal, body, case_id, wanted.action, wanted.fields)
        reader = gateway.reader(request, principal, body["order"])
        file = file_of(body)
        if file is None:
            raise ProblemError(Problem.not_found("case"))
        standing = Standing.model_validate(body["standing"])
        found = preview(file, command, reader.now, gateway.programmes, standing, reader.locale, reader.record)
        if isinstance(found, Refusal):
            raise ProblemError(found.problem)
        return answer(200, preview_shown(found, principal))

    return await gateway.once(request, principal, raw, work)


@get(
    "/v1/cases",
    operation_id="listCases",
    summary="Cases, those of the latest reported order first",
    opt=documented(
        query={
            "state": f"One of {', '.join(_STATES)}.",
            "merchant_id": "Only those of this merchant.",
            "order_id": "Only those of this order.",
            "programme": "Only those of this programme.",
            "attention": "`true`: only those where it is the caller's turn; `false`: the others.",
            "q": "Words of order number, buyer's e-mail or name, each from its beginning; or the id of an order or case.",
            "counts": "`true`: beside the items, how many there are over all pages. Who sees every shop names one.",
            **PAGED,
        },
        answers={200: "Cases that the caller may see."},
        gives=CasePage,
    ),
)
async def list_cases(request: AnyRequest, gateway: TheGateway, principal: Caller) -> Response[bytes]:
    """Those that the caller may see. Counted (RD-10) as `reported` until somebody begins, as `running` until they end."""
    given = query(request)
    counting = _counting(given, principal)
    limit = whole_number("limit", given.get("limit"), 50, 1, 200)
    place = place_of(given.get("cursor"), str, str, int)
    require_filters_seen(principal, given)
    wanted, fits = _wanted(given, principal)
    scope = await scope_of(gateway, principal, given.get("merchant_id"))
    if scope is None or wanted is None or (scope.get("_id", wanted.get("_id")) != wanted.get("_id", scope.get("_id"))):
        return response_of(listed([], None, **({"counts": _counts(Counter())} if counting else {})))
    wanted |= scope
    seen = _seen(fits, principal)
    items: list[dict[str, Any]] = []
    while len(items) <= limit:
        page = {**wanted, **_from(place)}
        found = await newest_first(gateway.database[ORDERS], page, "body.reported_at", limit + 1)
        for document in found:
            for row in _rows(document, place):
                if seen(row):
                    items.append({**row, "_document": document})
            place = [document["body"]["reported_at"], document["_id"], 0]
        if len(found) <= limit:
            break
    shops = await gateway.shops(principal, (item["_document"]["body"]["order"]["merchant_id"] for item in items[:limit]))
    shown = [_shown(item, request, gateway, principal, shops) for item in items[:limit]]
    more = None
    if len(items) > limit:
        last = items[limit - 1]
        more = cursor([last["_document"]["body"]["reported_at"], last["_document"]["_id"], _number(last["case_id"])])
    counts = {"counts": await _counted(gateway.database[ORDERS], wanted, seen)} if counting else {}
    return response_of(listed(shown, more, **counts))


def _counting(given: Mapping[str, str], principal: Principal) -> bool:
    """Whether the cases are to be counted, which reads all of them: those of some shops or of an order, never the whole
    platform's. Raises 422."""
    if given.get("counts") not in (None, "true", "false"):
        raise wrong_query(("counts", "true or false"))
    counting = given.get("counts") == "true"
    few = principal.role == "merchant" or principal.capability is not None or {"merchant_id", "order_id"} & given.keys()
    if counting and not few:
        raise wrong_query(("counts", "name a merchant_id or an order_id whose cases are to be counted"))
    return counting


def _seen(fits: Callable[[_Row], bool], principal: Principal) -> Callable[[_Row], bool]:
    """The test of each case, for what is listed as for what is counted."""
    return lambda row: fits(row) and principal.sees_case(row["case_id"])


async def _counted(orders: Collection, wanted: Filter, seen: Callable[[_Row], bool]) -> dict[str, int]:
    """How many cases a list has over all of its pages, by how far they have come (RD-10)."""
    found = orders.find({**wanted, **_from(None)}, {"body.cases": 1}, batch_size=1_000)
    numbers = Counter[str]()
    async for document in found:
        numbers.update(_stage(row["state"]) for row in document["body"]["cases"] if seen(row))
    return _counts(numbers)


def _counts(numbers: Mapping[str, int]) -> dict[str, int]:
    return {"all": sum(numbers.values()), **{stage: numbers.get(stage, 0) for stage in ("reported", "running", "finished")}}


def _stage(state: str) -> str:
    if state in CLOSED:
        return "finished"
    return "reported" if state == "submitted" else "running"


def _number(case_id: str) -> int:
    return int(case_id.rpartition("_")[2])


def _rows(document: dict[str, Any], place: Place | None) -> list[dict[str, Any]]:
    """The cases of an order, newest first; below `place` where the page before ended within this order."""
    rows = list(reversed(document["body"]["cases"]))
    if place is not None and document["_id"] == place[1]:
        return [row for row in rows if _number(row["case_id"]) < int(place[2])]
    return rows


def _from(place: Place | None) -> Filter:
    """From the order that the place is in, itself included: it may have cases left."""
    if place is None:
        return {"body.reported_at": {"$exists": True}}
    moment, order_id, number = place
    equal = {"$lte": order_id} if int(number) > 1 else {"$lt": order_id}
    return {"body.reported_at": {"$lte": moment}, "$or": [{"body.reported_at": {"$lt": moment}}, {"_id": equal}]}


def _wanted(given: dict[str, str], principal: Principal) -> tuple[Filter | None, Any]:
    """The store's filter on orders and the test of each case; the filter is None where nothing can fit."""
    wanted: Filter = {"body.standing": {"$exists": True}}
    tests: list[Any] = []
    if "state" in given:
        if given["state"] not in _STATES:
            raise wrong_query(("state", f"one of {', '.join(_STATES)}"))
        wanted["body.states"] = given["state"]
        tests.append(lambda row: row["state"] == given["state"])
    if "programme" in given:
        wanted["body.cases.programme"] = given["programme"]
        tests.append(lambda row: row["programme"] == given["programme"])
    if "attention" in given:
        if given["attention"] not in ("true", "false"):
            raise wrong_query(("attention", "true or false"))
        mine = given["attention"] == "true"
        turn = principal.turn
        if mine:
            if turn is None:
                return None, None
            wanted["body.turns"] = turn
        tests.append(lambda row: (turn is not None and row["turn"] == turn) == mine)
    if "order_id" in given:
        wanted["_id"] = given["order_id"]
    if "q" in given:
        words = [word.lower() for word in _WORDS.findall(given["q"])[:8]]
        if any(len(word) > _LONGEST_WORD for word in words):
            return None, None
        match = ID_PATTERN.fullmatch(words[0]) if len(words) == 1 else None
        if match is not None:
            found = f"ord_{match['order']}"
            if wanted.setdefault("_id", found) != found:
                return None, None
            if match["prefix"] == "cas":
                tests.append(lambda row: row["case_id"] == words[0])
        elif words:
            wanted["$and"] = [{"body.search": {"$regex": "^" + re.escape(word)}} for word in words]
    return wanted, lambda row: all(test(row) for test in tests)


def _shown(
    item: dict[str, Any], request: AnyRequest, gateway: Gateway, principal: Principal, shops: Mapping[str, Shop]
) -> dict[str, Any]:
    body: Body = item["_document"]["body"]
    shop = shops.get(body["order"]["merchant_id"])
    return case_shown(body, item["case_id"], gateway.reader(request, principal, body["order"], shop))


routes = (get_case, act_on_case, preview_action, list_cases)
