"""One worker or beat of `recovery up`, as `celery -A workers worker OPTIONS` would start it, but without what it never uses.

The `celery` command imports all of its plug-ins, Flower with its web server among them, and some libraries import what they
find installed. Each process of each pool would count 14 MB for that.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module

from celery.app.utils import find_app
from celery.bin.base import CLIContext
from celery.bin.beat import beat
from celery.bin.worker import worker

MODULE = "workers.platform.celery"
COMMANDS = {"worker": worker, "beat": beat}

CURIOUS = {"structlog": "rich", "tenacity": "tornado"}
"""What we use -> what that imports only because our command line or Flower has it installed."""


def main(arguments: Sequence[str]) -> None:
    """Become what `arguments` name, and exit with its code.

    Args:
        arguments: the module of the app, `worker` or `beat`, then that command's options as in Celery's documentation.
    """
    app, command, *options = arguments
    for library, unused in CURIOUS.items():
        with _hidden(unused):
            import_module(library)
    sys.argv = ["-m", MODULE, *arguments]  # what Celery hands to Python when SIGHUP restarts a worker
    context = CLIContext(app=find_app(app), no_color=False, workdir=None, quiet=True)
    COMMANDS[command].main(options, prog_name=f"celery {command}", auto_envvar_prefix=f"CELERY_{command.upper()}", obj=context)


@contextmanager
def _hidden(module: str) -> Iterator[None]:
    """Let nobody find `module` for now."""
    sys.modules[module] = None  # type: ignore[assignment] # so Python marks what must not be imported
    try:
        yield
    finally:
        del sys.modules[module]


if __name__ == "__main__":
    main(sys.argv[1:])
