"""How texts in the options of remedies and drivers must be spelled, with a sentence for those that are not."""

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from recovery.config.references import Mention


def spelled(pattern: str, rule: str) -> AfterValidator:
    """Return a validator that requires `pattern` from the beginning of a text; `rule` completes "must be ..."."""
    compiled = re.compile(pattern)

    def check(value: str) -> str:
        if not compiled.match(value):
            raise ValueError(f"must be {rule}")
        return value

    return AfterValidator(check)


CheckName = Annotated[str, spelled(r"[^.\s]\S*\.\S+$", "the name of a check, 'service.check'"), Mention("check")]
"""The configuration refuses one that is not declared."""
FeatureName = Annotated[str, Field(min_length=1, max_length=100), Mention("feature")]
CapabilityName = Annotated[str, Field(min_length=1, max_length=100), Mention("capability")]
"""The configuration refuses one that is not declared, where others are."""
HttpAddress = Annotated[str, spelled(r"https?://[^/\s]+/?$", "an address such as 'http://127.0.0.1:9001'")]
RedisUrl = Annotated[str, spelled(r"(rediss?|unix)://\S+$", "a URL that begins with 'redis://', 'rediss://' or 'unix://'")]
SqlUrl = Annotated[str, spelled(r"[a-z0-9]+(\+[a-z0-9]+)?://", "an SQLAlchemy URL such as 'sqlite:///catalog.db'")]
KeyQuery = Annotated[str, spelled(r"(?s).*:key\b", "a query with the parameter ':key'")]
CallableName = Annotated[str, spelled(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*$", "'module:callable'")]
Url = Annotated[str, spelled(r"[A-Za-z][A-Za-z0-9+.-]*://[^/\s]+", "a URL such as 'http://10.0.0.7:8080'")]
