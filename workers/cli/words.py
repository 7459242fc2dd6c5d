"""How recoveries and decisions are put in words: what a recovery is for, and reasons that say nothing twice."""

import re

from recovery.models import Choice, Decision, Plan, Recovery, RecoveryState

ECHO = re.compile(r"\b([\w.-]+): (?=\1\b)")


def purpose(recovery: Recovery) -> str:
    """Return what a recovery is about: the category of its failure, or `restore of degrade` where nothing failed."""
    if recovery.plan.source == "restore":
        return f"restore of {', '.join(each.strategy for each in recovery.plan.attempts)}"
    return recovery.category.value


def needs(recovery: Recovery) -> str:
    """Return what a person should know about a recovery that ended without success."""
    reason = without_echo(without_left_out(recovery.reason, recovery.plan))
    if recovery.state is RecoveryState.SUPPRESSED:
        return f"left alone: {reason} (recovery why {recovery.service})"
    if recovery.state is RecoveryState.CANCELLED:
        return f"ended by a person: {reason} (recovery why {recovery.service})"
    reason = reason.removeprefix("nothing could be tried; ").removeprefix("held back: ")
    return f"needs a person: {reason} (recovery why {recovery.service})"


def what_then(made: Decision) -> str:
    """Return when something may be done after all, and by whose leave; empty if the decision names no time."""
    from workers.cli.render import moment

    if made.until is None:
        return ""
    at = moment(made.until)
    if made.choice is Choice.ESCALATE:
        return f"nothing by itself before {at}"
    if made.guard == "approval":
        asks = f"not before somebody approves; lapses at {at}"
        return asks if made.choice is Choice.DELAY else f"not before somebody is asked again, after {at}"
    return f"may act again at {at}"


def without_left_out(reason: str, plan: Plan) -> str:
    """Return a reason without the list of what the plan leaves out, where that is told beside it."""
    told = "; ".join(f"{each.strategy}: {each.why}" for each in plan.left_out)
    return reason.replace(f"; left out: {told}", "") if told else reason


def without_echo(reason: str) -> str:
    """Return a reason that does not name its strategy twice: `restart: restart ran 3 times` is `restart ran 3 times`."""
    return ECHO.sub("", reason)
