"""Is the platform itself well? What it knows of its own parts, and whether it still sees the services."""

from recovery.watch.health import diagnose
from recovery.watch.sight import blindness
from recovery.watch.watch import Watch
from recovery.watch.words import Part, PartStatus, PlatformHealth, PlatformStatus

__all__ = ["Part", "PartStatus", "PlatformHealth", "PlatformStatus", "Watch", "blindness", "diagnose"]
