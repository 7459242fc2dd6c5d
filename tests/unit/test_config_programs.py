"""A program that does not exist is told when the file is read, not when a remedy needs it."""

import os
from pathlib import Path

import pytest

from recovery.config.kinds import Kinds
from recovery.config.load import parse
from recovery.config.problems import path_of
from recovery.config.programs import missing_programs, obstacle
from recovery.detect.checks import check_kinds
from strategies import STRATEGIES
from strategies.drivers import DRIVERS

KINDS = Kinds.of(check_kinds(), DRIVERS, STRATEGIES)
CACHE = """
[services.web.remedies.cache_rebuild]
url = "redis://localhost"
match = "web:*"
source = { command = ["fill-the-cache"] }
"""


def missing(folder: Path, text: str) -> dict[str, str]:
    fleet = parse(text, KINDS, folder=folder, environ={}).fleet
    return {path_of(each.where): each.message for each in missing_programs(fleet, KINDS)}


def program(path: Path, mode: int = 0o755) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(mode)
    return path


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('[services.web.driver]\ntype = "process"\npidfile = "web.pid"\ncommand = ["webd", "-v"]\n', "driver.command"),
        ('[services.web.driver]\ntype = "command"\nstart = ["sh"]\nstop = ["webd"]\n', "driver.stop"),
        ('[[services.web.checks]]\ntype = "command"\ncommand = ["webd"]\n', "checks[0].command"),
        (CACHE.replace("fill-the-cache", "webd"), "remedies.cache_rebuild.source.command"),
    ],
)
def test_each_place_that_names_a_program_is_looked_at(tmp_path: Path, text: str, place: str) -> None:
    found = missing(tmp_path, text)
    there = missing(tmp_path, text.replace("webd", "sh"))

    assert list(found) == [f"services.web.{place}"]
    assert found[f"services.web.{place}"] == "cannot run 'webd': no such program in the PATH"
    assert there == {}


def test_a_relative_program_is_looked_for_in_the_working_directory(tmp_path: Path) -> None:
    program(tmp_path / "bin" / "webd")

    assert obstacle(["bin/webd"], tmp_path, {}) is None
    assert obstacle(["./webd"], tmp_path / "bin", {}) is None
    assert obstacle(["./webd"], tmp_path, {}) == f"cannot run './webd': {tmp_path}/webd does not exist"


def test_the_declared_path_is_searched_instead_of_ours(tmp_path: Path) -> None:
    program(tmp_path / "bin" / "webd")

    assert obstacle(["webd"], tmp_path, {"PATH": f"/nowhere{os.pathsep}{tmp_path}/bin"}) is None
    assert obstacle(["webd"], tmp_path, {"PATH": "bin"}) is None
    assert obstacle(["sh"], tmp_path, {"PATH": "/nowhere"}) == "cannot run 'sh': no such program in the declared PATH (/nowhere)"


def test_a_file_without_the_right_to_run_and_a_missing_folder_are_told_apart(tmp_path: Path) -> None:
    path = program(tmp_path / "webd", mode=0o644)

    assert obstacle([str(path)], tmp_path, {}) == f"cannot run '{path}': {path} is not executable"
    assert obstacle(["sh"], tmp_path / "gone", {}) == f"cannot run 'sh': the working directory {tmp_path}/gone does not exist"
