"""README and docs hold to what is there: links, configuration, commands with their options, variables, tests named as proof."""

import contextlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from pydantic import BaseModel

from recovery.config.degradation import CapabilityDeclaration, DegradationRule, FeatureDeclaration
from recovery.config.fleet import BudgetDeclaration, CheckDeclaration, MaintenanceDeclaration, PlatformDeclaration, ServiceDeclaration
from recovery.config.load import parse
from recovery.config.retries import RetryDeclaration
from recovery.config.validate import keys_of
from recovery.settings import Settings
from workers.cli import COMMANDS, recovery
from workers.cli.parts import kinds

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub makes of a page's headings."""
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def commands(text: str) -> Iterator[list[str]]:
    """Every command line of ours in a page: in consoles after `$`, and in backticks."""
    found = re.findall(r"^\$ (.*)$", text, re.MULTILINE) + re.findall(r"`([^`\n]+)`", FENCE.sub("", text))
    for line in found:
        ours = re.match(r"(?:celery -A workers )?recovery ([a-z].*)", line)
        if ours:
            yield shlex.split(ours.group(1), comments=True)


@pages
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", FENCE.sub("", page.read_text())):
        if target.startswith("https://"):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.is_file(), f"{page.name} links to {target}"
        assert not anchor or anchor in anchors(file), f"{page.name} links to {target}"


@pages
def test_every_configuration_can_be_loaded(page: Path, tmp_path: Path) -> None:
    """A block that is not a whole recovery.toml is marked with `toml fragment`."""
    for text in re.findall(r"^```toml\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL):
        loaded = parse(text, kinds(), file=page.name, folder=tmp_path, environ={})

        assert loaded.fleet.services


@pages
def test_every_command_can_be_typed_as_it_stands(page: Path) -> None:
    for name, *words in commands(page.read_text()):
        assert name in COMMANDS, f"{page.name}: recovery {name}"
        command = recovery.get_command(click.Context(recovery), name)
        assert command is not None
        with contextlib.suppress(click.MissingParameter):  # prose names a command without what it works on
            command.make_context(name, [word.strip("[]") for word in words])


def test_commands_are_found_in_consoles_and_in_prose() -> None:
    text = "```console\n$ recovery show shop   # the newest\n```\nor `celery -A workers recovery stats --since 2h`"

    assert list(commands(text)) == [["show", "shop"], ["stats", "--since", "2h"]]


@pages
def test_every_variable_is_read_by_somebody(page: Path) -> None:
    settings = {f"RECOVERY_{name.upper()}" for name in Settings.model_fields}
    others = {"RECOVERY_DEBUG": "workers/cli/edge.py", "RECOVERY_PIDFILE": "strategies", "RECOVERY_CONFIG_DIR": "docker-compose.yml"}
    others["RECOVERY_MODEL_STORIES"] = "tests/unit/test_model_coordinator.py"
    others |= {f"RECOVERY_TEST_{name}": "tests/servers/rooms.py" for name in ("POSTGRES", "REDIS", "BROKER")}
    named = set(re.findall(r"(?<![A-Z_])RECOVERY_[A-Z_]+[A-Z]", page.read_text())) - {"RECOVERY_COMPLETE"}

    assert named <= settings | set(others)
    for name in named & set(others):
        place = ROOT / others[name]
        files = [place] if place.is_file() else list(place.rglob("*.py"))
        assert any(name in file.read_text() for file in files), name


def test_every_setting_is_documented() -> None:
    text = (ROOT / "docs" / "operations.md").read_text()

    assert [name for name in Settings.model_fields if f"`RECOVERY_{name.upper()}`" not in text] == []


@pytest.mark.parametrize(
    "declaration",
    [
        RetryDeclaration,
        PlatformDeclaration,
        BudgetDeclaration,
        ServiceDeclaration,
        CheckDeclaration,
        MaintenanceDeclaration,
        FeatureDeclaration,
        CapabilityDeclaration,
        DegradationRule,
    ],
)
def test_every_key_of_the_configuration_is_documented(declaration: type[BaseModel]) -> None:
    text = (ROOT / "docs" / "configuration.md").read_text()

    assert sorted(key for key in keys_of(declaration) - {"options"} if not re.search(rf"`{key}[`.]", text)) == []


@pages
def test_every_test_that_is_named_as_proof_exists(page: Path) -> None:
    there = {name for file in (ROOT / "tests").rglob("test_*.py") for name in re.findall(r"def (test_\w+)", file.read_text())}

    assert set(re.findall(r"`(test_\w+)`", page.read_text())) <= there


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs" / "index.md").read_text()

    assert [page.name for page in (ROOT / "docs").glob("*.md") if f"({page.name})" not in index and page.name != "index.md"] == []


def test_the_key_table_names_every_redis_key_of_ours() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    code = "\n".join(
        file.read_text()
        for folder in ("recovery", "workers", "strategies")
        for file in (ROOT / folder).rglob("*")
        if file.suffix in {".py", ".lua"}
    )
    happenings = "opened started action recovered succeeded failed cancelled suppressed suggested approval_requested overtaken"
    events = {f"recovery:{word}" for word in happenings.split()}
    keys = {key.rstrip(":") for key in re.findall(r"['\"](recovery:[a-z_:]+)", code) if key not in events}

    assert keys
    assert [key for key in sorted(keys) if key != "recovery" and key not in text] == []
