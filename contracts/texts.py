"""The forms of text that people give: names, codes, addresses, languages, with the bounds that hold everywhere."""

from typing import Annotated

from pydantic import AfterValidator, Field, ValidationInfo

__all__ = ["GIVEN_NOW", "Code", "Country", "Email", "Locale", "Name", "VisibleName", "address_key"]

GIVEN_NOW = "given now"
"""The context in which a value is read that somebody outside gives now. What was taken before more was asked of it stays
readable."""


def _seen(text: str, info: ValidationInfo) -> str:
    if info.context == GIVEN_NOW and not any(each.isprintable() and not each.isspace() for each in text):
        raise ValueError("a name has something to be seen, not blanks alone")
    return text


Name = Annotated[str, Field(min_length=1, max_length=200)]
VisibleName = Annotated[Name, AfterValidator(_seen)]
"""What somebody or something is known by and cannot do without."""
Code = Annotated[str, Field(min_length=1, max_length=100)]
Email = Annotated[str, Field(pattern=r"^[^@\s<>,;:\"()\[\]\\]{1,64}@[^@\s<>,;:\"()\[\]\\]{1,189}$")]
Locale = Annotated[str, Field(pattern=r"^[a-z]{2,3}([-_][A-Za-z0-9]{2,8})*$")]
Country = Annotated[str, Field(pattern=r"^[A-Z]{2}$")]


def address_key(email: str) -> str:
    """What two spellings of one mail address share. Only ASCII letters count as the same in both cases: what Unicode folds
    together (`straße` and `strasse`) are addresses of different people."""
    return "".join(character.lower() if character.isascii() else character for character in email)
