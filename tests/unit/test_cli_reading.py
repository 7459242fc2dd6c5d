"""The commands that read the history: what they print for people, what they print for programs, and their exit codes."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from recovery.models import (
    Action,
    Category,
    Choice,
    Decision,
    Kind,
    LeftOut,
    Outcome,
    Plan,
    PlannedAttempt,
    RecoveryState,
    StepState,
    utcnow,
)
from recovery.store.sql import SqlStore
from tests.commands import FILE, Run, commands_in, data, history_in, output, recovered
from tests.rows import attempt, recovery, step


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    return commands_in(tmp_path, FILE, monkeypatch)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlStore]:
    with history_in(tmp_path) as store:
        yield store


def test_history_lists_the_newest_first_and_filters(run: Run, store: SqlStore) -> None:
    first, second = recovered(store), recovered(store, "cache", Outcome.FAILED)

    assert [row["id"] for row in data(run("history", "--json"))] == [second.id, first.id]
    assert [row["id"] for row in data(run("history", "--json", "--service", "shop"))] == [first.id]
    assert [row["id"] for row in data(run("history", "--json", "--outcome", "failed"))] == [second.id]
    assert [row["id"] for row in data(run("history", "--json", "--limit", "1"))] == [second.id]
    assert data(run("history", "--json", "--since", "0s")) == []
    assert "No recovery fits." in output(run("history", "--state", "cancelled"))


def test_history_lists_refused_reports(run: Run, store: SqlStore) -> None:
    assert "No report was refused." in output(run("history", "--refused"))
    store.audit("report_refused", "client", {"code": "SERVICE_NOT_FOUND", "reason": "no service 'x'", "service": "x"}, utcnow())

    found = data(run("history", "--refused", "--json"))

    assert [(row["actor"], row["code"], row["service"], row["reason"]) for row in found] == [
        ("client", "SERVICE_NOT_FOUND", "x", "no service 'x'")
    ]
    assert "no service 'x'" in output(run("history", "--refused", "--since", "1h"))
    assert "goes with --since and --limit only" in output(run("history", "--refused", "--service", "shop"), code=2)


def test_history_for_people_is_one_line_each_and_never_cut_in_a_pipe(run: Run, store: SqlStore) -> None:
    closed = recovered(store)

    lines = output(run("history")).splitlines()

    assert lines[0].split() == ["id", "opened", "service", "category", "result", "took", "kind", "attempts", "reports"]
    assert lines[1].split()[0] == closed.id[:8]
    assert "  resolved  2.5 s  " in lines[1]


@pytest.mark.parametrize("name", ["shop", "id", "prefix"])
def test_show_tells_the_story_by_id_prefix_or_service(run: Run, store: SqlStore, name: str) -> None:
    closed = recovered(store)

    text = output(run("show", {"shop": "shop", "id": closed.id, "prefix": closed.id[:8]}[name]))

    for part in (
        f"Recovery    {closed.id} (automatic)",
        "State       succeeded, outcome: resolved (1 check passed)",
        "Failure     service_unavailable, high: does not answer",
        "Reported    once by health",
        "detected after 0.50 s, closed after 2.5 s",
        "Plan        restart",
        "attempt 1: restart",
        "stop done",
        "-> resolved: 1 check passed",
        "delay restart by cooldown: cooling down: 5.0 s left; may act again at",
    ):
        assert part in text


def test_show_says_each_left_out_reason_once_and_what_the_verification_saw(run: Run, store: SqlStore) -> None:
    now = utcnow()
    row = recovery("shop", plan=Plan(left_out=(LeftOut(strategy="degrade", why="not declared"),)))
    store.open_recovery(row, None, [], [])
    current = store.transition(row, replace(row, state=RecoveryState.IN_PROGRESS, attempt=1), attempt=attempt(row))
    lease = store.acquire_lease("shop", row.id, "worker-1", now, now + timedelta(seconds=10))
    assert current
    assert lease
    store.begin_attempt(lease, 1, now)
    saw = {"message": "not healthy after 7.5 s: http: refused", "seconds": 7.5}
    store.journal(lease, step(row, 0, fence=lease.fence, name="verify", state=StepState.FAILED, finished_at=now, result=saw))
    store.journal(lease, step(row, 1, fence=lease.fence, name="verify", state=StepState.FINISHED, finished_at=now, result=saw))
    reason = "tried restart (ineffective); left out: degrade: not declared"
    gave_up = Decision("shop", Choice.ESCALATE, "plan_exhausted", f"needs a person: {reason}", now, row.id)
    store.transition(current, replace(current, state=RecoveryState.FAILED, reason=reason, due_at=None), decisions=[gave_up])

    text = output(run("show", row.id))

    assert text.count("degrade: not declared") == 1
    assert "verify by checks failed: not healthy after 7.5 s: http: refused" in text
    assert "verify by checks done, 7.5 s" in text


def test_a_restore_is_called_so(run: Run, store: SqlStore) -> None:
    back = PlannedAttempt(strategy="degrade", queue="degrade", action=Action.REVERT)
    row = recovery("shop", category=Category.UNKNOWN, kind=Kind.SCHEDULED, plan=Plan(attempts=(back,), source="restore"))
    store.open_recovery(row, None, [], [])

    assert "  restore of degrade  " in output(run("history"))
    assert "Task        restore of degrade: -" in output(run("show", row.id))
    assert "unknown" not in output(run("show", row.id))


def test_show_as_json_has_everything(run: Run, store: SqlStore) -> None:
    closed = recovered(store)

    found = data(run("show", closed.id, "--json"))

    assert set(found) == {"recovery", "detected_after", "recovered_after", "failures", "attempts", "decisions", "events", "approval"}
    assert found["attempts"][0]["steps"][0]["name"] == "stop"
    assert found["recovery"]["outcome"] == "resolved"
    assert found["recovered_after"] == pytest.approx(2.5)


def test_why_prints_guard_numbers_and_when_it_may_act_again(run: Run, store: SqlStore) -> None:
    closed = recovered(store)

    found = data(run("why", "shop", "--json"))

    assert [(row["choice"], row["guard"], row["facts"], row["recovery_id"]) for row in found] == [
        ("delay", "cooldown", {"left": 5.0}, closed.id)
    ]
    assert "left=5.0" in output(run("why", "shop"))
    assert "Nothing was ever decided about cache." in output(run("why", "cache"))


def test_stats_name_their_denominators(run: Run, store: SqlStore) -> None:
    recovered(store)
    recovered(store, "cache", Outcome.FAILED)

    text = output(run("stats", "--since", "1h"))

    assert "Success     50 % (1 of 2) of those that acted" in text
    assert "Gave up     0 of 2 closed: failed before" in text
    assert "0 restores, 0 dry runs" in text
    assert "Recovered   p50 2.5 s, p95 2.5 s (of 1)" in text
    found = data(run("stats", "--json"))
    assert set(found) >= {"since", "until", "success", "recovery", "detection", "services", "strategies", "held"}
    assert set(found["success"]) == {"hits", "of", "share"}


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["why", "shp"], 2, "no service is called 'shp', did you mean 'shop'?"),
        (["services", "zzz"], 2, "no service is called 'zzz' (known: cache, shop)"),
        (["history", "--service", "cach"], 2, "no service is called 'cach', did you mean 'cache'?"),
        (["show", "123456"], 2, "no recovery has an id that begins with '123456'"),
        (["show", "1234"], 2, "no service is called '1234' (or type the first 6 characters of an id"),
        (["show", "shp"], 2, "no service is called 'shp', did you mean 'shop'? (or type the first 6"),
        (["show", "shop"], 2, "shop has no recovery"),
        (["cancel", "shop"], 2, "shop has no open recovery"),
        (["trigger", "shop", "restrt"], 2, "unknown strategy 'restrt', did you mean 'restart'?"),
        (["trigger", "shop", "scale"], 2, "strategy 'scale' is not part of this version (available: "),
        (["trigger", "shp"], 2, "no service is called 'shp', did you mean 'shop'?"),
        (["history", "--since", "soon"], 2, "'soon' is not a time: write 90s, 15m, 2h, 7d"),
        (["history", "--since", "1e99d"], 2, "'1e99d' is not a time"),
        (["history", "--since", "-2h"], 2, "'-2h' must lie in the past"),
        (["stats", "--since", "2100-01-01"], 2, "'2100-01-01' must lie in the past"),
        (["trigger", "shop", "--wait", "--timeout", "nan"], 2, "'nan' must be a number of seconds above 0"),
        (["trigger", "shop", "--wait", "--timeout", "0"], 2, "'0' must be a number of seconds above 0"),
        (["watch", "--interval", "nan"], 2, "'nan' must be a number of seconds from 0.2 to 60"),
        (["why", "x" * 5_000], 2, f"no service is called '{'x' * 97}...'"),
        (["why", "a\x1b[31mb\udcff"], 2, "no service is called 'a\\x1b[31mb\\udcff'"),
        (["show", "a\x1b[31mb\udcff"], 2, "no recovery has an id that begins with 'a\\x1b[31mb\\udcff'"),
        (["histroy"], 2, "no such command 'histroy', did you mean 'history'?"),
    ],
)
def test_a_wrong_name_is_told_in_one_sentence(run: Run, store: SqlStore, arguments: list[str], code: int, sentence: str) -> None:
    result = run(*arguments)

    assert result.exit_code == code
    assert f"Error: {sentence}" in result.stderr or f": {sentence}" in result.stderr
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    "arguments", [["--{}"], ["{}"], ["why", "--{}"], ["why", "shop", "{}"], ["history", "--outcome={}"], ["history", "--since", "{}"]]
)
def test_no_error_repeats_more_than_a_hundred_characters_of_an_argument(run: Run, store: SqlStore, arguments: list[str]) -> None:
    result = run(*(each.format("y\x07" * 3_000) for each in arguments))

    assert result.exit_code == 2
    assert len(result.stderr) < 500
    assert "\x07" not in result.stderr
    assert "y\\x07y" in result.stderr


@pytest.mark.parametrize("command", [["status"], ["history"], ["stats"], ["why", "shop"], ["show", "abcdef"], ["watch"]])
def test_without_a_history_every_command_says_how_to_begin(run: Run, tmp_path: Path, command: list[str]) -> None:
    result = run(*command)

    assert result.exit_code == 5
    assert "start the platform with `recovery up`" in result.stderr
    assert not (tmp_path / "data").exists()


def test_a_broken_file_leaves_the_accepted_one_in_force_and_says_so(run: Run, store: SqlStore, tmp_path: Path) -> None:
    (tmp_path / "data" / "accepted.toml").write_text(FILE)
    (tmp_path / "recovery.toml").write_text("[services")

    result = run("services")

    assert "shop" in output(result)
    assert "is not in force, version" in result.stderr
