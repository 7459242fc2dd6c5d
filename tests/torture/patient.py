"""Patients: each is a ledger on disk and nothing else. It falls ill by a line, and is well once every step took effect after it.

So the ledger cannot lie about side effects: a step that took effect is a line, and no line is no effect.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from tests.torture.ledger import Entry, Phase, read, write

STEPS = ("drain", "swap", "fill")
"""The steps of the remedy, in order."""


class Patient:
    """One patient.

    Args:
        ledger: its file.
        fenced: whether it knows fences, as a good driver does, and refuses older ones. The others take whatever comes.
    """

    def __init__(self, ledger: Path, *, fenced: bool = False) -> None:
        self.ledger = ledger
        self.name = ledger.stem
        self.fenced = fenced

    def sicken(self, dwell: float = 0.0) -> float:
        """Make it ill, with a remedy whose steps take `dwell` seconds each; return when."""
        now = time.time()
        write(self.ledger, Entry(now, self.name, Phase.SICK, dwell=dwell))
        return now

    def well(self) -> bool:
        """Say whether every step of the remedy took effect since it fell ill."""
        since = self._since("sick")
        if not since or since[0].phase is not Phase.SICK:
            return True
        return {entry.step for entry in since if entry.phase is Phase.EFFECT}.issuperset(STEPS)

    def dwell(self) -> float:
        """Return the seconds that each step of the remedy takes this time."""
        since = self._since("sick")
        return since[0].dwell if since else 0.0

    def begun(self, deed: Entry) -> None:
        """Note that a worker is about to act."""
        write(self.ledger, replace(deed, at=time.time(), phase=Phase.BEGUN))

    def act(self, deed: Entry) -> bool:
        """Take the side effect in, False if it was refused because the patient has seen a newer fence."""
        with self._alone():
            stale = self.fenced and deed.fence < self._newest_fence()
            write(self.ledger, replace(deed, at=time.time(), phase=Phase.REFUSED if stale else Phase.EFFECT))
        return not stale

    def reconcile(self, deed: Entry) -> bool:
        """Say whether this step of this attempt took effect, and note that somebody asked.

        A patient that knows fences learns the new one here: what a predecessor does after this answer would belie it.
        """
        same = (deed.recovery, deed.attempt, deed.step)
        with self._alone():
            effects = [entry for entry in read(self._text()) if entry.phase is Phase.EFFECT]
            found = any((entry.recovery, entry.attempt, entry.step) == same for entry in effects)
            write(self.ledger, replace(deed, at=time.time(), phase=Phase.RECONCILED, found=found))
        return found

    def _newest_fence(self) -> int:
        return max((entry.fence for entry in read(self._text())), default=0)

    def _since(self, phase: str) -> list[Entry]:
        """Return the entries from the last one of this phase on."""
        text = self._text()
        start = text.rfind(f'"phase":"{phase}"')
        return read(text[text.rfind("\n", 0, start) + 1 :]) if start >= 0 else []

    def _text(self) -> str:
        return self.ledger.read_text(encoding="utf-8") if self.ledger.exists() else ""

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the patient's lock; the system lets it go when its holder dies."""
        fd = os.open(self.ledger.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)


def probe(ledger: str) -> str:
    """Answer the platform's `python` check: what is wrong, nothing when it is well."""
    return "" if Patient(Path(ledger)).well() else "it is ill"
