"""`breakers`: how the fleet's circuit breakers stand, what they went through, and orders that hold for every process at once."""

from typing import TYPE_CHECKING, Any

import click

from recovery.models import BreakerOrder, BreakerState, BreakerView, utcnow
from workers.cli.direct import by_option

if TYPE_CHECKING:
    from recovery.ports import Breakers
    from workers.cli.parts import Parts

COLUMNS = ("name", "state", "service", "calls", "failed", "slow", "in a row", "opened", "since", "retry in", "reason")
DROP = ("slow", "calls", "service", "opened", "in a row", "failed", "since")
"""What a narrow terminal does without, least important first."""
CHANGES = ("at", "from", "to", "opened", "by", "reason")
SHUT = frozenset({BreakerState.OPEN, BreakerState.REPAIRING})

EXAMPLES = """
\b
Examples:
  recovery breakers                                     all, and how they stand
  recovery breakers show gateway                        one, and what it went through
  recovery breakers reset gateway --reason "mended"     close it now, whatever was counted
  recovery breakers force-open gateway --reason "a leak"
  recovery breakers auto gateway                        let it decide by itself again
"""


class Orders(click.Group):
    """A group that names the nearest command."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or name the nearest one."""
        from recovery.errors import nearest

        if args and not args[0].startswith("-") and args[0] not in self.commands:
            ctx.fail(f"no such command '{args[0]}'{nearest(args[0], self.commands)}; `recovery breakers show {args[0]}` shows a breaker")
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
    found = board.views()
    if as_json:
        print_json([_plain(view) for view in found])
        return
    print_table(COLUMNS, [_row(view) for view in found], empty="No circuit breaker was ever used.", drop=DROP)


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
        print_json({**_plain(view), "changes": changes})
        return
    for label, value in _facts(view):
        click.echo(f"{label:<16}{text_of(value)}")
    click.echo("")
    rows = [[each.at, _spelled(each.before), _spelled(each.after), each.trips, each.by, each.reason] for each in changes]
    print_table(CHANGES, rows, empty="No change of it is in the history yet.", drop=("by", "opened"))


def _order(order: BreakerOrder, command: str, short: str, description: str, done: str) -> None:
    """Add the command that gives an order."""

    @breakers.command(command, short_help=short, help=description)
    @click.argument("name")
    @click.option("--reason", default="", help="Why; goes into the history.")
    @by_option
    @click.option("--json", "as_json", is_flag=True, help="Print JSON.")
    def give(*, name: str, reason: str, by: str, as_json: bool) -> None:
        from workers.cli.render import print_json

        parts, board = _board()
        before = _known(board, name)
        after = board.operate(name, order, by, reason or f"`breakers {command}` by {by}")
        detail: dict[str, Any] = {"breaker": name, "order": order.value, "reason": reason, "before": before.state, "after": after.state}
        parts.store.audit("breaker_order", by, detail, utcnow())
        if as_json:
            print_json(_plain(after))
        else:
            click.echo(f"Breaker {name}: {done}. It was {_word(before.state)}.")


_order(
    BreakerOrder.RESET,
    "reset",
    "Close it now.",
    "Close the breaker NAME at once and end what was ordered before. Nothing is probed: that is what the strategy circuit_reset is for.",
    "closed, and on its own again",
)
_order(
    BreakerOrder.FORCED_OPEN, "force-open", "Refuse every call.", "Refuse every call through the breaker NAME until `auto`.", "refuses all"
)
_order(
    BreakerOrder.DISABLED,
    "disable",
    "Let every call pass.",
    "Let every call through NAME pass, and count none, until `auto`.",
    "lets all pass",
)
_order(
    BreakerOrder.METRICS_ONLY,
    "metrics-only",
    "Count, and refuse nothing.",
    "Let every call through NAME pass, count, and tell in the history when it would have opened, until `auto`.",
    "counts only",
)
_order(BreakerOrder.AUTO, "auto", "Let it decide by itself again.", "End what was ordered for NAME: it begins closed.", "decides by itself")


def _board() -> "tuple[Parts, Breakers]":
    from recovery.breaker import RedisBreakers
    from recovery.store.connect import connect
    from workers.cli.parts import Parts

    parts = Parts()
    return parts, RedisBreakers(connect(parts.settings.redis))


def _known(board: "Breakers", name: str) -> BreakerView:
    """Return the breaker; raises `UnknownName` with the nearest one if there is none."""
    from recovery.errors import UnknownName, listing, nearest

    view = board.view(name)
    if view is None:
        known = [each.name for each in board.views()]
        hint = nearest(name, known) or (f" (known: {listing(known)})" if known else "; none was ever used")
        raise UnknownName(f"no circuit breaker is called '{name}'{hint}", name=name)
    return view


def _row(view: BreakerView) -> list[object]:
    return [
        view.name,
        _word(view.state) + (f" {view.percent} %" if view.percent else ""),
        view.service,
        view.calls,
        view.failures,
        view.slow,
        view.in_a_row,
        view.trips,
        view.opened_at,
        _retry_in(view),
        view.reason,
    ]


def _facts(view: BreakerView) -> list[tuple[str, object]]:
    return [
        ("breaker", view.name),
        ("service", view.service),
        ("state", _word(view.state) + (f", lets {view.percent} % through" if view.percent else "")),
        ("ordered", _word(view.mode)),
        ("window", f"{view.calls} calls, {view.failures} failed, {view.slow} slow; {view.in_a_row} failures in a row"),
        ("opened", f"{view.trips} times, {view.streak} since it was last closed"),
        ("votes", view.votes),
        ("open since", view.opened_at),
        ("retry in", _retry_in(view)),
        ("reason", view.reason),
    ]


def _retry_in(view: BreakerView) -> float | None:
    """Return the seconds until callers may probe; None unless it is open."""
    if view.state not in SHUT or view.now is None:
        return None
    ends = [moment for moment in (view.retry_at, view.repairing_until) if moment is not None]
    return max(0.0, *((moment - view.now).total_seconds() for moment in ends)) if ends else None


def _word(word: BreakerState | BreakerOrder) -> str:
    return _spelled(word.value)


def _spelled(word: str) -> str:
    return word.replace("_", "-")


def _plain(view: BreakerView) -> dict[str, Any]:
    from workers.cli.render import plain

    table: dict[str, Any] = plain(view)
    return {**{name: value for name, value in table.items() if name != "now"}, "retry_in": _retry_in(view)}
