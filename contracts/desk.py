"""A merchant's desk: who works on its cases and stands in when, its names for their states, its forms (RD-03, 06, 08, 09)."""

import re
from datetime import date
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field

from contracts.actors import Actor
from contracts.base import Message, Model
from contracts.ids import made_id
from contracts.texts import Code, Email, Locale, VisibleName

__all__ = [
    "CONTENTS",
    "Absence",
    "AbsenceContent",
    "AssignmentRule",
    "ChangeDesk",
    "Consultant",
    "ConsultantContent",
    "Desk",
    "DeskItem",
    "DeskList",
    "Form",
    "FormContent",
    "Label",
    "LabelContent",
    "LabelText",
    "RuleContent",
    "desk_item_id",
]

_DAY = re.compile(r"(?:19|2[01])\d\d-\d\d-\d\d", re.ASCII)


def _a_day(value: object) -> object:
    """Only a plain day: what else pydantic takes for one (numbers, moments at midnight) is no day of a calendar here."""
    if isinstance(value, date) or (isinstance(value, str) and _DAY.fullmatch(value)):
        return value
    raise ValueError("a day is a text such as 2019-07-15, between the years 1900 and 2199")


Day = Annotated[date, BeforeValidator(_a_day)]
"""A day of the calendar, in the merchant's zone."""
LabelText = Annotated[str, Field(min_length=1, max_length=100)]


class ConsultantContent(Model):
    """Somebody of the merchant's staff. `locale` is the language of mails to them; by default the merchant's."""

    name: VisibleName
    email: Email
    locale: Locale | None = None


class RuleContent(Model):
    """Whose cases of a kind are (RD-08); what is left out fits every case, and the most specific rule that fits counts."""

    programme: Code | None = None
    reason: Code | None = None
    channel: Code | None = None
    consultant_id: Code


class AbsenceContent(Model):
    """A consultant is away from one day to another, both included, and somebody stands in (RD-09)."""

    model_config = ConfigDict(serialize_by_alias=True)

    consultant_id: Code
    from_: Annotated[Day, Field(alias="from")]
    to: Day
    deputy_id: Code
    note: Annotated[str, Field(max_length=1_000)] | None = None
    """For the deputy: the hand-over note."""


class LabelContent(Model):
    """The merchant's own word for a state of its cases (RD-06)."""

    code: Code
    text: Annotated[dict[Locale, LabelText], Field(min_length=1, max_length=50)]
    """By language."""
    state: Literal["submitted", "in_progress", "awaiting_buyer"]


class FormContent(Model):
    """A form by link for what was sold over one channel (RD-03). `locale` is its language; by default the merchant's."""

    channel: Code
    locale: Locale | None = None


class DeskItem(Model):
    """What stands in a list of the desk. `version` is its own: its ETag."""

    version: int


class Consultant(ConsultantContent, DeskItem):
    """A consultant, under the id that rules and absences name."""

    consultant_id: str


class AssignmentRule(RuleContent, DeskItem):
    """An assignment rule as the desk keeps it."""

    rule_id: str


class Absence(AbsenceContent, DeskItem):
    """An absence as the desk keeps it; it begins and ends by its days alone."""

    absence_id: str


class Label(LabelContent, DeskItem):
    """A status label as the desk keeps it; a case that bears it keeps the words it had then (`StatusLabel`)."""

    label_id: str


class Form(FormContent, DeskItem):
    """A form as the desk keeps it; its link is signed from merchant and `form_id` and ends with it."""

    form_id: str


DeskList = Literal["consultants", "assignment-rules", "absences", "status-labels", "forms"]

CONTENTS: dict[DeskList, type[Model]] = {
    "consultants": ConsultantContent,
    "assignment-rules": RuleContent,
    "absences": AbsenceContent,
    "status-labels": LabelContent,
    "forms": FormContent,
}
"""What an item of each list is given as."""

_KEPT: dict[DeskList, tuple[str, str, str, type[DeskItem]]] = {
    "consultants": ("consultants", "consultant_id", "con", Consultant),
    "assignment-rules": ("rules", "rule_id", "rul", AssignmentRule),
    "absences": ("absences", "absence_id", "abs", Absence),
    "status-labels": ("labels", "label_id", "lbl", Label),
    "forms": ("forms", "form_id", "frm", Form),
}
"""For each list: the desk's field, the name of its items' id, the prefix of that id and the model of an item."""


class Desk(Model):
    """All lists of a merchant, each in the order in which its items came."""

    consultants: tuple[Consultant, ...] = ()
    rules: tuple[AssignmentRule, ...] = ()
    absences: tuple[Absence, ...] = ()
    labels: tuple[Label, ...] = ()
    forms: tuple[Form, ...] = ()

    def items(self, name: DeskList) -> tuple[DeskItem, ...]:
        """The items of a list."""
        return getattr(self, _KEPT[name][0])

    @staticmethod
    def id_field(name: DeskList) -> str:
        """What the id of a list's items is called."""
        return _KEPT[name][1]

    def item(self, name: DeskList, item_id: str) -> DeskItem | None:
        """The item of this id; None where there is none."""
        id_field = _KEPT[name][1]
        return next((item for item in self.items(name) if getattr(item, id_field) == item_id), None)

    def consultant(self, consultant_id: str) -> Consultant | None:
        """The consultant of this id; None where there is none."""
        return next((each for each in self.consultants if each.consultant_id == consultant_id), None)

    def with_item(self, name: DeskList, item_id: str, content: Model | None) -> "Desk":
        """The desk after an item was put in its place (a new one comes last) or, for None, taken away."""
        field, id_field, _, model = _KEPT[name]
        kept: list[DeskItem] = []
        before = self.item(name, item_id)
        after = None
        if content is not None:
            given = {**content.model_dump(), id_field: item_id, "version": 1 if before is None else before.version + 1}
            after = model.model_validate(given)
        for item in self.items(name):
            if item is not before:
                kept.append(item)
            elif after is not None:
                kept.append(after)
        if before is None and after is not None:
            kept.append(after)
        return self.model_copy(update={field: tuple(kept)})


def desk_item_id(name: DeskList, command_id: str) -> str:
    """The id of the item that a command makes: the same command makes the same item."""
    return made_id(_KEPT[name][2], "desk", name, command_id)


class ChangeDesk(Message, kind="merchant.change-desk"):
    """Put, replace or take away one item of a merchant's desk. `content` is as the list's model in `CONTENTS` has it, None to
    take the item away. With `new` the item is made; without, it must be there."""

    merchant_id: str
    list_name: DeskList
    item_id: str
    content: dict[str, Any] | None = None
    new: bool = False
    if_match: int | None = None
    given: bool = False
    """The actor is a partner that was given this merchant, as the gateway knows from its key."""
    actor: Actor
