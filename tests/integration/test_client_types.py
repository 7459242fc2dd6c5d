"""What users' type checkers see of the client: mypy and basedpyright, each as strict as it can be, on a file of usage and one of misuse."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

HOUSE = Path(__file__).resolve().parents[2]
TYPING = HOUSE / "tests" / "typing"

pytestmark = pytest.mark.slow


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", *command], cwd=folder, capture_output=True, text=True, timeout=230, check=False)


def test_mypy_agrees_and_refuses_misuse(tmp_path: Path) -> None:
    options = ["--strict", "--warn-unused-ignores", "--cache-dir", str(tmp_path), "--config-file", str(HOUSE / "pyproject.toml")]

    done = run(HOUSE, "mypy", *options, str(TYPING / "usage.py"), str(TYPING / "wrong.py"))

    assert done.returncode == 0, done.stdout + done.stderr


def test_pyright_agrees_and_refuses_misuse(tmp_path: Path) -> None:
    settings = {
        "include": [str(TYPING)],
        "extraPaths": [str(HOUSE)],
        "pythonPlatform": "Linux",
        "typeCheckingMode": "strict",
        "enableTypeIgnoreComments": False,
        "reportUnusedExpression": False,
        "reportPrivateUsage": False,
    }
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings))

    done = run(tmp_path, "basedpyright", "--project", str(tmp_path), "--pythonpath", sys.executable, "--outputjson")

    found = [(Path(each["file"]).name, each["range"]["start"]["line"] + 1, each) for each in json.loads(done.stdout)["generalDiagnostics"]]
    wrong = [number for number, line in enumerate((TYPING / "wrong.py").read_text().splitlines(), 1) if "# type: ignore" in line]
    assert [(line, each["message"]) for file, line, each in found if file == "usage.py" and each["severity"] == "error"] == []
    assert {line for file, line, each in found if file == "wrong.py" and each["severity"] == "error"} == set(wrong)
