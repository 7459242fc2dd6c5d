"""Guards that object to one strategy, and the choice of the first that none of them objects to."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from recovery.decide.facts import Facts
from recovery.decide.guards.verdict import Verdict
from recovery.models import Action, Choice, Kind, PlannedAttempt

StrategyGuard = Callable[[Facts, PlannedAttempt], Verdict | None]


def not_installed(facts: Facts, planned: PlannedAttempt) -> Verdict | None:
    """Pass over a strategy that was there when the plan was made, such as before an upgrade."""
    if planned.strategy in facts.installed:
        return None
    return Verdict(Choice.SKIP, "not_installed", f"strategy '{planned.strategy}' is no longer installed")


def attempt_cap(facts: Facts, planned: PlannedAttempt) -> Verdict | None:
    """Give a strategy up that ran too often since the service was last stable."""
    if _pressing(facts, planned):
        return None
    done, cap = facts.counted_attempts(planned.strategy), facts.fleet.max_attempts(facts.service.name)
    if done < cap:
        return None
    stable = facts.fleet.platform.stable_after
    reason = (
        f"{planned.strategy} ran {done} times since {facts.service.name} was last stable (cap {cap}); {stable:g} s of health reset that"
    )
    return Verdict(Choice.SKIP, "attempt_cap", reason, numbers={"attempts": done, "cap": cap})


def ineffective(facts: Facts, planned: PlannedAttempt) -> Verdict | None:
    """Pass over a strategy that did not help against this very failure the last times; the next one gets its turn at once."""
    if facts.recovery.kind is not Kind.AUTOMATIC or planned.action is Action.REVERT:
        return None
    platform, vain = facts.fleet.platform, facts.vain_attempts(planned.strategy)
    if len(vain) < platform.ineffective_after:
        return None
    oldest = vain[platform.ineffective_after - 1]
    until = oldest.created_at + timedelta(seconds=platform.ineffective_memory)
    reason = (
        f"{planned.strategy} did not help against {facts.recovery.category} the last {len(vain)} times; "
        f"that is remembered for {platform.ineffective_memory:g} s, or until {facts.service.name} was stable"
    )
    return Verdict(Choice.SKIP, "ineffective", reason, until, {"in_a_row": len(vain), "limit": platform.ineffective_after})


def cooldown(facts: Facts, planned: PlannedAttempt) -> Verdict | None:
    """Keep a strategy off a service for a while after it ran there."""
    if _pressing(facts, planned):
        return None
    left = facts.cooldown_left(planned.strategy)
    if left <= 0:
        return None
    wanted = facts.fleet.cooldown(facts.service.name, planned.strategy)
    until = facts.now + timedelta(seconds=left)
    reason = f"{planned.strategy} on {facts.service.name} is cooling down: {left:.1f} s left of {wanted:g} s"
    return Verdict(Choice.SKIP, "cooldown", reason, until, {"seconds_left": round(left, 3), "cooldown": wanted}, waits=True)


STRATEGY_GUARDS: tuple[StrategyGuard, ...] = (not_installed, attempt_cap, ineffective, cooldown)


@dataclass(frozen=True, slots=True)
class Chosen:
    """What may run next, and why others may not."""

    planned: PlannedAttempt | None
    skipped: Sequence[tuple[str, Verdict]] = ()
    """Strategies that come before it in the plan, with the objection to each."""


def choose(facts: Facts) -> Chosen:
    """Return the first strategy of the plan that was not tried yet and that no guard objects to."""
    done = {attempt.strategy for attempt in facts.done}
    skipped: list[tuple[str, Verdict]] = []
    for planned in facts.recovery.plan.attempts:
        if planned.strategy in done:
            continue
        verdict = object_to_strategy(facts, planned)
        if verdict is None:
            return Chosen(planned, skipped)
        skipped.append((planned.strategy, verdict))
    return Chosen(None, skipped)


def object_to_strategy(facts: Facts, planned: PlannedAttempt) -> Verdict | None:
    """Return the first objection to a strategy."""
    for guard in STRATEGY_GUARDS:
        verdict = guard(facts, planned)
        if verdict is not None:
            return verdict
    return None


def first_choice(facts: Facts) -> PlannedAttempt | None:
    """Return what would run now."""
    return choose(facts).planned


def _pressing(facts: Facts, planned: PlannedAttempt) -> bool:
    """Say whether nothing may keep a strategy back: forced, an emergency, or the end of a remedy."""
    return facts.recovery.force or facts.recovery.kind is Kind.EMERGENCY or planned.action is Action.REVERT
