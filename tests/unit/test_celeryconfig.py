"""The settings that keep a recovery alive, and that they are really the ones the app runs with."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from celery.app.defaults import NAMESPACES, flatten
from celery.worker.consumer import Consumer as CeleryConsumer
from kombu.transport.redis import Channel

import celeryconfig
from workers.celery import app
from workers.consumer import UNWANTED, Consumer
from workers.locate import beside

QUEUES = {"restart", "cache_rebuild", "degrade", "backup_fallback", "circuit_reset", "failures", "health", "alerts", "maintenance"}
HELPERS = {"QUEUES", "Exchange", "Queue", "Settings"}


def test_every_setting_is_one_that_celery_knows() -> None:
    known = {key for key, _option in flatten(NAMESPACES)}

    written = {name for name in vars(celeryconfig) if not name.startswith("_")} - HELPERS

    assert written <= known


def test_every_transport_option_is_one_that_kombu_reads() -> None:
    for option in celeryconfig.broker_transport_options:
        assert hasattr(Channel, option), option


def test_the_nine_queues_are_declared_and_no_other_comes_into_being() -> None:
    assert set(app.amqp.queues) == QUEUES
    assert app.conf.task_create_missing_queues is False


def test_no_two_queues_get_the_same_messages() -> None:
    assert len({(queue.exchange.name, queue.routing_key) for queue in app.amqp.queues.values()}) == len(QUEUES)


@pytest.mark.parametrize(
    ("task", "queue"),
    [
        ("recovery.report_failure", "failures"),
        ("recovery.trigger", "failures"),
        ("health.sweep", "health"),
        ("maintenance.tick", "maintenance"),
        ("alerts.ping", "alerts"),
        ("celery.backend_cleanup", "maintenance"),
    ],
)
def test_a_task_sent_by_name_alone_finds_its_queue(task: str, queue: str) -> None:
    assert app.amqp.router.route({}, task)["queue"].name == queue


def test_a_lost_worker_gives_its_message_back_and_a_deadly_one_is_not_run_for_ever() -> None:
    assert app.conf.task_acks_late
    assert not app.conf.task_reject_on_worker_lost
    assert app.conf.task_retry_on_worker_lost
    assert app.Task.max_retries == 2


def test_only_json_is_accepted() -> None:
    assert app.conf.accept_content == ["json"]
    assert (app.conf.task_serializer, app.conf.result_serializer) == ("json", "json")


def test_a_users_own_celeryconfig_in_the_working_folder_is_not_taken_for_ours(tmp_path: Path) -> None:
    (tmp_path / "celeryconfig.py").write_text("broker_url = 'redis://elsewhere'\n")
    (tmp_path / "beat_schedule.py").write_text("raise SystemExit('not ours')\n")
    house = Path(celeryconfig.__file__).parent
    program = "from workers.celery import app; from workers.locate import beside; beside('beat_schedule'); print(app.conf.broker_url)"

    shown = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": f"{tmp_path}:{house}", "RECOVERY_REDIS_URL": "redis://ours:1234/0"},
        capture_output=True,
        text=True,
        check=True,
    )

    assert shown.stdout.strip() == "redis://ours:1234/0"


def test_the_module_that_is_already_imported_is_not_loaded_twice() -> None:
    assert beside.__wrapped__("celeryconfig") is celeryconfig, "its cache may be older than our import"


def test_the_app_is_not_in_need_of_a_configuration_file(tmp_path: Path) -> None:
    (tmp_path / "recovery.toml").write_text("this is [ not toml")
    house = Path(celeryconfig.__file__).parent

    done = subprocess.run(
        [sys.executable, "-c", "from workers.celery import app; app.loader.import_default_modules(); print(len(app.tasks) > 10)"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(house)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.stdout.strip() == "True", done.stderr
    assert not (tmp_path / ".recovery").exists()


def asked(program: str, broker: str) -> str:
    """Return what `program` prints about the app in a process that uses `broker`."""
    environ = os.environ | {"PYTHONPATH": str(Path(celeryconfig.__file__).parent), "RECOVERY_BROKER_URL": broker}
    return subprocess.run([sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=True).stdout.strip()


def test_rabbitmq_gets_quorum_queues_confirms_and_nothing_that_only_redis_knows() -> None:
    program = (
        "from workers.celery import app; queues = app.amqp.queues.values(); "
        "print({tuple(sorted(queue.queue_arguments.items())) for queue in queues}, len(queues)); "
        "print(app.conf.broker_transport_options, app.conf.task_default_priority)"
    )

    assert asked(program, "amqp://guest@127.0.0.1//").splitlines() == [
        "{(('x-delivery-limit', 20), ('x-queue-type', 'quorum'))} 9",
        "{'confirm_publish': True} None",
    ]


def test_no_worker_keeps_queues_for_delayed_messages_on_rabbitmq() -> None:
    steps = {step if isinstance(step, str) else step.name for step in Consumer.Blueprint.default_steps}

    assert app.conf.worker_consumer == "workers.consumer:Consumer"
    assert UNWANTED in CeleryConsumer.Blueprint.default_steps, "Celery still has it, so it must still be left out"
    assert UNWANTED not in steps
    assert len(steps) == len(CeleryConsumer.Blueprint.default_steps) - 1
