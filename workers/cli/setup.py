"""`init`: a commented `recovery.toml` that works as it is."""

import shutil
import socket
import sys
from pathlib import Path

import click

STARTER = Path(__file__).parent.parent / "starter.toml"
PORT = 8787
PAGE = "<!doctype html><title>hello</title><p>Watched by celery-recovery. Kill me: <code>kill $(cat run/hello.pid)</code></p>\n"


@click.command(short_help="Write a commented recovery.toml.")
@click.option("--force", is_flag=True, help="Replace a file that exists.")
def init(*, force: bool) -> None:
    """Write a commented recovery.toml that declares one small service, ready to run."""
    from recovery.settings import Settings
    from workers.cli.edge import ERROR, Refusal

    path = Settings().config
    if path.exists() and not force:
        raise Refusal(f"{path} exists already; `recovery init --force` replaces it", ERROR)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(starter(), encoding="utf-8")
        page = path.parent / "hello" / "index.html"
        page.parent.mkdir(exist_ok=True)
        if not page.exists():
            page.write_text(PAGE, encoding="utf-8")
    except OSError as error:
        raise Refusal(f"cannot write {error.filename or path}: {error.strerror}", ERROR) from error
    click.echo(f"Wrote {path} and {page}.")
    click.echo("Next: `recovery check`, then `recovery up`, then in another terminal `recovery status`.")


def starter() -> str:
    """Return the starter file with a port that is free here and a Python that exists here."""
    text = STARTER.read_text(encoding="utf-8")
    if shutil.which("python3") is None:
        text = text.replace('"python3"', f'"{Path(sys.executable).as_posix()}"')
    return text.replace(str(PORT), str(_free_port()))


def _free_port() -> int:
    for candidate in (PORT, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", candidate))
            except OSError:
                continue
            port: int = probe.getsockname()[1]
            return port
    return PORT
