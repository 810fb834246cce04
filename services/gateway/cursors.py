"""Cursors of lists: where the next page begins, opaque to the client."""

import base64
import binascii

import orjson

from services.gateway.problems import wrong_query

__all__ = ["Place", "cursor", "place_of", "whole_number"]

Place = list[str | int]


def cursor(place: Place) -> str:
    """The cursor of a place."""
    return base64.urlsafe_b64encode(orjson.dumps(place)).rstrip(b"=").decode()


def place_of(given: str | None, *kinds: type[str] | type[int]) -> Place | None:
    """The place of a cursor, which has values of these kinds. Raises 422 for what no list has given out."""
    if given is None:
        return None
    try:
        place = orjson.loads(base64.b64decode(given + "=" * (-len(given) % 4), altchars=b"-_", validate=True))
    except (binascii.Error, ValueError):
        place = None
    if not isinstance(place, list) or [type(value) for value in place] != list(kinds):
        raise wrong_query(("cursor", "take `next` of the page before, unchanged"))
    return place


def whole_number(name: str, given: str | None, default: int, least: int, most: int) -> int:
    """A number among the query parameters. Raises 422."""
    if given is None:
        return default
    if not given.isascii() or not given.isdigit() or not least <= int(given[:9]) <= most:
        raise wrong_query((name, f"a whole number from {least} to {most}"))
    return int(given)
