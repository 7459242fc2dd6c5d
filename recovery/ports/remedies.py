"""What a remedy is, and what reaches the real thing."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from pydantic import BaseModel

from recovery.backoff import Policy
from recovery.config.fleet import ServiceDeclaration
from recovery.errors import DriverError, RecoveryError, StepFailed
from recovery.models import Action, Category, Failure, JsonObject, Recovery
from recovery.ports.clock import Clock

Undo = Callable[[JsonObject, JsonObject | None], "StepWork | None"]
"""Takes the intent and the result of a step, returns the step that takes its effect back; None: nothing is there to take back.

The result is None if the step was begun and, as far as `reconcile` can tell, did not take effect: it may have left a part.
"""


class Driver(Protocol):
    """How a remedy reaches one real thing. Blocking; every call may raise `DriverError`.

    `identity` names the running instance (such as pid and start time), so that a successor can tell after a crash
    whether a stop or start took effect: another identity is another instance.
    """

    def identity(self) -> JsonObject | None:
        """Return what identifies the running instance, None when nothing runs."""
        ...

    def stop(self, timeout: float) -> JsonObject:
        """Stop gracefully, by force after `timeout` seconds; return when it is gone, with what was done."""
        ...

    def start(self) -> JsonObject:
        """Start it and return the identity of the new instance; raises if something runs already."""
        ...

    def reload(self) -> JsonObject:
        """Make the running instance read its configuration again."""
        ...


@dataclass(frozen=True, slots=True)
class DriverKind:
    """A kind of driver: its name in `recovery.toml`, its options and how to build one."""

    name: str
    options: type[BaseModel]
    build: Callable[[ServiceDeclaration], Driver]
    """From a service whose `driver.options` were validated."""
    usable: Callable[[], str | None] = lambda: None
    """Return why it cannot be used on this machine, None when it can."""


@dataclass(frozen=True, slots=True)
class AttemptContext:
    """All that a strategy may know and do during one attempt."""

    service: ServiceDeclaration
    recovery: Recovery
    attempt: int
    fence: int
    """Hand it to whatever can refuse an older one."""
    failure: Failure | None
    """The latest report, with its details."""
    results: Mapping[str, JsonObject]
    """Results of the finished steps, by name."""
    guard: Callable[[], None]
    """Call right before a side effect: raises `LeaseLost` if somebody else has the service now."""
    clock: Clock


@dataclass(frozen=True, slots=True)
class Retry:
    """How a step is tried again after it failed and did not take effect."""

    policy: Policy
    """How long to wait after each failure, and when to stop."""
    attempts: int | None = 3
    """Tries at most, the first one included; None: the policy alone says when to stop."""
    on: tuple[type[RecoveryError], ...] = (StepFailed, DriverError)
    """Errors that another try may mend."""
    retry_at: Callable[[], float | None] = lambda: None
    """Returns when the breaker of what is called lets a call through, in epoch seconds; for `BreakerAware`."""


@dataclass(frozen=True, slots=True)
class StepWork:
    """One step of a strategy: at most one side effect, journaled before and after.

    `prepare` only looks; what it returns is journaled as the intent before `run` is called. After a crash between the
    two journal rows, and after an error of `run`, `reconcile` is asked whether the effect is there: a result means yes, None
    means no, run it (or, after an error, try it again if `retry` says so).
    """

    name: str
    run: Callable[[JsonObject], JsonObject]
    """Takes the intent, returns the result; raises `StepFailed` or `DriverError`."""
    prepare: Callable[[], JsonObject] = dict
    reconcile: Callable[[JsonObject], JsonObject | None] = lambda _intent: None
    """The default is right only for steps that may be repeated."""
    timeout: float = 60.0
    """Seconds."""
    optional: bool = False
    """True: its failure does not fail the attempt."""
    retry: Retry | None = None
    """None: one try."""
    undo: Undo | None = None
    """Makes the step that takes this one back if the attempt ends half-way; None: it stays."""


class Strategy(Protocol):
    """A remedy. Belongs to one queue; says which failures it can handle; is made of steps."""

    name: str
    queue: str
    priority: int
    """Larger runs first where no plan says otherwise."""
    typical_seconds: float
    """Estimate used until a service has a history."""
    options: type[BaseModel]
    """Validates `[services.X.remedies.<name>]`."""
    lapses: bool
    """Whether what it leaves in place ends by itself after `mitigates_for` seconds; otherwise it stays until it is reverted."""

    def refuses(self, service: ServiceDeclaration, category: Category) -> str | None:
        """Return why it cannot help this service with this category of failure, None when it can."""
        ...

    def steps(self, context: AttemptContext, action: Action) -> Sequence[StepWork]:
        """Return the steps that put the remedy in place (or take it away again, for `REVERT`), in order."""
        ...

    def verify_with(self, service: ServiceDeclaration, action: Action) -> tuple[str, ...] | None:
        """Return the checks (`service.check`) that must pass afterwards; None: all of the service's own."""
        ...

    def mitigates_for(self, service: ServiceDeclaration) -> float | None:
        """Return the seconds this remedy holds if it only mitigates, None if success means resolved."""
        ...
