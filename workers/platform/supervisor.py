"""Keeps a set of parts running in the foreground: starts them, merges their output, restarts what dies, stops all in order.

Everything happens in the main thread, in one loop around one selector: a child lives on the leash of the thread that starts it.
"""

import os
import selectors
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from recovery.errors import RecoveryError
from workers.platform.backoff import next_delay
from workers.platform.output import Lines, Output
from workers.platform.signals import Signals

STOP_TIMEOUT = 25.0
"""Seconds that running tasks get after the first Ctrl-C; what is not done then is taken up again by the next `up`."""
LOOK = 0.1
"""Seconds between looks at what cannot be waited for: readiness, and parts that are not our children."""


class Part(Protocol):
    """Something that the supervisor keeps running."""

    name: str
    output: int | None
    """A readable, non-blocking descriptor, None if the part has none."""

    @property
    def pid(self) -> int | None:
        """Return the process id, None before the first start."""

    def start(self) -> None:
        """Start it; may wait for it. Raise a RecoveryError or OSError if that fails."""

    def alive(self) -> bool:
        """Say whether it runs."""

    def ready(self) -> bool:
        """Say whether it does its work."""

    def ending(self) -> str:
        """Say how it ended, for the log."""

    def ask_to_stop(self) -> bool:
        """Ask it to end soon; say whether it will, or runs until `end`."""

    def end(self) -> None:
        """Return when nothing of it runs any more, whatever that takes. Raise an OSError if even that fails."""


@dataclass
class _Watch:
    """What the supervisor knows about one part."""

    part: Part
    started_at: float = 0.0
    delay: float = 0.0
    due: float | None = None
    """When to start it again; None while it runs."""
    lines: Lines = field(default_factory=Lines)


class Supervisor:
    """Runs `parts` until a signal says stop.

    Args:
        parts: in the order of their start; they are stopped in reverse order.
        output: takes the lines of the parts.
        log: takes what the supervisor itself has to say.
        signals: entered already, so that no signal is missed before `run`.
        on_ready: called once, as soon as every part is ready.
    """

    def __init__(self, parts: Sequence[Part], *, output: Output, log: Any, signals: Signals, on_ready: Callable[[], None]) -> None:
        self._watches = [_Watch(part) for part in parts]
        self._output = output
        self._log = log
        self._signals = signals
        self._on_ready: Callable[[], None] | None = on_ready
        self._selector = selectors.DefaultSelector()

    def run(self) -> None:
        """Return when the parts have run, were told to stop and are gone, with all of their process groups."""
        self._selector.register(self._signals.wake, selectors.EVENT_READ, None)
        try:
            for watch in self._watches:
                if not self._signals.stops:
                    self._start(watch)
            while not self._signals.stops:
                self._turn(self._patience())
                self._mend()
                self._announce()
        finally:
            self._stop()
            self._selector.close()

    def _start(self, watch: _Watch) -> None:
        watch.due, watch.started_at = None, time.monotonic()
        if watch.part.alive():
            return
        try:
            watch.part.start()
        except (RecoveryError, OSError) as error:
            watch.delay = next_delay(watch.delay, 0.0)
            watch.due = time.monotonic() + watch.delay
            self._log.error("platform.start_failed", part=watch.part.name, error=str(error), again_in=watch.delay)
            return
        if watch.part.output is not None:
            self._selector.register(watch.part.output, selectors.EVENT_READ, watch)
        self._log.info("platform.started", part=watch.part.name, pid=watch.part.pid)

    def _end(self, part: Part) -> None:
        try:
            part.end()
        except OSError as error:
            self._log.error("platform.stuck", part=part.name, error=str(error))

    def _turn(self, timeout: float) -> None:
        """Wait for output, a death or a signal, and put out what came."""
        for key, _ in self._selector.select(timeout):
            if key.data is None:
                self._signals.clear()
            else:
                self._read(key.data, key.fd)

    def _read(self, watch: _Watch, descriptor: int) -> None:
        try:
            data = os.read(descriptor, 65536)
        except BlockingIOError:
            return
        for line in watch.lines.feed(data) if data else watch.lines.end():
            self._output.say(watch.part.name, line)
        if not data:
            self._selector.unregister(descriptor)
            os.close(descriptor)

    def _mend(self) -> None:
        """Plan the restart of what has died, and start what is due."""
        for watch in self._watches:
            now = time.monotonic()
            if watch.due is None and not watch.part.alive():
                watch.delay = next_delay(watch.delay, now - watch.started_at)
                watch.due = now + watch.delay
                self._log.warning("platform.died", part=watch.part.name, how=watch.part.ending(), again_in=watch.delay)
                self._end(watch.part)
            if watch.due is not None and now >= watch.due:
                self._start(watch)

    def _patience(self) -> float:
        due = [watch.due for watch in self._watches if watch.due is not None]
        wait = LOOK if self._on_ready else 1.0
        return max(0.0, min([wait, *(at - time.monotonic() for at in due)]))

    def _announce(self) -> None:
        if self._on_ready and all(watch.due is None and watch.part.ready() for watch in self._watches):
            self._on_ready()
            self._on_ready = None

    def _stop(self) -> None:
        self._log.info("platform.stopping", hint="Ctrl-C again ends everything at once")
        parts = [watch.part for watch in reversed(self._watches)]
        asked = [part for part in parts if part.ask_to_stop()]
        deadline = time.monotonic() + STOP_TIMEOUT
        while any(part.alive() for part in asked) and self._signals.stops < 2 and time.monotonic() < deadline:
            self._turn(LOOK)
        for part in parts:
            if part in asked and part.alive():
                self._log.warning("platform.killed", part=part.name, pid=part.pid)
            self._end(part)
        while any(key.data for key, _ in self._selector.select(0)):  # last words; who lives on with a pipe of ours is not waited for
            self._turn(0)
        self._log.info("platform.stopped")
