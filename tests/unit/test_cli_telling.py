"""How commands put recoveries in words: steps that are called alike, times that depend on a person, who took over, texts without end."""

from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from recovery.history import NotedEvent
from recovery.models import AttemptState, Choice, Event, JsonObject, Outcome, RecoveryState, StepState, utcnow
from tests.rows import T0, at, attempt, decision, recovery, step
from tests.support import eventually
from workers.cli import act, emergency, parts
from workers.cli import recovery as command_line
from workers.cli.follow import attempt_lines
from workers.cli.live import event_line
from workers.cli.render import LONGEST_CELL, moment, text_of
from workers.cli.words import what_then


def test_a_step_of_a_strategy_that_is_called_verify_is_told_apart_from_the_verification() -> None:
    row = recovery()
    own = step(row, 0, name="verify", state=StepState.FINISHED, finished_at=at(2), result={"entries": 3, "corrupted": 0})
    checks = step(row, 1, name="verify", state=StepState.FINISHED, finished_at=T0, result={"message": "well", "seconds": 1.5})

    told = [line.split("    ")[-1] for line in attempt_lines(attempt(row, state=AttemptState.RUNNING), [own, checks])]

    assert told[1:] == ["verify done, 2.0 s", "verify by checks done, 1.5 s"]


UNTIL = utcnow() + timedelta(minutes=5)


@pytest.mark.parametrize(
    ("choice", "guard", "said"),
    [
        (Choice.DELAY, "cooldown", "may act again at {}"),
        (Choice.DELAY, "approval", "not before somebody approves; lapses at {}"),
        (Choice.SUPPRESS, "approval", "not before somebody is asked again, after {}"),
        (Choice.ESCALATE, "plan_exhausted", "nothing by itself before {}"),
    ],
)
def test_what_a_person_has_to_do_is_not_told_as_if_time_did_it(choice: Choice, guard: str, said: str) -> None:
    made = decision(choice=choice, guard=guard, until=UNTIL)

    assert what_then(made) == said.format(moment(UNTIL))
    assert what_then(replace(made, until=None)) == ""


def test_a_table_cuts_a_text_without_end_and_says_so() -> None:
    whole = "word " * (LONGEST_CELL // 5)

    assert text_of(whole) == whole.strip()
    cut = text_of(whole + whole)
    assert len(cut) <= LONGEST_CELL
    assert cut.endswith(" ...")


def test_an_emergency_tells_who_took_over_before_what_was_done_and_only_once() -> None:
    row = recovery(reason="taken over by ada")
    parked = attempt(row, 1, state=AttemptState.FINISHED, outcome=Outcome.FAILED)
    done = attempt(row, 2, state=AttemptState.FINISHED, outcome=Outcome.RESOLVED)
    seen = SimpleNamespace(recovery=row, attempts=[parked])
    store: Any = SimpleNamespace(recovery=lambda _id: seen.recovery, attempts=lambda _id: list(seen.attempts), steps=lambda _id: [])
    told: list[str] = []

    with emergency._told(store, row.id, told.append):
        seen.attempts.append(replace(done, state=AttemptState.RUNNING, outcome=None))
        eventually(lambda: any("attempt 2" in line for line in told), within=30)
        seen.attempts[1] = done  # before the closing transition the recovery is open, and nothing is under way
    seen.recovery = replace(row, state=RecoveryState.SUCCEEDED)

    assert told[0].strip() == "taken over by ada"
    assert [line.strip() for line in told].count("taken over by ada") == 1
    assert told[-1].endswith("-> resolved")


def test_trigger_says_who_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[str, dict[str, Any]]] = []
    answer = {"recovery_id": "5f0c6a0e-1111-4222-8333-444455556666", "service": "shop", "intake": "opened", "plan": ["restart"]}
    store = SimpleNamespace(recovery=lambda _id: None)
    monkeypatch.setattr(parts, "Parts", lambda: SimpleNamespace(require_service=lambda _name: None, store=store))

    def ask(task: str, request: dict[str, Any]) -> dict[str, Any]:
        sent.append((task, request))
        return answer

    monkeypatch.setattr(act, "ask", ask)
    monkeypatch.setattr("workers.cli.direct.getpass.getuser", lambda: "the user of the system")

    for more in (["--by", "ada"], []):
        done = CliRunner().invoke(command_line, ["trigger", "shop", "restart", *more])
        assert done.exit_code == 0, done.output

    assert [task for task, _ in sent] == ["recovery.trigger"] * 2
    assert [request["by"] for _, request in sent] == ["ada", "the user of the system"]


def test_a_line_of_watch_tells_times_as_local_ones_and_tables_by_their_names() -> None:
    until = at(300)
    data: JsonObject = {"change": "put", "capabilities": {"requests": 50, "crawlers": 0}, "features_off": [], "until": until.isoformat()}

    told = event_line(NotedEvent(7, Event("degradation:changed", T0, "shop", None, data)), as_json=False)

    assert told.endswith(f"change=put capabilities=requests 50, crawlers 0 features_off=- until={moment(until)}")
