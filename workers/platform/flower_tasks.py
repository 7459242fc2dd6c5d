"""How Flower shows our tasks: service, strategy and recovery first, in words, instead of Python's tuples and dicts."""

import ast
from typing import Any

PARAMETERS = {
    "recovery.advance": ("recovery",),
    "recovery.cancel": ("recovery", "reason"),
    "recovery.trigger": ("service", "strategy", "force", "dry_run", "reason"),
    "health.sweep": ("interval", "shard", "shards"),
}
"""What the positional arguments of our tasks are; a strategy's are `STRATEGY`."""

STRATEGY = ("service", "recovery", "attempt")
RENAMED = {"recovery_id": "recovery"}
LEADING = ("service", "strategy", "recovery", "attempt", "category", "severity")
PREFIX = "strategy."


def in_words(task: Any) -> Any:
    """Return Flower's `task` with readable `args`; `kwargs` keeps what is not said there.

    The arguments reach Flower as text, cut off when they are long; what cannot be read is shown as it came.
    """
    if task.name:
        words = _words(task.name, task.args or "()", task.kwargs or "{}")
        if words is not None:
            task.args, task.kwargs = words
    return task


def _words(name: str, args: str, kwargs: str) -> tuple[str, str] | None:
    parameters = STRATEGY if name.startswith(PREFIX) else PARAMETERS.get(name, ())
    try:
        positional, named = ast.literal_eval(args), ast.literal_eval(kwargs)
    except (ValueError, SyntaxError):
        return None
    if not isinstance(positional, tuple | list) or not isinstance(named, dict) or len(positional) > len(parameters):
        return None
    said: dict[str, Any] = dict(zip(parameters, positional, strict=False))
    said |= {RENAMED.get(str(key), str(key)): value for key, value in named.items()}
    if name.startswith(PREFIX):
        said["strategy"] = name.removeprefix(PREFIX)
    first = [f"{key}={said.pop(key)}" for key in LEADING if said.get(key) is not None]
    rest = [f"{key}={value}" for key, value in said.items() if value is not None and value is not False and value != ""]
    return " ".join(first) or " ".join(rest), " ".join(rest) if first else ""
