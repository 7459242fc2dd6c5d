"""`recovery up`: how many remedies may be at work at once."""

from typing import Any

import pytest
from click.testing import CliRunner

from workers.cli import recovery as command_line
from workers.platform.children import REMEDIES


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What the platform was run with."""
    found: list[int] = []

    def run(_settings: Any, *, remedies: int) -> int:
        found.append(remedies)
        return 0

    monkeypatch.setattr("workers.platform.up.up", run)
    monkeypatch.setattr("workers.cli.parts.fleet_in_force", lambda _settings: "a fleet")
    return found


def test_up_runs_as_many_remedies_as_it_is_told_or_as_fit_into_400_mb(ran: list[int]) -> None:
    for arguments in (["up", "--remedies", "8"], ["up"]):
        assert CliRunner().invoke(command_line, arguments).exit_code == 0

    assert ran == [8, REMEDIES]


@pytest.mark.parametrize("wrong", ["1", "65", "many"])
def test_a_number_of_remedies_that_makes_no_sense_is_refused(ran: list[int], wrong: str) -> None:
    done = CliRunner().invoke(command_line, ["up", "--remedies", wrong])

    assert (done.exit_code, ran) == (2, [])
    assert "'--remedies'" in done.output
