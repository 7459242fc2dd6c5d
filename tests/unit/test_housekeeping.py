"""The tick: what it does when the database cannot be had."""

from types import SimpleNamespace

import pytest

from recovery.errors import StoreUnavailable, StoreUnprepared
from workers.tasks import housekeeping


def ticks_with(error: Exception, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Let one tick meet `error`; return the settings that the database was prepared by."""

    def fails() -> list[object]:
        raise error

    prepared: list[object] = []
    platform = SimpleNamespace(reaper=SimpleNamespace(tick=fails), settings="the settings")
    monkeypatch.setattr(housekeeping, "platform", lambda: platform)
    monkeypatch.setattr(housekeeping, "prepare_database", prepared.append)
    housekeeping.tick()
    return prepared


def test_a_database_that_came_back_without_our_tables_gets_them(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ticks_with(StoreUnprepared("no such table"), monkeypatch) == ["the settings"]


def test_a_database_that_is_away_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ticks_with(StoreUnavailable("away"), monkeypatch) == []
