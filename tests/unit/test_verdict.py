"""How samples become verdicts, and verdicts a status."""

from datetime import UTC, datetime, timedelta

import pytest

from recovery.config.fleet import CheckDeclaration, ServiceDeclaration
from recovery.detect.verdict import SPECIFIC_FIRST, judge, sick_checks, status_of
from recovery.models import Category, CheckState, Sample, ServiceState, Severity, Status

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def declared(name: str = "web", severity: Severity = Severity.HIGH, **more: float) -> CheckDeclaration:
    return CheckDeclaration.model_validate({"name": name, "type": "http", "severity": severity, **more})


def judged(check: CheckDeclaration, pattern: str, started_at: datetime | None = None) -> list[CheckState]:
    """Judge one sample a second: `.` is a success, `x` a failure."""
    states = [CheckState("shop", check.name)]
    for second, mark in enumerate(pattern):
        sample = Sample("shop", check.name, at(second), ok=mark == ".", latency=0.1, message=f"{mark}{second}")
        states.append(judge(check, states[-1], sample, started_at))
    return states[1:]


def marks(states: list[CheckState]) -> str:
    return "".join({Status.HEALTHY: "h", Status.UNHEALTHY: "u", Status.UNKNOWN: "?"}[state.status] for state in states)


@pytest.mark.parametrize(
    ("fall", "rise", "seen", "verdicts"),
    [
        (1, 1, ".x.x", "huhu"),
        (3, 2, "...xxx", "hhhhhu"),
        (3, 2, "xx.xx.", "??hhhh"),
        (3, 2, "xxx..", "??uuh"),
        (3, 2, "xxx.x..", "??uuuuh"),
        (2, 3, "xx.x...", "?uuuuuh"),
    ],
)
def test_fall_failures_in_a_row_make_it_unhealthy_and_rise_successes_heal_it(fall: int, rise: int, seen: str, verdicts: str) -> None:
    assert marks(judged(declared(fall=fall, rise=rise), seen)) == verdicts


def test_the_first_failure_is_kept_for_the_whole_row() -> None:
    states = judged(declared(fall=3), ".xxxx")

    assert [state.first_failure_at for state in states] == [None, at(1), at(1), at(1), at(1)]


def test_a_success_ends_the_row_of_a_check_that_had_not_fallen_yet() -> None:
    states = judged(declared(fall=3), "x.x")

    assert [state.first_failure_at for state in states] == [at(0), None, at(2)]


def test_a_single_success_does_not_end_the_outage_it_interrupts() -> None:
    states = judged(declared(fall=1, rise=2), ".x.x..")

    assert [state.first_failure_at for state in states] == [None, at(1), at(1), at(1), at(1), None]


def test_failures_within_the_grace_after_a_start_do_not_count() -> None:
    states = judged(declared(fall=2, start_grace=3.0), "xxxxx", started_at=NOON)

    assert marks(states) == "????u"
    assert states[-1].first_failure_at == at(3)
    assert states[0].message == "x0"


def test_a_success_within_the_grace_counts() -> None:
    assert marks(judged(declared(fall=1, start_grace=10.0), "x.", started_at=NOON)) == "?h"


def test_a_sample_older_than_the_verdict_changes_nothing() -> None:
    check = declared(fall=1)
    known = judged(check, "...")[-1]

    assert judge(check, known, Sample("shop", "web", at(1), ok=False, latency=0.1), None) is known


def test_a_verdict_carries_what_was_seen_last() -> None:
    sample = Sample(
        "shop", "web", NOON, ok=False, latency=0.4, message="no", category=Category.CACHE_CORRUPTION, details={"corrupted": ["a"]}
    )

    state = judge(declared(), CheckState("shop", "web"), sample, None)

    assert (state.at, state.latency, state.message, state.category) == (NOON, 0.4, "no", Category.CACHE_CORRUPTION)
    assert state.details == {"corrupted": ["a"]}


def service(*checks: CheckDeclaration) -> ServiceDeclaration:
    return ServiceDeclaration(name="shop", checks=checks)


def verdicts(**statuses: Status) -> dict[str, CheckState]:
    return {name: CheckState("shop", name, status) for name, status in statuses.items()}


def test_a_service_is_healthy_when_every_check_is() -> None:
    state = status_of(service(declared("a"), declared("b")), verdicts(a=Status.HEALTHY, b=Status.HEALTHY), now=NOON)

    assert (state.status, state.score, state.since, state.seen_at) == (Status.HEALTHY, 100, NOON, NOON)


def test_one_unhealthy_check_makes_the_service_unhealthy() -> None:
    state = status_of(
        service(declared("a"), declared("b"), declared("c")), verdicts(a=Status.HEALTHY, b=Status.UNHEALTHY, c=Status.HEALTHY)
    )

    assert (state.status, state.score) == (Status.UNHEALTHY, 66)


@pytest.mark.parametrize(
    ("severity", "status"),
    [
        (Severity.CRITICAL, Status.UNHEALTHY),
        (Severity.HIGH, Status.UNHEALTHY),
        (Severity.MEDIUM, Status.DEGRADED),
        (Severity.LOW, Status.DEGRADED),
    ],
)
def test_checks_of_low_severity_only_degrade_the_service(severity: Severity, status: Status) -> None:
    checks = service(declared("a"), declared("b", severity))

    assert status_of(checks, verdicts(a=Status.HEALTHY, b=Status.UNHEALTHY)).status is status


def test_a_check_without_a_verdict_leaves_the_status_as_it_was() -> None:
    checks = service(declared("a"), declared("b"))
    known = verdicts(a=Status.HEALTHY)

    assert status_of(checks, known).status is Status.UNKNOWN
    assert status_of(checks, known, ServiceState("shop", Status.UNHEALTHY)).status is Status.UNHEALTHY
    assert status_of(checks, known, ServiceState("shop", Status.HEALTHY)).status is Status.HEALTHY


def test_verdicts_on_checks_that_are_no_longer_declared_are_ignored() -> None:
    assert status_of(service(declared("a")), verdicts(a=Status.HEALTHY, gone=Status.UNHEALTHY)).status is Status.HEALTHY


def test_the_score_is_rounded_down_so_that_only_full_health_is_100() -> None:
    checks = [declared(f"c{number}") for number in range(300)]
    known = verdicts(**{check.name: Status.HEALTHY for check in checks}) | verdicts(c0=Status.UNHEALTHY)

    assert status_of(service(*checks), known).score == 99


def test_a_service_keeps_since_until_its_status_changes() -> None:
    checks = service(declared("a"))
    first = status_of(checks, verdicts(a=Status.HEALTHY), now=NOON)

    second = status_of(checks, verdicts(a=Status.HEALTHY), first, at(10))
    third = status_of(checks, verdicts(a=Status.UNHEALTHY), second, at(20))

    assert (second.since, second.seen_at) == (NOON, at(10))
    assert third.since == at(20)


def test_attempts_are_forgiven_only_after_enough_health_since_the_last_start() -> None:
    checks, well = service(declared("a")), verdicts(a=Status.HEALTHY)
    before = ServiceState("shop", Status.HEALTHY, since=NOON, started_at=at(100))

    assert status_of(checks, well, before, at(350), stable_after=300).stable_since is None
    assert status_of(checks, well, before, at(400), stable_after=300).stable_since == at(400)


def test_an_unhealthy_service_forgives_nothing() -> None:
    before = ServiceState("shop", Status.UNHEALTHY, since=NOON, started_at=NOON, stable_since=at(1))

    assert status_of(service(declared("a")), verdicts(a=Status.UNHEALTHY), before, at(9_999)).stable_since == at(1)


def failing(name: str, category: Category, first: float) -> CheckState:
    return CheckState("shop", name, Status.UNHEALTHY, failures=1, category=category, first_failure_at=at(first))


def test_the_cause_is_told_before_the_symptom() -> None:
    checks = service(declared("http", Severity.CRITICAL), declared("data"))
    known = {
        "http": failing("http", Category.SERVICE_UNAVAILABLE, 0),
        "data": failing("data", Category.DATA_INCONSISTENCY, 5),
    }

    assert [state.check for state in sick_checks(checks, known)] == ["data", "http"]


def test_among_equal_categories_severity_then_age_then_name_decide() -> None:
    checks = service(declared("d"), declared("c"), declared("b"), declared("a", Severity.LOW), declared("e", Severity.CRITICAL))
    known = {name: failing(name, Category.NETWORK, first) for name, first in {"a": 0.0, "b": 2.0, "c": 1.0, "d": 1.0, "e": 9.0}.items()}

    assert [state.check for state in sick_checks(checks, known)] == ["e", "c", "d", "b", "a"]


def test_every_category_has_a_place_in_the_order() -> None:
    assert sorted(SPECIFIC_FIRST) == sorted(Category)
