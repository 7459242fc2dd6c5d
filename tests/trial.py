"""An attempt on trial: three steps that can be undone, and what stops them half-way."""

from collections.abc import Callable
from typing import Any

import pytest

from recovery.engine.executor import Executor
from recovery.engine.limits import MONOTONIC
from recovery.errors import DriverError
from recovery.models import Attempt, StepState
from recovery.ports import Execute
from tests.world import World


class Killed(BaseException):
    """The worker process is gone."""


class Stopwatch:
    """A watch that moves when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def pass_by(self, seconds: float) -> Callable[[], None]:
        def let_pass() -> None:
            self.now += seconds

        return let_pass


class Trial:
    """One restart of `web` with three steps, each of which can be undone."""

    def __init__(self, **service: Any) -> None:
        self.world = World("restart", **service)
        self.restart = self.world.strategies["restart"]
        self.restart.step_names = ("one", "two", "three")
        self.restart.undoes = True
        self.restart.took_effect = lambda step: f"restart.{step}" in self.world.ledger
        self.recovery_id = self.world.report()
        self.watch = MONOTONIC

    def run(self) -> Attempt:
        directive = self.world.advance(self.recovery_id)
        assert isinstance(directive, Execute)
        return self._carry_out(directive)

    def die(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Run until the worker is killed; a dead one releases nothing."""
        with monkeypatch.context() as patch:
            patch.setattr(self.world.store, "release_lease", lambda _lease: None)
            with pytest.raises(Killed):
                self.run()

    def resume(self) -> Attempt:
        self.world.later(11)
        (directive,) = self.world.reaper.tick()
        assert isinstance(directive, Execute)
        return self._carry_out(directive)

    def _carry_out(self, directive: Execute) -> Attempt:
        world = self.world
        executor = Executor(world.store, world.registry, lambda: world.fleet, world._probe, world.clock, "me", watch=self.watch)
        ended = executor.run(directive.recovery_id, directive.attempt)
        assert ended
        return ended

    def journal(self) -> list[tuple[str, StepState]]:
        return [(row.name, row.state) for row in self.world.store.steps(self.recovery_id)]


def fail() -> None:
    raise DriverError("no answer")


def kill() -> None:
    raise Killed


DONE = ["restart.one", "restart.two"]
UNDONE = [*DONE, "restart.undo:two", "restart.undo:one"]
