"""What counts as a sound cache value."""

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from recovery.integrity import IntegrityRule, fault, seal

CHECKSUM = IntegrityRule()
JSON = IntegrityRule(format="json")
PRICED = IntegrityRule(format="json", required_keys=("sku", "price"))


@given(st.binary())
def test_whatever_was_sealed_is_sound(payload: bytes) -> None:
    assert fault(seal(payload), CHECKSUM) is None


@given(st.binary(), st.data())
def test_one_flipped_bit_anywhere_is_found(payload: bytes, data: st.DataObject) -> None:
    sealed = bytearray(seal(payload))
    position = data.draw(st.integers(0, len(sealed) - 1))

    sealed[position] ^= 1 << data.draw(st.integers(0, 7))

    assert fault(bytes(sealed), CHECKSUM) is not None


def test_a_sealed_value_is_the_hex_digest_a_colon_and_the_payload() -> None:
    assert seal(b"tea") == hashlib.sha256(b"tea").hexdigest().encode() + b":tea"


@pytest.mark.parametrize(
    ("value", "rule", "said"),
    [
        (None, CHECKSUM, "is missing"),
        (None, JSON, "is missing"),
        (b"", CHECKSUM, "has no checksum"),
        (b"tea", CHECKSUM, "has no checksum"),
        (b"abc:tea", CHECKSUM, "has no checksum"),
        (b"0" * 64 + b":tea", CHECKSUM, "does not match its checksum"),
        (b"{", JSON, "is not JSON"),
        (b"", JSON, "is not JSON"),
        (b"\xff\xfe", JSON, "is not UTF-8 text"),
        (b"[" * 100_000, JSON, "nested too deeply"),
        (b"[1, 2]", PRICED, "is not a JSON object"),
        (b'{"sku": 1}', PRICED, "lacks 'price'"),
        (b"{}", PRICED, "lacks 'sku', 'price'"),
    ],
)
def test_a_broken_value_is_told_in_words(value: bytes | None, rule: IntegrityRule, said: str) -> None:
    assert said in (fault(value, rule) or "no fault at all")


@pytest.mark.parametrize("value", [b"null", b"[1]", b'"text"', b"{}"])
def test_any_json_document_is_sound_where_no_keys_are_required(value: bytes) -> None:
    assert fault(value, JSON) is None


def test_an_object_with_all_required_keys_and_more_is_sound() -> None:
    assert fault(json.dumps({"sku": 1, "price": 2, "name": "tea"}).encode(), PRICED) is None


def test_required_keys_are_looked_for_in_a_sealed_payload_too() -> None:
    rule = IntegrityRule(required_keys=("price",))

    assert fault(seal(b'{"price": 2}'), rule) is None
    assert fault(seal(b"{}"), rule) == "lacks 'price'"
    assert fault(seal(b"tea"), rule) == "is not JSON (Expecting value at character 0)"


def test_an_unknown_key_or_format_in_a_rule_is_refused() -> None:
    with pytest.raises(ValidationError, match="required_key"):
        IntegrityRule.model_validate({"required_key": ["a"]})
    with pytest.raises(ValidationError, match="checksum"):
        IntegrityRule.model_validate({"format": "md5"})
    with pytest.raises(ValidationError, match="empty name"):
        IntegrityRule(required_keys=("",))
