"""Guards that close a recovery without acting: there is nothing to do, or it is not the platform's to do."""

from recovery.decide.facts import Facts
from recovery.decide.guards.remedies import first_choice
from recovery.decide.guards.verdict import Verdict
from recovery.models import Answer, Autonomy, Choice, JsonObject, Kind, RecoveryState

COMMAND = "recovery trigger"
"""What a person runs."""
ACTS = frozenset({Autonomy.APPROVE, Autonomy.AUTO})
"""Where the platform does something itself, at once or after a yes."""


def rejected(facts: Facts) -> Verdict | None:
    """Cancel what a person said no to, whatever else there is to say about it; the same failure asks again after the approval's time."""
    asked = facts.approval
    if asked is None or asked.answer is not Answer.REJECTED:
        return None
    comment = f": {asked.comment}" if asked.comment else ""
    return Verdict(
        Choice.SUPPRESS,
        "approval",
        f"rejected by {asked.answered_by}{comment}",
        asked.until,
        {"answered_by": asked.answered_by, "answered_at": asked.answered_at.isoformat() if asked.answered_at else None},
        becomes=RecoveryState.CANCELLED,
    )


def unmanaged(facts: Facts) -> Verdict | None:
    """Leave services alone that are declared `managed = false`."""
    if facts.service.managed:
        return None
    return Verdict(Choice.SUPPRESS, "unmanaged", f"{facts.service.name} is declared managed = false: it is watched, not touched")


def unrecoverable(facts: Facts) -> Verdict | None:
    """Leave failures alone whose reporter says that no recovery can help; who asks for one by hand knows better."""
    if facts.recovery.kind is not Kind.AUTOMATIC or facts.failure is None or facts.failure.recoverable:
        return None
    return Verdict(Choice.SUPPRESS, "unrecoverable", f"{facts.failure.source} reported this failure as not recoverable")


def healthy_again(facts: Facts) -> Verdict | None:
    """Do nothing about a failure that is over: one reported late, or that went while the recovery was held."""
    if facts.recovery.kind is not Kind.AUTOMATIC or facts.failure is None or facts.recovery.state is RecoveryState.IN_PROGRESS:
        return None
    well_since = facts.well_since()
    if well_since is None:
        return None
    tried = [attempt.finished_at for attempt in facts.done if attempt.finished_at]
    seen = max([facts.recovery.last_failure_at or facts.failure.occurred_at, *tried])
    if well_since <= seen:
        return None
    reason = f"{facts.service.name} is healthy since {well_since:%H:%M:%S} UTC, after this failure of {seen:%H:%M:%S} UTC"
    numbers: JsonObject = {"healthy_since": well_since.isoformat(), "occurred_at": seen.isoformat()}
    return Verdict(Choice.SUPPRESS, "healthy_again", reason, numbers=numbers, quiet=False, over=well_since)


def autonomy(facts: Facts) -> Verdict | None:
    """Only watch (`observe`), or say what a person should run (`suggest`).

    Taking a remedy away again passes: whoever put it in place decided that, and has no command to end it.
    """
    level = facts.fleet.autonomy(facts.service.name)
    if level in ACTS or not facts.unasked or facts.restores:
        return None
    would = would_run(facts)
    numbers: JsonObject = {"autonomy": str(level), "would_run": would}
    if level is Autonomy.OBSERVE:
        return Verdict(Choice.SUPPRESS, "autonomy", f"autonomy observe: would run {would}", numbers=numbers)
    planned = first_choice(facts)
    if planned is None:
        return Verdict(Choice.SUPPRESS, "autonomy", "autonomy suggest: nothing in the plan may run now", numbers=numbers)
    command = f"{COMMAND} {facts.service.name} {planned.strategy}"
    suggested = numbers | {"command": command}
    return Verdict(Choice.SUPPRESS, "autonomy", f"autonomy suggest: run `{command}`", numbers=suggested, event="recovery:suggested")


def severity_policy(facts: Facts) -> Verdict | None:
    """Leave failures alone that are less severe than `act_from`."""
    severity, wanted = facts.recovery.severity, facts.fleet.act_from(facts.service.name)
    if severity.rank <= wanted.rank or not facts.unasked or facts.restores:
        return None
    reason = f"a failure of severity {severity} is recorded only: {facts.service.name} is acted upon from {wanted}"
    return Verdict(Choice.SUPPRESS, "severity_policy", reason, numbers={"severity": str(severity), "act_from": str(wanted)})


def dry_run(facts: Facts) -> Verdict | None:
    """Record what would be done and touch nothing, when the platform, the service or the recovery says so."""
    platform, service, recovery = facts.fleet.platform.dry_run, facts.service.dry_run, facts.recovery.dry_run
    if not (platform or service or recovery):
        return None
    levels = {"platform": platform, "service": service, "recovery": recovery}
    asked = [level for level, on in levels.items() if on]
    would = would_run(facts)
    return Verdict(Choice.SUPPRESS, "dry_run", f"dry run ({', '.join(asked)}): would run {would}", numbers={"would_run": would})


def would_run(facts: Facts) -> str:
    """Return the plan in words."""
    return ", then ".join(attempt.strategy for attempt in facts.recovery.plan.attempts) or "nothing"
