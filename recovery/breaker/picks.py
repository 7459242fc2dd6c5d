"""Says of an exception or a returned value what it means to a breaker."""

import logging
from collections.abc import Callable

from recovery.breaker.circuit import Result
from recovery.breaker.options import BreakerOptions, Picks

log = logging.getLogger("recovery.breaker")


def classify(error: BaseException, options: BreakerOptions) -> Result:
    """Return what an exception counts as: `void` if it is ignored or no `Exception`, else whether it is on record as a failure.

    A function of the user's that raises itself is logged; the exception counts as a failure then.
    """
    if not isinstance(error, Exception) or _picked(options.ignore, error, otherwise=False):
        return "void"
    return "failed" if _picked(options.record, error, otherwise=True) else "ok"


def is_failure(judge: Callable[[object], bool], value: object) -> bool:
    """Say whether a returned value is a failure; a function of the user's that raises is logged, the value counts as a success then."""
    try:
        return bool(judge(value))
    except Exception:
        log.exception("record_result failed; the value counts as a success")
        return False


def describe(error: BaseException) -> str:
    """Return an exception in one line, such as `ValueError: boom`."""
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - an exception that cannot say what it is still counts
        text = ""
    return f"{type(error).__name__}: {text}"[:300] if text else type(error).__name__


def _picked(picks: Picks, error: Exception, *, otherwise: bool) -> bool:
    if isinstance(picks, tuple):
        return isinstance(error, picks)
    try:
        return bool(picks(error))
    except Exception:
        log.exception("a breaker's function of exceptions failed for %s", type(error).__name__)
        return otherwise
