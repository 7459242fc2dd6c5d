"""The hand that strikes from outside: signals to processes, locks on the database; and that wakes up what was frozen."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from random import Random

import psutil
from sqlalchemy import Engine, text

from recovery.store.connect import connect
from tests.torture.crew import TEAMS, Crew
from tests.torture.house import House
from tests.torture.ledger import lines
from tests.torture.plan import Strike, Target
from tests.torture.points import Action, Struck

LONGEST_FREEZE = 9.0
"""Seconds after which even a process whose lease nobody took over is woken."""

LOCKER = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], timeout=30, isolation_level=None)
connection.execute("BEGIN EXCLUSIVE")
connection.execute("CREATE TABLE torn (x)")
print("locked", flush=True)
time.sleep(60)
"""


@dataclass(frozen=True, slots=True)
class Frozen:
    """A process that sleeps until `until`, or until its service has had a newer fence for `linger` seconds."""

    process: psutil.Process
    until: float
    service: str = ""
    fence: int = 0
    linger: float = 0.0


@dataclass(frozen=True, slots=True)
class Hit:
    """One process that was struck, or one lock."""

    number: int
    at: float
    what: str
    action: Action
    held: tuple[tuple[str, int], ...] = ()
    """Recovery and fence of each attempt that was in its hands."""
    boundary: str = ""
    dying: tuple[int, ...] = ()
    """Process ids of what was killed."""
    alone: bool = False
    """Whether a process that remedies was killed while everything else worked."""


class Hand:
    """Strikes and wakes.

    Args:
        house: of the campaign.
        crew: its processes.
        engine: on its database.
    """

    def __init__(self, house: House, crew: Crew, engine: Engine) -> None:
        self._house = house
        self._crew = crew
        self._engine = engine
        self._frozen: list[Frozen] = []
        self._lock = threading.Lock()

    @property
    def frozen(self) -> int:
        """How many processes sleep now."""
        with self._lock:
            return len(self._frozen)

    def thaw(self, *, everything: bool = False) -> None:
        """Wake whom it is time to wake."""
        with self._lock:
            due = [one for one in self._frozen if everything or self._is_due(one)]
            self._frozen = [one for one in self._frozen if one not in due]
        for one in due:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.process.resume()

    def _is_due(self, one: Frozen) -> bool:
        if time.time() >= one.until or not one.process.is_running():
            return True
        before = time.time() - one.linger
        grants = (line for line in lines(self._house.folder / "granted.jsonl") if line["service"] == one.service)
        return one.fence > 0 and any(int(str(line["fence"])) > one.fence and float(str(line["at"])) < before for line in grants)

    def struck(self, words: Struck, strike: Strike) -> Hit:
        """Take note of a process that struck itself at a boundary; one that is frozen will be woken."""
        if words.action is Action.FREEZE:
            late = strike.late and words.fence > 0
            until = words.at + (LONGEST_FREEZE if late else strike.seconds)
            with contextlib.suppress(psutil.NoSuchProcess):
                self._sleep(Frozen(psutil.Process(words.pid), until, words.service, words.fence if late else 0, strike.seconds))
        held = ((words.recovery, words.fence),) if words.recovery else ()
        dying = {Action.KILL: (words.pid,), Action.KILL_WORKER: (words.pid, words.worker), Action.FREEZE: ()}[words.action]
        alone = strike.alone and words.part.startswith("recover")
        return Hit(words.number, words.at, "at a boundary", words.action, held, words.boundary, dying, alone)

    def strike(self, strike: Strike, rng: Random) -> Hit | None:
        """Strike from outside; None if there is nothing to strike just now."""
        if strike.target is Target.DATABASE:
            return self._database(strike)
        if strike.target is Target.VALKEY:
            return self._valkey(strike)
        process = self._victim(strike, rng)
        if process is None:
            return None
        held = self._held_by(process)
        with contextlib.suppress(psutil.NoSuchProcess):
            at = time.time()
            if strike.action is Action.FREEZE:
                process.suspend()
                service, fence = self._lease_of(held) if strike.late else ("", 0)
                self._sleep(Frozen(process, at + (LONGEST_FREEZE if fence else strike.seconds), service, fence, strike.seconds))
            else:
                process.kill()
            dying = () if strike.action is Action.FREEZE else (process.pid,)
            worked = tuple((recovery, fence) for _, recovery, fence in held)
            return Hit(strike.number, at, strike.target, strike.action, worked, dying=dying, alone=strike.alone)
        return None

    def _sleep(self, one: Frozen) -> None:
        with self._lock:
            self._frozen.append(one)

    def _victim(self, strike: Strike, rng: Random) -> psutil.Process | None:
        """Return the process to strike; of the pool processes, rather one that is at work."""
        if strike.target is Target.CHILD:
            children = self._crew.children(Target.RECOVER)
            at_work = [child for child in children if self._held_by(child)]
            return rng.choice(at_work or children) if children else None
        main = self._crew.main(rng.choice(TEAMS[strike.target]))
        children = self._crew.children(Target.INTAKE) if strike.target is Target.INTAKE else []
        return rng.choice([main, *children]) if main else None

    def _held_by(self, process: psutil.Process) -> list[tuple[str, str, int]]:
        """Return service, recovery and fence of each lease in the hands of a process and its children."""
        pids = {str(process.pid)}
        with contextlib.suppress(psutil.NoSuchProcess):
            pids |= {str(child.pid) for child in process.children()}
        with self._engine.connect() as connection:
            leases = connection.execute(text("SELECT service, recovery_id, fence, holder FROM leases WHERE holder IS NOT NULL")).all()
        return [(service, recovery, fence) for service, recovery, fence, holder in leases if ":" in holder and holder.split(":")[1] in pids]

    @staticmethod
    def _lease_of(held: list[tuple[str, str, int]]) -> tuple[str, int]:
        return (held[0][0], held[0][2]) if held else ("", 0)

    def _valkey(self, strike: Strike) -> Hit | None:
        valkey = self._crew.valkey
        if valkey is None:  # a server that is not ours: cut its connections
            with connect(self._house.settings.redis) as redis:
                redis.client_kill_filter(_type="normal", skipme=True)
            return Hit(strike.number, time.time(), "connections to Redis", Action.KILL)
        if valkey.pid is None:
            return None
        with contextlib.suppress(psutil.NoSuchProcess):
            process, at = psutil.Process(valkey.pid), time.time()
            if strike.action is Action.FREEZE:
                process.suspend()
                self._sleep(Frozen(process, at + strike.seconds))
            else:
                process.kill()
            return Hit(strike.number, at, strike.target, strike.action)
        return None

    def _database(self, strike: Strike) -> Hit:
        """Lock SQLite, or cut the connections to PostgreSQL."""
        if self._house.schema:
            with self._engine.begin() as connection:
                mine = {"name": self._house.schema}
                cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = :name AND pid <> pg_backend_pid()"
                connection.execute(text(cut), mine)
            return Hit(strike.number, time.time(), "connections to PostgreSQL", Action.KILL)
        path = str(self._engine.url.database)
        locker = subprocess.Popen([sys.executable, "-I", "-S", "-c", LOCKER, path], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert locker.stdout is not None
        try:
            os.read(locker.stdout.fileno(), 10)  # it has the lock, or has ended
            at = time.time()
            time.sleep(strike.seconds)
        finally:
            locker.send_signal(signal.SIGKILL)
            locker.wait()
        locker.stdout.close()
        return Hit(strike.number, at, "writer that locked SQLite", Action.KILL)
