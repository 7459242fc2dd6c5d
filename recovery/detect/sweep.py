"""Sweep one interval and shard of the fleet: probe, judge, store, and say which services need help."""

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from recovery.config.fleet import Fleet
from recovery.detect.probe import CONCURRENCY, Look, Target, look_at, meaning, run_round, share_of
from recovery.detect.report import Judged, all_pass, events_of, failure_of, judge_service
from recovery.detect.verdict import SKEW
from recovery.models import CheckState, Failure, Sample, ServiceState, utcnow
from recovery.ports import CheckKind, Clock, HealthStore, Heartbeats
from recovery.registry import Registry

MESSAGE_LIMIT = 2_000
"""Characters of a check's message that are kept."""
LAST_WORD = 0.5
"""Seconds beyond interval and timeouts, so that a probe which ran into its timeout can still say so."""


@dataclass(frozen=True, slots=True)
class Swept:
    """What one sweep saw."""

    claimed: bool = True
    """False: another worker began this sweep less than half an interval ago; nothing was probed."""
    samples: tuple[Sample, ...] = ()
    states: tuple[ServiceState, ...] = ()
    """Every service that was looked at."""
    changed: tuple[ServiceState, ...] = ()
    """Those whose status changed, or that were seen for the first time."""
    unhealthy: tuple[Failure, ...] = ()
    """To report: one per service with an unhealthy check that failed in this very sweep and that nobody is busy with."""
    healthy: frozenset[str] = frozenset()
    """Services all of whose checks passed when last probed; their mitigations may go."""
    skipped: tuple[str, ...] = ()
    """Checks (`service.check`) that had not answered at the sweep's deadline; they get neither a sample nor a verdict."""


class Sweeper:
    """Run sweeps; one at a time per interval and shard over all workers.

    Args:
        store: keeps samples, verdicts and service states.
        kinds: the known kinds of checks.
        heartbeats: the last signs of life.
        clock: the time.
        busy: returns, by service or fingerprint, until when its failures are not to be reported: None while a recovery is
            open, else a moment; a failure seen before that moment is not reported. Asked before and after the probes: what
            was seen while a recovery was at work is no evidence against what it achieved.
        concurrency: probes in flight at once.
    """

    def __init__(
        self,
        store: HealthStore,
        kinds: Registry[CheckKind],
        heartbeats: Heartbeats,
        clock: Clock = utcnow,
        busy: Callable[[], Mapping[str, datetime | None]] = dict,
        concurrency: int = CONCURRENCY,
    ) -> None:
        self._store = store
        self._kinds = kinds
        self._heartbeats = heartbeats
        self._clock = clock
        self._busy = busy
        self._concurrency = concurrency

    def run(self, fleet: Fleet, interval: float, shard: int = 0, shards: int = 1) -> Swept:
        """Probe every check with this `interval` of the services in this `shard` and return what to do about it.

        Blocks until the last probe answered, at most for the interval (or the longest timeout, if that is longer) and `LAST_WORD`.
        Samples, verdicts, states and events are stored in one transaction before this returns, so a result that gets
        lost costs only time: the next sweep reports the same failures again. Raises `StoreUnavailable`.
        """
        if not self._store.claim_sweep(f"{interval:g}:{shard}", self._clock(), interval):
            return Swept(claimed=False)
        targets = targets_of(fleet, interval, shard, shards)
        busy_before = self._busy()
        looks = self._look(targets, interval)
        # Verdicts are read after the probes: a remedy may have cleared them in the meantime.
        judged = self._judge(fleet, targets, looks)
        samples = tuple(sample for one in judged for sample in one.samples.values())
        self._store.record_sweep(
            samples,
            [one.new[name] for one in judged for name in one.samples],
            [one.after for one in judged],
            [event for one in judged for event in events_of(one)],
            now=self._clock(),
        )
        busy = (busy_before, self._busy())
        return Swept(
            samples=samples,
            states=tuple(one.after for one in judged),
            changed=tuple(one.after for one in judged if one.changed),
            unhealthy=tuple(failure for one in judged if (failure := failure_of(one, busy))),
            healthy=frozenset(one.after.service for one in judged if all_pass(one)),
            skipped=tuple(target.name for target in targets if target.name not in looks),
        )

    def _look(self, targets: Sequence[Target], interval: float) -> dict[str, Look]:
        longest = max((target.check.timeout for target in targets), default=0.0)
        return run_round(
            look_at(
                self._kinds,
                targets,
                self._heartbeats,
                concurrency=self._concurrency,
                deadline=max(interval, longest) + LAST_WORD,
                offset=offset_of,
                clock=self._clock,
            )
        )

    def _judge(self, fleet: Fleet, targets: Sequence[Target], looks: Mapping[str, Look]) -> list[Judged]:
        services = {target.service.name: target.service for target in targets}
        states: dict[str, dict[str, CheckState]] = {name: {} for name in services}
        for (owner, check), state in self._store.check_states(services).items():
            states[owner][check] = state
        known = self._store.service_states()
        now = self._clock()
        samples: dict[str, list[Sample]] = {name: [] for name in services}
        for target in targets:
            look = looks.get(target.name)
            if look and not _outdated(look, known.get(target.service.name), now):
                samples[target.service.name].append(self._sample(target, look))
        return [
            judge_service(
                service,
                known.get(name),
                states[name],
                samples[name],
                now,
                fleet.platform,
            )
            for name, service in services.items()
        ]

    def _sample(self, target: Target, look: Look) -> Sample:
        finding = look.finding
        return Sample(
            service=target.service.name,
            check=target.check.name,
            at=look.at,
            ok=finding.ok,
            latency=look.latency,
            message=finding.message[:MESSAGE_LIMIT],
            category=meaning(self._kinds, target.check, finding),
            type=finding.type,
            details=finding.details,
        )


def targets_of(fleet: Fleet, interval: float, shard: int, shards: int) -> list[Target]:
    """Return the checks with this interval of the services in this shard (CRC-32 of the name modulo `shards`)."""
    return [
        Target(service, check)
        for service in fleet.services.values()
        if zlib.crc32(service.name.encode()) % shards == shard
        for check in service.checks
        if check.interval == interval
    ]


def offset_of(target: Target) -> float:
    """Return the seconds into the sweep at which a check starts: its share of `jitter`, early enough to finish within the interval."""
    check = target.check
    return share_of(target.name) * min(check.jitter, max(0.0, check.interval - check.timeout))


def _outdated(look: Look, state: ServiceState | None, now: datetime) -> bool:
    """A probe that began before the service was last started saw the instance that is gone.

    A start that lies well ahead of the clock says nothing: the clock was set back since.
    """
    return state is not None and state.started_at is not None and look.at < state.started_at <= now + SKEW
