"""What a Celery process does for the supervisor that started it: stay on its leash, and say when it is ready.

By hand, without a supervisor, all of this does nothing but tie pool processes to their worker.
"""

import os
import warnings
from pathlib import Path
from typing import Any

from celery import signals

from workers.platform.pdeathsig import leash

READY_FILE = "RECOVERY_READY_FILE"
"""Names the file into which a child writes its process id as soon as it does its work."""

PRIVATE = (READY_FILE, "REMAP_SIGTERM", "PYTHONUNBUFFERED")
"""Meant for the Celery process alone: a service that a strategy starts from it must not inherit these."""


class _Enlisted:
    """Listens to the signals of one Celery process.

    Args:
        ready_file: where the supervisor looks, None without a supervisor.
    """

    def __init__(self, ready_file: Path | None) -> None:
        self.ready_file = ready_file
        self.worker: int | None = None

    def started(self, **_: Any) -> None:
        """Note who the parent of the pool will be; by now Celery has read what the supervisor put into the environment."""
        self.worker = os.getpid()
        for name in PRIVATE:
            os.environ.pop(name, None)

    def pool_process_started(self, **_: Any) -> None:
        """Tie this pool process to its worker: it would finish a task that is already somebody else's."""
        if self.worker is not None and self.worker != os.getpid():
            leash(self.worker)

    def ready(self, **_: Any) -> None:
        """Tell the supervisor."""
        if self.ready_file is not None:
            self.ready_file.write_text(str(os.getpid()), encoding="ascii")


def enlist() -> None:
    """Connect this process to its pool and its supervisor; call it once where the Celery app is made."""
    ready_file = os.environ.get(READY_FILE)
    enlisted = _Enlisted(Path(ready_file) if ready_file else None)
    connect = {
        signals.worker_init: enlisted.started,
        signals.beat_init: enlisted.started,
        signals.worker_process_init: enlisted.pool_process_started,
    }
    for signal, receiver in connect.items():
        signal.connect(receiver, weak=False, dispatch_uid=f"recovery.child.{receiver.__name__}")
    if ready_file:  # four lines at every start in a container; no task of ours reads pickles
        warnings.filterwarnings("ignore", message="You're running the worker with superuser")
    for signal in (signals.worker_ready, signals.beat_init):
        signal.connect(enlisted.ready, weak=False, dispatch_uid="recovery.child.ready")
