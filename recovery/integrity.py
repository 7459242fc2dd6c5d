"""Tell a sound cache value from a broken one. Pure; the `cache` check finds broken values with it, `cache_rebuild` proves new ones."""

import hashlib
import hmac
import json
from typing import Literal, Self

from pydantic import model_validator

from recovery.config.base import Declaration

DIGEST_LENGTH = 64
"""Hex digits of a SHA-256."""


class IntegrityRule(Declaration):
    """What a sound value looks like."""

    format: Literal["checksum", "json"] = "checksum"
    """`checksum`: `<sha256 hex of payload>:<payload>`; `json`: a JSON document."""
    required_keys: tuple[str, ...] = ()
    """Keys that the JSON object must have; with `checksum` the payload must be that object."""

    @model_validator(mode="after")
    def _refuse_empty_keys(self) -> Self:
        if "" in self.required_keys:
            raise ValueError("required_keys must not hold an empty name")
        return self


def seal(payload: bytes) -> bytes:
    """Return `payload` as the `checksum` format stores it."""
    return hashlib.sha256(payload).hexdigest().encode() + b":" + payload


def fault(value: bytes | None, rule: IntegrityRule) -> str | None:
    """Say what is wrong with `value` in a few words, None if it is sound.

    Args:
        value: what the cache holds; None when the key is missing, which is a fault.
        rule: what it should look like.
    """
    if value is None:
        return "is missing"
    if rule.format == "json":
        return _json_fault(value, rule.required_keys)
    digest, colon, payload = value.partition(b":")
    if not colon or len(digest) != DIGEST_LENGTH:
        return "has no checksum"
    if not hmac.compare_digest(digest, hashlib.sha256(payload).hexdigest().encode()):
        return "does not match its checksum"
    return _json_fault(payload, rule.required_keys) if rule.required_keys else None


def _json_fault(document: bytes, required: tuple[str, ...]) -> str | None:
    try:
        parsed = json.loads(document.decode())
    except UnicodeDecodeError:
        return "is not UTF-8 text"
    except json.JSONDecodeError as error:
        return f"is not JSON ({error.msg} at character {error.pos})"
    except RecursionError:
        return "is not JSON (nested too deeply)"
    if not required:
        return None
    if not isinstance(parsed, dict):
        return "is not a JSON object"
    missing = [key for key in required if key not in parsed]
    return f"lacks {', '.join(repr(key) for key in missing)}" if missing else None
