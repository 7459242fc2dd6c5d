"""Draws up what is to be opened: the declared service, the plan, and the recovery as it will begin. Nothing is written here."""

from collections.abc import Callable, Collection

from recovery.config.fleet import Fleet, ServiceDeclaration
from recovery.decide.planner import Estimate, plan, plan_one
from recovery.errors import ServiceNotFound, StrategyUnavailable, nearest
from recovery.models import Category, Event, JsonObject, Kind, Plan, Recovery, RecoveryState, Severity, fingerprint_of, new_id
from recovery.ports import Clock, Strategy
from recovery.registry import Registry


class Drafts:
    """What the desk draws up before it opens anything.

    Args:
        strategies: every strategy there is.
        fleet: returns the configuration in force.
        clock: returns the current time.
        later: strategies that are known words but not part of this version.
        estimate: typical seconds of a strategy on a service, from its history.
    """

    def __init__(
        self,
        strategies: Registry[Strategy],
        fleet: Callable[[], Fleet],
        clock: Clock,
        *,
        later: Collection[str],
        estimate: Estimate,
    ) -> None:
        self._strategies = strategies
        self._fleet = fleet
        self._clock = clock
        self._later = later
        self._estimate = estimate

    def service(self, name: str) -> ServiceDeclaration:
        """Return a declared service; raises `ServiceNotFound` with the nearest name."""
        services = self._fleet().services
        if name not in services:
            raise ServiceNotFound(f"no service '{name}' is declared{nearest(name, services)}", service=name)
        return services[name]

    def plan(self, service: ServiceDeclaration, category: Category) -> Plan:
        """Return all that may be tried for a service with a failure of this category."""
        return plan(service, category, self._strategies, later=self._later, estimate=self._estimate)

    def plan_of_one(self, declared: ServiceDeclaration, strategy: str, category: Category) -> Plan:
        """Return the plan that tries this strategy alone; raises `UnknownName`, or `StrategyUnavailable` with the reason."""
        if strategy in self._later and strategy not in self._strategies:
            raise StrategyUnavailable(f"strategy '{strategy}' is not part of this version", strategy=strategy)
        chosen = plan_one(declared, strategy, category, self._strategies, self._estimate)
        if chosen.left_out:
            raise StrategyUnavailable(f"{strategy} cannot run on {declared.name}: {chosen.left_out[0].why}", strategy=strategy)
        return chosen

    def draft(self, kind: Kind, service: str, category: Category, chosen: Plan, message: str) -> Recovery:
        """Return a recovery as it begins, under a new id."""
        now = self._clock()
        return Recovery(
            id=new_id(),
            service=service,
            fingerprint=fingerprint_of(service, f"{kind}:{category}"),
            category=category,
            severity=Severity.HIGH,
            kind=kind,
            state=RecoveryState.PENDING,
            plan=chosen,
            created_at=now,
            first_evidence_at=now,
            due_at=now,
            failures=0,
            message=message,
            reason="accepted",
            config_version=self._fleet().version,
        )


def opened(draft: Recovery) -> Event:
    """Return the event that says that it was opened."""
    data: JsonObject = {"kind": str(draft.kind), "category": str(draft.category), "message": draft.message[:200]}
    return Event("recovery:opened", draft.created_at, draft.service, draft.id, data)
