"""The kinds of checks, one module each. Third parties add theirs through the entry-point group `recovery.checks`."""

from importlib.metadata import entry_points

from recovery.detect.checks.cache import CACHE
from recovery.detect.checks.command import COMMAND
from recovery.detect.checks.cpu import CPU
from recovery.detect.checks.disk import DISK
from recovery.detect.checks.heartbeat import HEARTBEAT
from recovery.detect.checks.http import HTTP
from recovery.detect.checks.memory import MEMORY
from recovery.detect.checks.process import PROCESS
from recovery.detect.checks.python import PYTHON
from recovery.detect.checks.redis import REDIS
from recovery.detect.checks.sql import SQL
from recovery.detect.checks.tcp import TCP
from recovery.errors import ConfigurationError
from recovery.ports import CheckKind
from recovery.registry import Registry

CHECKS = (HTTP, TCP, REDIS, SQL, PROCESS, COMMAND, HEARTBEAT, CACHE, MEMORY, CPU, DISK, PYTHON)
ENTRY_POINTS = "recovery.checks"


def check_kinds() -> Registry[CheckKind]:
    """Return every kind of check: ours, then those of installed packages.

    Each entry point names a `CheckKind`; raises `DuplicateName` if its name is taken and `ConfigurationError` if it
    cannot be loaded.
    """
    kinds: Registry[CheckKind] = Registry("check kind")
    for kind in CHECKS:
        kinds.add(kind.name, kind)
    for point in entry_points(group=ENTRY_POINTS):
        try:
            kind = point.load()
        except Exception as error:
            raise ConfigurationError(f"cannot load the check kind '{point.name}' from {point.value}: {error}") from error
        if not isinstance(kind, CheckKind):
            raise ConfigurationError(f"'{point.value}' (check kind '{point.name}') is a {type(kind).__name__}, not a CheckKind")
        kinds.add(kind.name, kind)
    return kinds
