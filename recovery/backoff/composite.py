"""Several policies as one; when any of them stops, all stop."""

from dataclasses import dataclass

from recovery.backoff.policy import Policy, Seen


@dataclass(frozen=True, slots=True)
class Longest:
    """Wait until every policy is content: the longest of their waits."""

    policies: tuple[Policy, ...]
    """At least one."""

    def wait(self, seen: Seen) -> float | None:
        """Return the seconds to wait; None as soon as one policy says so."""
        waits = _waits(self.policies, seen)
        return None if waits is None else max(waits)


@dataclass(frozen=True, slots=True)
class First:
    """Wait until the first policy is content: the shortest of their waits."""

    policies: tuple[Policy, ...]
    """At least one."""

    def wait(self, seen: Seen) -> float | None:
        """Return the seconds to wait; None as soon as one policy says so."""
        waits = _waits(self.policies, seen)
        return None if waits is None else min(waits)


def _waits(policies: tuple[Policy, ...], seen: Seen) -> list[float] | None:
    waits = [policy.wait(seen) for policy in policies]
    known = [wait for wait in waits if wait is not None]
    return known if len(known) == len(waits) else None
