"""The decision matrix (CP-07) and its back-tests (NX-18): the platform's rules for deciding small cases at once."""

from collections.abc import Mapping
from typing import Any

from litestar import Response, delete, get, post, put
from litestar.params import FromPath

from contracts.base import Message
from contracts.ids import made_id
from contracts.matrix import (
    RULES_KEY,
    TRIALS_KEY,
    BackTestContent,
    DecisionRuleContent,
    PutDecisionRule,
    RuleConditions,
    RunBackTest,
    WithdrawDecisionRule,
)
from contracts.problems import Problem
from contracts.topics import ESCALATION_COMMANDS
from services.gateway.answers import Answer, answer, listed, response_of, with_version
from services.gateway.context import Caller, Gateway, TheGateway
from services.gateway.cursors import cursor, place_of, whole_number
from services.gateway.documented import CONDITIONAL, PAGED, documented, query
from services.gateway.problems import ProblemError, field_error
from services.gateway.requests import AnyRequest, if_match, json_body, parsed, preference
from services.gateway.shown.platform import BackTest, DecisionRule, DecisionRulePage
from services.gateway.store import BACK_TESTS, PLATFORM

__all__ = ["routes"]

_PATH = "/v1/decision-rules"
_FOR_WHOM = "For the platform."
_LONGEST_ID = 100


class DecisionRuleRequest(DecisionRuleContent):
    """A rule as it is asked for: that it is for every case is said, not left out."""

    conditions: RuleConditions  # pyright: ignore[reportGeneralTypeIssues]


class BackTestRequest(BackTestContent):
    """A rule to try, given whole or by its id."""

    rule: DecisionRuleRequest | None = None  # pyright: ignore[reportIncompatibleVariableOverride]


def _rule_id(command_id: str) -> str:
    """The id of the rule that a command makes: the same command makes the same rule."""
    return made_id("drl", "decision-rule", command_id)


def _trial_id(command_id: str) -> str:
    return made_id("bkt", "back-test", command_id)


def _shown(rule: Mapping[str, Any]) -> dict[str, Any]:
    """A version of a rule as a resource."""
    given = {name: value for name, value in rule.items() if value is not None}
    for part in ("conditions", "caps"):
        given[part] = {name: value for name, value in rule[part].items() if value is not None}
    href = f"{_PATH}/{rule['rule_id']}"
    version = {"href": f"{href}?version={rule['version']}"}
    return {**given, "_links": {"self": {"href": href}, "version": version}}


async def _rules(gateway: Gateway) -> dict[str, list[dict[str, Any]]]:
    """Every version of every rule, by rule."""
    found = await gateway.reads.get(PLATFORM, RULES_KEY)
    return {} if found is None else found["body"]["rules"]


def _latest(versions: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The last version; None of a rule that was withdrawn."""
    return None if not versions or versions[-1].get("withdrawn_at") is not None else versions[-1]


async def _require_known(gateway: Gateway, rule_id: str) -> None:
    """Raises 404 for a rule that was never made. Whether it stands escalation decides, which also knows a command that has
    withdrawn it from one that comes too late."""
    if rule_id not in await _rules(gateway):
        raise ProblemError(Problem.not_found("decision rule"))


async def _latest_of(gateway: Gateway, rule_id: str) -> dict[str, Any]:
    """Raises 404."""
    rule = _latest((await _rules(gateway)).get(rule_id, []))
    if rule is None:
        raise ProblemError(Problem.not_found("decision rule"))
    return rule


@post(
    _PATH,
    operation_id="createDecisionRule",
    summary="A new rule of the decision matrix (CP-07)",
    description=_FOR_WHOM,
    opt=documented(
        body=DecisionRuleRequest,
        answers={201: "The rule with its id, in version 1.", 409: "too-many-rules"},
        gives=DecisionRule,
        late=True,
    ),
)
async def create_rule(request: AnyRequest, gateway: TheGateway, principal: Caller) -> Response[bytes]:
    """It holds for cases that open from now on, or from `effective_from` on."""
    principal.require("platform")
    raw = await json_body(request)

    async def work(command_id: str) -> Answer:
        content = parsed(DecisionRuleRequest, raw)
        rule_id = _rule_id(command_id)
        command = PutDecisionRule(rule_id=rule_id, content=content, new=True, actor=principal.actor())
        await _ask(request, gateway, RULES_KEY, command, command_id)
        return with_version(201, _shown(await _latest_of(gateway, rule_id)), Location=f"{_PATH}/{rule_id}")

    return await gateway.once(request, principal, raw, work)


async def _ask(request: AnyRequest, gateway: Gateway, key: str, command: Message, command_id: str) -> None:
    await gateway.commands.ask(ESCALATION_COMMANDS, key, command, command_id, preference(request))


@get(
    _PATH,
    operation_id="listDecisionRules",
    summary="The rules, in the order in which they are asked",
    description=_FOR_WHOM,
    opt=documented(query=PAGED, answers={200: "Each rule in its latest version."}, gives=DecisionRulePage),
)
async def list_rules(request: AnyRequest, gateway: TheGateway, principal: Caller) -> Response[bytes]:
    """Those that were not withdrawn."""
    principal.require("platform")
    given = query(request)
    limit = whole_number("limit", given.get("limit"), 50, 1, 200)
    place = place_of(given.get("cursor"), int, str, str)
    rules = [rule for versions in (await _rules(gateway)).values() if (rule := _latest(versions)) is not None]
    placed = sorted(((rule["priority"], rule["made_at"], rule["rule_id"]), rule) for rule in rules)
    after = [(where, rule) for where, rule in placed if place is None or where > tuple(place)]
    page = after[:limit]
    return response_of(listed([_shown(rule) for _, rule in page], cursor(list(page[-1][0])) if len(after) > limit else None))


@get(
    _PATH + "/{rule_id:str}",
    operation_id="getDecisionRule",
    summary="A rule of the decision matrix",
    description=_FOR_WHOM,
    opt=documented(
        query={"version": "Another version than the latest; also of a rule that was withdrawn."},
        answers={200: "The rule."},
        gives=DecisionRule,
    ),
)
async def get_rule(request: AnyRequest, gateway: TheGateway, principal: Caller, rule_id: FromPath[str]) -> Response[bytes]:
    """`decided_by` of a case names rule and version."""
    principal.require("platform")
    wanted = query(request).get("version")
    if wanted is None:
        return response_of(with_version(200, _shown(await _latest_of(gateway, rule_id))))
    version = whole_number("version", wanted, 1, 1, 1_000_000)
    for rule in (await _rules(gateway)).get(rule_id, []):
        if rule["version"] == version:
            return response_of(with_version(200, _shown(rule)))
    raise ProblemError(Problem.not_found("decision rule in this version"))


@put(
    _PATH + "/{rule_id:str}",
    operation_id="putDecisionRule",
    summary="The next version of a rule",
    description=_FOR_WHOM,
    opt=documented(
        body=DecisionRuleRequest,
        headers=CONDITIONAL,
        answers={200: "The rule in its new version.", 409: "too-many-rules", 412: "version-mismatch"},
        gives=DecisionRule,
        late=True,
    ),
)
async def put_rule(request: AnyRequest, gateway: TheGateway, principal: Caller, rule_id: FromPath[str]) -> Response[bytes]:
    """The version before stays in force until `effective_from`. Caps go on counting."""
    principal.require("platform")
    raw = await json_body(request)

    async def work(command_id: str) -> Answer:
        content = parsed(DecisionRuleRequest, raw)
        await _require_known(gateway, rule_id)
        command = PutDecisionRule(
            rule_id=rule_id, content=content, new=False, if_match=if_match(request), actor=principal.actor()
        )
        await _ask(request, gateway, RULES_KEY, command, command_id)
        return with_version(200, _shown(await _latest_of(gateway, rule_id)))

    return await gateway.once(request, principal, raw, work)


@delete(
    _PATH + "/{rule_id:str}",
    operation_id="withdrawDecisionRule",
    summary="Take a rule away",
    description=_FOR_WHOM,
    status_code=200,  # for Litestar, which lets no handler of a 204 answer with a problem's body
    opt=documented(headers=CONDITIONAL, answers={204: "It decides nothing any more.", 412: "version-mismatch"}, late=True),
)
async def withdraw_rule(request: AnyRequest, gateway: TheGateway, principal: Caller, rule_id: FromPath[str]) -> Response[bytes]:
    """What it has decided stays decided."""
    principal.require("platform")

    async def work(command_id: str) -> Answer:
        await _require_known(gateway, rule_id)
        command = WithdrawDecisionRule(rule_id=rule_id, if_match=if_match(request), actor=principal.actor())
        await _ask(request, gateway, RULES_KEY, command, command_id)
        return Answer(204, b"")

    return await gateway.once(request, principal, b"", work)


@post(
    _PATH + "/back-tests",
    operation_id="runBackTest",
    summary="Try a rule on past cases (NX-18)",
    description=_FOR_WHOM,
    status_code=200,
    opt=documented(body=BackTestRequest, answers={200: "What it would have done."}, gives=BackTest, late=True),
)
async def run_back_test(request: AnyRequest, gateway: TheGateway, principal: Caller) -> Response[bytes]:
    """The rule alone, caps included, as if it had always been in force; nothing is changed. `decision` is refund, capped or
    no_automatic; cases that the rule does not fit are not listed."""
    principal.require("platform")
    raw = await json_body(request)

    async def work(command_id: str) -> Answer:
        wanted = parsed(BackTestRequest, raw)
        if (wanted.rule is None) == (wanted.rule_id is None):
            raise field_error("/rule", "Give either a rule or the rule_id of one that exists.")
        if wanted.from_ is not None and wanted.to is not None and wanted.to <= wanted.from_:
            raise field_error("/to", "It lies after `from`, which is included where `to` is not.")
        if wanted.rule_id is not None and _latest((await _rules(gateway)).get(wanted.rule_id, [])) is None:
            raise field_error("/rule_id", "There is no such decision rule.")
        command = RunBackTest(
            back_test_id=_trial_id(command_id),
            rule=wanted.rule,
            rule_id=wanted.rule_id,
            since=wanted.from_,
            until=wanted.to,
            actor=principal.actor(),
        )
        await _ask(request, gateway, TRIALS_KEY, command, command_id)
        return answer(200, await _trial_shown(gateway, command.back_test_id))

    # The answer can be long; it is kept once already, under its own id.
    return await gateway.once(request, principal, raw, work, keep=False)


@get(
    _PATH + "/back-tests/{back_test_id:str}",
    operation_id="getBackTest",
    summary="The result of a back-test",
    description=_FOR_WHOM,
    opt=documented(answers={200: "As it was answered; kept for 48 hours."}, gives=BackTest),
)
async def get_back_test(gateway: TheGateway, principal: Caller, back_test_id: FromPath[str]) -> Response[bytes]:
    """Also where its POST was answered with 202."""
    principal.require("platform")
    return response_of(answer(200, await _trial_shown(gateway, back_test_id)))


async def _trial_shown(gateway: Gateway, trial_id: str) -> dict[str, Any]:
    """Raises 404."""
    found = await gateway.reads.get(BACK_TESTS, trial_id) if len(trial_id) <= _LONGEST_ID else None
    if found is None or "result" not in found:
        raise ProblemError(Problem.not_found("back-test"))
    parts = await gateway.reads.many(BACK_TESTS, [f"{trial_id}:{number}" for number in range(found["parts"])])
    result = found["result"]
    shown = {
        "back_test_id": trial_id,
        **({"tried": found["tried"]} if found["tried"] is not None else {}),
        **{name: result[name] for name in ("cases", "matched", "decided", "capped", "costs")},
        "cost": result["costs"][0] if result["costs"] else None,
        "decisions": [each for number in range(found["parts"]) for each in parts[f"{trial_id}:{number}"]["decisions"]],
        "_links": {"self": {"href": f"{_PATH}/back-tests/{trial_id}"}},
    }
    if result["decisions_left_out"]:
        shown["decisions_left_out"] = result["decisions_left_out"]
    return shown


routes = (create_rule, list_rules, get_rule, put_rule, withdraw_rule, run_back_test, get_back_test)
