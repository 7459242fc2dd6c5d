"""Every driver keeps the promises of `recovery.ports.Driver`, shown with a real service."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from recovery.errors import DriverError
from strategies.drivers import DRIVERS
from strategies.drivers.abilities import listeners_of
from strategies.listeners import accepts
from tests.contract.driver_rigs import RIGS, CommandRig, ProcessRig, SupervisorRig
from tests.support import eventually, freeze

AnyRig = ProcessRig | CommandRig | SupervisorRig
MakeRig = Callable[..., AnyRig]

killing = pytest.mark.parametrize("kind", ["process", "supervisor"])
"""Drivers that can use force themselves; for `command` that is the business of the operator's commands."""


@pytest.fixture(params=list(RIGS))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def rig_of(short_dir: Path, kind: str) -> Iterator[MakeRig]:
    rigs: list[AnyRig] = []

    def make(*flags: str) -> AnyRig:
        rigs.append(RIGS[kind](short_dir, *flags))
        return rigs[-1]

    yield make
    for rig in rigs:
        rig.close()


def started(rig: AnyRig) -> AnyRig:
    rig.driver.start()
    eventually(lambda: rig.starts() > 0, message=rig.log)
    rig.wait_until_up(rig.port)
    return rig


def is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_nothing_runs_before_the_first_start(rig_of: MakeRig) -> None:
    assert rig_of().driver.identity() is None


def test_a_start_returns_the_identity_that_the_instance_keeps(rig_of: MakeRig) -> None:
    rig = rig_of()

    identity = rig.driver.start()

    eventually(rig.starts)
    rig.wait_until_up(rig.port)
    assert identity == rig.driver.identity()
    assert all(accepts(listener) for listener in listeners_of(rig.driver))


def test_a_running_service_is_not_started_twice(rig_of: MakeRig) -> None:
    rig = started(rig_of())

    with pytest.raises(DriverError, match=r"already runs|runs already"):
        rig.driver.start()

    assert rig.starts() == 1


def test_a_stop_lets_the_service_end_by_itself(rig_of: MakeRig) -> None:
    rig = started(rig_of())

    rig.driver.stop(60.0)

    assert rig.driver.identity() is None
    assert rig.wrote("ended")
    assert not any(accepts(listener) for listener in listeners_of(rig.driver))


def test_a_stop_of_nothing_does_no_harm(rig_of: MakeRig) -> None:
    rig = rig_of()

    rig.driver.stop(1.0)

    assert rig.driver.identity() is None


def test_a_restarted_service_has_another_identity(rig_of: MakeRig) -> None:
    rig = started(rig_of())
    before = rig.driver.identity()

    rig.driver.stop(60.0)
    after = rig.driver.start()

    assert before != after


def test_a_killed_service_has_no_identity_and_can_be_started_again(rig_of: MakeRig) -> None:
    rig = started(rig_of())

    os.kill(rig.pid(), signal.SIGKILL)

    eventually(lambda: rig.driver.identity() is None)
    rig.driver.start()
    eventually(lambda: rig.starts() == 2)


def test_a_reload_reaches_the_running_instance_and_keeps_it(rig_of: MakeRig) -> None:
    rig = started(rig_of())
    before = rig.driver.identity()

    rig.driver.reload()

    eventually(lambda: rig.wrote("reloaded"))
    assert rig.driver.identity() == before


@killing
def test_a_service_that_ignores_the_stop_signal_is_killed_after_the_timeout(rig_of: MakeRig) -> None:
    rig = started(rig_of("--stubborn"))

    result = rig.driver.stop(0.3)

    assert result["forced"] is True
    assert rig.driver.identity() is None
    assert is_gone(rig.pid())


@killing
def test_a_frozen_service_is_killed_at_once(rig_of: MakeRig) -> None:
    rig = started(rig_of())
    freeze(rig.pid())
    began = time.monotonic()

    rig.driver.stop(60.0)

    assert time.monotonic() - began < 30.0
    assert is_gone(rig.pid())


@killing
def test_nothing_that_does_not_run_is_reloaded(rig_of: MakeRig) -> None:
    with pytest.raises(DriverError, match="does not run, so it cannot reload"):
        rig_of().driver.reload()


def test_every_driver_says_whether_it_is_usable_here(kind: str) -> None:
    assert DRIVERS[kind].usable() is None
