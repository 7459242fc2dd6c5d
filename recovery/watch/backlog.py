"""Judges what should have moved by now: recoveries that are due, and claims that ran out under an open recovery."""

from collections.abc import Sequence
from datetime import datetime

from recovery.models import Lease, Recovery
from recovery.watch.words import Part, PartStatus

DUE_LIMIT = 15.0
"""Seconds that a recovery may be due and unmoved; the tick comes every second and moves 100 at a time."""
LEASE_LIMIT = 30.0
"""Seconds that a claim may have run out while its recovery is open and due."""
SHOWN = 5
"""Services named in a sentence."""


def judge_leases(leases: Sequence[Lease], recoveries: Sequence[Recovery], now: datetime) -> Part:
    """Look for claims that ran out long ago while their recovery is open, and that nobody took over."""
    due = {recovery.id for recovery in recoveries if _overdue(recovery, now) > LEASE_LIMIT}
    ages = {lease.service: (now - lease.until).total_seconds() for lease in leases if lease.recovery_id in due}
    stuck = {service: age for service, age in ages.items() if age > LEASE_LIMIT}
    if not stuck:
        return Part("leases", PartStatus.OK, "no claim is stuck", None, LEASE_LIMIT)
    oldest = max(stuck.values())
    said = f"nobody took over where a worker was lost up to {oldest:.0f} s ago: {named(stuck)}"
    return Part("leases", PartStatus.LATE, said, oldest, LEASE_LIMIT)


def judge_recoveries(recoveries: Sequence[Recovery], now: datetime) -> Part:
    """Look for open recoveries whose time has come and that nobody moved."""
    overdue = {recovery.service: _overdue(recovery, now) for recovery in recoveries}
    stuck = {service: age for service, age in overdue.items() if age > DUE_LIMIT}
    if not stuck:
        open_ones = f"{len(recoveries)} open, none overdue" if recoveries else "none is open"
        return Part("recoveries", PartStatus.OK, open_ones, None, DUE_LIMIT)
    oldest = max(stuck.values())
    return Part(
        "recoveries", PartStatus.LATE, f"{len(stuck)} due for up to {oldest:.0f} s and not moved: {named(stuck)}", oldest, DUE_LIMIT
    )


def _overdue(recovery: Recovery, now: datetime) -> float:
    return (now - recovery.due_at).total_seconds() if recovery.due_at else 0.0


def named(stuck: dict[str, float]) -> str:
    """Return the services that wait longest, in one line."""
    oldest_first = sorted(stuck, key=lambda service: (-stuck[service], service))
    more = f" and {len(stuck) - SHOWN} more" if len(stuck) > SHOWN else ""
    return ", ".join(oldest_first[:SHOWN]) + more
