"""`restart` and `reload` on a real process: dead, hung, poisoned, replaced behind our back."""

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from recovery.config.fleet import ServiceDeclaration
from recovery.errors import DriverError, StepFailed
from recovery.models import Action, Category, JsonObject
from recovery.ports import Driver
from strategies import STRATEGIES
from strategies.drivers import DRIVERS
from tests.contract.driver_rigs import ProcessRig
from tests.contract.strategy_rigs import Bench, declare, journaled
from tests.support import eventually, freeze, is_dead


class Shop:
    """The small service with its declaration and a bench to recover it on."""

    def __init__(self, home: Path, *flags: str) -> None:
        self.rig = ProcessRig(home, *flags)
        self.bench = Bench(home)
        self.service: ServiceDeclaration = declare(
            driver={"type": "process", **self.rig.options}, remedies={"restart": {"stop_timeout": 60.0}}
        )

    @property
    def driver(self) -> Driver:
        return self.rig.driver

    def up(self) -> int:
        before = self.rig.starts()
        self.driver.start()
        eventually(lambda: self.rig.starts() > before)
        self.rig.wait_until_up(self.rig.port)
        return self.rig.pid()


@pytest.fixture
def shop(short_dir: Path) -> Iterator[Shop]:
    shop = Shop(short_dir)
    yield shop
    shop.rig.close()


def test_a_killed_service_is_started_again(shop: Shop) -> None:
    pid = shop.up()
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: is_dead(pid))

    results = shop.bench.steps(shop.service, "restart").run()

    assert results["start"]["instance"] == shop.driver.identity() == results["ready"]["instance"]
    assert shop.rig.starts() == 2


def test_a_hung_service_is_replaced_without_waiting_for_it(shop: Shop) -> None:
    pid = shop.up()
    freeze(pid)

    results = shop.bench.steps(shop.service, "restart").run()

    assert results["stop"]["forced"] is True
    assert is_dead(pid)
    assert shop.driver.identity() is not None


def test_a_running_service_is_asked_to_end_first(shop: Shop) -> None:
    shop.up()

    shop.bench.steps(shop.service, "restart").run()

    assert shop.rig.wrote("ended")
    assert shop.rig.starts() == 2


def test_an_instance_that_appeared_after_the_look_is_not_killed(shop: Shop) -> None:
    old = shop.up()
    attempted = shop.bench.steps(shop.service, "restart")
    intent = journaled(attempted.named("stop").prepare())
    os.kill(old, signal.SIGKILL)
    eventually(lambda: shop.driver.identity() is None)
    fresh = shop.up()

    found = attempted.named("stop").reconcile(intent)
    result = attempted.named("stop").run(intent)
    started = attempted.named("start").run(journaled(attempted.named("start").prepare()))

    assert found is not None
    assert "left alone" in str(result["note"])
    assert "appeared by itself" in str(started["note"])
    assert shop.rig.pid() == fresh
    assert shop.rig.starts() == 2


def test_a_lost_stop_that_took_effect_is_not_repeated_and_a_lost_start_starts_no_second_one(shop: Shop) -> None:
    shop.up()
    first = shop.bench.steps(shop.service, "restart")
    stop_intent = journaled(first.named("stop").prepare())
    first.named("stop").run(stop_intent)
    start_intent = journaled(first.named("start").prepare())
    first.named("start").run(start_intent)

    successor = shop.bench.steps(shop.service, "restart", fence=2)

    assert successor.named("start").reconcile(start_intent) is not None
    assert successor.named("stop").reconcile(stop_intent) is not None
    eventually(lambda: shop.rig.starts() == 2)


def test_a_port_that_somebody_else_holds_is_told_with_the_holder(shop: Shop) -> None:
    with socket.create_server(("127.0.0.1", shop.rig.port)), pytest.raises(StepFailed) as caught:
        shop.bench.steps(shop.service, "restart").run(["stop"])

    assert f"127.0.0.1:{shop.rig.port} by pid {os.getpid()}" in caught.value.message


def test_a_service_that_ends_while_starting_fails_the_attempt_with_its_last_words(short_dir: Path) -> None:
    shop = Shop(short_dir, "--crash")

    with pytest.raises((StepFailed, DriverError), match="no such table: customers"):
        shop.bench.steps(shop.service, "restart").run()


def test_a_service_that_never_listens_is_not_ready(short_dir: Path) -> None:
    shop = Shop(short_dir)
    options: JsonObject = {**shop.rig.options, "type": "process", "command": ["/bin/sleep", "60"]}
    service = declare(driver=options, remedies={"restart": {"ready_timeout": 0.3}})
    try:
        with pytest.raises(StepFailed, match=rf"does not accept connections at 127\.0\.0\.1:{shop.rig.port} 0\.3 s after its start"):
            shop.bench.steps(service, "restart").run()
    finally:
        DRIVERS["process"].build(service).stop(0.0)


def test_nothing_takes_a_restart_back(shop: Shop) -> None:
    assert shop.bench.steps(shop.service, "restart", Action.REVERT).works == ()


def commanded(home: Path, **options: object) -> ServiceDeclaration:
    script = "echo started >> log"
    table: JsonObject = {"type": "command", "start": ["/bin/sh", "-c", script], "stop": ["true"], "cwd": str(home), **options}  # type: ignore[dict-item]
    return declare(driver=table)


def test_what_nobody_can_look_up_is_not_repeated_blindly(short_dir: Path) -> None:
    attempted = Bench(short_dir).steps(commanded(short_dir), "restart")
    start = attempted.named("start")
    intent = journaled(start.prepare())
    start.run(intent)

    with pytest.raises(StepFailed, match=r"cannot tell whether the start of 'shop' took effect.*no 'status' command.*repeatable = true"):
        start.reconcile(intent)


def test_what_the_operator_calls_repeatable_is_repeated(short_dir: Path) -> None:
    attempted = Bench(short_dir).steps(commanded(short_dir, repeatable=True), "restart")
    start = attempted.named("start")
    intent = journaled(start.prepare())
    start.run(intent)

    assert start.reconcile(intent) is None
    attempted.run()


def test_a_driver_with_one_restart_command_is_asked_once(short_dir: Path) -> None:
    table: JsonObject = {"type": "command", "restart": ["/bin/sh", "-c", "date +%s%N > up"], "status": ["cat", "up"], "cwd": str(short_dir)}
    attempted = Bench(short_dir).steps(declare(driver=table), "restart")
    intent = journaled(attempted.works[0].prepare())

    assert [work.name for work in attempted.works] == ["restart", "ready"]
    assert attempted.works[0].reconcile(intent) is None
    attempted.works[0].run(intent)
    assert attempted.works[0].reconcile(intent) is not None


def test_a_reload_reaches_the_instance_and_needs_a_driver_that_can(shop: Shop) -> None:
    pid = shop.up()

    shop.bench.steps(shop.service, "reload").run()

    eventually(lambda: shop.rig.wrote("reloaded"))
    assert shop.rig.pid() == pid
    assert STRATEGIES["reload"].refuses(shop.service, Category.UNKNOWN) is None
    assert STRATEGIES["reload"].refuses(commanded(shop.rig.home), Category.UNKNOWN) == "its command driver has no 'reload' command"
    assert STRATEGIES["restart"].refuses(declare(driver={"type": "sysd"}), Category.UNKNOWN) == "its driver 'sysd' is not installed"
