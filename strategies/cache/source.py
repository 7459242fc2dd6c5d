"""Asks the authoritative source for the right values, in a process of its own: bounded in time, and its memory is not the worker's."""

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from recovery.config.base import Seconds
from recovery.errors import StepFailed
from recovery.integrity import IntegrityRule, fault, seal
from recovery.models import JsonObject
from strategies.cache import ask
from strategies.commands import Argv, CommandFailed, run
from strategies.environment import service_environment
from strategies.spelling import CallableName, KeyQuery, SqlUrl

KEYS = "surrogateescape"
"""How bytes that are not UTF-8 travel through JSON and back."""


class SqlSource(BaseModel):
    """Values from a database."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: Annotated[SqlUrl, Field(repr=False)]
    """An SQLAlchemy URL."""
    query: KeyQuery
    """Selects the columns `key` and `value` for the parameter `:key`; no row means that the entry is to go."""


class Source(BaseModel):
    """Where the right values come from; give one of `python`, `command` and `sql`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    python: CallableName | None = None
    """`module:callable`; called with the list of keys, returns a mapping of key to value."""
    command: Argv = ()
    """Gets the keys as a JSON list on stdin, prints a JSON object of key to value."""
    sql: SqlSource | None = None
    timeout: Seconds = 30.0
    """Seconds that one batch of keys may take."""
    cwd: Path = Path()
    """Working directory; modules are also found here. Default: the folder of `recovery.toml`."""
    env: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_of_three(self) -> Self:
        if sum(map(bool, (self.python, self.command, self.sql))) != 1:
            raise ValueError("give exactly one of 'python', 'command' and 'sql'")
        return self


def fetch(source: Source, keys: list[bytes], rule: IntegrityRule) -> dict[bytes, bytes]:
    """Return the sealed and proven value of each key that the source has; raises `StepFailed` if it fails or gives nonsense."""
    names = [key.decode("utf-8", KEYS) for key in keys]
    answer = _ask(source, names)
    strangers = sorted(answer.keys() - set(names))
    if strangers:
        raise StepFailed(f"the source answered for a key that was not asked for: '{strangers[0]}'")
    return {name.encode("utf-8", KEYS): _sealed(name, value, rule) for name, value in answer.items() if value is not None}


def _ask(source: Source, names: list[str]) -> JsonObject:
    request: object = names
    command = source.command
    if not command:
        command = (sys.executable, "-P", ask.__file__)
        request = {"python": source.python, "sql": source.sql.model_dump() if source.sql else None, "keys": names}
    try:
        done = run(command, timeout=source.timeout, cwd=source.cwd, env=_environment(source), given=json.dumps(request).encode())
    except CommandFailed as error:
        raise StepFailed(f"the source of the cache failed: {error.message}") from error
    if done.code != 0:
        raise StepFailed(f"the source of the cache failed with {done.complaint()}")
    try:
        answer = json.loads(done.output)
    except ValueError as error:
        raise StepFailed(f"the source of the cache printed no JSON: {error}") from error
    if not isinstance(answer, dict):
        raise StepFailed("the source of the cache must give an object of key to value")
    return answer


def _environment(source: Source) -> dict[str, str]:
    """Let a `python` source find the modules in its working directory."""
    environment = service_environment(source.env)
    paths = [str(source.cwd.absolute()), *filter(None, [environment.get("PYTHONPATH")])]
    return environment | {"PYTHONPATH": os.pathsep.join(paths)} if source.python else environment


def _sealed(name: str, value: object, rule: IntegrityRule) -> bytes:
    """Return a value as the cache stores it: one that is sound already as it is, any other as the payload of the rule's format."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    raw = text.encode("utf-8", KEYS)
    if fault(raw, rule) is None:
        return raw
    sealed = seal(raw) if rule.format == "checksum" else raw
    if trouble := fault(sealed, rule):
        raise StepFailed(f"the source gave a value for '{name}' that {trouble}; nothing was written")
    return sealed
