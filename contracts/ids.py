"""Ids of orders and of what belongs to one: every id contains its order's id, so any service routes it without a look-up."""

import hashlib
import re
from uuid import UUID

from contracts.texts import address_key

__all__ = [
    "ID_PATTERN",
    "case_id_of",
    "child_id",
    "derived",
    "made_id",
    "merchant_key",
    "order_id_of",
    "order_of",
    "reported_order_id",
]

_RECOURSE = UUID("6f1f0c7e-0f5e-5a0c-9a8e-0b6d3c3f2a10").bytes
_VARIANT = {f"{digit:x}": f"{8 | digit & 3:x}" for digit in range(16)}
ID_PATTERN = re.compile(
    r"(?P<prefix>ord|cas|rep|evd|fct|msg|dln|lge|ntc|lnk)_(?P<order>[0-9a-f]{32})(?:_(?P<rest>[0-9a-z_]+))?"
)


def derived(*parts: str) -> str:
    """A deterministic id of a cause, a UUID of version 5: the same parts give the same id for ever."""
    digits = _uuid5_digits(parts)
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def _uuid5_digits(parts: tuple[str, ...]) -> str:
    """`uuid.uuid5` as 32 hex digits, without its detour over integers: one is made for every record."""
    digits = hashlib.sha1(_RECOURSE + "\n".join(parts).encode(), usedforsecurity=False).hexdigest()
    return f"{digits[:12]}5{digits[13:16]}{_VARIANT[digits[16]]}{digits[17:32]}"


def made_id(prefix: str, *cause: str) -> str:
    """`drl_<hash of cause>`: an id of its own that a repeated cause finds again."""
    return f"{prefix}_{_uuid5_digits(cause)[:20]}"


def order_id_of(merchant_id: str, order_number: str) -> str:
    """`ord_…`: the same merchant and order number are the same order."""
    return f"ord_{_uuid5_digits(('order', merchant_id, order_number))}"


def reported_order_id(merchant_id: str, order_number: str, email: str) -> str:
    """`ord_…` of an order that is known from a buyer's report alone: the same merchant, number and address are the same
    order, and never the one that a partner registers."""
    return f"ord_{_uuid5_digits(('reported-order', merchant_id, order_number, address_key(email)))}"


def child_id(prefix: str, order_id: str, *cause: str, length: int = 16) -> str:
    """`rep_<order>_<hash of cause>`: an id under an order that a repeated cause finds again."""
    return f"{prefix}_{order_id[4:]}_{_uuid5_digits((prefix, order_id, *cause))[:length]}"


def case_id_of(order_id: str, number: int) -> str:
    """`cas_<order>_<number>`: the n-th case of an order, from 1."""
    return f"cas_{order_id[4:]}_{number}"


def order_of(any_id: str) -> str:
    """The order id inside an id. Raises ValueError where there is none."""
    match = ID_PATTERN.fullmatch(any_id)
    if match is None:
        raise ValueError(f"{any_id!r} is no id of an order or of a part of one")
    return f"ord_{match['order']}"


def merchant_key(merchant_id: str) -> str:
    """The record key of everything about a merchant; an order's key is its id."""
    return f"mer:{merchant_id}"
