"""Where the command line ends: exit codes, errors as one sentence, and the traps of the `celery` command."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import IO, Any

import click

from recovery.errors import ConfigurationError, RecoveryError

OK, ERROR, USAGE, NOT_HEALTHY, SUPPRESSED, UNREACHABLE, UNFINISHED, INTERRUPTED = 0, 1, 2, 3, 4, 5, 6, 130

EXIT_CODES = {
    "SERVICE_NOT_FOUND": USAGE,
    "RECOVERY_NOT_FOUND": USAGE,
    "UNKNOWN_NAME": USAGE,
    "STRATEGY_UNAVAILABLE": USAGE,
    "SILENCE_INVALID": USAGE,
    "SILENCE_NOT_FOUND": USAGE,
    "DEGRADATION_INVALID": USAGE,
    "SERVICE_BUSY": UNFINISHED,
    "STORE_UNAVAILABLE": UNREACHABLE,
}
"""Exit code by code of the error; 1 for the others."""

MISREAD = ("APP", "BROKER_URL", "CONFIG_MODULE", "LOADER", "RESULT_BACKEND")
"""Common variables that the `celery` command takes for its own options."""


LONGEST_SHOWN = 100
"""Characters of an argument that the sentence of an error repeats."""


class Refusal(click.ClickException):
    """One sentence on standard error, and an exit code."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code  # type: ignore[misc] # click declares it for the class, and reads it from the instance

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the sentence."""
        click.echo(f"Error: {_shown(self.message)}", file=file, err=file is None)


def _shown(message: str) -> str:
    """Return a message with what others wrote into it made harmless for a terminal; it may have several lines."""
    from workers.cli.render import printable

    return "\n".join(printable(line) for line in message.split("\n"))


@contextmanager
def told() -> Iterator[None]:
    """Turn every error into one sentence; `RECOVERY_DEBUG=1` lets unexpected ones through with their stack trace."""
    try:
        yield
    except ConfigurationError as error:
        raise Refusal(error.message, ERROR) from error
    except RecoveryError as error:
        raise Refusal(error.message, EXIT_CODES.get(error.code, ERROR)) from error
    except KeyboardInterrupt:
        raise Refusal("interrupted", INTERRUPTED) from None
    except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
        raise
    except Exception as error:
        if os.environ.get("RECOVERY_DEBUG"):
            raise
        text = str(error).strip().splitlines()
        raise Refusal(
            f"unexpected {type(error).__name__}: {text[0] if text else 'no message'} (RECOVERY_DEBUG=1 shows where)", ERROR
        ) from error


def tell_refusals() -> None:
    """Let this process end with one sentence instead of a stack trace where it ends with an error of ours; any other stays as it is."""
    before = sys.excepthook

    def tell(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if isinstance(error, RecoveryError) and not os.environ.get("RECOVERY_DEBUG"):
            click.echo(f"Error: {_shown(error.message)}", err=True)
        else:
            before(kind, error, trace)

    sys.excepthook = tell


@contextmanager
def tidied(arguments: Sequence[str]) -> Iterator[None]:
    """Shorten and escape what the sentence of an error repeats of the command line."""
    try:
        yield
    except click.ClickException as error:
        sentence = error.message
        for argument in sorted(arguments, key=len, reverse=True):
            for said in (argument, argument.strip(), *argument.split("=", 1)):
                if said != shown(said):
                    sentence = sentence.replace(said, shown(said)).replace(repr(said)[1:-1], shown(said))
        error.message = "\n".join(_escaped(line) for line in sentence.split("\n"))  # type: ignore[misc] # usage errors keep their form
        raise


def shown(text: str) -> str:
    """Return what somebody typed as it may stand in a sentence: printable, and 100 characters at most."""
    escaped = _escaped(text[: LONGEST_SHOWN + 1])
    return escaped if len(escaped) <= LONGEST_SHOWN else f"{escaped[: LONGEST_SHOWN - 3]}..."


def _escaped(text: str) -> str:
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def require_our_app(ctx: click.Context) -> None:
    """Stop if `celery` runs this with no app, or with somebody else's."""
    options = getattr(ctx.parent, "obj", None)
    app = getattr(options, "app", None)
    if app is None or getattr(app, "main", None) == "recovery":
        clean_environment()
        return
    command = f"celery -A workers recovery {ctx.invoked_subcommand or '--help'}"
    given = (
        "celery was called without -A" if app.main in {None, "default"} else f"the app '{app.main}' given with -A is not this platform's"
    )
    raise Refusal(f"{given}: type `{command}`, or without celery `recovery {ctx.invoked_subcommand or '--help'}`.", USAGE)


def clean_environment() -> None:
    """Take the variables away that Celery processes started from here would take for options."""
    for name in MISREAD:
        os.environ.pop(name, None)
