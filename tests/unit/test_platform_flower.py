import stat
from pathlib import Path
from types import SimpleNamespace

import pytest

from recovery.settings import Settings
from workers.platform.flower import password, password_file, secure_flower
from workers.platform.flower_tasks import in_words

FLOWER = ["celery", "-A", "workers", "flower"]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data")


def test_flower_is_local_protected_and_without_buttons_by_default(settings: Settings) -> None:
    environ: dict[str, str] = {}

    secure_flower(settings, FLOWER, environ)

    assert environ["FLOWER_ADDRESS"] == "127.0.0.1"
    assert environ["FLOWER_READ_ONLY"] == "true"
    assert environ["FLOWER_MAX_TASKS"] == "10000"
    assert environ["FLOWER_BASIC_AUTH"] == f"admin:{password(settings.home)}"


def test_the_operators_own_choices_stand(settings: Settings) -> None:
    environ = {"FLOWER_BASIC_AUTH": "me:secret", "FLOWER_ADDRESS": "0.0.0.0", "FLOWER_PORT": "80"}
    before = dict(environ)

    secure_flower(settings, FLOWER, environ)

    assert before.items() <= environ.items()
    assert not password_file(settings.home).exists()


@pytest.mark.parametrize("option", ["--basic-auth=me:secret", "--basic_auth=me:secret", "--auth=.*@example.com"])
def test_authentication_given_on_the_command_line_needs_no_password_of_ours(settings: Settings, option: str) -> None:
    environ: dict[str, str] = {}

    secure_flower(settings, [*FLOWER, option], environ)

    assert "FLOWER_BASIC_AUTH" not in environ


def test_an_empty_variable_does_not_open_flower(settings: Settings) -> None:
    environ = {"FLOWER_BASIC_AUTH": ""}

    secure_flower(settings, FLOWER, environ)

    assert environ["FLOWER_BASIC_AUTH"].startswith("admin:")


def test_the_password_is_made_once_for_the_owners_eyes_only(settings: Settings) -> None:
    first = password(settings.home)

    assert len(first) >= 24
    assert password(settings.home) == first
    assert stat.S_IMODE(password_file(settings.home).stat().st_mode) == 0o600
    assert [path.name for path in settings.home.iterdir()] == ["flower-password"]


@pytest.mark.parametrize(
    ("name", "args", "kwargs", "shown", "rest"),
    [
        ("strategy.restart", "('shop', '8f3a12c4', 2)", "{}", "service=shop strategy=restart recovery=8f3a12c4 attempt=2", ""),
        (
            "strategy.degrade",
            "()",
            "{'service': 'shop', 'recovery_id': '8f3a', 'attempt': 1}",
            "service=shop strategy=degrade recovery=8f3a attempt=1",
            "",
        ),
        ("recovery.advance", "['8f3a']", "{}", "recovery=8f3a", ""),
        ("recovery.trigger", "('shop',)", "{'strategy': 'restart', 'force': False}", "service=shop strategy=restart", ""),
        (
            "recovery.report_failure",
            "()",
            "{'service': 'shop', 'category': 'cache', 'message': 'bad entry'}",
            "service=shop category=cache",
            "message=bad entry",
        ),
        ("health.sweep", "()", "{'interval': 1.0, 'shard': 0, 'shards': 1}", "interval=1.0 shard=0 shards=1", ""),
    ],
)
def test_tasks_are_shown_in_words(name: str, args: str, kwargs: str, shown: str, rest: str) -> None:
    task = in_words(SimpleNamespace(name=name, args=args, kwargs=kwargs))

    assert (task.args, task.kwargs) == (shown, rest)


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("strategy.restart", "('shop', '8f3a12c4', 2, <obj"),
        ("their.task", "(1, 2)"),
        ("strategy.restart", "__import__('os')"),
        (None, "(1,)"),
    ],
)
def test_what_cannot_be_read_is_shown_as_it_came(name: str | None, args: str) -> None:
    task = in_words(SimpleNamespace(name=name, args=args, kwargs="{}"))

    assert (task.args, task.kwargs) == (args, "{}")
