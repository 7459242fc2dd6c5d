"""The command line, as the console script `recovery` and as the plug-in `celery -A workers recovery`.

Celery imports this package with each of its commands, so nothing but click is imported until a command runs.
"""

from importlib import import_module
from typing import Any

import click

COMMANDS = {
    "init": "setup",
    "check": "check",
    "up": "run",
    "broker": "run",
    "status": "state",
    "services": "state",
    "trigger": "act",
    "cancel": "act",
    "approve": "consent",
    "silence": "silence",
    "deploy": "silence",
    "pause": "silence",
    "resume": "silence",
    "breakers": "breakers",
    "degrade": "degrade",
    "degradations": "degrade",
    "force-recover": "degrade",
    "emergency": "emergency",
    "history": "past",
    "show": "story",
    "why": "story",
    "stats": "past",
    "replay": "replay",
    "watch": "live",
}
"""Command -> the module here that defines it, in the order of the help page."""


TYPED = "workers.cli.typed"
"""Key of the whole command line in click's context."""


class LazyGroup(click.Group):
    """A group whose commands are imported when they are needed, and whose errors are one sentence each."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """Return the names in the order a newcomer meets them."""
        return list(COMMANDS)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse what is given before the command; remember all that was typed, which errors may repeat."""
        from workers.cli.edge import tidied

        ctx.meta[TYPED] = tuple(args)
        with tidied(ctx.meta[TYPED]):
            return super().parse_args(ctx, args)

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command, None if there is no such."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"workers.cli.{COMMANDS[cmd_name]}"), cmd_name.replace("-", "_"))
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or name the nearest one."""
        from recovery.errors import nearest

        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            ctx.fail(f"no such command '{args[0]}'{nearest(args[0], COMMANDS)}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; what goes wrong becomes one sentence and an exit code."""
        from workers.cli.edge import tidied, told

        with tidied(ctx.meta.get(TYPED, ())), told():
            return super().invoke(ctx)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(package_name="celery-recovery", prog_name="recovery")
@click.pass_context
def recovery(ctx: click.Context, /, **_options: object) -> None:
    """Watch services, recover them, and see what was done and why.

    Exit codes: 0 fine, 1 error, 2 wrong usage or unknown name, 3 not healthy or not recovered, 4 suppressed or
    cancelled, 5 platform not reachable, 6 still going on at the timeout, 130 interrupted.
    """
    from workers.cli.edge import require_our_app

    require_our_app(ctx)


def main() -> None:
    """Run the console script `recovery`."""
    from workers.cli.edge import clean_environment

    clean_environment()
    recovery(prog_name="recovery")
