"""`RecoveryClient`: one object per process that gives a service everything it needs from the platform."""

import atexit
import logging
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Self, Unpack
from weakref import WeakSet

from recovery.breaker.caller import Breaker
from recovery.breaker.link import FleetLink
from recovery.breaker.options import BreakerOptions, BreakerSettings
from recovery.client.clean import labels_of, text_of
from recovery.client.connection import connect, load_modules, resolve_url, spool_folder
from recovery.client.counts import Stats
from recovery.client.draft import Draft, kind_of, see, take_details
from recovery.client.flags import Flags, LocalView
from recovery.client.forking import renew_after_fork
from recovery.client.guard import Guard
from recovery.client.heartbeat import Heartbeat
from recovery.client.sender import Beat, Sender
from recovery.client.watch import Watch
from recovery.client.words import (
    CATEGORIES,
    SEVERITIES,
    TYPES,
    CategoryName,
    SeverityName,
    TypeName,
    checked_name,
    known_word,
)
from recovery.errors import ConfigurationError

log = logging.getLogger("recovery.client")

FIRST_WAIT = 0.9
"""Seconds that the first question about flags may wait for Redis."""
LAST_WAIT = 1.0
"""Seconds that the end of the process may wait for the last reports."""


class RecoveryClient:
    """Reports failures of services, and tells services what to do without. Make one per process; it is thread-safe and fork-safe.

    Only the constructor and `breaker()` raise, and only for wrong arguments.

    Args:
        url: `redis://`, `rediss://` or `unix://`; default: `RECOVERY_REDIS_URL`, else the embedded platform of this folder.
        source: Who reports; default: the host's name.
        spool: Folder where reports wait while Redis is away; default: `spool` in `RECOVERY_DATA_DIR` (or in `./.recovery` if
            the platform is the embedded one), else `~/.local/state/celery-recovery/spool`.

    Raises:
        ConfigurationError: if it is no such URL.
    """

    def __init__(self, url: str | None = None, *, source: str | None = None, spool: str | Path | None = None) -> None:
        self._url = resolve_url(url)
        load_modules()
        self._source = (source or f"client@{socket.gethostname()}")[:200]
        self._sender = Sender(self._url, Path(spool) if spool else spool_folder(url))
        self._view = LocalView()
        self._link = FleetLink(self._report_opening)
        self._watch = Watch(lambda: connect(self._url), (self._view, self._link))
        self.flags = Flags(self._view, self._wait_for_first_view)
        self._breakers: dict[str, Breaker] = {}
        self._heartbeats: list[Heartbeat] = []
        self._adding = Lock()
        self._waited = False
        _open_clients.add(self)
        renew_after_fork(self)

    # --- telling ---

    def report(
        self,
        service: str,
        error: BaseException | str | None = None,
        *,
        category: CategoryName = "unknown",
        severity: SeverityName = "high",
        message: str = "",
        details: Mapping[str, object] | None = None,
        type: TypeName | None = None,  # noqa: A002 - the word that every failure has
        labels: Mapping[str, str] | None = None,
        fingerprint: str = "",
        recoverable: bool = True,
    ) -> str:
        """Report that `service` is broken; return the id of the report. Never raises, never waits.

        An odd value does not cost the report: a wrong word becomes the default, anything else text. Only a name that no
        service can have does; such a report is counted in `stats()`.

        Args:
            service: As declared in `recovery.toml`.
            error: An exception (its type, text, stack and causes are taken) or a text.
            category: What is broken; the plan is chosen by it.
            severity: How bad it is.
            message: In a sentence, up to 4,000 characters; default: the error's text.
            details: Anything JSON, up to 16,000 characters; what is no JSON becomes text.
            type: How it showed; default: by the exception's class.
            labels: Names and values for searching.
            fingerprint: Failures with the same one are equal, up to 64 characters; default: service and category.
            recoverable: False: only take note.
        """
        report_id = os.urandom(16).hex()
        try:
            exception = error if isinstance(error, BaseException) else None
            draft = Draft(
                id=report_id,
                service=checked_name(service),
                category=known_word(category, CATEGORIES, "unknown", "category"),
                type=known_word(kind_of(exception) if type is None else type, TYPES, "error", "type"),
                severity=known_word(severity, SEVERITIES, "high", "severity"),
                message=text_of(message) or ("" if exception else text_of(error)),
                source=self._source,
                occurred_at=time.time(),
                details=take_details(details),
                labels=labels_of(labels),
                recoverable=bool(recoverable),
                fingerprint=text_of(fingerprint)[:64],
                error=see(exception) if exception else None,
            )
        except Exception as wrong:  # noqa: BLE001 - a report must never break the service that reports
            self._sender.counts.drop(1, f"a report for service {service!r} is not valid: {wrong}")
        else:
            self._sender.put(draft)
        return report_id

    def guard(
        self,
        service: str,
        *,
        category: CategoryName = "unknown",
        severity: SeverityName = "high",
        details: Mapping[str, object] | None = None,
        ignore: tuple[type[Exception], ...] = (),
    ) -> Guard:
        """Return a decorator and context manager that reports exceptions for `service` and lets them pass unchanged."""

        def report(error: Exception) -> None:
            self.report(service, error, category=category, severity=severity, details=details)

        return Guard(report, ignore)

    def heartbeat(self, service: str) -> None:
        """Give a sign of life of `service`, for its `heartbeat` check. Never raises, never waits; a name no service can have is logged."""
        try:
            self._sender.put(Beat(checked_name(service), time.time()))
        except (TypeError, ValueError) as wrong:
            log.warning("heartbeat of %.100r is left out: %s", service, wrong)

    def heartbeat_every(self, service: str, seconds: float) -> Heartbeat:
        """Give a sign of life now and every `seconds` from a background thread, until it is stopped."""
        heartbeat = Heartbeat(lambda: self.heartbeat(service), seconds)
        self._heartbeats.append(heartbeat)
        return heartbeat

    def stats(self) -> Stats:
        """Return what became of this process's reports."""
        return self._sender.stats()

    # --- asking ---

    def breaker(self, name: str, **settings: Unpack[BreakerSettings]) -> Breaker:
        """Return the breaker of that name, shared with every process that uses the name.

        The first call decides the options, see `BreakerOptions`; later calls may leave them out.

        Raises:
            ConfigurationError: for an unknown or invalid option, or options that differ from the first call's.
        """
        with self._adding:
            known = self._breakers.get(name)
            if known is not None and not settings:
                return known
            options = BreakerOptions.of(name, settings)
            if known is not None and known.options != options:
                raise ConfigurationError(f"Breaker '{name}' is in use with other options: {known.options}.")
            if known is None:
                known = self._breakers[name] = Breaker(name, options, self._link)
                self._link.add(known)
                self._watch.start()
            return known

    def endpoint(self, service: str, default_url: str) -> str:
        """Return where to reach `service` now: a backup if the platform switched to one, else `default_url`."""
        return self.flags.endpoint(service, default_url)

    def warm_up(self, timeout: float = FIRST_WAIT) -> bool:
        """Load flags and endpoints now, so that no later call waits; say whether Redis answered within `timeout` seconds."""
        self._waited = True
        self._watch.start()
        return self._watch.tried(timeout) and self._view.known is not None

    # --- the end ---

    def close(self) -> None:
        """Deliver or keep what waits, within a second, and stop the threads. Reports after this are dropped and counted."""
        began = time.monotonic()
        for heartbeat in self._heartbeats:
            heartbeat.stop()
        self._watch.stop()
        self._link.close(LAST_WAIT / 2)
        self._sender.close(max(0.1, LAST_WAIT - (time.monotonic() - began)))
        _open_clients.discard(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    def renew(self) -> None:
        """Begin anew in a forked child; called by itself."""
        self._adding = Lock()
        self._waited = False
        self._sender.renew()
        self._view.renew()
        self._link.renew()
        self._watch.renew()  # its thread uses the parts above
        for heartbeat in self._heartbeats:
            heartbeat.renew()

    def _wait_for_first_view(self) -> None:
        if not self._waited:
            self.warm_up()

    def _report_opening(self, breaker: Breaker, reason: str) -> None:
        self.report(
            breaker.options.service or breaker.name,
            category="circuit_open",
            message=f"circuit '{breaker.name}' opened: {reason}"[:4_000],
            details={"breaker": breaker.name, "failure_threshold": breaker.options.failure_threshold},
        )


_open_clients: WeakSet[RecoveryClient] = WeakSet()


@atexit.register
def _close_all() -> None:
    for client in list(_open_clients):
        client.close()
