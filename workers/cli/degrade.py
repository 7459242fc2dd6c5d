"""`degrade`, `degradations` and `force-recover`: do without something by hand, see what is in force, and end it."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import click

from recovery.degrade.keys import SYSTEM
from recovery.models import Degradation, Level, utcnow
from workers.cli.arguments import Length, Percentages, Share
from workers.cli.degraded import as_table, restored_of
from workers.cli.direct import by_option

if TYPE_CHECKING:
    from recovery.engine.degrading import Degrading
    from workers.cli.parts import Parts

COLUMNS = ("service", "layer", "level", "until", "restored", "off", "left", "by", "reason")
DROP = ("by", "left", "off", "restored", "layer")
"""What a narrow terminal does without, least important first."""

DEGRADE_EXAMPLES = """
\b
Examples:
  recovery degrade shop --level limited --reason "the supplier is down"
  recovery degrade shop --level partial --feature suggestions --capability workers=30 --ttl 1h --ramp 10,50 --reason "slow disks"
  recovery degrade --system --level emergency --ttl 15m --reason "the data centre is hot"
  recovery degrade shop --level normal        ends it, by its ramp if it has one
"""
FORCE_EXAMPLES = """
\b
Examples:
  recovery force-recover shop --reason "a false alarm"
  recovery force-recover shop --layer rule:weak-search
  recovery force-recover --system
"""


def system_option(command: click.decorators.FC) -> click.decorators.FC:
    """Add `--system`."""
    return click.option("--system", is_flag=True, help="The whole system instead of a service.")(command)


@click.command(short_help="Let a service or the system do without something.", epilog=DEGRADE_EXAMPLES)
@click.argument("service", required=False)
@system_option
@click.option("--level", type=click.Choice([str(level) for level in Level]), required=True, help="How far; normal ends it.")
@click.option("--feature", "features", multiple=True, metavar="NAME", help="A feature to switch off besides; may be repeated.")
@click.option("--capability", "capabilities", type=Share(), multiple=True, help="What is left of it; may be repeated.")
@click.option("--ttl", type=Length(), default="15m", show_default=True, metavar="LENGTH", help="It ends by itself after 90s, 30m, 2h, 1d.")
@click.option("--ramp", type=Percentages(), default=(), metavar="10,50", help="Percent of callers who are let back in turn; default: all.")
@click.option("--ramp-stage", type=Length(), default="30s", show_default=True, metavar="LENGTH", help="How long each of them lasts.")
@click.option("--reason", default="", help="Why; whoever finds it wants to know.")
@by_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def degrade(
    *,
    service: str | None,
    system: bool,
    level: str,
    features: tuple[str, ...],
    capabilities: tuple[tuple[str, int], ...],
    ttl: timedelta,
    ramp: tuple[int, ...],
    ramp_stage: timedelta,
    reason: str,
    by: str,
    as_json: bool,
) -> None:
    """Put a degradation of SERVICE in force, in the layer of people: it ends at its time or by your word, never by a recovery.

    It replaces what a person put before. What strategies and rules put stands beside it; of all, the worst level counts.
    """
    from recovery.engine.degrading import Wish
    from workers.cli.parts import Parts
    from workers.cli.render import print_json, print_lines

    of = _of(service, system=system)
    if twice := [name for name, _ in capabilities if [other for other, _ in capabilities].count(name) > 1]:
        raise click.UsageError(f"--capability {twice[0]} is given twice: which is it?")
    if level == Level.NORMAL:
        if features or capabilities or ramp:
            raise click.UsageError("--level normal ends what a person put in force; it goes with --reason, --by and --json only")
        put = _degrading(Parts()).restore(of, by, reason)
    else:
        if not reason:
            raise click.UsageError("say why: --reason TEXT")
        wish = Wish(of, Level(level), by, reason, ttl, features, dict(capabilities), ramp, ramp_stage.total_seconds())
        put = _degrading(Parts()).degrade(wish)
    if as_json:
        print_json(as_table(put, utcnow()))
    else:
        print_lines([_ended_line(put) if level == Level.NORMAL else _put_line(put)], hang=4)


@click.command(short_help="List what is degraded, by whom, and until when.")
@click.argument("service", required=False)
@system_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def degradations(*, service: str | None, system: bool, as_json: bool) -> None:
    """List every degradation, also those that are being restored, and below them the rules that somebody has overruled.

    Of one SERVICE: its own and the system's.
    """
    from workers.cli.overruled import overruled_lines
    from workers.cli.parts import Parts
    from workers.cli.render import print_json, print_lines, print_table

    parts = Parts()
    degrading = _degrading(parts)
    of = _of(service, system=system) if service or system else None
    if of is not None:
        degrading.require(of)
    found = [each for each in degrading.all() if of is None or each.service in {of, SYSTEM}]
    if as_json:
        print_json([as_table(each, utcnow()) for each in found])
        return
    print_table(COLUMNS, [_row(each) for each in found], empty="Nothing is degraded.", drop=DROP)
    print_lines(overruled_lines(parts, of), hang=4)


@click.command(short_help="End every degradation of a service at once.", epilog=FORCE_EXAMPLES)
@click.argument("service", required=False)
@system_option
@click.option("--layer", metavar="LAYER", help="Only this one: manual, recovery, throttle, quarantine, or rule:NAME.")
@click.option("--reason", default="", help="Why; goes into the history.")
@by_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def force_recover(*, service: str | None, system: bool, layer: str | None, reason: str, by: str, as_json: bool) -> None:
    """Drop whatever degrades SERVICE, without any ramp: of people, of strategies and of rules.

    No recovery restores it a second time, and a rule stays without effect until its own condition has let it go. While its checks fail,
    a new recovery may degrade it again: `recovery silence SERVICE` prevents that.
    """
    from workers.cli.overruled import after_force
    from workers.cli.parts import Parts
    from workers.cli.render import print_json, print_lines

    of, parts = _of(service, system=system), Parts()
    degrading = _degrading(parts)
    dropped = degrading.force_recover(of, by, reason, layer)
    if as_json:
        print_json([as_table(each, utcnow()) for each in dropped])
        return
    layers = ", ".join(each.layer for each in dropped) or "what recoveries and rules still held"
    rest = ", ".join(each.layer for each in degrading.all() if each.service == of)
    left = f"still degraded by {rest}" if rest else "degraded by nothing of its own any more" if of != SYSTEM else "degraded no more"
    print_lines([f"{_name(of)} is {left} (dropped: {layers}).", *after_force(parts, of)], hang=4)


def _of(service: str | None, *, system: bool) -> str:
    if service is not None and system:
        raise click.UsageError("name a SERVICE or say --system, not both")
    if service is None and not system:
        raise click.UsageError("name a SERVICE, or say --system")
    return SYSTEM if service is None else service


def _degrading(parts: "Parts") -> "Degrading":
    from recovery.breaker import RedisBreakers
    from recovery.degrade import RedisDegradations
    from recovery.engine.degrading import Degrading
    from recovery.store.connect import connect
    from strategies import build
    from strategies.collaborators import unconnected
    from strategies.drivers import DRIVERS
    from workers.cli.direct import fleet_of, quieten
    from workers.degrading import release

    quieten()
    fleet, redis = fleet_of(parts), connect(parts.settings.redis)
    shared = RedisDegradations(redis)
    strategies = build(replace(unconnected(DRIVERS, utcnow), degradations=shared, breakers=RedisBreakers(redis)))
    return Degrading(parts.store, shared, lambda: fleet, utcnow, lambda mitigation: release(strategies, fleet, mitigation))


def _row(each: Degradation) -> list[object]:
    left = [f"{name} {percent} %" for name, percent in sorted(each.capabilities.items())]
    over = restored_of(each, utcnow())
    return [each.service, each.layer, each.level, each.until, f"{over} %" if over else None, each.features_off, left, each.by, each.reason]


def _put_line(put: Degradation) -> str:
    from workers.cli.render import moment

    costs = [f"{name} off" for name in put.features_off]
    costs += [f"{name} at {percent} %" for name, percent in sorted(put.capabilities.items())]
    ends = f"recovery degrade {_typed(put.service)} --level normal"
    return f"{_name(put.service)} is degraded ({put.level}) until {moment(put.until)}: {_listed(costs)}. `{ends}` ends it early."


def _ended_line(ended: Degradation) -> str:
    from workers.cli.render import moment

    what = f"What was degraded by hand in {_name(ended.service)}"
    if not ended.ramp:
        return f"{what} is over."
    shares = ", ".join(f"{percent} %" for percent in ended.ramp)
    return f"{what} comes back for {shares} of the callers in turn, for all at {moment(ended.gone_at)}."


def _listed(costs: Iterable[str]) -> str:
    return ", ".join(costs) or "nothing is declared to be off or limited at this level, readers see the level alone"


def _typed(service: str) -> str:
    return "--system" if service == SYSTEM else service


def _name(service: str) -> str:
    return "the system" if service == SYSTEM else service
