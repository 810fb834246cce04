"""What the mailroom adds to somebody's words, in the eight languages of the platform."""

from collections.abc import Sequence

__all__ = ["left_out_sentence"]

_LEFT_OUT = {
    "en": "[Not taken as evidence: {names}]",
    "de": "[Nicht als Beleg übernommen: {names}]",
    "it": "[Non accettato come prova: {names}]",
    "pl": "[Nieprzyjęte jako dowód: {names}]",
    "nl": "[Niet als bewijs aangenomen: {names}]",
    "fr": "[Non retenu comme preuve : {names}]",
    "es": "[No aceptado como prueba: {names}]",
    "pt": "[Não aceite como prova: {names}]",
}
_MOST_NAMES = 20


def left_out_sentence(names: Sequence[str], locale: str) -> str:
    """Which files of a mail are not evidence; empty for none. English where the language is none of ours."""
    if not names:
        return ""
    shown = ", ".join(name[:100] for name in names[:_MOST_NAMES])
    more = f" (+{len(names) - _MOST_NAMES})" if len(names) > _MOST_NAMES else ""
    return _LEFT_OUT.get(locale[:2].lower(), _LEFT_OUT["en"]).format(names=shown + more)
