"""`python -m tests.torture`: run a campaign, print what happened, exit with 1 on any violation."""

import argparse
import signal
import sys
import time
from contextlib import ExitStack
from random import SystemRandom

from tests.servers import started
from tests.servers.programs import POSTGRES, REDIS, provide
from tests.torture.campaign import Campaign, Record
from tests.torture.crew import Crew
from tests.torture.house import House
from tests.torture.judge import Violation, judge
from tests.torture.plan import ROUND, plan
from tests.torture.plants import PLANTS
from tests.torture.report import show


def options(arguments: list[str] | None = None) -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("--kills", type=int, default=ROUND, help=f"strikes in all (default {ROUND}: every boundary twice)")
    parser.add_argument("--minutes", type=float, help="strike for so long instead")
    parser.add_argument("--seed", type=int, help="repeats the plan of another campaign (default: a new one)")
    parser.add_argument("--plant", choices=sorted(PLANTS), help="give the platform a bug on purpose")
    parser.add_argument("--database", metavar="URL", help="PostgreSQL; a schema is made in it and dropped (default: SQLite)")
    parser.add_argument("--redis", metavar="URL", help="an empty Redis database (default: an embedded Valkey, which is killed, too)")
    parser.add_argument("--servers", action="store_true", help="start a PostgreSQL and a Redis for the campaign, and end them with it")
    parser.add_argument("--keep", action="store_true", help="keep the folder with ledgers, logs and database")
    chosen = parser.parse_args(arguments)
    if chosen.servers and (chosen.database or chosen.redis):
        parser.error("--servers brings its own: leave --database and --redis away")
    return chosen


def torture(chosen: argparse.Namespace) -> tuple[Record, list[Violation]]:
    """Run one campaign in a house of its own; the house stays if something was found."""
    seed = chosen.seed if chosen.seed is not None else SystemRandom().randrange(1_000_000)
    house = House(chosen.plant, chosen.database, chosen.redis)
    crew, keep = Crew(house), True
    say(f"seed {seed}, folder {house.folder}" + (f", planted bug {chosen.plant}" if chosen.plant else ""))
    try:
        house.furnish()
        until = time.monotonic() + chosen.minutes * 60 if chosen.minutes else None
        campaign = Campaign(house, crew, plan(seed, None if chosen.minutes else chosen.kills), until, say)
        crew.start()
        record = campaign.run()
        violations = judge(record.evidence)
        keep = chosen.keep or bool(violations and not chosen.plant)
    finally:
        crew.stop()
        house.clear(keep=keep)
    return record, violations


def _serve(chosen: argparse.Namespace, running: ExitStack) -> None:
    """Start the servers of a campaign; whoever lacks one is told so."""
    missing = provide((POSTGRES, REDIS))
    if missing:
        sys.exit("; ".join(f"{kind.name} is {reason}" for kind, reason in missing.items()))
    chosen.database = running.enter_context(started.postgres())["RECOVERY_TEST_POSTGRES"]
    chosen.redis = running.enter_context(started.redis())["RECOVERY_TEST_REDIS"]


def say(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)  # noqa: T201 - the report goes to a person


def main() -> int:
    """Return the exit code: 0 if nothing was violated."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # leave nothing behind
    chosen = options()
    with ExitStack() as running:
        if chosen.servers:
            _serve(chosen, running)
        record, violations = torture(chosen)
    for line in show(record, violations):
        say(line)
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
