"""What a process knows of degradations and endpoints: frozen data, read from Redis's JSON and arranged for quick questions."""

import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from math import isnan
from typing import Any, Literal, get_args

from recovery.degrade.keys import RECOVERY, SYSTEM
from recovery.degrade.ramp import GONE, left_of, restored

log = logging.getLogger("recovery.client")

LevelName = Literal["normal", "partial", "limited", "minimal", "emergency"]
LEVELS: tuple[LevelName, ...] = get_args(LevelName)
"""From mild to severe."""

_UNREADABLE = (ValueError, TypeError, KeyError, AttributeError, OverflowError)
"""What a value raises that is no JSON, or other JSON than it should be."""


@dataclass(frozen=True, slots=True)
class Degraded:
    """What one service, or the system (`*`), does without until `until`, and how it comes back after that."""

    service: str
    level: LevelName
    until: float
    """Seconds since the epoch; from then on the ramp lets callers back."""
    features_off: frozenset[str]
    capabilities: Mapping[str, int]
    """Capability -> percentage left."""
    layer: str = RECOVERY
    """Who put it: `recovery`, `manual`, `rule:<name>`, or another strategy."""
    ramp: tuple[int, ...] = ()
    """Percentages of callers who are let back in turn, rising."""
    ramp_stage: float = 30.0
    """Seconds that each of them lasts."""
    reason: str = ""
    """Why, for people."""
    by: str = ""
    """The person, rule or strategy behind it."""
    recovery_id: str = ""

    @property
    def severity(self) -> int:
        """Return the place of the level, 0 is normal."""
        return LEVELS.index(self.level)

    def restored(self, now: float) -> int:
        """Return for how many callers of a hundred it is over: 0 in force, 100 gone."""
        return restored(now, self.until, self.ramp, self.ramp_stage)

    def concerns(self, service: str | None) -> bool:
        """Say whether a reader who asks for `service`, or for any, is to heed it."""
        return service is None or self.service in (service, SYSTEM)


@dataclass(frozen=True, slots=True)
class Known:
    """Everything there is at one moment, replaced as a whole; some of it may be over by the clock already."""

    degraded: tuple[Degraded, ...] = ()
    endpoints: Mapping[str, str] = field(default_factory=dict)
    """Service -> URL of the backup in use."""
    features: Mapping[str, tuple[Degraded, ...]] = field(default_factory=dict)
    """Feature -> what switches it off."""
    capabilities: Mapping[str, tuple[Degraded, ...]] = field(default_factory=dict)
    """Capability -> what limits it."""

    @classmethod
    def of(cls, degraded: Iterable[Degraded], endpoints: Mapping[str, str]) -> "Known":
        """Return them, arranged by feature and capability."""
        features: dict[str, tuple[Degraded, ...]] = {}
        capabilities: dict[str, tuple[Degraded, ...]] = {}
        everything = tuple(degraded)
        for one in everything:
            for feature in one.features_off:
                features[feature] = (*features.get(feature, ()), one)
            for capability in one.capabilities:
                capabilities[capability] = (*capabilities.get(capability, ()), one)
        return cls(everything, endpoints, features, capabilities)

    def answers(self, now: float) -> dict[tuple[str, str], tuple[object, ...]]:
        """Return what every answer follows from at `now`, by kind and name, so that two moments can be compared."""
        found: dict[tuple[str, str], tuple[object, ...]] = {("endpoint", service): (url,) for service, url in self.endpoints.items()}
        for one in self.degraded:
            percent = one.restored(now)
            if percent < GONE:
                given: list[tuple[tuple[str, str], object]] = [(("level", one.service), one.level)]
                given += [(("feature", name), percent) for name in one.features_off]
                given += [(("capability", name), left_of(left, percent)) for name, left in one.capabilities.items()]
                for answer, value in given:
                    found[answer] = (*found.get(answer, ()), (one.service, one.layer, value))
        return found


def degradations_of(values: Iterable[str]) -> Iterator[Degraded]:
    """Yield the degradations among `values`: one that cannot be read must not hide the others."""
    for value in values:
        try:
            yield _degraded(json.loads(value))
        except _UNREADABLE:
            log.warning("left out what is no degradation: %.200s", value)


def endpoints_of(values: Iterable[str]) -> dict[str, str]:
    """Return the URLs of the backups in use, by service."""
    found: dict[str, str] = {}
    for value in values:
        try:
            fields = json.loads(value)
            found[fields["service"]] = str(fields["url"])
        except _UNREADABLE:
            log.warning("left out what is no endpoint: %.200s", value)
    return found


def _degraded(fields: dict[str, Any]) -> Degraded:
    if fields["level"] not in LEVELS:
        raise ValueError(f"no level: {fields['level']!r}")
    stage, until = float(fields.get("ramp_stage", 30.0)), float(fields["until"])
    if isnan(until):
        raise ValueError("until is no moment")
    return Degraded(
        service=str(fields["service"]),
        level=fields["level"],
        until=until,
        features_off=frozenset(map(str, fields["features_off"])),
        capabilities={str(name): min(100, max(0, int(left))) for name, left in fields["capabilities"].items()},
        layer=str(fields.get("layer") or RECOVERY),
        ramp=tuple(map(int, fields.get("ramp", ()))) if stage > 0.0 else (),
        ramp_stage=stage,
        reason=str(fields.get("reason") or ""),
        by=str(fields.get("by") or ""),
        recovery_id=str(fields.get("recovery_id") or ""),
    )
