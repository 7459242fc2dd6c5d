"""`check`: is the file valid, can its drivers work here, do the connections answer? Nothing is changed."""

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from recovery.config.fleet import Fleet, ServiceDeclaration
from recovery.config.load import Loaded
from recovery.errors import ConfigurationError, RecoveryError, StoreUnavailable
from recovery.settings import Settings, redact

if TYPE_CHECKING:
    from redis import Redis

    from recovery.ports import DriverKind

OK_WORD, WARNING, WRONG = "ok", "warning", "wrong"

LEAST_SPACE = 10_000_000
"""Bytes that must be free where the platform writes; less is gone before anybody has read the message."""


@dataclass(frozen=True)
class Line:
    """What was looked at, and what was found."""

    what: str
    name: str
    result: str
    """`ok`, `warning` or `wrong`."""
    detail: str


@click.command(short_help="Validate the file, the drivers and the connections.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def check(*, as_json: bool) -> None:
    """Validate recovery.toml, the drivers, the connections and the disk.

    Exit code 1 if the file, a driver or a program is wrong, 5 if Redis, the database or the disk is.
    """
    from workers.cli.edge import ERROR, UNREACHABLE
    from workers.cli.render import print_json, print_table

    settings = Settings()
    declared, loaded = configuration(settings)
    used = drivers(loaded.fleet) if loaded else []
    connected = list(connections(settings))
    lines = [*declared, *used, *connected]
    if as_json:
        print_json({"ok": all(line.result != WRONG for line in lines), "lines": lines})
    else:
        print_table(("checked", "name", "result", "detail"), [[line.what, line.name, line.result, line.detail] for line in lines], empty="")
    if any(line.result == WRONG for line in [*declared, *used]):
        raise click.exceptions.Exit(ERROR)
    if any(line.result == WRONG for line in connected):
        raise click.exceptions.Exit(UNREACHABLE)


def configuration(settings: Settings) -> tuple[list[Line], Loaded | None]:
    """Return what is wrong or odd about the file, and what it declares if it is valid."""
    from workers.cli.parts import validate_file
    from workers.cli.render import counted

    name = str(settings.config)
    try:
        loaded = validate_file(settings)
    except ConfigurationError as error:
        return [Line("file", name, WRONG, problem) for problem in error.problems or (error.message,)], None
    services = loaded.fleet.services.values()
    warnings = [Line("file", name, WARNING, warning) for warning in loaded.warnings]
    if not services:
        return warnings, loaded
    checks = sum(len(service.checks) for service in services)
    detail = f"version {loaded.fleet.version}: {counted(len(services), 'service')}, {counted(checks, 'check')}"
    return [Line("file", name, OK_WORD, detail), *warnings], loaded


def drivers(fleet: Fleet) -> list[Line]:
    """Say for each driver that a service names whether it can be used on this machine, and which other programs are missing here."""
    from recovery.config.problems import path_of
    from recovery.config.programs import missing_programs
    from strategies.drivers import DRIVERS
    from workers.cli.parts import kinds

    missing = list(missing_programs(fleet, kinds()))
    lines = []
    for service in fleet.services.values():
        if service.driver is not None:
            absent = [each.message for each in missing if each.service == service.name and each.part == "driver"]
            why = "; ".join(dict.fromkeys(absent)) or _obstacle(DRIVERS[service.driver.kind], service)
            lines.append(Line("driver", f"{service.name}: {service.driver.kind}", WRONG if why else OK_WORD, why or "usable here"))
    others = [each for each in missing if each.part != "driver"]
    return lines + [Line("program", path_of(each.where[1:]), WRONG, each.message) for each in others]


def _obstacle(kind: "DriverKind", service: ServiceDeclaration) -> str | None:
    if why := kind.usable():
        return why
    try:
        kind.build(service)
    except (RecoveryError, ValueError, OSError) as error:
        return str(error)
    return None


def connections(settings: Settings) -> Iterator[Line]:
    """Try the data folder, Redis, the broker (if it is another server) and the database, each for a few seconds at most."""
    yield _line("data", str(settings.home), lambda: _space(settings.home))
    yield _line("redis", redact(settings.redis), lambda: _redis(settings))
    if settings.broker_url:
        yield _line("broker", redact(settings.broker_url), _broker)
    yield _line("database", redact(settings.database), lambda: _database(settings))


def _line(what: str, name: str, look: Callable[[], str]) -> Line:
    try:
        return Line(what, name, OK_WORD, look())
    except Exception as error:  # noqa: BLE001 - every driver of a database or broker has its own errors; here each is just a finding
        text = str(error).strip().splitlines()
        return Line(what, name, WRONG, text[0] if text else type(error).__name__)


def _redis(settings: Settings) -> str:
    from recovery.store.connect import connect, translated

    if settings.embedded and not settings.socket.exists():
        from workers.platform.embedded import server_binary

        server_binary()
        return "embedded, starts with `recovery up`"
    client = connect(settings.redis)
    with translated():
        version = client.info("server")
    _require_writes(client)
    client.close()
    return f"answers, version {version.get('valkey_version') or version.get('redis_version')}"


def _require_writes(client: "Redis") -> None:
    """Raise `StoreUnavailable` if the server takes no writes: its disk or memory is full, or it is a replica.

    Writing an empty text changes nothing, but is refused as any write would be.
    """
    from recovery.store.connect import translated

    try:
        with translated():
            client.setrange("recovery:heartbeat:", 0, "")  # the key of no service
    except StoreUnavailable as error:
        raise StoreUnavailable(f"answers, but takes no writes: {error.__cause__}") from error


def _space(folder: Path) -> str:
    """Return how much is free where `folder` is or will be; raises `OSError` if that is too little to work with."""
    free = shutil.disk_usage(_existing(folder)).free
    if free < LEAST_SPACE:
        raise OSError(f"the disk is full: {free / 1e6:.1f} MB are free in {folder}, at least {LEAST_SPACE / 1e6:.0f} MB are needed")
    return f"{free / 1e6:,.0f} MB are free"


def _existing(path: Path) -> Path:
    absolute = path.absolute()
    return next(folder for folder in (absolute, *absolute.parents) if folder.exists())


def _broker() -> str:
    from workers.celery import app
    from workers.cli.act import require_broker

    require_broker(app)
    return "answers"


def _database(settings: Settings) -> str:
    from recovery.store.engine import open_engine, parse_url, translated
    from recovery.store.migrate import HEAD, revision

    url = parse_url(settings.database)
    file = Path(url.database or "") if url.get_backend_name() == "sqlite" else None
    if file is not None:
        _space(file.parent)
    if file is not None and not file.exists():
        return _will_be_created(file)
    engine = open_engine(settings.database)
    try:
        with translated():
            found = revision(engine)
    finally:
        engine.dispose()
    if found is None:
        return "answers; `recovery up` makes the tables"
    return "answers, schema is up to date" if found == HEAD else f"answers; `recovery up` migrates its schema from {found} to {HEAD}"


def _will_be_created(file: Path) -> str:
    parent = _existing(file.parent)
    if not (parent.is_dir() and os.access(parent, os.W_OK | os.X_OK)):
        raise PermissionError(f"cannot be created: {parent} is not a folder that you may write to")
    return "does not exist yet, `recovery up` creates it"
