"""A breaker as Redis had it at one moment, read from what the scripts answer and push."""

from dataclasses import dataclass
from typing import Any

from recovery.breaker.circuit import Circuit, Ordered, Shown
from recovery.breaker.fleet import FleetView
from recovery.breaker.spoiled import read_breaker


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A breaker as Redis had it at one moment. Times are seconds since the epoch, by Redis's clock."""

    name: str
    service: str
    """The option `service`, empty if the callers gave none."""
    view: FleetView
    shown: Shown
    calls: int
    failures: int
    slow: int
    """What the fleet's window holds, as far as the processes told: without rates a process tells of failures alone."""
    percent: int | None
    """Calls that the ramp lets through now, of a hundred; None: no ramp is under way."""
    votes: int
    """Processes that have it open for themselves, with a quorum of more than one."""
    mode_at: int | None
    """Milliseconds when the mode was last set, or its time was over."""

    @property
    def circuit(self) -> Circuit:
        """Return the breaker itself."""
        return self.view.circuit


def snapshot_of(text: bytes | str) -> Snapshot:
    """Return the breaker in an answer or a pushed message; raises `Nonsense` if it tells of none."""
    told = read_breaker(text)
    until = _seconds(told, "mode_until") if told["mode"] != "auto" else None
    circuit = Circuit(
        state=told["state"],
        successes=told["successes"],
        stage=told["stage"],
        stage_until=_seconds(told, "stage_until"),
        opened_at=_seconds(told, "opened_at"),
        retry_at=_seconds(told, "retry_at"),
        repairing_until=_seconds(told, "repairing_until"),
        streak=told["streak"],
        trips=told["trips"],
        reason=told["reason"],
        ordered=Ordered(told["mode"], until, told.get("mode_by", ""), told.get("mode_reason", "")),
    )
    return Snapshot(
        name=told["name"],
        service=told.get("service", ""),
        view=FleetView(circuit, told["now"] / 1000, int(told["version"]), told["in_a_row"]),
        shown=told["shown"],
        calls=told["calls"],
        failures=told["failures"],
        slow=told["slow"],
        percent=told.get("ramp"),
        votes=told["votes"],
        mode_at=told.get("mode_at"),
    )


def _seconds(told: dict[str, Any], field: str) -> float | None:
    milliseconds = told.get(field)
    return None if milliseconds is None else milliseconds / 1000
