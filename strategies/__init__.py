"""The remedies: one module per strategy, registered by the list below; `drivers` holds how they reach real things."""

from collections.abc import Callable, Mapping

from pydantic import BaseModel

from recovery.models import utcnow
from recovery.ports import Strategy
from recovery.registry import Registry
from strategies.backup_fallback import BackupFallback
from strategies.cache_rebuild import CacheRebuild
from strategies.circuit_reset import CircuitReset
from strategies.collaborators import Collaborators, unconnected
from strategies.degrade import Degrade
from strategies.drivers import DRIVERS
from strategies.plugins import add_plugins
from strategies.quarantine import Quarantine
from strategies.reload import Reload
from strategies.restart import Restart
from strategies.throttle import Throttle

__all__ = ["FACTORIES", "OPTIONS", "PLANNED", "QUEUES", "STRATEGIES", "Collaborators", "build"]

Factory = Callable[[Collaborators], Strategy]

FACTORIES: Registry[Factory] = Registry("strategy")
"""What makes each strategy, by name: ours, and those of installed packages (entry points `recovery.strategies`)."""

for _strategy in (Restart, Reload, CacheRebuild, Degrade, Throttle, Quarantine, BackupFallback, CircuitReset):
    FACTORIES.add(_strategy.name, _strategy)
add_plugins(FACTORIES, "recovery.strategies", callable)


def build(collaborators: Collaborators) -> Registry[Strategy]:
    """Return every strategy, able to act through `collaborators`."""
    strategies: Registry[Strategy] = Registry("strategy")
    for name, factory in FACTORIES.items():
        strategies.add(name, factory(collaborators))
    return strategies


STRATEGIES: Registry[Strategy] = build(unconnected(DRIVERS, utcnow))
"""Every strategy, able to plan and to validate options before anything is connected; running a step raises `StoreUnavailable`."""

OPTIONS: Mapping[str, type[BaseModel]] = {name: strategy.options for name, strategy in STRATEGIES.items()}
"""Strategy name -> model of `[services.X.remedies.<name>]`."""

QUEUES: Mapping[str, str] = {name: strategy.queue for name, strategy in STRATEGIES.items()}
"""Strategy name -> the queue that its tasks go to."""

PLANNED = frozenset({"connection_reset", "scale", "relief", "failover", "restore", "backoff", "queue_drain"})
"""Strategies of the product that this version does not have; plans leave them out and say so."""
