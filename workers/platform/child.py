"""What a Celery process does for the supervisor that started it: say when it is ready, and keep what is private between them.

By hand, without a supervisor, it says nothing.
"""

import os
import warnings
from pathlib import Path
from typing import Any

from celery import signals

from workers.platform.pdeathsig import SUPPORTED, follow

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

    def started(self, **_: Any) -> None:
        """Forget what the supervisor put into the environment for Celery, which has read it by now."""
        for name in PRIVATE:
            os.environ.pop(name, None)

    def ready(self, **_: Any) -> None:
        """Tell the supervisor."""
        if self.ready_file is not None:
            self.ready_file.write_text(str(os.getpid()), encoding="ascii")


def enlist() -> None:
    """Connect this process to its supervisor; call it once where the Celery app is made."""
    ready_file = os.environ.get(READY_FILE)
    enlisted = _Enlisted(Path(ready_file) if ready_file else None)
    for signal in (signals.worker_init, signals.beat_init):
        signal.connect(enlisted.started, weak=False, dispatch_uid="recovery.child.started")
    if ready_file and not SUPPORTED:
        follow(os.getppid())
    if ready_file:  # four lines at every start in a container; no task of ours reads pickles
        warnings.filterwarnings("ignore", message="You're running the worker with superuser")
    for signal in (signals.worker_ready, signals.beat_init):
        signal.connect(enlisted.ready, weak=False, dispatch_uid="recovery.child.ready")
