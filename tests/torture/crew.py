"""The platform's processes, each started again at once when it dies. Unlike `recovery up` it does not pause: here death is the point."""

import contextlib
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.support import eventually
from tests.torture.house import House
from tests.torture.plan import Target
from tests.torture.points import PART
from workers.platform.child import READY_FILE
from workers.platform.children import INTAKE_QUEUES, STRATEGY_QUEUES
from workers.platform.embedded import EmbeddedValkey
from workers.platform.pdeathsig import leashed

START_TIMEOUT = 90.0
STOP_TIMEOUT = 30.0
POOL = 2
"""Processes of each worker that remedies."""


def worker(name: str, queues: tuple[str, ...], pool: str, size: int) -> tuple[str, ...]:
    """Return the arguments of one worker."""
    node = ("worker", "-n", f"{name}@%h", "-Q", ",".join(queues), "-P", pool, "-c", str(size))
    return (*node, "-E", "--prefetch-multiplier", "1", "--without-gossip", "--without-mingle")


PARTS = {
    "intake": worker("intake", INTAKE_QUEUES, "prefork", 2),
    "recover1": worker("recover1", STRATEGY_QUEUES, "prefork", POOL),
    "recover2": worker("recover2", STRATEGY_QUEUES, "prefork", POOL),
    "health": worker("health", ("health",), "threads", 8),
    "beat": ("beat", "--schedule", "beat-schedule"),
}
TEAMS = {
    Target.RECOVER: ("recover1", "recover2"),
    Target.INTAKE: ("intake",),
    Target.HEALTH: ("health",),
    Target.BEAT: ("beat",),
}


@dataclass
class Part:
    """One process of the platform."""

    name: str
    house: House
    starts: int = 0
    process: "subprocess.Popen[bytes] | None" = field(default=None, repr=False)

    @property
    def log(self) -> Path:
        return self.house.folder / "log" / f"{self.name}.log"

    @property
    def ready_file(self) -> Path:
        return self.house.folder / f"{self.name}.ready"

    def start(self) -> None:
        """Start it; only the main thread may, because the process ends with the thread that started it."""
        command = leashed([sys.executable, "-m", "tests.torture.part", *PARTS[self.name]])
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                cwd=self.house.folder,
                env={**self.house.environ, PART: self.name, READY_FILE: str(self.ready_file)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.starts += 1

    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def ready(self) -> bool:
        """Say whether it does its work."""
        return (
            self.process is not None and self.alive() and self.ready_file.exists() and self.ready_file.read_text() == str(self.process.pid)
        )


class Crew:
    """All processes of one campaign.

    Args:
        house: where they run.
    """

    def __init__(self, house: House) -> None:
        self.parts = {name: Part(name, house) for name in PARTS}
        self.valkey = EmbeddedValkey(house.settings.home, house.settings.socket) if house.settings.embedded else None

    def start(self) -> None:
        """Start everything and return when it works."""
        if self.valkey:
            self.valkey.start()
        for part in self.parts.values():
            part.start()
        eventually(self._ready_or_dead, START_TIMEOUT, "the platform does not start")

    def ready(self) -> bool:
        """Say whether every part does its work."""
        return all(part.ready() for part in self.parts.values())

    def strong(self) -> bool:
        """Say whether every part does its work, and at most one process that remedies is missing."""
        return self.ready() and len(self.children(Target.RECOVER)) >= len(TEAMS[Target.RECOVER]) * POOL - 1

    def _ready_or_dead(self) -> bool:
        for part in self.parts.values():
            if not part.alive():
                raise RuntimeError(f"{part.name} does not start:\n{part.log.read_text(errors='replace')[-2000:]}")
        return self.ready()

    def tend(self) -> None:
        """Start again what has died."""
        if self.valkey and not self.valkey.alive():
            self.valkey.start()
        for part in self.parts.values():
            if not part.alive():
                part.start()

    def main(self, name: str) -> psutil.Process | None:
        """Return the process of one part, None while it is dead."""
        process = self.parts[name].process
        with contextlib.suppress(psutil.NoSuchProcess):
            return psutil.Process(process.pid) if process and process.poll() is None else None
        return None

    def children(self, target: Target) -> list[psutil.Process]:
        """Return the pool processes of a team."""
        found: list[psutil.Process] = []
        for name in TEAMS[target]:
            with contextlib.suppress(psutil.NoSuchProcess):
                main = self.main(name)
                found += [child for child in main.children() if child.status() != psutil.STATUS_ZOMBIE] if main else []
        return found

    def stop(self) -> None:
        """End everything; by force what does not listen."""
        processes = [part.process for part in self.parts.values() if part.process]
        for process in processes:
            process.terminate()
        deadline = time.monotonic() + STOP_TIMEOUT
        for process in processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.1, deadline - time.monotonic()))
        for process in processes:
            if process.poll() is None:
                process.kill()  # its pool processes are on a leash
                process.wait()
        if self.valkey:
            self.valkey.stop()
