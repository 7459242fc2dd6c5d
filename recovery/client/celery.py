"""One line that reports what goes wrong in a Celery app of yours: `bridge(client, service="orders")`, beside the app.

The only module of the client that needs Celery; `recovery.client` does not import it.
"""

import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from celery import signals
from celery.exceptions import Ignore, Retry, SoftTimeLimitExceeded, TimeLimitExceeded, WorkerLostError

from recovery.client.words import CategoryName, SeverityName, TypeName
from recovery.errors import CircuitOpen

if TYPE_CHECKING:
    from recovery.client.client import RecoveryClient

log = logging.getLogger("recovery.client")

ServiceOf = str | Mapping[str, str] | Callable[[str], str | None]
REMEMBERED = 1_000
"""Tasks whose failure this process remembers until they begin again, so that two signals of one failure are one report."""


class Bridge:
    """Hears Celery's signals in this process and in the pool's children, and reports for the service of the task.

    Reported once each: the final failure of a task, also a lost worker and a time limit; a message that expired; a task that was
    revoked, only to take note; a task that no worker knows; a message that is refused. Left out: retries, `Ignore`, what the task
    itself expects (`throws`), an open circuit, and `ignore`. Arguments of tasks are not reported.

    Args:
        client: Made before the pool forks; children report through it as well.
        service: Name of the service of all tasks; or services by prefix of the task's name, the longest counts (`""`: all others);
            or a function of the task's name. None: nothing is reported.
        ignore: Further exceptions that are no failures.
        category: Of the failures of tasks.
        severity: Of the same.
    """

    def __init__(
        self,
        client: "RecoveryClient",
        service: ServiceOf,
        ignore: tuple[type[BaseException], ...],
        category: CategoryName,
        severity: SeverityName,
    ) -> None:
        self._client = client
        self._service = service
        self._ignore = (Retry, Ignore, CircuitOpen, *ignore)
        self._category: CategoryName = category
        self._severity: SeverityName = severity
        self._failed: OrderedDict[str, None] = OrderedDict()
        self._hears = (
            (signals.task_received, self._received),
            (signals.task_prerun, self._begins),
            (signals.task_failure, self._failure),
            (signals.task_revoked, self._revoked),
            (signals.task_unknown, self._unknown),
            (signals.task_rejected, self._rejected),
            (signals.worker_process_shutdown, self._child_ends),
        )
        for signal, hear in self._hears:
            signal.connect(hear, weak=False)

    def close(self) -> None:
        """Hear nothing any more; the client stays open."""
        for signal, hear in self._hears:
            signal.disconnect(hear)

    def _received(self, request: Any = None, **_more: Any) -> None:
        self._begins(task_id=str(getattr(request, "id", "")))

    def _begins(self, task_id: str = "", **_more: Any) -> None:
        self._failed.pop(task_id, None)  # delivered again under the same id: that failure is another one

    def _failure(self, sender: Any = None, task_id: str = "", exception: BaseException | None = None, **_more: Any) -> None:
        if isinstance(exception, (*self._ignore, *(getattr(sender, "throws", None) or ()))) or self._is_known(task_id):
            return
        kind: TypeName | None = None
        if isinstance(exception, TimeLimitExceeded | SoftTimeLimitExceeded):
            kind = "timeout"
        elif isinstance(exception, WorkerLostError):
            kind = "panic"
        retries = getattr(getattr(sender, "request", None), "retries", None)
        self._report(sender.name, task_id, error=exception, category=self._category, severity=self._severity, type=kind, retries=retries)

    def _revoked(self, sender: Any = None, request: Any = None, expired: bool = False, **_more: Any) -> None:  # noqa: FBT001, FBT002 - Celery's
        name, task_id = sender.name, str(getattr(request, "id", ""))
        if expired:
            self._report(name, task_id, message=f"task {name} expired before a worker took it", category="queue_backlog", severity="medium")
        else:
            self._report(name, task_id, message=f"task {name} was revoked", severity="low", recoverable=False)

    def _unknown(self, name: str = "", id: str = "", **_more: Any) -> None:  # noqa: A002 - Celery's name
        self._report(name, id, message=f"no worker knows the task {name}", type="initialization", severity=self._severity)

    def _rejected(self, message: Any = None, exc: BaseException | None = None, **_more: Any) -> None:
        headers = getattr(message, "headers", None) or {}
        name = str(headers.get("task", ""))
        why = f": {type(exc).__name__}: {exc}" if exc else ""
        self._report(name, str(headers.get("id", "")), message=f"a message for task '{name}' was refused{why}", severity="medium")

    def _child_ends(self, **_more: Any) -> None:
        self._client.close()  # a pool's child ends without the interpreter's own last steps

    def _is_known(self, task_id: str) -> bool:
        known = task_id in self._failed
        self._failed[task_id] = None
        while len(self._failed) > REMEMBERED:
            self._failed.popitem(last=False)
        return known

    def _report(self, task: str, task_id: str, *, retries: int | None = None, **report: Any) -> None:
        try:
            service = self._service_of(task)
        except Exception:
            log.exception("a failure of task %s is not reported: its service could not be told", task)
            return
        if service:
            details = {"task": task, "task_id": task_id} | ({} if retries is None else {"retries": retries})
            self._client.report(service, details=details, labels={"task": task}, **report)

    def _service_of(self, task: str) -> str | None:
        if isinstance(self._service, str):
            return self._service
        if isinstance(self._service, Mapping):
            prefixes = [prefix for prefix in self._service if task.startswith(prefix)]
            return self._service[max(prefixes, key=len)] if prefixes else None
        return self._service(task)


def bridge(
    client: "RecoveryClient",
    service: ServiceOf,
    *,
    ignore: tuple[type[BaseException], ...] = (),
    category: CategoryName = "unknown",
    severity: SeverityName = "high",
) -> Bridge:
    """Report what goes wrong in the Celery apps of this process from now on; see `Bridge`. Call it once, where the app is made."""
    return Bridge(client, service, ignore, category, severity)
