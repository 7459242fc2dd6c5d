"""Check `heartbeat`, the dead man's switch: a service that has not reported in for too long is taken for dead.

Services beat with `RecoveryClient.heartbeat`. It finds programs that run but hang, and jobs that never ran.
"""

from dataclasses import dataclass

from recovery.config.base import Declaration, Seconds, SecondsOrZero
from recovery.config.fleet import CheckDeclaration, ServiceDeclaration
from recovery.detect.threads import in_thread
from recovery.models import FailureType, utcnow
from recovery.ports import CheckKind, Clock, Finding, Heartbeats


class HeartbeatOptions(Declaration):
    """`type = "heartbeat"`."""

    period: Seconds
    """Seconds between two beats, as the service promises."""
    grace: SecondsOrZero = 0.0
    """Seconds that a beat may be late."""


@dataclass(frozen=True, slots=True)
class HeartbeatCheck:
    """Compare the last beat with what was promised. Give a new service time for its first beat by `start_grace`."""

    name: str
    service: str
    options: HeartbeatOptions
    timeout: float
    heartbeats: Heartbeats
    clock: Clock = utcnow

    async def probe(self) -> Finding:
        """Look up the last beat; it lies in Redis, so in a thread."""
        last = await in_thread(("heartbeat", self.name), lambda: self.heartbeats.last(self.service), self.timeout)
        if last is None:
            return Finding(ok=False, message="has never sent a heartbeat", type=FailureType.HEARTBEAT)
        age = (self.clock() - last).total_seconds()
        limit = self.options.period + self.options.grace
        if age <= limit:
            return Finding(ok=True, details={"age": round(age, 3)})
        message = f"the last heartbeat came {age:.1f} s ago, wanted one every {limit:g} s"
        return Finding(ok=False, message=message, type=FailureType.HEARTBEAT, details={"age": round(age, 3), "last": last.isoformat()})


def build(service: ServiceDeclaration, check: CheckDeclaration, heartbeats: Heartbeats) -> HeartbeatCheck:
    """Return the declared check."""
    options = HeartbeatOptions.model_validate(check.options)
    return HeartbeatCheck(f"{service.name}.{check.name}", service.name, options, check.timeout, heartbeats)


HEARTBEAT = CheckKind("heartbeat", HeartbeatOptions, build)
