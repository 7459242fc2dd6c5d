"""The example fleet's folder, which `make demo` and `make up` share."""

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def fleets(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module `fleet` beside the demo, which is no package."""
    monkeypatch.syspath_prepend(ROOT / "examples" / "fleet")
    yield import_module("fleet")
    sys.modules.pop("fleet", None)


def test_a_second_fleet_leaves_the_folder_of_a_running_one_alone(fleets: Any, tmp_path: Path) -> None:
    first, second = fleets.Fleet(tmp_path / "demo"), fleets.Fleet(tmp_path / "demo")
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "old").write_text("of the last time")
    try:
        first.prepare()
        assert not (tmp_path / "demo" / "old").exists()
        declared = (tmp_path / "demo" / "recovery.toml").read_text()

        with pytest.raises(SystemExit, match="runs already in"):
            second.prepare()

        assert (tmp_path / "demo" / "recovery.toml").read_text() == declared
    finally:
        first.stop()
        second.stop()
