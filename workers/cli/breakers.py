"""`breakers`: how the fleet's circuit breakers stand, what they went through, and orders that hold for every process at once."""

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from recovery.models import BreakerOrder, BreakerView, utcnow
from workers.cli.arguments import Length
from workers.cli.breaker_facts import COLUMNS, DROP, MODES, facts, row, spelled, spoiled_row, spoiled_table, table, word
from workers.cli.direct import by_option

if TYPE_CHECKING:
    from recovery.breaker import RedisBreakers
    from workers.cli.parts import Parts

CHANGES = ("at", "from", "to", "opened", "by", "reason")

EXAMPLES = """
\b
Examples:
  recovery breakers                         all, and how they stand
  recovery breakers show gateway            one, and what it went through
  recovery breakers reset gateway           close it now, whatever was counted
  recovery breakers force-open gateway --reason "a leak"
  recovery breakers force-open gateway --for 10m --reason "they restart"
  recovery breakers auto gateway            let it decide by itself again
"""


class Orders(click.Group):
    """A group that names the nearest command."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or name the nearest one."""
        from recovery.errors import nearest

        if args and not args[0].startswith("-") and args[0] not in self.commands:
            ctx.fail(f"no such command '{args[0]}' (`recovery breakers show {args[0]}` shows a breaker){nearest(args[0], self.commands)}")
        return super().resolve_command(ctx, args)


@click.group(cls=Orders, invoke_without_command=True, short_help="See and steer the circuit breakers.", epilog=EXAMPLES)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def breakers(ctx: click.Context, /, *, as_json: bool) -> None:
    """List the circuit breakers of the fleet, or give one of them an order; an order reaches every process at once."""
    if ctx.invoked_subcommand is not None:
        if as_json:
            raise click.UsageError(f"put --json behind the command: recovery breakers {ctx.invoked_subcommand} NAME --json")
        return
    from workers.cli.render import print_json, print_table

    _, board = _board()
    found = board.all()
    if as_json:
        print_json([table(each) if isinstance(each, BreakerView) else spoiled_table(each) for each in found])
        return
    rows = [row(each) if isinstance(each, BreakerView) else spoiled_row(each) for each in found]
    print_table(COLUMNS, rows, empty="No circuit breaker was ever used.", drop=DROP)


@breakers.command(short_help="Show one, and what it went through.")
@click.argument("name")
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, show_default=True, help="Changes, newest first.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(*, name: str, limit: int, as_json: bool) -> None:
    """Show how the breaker NAME stands, and its last changes."""
    from workers.cli.render import print_json, print_table, text_of

    parts, board = _board()
    view = _known(board, name)
    changes = parts.store.breaker_changes(name, limit)
    if as_json:
        print_json({**table(view), "changes": changes})
        return
    for label, value in facts(view):
        click.echo(f"{label:<16}{text_of(value)}")
    click.echo("")
    rows = [[each.at, spelled(each.before), spelled(each.after), each.trips, each.by, each.reason] for each in changes]
    print_table(CHANGES, rows, empty="No change of it is in the history yet.", drop=("by", "opened"))


def _length(_ctx: click.Context, _option: click.Parameter, length: timedelta | None) -> timedelta | None:
    from recovery.breaker.orders import LONGEST, SHORTEST

    if length is not None and not SHORTEST <= length.total_seconds() <= LONGEST:
        raise click.BadParameter(f"must be from {SHORTEST}s to {LONGEST // 86_400}d; without --for it stands until `auto`")
    return length


def _for_option(order: BreakerOrder) -> Callable[[click.decorators.FC], click.decorators.FC]:
    """Return what adds `--for` to the command of an order that stands."""
    said = "It is `auto` again by itself after 90s, 10m, 2h, 1d; default: it stands."
    option = click.option("--for", "lasts", type=Length(), callback=_length, metavar="LENGTH", help=said)
    return option if order in MODES else lambda command: command


def _order(order: BreakerOrder, command: str, short: str, description: str, done: str) -> None:
    """Add the command that gives an order."""

    @breakers.command(command, short_help=short, help=description)
    @click.argument("name")
    @_for_option(order)
    @click.option("--reason", default="", help="Why; goes into the history.")
    @by_option
    @click.option("--json", "as_json", is_flag=True, help="Print JSON.")
    def give(*, name: str, reason: str, by: str, as_json: bool, lasts: timedelta | None = None) -> None:
        from workers.cli.render import moment, print_json

        parts, board = _board()
        before = _before(board, name, order)
        after = board.operate(name, order, by, reason or f"`breakers {command}` by {by}", lasts.total_seconds() if lasts else None)
        detail: dict[str, Any] = {"breaker": name, "order": order.value, "reason": reason, "after": after.state}
        detail["before"] = before.state if before else "spoiled"
        detail |= {"until": after.mode_until.isoformat()} if after.mode_until else {}
        parts.store.audit("breaker_order", by, detail, utcnow())
        if as_json:
            print_json(table(after))
        else:
            until = f" until {moment(after.mode_until)}" if after.mode_until else ""
            click.echo(f"Breaker {name}: {done}{until}. It was {_stood(before)}.")


_order(
    BreakerOrder.RESET,
    "reset",
    "Close it now.",
    "Close the breaker NAME at once and end what was ordered before. Nothing is probed: that is what the strategy circuit_reset is for.",
    "closed, and on its own again",
)
_order(
    BreakerOrder.FORCED_OPEN,
    "force-open",
    "Refuse every call.",
    "Refuse every call through the breaker NAME until `auto`, or --for so long.",
    "refuses all",
)
_order(
    BreakerOrder.DISABLED,
    "disable",
    "Let every call pass.",
    "Let every call through NAME pass, and count none, until `auto`, or --for so long.",
    "lets all pass",
)
_order(
    BreakerOrder.METRICS_ONLY,
    "metrics-only",
    "Count, and refuse nothing.",
    "Let every call through NAME pass, count, and tell in the history when it would have opened, until `auto`, or --for so long.",
    "counts only",
)
_order(BreakerOrder.AUTO, "auto", "Let it decide by itself again.", "End what was ordered for NAME: it begins closed.", "decides by itself")


def _board() -> "tuple[Parts, RedisBreakers]":
    from recovery.breaker import RedisBreakers
    from recovery.store.connect import connect
    from workers.cli.parts import Parts

    parts = Parts()
    return parts, RedisBreakers(connect(parts.settings.redis))


def _before(board: "RedisBreakers", name: str, order: BreakerOrder) -> BreakerView | None:
    """Return how the breaker stands, None if what lies there is none and the order mends that."""
    from recovery.errors import BreakerSpoiled

    try:
        return _known(board, name)
    except BreakerSpoiled:
        if order is not BreakerOrder.RESET:
            raise
        return None


def _stood(before: BreakerView | None) -> str:
    from workers.cli.render import text_of

    if before is None:
        return "spoiled"
    return word(before.state) + (f" by {text_of(before.mode_by)}" if before.mode_by else "")


def _known(board: "RedisBreakers", name: str) -> BreakerView:
    """Return the breaker; raises `UnknownName` with the nearest one if there is none."""
    from recovery.errors import UnknownName, listing, nearest

    view = board.view(name)
    if view is None:
        known = [each.name if isinstance(each, BreakerView) else str(each.payload["name"]) for each in board.all()]
        hint = nearest(name, known) or (f" (known: {listing(known)})" if known else "; none was ever used")
        raise UnknownName(f"no circuit breaker is called '{name}'{hint}", name=name)
    return view
