"""Members of a family that other installed packages bring along, through entry points."""

from collections.abc import Callable
from importlib.metadata import entry_points
from typing import TypeVar

from recovery.errors import ConfigurationError
from recovery.registry import Registry

T = TypeVar("T")


def add_plugins(registry: Registry[T], group: str, fits: Callable[[object], bool]) -> None:
    """Register everything that the entry points `group` name; raises `ConfigurationError` that tells which one is broken.

    Args:
        registry: the family.
        group: such as `recovery.drivers`; each entry point's name is the member's name.
        fits: says whether a loaded object can be a member.
    """
    for entry in sorted(entry_points(group=group), key=lambda entry: entry.name):
        source = f"{registry.family} '{entry.name}' of package '{entry.dist.name if entry.dist else entry.value}'"
        try:
            member = entry.load()
        except Exception as error:
            raise ConfigurationError(f"cannot load {source}: {type(error).__name__}: {error}; repair or uninstall that package") from error
        if not fits(member):
            raise ConfigurationError(f"{source} is a {type(member).__name__}, which cannot be a {registry.family}")
        registry.add(entry.name, member)
