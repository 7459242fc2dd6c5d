"""Read `recovery.toml` into a `Fleet`. Every problem is told at once, each with file, line, path and the nearest right name."""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from recovery.config.durations import check_durations
from recovery.config.fleet import Fleet
from recovery.config.interpolate import interpolate
from recovery.config.kinds import Kinds
from recovery.config.locate import Lines
from recovery.config.problems import Problem, Report, refuse
from recovery.config.reader import Reader
from recovery.config.references import check_mentions, check_plans
from recovery.config.tree import plain, read_toml
from recovery.config.validate import Text
from recovery.models import JsonObject


@dataclass(frozen=True, slots=True)
class Loaded:
    """A valid file: what it declares, and what is odd about it."""

    fleet: Fleet
    warnings: tuple[str, ...] = ()
    """One line each, with file, line and path."""


def load(path: Path, kinds: Kinds, *, environ: Mapping[str, str] | None = None) -> Loaded:
    """Read and validate the file at `path`; raises `ConfigurationError` whose `problems` lists all that is wrong."""
    return parse(read_text(path), kinds, file=path.name, folder=path.absolute().parent, environ=environ)


def read_text(path: Path) -> str:
    """Return the text of a configuration file; raises `ConfigurationError` if it cannot be read."""
    try:
        if path.exists() and not path.is_file():
            refuse(str(path), [Problem((), "is not a file")])
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        refuse(str(path), [Problem((), "does not exist: write one with `recovery init`, or set RECOVERY_CONFIG to where it is")])
    except UnicodeDecodeError as error:
        refuse(str(path), [Problem((), "is not valid UTF-8 text", error.object.count(b"\n", 0, error.start) + 1)])
    except (OSError, ValueError) as error:
        refuse(str(path), [Problem((), f"cannot be read: {getattr(error, 'strerror', None) or error}")])


def parse(
    text: str, kinds: Kinds, *, file: str = "recovery.toml", folder: Path | None = None, environ: Mapping[str, str] | None = None
) -> Loaded:
    """Validate the text of a configuration.

    Args:
        text: TOML.
        kinds: the checks, drivers and strategies that may be named.
        file: how the file is called in messages.
        folder: what relative paths are relative to; default: the current folder.
        environ: where `${NAME}` is looked up; default: the environment of this process.

    Returns:
        The fleet and the warnings.

    Raises:
        ConfigurationError: the text is not valid; `problems` has one line for each thing that is wrong.
    """
    tree = read_toml(text, file)
    report = Report(file, Lines(text))
    written = plain(tree, report)
    filled = cast("JsonObject", interpolate(written, os.environ if environ is None else environ, (), report))
    reader = Reader(kinds, Text(written, folder or Path.cwd(), report))
    platform = reader.platform(filled)
    services = reader.services(filled)
    maintenance = reader.maintenance(filled, services)
    degrading = reader.degradation(filled, services)
    check_plans(services, {name: kinds.refuses.get(name, lambda *_: None) for name in kinds.strategies}, report)
    report.raise_errors()
    check_mentions(services, kinds.strategies, report, feature=degrading.features, capability=degrading.capabilities)
    check_durations(services, kinds.strategies, report)
    report.raise_errors()
    if not services:
        report.warn((), "declares no service, so nothing is watched")
    version = hashlib.sha256(text.encode()).hexdigest()[:12]
    fleet = Fleet(
        version=version,
        platform=platform,
        services=services,
        maintenance=maintenance,
        features=degrading.features,
        capabilities=degrading.capabilities,
        degradation=degrading.rules,
    )
    return Loaded(fleet, report.warning_lines())
