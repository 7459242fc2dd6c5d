"""The guards: each looks at recorded facts and either objects with a Verdict or stays silent. They run in the order listed.

Two lists, because two questions are asked: may anything be done for this service now (`SERVICE_GUARDS`), and may this strategy
be the one (`STRATEGY_GUARDS`). A new guard is one function and one line in a list.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from recovery.decide.facts import Facts
from recovery.models import Action, Choice, Decision, JsonObject, Kind, PlannedAttempt, Status

RECHECK = timedelta(seconds=1)
"""How soon a held recovery looks again whether what holds it has gone."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """An objection: what happens instead, why, by which numbers, and until when."""

    choice: Choice
    guard: str
    reason: str
    until: datetime | None = None
    numbers: JsonObject = field(default_factory=dict)
    quiet: bool = True
    """False: the next report may open a new recovery at once."""

    def decision(self, facts: Facts, strategy: str | None = None) -> Decision:
        """Return the Decision row that records this verdict."""
        return Decision(
            service=facts.service.name,
            choice=self.choice,
            guard=self.guard,
            reason=self.reason,
            at=facts.now,
            recovery_id=facts.recovery.id,
            strategy=strategy,
            failure_id=facts.failure.id if facts.failure else None,
            facts=self.numbers,
            until=self.until,
        )


ServiceGuard = Callable[[Facts], Verdict | None]
StrategyGuard = Callable[[Facts, PlannedAttempt], Verdict | None]


def unmanaged(facts: Facts) -> Verdict | None:
    """Leave services alone that are declared `managed = false`."""
    if facts.service.managed:
        return None
    return Verdict(Choice.SUPPRESS, "unmanaged", f"{facts.service.name} is declared managed = false: it is watched, not touched")


def unrecoverable(facts: Facts) -> Verdict | None:
    """Leave failures alone whose reporter says that no recovery can help."""
    if facts.failure is None or facts.failure.recoverable:
        return None
    return Verdict(Choice.SUPPRESS, "unrecoverable", f"{facts.failure.source} reported this failure as not recoverable")


def healthy_again(facts: Facts) -> Verdict | None:
    """Do nothing about a failure that was over before anything was done, such as one reported late."""
    if facts.recovery.kind is not Kind.AUTOMATIC or facts.failure is None or facts.recovery.attempt:
        return None
    well_since, seen = facts.well_since(), facts.recovery.last_failure_at or facts.failure.occurred_at
    if well_since is None or well_since <= seen:
        return None
    reason = f"{facts.service.name} is healthy since {well_since:%H:%M:%S}, after this failure of {seen:%H:%M:%S}"
    numbers: JsonObject = {"healthy_since": well_since.isoformat(), "occurred_at": seen.isoformat()}
    return Verdict(Choice.SUPPRESS, "healthy_again", reason, numbers=numbers, quiet=False)


def dependency_down(facts: Facts) -> Verdict | None:
    """Hold a service while something it depends on is down: the root is recovered first."""
    if facts.recovery.kind is not Kind.AUTOMATIC:
        return None
    down = sorted(name for name, status in facts.dependencies.items() if status is Status.UNHEALTHY)
    if not down:
        return None
    reason = f"{facts.service.name} depends on {', '.join(down)}, which is down: that is recovered first"
    return Verdict(Choice.DELAY, "dependency_down", reason, facts.now + RECHECK, {"down": list(down)})


def dry_run(facts: Facts) -> Verdict | None:
    """Record what would be done and touch nothing, when the platform, the service or the recovery says so."""
    levels = {"platform": facts.fleet.platform.dry_run, "service": facts.service.dry_run, "recovery": facts.recovery.dry_run}
    asked = [level for level, on in levels.items() if on]
    if not asked:
        return None
    would = ", then ".join(attempt.strategy for attempt in facts.recovery.plan.attempts) or "nothing"
    return Verdict(Choice.SUPPRESS, "dry_run", f"dry run ({', '.join(asked)}): would run {would}", numbers={"would_run": would})


def attempt_cap(facts: Facts, planned: PlannedAttempt) -> Verdict | None:
    """Give a strategy up that ran too often since the service was last stable."""
    if facts.recovery.force or planned.action is Action.REVERT:
        return None
    done, cap = facts.counted_attempts(planned.strategy), facts.fleet.max_attempts(facts.service.name)
    if done < cap:
        return None
    stable = facts.fleet.platform.stable_after
    reason = (
        f"{planned.strategy} ran {done} times since {facts.service.name} was last stable (cap {cap}); {stable:g} s of health reset that"
    )
    return Verdict(Choice.SKIP, "attempt_cap", reason, numbers={"attempts": done, "cap": cap})


def cooldown(facts: Facts, planned: PlannedAttempt) -> Verdict | None:
    """Keep a strategy off a service for a while after it ran there."""
    if facts.recovery.force or planned.action is Action.REVERT:
        return None
    left = facts.cooldown_left(planned.strategy)
    return cooling(facts, planned, left) if left > 0 else None


def cooling(facts: Facts, planned: PlannedAttempt, left: float) -> Verdict:
    """Return the verdict for a strategy whose cooldown lasts `left` seconds more."""
    wanted = facts.fleet.cooldown(facts.service.name, planned.strategy)
    until = facts.now + timedelta(seconds=left)
    reason = f"{planned.strategy} on {facts.service.name} is cooling down: {left:.1f} s left of {wanted:g} s"
    return Verdict(Choice.SKIP, "cooldown", reason, until, {"seconds_left": round(left, 3), "cooldown": wanted})


def not_installed(planned: PlannedAttempt) -> Verdict:
    """Return the verdict for a strategy that was there when the plan was made, such as before an upgrade."""
    return Verdict(Choice.SKIP, "not_installed", f"strategy '{planned.strategy}' is no longer installed")


SERVICE_GUARDS: tuple[ServiceGuard, ...] = (unmanaged, unrecoverable, healthy_again, dry_run, dependency_down)
STRATEGY_GUARDS: tuple[StrategyGuard, ...] = (attempt_cap, cooldown)


def object_to_service(facts: Facts) -> Verdict | None:
    """Return the first objection to doing anything for this service now."""
    return next((verdict for guard in SERVICE_GUARDS if (verdict := guard(facts))), None)


def object_to_strategy(facts: Facts, planned: PlannedAttempt) -> Verdict | None:
    """Return the first objection to running this strategy now."""
    return next((verdict for guard in STRATEGY_GUARDS if (verdict := guard(facts, planned))), None)
