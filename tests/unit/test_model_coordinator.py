"""The coordinator against its model: whatever happens, both stores agree, the laws hold, and in the end everything closes.

`RECOVERY_MODEL_STORIES=2000` tells so many new stories, longer ones, instead of the few of every run.
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from sqlalchemy import event

from recovery.engine import desk, drafts, executor, silencing
from recovery.engine.coordinator import Coordinator
from recovery.engine.steps import Journal
from recovery.models import Recovery
from recovery.store.memory import MemoryStore
from recovery.store.memory.tables import Tables
from recovery.store.migrate import migrate
from recovery.store.sql import SqlStore, journal
from tests.model.machine import Machine
from tests.model.side import answer_to, next_id

STORIES = int(os.environ.get("RECOVERY_MODEL_STORIES", "0"))
"""Asked for by whoever runs the tests; 0: the same few each time."""
REACHED = {
    "pending to in_progress",
    "pending to awaiting_approval",
    "awaiting_approval to cancelled",
    "in_progress to succeeded",
    "in_progress to failed",
    "guard action_budget",
    "guard approval",
    "guard cooldown",
    "guard dependency_down",
    "guard one_open_recovery",
    "guard quiet_period",
    "side effect taken back",
    "question",
    "process died",
    "process is under way",
}
"""What the stories must come to, or they prove too little."""

Plant = Callable[[pytest.MonkeyPatch], None]


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqlStore]:
    """A database at head that need not survive a power cut."""
    url = f"sqlite:///{tmp_path_factory.mktemp('model') / 'history.db'}"
    migrate(url)
    store = SqlStore.open(url)
    event.listen(store.engine, "connect", lambda connection, _entry: connection.execute("PRAGMA synchronous = OFF"))
    yield store
    store.engine.dispose()


@pytest.fixture(autouse=True)
def worlds(database: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let both worlds draw the same ids, and renew leases only where the story says so."""
    monkeypatch.setattr(Machine, "database", database, raising=False)
    monkeypatch.setattr(desk.Desk, "_answer_to", answer_to)
    monkeypatch.setattr(executor, "kept_alive", lambda *_: contextlib.nullcontext())
    for module in (drafts, executor, silencing):
        monkeypatch.setattr(module, "new_id", next_id)


def tell(stories: int, steps: int = 50, *, new: bool = False, shrink: bool = True) -> None:
    """Tell stories; the same ones each time unless they shall be new, so that nobody's run fails for another one's change."""
    Machine.reached.clear()
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=stories,
            stateful_step_count=steps,
            deadline=None,
            derandomize=not new,
            database=None,
            phases=[Phase.generate, Phase.shrink] if shrink else [Phase.generate],
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),  # stories are long on purpose, and a loaded machine is slow
        ),
    )


@pytest.mark.timeout(900)
def test_both_worlds_agree_and_keep_the_laws_whatever_happens() -> None:
    tell(STORIES or 20, 80 if STORIES else 50, new=bool(STORIES))

    assert set(Machine.reached) >= REACHED


# -- a model that cannot fail is worth nothing: bugs that it must find


def accept_any_fence(monkeypatch: pytest.MonkeyPatch) -> None:
    """No store looks at fences any more."""
    monkeypatch.setattr(Tables, "require", lambda *_: None)
    monkeypatch.setattr(journal, "require", lambda *_: None)


def open_a_second_recovery(monkeypatch: pytest.MonkeyPatch) -> None:
    """The store in memory merges nothing into what is open."""
    monkeypatch.setattr(MemoryStore, "_open_of", lambda *_: None)


def decide_on_old_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both stores take a transition from whatever there was before."""
    for store in (MemoryStore, SqlStore):
        monkeypatch.setattr(store, "transition", _without_version(store.transition))


def _without_version(transition: Callable[..., Recovery | None]) -> Callable[..., Recovery | None]:
    def change(self: Any, before: Recovery, after: Recovery, **more: object) -> Recovery | None:
        return transition(self, replace(before, version=self.recovery(before.id).version), after, **more)

    return change


def repeat_what_was_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody asks a step that was begun whether it took effect."""
    monkeypatch.setattr(Journal, "found", lambda *_: None)


def act_before_writing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The row of a step is written only when it is over."""
    write = Journal.write
    monkeypatch.setattr(Journal, "write", lambda self, row: write(self, row) if row.finished_at else self._rows.update({row.position: row}))


def forget_lost_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The coordinator leaves an attempt alone whose lease ran out."""
    monkeypatch.setattr(Coordinator, "_watch", lambda *_: None)


PLANTED: dict[Plant, str] = {
    accept_any_fence: "was accepted from",
    open_a_second_recovery: "recover",
    decide_on_old_versions: "was decided on version|finished recovery changed",
    repeat_what_was_begun: "took effect twice",
    act_before_writing: "acts without a row",
    forget_lost_workers: "still open",
}
"""Bug -> what the model says about it."""


@pytest.mark.timeout(900)
@pytest.mark.parametrize(("plant", "said"), PLANTED.items(), ids=lambda part: getattr(part, "__name__", ""))
def test_the_model_finds_a_planted_bug(plant: Plant, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)

    with pytest.raises(AssertionError, match=said):
        tell(200, shrink=False)
