"""The guards: each looks at recorded facts and either objects with a Verdict or stays silent. They run in the order listed.

Three lists, because three questions are asked: may anything be done for this service now (`SERVICE_GUARDS`), may this strategy
be the one (`STRATEGY_GUARDS`), and may the one that was chosen begin (`START_GUARDS`)? A new guard is one function and one
line in a list.
"""

from collections.abc import Callable

from recovery.decide.facts import Facts
from recovery.decide.guards.holding import (
    action_budget,
    approval,
    blind,
    dependency_down,
    flapping,
    kill_switch,
    out_of_patience,
    silenced,
    switches,
)
from recovery.decide.guards.leaving import autonomy, dry_run, healthy_again, rejected, severity_policy, unmanaged, unrecoverable
from recovery.decide.guards.remedies import STRATEGY_GUARDS, Chosen, StrategyGuard, choose
from recovery.decide.guards.verdict import Verdict
from recovery.models import PlannedAttempt

__all__ = [
    "SERVICE_GUARDS",
    "START_GUARDS",
    "STRATEGY_GUARDS",
    "Chosen",
    "ServiceGuard",
    "StrategyGuard",
    "Verdict",
    "choose",
    "object_to_service",
    "object_to_start",
    "out_of_patience",
    "switches",
]

ServiceGuard = Callable[[Facts], Verdict | None]

SERVICE_GUARDS: tuple[ServiceGuard, ...] = (
    rejected,
    kill_switch,
    unmanaged,
    unrecoverable,
    healthy_again,
    autonomy,
    severity_policy,
    dry_run,
    silenced,
    blind,
    flapping,
    dependency_down,
)
START_GUARDS: tuple[StrategyGuard, ...] = (approval, action_budget)


def object_to_service(facts: Facts) -> Verdict | None:
    """Return the first objection to doing anything for this service now."""
    for guard in SERVICE_GUARDS:
        verdict = guard(facts)
        if verdict is not None:
            return verdict
    return None


def object_to_start(facts: Facts, planned: PlannedAttempt) -> Verdict | None:
    """Return the first objection to beginning what was chosen."""
    for guard in START_GUARDS:
        verdict = guard(facts, planned)
        if verdict is not None:
            return verdict
    return None
