"""What `degrade`, `throttle` and `quarantine` share: options, and the steps that put a degradation in force and end it."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, cast

from pydantic import BaseModel, ConfigDict, Field

from recovery.config.base import Seconds
from recovery.config.degradation import Ramp
from recovery.degrade.keys import STRATEGY_LAYERS
from recovery.degrade.plain import as_table, from_table
from recovery.errors import StepFailed
from recovery.models import Degradation, JsonObject, Level
from recovery.ports import AttemptContext, Degradations, StepWork
from strategies.spelling import CheckName


class Limited(BaseModel):
    """What every remedy that degrades can be told."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ttl: Seconds = 900.0
    """Seconds after which it ends by itself, also when nobody is left to end it."""
    ramp: Ramp = ()
    """Percentages of callers, rising, each 1 to 99, who are let back in turn when it ends; default: all at once."""
    ramp_stage: Seconds = 30.0
    """Seconds that each of them lasts."""
    reason: str = Field(default="", max_length=500)
    """Shown to users; default: the recovery's message."""
    verify: tuple[CheckName, ...] = ()
    """Checks (`service.check`) that must pass while degraded, such as those of the services that depend on this one; default: none."""


def degradation_of(
    context: AttemptContext, strategy: str, options: Limited, level: Level, features: tuple[str, ...], capabilities: dict[str, int]
) -> Callable[[JsonObject], Degradation]:
    """Return what makes the degradation that a strategy wants, from the times in its intent."""

    def wanted(intent: JsonObject) -> Degradation:
        return Degradation(
            service=context.service.name,
            level=level,
            since=datetime.fromisoformat(str(intent["since"])),
            until=datetime.fromisoformat(str(intent["until"])),
            features_off=features,
            capabilities=capabilities,
            reason=options.reason or context.recovery.message,
            recovery_id=context.recovery.id,
            fence=context.fence,
            layer=STRATEGY_LAYERS[strategy],
            ramp=options.ramp,
            ramp_stage=options.ramp_stage,
            by=strategy,
        )

    return wanted


def put_step(
    context: AttemptContext,
    degradations: Degradations,
    name: str,
    strategy: str,
    ttl: float,
    wanted: Callable[[JsonObject], Degradation],
) -> StepWork:
    """Return the step `name` that puts a degradation in force; its undo ends it, or puts back the older one that it renewed.

    A successor that finds it in force puts it again: that changes nothing for services, gives it the successor's fence, and tells of
    it where the first worker had no time to.
    """
    service, layer = context.service.name, STRATEGY_LAYERS[strategy]

    def prepare() -> JsonObject:
        before, now = degradations.current(service, layer), context.clock()
        older = as_table(before) if before else None
        return {"before": older, "since": now.isoformat(), "until": (now + timedelta(seconds=ttl)).isoformat()}

    def run(intent: JsonObject) -> JsonObject:
        context.guard()
        if not degradations.put(wanted(intent)):
            raise StepFailed(f"a newer degradation of '{service}' is in force; this one came too late")
        return told(degradations.current(service, layer) or wanted(intent))

    def reconcile(intent: JsonObject) -> JsonObject | None:
        current = degradations.current(service, layer)
        return run(intent) if current and current.recovery_id == context.recovery.id else None

    def undo(intent: JsonObject, result: JsonObject | None) -> StepWork | None:
        if result is None:
            return None
        older = cast("dict[str, Any] | None", intent.get("before"))
        return put_back_step(context, degradations, from_table(older)) if older else end_step(context, degradations, strategy)

    return StepWork(name, run, prepare, reconcile, undo=undo)


def put_back_step(context: AttemptContext, degradations: Degradations, older: Degradation) -> StepWork:
    """Return the step `put back` that puts `older` in the place of what this recovery put: with its own end, reason and author.

    If its time is over by then, nothing stays. What somebody else ended or put meanwhile is left as it is.
    """
    service, layer = older.service, older.layer

    def current() -> Degradation | None:
        return degradations.current(service, layer)

    def is_mine(found: Degradation | None) -> bool:
        return found is not None and found.recovery_id == context.recovery.id and found.until > context.clock()

    def prepare() -> JsonObject:
        return {"before": told(found) if (found := current()) else None}

    def run(_intent: JsonObject) -> JsonObject:
        context.guard()
        if is_mine(current()) and not degradations.put(replace(older, fence=context.fence)):
            raise StepFailed(f"a newer degradation of '{service}' is in force; it was left alone")
        left = current()
        return told(left) if left else {"level": Level.NORMAL}

    def reconcile(_intent: JsonObject) -> JsonObject | None:
        found = current()
        if is_mine(found):
            return None
        return told(found) if found else {"level": Level.NORMAL}

    return StepWork("put back", run, prepare, reconcile)


def end_step(context: AttemptContext, degradations: Degradations, strategy: str) -> StepWork:
    """Return the step `restore` that ends a degradation, by its ramp if it has one."""
    service, layer = context.service.name, STRATEGY_LAYERS[strategy]

    def in_force() -> Degradation | None:
        current = degradations.current(service, layer)
        return current if current and current.until > context.clock() else None

    def prepare() -> JsonObject:
        before = in_force()
        return {"before": told(before) if before else None}

    def run(_intent: JsonObject) -> JsonObject:
        context.guard()
        if not degradations.end(service, context.fence, layer) and in_force():
            raise StepFailed(f"a newer degradation of '{service}' is in force; it was left alone")
        left = degradations.current(service, layer)
        return {"level": Level.NORMAL, **({"restoring_until": left.gone_at.isoformat()} if left else {})}

    def reconcile(_intent: JsonObject) -> JsonObject | None:
        return None if in_force() else {"level": Level.NORMAL}

    return StepWork("restore", run, prepare, reconcile)


def told(degradation: Degradation) -> JsonObject:
    """Return a degradation as the journal keeps it."""
    return {
        "level": degradation.level,
        "features_off": list(degradation.features_off),
        "capabilities": dict(degradation.capabilities),
        "until": degradation.until.isoformat(),
        "ramp": list(degradation.ramp),
    }
