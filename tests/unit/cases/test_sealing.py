"""The hash chain: canonical as RFC 8785 says, and any change of what was sealed shows."""

import hashlib
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from contracts.cases import CaseEvent
from services.cases.sealing import canonical, data_of, new_salt, seal
from tests.contract.examples import EXAMPLES

EVENTS = [message for message in EXAMPLES if isinstance(message, CaseEvent)]

keys = st.text(st.characters(codec="ascii"), max_size=12)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=20,
)


@given(values)
def test_canonical_json_is_that_of_rfc_8785(value: Any) -> None:
    assert canonical(value) == rfc8785.dumps(value)


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.kind)
def test_the_data_of_every_event_is_canonical(event: CaseEvent) -> None:
    data = data_of(event)
    assert "seal" not in data
    assert canonical(data) == rfc8785.dumps(data)


@pytest.mark.rule("NX-13")
@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.kind)
def test_a_seal_is_recomputed_from_what_is_served(event: CaseEvent) -> None:
    data, salt = data_of(event), new_salt()
    sealed = seal(data, kind=event.kind, sequence=2, previous_hash="ab" * 32, salt=salt)
    digest = hashlib.sha256(salt.encode() + rfc8785.dumps(data)).hexdigest()
    covered = {
        "sequence": 2,
        "type": event.kind,
        "at": data["at"],
        "actor": data["actor"],
        "data_digest": digest,
        "previous_hash": "ab" * 32,
    }
    assert sealed.data_digest == digest
    assert sealed.hash == hashlib.sha256(rfc8785.dumps(covered)).hexdigest()


def test_salts_differ_and_are_16_bytes() -> None:
    salts = {new_salt() for _ in range(100)}
    assert len(salts) == 100
    assert {len(bytes.fromhex(salt)) for salt in salts} == {16}
