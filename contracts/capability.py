"""Tokens without an account: links of one order's cases (NX-15), and links of a merchant's form (RD-01, 03)."""

from functools import cache
from typing import Literal

from itsdangerous import BadSignature, URLSafeSerializer
from pydantic import ValidationError

from contracts.base import Model, Moment

__all__ = [
    "Capability",
    "FormLink",
    "FormReceipt",
    "InvalidToken",
    "mint",
    "mint_form",
    "mint_receipt",
    "read",
    "read_form",
    "read_receipt",
]

_SALT = "recourse.capability.v1"
_FORM_SALT = "recourse.form.v1"
_RECEIPT_SALT = "recourse.form-receipt.v1"


class InvalidToken(ValueError):
    """Not signed by this platform, or damaged."""


class Capability(Model):
    """What a link lets its bearer do. Without `expires_at` a buyer's link acts until 60 days after the protection's end,
    a merchant's until its case ends; reading outlives acting (RD-05)."""

    link_id: str
    """Made from the cause of the link, so that a repeated mail carries the same one; names it for revocation."""
    order_id: str
    role: Literal["buyer", "merchant"]
    case_id: str | None = None
    """A merchant's button, and the link of who reported by a form, reach this one case only."""
    expires_at: Moment | None = None


class FormLink(Model):
    """What the token of a merchant's form names; whether the form is still offered, the merchant's desk says."""

    merchant_id: str
    form_id: str


class FormReceipt(Model):
    """What the sender of a form, who has no key, asks with for an outcome that was not there yet."""

    order_id: str
    command_id: str


@cache
def _signed(secret: str, salt: str) -> URLSafeSerializer:
    """Made once: making it costs half as much as a token."""
    return URLSafeSerializer(secret, salt=salt)


def mint(secret: str, capability: Capability) -> str:
    """The token of a capability: URL-safe text, the same for the same capability."""
    return _signed(secret, _SALT).dumps(capability.model_dump(mode="json", exclude_none=True))  # type: ignore[return-value]


def read(secret: str, token: str) -> Capability:
    """The capability of a token. Raises InvalidToken."""
    try:
        return Capability.model_validate(_signed(secret, _SALT).loads(token))
    except (BadSignature, ValidationError, UnicodeError):
        raise InvalidToken("this link was not made here or is damaged; ask for a new one") from None


def mint_form(secret: str, link: FormLink) -> str:
    """The token of a form: URL-safe text, the same for the same form."""
    return _signed(secret, _FORM_SALT).dumps(link.model_dump(mode="json"))  # type: ignore[return-value]


def read_form(secret: str, token: str) -> FormLink:
    """The form that a token names. Raises InvalidToken."""
    try:
        return FormLink.model_validate(_signed(secret, _FORM_SALT).loads(token))
    except (BadSignature, ValidationError, UnicodeError):
        raise InvalidToken("this form was not made here or its address is damaged; ask the shop for it") from None


def mint_receipt(secret: str, receipt: FormReceipt) -> str:
    """The token of a receipt: URL-safe text, the same for the same report."""
    return _signed(secret, _RECEIPT_SALT).dumps(receipt.model_dump(mode="json"))  # type: ignore[return-value]


def read_receipt(secret: str, token: str) -> FormReceipt:
    """The report that a receipt is for. Raises InvalidToken."""
    try:
        return FormReceipt.model_validate(_signed(secret, _RECEIPT_SALT).loads(token))
    except (BadSignature, ValidationError, UnicodeError):
        raise InvalidToken("this receipt was not made here or is damaged") from None
