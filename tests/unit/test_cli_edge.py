"""The edge of the command line: light to import, one sentence per error, and none of the traps of the `celery` command."""

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from recovery.errors import ConfigurationError, RecoveryError, ServiceNotFound, StoreUnavailable
from recovery.models import Outcome, RecoveryState
from tests.rows import recovery
from workers.cli import COMMANDS
from workers.cli import recovery as command_line
from workers.cli.edge import MISREAD, Refusal, clean_environment, told
from workers.cli.follow import ending, exit_code_of


def test_importing_the_plug_in_imports_nothing_heavy() -> None:
    heavy = "{'celery', 'sqlalchemy', 'redis', 'pydantic', 'rich', 'aiohttp', 'recovery.models', 'workers.celery'}"
    program = f"import sys, workers.cli; print(sorted({heavy} & sys.modules.keys()))"

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])

    assert done.stdout.strip() == "[]"


def test_an_error_steers_no_terminal_whoever_wrote_into_it(capsys: pytest.CaptureFixture[str]) -> None:
    Refusal("two mistakes:\n  in \x1b[2Jshop", 1).show()

    assert capsys.readouterr().err == "Error: two mistakes:\n  in \\x1b[2Jshop\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str) -> None:
    result = CliRunner().invoke(command_line, [name, "--help"])

    assert result.exit_code == 0
    assert "Usage:" in result.output


def test_the_help_page_lists_every_command_with_a_whole_sentence() -> None:
    result = CliRunner().invoke(command_line, ["--help"])

    listed = result.output.split("Commands:")[1].strip().splitlines()
    assert [line.split()[0] for line in listed] == list(COMMANDS)
    assert all(line.endswith(".") and not line.endswith("...") for line in listed)


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (ConfigurationError("the file is wrong"), 1, "the file is wrong"),
        (ServiceNotFound("no service 'x'"), 2, "no service 'x'"),
        (StoreUnavailable("away"), 5, "away"),
        (RecoveryError("hm"), 1, "hm"),
        (ZeroDivisionError("division by zero\nmore"), 1, "unexpected ZeroDivisionError: division by zero (RECOVERY_DEBUG=1 shows where)"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_every_error_becomes_one_sentence_and_an_exit_code(error: BaseException, code: int, sentence: str) -> None:
    with pytest.raises(Refusal) as caught, told():
        raise error

    assert (caught.value.message, caught.value.exit_code) == (sentence, code)


def test_debugging_lets_an_unexpected_error_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECOVERY_DEBUG", "1")

    with pytest.raises(ZeroDivisionError), told():
        raise ZeroDivisionError


def test_variables_that_celery_misreads_are_taken_away(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in MISREAD:
        monkeypatch.setenv(name, "production")

    clean_environment()

    assert not {*MISREAD} & os.environ.keys()


class App:
    def __init__(self, main: str | None) -> None:
        self.main = main


class CeleryOptions:
    def __init__(self, main: str | None) -> None:
        self.app = App(main)


@pytest.mark.parametrize(
    ("main", "words"), [("default", "celery was called without -A"), ("shop", "the app 'shop' given with -A is not this platform's")]
)
def test_a_plug_in_without_our_app_says_what_to_type(main: str, words: str) -> None:
    celery = click.Group("celery", commands={"recovery": command_line})

    result = CliRunner().invoke(celery, ["recovery", "status"], obj=CeleryOptions(main))

    assert result.exit_code == 2
    assert words in result.stderr
    assert "`celery -A workers recovery status`" in result.stderr


@pytest.mark.parametrize(
    ("state", "outcome", "code", "words"),
    [
        (RecoveryState.SUCCEEDED, Outcome.RESOLVED, 0, "shop: resolved after 0.00 s (so)"),
        (RecoveryState.SUCCEEDED, Outcome.MITIGATED, 0, "shop: mitigated after 0.00 s (so)"),
        (RecoveryState.FAILED, Outcome.INEFFECTIVE, 3, "shop: ineffective after 0.00 s (so)"),
        (RecoveryState.SUPPRESSED, None, 4, "shop: suppressed (so)"),
        (RecoveryState.CANCELLED, Outcome.FAILED, 4, "shop: cancelled (so)"),
    ],
)
def test_the_exit_code_of_a_wait_follows_the_state(state: RecoveryState, outcome: Outcome | None, code: int, words: str) -> None:
    closed = recovery("shop", state=state, outcome=outcome, reason="so")

    assert exit_code_of(closed) == code
    assert ending(closed) == words
