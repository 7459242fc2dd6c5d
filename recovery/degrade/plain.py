"""Degradations and endpoints as values: how one ends, which is newer, and their JSON in Redis."""

import json
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import structlog

from recovery.degrade.keys import RECOVERY
from recovery.models import Degradation, Endpoint, JsonObject, Level

log = structlog.get_logger("recovery")

_UNREADABLE = (ValueError, TypeError, KeyError, AttributeError, OverflowError, OSError)
"""What a value raises that is no JSON, or other JSON than it should be."""


def ended(degradation: Degradation, now: datetime) -> Degradation:
    """Return it with its end at `now`, unless it ends already; its ramp follows."""
    return degradation if degradation.until <= now else replace(degradation, until=now)


def outranks(degradation: Degradation, fence: int | None) -> bool:
    """Say whether it is too new for whoever has this fence; None is newer than everything."""
    return fence is not None and degradation.fence > fence


def as_json(degradation: Degradation) -> str:
    """Return the value that services read."""
    return json.dumps(as_table(degradation))


def as_table(degradation: Degradation) -> JsonObject:
    """Return the fields of that value; `from_table` reads them."""
    return {
        "service": degradation.service,
        "layer": degradation.layer,
        "level": degradation.level.value,
        "since": degradation.since.timestamp(),
        "until": degradation.until.timestamp(),
        "ramp": list(degradation.ramp),
        "ramp_stage": degradation.ramp_stage,
        "features_off": list(degradation.features_off),
        "capabilities": dict(degradation.capabilities),
        "reason": degradation.reason,
        "by": degradation.by,
        "recovery_id": degradation.recovery_id,
        "fence": degradation.fence,
    }


def readable(values: Iterable[str]) -> list[Degradation]:
    """Return the degradations among `values`: one that cannot be read must not hide the others."""
    found = []
    for value in values:
        try:
            found.append(from_json(value))
        except _UNREADABLE as error:
            log.warning("degradation.unreadable", value=value[:200], reason=f"{type(error).__name__}: {error}")
    return found


def readable_endpoint(value: str) -> Endpoint | None:
    """Return the endpoint in a value, None if it cannot be read."""
    try:
        fields: dict[str, Any] = json.loads(value)
        return Endpoint(**{**fields, "since": moment_of(fields["since"])})
    except _UNREADABLE as error:
        log.warning("endpoint.unreadable", value=value[:200], reason=f"{type(error).__name__}: {error}")
        return None


def from_json(value: str) -> Degradation:
    """Return the degradation in a value; raises one of several errors if it is none."""
    return from_table(json.loads(value))


def from_table(fields: dict[str, Any]) -> Degradation:
    """Return the degradation with these fields; one written by an older version lacks layer, ramp and author."""
    return Degradation(
        service=fields["service"],
        level=Level(fields["level"]),
        since=moment_of(fields["since"]),
        until=moment_of(fields["until"]),
        features_off=tuple(fields["features_off"]),
        capabilities=dict(fields["capabilities"]),
        reason=fields["reason"],
        recovery_id=fields["recovery_id"],
        fence=int(fields["fence"]),
        layer=fields.get("layer", RECOVERY),
        ramp=tuple(fields.get("ramp", ())),
        ramp_stage=fields.get("ramp_stage", 30.0),
        by=fields.get("by", ""),
    )


def moment_of(seconds: float) -> datetime:
    """Return the moment that lies so many seconds after the epoch."""
    return datetime.fromtimestamp(seconds, UTC)
