"""`recovery.toml` of a running platform changes, and a platform that is started with a broken one says so and ends."""

from collections.abc import Iterator

import pytest

from recovery.models import Outcome, utcnow
from tests.stage import UP, Stage
from tests.support import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def stage_to_change(stage: Stage) -> Iterator[Stage]:
    yield stage
    stage.declare(stage.toml)


def newcomer(stage: Stage) -> str:
    return f"""
[services.newcomer]
managed = false

[[services.newcomer.checks]]
type = "tcp"
port = {stage.patients["web"].port}
interval = 1
fall = 1
"""


def test_a_changed_configuration_is_in_force_at_the_next_sweep(stage_to_change: Stage) -> None:
    stage = stage_to_change
    assert "newcomer" not in stage.store.service_states()

    stage.declare(stage.toml + newcomer(stage))

    stage.await_healthy("newcomer")


def test_a_broken_configuration_is_refused_loudly_and_the_old_one_stays_in_force(stage_to_change: Stage) -> None:
    stage, web = stage_to_change, stage_to_change.patients["web"]
    before = len(stage.tail())

    stage.declare(stage.toml.replace("lease =", "leese ="))
    eventually(lambda: "configuration refused" in stage.tail()[before:])
    since = utcnow()
    web.kill()

    assert stage.closed("web", since).outcome is Outcome.RESOLVED
    (refusal, *_) = [line for line in stage.tail()[before:].splitlines() if "configuration refused" in line]
    assert "stays in force" in refusal
    assert "leese" in refusal
    assert "did you mean 'lease'?" in refusal


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[platform]\n$$$ garbage\n", "recovery.toml:2: not valid TOML"),
        ("[platform]\ncooldwon = 3\n", "did you mean 'cooldown'?"),
        ('[services.web]\ndepends_on = ["databse"]\n[services.database]\n', "did you mean 'database'?"),
    ],
)
def test_garbage_at_the_start_is_one_clear_sentence_and_an_exit_code(text: str, said: str) -> None:
    with Stage(toml=text, up=False) as stage:
        done = stage.run(*UP, code=1)

        assert said in done.stderr
        assert "recovery.toml" in done.stderr
        assert "Traceback" not in done.stderr + done.stdout
        assert not (stage.settings.home / "valkey").exists(), "nothing was started"
