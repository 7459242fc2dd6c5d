"""What stays in place after a remedy: mitigations, degradations, switched endpoints and breakers."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from recovery.models.words import BreakerOrder, BreakerState, Level


@dataclass(frozen=True, slots=True)
class Mitigation:
    """A remedy left in place on a service that is not truly healthy; somebody must take it away again."""

    service: str
    strategy: str
    recovery_id: str
    since: datetime
    until: datetime
    """When it ends by itself."""


@dataclass(frozen=True, slots=True)
class Degradation:
    """What a service, or the whole system, does without for a while; services read it through the client's flags."""

    service: str
    """A declared service, or `*` for the whole system."""
    level: Level
    since: datetime
    until: datetime
    """It ends by itself then, also when nobody is left to end it: at once, or by its ramp."""
    features_off: tuple[str, ...] = ()
    capabilities: dict[str, int] = field(default_factory=dict)
    """Capability name -> percentage left, 0 to 100."""
    reason: str = ""
    recovery_id: str = ""
    fence: int = 0
    """Compared within a layer: an older one neither replaces nor ends a newer one."""
    layer: str = "recovery"
    """Who put it there: `recovery`, `throttle`, `quarantine` (strategies), `manual` (people) or `rule:<name>`. Layers add up."""
    ramp: tuple[int, ...] = ()
    """Percentages of callers, rising, each 1 to 99, who are let back in turn from `until` on; none: all at once."""
    ramp_stage: float = 30.0
    """Seconds that each of them lasts."""
    by: str = ""
    """The person, rule or strategy behind it."""

    @property
    def gone_at(self) -> datetime:
        """Return when nothing is left of it."""
        return self.until + len(self.ramp) * timedelta(seconds=self.ramp_stage)


@dataclass(frozen=True, slots=True)
class RuleStanding:
    """How an automatic rule of degradation stands; kept, so that a restart forgets nothing, and judged once per fleet."""

    rule: str
    service: str
    """Whom it degrades: a service, or `*`."""
    in_force: bool = False
    since: datetime | None = None
    """Since when the condition that would change it holds without a break."""
    until: datetime | None = None
    """When what it put ends, unless it is renewed."""
    overruled_by: str = ""
    """Who ended it by force: it stays without effect until its own condition lets it go once."""
    version: int = 0
    """Rises with every change, and is the fence of what it put then."""


@dataclass(frozen=True, slots=True)
class BreakerView:
    """One shared circuit breaker as it stands."""

    name: str
    state: BreakerState
    """As people see it: a mode or a recovery at work goes before the machine's own state."""
    service: str = ""
    """Whose failure its opening is."""
    mode: BreakerOrder = BreakerOrder.AUTO
    """What somebody has set; `auto`: nobody has, the breaker decides by itself."""
    mode_since: datetime | None = None
    """When it was last set, or its time was over."""
    mode_until: datetime | None = None
    """When it is `auto` again by itself; None: when somebody says so."""
    mode_by: str = ""
    """Who set it, empty for `auto`."""
    mode_reason: str = ""
    """Why."""
    calls: int = 0
    """Calls in the present window, as far as processes told: without rates of failures and the successes between them alone."""
    failures: int = 0
    """Failures among them."""
    slow: int = 0
    """Slow calls among them."""
    in_a_row: int = 0
    """Failures since the last success."""
    successes: int = 0
    """Successful probes since it went half-open."""
    percent: int | None = None
    """Calls of a hundred that are let through again; None: no such ramp is under way."""
    opened_at: datetime | None = None
    retry_at: datetime | None = None
    """When callers may probe it."""
    repairing_until: datetime | None = None
    """When the mark of a recovery at work passes, unless it is renewed."""
    streak: int = 0
    """Openings since it was last closed; the open time grows with them."""
    trips: int = 0
    """How often it opened."""
    votes: int = 0
    """Processes that have it open for themselves, with a quorum of more than one."""
    reason: str = ""
    """Why it opened."""
    now: datetime | None = None
    """The clock that these times are of, at that moment."""


@dataclass(frozen=True, slots=True)
class BreakerChange:
    """One change of what a circuit breaker shows."""

    stream_id: str
    """The entry of the stream that told of it; with the breaker's name no two are equal."""
    breaker: str
    service: str
    at: datetime
    before: str
    after: str
    """A `BreakerState`, or `would_open`: in mode `metrics_only` it would have opened."""
    reason: str
    trips: int
    """How often it had opened by then."""
    streak: int
    by: str
    """The process or person that changed it."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where callers of a service should go while its primary is not to be used."""

    service: str
    name: str
    url: str
    since: datetime
    recovery_id: str = ""
    fence: int = 0
