"""The page of failures holds to the tests: each fault by its number, each proof by its name."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "failure-modes.md").read_text()
FAULTS = [*range(1, 4), *range(5, 13), *range(14, 20)]
"""Those that concern the engine, the workers, beat and the embedded broker."""
THERE = {name for file in (ROOT / "tests").rglob("test_*.py") for name in re.findall(r"^def (test_\w+)", file.read_text(), re.MULTILINE)}


def rows() -> dict[int, str]:
    """Return the row of each number in the table of faults."""
    return {int(number): row for number, row in re.findall(r"^\| (\d+) (.*)$", PAGE, re.MULTILINE)}


def named_after(number: int) -> set[str]:
    return {name for name in THERE if name.startswith(f"test_fault_{number:02}_")}


@pytest.mark.parametrize("number", FAULTS)
def test_every_fault_has_a_test_of_its_name_or_a_reason_why_it_cannot_run_here(number: int) -> None:
    row = rows()[number]

    proofs = set(re.findall(r"`(test_\w+)`", row))
    assert proofs & named_after(number) or "cannot run here" in row, row
    assert proofs <= THERE


def test_every_test_that_is_named_after_a_fault_is_in_its_row() -> None:
    named = {name: int(name.split("_")[2]) for name in THERE if name.startswith("test_fault_")}

    assert named
    assert {name for name, number in named.items() if f"`{name}`" not in rows().get(number, "")} == set()


def test_every_part_that_may_be_lost_has_a_test_that_proves_its_row() -> None:
    parts = PAGE[PAGE.index("## Parts") : PAGE.index("## Faults by number")]
    unproven = [row for row in parts.splitlines() if row.startswith("| ") and not re.search(r"`test_\w+`", row)]

    assert [row.split(" | ")[0] for row in unproven] == ["| lost", "| ---"]
