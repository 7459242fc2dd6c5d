"""What a driver may be able to do beyond the `Driver` port. A driver has an ability by having the method; nothing needs to be declared."""

from typing import Literal, Protocol, runtime_checkable

from recovery.errors import DriverError
from recovery.models import JsonObject
from strategies.listeners import Listener

Verb = Literal["restart", "reload"]


class IdentityUnknown(DriverError):
    """The driver cannot tell which instance runs, or whether one does.

    Args of its payload: `repeatable`, True when stop and start may be run again without harm.
    """

    code = "IDENTITY_UNKNOWN"

    @property
    def repeatable(self) -> bool:
        """Say whether the operator allowed to run a step again that may have taken effect."""
        return bool(self.payload.get("repeatable"))


@runtime_checkable
class Listens(Protocol):
    """Knows where the service accepts connections."""

    @property
    def listeners(self) -> tuple[Listener, ...]:
        """Return the declared addresses; they must be free after a stop and accept after a start."""
        ...


@runtime_checkable
class Explains(Protocol):
    """Can say what an instance last wrote."""

    def explain(self) -> str:
        """Return the end of the instance's output, empty if there is none."""
        ...


@runtime_checkable
class Lacks(Protocol):
    """Can do only some of the verbs, by its options."""

    def lacks(self, verb: Verb) -> str | None:
        """Return why it cannot do `verb`, None when it can."""
        ...


@runtime_checkable
class Restarts(Protocol):
    """Stops and starts in one go, because it was given no separate commands."""

    def restart(self) -> JsonObject:
        """Replace the running instance by a new one, or start the first."""
        ...


def listeners_of(driver: object) -> tuple[Listener, ...]:
    """Return where the service behind `driver` listens, as far as it was declared."""
    return driver.listeners if isinstance(driver, Listens) else ()


def last_words(driver: object) -> str:
    """Return `": "` and the end of the instance's output, or an empty string."""
    words = driver.explain() if isinstance(driver, Explains) else ""
    return f"; its last output: {words}" if words else ""


def lack_of(driver: object, verb: Verb) -> str | None:
    """Return why `driver` cannot do `verb`, None when it can."""
    return driver.lacks(verb) if isinstance(driver, Lacks) else None
