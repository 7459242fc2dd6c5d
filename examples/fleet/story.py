"""Tells what the history says about a recovery, while it happens."""

import textwrap
import time
from datetime import datetime

from fleet import await_true
from rich.console import Console

from recovery.models import Action, Attempt, AttemptState, Kind, Recovery, Status, StepState
from recovery.store.sql import SqlStore

console = Console(highlight=False)


class Story:
    """Tells what the history says while it happens."""

    def __init__(self, store: SqlStore) -> None:
        self._store = store

    def wait_healthy(self, services: int, within: float) -> None:
        """Wait until every service is healthy and no recovery is open."""

        def calm() -> bool:
            states = self._store.service_states().values()
            well = [state for state in states if state.status is Status.HEALTHY]
            return len(well) == services and not self._store.open_recoveries()

        await_true(calm, within, "calm (every service healthy, nothing open)")

    def follow(self, service: str, since: datetime, within: float) -> Recovery:
        """Print what happens to `service` until the recovery that began after `since` is closed; return it."""
        told: set[str] = set()
        deadline = time.monotonic() + within
        while True:
            recovery = self.newest(service, since)
            if recovery:
                self._tell(recovery, since, told)
                if not recovery.state.is_open:
                    return recovery
            if time.monotonic() > deadline:
                raise TimeoutError(f"no recovery of {service} was closed within {within:g} s")
            time.sleep(0.05)

    def newest(self, service: str, since: datetime) -> Recovery | None:
        """Return the recovery of `service` that is open, or the newest that began after `since`."""
        open_one = self._store.open_recovery_of(service)
        if open_one:
            return open_one
        ids = {attempt.recovery_id for attempt in self._store.attempts_of(service, since)}
        found = [recovery for recovery in map(self._store.recovery, ids) if recovery and recovery.created_at >= since]
        return max(found, key=lambda recovery: recovery.created_at, default=None)

    def _tell(self, recovery: Recovery, since: datetime, told: set[str]) -> None:
        said = short(recovery.message)
        what = said if recovery.kind is Kind.SCHEDULED else f"detected: {recovery.category} ({said})"
        self._once(told, "opened", recovery.created_at, since, what)
        for attempt in self._store.attempts(recovery.id):
            self._tell_attempt(attempt, since, told)

    def _tell_attempt(self, attempt: Attempt, since: datetime, told: set[str]) -> None:
        name = described(attempt)
        for step in self._store.steps(attempt.recovery_id, attempt.number):
            if step.state is not StepState.STARTED and step.finished_at:
                word = "done" if step.state is StepState.FINISHED else f"failed: {step.error}"
                self._once(told, f"{attempt.number}.{step.position}", step.finished_at, since, f"{name}: {step.name} {word}")
        if attempt.state is AttemptState.FINISHED and attempt.finished_at:
            text = f"{name}: [bold]{attempt.outcome}[/bold] ({short(attempt.reason)})"
            self._once(told, str(attempt.number), attempt.finished_at, since, text)

    def _once(self, told: set[str], key: str, at: datetime, since: datetime, text: str) -> None:
        if key not in told:
            told.add(key)
            line = " ".join(text.split())
            console.print(f"   [dim]+{(at - since).total_seconds():5.2f} s[/dim]  {line}", soft_wrap=True)

    def attempts(self, recovery: Recovery) -> list[Attempt]:
        """Return what was tried."""
        return self._store.attempts(recovery.id)


def short(text: str) -> str:
    """Return the text on one line, cut at a word where it is long."""
    return textwrap.shorten(text, 76, placeholder=" ...")


def described(attempt: Attempt) -> str:
    """Return what an attempt did, such as `restart` or `degrade (revert)`."""
    return attempt.strategy if attempt.action is Action.APPLY else f"{attempt.strategy} ({attempt.action})"
