"""Every error this product raises, under one root. An error's docstring is its default message, its attributes are its payload."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar


class RecoveryError(Exception):
    """Something in celery-recovery went wrong."""

    code: ClassVar[str] = "RECOVERY_ERROR"

    def __init__(self, message: str | None = None, **payload: object) -> None:
        self.message = message or (self.__doc__ or self.code).strip().splitlines()[0]
        self.payload = payload
        super().__init__(self.message)

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.message, self.payload)


def _rebuild(kind: type[RecoveryError], message: str, payload: dict[str, object]) -> RecoveryError:
    return kind(message, **payload)


class ConfigurationError(RecoveryError):
    """The configuration is not valid."""

    code = "CONFIGURATION_INVALID"

    def __init__(self, message: str | None = None, *, problems: Iterable[str] = (), **payload: object) -> None:
        self.problems = tuple(problems)
        """One line for each thing that is wrong, with file, line and path."""
        super().__init__(message, problems=self.problems, **payload)


class FailureInvalid(RecoveryError):
    """The failure report is not valid."""

    code = "FAILURE_INVALID"


class ServiceNotFound(RecoveryError):
    """No such service is declared."""

    code = "SERVICE_NOT_FOUND"


class RecoveryNotFound(RecoveryError):
    """No recovery has this id."""

    code = "RECOVERY_NOT_FOUND"


class UnknownName(RecoveryError):
    """Nothing is registered under this name."""

    code = "UNKNOWN_NAME"


class DuplicateName(RecoveryError):
    """Something is already registered under this name."""

    code = "DUPLICATE_NAME"


class StrategyUnavailable(RecoveryError):
    """The service declares no remedy for this strategy."""

    code = "STRATEGY_UNAVAILABLE"


class StepFailed(RecoveryError):
    """A step of a strategy did not do what it should."""

    code = "STEP_FAILED"


class DriverError(RecoveryError):
    """A driver could not reach or move the real thing."""

    code = "DRIVER_ERROR"


class LeaseLost(RecoveryError):
    """The lease on this service belongs to somebody else now; nothing more may be written or done."""

    code = "LEASE_LOST"


class Cancelled(RecoveryError):
    """An operator cancelled the recovery; the attempt ended at a step boundary."""

    code = "CANCELLED"


class TimeUp(RecoveryError):
    """The attempt took longer than the service's `attempt_timeout`; it was stopped and rolled back."""

    code = "TIME_UP"


class StoreUnavailable(RecoveryError):
    """The database or Redis did not answer."""

    code = "STORE_UNAVAILABLE"


class BreakerSpoiled(StoreUnavailable):
    """What lies in Redis under the keys of this circuit breaker is none."""


class StoreUnprepared(StoreUnavailable):
    """The database answers, but lacks tables of this version: it was new, or away, when the platform started."""


class CircuitOpen(RecoveryError):
    """The circuit is open; the call was not made.

    It is raised in the request path, over and over while something is broken. So it keeps what it is made of as its `args`, which
    costs a fifth of an `__init__` written in Python, and puts its message together when somebody reads it.

    Args:
        breaker: Its name.
        state: Why it refuses: `open`, `half_open`, `repairing` or `forced_open`.
        retry_after: Seconds until it is worth trying again.
        reason: Why it opened, or was forced open; empty if nobody knows.
    """

    code = "CIRCUIT_OPEN"

    if TYPE_CHECKING:

        def __init__(self, breaker: str = "", state: str = "open", retry_after: float = 0.0, reason: str = "", /) -> None: ...
    else:
        __init__ = Exception.__init__

    @property
    def breaker(self) -> str:
        """Return the breaker's name."""
        return self._told[0]

    @property
    def state(self) -> str:
        """Return why it refuses: `open`, `half_open`, `repairing` or `forced_open`."""
        return self._told[1]

    @property
    def retry_after(self) -> float:
        """Return the seconds until it is worth trying again."""
        return self._told[2]

    @property
    def reason(self) -> str:
        """Return why it opened, empty if nobody knows."""
        return self._told[3]

    @property
    def message(self) -> str:  # type: ignore[override]
        """Return the refusal in one sentence."""
        because = f" because: {self.reason}" if self.reason else ""
        return f"Circuit '{self.breaker}' is {self.state.replace('_', '-')}{because}; try again in {self.retry_after:.1f} s."

    @property
    def payload(self) -> dict[str, object]:  # type: ignore[override]
        """Return what a program needs of it."""
        return {"breaker": self.breaker, "state": self.state, "retry_after": self.retry_after, "reason": self.reason}

    @property
    def _told(self) -> tuple[str, str, float, str]:
        told = self.args + ("", "open", 0.0, "")[len(self.args) :]
        return told[0], told[1], told[2], told[3]

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), self.args


class ChainExhausted(RecoveryError):
    """No link of the chain answered."""

    code = "CHAIN_EXHAUSTED"

    def __init__(self, message: str | None = None, *, causes: Iterable[tuple[str, Exception]] = (), **payload: object) -> None:
        self.causes = tuple(causes)
        """Name and error of each link, in the order of the tries."""
        super().__init__(message, causes=self.causes, **payload)


class ApprovalRefused(RecoveryError):
    """This answer does not count."""

    code = "APPROVAL_REFUSED"


class SilenceInvalid(RecoveryError):
    """This silence cannot be put in force."""

    code = "SILENCE_INVALID"


class SilenceNotFound(RecoveryError):
    """No silence of this id is in force or to come."""

    code = "SILENCE_NOT_FOUND"


class PauseUnchanged(RecoveryError):
    """The kill switch is that way already."""

    code = "PAUSE_UNCHANGED"


class DegradationInvalid(RecoveryError):
    """This cannot be degraded so."""

    code = "DEGRADATION_INVALID"


class NotDegraded(RecoveryError):
    """Nothing is degraded there."""

    code = "NOT_DEGRADED"


class ServiceBusy(RecoveryError):
    """Somebody else is at work on this service."""

    code = "SERVICE_BUSY"


class AlreadyRunning(RecoveryError):
    """Another platform is running on this data folder."""

    code = "ALREADY_RUNNING"


class TaskOutOfMemory(RecoveryError):
    """The task ran out of memory."""

    code = "OUT_OF_MEMORY"


def nearest(name: str, known: Iterable[str]) -> str:
    """Return `", did you mean 'x'?"` for the known name closest to `name`, else an empty string."""
    from difflib import get_close_matches  # late: services import this module, and few of them misspell anything

    matches = get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f", did you mean '{matches[0]}'?" if matches else ""


def listing(names: Iterable[str]) -> str:
    """Return the names as a readable list, in alphabetical order (`none` when there are none)."""
    return ", ".join(sorted(names)) or "none"
