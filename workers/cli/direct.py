"""What commands share that write to the database themselves, so that they work while the broker is down: who acts, and the nudge."""

import getpass
import os
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from recovery.errors import ConfigurationError, StoreUnavailable

if TYPE_CHECKING:
    from recovery.config.fleet import Fleet
    from workers.cli.parts import Parts

MOST_NUDGES = 100
"""Messages sent at once; the tick takes care of the rest."""
AWAY = "The broker does not answer, so nothing goes on before it is back"


def os_user() -> str:
    """Return the name of whoever runs this command."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # no entry for this user id, as in many containers
        return f"uid {os.getuid()}"


def by_option(command: click.decorators.FC) -> click.decorators.FC:
    """Add `--by`, whose default is the user of the operating system."""
    return click.option("--by", default=os_user, show_default="the OS user", metavar="NAME", help="Who does this; goes into the history.")(
        command
    )


def quieten() -> None:
    """Keep the engine's log lines out of what a command says; errors still go to standard error."""
    from recovery.settings import Settings
    from workers import logs

    logs.configure(Settings(log_level="ERROR"), stream=sys.stderr)


def fleet_of(parts: "Parts") -> "Fleet":
    """Return the fleet in force; raises `ConfigurationError` on a machine that has none."""
    if parts.fleet is None:
        raise ConfigurationError(f"no valid configuration is here: {parts.settings.config} (see `recovery check`)")
    return parts.fleet


def nudge(recovery_ids: Iterable[str]) -> bool:
    """Ask the workers to look at these recoveries now; False if the broker does not answer: the tick comes back to them.

    At most `MOST_NUDGES` are sent; whatever is held up becomes due at once anyway.
    """
    from workers.celery import app
    from workers.cli.act import require_broker
    from workers.dispatch import OWN_QUEUE, send

    chosen = list(recovery_ids)[:MOST_NUDGES]
    if not chosen:
        return True
    try:
        require_broker(app)
    except StoreUnavailable:
        return False
    sent = [send("recovery.advance", {"recovery_id": each}, queue=OWN_QUEUE, retry=False) for each in chosen]
    return all(sent)
