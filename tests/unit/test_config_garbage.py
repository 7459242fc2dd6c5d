"""Whatever is in the file, the answer is a fleet or a ConfigurationError, never another exception."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict

from recovery.config.kinds import Kinds
from recovery.config.load import Loaded, load, parse
from recovery.errors import ConfigurationError


class HttpOptions(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str
    expect: int | tuple[int, ...] = 200
    file: Path | None = None
    headers: dict[str, str] = {}


KINDS = Kinds(checks={"http": HttpOptions}, drivers={"process": HttpOptions}, strategies={"restart": HttpOptions})

WORDS = st.sampled_from(
    [
        *("platform", "services", "checks", "driver", "remedies", "type", "http", "process", "restart", "url", "name", "interval"),
        *("plan", "cooldown", "depends_on", "unknown", "web", "a b", "", "${HOME}", "${", "expect", "file", "headers", "timeout"),
    ]
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=True), st.text(max_size=10), WORDS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(WORDS | st.text(max_size=5), inner, max_size=4)),
    max_leaves=15,
)
SERVICE = st.dictionaries(
    st.sampled_from(["checks", "driver", "remedies", "plan", "cooldown", "depends_on", "managed", "name", "labels"]), VALUES, max_size=5
)
CHECK = st.dictionaries(
    st.sampled_from(["type", "url", "name", "interval", "timeout", "expect", "file", "jitter", "zz"]), VALUES, max_size=6
)


def toml(value: Any) -> str:
    """Write any value as one TOML value; strings and keys by the rules that JSON shares with TOML."""
    match value:
        case dict():
            return "{" + ", ".join(f"{json.dumps(key)} = {toml(item)}" for key, item in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(toml, value)) + "]"
        case bool():
            return str(value).lower()
        case None:
            return "1979-05-27"
        case int() | float():
            return str(value)
        case _:
            return json.dumps(value)


def outcome(read: Callable[[], Loaded]) -> None:
    """Let `read` succeed, or fail with problems of one line each. Any other exception fails the test."""
    problems: tuple[str, ...] = ("none",)
    try:
        read()
    except ConfigurationError as error:
        problems = error.problems
    assert problems
    assert all("\n" not in problem for problem in problems)


def parsing(text: str) -> Callable[[], Loaded]:
    return lambda: parse(text, KINDS, environ={"HOME": "/home/me"})


@given(st.text())
def test_random_text(text: str) -> None:
    outcome(parsing(text))


@given(st.dictionaries(WORDS, VALUES, max_size=4))
def test_random_trees(tree: dict[str, Any]) -> None:
    outcome(parsing("\n".join(f"{json.dumps(key)} = {toml(value)}" for key, value in tree.items())))


@given(SERVICE)
@example({"depends_on": ["web"]})
def test_random_services(service: dict[str, Any]) -> None:
    outcome(parsing("[services.web]\n" + "\n".join(f"{key} = {toml(value)}" for key, value in service.items())))


@given(CHECK, CHECK)
def test_random_checks(first: dict[str, Any], second: dict[str, Any]) -> None:
    tables = ["\n".join(f"{key} = {toml(value)}" for key, value in ({"type": "http"} | check).items()) for check in (first, second)]

    outcome(parsing("".join(f"[[services.web.checks]]\n{table}\n" for table in tables)))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary())
def test_random_bytes(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "recovery.toml"
    file.write_bytes(content)

    outcome(lambda: load(file, KINDS))


@pytest.mark.parametrize("depth", [31, 32, 33, 300, 2_000])
def test_any_depth(depth: int) -> None:
    outcome(parsing("[services.web]\nlabels = " + "[" * depth + "]" * depth))
    outcome(parsing("[services.web]\nlabels = " + "{a=" * depth + "1" + "}" * depth))
