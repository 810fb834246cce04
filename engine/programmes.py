"""Programmes: the policies of the product as validated, versioned, effective-dated data (one YAML file a version).

A programme names its reasons, states, actions with their forms, deadlines, and one table of transitions. What may stand
in a row is a small general vocabulary: guards (`When`, see `engine.guards`) and effects (`Effects`, see `engine.decide`)."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, Field, ValidationError, model_validator

from contracts.actors import Party, Role
from contracts.base import Duration, Model, Moment
from contracts.cases import CaseState, Executor, Outcome, Rollout, Variant
from contracts.orders import FactKind
from engine.calendar import WorkingDays
from engine.casefile import CLOSED
from engine.programme_files import ProgrammeError, contents_of

__all__ = [
    "Action",
    "Calendar",
    "DeadlineTerms",
    "Effects",
    "EvidenceItem",
    "Flow",
    "FormField",
    "Programme",
    "ProgrammeError",
    "Programmes",
    "ProtectionTerms",
    "Reason",
    "StateTerms",
    "Texts",
    "Transition",
    "When",
    "in_language",
    "meant_for",
]

Trigger = Literal["report", "action", "silence", "fact"]
Answered = Literal["yes", "yes_after_return", "no", "replacement"]
Texts = dict[str, str]
"""A text by language; in a programme `en` is always there and stands in for a missing one."""


class Terms(Model):
    """A part of a programme: unlike messages it refuses what it does not know, so that a slip of the pen is seen."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


def in_language(texts: Mapping[str, str], locale: str) -> str:
    """The text in the language of a locale (`de-AT` reads `de`), else in English, else in any."""
    known = texts.get(locale) or texts.get(locale.replace("_", "-").split("-")[0]) or texts.get("en")
    return known or next(iter(texts.values()), "")


class Calendar(Terms):
    """A calendar of working days: ISO weekdays (1 = Monday) without the holidays."""

    weekdays: tuple[int, ...]
    holidays: tuple[date, ...] = ()

    @cached_property
    def working(self) -> WorkingDays:
        """As deadlines are reckoned by it."""
        return WorkingDays(self.weekdays, self.holidays)


class ProtectionTerms(Terms):
    """How long orders of this programme are protected (BP-04) and when the buyer is asked (BP-05)."""

    days: int
    check_in_before_end: Duration
    check_in_after_order: Duration
    """Never earlier than this after the order."""


class EvidenceItem(Terms):
    """What a case of a reason is proved by (CP-03): a file of this kind, or a fact of the order that carries `needs`."""

    label: Texts
    level: Literal["required", "one_of", "optional"]
    """`one_of`: one of the items of this level is enough."""
    facts: tuple[FactKind, ...] = ()
    needs: Literal["tracking_code", "carrier", "amount"] | None = None


class Reason(Terms):
    """What may be reported. One that opens no case only ends the protection (`satisfied`)."""

    label: Texts
    rule: str
    by: tuple[Role, ...] = ("buyer", "partner", "platform")
    evidence: dict[str, EvidenceItem] = {}
    """By kind: what a case of this reason needs, for whoever has to prove something."""
    opens_case: bool = True
    needs_protection: bool = True
    """Refused where the order is not protected (any more)."""
    needs_declared_insolvency: bool = False
    is_problem: bool = True
    """Whether its cases count as problems of the merchant (OI-11); what is the buyer's right without one does not."""


class StateTerms(Terms):
    """A state as this programme uses it. `turn` and `deadlines` are what a row that leads here sets unless it says
    otherwise."""

    label: Texts
    label_for: dict[str, Texts] = {}
    """Another label for cases of a reason."""
    turn: Party | None = None
    deadlines: tuple[str, ...] = ()
    waits_for: Literal["provider"] | None = None
    """Nobody's turn here and no deadline of ours: somebody outside decides."""


class FormField(Terms):
    """A field of an action's form. A `choice` takes what open rows of the table give for it; where no row does, all of its
    `values`. A `status` takes the code of a merchant's own label (RD-06), or, as its `values`, a state that these stand for:
    rows give the state. A `refund_amount` is bounded by the row's `amount`."""

    type: Literal["choice", "status", "text", "code", "refund_amount", "duration", "evidence"]
    label: Texts
    required: bool = False
    values: dict[str, Texts] = {}
    minimum: Duration | None = None
    maximum: Duration | None = None


class Action(Terms):
    """What a party can do; the table says when."""

    by: tuple[Role, ...]
    label: Texts
    fields: dict[str, FormField] = {}


class When(Terms):
    """Guards over the case: all that are given must hold."""

    reason: tuple[str, ...] | None = None
    """The case was reported for one of these."""
    country: tuple[str, ...] | None = None
    """The merchant's country is one of these."""
    by: tuple[Role, ...] | None = None
    """One of these roles acts, where an action is open to several."""
    answer: tuple[Answered, ...] | None = None
    """The merchant's answer is one of these."""
    variant: tuple[Variant, ...] | None = None
    """The merchant's answer offers this."""
    outcome: tuple[Outcome, ...] | None = None
    """The case ended like this."""
    promised: bool | None = None
    """Whether the case has promised money that may still flow."""
    answered: bool | None = None
    """Whether the merchant has ever answered this case."""
    mark: str | None = None
    """This circumstance of the case is remembered, see `Effects.mark`."""
    no_mark: str | None = None
    """It is not."""
    fact: FactKind | None = None
    """The order has such a fact."""
    own_turn: bool | None = None
    """It is the actor's own turn."""
    proposal: bool | None = None
    """Whether a proposal stands."""
    accepted: bool | None = None
    """Whether the actor has accepted the standing proposal."""
    others_accepted: bool | None = None
    """Whether everybody but the actor has."""
    proposal_payable: bool | None = None
    """Whether the proposed amount is still refundable."""
    closed_within: Duration | None = None
    """The case ended at most this long ago."""

    @cached_property
    def guards(self) -> tuple[tuple[str, Any], ...]:
        """The guards that are given, as (name, value)."""
        return tuple((name, value) for name in type(self).model_fields if (value := getattr(self, name)) is not None)


class OtherDuration(Terms):
    """A duration for the cases that the guards fit."""

    when: When
    after: Duration


class DeadlineTerms(Terms):
    """A due moment for one party, or one for each of several."""

    label: Texts
    party: Party | Literal["turn"] | None = None
    """`turn`: whoever's turn it is when it is set."""
    parties: tuple[Party, ...] = ()
    after: Duration
    after_field: str | None = None
    """The action's field that may say another duration."""
    where: tuple[OtherDuration, ...] = ()
    """Other durations for some cases; the first that fits is taken."""
    until: Literal["answer_by"] | None = None
    """The report names the moment itself: somebody outside asks for it by then. Time that the party lost is added for us, as
    to any other deadline; what is asked for outside stays as it is."""
    beyond: Texts = {}
    """What a reader is told of `until`, as `{answer_by}`, where the deadline was extended beyond it."""
    calendar: str | None = None
    """Days are working days of this calendar of the programme."""
    remind_before: tuple[Duration, ...] = ()
    rule: str


class Reserve(Terms):
    """A promise that money will flow; it replaces what the case had promised before. What the platform is to pay is due at
    once and stands until its payment provider has executed it; of a reported order it pays nothing (`payer_of`)."""

    amount: Literal["refund_amount", "proposal"]
    executor: Executor


class Flow(Terms):
    """Money that flowed without a promise of ours. More than was left is recorded and flagged."""

    amount: Literal["claimed"]
    """What the report claimed, else what the order cost; less what has flowed for this case before."""
    executor: Literal["merchant", "provider"]


class Effects(Terms):
    """What a transition does besides moving the case, in this order."""

    answer: bool | Answered = False
    """Remember the merchant's answer: from the field `refund`, or as the one that is named here."""
    mark: str | None = None
    """Remember the moment under this name."""
    proposal: Literal["made", "accepted", "settled", "declined", "lapsed"] | None = None
    """The platform makes a proposal, its reader accepts it, the last one to accept settles it, one declines it, or it lapses in
    silence."""
    reverse: Literal["presumed", "provider"] | None = None
    """What was executed and so confirmed has not flowed: it is a promise again. A presumed refund that a fact has proved
    stays."""
    release: bool = False
    """Let go of what is promised."""
    reserve: Reserve | None = None
    """Promise money."""
    execute: Literal["buyer", "presumed"] | None = None
    """What is promised has flowed, confirmed by."""
    flow: Flow | None = None
    """Money has flowed that nobody had promised."""
    protection_ends: bool = False
    """The protection of the order ends with this row (BP-26)."""
    reopen: bool = False
    """The case has ended and is open again."""
    remark: bool = False
    """The field `text` becomes an internal remark; nothing else changes."""
    remind: bool = False
    """The party is reminded (for the platform's own target: a lead)."""
    attention: bool = False
    """The merchant's lead is to look at the case."""

    @cached_property
    def named(self) -> dict[str, Any]:
        """The effects that are given, by name."""
        return self.model_dump(exclude_defaults=True)


class Transition(Terms):
    """A row of the table. Exactly one of report, action, silence and fact triggers it; the first row that fits is taken."""

    report: tuple[str, ...] = ()
    """Reasons."""
    action: str | None = None
    silence: str | None = None
    """A kind of deadline."""
    fact: FactKind | None = None
    from_: tuple[CaseState | Literal["open", "closed", "any"], ...] = Field(default=(), alias="from")
    """The states an action or fact takes this row in; a silence takes it wherever its deadline stands."""
    given: dict[str, tuple[str, ...]] = {}
    """Values of the action's choices that take this row."""
    when: When = When()
    amount: Literal["full", "partial", "any", "up_to"] | None = None
    """What `refund_amount` may be, of what is available to the case: all of it, less, either, or from nothing up to it.
    Without this, none may be given. Of rows that take the same choices, the amount decides."""
    to: CaseState | None = None
    """None: the case stays where it is, with its deadlines."""
    turn: Party | None = None
    """Whose turn it is from then on; by default as the state says."""
    turn_field: str | None = None
    """The action's choice that names whose turn it is."""
    deadlines: tuple[str, ...] | None = None
    """Kinds of deadlines that it sets; by default those of the state that it leads to."""
    keeps: tuple[str, ...] = ()
    """Kinds of deadlines that stand on, for a row that moves; it ends all others."""
    ends: tuple[str, ...] = ()
    """Kinds of deadlines that end with this row, for a row that stays."""
    meets: tuple[str, ...] = ()
    """Kinds of deadlines that the actor has met, for a row that stays."""
    outcome: Outcome | None = None
    effects: Effects = Effects()
    consequence: str | None = None
    """For silence: what it is called when explained."""
    text: Texts = {}
    """For silence: what it means, to a reader. `{amount}` is the money that it moves."""
    rule: str

    @property
    def trigger(self) -> Trigger:
        """Which of the four it is."""
        return "report" if self.report else "action" if self.action else "silence" if self.silence else "fact"

    @property
    def names(self) -> tuple[str, ...]:
        """What triggers it, by name."""
        return self.report or tuple(name for name in (self.action, self.silence, self.fact) if name)


class Programme(Terms):
    """One version of a programme."""

    programme: str
    version: int
    effective_from: Moment | None = None
    """In force from then on, until the next version's date; None: from the beginning."""
    label: Texts
    protection: ProtectionTerms | None = None
    calendars: dict[str, Calendar] = {}
    reasons: dict[str, Reason]
    states: dict[CaseState, StateTerms]
    outcomes: dict[Outcome, Texts]
    actions: dict[str, Action]
    deadlines: dict[str, DeadlineTerms]
    transitions: tuple[Transition, ...]

    @model_validator(mode="after")
    def _holds_together(self) -> "Programme":
        problems = list(_contradictions(self))
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def reason(self, code: str) -> Reason | None:
        """What a reported reason means here; None for one that this programme does not know."""
        return self.reasons.get(code)

    def rows(self, trigger: Trigger, name: str, state: str | None = None) -> tuple[Transition, ...]:
        """The rows that this trigger can take in a state, in the table's order."""
        return self._index.get((trigger, name, state), ())

    def leaves(self, row: Transition) -> tuple[CaseState, ...]:
        """The states that a row starts from, with `open`, `closed` and `any` spelled out."""
        named = set(row.from_)
        if "any" in named:
            named |= {"open", "closed"}
        return tuple(state for state in self.states if state in named or ("closed" if state in CLOSED else "open") in named)

    @cached_property
    def _index(self) -> dict[tuple[Trigger, str, str | None], tuple[Transition, ...]]:
        index: dict[tuple[Trigger, str, str | None], list[Transition]] = {}
        for row in self.transitions:
            for name in row.names:
                for state in self.leaves(row) or (None,):
                    index.setdefault((row.trigger, name, state), []).append(row)
        return {key: tuple(rows) for key, rows in index.items()}


def _contradictions(programme: Programme) -> Iterator[str]:
    """What does not hold together across the parts of a programme."""
    used: set[str] = set()
    for number, row in enumerate(programme.transitions, 1):
        place = f"transition {number} ({row.trigger} {', '.join(row.names) or '?'})"
        for wrong in _contradictions_of(programme, row):
            yield f"{place}: {wrong}"
        used.update(row.names)
    for kind, terms in programme.deadlines.items():
        if (terms.party is None) == (not terms.parties):
            yield f"deadline {kind}: name either party or parties"
        if terms.calendar is not None and terms.calendar not in programme.calendars:
            yield f"deadline {kind}: there is no calendar {terms.calendar}"
        if (terms.until is None) != (not terms.beyond):
            yield f"deadline {kind}: until a moment of somebody outside, and nothing else, needs words for beyond it"
        silences = programme.rows("silence", kind)
        if not silences or silences[-1].when != When():
            yield f"deadline {kind}: its silence needs a last row that always fits"
    for state, terms in programme.states.items():
        for kind in terms.deadlines:
            if kind not in programme.deadlines:
                yield f"state {state}: there is no deadline {kind}"
        if state in CLOSED and (terms.turn or terms.deadlines or terms.waits_for):
            yield f"state {state}: after the end it is nobody's turn"
        for code in terms.label_for:
            if code not in programme.reasons:
                yield f"state {state}: there is no reason {code}"
    for kind, known in (("action", programme.actions), ("reason", programme.reasons)):
        for name in known:
            if name not in used and not (kind == "reason" and not programme.reasons[name].opens_case):
                yield f"{kind} {name}: no transition takes it"
    texts: dict[str, Texts] = {"label": programme.label}
    for code, reason in programme.reasons.items():
        texts[f"reason {code}"] = reason.label
        texts |= {f"reason {code}, evidence {kind}": item.label for kind, item in reason.evidence.items()}
    for state, terms in programme.states.items():
        texts[f"state {state}"] = terms.label
        texts |= {f"state {state} for {code}": label for code, label in terms.label_for.items()}
    texts |= {f"outcome {outcome}": label for outcome, label in programme.outcomes.items()}
    for kind, deadline in programme.deadlines.items():
        texts[f"deadline {kind}"] = deadline.label
        if deadline.beyond:
            texts[f"deadline {kind}, beyond"] = deadline.beyond
    for name, action in programme.actions.items():
        texts[f"action {name}"] = action.label
        for field_name, field in action.fields.items():
            texts[f"action {name}, field {field_name}"] = field.label
            texts |= {f"action {name}, field {field_name}, value {value}": label for value, label in field.values.items()}
            if (field.type in ("choice", "status")) == (not field.values):
                yield f"action {name}, field {field_name}: a choice, and nothing else, has values"
            if field.type == "status" and set(field.values) - set(programme.states):
                yield f"action {name}, field {field_name}: a status stands for a state"
    for place, text in texts.items():
        if not text.get("en"):
            yield f"{place}: the English text is missing"


def _contradictions_of(programme: Programme, row: Transition) -> Iterator[str]:
    """What is wrong with a row, by itself and beside the parts of the programme that it names."""
    if sum(map(bool, (row.report, row.action, row.silence, row.fact))) != 1:
        yield "name exactly one of report, action, silence and fact"
        return
    if row.trigger in ("action", "fact") and not row.from_:
        yield "it needs states to start from"
    if row.trigger in ("report", "silence") and row.from_:
        yield "it starts from no state of its own choice"
    for state in {*programme.leaves(row), row.to, *row.from_} - {None, "open", "closed", "any"}:
        if state not in programme.states:
            yield f"there is no state {state}"
    fields: Mapping[str, FormField] = {}
    if row.action is not None:
        if row.action not in programme.actions:
            yield f"there is no action {row.action}"
            return
        fields = programme.actions[row.action].fields
    yield from _unknown_names(programme, row, fields)
    yield from _impossible_effects(row, fields)
    yield from _impossible_moves(programme, row)
    if row.trigger == "silence" and not (row.consequence and row.text.get("en")):
        yield "silence needs a consequence and its English text"


def _unknown_names(programme: Programme, row: Transition, fields: Mapping[str, FormField]) -> Iterator[str]:
    """What a row names and the programme, or the form of its action, does not have."""
    for code in (*row.report, *(row.when.reason or ())):
        if code not in programme.reasons:
            yield f"there is no reason {code}"
    for kind in (*(row.deadlines or ()), *row.keeps, *row.ends, *row.meets, *((row.silence,) if row.silence else ())):
        if kind not in programme.deadlines:
            yield f"there is no deadline {kind}"
    for name, values in row.given.items():
        unknown = set(values) - set(fields[name].values) if name in fields else set(values)
        if unknown:
            yield f"the form has no choice {name} of {', '.join(sorted(unknown))}"
    if row.turn_field is not None and row.turn_field not in fields:
        yield f"the form has no field {row.turn_field}"
    if row.outcome is not None and row.outcome not in programme.outcomes:
        yield f"there is no outcome {row.outcome}"


def _impossible_effects(row: Transition, fields: Mapping[str, FormField]) -> Iterator[str]:
    """Effects that lack what they are made from, or that exclude each other."""
    effects = row.effects
    if (row.amount is not None) and not any(field.type == "refund_amount" for field in fields.values()):
        yield "the form has no refund amount"
    if effects.reserve is not None and effects.reserve.amount == "refund_amount" and row.amount is None:
        yield "it reserves an amount that it does not ask for"
    if any((field.type == "refund_amount") != (name == "refund_amount") for name, field in fields.items()):
        yield "the field of a refund amount, and no other, is called refund_amount"
    if effects.answer is True and "refund" not in fields:
        yield "its answer is in no field: name it"
    if effects.execute is not None and effects.reserve is not None and effects.reserve.executor == "platform":
        yield "what the platform pays is executed when its provider says so"


def _impossible_moves(programme: Programme, row: Transition) -> Iterator[str]:
    """Moves that would leave a case open with nobody to go on, or ended without an outcome."""
    if row.trigger == "report" and row.to is None:
        yield "a report needs a state to open in"
    if row.to is None:
        if row.turn or row.turn_field or row.outcome:
            yield "a row that stays changes neither turn nor outcome"
        if row.keeps:
            yield "a row that stays keeps all deadlines that it does not end"
    elif row.ends or row.meets:
        yield "a row that moves ends all deadlines"
    elif (row.to in CLOSED) != (row.outcome is not None):
        yield "an outcome belongs to the end of a case, and every end has one"
    elif row.to in programme.states and row.to not in CLOSED:
        terms = programme.states[row.to]
        turn = row.turn or row.turn_field or terms.turn
        set_or_kept = row.keeps or (terms.deadlines if row.deadlines is None else row.deadlines)
        if turn != "platform" and not set_or_kept and not terms.waits_for:
            yield "an open case needs a deadline or is the platform's turn"


class Programmes:
    """All versions of all programmes that a process knows."""

    def __init__(self, versions: Iterable[Programme]) -> None:
        self._versions: dict[str, tuple[Programme, ...]] = {}
        for programme in sorted(versions, key=lambda each: (each.programme, each.version)):
            earlier = self._versions.get(programme.programme, ())
            if earlier and programme.version == earlier[-1].version:
                raise ProgrammeError(f"{programme.programme} version {programme.version} is there twice")
            if earlier and not _later(programme.effective_from, earlier[-1].effective_from):
                raise ProgrammeError(
                    f"{programme.programme} version {programme.version} is in force no later than the version before it"
                )
            self._versions[programme.programme] = (*earlier, programme)
        self._by_version = {(each.programme, each.version): each for versions in self._versions.values() for each in versions}

    @classmethod
    def load(cls, *folders: Path) -> "Programmes":
        """Every `*.yaml` in these folders. A file may say `extends: N`: it then only says what differs from version N
        (mappings are merged, anything else replaced). Raises ProgrammeError with file and place."""
        return cls(_validated(path, content) for path, content in contents_of(*folders))

    @staticmethod
    def shipped() -> "Programmes":
        """The programmes of the product, read once a process."""
        return _shipped()

    @classmethod
    def shipped_and(cls, folder: str) -> "Programmes":
        """The programmes of the product and those of an operator's folder; of the product alone where `folder` is empty.
        Raises ProgrammeError, also where there is no such folder."""
        if not folder:
            return _shipped()
        if not Path(folder).is_dir():
            raise ProgrammeError(f"{folder}: there is no such folder of programmes")
        return cls.load(_SHIPPED, Path(folder))

    def known(self) -> tuple[str, ...]:
        """The names of all programmes."""
        return tuple(self._versions)

    def versions(self, programme: str) -> tuple[Programme, ...]:
        """Its versions, oldest first. Raises KeyError."""
        return self._versions[programme]

    def takers(self, action: str) -> tuple[Role, ...]:
        """Who may take an action in any programme; nobody where none knows it."""
        known = (each.actions[action].by for each in self._by_version.values() if action in each.actions)
        return tuple(dict.fromkeys(role for by in known for role in by))

    def in_force(
        self, programme: str, at: datetime, rollouts: Iterable[Rollout] = (), merchant_id: str = "", locale: str = ""
    ) -> Programme:
        """The version in force at a moment (NX-07): the one whose moment came last. That is the version's own date, or, for
        a merchant that a roll-out of it is meant for, the moment of the roll-out (BP-24), or of the merchant's opt-in, where
        that is earlier. Raises KeyError for an unknown programme or one not yet in force."""
        versions = self._versions[programme]
        rolled_out = _rolled_out(programme, rollouts, merchant_id, locale)
        if not rolled_out and (latest := _latest(versions, at)) is not None:
            return latest
        begun: list[tuple[datetime, int]] = []
        for version in versions:
            since = rolled_out.get(version.version, [])
            if version.effective_from is None or not since:
                since = [*since, version.effective_from or _BEGINNING]
            begun += [(moment, version.version) for moment in since if moment <= at]
        if not begun:
            raise KeyError(f"{programme} is not yet in force at {at}")
        return self.get(programme, max(begun)[1])

    def get(self, programme: str, version: int) -> Programme:
        """One version. Raises KeyError."""
        return self._by_version[programme, version]


_BEGINNING = datetime.min.replace(tzinfo=UTC)


def meant_for(rollout: Rollout, merchant_id: str, locale: str) -> bool:
    """Whether a roll-out is meant for a merchant of this language, opted in or not."""
    language = locale.replace("_", "-").split("-")[0]
    return (not rollout.merchants or merchant_id in rollout.merchants) and (
        not rollout.locales or locale in rollout.locales or language in rollout.locales
    )


def _rolled_out(programme: str, rollouts: Iterable[Rollout], merchant_id: str, locale: str) -> dict[int, list[datetime]]:
    """From when each version is rolled out to a merchant, for the versions that are."""
    moments: dict[int, list[datetime]] = {}
    for each in rollouts:
        meant = meant_for(each, merchant_id, locale)
        if each.programme == programme and (meant or merchant_id in each.opted_in):
            opted_in = each.opted_in.get(merchant_id, each.effective_at)
            moments.setdefault(each.version, []).append(min(each.effective_at, opted_in) if meant else opted_in)
    return moments


def _latest(versions: Sequence[Programme], at: datetime) -> Programme | None:
    """The last version whose own date has come: each one's is later than that of the one before it."""
    for version in reversed(versions):
        if version.effective_from is None or version.effective_from <= at:
            return version
    return None


def _later(moment: datetime | None, than: datetime | None) -> bool:
    return moment is not None and (than is None or moment > than)


def _validated(path: Path, content: dict[str, Any]) -> Programme:
    try:
        return Programme.model_validate(content)
    except ValidationError as invalid:
        places = "; ".join(f"{'/'.join(map(str, error['loc'])) or 'as a whole'}: {error['msg']}" for error in invalid.errors())
        raise ProgrammeError(f"{path}: {places}") from None


_SHIPPED = Path(__file__).parent / "programmes"


@cache
def _shipped() -> Programmes:
    return Programmes.load(_SHIPPED)
