"""What the guards look at: recorded facts, gathered once per decision, with the numbers that a Decision row keeps."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from recovery.clocks import ahead
from recovery.config.fleet import Fleet, ServiceDeclaration
from recovery.decide.budget import BUDGET
from recovery.models import (
    Action,
    Approval,
    Attempt,
    AttemptState,
    Autonomy,
    Failure,
    Kind,
    Load,
    Outcome,
    Recovery,
    RecoveryState,
    ServiceState,
    Silence,
    Status,
)
from recovery.ports import Cooldowns, Store
from recovery.watch.sight import blindness

LOOK_BACK = timedelta(days=1)
"""Attempts older than this never count against the attempt cap."""
LOOK_BACK_SECONDS = LOOK_BACK.total_seconds()

Sight = Callable[[Mapping[str, ServiceState], Fleet, datetime], str | None]
"""Says why the platform is blind, None when it sees."""


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything one decision rests on: the configuration, what is installed, and what was recorded."""

    now: datetime
    fleet: Fleet
    service: ServiceDeclaration
    installed: frozenset[str]
    """Names of the strategies there are."""
    recovery: Recovery
    failure: Failure | None = None
    state: ServiceState | None = None
    """What the checks last said about the service."""
    dependencies: Mapping[str, Status] = field(default_factory=dict)
    """How each service is that this one depends on, directly or not, nearest first."""
    past: Sequence[Attempt] = ()
    """Attempts on the service, oldest first, those of this recovery included."""
    locks: Mapping[str, float] = field(default_factory=dict)
    """Seconds left of the cooldown lock of each strategy that somebody else's attempt has locked."""
    own_locks: frozenset[str] = frozenset()
    """Strategies that this recovery has locked for its next attempt already: it was interrupted before it could begin."""
    silences: Sequence[Silence] = ()
    """Those that people put in force, or that will be."""
    blind: str | None = None
    """Why what the checks said is too old to act on; None: it is not."""
    load: Load = field(default_factory=Load)
    """What is under way over the fleet; looked up only for recoveries that the budget is about."""
    approval: Approval | None = None

    @property
    def unasked(self) -> bool:
        """Say whether the platform acts by itself here, and no person asked for it."""
        return self.recovery.kind in UNASKED

    @property
    def restores(self) -> bool:
        """Say whether this only takes away what a remedy left in place."""
        planned = self.recovery.plan.attempts
        return bool(planned) and all(attempt.action is Action.REVERT for attempt in planned)

    @property
    def tried(self) -> list[Attempt]:
        """Return the attempts of this recovery, in order."""
        return [attempt for attempt in self.past if attempt.recovery_id == self.recovery.id]

    @property
    def done(self) -> list[Attempt]:
        """Return the attempts of this recovery that were carried out, in order."""
        return [attempt for attempt in self.tried if attempt.state is AttemptState.FINISHED]

    def cooldown_left(self, strategy: str) -> float:
        """Return the seconds until `strategy` may run again: the lock's, or the history's if Redis lost the lock.

        A run in the future was noted before the clock was set back; only the lock, which counts by itself, knows how long ago it was.
        """
        if not self.past and not self.locks:  # as for most services on most days; the next two ask the same
            return 0.0
        wanted = self.fleet.cooldown(self.service.name, strategy)
        past = [run for run in self.past if run.strategy == strategy and not ahead(run.created_at, self.now)]
        runs = [run.created_at for run in past if run.state is not AttemptState.SKIPPED]
        by_history = wanted - (self.now - max(runs)).total_seconds() if runs else 0.0
        return max(self.locks.get(strategy, 0.0), by_history, 0.0)

    def counted_attempts(self, strategy: str) -> int:
        """Return how often `strategy` ran since the service was last stable, within `LOOK_BACK`.

        Not counted: mitigations, which are no cure to repeat, and what people asked for.
        """
        if not self.past:
            return 0
        return sum(
            1
            for attempt in self._since_stable(LOOK_BACK)
            if attempt.strategy == strategy
            and attempt.action is Action.APPLY
            and attempt.kind is Kind.AUTOMATIC
            and attempt.state is AttemptState.FINISHED
            and attempt.outcome is not Outcome.MITIGATED
        )

    def vain_attempts(self, strategy: str) -> list[Attempt]:
        """Return the attempts of `strategy` in a row, newest first, that did not help against this very failure.

        Only those within `ineffective_memory` and since the service was last stable. One that could not act says nothing.
        """
        if not self.past:
            return []
        memory = timedelta(seconds=self.fleet.platform.ineffective_memory)
        runs = [
            attempt
            for attempt in self._since_stable(memory)
            if (attempt.strategy, attempt.fingerprint) == (strategy, self.recovery.fingerprint)
            and attempt.action is Action.APPLY
            and attempt.outcome in {Outcome.INEFFECTIVE, Outcome.RESOLVED, Outcome.MITIGATED}
        ]
        if not runs:
            return []
        helped = max((place for place, attempt in enumerate(runs) if attempt.outcome is not Outcome.INEFFECTIVE), default=-1)
        return list(reversed(runs[helped + 1 :]))

    def well_since(self) -> datetime | None:
        """Return since when the service is known to be healthy, by its checks or by a verified recovery; None if it is not.

        What lies in the future says nothing: the clock was set back since.
        """
        known = [attempt.finished_at for attempt in self.past if attempt.outcome is Outcome.RESOLVED]
        if self.state and self.state.status is Status.HEALTHY:
            known.append(self.state.since)
        if not known:
            return None
        return max((moment for moment in known if moment is not None and not ahead(moment, self.now)), default=None)

    def _since_stable(self, within: timedelta) -> list[Attempt]:
        since, stable = self.now - within, self.state.stable_since if self.state else None
        if stable is not None and stable > since:
            since = stable
        return [attempt for attempt in self.past if attempt.created_at >= since]


UNASKED = frozenset({Kind.AUTOMATIC, Kind.SCHEDULED})


def gather(
    store: Store,
    cooldowns: Cooldowns,
    fleet: Fleet,
    recovery: Recovery,
    now: datetime,
    installed: frozenset[str],
    sight: Sight = blindness,
) -> Facts:
    """Read the facts for one decision about `recovery`; raises `StoreUnavailable` when they cannot be had.

    Redis is asked for everything but emergencies: those must go on without it.
    """
    service = fleet.services[recovery.service]
    unasked = recovery.kind in UNASKED
    locks, own_locks = ({}, frozenset()) if recovery.kind is Kind.EMERGENCY else _locks(cooldowns, recovery)
    with store.together():
        states = store.service_states()
        return Facts(
            now=now,
            fleet=fleet,
            service=service,
            installed=installed,
            recovery=recovery,
            failure=store.latest_failure(recovery.id),
            state=states.get(service.name),
            dependencies={name: states[name].status if name in states else Status.UNKNOWN for name in fleet.roots(service.name)},
            past=store.attempts_of(service.name, _horizon(fleet, service, recovery, now)),
            locks=locks,
            own_locks=own_locks,
            silences=store.silences(now),
            blind=sight(states, fleet, now),
            load=_load(store, fleet, recovery, now) if unasked and recovery.state is not RecoveryState.IN_PROGRESS else Load(),
            approval=store.approval(recovery.id) if unasked and _may_be_asked(fleet, service, recovery) else None,
        )


def lock_holder(recovery: Recovery, number: int) -> str:
    """Return the name under which attempt `number` of a recovery holds a cooldown lock."""
    return f"{recovery.id}:{number}"


def _locks(cooldowns: Cooldowns, recovery: Recovery) -> tuple[dict[str, float], frozenset[str]]:
    """Return the locks of others, and which this recovery has: those are no objection to the attempt that it took them for."""
    mine = lock_holder(recovery, recovery.attempt + 1)
    left = cooldowns.remaining(recovery.service, [attempt.strategy for attempt in recovery.plan.attempts])
    if not left:
        return left, frozenset()
    own = frozenset(name for name in left if cooldowns.acquire(recovery.service, name, mine, 0))
    return {name: seconds for name, seconds in left.items() if name not in own}, own


def _horizon(fleet: Fleet, service: ServiceDeclaration, recovery: Recovery, now: datetime) -> datetime:
    """Return how far back attempts matter to any guard."""
    cooldowns = [fleet.cooldown(service.name, attempt.strategy) for attempt in recovery.plan.attempts]
    seconds = max(LOOK_BACK_SECONDS, fleet.platform.ineffective_memory, *cooldowns)
    return min(now - timedelta(seconds=seconds), recovery.created_at)


def _load(store: Store, fleet: Fleet, recovery: Recovery, now: datetime) -> Load:
    return store.load(recovery, BUDGET, now - timedelta(seconds=fleet.platform.budget.window))


def _may_be_asked(fleet: Fleet, service: ServiceDeclaration, recovery: Recovery) -> bool:
    """Say whether there may be a question, also one that the file no longer asks for: a no that was given counts."""
    asks = bool(service.approve) or fleet.autonomy(service.name) is Autonomy.APPROVE
    return asks or recovery.state is RecoveryState.AWAITING_APPROVAL
