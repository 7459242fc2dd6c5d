"""What the platform does for degradation with every tick: judges its rules, and lets go what a quarantine held whose time ran out."""

from datetime import datetime
from typing import TYPE_CHECKING

from recovery.config.fleet import Fleet
from recovery.engine.lapsing import end_mitigation
from recovery.models import Mitigation, RecoveryState
from recovery.ports import Store, Strategy
from recovery.registry import Registry
from strategies.quarantine import Quarantine

if TYPE_CHECKING:
    from workers.wiring import Platform


def look_after(platform: "Platform", now: datetime) -> None:
    """Judge the rules and end what has run out; raises `StoreUnavailable` if Redis or the database is away, the next tick goes on."""
    platform.ruling.look()
    end_quarantines(platform.store, platform.strategies, platform.fleet(), now)


def end_quarantines(store: Store, strategies: Registry[Strategy], fleet: Fleet, now: datetime) -> None:
    """Release what is in quarantine for longer than it should be, sick or not; a recovery at work on the service has the last word."""
    over = [each for each in store.mitigations() if each.strategy == Quarantine.name and each.until <= now]
    at_work = {each.service for each in store.open_recoveries() if each.state is RecoveryState.IN_PROGRESS} if over else set()
    for mitigation in over:
        if mitigation.service not in at_work:
            release(strategies, fleet, mitigation)
            end_mitigation(store, mitigation, now)


def release(strategies: Registry[Strategy], fleet: Fleet, mitigation: Mitigation) -> None:
    """Take back what a mitigation left besides a degradation; a service that is not declared any more names no breaker."""
    strategy = strategies[Quarantine.name] if mitigation.strategy == Quarantine.name else None
    if isinstance(strategy, Quarantine) and mitigation.service in fleet.services:
        strategy.release(fleet.services[mitigation.service])
