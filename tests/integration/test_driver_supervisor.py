"""The `supervisor` driver against a real supervisord: groups, wrong names, wrong passwords, a supervisord that is away."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from recovery.errors import DriverError
from recovery.models import JsonObject
from recovery.ports import Driver
from strategies.drivers.supervisor import SupervisorOptions
from tests.contract.driver_rigs import SupervisorRig, declare
from tests.support import eventually, freeze


@pytest.fixture
def rig(short_dir: Path) -> Iterator[SupervisorRig]:
    rig = SupervisorRig(short_dir)
    yield rig
    rig.close()


def variant(rig: SupervisorRig, **options: object) -> Driver:
    changed: JsonObject = {**rig.options, **options}  # type: ignore[dict-item]
    return declare("supervisor", changed)


def test_a_group_is_one_thing_with_members(rig: SupervisorRig) -> None:
    driver = variant(rig, program="crowd:*")

    identity = driver.start()

    assert list(identity["members"]) == ["crowd:crowd_0", "crowd:crowd_1"]  # type: ignore[arg-type]
    driver.stop(5.0)
    assert driver.identity() is None


def test_one_member_of_a_group_is_started_alone(rig: SupervisorRig) -> None:
    variant(rig, program="crowd:crowd_1").start()

    identity = variant(rig, program="crowd").identity()

    assert identity is not None
    assert list(identity["members"]) == ["crowd:crowd_1"]  # type: ignore[arg-type]
    variant(rig, program="crowd").stop(5.0)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"program": "shoop"}, "supervisord knows no program 'shoop', did you mean 'shop:shop'?"),
        ({"password": "wrong"}, "wrong username or password"),
        ({"socket": "/no/such.sock"}, "supervisord at /no/such.sock does not answer: No such file or directory"),
        ({"socket": None, "url": "http://127.0.0.1:9"}, "supervisord at http://127.0.0.1:9 does not answer: Connection refused"),
    ],
)
def test_what_keeps_supervisord_from_helping_is_told_in_one_sentence(rig: SupervisorRig, options: dict[str, object], sentence: str) -> None:
    with pytest.raises(DriverError) as caught:
        variant(rig, **options).identity()

    assert sentence in caught.value.message
    assert "secret" not in caught.value.message


def test_a_program_that_ends_at_once_is_told_with_its_last_words(short_dir: Path) -> None:
    rig = SupervisorRig(short_dir, "--crash")
    try:
        rig.driver.start()
    except DriverError as error:
        assert "supervisord could not start 'shop" in error.message  # noqa: PT017 - depends on how quickly it ended
    eventually(lambda: rig.driver.identity() is None)

    eventually(lambda: "no such table" in rig.driver.explain())  # type: ignore[attr-defined]
    rig.close()


def test_a_frozen_supervisord_costs_only_the_timeout(rig: SupervisorRig) -> None:
    driver = variant(rig, timeout=0.3)
    freeze(rig.daemon.pid)
    began = time.monotonic()
    try:
        with pytest.raises(DriverError, match="does not answer"):
            driver.identity()
    finally:
        rig.daemon.send_signal(signal.SIGCONT)

    assert time.monotonic() - began < 5.0  # without the option it would be 10


@pytest.mark.parametrize("options", [{}, {"socket": "/a", "url": "http://b"}, {"url": "ftp://b"}])
def test_an_address_is_needed_and_only_one(options: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        SupervisorOptions.model_validate({"program": "shop", **options})
