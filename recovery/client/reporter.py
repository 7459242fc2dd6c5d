"""The telling half of the client: reports, guards and signs of life. Nothing here raises or waits."""

import logging
import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from recovery.client.clean import clean_text, labels_of, text_of
from recovery.client.counts import Stats
from recovery.client.draft import LONGEST_TEXT, Beat, Draft, kind_of, see, take_details
from recovery.client.guard import Guard
from recovery.client.heartbeat import Heartbeat
from recovery.client.limits import check_kinds, check_seconds
from recovery.client.words import CATEGORIES, SEVERITIES, TYPES, CategoryName, SeverityName, TypeName, checked_name, known_word

if TYPE_CHECKING:
    from recovery.client.sender import Sender

log = logging.getLogger("recovery.client")


class Reporter:
    """Tells the platform how services are.

    Args:
        sender: Carries it there.
        source: Who reports.
    """

    def __init__(self, sender: "Sender", source: str) -> None:
        self._sender = sender
        self._source = source
        self._heartbeats: list[Heartbeat] = []

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
            labels: Names and values for searching: the first 50, names up to 100 characters, values up to 500.
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
                message=(text_of(message) or ("" if exception else text_of(error)))[:LONGEST_TEXT],
                source=self._source,
                occurred_at=time.time(),
                details=take_details(details),
                labels=labels_of(labels),
                recoverable=bool(recoverable),
                fingerprint=text_of(fingerprint)[:64],
                error=see(exception) if exception else None,
            )
        except Exception as wrong:  # noqa: BLE001 - a report must never break the service that reports
            self._sender.counts.drop(1, f"a report for service '{text_of(service):.100}' is not valid: {text_of(wrong):.200}")
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
        """Return a decorator and context manager that reports exceptions for `service` and lets them pass unchanged.

        Raises:
            ConfigurationError: if `ignore` is no tuple of exception classes.
        """
        check_kinds("Guard", "ignore", ignore)

        def report(error: Exception) -> None:
            self.report(service, error, category=category, severity=severity, details=details)

        return Guard(report, ignore)

    def heartbeat(self, service: str) -> None:
        """Give a sign of life of `service`, for its `heartbeat` check. Never raises, never waits; a name no service can have is logged."""
        try:
            self._sender.put(Beat(checked_name(service), time.time()))
        except Exception as wrong:  # noqa: BLE001 - a sign of life must never break the service that gives it
            log.warning("heartbeat of '%.100s' is left out: %s", clean_text(text_of(service)), clean_text(text_of(wrong)))

    def heartbeat_every(self, service: str, seconds: float) -> Heartbeat:
        """Give a sign of life now and every `seconds` (0.01 to 86,400) from a background thread, until it is stopped.

        Raises:
            ConfigurationError: if `seconds` is out of its range.
        """
        check_seconds("Heartbeat", "seconds", seconds, 86_400, least=0.01)
        heartbeat = Heartbeat(lambda: self.heartbeat(service), seconds)
        self._heartbeats = [*(each for each in self._heartbeats if not each.is_stopped), heartbeat]
        return heartbeat

    def stats(self) -> Stats:
        """Return what became of this process's reports."""
        return self._sender.stats()
