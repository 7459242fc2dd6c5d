"""`emergency`: recover a service in this process, without broker, beat or workers."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

import click

from recovery.models import Recovery, utcnow
from workers.cli.direct import by_option, quieten

if TYPE_CHECKING:
    from recovery.ports import Store
    from recovery.settings import Settings
    from workers.wiring import Platform

PAUSE = 0.1
"""Seconds between two looks at the progress."""
EXAMPLES = """
\b
Examples:
  recovery emergency shop                     its plan, after a question
  recovery emergency shop --strategy restart --yes
"""


@click.command(short_help="Recover a service right here, without the broker.", epilog=EXAMPLES)
@click.argument("service")
@click.option("--strategy", metavar="NAME", help="Run just this one; default: the service's plan.")
@click.option("--yes", is_flag=True, help="Do not ask first.")
@click.option("--reason", default="", help="Goes into the history.")
@by_option
@click.option("--json", "as_json", is_flag=True, help="Print the story as JSON; progress goes to standard error.")
def emergency(*, service: str, strategy: str | None, yes: bool, reason: str, by: str, as_json: bool) -> None:
    """Recover SERVICE in this process: no broker, no worker and no `recovery up` is needed, only the database.

    Takes over the open recovery of the service, or opens one; passes over cooldowns, caps and pauses, never over `dry_run` or
    `managed = false`. A worker that is at work on the service and alive is left alone (exit code 6). Checks verify the outcome.
    """
    from recovery.settings import Settings
    from workers.cli.edge import USAGE, Refusal
    from workers.cli.follow import ending, exit_code_of
    from workers.cli.parts import require_strategy

    settings = Settings()
    if strategy is not None:
        require_strategy(strategy)
    quieten()
    platform = _platform(settings)
    _require_service(platform, service)
    if not yes:
        if not sys.stdin.isatty():
            raise Refusal("nobody can be asked here: say --yes", USAGE)
        click.confirm(f"Recover {service} now, in this process, with {strategy or 'its plan'}?", abort=True, err=as_json)
    closed = _carry_out(platform, service, strategy, by, reason, say=lambda line: click.echo(line, err=as_json))
    if as_json:
        _print_story(platform, closed)
    else:
        click.echo(ending(closed))
    raise click.exceptions.Exit(exit_code_of(closed))


def _platform(settings: "Settings") -> "Platform":
    from workers.wiring import assemble

    return assemble(settings, alone=True)


def _require_service(platform: "Platform", service: str) -> None:
    from recovery.errors import ServiceNotFound, nearest

    services = platform.fleet().services
    if service not in services:
        raise ServiceNotFound(f"no service '{service}' is declared{nearest(service, services)}", service=service)


def _carry_out(platform: "Platform", service: str, strategy: str | None, by: str, reason: str, *, say: Callable[[str], None]) -> Recovery:
    from recovery.engine.emergency import Emergency
    from recovery.errors import StoreUnavailable
    from recovery.store.migrate import migrate
    from workers.cli.edge import INTERRUPTED, UNREACHABLE, Refusal
    from workers.endings import announce

    engine = Emergency(
        platform.store,
        platform.coordinator,
        platform.executor,
        platform.desk,
        utcnow,
        pause=time.sleep,
        lease=timedelta(seconds=platform.fleet().platform.lease),
        say=lambda line: say(f"          {line}"),
        ended=lambda recovery_id: announce(recovery_id, platform),
    )
    begun: Recovery | None = None
    goes_on = "it stays open and goes on with the platform, or with the same command again"
    try:
        migrate(platform.settings.database)
        begun = engine.begin(service, strategy, by, reason)
        say(f"Recovery {begun.id} of {service}: {', '.join(each.strategy for each in begun.plan.attempts) or 'nothing that can be done'}.")
        with _told(platform.store, begun.id, say):
            return engine.carry_out(begun.id)
    except KeyboardInterrupt:
        raise Refusal(
            f"interrupted; recovery {begun.id[:8]}: {goes_on}" if begun else "interrupted, nothing was done", INTERRUPTED
        ) from None
    except StoreUnavailable as error:
        raise Refusal(
            f"{error.message.rstrip('.')}; " + (f"recovery {begun.id[:8]}: {goes_on}" if begun else "nothing was done"), UNREACHABLE
        ) from error


@contextmanager
def _told(store: "Store", recovery_id: str, say: Callable[[str], None]) -> Iterator[None]:
    """Tell the progress from a thread of its own while the block acts."""
    over = threading.Event()
    told: set[str] = set()

    def tell() -> None:
        for line in _lines(store, recovery_id):
            if line not in told:
                told.add(line)
                say(line)

    def keep_telling() -> None:
        while not over.wait(PAUSE):
            tell()

    tell()  # what was there before comes first, such as who took it over
    teller = threading.Thread(target=keep_telling, name="progress", daemon=True)
    teller.start()
    try:
        yield
    finally:
        over.set()
        teller.join()
        tell()


def _lines(store: "Store", recovery_id: str) -> list[str]:
    from recovery.errors import StoreUnavailable
    from workers.cli.follow import progress

    try:
        recovery = store.recovery(recovery_id)
        return [] if recovery is None else list(progress(recovery, store.attempts(recovery_id), store.steps(recovery_id)))
    except StoreUnavailable:
        return []  # the engine meets the same, and says so


def _print_story(platform: "Platform", closed: Recovery) -> None:
    from workers.cli.render import print_json
    from workers.cli.story import as_table

    story = platform.history.story(closed.id)
    if story is not None:
        print_json(as_table(story, platform.store.approval(closed.id)))
