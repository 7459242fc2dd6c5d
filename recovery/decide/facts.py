"""What the guards look at: recorded facts, gathered once per decision, with the numbers that a Decision row keeps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from recovery.config.fleet import Fleet, ServiceDeclaration
from recovery.models import Action, Attempt, AttemptState, Failure, Kind, Outcome, Recovery, ServiceState, Status
from recovery.ports import Cooldowns, Store

LOOK_BACK = timedelta(days=1)
"""Attempts older than this never count against a service."""


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything one decision rests on."""

    now: datetime
    fleet: Fleet
    service: ServiceDeclaration
    recovery: Recovery
    failure: Failure | None = None
    state: ServiceState | None = None
    """What the checks last said about the service."""
    dependencies: Mapping[str, Status] = field(default_factory=dict)
    past: Sequence[Attempt] = ()
    """Attempts on the service within `LOOK_BACK`, oldest first, those of this recovery included."""
    locks: Mapping[str, float] = field(default_factory=dict)
    """Seconds left of the cooldown lock of each strategy that has one."""

    def cooldown_left(self, strategy: str) -> float:
        """Return the seconds until `strategy` may run again: the lock's, or the history's if Redis lost the lock."""
        wanted = self.fleet.cooldown(self.service.name, strategy)
        runs = [attempt.created_at for attempt in self.past if attempt.strategy == strategy and attempt.state is not AttemptState.SKIPPED]
        by_history = wanted - (self.now - max(runs)).total_seconds() if runs else 0.0
        return max(self.locks.get(strategy, 0.0), by_history, 0.0)

    def counted_attempts(self, strategy: str) -> int:
        """Return how often `strategy` ran since the service was last stable.

        Not counted: mitigations, which are no cure to repeat, and what people asked for.
        """
        since = self.state.stable_since if self.state else None
        return sum(
            1
            for attempt in self.past
            if attempt.strategy == strategy
            and attempt.action is Action.APPLY
            and attempt.kind is Kind.AUTOMATIC
            and attempt.state is AttemptState.FINISHED
            and attempt.outcome is not Outcome.MITIGATED
            and (since is None or attempt.created_at >= since)
        )

    def well_since(self) -> datetime | None:
        """Return since when the service is known to be healthy, by its checks or by a verified recovery; None if it is not."""
        verified = [attempt.finished_at for attempt in self.past if attempt.outcome is Outcome.RESOLVED and attempt.finished_at]
        known = [max(verified)] if verified else []
        if self.state and self.state.status is Status.HEALTHY and self.state.since:
            known.append(self.state.since)
        return max(known) if known else None


def gather(store: Store, cooldowns: Cooldowns, fleet: Fleet, recovery: Recovery, now: datetime) -> Facts:
    """Read the facts for one decision about `recovery`; raises `StoreUnavailable` when they cannot be had."""
    service = fleet.services[recovery.service]
    states = store.service_states()
    return Facts(
        now=now,
        fleet=fleet,
        service=service,
        recovery=recovery,
        failure=store.latest_failure(recovery.id),
        state=states.get(service.name),
        dependencies={name: states[name].status if name in states else Status.UNKNOWN for name in service.depends_on},
        past=store.attempts_of(service.name, now - LOOK_BACK),
        locks=cooldowns.remaining(service.name, [attempt.strategy for attempt in recovery.plan.attempts]),
    )
