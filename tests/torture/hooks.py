"""Puts the boundaries of `points.py` around the store, the messages and the intake, in the process that imports it and nowhere else."""

import functools
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from recovery.engine.executor import Executor
from recovery.models import Lease, Recovery, Step, StepState
from recovery.ports import Accepted, Report
from recovery.store.sql import SqlStore
from tests.torture.ledger import append
from tests.torture.patient import STEPS
from tests.torture.points import HOME, pass_by

ENTERED = {
    "open_recovery": "open_recovery",
    "take_in": "open_recovery",
    "transition": "transition",
    "acquire_lease": "acquire_lease",
    "begin_attempt": "begin_attempt",
    "journal": "journal",
    "finish_attempt": "finish_attempt",
    "renew_lease": "renew_lease",
    "release_lease": "release_lease",
    "hand_back": "release_lease",
}
"""Methods of the store that write -> their point."""


def install() -> None:
    """Wrap everything; call it once, before the platform is put together."""
    for name, point in ENTERED.items():
        swap(SqlStore, name, _bounded(point, getattr(SqlStore, name)))
    _watch_messages()
    _watch_intake()


def swap(owner: object, name: str, other: Callable[..., Any]) -> None:
    """Put `other` in the place of a method or function; raises `AttributeError` if there is none of that name any more."""
    getattr(owner, name)
    setattr(owner, name, other)


def _bounded(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(self: SqlStore, *args: Any, **kwargs: Any) -> Any:
        point = _point(name, args)
        if point is None:
            return method(self, *args, **kwargs)
        pass_by(point, "before", **_where(args[0], args))
        result = method(self, *args, **kwargs)
        if name == "acquire_lease" and result is not None:
            _note("granted.jsonl", service=result.service, fence=result.fence, holder=result.holder, recovery=result.recovery_id)
        pass_by(point, "after", **_where(result if name == "open_recovery" else args[0], args))
        return result

    return call


def _point(name: str, args: tuple[Any, ...]) -> str | None:
    if name != "journal":
        return name if args[0] else None  # an empty batch writes nothing
    step: Step = args[1]
    if step.name in STEPS and step.state is not StepState.FAILED:
        return f"journal-{'start' if step.state is StepState.STARTED else 'finish'}:{step.name}"
    return "journal-verify" if step.name == "verify" else None


def _where(what: object, args: tuple[Any, ...]) -> dict[str, Any]:
    """Return the service, the recovery and the fence that a call is about, as far as it says."""
    first = what[0] if isinstance(what, list | tuple) else what
    match first.recovery if isinstance(first, Accepted) else first:
        case Lease() as lease:
            return {"service": lease.service, "recovery": lease.recovery_id, "fence": lease.fence}
        case Recovery() as recovery:
            return {"service": recovery.service, "recovery": recovery.id}
        case Report() as report:
            return {"service": report.failure.service}
        case str() as service:
            return {"service": service, "recovery": str(args[1])}
    return {}


def _watch_messages() -> None:
    from workers import dispatch

    send, run = dispatch.send, Executor.run

    def sending(name: str, kwargs: dict[str, Any], **options: Any) -> Any:
        if not name.startswith("strategy."):
            return send(name, kwargs, **options)
        where = {"service": kwargs["service"], "recovery": kwargs["recovery_id"]}
        pass_by("send", "before", **where)
        sent = send(name, kwargs, **options)
        pass_by("send", "after", **where)
        return sent

    def running(self: Executor, recovery_id: str, number: int) -> Any:
        recovery = self._store.recovery(recovery_id)
        if recovery is None or recovery.attempt < number:
            _note("early.jsonl", recovery=recovery_id, attempt=number, known=recovery.attempt if recovery else None)
        return run(self, recovery_id, number)

    swap(dispatch, "send", sending)
    swap(Executor, "run", running)


def _watch_intake() -> None:
    from workers.reports import Drain

    acknowledge = Drain._acknowledge

    def acknowledging(self: Drain, done: list[bytes]) -> None:
        if done:
            pass_by("acknowledge", "before")
        acknowledge(self, done)
        if done:
            pass_by("acknowledge", "after")

    swap(Drain, "_acknowledge", acknowledging)


def _note(name: str, **facts: object) -> None:
    append(Path(os.environ[HOME]) / name, {"at": time.time(), **facts})
