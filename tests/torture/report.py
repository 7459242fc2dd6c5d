"""Prints what a campaign did, how soon work was taken up again, and what the judge says."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from recovery.engine.coordinator import RESEND_SOONEST
from recovery.models import AttemptState
from tests.torture.campaign import Record
from tests.torture.hand import Hit
from tests.torture.house import LEASE
from tests.torture.judge import KINDS, Violation, in_the_gap
from tests.torture.ledger import Phase
from tests.torture.points import BOUNDARIES, GAP, POINTS, Action
from tests.torture.witness import Write

MARGIN = 5.0
"""Seconds that another process may take beyond the lease that it has to wait for."""
RESEND = max(RESEND_SOONEST.total_seconds(), LEASE)
AFTERMATH = 15.0
"""Seconds for which the loss of another part may still be felt: those that were due meanwhile come all at once."""
SHOWN = 10
"""Violations of one kind that are printed; the rest is counted."""


@dataclass(frozen=True, slots=True)
class Resume:
    """One recovery that somebody else went on with."""

    number: int
    """Of the strike."""
    seconds: float
    at_work: bool
    """Whether the victim had begun the attempt; the others were about to open the recovery, to move it, to send or take a message."""
    alone: bool = False
    """Whether nothing else was struck at that time than processes that remedy."""


def resumes(hits: Sequence[Hit], writes: Sequence[Write]) -> list[Resume]:
    """Return how long it took after each kill until the recovery that the victim had in its hands was moved by somebody else.

    Recoveries that had nothing left to do are not counted.
    """
    found: list[Resume] = []
    for hit in hits:
        if hit.action is Action.FREEZE:
            continue
        for recovery, fence in hit.held:
            moved = (write.at for write in writes if write.recovery == recovery and write.at > hit.at and _moves(write, fence))
            first = next(moved, None)
            if first is not None:
                begun = any(write.recovery == recovery and write.at <= hit.at and _begins(write, fence) for write in writes)
                found.append(Resume(hit.number, first - hit.at, begun, _alone(hit, first, hits)))
    return found


def _alone(hit: Hit, until: float, hits: Sequence[Hit]) -> bool:
    return hit.alone and all(other.alone for other in hits if hit.at - AFTERMATH < other.at < until)


def _begins(write: Write, fence: int) -> bool:
    return write.what == "attempts" and write.state == AttemptState.RUNNING and write.fence == fence > 0


def _moves(write: Write, fence: int) -> bool:
    if write.what == "recoveries":
        return True
    return write.what in {"attempts", "steps"} and (fence == 0 or write.fence > fence)


def show(record: Record, violations: Sequence[Violation]) -> Iterator[str]:
    """Return the lines of the report."""
    evidence = record.evidence
    yield from _deeds(record)
    yield ""
    yield from _boundaries(record)
    yield ""
    found = resumes(record.hits, evidence.writes)
    yield "resumed after a kill by another process:"
    alone = [one for one in found if one.alone]
    at_work, early = ([one.seconds for one in alone if one.at_work is there] for there in (True, False))
    yield _resume_line("a worker alone was lost", at_work, LEASE + MARGIN, f"lease of {LEASE:g} s + {MARGIN:g} s")
    yield _resume_line("the same, before the attempt had begun", early, RESEND + MARGIN, f"resend after {RESEND:g} s + {MARGIN:g} s")
    yield _resume_line("other parts were struck, too", [one.seconds for one in found if not one.alone])
    gaps = sum(1 for entry in evidence.entries if entry.phase is Phase.EFFECT and in_the_gap(entry, evidence.grants))
    refused = sum(1 for entry in evidence.entries if entry.phase is Phase.REFUSED)
    yield f"frozen between guard and effect: {gaps} acted under their old fence when they woke, {refused} were sent away by the patient"
    yield ""
    yield from _verdict(violations)


def _deeds(record: Record) -> Iterator[str]:
    evidence = record.evidence
    counts = Counter((hit.what, str(hit.action)) for hit in record.hits)
    yield f"{len(record.hits)} strikes in {record.ended - record.began:.0f} s, all over {record.settled:.1f} s after the last one:"
    for (what, action), number in sorted(counts.items()):
        yield f"  {number:4}  {what}: {action}"
    effects = Counter(entry.phase for entry in evidence.entries)
    yield f"{record.restarts} processes started again; {evidence.recoveries} recoveries from {len(evidence.reports)} reports and the checks"
    done = f"{effects[Phase.EFFECT]} side effects, {effects[Phase.RECONCILED]} reconciled"
    yield f"{effects[Phase.SICK]} illnesses, {done}, {len(evidence.writes)} writes watched"


def _boundaries(record: Record) -> Iterator[str]:
    counts = Counter((hit.boundary, hit.action is Action.FREEZE) for hit in record.hits if hit.boundary)
    reached = {boundary for boundary, _ in counts}
    yield f"boundaries struck: {len(reached & {str(one) for one in BOUNDARIES})} of {len(BOUNDARIES)}"
    yield f"  {'':20}   killed before, after   frozen before, after"
    for point in POINTS:
        killed, frozen = ([counts[f"{side} {point}", freeze] for side in ("before", "after")] for freeze in (False, True))
        yield f"  {point:20} {killed[0]:10}, {killed[1]:<12} {frozen[0]:8}, {frozen[1]}"
    yield f"  {'gap':20} {'':10}  {'':12} {counts[str(GAP), True]:8}"
    for strike in record.unreached:
        yield f"  nobody came by: {strike.boundary or strike.target} ({strike.action})"


def _resume_line(when: str, seconds: list[float], target: float | None = None, why: str = "") -> str:
    if not seconds:
        return f"  {when}: never"
    ordered = sorted(seconds)
    p95 = ordered[min(len(ordered) - 1, round(0.95 * len(ordered)))]
    line = f"  {when} ({len(ordered)}): median {median(ordered):.1f} s, p95 {p95:.1f} s, max {ordered[-1]:.1f} s"
    if target is None:
        return line
    late = sum(1 for one in ordered if one > target)
    return f"{line}; target {target:g} s ({why}): {f'missed {late} times' if late else 'met'}"


def _verdict(violations: Sequence[Violation]) -> Iterator[str]:
    for kind, meaning in KINDS.items():
        found = [violation for violation in violations if violation.kind == kind]
        yield f"{len(found):5}  {meaning}"
        yield from (f"         {violation.sentence}" for violation in found[:SHOWN])
        if len(found) > SHOWN:
            yield f"         and {len(found) - SHOWN} more"
