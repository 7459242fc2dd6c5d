"""When a remedy counts as verified: all checks pass, long enough, soon enough."""

import threading
from collections.abc import Sequence

import pytest

from recovery.engine.limits import within
from recovery.engine.verification import Verification, verify
from recovery.errors import LeaseLost, StepFailed
from recovery.ports import Finding


class Patient:
    """A service whose health is a function of time, and the clock that goes with it."""

    def __init__(self, *sick: tuple[float, float]) -> None:
        self.sick = sick
        self.at = 0.0
        self.looks = 0

    def now(self) -> float:
        return self.at

    def pause(self, seconds: float) -> None:
        self.at += seconds

    def probe(self, checks: Sequence[str]) -> dict[str, Finding]:
        self.looks += 1
        well = not any(start <= self.at < end for start, end in self.sick)
        return {name: Finding(well, "" if well else "connection refused") for name in checks}

    def verify(self, healthy_for: float, timeout: float = 10.0) -> Verification:
        return verify(
            self.probe,
            ["web.http"],
            healthy_for=healthy_for,
            timeout=timeout,
            boundary=lambda: None,
            now=self.now,
            pause=self.pause,
        )


def test_one_good_look_is_enough_when_no_duration_is_asked_for() -> None:
    patient = Patient()

    assert patient.verify(healthy_for=0).ok
    assert patient.looks == 1


def test_health_must_last() -> None:
    patient = Patient((0.0, 0.3), (1.0, 1.2))

    verification = patient.verify(healthy_for=1.0)

    assert verification.ok
    assert 2.2 <= patient.at < 2.9


def test_a_service_that_stays_sick_is_given_up_with_the_reason() -> None:
    patient = Patient((0.0, 99.0))

    verification = patient.verify(healthy_for=1.0, timeout=3.0)

    assert not verification.ok
    assert "web.http: connection refused" in verification.message
    assert 3.0 <= patient.at < 4.0


def test_the_last_look_is_not_overslept() -> None:
    patient = Patient()

    patient.verify(healthy_for=1.0)

    assert patient.at == pytest.approx(1.0, abs=0.02)


def test_a_lost_lease_ends_the_verification() -> None:
    def lost() -> None:
        raise LeaseLost

    with pytest.raises(LeaseLost):
        verify(Patient().probe, ["web.http"], healthy_for=0, timeout=1, boundary=lost)


def test_a_step_that_takes_too_long_is_stopped() -> None:
    with pytest.raises(StepFailed, match=r"stop took longer than 0\.05 s"):
        hang(0.05)


def hang(seconds: float) -> None:
    with within(seconds, "stop"):
        threading.Event().wait()
