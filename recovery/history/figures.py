"""The numbers of the history. A rate never comes without its denominator, a spread never without its count. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Rate:
    """So many of so many."""

    hits: int
    of: int
    """The denominator."""

    @property
    def share(self) -> float | None:
        """0.0 to 1.0; None of nothing."""
        return self.hits / self.of if self.of else None


@dataclass(frozen=True, slots=True)
class Spread:
    """How durations are spread, in seconds."""

    count: int
    mean: float
    p50: float
    p95: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> "Spread | None":
        """Return the spread of some durations, None of none."""
        if not seconds:
            return None
        return cls(len(seconds), sum(seconds) / len(seconds), percentile(seconds, 0.5), percentile(seconds, 0.95))


@dataclass(frozen=True, slots=True)
class MeanTime:
    """How long the successful recoveries of one service took, first evidence to verified success."""

    service: str
    count: int
    mean: float
    """Seconds."""
    longest: float
    """Seconds."""


@dataclass(frozen=True, slots=True)
class Availability:
    """How much of what the checks saw of one service was well."""

    service: str
    passed: Rate
    """Passed samples of all samples, every check counting alike."""


@dataclass(frozen=True, slots=True)
class Held:
    """How often a guard kept the platform from acting at once."""

    choice: str
    guard: str
    times: int
    """Repeats included."""


@dataclass(frozen=True, slots=True)
class ServiceFigures:
    """What became of one service's recoveries."""

    service: str
    closed: int
    success: Rate
    """Resolved or mitigated, of the closed recoveries that acted."""
    detection: Spread | None
    """First evidence to the creation of the first recovery of each outage."""
    recovery: Spread | None
    """First evidence to verified success."""
    suppressed: int
    availability: Rate | None
    """From samples; None if there are none in the period."""


@dataclass(frozen=True, slots=True)
class StrategyFigures:
    """How one strategy did."""

    strategy: str
    success: Rate
    """Resolved or mitigated, of its finished runs."""
    took: Spread | None
    """Start to end of its successful runs."""
    recovery: Spread | None
    """First evidence to verified success of the recoveries that it ended."""


@dataclass(frozen=True, slots=True)
class Stats:
    """The figures of one period. Dry runs and restores of mitigations (kind `scheduled`) are no recoveries and counted apart."""

    since: datetime
    until: datetime
    open_now: int
    """Open at this moment, whenever they began."""
    outcomes: dict[str, int]
    """Closed recoveries by outcome; by state where there is none (`cancelled`, `suppressed`)."""
    success: Rate
    """Resolved or mitigated, of the closed recoveries that acted (ran at least one attempt)."""
    gave_up: Rate
    """Failed without having acted (attempt cap, cooldown, no remedy), of all closed recoveries."""
    detection: Spread | None
    """MTTD: first evidence to the creation of the first recovery of each outage."""
    recovery: Spread | None
    """MTTR: first evidence to verified success."""
    suppressed: int
    restores: int
    dry_runs: int
    held: tuple[Held, ...]
    services: tuple[ServiceFigures, ...]
    strategies: tuple[StrategyFigures, ...]


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which `share` (0.0 to 1.0) of `values` lie, interpolated linearly between neighbours."""
    ordered = sorted(values)
    position = share * (len(ordered) - 1)
    below = int(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)
