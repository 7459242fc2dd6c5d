"""Guards that make a recovery wait. When what holds it ends, everything is judged anew."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from recovery.clocks import still_runs
from recovery.config.fleet import ServiceDeclaration
from recovery.decide import budget
from recovery.decide.facts import Facts
from recovery.decide.guards.leaving import would_run
from recovery.decide.guards.verdict import Verdict
from recovery.decide.windows import maintenance
from recovery.models import (
    Action,
    Answer,
    Autonomy,
    Choice,
    JsonObject,
    Kind,
    PlannedAttempt,
    Recovery,
    RecoveryState,
    Silence,
    SilenceKind,
    Status,
)

SOON = timedelta(seconds=1)
"""How soon to look again at what the next sweep may change."""
LATER = timedelta(seconds=60)
"""How soon to look again at what may end early: a person lifts it, perhaps in the moment of this look, or the file loses the window."""
BUDGET_RECHECK = timedelta(seconds=30)
"""The tick wakes what the budget holds as soon as there is room, so this is only a net below."""
QUESTION_RECHECK = timedelta(seconds=10)
"""A question that became pointless, because the service is well again, is withdrawn after this time."""


def kill_switch(facts: Facts) -> Verdict | None:
    """Hold everything until the switch is turned back, but for emergencies and what is forced."""
    on = switches(facts.recovery, facts.service, facts.silences, facts.now)
    return _silence_verdict(on) if on else None


def switches(recovery: Recovery, service: ServiceDeclaration, silences: Sequence[Silence], now: datetime) -> list[Silence]:
    """Return those of `silences` that are kill switches which hold `recovery` at `now`; a dry run touches nothing and passes."""
    if not silences or recovery.kind is Kind.EMERGENCY or recovery.force or recovery.dry_run:
        return []
    on = (silence for silence in silences if silence.kind is SilenceKind.KILL_SWITCH and silence.in_force(now))
    return [silence for silence in on if silence.covers(service.name, service.labels)]


def silenced(facts: Facts) -> Verdict | None:
    """Hold what nobody asked for during a maintenance window, a silence or a deploy."""
    if not facts.unasked:
        return None
    on = [silence for silence in _in_force(facts) if silence.kind is not SilenceKind.KILL_SWITCH]
    return _silence_verdict(on) if on else None


def blind(facts: Facts) -> Verdict | None:
    """Hold what nobody asked for while the platform does not see: it does not act on what it no longer knows."""
    if facts.blind is None or not facts.unasked:
        return None
    return Verdict(Choice.DELAY, "blind", f"the platform is blind: {facts.blind}", again=SOON)


def flapping(facts: Facts) -> Verdict | None:
    """Hold a service that goes up and down too often: acting in the middle of it makes it worse."""
    state = facts.state
    if facts.recovery.kind is not Kind.AUTOMATIC or state is None or not state.flapping:
        return None
    if not facts.service.checks:  # it lost them while it flapped, and nothing could ever say that it has settled
        return None
    platform = facts.fleet.platform
    rate = f"its health changed at a rate of {state.change_rate:.1f} %"
    reason = f"{facts.service.name} is flapping: {rate}, and is waited for until that is below {platform.flap_low:g} %"
    numbers: JsonObject = {"change_rate": state.change_rate, "flap_high": platform.flap_high, "flap_low": platform.flap_low}
    return Verdict(Choice.DELAY, "flapping", reason, numbers=numbers, again=SOON)


def dependency_down(facts: Facts) -> Verdict | None:
    """Hold a service while something it depends on, directly or not, is down: the root is recovered first."""
    down = _roots_down(facts)
    if facts.recovery.kind is not Kind.AUTOMATIC or not down:
        return None
    began = facts.recovery.created_at
    until = began + timedelta(seconds=facts.fleet.platform.dependency_patience)
    if not still_runs(began, until, facts.now):
        return None
    shown = f"{', '.join(down)}, which is down" if len(down) == 1 else f"{', '.join(down)}, which are down"
    reason = f"{facts.service.name} depends on {shown}: {down[0]} is recovered first, and waited for until {until:%H:%M:%S} UTC at most"
    numbers: JsonObject = {"down": list(down), "patience": facts.fleet.platform.dependency_patience}
    return Verdict(Choice.DELAY, "dependency_down", reason, until, numbers, again=SOON)


def out_of_patience(facts: Facts) -> str:
    """Return what is still down although it was waited for, in words; empty if nothing is."""
    down = _roots_down(facts)
    if facts.recovery.kind is not Kind.AUTOMATIC or not down:
        return ""
    return f"{', '.join(down)} still down after {facts.fleet.platform.dependency_patience:g} s of patience, so it is worth a try of its own"


def approval(facts: Facts, planned: PlannedAttempt) -> Verdict | None:
    """Ask a person first, where the service's autonomy or its `approve` says so; one yes is good for the whole recovery."""
    asks = facts.fleet.autonomy(facts.service.name) is Autonomy.APPROVE or planned.strategy in facts.service.approve
    asked = facts.approval
    if not asks or not facts.unasked or planned.action is Action.REVERT or (asked and asked.answer is Answer.APPROVED):
        return None
    until = asked.until if asked else facts.now + timedelta(seconds=facts.fleet.platform.approval_timeout)
    numbers: JsonObject = {"strategy": planned.strategy, "plan": would_run(facts), "until": until.isoformat()}
    if asked and not still_runs(asked.asked_at, asked.until, facts.now):
        reason = f"needs a person: nobody said yes or no to {planned.strategy} until {asked.until:%H:%M:%S} UTC"
        return Verdict(Choice.ESCALATE, "approval", reason, numbers=numbers)
    return Verdict(
        Choice.DELAY,
        "approval",
        f"{planned.strategy} needs somebody's yes until {until:%H:%M:%S} UTC",
        until,
        numbers,
        again=QUESTION_RECHECK,
        becomes=RecoveryState.AWAITING_APPROVAL,
        event="" if asked else "recovery:approval_requested",
    )


def action_budget(facts: Facts, _planned: PlannedAttempt) -> Verdict | None:
    """Hold what the budget leaves no room for; the more urgent go first. What is in progress has its place already."""
    if not facts.unasked or facts.recovery.state is RecoveryState.IN_PROGRESS:
        return None
    load, most, per_window = facts.load, budget.concurrent(facts.fleet, facts.load), facts.fleet.platform.budget.per_window
    waiting = f"; more urgent ones that wait: {load.ahead}"  # numbers alone change, so that a long wait stays one decision
    if load.in_progress + load.ahead >= most:
        storm = budget.is_storm(facts.fleet, load)
        mode = f"storm: {load.open} of {len(facts.fleet.services)} services are sick; " if storm else ""
        reason = f"{mode}recoveries under way: {load.in_progress}, at most {most} may be{waiting}"
        return Verdict(Choice.DELAY, budget.BUDGET, reason, None, _crowd(facts, most), again=BUDGET_RECHECK)
    if per_window is None or (begun := _others_begun(facts)) + load.ahead < per_window:
        return None
    window = facts.fleet.platform.budget.window
    reason = f"others that began within {window:g} s: {begun}, at most {per_window} may{waiting}"
    limits: JsonObject = {"begun": begun, "per_window": per_window, "window": window}
    return Verdict(Choice.DELAY, budget.BUDGET, reason, None, _crowd(facts, most) | limits, again=BUDGET_RECHECK)


def _crowd(facts: Facts, most: int) -> JsonObject:
    """Return what else is under way, and how much may be."""
    load = facts.load
    return {
        "in_progress": load.in_progress,
        "ahead": load.ahead,
        "limit": most,
        "services": len(facts.fleet.services),
        "open": load.open,
        "storm": budget.is_storm(facts.fleet, load),
    }


def _others_begun(facts: Facts) -> int:
    """Return how many other recoveries began within the window; one that was held between two attempts is among those counted."""
    since, began = facts.now - timedelta(seconds=facts.fleet.platform.budget.window), facts.recovery.started_at
    return facts.load.begun - (began is not None and began >= since)


def _in_force(facts: Facts) -> list[Silence]:
    if not facts.silences and not facts.fleet.maintenance:
        return []
    declared = [*facts.silences, *maintenance(facts.fleet, facts.now)]
    return [silence for silence in declared if silence.in_force(facts.now) and silence.covers(facts.service.name, facts.service.labels)]


def _silence_verdict(on: list[Silence]) -> Verdict:
    """The one that ends last decides how long it takes."""
    last = max(on, key=_ends)
    until = f"until {last.until:%Y-%m-%d %H:%M:%S} UTC" if last.until else "until somebody lifts it"
    reason = f"{str(last.kind).replace('_', ' ')} by {last.author}, {until}: {last.reason or 'no reason given'}"
    numbers: JsonObject = {"silence": last.id, "by": last.author, "since": last.since.isoformat(), "in_force": len(on)}
    return Verdict(Choice.DELAY, str(last.kind), reason, last.until, numbers, again=LATER)


def _ends(silence: Silence) -> tuple[bool, datetime, str]:
    return silence.until is None, silence.until or silence.since, silence.id


def _roots_down(facts: Facts) -> list[str]:
    """What is down among all that the service depends on, the farthest first: that is where to begin."""
    if not facts.dependencies:
        return []
    return [name for name, status in reversed(list(facts.dependencies.items())) if status is Status.UNHEALTHY]
