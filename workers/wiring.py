"""The composition root: the only place where the domain gets its store, its strategies, its checks and its clock.

Nothing is opened at import. Each process builds its own parts on first use; a forked child never touches its parent's.
"""

import os
import socket
import threading
from dataclasses import dataclass

from redis import Redis
from sqlalchemy import Engine

from recovery.breaker import RedisBreakers
from recovery.config.fleet import Fleet
from recovery.config.kinds import Kinds
from recovery.config.source import FleetSource
from recovery.degrade import RedisDegradations, RedisEndpoints
from recovery.detect.checks import check_kinds
from recovery.detect.probe import FleetProbe
from recovery.detect.sweep import Sweeper
from recovery.engine.coordinator import Coordinator
from recovery.engine.desk import Desk
from recovery.engine.executor import Executor
from recovery.engine.reaper import Reaper
from recovery.engine.recording import RecordedDegradations
from recovery.engine.ruling import Ruling
from recovery.engine.unaided import FreeCooldowns, unaided
from recovery.history import History
from recovery.models import utcnow
from recovery.ports import Breakers, Cooldowns, Degradations, Endpoints, Heartbeats, Store, Strategy
from recovery.registry import Registry
from recovery.settings import Settings
from recovery.store.connect import connect
from recovery.store.cooldowns import RedisCooldowns
from recovery.store.engine import open_engine
from recovery.store.heartbeats import RedisHeartbeats
from recovery.store.sql import SqlStore
from recovery.watch import Watch
from strategies import PLANNED, STRATEGIES, build
from strategies.collaborators import Collaborators
from strategies.drivers import DRIVERS
from workers.locate import beside

PULSE_PATIENCE = 2.0
"""Seconds that a sign of life waits for another writer of SQLite: it must not hold up the work that it tells of."""


@dataclass(frozen=True)
class Platform:
    """All parts of one process."""

    settings: Settings
    source: FleetSource
    engine: Engine
    redis: Redis
    store: Store
    cooldowns: Cooldowns
    heartbeats: Heartbeats
    degradations: Degradations
    endpoints: Endpoints
    breakers: Breakers
    strategies: Registry[Strategy]
    """Those that act through Redis."""
    ruling: Ruling
    coordinator: Coordinator
    executor: Executor
    desk: Desk
    reaper: Reaper
    sweeper: Sweeper
    history: History
    watch: Watch

    def fleet(self) -> Fleet:
        """Return the fleet in force; raises `ConfigurationError` if no valid one was ever declared."""
        return self.source.current()


def assemble(settings: Settings, *, alone: bool = False) -> Platform:
    """Put the parts together; nothing connects before it is used.

    Args:
        settings: where everything is.
        alone: for an emergency: what needs Redis does without it, or fails instead of waiting.
    """
    settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    source = fleet_source(settings)
    engine, redis = open_engine(settings.database), connect(settings.redis)
    store, locks, heartbeats = SqlStore(engine), RedisCooldowns(redis), RedisHeartbeats(redis)
    cooldowns = FreeCooldowns(locks) if alone else locks
    degradations, endpoints, breakers = RedisDegradations(redis), RedisEndpoints(redis), RedisBreakers(redis)
    recorded = RecordedDegradations(degradations, store, source.current, utcnow)
    checks = check_kinds()
    history = History(engine)
    probe = FleetProbe(checks, source.current, heartbeats)
    built = build(Collaborators(DRIVERS, probe, recorded, endpoints, breakers, utcnow))
    strategies = unaided(built) if alone else built
    coordinator = Coordinator(store, cooldowns, strategies, source.current, utcnow)
    node = f"{'emergency@' if alone else ''}{socket.gethostname()}:{os.getpid()}"
    return Platform(
        settings=settings,
        source=source,
        engine=engine,
        redis=redis,
        store=store,
        cooldowns=cooldowns,
        heartbeats=heartbeats,
        degradations=degradations,
        endpoints=endpoints,
        breakers=breakers,
        strategies=built,
        ruling=Ruling(store, degradations, breakers, source.current, utcnow),
        coordinator=coordinator,
        executor=Executor(store, strategies, source.current, probe, utcnow, node, objects=coordinator.objects),
        desk=Desk(store, strategies, source.current, utcnow, later=PLANNED, estimate=history.typical_seconds),
        reaper=Reaper(store, coordinator, strategies, source.current, utcnow),
        sweeper=Sweeper(store, checks, heartbeats, utcnow, busy=lambda: store.busy(utcnow())),
        history=history,
        watch=self_watch(settings, source),
    )


def self_watch(settings: Settings, source: FleetSource) -> Watch:
    """Return the platform's view of itself; it holds no connection open, so that a worker's main process can be forked at any time."""
    engine = open_engine(settings.database, patience=PULSE_PATIENCE, keep_open=False)
    return Watch(SqlStore(engine), source.current, beside("celeryconfig").QUEUES, utcnow)


def fleet_source(settings: Settings) -> FleetSource:
    """Return the source of the declared fleet, with every kind that is installed."""
    return FleetSource(settings.config, settings.home / "accepted.toml", Kinds.of(check_kinds(), DRIVERS, STRATEGIES))


_lock = threading.Lock()
_built: dict[int, Platform] = {}


def platform() -> Platform:
    """Return this process's parts, built from the environment on first use."""
    with _lock:
        pid = os.getpid()
        if pid not in _built:  # a parent's parts stay in the dict, unused: closing its connections is not for a child to do
            _built[pid] = assemble(Settings())
        return _built[pid]


os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)
