"""`up` and `broker`: the platform in the foreground."""

import click


@click.command(short_help="Run the whole platform in the foreground.")
def up() -> None:
    """Run the whole platform in the foreground until Ctrl-C: broker, beat, workers, Flower."""
    from recovery.settings import Settings
    from workers.cli.parts import fleet_in_force, validate_file
    from workers.platform.up import up as run

    settings = Settings()
    if fleet_in_force(settings) is None:
        validate_file(settings)  # tells what is wrong
    raise click.exceptions.Exit(run(settings))


@click.command(short_help="Run only the embedded broker.")
def broker() -> None:
    """Run only the embedded broker, for workers that are started by hand."""
    from recovery.settings import Settings
    from workers.platform.up import serve_broker

    raise click.exceptions.Exit(serve_broker(Settings()))
