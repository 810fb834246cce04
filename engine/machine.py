"""The state machine of a programme, for readers (NX-02): as data and as a Mermaid diagram, from the table that decides."""

from typing import Any

from contracts.base import format_moment
from engine.casefile import CLOSED
from engine.programmes import Programme, Transition

__all__ = ["mermaid", "state_machine"]


def state_machine(programme: Programme) -> dict[str, Any]:
    """States, actions, reasons, deadlines and every transition with who, guards and effects; plain JSON values."""
    return {
        "programme": programme.programme,
        "version": programme.version,
        "effective_from": format_moment(programme.effective_from) if programme.effective_from else None,
        "states": [
            {
                "state": state,
                "label": terms.label,
                "open": state not in CLOSED,
                "turn": terms.turn,
                "deadlines": list(terms.deadlines),
            }
            for state, terms in programme.states.items()
        ],
        "reasons": [{"reason": code, **terms.model_dump(mode="json")} for code, terms in programme.reasons.items()],
        "actions": [{"action": name, **action.model_dump(mode="json")} for name, action in programme.actions.items()],
        "deadlines": [
            {"kind": kind, **terms.model_dump(mode="json", exclude_defaults=True)}
            for kind, terms in programme.deadlines.items()
        ],
        "transitions": [_transition(programme, row) for row in programme.transitions],
    }


def _transition(programme: Programme, row: Transition) -> dict[str, Any]:
    return {
        "trigger": row.trigger,
        "name": list(row.names) if row.trigger == "report" else row.names[0],
        "by": _by(programme, row),
        "from": list(programme.leaves(row)),
        "given": {name: list(values) for name, values in row.given.items()},
        "guards": row.when.model_dump(mode="json", exclude_none=True),
        "amount": row.amount,
        "to": row.to,
        "turn": _turn(programme, row),
        "outcome": row.outcome,
        "deadlines": _sets(programme, row),
        "ends": list(row.ends),
        "meets": list(row.meets),
        "effects": row.effects.named,
        "consequence": row.consequence,
        "text": row.text,
        "rule": row.rule,
    }


def _by(programme: Programme, row: Transition) -> list[str]:
    """Who triggers a row; nobody sends a silence or a fact through an action."""
    match row.trigger:
        case "action":
            return list(programme.actions[row.names[0]].by)
        case "report":
            return ["buyer", "partner", "platform"]
        case _:
            return ["system"]


def _turn(programme: Programme, row: Transition) -> str | None:
    """Whose turn it is afterwards; `{party}` where a field of the action names it."""
    if row.turn_field:
        return f"{{{row.turn_field}}}"
    return row.turn or (programme.states[row.to].turn if row.to else None)


def _sets(programme: Programme, row: Transition) -> list[str]:
    """The deadlines that a row sets."""
    if row.deadlines is not None:
        return list(row.deadlines)
    return list(programme.states[row.to].deadlines) if row.to else []


def mermaid(programme: Programme) -> str:
    """A Mermaid state diagram. Rows between the same two states share an arrow; a row that stays is a loop;
    internal remarks are left out."""
    arrows: dict[tuple[str, str], list[str]] = {}
    for row in (row for row in programme.transitions if not row.effects.remark):
        for state in programme.leaves(row) or _where_it_stands(programme, row):
            arrows.setdefault((state, row.to or state), []).append(_caption(programme, row))
    lines = ["stateDiagram-v2"]
    lines += [f"    {state}: {state}<br/>{terms.label['en']}" for state, terms in programme.states.items()]
    for (start, end), captions in arrows.items():
        lines.append(f"    {start} --> {end}: {'<br/>'.join(dict.fromkeys(captions))}")
    lines += [f"    {state} --> [*]" for state in programme.states if state in CLOSED]
    return "\n".join(lines) + "\n"


def _where_it_stands(programme: Programme, row: Transition) -> tuple[str, ...]:
    """Where a report or a silence starts: outside, or in the states that rows lead to with this deadline."""
    if row.trigger == "report":
        return ("[*]",)
    found: dict[str, None] = {}
    for other in programme.transitions:
        if row.silence in _sets(programme, other):
            found |= dict.fromkeys([other.to] if other.to else programme.leaves(other))
    return tuple(found)


def _caption(programme: Programme, row: Transition) -> str:
    name = ", ".join(row.names)
    choices = " ".join(value for values in row.given.values() for value in values)
    who = {"action": "/".join(_by(programme, row)), "report": "report", "silence": "silence", "fact": "fact"}[row.trigger]
    outcome = f" → {row.outcome}" if row.outcome else ""
    return f"{who} {name}{' ' + choices if choices else ''}{outcome}"
