"""What one process's breaker and the fleet tell each other. Light: no Redis here; `link.py` implements `Fleet`.

What the other side calls on a breaker, from any thread: `apply(view)` with news; `answered(ended, view or None)` once for each
`tell`; `take_merged()` after each round of answers: what was added up because too much waited to be told already, or None;
`take_summary()` about once a second: what is still to be told, or None; both are answered like a `tell`; `went_alone()` when the fleet
is lost; `take_unheard()` when it is back, before the first `apply`; `take_opening()`: why this process opened it while alone, once,
empty if it did not.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

from recovery.breaker.circuit import Admission, Circuit, Result

if TYPE_CHECKING:
    from recovery.breaker.caller import Breaker

Order = Literal["reset", "auto", "metrics_only", "disabled", "forced_open"]
"""What a person wants of a breaker: a mode, or `reset`: close it now, whatever was counted."""


class Ended(NamedTuple):
    """Calls of one process that ended and that the fleet has not been told of; counted in this order: `ok_before`, then the rest."""

    result: Result
    """How the last `calls` ended; `void` only with a permit, which it gives back."""
    calls: int = 1
    """Calls that ended so, one after another; more than one only in summaries and after an absence of the fleet."""
    ok_before: int = 0
    """Quick successes before them."""
    slow: int = 0
    """How many of those `calls` were slow."""
    permit: str = ""
    """The permit of a probe, empty for calls made while closed or in a stage of the ramp; a slow probe's result is `failed`."""
    reason: str = ""
    """The last failure, such as `ValueError: boom`; empty unless failed."""
    tripped: str = ""
    """Why this process opened the breaker alone while the fleet could not hear it; the fleet opens then, whatever it has counted."""
    failed_before: int = 0
    """Failures before those successes, in what was added up: they count, but no run of theirs does; the process has judged that.

    Where among the successes they were is not told: of what is told at once, failed and slow calls leave a window as the last.
    """

    def then(self, later: "Ended") -> "Ended":
        """Return both added up: how many ended how, and the run that they end with."""
        slow, reason = self.slow + later.slow, later.reason or self.reason
        if later.result == self.result and not later.ok_before:
            return self._replace(calls=self.calls + later.calls, slow=slow, reason=reason)
        failed = self.result == "failed"
        return later._replace(
            ok_before=self.ok_before + later.ok_before + (0 if failed else self.calls),
            failed_before=self.failed_before + later.failed_before + (self.calls if failed else 0),
            slow=slow,
            reason=reason,
        )


@dataclass(frozen=True, slots=True)
class FleetView:
    """A breaker as the fleet has it."""

    circuit: Circuit
    """Its times are of the fleet's clock; permits are left out."""
    now: float
    """The fleet's clock at that moment."""
    version: int
    """Rises with every change, also after Redis lost its data."""
    in_a_row: int = 0
    """Failures in a row over the whole fleet, so that the next success here is told at once and ends them."""


class Fleet(Protocol):
    """What connects one process's breaker to the others."""

    def hears(self, breaker: "Breaker") -> bool:
        """Say whether the fleet hears of this breaker; if not, this process judges alone."""
        ...

    def admit(self, breaker: "Breaker", permit: str) -> Admission | None:
        """Ask for a permit while half-open, or open and over; None: the fleet cannot be asked, decide alone.

        Waits at most half a second. The view that the answer brings is given to `breaker.apply` before this returns.
        """
        ...

    def tell(self, breaker: "Breaker", ended: Ended) -> None:
        """Report how calls ended, only with a quorum of one, or for a permit of the fleet.

        Never waits and calls nothing of the breaker: its lock is held. `breaker.answered(ended, view)` comes later, from the
        background, once for each; the view is None if the fleet did not hear it.
        """
        ...

    def vote(self, breaker: "Breaker", reason: str | None) -> None:
        """Say that this process has opened it for itself and why, with a quorum of more than one; None: it has closed it again.

        Like `tell`, but not answered. `breaker.standing_vote()` is asked about once a second, and what it returns renews the vote.
        """
        ...

    def order(self, breaker: "Breaker", order: Order) -> bool:
        """Let the order count for all; False: the fleet cannot be asked. Waits at most half a second; then `breaker.apply` was called."""
        ...
