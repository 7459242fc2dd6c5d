"""`up` and `broker`: the platform in the foreground."""

import click

MOST_REMEDIES = 64
"""More belong to workers of their own, one per queue or machine."""


@click.command(short_help="Run the whole platform in the foreground.")
@click.option(
    "--remedies",
    type=click.IntRange(2, MOST_REMEDIES),
    help="Remedies at work at the same time, at most; default 3. Each has a process of about 95 MB while it is needed.",
)
def up(*, remedies: int | None) -> None:
    """Run the whole platform in the foreground until Ctrl-C: broker, beat, workers, Flower."""
    from recovery.settings import Settings
    from workers.cli.parts import fleet_in_force, validate_file
    from workers.platform.children import REMEDIES
    from workers.platform.up import up as run

    settings = Settings()
    if fleet_in_force(settings) is None:
        validate_file(settings)  # tells what is wrong
    raise click.exceptions.Exit(run(settings, remedies=remedies or REMEDIES))


@click.command(short_help="Run only the embedded broker.")
def broker() -> None:
    """Run only the embedded broker, for workers that are started by hand."""
    from recovery.settings import Settings
    from workers.platform.up import serve_broker

    raise click.exceptions.Exit(serve_broker(Settings()))
