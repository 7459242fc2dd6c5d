"""`recovery breakers` on a real Valkey: lists, stories, orders, and clear words for what is wrong."""

import json
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from redis import Redis

from recovery.breaker import BreakerOptions, RedisBreakers
from recovery.breaker.fleet import Ended
from recovery.breaker.shared import SharedCircuits, key_of
from recovery.models import BreakerState
from recovery.store.engine import dispose
from recovery.store.migrate import migrate
from recovery.store.sql import SqlStore
from workers.circuits import CircuitHistory
from workers.cli import recovery as command_line
from workers.cli.render import moment

OPTIONS = BreakerOptions(failure_threshold=2, service="payments", jitter=0.0)
Run = Callable[..., Result]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SqlStore]:
    monkeypatch.setenv("RECOVERY_DATA_DIR", str(tmp_path))
    url = f"sqlite:///{tmp_path / 'history.db'}"
    migrate(url)
    store = SqlStore.open(url)
    yield store
    dispose(store.engine)


@pytest.fixture
def run(store: SqlStore, valkey_url: str, redis_client: Redis, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("RECOVERY_REDIS_URL", valkey_url)
    return lambda *arguments: CliRunner().invoke(command_line, ["breakers", *arguments], prog_name="recovery")


def output(result: Result, code: int = 0) -> str:
    assert result.exit_code == code, result.output
    return result.output


def trip(client: Redis, name: str = "gateway") -> None:
    SharedCircuits(client, "host:1").tell(name, OPTIONS, [Ended("failed", 2, reason="refused")])


def test_without_any_breaker_it_says_so(run: Run) -> None:
    assert output(run()) == "No circuit breaker was ever used.\n"
    assert json.loads(output(run("--json"))) == []


def test_the_list_tells_state_counts_and_when_to_try_again(run: Run, redis_client: Redis) -> None:
    trip(redis_client)
    SharedCircuits(redis_client).tell("web", BreakerOptions(), [Ended("ok")])

    lines = output(run()).splitlines()
    told: list[dict[str, Any]] = json.loads(output(run("--json")))

    assert lines[0].split()[:3] == ["name", "state", "service"]
    assert lines[1].split()[:5] == ["gateway", "open", "payments", "2", "2"]
    assert "2 failures in a row, at last refused" in lines[1]
    assert "  probe in " in lines[1]
    assert lines[2].split()[:3] == ["web", "closed", "web"]
    assert [(each["name"], each["state"], each["trips"]) for each in told] == [("gateway", "open", 1), ("web", "closed", 0)]
    assert 0 < told[0]["retry_in"] <= 60
    assert told[1]["retry_in"] is None


def test_one_call_and_one_opening_are_told_as_one(run: Run, redis_client: Redis) -> None:
    SharedCircuits(redis_client).tell("gateway", BreakerOptions(failure_threshold=1), [Ended("failed", reason="boom")])

    text = output(run("show", "gateway"))
    assert "1 call, 1 failed, 0 slow; 1 failure in a row\n" in text
    assert "1 time, 1 since it was last closed" in text


def test_what_is_no_breaker_is_listed_with_what_to_do(run: Run, redis_client: Redis) -> None:
    trip(redis_client)
    redis_client.hset(key_of("gateway"), "trips", "letters")

    line = output(run()).splitlines()[1]
    (told,) = json.loads(output(run("--json")))

    assert line.split()[:2] == ["gateway", "spoiled"]
    what = f"{key_of('gateway')} has 'letters' as its trips; `recovery breakers reset gateway` puts it right"
    assert what in line
    assert (told["name"], told["state"]) == ("gateway", "spoiled")
    assert what in told["reason"]
    assert "did you mean 'gateway'" in output(run("show", "gatewai"), 2), "and it is known"


def test_what_others_say_cannot_steer_the_terminal_of_who_reads_it(run: Run, redis_client: Redis) -> None:
    evil, spelt = "a\x1b[2J\x1b]0;owned\x07\u202eb\x9b31m", r"a\x1b[2J\x1b]0;owned\x07\u202eb\x9b31m"
    SharedCircuits(redis_client, evil).tell("gateway", OPTIONS, [Ended("failed", 2, reason=evil)])
    answers = [output(run()), output(run("show", "gateway")), output(run("force-open", "gateway", "--by", evil, "--reason", evil))]
    answers += [output(run()), output(run("show", "gateway")), output(run("disable", "gateway"))]

    assert all(answer.replace("\n", "").isprintable() for answer in answers)
    assert [spelt in answer for answer in answers] == [True, True, False, True, True, True]
    assert output(run("--json")).replace("\n", "").isprintable()


def test_the_help_fits_a_terminal(run: Run) -> None:
    assert max(map(len, output(run("--help")).splitlines())) <= 80


def test_an_open_breaker_that_nobody_calls_says_that_the_next_call_probes(run: Run, redis_client: Redis) -> None:
    long_ago = SharedCircuits(redis_client, "host:1", clock=lambda: 1_000_000.0)
    long_ago.tell("gateway", OPTIONS, [Ended("failed", 2, reason="refused")])

    assert "next call probes" in output(run()).splitlines()[1]
    assert "next            next call probes" in output(run("show", "gateway"))
    assert json.loads(output(run("--json")))[0]["retry_in"] == 0
    RedisBreakers(redis_client).repair(["payments"], 30)
    assert "the recovery probes" in output(run()).splitlines()[1]
    RedisBreakers(redis_client).half_open("gateway")
    assert "probes decide" in output(run()).splitlines()[1]


def test_an_order_is_shown_with_who_gave_it_why_and_until_when(run: Run, store: SqlStore, redis_client: Redis) -> None:
    trip(redis_client)
    said = output(run("force-open", "gateway", "--for", "12h", "--by", "ann", "--reason", "a leak"))
    view = RedisBreakers(redis_client).view("gateway")
    assert view is not None
    assert view.mode_since is not None
    assert view.mode_until == view.mode_since + timedelta(hours=12)

    until = moment(view.mode_until)
    assert said == f"Breaker gateway: refuses all until {until}. It was open.\n"
    line, text = output(run()).splitlines()[1], output(run("show", "gateway"))
    assert "forced-open" in line
    assert line.split("  ")[-3:] == [f"until {until}", "ann", "a leak"]
    for label, value in (("ordered by", "ann"), ("ordered at", moment(view.mode_since)), ("until", until), ("why", "a leak")):
        assert f"{label:<16}{value}" in text.splitlines()
    assert "2 failures in a row" in text, "why it had opened before is told as well"
    told = json.loads(output(run("--json")))[0]
    assert (told["mode"], told["mode_by"], told["mode_reason"]) == ("forced_open", "ann", "a leak")
    assert datetime.fromisoformat(told["mode_until"]) == view.mode_until
    with store.engine.connect() as connection:
        detail = connection.exec_driver_sql("SELECT detail FROM audit WHERE action = 'breaker_order'").scalar_one()
    assert json.loads(detail)["until"] == view.mode_until.isoformat()

    said = output(run("disable", "gateway", "--by", "bob", "--reason", "mine"))
    assert said == "Breaker gateway: lets all pass. It was forced-open by ann.\n"
    assert "until `auto`  bob  mine" in output(run())
    assert "until           `recovery breakers auto gateway`" in output(run("show", "gateway"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("force-open", "gateway", "--for", "soon"), "'soon' is not a length of time"),
        (("metrics-only", "gateway", "--for", "0s"), "must be above 0"),
        (("disable", "gateway", "--for", "5000d"), "must be from 1s to 366d"),
        (("disable", "gateway", "--for", "0.0001"), "must be from 1s to 366d"),
        (("auto", "gateway", "--for", "5m"), "No such option"),
    ],
)
def test_an_order_without_a_length_that_makes_sense_is_refused(
    run: Run, redis_client: Redis, arguments: tuple[str, ...], said: str
) -> None:
    trip(redis_client)

    assert said in output(run(*arguments), 2)
    assert RedisBreakers(redis_client).views()[0].state is BreakerState.OPEN


def test_show_tells_what_it_went_through(run: Run, store: SqlStore, redis_client: Redis) -> None:
    trip(redis_client)
    RedisBreakers(redis_client).half_open("gateway")
    drain = CircuitHistory(redis_client, store, "worker")
    drain.join()
    drain.turn()

    text = output(run("show", "gateway"))
    told = json.loads(output(run("show", "gateway", "--limit", "1", "--json")))

    assert "state           half-open" in text
    assert "2 calls, 2 failed, 0 slow; 2 failures in a row" in text
    assert text.rindex("half-open") < text.index("host:1"), "newest first"
    assert "half_open" not in text, "spelt as in the list"
    assert [(each["before"], each["after"]) for each in told["changes"]] == [("open", "half_open")]


def test_orders_hold_for_all_and_are_audited(run: Run, store: SqlStore, redis_client: Redis) -> None:
    trip(redis_client)
    board = RedisBreakers(redis_client)

    def state() -> BreakerState:
        view = board.view("gateway")
        assert view is not None
        return view.state

    assert output(run("force-open", "gateway", "--by", "ann", "--reason", "a leak")) == "Breaker gateway: refuses all. It was open.\n"
    assert state() is BreakerState.FORCED_OPEN
    assert json.loads(output(run("disable", "gateway", "--by", "ann", "--json")))["state"] == "disabled"
    output(run("metrics-only", "gateway"))
    assert state() is BreakerState.METRICS_ONLY
    output(run("auto", "gateway"))
    assert state() is BreakerState.CLOSED
    trip(redis_client)
    assert output(run("reset", "gateway", "--by", "ann")) == "Breaker gateway: closed, and on its own again. It was open.\n"
    assert state() is BreakerState.CLOSED

    with store.engine.connect() as connection:
        rows = connection.exec_driver_sql("SELECT actor, detail FROM audit WHERE action = 'breaker_order' ORDER BY id").all()
    assert [json.loads(detail)["order"] for _, detail in rows] == ["forced_open", "disabled", "metrics_only", "auto", "reset"]
    assert rows[0][0] == "ann"
    assert json.loads(rows[0][1]) == {
        "breaker": "gateway",
        "order": "forced_open",
        "reason": "a leak",
        "before": "open",
        "after": "forced_open",
    }


@pytest.mark.parametrize("command", ["show", "reset", "force-open", "disable", "metrics-only", "auto"])
def test_a_name_that_nobody_uses_is_told_with_the_nearest_one(run: Run, redis_client: Redis, command: str) -> None:
    trip(redis_client)

    assert "no circuit breaker is called 'gatewai', did you mean 'gateway'" in output(run(command, "gatewai"), 2).replace(";", ",").replace(
        " (", ", "
    )
    assert [view.name for view in RedisBreakers(redis_client).views()] == ["gateway"]


def test_a_command_that_is_none_is_told_with_the_nearest_one(run: Run) -> None:
    assert "no such command 'rest'" in output(run("rest", "gateway"), 2)
    assert "put --json behind the command" in output(run("--json", "reset", "gateway"), 2)


def test_a_redis_that_is_away_is_told_in_one_sentence(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECOVERY_REDIS_URL", "unix:///nowhere/redis.sock")

    for arguments in ((), ("show", "x"), ("reset", "x")):
        told = output(run(*arguments), 5)
        assert told.startswith("Error: Redis did not ")
        assert told.count("\n") == 1
