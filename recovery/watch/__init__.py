"""Is the platform itself well? What it knows of its own parts, and whether it still sees the services."""

from recovery.watch.sight import blindness

__all__ = ["blindness"]
