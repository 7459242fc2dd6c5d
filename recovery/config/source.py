"""Keep the declared fleet up to date without a restart: a changed file is taken over if it is valid, refused loudly if not."""

import contextlib
import hashlib
import logging
import os
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from recovery.config.fleet import Fleet
from recovery.config.kinds import Kinds
from recovery.config.load import Loaded, parse, read_text
from recovery.config.problems import Problem, path_of, refuse
from recovery.config.programs import missing_programs
from recovery.errors import ConfigurationError

log = logging.getLogger(__name__)

Stamp = tuple[int, int, int]
SETTLED_AFTER_NS = 2_000_000_000
"""A file younger than this may change again without a new time stamp (some file systems count whole seconds), so it is read again."""


class FleetSource:
    """The fleet as it is in force, read from a file that may change at any time. Safe to share between threads.

    The text last accepted is kept in a private copy, so that a process that starts while the file is broken works on
    with what was in force before.

    Args:
        path: the configuration file.
        accepted_copy: where the copy is kept, in the data folder.
        kinds: what may be named in the file.
        on_accepted: called with each version that comes into force.
        on_refused: called once for each content that is refused.
    """

    def __init__(
        self,
        path: Path,
        accepted_copy: Path,
        kinds: Kinds,
        *,
        on_accepted: Callable[[Loaded], None] | None = None,
        on_refused: Callable[[ConfigurationError], None] | None = None,
    ) -> None:
        self.path = path.absolute()
        self.accepted_copy = accepted_copy
        self._kinds = kinds
        self._on_accepted = on_accepted or (lambda _loaded: None)
        self._on_refused = on_refused or (lambda _error: None)
        self._lock = threading.Lock()
        self._fleet: Fleet | None = None
        self._stamp: Stamp | None = None
        self._seen: str | None = None

    def current(self) -> Fleet:
        """Return the fleet in force, after a look whether the file has changed.

        Raises:
            ConfigurationError: nothing valid was ever accepted: the file is missing or wrong, and there is no copy.
        """
        with self._lock:
            stamp = _stamp(self.path)
            if self._fleet is not None and stamp is not None and stamp == self._stamp:
                return self._fleet
            self._look()
            self._stamp = stamp if stamp and time.time_ns() - stamp[0] > SETTLED_AFTER_NS else None
            if self._fleet is None:  # pragma: no cover - _look sets it or raises
                raise ConfigurationError
            return self._fleet

    def _look(self) -> None:
        try:
            text = read_text(self.path)
        except ConfigurationError as error:
            self._refuse(error, f"unreadable: {error.message}")
            return
        content = hashlib.sha256(text.encode()).hexdigest()
        if content == self._seen:
            return
        try:
            loaded = self._parse(text)
            self._require_services(loaded.fleet)
        except ConfigurationError as error:
            self._refuse(error, content)
            return
        self._fleet, self._seen = loaded.fleet, content
        self._announce(loaded, is_new=self._keep(text))
        self._on_accepted(loaded)

    def _require_services(self, fleet: Fleet) -> None:
        """Refuse a file that declares nothing after one that did: editors empty a file before they write it."""
        before = self._fleet or self._last_accepted()
        if before is not None and before.services and not fleet.services:
            hint = f"to watch nothing any more, stop the platform and delete {self.accepted_copy}"
            refuse(self.path.name, [Problem((), f"declares no service, unlike the version before; {hint}")])

    def _announce(self, loaded: Loaded, *, is_new: bool) -> None:
        """Tell what is odd, and which version is in force: loudly in the first process that takes it, not in each one that follows."""
        for warning in loaded.warnings:
            log.warning("configuration: %s", warning)
        for missing in missing_programs(loaded.fleet, self._kinds):
            log.warning("configuration: %s: %s: %s", self.path.name, path_of(missing.where), missing.message)
        level = logging.INFO if is_new else logging.DEBUG
        version, count = loaded.fleet.version, len(loaded.fleet.services)
        log.log(level, "configuration version %s of %s is in force, %d services", version, self.path, count)

    def _parse(self, text: str) -> Loaded:
        return parse(text, self._kinds, file=self.path.name, folder=self.path.parent)

    def _refuse(self, error: ConfigurationError, content: str) -> None:
        """Stay with what is in force, else with the accepted copy; raise `error` if there is neither. Tell it once per content."""
        if self._fleet is None:
            self._fleet = self._last_accepted()
        if self._fleet is None:
            raise error
        if content == self._seen:
            return
        self._seen = content
        log.error("configuration refused, version %s stays in force: %s", self._fleet.version, error.message)
        self._on_refused(error)

    def _last_accepted(self) -> Fleet | None:
        """Return what the copy declares, None if there is none or it is not valid here any more."""
        text = self._copied()
        try:
            return None if text is None else self._parse(text).fleet
        except ConfigurationError:
            return None

    def _copied(self) -> str | None:
        try:
            return self.accepted_copy.read_text(encoding="utf-8")
        except (OSError, ValueError):
            return None

    def _keep(self, text: str) -> bool:
        """Replace the copy atomically, unless it has this text already; say whether it had not.

        A copy that cannot be written costs only the comfort of the next start, so it is logged.
        """
        if self._copied() == text:
            return False
        temporary = None
        try:
            self.accepted_copy.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=self.accepted_copy.parent, prefix=self.accepted_copy.name)
            with os.fdopen(handle, "w", encoding="utf-8") as copy:
                copy.write(text)
            Path(temporary).replace(self.accepted_copy)
        except OSError as error:
            log.warning("no copy of the accepted configuration could be kept in %s: %s", self.accepted_copy, error.strerror)
            if temporary:
                with contextlib.suppress(OSError):
                    Path(temporary).unlink()
        return True


def _stamp(path: Path) -> Stamp | None:
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
