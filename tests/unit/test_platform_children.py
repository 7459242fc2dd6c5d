import os
import subprocess
import sys
from pathlib import Path

import pytest

from recovery.settings import Settings
from workers.platform.children import CELERY, MISREAD, commands

ROOT = Path(__file__).parents[2]
QUEUES = {"restart", "cache_rebuild", "degrade", "backup_fallback", "circuit_reset", "failures", "health", "alerts", "maintenance"}
PROBE = """
import importlib.util, sys
from celery import signals
from workers.celery import app

@signals.celeryd_init.connect
def told(sender, instance, options, **_):
    heavy = {"alembic", "celery.bin.celery", "flower", "rich", "tornado"} & set(sys.modules)
    found = "rich" if importlib.util.find_spec("rich") else "no rich"
    print(sender.partition("@")[0], options["pool"].__module__.rpartition(".")[2], f"found {found}:", sorted(heavy))
    sys.exit()
"""
"""An app that looks at its process when all is imported, and ends it."""


def test_every_queue_has_a_worker_and_no_queue_two(tmp_path: Path) -> None:
    served = [
        queue
        for command in commands(Settings(data_dir=tmp_path), "workers", ("127.0.0.1", 5555))
        if "-Q" in command.argv
        for queue in command.argv[command.argv.index("-Q") + 1].split(",")
    ]

    assert sorted(served) == sorted(QUEUES)


def test_variables_that_celery_would_misread_do_not_reach_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in MISREAD:
        monkeypatch.setenv(name, "production")
    monkeypatch.setenv("KEPT", "yes")

    for command in commands(Settings(data_dir=tmp_path), "workers", ("127.0.0.1", 5555)):
        assert not set(MISREAD) & set(command.environment)
        assert command.environment["KEPT"] == "yes"


def test_children_get_the_settings_of_this_process_not_only_its_environment(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, redis_url="redis://cache/1", log_format="json")

    environment = commands(settings, "workers", ("127.0.0.1", 5555))[0].environment

    assert environment["RECOVERY_DATA_DIR"] == str(tmp_path)
    assert environment["RECOVERY_REDIS_URL"] == "redis://cache/1"
    assert environment["RECOVERY_LOG_FORMAT"] == "json"
    assert "RECOVERY_DATABASE_URL" not in environment


def test_a_worker_is_ready_when_this_very_process_has_said_so(tmp_path: Path) -> None:
    intake = commands(Settings(data_dir=tmp_path), "workers", ("127.0.0.1", 5555))[0]
    ready_file = Path(intake.environment["RECOVERY_READY_FILE"])
    ready_file.parent.mkdir()

    assert not intake.ready(42)
    ready_file.write_text("41")
    assert not intake.ready(42)
    ready_file.write_text("42")
    assert intake.ready(42)


def test_the_pool_of_the_remedies_grows_as_far_as_it_is_told(tmp_path: Path) -> None:
    def scale(*remedies: int) -> str:
        recover = commands(Settings(data_dir=tmp_path), "workers", ("127.0.0.1", 5555), *remedies)[1]
        assert recover.name == "recover"
        return recover.argv[recover.argv.index("--autoscale") + 1]

    assert (scale(), scale(2), scale(12)) == ("3,2", "2,2", "12,2")


@pytest.mark.slow
def test_a_worker_of_ours_imports_neither_flower_nor_what_only_a_terminal_needs(tmp_path: Path) -> None:
    (tmp_path / "probe.py").write_text(PROBE)

    done = subprocess.run(
        [sys.executable, "-m", CELERY, "probe", "worker", "-c", "1", "-P", "solo", "-n", "probe@%h"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "RECOVERY_DATA_DIR": str(tmp_path / "data")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert done.stdout.splitlines()[-1:] == ["probe solo found rich: []"], done.stderr
