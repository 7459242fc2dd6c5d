"""What detection asks of the outside: checks and signs of life."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from pydantic import BaseModel

from recovery.config.fleet import CheckDeclaration, ServiceDeclaration
from recovery.models import Category, FailureType, JsonObject


@dataclass(frozen=True, slots=True)
class Finding:
    """What one probe saw."""

    ok: bool
    message: str = ""
    category: Category | None = None
    """What it means; None: the declaration's or the kind's category."""
    type: FailureType = FailureType.HEALTH_CHECK
    details: JsonObject = field(default_factory=dict)


class Check(Protocol):
    """One way to see whether a service is well."""

    async def probe(self) -> Finding:
        """Look once. May raise: an exception or a timeout is a failed probe with the exception's text."""
        ...


@dataclass(frozen=True, slots=True)
class CheckKind:
    """A kind of check: its name in `recovery.toml`, its options and how to build one."""

    name: str
    options: type[BaseModel]
    """Validates the keys beyond the common ones."""
    build: Callable[[ServiceDeclaration, CheckDeclaration, "Heartbeats"], Check]
    category: Category = Category.SERVICE_UNAVAILABLE
    """What a failure means unless the declaration says otherwise."""
    interval: float = 60.0
    """Default seconds between probes."""


class Heartbeats(Protocol):
    """The last signs of life that services gave."""

    def last(self, service: str) -> datetime | None:
        """Return when `service` last reported in, or None if it never did."""
        ...


class Probe(Protocol):
    """Runs declared checks on the spot, outside their schedule."""

    def __call__(self, checks: Sequence[str]) -> Mapping[str, Finding]:
        """Probe each `service.check` once, concurrently, and return the findings by that name."""
        ...
