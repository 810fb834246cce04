"""The state machine of a programme, for readers (NX-02): as data, as a Mermaid diagram and as a page of the docs, all from
the table that decides. `python -m engine.machine FOLDER` writes a page for each shipped programme."""

import sys
from pathlib import Path
from typing import Any

from contracts.base import format_moment
from engine.casefile import CLOSED
from engine.programmes import DeadlineTerms, Programme, Programmes, Transition

__all__ = ["mermaid", "page", "state_machine"]


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
                "label_for": terms.label_for,
                "turn": terms.turn,
                "waits_for": terms.waits_for,
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
        "keeps": list(row.keeps),
        "ends": list(row.ends),
        "meets": list(row.meets),
        "effects": row.effects.named,
        "consequence": row.consequence,
        "text": row.text,
        "rule": row.rule,
    }


def _by(programme: Programme, row: Transition) -> list[str]:
    """Who triggers a row: silence is time itself."""
    match row.trigger:
        case "action":
            return [role for role in programme.actions[row.names[0]].by if role in (row.when.by or (role,))]
        case "report":
            return list(dict.fromkeys(role for code in row.report for role in programme.reasons[code].by))
        case "fact":
            return ["partner", "merchant", "platform"]
        case "silence":
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
    return tuple(state for state in programme.states if state in _with_deadline(programme, row.silence or ""))


def _with_deadline(programme: Programme, kind: str) -> set[str]:
    """The states that a deadline of a kind may stand in."""
    found: set[str] = set()
    for row in programme.transitions:
        if kind in _sets(programme, row) or (kind in row.keeps):
            starts = programme.leaves(row) or (_with_deadline(programme, row.silence) if row.silence else ())
            found |= {row.to} if row.to else set(starts)
    return found


def _caption(programme: Programme, row: Transition) -> str:
    name = ", ".join(row.names)
    choices = " ".join(value for values in row.given.values() for value in values)
    who = {"action": "/".join(_by(programme, row)), "report": "report", "silence": "silence", "fact": "fact"}[row.trigger]
    outcome = f" → {row.outcome}" if row.outcome else ""
    return f"{who} {name}{' ' + choices if choices else ''}{outcome}"


def page(versions: tuple[Programme, ...]) -> str:
    """The page of a programme in Markdown: the newest version's diagram and table, deadlines of every version."""
    newest = versions[-1]
    parts = [
        f"# {newest.label['en']}",
        f"Made from the files of `{newest.programme}` by `python -m engine.machine`; a test compares them. Who waits for whom, "
        "what silence means and what moves money is all in this table. Of an order that nobody has registered, the merchant "
        "pays what the table has the platform pay.",
        f"```mermaid\n{mermaid(newest)}```",
        "## Deadlines",
        _deadline_table(versions),
        "## Transitions",
        _transition_table(newest),
    ]
    return "\n\n".join(parts) + "\n"


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _deadline_table(versions: tuple[Programme, ...]) -> str:
    heads = [
        f"version {each.version} (from {each.effective_from:%Y-%m-%d})" if each.effective_from else f"version {each.version}"
        for each in versions
    ]
    lines = [_row("deadline", "party", *heads, "reminder before", "silence", "rule"), _row(*["---"] * (len(heads) + 5))]
    for kind, terms in versions[-1].deadlines.items():
        durations = [_duration(each.deadlines[kind]) if kind in each.deadlines else "–" for each in versions]
        party = ", ".join(terms.parties) or ("whose turn it is" if terms.party == "turn" else str(terms.party))
        silences = " / ".join(row.text["en"] for row in versions[-1].rows("silence", kind))
        lines.append(_row(f"`{kind}`", party, *durations, ", ".join(terms.remind_before) or "–", silences, terms.rule))
    return "\n".join(lines)


def _duration(terms: DeadlineTerms) -> str:
    """How long a deadline runs, with what differs."""
    others = [
        f"{other.after} where {', '.join(_words(name, value) for name, value in other.when.guards)}" for other in terms.where
    ]
    until = [f"until {terms.until}, else {terms.after}"] if terms.until else [terms.after]
    return "; ".join(until + others)


def _transition_table(programme: Programme) -> str:
    lines = [
        _row("from", "what happens", "if", "to (turn)", "outcome", "deadlines set", "effects", "rule"),
        _row(*["---"] * 8),
    ]
    for row in programme.transitions:
        guards = [_words(name, value) for name, value in row.when.guards if name != "by"]
        guards += [f"refund_amount: {row.amount}"] if row.amount else []
        effects = [_words(name, value) for name, value in row.effects.named.items()]
        turn = _turn(programme, row)
        lines.append(
            _row(
                ", ".join(programme.leaves(row) or _where_it_stands(programme, row)).replace("[*]", "–"),
                _caption(programme, row).split(" → ")[0],
                ", ".join(guards) or "–",
                f"{row.to}{f' ({turn})' if turn else _waits(programme, row)}" if row.to else "stays",
                row.outcome or "–",
                ", ".join([*_sets(programme, row), *(f"keeps {kind}" for kind in row.keeps)]) or "–",
                ", ".join(effects) or "–",
                row.rule,
            )
        )
    return "\n".join(lines)


def _waits(programme: Programme, row: Transition) -> str:
    """Whom a state waits for where it is nobody's turn."""
    outside = programme.states[row.to].waits_for if row.to else None
    return f" (with the {outside})" if outside else ""


def _words(name: str, value: Any) -> str:
    if value is True:
        return name
    if isinstance(value, dict):
        return f"{name}: {' by '.join(str(each) for each in value.values())}"
    return f"{name}: {'/'.join(value) if isinstance(value, tuple) else str(value).lower() if value is False else value}"


def write_pages(folder: Path) -> None:
    """Write `<programme>.md` for every shipped programme."""
    shipped = Programmes.shipped()
    for name in shipped.known():
        (folder / f"{name}.md").write_text(page(shipped.versions(name)), "utf-8")


if __name__ == "__main__":
    write_pages(Path(sys.argv[1]))
