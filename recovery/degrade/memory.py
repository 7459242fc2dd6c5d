"""Degradations and endpoints of one process, for tests and trials; they keep the same promises as the shared ones."""

from threading import Lock

from recovery.models import Degradation, Endpoint, utcnow
from recovery.ports import Clock


class MemoryDegradations:
    """Degradations in this process; implements `ports.Degradations`."""

    def __init__(self, clock: Clock = utcnow) -> None:
        self._clock = clock
        self._lock = Lock()
        self._in_force: dict[str, Degradation] = {}

    def current(self, service: str) -> Degradation | None:
        """Return what `service` does without now, None when it is normal."""
        found = self._in_force.get(service)
        return found if found and found.until > self._clock() else None

    def all(self) -> list[Degradation]:
        """Return every degradation in force, by service."""
        return [found for service in sorted(self._in_force) if (found := self.current(service))]

    def put(self, degradation: Degradation) -> bool:
        """Put it in force until its `until`; False if one with a higher fence is in force."""
        with self._lock:
            current = self.current(degradation.service)
            if current and current.fence > degradation.fence:
                return False
            self._in_force[degradation.service] = degradation
            return True

    def clear(self, service: str, fence: int) -> bool:
        """End it; False if there is none, or one with a higher fence."""
        with self._lock:
            current = self.current(service)
            if current is None or current.fence > fence:
                return False
            del self._in_force[service]
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
