"""A family of named things (checks, drivers, strategies). Duplicates and unknown names raise, the latter with the nearest name."""

from collections.abc import Iterator
from typing import Generic, TypeVar

from recovery.errors import DuplicateName, UnknownName, listing, nearest

T = TypeVar("T")


class Registry(Generic[T]):
    """Hold one family under unique names.

    Args:
        family: what one member is called in messages, such as `check` or `strategy`.
    """

    def __init__(self, family: str) -> None:
        self.family = family
        self._members: dict[str, T] = {}

    def add(self, name: str, member: T) -> None:
        """Register `member` under `name`; raises `DuplicateName` if the name is taken."""
        if name in self._members:
            raise DuplicateName(f"{self.family} '{name}' is already registered", name=name)
        self._members[name] = member

    def __getitem__(self, name: str) -> T:
        """Return the member called `name`; raises `UnknownName` with the nearest known name."""
        if name not in self._members:
            raise UnknownName(f"unknown {self.family} '{name}'{nearest(name, self._members)} (known: {listing(self._members)})", name=name)
        return self._members[name]

    def __contains__(self, name: object) -> bool:
        """Say whether `name` is registered."""
        return name in self._members

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names in the order of registration."""
        return iter(self._members)

    def items(self) -> Iterator[tuple[str, T]]:
        """Iterate over names and members in the order of registration."""
        return iter(self._members.items())
