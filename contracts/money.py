"""Money: a decimal amount with the digits of its currency, never a float."""

import re
from decimal import Decimal
from typing import Annotated, Any

from iso4217 import Currency
from pydantic import Field, PlainSerializer, WithJsonSchema, field_validator, model_validator

from contracts.base import Model, wrong_at

__all__ = ["Money", "digits_of"]

_DIGITS: dict[str, int] = {currency.code: currency.exponent for currency in Currency if currency.exponent is not None}
_QUANTUM: dict[str, Decimal] = {code: Decimal(1).scaleb(-digits) for code, digits in _DIGITS.items()}
_AMOUNT = re.compile(r"-?\d{1,15}(\.\d{1,8})?", re.ASCII)


def digits_of(currency: str) -> int:
    """How many decimal digits ISO 4217 gives a currency. Raises KeyError for an unknown one."""
    return _DIGITS[currency]


class Money(Model):
    """`{"amount": "12.34", "currency": "EUR"}`. Fewer digits are filled up, more are refused, numbers are refused."""

    amount: Annotated[
        Decimal,
        PlainSerializer(str, return_type=str, when_used="json"),
        WithJsonSchema({"type": "string", "format": "decimal"}),
    ]
    currency: Annotated[str, Field(min_length=3, max_length=3)]

    @field_validator("amount", mode="before")
    @classmethod
    def _amount_is_decimal_text(cls, amount: Any) -> Decimal:
        if isinstance(amount, Decimal):
            return amount
        if not isinstance(amount, str) or not _AMOUNT.fullmatch(amount):
            raise ValueError('an amount is a decimal string such as "12.34", at most 15 digits before the point')
        return Decimal(amount) + 0  # which leaves -0.00 without its sign

    @field_validator("currency")
    @classmethod
    def _currency_is_known(cls, currency: str) -> str:
        if currency not in _DIGITS:
            raise ValueError(f"{currency!r} is no currency of ISO 4217 with a minor unit; use a code such as EUR")
        return currency

    @model_validator(mode="after")
    def _digits_fit(self) -> "Money":
        quantum = _QUANTUM[self.currency]
        if not self.amount.same_quantum(quantum):
            digits = -int(self.amount.as_tuple().exponent)
            if digits > _DIGITS[self.currency]:
                said = f"{self.currency} has {_DIGITS[self.currency]} decimal digits, {self.amount} has {digits}"
                raise wrong_at(("amount",), said)
            object.__setattr__(self, "amount", self.amount.quantize(quantum))
        return self

    @classmethod
    def zero(cls, currency: str) -> "Money":
        """Nothing, in a currency. Raises ValidationError for an unknown one."""
        return cls(amount=Decimal(0), currency=currency)

    def _same(self, other: "Money") -> Decimal:
        if other.currency != self.currency:
            raise ValueError(f"cannot reckon {self.currency} with {other.currency}")
        return other.amount

    def __add__(self, other: "Money") -> "Money":
        return Money(amount=self.amount + self._same(other), currency=self.currency)

    def __sub__(self, other: "Money") -> "Money":
        return Money(amount=self.amount - self._same(other), currency=self.currency)

    def __lt__(self, other: "Money") -> bool:
        return self.amount < self._same(other)

    def __le__(self, other: "Money") -> bool:
        return self.amount <= self._same(other)

    def __gt__(self, other: "Money") -> bool:
        return self.amount > self._same(other)

    def __ge__(self, other: "Money") -> bool:
        return self.amount >= self._same(other)

    def __str__(self) -> str:
        return f"{self.amount} {self.currency}"
