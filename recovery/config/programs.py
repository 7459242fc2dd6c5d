"""Find the programs that a configuration names and this machine lacks, before a remedy needs them."""

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel

from recovery.config.fleet import Fleet, ServiceDeclaration
from recovery.config.kinds import Kinds
from recovery.config.locate import Where
from recovery.models import JsonObject


@dataclass(frozen=True)
class Program:
    """Marks, in the type of an option, a command (program and arguments): `Annotated[tuple[str, ...], Program()]`.

    The program is looked for with the options `cwd` and `env` beside it.
    """


@dataclass(frozen=True, slots=True)
class Missing:
    """A program that cannot be run here."""

    service: str
    where: Where
    """The place of the command in the file."""
    message: str

    @property
    def part(self) -> str:
        """Return what of the service names it: `driver`, `checks` or `remedies`."""
        return str(self.where[2])


def missing_programs(fleet: Fleet, kinds: Kinds) -> Iterator[Missing]:
    """Return every command of drivers, checks and remedies whose program, or its working directory, does not exist here."""
    for service in fleet.services.values():
        for place, model, options in _declared(service, kinds):
            where = ("services", service.name, *place)
            yield from (Missing(service.name, (*where, *inner), why) for inner, why in _obstacles(model.model_validate(options)))


def obstacle(argv: Sequence[str], cwd: Path, env: Mapping[str, str]) -> str | None:
    """Return why `argv` cannot be run in `cwd` with `env` on top of our environment, None when its program is there."""
    try:
        return _obstacle(argv[0], cwd, env)
    except OSError as error:
        return f"cannot run '{argv[0]}': {error.filename}: {error.strerror}"


def _obstacle(program: str, cwd: Path, env: Mapping[str, str]) -> str | None:
    if not cwd.is_dir():
        return f"cannot run '{program}': the working directory {cwd} does not exist"
    if os.sep in program:
        path = cwd / program
        if path.is_file():
            return None if os.access(path, os.X_OK) else f"cannot run '{program}': {path} is not executable"
        return f"cannot run '{program}': {path} does not exist"
    path_of_programs = env.get("PATH", os.environ.get("PATH", os.defpath))
    folders = os.pathsep.join(str(cwd / folder) for folder in path_of_programs.split(os.pathsep))
    which = f"the declared PATH ({env['PATH']})" if "PATH" in env else "the PATH"
    return None if shutil.which(program, path=folders) else f"cannot run '{program}': no such program in {which}"


def _declared(service: ServiceDeclaration, kinds: Kinds) -> Iterator[tuple[Where, type[BaseModel], JsonObject]]:
    if service.driver is not None:
        yield ("driver",), kinds.drivers[service.driver.kind], service.driver.options
    for position, check in enumerate(service.checks):
        yield ("checks", position), kinds.checks[check.kind], check.options
    for strategy, options in service.remedies.items():
        yield ("remedies", strategy), kinds.strategies[strategy], options


def _obstacles(options: BaseModel) -> Iterator[tuple[Where, str]]:
    for key, field in type(options).model_fields.items():
        value = getattr(options, key)
        if isinstance(value, BaseModel):
            yield from (((key, *inner), why) for inner, why in _obstacles(value))
        is_command = any(isinstance(mark, Program) for mark in field.metadata)
        if value and is_command and (why := obstacle(value, getattr(options, "cwd", Path()), getattr(options, "env", {}))):
            yield (key,), why
