"""A failure report: what somebody says is broken."""

import hashlib
import json
from functools import lru_cache
from typing import Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from recovery.models.words import Category, FailureType, JsonObject, ServiceName, Severity, new_id, utcnow


@lru_cache(1024)
def fingerprint_of(service: str, category: str) -> str:
    """Return the fingerprint that makes failures of one service and category equal."""
    return hashlib.sha256(f"{service}\0{category}".encode()).hexdigest()[:32]


MAX_DETAILS = 64_000
"""Characters of a failure's details, as JSON."""


class Failure(BaseModel):
    """One report that a service is broken. It can choose what is done, never command it.

    Unknown keys are refused. `service` must be declared in `recovery.toml`; the intake checks that.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(default_factory=new_id, min_length=1, max_length=64)
    """Chosen by the sender; the same id twice is one report."""
    service: ServiceName
    category: Category = Category.UNKNOWN
    type: FailureType = FailureType.ERROR
    severity: Severity = Severity.HIGH
    message: str = Field(default="", max_length=4_000)
    source: str = Field(default="unknown", max_length=200)
    """Who says so: `health`, `client`, `celery`, `cli`, a host name, ..."""
    occurred_at: AwareDatetime = Field(default_factory=utcnow)
    details: JsonObject = Field(default_factory=dict)
    """Up to `MAX_DETAILS` characters of JSON; more is replaced by a note, because the report itself must not get lost."""
    stack: str | None = Field(default=None, max_length=32_000)
    recoverable: bool = True
    fingerprint: str = Field(default="", max_length=64)
    """Equal failures share it; default: service and category."""
    labels: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _bound_details(self) -> Self:
        if not self.details:  # as in most of a storm's reports
            return self
        length = len(json.dumps(self.details))
        if length > MAX_DETAILS:
            object.__setattr__(self, "details", {"truncated": f"{length} characters of details were left out"})
        return self

    @model_validator(mode="after")
    def _fill_fingerprint(self) -> Self:
        if not self.fingerprint:
            object.__setattr__(self, "fingerprint", fingerprint_of(self.service, self.category))
        return self
