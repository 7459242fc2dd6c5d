"""Commands with which people steer: approve, silence, deploy, pause, resume and what status, why and show make of them."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from recovery.engine import consent, silencing
from recovery.models import Approval, Recovery, RecoveryState, ServiceState, SilenceKind, Status, utcnow
from recovery.store.sql import SqlStore
from tests.commands import APPROVED, Run, commands_in, data, history_in, output
from tests.rows import recovery
from workers.cli import consent as asking
from workers.cli import direct

WINDOW = """
[[maintenance]]
name = "nightly"
reason = "backup"
at = "02:00"
duration = 1800
"""


class Broker:
    """Stands for the broker: takes nudges, or does not answer."""

    def __init__(self) -> None:
        self.answers = True
        self.nudged: list[str] = []
        self.worker: Callable[[], object] = lambda: None
        """What a worker does with a nudge."""

    def nudge(self, recovery_ids: list[str]) -> bool:
        if self.answers:
            self.nudged += recovery_ids
            self.worker()
        return self.answers or not recovery_ids


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Broker:
    broker = Broker()
    monkeypatch.setattr(direct, "nudge", broker.nudge)
    return broker


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broker: Broker) -> Run:
    monkeypatch.setattr(direct, "quieten", lambda: None)  # it would change the logging of the whole test run
    monkeypatch.setattr(asking, "PATIENCE", 0.1)
    for module in (consent, silencing):
        monkeypatch.setattr(module, "tell", lambda _events: None)
    return commands_in(tmp_path, APPROVED, monkeypatch)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlStore]:
    with history_in(tmp_path) as store:
        yield store


def asked(store: SqlStore, service: str = "shop", seconds: float = 600) -> Recovery:
    """Store a recovery that asks for a yes, for so many seconds more."""
    now = utcnow()
    row = recovery(service, created_at=now, message="does not answer")
    store.open_recovery(row, None, [], [])
    waiting = replace(
        row,
        state=RecoveryState.AWAITING_APPROVAL,
        held_by="approval",
        reason="restart needs somebody's yes",
        due_at=now + timedelta(hours=1),
    )
    stored = store.transition(row, waiting, approval=Approval(row.id, now, now + timedelta(seconds=seconds)))
    assert stored
    return stored


def held(store: SqlStore, by: SilenceKind, service: str = "shop") -> Recovery:
    row = recovery(service)
    store.open_recovery(row, None, [], [])
    stored = store.transition(row, replace(row, held_by=str(by), reason="silence by ada", due_at=utcnow() + timedelta(hours=1)))
    assert stored
    return stored


# --- approve ---


def test_approve_lists_what_asks_and_takes_a_yes_by_service(run: Run, store: SqlStore, broker: Broker) -> None:
    waiting = asked(store)

    listed = output(run("approve"))
    (table,) = data(run("approve", "--json"))
    told = output(run("approve", "shop", "--by", "ada", "--comment", "go"))

    assert waiting.id[:8] in listed
    assert "restart needs somebody's yes; does not answer" in listed
    assert (table["recovery_id"], table["strategies"]) == (waiting.id, ["restart"])
    assert told.startswith(f"Approved by ada: recovery {waiting.id[:8]} of shop.")
    assert broker.nudged == [waiting.id]
    assert "Nothing waits for an answer." in output(run("approve"))
    assert "Approval    asked at" in output(run("show", "shop"))
    assert "approved by ada" in output(run("show", "shop"))


def looks_again(store: SqlStore, recovery_id: str, held_by: str) -> None:
    """Do what a worker does after a yes: hold the recovery by another guard, or by none."""
    row = store.recovery(recovery_id)
    assert row
    assert store.transition(row, replace(row, state=RecoveryState.PENDING, held_by=held_by, reason="recoveries under way: 3"))


@pytest.mark.parametrize("held_by", ["action_budget", ""])
def test_a_yes_tells_which_guard_still_holds_what_was_approved(run: Run, store: SqlStore, broker: Broker, held_by: str) -> None:
    waiting = asked(store)
    broker.worker = lambda: looks_again(store, waiting.id, held_by)

    told = output(run("approve", "shop", "--by", "ada"))

    assert told.startswith(f"Approved by ada: recovery {waiting.id[:8]} of shop.")
    assert ("Held by action_budget: recoveries under way: 3. It is looked at again at" in told) == bool(held_by)


def test_a_yes_in_json_names_the_guard_that_still_holds(run: Run, store: SqlStore, broker: Broker) -> None:
    waiting = asked(store)
    broker.worker = lambda: looks_again(store, waiting.id, "action_budget")

    assert data(run("approve", "shop", "--by", "ada", "--json"))["held_by"] == "action_budget"


def test_a_yes_that_no_worker_looks_at_yet_is_told_all_the_same(run: Run, store: SqlStore, broker: Broker) -> None:
    waiting = asked(store)

    assert output(run("approve", "shop", "--by", "ada")).count("\n") == 1
    assert broker.nudged == [waiting.id]


def test_the_second_answer_gets_exit_code_1_and_the_name_of_the_first(run: Run, store: SqlStore) -> None:
    waiting = asked(store)
    output(run("approve", waiting.id[:8], "--reject", "--by", "ada"))

    told = output(run("approve", waiting.id[:8], "--by", "grace"), code=1)

    assert f"recovery {waiting.id[:8]} of shop was rejected by ada at" in told
    assert "the first answer counts" in told


def test_wrong_answers_get_one_sentence_and_exit_code(run: Run, store: SqlStore) -> None:
    lapsed = asked(store, seconds=-1)
    silent = recovery("cache")
    store.open_recovery(silent, None, [], [])

    assert "'bob' may not answer: the approvers declared in recovery.toml are ada, grace" in output(
        run("approve", lapsed.id, "--by", "bob"), 1
    )
    assert "lapsed at" in output(run("approve", lapsed.id, "--by", "ada"), 1)
    assert "asks nobody: it is pending" in output(run("approve", "cache", "--by", "ada"), 1)
    assert "no recovery has an id that begins with 'nobody'" in output(run("approve", "nobody", "--by", "ada"), 2)
    assert "say which RECOVERY is meant" in output(run("approve", "--reject"), 2)


def test_a_yes_while_the_broker_is_away_counts_and_says_how_to_go_on(run: Run, store: SqlStore, broker: Broker) -> None:
    waiting = asked(store)
    broker.answers = False

    told = output(run("approve", "shop", "--by", "ada"))

    assert "The broker does not answer, so nothing goes on before it is back; `recovery emergency shop` recovers without it." in told
    answered = store.approval(waiting.id)
    assert answered
    assert answered.answered_by == "ada"


# --- silence, deploy, pause ---


def test_a_silence_is_put_listed_and_lifted(run: Run, store: SqlStore, broker: Broker) -> None:
    told = output(run("silence", "shop", "--for", "30m", "--reason", "new disks", "--by", "ada"))
    (listed,) = data(run("silence", "--json"))
    waiting = held(store, SilenceKind.SILENCE)
    lifted = output(run("silence", "--lift", listed["id"][:8], "--by", "bob"))

    assert told.startswith("Silenced shop until ")
    assert (listed["services"], listed["author"], listed["reason"], listed["in_force"]) == (["shop"], "ada", "new disks", True)
    assert "Lifted the silence of shop.\n1 recovery that waited looks again." in lifted
    assert broker.nudged == [waiting.id]
    assert "Nothing is silenced" in output(run("silence"))


def test_silences_reach_by_label_into_the_future_and_beside_declared_windows(run: Run, store: SqlStore, tmp_path: Path) -> None:
    (tmp_path / "recovery.toml").write_text(APPROVED + WINDOW)
    tomorrow = (utcnow() + timedelta(days=1)).isoformat()

    told = output(run("silence", "--label", "team=payments", "--from", tomorrow, "--for", "2h", "--reason", "audit"))
    listed = {row["kind"]: row for row in data(run("silence", "--json"))}

    assert told.startswith("Silenced team=payments from ")
    assert (listed["silence"]["in_force"], listed["silence"]["labels"]) == (False, {"team": "payments"})
    assert listed["maintenance"]["reason"] == "backup"
    assert "is declared in recovery.toml: change it there" in output(run("silence", "--lift", listed["maintenance"]["id"]), 2)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("shpo", "--for", "1h", "--reason", "x"), "no service 'shpo' is declared, did you mean 'shop'?"),
        (("--label", "team=payment", "--for", "1h", "--reason", "x"), "bears the label team=payment, did you mean 'team=payments'?"),
        (("--label", "payments", "--for", "1h", "--reason", "x"), "'payments' is not a label: write key=value"),
        (("shop", "--for", "1h"), "say why: --reason TEXT"),
        (("shop", "--reason", "x"), "say how long: either --for 30m or --until"),
        (("shop", "--for", "1h", "--until", "2030-01-01", "--reason", "x"), "say how long: either"),
        (("--for", "1h", "--reason", "x"), "say what to silence: SERVICE..., --label key=value, or --all"),
        (("shop", "--for", "soon", "--reason", "x"), "'soon' is not a length of time: write 90s, 30m, 2h, 1d, or plain seconds"),
        (("shop", "--for", "-5", "--reason", "x"), "'-5' must be above 0"),
        (("shop", "--for", "nan", "--reason", "x"), "'nan' is not a length of time"),
        (("shop", "--for", "40d", "--reason", "x"), "a silence lasts 31 days at most"),
        (("shop", "--until", "2020-01-01", "--reason", "x"), "a silence must end after it begins"),
        (("shop", "--until", "someday", "--reason", "x"), "'someday' is not a date and time"),
        (("--lift", "0123456789"), "no silence with the id '0123456789' is in force or to come"),
        (("shop", "--lift", "0123456789"), "--lift ID ends a silence"),
    ],
)
def test_a_wrong_silence_is_one_sentence_exit_code_2_and_no_silence(
    run: Run, store: SqlStore, words: tuple[str, ...], sentence: str
) -> None:
    assert sentence in output(run("silence", *words), code=2)
    assert store.silences(utcnow()) == []


def test_a_deploy_is_marked_and_done(run: Run, store: SqlStore) -> None:
    told = output(run("deploy", "shop", "cache", "--for", "90"))
    (first, _second) = store.silences(utcnow())
    done = output(run("deploy", "shop", "--done"))

    assert "Deploy of shop marked until" in told
    assert first.until is not None
    assert 0 < (first.until - first.since).total_seconds() <= 90
    assert "Lifted the deploy of shop." in done
    assert [each.services for each in store.silences(utcnow())] == [("cache",)]
    assert "no deploy of shop is marked" in output(run("deploy", "shop", "--done"), 2)
    assert "did you mean 'shop'?" in output(run("deploy", "shpo", "--done"), 2)


def test_the_kill_switch_shows_first_in_status_and_goes_back(run: Run, store: SqlStore) -> None:
    store.record_sweep([], [], [ServiceState("shop", Status.HEALTHY, seen_at=utcnow(), since=utcnow())], [])
    output(run("pause", "--reason", "network work", "--by", "ada"))

    shown = output(run("status")).splitlines()
    again = output(run("pause"), 1)
    resumed = output(run("resume"))

    assert shown[1].startswith("Paused by ada since")
    assert shown[1].endswith(": network work (`recovery resume`)")
    assert "paused already by ada" in again
    assert "Resumed." in resumed
    assert "nothing is paused" in output(run("resume"), 1)
    assert "Paused" not in output(run("status"))


def test_status_and_why_tell_what_waits_and_for_what(run: Run, store: SqlStore) -> None:
    store.record_sweep([], [], [ServiceState("shop", Status.UNHEALTHY, seen_at=utcnow(), since=utcnow(), flapping=True)], [])
    waiting = asked(store)
    held(store, SilenceKind.SILENCE, "cache")
    output(run("silence", "cache", "--for", "1h", "--reason", "new disks"))

    text = output(run("status"), code=3)
    found = data(run("status", "--json"), code=3)
    reason = output(run("why", "shop"))

    assert f"{waiting.id[:8]} held by approval" in text
    assert "unhealthy, flapping" in text
    assert "Waits for a yes or no" in text
    assert "Silenced, so that recoveries wait:" in text
    assert "no sign of life yet: tick" in text
    assert found["platform"]["status"] == "degraded"
    assert [each["recovery_id"] for each in found["questions"]] == [waiting.id]
    assert found["services"][0]["recovery"]["held_by"] == "approval"
    assert f"Now       recovery {waiting.id[:8]} is held by approval: restart needs somebody's yes; looks again at" in reason
    assert f"`recovery approve {waiting.id[:8]}`" in reason
    assert "Held by     approval (looks again at" in output(run("show", "shop"))


def test_status_tells_a_storm(run: Run, store: SqlStore, tmp_path: Path) -> None:
    names = [f"s{number}" for number in range(6)]
    (tmp_path / "recovery.toml").write_text("".join(f'[services.{name}]\ndescription = "x"\n' for name in names))
    for name in names:
        store.open_recovery(recovery(name), None, [], [])

    assert "Storm: 6 of 6 services are sick; they are recovered 1 at once" in output(run("status"))
    assert data(run("status", "--json"))["storm"]["is_storm"]


# --- cancel ---


def test_cancel_reaches_the_database_also_while_the_broker_is_away(run: Run, store: SqlStore, broker: Broker) -> None:
    waiting = asked(store)
    broker.answers = False

    told = output(run("cancel", "shop", "--by", "ada"))

    stopping = store.recovery(waiting.id)
    assert stopping
    assert (stopping.cancel_requested, stopping.reason) == (True, "cancelled by ada")
    assert f"The recovery of shop ({waiting.id}) ends at its next step." in told
    assert "The broker does not answer" in told
    assert "cache has no open recovery" in output(run("cancel", "cache"), 2)


# --- emergency: what is refused before anything is opened ---


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("shpo", "--yes"), "no service 'shpo' is declared, did you mean 'shop'?"),
        (("shop", "--yes", "--strategy", "restrat"), "unknown strategy 'restrat', did you mean 'restart'?"),
        (("shop", "--yes", "--strategy", "degrade"), "degrade cannot run on shop: the service does not declare the remedy 'degrade'"),
        (("shop",), "nobody can be asked here: say --yes"),
    ],
)
def test_a_wrong_emergency_is_one_sentence_exit_code_2_and_opens_nothing(
    run: Run, store: SqlStore, words: tuple[str, ...], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.cli.emergency.quieten", lambda: None)

    assert sentence in output(run("emergency", *words), code=2)
    assert store.open_recoveries() == []


def test_an_emergency_without_the_database_says_so_and_does_nothing(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("workers.cli.emergency.quieten", lambda: None)
    monkeypatch.setenv("RECOVERY_DATABASE_URL", f"sqlite:///{tmp_path / 'recovery.toml'}/history.db")

    told = output(run("emergency", "shop", "--yes"), code=5)

    assert "cannot be opened" in told
    assert told.endswith("; nothing was done\n")
