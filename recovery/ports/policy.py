"""What people said about acting, the platform's own signs of life, and who leads. Each method is one transaction."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from recovery.models import Event, JsonObject, Lease, Pulse, Silence


class PolicyStore(Protocol):
    """What people said about acting, and the platform's own signs of life. Each method is one transaction."""

    def silences(self, now: datetime) -> list[Silence]:
        """Return the silences that are in force at `now` or will be, oldest first."""
        ...

    def put_silence(self, silence: Silence, events: Sequence[Event] = ()) -> None:
        """Put a silence in force; one with the same id is replaced."""
        ...

    def lift_silence(self, silence_id: str, by: str, now: datetime, events: Sequence[Event] = ()) -> Silence | None:
        """End a silence, by full id or by a unique prefix of at least 6 characters; None if none of this id is in force or to come.

        Recoveries that are held (`held_by` is the silence's kind) become due at once.
        """
        ...

    def pulse(self, name: str, at: datetime, detail: JsonObject) -> None:
        """Note that a part of the platform is alive; never moves a pulse back in time by less than a minute."""
        ...

    def pulses(self) -> dict[str, Pulse]:
        """Return the last sign of life of every part, by name."""
        ...

    def forget_pulses(self, before: datetime) -> int:
        """Delete the pulses of parts that were last heard of before this moment; return how many."""
        ...

    def leases(self) -> list[Lease]:
        """Return every claim that was not given up, alive or expired."""
        ...


class Leadership(Protocol):
    """Jobs that one process alone may do for the whole platform, such as beat's."""

    def lead(self, name: str, holder: str, now: datetime, until: datetime) -> int | None:
        """Take or keep the job `name` until `until`; None: somebody else has it.

        Returns the fence, which rises whenever the job passes to another holder or is taken again after it was given up.
        What is over at `now` may be taken. So may what lasts for more than three times `until - now`: nobody asks for
        that long, so a clock was set back since.
        """
        ...

    def resign(self, name: str, holder: str) -> None:
        """Give the job up, so that the next one need not wait; does nothing if somebody else has it."""
        ...
