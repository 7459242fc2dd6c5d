"""Recovers one service in this process, for the day the broker is what broke: the same coordinator, leases, journal and verification.

Nobody is pushed aside: what a live worker is doing is left to it. Whatever is interrupted here is picked up by the platform, or by
the next emergency.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

from recovery.clocks import still_runs
from recovery.engine.chronicle import tell
from recovery.engine.coordinator import Coordinator
from recovery.engine.desk import Desk
from recovery.engine.executor import Executor
from recovery.errors import RecoveryError, RecoveryNotFound, ServiceBusy
from recovery.models import Answer, AttemptState, Event, JsonObject, Kind, Lease, Plan, Recovery
from recovery.ports import Clock, Done, Execute, Intake, Store

LOOK_EVERY = 0.2
"""Seconds between two looks at what somebody else is doing."""
TRIES = 5
"""How often another recovery of the service may come in between before this one gives up."""


class Emergency:
    """Opens or takes over the recovery of one service, and carries it out here.

    Args:
        store: the authority; without it nothing is done.
        coordinator: decides; its cooldowns must do without Redis, see `recovery.engine.unaided`.
        executor: acts in this process.
        desk: opens recoveries.
        clock: returns the current time.
        pause: waits for some seconds.
        lease: how long a worker's claim lives without renewal.
        say: takes one line about what is waited for.
        ended: takes the id of each recovery that was carried out to its end.
    """

    def __init__(
        self,
        store: Store,
        coordinator: Coordinator,
        executor: Executor,
        desk: Desk,
        clock: Clock,
        *,
        pause: Callable[[float], None],
        lease: timedelta = timedelta(seconds=10),
        say: Callable[[str], None] = lambda _line: None,
        ended: Callable[[str], None] = lambda _recovery_id: None,
    ) -> None:
        self._store = store
        self._coordinator = coordinator
        self._executor = executor
        self._desk = desk
        self._clock = clock
        self._pause = pause
        self._length = lease
        self._say = say
        self._ended = ended

    def begin(self, service: str, strategy: str | None, by: str, reason: str = "") -> Recovery:
        """Return the recovery to carry out: the open one of the service if it fits, else a new one.

        It fits if it is about repairing the service, nobody asked to end it, and it would run what is asked for; otherwise it is
        cancelled first. Where a worker died, its lease is waited for; at most one lease's length.

        Args:
            service: a declared service.
            strategy: the only one to try; None: the plan.
            by: who asks.
            reason: why, for the history.

        Raises:
            ServiceBusy: a live worker is at work on the service; it is named, and nothing was done.
            RecoveryError: an unknown service or strategy, or others keep opening recoveries of it.
        """
        for _ in range(TRIES):
            self.await_holder(service)
            standing = self._store.open_recovery_of(service)
            if standing is None:
                message = reason or f"emergency by {by}"
                accepted = self._desk.trigger(service, strategy, force=True, reason=message, kind=Kind.EMERGENCY)
                if accepted.intake is Intake.OPENED:
                    return self._noted(accepted.recovery, by, reason)
            elif self._fits(standing, strategy):
                taken = self._take_over(standing, by)
                if taken is not None:
                    return self._noted(taken, by, reason)
            else:
                self._say(f"the {standing.kind} recovery {standing.id[:8]} that is open is cancelled first: it does something else")
                self._desk.cancel(standing.id, f"an emergency recovery by {by} takes its place")
                self.carry_out(standing.id)
        raise RecoveryError(f"other recoveries of {service} keep coming in between; try again, or `recovery pause` first")

    def carry_out(self, recovery_id: str) -> Recovery:
        """Act until the recovery is closed and return it.

        Raises `StoreUnavailable` if the database goes away: the recovery stays open and goes on with the next emergency, or with
        the platform.
        """
        while True:
            directive = self._coordinator.advance(recovery_id)
            if isinstance(directive, Done):
                self._ended(recovery_id)
                return self._known(recovery_id)
            if isinstance(directive, Execute):
                acted = self._executor.run(recovery_id, directive.attempt) is not None
            else:
                acted = self._take_up(recovery_id)
            if not acted:
                self._rest(recovery_id)

    def await_holder(self, service: str) -> None:
        """Return once nobody holds the service; raises `ServiceBusy` if its holder is alive, which shows when it renews its lease."""
        first = self._live_lease(service)
        if first is not None:
            self._say(f"{first.holder} holds the lease on {service} until {first.until:%H:%M:%S} UTC: waiting whether it is alive")
        while first is not None:
            self._pause(LOOK_EVERY)
            lease = self._live_lease(service)
            if lease is None:
                return
            if lease.fence != first.fence or lease.until > first.until:
                raise ServiceBusy(
                    f"{lease.holder} is at work on {service} (recovery {lease.recovery_id[:8]}) and alive: it renews its lease. Nothing "
                    f"was done here; see `recovery show {service}`, or end it with `recovery cancel {service}`",
                    service=service,
                    holder=lease.holder,
                )

    def _live_lease(self, service: str) -> Lease | None:
        lease = self._store.lease_of(service)
        alive = lease is not None and still_runs(lease.until - self._length, lease.until, self._clock())
        return lease if alive else None

    def _fits(self, standing: Recovery, strategy: str | None) -> bool:
        """Say whether an open recovery does what an emergency with `strategy` should do."""
        asked = self._store.approval(standing.id)
        is_rejected = asked is not None and asked.answer is Answer.REJECTED
        if standing.cancel_requested or standing.dry_run or standing.plan.source == "restore" or is_rejected:
            return False
        return strategy is None or _only(standing.plan) == strategy

    def _take_over(self, standing: Recovery, by: str) -> Recovery | None:
        """Make the open recovery an emergency that is due now; None if somebody else changed it meanwhile."""
        now = self._clock()
        after = replace(standing, kind=Kind.EMERGENCY, force=True, due_at=now, held_by="", reason=f"taken over by {by}")
        data: JsonObject = {"was": str(standing.kind), "held_by": standing.held_by, "by": by}
        happened = Event("recovery:overtaken", now, standing.service, standing.id, data)
        taken = self._store.transition(standing, after, events=[happened], now=now)
        if taken is not None:
            tell([happened])
        return taken

    def _noted(self, recovery: Recovery, by: str, reason: str) -> Recovery:
        detail: JsonObject = {"service": recovery.service, "recovery_id": recovery.id, "reason": reason}
        self._store.audit("emergency", by, detail, self._clock())
        return recovery

    def _take_up(self, recovery_id: str) -> bool:
        """Run an attempt whose message somebody else sent, or nobody could; the lease decides who acts."""
        attempts = self._store.attempts(recovery_id)
        if not attempts or attempts[-1].state is not AttemptState.QUEUED:
            return False
        return self._executor.run(recovery_id, attempts[-1].number) is not None

    def _rest(self, recovery_id: str) -> None:
        recovery = self._known(recovery_id)
        left = (recovery.due_at - self._clock()).total_seconds() if recovery.due_at else 0.0
        self._pause(min(max(left, LOOK_EVERY / 4), LOOK_EVERY))

    def _known(self, recovery_id: str) -> Recovery:
        recovery = self._store.recovery(recovery_id)
        if recovery is None:
            raise RecoveryNotFound(f"recovery {recovery_id} is not in the history any more", recovery_id=recovery_id)
        return recovery


def _only(plan: Plan) -> str | None:
    return plan.attempts[0].strategy if len(plan.attempts) == 1 else None
