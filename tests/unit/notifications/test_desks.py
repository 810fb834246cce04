"""What mails take from a merchant's desk: who is to look at a case, and what an absence hands over (RD-09, NX-17)."""

from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from contracts.desk import Desk
from contracts.orders import Merchant
from services.notifications.circulars import circular_words
from services.notifications.desks import attention_addresses, handed_over
from services.notifications.locales import language_of

NOW = datetime(2021, 3, 1, 10, tzinfo=UTC)
MERCHANT = Merchant.model_validate(
    {
        "merchant_id": "shop",
        "name": "Shop",
        "programmes": ["returns-desk"],
        "locale": "en",
        "country": "DE",
        "timezone": "Europe/Berlin",
        "notify": [{"kind": "new_case", "email": "new@shop.example"}, {"kind": "all", "email": "all@shop.example"}],
        "service_contact": {"email": "service@shop.example"},
        "created_by": "partner",
        "version": 1,
    }
)
ABSENCE = {
    "absence_id": "abs_1",
    "version": 1,
    "consultant_id": "ada",
    "from": "2021-03-10",
    "to": "2021-03-12",
    "deputy_id": "bob",
}


def desk(*ruled: str) -> Desk:
    return Desk.model_validate(
        {
            "consultants": [
                {"consultant_id": name, "version": 1, "name": name.title(), "email": f"{name}@shop.example"}
                for name in ("ada", "bob")
            ],
            "rules": [{"rule_id": f"rul_{name}", "version": 1, "consultant_id": name} for name in ruled],
        }
    )


def file(number: str, due_at: str, state: str = "submitted") -> dict[str, Any]:
    deadline = {
        "deadline_id": "dln_1",
        "kind": "merchant_answer",
        "party": "merchant",
        "due_at": due_at,
        "rule": "RD-01",
        "policy": {"programme": "returns-desk", "version": 1},
        "on_silence": {"action": "raise_attention"},
    }
    case = {
        "case_id": f"cas_{number}",
        "state": state,
        "reason": "complaint",
        "policy": {"programme": "returns-desk", "version": 1},
        "deadlines": [deadline],
    }
    return {"order": {"order_number": number, "channel": None}, "cases": {case["case_id"]: case}}


@pytest.mark.parametrize(
    ("ruled", "expected"),
    [
        ((), ("ada@shop.example", "bob@shop.example")),
        (("ada",), ("bob@shop.example",)),
        (("ada", "bob"), ("all@shop.example",)),
    ],
)
def test_attention_is_for_who_has_no_rule_else_for_the_contract_s_all(
    ruled: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    assert attention_addresses(MERCHANT, desk(*ruled), NOW) == expected


def test_without_consultants_the_contract_s_addresses_are_told() -> None:
    assert attention_addresses(MERCHANT, Desk(), NOW) == ("all@shop.example",)


def test_a_deputy_is_told_how_many_cases_and_what_falls_due() -> None:
    about = {"absence": orjson.dumps(ABSENCE).decode(), "absent": "Ada", "from": "2021-03-10", "to": "2021-03-12", "note": "Hi"}
    files = [
        file("A-2", "2021-03-12T09:00:00.000Z"),
        file("A-1", "2021-03-10T09:00:00.000Z"),
        file("A-3", "2021-03-20T09:00:00.000Z"),
        file("A-4", "2021-03-11T09:00:00.000Z", state="resolved"),
    ]
    told = handed_over(MERCHANT, desk("ada"), about, files)
    assert told["cases"] == "3"
    assert [number for _, number in orjson.loads(told["due"])] == ["A-1", "A-2"]
    another = handed_over(MERCHANT, desk("ada"), {**about, "deputy": "cid"}, files)
    assert orjson.loads(another["due"]) == [], "these are Bob's"
    words = circular_words("handover", told, MERCHANT, language_of("en"), "Recourse")
    assert [option.split(":")[0] for option in words.options] == ["Order A-1", "Order A-2"]
    assert "March 10, 2021" in " ".join(words.happened)
    assert words.said == "Hi"
