"""Lets one of several equal processes do a job: it asks the database for the lead in a thread and knows at once whether it has it."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy.exc import SQLAlchemyError

from recovery.errors import RecoveryError
from recovery.models import utcnow
from recovery.ports import Clock, Leadership

logger = logging.getLogger(__name__)

LEASE = 10.0
"""Seconds that a leader leads without asking again; after a death it is that long until the next one does."""
RENEW_EVERY = 3.0
"""Seconds between two renewals: two of them may fail."""
ASK_EVERY = 1.0
"""Seconds between two tries of who does not lead."""
MARGIN = 1.0
"""Seconds that a leader stops before its lease ends, and the most that its clock may jump: clocks differ."""
PATIENCE = 5.0
"""Seconds to wait for the database at the start and at the end; meanwhile the job is not done."""


@dataclass(frozen=True, slots=True)
class Term:
    """What the database granted."""

    fence: int
    ends: float
    """On the monotonic clock, which no one can set."""
    offset: float
    """Wall clock less monotonic clock: it changes when the clock is set, or the machine slept."""


class Candidate:
    """One process that stands for a job.

    Whether it leads is never asked of the database by whoever does the job: `leads` answers from what the thread was told
    last, and only as long as that is certain. So a database that hangs holds nothing up, and a process that was frozen or
    whose clock was set leads again only after it has asked. A database that is away lets a leader go on until its lease ends.
    A leader that does not even ask `leads` for as long as a lease hangs, and its lease is left to end.

    Args:
        store: where the lead is kept.
        job: what it is called there.
        holder: name of this process; who asks under the same name is taken for the same one.
        clock: the wall clock, which the others' clocks must agree with to a second or so.
        monotonic: seconds that nobody can set.
    """

    def __init__(
        self, store: Leadership, job: str, holder: str, clock: Clock = utcnow, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._store, self._job, self._holder = store, job, holder
        self._clock, self._monotonic = clock, monotonic
        self._term: Term | None = None
        self._looked = monotonic()
        self._said = ""
        self._stop, self._wake, self._answered = threading.Event(), threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to ask, and return with the first answer or after `PATIENCE` seconds; does nothing the second time."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=f"lead-{self._job}", daemon=True)
            self._thread.start()
            self._answered.wait(PATIENCE)

    def leads(self) -> bool:
        """Say whether the job is ours at this moment."""
        term, self._looked = self._term, self._monotonic()
        if term is None or self._stop.is_set():
            return False
        certain = self._looked < term.ends and abs(self._offset() - term.offset) <= MARGIN
        if not certain:
            self._wake.set()
        return certain

    def resign(self) -> None:
        """Stop asking and give the job up; a database that does not answer within `PATIENCE` seconds is left alone."""
        self._stop.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(PATIENCE)

    def ask(self) -> None:
        """Ask the database once; what it says holds from the moment of the question."""
        asked, offset, now = self._monotonic(), self._offset(), self._clock()
        try:
            fence = self._store.lead(self._job, self._holder, now, now + timedelta(seconds=LEASE))
        except Exception as error:  # noqa: BLE001 - whatever it is, the next try may do, and a thread that ended would never try again
            if self._term is None or self._monotonic() >= self._term.ends:
                self._term = None
                self._say(logging.WARNING, f"nobody can say which {self._job} leads, so this one waits: {error}")
            return
        self._term = None if fence is None else Term(fence, asked + LEASE - MARGIN, offset)
        if fence is None:
            self._say(logging.INFO, f"another {self._job} leads, this one stands by")
        else:
            self._say(logging.INFO, f"this {self._job} leads now (fence {fence})")

    def hangs(self) -> bool:
        """Say whether whoever does the job has not looked for as long as a lease."""
        return self._monotonic() - self._looked >= LEASE

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                if not self.hangs():
                    self.ask()
                self._answered.set()
                self._wake.wait(RENEW_EVERY if self._term else ASK_EVERY)
                self._wake.clear()
            self._store.resign(self._job, self._holder)
        except (RecoveryError, SQLAlchemyError) as error:
            logger.warning("this %s could not give up the lead, the next one waits for its end: %s", self._job, error)

    def _offset(self) -> float:
        return self._clock().timestamp() - self._monotonic()

    def _say(self, level: int, sentence: str) -> None:
        """Log what is new; renewals are not."""
        if sentence != self._said:
            self._said = sentence
            logger.log(level, "%s", sentence)
