"""Chooses the ordered strategies for a category of failure. Pure: the same declaration and category give the same plan."""

from collections.abc import Callable, Collection, Iterable

from recovery.config.fleet import ServiceDeclaration
from recovery.models import Action, Category, LeftOut, Mitigation, Plan, PlannedAttempt
from recovery.ports import Strategy
from recovery.registry import Registry

DEFAULT_PLANS: dict[Category, tuple[str, ...]] = {
    Category.SERVICE_UNAVAILABLE: ("circuit_reset", "restart", "degrade"),
    Category.CACHE_CORRUPTION: ("cache_rebuild", "backup_fallback"),
    Category.CACHE: ("cache_rebuild", "backup_fallback"),
    Category.DATA_INCONSISTENCY: ("backup_fallback", "degrade"),
    Category.DATABASE: ("connection_reset", "failover", "degrade"),
    Category.CIRCUIT_OPEN: ("circuit_reset", "restart", "degrade"),
    Category.QUEUE_BACKLOG: ("queue_drain", "scale", "degrade"),
    Category.NETWORK: ("backoff", "failover", "degrade"),
    Category.RATE_LIMITED: ("backoff", "failover", "degrade"),
    Category.MEMORY_PRESSURE: ("relief", "reload", "restart", "degrade"),
    Category.CPU_PRESSURE: ("relief", "reload", "restart", "degrade"),
    Category.DISK_PRESSURE: ("relief", "reload", "restart", "degrade"),
    Category.SLOW_RESPONSES: ("throttle", "degrade"),
    Category.HIGH_ERROR_RATE: ("throttle", "degrade"),
    Category.UNKNOWN: ("degrade",),
}
"""Strategies per category, in the order they are tried, for services that declare no plan of their own."""

Estimate = Callable[[str, str], float | None]
"""Returns the typical seconds of one strategy on one service from its history, None without one."""


def no_history(_service: str, _strategy: str) -> None:
    """Estimate nothing: every strategy's declared typical time is used."""


def plan(
    service: ServiceDeclaration,
    category: Category,
    strategies: Registry[Strategy],
    *,
    later: Collection[str] = (),
    estimate: Estimate = no_history,
) -> Plan:
    """Return the plan for one category of failure of `service`.

    Args:
        service: its declaration; `service.plan` overrides the default order.
        category: what is broken.
        strategies: every strategy there is.
        later: names that are known words but not part of this version.
        estimate: seconds that a strategy took on this service before.
    """
    own = service.plan.get(category)
    names = own if own is not None else DEFAULT_PLANS[category]
    source = "default" if own is None else "service"
    return _assemble(service, category, names, strategies, later, estimate, source)


def plan_one(
    service: ServiceDeclaration, strategy: str, category: Category, strategies: Registry[Strategy], estimate: Estimate = no_history
) -> Plan:
    """Return the plan of a manual recovery: just `strategy`; raises `UnknownName` if there is none of this name."""
    strategies[strategy]
    return _assemble(service, category, (strategy,), strategies, (), estimate, "manual")


def plan_restore(mitigation: Mitigation, strategies: Registry[Strategy]) -> Plan:
    """Return the plan that takes a mitigation away again."""
    strategy = strategies[mitigation.strategy]
    attempt = PlannedAttempt(
        strategy=strategy.name,
        queue=strategy.queue,
        action=Action.REVERT,
        priority=100,
        why=f"healthy again: end what {strategy.name} put in place",
    )
    return Plan(attempts=(attempt,), estimated_seconds=strategy.typical_seconds, source="restore")


def _assemble(
    service: ServiceDeclaration,
    category: Category,
    names: Iterable[str],
    strategies: Registry[Strategy],
    later: Collection[str],
    estimate: Estimate,
    source: str,
) -> Plan:
    attempts: list[PlannedAttempt] = []
    left_out: list[LeftOut] = []
    for name in dict.fromkeys(names):
        refusal = _refusal(service, category, name, strategies, later)
        if refusal:
            left_out.append(LeftOut(strategy=name, why=refusal))
            continue
        why = {"default": f"default plan for {category}", "service": f"the service's own plan for {category}"}.get(
            source, "asked for by hand"
        )
        priority = 100 - 10 * len(attempts)
        attempts.append(PlannedAttempt(strategy=name, queue=strategies[name].queue, priority=priority, why=why))
    mitigating = [attempt.strategy for attempt in attempts if strategies[attempt.strategy].mitigates_for(service) is not None]
    return Plan(
        attempts=tuple(attempts),
        left_out=tuple(left_out),
        estimated_seconds=_estimated(service, attempts, strategies, estimate),
        rollback=tuple(reversed(mitigating)),
        source=source,
    )


def _refusal(
    service: ServiceDeclaration, category: Category, name: str, strategies: Registry[Strategy], later: Collection[str]
) -> str | None:
    if name in strategies:
        return strategies[name].refuses(service, category)
    return "not part of this version" if name in later else "no such strategy is installed"


def _estimated(service: ServiceDeclaration, attempts: list[PlannedAttempt], strategies: Registry[Strategy], estimate: Estimate) -> float:
    """The first strategy's time: what an operator may expect if the plan works as intended."""
    if not attempts:
        return 0.0
    first = attempts[0].strategy
    known = estimate(service.name, first)
    return round(strategies[first].typical_seconds if known is None else known, 3)
