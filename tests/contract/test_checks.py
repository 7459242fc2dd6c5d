"""What every kind of check promises: passes when well, fails when broken, keeps its timeout, never raises, refuses unknown options.

Each kind brings a case: a thing that is well, the same thing broken, and (where it can hang) the same thing hung.
"""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from pydantic import ValidationError

from recovery.config.fleet import CheckDeclaration, Fleet, ServiceDeclaration
from recovery.config.kinds import Kinds
from recovery.config.load import parse
from recovery.detect.checks import CHECKS, check_kinds
from recovery.detect.probe import probe_all
from recovery.errors import UnknownName
from recovery.models import Category, FailureType
from recovery.ports import CheckKind, Finding
from recovery.registry import Registry
from tests.contract.check_rigs import CASES, HELD, Beats, Case, hanging, probe

PROMPTLY = 15.0
"""Seconds within which a check with a timeout of 0.3 s must be over on a busy machine; what hangs does so for 30 s and more."""


every_kind = pytest.mark.parametrize("kind", CHECKS, ids=lambda kind: kind.name)


@pytest.fixture
async def case(kind: CheckKind, tmp_path: Path, redis_client: redis.Redis, valkey_url: str) -> AsyncIterator[Case]:
    async with CASES[kind.name](tmp_path, redis_client, valkey_url) as ready:
        yield ready


@every_kind
async def test_it_passes_when_all_is_well(case: Case) -> None:
    found = await probe(case.kind, case.well, case.beats)

    assert found.ok, found.message


@every_kind
async def test_it_fails_in_words_and_with_the_right_category_when_broken(case: Case) -> None:
    case.break_it()

    found = await probe(case.kind, case.broken, case.beats)

    category = found.category or check_kinds()[case.kind].category
    assert (found.ok, category, found.type) == (False, case.category, case.type), found.message
    assert found.message


@every_kind
async def test_an_unknown_option_is_refused_and_a_probe_with_it_fails_without_blaming_the_service(kind: CheckKind, case: Case) -> None:
    options = case.well | {"colour": "blue"}

    with pytest.raises(ValidationError, match="colour"):
        kind.options.model_validate(options)
    found = await probe(kind.name, options, case.beats)

    assert (found.ok, found.category, found.type) == (False, Category.UNKNOWN, FailureType.INITIALIZATION)
    assert "colour" in found.message


@every_kind
async def test_its_options_are_frozen_and_survive_json(kind: CheckKind, case: Case) -> None:
    options = kind.options.model_validate_json(kind.options.model_validate(case.well).model_dump_json())

    assert options == kind.options.model_validate(case.well)
    assert kind.options.model_config.get("frozen") is True


@every_kind
async def test_many_probes_at_once_all_answer(kind: CheckKind, case: Case) -> None:
    checks = tuple(
        CheckDeclaration.model_validate({"name": f"c{number}", "type": kind.name, "timeout": 60, "options": case.well})
        for number in range(10)
    )
    fleet = Fleet(version="1", services={"shop": ServiceDeclaration(name="shop", checks=checks)})

    found = await probe_all(check_kinds(), fleet, case.beats, [f"shop.c{number}" for number in range(10)])

    assert [finding.message for finding in found.values() if not finding.ok] == []


@pytest.fixture
def hung() -> Iterator[None]:
    HELD.clear()
    yield
    HELD.set()


@pytest.mark.usefixtures("hung")
@pytest.mark.parametrize("kind", ["http", "tcp", "redis", "cache", "command", "heartbeat", "process", "memory", "cpu", "python"])
async def test_it_is_over_at_its_timeout_whatever_hangs(kind: str, tmp_path: Path) -> None:
    async with hanging(kind, tmp_path) as (options, beats):
        began = time.monotonic()
        found = await probe(kind, options, beats, seconds=0.3)
        took = time.monotonic() - began

    assert (found.ok, found.type) == (False, FailureType.TIMEOUT), found.message
    assert took < PROMPTLY


def test_every_kind_of_the_product_has_a_case_and_a_default_interval() -> None:
    assert set(CASES) == {kind.name for kind in CHECKS}
    assert {kind.name: kind.interval for kind in CHECKS if kind.interval != 60} == {"memory": 30, "cpu": 30, "disk": 30}


def test_an_unknown_kind_is_told_with_the_nearest_name() -> None:
    with pytest.raises(UnknownName, match="did you mean 'http'"):
        check_kinds()["htpp"]


DOCS = (Path(__file__).parents[2] / "docs" / "checks.md").read_text()
EXAMPLES = re.findall(r"```toml\n(.*?)```", DOCS, re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES, ids=[re.findall(r'type = "(\w+)"', example)[0] for example in EXAMPLES])
def test_every_example_in_the_documentation_is_a_valid_declaration(example: str, tmp_path: Path) -> None:
    header = "" if example.startswith("[services.shop]") else "[services.shop]\n"

    known = Kinds.of(check_kinds(), Registry("driver"), Registry("strategy"))

    loaded = parse(header + example, known, folder=tmp_path, environ={})

    shop = loaded.fleet.services["shop"]
    assert shop.checks
    for check in shop.checks:
        check_kinds()[check.kind].build(shop, check, Beats())


def test_the_kind_in_the_documentation_can_be_built() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", DOCS, re.DOTALL)
    names: dict[str, Any] = {"__name__": __name__}
    exec(code, names)
    check = CheckDeclaration.model_validate({"name": "main", "type": "queue", "options": {"path": "/x"}})

    built = names["QUEUE"].build(ServiceDeclaration(name="shop"), check, Beats())

    assert asyncio.run(built.probe()) == Finding(ok=True)
