"""Degradations and endpoints of one process, for tests and trials; they keep the same promises as the shared ones."""

from threading import Lock, RLock

from recovery.degrade.keys import RECOVERY, member_of
from recovery.degrade.plain import ended, outranks
from recovery.models import Degradation, Endpoint, utcnow
from recovery.ports import Clock


class MemoryDegradations:
    """Degradations in this process; implements `ports.Degradations`."""

    def __init__(self, clock: Clock = utcnow) -> None:
        self._clock = clock
        self._lock = RLock()
        self._kept: dict[str, Degradation] = {}

    def current(self, service: str, layer: str = RECOVERY) -> Degradation | None:
        """Return what this layer lets `service` do without, None when nothing."""
        found = self._kept.get(member_of(service, layer))
        return found if found and found.gone_at > self._clock() else None

    def all(self) -> list[Degradation]:
        """Return every degradation there is, by service and layer."""
        now = self._clock()
        with self._lock:
            return [found for _, found in sorted(self._kept.items()) if found.gone_at > now]

    def put(self, degradation: Degradation) -> bool:
        """Put it in force until its `until`; False if its layer has one with a higher fence."""
        with self._lock:
            current = self.current(degradation.service, degradation.layer)
            if current and current.fence > degradation.fence:
                return False
            self._kept[member_of(degradation.service, degradation.layer)] = degradation
            return True

    def end(self, service: str, fence: int | None, layer: str = RECOVERY) -> bool:
        """Let it end from now on, by its ramp if it has one; False if there is none, or one with a higher fence."""
        with self._lock:
            current = self.current(service, layer)
            if current is None or outranks(current, fence):
                return False
            self._kept[member_of(service, layer)] = ended(current, self._clock())
            return True

    def clear(self, service: str, fence: int | None, layer: str = RECOVERY) -> bool:
        """End it at once; False if there is none, or one with a higher fence."""
        with self._lock:
            current = self.current(service, layer)
            if current is None or outranks(current, fence):
                return False
            del self._kept[member_of(service, layer)]
            return True


class MemoryEndpoints:
    """Endpoints in this process; implements `ports.Endpoints`."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._switched: dict[str, Endpoint] = {}

    def current(self, service: str) -> Endpoint | None:
        """Return the backup in use, None for the primary."""
        return self._switched.get(service)

    def switch(self, endpoint: Endpoint) -> bool:
        """Send callers to a backup; False if a switch with a higher fence is in force."""
        with self._lock:
            current = self._switched.get(endpoint.service)
            if current and current.fence > endpoint.fence:
                return False
            self._switched[endpoint.service] = endpoint
            return True

    def clear(self, service: str, fence: int) -> bool:
        """Send callers to the primary again; False if they are there, or a higher fence is in force."""
        with self._lock:
            current = self._switched.get(service)
            if current is None or current.fence > fence:
                return False
            del self._switched[service]
            return True
