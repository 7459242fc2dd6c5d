"""`degrade`, `degradations` and `force-recover` on a real Valkey: what people put in force, see and end, with a trail of it."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from redis import Redis

from recovery.breaker import RedisBreakers
from recovery.degrade import RedisDegradations
from recovery.models import BreakerOrder, BreakerState, Degradation, Level, Mitigation, RecoveryState, RuleStanding, Status, utcnow
from recovery.store.engine import dispose
from recovery.store.migrate import migrate
from recovery.store.sql import SqlStore
from tests.commands import seen
from tests.contract.strategy_rigs import degradation
from tests.rows import recovery
from workers.cli import recovery as command_line
from workers.cli.render import moment

FILE = """
[features.suggestions]
priority = 20
[features.checkout]
priority = 100
[features.facets]
service = "search"
[capabilities.workers]
partial = 60
[capabilities.crawlers]
service = "search"
[[degradation]]
name = "weak-shop"
service = "shop"
when = "health_score < 50"
level = "limited"
[services.shop]
[services.shop.remedies.quarantine]
breaker = "shop"
[services.search]
"""
Run = Callable[..., Result]

pytestmark = pytest.mark.usefixtures("own_logging")


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SqlStore]:
    (tmp_path / "recovery.toml").write_text(FILE)
    monkeypatch.setenv("RECOVERY_CONFIG", str(tmp_path / "recovery.toml"))
    monkeypatch.setenv("RECOVERY_DATA_DIR", str(tmp_path))
    url = f"sqlite:///{tmp_path / 'history.db'}"
    migrate(url)
    store = SqlStore.open(url)
    yield store
    dispose(store.engine)


@pytest.fixture
def run(store: SqlStore, valkey_url: str, redis_client: Redis, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("RECOVERY_REDIS_URL", valkey_url)
    return lambda *arguments: CliRunner().invoke(command_line, [*arguments], prog_name="recovery")


def output(result: Result, code: int = 0) -> str:
    assert result.exit_code == code, result.output
    return result.output


def trail(store: SqlStore) -> list[tuple[str, str, dict[str, Any]]]:
    """Return actor, change and detail of every audit row; each has its event."""
    with store.engine.connect() as connection:
        rows = list(connection.exec_driver_sql("SELECT action, actor, detail FROM audit ORDER BY id"))
        events = connection.exec_driver_sql("SELECT count(*) FROM events WHERE name = 'degradation:changed'").scalar()
    assert {row[0] for row in rows} <= {"degradation_changed"}
    assert events == len(rows)
    details = [json.loads(row[2]) for row in rows]
    return [(row[1], detail["change"], detail) for row, detail in zip(rows, details, strict=True)]


def leave(store: SqlStore, strategy: str) -> None:
    """Let a recovery of `shop` have left a mitigation behind."""
    opened, now = recovery(), utcnow()
    store.open_recovery(opened, None, [], [])
    left = Mitigation("shop", strategy, opened.id, now, now + timedelta(hours=1))
    assert store.transition(opened, replace(opened, state=RecoveryState.SUCCEEDED), mitigation=left)


def current(client: Redis, layer: str = "manual", service: str = "shop") -> Degradation:
    found = RedisDegradations(client).current(service, layer)
    assert found is not None
    return found


def test_without_any_degradation_it_says_so(run: Run) -> None:
    assert output(run("degradations")) == "Nothing is degraded.\n"
    assert json.loads(output(run("degradations", "--json"))) == []


def test_a_level_switches_off_what_is_declared_and_what_is_named(run: Run, redis_client: Redis, store: SqlStore) -> None:
    said = output(
        run("degrade", "shop", "--level", "partial", "--capability", "workers=30", "--ttl", "1h", "--by", "ann", "--reason", "slow")
    )

    found = current(redis_client)
    assert (found.level, found.features_off, found.capabilities) == (Level.PARTIAL, ("suggestions",), {"workers": 30})
    assert timedelta(minutes=59) < found.until - utcnow() <= timedelta(hours=1)
    assert (found.by, found.reason, found.layer) == ("ann", "slow", "manual")
    assert "shop is degraded (partial) until" in said
    assert "suggestions off, workers at 30 %. `recovery degrade shop --level normal` ends it early." in said
    ((actor, change, detail),) = trail(store)
    assert (actor, change, detail["service"], detail["layer"], detail["level"]) == ("ann", "put", "shop", "manual", "partial")


def test_the_system_is_degraded_as_a_whole_and_shows_beside_each_service(run: Run, redis_client: Redis) -> None:
    output(run("degrade", "--system", "--level", "emergency", "--reason", "fire", "--ramp", "10,50", "--ramp-stage", "1m", "--json"))

    found = current(redis_client, service="*")
    assert (found.level, found.ramp, found.ramp_stage) == (Level.EMERGENCY, (10, 50), 60.0)
    listed = json.loads(output(run("degradations", "search", "--json")))
    assert [(each["service"], each["layer"], each["restored"]) for each in listed] == [("*", "manual", 0)]


@pytest.mark.parametrize("whose", ["search", "--system"])
def test_what_is_declared_for_a_service_may_be_named_for_it_and_for_the_system(run: Run, redis_client: Redis, whose: str) -> None:
    output(run("degrade", whose, "--level", "partial", "--reason", "x", "--feature", "facets", "--capability", "crawlers=10"))

    found = current(redis_client, service="*" if whose == "--system" else whose)
    assert "facets" in found.features_off
    assert found.capabilities["crawlers"] == 10


def test_the_list_tells_who_and_why_and_how_far_a_restore_is(run: Run, redis_client: Redis) -> None:
    now = utcnow()
    restoring = degradation("search", 1, ramp=(10, 50), ramp_stage=600.0, by="degrade", reason="broken")
    RedisDegradations(redis_client).put(replace(restoring, until=now - timedelta(seconds=60)))
    output(run("degrade", "shop", "--level", "limited", "--reason", "no stock", "--by", "bob"))

    heads, first, second = output(run("degradations")).splitlines()

    assert heads.split() == ["service", "layer", "level", "until", "restored", "off", "left", "by", "reason"]
    assert first.split()[:3] == ["search", "recovery", "limited"]
    assert "10 %" in first
    assert first.endswith("degrade  broken")
    assert second.split()[:3] == ["shop", "manual", "limited"]
    assert second.endswith("no stock")


def test_normal_ends_it_by_its_ramp(run: Run, redis_client: Redis, store: SqlStore) -> None:
    output(run("degrade", "shop", "--level", "limited", "--reason", "x", "--ramp", "10,50"))

    said = output(run("degrade", "shop", "--level", "normal", "--by", "ann"))

    assert "comes back for 10 %, 50 % of the callers in turn" in said
    assert current(redis_client).until <= utcnow()
    assert [row[:2] for row in trail(store)][-1] == ("ann", "ending")
    assert "what degraded 'shop' by hand is coming back already" in output(run("degrade", "shop", "--level", "normal"), 1)


def test_what_people_and_recoveries_put_does_not_touch_each_other(run: Run, redis_client: Redis) -> None:
    board = RedisDegradations(redis_client)
    board.put(degradation("shop", 7))
    output(run("degrade", "shop", "--level", "minimal", "--reason", "x"))

    output(run("degrade", "shop", "--level", "normal"))
    assert [each.layer for each in board.all()] == ["recovery"]
    output(run("degrade", "shop", "--level", "minimal", "--reason", "x"))
    board.end("shop", 8)

    assert [each.layer for each in board.all()] == ["manual"]


def test_force_recover_drops_every_layer_ends_its_mitigations_and_overrules_its_rules(
    run: Run, redis_client: Redis, store: SqlStore
) -> None:
    board, breakers = RedisDegradations(redis_client), RedisBreakers(redis_client)
    for layer in ("recovery", "quarantine", "rule:weak-shop"):
        board.put(degradation("shop", 7, layer=layer, ramp=(10,)))
    board.put(degradation("search", 7))
    breakers.operate("shop", BreakerOrder.FORCED_OPEN, "quarantine of shop", "")
    for strategy in ("degrade", "quarantine", "restart"):
        leave(store, strategy)
    store.move_rule(None, RuleStanding("weak-shop", "shop", in_force=True, until=utcnow() + timedelta(hours=1)))

    said = output(run("force-recover", "shop", "--by", "ann", "--reason", "a false alarm"))

    assert "(dropped: recovery, quarantine, rule:weak-shop)" in said
    assert [each.service for each in board.all()] == ["search"]
    assert [each.strategy for each in store.mitigations()] == ["restart"], "what is no degradation stays"
    view = breakers.view("shop")
    assert view is not None
    assert view.state is BreakerState.CLOSED
    assert store.rule_standings()["weak-shop"].overruled_by == "ann"
    assert [(actor, change, detail["reason"]) for actor, change, detail in trail(store)] == [("ann", "ended", "a false alarm")] * 3
    assert "nothing degrades 'shop'" in output(run("force-recover", "shop", "--by", "bob"), 1)
    assert len(trail(store)) == 3, "what changes nothing is not told"
    rule = "The rule weak-shop is overruled by ann: it degrades shop no more until health_score > 55 has held for 60 s."
    assert rule in said.splitlines()
    assert output(run("degradations", "shop")).splitlines() == ["Nothing is degraded.", rule]
    assert rule not in output(run("degradations", "search"))


@pytest.mark.parametrize(("status", "warns"), [(Status.UNHEALTHY, True), (Status.HEALTHY, False)])
def test_force_recover_says_that_a_service_whose_checks_fail_may_be_degraded_again(
    run: Run, redis_client: Redis, store: SqlStore, status: Status, warns: bool
) -> None:
    RedisDegradations(redis_client).put(degradation("shop", 7))
    seen(store, "shop", status)

    said = output(run("force-recover", "shop"))

    again = """Its checks still fail: the platform may degrade it again; `recovery silence shop --for 30m --reason "..."` prevents that."""
    assert (again in said.splitlines()) is warns


def test_force_recover_of_one_layer_leaves_the_others(run: Run, redis_client: Redis, store: SqlStore) -> None:
    board = RedisDegradations(redis_client)
    board.put(degradation("shop", 7))
    output(run("degrade", "shop", "--level", "minimal", "--reason", "x"))

    said = output(run("force-recover", "shop", "--layer", "manual"))

    assert said.strip() == "shop is still degraded by recovery (dropped: manual)."
    assert [each.layer for each in board.all()] == ["recovery"]
    assert "nothing degrades 'shop' in layer 'manual'" in output(run("force-recover", "shop", "--layer", "manual"), 1)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["degrade", "shp", "--level", "partial", "--reason", "x"], "no service 'shp' is declared, did you mean 'shop'?"),
        (["degrade", "--level", "partial", "--reason", "x"], "name a SERVICE, or say --system"),
        (["degrade", "shop", "--system", "--level", "partial", "--reason", "x"], "name a SERVICE or say --system, not both"),
        (["degrade", "shop", "--level", "partial"], "say why: --reason TEXT"),
        (["degrade", "shop", "--level", "partial", "--reason", " "], "a degradation needs a reason"),
        (["degrade", "shop", "--level", "partial", "--reason", "x", "--by", ""], "a degradation needs an author"),
        (["degrade", "shop", "--level", "tiny", "--reason", "x"], "'tiny' is not one of"),
        (["degrade", "shop", "--level", "normal", "--feature", "suggestions"], "--level normal ends what a person put in force"),
        (["degrade", "shop", "--level", "partial", "--reason", "x", "--ttl", "32d"], "31 days at most"),
        (["degrade", "shop", "--level", "partial", "--reason", "x", "--ramp", "50,10"], "'50,10' is no ramp: write rising percentages"),
        (["degrade", "shop", "--level", "partial", "--reason", "x", "--ramp", "ten"], "'ten' is no ramp"),
        (["degrade", "shop", "--level", "partial", "--reason", "x", "--capability", "workers=130"], "write name=percent, 0 to 100"),
        (
            ["degrade", "shop", "--level", "partial", "--reason", "x", "--capability", "workers=30", "--capability", "workers=60"],
            "--capability workers is given twice",
        ),
        (["degrade", "shop", "--level", "partial", "--reason", "x", "--capability", "wrkers=30"], "did you mean 'workers'?"),
        (["degrade", "shop", "--level", "partial", "--reason", "x", "--feature", "sugestions"], "did you mean 'suggestions'?"),
        (
            ["degrade", "shop", "--level", "partial", "--reason", "x", "--feature", "facets"],
            "feature 'facets' is declared for search: only the degradations of search, and the system's, switch it off",
        ),
        (
            ["degrade", "shop", "--level", "partial", "--reason", "x", "--capability", "crawlers=10"],
            "capability 'crawlers' is declared for search: only the degradations of search, and the system's, limit it",
        ),
        (["force-recover", "shop", "--layer", "manul"], "there is no layer 'manul', did you mean 'manual'?"),
        (["force-recover", "shp"], "did you mean 'shop'?"),
        (["degradations", "shp"], "did you mean 'shop'?"),
        (["force-recovr", "shop"], "did you mean 'force-recover'?"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence_and_changes_nothing(
    run: Run, redis_client: Redis, store: SqlStore, arguments: list[str], said: str
) -> None:
    refused = run(*arguments)

    assert said in " ".join(output(refused, 2).split())
    assert redis_client.dbsize() == 0
    assert trail(store) == []


def test_nothing_to_end_is_an_error_of_its_own(run: Run) -> None:
    assert "nothing degrades the system" in output(run("force-recover", "--system"), 1)
    assert "nobody has degraded 'shop' by hand" in output(run("degrade", "shop", "--level", "normal"), 1)


@pytest.mark.parametrize(
    "arguments", [["degradations"], ["degrade", "shop", "--level", "partial", "--reason", "x"], ["force-recover", "shop"]]
)
def test_without_redis_it_says_that_it_is_away(run: Run, store: SqlStore, monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
    monkeypatch.setenv("RECOVERY_REDIS_URL", "unix:///nowhere/redis.sock")

    assert "Redis did not" in output(run(*arguments), 5)
    assert trail(store) == []


def test_status_tells_what_is_degraded_by_whom_and_why(run: Run, redis_client: Redis) -> None:
    output(run("degrade", "shop", "--level", "partial", "--by", "alice", "--reason", "slow disks"))
    output(run("degrade", "--system", "--level", "limited", "--by", "bob", "--reason", "heat", "--ramp", "40", "--ramp-stage", "1h"))
    output(run("degrade", "--system", "--level", "normal", "--by", "bob"))

    lines = run("status").output.splitlines()
    told = json.loads(run("status", "--json").stdout)

    assert f"shop is degraded (partial) until {moment(current(redis_client).until)} by alice: slow disks" in lines
    over = moment(current(redis_client, service="*").gone_at)
    assert f"the system is degraded (limited) for 60 % of the callers until {over} by bob: heat" in lines
    assert [(each["service"], each["level"]) for each in told["degradations"]] == [("*", "limited"), ("shop", "partial")]
    listed = json.loads(run("degradations", "--json").stdout)
    assert [each | {"restored": 0} for each in told["degradations"]] == [each | {"restored": 0} for each in listed], "in the same words"
    assert [each["restored"] for each in told["degradations"]] == [40, 0]
    assert {each["service"]: each["degradation"] for each in told["services"]} == {"shop": "limited", "search": "limited"}
