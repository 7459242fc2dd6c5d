"""Cooldown locks as the coordinator takes and frees them: before the transaction that begins an attempt, under the attempt's name."""

from recovery.decide.facts import Facts, lock_holder
from recovery.models import Action, Kind, PlannedAttempt, Recovery
from recovery.ports import Cooldowns


class Locks:
    """What keeps two recoveries of one service from running the same strategy one right after the other.

    Args:
        cooldowns: where the locks are.
    """

    def __init__(self, cooldowns: Cooldowns) -> None:
        self._cooldowns = cooldowns

    def take(self, facts: Facts, planned: PlannedAttempt) -> float | None:
        """Take the lock of what is to run next; return None if we have it or need none, else the seconds it is taken for."""
        service, strategy = facts.service.name, planned.strategy
        seconds = facts.fleet.cooldown(service, strategy)
        free = facts.recovery.force or facts.recovery.kind is Kind.EMERGENCY or planned.action is Action.REVERT or seconds <= 0
        if free or self._cooldowns.acquire(service, strategy, lock_holder(facts.recovery, len(facts.tried) + 1), seconds):
            return None
        return self._cooldowns.remaining(service, [strategy]).get(strategy, 0.0)

    def free(self, recovery: Recovery, strategy: str, number: int) -> None:
        """Free the lock that a recovery took for attempt `number`, if it has it."""
        if recovery.kind is not Kind.EMERGENCY:
            self._cooldowns.release(recovery.service, strategy, lock_holder(recovery, number))

    def free_unwanted(self, facts: Facts, planned: PlannedAttempt | None) -> None:
        """Free what a recovery had locked for its next attempt before it was interrupted, and does not want any more."""
        for strategy in facts.own_locks - ({planned.strategy} if planned else frozenset()):
            self.free(facts.recovery, strategy, len(facts.tried) + 1)
