"""From HTML to the text that a person sees: no markup, no scripts, nothing hidden, and without what is marked as quoted.

Read as a stream by the standard library, in one pass: there is no tree that hostile nesting could blow up, and what is not
finished at the end is never searched again."""

import re
from html.parser import HTMLParser

__all__ = ["text_of_html"]

_LONGEST = 512 * 1024
"""Characters that are read: more is no letter."""
_MOST_PIECES = 200_000
_TAG = re.compile(r"<[^<>]{0,2000}>?")

_VOID = frozenset(
    {
        *("area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track", "wbr"),
    }
)
_UNSEEN = frozenset(
    {
        *("script", "style", "head", "title", "template", "noscript", "iframe", "object", "svg", "math", "select", "textarea"),
    }
)
_BLOCKS = frozenset(
    {
        *("address", "article", "aside", "blockquote", "body", "center", "dd", "div", "dl", "dt", "fieldset", "figure"),
        *("footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "html", "li", "main", "nav", "ol", "p", "pre"),
        *("section", "table", "tbody", "tfoot", "thead", "tr", "ul"),
    }
)
_PARAGRAPHS = frozenset(["p", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "table", "blockquote"])

_MARKED_CLASSES = frozenset(
    {
        *("gmail_quote", "gmail_quote_container", "gmail_signature", "gmail_signature_prefix"),
        *("moz-cite-prefix", "moz-signature"),
        *("yahoo_quoted", "protonmail_quote", "protonmail_signature_block", "tutanota_quote", "zmail_extra", "iosymail", "uol"),
    }
)
"""Quoted history and signatures, as Gmail, Thunderbird, Yahoo, Proton, Tuta, Zoho and others mark them."""
_MARKED_IDS = frozenset({"mail-editor-reference-message-container", "ms-outlook-mobile-signature", "signature"})
_HISTORY_BEGINS = frozenset({"appendonsend", "divrplyfwdmsg", "x_divrplyfwdmsg", "x_appendonsend", "stopspelling"})
"""From these of Outlook on, all is history."""
_HIDING = ("display:none", "visibility:hidden", "font-size:0px", "font-size:0;", "opacity:0;", "mso-hide:all", "max-height:0")


def text_of_html(html: str, *, quotes: bool = False) -> str:
    """The visible text, a line for each block. With `quotes`, what programs mark as quoted or as a signature is kept too.
    Never raises."""
    reader = _Reader(quotes=quotes)
    try:
        reader.feed(html[:_LONGEST])
        reader.rest()
    except _Enough:
        pass
    except Exception:  # the parser of some versions gives up on broken declarations
        return _TAG.sub(" ", html[:_LONGEST])
    return reader.text()


class _Enough(Exception):
    """All that is read has been read."""


class _Reader(HTMLParser):
    def __init__(self, *, quotes: bool) -> None:
        super().__init__(convert_charrefs=True)
        self._quotes = quotes
        self._pieces: list[str] = []
        self._left_out = ""
        self._depth = 0
        self._links: list[str] = []
        self._preformatted = 0

    def text(self) -> str:
        return "\n".join(line.strip(" ") for line in "".join(self._pieces).split("\n"))

    def rest(self) -> None:
        """What is left of an unfinished tag or comment counts as text, without anything that looks like markup."""
        if self.rawdata and self.cdata_elem is None:
            self.handle_data(_TAG.sub(" ", self.rawdata))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self._left_out:
            if tag == self._left_out:
                self._depth += 1
            return
        given = {name: value or "" for name, value in attrs}
        if not self._quotes and given.get("id", "").lower() in _HISTORY_BEGINS:
            raise _Enough
        if tag == "br":
            self._write("\n")
            return
        if tag not in _VOID and self._is_left_out(tag, given):
            self._left_out, self._depth = tag, 1
            return
        if tag in _BLOCKS:
            self._write("\n\n" if tag in _PARAGRAPHS else "\n")
        if tag == "li":
            self._write("- ")
        elif tag in ("td", "th"):
            self._write(" ")
        elif tag == "pre":
            self._preformatted += 1
        elif tag == "a":
            self._links.append(given.get("href", ""))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """A slash at the end of a start tag means nothing in HTML: the element stays open, unless it can hold nothing."""
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        if self._left_out:
            if tag == self._left_out:
                self._depth -= 1
                if not self._depth:
                    self._left_out = ""
            return
        if tag in _BLOCKS:
            self._write("\n\n" if tag in _PARAGRAPHS else "\n")
        if tag == "pre":
            self._preformatted = max(0, self._preformatted - 1)
        elif tag == "a" and self._links:
            self._show(self._links.pop())

    def handle_data(self, data: str) -> None:
        if self._left_out:
            return
        if self._preformatted:
            self._write(data)
            return
        words = " ".join(data.split())
        before = " " if data[:1].isspace() else ""
        after = " " if words and data[-1:].isspace() else ""
        self._write(f"{before}{words}{after}")

    def _write(self, piece: str) -> None:
        if piece.startswith(" ") and self._pieces and self._pieces[-1].endswith((" ", "\n")):
            piece = piece[1:]
        if piece:
            self._pieces.append(piece)
            if len(self._pieces) > _MOST_PIECES:
                raise _Enough

    def _show(self, address: str) -> None:
        """A link's address behind its words, where they do not show it."""
        if address.lower().startswith(("http://", "https://")) and len(address) <= 300:
            shown = "".join(self._pieces[-4:])
            if address.rstrip("/") not in shown:
                self._write(f" ({address})")

    def _is_left_out(self, tag: str, given: dict[str, str]) -> bool:
        style = given.get("style", "").lower().replace(" ", "") + ";"
        if tag in _UNSEEN or "hidden" in given or any(hiding in style for hiding in _HIDING):
            return True
        if self._quotes:
            return False
        return (
            (tag == "blockquote" and given.get("type", "").lower() == "cite")
            or (tag == "div" and given.get("name", "").lower() == "quote")
            or not _MARKED_CLASSES.isdisjoint(given.get("class", "").lower().split()[:20])
            or given.get("id", "").lower() in _MARKED_IDS
        )
