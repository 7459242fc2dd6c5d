"""Reads what a campaign left behind and says what must not have happened. Pure: it knows neither processes nor databases."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from recovery.models import OPEN_STATES, AttemptState, RecoveryState
from tests.torture.ledger import Entry, Phase
from tests.torture.witness import Write

KINDS = {
    "lost": "reports whose recovery was lost",
    "twice": "side effects executed twice without reconcile",
    "unjournaled": "side effects without a row in the journal",
    "stale": "stale writes accepted",
    "early": "messages that left before their commit",
    "stuck": "recoveries or patients that nobody moves any more",
}


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing that must not have happened, in one sentence."""

    kind: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Grant:
    """A fence that a process was given; `at` is after the commit."""

    at: float
    service: str
    fence: int


@dataclass(frozen=True, slots=True)
class Report:
    """A failure report that Redis acknowledged as being on disk, and what became of it."""

    failure: str
    service: str
    recovery: str | None
    """Into which recovery it went, None if the database does not know the report."""
    state: RecoveryState | None


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that a campaign left behind."""

    reports: Sequence[Report] = ()
    entries: Sequence[Entry] = ()
    """Of all patients; in order for each."""
    grants: Sequence[Grant] = ()
    writes: Sequence[Write] = ()
    journal: frozenset[tuple[str, int, str]] = frozenset()
    """Recovery, attempt and name of each journaled step."""
    early: Sequence[Mapping[str, object]] = ()
    open: Sequence[str] = ()
    """A sentence for each recovery that is still open, and for each patient that is still ill."""
    recoveries: int = 0
    """How many there were."""


def judge(evidence: Evidence) -> list[Violation]:
    """Return every violation."""
    return [
        *_lost(evidence.reports),
        *_twice(evidence),
        *_unjournaled(evidence),
        *_stale_rows(evidence.writes),
        *_stale_effects(evidence),
        *_early(evidence.early),
        *(Violation("stuck", sentence) for sentence in evidence.open),
    ]


def _lost(reports: Iterable[Report]) -> Iterator[Violation]:
    for report in reports:
        if report.recovery is None:
            yield Violation("lost", f"report {report.failure} of {report.service} was acknowledged and is in no recovery")
        elif report.state is None or report.state in OPEN_STATES:
            yield Violation("lost", f"report {report.failure} of {report.service} is in recovery {report.recovery}, which never ended")


def _twice(evidence: Evidence) -> Iterator[Violation]:
    deeds: dict[tuple[str, int, str], list[Entry]] = defaultdict(list)
    for entry in evidence.entries:
        if entry.phase in {Phase.EFFECT, Phase.RECONCILED}:
            deeds[entry.recovery, entry.attempt, entry.step].append(entry)
    for found in deeds.values():
        effects = [entry for entry in found if entry.phase is Phase.EFFECT]
        for first, second in pairwise(effects):
            asked = any(entry.phase is Phase.RECONCILED and first.at <= entry.at <= second.at for entry in found)
            if in_the_gap(second, evidence.grants) or (in_the_gap(first, evidence.grants) and not asked):
                continue
            how = "although reconcile was asked in between" if asked else "without reconcile"
            yield Violation(
                "twice",
                f"step {second.step} of attempt {second.attempt} of recovery {second.recovery} took effect on {second.service} twice"
                f" {how}: by fence {first.fence}, and {second.at - first.at:.1f} s later by fence {second.fence}",
            )


def in_the_gap(effect: Entry, grants: Iterable[Grant]) -> bool:
    """Say whether a process was frozen between the guard's answer and its effect: only the patient itself could refuse that."""
    newer = [grant.at for grant in grants if grant.service == effect.service and grant.fence > effect.fence]
    return bool(newer) and effect.asked <= min(newer) < effect.at


def _unjournaled(evidence: Evidence) -> Iterator[Violation]:
    for entry in evidence.entries:
        if entry.phase is Phase.EFFECT and (entry.recovery, entry.attempt, entry.step) not in evidence.journal:
            yield Violation(
                "unjournaled", f"step {entry.step} of recovery {entry.recovery} took effect on {entry.service} without a journal row"
            )


def _stale_rows(writes: Iterable[Write]) -> Iterator[Violation]:
    for write in writes:
        if not _checked(write) or (write.fence == write.newest and write.holder is not None):
            continue
        now = f"fence {write.newest} had been granted" if write.fence != write.newest else "its lease had been given back"
        yield Violation(
            "stale",
            f"{write.what} of {write.service}: {write.name} of recovery {write.recovery} was written as {write.state}"
            f" under fence {write.fence} after {now}",
        )


def _checked(write: Write) -> bool:
    """Say whether only the lease's holder may write this; an attempt that nobody can finish is given up by the coordinator."""
    if write.what == "steps":
        return True
    ran = write.what == "attempts" and write.state in {AttemptState.RUNNING, AttemptState.FINISHED}
    return ran and write.holder != "coordinator"


def _stale_effects(evidence: Evidence) -> Iterator[Violation]:
    for entry in evidence.entries:
        if entry.phase not in {Phase.EFFECT, Phase.REFUSED}:
            continue
        for grant in evidence.grants:
            if grant.service == entry.service and grant.fence > entry.fence and grant.at < entry.asked:
                what = "acted on" if entry.phase is Phase.EFFECT else "was refused only by"
                yield Violation(
                    "stale",
                    f"fence {entry.fence} passed the guard and {what} {entry.service} (step {entry.step} of recovery {entry.recovery})"
                    f" {entry.asked - grant.at:.1f} s after fence {grant.fence} had been granted",
                )
                break


def _early(messages: Iterable[Mapping[str, object]]) -> Iterator[Violation]:
    for message in messages:
        known = "is unknown" if message["known"] is None else f"is at attempt {message['known']}"
        yield Violation("early", f"a worker was told to run attempt {message['attempt']} of recovery {message['recovery']}, which {known}")
