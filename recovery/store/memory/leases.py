"""Claims on services, in memory."""

from dataclasses import replace
from datetime import datetime

from recovery.clocks import still_runs
from recovery.models import Lease
from recovery.store.memory.tables import Room


class MemoryLeases(Room):
    """Implements `ports.LeaseStore`."""

    def acquire_lease(self, service: str, recovery_id: str, holder: str, now: datetime, until: datetime) -> Lease | None:
        """Claim `service` if nobody's claim is alive at `now`; the fence rises by one."""
        with self._tables.lock:
            current = self._tables.leases.get(service)
            if current is not None and self._tables.newest(current) and self._alive(current, now):
                return None
            if current is not None:
                self._tables.released.discard((service, current.fence))
            lease = Lease(service, recovery_id, holder, fence=current.fence + 1 if current else 1, until=until)
            self._tables.leases[service] = lease
            self._tables.lengths[service] = until - now
            return lease

    def renew_lease(self, lease: Lease, until: datetime) -> Lease:
        """Extend the claim; raises `LeaseLost` if its fence is not the newest."""
        with self._tables.lock:
            self._tables.require(lease)
            renewed = replace(self._tables.leases[lease.service], until=until)
            self._tables.leases[lease.service] = renewed
            return renewed

    def release_lease(self, lease: Lease) -> None:
        """Give the claim up; does nothing if it was lost already."""
        with self._tables.lock:
            if self._tables.newest(lease):
                self._tables.released.add((lease.service, lease.fence))

    def holds(self, lease: Lease) -> bool:
        """Say whether `lease` is still the newest of its service and was not given back."""
        with self._tables.lock:
            return self._tables.newest(lease)

    def lease_of(self, service: str) -> Lease | None:
        """Return the newest claim on `service`, alive or expired; None if it was given up or never claimed."""
        with self._tables.lock:
            current = self._tables.leases.get(service)
            return current if current is not None and self._tables.newest(current) else None

    def leases(self) -> list[Lease]:
        """Return every claim that was not given up, alive or expired."""
        with self._tables.lock:
            return [lease for _, lease in sorted(self._tables.leases.items()) if self._tables.newest(lease)]

    def _alive(self, lease: Lease, now: datetime) -> bool:
        return still_runs(lease.until - self._tables.lengths[lease.service], lease.until, now)
