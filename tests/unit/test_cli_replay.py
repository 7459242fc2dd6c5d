"""`replay`: the decisions of the past, made again by the same configuration or by another."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from recovery.config.load import load
from recovery.decide.facts import gather
from recovery.decide.judgement import judge
from recovery.decide.record import basis_of
from recovery.models import Decision, Recovery, ServiceState, Status, utcnow
from recovery.store.memory import MemoryCooldowns
from recovery.store.sql import SqlStore
from strategies import STRATEGIES
from tests.commands import APPROVED, Run, commands_in, data, history_in, output
from tests.rows import recovery
from workers.cli.parts import kinds


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    return commands_in(tmp_path, APPROVED, monkeypatch)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlStore]:
    with history_in(tmp_path) as store:
        yield store


def decided(store: SqlStore, tmp_path: Path) -> Recovery:
    """Let the guards decide about a recovery of `shop`, and store what they looked at."""
    fleet = load(tmp_path / "recovery.toml", kinds()).fleet
    now = utcnow()
    store.record_sweep([], [], [ServiceState("shop", Status.UNHEALTHY, seen_at=now, since=now)], [])
    row = recovery("shop", created_at=now, config_version=fleet.version)
    store.open_recovery(row, None, [], [])
    facts = gather(store, MemoryCooldowns(utcnow), fleet, row, now, frozenset(STRATEGIES))
    judgement = judge(facts)
    made: list[Decision] = list(judgement.decisions)
    assert store.transition(row, replace(row, reason="decided"), decisions=made, basis=basis_of(facts, judgement))
    return row


def test_replay_by_the_same_configuration_finds_no_difference(run: Run, store: SqlStore, tmp_path: Path) -> None:
    assert "No decision was recorded since" in output(run("replay"))
    decided(store, tmp_path)

    text = output(run("replay", "--since", "1h"))

    assert text.startswith("1 decision since")
    assert text.endswith("all as recorded.\n")
    assert data(run("replay", "--json"))["different"] == []


def test_replay_by_another_configuration_shows_what_would_be_different(run: Run, store: SqlStore, tmp_path: Path) -> None:
    row = decided(store, tmp_path)
    other = tmp_path / "other.toml"
    other.write_text(APPROVED.replace("[services.shop]", "[services.shop]\nmanaged = false"))

    text = output(run("replay", "--config", str(other)), code=1)
    found = data(run("replay", "--config", str(other), "--json"), code=1)

    assert "act restart by all_clear -> suppress by unmanaged" in text
    assert "1 would be different." in text
    assert f"1 of them were made under another version of the configuration: 1 under {row.config_version}." in text
    assert [(each["recovery_id"], each["now"]) for each in found["different"]] == [(row.id, "suppress by unmanaged")]
    assert found["other_versions"] == {row.config_version: 1}
    assert data(run("replay", "--config", str(other), "--service", "cache", "--json"))["decisions"] == 0


def test_replay_by_a_file_that_is_not_there_says_which_and_what_to_do(run: Run, store: SqlStore, tmp_path: Path) -> None:
    missing = tmp_path / "nosuch.toml"

    told = output(run("replay", "--config", str(missing)), code=2)

    assert told == (
        f"Error: --config: there is no file {missing}; name the one to decide by, or leave --config out to decide by what is in force\n"
    )


def test_replay_refuses_an_invalid_file_with_its_problems(run: Run, store: SqlStore, tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    other.write_text("[services.shop]\nmanagd = true\n")

    told = output(run("replay", "--config", str(other)), code=2)

    assert "other.toml:2" in told
    assert "did you mean 'managed'?" in told
