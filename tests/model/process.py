"""Processes that are killed, frozen or cut off at moments chosen beforehand. One runs at a time, so that a story repeats exactly."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from typing import Any

from recovery.errors import RecoveryError, StoreUnavailable
from recovery.models import Lease

STUCK = 120.0
"""Real seconds after which a process that neither ends nor freezes is given up; one needs milliseconds."""


class Killed(BaseException):
    """The process is gone: nothing after this line runs, not even what is written in `finally`."""


class End(Enum):
    """What happens to a process at a moment."""

    DIES = "dies"
    FREEZES = "freezes"
    LOSES_THE_STORE = "loses the store"


@dataclass(frozen=True, slots=True)
class Fate:
    """`end` comes at the moment `at`, counted from 1; one that comes after the work is done spares it."""

    at: int = 0
    end: End = End.DIES
    call: str = ""
    """The only call of the store whose moments count; empty: all do."""

    def __repr__(self) -> str:
        return f"{self.end.value} at {self.call or 'moment'} {self.at}" if self.at else "lives"


LIVES = Fate()

_here = threading.local()


class Process:
    """Work in a thread of its own, which runs only while `go` waits for it.

    Args:
        work: what it does.
    """

    def __init__(self, work: Callable[["Process"], object]) -> None:
        self.answer: tuple[str, object] = ("is under way", None)
        self.cut_off = False
        self.lease: Lease | None = None
        """The last one that it was given."""
        self._work = work
        self._fate = LIVES
        self._moment = 0
        self._dead = False
        self._over = False
        self._reading = False
        self._sleeps_after = False
        self._turn = threading.Semaphore(0)
        self._back = threading.Semaphore(0)
        self._thread: threading.Thread | None = None

    def go(self, fate: Fate = LIVES) -> bool:
        """Begin or go on until the work is over or frozen; say whether it is over."""
        self._fate, self._moment = fate, 0
        if self._thread is None:
            self._thread = threading.Thread(target=self._live, daemon=True)
            self._thread.start()
        else:
            self._turn.release()
        assert self._back.acquire(timeout=STUCK), "it waits for what a frozen process holds"
        if self._over:
            self._thread.join()
        return self._over

    def kill(self) -> None:
        """End it where it is frozen."""
        self._dead = True
        self.go()

    def moment(self, call: str = "") -> None:
        """Live one moment more, which is that before `call`, or not."""
        counts = self._fate.call in {"", call}
        self._moment += counts
        if counts and self._moment == self._fate.at and not self._dead:
            match self._fate.end:
                case End.DIES:
                    self._dead = True
                case End.LOSES_THE_STORE:
                    self.cut_off = True
                case End.FREEZES if self._reading:
                    self._sleeps_after = True
                case End.FREEZES:
                    self._sleep()
        if self._dead:
            raise Killed

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Fall asleep only after the block: what belongs together is seen at one moment, and may keep others out until then."""
        self._reading = True
        try:
            yield
        finally:
            self._reading = False

    def sleep_if_due(self) -> None:
        """Sleep now, if it should have fallen asleep while it was reading."""
        if self._sleeps_after:
            self._sleeps_after = False
            self._sleep()
            if self._dead:
                raise Killed

    def _sleep(self) -> None:
        self._back.release()
        self._turn.acquire()

    def _live(self) -> None:
        _here.process = self
        try:
            self.answer = ("said", self._work(self))
        except Killed:
            self.answer = ("died", None)
        except RecoveryError as error:
            self.answer = ("raised", (type(error), str(error)))
        except BaseException as error:  # noqa: BLE001 - the story that it is part of must hear of it
            self.answer = ("broke", error)
        finally:
            self._over = True
            self._back.release()


def moment() -> None:
    """Let the process of this thread live one moment more, or not."""
    _here.process.moment()


class Mortal:
    """A store as one process sees it: before each call the process may end, and the store may be away.

    Args:
        real: returns the store.
        process: whose calls these are.
        away: says whether nobody reaches the store now.
        watch: hears of every call that was answered.
    """

    def __init__(
        self,
        real: Callable[[], object],
        process: Process,
        away: Callable[[], bool],
        watch: Callable[[str, tuple[Any, ...], object], None] = lambda *_: None,
    ) -> None:
        self._real = real
        self._process = process
        self._away = away
        self._watch = watch

    @contextmanager
    def together(self) -> Iterator[None]:
        """Do what the store does, without falling asleep in the middle."""
        self._process.moment("together")
        self._require_there()
        real: Any = self._real()
        with real.together(), self._process.reading():
            yield
        self._process.sleep_if_due()

    def _require_there(self) -> None:
        if self._process.cut_off or self._away():
            raise StoreUnavailable("the store is away")

    def __getattr__(self, name: str) -> Any:
        def asked(*args: object, **kwargs: object) -> object:
            self._process.moment(name)
            self._require_there()
            answer = getattr(self._real(), name)(*args, **kwargs)
            if name == "acquire_lease" and isinstance(answer, Lease):
                self._process.lease = answer
            self._watch(name, args, answer)
            return answer

        return asked
