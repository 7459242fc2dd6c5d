"""What `degrade`, `throttle` and `quarantine` share: options, and the steps that put a degradation in force and end it."""

from collections.abc import Callable
from datetime import datetime, timedelta

from pydantic import BaseModel, ConfigDict, Field

from recovery.config.base import Seconds
from recovery.config.degradation import Ramp
from recovery.degrade.keys import STRATEGY_LAYERS
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
    """Return the step `name` that puts a degradation in force; its undo ends it.

    A successor that finds it in force puts it again: that changes nothing for services, gives it the successor's fence, and tells of
    it where the first worker had no time to.
    """
    service, layer = context.service.name, STRATEGY_LAYERS[strategy]

    def prepare() -> JsonObject:
        before, now = degradations.current(service, layer), context.clock()
        level = before.level if before else Level.NORMAL
        return {"level_before": level, "since": now.isoformat(), "until": (now + timedelta(seconds=ttl)).isoformat()}

    def run(intent: JsonObject) -> JsonObject:
        context.guard()
        if not degradations.put(wanted(intent)):
            raise StepFailed(f"a newer degradation of '{service}' is in force; this one came too late")
        return told(degradations.current(service, layer) or wanted(intent))

    def reconcile(intent: JsonObject) -> JsonObject | None:
        current = degradations.current(service, layer)
        return run(intent) if current and current.recovery_id == context.recovery.id else None

    def undo(_intent: JsonObject, result: JsonObject | None) -> StepWork | None:
        return None if result is None else end_step(context, degradations, strategy)

    return StepWork(name, run, prepare, reconcile, undo=undo)


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
