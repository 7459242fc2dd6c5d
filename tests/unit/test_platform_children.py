from pathlib import Path

import pytest

from recovery.settings import Settings
from workers.platform.children import MISREAD, commands

QUEUES = {"restart", "cache_rebuild", "degrade", "backup_fallback", "circuit_reset", "failures", "health", "alerts", "maintenance"}


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
