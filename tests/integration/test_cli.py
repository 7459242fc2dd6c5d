"""The command line on a real platform: trigger, wait, cancel, watch, and what happens when the platform is away."""

import contextlib
import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from recovery.models import Recovery, RecoveryState, utcnow
from tests.sickbed import Patient
from tests.stage import Stage
from tests.support import eventually

pytestmark = pytest.mark.timeout(300)

TOML = "[platform]\ncooldown = 0\nmax_attempts = 100\nretry_failed_after = 1\n"


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    patients = [
        Patient("web", "healthy_for = 0"),
        Patient("calm", "healthy_for = 0\ncooldown = { restart = 300 }"),
        Patient("careful", 'healthy_for = 0\nautonomy = "approve"'),
    ]
    with Stage(patients, TOML) as stage:
        yield stage


@contextlib.contextmanager
def interruptible(stage: Stage, *arguments: str, stdout: int = subprocess.PIPE) -> Iterator["subprocess.Popen[str]"]:
    """Run a command that Ctrl-C reaches, whatever the test run itself does with SIGINT; it does not outlive the test."""
    program = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from workers.cli import main; main()"
    command = [sys.executable, "-c", program, *arguments]
    process = subprocess.Popen(command, cwd=stage.folder, env=stage.environ, stdout=stdout, stderr=subprocess.PIPE, text=True)
    with process:
        try:
            yield process
        finally:
            process.kill()


def held(stage: Stage) -> str:
    """Open a recovery of `calm` that waits for its cooldown, and return its id."""
    stage.recovery("trigger", "calm", "restart", "--wait", "--force")
    return str(json.loads(stage.recovery("trigger", "calm", "restart", "--json").stdout)["recovery_id"])


def test_trigger_and_wait_tells_each_step_and_the_outcome(stage: Stage) -> None:
    before = stage.patients["web"].starts

    told = stage.recovery("trigger", "web", "restart", "--wait", "--timeout", "60", "--reason", "test").stdout

    assert stage.patients["web"].starts == before + 1
    assert "has begun: restart." in told
    assert "stop done" in told
    assert "start done" in told
    assert told.splitlines()[-1].startswith("web: resolved after")


def test_trigger_as_json_keeps_progress_out_of_standard_output(stage: Stage) -> None:
    done = stage.recovery("trigger", "web", "restart", "--wait", "--json")

    story = json.loads(done.stdout)
    assert story["recovery"]["outcome"] == "resolved"
    assert story["recovery"]["kind"] == "manual"
    assert "start done" in done.stderr


def test_a_dry_run_touches_nothing_and_exits_with_4(stage: Stage) -> None:
    before = stage.patients["web"].starts

    told = stage.recovery("trigger", "web", "--dry-run", "--wait", code=4).stdout

    assert "web: suppressed (dry run" in told
    assert stage.patients["web"].starts == before


def test_a_held_recovery_outlives_timeout_and_ctrl_c_merges_and_can_be_cancelled(stage: Stage) -> None:
    recovery_id = held(stage)

    late = stage.recovery("trigger", "calm", "restart", "--wait", "--timeout", "0.5", code=6)
    assert "the request was merged into it" in late.stdout
    assert "cooling down" in late.stdout
    assert f"it goes on, see `recovery show {recovery_id[:8]}`" in late.stderr

    with interruptible(stage, "trigger", "calm", "--wait") as waiting:
        assert waiting.stdout
        while "cooling down" not in waiting.stdout.readline():
            assert waiting.poll() is None
        waiting.send_signal(signal.SIGINT)
        _, errors = waiting.communicate(timeout=90)
    assert waiting.returncode == 130
    assert "the recovery goes on" in errors

    assert "calm" in stage.recovery("cancel", recovery_id[:8], "--reason", "enough").stdout
    eventually(lambda: (found := stage.store.recovery(recovery_id)) is not None and found.state is RecoveryState.CANCELLED)


def test_an_unhealthy_service_shows_in_status_then_in_the_history(stage: Stage) -> None:
    since = utcnow()

    stage.patients["web"].kill()

    stage.closed("web", since)
    newest = json.loads(stage.recovery("history", "--service", "web", "--json", "--limit", "1").stdout)[0]
    assert (newest["kind"], newest["outcome"]) == ("automatic", "resolved")
    stage.await_healthy("web")
    assert "web" in stage.recovery("status").stdout


def waiting(stage: Stage, service: str, guard: str) -> Recovery:
    """Wait for the open recovery of a service to be held by a guard."""

    def found() -> Recovery:
        recovery = stage.store.open_recovery_of(service)
        assert recovery is not None
        assert recovery.held_by == guard
        return recovery

    return eventually(found, within=60, message=lambda: f"{stage.store.open_recoveries()}\n{stage.tail(30)}")


def succeeded(stage: Stage, recovery: Recovery) -> bool:
    """Wait for the end of a recovery and say whether it was a good one."""

    def ended() -> Recovery:
        row = stage.store.recovery(recovery.id)
        assert row is not None
        assert not row.state.is_open, row.reason
        return row

    return eventually(ended, within=60, message=lambda: stage.tail(30)).state is RecoveryState.SUCCEEDED


def test_a_recovery_that_asks_goes_on_with_a_yes(stage: Stage) -> None:
    before = stage.patients["careful"].starts
    stage.patients["careful"].kill()
    asked = waiting(stage, "careful", "approval")

    listed = json.loads(stage.recovery("approve", "--json").stdout)
    told = stage.recovery("approve", "careful", "--by", "ada", "--comment", "go").stdout
    again = stage.recovery("approve", asked.id, "--by", "bob", code=1)

    assert [(each["service"], each["strategies"]) for each in listed] == [("careful", ["restart"])]
    assert f"Approved by ada: recovery {asked.id[:8]} of careful." in told
    assert "was approved by ada at" in again.stderr
    assert succeeded(stage, asked)
    assert stage.patients["careful"].starts == before + 1
    stage.await_healthy("careful", within=60)


def test_a_silence_put_by_message_holds_a_recovery_until_it_is_lifted(stage: Stage) -> None:
    until = (utcnow() + timedelta(hours=1)).isoformat()
    stage.send("recovery.silence", services=["web"], until=until, by="a script", reason="new disks")
    silence = eventually(lambda: stage.store.silences(utcnow()), within=60, message=stage.tail)[0]
    stage.patients["web"].kill()
    held_back = waiting(stage, "web", "silence")

    stage.send("recovery.lift", silence_id=silence.id, by="a script")

    assert succeeded(stage, held_back)
    assert stage.store.silences(utcnow()) == []
    stage.await_healthy("web", within=60)


def test_an_emergency_beside_a_running_platform_acts_once(stage: Stage) -> None:
    before = stage.patients["calm"].starts
    waits = held(stage)

    story = json.loads(stage.recovery("emergency", "calm", "--yes", "--json").stdout)

    assert (story["recovery"]["id"], story["recovery"]["kind"], story["recovery"]["outcome"]) == (waits, "emergency", "resolved")
    assert [attempt["runs"] for attempt in story["attempts"]] == [1]
    assert stage.patients["calm"].starts == before + 2  # one of them to begin the cooldown


def test_what_the_platform_decided_is_decided_so_again(stage: Stage) -> None:
    told = stage.recovery("replay", "--since", "1h").stdout

    assert "all as recorded" in told


def test_status_knows_how_the_platform_itself_does(stage: Stage) -> None:
    health = eventually(lambda: healthy(stage), within=120, every=1, message=lambda: stage.recovery("status", code=None).stdout)

    assert {"sight", "tick", "leases", "recoveries"} <= {part["name"] for part in health["parts"]}


def healthy(stage: Stage) -> dict[str, Any]:
    """Return what `status` says of the platform, which must be well."""
    found = json.loads(stage.recovery("status", "--json", code=None).stdout)["platform"]
    assert found["status"] == "ok", [part for part in found["parts"] if part["status"] != "ok"]
    return dict(found)


def test_the_same_commands_work_under_celery(stage: Stage) -> None:
    stage.environ["APP"] = "production"  # celery would take it for its --app
    try:
        assert "web" in stage.celery("recovery", "status")
        assert json.loads(stage.celery("recovery", "services", "--json"))[0]["service"] == "web"
    finally:
        del stage.environ["APP"]


def test_celery_without_our_app_says_what_to_type(stage: Stage) -> None:
    done = stage.run("-m", "celery", "recovery", "status", code=2)

    assert "`celery -A workers recovery status`" in done.stderr


def test_a_foreign_app_is_told_apart(stage: Stage) -> None:
    (stage.folder / "foreign.py").write_text("from celery import Celery\napp = Celery('foreign')\n")

    done = stage.run("-m", "celery", "-A", "foreign", "recovery", "status", code=2)

    assert "the app 'foreign' given with -A is not this platform's" in done.stderr


def test_watch_in_a_pipe_prints_each_event_until_ctrl_c(stage: Stage) -> None:
    names: list[str] = []

    with interruptible(stage, "watch", "--json", "--interval", "0.2") as watching:
        assert watching.stdout
        while "recovery:succeeded" not in names:  # whatever began before it was watching is not shown, so again
            stage.recovery("trigger", "web", "restart", "--wait")
            while select.select([watching.stdout], [], [], 1.0)[0]:
                names.append(json.loads(watching.stdout.readline())["name"])
        watching.send_signal(signal.SIGINT)
        watching.communicate(timeout=90)

    assert watching.returncode == 0
    assert "recovery:started" in names


def test_watch_on_a_terminal_shows_the_fleet(stage: Stage) -> None:
    leader, follower = pty.openpty()
    screen = b""

    with interruptible(stage, "watch", "--interval", "0.2", stdout=follower) as watching:
        os.close(follower)
        while b"calm" not in screen:
            screen += os.read(leader, 65_536)
        watching.send_signal(signal.SIGINT)
        with contextlib.suppress(OSError):  # Linux says so when the other end is closed
            while os.read(leader, 65_536):
                pass
        watching.wait(90)
    os.close(leader)

    assert watching.returncode == 0
    assert b"Newest recoveries" in screen


def test_check_finds_everything_in_order(stage: Stage) -> None:
    found = json.loads(stage.recovery("check", "--json").stdout)

    assert found["ok"]
    assert {line["what"] for line in found["lines"]} == {"file", "driver", "data", "redis", "database"}


@pytest.mark.parametrize(
    ("variable", "url", "command", "sentence"),
    [
        ("RECOVERY_REDIS_URL", "redis://127.0.0.1:1/0", ("trigger", "web"), "the broker redis://127.0.0.1:1/0 does not answer"),
        (
            "RECOVERY_BROKER_URL",
            "amqp://guest:secret@127.0.0.1:1//",
            ("trigger", "web"),
            "the broker amqp://guest:***@127.0.0.1:1// does not",
        ),
        ("RECOVERY_DATABASE_URL", "postgresql://me:secret@127.0.0.1:1/x", ("status",), "the database did not answer"),
        ("RECOVERY_REDIS_URL", "redis://127.0.0.1:1/0", ("check",), "Connection refused"),
    ],
)
def test_what_is_away_is_told_in_a_sentence_with_exit_code_5_and_soon(
    stage: Stage, variable: str, url: str, command: tuple[str, ...], sentence: str
) -> None:
    stage.environ[variable] = url
    began = time.monotonic()
    try:
        done = stage.recovery(*command, code=5)
    finally:
        del stage.environ[variable]

    assert sentence in done.stdout + done.stderr
    assert "secret" not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert time.monotonic() - began < 60  # 2 to 3 s to find out, the rest is a loaded machine importing


def test_init_writes_a_file_that_checks_and_never_replaces_one_unasked(stage: Stage, tmp_path: Path) -> None:
    stage.environ |= {"RECOVERY_CONFIG": str(tmp_path / "new" / "recovery.toml"), "RECOVERY_DATA_DIR": str(tmp_path / "data")}
    try:
        stage.recovery("init")
        assert json.loads(stage.recovery("check", "--json").stdout)["ok"]
        (tmp_path / "new" / "recovery.toml").write_text("mine")
        refused = stage.recovery("init", code=1)
        assert (tmp_path / "new" / "recovery.toml").read_text() == "mine"
        broken = stage.recovery("check", code=1)
        stage.recovery("init", "--force")
        assert json.loads(stage.recovery("check", "--json").stdout)["ok"]
    finally:
        stage.environ |= {"RECOVERY_CONFIG": str(stage.config), "RECOVERY_DATA_DIR": str(stage.settings.home)}

    assert "exists already" in refused.stderr
    assert "recovery.toml:1: not valid TOML" in broken.stdout
    assert (tmp_path / "new" / "hello" / "index.html").is_file()
