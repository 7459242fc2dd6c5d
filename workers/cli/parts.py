"""What commands read from: settings, the declared fleet, the store and the history. Nothing is opened before it is asked for."""

from functools import cached_property
from pathlib import Path

import click

from recovery.config.fleet import Fleet
from recovery.config.kinds import Kinds
from recovery.config.load import Loaded, load, parse
from recovery.config.references import PRODUCT_STRATEGIES
from recovery.errors import ConfigurationError, ServiceNotFound, StoreUnavailable, StrategyUnavailable, UnknownName, listing, nearest
from recovery.history import History
from recovery.settings import Settings
from recovery.store.engine import open_engine, parse_url, translated
from recovery.store.migrate import HEAD, revision
from recovery.store.sql import SqlStore

ACCEPTED = "accepted.toml"
"""In the data folder: the configuration as it was last accepted."""


class Parts:
    """The parts that a command needs, each made when it is first used."""

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or Settings()
        self._engine = open_engine(self.settings.database)
        self._require_schema()
        self.store = SqlStore(self._engine)
        self.history = History(self._engine)

    @cached_property
    def fleet(self) -> Fleet | None:
        """Return the fleet in force: as declared, else as last accepted, which is said; None on a machine that has neither."""
        return fleet_in_force(self.settings)

    def service_names(self) -> set[str]:
        """Return every service that is declared or was ever seen."""
        fleet = self.fleet
        return {*(fleet.services if fleet else ()), *self.store.service_states()}

    def require_service(self, name: str) -> None:
        """Raise `ServiceNotFound` with the nearest name if nobody knows the service."""
        known = self.service_names()
        if name not in known:
            raise ServiceNotFound(f"no service is called '{name}'{nearest(name, known) or f' (known: {listing(known)})'}", service=name)

    def _require_schema(self) -> None:
        url = parse_url(self.settings.database)
        missing = url.get_backend_name() == "sqlite" and not Path(url.database or "").is_file()
        with translated():
            missing = missing or revision(self._engine) != HEAD
        if missing:
            raise StoreUnavailable(f"there is no history yet in {url.render_as_string()}: start the platform with `recovery up`")


def kinds() -> Kinds:
    """Return every check, driver and strategy that is installed."""
    from recovery.detect.checks import check_kinds
    from strategies import STRATEGIES
    from strategies.drivers import DRIVERS

    return Kinds.of(check_kinds(), DRIVERS, STRATEGIES)


def validate_file(settings: Settings) -> Loaded:
    """Read the declared file; raises `ConfigurationError` with all that is wrong."""
    return load(settings.config, kinds())


def require_strategy(name: str) -> None:
    """Raise `UnknownName` with the nearest name if there is no such strategy, `StrategyUnavailable` if this version has it not."""
    known = kinds().strategies
    if name in known:
        return
    if name in PRODUCT_STRATEGIES:
        raise StrategyUnavailable(f"strategy '{name}' is not part of this version (available: {listing(known)})", strategy=name)
    raise UnknownName(f"unknown strategy '{name}'{nearest(name, {*known, *PRODUCT_STRATEGIES})} (available: {listing(known)})", name=name)


def fleet_in_force(settings: Settings) -> Fleet | None:
    """Return the fleet as declared, else as last accepted, saying so on standard error; None if there is neither."""
    declared: Fleet | None = None
    try:
        declared = validate_file(settings).fleet
        if declared.services:
            return declared
        refused = "it declares no service"
    except ConfigurationError as error:
        refused = error.problems[0] if error.problems else error.message
    accepted = _accepted(settings)
    if accepted is None or (declared is not None and not accepted.services):
        return declared
    click.echo(f"Warning: {settings.config} is not in force, version {accepted.version} stays (see `recovery check`): {refused}", err=True)
    return accepted


def _accepted(settings: Settings) -> Fleet | None:
    """Return the fleet as last accepted, None if there is none or it no longer fits."""
    try:
        text = (settings.home / ACCEPTED).read_text(encoding="utf-8")
        return parse(text, kinds(), file=settings.config.name, folder=settings.config.absolute().parent).fleet
    except (OSError, ValueError, ConfigurationError):
        return None
