"""What is new in a reply: the text without quoted history and without the signature that a mail program adds.

Line by line and by plain comparison, so that the time is linear in the text whatever somebody sends. In doubt a line is kept:
too much history is a nuisance, a lost sentence is a lost statement."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["new_part", "tidy"]

_INVISIBLE = dict.fromkeys([0x00AD, 0x200B, 0x200C, 0x200D, 0x200E, 0x200F, *range(0x202A, 0x202F), 0x2060, 0xFEFF])
_SPACES = dict.fromkeys([0x00A0, 0x2007, 0x202F], " ")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x80-\x9f]")
_LINES_OF_AN_ATTRIBUTION = 4
_LONGEST_ATTRIBUTION = 400
_HEADER_LINES = 8


@dataclass(frozen=True, slots=True)
class _Attribution:
    """How mail programs of one language introduce what they quote: “On …, … wrote:”."""

    begins: tuple[str, ...]
    says: tuple[str, ...]


_ATTRIBUTIONS = (
    _Attribution(("on ",), (" wrote", " writes")),
    _Attribution(("am ", "on "), (" schrieb", " geschrieben")),
    _Attribution(("il ", "in data ", "il giorno "), (" ha scritto", " scrive", "ha scritto")),
    _Attribution(("dnia ", "w dniu ", "pon", "wt", "śr", "sr", "czw", "pt", "sob", "niedz", "nd"), (" napisał", " pisze")),
    _Attribution(("op ",), (" schreef", " geschreven")),
    _Attribution(("le ",), (" a écrit", " a ecrit", " écrivait")),
    _Attribution(("el ", "en "), (" escribió", " escribio", " escribe")),
    _Attribution(("em ", "a ", "no dia ", "na ", "on "), (" escreveu", " escreve")),
    _Attribution(("den ", "d. ", "tirsdag", "mandag", "onsdag", "torsdag", "fredag"), (" skrev",)),
    _Attribution(("dne ",), (" napsal",)),
)
"""The eight languages of the platform first, then neighbours."""

_SEPARATORS = frozenset(
    {
        "original message",
        "forwarded message",
        "begin forwarded message",
        "reply message",
        "ursprüngliche nachricht",
        "originalnachricht",
        "original-nachricht",
        "weitergeleitete nachricht",
        "anfang der weitergeleiteten nachricht",
        "anfang der weitergeleiteten e-mail",
        "messaggio originale",
        "messaggio inoltrato",
        "inizio messaggio inoltrato",
        "wiadomość oryginalna",
        "oryginalna wiadomość",
        "wiadomość przekazana dalej",
        "przekazana wiadomość",
        "początek przekazywanej wiadomości",
        "oorspronkelijk bericht",
        "origineel bericht",
        "doorgestuurd bericht",
        "begin doorgestuurd bericht",
        "message d'origine",
        "message d’origine",
        "message original",
        "message transféré",
        "début du message transféré",
        "début du message réexpédié",
        "mensaje original",
        "mensaje reenviado",
        "inicio del mensaje reenviado",
        "mensagem original",
        "mensagem encaminhada",
        "mensagem reencaminhada",
        "início da mensagem encaminhada",
        "início da mensagem reencaminhada",
    }
)
_FROM = frozenset({"from", "von", "da", "od", "van", "de", "fra", "från", "expéditeur", "mittente", "afzender", "remetente"})
_OTHER_HEADERS = frozenset(
    {
        *("to", "sent", "date", "subject", "cc", "reply-to"),
        *("an", "gesendet", "datum", "betreff", "kopie", "antwort an"),
        *("a", "inviato", "data", "oggetto", "per conoscenza"),
        *("do", "wysłano", "wysłane", "temat", "dw"),
        *("aan", "verzonden", "onderwerp"),
        *("à", "envoyé", "objet", "copie à", "pour"),
        *("para", "enviado", "enviado el", "fecha", "asunto"),
        *("enviada", "enviada em", "enviado em", "assunto"),
        *("til", "sendt", "emne", "till", "skickat", "ämne"),
    }
)
_FOOTERS = (
    "sent from my ",
    "sent from mail for windows",
    "sent from outlook",
    "sent from yahoo",
    "sent with proton",
    "get outlook for ",
    "von meinem ",
    "gesendet von ",
    "gesendet mit ",
    "diese nachricht wurde von meinem ",
    "inviato da ",
    "inviato dal mio ",
    "wysłane z ",
    "wysłano z ",
    "verzonden vanaf ",
    "verstuurd vanaf ",
    "verzonden met ",
    "envoyé de mon ",
    "envoyé depuis ",
    "envoyé à partir de ",
    "obtenez outlook pour ",
    "enviado desde ",
    "obtener outlook para ",
    "enviado do meu ",
    "enviado a partir do ",
    "obter o outlook para ",
    "outlook für ",
    "scarica outlook per ",
    "pobierz outlooka dla ",
    "download outlook voor ",
)
_LONGEST_FOOTER = 90


def tidy(text: str) -> str:
    """A text with plain line ends and spaces, without control and invisible characters, and at most one empty line at once."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\u2028", "\n").replace("\u2029", "\n")
    text = _CONTROL.sub("", text.translate(_INVISIBLE).translate(_SPACES))
    text = text.encode(errors="replace").decode()  # lone surrogates are no text
    kept: list[str] = []
    for line in (line.rstrip() for line in text.split("\n")):
        if line or (kept and kept[-1]):
            kept.append(line)
    return "\n".join(kept).strip()


def new_part(text: str) -> str:
    """What the writer of a mail wrote anew; empty where everything is quoted. A mail that only passes another one on is kept
    whole: that is what its writer wanted to show."""
    lines = tidy(text).split("\n")
    kept: list[str] = []
    number = 0
    while number < len(lines):
        line = lines[number].strip()
        if _is_quoted(line):
            number += 1
            continue
        if (ends := _attribution(lines, number)) is not None:
            following = _next_written(lines, ends)
            if following is None or _is_quoted(lines[following].strip()):
                number = ends
                continue
            if _says_something(kept):
                break
            return tidy("\n".join(lines[number:]))
        if _begins_history(lines, number):
            if _says_something(kept):
                break
            return tidy("\n".join(lines[number:]))
        if lines[number] in ("--", "-- ") or line in ("--", "—"):
            # The signature ends where quoted text begins: below it an answer may go on.
            number += 1
            while number < len(lines) and not _is_quoted(lines[number].strip()) and _attribution(lines, number) is None:
                number += 1
            continue
        if not _is_footer(line):
            kept.append(lines[number])
        number += 1
    return tidy("\n".join(kept))


def _is_quoted(line: str) -> bool:
    return line.startswith((">", "|>"))


def _says_something(lines: Sequence[str]) -> bool:
    return any(line.strip() for line in lines)


def _next_written(lines: Sequence[str], start: int) -> int | None:
    return next((number for number in range(start, len(lines)) if lines[number].strip()), None)


def _attribution(lines: Sequence[str], start: int) -> int | None:
    """The line after an attribution that begins here, over four lines at most; None where there is none. It names a moment
    or an address, so that a sentence of the writer's own is not taken for one."""
    first = lines[start].strip().lower().lstrip("([„\"'*")
    if not first or not first.startswith(_ANY_BEGIN):
        return None
    joined = ""
    for number in range(start, min(start + _LINES_OF_AN_ATTRIBUTION, len(lines))):
        line = lines[number].strip()
        if not line and joined:
            return None
        joined = f"{joined} {line}".strip()
        if len(joined) > _LONGEST_ATTRIBUTION:
            return None
        if joined.rstrip("*_ ").endswith(":"):
            said = joined.lower().lstrip("([„\"'*")
            dated = any(character.isdigit() for character in said) or "@" in said
            told = any(said.startswith(each.begins) and any(verb in said for verb in each.says) for each in _ATTRIBUTIONS)
            return number + 1 if dated and told else None
    return None


_ANY_BEGIN = tuple({begin for each in _ATTRIBUTIONS for begin in each.begins})


def _begins_history(lines: Sequence[str], start: int) -> bool:
    """A line of a separator, or the first of a block of headers as Outlook writes them over what it quotes."""
    line = lines[start].strip()
    bare = line.strip("-_=*> ").rstrip(":").strip().lower()
    if bare in _SEPARATORS and (line[:2] in ("--", "__", "==", "- ") or line.endswith(":")):
        return True
    if len(line) >= 10 and not line.strip("_-"):
        following = _next_written(lines, start + 1)
        return following is not None and following <= start + 3 and _is_header_block(lines, following)
    return _is_header_block(lines, start)


def _is_header_block(lines: Sequence[str], start: int) -> bool:
    if _label(lines[start]) not in _FROM:
        return False
    block = {_label(line) for line in lines[start + 1 : start + _HEADER_LINES]}
    return len(block & _OTHER_HEADERS) >= 2


def _label(line: str) -> str:
    """What stands before a line's colon, without the stars of bold print; empty where there is no short one."""
    before, colon, _ = line[:40].partition(":")
    return before.replace("*", "").strip().lower() if colon else ""


def _is_footer(line: str) -> bool:
    """What a telephone or a mail program writes under every mail."""
    if len(line) > _LONGEST_FOOTER:
        return False
    small = line.strip("*_<>[] ").lower()
    return small.startswith(_FOOTERS) and (" " not in small[-1:] and _names_a_program(small))


_PROGRAMS = (
    "iphone",
    "ipad",
    "samsung",
    "galaxy",
    "android",
    "outlook",
    "windows",
    "yahoo",
    "gmx",
    "web.de",
    "proton",
    "mail",
    "xiaomi",
)
_DEVICES = (
    *_PROGRAMS,
    "huawei",
    "smartphone",
    "smartfon",
    "handy",
    "mobil",
    "telefon",
    "telefoon",
    "téléphone",
    "móvil",
    "tablet",
    "blackberry",
)


def _names_a_program(small: str) -> bool:
    return any(name in small for name in _DEVICES)
