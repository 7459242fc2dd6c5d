"""The examples at work beside a platform: what they report becomes a recovery, and they go on when it has ended."""

import json
import os
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from celery import Celery

from recovery.models import Outcome, utcnow
from tests.stage import ROOT, Stage
from tests.support import die_with_parent, eventually, free_port

EXAMPLES = ROOT / "examples"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@contextmanager
def running(log: Path, environ: dict[str, str], *command: str, cwd: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program until the end of the block."""
    with log.open("ab") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=cwd,
            env=environ,
            stdout=out,
            stderr=out,
            start_new_session=True,
            preexec_fn=die_with_parent,  # noqa: PLW1509 -- the thread that starts it is the main one and lives on
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def fetch(url: str, method: str = "GET") -> tuple[int, dict[str, str]]:
    """Return status and JSON of an answer; any answer counts, none is an assertion that fails."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=120) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)
    except OSError as error:
        raise AssertionError(str(error)) from error


def test_customers_of_the_web_service_wait_for_the_repair(stage: Stage, tmp_path: Path) -> None:
    web, port, log = stage.patients["web"], free_port(), tmp_path / "uvicorn.log"
    source = (EXAMPLES / "fastapi_service" / "orders.py").read_text().replace('"gateway"', '"web"')
    (tmp_path / "orders.py").write_text(source)  # the shared platform's patient plays the gateway
    environ = stage.environ | {"GATEWAY_URL": web.url, "PATIENCE": "60", "RECOVERY_REDIS_URL": stage.settings.redis}
    command = ("uvicorn", "--app-dir", str(tmp_path), "orders:app", "--port", str(port))
    with running(log, environ, *command, cwd=tmp_path) as server:
        url = f"http://127.0.0.1:{port}"
        eventually(lambda: fetch(f"{url}/orders/apple", "POST")[0] == 200, within=60, message=log.read_text)
        assert fetch(f"{url}/prices/apple")[1]["by"] == "list_prices"
        assert fetch(f"{url}/search?words=apple") == (200, {"found": "APPLE"})

        since = utcnow()
        web.kill()
        status, told = fetch(f"{url}/orders/apple", "POST")

        assert (status, told["item"]) == (200, "apple"), f"{told} {log.read_text()} {stage.tail(30)}"
        recovery = stage.closed("web", since)
        assert recovery.outcome is Outcome.RESOLVED
        sources = {failure.source for failure in stage.story(recovery).failures}
        assert any(source.startswith("client@") for source in sources), sources

        os.kill(server.pid, signal.SIGTERM)
        assert server.wait(60) in {0, -signal.SIGTERM}, log.read_text()


def test_failed_mails_become_a_recovery_and_are_sent_after_it(stage: Stage, tmp_path: Path) -> None:
    web, log = stage.patients["web"], tmp_path / "mailer.log"
    source = (EXAMPLES / "celery_app" / "mailer.py").read_text().replace('"mail"', '"web"')
    (tmp_path / "mailer.py").write_text(source)  # the shared platform's patient plays the mail server
    broker = stage.settings.redis.replace("unix://", "redis+socket://")
    environ = stage.environ | {"MAIL_URL": web.url, "MAILER_BROKER": broker, "RECOVERY_REDIS_URL": stage.settings.redis}
    environ["PYTHONPATH"] = os.pathsep.join([str(tmp_path), environ["PYTHONPATH"]])
    app = Celery("asking", broker=broker, set_as_current=False)
    with running(log, environ, "celery", "-A", "mailer", "worker", "-Q", "mails", "-c", "2", "-l", "INFO", cwd=tmp_path):
        eventually(lambda: "ready." in log.read_text(), within=60, message=log.read_text)

        since = utcnow()
        web.kill()
        for number in range(5):
            app.send_task("mail.send", args=[f"customer-{number}"], queue="mails", ignore_result=True)
        recovery = stage.closed("web", since)
        late = app.send_task("mail.send", args=["late"], queue="mails", ignore_result=True).id

        assert recovery.outcome is Outcome.RESOLVED
        eventually(lambda: f"mail.send[{late}] succeeded" in log.read_text(), within=60, message=log.read_text)
        assert log.read_text().count("raised unexpected") >= 1, "failures reach the bridge"
    app.close()


@pytest.mark.skipif(shutil.which("node") is None, reason="Node.js is not installed")
def test_a_report_from_another_language_becomes_a_recovery(stage: Stage) -> None:
    web, since = stage.patients["web"], utcnow()
    starts = web.starts
    failure = {"service": "web", "category": "service_unavailable", "message": "h\u00e9 said \U0001f525", "details": {"order": 17}}

    done = node(stage.settings.redis, json.dumps(failure))
    recovery = stage.closed("web", since)

    assert (done.returncode, done.stderr) == (0, "")
    assert (recovery.outcome, web.starts) == (Outcome.RESOLVED, starts + 1)
    (told,) = stage.story(recovery).failures
    assert (told.id, told.source, told.message, told.details) == (done.stdout.strip(), "node", "h\u00e9 said \U0001f525", {"order": 17})


@pytest.mark.skipif(shutil.which("node") is None, reason="Node.js is not installed")
@pytest.mark.parametrize(
    ("arguments", "code", "problem"),
    [
        (["redis://127.0.0.1:{port}", '{"service": "web"}'], 1, "not reported: connect ECONNREFUSED"),
        (["http://127.0.0.1", '{"service": "web"}'], 1, "not reported: http: is neither redis: nor unix:"),
        (["redis://127.0.0.1:{port}", "{"], 1, "not reported: "),
        (["redis://127.0.0.1:{port}"], 2, "usage: node report.js"),
    ],
)
def test_another_language_is_told_what_is_wrong(arguments: list[str], code: int, problem: str) -> None:
    port = str(free_port())

    done = node(*(argument.replace("{port}", port) for argument in arguments))

    assert done.returncode == code
    assert done.stderr.startswith(problem)


def node(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["node", str(EXAMPLES / "nodejs" / "report.js"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
