"""Takes secrets out of texts and details before they leave the process."""

import functools
import re
from collections.abc import Mapping

HIDDEN = "***"

_LABEL = (
    r"(?:passw(?:or)?d|passphrase|pwd|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|credential|authorization|cookie)[\w.-]{0,40}"
)
_LABEL_HINTS = ("passw", "passphrase", "pwd", "secret", "token", "key", "credential", "authorization", "cookie")

_RULES = (
    (("-----begin",), r"(?s)-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----.*?(?:-----END [A-Z ]{0,40}PRIVATE KEY-----|\Z)", HIDDEN),
    (("://",), r"(://)([^\s/@:]{0,200}):[^\s/]{0,500}@", rf"\1\2:{HIDDEN}@"),
    (
        ("bearer", "basic", "digest"),
        r"(?i)\b(Bearer|Basic|Digest)\s{1,5}[A-Za-z0-9._~+/=-]{8,}",
        rf"\1 {HIDDEN}",
    ),
    (
        _LABEL_HINTS,
        rf"""(?i)({_LABEL}["']?\s{{0,5}}[=:]\s{{0,5}})("[^"]*"|'[^']*'|[^\s,;&"')\]}}}}]+)""",
        rf"\1{HIDDEN}",
    ),
    (("eyj",), r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*", HIDDEN),
    (("akia", "asia"), r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b", HIDDEN),
)
"""Hints, pattern, replacement: a pattern runs only where a hint occurs, because most texts hold no secret and a search for a
fixed text costs a hundredth of a pattern. They are compiled when first needed: importing the client must stay cheap."""


def redact(text: str) -> str:
    """Return `text` with passwords in URLs, bearer tokens, `password=...` and the like, JWTs and private keys replaced by `***`."""
    lowered = text.lower()
    for hints, pattern, replacement in _RULES:
        if any(hint in lowered for hint in hints):
            text = re.sub(pattern, replacement, text)
    return text


def redact_details(value: object) -> object:
    """Return a JSON value with the texts redacted, and `***` for everything whose key names a secret."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {str(key): HIDDEN if _names_secret(str(key)) else redact_details(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [redact_details(item) for item in value]
    return value


@functools.lru_cache(maxsize=1_024)  # keys come again and again
def _names_secret(key: str) -> bool:
    return re.search(_LABEL, key, re.IGNORECASE) is not None
