"""The environment that services and commands are started with: the worker's, without what belongs to the worker alone."""

import os
from collections.abc import Mapping

OWN_NAMES = frozenset(
    {"REMAP_SIGTERM", "FORKED_BY_MULTIPROCESSING", "PYTHONUNBUFFERED", "PYTHONFAULTHANDLER", "NOTIFY_SOCKET", "C_FORCE_ROOT"}
)
OWN_PREFIXES = ("CELERY", "_MP_", "FLOWER_")


def service_environment(extra: Mapping[str, str]) -> dict[str, str]:
    """Return a clean environment with `extra` on top.

    Celery and billiard leave variables behind that would change how a service that uses Celery itself behaves.
    """
    inherited = {name: value for name, value in os.environ.items() if name not in OWN_NAMES and not name.startswith(OWN_PREFIXES)}
    return inherited | dict(extra)
